"""What the command lines of all packages share: mistakes end in a sentence, not in a traceback."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from traces.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

PACKAGES = ("traces", "compress", "sim", "designs", "reports")
_NO_TORCH = (
    "error: this command trains or loads a network and needs PyTorch, which is not installed; install the extra: "
    "pip install 'eie-codesign[train]'"
)
_INTERRUPTED = "interrupted: files are whole or absent, and steps that the main job has finished are kept"


def run(command: Callable[[], object]) -> None:
    """Run a command; exit with 2 and one sentence on bad input, with 130 when interrupted or terminated."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, leaves nothing half-written
    try:
        check_packages_belong_together()
        command()
    except InputError as error:
        sys.exit(_say(f"error: {error}", status=2))
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        sys.exit(_say(_NO_TORCH, status=2))
    except KeyboardInterrupt:
        sys.exit(_say(_INTERRUPTED, status=130))
    except BrokenPipeError:
        # The reader of our output (a pager, head) has gone; point stdout elsewhere so that exit is silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run_commands(
    prog: str, description: str, commands: Mapping[str, Callable[..., object]], default: str | None = None
) -> None:
    """Run the command that the command line names; `default`, where it begins with an option or holds nothing."""
    import tyro

    arguments = sys.argv[1:]
    for_all = ("-h", "--help", "--tyro-print-completion", "--tyro-write-completion")
    if default is not None and (not arguments or (arguments[0].startswith("-") and arguments[0] not in for_all)):
        arguments = [default, *arguments]
    config = (tyro.conf.FlagCreatePairsOff,)
    if arguments and arguments[0] in commands:
        name = arguments[0]
        tyro.cli(commands[name], prog=f"{prog} {name}", args=arguments[1:], config=config)
        return
    listed = tuple(
        Annotated[
            Any,
            tyro.conf.subcommand(name, constructor=command, description=(command.__doc__ or "").split("\n\n")[0]),
        ]
        for name, command in commands.items()
    )
    # A union needs two members at least.
    every: Any = Union[(*listed, Annotated[None, tyro.conf.Suppress])]
    tyro.cli(every, prog=prog, description=description, args=arguments, config=config)


def _say(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


def console() -> Console:
    """Standard output for tables; a file or a pipe gets lines long enough for all of ours."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)


def check_packages_belong_together() -> None:
    """Make sure that the five packages come from one place: their names exist elsewhere, too."""
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
    """The folder of real data: the argument, else the environment variable CODESIGN_DATA, else None."""
    if argument is not None:
        return argument
    value = os.environ.get("CODESIGN_DATA")
    return Path(value) if value else None
