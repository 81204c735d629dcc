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
        loads = ", with weights from DRAM" if self.run.dram_bytes else ""
        return f"{grid} MACs of {self.array.bits} bits, {self.array.dataflow}{loads}"


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
        return verdict(str(self.dense), run.latency_us, run.energy_nj, self.speedup, self.energy_gain)


def verdict(dense: str, latency_us: float, energy_nj: float, speedup: float, energy_gain: float) -> str:
    """Return a sentence that says which array wins.

    Parameters
    ----------
    dense : str
        The dense array in words.
    latency_us, energy_nj : float
        Costs of the workload there.
    speedup, energy_gain : float
        These over the costs on the array of PEs.

    Returns
    -------
    str
        Two sentences.
    """
    winner = {
        (True, True): "sparse wins in time and energy",
        (False, False): "dense wins in time and energy",
        (True, False): "sparse is faster, dense takes less energy",
        (False, True): "dense is faster, sparse takes less energy",
    }[speedup >= 1, energy_gain >= 1]
    return (
        f"{winner}; the best dense array on the same silicon ({dense}) takes {latency_us:,.2f} us and "
        f"{energy_nj:,.1f} nJ. The PEs take {1 / speedup:.3g}x its time and {1 / energy_gain:.3g}x its energy."
    )


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


NOT_FITTING = (
    "this run takes weights or activations as if they fitted, and a dense array loads weights that do not fit; give "
    "memory_mode streamed or passes"
)
"""Why a run that exceeds the SRAMs cannot be compared with a dense array."""
STREAMED = (
    "memory_mode streamed loads a layer from DRAM even if it fits, and a dense array keeps such a layer; give "
    "memory_mode passes"
)
"""Why layers that have the array to themselves cannot be compared with a dense array if one of them may fit."""


def screen_match(
    products: Sequence[ProductShape], array: ArrayConfig, fits: bool = True, alone: bool = False
) -> DenseMatch | str:
    """Return the dense array that screens compare with, of as many bits as the PEs' activations; or why there is none.

    Parameters
    ----------
    products : sequence of ProductShape
        Layers of the workload for one input, with the rows and columns that they have before any is left out.
    array : ArrayConfig
        The array of PEs.
    fits : bool
        True if the SRAMs of the PEs hold all that the run takes from them.
    alone : bool
        True if each layer has the array to itself (`run_dense`).

    Returns
    -------
    DenseMatch or str
        The dense array with its costs, or the reason why there is no comparison.
    """
    if not products:
        return "no layer is multiplied with the inputs"
    if not fits and array.memory_mode == "unlimited":
        return NOT_FITTING
    if alone and array.memory_mode == "streamed" and (fits or len(products) > 1):
        return STREAMED
    try:
        return dense_match(products, array, array.activation_bits, alone)
    except InputError as error:  # an SRAM without figures, or 32 bits
        return str(error)


def dense_words(
    products: Sequence[ProductShape],
    array: ArrayConfig,
    latency_us: float,
    energy_nj: float,
    fits: bool = True,
    alone: bool = False,
) -> str:
    """Return a sentence that says which array wins, or why they are not compared.

    Parameters
    ----------
    latency_us, energy_nj : float
        Costs of the workload on the array of PEs.
    products, array, fits, alone
        As in `screen_match`.

    Returns
    -------
    str
        The sentences of `verdict`, or "not compared: " and the reason.
    """
    dense = screen_match(products, array, fits, alone)
    if isinstance(dense, str):
        return f"not compared: {dense}"
    return str(DenseComparison(dense, dense.run.latency_us / latency_us, dense.run.energy_nj / energy_nj))
