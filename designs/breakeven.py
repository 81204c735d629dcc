"""The density at which an array of PEs and a dense array on the same silicon are equal, for a layer and a batch.

Each array takes one layer after the other. Weights that exceed its SRAMs come from DRAM for each run, once for all its
vectors, while it computes. The array of PEs runs random layers; `sim.dense_comparison` chooses the dense array.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from designs.sweeps.workload import Workload
from sim import ArrayConfig, Counts, DenseMatch, ProductShape, count_all, dense_match, pack
from sim.cost.energy import NO_TRANSFERS, Transfers, block_energies
from sim.memory import Image, image_of, transfer_cycles, weight_shortfalls
from traces import InputError, draw_layer
from traces.plain_values import whole_number
from traces.shell.progress import progress_bar

LEAST_DENSITY = 1 / 1024
_STEPS = 12  # of the bisection of a density, each halves the distance of its logarithms
_DRAWN_WEIGHTS = 2**22  # more columns cost in proportion: they are alike


@dataclass(frozen=True)
class Cost:
    """Cost of a layer on an array of PEs.

    Attributes
    ----------
    latency_us, energy_nj : float
        Time and energy of all vectors.
    from_dram : bool
        True if the weights exceed the SRAMs and are loaded.
    """

    latency_us: float
    energy_nj: float
    from_dram: bool


def sparse_cost(product: ProductShape, density: float, activation_density: float, array: ArrayConfig) -> Cost:
    """Return the cost of a random layer on an array of PEs, simulated with one vector.

    Parameters
    ----------
    product : ProductShape
        Shape of the layer. Its vectors, groups and runs cost the same each. If a group has more than 4 million weights,
        some columns are drawn, and the others cost in proportion.
    density, activation_density : float
        Shares of weights and of activations that are not zero.
    array : ArrayConfig
        The array; its `memory_mode` has no effect.

    Returns
    -------
    Cost
        Time and energy of all vectors, groups and runs.

    Raises
    ------
    InputError
        If a density is not 0 to 1.
    """
    columns = min(product.columns, max(1, -(-_DRAWN_WEIGHTS // product.rows)))
    counts, image = _one_vector(product.rows, columns, density, activation_density, array)
    groups = product.groups * product.columns / columns
    vectors = product.vectors * groups
    needed = Image(*(math.ceil(value * groups) for value in image))
    loads = bool(weight_shortfalls(needed, array))
    num_bytes = needed.num_bytes(array) if loads else 0  # in each run
    cycles = product.runs * max(counts.cycles * vectors, transfer_cycles(num_bytes, array))
    vectors *= product.runs
    energies_pj = block_energies(
        dataclasses.replace(array, memory_mode="streamed" if loads else "unlimited"),
        cycles,
        counts.pointer_reads * vectors,
        counts.line_reads * vectors,
        counts.processed_entries * vectors,
        counts.useful_macs * vectors,
        num_bytes * product.runs,
        transfers=Transfers(*(count * product.runs for count in (needed.all_lines, needed.all_pointers)))
        if loads
        else NO_TRANSFERS,
    )
    return Cost(cycles / array.clock_mhz, float(sum(energies_pj.values())) / 1e3, loads)


@lru_cache(maxsize=4096)
def _one_vector(
    rows: int, columns: int, density: float, activation_density: float, array: ArrayConfig
) -> tuple[Counts, Image]:
    """Return the counts of one drawn group and vector, and its SRAM image."""
    layer, activations = draw_layer("drawn", rows, columns, density, activation_density, seed=1)
    config = dataclasses.replace(array, memory_mode="unlimited")
    packed = pack(dataclasses.replace(layer, bias=None), config)
    (counts,) = count_all(packed, activations, [config])
    return counts, image_of(packed, config)


def breakeven_density(gain: Callable[[float], float]) -> float:
    """Return the density up to which the array of PEs is better: where a falling gain reaches 1.

    Parameters
    ----------
    gain : callable
        Cost of the dense array over that of the array of PEs, at a density.

    Returns
    -------
    float
        The density, from LEAST_DENSITY to 1; 1 if the array of PEs is better at every density, and 0 if at none.
    """
    if gain(1.0) >= 1:
        return 1.0
    if gain(LEAST_DENSITY) < 1:
        return 0.0
    low, high = math.log(LEAST_DENSITY), 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if gain(math.exp(middle)) >= 1 else (low, middle)
    return math.exp(low)


@dataclass(frozen=True)
class Breakeven:
    """An array of PEs beside a dense array, for one layer.

    Attributes
    ----------
    product : ProductShape
        The layer on the array of PEs.
    density, activation_density : float
        Shares of weights and activations that are not zero.
    sparse : Cost
        Cost on the array of PEs.
    dense : DenseMatch
        The dense array on the same silicon.
    latency_density, energy_density : float
        Density up to which the array of PEs is faster, and takes less energy (`breakeven_density`).
    """

    product: ProductShape
    density: float
    activation_density: float
    sparse: Cost
    dense: DenseMatch
    latency_density: float
    energy_density: float

    @property
    def speedup(self) -> float:
        """Latency of the dense array over that of the array of PEs."""
        return self.dense.run.latency_us / self.sparse.latency_us

    @property
    def energy_gain(self) -> float:
        """Energy of the dense array over that of the array of PEs."""
        return self.dense.run.energy_nj / self.sparse.energy_nj


def compare_at_density(
    product: ProductShape,
    density: float,
    activation_density: float,
    array: ArrayConfig | None = None,
    bits: int = 8,
    on_dense: ProductShape | None = None,
) -> Breakeven:
    """Compare an array of PEs with the best dense array on the same silicon, for one layer.

    Parameters
    ----------
    product : ProductShape
        Shape of the layer, vectors and groups.
    density, activation_density : float
        Shares of weights and of activations that are not zero, 0 to 1.
    array : ArrayConfig, optional
        Array of PEs. The default is the EIE paper's design point.
    bits : int
        Bits of a dense weight, 8 or 16.
    on_dense : ProductShape, optional
        Shape on the dense array, if the array of PEs leaves rows and columns out.

    Returns
    -------
    Breakeven
        Costs on both, and the densities at which they are equal.

    Raises
    ------
    InputError
        If a density is not 0 to 1, or no dense array fits into the area.
    """
    array = array or ArrayConfig()
    dense = dense_match([on_dense or product], array, bits)

    def gain(name: str) -> Callable[[float], float]:
        of_dense = float(getattr(dense.run, name))
        return lambda at: of_dense / float(getattr(sparse_cost(product, at, activation_density, array), name))

    return Breakeven(
        product,
        density,
        activation_density,
        sparse_cost(product, density, activation_density, array),
        dense,
        breakeven_density(gain("latency_us")),
        breakeven_density(gain("energy_nj")),
    )


def breakeven_rows(
    workload: Workload, array: ArrayConfig, batches: Sequence[int], bits: Sequence[int]
) -> list[dict[str, Any]]:
    """Compare both arrays for each layer of a workload, batch and width of a dense weight.

    Parameters
    ----------
    workload : Workload
        Layers with recorded activations. Random layers of their shapes and densities run on the array of PEs.
    array : ArrayConfig
        Array of PEs.
    batches : sequence of int
        Inputs of the network that come at once, at least 1 each.
    bits : sequence of int
        Bits of a dense weight, 8 or 16 each.

    Returns
    -------
    list of dict
        Rows of the result file, with BREAKEVEN_COLUMNS.

    Raises
    ------
    InputError
        If a batch or a width is out of range, no layer is multiplied with the inputs, or no dense array fits into the
        area.
    """
    for batch in batches:
        whole_number("batches", batch, 1, 2**20)
    for name, values in (("batches", batches), ("bits", bits)):
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name} must be different numbers, at least one; found {list(values)}")
    called = [(each, each.shape) for each in workload.layers if each.shape is not None]
    if not called:
        raise InputError(f"{workload.name}: no layer is multiplied with the inputs; give others")
    rows = []
    with progress_bar("comparing layers", len(called) * len(batches) * len(bits)) as advance:
        for each, of_input in called:
            active = float(np.mean(np.abs(each.activations) > each.layer.activation_threshold))
            for batch, width in itertools.product(batches, bits):
                whole = of_input.of_batch(batch)
                held = each.layer.rows // each.groups, each.layer.columns
                shape = dataclasses.replace(whole, rows=held[0], columns=held[1], window_reuse=1)
                found = compare_at_density(shape, each.layer.density, active, array, width, whole)
                dense = found.dense
                rows.append(
                    {
                        "layer": each.layer.name,
                        "rows": shape.rows,
                        "columns": shape.columns,
                        "rows_left_out": whole.rows - shape.rows,
                        "columns_left_out": whole.columns - shape.columns,
                        "groups": shape.groups,
                        "batch": batch,
                        "vectors": shape.vectors,
                        "runs": shape.runs,
                        "window_reuse": whole.window_reuse,
                        "density": each.layer.density,
                        "activation_density": active,
                        "num_pes": array.num_pes,
                        "latency_us": found.sparse.latency_us,
                        "energy_nj": found.sparse.energy_nj,
                        "from_dram": found.sparse.from_dram,
                        "dense_bits": width,
                        "dataflow": dense.array.dataflow,
                        "dense_rows": dense.array.rows,
                        "dense_columns": dense.array.columns,
                        "dense_latency_us": dense.run.latency_us,
                        "dense_energy_nj": dense.run.energy_nj,
                        "dense_from_dram": dense.run.dram_bytes > 0,
                        "latency_density": found.latency_density,
                        "energy_density": found.energy_density,
                    }
                )
                advance()
    return rows
