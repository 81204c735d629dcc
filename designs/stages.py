"""Steps of a long job that are kept: a run that was cut off goes on after its last finished step."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from designs.folder_lock import lock_folder
from traces.files.atomic_file import write_atomically


class Stages:
    """The finished steps of one results folder, each with what made it and a checksum of its file.

    A step that is made again makes all later steps again, unless it gives the very same file.

    Use as a context manager: one run at a time may write to a folder. Raises InputError if another run does,
    or the folder cannot be written.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        self._record_path = folder / "stages.json"
        self._previous: list[int] = []  # checksums of the files of the steps before

    def __enter__(self) -> Stages:
        self._lock = lock_folder(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _finished(self) -> dict[str, Any]:
        try:
            record = json.loads(self._record_path.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def run(self, file_name: str, origin: Mapping[str, Any], make: Callable[[Path], object]) -> bool:
        """Call `make` to write `file_name`, unless it is there as the same `origin` made it.

        Returns True if it was made now, False if it was kept from an earlier run.
        """
        path = self.folder / file_name
        finished = self._finished()
        keep = not self.fresh and path.is_file() and finished.get(file_name) == self._entry(path, origin)
        if not keep:
            make(path)
            finished[file_name] = self._entry(path, origin)
            write_atomically(self._record_path, json.dumps(finished, indent=1).encode())
        self._previous.append(finished[file_name]["crc32"])
        return not keep

    def _entry(self, path: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
        entry = {"crc32": zlib.crc32(path.read_bytes()), "after": self._previous, "origin": origin}
        return cast(dict[str, Any], json.loads(json.dumps(entry)))  # as it comes back from a file
