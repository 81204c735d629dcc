"""Is sparse worth it? An array of PEs beside the best dense array on the same silicon.

The dense array (`sim.dense_array`) has at most the area of the array of PEs, and its SRAM bits, node, clock and DRAM.
Of its shapes and dataflows, the one with the least energy times latency is taken for each workload. It computes
with all weights and activations, zeros included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sim.config import ArrayConfig
from sim.cost.area import area_mm2
from sim.dense_array import DATAFLOWS, DenseArray, DenseRun, ProductShape, run_dense, same_silicon
from traces import InputError


@dataclass(frozen=True)
class DenseMatch:
    """The best dense array on the silicon of an array of PEs.

    Attributes
    ----------
    array : DenseArray
        The array.
    run : DenseRun
        What the workload costs there.
    """

    array: DenseArray
    run: DenseRun

    def __str__(self) -> str:
        grid = f"{self.array.rows:,} x {self.array.columns:,}"
        return f"{grid} MACs of {self.array.bits} bits, {self.array.dataflow}"


def dense_match(products: Sequence[ProductShape], array: ArrayConfig, bits: int = 8, alone: bool = False) -> DenseMatch:
    """Return the dense array with the least energy times latency on the silicon of an array of PEs.

    Parameters
    ----------
    products : sequence of ProductShape
        Layers of the workload.
    array : ArrayConfig
        The array of PEs.
    bits : int
        Bits of a dense weight, 8 or 16.
    alone : bool
        True if each layer has the array to itself (`run_dense`).

    Returns
    -------
    DenseMatch
        The dense array and its costs.

    Raises
    ------
    InputError
        If no dense array fits into the area.
    """
    found = [DenseMatch(dense, run_dense(products, dense, alone=alone)) for dense in _dense_arrays(array, bits)]
    if not found:
        raise InputError(
            f"no dense array of {bits} bits with all bits of SRAM of these {array.num_pes} PEs fits into their area of "
            f"{area_mm2(array):.2f} mm2; compare another array, or fewer bits"
        )
    return min(found, key=lambda match: match.run.latency_us * match.run.energy_nj)


@lru_cache(maxsize=64)
def _dense_arrays(array: ArrayConfig, bits: int) -> tuple[DenseArray, ...]:
    area = area_mm2(array)
    return tuple(dense for dataflow in DATAFLOWS for dense in same_silicon(array, area, dataflow, bits))


@dataclass(frozen=True)
class DenseComparison:
    """A workload on an array of PEs beside the best dense array on the same silicon.

    Attributes
    ----------
    dense : DenseMatch
        The dense array.
    speedup, energy_gain : float
        Latency and energy of the dense array over those of the array of PEs.
    """

    dense: DenseMatch
    speedup: float
    energy_gain: float

    def __str__(self) -> str:
        run = self.dense.run
        loads = ", with weights from DRAM," if run.dram_bytes else ""
        costs = f"{self.dense} on the same silicon{loads} take {run.latency_us:,.2f} us and {run.energy_nj:,.1f} nJ"
        verdict = {
            (True, True): "sparse wins",
            (False, False): "dense wins",
            (True, False): "sparse is faster, dense takes less energy",
            (False, True): "dense is faster, sparse takes less energy",
        }[self.speedup >= 1, self.energy_gain >= 1]
        time, energy = 1 / self.speedup, 1 / self.energy_gain
        return f"{verdict}; {costs}. This array takes {time:.3g}x the time and {energy:.3g}x the energy."


def compare_with_dense(
    products: Sequence[ProductShape],
    array: ArrayConfig,
    latency_us: float,
    energy_nj: float,
    bits: int = 8,
    alone: bool = False,
) -> DenseComparison:
    """Compare what a workload costs on an array of PEs with its costs on the best dense array on the same silicon.

    Parameters
    ----------
    products : sequence of ProductShape
        Layers of the workload, with the rows and columns that they have before any is left out.
    array : ArrayConfig
        The array of PEs.
    latency_us, energy_nj : float
        Costs of the workload there, with those of DRAM for weights that do not fit: `memory_mode` is not "unlimited".
    bits : int
        Bits of a dense weight, 8 or 16.
    alone : bool
        True if each layer has the array to itself (`run_dense`).

    Returns
    -------
    DenseComparison
        The comparison; as text, a sentence.

    Raises
    ------
    InputError
        If no dense array fits into the area.
    """
    dense = dense_match(products, array, bits, alone)
    return DenseComparison(dense, dense.run.latency_us / latency_us, dense.run.energy_nj / energy_nj)
