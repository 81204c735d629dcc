"""Counts of one compressed layer on all packings, queues, broadcasts and lines of a space, kept in memory and files.

They hold for arrays on which the network stays in the SRAMs, or is run as if it did (`memory_mode` "resident" and
"unlimited"). With them, the costs of a design follow without a kernel: clock, SRAMs, port and the other layers enter in
closed form.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import operator
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import designs
import sim
import traces
from designs.codesigns.product_runs import KnownSample, ProductMatrices, ProductRuns, RecordedVectors
from designs.design import Packing
from sim import ArrayConfig
from sim.config import Precision
from sim.memory import images_of
from sim.network_schedule import sum_of_images
from traces import CompressedLayer, InputError
from traces.arrays import Booleans, Floats64, Integers64, Numbers
from traces.files.checksums import arrays_with_checksum, checked_arrays
from traces.files.npz import read_npz, write_npz
from traces.provenance import source_digest

MOST_BYTES = 2**28  # of the counts in memory
_LONGEST_LINE = 2**15  # entries, of the widest line that an array can have
_GRID_AXES = ("packings", "queue_slots", "broadcast_cycles", "entries_per_line")


@dataclass(frozen=True)
class CountsGrid:
    """Arrays for which layers are counted: every packing with every queue, broadcast and line.

    Attributes
    ----------
    packings : tuple of Packing
        PE counts, gap widths and row assignments.
    queue_slots, broadcast_cycles : tuple of int
        Values of these parameters of the arrays.
    entries_per_line : tuple of int
        Entries of a line of the sparse-matrix SRAM.
    precision : str
        Precision of the arrays, which decides which activations are zero.

    Raises
    ------
    InputError
        If no array has one of the values.
    """

    packings: tuple[Packing, ...]
    queue_slots: tuple[int, ...]
    broadcast_cycles: tuple[int, ...]
    entries_per_line: tuple[int, ...]
    precision: Precision = "float"

    def __post_init__(self) -> None:
        for queue_slots in self.queue_slots:
            ArrayConfig(queue_slots=queue_slots, precision=self.precision)
        for broadcast_cycles in self.broadcast_cycles:
            ArrayConfig(broadcast_cycles=broadcast_cycles)
        for entries in self.entries_per_line:
            if not 1 <= entries <= _LONGEST_LINE:
                raise InputError(
                    f"entries_per_line must be 1 to {_LONGEST_LINE:,}, whole entries of a line; found {entries}"
                )

    @property
    def timings(self) -> list[tuple[int, int]]:
        """Pairs of queue_slots and broadcast_cycles."""
        return [(slots, cycles) for slots in self.queue_slots for cycles in self.broadcast_cycles]

    def __or__(self, other: CountsGrid) -> CountsGrid:
        joined: dict[str, Any] = {
            name: tuple(dict.fromkeys(getattr(self, name) + getattr(other, name))) for name in _GRID_AXES
        }
        return replace(self, **joined)

    def __ge__(self, other: CountsGrid) -> bool:
        held = all(set(getattr(self, name)) >= set(getattr(other, name)) for name in _GRID_AXES)
        return held and self.precision == other.precision

    def places_of(self, other: CountsGrid, axes: Sequence[str]) -> tuple[Numbers, ...]:
        """Return the places of another grid's values along some axes, as an index of an array with these axes first."""
        places = []
        for axis in axes:
            numbers = {value: number for number, value in enumerate(getattr(self, axis))}
            places.append(np.array([numbers[value] for value in getattr(other, axis)], dtype=np.int64))
        return np.ix_(*places)


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCounts:
    """Counts of one compressed layer of a network on the arrays of a grid, of all its products, groups and calls.

    Attributes
    ----------
    grid : CountsGrid
        The arrays.
    call_places : array of int64 [calls]
        Places of the calls of the layer's products among the calls of the network (`Execution.calls`).
    pipelined : array of float64 [calls]
        Vectors of all groups in a call, mean per input: `pipeline_cycles` of an array is added so often to its cycles.
    base_cycles : array of float64 [packings, queue_slots, broadcast_cycles, calls, inputs or 1]
        Cycles of each call without these, for each input, or the mean (`designs.sweeps.evaluation.Counted`).
    pointer_reads, processed_entries, useful_macs : array of float64 [packings]
        Mean per input (`COUNTS`).
    line_reads : array of float64 [packings, entries_per_line]
        Mean per input.
    lines, all_lines : array of int64 [packings, entries_per_line, products]
        Lines of the fullest PE and of all PEs, of all groups of each product (`sim.memory.Image`).
    entries, pointers, all_pointers : array of int64 [packings, products]
        Entries of the fullest PE, and pointers of a PE and of all PEs, likewise.
    errors : array of float64 [packings]
        Bound on the relative error of cycles and energy, since vectors are sampled (`ProductRuns`), at a confidence
        level of 95 %.
    sampled : array of int64 [packings, products]
        Vectors of the samples.
    """

    grid: CountsGrid
    call_places: Integers64
    pipelined: Floats64
    base_cycles: Floats64
    pointer_reads: Floats64
    processed_entries: Floats64
    useful_macs: Floats64
    line_reads: Floats64
    lines: Integers64
    all_lines: Integers64
    entries: Integers64
    pointers: Integers64
    all_pointers: Integers64
    errors: Floats64
    sampled: Integers64

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(getattr(self, name).nbytes for name in _ARRAYS)

    def part(self, grid: CountsGrid) -> LayerCounts:
        """Return the counts of a part of the grid; raise InputError if the grid does not hold it."""
        if grid == self.grid:
            return self
        if not self.grid >= grid:
            lacking = next(
                (name for name in _GRID_AXES if set(getattr(grid, name)) - set(getattr(self.grid, name))), ""
            )
            name = lacking or "precision"
            raise InputError(
                f"{name} of the grid must be counted, {getattr(self.grid, name)}; found {getattr(grid, name)}; count "
                f"the layer on a larger grid"
            )
        arrays = {name: getattr(self, name)[self.grid.places_of(grid, axes)] for name, axes in _AXES.items()}
        return replace(self, grid=grid, **arrays)

    def joined(self, other: CountsGrid | LayerCounts) -> LayerCounts:
        """Return counts on a grid that holds both; what is unknown is nan in `base_cycles` and `line_reads`."""
        grid = self.grid | (other if isinstance(other, CountsGrid) else other.grid)
        parts = [self] if isinstance(other, CountsGrid) else [self, other]
        num_inputs = max(each.base_cycles.shape[-1] for each in parts)
        arrays = {}
        for name, axes in _AXES.items():
            rest = getattr(self, name).shape[len(axes) :]
            rest = (*rest[:-1], num_inputs) if name == "base_cycles" else rest
            array = _unknown(getattr(self, name).dtype, [len(getattr(grid, axis)) for axis in axes], rest)
            for each in parts:
                places, values = grid.places_of(each.grid, axes), getattr(each, name)
                array[places] = np.where(_is_unknown(values), array[places], values)
            arrays[name] = array
        return replace(self, grid=grid, **arrays)

    def unknown(self, grid: CountsGrid) -> list[tuple[Packing, list[tuple[int, int]], list[int]]]:
        """Return the packings of a grid of which something was not counted, with its timings and lines."""
        part = self.part(grid)
        cycles = np.isnan(part.base_cycles).any(axis=(3, 4)).reshape(len(grid.packings), -1)
        reads = np.isnan(part.line_reads)
        return [
            (
                packing,
                [timing for timing, is_unknown in zip(grid.timings, of_timings, strict=True) if is_unknown],
                [entries for entries, is_unknown in zip(grid.entries_per_line, of_lines, strict=True) if is_unknown],
            )
            for packing, of_timings, of_lines in zip(grid.packings, cycles, reads, strict=True)
            if of_timings.any() or of_lines.any()
        ]

    def knows(self, grid: CountsGrid) -> bool:
        """Return True if all arrays of a grid were counted."""
        return self.grid >= grid and not self.unknown(grid)


_OF_PACKING, _OF_LINE = ("packings",), ("packings", "entries_per_line")
_AXES = MappingProxyType(  # first axes of each array that depends on the grid
    {
        "base_cycles": ("packings", "queue_slots", "broadcast_cycles"),
        **dict.fromkeys(("pointer_reads", "processed_entries", "useful_macs"), _OF_PACKING),
        **dict.fromkeys(("line_reads", "lines", "all_lines"), _OF_LINE),
        **dict.fromkeys(("entries", "pointers", "all_pointers", "errors", "sampled"), _OF_PACKING),
    }
)
_ARRAYS = tuple(field.name for field in dataclasses.fields(LayerCounts) if field.name != "grid")


def _unknown(dtype: Any, shape: Sequence[int], rest: Sequence[int]) -> Numbers:
    return np.full((*shape, *rest), np.nan if dtype.kind == "f" else 0, dtype=dtype)


def _is_unknown(values: Numbers) -> Booleans:
    return np.isnan(values) if values.dtype.kind == "f" else values == 0


class CountedLayer:
    """Compressed layer of a network, to be counted.

    Counts depend on which weights and coded biases are zero, on the threshold of activations, and on the vectors that
    enter. Layers that agree in these share them, whatever their shared weights are.

    Parameters
    ----------
    products : sequence of (sequence of CompressedLayer, RecordedVectors)
        Matrices of the groups of each product, with the vectors that enter.
    calls : sequence of (int, int, float)
        Calls of these products in order: place among the calls of the network, number of the product, and vectors of
        one group, mean per input.
    largest_error : float
        Bound on the error of means over a sample of the vectors.

    Notes
    -----
    In fixed point, the format of the activations follows from the largest of them. A free bias narrows it only if it
    is 2**30 times as large as the largest product; this is left out. Raises InputError if a matrix has several
    codebooks, which suit arrays of some PEs and not of others.
    """

    def __init__(
        self,
        products: Sequence[tuple[Sequence[CompressedLayer], RecordedVectors]],
        calls: Sequence[tuple[int, int, float]],
        largest_error: float,
    ) -> None:
        for matrices, _ in products:
            for each in matrices:
                if each.num_codebooks > 1:
                    raise InputError(
                        f"layer {each.name!r}: codebooks must be 'layer', since a co-design counts arrays of any "
                        f"number of PEs; found {each.num_codebooks:,} codebooks; compress it with codebooks='layer'"
                    )
        self._products = [([_mask(each) for each in matrices], recorded) for matrices, recorded in products]
        self._calls, self._largest_error = list(calls), largest_error

    def digest(self, precision: Precision) -> str:
        """Return a hash of what the counts depend on but for the grid, and of the sources that make them."""
        digest = hashlib.sha256(f"{_sources()} {precision} {self._largest_error} {self._calls}\0".encode())
        for matrices, recorded in self._products:
            digest.update(f"{len(matrices)} {recorded.digest}\0".encode())
            for matrix in matrices:
                digest.update(
                    f"{matrix.codes.shape} {matrix.bias is not None} {matrix.activation_threshold}\0".encode()
                )
                for codes in (matrix.codes, matrix.bias):
                    digest.update(b"" if codes is None else np.packbits(codes).tobytes())
        return digest.hexdigest()

    def counts(self, grids: Sequence[CountsGrid], known: LayerCounts | None = None) -> LayerCounts:
        """Return the counts on some grids joined with those that are known; only what is unknown is counted."""
        counts = (known or self._none(grids[0].precision)).joined(functools.reduce(operator.or_, grids))
        matrices = [ProductMatrices(*each) for each in self._products]
        arrays = {name: getattr(counts, name) for name in _AXES}
        for grid in grids:
            for packing, timings, lines in replace(counts, **arrays).unknown(grid):
                place = counts.grid.packings.index(packing)
                sizes, error = arrays["sampled"][place].tolist(), float(arrays["errors"][place])
                runs = [
                    ProductRuns(each, packing, self._largest_error, KnownSample(size, error) if size else None)
                    for each, size in zip(matrices, sizes, strict=True)
                ]
                self._fill(arrays, counts.grid, place, runs, timings, lines)
        return replace(counts, **arrays)

    def _fill(
        self,
        arrays: dict[str, Any],
        grid: CountsGrid,
        place: int,
        runs: Sequence[ProductRuns],
        timings: Sequence[tuple[int, int]],
        lines: Sequence[int],
    ) -> None:
        """Count some timings and lines with one packing, and write them to its place in the arrays."""
        queues = [grid.queue_slots.index(queue_slots) for queue_slots, _ in timings]
        broadcasts = [grid.broadcast_cycles.index(cycles) for _, cycles in timings]
        of_lines = [grid.entries_per_line.index(entries) for entries in lines]
        means = dict.fromkeys(("pointer_reads", "processed_entries", "useful_macs"), 0.0)
        error, reads = 0.0, np.zeros(len(lines))
        for number, run in enumerate(runs):
            of_product = [call for call, (_, product, _) in enumerate(self._calls) if product == number]
            vectors = [self._calls[call][2] for call in of_product]
            found = run.whole(grid.precision, timings, lines, vectors)
            for call, cycles in zip(of_product, found.call_cycles, strict=True):
                num_inputs = max(cycles.shape[1], arrays["base_cycles"].shape[-1])
                if num_inputs > arrays["base_cycles"].shape[-1]:  # a mean stands for each input
                    arrays["base_cycles"] = np.repeat(arrays["base_cycles"], num_inputs, axis=-1)
                arrays["base_cycles"][place, queues, broadcasts, call] = cycles
            means = {name: mean + getattr(found, name) for name, mean in means.items()}
            reads += found.line_reads
            error = max(error, found.error)
            arrays["sampled"][place, number] = found.sampled
            images = zip(*(images_of(group, lines) for group in run.groups), strict=True)
            for line, image in zip(of_lines, map(sum_of_images, images), strict=True):
                arrays["lines"][place, line, number] = image.lines
                arrays["all_lines"][place, line, number] = image.all_lines
                arrays["entries"][place, number] = image.entries
                arrays["pointers"][place, number] = image.pointers
                arrays["all_pointers"][place, number] = image.all_pointers
        arrays["line_reads"][place, of_lines] = reads
        arrays["errors"][place] = error
        for name, mean in means.items():
            arrays[name][place] = mean

    def _none(self, precision: Precision) -> LayerCounts:
        """Return the counts of no array."""
        calls, products = len(self._calls), len(self._products)
        rest = {"base_cycles": (calls, 1)} | dict.fromkeys(("lines", "all_lines"), (products,))
        rest |= dict.fromkeys(("entries", "pointers", "all_pointers", "sampled"), (products,))
        whole = ("lines", "all_lines", "entries", "pointers", "all_pointers", "sampled")
        arrays: dict[str, Any] = {
            name: np.zeros((0,) * len(axes) + rest.get(name, ()), dtype=np.int64 if name in whole else np.float64)
            for name, axes in _AXES.items()
        }
        return LayerCounts(
            grid=CountsGrid((), (), (), (), precision),
            call_places=np.array([place for place, _, _ in self._calls], dtype=np.int64),
            pipelined=np.array(
                [vectors * len(self._products[product][0]) for _, product, vectors in self._calls], dtype=np.float64
            ),
            **arrays,
        )


def _mask(matrix: CompressedLayer) -> CompressedLayer:
    """Return a matrix with 1 for each weight and coded bias that is not zero, and without a bias of its own."""
    kept = (matrix.codes != 0).astype(np.uint8)
    bias = None if matrix.bias is None else (matrix.bias != 0).astype(np.uint8)
    ones = np.array([0, 1], dtype=np.float32)
    return dataclasses.replace(matrix, codes=kept, codebook=ones, bias=bias, free_bias=None, row_codebooks=None)


def _sources() -> str:
    """Return a hash of all sources that counts follow from."""
    return source_digest(*(Path(package.__file__ or "").parent for package in (traces, sim, designs)))


class LayerCountsStore:
    """Counts of layers by digest, in memory and in the files of a folder.

    Processes may share a folder. A file is written whole or not at all, and one that is damaged counts as missing. If
    two processes count one layer at once, the file has the counts of the one that ended last.

    Parameters
    ----------
    folder : Path or str, optional
        Folder of the files. None: the counts are in memory alone.
    most_bytes : int
        Largest size of the counts in memory; those used last are kept.
    """

    def __init__(self, folder: Path | str | None = None, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = None if folder is None else Path(folder), most_bytes
        self._kept: OrderedDict[str, LayerCounts] = OrderedDict()
        self._num_bytes = 0

    def counts(self, layer: CountedLayer, *grids: CountsGrid) -> LayerCounts:
        """Return the counts of a layer on a grid; what neither memory nor folder has is counted.

        Parameters
        ----------
        layer : CountedLayer
            The layer.
        *grids : CountsGrid
            The arrays, of one precision. The counts are those on the grid that holds all of them, where cycles and line
            reads of other arrays may be nan.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        digest = layer.digest(grids[0].precision)
        known = self._kept.get(digest)
        if known is None or not all(map(known.knows, grids)):
            filed = self._read(digest)
            if filed is not None:
                known = filed if known is None else known.joined(filed)
            if known is None or not all(map(known.knows, grids)):
                known = layer.counts(grids, known)
                self._write(digest, known)
        self._keep(digest, known)
        return known.part(functools.reduce(operator.or_, grids))

    def _keep(self, digest: str, counts: LayerCounts) -> None:
        before = self._kept.pop(digest, None)
        self._num_bytes += counts.num_bytes - (0 if before is None else before.num_bytes)
        self._kept[digest] = counts
        while self._num_bytes > self._most_bytes and len(self._kept) > 1:
            self._num_bytes -= self._kept.popitem(last=False)[1].num_bytes

    def _read(self, digest: str) -> LayerCounts | None:
        """Return the counts of a file; None if it is missing, or its content is not what was written."""
        if self._folder is None:
            return None
        try:
            content = checked_arrays(read_npz(self._folder / f"{digest}.npz"), digest)
            return None if content is None else _from_content(content)
        except (InputError, KeyError, ValueError):
            return None

    def _write(self, digest: str, counts: LayerCounts) -> None:
        if self._folder is not None:
            write_npz(self._folder / f"{digest}.npz", arrays_with_checksum(_content_of(counts), digest))


def _content_of(counts: LayerCounts) -> dict[str, Numbers]:
    """Return the arrays of a file."""
    grid = counts.grid
    return {
        **{name: getattr(counts, name) for name in _ARRAYS},
        **{name: np.array(getattr(grid, name), dtype=np.int64) for name in _GRID_AXES if name != "packings"},
        "packing_numbers": np.array([each[:2] for each in grid.packings], dtype=np.int64).reshape(-1, 2),
        "row_assignments": np.array([each.row_assignment for each in grid.packings], dtype=np.str_),
        "precision": np.array(grid.precision),
    }


def _from_content(content: Mapping[str, Any]) -> LayerCounts:
    """Return the counts whose arrays a file has."""
    packings = tuple(
        Packing(int(num_pes), int(index_bits), str(assignment))  # type: ignore[arg-type]
        for (num_pes, index_bits), assignment in zip(
            content["packing_numbers"], content["row_assignments"], strict=True
        )
    )
    axes = {name: tuple(content[name].tolist()) for name in _GRID_AXES if name != "packings"}
    grid = CountsGrid(packings, **axes, precision=str(content["precision"]))  # type: ignore[arg-type]
    return LayerCounts(grid=grid, **{name: content[name] for name in _ARRAYS})
