"""All commands together: help with examples, one name for one thing, and completion by the Tab key."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from traces.shell.completion import PROGRAMS, completion_script

Options = dict[str, dict[str, dict[str, Any]]]
# A name that is never to come back, and the one that all commands have for it.
SYNONYMS = {"--output": "--out", "--rows": "--row-assignment", "--no-fresh": "--fresh"}


@pytest.fixture(scope="module")
def script() -> str:
    return completion_script("bash")


@pytest.fixture(scope="module")
def options(script: str) -> Options:
    """Return the options of each command by name, as the completion script describes them."""
    found: Options = {}
    for line in re.findall(r"^COMPLETION_SPEC = (.*)$", script, flags=re.MULTILINE):
        spec = ast.literal_eval(line)
        for called, command in commands_of(spec["prog"], spec):
            found[called] = {flag: each for each in command["options"] for flag in each["flags"]}
    return found


def commands_of(called: str, spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each command that has no commands of its own."""
    if not spec["subcommands"]:
        yield called, spec
    for name, command in spec["subcommands"].items():
        yield from commands_of(f"{called} {name}", command)


def help_of(program: str, command: list[str], capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> str:
    patch.setattr(sys, "argv", [program, *command, "--help"])
    patch.setenv("COLUMNS", "120")
    module = importlib.import_module(f"{program}.__main__")
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("program", [*PROGRAMS, "traces"])
def test_every_command_says_what_it_does_and_gives_examples(
    program: str, options: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [name.split()[3:] for name in options if name.split()[2] == program] or [["completion"]]
    for command in commands:
        shown = help_of(program, command, capsys, monkeypatch)
        called = " ".join(["python -m", program, *(name for name in command if name not in ("job", "all"))])
        assert shown.startswith(f"usage: python -m {' '.join([program, *command])}")
        assert re.search(rf"For instance:\s+(source <\()?{called}", shown), shown
    if commands != [[]]:
        overview = help_of(program, [], capsys, monkeypatch)
        assert all(command[0] in overview for command in commands)
        assert "For instance" not in overview  # those are each command's own


def test_every_option_has_a_description(options: Options) -> None:
    for command, of_command in options.items():
        for flag, each in of_command.items():
            words = re.sub(r"\(default: .*\)|\(required\)|\(repeatable\)", "", each["description"]).split("•")[-1]
            assert words.strip(), f"{command} {flag}"


def test_one_name_is_of_one_kind_in_all_commands(options: Options) -> None:
    kinds: dict[str, dict[str, list[str]]] = {}
    for command, of_command in options.items():
        for flag, each in of_command.items():
            kinds.setdefault(flag, {}).setdefault(each["type"], []).append(command)
    several = {flag: found for flag, found in kinds.items() if len(found) > 1}
    assert not several


def test_no_command_has_another_name_for_the_same(options: Options) -> None:
    for command, of_command in options.items():
        for flag in SYNONYMS:
            assert flag not in of_command, f"{command} {flag} is {SYNONYMS[flag]}"
    for command in ("designs job", "designs sweep", "designs codesign", "designs experiment planning", "sim"):
        assert "--out" in options[f"python -m {command}"], command


def test_bash_completes_programs_commands_options_and_choices(script: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script)
    (tmp_path / "data.npy").touch()
    tries = {
        "python -m de": "designs",
        "python -m designs si": "simulate",
        "python -m designs simulate --row": "--row-assignment",
        "python3 -m sim layer.npz --precision fixed-1": "fixed-16",
        "python -m reports pla": "planning",
        "python -m designs experiment pla": "planning",
        "python -m designs experiment rtl --o": "--out",
        "python dat": "data.npy",
    }
    lines = ["source ./script"]
    for words in tries:
        lines.append(f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()")
        lines.append('_eie_codesign_python; echo "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(tries.values())


def test_zsh_reads_the_same_functions(script: str, tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("needs zsh, which is not installed")
    from traces.shell.completion import _together

    (tmp_path / "script").write_text(_together({"sim": script}, "zsh"))
    command = "source ./script && echo $_comps[python] && whence -w _eie_codesign_python"
    done = subprocess.run(["zsh", "-f", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["_bash_complete -F _eie_codesign_python", "_eie_codesign_python: function"]
