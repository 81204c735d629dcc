"""A sweep on disk: what made it, its arrays, a file for each finished batch of points, and at the end one table.

sweep.json        what makes the sweep: space, sampling, workload, versions, digest of the sources
parts/*.parquet   finished points, each file whole or absent, named after its first point
arrays/           of the run that goes on: the workload and its packed matrices, for workers to map
sweep.parquet     all points in order; the parts are gone then

A sweep is finished when all of its points are there, counted anew by each run: what is missing is done again.
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

from designs.folder_lock import lock_folder
from designs.results import read_results, write_results
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.workload import Workload
from traces import InputError
from traces.files.atomic_file import PARTIAL_SUFFIX, write_atomically

SWEEP_FILE = "sweep.parquet"
_KEYS = ["point", "layer"]  # what a row is about


class SweepFolder:
    """The folder of one sweep. Use as a context manager: one run at a time may write to it.

    fresh   begin anew, whatever is there

    Raises InputError if another run writes to it, it holds another sweep, or it cannot be written.
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
        return self.folder / "parts"

    @property
    def arrays(self) -> Path:
        return self.folder / "arrays"

    @property
    def result(self) -> Path:
        return self.folder / SWEEP_FILE

    def _begin(self) -> None:
        record = self.folder / "sweep.json"
        if record.exists():
            try:
                found = json.loads(record.read_text())
            except (OSError, ValueError):
                found = None
            if found != self.origin:
                raise InputError(
                    f"{self.folder} holds another sweep{_difference(found, self.origin)}; give another folder with "
                    f"--out, or --fresh to begin anew"
                )
            return
        if self.result.exists() or self.parts.exists():
            raise InputError(
                f"{self.folder} holds results without a sweep.json that says what made them; give another folder with "
                f"--out, or --fresh to begin anew"
            )
        write_atomically(record, json.dumps(self.origin, indent=1).encode())

    def _remove(self) -> None:
        for path in (self.result, self.folder / "sweep.json"):
            path.unlink(missing_ok=True)
        for folder in (self.parts, self.arrays):
            shutil.rmtree(folder, ignore_errors=True)

    def share(self, workload: Workload) -> Path:
        """Write the workload for workers to map; where it is. Raises InputError if the disk is full."""
        place = self.arrays / "workload"
        workload.write(place)
        return place

    @property
    def packed(self) -> Path:
        """Where packed matrices are shared."""
        return self.arrays / "packed"

    def finished(self) -> pa.Table:
        """Read the points that are on the disk with all layers, in order. Raises InputError if a file is damaged."""
        return whole_points([*self._table_before(), *_read([*self.parts.glob("*.parquet")])], self.origin)

    def _table_before(self) -> list[pa.Table]:
        """Read what an earlier run took for the whole sweep, if one did."""
        return _read([self.result]) if self.result.exists() else []

    def keep(self, first_point: int, part: bytes) -> None:
        """Write a finished batch. Raises InputError if the disk is full or refuses; parts written before stay."""
        path, others = self.parts / f"{first_point:08d}.parquet", 0
        while path.exists():  # it lacks a layer of that point, but other points need not
            others += 1
            path = self.parts / f"{first_point:08d}-{others}.parquet"
        try:
            write_atomically(path, part)
        except InputError as error:
            raise InputError(
                f"{error}; the points finished before are kept: make room and run the same command again to go on"
            ) from error

    def finish(self) -> pa.Table:
        """Put the parts together in one file; the table. Raises InputError if points are missing; the parts stay."""
        table = self.finished()
        check_whole(table, self.origin, str(self.folder))
        before = self._table_before()
        if not before or not before[0].select(_KEYS).equals(table.select(_KEYS)):
            write_results(self.result, table, self.origin)
        shutil.rmtree(self.parts, ignore_errors=True)
        return table


def read_parts(folder: Path) -> pa.Table:
    """Read all points of a folder of parts, in order; no rows where there are none."""
    return in_order(_read([*folder.glob("*.parquet")]))


def _read(paths: Sequence[Path]) -> list[pa.Table]:
    """Read result files of a sweep, in the order of their names."""
    tables = []
    for path in sorted(paths):
        try:
            tables.append(read_results(path, SWEEP_COLUMNS)[0])
        except InputError as error:
            raise InputError(f"{error}; or remove that file, and its points are done again") from error
    return tables


def in_order(parts: Sequence[pa.Table], layers: Sequence[str] = ()) -> pa.Table:
    """Put the rows of finished batches in one table, each once, design after design; no rows where there are none.

    layers   in the order of their rows; those not named follow in the order in which they are found
    """
    schema = pa.schema([column.field for column in SWEEP_COLUMNS])
    table = pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])
    names = list(dict.fromkeys([*layers, *table["layer"].unique().to_pylist()]))
    places = pc.index_in(table["layer"], pa.array(names, pa.string())).to_numpy()
    _, first = np.unique(table["point"].to_numpy() * len(names) + places, return_index=True)
    return table.take(first).combine_chunks().replace_schema_metadata(None)


def whole_points(parts: Sequence[pa.Table], origin: Mapping[str, Any]) -> pa.Table:
    """Choose the rows of those points of a sweep that finished batches have with all layers, in order."""
    points, layers = _extent(origin)
    table = in_order(parts, layers)
    numbers = table["point"].to_numpy()
    chosen = (numbers >= 0) & (numbers < points) & pc.is_in(table["layer"], pa.array(layers)).to_numpy()
    rows_of_point = np.bincount(numbers[chosen], minlength=points)
    chosen[chosen] = rows_of_point[numbers[chosen]] == len(layers)
    return table if chosen.all() else table.filter(chosen).combine_chunks()


def check_whole(table: pa.Table, origin: Mapping[str, Any], what: str) -> None:
    """Raise InputError unless a sweep's table, from `whole_points`, has all of its points."""
    points, layers = _extent(origin)
    missing = points - table.num_rows // len(layers)
    if missing:
        raise InputError(
            f"{what}: a finished sweep must have all of its {points:,} points; {missing:,} are missing, though they "
            f"were done: files may have been removed while it ran; run the same command again, and these are done again"
        )


def _extent(origin: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Look up how many points a sweep has, and the layers that each has a row for, in order."""
    settings = origin["settings"]
    return settings["points"], settings["workload"]["layers"]


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return ""
    different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    return f", of which {' and '.join(different)} differ"
