"""Shared parts of all command lines: invalid input ends in a sentence, not in a traceback."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Union

from traces.errors import InputError
from traces.shell.printable import printable, raw_stream, with_printable_output

if TYPE_CHECKING:
    from rich.console import Console

PACKAGES = ("traces", "compress", "sim", "designs", "reports")
_MISSING = {  # packages of extras, by the name that Python finds missing
    "torch": "trains or loads a network and needs PyTorch, which is not installed; install the extra: "
    "pip install 'eie-codesign[train]'",
    "onnx": "runs a network and needs onnx, which is not installed; install the extra: "
    "pip install 'eie-codesign[onnx]'",
}
_INTERRUPTED = "no file is half-written"


def run(command: Callable[[], object]) -> None:
    """Run a command; exit with 2 and one sentence on invalid input, and with 130 if a signal stops it."""
    stops = _stop_as_if_interrupted()
    try:
        check_packages_belong_together()
        command()
    except KeyboardInterrupt as interrupt:
        sys.exit(_say(f"interrupted: {str(interrupt) or _INTERRUPTED}", status=130))
    except Exception as error:
        if stops:  # a library that was at work took the interrupt for a failure of its own
            sys.exit(_say(f"interrupted: {_INTERRUPTED}", status=130))
        sys.exit(_status(error))


def _status(error: Exception) -> int:
    """Say what ended a command and return its exit status; raise the error again if it is a fault of the project."""
    if isinstance(error, InputError):
        return _say(f"error: {in_options(str(error))}", status=2)
    if isinstance(error, ModuleNotFoundError) and error.name in _MISSING:
        return _say(f"error: this command {_MISSING[error.name]}", status=2)
    if isinstance(error, BrokenPipeError):
        # The reader of the output (a pager, head) has ended. Redirect stdout, so that the exit is silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    raise error


def _stop_as_if_interrupted() -> list[int]:
    """Let the signals that end a command do what an interrupt from the keyboard does; nohup's command goes on.

    Returns the numbers of the signals that have come, which grows.
    """
    stops: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        if number not in (signal.SIGINT, signal.SIGTERM):  # a hang-up: what is printed goes nowhere
            _redirect_closed_outputs()
        signal.default_int_handler(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)):  # Windows has no hang-up
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    return stops


def _redirect_closed_outputs() -> None:
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


@contextmanager
def if_interrupted(consequence: str) -> Iterator[None]:
    """State the consequence of an interruption in its message, such as what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(consequence) from None


def same_command(fresh: bool) -> str:
    """Return the command that continues an interrupted one; --fresh would discard what is kept."""
    return "the same command without --fresh" if fresh else "the same command"


@dataclass(frozen=True)
class CommandGroup:
    """Commands that share their first word, with a description for the overview."""

    description: str
    commands: Mapping[str, Callable[..., object]]


Commands = Mapping[str, Callable[..., object] | CommandGroup]


def run_commands(
    prog: str,
    description: str,
    commands: Commands,
    default: str | None = None,
    moved: Mapping[str, str] | None = None,
    renamed: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Run the command that the command line names.

    Parameters
    ----------
    prog : str
        Program as a user calls it.
    description : str
        Description for the overview.
    commands : mapping of str to function or CommandGroup
        Commands by name.
    default : str, optional
        Command to run if the command line is empty or begins with an option.
    moved : mapping of str to str, optional
        Former commands, with the new command to run.
    renamed : mapping of str to mapping of str to str, optional
        For a command by name, its former options, each with what takes its place.

    Raises
    ------
    InputError
        If the command has moved, or an option has another name.
    """
    import tyro

    arguments = sys.argv[1:]
    for_all = ("-h", "--help", "--tyro-print-completion", "--tyro-write-completion")
    if default is not None and (not arguments or (arguments[0].startswith("-") and arguments[0] not in for_all)):
        arguments = [default, *arguments]
    if arguments and arguments[0] in (moved or {}):
        raise InputError(f"moved: {(moved or {})[arguments[0]]}")
    config = (tyro.conf.FlagCreatePairsOff,)
    while arguments and arguments[0] in commands:
        name, *arguments = arguments
        command = commands[name]
        prog = f"{prog} {name}"
        if not isinstance(command, CommandGroup):
            for argument in arguments:
                option = argument.partition("=")[0]
                if option in (renamed or {}).get(name, {}):
                    raise InputError(f"{option} has another name: {(renamed or {})[name][option]}")
            tyro.cli(with_printable_output(command), prog=prog, args=arguments, config=config)
            return
        description, commands = command.description, command.commands
    tyro.cli(_union(commands), prog=prog, description=description, args=arguments, config=config)


def _union(commands: Commands) -> Any:
    """Return the type from which tyro makes an overview of commands and their completion."""
    import tyro

    members = []
    for name, command in commands.items():
        if isinstance(command, CommandGroup):
            group = tyro.conf.subcommand(name, description=command.description)
            members.append(Annotated[_union(command.commands), group])
        else:
            summary = (command.__doc__ or "").split("\n\n")[0]
            members.append(Annotated[Any, tyro.conf.subcommand(name, constructor=command, description=summary)])
    # A union needs at least two members.
    return Union[(*members, Annotated[None, tyro.conf.Suppress])]


def in_options(sentence: str) -> str:
    """Return an error's sentence with command-line options in place of Python's arguments.

    `fresh=True` becomes `--fresh`, `fit_srams=False` becomes `--no-fit-srams`, and a request for another folder names
    the option `--out`, as the commands call the folder of their results.
    """
    sentence = re.sub(r"give another folder\b", "give another folder with --out", sentence)
    return re.sub(r"\b([a-z_]+)=(True|False)\b", _switch, sentence)


def _switch(found: re.Match[str]) -> str:
    return ("--" if found[2] == "True" else "--no-") + found[1].replace("_", "-")


def _say(sentence: str, status: int) -> int:
    print(printable(sentence), file=sys.stderr)
    return status


def console(width: int = 140) -> Console:
    """Return standard output for tables of printable text; in a file or a pipe the lines have `width` characters."""
    from rich.console import Console
    from rich.text import Text

    class PrintableConsole(Console):
        """Console that escapes control characters in the text it is given, but not in its own."""

        def render_str(self, text: str, **options: Any) -> Text:
            """Return text to print, such as the cell of a table."""
            return super().render_str(printable(text), **options)

    out = raw_stream(sys.stdout)
    return PrintableConsole(file=out, highlight=False, markup=False, width=None if out.isatty() else width)


def check_packages_belong_together() -> None:
    """Raise InputError unless all packages come from one installation: other projects use these names, too."""
    homes = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        homes[package] = Path(spec.origin).parent.parent if spec and spec.origin else None
    if len(set(homes.values())) > 1:
        found = "; ".join(f"{package} from {home}" for package, home in homes.items())
        raise InputError(
            f"{', '.join(PACKAGES)} must come from one installation; found {found}; another distribution "
            f"uses one of these names: install eie-codesign into a virtual environment of its own"
        )


def data_folder(argument: Path | None) -> Path | None:
    """Return the folder of real data: the argument, else the environment variable CODESIGN_DATA, else None."""
    if argument is not None:
        return argument
    value = os.environ.get("CODESIGN_DATA")
    return Path(value) if value else None
