"""Sentences of errors on the command line: they name options where Python's callers read arguments."""

from __future__ import annotations

import pytest

from traces.shell.command_line import in_options


@pytest.mark.parametrize(
    ("sentence", "printed"),
    [
        (
            "out holds another sweep; give another folder, or fresh=True to begin anew",
            "out holds another sweep; give another folder with --out, or --fresh to begin anew",
        ),
        ("leave them out, or give fit_srams=False", "leave them out, or give --no-fit-srams"),
        ("num_pes=0 must be 1 to 65,536", "num_pes=0 must be 1 to 65,536"),
    ],
)
def test_arguments_become_options(sentence: str, printed: str) -> None:
    assert in_options(sentence) == printed
