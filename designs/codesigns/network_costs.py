"""Costs of compressed layers on any array, simulated once per layer, choice and packing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from designs.design import Design, Packing
from designs.sweeps.evaluation import COUNTS, LayerRuns, energies_pj
from designs.sweeps.fitting import fitted
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload, WorkloadLayer
from sim.cost.area import area_mm2
from traces import CompressedLayer, InputError
from traces.arrays import Floats64

if TYPE_CHECKING:
    from designs.codesigns.entering_vectors import EnteringVectors

_KEPT_LAYERS = 400
_CYCLES = COUNTS.index("cycles")


@dataclass(frozen=True)
class ChosenLayer:
    """A compressed layer, and a key for its choice, which differs between compressions of the layer."""

    layer: CompressedLayer
    key: Hashable


@dataclass(frozen=True, eq=False)
class ArrayFigures:
    """Costs of a network on one design, mean per input; latency and energy are nan if a layer does not run.

    Attributes
    ----------
    design : Design
        The design, with fitted SRAMs if these were requested.
    latency_us, energy_nj, area_mm2 : float
        Latency and energy per input, and area.
    lacking : mapping of str to str
        Exceeded capacities by layer, of the layers that do not fit.
    runs : mapping of str to LayerRuns
        The packed layers with their vectors, in order.
    per_input : mapping of str to float
        Vectors per input of the network, by layer.
    counts : array [layers, counts]
        COUNTS per input.
    energies_pj : array [blocks, layers]
        Energy of each block per input, in pJ.
    """

    design: Design
    latency_us: float
    energy_nj: float
    area_mm2: float
    lacking: Mapping[str, str]
    runs: Mapping[str, LayerRuns]
    per_input: Mapping[str, float]
    counts: Floats64
    energies_pj: Floats64


class NetworkOnArrays:
    """Simulation of a network's layers, in any compression, on any array.

    The counts of a layer are kept, so a design that differs in another layer, in SRAMs or in the clock costs little.

    Parameters
    ----------
    entering : mapping of str to EnteringVectors
        Recorded vectors that enter each layer.
    """

    def __init__(self, entering: Mapping[str, EnteringVectors]) -> None:
        self.entering = entering
        self._runs: OrderedDict[Hashable, LayerRuns] = OrderedDict()

    def figures(self, layers: Mapping[str, ChosenLayer], design: Design, fit_srams: bool) -> ArrayFigures:
        """Return the costs of one design.

        Parameters
        ----------
        layers : mapping of str to ChosenLayer
            The compressed layers by name.
        design : Design
            The design.
        fit_srams : bool
            Give every PE the smallest SRAMs that hold each layer whole (`designs.sweeps.fitting.fitted`).

        Raises
        ------
        InputError
            If an SRAM is outside the SRAM tables.
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
                except InputError as error:  # no blocks of the layer fit
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
