"""Rows of a sweep: read piece by piece from its files, each point once, and put in order with bounded memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from designs.results import ResultFile, schema_of
from designs.results_folder import unwritable
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.sampling import MOST_POINTS
from traces import InputError
from traces.arrays import Booleans, Integers64

_PIECE_ROWS = 2**16  # of a file that is read
_GROUP_ROWS = 2**17  # of a row group of the finished file
_HELD_BYTES = 2**28  # of rows in memory before they go to the disk
_SCHEMA = schema_of(SWEEP_COLUMNS)


class SweepExtent:
    """Number of points of a sweep, and the layers that each point has a row for, in order.

    Parameters
    ----------
    origin : mapping
        Origin of the sweep, from `designs.sweeps.sweep.sweep_origin`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is the origin of something else.
    """

    def __init__(self, origin: Mapping[str, Any]) -> None:
        settings = origin["settings"]
        self.points = int(settings["points"])
        self.layers = [str(name) for name in settings["workload"]["layers"]]
        if not 1 <= self.points <= MOST_POINTS or not 1 <= len(set(self.layers)) == len(self.layers):
            raise ValueError(f"a sweep has 1 to {MOST_POINTS:,} points, and layers of different names")

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def check_whole(self, points: int, where: object) -> None:
        """Raise InputError unless so many finished points are all; `where` is for the error."""
        if points < self.points:
            raise InputError(
                f"{where}: a finished sweep must have all of its {self.points:,} points; "
                f"{self.points - points:,} are missing, though they were simulated: files may have been removed "
                f"meanwhile; run the same sweep again to simulate these again"
            )


def points_of(table: pa.Table, layers: int) -> Integers64:
    """Return the number of each point of a table with whole points, int64 [points]."""
    numbers: Integers64 = table["point"].to_numpy()[::layers]
    return numbers


def in_order(table: pa.Table, layers: int) -> pa.Table:
    """Return whole points sorted by number."""
    numbers = points_of(table, layers)
    if (np.diff(numbers) > 0).all():
        return table
    rows = np.argsort(numbers, kind="stable")[:, np.newaxis] * layers + np.arange(layers)
    return table.take(rows.ravel())


def finished_rows(files: Sequence[Path], origin: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Yield the rows of all points that are finished, each once, in tables of whole points.

    Parameters
    ----------
    files : sequence of Path
        The final table and the parts of one sweep, as far as they are there.
    origin : mapping
        Origin of the sweep, as it comes back from a file.

    Yields
    ------
    pyarrow.Table
        SWEEP_COLUMNS of points with all layers, whose layers are in order. A point that lacks a layer in a file is not
        finished there. Points are in the order of the files.

    Raises
    ------
    InputError
        If a file is damaged or of another sweep, or two files have different rows for one point and layer.
    """
    extent = SweepExtent(origin)
    owners = np.full(extent.points, -1, dtype=np.int32)
    for number, path in enumerate(files):
        for table in _whole_points(path, origin, extent):
            points = points_of(table, extent.num_layers)
            new = owners[points] < 0
            if not (np.diff(points) > 0).all():
                first = np.zeros_like(new)
                first[np.unique(points, return_index=True)[1]] = True
                new &= first
            owners[points[new]] = number
            if new.all():
                yield table
                continue
            again = np.unique(points[~new])
            _check_equal([files[each] for each in np.union1d(owners[again], number)], again, origin, extent)
            if new.any():
                yield table.filter(pa.array(np.repeat(new, extent.num_layers)))


def _whole_points(path: Path, origin: Mapping[str, Any], extent: SweepExtent) -> Iterator[pa.Table]:
    """Yield the points of one file that have all layers, one after the other and in order, each perhaps repeatedly."""
    remedy = "remove that file, and its points are simulated again"
    try:
        file = ResultFile(path, SWEEP_COLUMNS, empty=True)
        if file.origin != origin:
            keys = sorted(key for key in {*file.origin, *origin} if file.origin.get(key) != origin.get(key))
            raise InputError(f"{path} is of another sweep than its folder, of which {' and '.join(keys)} differ")
        rest = _SCHEMA.empty_table()
        left = file.num_rows
        for piece in file.tables(max(1, _PIECE_ROWS // extent.num_layers) * extent.num_layers):
            left -= piece.num_rows
            piece = piece.select(_SCHEMA.names).cast(_SCHEMA).replace_schema_metadata(None)
            table = pa.concat_tables([rest, piece]).combine_chunks() if rest.num_rows else piece
            numbers = table["point"].to_numpy()
            places = pc.index_in(table["layer"], pa.array(extent.layers)).fill_null(-1).to_numpy()
            if len(numbers) and not (0 <= numbers.min() <= numbers.max() < extent.points and places.min() >= 0):
                raise InputError(f"{path} holds rows of points or layers that are not of its sweep")
            whole = _whole(numbers, places, extent.num_layers)
            rest = table[len(table) :]
            if left:  # the next piece may have the other layers of the last point
                begin = max(
                    len(table) - extent.num_layers + 1, int(np.flatnonzero(whole)[-1]) + 1 if whole.any() else 0
                )
                rest, table, whole = table[begin:], table[:begin], whole[:begin]
            yield table if whole.all() else table.filter(pa.array(whole))
    except InputError as error:
        if not path.exists():
            raise InputError(f"{path} was removed while it was read; run the same sweep again") from error
        raise InputError(f"{error}; or {remedy}" if "; " in str(error) else f"{error}; {remedy}") from error


def _whole(numbers: Integers64, places: Integers64, layers: int) -> Booleans:
    """Mark the rows of points whose layers are all there, one after the other and in order."""
    whole: Booleans = np.zeros(len(numbers), dtype=np.bool_)
    begins = np.flatnonzero(places[: max(0, len(places) - layers + 1)] == 0)
    rows = begins[:, np.newaxis] + np.arange(layers)
    complete = (places[rows] == np.arange(layers)) & (numbers[rows] == numbers[begins][:, np.newaxis])
    whole[rows[complete.all(axis=1)].ravel()] = True
    return whole


def _check_equal(files: Sequence[Path], points: Integers64, origin: Mapping[str, Any], extent: SweepExtent) -> None:
    """Raise InputError if files have different rows for some of these points."""
    tables, sources = [], []
    wanted = pa.array(points)
    for number, path in enumerate(files):
        for table in _whole_points(path, origin, extent):
            tables.append(table.filter(pc.is_in(table["point"], wanted)))
            sources.append(np.full(tables[-1].num_rows, number))
    table = pa.concat_tables(tables)
    numbers = table["point"].to_numpy()
    rows = np.argsort(numbers, kind="stable")
    same_point = np.diff(numbers[rows[:: extent.num_layers]]) == 0
    begins = np.flatnonzero(np.append(False, same_point)) * extent.num_layers
    places = (begins[:, np.newaxis] + np.arange(extent.num_layers)).ravel()
    later, earlier = rows[places], rows[places - extent.num_layers]
    different = np.flatnonzero(_different(table.take(later), table.take(earlier)))
    if different.size:
        one, other = int(earlier[different[0]]), int(later[different[0]])
        source = np.concatenate(sources)
        row = table.select(["point", "layer"])[one : one + 1].to_pylist()[0]
        raise InputError(
            f"{files[source[one]]} and {files[source[other]]} must have the same rows for point {row['point']}, layer "
            f"{row['layer']}; found different ones; remove both files, and their points are simulated again"
        )


def _different(one: pa.Table, other: pa.Table) -> Booleans:
    """Mark the rows in which two tables differ; unknown numbers are equal."""
    different = np.zeros(one.num_rows, dtype=np.bool_)
    for name in one.schema.names:
        values, others = one[name].to_numpy(), other[name].to_numpy()
        differ = values != others
        if values.dtype.kind == "f":
            differ &= ~(np.isnan(values) & np.isnan(others))
        different |= differ
    return different


class SortedRows:
    """Rows of whole points, added in any order and given back in the order of points.

    Rows of a range of points are a group. When the rows take much memory, all of them go to one file for each group.

    Parameters
    ----------
    extent : SweepExtent
        Points and layers of the sweep.
    folder : Path
        Folder for these files; the caller removes it.
    """

    def __init__(self, extent: SweepExtent, folder: Path) -> None:
        self._extent = extent
        self._folder = folder
        self._group_points = max(1, _GROUP_ROWS // extent.num_layers)
        self._held: dict[int, list[pa.Table]] = defaultdict(list)
        self._held_bytes = 0
        self.points = 0

    def add(self, table: pa.Table) -> None:
        """Add the rows of some points; raise InputError if the disk is full."""
        layers = self._extent.num_layers
        table = in_order(table, layers)
        groups = points_of(table, layers) // self._group_points
        begins = np.flatnonzero(np.diff(groups, prepend=-1))
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(groups)], strict=True):
            self._held[int(groups[begin])].append(table[begin * layers : end * layers])
        self.points += len(groups)
        self._held_bytes += table.nbytes
        if self._held_bytes > _HELD_BYTES:
            self._to_disk()

    def _to_disk(self) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for group, tables in self._held.items():
                with self._file(group).open("ab") as stream, pa.ipc.new_stream(stream, _SCHEMA, options=options) as to:
                    to.write_table(pa.concat_tables(tables).combine_chunks())
        except OSError as error:
            raise unwritable(self._folder, error) from error
        self._held.clear()
        self._held_bytes = 0

    def _file(self, group: int) -> Path:
        return self._folder / f"{group}.arrow"

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows in order, one table for each group; the rows are given up."""
        for group in range(-(-self._extent.points // self._group_points)):
            tables = []
            if self._file(group).exists():
                with pa.OSFile(str(self._file(group))) as stream:
                    while stream.tell() < stream.size():
                        tables.append(pa.ipc.open_stream(stream).read_all())
                self._file(group).unlink()
            tables += self._held.pop(group, [])
            if tables:
                yield in_order(pa.concat_tables(tables).combine_chunks(), self._extent.num_layers)
