"""One product of a compressed weight on many arrays, simulated on a sample of the vectors that enter it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from designs.design import Packing
from designs.sweeps.evaluation import Counted, LayerRuns, counted
from designs.sweeps.packings import packed_images
from designs.sweeps.recorded import FEWEST_VECTORS, sampled
from designs.sweeps.recording import joined_groups
from designs.sweeps.workload import Workload, WorkloadLayer
from sim import ArrayConfig
from sim.network_schedule import ScheduledLayer
from traces import CompressedLayer
from traces.arrays import Floats32, Floats64, Integers64


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

    @cached_property
    def work(self) -> Integers64:
        """Values that are not zero, of all groups of a vector together, [vectors]."""
        return np.asarray(np.count_nonzero(self.vectors, axis=(0, 2)))

    @cached_property
    def activity(self) -> Floats64:
        """Share of the vectors in which each column is not zero, [groups, columns]."""
        return np.asarray((self.vectors != 0).mean(axis=1), dtype=np.float64)

    def at(self, places: Integers64) -> Floats32:
        """Return the vectors at some places, one group after the other, [groups * places, columns]."""
        return np.ascontiguousarray(self.vectors[:, places].reshape(-1, self.vectors.shape[2]))


class ProductRuns:
    """Packed matrices of one product; equal work is done once.

    Parameters
    ----------
    matrices : sequence of CompressedLayer
        Matrix of each group.
    recorded : RecordedVectors
        The vectors that enter.
    packing : Packing
        PE count, gap width and row assignment.
    largest_error : float
        Bound on the error of means over a sample of the vectors (`designs.sweeps.recorded.sampled`).
    """

    def __init__(
        self, matrices: Sequence[CompressedLayer], recorded: RecordedVectors, packing: Packing, largest_error: float
    ) -> None:
        self._recorded, self._largest_error = recorded, largest_error
        few = np.linspace(0, recorded.vectors.shape[1] - 1, FEWEST_VECTORS).astype(np.int64)
        layer, groups = joined_groups(matrices)
        self._work = WorkloadLayer(layer, recorded.at(few), recorded.per_input, groups, recorded.inputs)
        self.groups = packed_images(Workload(layer.name, (self._work,)), packing)[0]
        self._runs: dict[int, LayerRuns] = {}
        self._places: dict[int, Integers64] = {}
        self._last: tuple[ArrayConfig, tuple[LayerRuns, float]] | None = None

    @property
    def fullest_pe_entries(self) -> int:
        """Entries of the PE that holds most, of the largest matrix."""
        return max(int(group.stored_per_pe.max()) for group in self.groups)

    def on(self, array: ArrayConfig) -> tuple[LayerRuns, float]:
        """Return runs of the vectors whose mean cycles and energy on an array are within the error, and the error.

        The last array's are kept. Raises InputError if the array cannot run the product.
        """
        if self._last is not None and self._last[0] == array:
            return self._last[1]

        def costs(places: Integers64) -> Floats64:
            counts = self._of(places).runs(array)
            cycles = np.sum([each.cycles for each in counts], axis=0)
            energies = np.sum([each.energy_pj for each in counts], axis=0)
            return np.stack([cycles, energies], axis=1).astype(np.float64)

        total = self._recorded.per_input * self._recorded.inputs
        sample = sampled(self._recorded.work, costs, self._largest_error, total)
        self._places[len(sample.places)] = sample.places
        self._last = array, (self._of(sample.places), sample.error)
        return self._last[1]

    def scheduled(self, name: str, array: ArrayConfig) -> ScheduledLayer:
        """Return the product as the schedule of a network needs it."""
        return self._of(np.arange(1)).scheduled(name, array)

    def vectors_per_input(self) -> float:
        """Return the vectors of each group for one input, mean."""
        return self._recorded.per_input

    def counted(self, array: ArrayConfig, vectors: Sequence[float]) -> Counted:
        """Return the counts on an array, of calls of so many vectors; raise InputError if it cannot run the product."""
        runs, _ = self.on(array)
        in_order = np.argsort(self._places[runs.work.vectors])
        return counted(runs.runs(array), runs.work, vectors, in_order)

    def _of(self, places: Integers64) -> LayerRuns:
        if len(places) not in self._runs:  # places follow from their number
            work = replace(self._work, activations=self._recorded.at(places))
            self._runs[len(places)] = LayerRuns(self.groups, work)
        return self._runs[len(places)]
