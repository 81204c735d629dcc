"""Result files of the experiments, read as rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from designs.file_names import path_within
from designs.results import Column, read_results
from traces import InputError

Row = dict[str, Any]


def read_rows(path: Path, columns: Sequence[Column], experiment: str, command: str = "experiment ") -> list[Row]:
    """Read the rows of a result file.

    Parameters
    ----------
    path : Path
        Result file.
    columns : sequence of Column
        Columns that it must have.
    experiment : str
        Name of the experiment that makes it, for the error.
    command : str
        What comes before that name on the command line; empty for a command of its own.

    Returns
    -------
    list of dict
        Values of each row by column.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such result file; make it with python -m designs {command}{experiment}")
    rows: list[Row] = read_results(path, columns)[0].to_pylist()
    return rows


def container_of(folder: Path, row: Row) -> Path:
    """Return the container of a row with CONTAINER_COLUMNS; raise InputError if its path may lead out of the folder."""
    return path_within(folder, "a container's path", row["file"], "run the experiment again")
