"""Printed text: what names from files cannot do to a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from tests.commands import run_command
from traces.shell.command_line import console
from traces.shell.printable import printable, printable_output, raw_stream, with_printable_output

HOSTILE = "\x1b[2J\x1b]0;title\x07\rok\x08\x9b31m\u202eabc\ud800"
ESCAPED = r"\x1b[2J\x1b]0;title\x07\rok\x08\x9b31m\u202eabc\ud800"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_control_characters_are_escaped_and_other_text_is_not() -> None:
    assert printable(HOSTILE) == ESCAPED
    plain = "Größe 三 µm²\n\tè [red]"
    assert printable(plain) == plain


@pytest.mark.parametrize("write", [print, lambda text: print(text, file=sys.stderr)])
def test_printed_text_is_printable(write: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output():
        write(HOSTILE)
        with printable_output():  # it is not escaped twice
            write("\x1b")
    output = "".join(capsys.readouterr())
    assert output == f"{ESCAPED}\n\\x1b\n"


def test_cells_and_titles_of_tables_are_printable_and_tables_have_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with printable_output():
        table = Table(title=HOSTILE)
        table.add_column(HOSTILE)
        table.add_row(HOSTILE)
        console().print(table)
    text = terminal.getvalue()
    assert text.count(ESCAPED) == 3
    assert "\x1b[1m" in text  # headings
    assert "\x1b[2J" not in text
    assert "\x1b]0" not in text
    assert raw_stream(sys.stdout) is terminal


def test_a_command_keeps_its_parameters_and_documentation() -> None:
    def command(rows: int = 3) -> int:
        """Return rows."""
        return rows

    wrapped = with_printable_output(command)
    assert (wrapped(rows=4), wrapped.__doc__, wrapped.__name__) == (4, "Return rows.", "command")


def test_errors_and_output_of_commands_are_printable(tmp_path: Path) -> None:
    done = run_command("sim", tmp_path / "\x1b[2Jabsent.npz", folder=tmp_path)
    assert done.returncode == 2
    assert "\\x1b[2Jabsent.npz" in done.stderr
    assert "\x1b" not in done.stderr
    np.save(tmp_path / "layer.npy", np.eye(8, dtype=np.float32))
    done = run_command("sim", tmp_path / "layer.npy", "--activations", tmp_path / "\x1b[1m.npy", folder=tmp_path)
    assert "\\x1b[1m.npy" in done.stderr
    assert "\x1b" not in done.stderr
    assert "--num-pes" in run_command("sim", "--help", folder=tmp_path).stdout
