"""Folder of a sweep: its origin, the arrays that workers share, one file per finished batch, and the final table.

    sweep.json        origin of the sweep: space, sampling, workload, versions, digest of the sources
    parts/*.parquet   finished points; each file is whole or absent, and its name is its first point
    arrays/           while a run lasts: the workload and its packed matrices, mapped by the workers
    merging/          at the end of a run: rows of ranges of points, until they are in order
    sweep.parquet     all points in order; it replaces the parts

A sweep is finished when all of its points are there. Each run counts them anew and simulates the missing ones again.
Files of another origin than that in sweep.json, and different rows for one point and layer, are errors.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from designs.results import ResultFile, results_file, schema_of
from designs.results_folder import check_links, check_origin, lock_folder, remove_files
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.rows import SortedRows, SweepExtent, finished_rows, in_order, points_of
from designs.sweeps.totals import DesignPoint, best_of, best_point
from designs.sweeps.workload import Workload
from traces import InputError
from traces.arrays import Booleans
from traces.files.atomic_file import PARTIAL_SUFFIX, write_atomically

SWEEP_FILE = "sweep.parquet"
ORIGIN_FILE = "sweep.json"
_PART = re.compile(r"\d{8,}(-\d+)?\.parquet")


class SweepFolder:
    """Folder of one sweep. Use as a context manager: one run at a time may write to it.

    Parameters
    ----------
    folder : Path
        The folder; it is made if it is missing.
    origin : mapping
        Origin of the sweep, from `designs.sweeps.sweep.sweep_origin`.
    fresh : bool
        Remove what the folder holds.

    Raises
    ------
    InputError
        On entry, if another run writes to the folder, it holds another sweep, or it cannot be written.
    """

    def __init__(self, folder: Path, origin: Mapping[str, Any], fresh: bool = False) -> None:
        self.folder = folder
        self.origin = json.loads(json.dumps(origin))  # as it comes back from a file
        self.fresh = fresh
        self._is_whole = False  # True if the final table has all points in order, and there is no part

    def __enter__(self) -> SweepFolder:
        self._lock = lock_folder(self.folder)
        try:
            check_links(self.folder, (SWEEP_FILE, ORIGIN_FILE, self.parts.name, self.arrays.name, self.merging.name))
            for left_behind in self.parts.glob(f".*{PARTIAL_SUFFIX}"):
                left_behind.unlink(missing_ok=True)
            if (self.folder / ORIGIN_FILE).exists() or (self.fresh and self._has_results()):
                self._remove_temporary()  # what a killed run left
            if self.fresh:
                self._remove()
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove_temporary()
        self._lock.release()

    def _has_results(self) -> bool:
        return any(path == self.result or _PART.fullmatch(path.name) for path in _files_in(self.folder))

    def _remove_temporary(self) -> None:
        for folder in (self.arrays, self.merging):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def parts(self) -> Path:
        """Folder of the finished batches."""
        return self.folder / "parts"

    @property
    def arrays(self) -> Path:
        """Folder of the arrays that workers map."""
        return self.folder / "arrays"

    @property
    def merging(self) -> Path:
        """Folder of the rows that are put in order."""
        return self.folder / "merging"

    @property
    def result(self) -> Path:
        """File of the final table."""
        return self.folder / SWEEP_FILE

    def _begin(self) -> None:
        record = self.folder / ORIGIN_FILE
        if record.exists():
            check_origin(self.folder, "sweep", _origin_in(record), self.origin)
            return
        if self.result.exists() or self.parts.exists():
            raise InputError(
                f"{self.folder} holds results without the sweep.json that states their origin; give another folder, or "
                f"fresh=True to begin anew"
            )
        foreign = [each.name for each in (self.arrays, self.merging) if each.exists()]
        if foreign:
            raise InputError(
                f"{self.folder} holds {' and '.join(foreign)}, which a sweep would replace, and no sweep; give another "
                f"folder"
            )
        write_atomically(record, json.dumps(self.origin, indent=1).encode())

    def _remove(self) -> None:
        for path in (self.result, self.folder / ORIGIN_FILE):
            path.unlink(missing_ok=True)
        remove_files(self.parts, _PART)

    def share(self, workload: Workload) -> Path:
        """Write the workload for workers to map and return its folder; raise InputError if the disk is full."""
        folder = self.arrays / "workload"
        workload.write(folder)
        return folder

    @property
    def packed(self) -> Path:
        """Folder of the shared packed matrices."""
        return self.arrays / "packed"

    def rows(self) -> Iterator[pa.Table]:
        """Yield the rows of all finished points (`designs.sweeps.rows.finished_rows`)."""
        return finished_rows(_files_in(self.folder), self.origin)

    def finished(self) -> FinishedPoints:
        """Return the finished points; raise InputError if a file is damaged or of another sweep."""
        extent = SweepExtent(self.origin)
        done: Booleans = np.zeros(extent.points, dtype=np.bool_)
        best, last, sorted_so_far = None, -1, True
        for table in self.rows():
            points = points_of(table, extent.num_layers)
            done[points] = True
            best = best_of(best, best_point(table))
            sorted_so_far &= bool((np.diff(points, prepend=last) > 0).all())
            last = int(points[-1]) if len(points) else last
        if done.all() and sorted_so_far and _files_in(self.folder) == [self.result]:
            self._is_whole = pq.read_metadata(self.result).num_rows == extent.points * extent.num_layers
        return FinishedPoints(done, best)

    def keep(self, first_point: int, part: bytes) -> None:
        """Write a finished batch; raise InputError if the disk is full or read-only. Earlier parts stay."""
        path, others = self.parts / f"{first_point:08d}.parquet", 0
        while path.exists():  # that part lacks a layer of its first point, but may have other points
            others += 1
            path = self.parts / f"{first_point:08d}-{others}.parquet"
        try:
            write_atomically(path, part)
        except InputError as error:
            raise InputError(
                f"{error}; the points finished before are kept; make room and run the same sweep again to continue"
            ) from error

    def finish(self) -> Path:
        """Write the final table, remove the parts and return the table's file.

        Raises InputError if points are missing or a file is not of the sweep. Parts stay then.
        """
        if self._is_whole:
            return self.result
        extent = SweepExtent(self.origin)
        rows = SortedRows(extent, self.merging)
        for table in self.rows():
            rows.add(table)
        extent.check_whole(rows.points, self.folder)
        with results_file(self.result, schema_of(SWEEP_COLUMNS), self.origin) as writer:
            for table in rows.tables():
                writer.write_table(table, row_group_size=table.num_rows)
        remove_files(self.parts, _PART)
        return self.result


class FinishedPoints(NamedTuple):
    """Finished points of a sweep.

    Attributes
    ----------
    done : bool [points]
        True for each point that is finished.
    best : DesignPoint, optional
        The point of least energy-delay product among those.
    """

    done: Booleans
    best: DesignPoint | None


class SweepReader:
    """Finished or unfinished sweep that is read piece by piece.

    Parameters
    ----------
    path : path
        Folder of the sweep, which may be unfinished, or its file sweep.parquet.

    Attributes
    ----------
    origin : dict
        Settings, versions and digest of the sources.

    Raises
    ------
    InputError
        If there is no finished point, the origin of the results is unknown, or the file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = Path(path)
        self._files = _files_in(path) if path.is_dir() else [path]
        record = path / ORIGIN_FILE
        if not self._files:
            raise InputError(f"{path}: holds no finished point of a sweep; make one with python -m designs sweep")
        self._is_finished = self._files[0].parent == path or not path.is_dir()
        if path.is_dir() and record.exists():
            origin = _origin_in(record)
        elif self._is_finished:
            origin = ResultFile(self._files[0], SWEEP_COLUMNS).origin
        else:
            raise InputError(f"{path} holds results without the {ORIGIN_FILE} that states their origin; remove them")
        self._extent = _extent_of(origin)
        if origin is None or (self._extent is None and not self._is_finished):
            raise InputError(f"{record} must state the origin of a sweep; it is damaged; restore it, or sweep again")
        self.origin = origin

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the finished points, SWEEP_COLUMNS, part by part, in tables of whole points.

        Raises InputError if a file is damaged or of another sweep, or points of a finished sweep are missing.
        """
        if self._extent is None:  # the table of an experiment, which is not in a folder of a sweep
            yield ResultFile(self._files[0], SWEEP_COLUMNS).table()
            return
        if not self.path.is_dir():
            rows = pq.read_metadata(self._files[0]).num_rows
            self._extent.check_whole(rows // self._extent.num_layers, self._files[0])
        points = 0
        for table in finished_rows(self._files, self.origin):
            points += table.num_rows // self._extent.num_layers
            yield table
        if self._is_finished:
            self._extent.check_whole(points, self.path)

    def table(self) -> pa.Table:
        """Return the rows of the finished points in order; raise InputError as `tables` does."""
        for path in self._files:
            ResultFile(path, SWEEP_COLUMNS, empty=True).check_memory()
        table = pa.concat_tables([schema_of(SWEEP_COLUMNS).empty_table(), *self.tables()])
        if self._extent is None:
            return table
        return in_order(table.combine_chunks(), self._extent.num_layers)


def _files_in(folder: Path) -> list[Path]:
    """Return the final table of a sweep, if it is there, and the parts by name."""
    result = folder / SWEEP_FILE
    return [result][: result.exists()] + sorted((folder / "parts").glob("*.parquet"))


def _origin_in(record: Path) -> dict[str, Any] | None:
    """Return the origin that a file states; None if it states none."""
    try:
        origin = json.loads(record.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return origin if isinstance(origin, dict) else None


def _extent_of(origin: Mapping[str, Any] | None) -> SweepExtent | None:
    """Return the points and layers of a sweep; None if it is the origin of something else."""
    try:
        return None if origin is None else SweepExtent(origin)
    except (KeyError, TypeError, ValueError):
        return None
