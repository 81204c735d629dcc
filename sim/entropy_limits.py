"""Least energy and least bytes: arithmetic alone, and weights at the entropy of their codes and positions.

The PEs read a weight for each useful multiply-accumulate. In an ideal code (`sim.weight_entropy`), it has
`bits_per_weight`, the mean of the layer; in an entry, it has `entry_bits`. The limit takes the fewer bits, each at the
energy of a bit of a line:

    arithmetic_pj = useful_macs ( entry_pj + accumulator_pj )
    weight_pj     = useful_macs min( bits_per_weight, entry_bits ) line_read_pj / line_bits

Energy above that goes to padding, bits that an ideal code would not have, columns, clock, leakage and transfers. In the
SRAMs, weights take at least

    stored_bits   = code_bits + min( position_bits, bits of gaps and pointers )

Bytes above that are bits of codes, gaps and pointers that an ideal code would not have, padding, and places of lines
that stay free.

These are limits of this array, and of codes that know no more than `sim.weight_entropy` says. PEs that use a weight for
several vectors each time they read it take less energy, and codes that know more take fewer bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from sim.array_table import ArrayOrTable
from sim.config import ArrayConfig
from sim.cost.energy import Energy, event_energies
from sim.weight_entropy import WeightEntropy

#: Parts of the bytes of stored weights, by name, in words.
STORED_PARTS = MappingProxyType(
    {
        "codes": "codes",
        "positions": "positions",
        "wider_codes": "wider codes",
        "gaps_and_pointers": "gaps and pointers",
        "padding": "padding",
        "free": "free places",
    }
)


def least_energies_pj(useful_macs: Any, bits_per_weight: Any, array: ArrayOrTable) -> dict[str, Any]:
    """Return the least energy of a layer with the preset `eie`, by the fields of `sim.Energy` that have a part of it.

    Parameters
    ----------
    useful_macs : int, float or array
        Multiply-accumulates that are not padding.
    bits_per_weight : float or array
        Bits of a weight in an ideal code (`sim.weight_entropy`).
    array : ArrayConfig or ArrayTable
        The array, or a table of arrays.

    Returns
    -------
    dict of str to float or array
        arithmetic_pj and activation_write_pj, which are arithmetic, and sparse_matrix_read_pj.
    """
    event = event_energies(array)
    bits = np.minimum(bits_per_weight, array.entry_bits)
    return {
        "sparse_matrix_read_pj": useful_macs * bits * (event.line_read_pj / array.line_bits),
        "arithmetic_pj": useful_macs * event.entry_pj,
        "activation_write_pj": useful_macs * event.accumulator_pj,
    }


@dataclass(frozen=True)
class EnergyLimit:
    """Least energy of some runs, and where the rest goes; all runs together, with the preset `eie`.

    Attributes
    ----------
    least_pj : mapping of str to float
        Energy that they take at least, by the fields of `Energy` (`least_energies_pj`).
    above_pj : mapping of str to float
        Energy above it, by the fields of `Energy`.
    """

    least_pj: Mapping[str, float]
    above_pj: Mapping[str, float]

    @property
    def weight_pj(self) -> float:
        """Least energy of reading weights, in pJ."""
        return self.least_pj["sparse_matrix_read_pj"]

    @property
    def arithmetic_pj(self) -> float:
        """Least energy of arithmetic, in pJ: decoding, multiplication, addition and the accumulators."""
        return self.limit_pj - self.weight_pj

    @property
    def limit_pj(self) -> float:
        """Energy that the runs take at least, in pJ."""
        return sum(self.least_pj.values())

    @property
    def total_pj(self) -> float:
        """Energy that the runs take, in pJ."""
        return self.limit_pj + sum(self.above_pj.values())

    @property
    def share(self) -> float:
        """Limit over all energy, at most 1; 1 without energy."""
        return self.limit_pj / self.total_pj if self.total_pj else 1.0

    @property
    def binds(self) -> str:
        """Field of `Energy` with the most energy above the limit."""
        return max(self.above_pj, key=lambda name: self.above_pj[name])


def energy_limit(useful_macs: float, entropy: WeightEntropy, config: ArrayConfig, energy: Energy) -> EnergyLimit:
    """Return the energy limit of a layer.

    Parameters
    ----------
    useful_macs : float
        Multiply-accumulates that are not padding.
    entropy : WeightEntropy
        Bits of its weights.
    config : ArrayConfig
        The array.
    energy : Energy
        Energy that it takes there with the preset `eie`.

    Returns
    -------
    EnergyLimit
        The least energy, and the energy above it.
    """
    least = least_energies_pj(useful_macs, entropy.bits_per_weight, config)
    least = {name: float(value) for name, value in least.items()}
    above = {field.name: getattr(energy, field.name) - least.get(field.name, 0.0) for field in fields(Energy)}
    return EnergyLimit(least, above)


def sum_of_energy_limits(limits: Sequence[EnergyLimit]) -> EnergyLimit:
    """Return the energy limit of runs together, at least one."""
    least, above = (
        {name: sum(getattr(limit, kind)[name] for limit in limits) for name in getattr(limits[0], kind)}
        for kind in ("least_pj", "above_pj")
    )
    return EnergyLimit(least, above)


@dataclass(frozen=True)
class ByteLimit:
    """Least bytes of stored weights, and where the rest goes.

    Attributes
    ----------
    parts : mapping of str to float
        Bytes in the SRAMs of all PEs by the keys of `STORED_PARTS`: an ideal code of the codes, and of the positions;
        what the codes, and gaps and pointers, take above it; padding; free places of lines. They add up to all bytes.
    """

    parts: Mapping[str, float]

    @property
    def limit_bytes(self) -> float:
        """Bytes that the weights take at least."""
        return self.parts["codes"] + self.parts["positions"]

    @property
    def stored_bytes(self) -> float:
        """Bytes that they take: lines and pointers."""
        return sum(self.parts.values())

    @property
    def share(self) -> float:
        """Limit over all bytes, at most 1; 1 without bytes."""
        return self.limit_bytes / self.stored_bytes if self.stored_bytes else 1.0

    @property
    def binds(self) -> str:
        """Part with the most bytes above the limit, a key of `STORED_PARTS`."""
        return max(list(STORED_PARTS)[2:], key=lambda name: self.parts[name])


def least_position_bits(position_bits: Any, weights: Any, pointers: Any, array: ArrayOrTable) -> Any:
    """Return the bits that positions take at least: those of an ideal code, or of gaps and pointers if they are fewer.

    Parameters
    ----------
    position_bits : float or array
        Bits of the positions in an ideal code (`sim.weight_entropy`).
    weights, pointers : int or array
        Weights that are not zero, and pointers in all PEs.
    array : ArrayConfig or ArrayTable
        The array, or a table of arrays.
    """
    return np.minimum(position_bits, weights * array.index_bits + pointers * array.pointer_bits)


def byte_limit(counts: Any) -> ByteLimit:
    """Return the byte limit of a layer.

    Parameters
    ----------
    counts : Counts, CountsPerInput or LayerCosts
        Its counts.

    Returns
    -------
    ByteLimit
        The least bytes, and the bytes above them.
    """
    config, entropy, pointers = counts.config, counts.entropy, counts.stored_pointers
    entries = entropy.weights + counts.padding_entries
    gaps_and_pointers = entropy.weights * config.index_bits + pointers * config.pointer_bits
    positions = float(least_position_bits(entropy.position_bits, entropy.weights, pointers, config))
    parts = {
        "codes": entropy.code_bits,
        "positions": positions,
        "wider_codes": entropy.weights * config.weight_bits - entropy.code_bits,
        "gaps_and_pointers": gaps_and_pointers - positions,
        "padding": counts.padding_entries * config.entry_bits,
        "free": counts.stored_lines * config.line_bits - entries * config.entry_bits,
    }
    return ByteLimit({name: number / 8 for name, number in parts.items()})


def sum_of_byte_limits(limits: Sequence[ByteLimit]) -> ByteLimit:
    """Return the byte limit of layers together, at least one."""
    return ByteLimit({name: sum(limit.parts[name] for limit in limits) for name in STORED_PARTS})
