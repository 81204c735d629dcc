"""Steps of a long job: each result is kept, so that an interrupted run continues after its last finished step."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from designs.results_folder import check_links, lock_folder
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.plain_values import parsed_json, read_text

RECORD_FILE = "stages.json"


def is_kept(path: Path) -> bool:
    """Return True if a file is as a step in its folder wrote it."""
    entry = _finished_steps(path.parent).get(path.name)
    return isinstance(entry, dict) and path.is_file() and entry.get("crc32") == zlib.crc32(path.read_bytes())


def _finished_steps(folder: Path) -> dict[str, Any]:
    """Return the finished steps of a folder by file; none if their record is missing or damaged."""
    try:
        record = parsed_json(folder / RECORD_FILE, read_text(folder / RECORD_FILE), infinite=True)
    except InputError:
        return {}
    return record if isinstance(record, dict) else {}


class Stages:
    """Finished steps of one results folder, each with its origin and the checksum of its file.

    If a step is repeated, all later steps are repeated, too, unless it gives exactly the same file. Use as a context
    manager: one run at a time may write to a folder.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    fresh : bool
        Repeat all steps.

    Raises
    ------
    InputError
        On entry, if another run writes to the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        self._previous: list[int] = []  # checksums of the files of the steps before

    def __enter__(self) -> Stages:
        self._lock = lock_folder(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def run(self, file_name: str, origin: Mapping[str, Any], make: Callable[[Path], object]) -> bool:
        """Run one step, unless its file is there and has the same origin.

        Parameters
        ----------
        file_name : str
            File that the step writes.
        origin : mapping
            Settings of the step, as plain values.
        make : callable
            Writes the file at the path that it is called with.

        Returns
        -------
        bool
            True if the step ran now, False if the file of an earlier run was kept.

        Raises
        ------
        InputError
            If the file is a link that leads out of the folder.
        """
        check_links(self.folder, [file_name, RECORD_FILE])
        path = self.folder / file_name
        finished = _finished_steps(self.folder)
        keep = not self.fresh and path.is_file() and finished.get(file_name) == self._entry(path, origin)
        if not keep:
            make(path)
            finished[file_name] = self._entry(path, origin)
            write_atomically(self.folder / RECORD_FILE, json.dumps(finished, indent=1).encode())
        self._previous.append(finished[file_name]["crc32"])
        return not keep

    def _entry(self, path: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
        entry = {"crc32": zlib.crc32(path.read_bytes()), "after": self._previous, "origin": origin}
        return cast(dict[str, Any], json.loads(json.dumps(entry)))  # as it comes back from a file
