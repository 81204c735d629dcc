"""One product of a compressed weight on many arrays, simulated on a sample of the vectors that enter it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from designs.design import Packing
from designs.sweeps.evaluation import Counted, LayerRuns, call_cycles, counted, per_input
from designs.sweeps.recorded import FEWEST_VECTORS, VectorSample, VectorsByWork, sampled
from designs.sweeps.recording import joined_groups
from designs.sweeps.workload import WorkloadLayer
from sim import ArrayConfig, BatchRun, PackedLayer, pack
from sim.batch import WholeCounts
from sim.config import Precision
from sim.network_schedule import ScheduledLayer
from sim.row_assignment import assign_rows, exchanged_orders, faster_order
from traces import CompressedLayer
from traces.arrays import Floats32, Floats64, Integers64
from traces.layer import thresholded

_SAMPLED_TIMINGS = ((2, 1), (64, 1))  # queue slots and broadcast cycles
_SAMPLED_LINES = (1, 8)  # entries


@dataclass(frozen=True, eq=False)
class RecordedVectors:
    """Vectors that enter one product of a network.

    Attributes
    ----------
    vectors : array of float32 [groups, vectors, columns]
        Recorded vectors: all, or evenly spaced ones.
    per_input : float
        Vectors of one group for one input of the network, mean.
    inputs : int
        Inputs of the network that were recorded.
    """

    vectors: Floats32
    per_input: float
    inputs: int

    def by_work(self, threshold: float) -> VectorsByWork:
        """Return the vectors by their values above a threshold, of all groups together."""
        if threshold not in self._by_work:
            work = np.count_nonzero(thresholded(self.vectors, threshold), axis=(0, 2))
            self._by_work[threshold] = VectorsByWork(np.asarray(work))
        return self._by_work[threshold]

    def activity(self, threshold: float) -> Floats64:
        """Return the share of the vectors in which each column is above a threshold, [groups, columns]."""
        return np.asarray((thresholded(self.vectors, threshold) != 0).mean(axis=1), dtype=np.float64)

    @cached_property
    def _by_work(self) -> dict[float, VectorsByWork]:
        return {}

    @cached_property
    def digest(self) -> str:
        """Hash of the vectors and of what they stand for."""
        digest = hashlib.sha256(f"{self.vectors.shape} {self.per_input} {self.inputs}\0".encode())
        digest.update(np.ascontiguousarray(self.vectors).data)
        return digest.hexdigest()

    def at(self, places: Integers64) -> Floats32:
        """Return the vectors at some places, one group after the other, [groups * places, columns]."""
        return np.ascontiguousarray(self.vectors[:, places].reshape(-1, self.vectors.shape[2]))


class ProductMatrices:
    """Matrices of one product, to be packed for many arrays; rows are assigned once where packings share them.

    Parameters
    ----------
    matrices : sequence of CompressedLayer
        Matrix of each group.
    recorded : RecordedVectors
        The vectors that enter; row assignments take a few of them.
    """

    def __init__(self, matrices: Sequence[CompressedLayer], recorded: RecordedVectors) -> None:
        self.recorded = recorded
        few = np.linspace(0, recorded.vectors.shape[1] - 1, FEWEST_VECTORS).astype(np.int64)
        layer, groups = joined_groups(matrices)
        self.few = WorkloadLayer(layer, recorded.at(few), recorded.per_input, groups, recorded.inputs)
        self._orders: dict[tuple[int, str], list[Any]] = {}
        self._samples: dict[int, WorkloadLayer] = {}

    def sample(self, places: Integers64) -> WorkloadLayer:
        """Return the product with a sample of its vectors (`RecordedVectors.by_work`), at these places."""
        size = len(places)
        if size not in self._samples:
            self._samples[size] = replace(self.few, activations=self.recorded.at(places))
        return self._samples[size]

    def packed(self, packing: Packing) -> list[PackedLayer]:
        """Return the packed matrix of each group."""
        work, searched = self.few, packing.row_assignment == "search"
        array = _array(packing.num_pes, packing.index_bits, work.layer.weight_bits)
        key = packing.num_pes, packing.row_assignment
        if key not in self._orders:  # the width of a gap matters to the last step of a search alone
            self._orders[key] = [
                exchanged_orders(matrix, work.group_activations(group), array)
                if searched
                else assign_rows(matrix, packing.row_assignment, array, work.group_activations(group))
                for group, matrix in enumerate(work.matrices)
            ]
        orders = self._orders[key]
        if searched:
            orders = [
                faster_order(matrix, work.group_activations(group), array, orders[group])
                for group, matrix in enumerate(work.matrices)
            ]
        return [pack(matrix, array, order) for matrix, order in zip(work.matrices, orders, strict=True)]


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductCounts:
    """Counts of one product on arrays of one packing that run it from SRAMs in one block.

    Attributes
    ----------
    call_cycles : list of numpy.ndarray
        Cycles of each call without the `pipeline_cycles` of its vectors, float64 [timings, inputs]; [timings, 1], the
        mean, if the vectors are a sample or differ in number from input to input.
    pointer_reads, processed_entries, useful_macs : float
        Mean per input.
    line_reads : numpy.ndarray
        Mean per input for each line, float64 [lines].
    error : float
        Bound on the relative error of the means.
    sampled : int
        Vectors of the sample.
    """

    call_cycles: list[Floats64]
    pointer_reads: float
    processed_entries: float
    useful_macs: float
    line_reads: Floats64
    error: float
    sampled: int


class KnownSample(NamedTuple):
    """Size of the sample of a product's vectors, as an earlier run with the same packing found it.

    Attributes
    ----------
    size : int
        Vectors.
    error : float
        Bound on the relative error of the means.
    """

    size: int
    error: float


class ProductRuns:
    """Packed matrices of one product; equal work is done once.

    The vectors are sampled once for each precision, whatever the array is: the means of the cycles with queues of 2 and
    of 64 slots, of broadcasts, processed entries and useful multiply-accumulates, and of the line reads with lines of
    1 and of 8 entries are all within the error. So is the energy, which is a sum of such counts with positive weights.
    Other queues, broadcasts and lines have errors of about this size.

    Parameters
    ----------
    matrices : ProductMatrices
        Matrix of each group, with the vectors that enter.
    packing : Packing
        PE count, gap width and row assignment.
    largest_error : float
        Bound on the error of means over a sample of the vectors (`designs.sweeps.recorded.sampled`).
    known : KnownSample, optional
        The sample, if it is known for the precision in which the product is run.
    """

    def __init__(
        self, matrices: ProductMatrices, packing: Packing, largest_error: float, known: KnownSample | None = None
    ) -> None:
        self._matrices, self._recorded, self._largest_error = matrices, matrices.recorded, largest_error
        self.groups = matrices.packed(packing)
        self._samples: dict[Precision, tuple[LayerRuns, VectorSample]] = {}
        self._known = known
        self._scheduled: dict[tuple[str, int], ScheduledLayer] = {}

    @property
    def fullest_pe_entries(self) -> int:
        """Entries of the PE that holds most, of the largest matrix."""
        return max(group.fullest_pe_entries for group in self.groups)

    @property
    def num_bytes(self) -> int:
        """Bytes of matrices, packed images and sampled vectors."""
        images = sum(each.nbytes for group in self.groups for each in (group.entry_lanes, group.padding_lanes))
        vectors = sum(runs.work.activations.nbytes for runs, _ in self._samples.values())
        few = self._matrices.few
        return images + vectors + few.layer.codes.nbytes + few.activations.nbytes

    def on(self, array: ArrayConfig) -> tuple[LayerRuns, float]:
        """Return runs of a sample of the vectors in the array's precision, and the bound on the error of means."""
        runs, sample = self._sampled(array.precision)
        return runs, sample.error

    def scheduled(self, name: str, array: ArrayConfig) -> ScheduledLayer:
        """Return the product as the schedule of a network needs it."""
        key = name, array.entries_per_line
        if key not in self._scheduled:
            self._scheduled[key] = ScheduledLayer.of_groups(name, self.groups, array)
        return self._scheduled[key]

    def vectors_per_input(self) -> float:
        """Return the vectors of each group for one input, mean."""
        return self._recorded.per_input

    def counted(self, array: ArrayConfig, vectors: Sequence[float]) -> Counted:
        """Return the counts on an array, of calls of so many vectors; raise InputError if it cannot run the product."""
        runs, sample = self._sampled(array.precision)
        return counted(runs.runs(array), runs.work, vectors, np.argsort(sample.places))

    def whole(
        self,
        precision: Precision,
        timings: Sequence[tuple[int, int]],
        lines: Sequence[int],
        vectors: Sequence[float],
    ) -> ProductCounts:
        """Return the counts on arrays that run the product from SRAMs in one block, of calls of so many vectors.

        Parameters
        ----------
        precision : str
            Precision of the arrays.
        timings : sequence of (int, int)
            `queue_slots` and `broadcast_cycles` of the arrays.
        lines : sequence of int
            Entries of a line of the arrays.
        vectors : sequence of float
            Vectors of one group in each call.
        """
        runs, sample = self._sampled(precision)
        work, groups = runs.work, self._whole(runs, precision, timings, lines)
        cycles = sum(group.cycles_without_pipeline for group in groups)
        reads: Any = sum(group.line_reads.sum(axis=1) for group in groups)
        broadcasts, entries, padding = (
            sum(int(getattr(group, name).sum()) for group in groups)
            for name in ("broadcasts", "processed_entries", "processed_padding")
        )
        return ProductCounts(
            call_cycles=call_cycles(np.asarray(cycles)[:, np.argsort(sample.places)], work, vectors),
            pointer_reads=per_input(self.groups[0].num_pes * broadcasts, work),
            processed_entries=per_input(entries, work),
            useful_macs=per_input(entries - padding, work),
            line_reads=np.array([per_input(int(each), work) for each in reads]),
            error=sample.error,
            sampled=len(sample.places),
        )

    def _sampled(self, precision: Precision) -> tuple[LayerRuns, VectorSample]:
        if precision not in self._samples:
            last: list[LayerRuns] = []

            def costs(places: Integers64) -> Floats64:
                last[:] = [LayerRuns(self.groups, self._matrices.sample(places))]
                groups = self._whole(last[0], precision, _SAMPLED_TIMINGS, _SAMPLED_LINES)
                return np.asarray(np.sum([_costs(group) for group in groups], axis=0, dtype=np.float64).T)

            threshold = self._matrices.few.layer.activation_threshold
            vectors, known = self._recorded.by_work(threshold), self._known
            if known is None:
                total = self._recorded.per_input * self._recorded.inputs
                sample = sampled(vectors, costs, self._largest_error, total)
                runs = last[0]
            else:
                sample = VectorSample(vectors.places(known.size), known.error)
                runs = LayerRuns(self.groups, self._matrices.sample(sample.places))
            self._samples[precision] = runs, sample
        return self._samples[precision]

    def _whole(
        self, runs: LayerRuns, precision: Precision, timings: Sequence[tuple[int, int]], lines: Sequence[int]
    ) -> list[WholeCounts]:
        packed = self.groups[0]
        array = _array(packed.num_pes, packed.index_bits, packed.layer.weight_bits, precision)
        of_groups: list[BatchRun] = runs.batch_runs(array)
        return [run.whole(timings, lines) for run in of_groups]


@cache
def _array(num_pes: int, index_bits: int, weight_bits: int, precision: Precision = "float") -> ArrayConfig:
    """Return an array of this packing and precision."""
    return ArrayConfig(num_pes=num_pes, index_bits=index_bits, weight_bits=weight_bits, precision=precision)


def _costs(counts: WholeCounts) -> Integers64:
    """Return the counts whose means a sample must keep, [counts, vectors]."""
    others = (counts.broadcasts, counts.processed_entries, counts.processed_entries - counts.processed_padding)
    return np.concatenate([counts.cycles_without_pipeline, others, counts.line_reads])
