"""What compressed layers of a network cost on any array: simulated once for each layer, choice and packing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.design import Design, Packing
from designs.sweeps.evaluation import COUNTS, LayerRuns, energies_pj
from designs.sweeps.fitting import fitted
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload, WorkloadLayer
from sim.cost.area import area_mm2
from traces import CompressedLayer, InputError

if TYPE_CHECKING:
    from designs.codesigns.entering_vectors import EnteringVectors

_KEPT_LAYERS = 400
_CYCLES = COUNTS.index("cycles")


@dataclass(frozen=True)
class ChosenLayer:
    """A compressed layer, and what tells it from the same layer compressed otherwise."""

    layer: CompressedLayer
    key: Hashable


@dataclass(frozen=True, eq=False)
class ArrayFigures:
    """What a network costs on one design, one input in the mean.

    design    the design, its SRAMs fitted if that was asked for
    lacking   what it lacks to hold each layer whole, by layer; empty if nothing
    runs      the layers, packed, with the vectors that they were run on, in order
    per_input   how many such vectors there are for one input of the network, by layer
    counts    of one input, float64 [layers, counts], what COUNTS names
    energies_pj   of one input, float64 [blocks, layers]
    Latency and energy are not numbers where the design does not run every layer.
    """

    design: Design
    latency_us: float
    energy_nj: float
    area_mm2: float
    lacking: Mapping[str, str]
    runs: Mapping[str, LayerRuns]
    per_input: Mapping[str, float]
    counts: npt.NDArray[np.float64]
    energies_pj: npt.NDArray[np.float64]


class NetworkOnArrays:
    """A network's layers, in any compression, on any array, by what enters each of them.

    What is counted for a layer is kept, so that designs that differ in another layer, in SRAMs or in the clock cost
    next to nothing.
    """

    def __init__(self, entering: Mapping[str, EnteringVectors]) -> None:
        self.entering = entering
        self._runs: OrderedDict[Hashable, LayerRuns] = OrderedDict()

    def figures(self, layers: Mapping[str, ChosenLayer], design: Design, fit_srams: bool) -> ArrayFigures:
        """Latency, energy and area of one design.

        fit_srams   give every PE the smallest SRAMs that hold each layer whole, see `designs.sweeps.fitting.fitted`

        Raises InputError if an SRAM is outside of the tables.
        """
        runs = {name: self._layer(name, chosen, design.packing) for name, chosen in layers.items()}
        if fit_srams:
            design = fitted(design, _sizes(list(runs.values()), design.packing))
        array = design.array
        area = area_mm2(array)
        lacking = {name: run.lacking(array) for name, run in runs.items()}
        lacking = {name: reason for name, reason in lacking.items() if reason}
        counts = np.full((len(runs), len(COUNTS)), np.nan)
        if not lacking or array.memory_mode != "resident":
            for number, (name, run) in enumerate(runs.items()):
                try:
                    counts[number] = run.counts(array) * self.entering[name].per_input
                except InputError as error:  # it cannot be cut into blocks that fit
                    lacking[name] = str(error)
        cycles = float(counts[:, _CYCLES].sum())
        energies = energies_pj(array, counts)
        return ArrayFigures(
            design,
            cycles / array.clock_mhz,
            float(energies.sum()) / 1e3,
            area,
            lacking,
            runs,
            {name: self.entering[name].per_input for name in runs},
            counts,
            energies,
        )

    def _layer(self, name: str, chosen: ChosenLayer, packing: Packing) -> LayerRuns:
        key = (name, chosen.key, packing)
        if key not in self._runs:
            work = WorkloadLayer(chosen.layer, self.entering[name].vectors)
            self._runs[key] = LayerRuns(packed_images(Workload(name, (work,)), packing)[0], work)
            while len(self._runs) > _KEPT_LAYERS:
                self._runs.popitem(last=False)
        self._runs.move_to_end(key)
        return self._runs[key]


def _sizes(runs: list[LayerRuns], packing: Packing) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                **packing._asdict(),
                "fullest_pe_entries": int(run.packed.stored_per_pe.max()),
                "columns": run.work.layer.columns,
                "rows": run.work.layer.rows,
            }
            for run in runs
        ]
    )
