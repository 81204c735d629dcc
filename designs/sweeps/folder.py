"""Folder of a sweep: its origin, the arrays that workers share, one file per finished batch, and the final table.

    sweep.json        origin of the sweep: space, sampling, workload, versions, digest of the sources
    parts/*.parquet   finished points; each file is whole or absent, and its name is its first point
    arrays/           while a run lasts: the workload and its packed matrices, mapped by the workers
    sweep.parquet     all points in order; it replaces the parts

A sweep is finished when all of its points are there. Each run counts them anew and simulates the missing ones again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from designs.results import read_results, schema_of, write_results
from designs.results_folder import check_origin, lock_folder
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.workload import Workload
from traces import InputError
from traces.files.atomic_file import PARTIAL_SUFFIX, write_atomically

SWEEP_FILE = "sweep.parquet"
_KEYS = ["point", "layer"]  # they identify a row


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

    def __enter__(self) -> SweepFolder:
        self._lock = lock_folder(self.folder)
        try:
            for left_behind in self.parts.glob(f".*{PARTIAL_SUFFIX}"):
                left_behind.unlink(missing_ok=True)
            shutil.rmtree(self.arrays, ignore_errors=True)
            if self.fresh:
                self._remove()
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.arrays, ignore_errors=True)
        self._lock.release()

    @property
    def parts(self) -> Path:
        """Folder of the finished batches."""
        return self.folder / "parts"

    @property
    def arrays(self) -> Path:
        """Folder of the arrays that workers map."""
        return self.folder / "arrays"

    @property
    def result(self) -> Path:
        """File of the final table."""
        return self.folder / SWEEP_FILE

    def _begin(self) -> None:
        record = self.folder / "sweep.json"
        if record.exists():
            try:
                previous = json.loads(record.read_text())
            except (OSError, ValueError):
                previous = None
            check_origin(self.folder, "sweep", previous, self.origin)
            return
        if self.result.exists() or self.parts.exists():
            raise InputError(
                f"{self.folder} holds results without the sweep.json that states their origin; give another folder, or "
                f"fresh=True to begin anew"
            )
        write_atomically(record, json.dumps(self.origin, indent=1).encode())

    def _remove(self) -> None:
        for path in (self.result, self.folder / "sweep.json"):
            path.unlink(missing_ok=True)
        for folder in (self.parts, self.arrays):
            shutil.rmtree(folder, ignore_errors=True)

    def share(self, workload: Workload) -> Path:
        """Write the workload for workers to map and return its folder; raise InputError if the disk is full."""
        folder = self.arrays / "workload"
        workload.write(folder)
        return folder

    @property
    def packed(self) -> Path:
        """Folder of the shared packed matrices."""
        return self.arrays / "packed"

    def finished(self) -> pa.Table:
        """Return the rows of the points that have all layers, in order; raise InputError if a file is damaged."""
        return self._with_parts(self._table_before())

    def _with_parts(self, before: Sequence[pa.Table]) -> pa.Table:
        return whole_points([*before, *_read([*self.parts.glob("*.parquet")])], self.origin)

    def _table_before(self) -> list[pa.Table]:
        """Return the final table of an earlier run, if there is one; points may be missing from it."""
        return _read([self.result]) if self.result.exists() else []

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

    def finish(self) -> pa.Table:
        """Write the final table and remove the parts; raise InputError if points are missing. Parts stay then."""
        before = self._table_before()
        table = self._with_parts(before)
        check_whole(table, self.origin, str(self.folder))
        if not before or not before[0].select(_KEYS).equals(table.select(_KEYS)):
            write_results(self.result, table, self.origin)
        shutil.rmtree(self.parts, ignore_errors=True)
        return table


def read_parts(folder: Path) -> pa.Table:
    """Return all points of a folder of parts, in order; an empty table if there are none."""
    return in_order(_read([*folder.glob("*.parquet")]))


def _read(paths: Sequence[Path]) -> list[pa.Table]:
    """Return the tables of these result files, sorted by file name."""
    tables = []
    for path in sorted(paths):
        try:
            tables.append(read_results(path, SWEEP_COLUMNS)[0])
        except InputError as error:
            raise InputError(f"{error}; or remove that file, and its points are simulated again") from error
    return tables


def in_order(parts: Sequence[pa.Table], layers: Sequence[str] = ()) -> pa.Table:
    """Return the rows of finished batches, each once, sorted by point and layer.

    Parameters
    ----------
    parts : sequence of pyarrow.Table
        Tables with SWEEP_COLUMNS. Without any, the result is empty.
    layers : sequence of str
        Layers in the order of their rows. Other layers follow in the order in which they appear.
    """
    schema = schema_of(SWEEP_COLUMNS)
    table = pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])
    names = list(dict.fromkeys([*layers, *table["layer"].unique().to_pylist()]))
    places = pc.index_in(table["layer"], pa.array(names, pa.string())).to_numpy()
    _, first = np.unique(table["point"].to_numpy() * len(names) + places, return_index=True)
    return table.take(first).combine_chunks().replace_schema_metadata(None)


def whole_points(parts: Sequence[pa.Table], origin: Mapping[str, Any]) -> pa.Table:
    """Return the rows of the points that have all layers, in order; other points are left out."""
    points, layers = _extent(origin)
    table = in_order(parts, layers)
    numbers = table["point"].to_numpy()
    chosen = (numbers >= 0) & (numbers < points) & pc.is_in(table["layer"], pa.array(layers)).to_numpy()
    rows_of_point = np.bincount(numbers[chosen], minlength=points)
    chosen[chosen] = rows_of_point[numbers[chosen]] == len(layers)
    return table if chosen.all() else table.filter(chosen).combine_chunks()


def check_whole(table: pa.Table, origin: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless a table from `whole_points` has all points of the sweep; `where` is for the error."""
    points, layers = _extent(origin)
    missing = points - table.num_rows // len(layers)
    if missing:
        raise InputError(
            f"{where}: a finished sweep must have all of its {points:,} points; {missing:,} are missing, though they "
            f"were simulated: files may have been removed meanwhile; run the same sweep again to simulate these again"
        )


def _extent(origin: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Return the number of points of a sweep, and the layers that each point has a row for, in order."""
    settings = origin["settings"]
    return settings["points"], settings["workload"]["layers"]
