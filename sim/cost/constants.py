"""Constants of the energy, area and time model, each with its unit, its uncertainty and its source.

All of them are for 45 nm. `NODES` scales them to other nodes; SRAMs have tables of their own (`sim.cost.sram`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from traces import InputError
from traces.plain_values import whole_number

_EIE = "Han et al., EIE, ISCA 2016"
_HOROWITZ = "Horowitz, ISSCC 2014, as in Table I of EIE"
_KECKLER = "Keckler et al., GPUs and the Future of Parallel Computing, IEEE Micro 2011, Table 1"
_RTL = "synthesis of the array in SystemVerilog, scaled to 45 nm (guide/rtl.md)"
_CACTI = "CACTI 7.0.3 (`sim.cost.sram`)"


@dataclass(frozen=True)
class Constant:
    """One constant of the model.

    Attributes
    ----------
    value : float
        Value at 45 nm.
    unit : str
        Unit.
    sigma : float
        Standard deviation of the logarithm of the true value over the stated one.
    meaning : str
        What it is, in words.
    source : str
        Source of the value.
    calibrated : bool
        True if the value follows from a figure of the paper that the model is compared with.
    """

    value: float
    unit: str
    sigma: float
    meaning: str
    source: str
    calibrated: bool = False


#: All constants by name.
CONSTANTS: Mapping[str, Constant] = MappingProxyType(
    {
        # energy
        "multiply_pj": Constant(
            3.1 / 5, "pJ", 0.15, "multiplication of 16 bits", f"{_EIE}, section VI: a fifth of 32 bits, Table I"
        ),
        "add_pj": Constant(0.1 / 2, "pJ", 0.15, "addition of 16 bits", f"half of 32 bits, {_HOROWITZ}"),
        "register_file_pj_per_bit": Constant(
            1 / 32, "pJ/bit", 0.25, "access to a register file of 64 words", f"32 bits: 1 pJ, {_HOROWITZ}"
        ),
        "flip_flop_clock_fj": Constant(
            5.6,
            "fJ/cycle",
            0.2,
            "clock of a flip-flop that is not gated, in a cycle",
            f"clock network of a PE, 1.874 mW, {_EIE}, Table II; 3.9 to 5.9 fJ in {_RTL}",
            calibrated=True,
        ),
        "gated_share": Constant(
            1 / 32, "1", 0.3, "share of that energy for a gated flip-flop", "one clock gate for a word of 32 flip-flops"
        ),
        "wire_pj_per_bit_mm": Constant(
            0.121, "pJ/(bit mm)", 0.25, "random bit over a repeated wire", f"256 bits over 10 mm: 310 pJ, {_KECKLER}"
        ),
        "clock_wire_pj_per_mm": Constant(
            0.48, "pJ/(cycle mm)", 0.3, "clock wire, two transitions a cycle", f"240 fJ a transition and mm, {_KECKLER}"
        ),
        "lnzd_unit_pj": Constant(
            0.023 / 0.8,
            "pJ/cycle",
            0.2,
            "leading non-zero detection unit, in a cycle",
            f"0.023 mW at 800 MHz, {_EIE}, Table II",
        ),
        "divider_pj": Constant(
            0.1,
            "pJ",
            0.6,
            "division of a pointer by the entries of a line",
            f"a seventh of a multiplier's cells, {_RTL}",
        ),
        "dram_pj_per_byte": Constant(640 / 4, "pJ/byte", 0.3, "DRAM access", f"32 bits: 640 pJ, {_HOROWITZ}"),
        "dram_standby_mw": Constant(
            27.3, "mW", 0.4, "refresh and termination of the DRAM", "CACTI 7.0.3: LPDDR2, 128 MiB"
        ),
        # area
        "register_file_um2_per_bit": Constant(
            5.0,
            "um2/bit",
            0.15,
            "bit of a register file of flip-flops",
            f"{_EIE}, Table II: activation read and write less its SRAM, over two files of 64 x 16 bits",
            calibrated=True,
        ),
        "queue_um2_per_bit": Constant(
            8.1, "um2/bit", 0.2, "bit of a queue of flip-flops", f"{_RTL}: 260 to 285 um2 a slot"
        ),
        "gate_um2": Constant(1.1, "um2", 0.2, "gate of two inputs", f"{_RTL}, mean over its cells"),
        "multiply_add_um2": Constant(
            1_345.0,
            "um2",
            0.2,
            "multiplier and adder of 16 bits",
            f"{_EIE}, Table II: arithmetic less a codebook of 16 x 16 bits",
            calibrated=True,
        ),
        "divider_um2": Constant(
            350.0, "um2", 0.6, "divider of a 16-bit pointer", f"{_RTL}: 250 and 450 um2 for 7 and 51"
        ),
        "lnzd_unit_um2": Constant(189.0, "um2", 0.15, "leading non-zero detection unit", f"{_EIE}, Table II"),
        "filler_share": Constant(
            23_961 / 638_024, "1", 0.3, "share of a PE that is filler", f"{_EIE}, Table II: 23,961 of 638,024 um2"
        ),
        # time
        "flip_flop_ns": Constant(0.1, "ns", 0.2, "set-up and delay of a flip-flop", _RTL),
        "add_ns": Constant(0.5, "ns", 0.25, "addition of 16 bits with saturation and bypass", _RTL),
        "multiply_ns": Constant(1.4, "ns", 0.25, "multiplication of 16 bits, shift and rounding", _RTL),
        "decode_ns": Constant(0.5, "ns", 0.3, "choice of an entry in a line, and look-up in the codebook", _RTL),
        "divider_ns": Constant(1.0, "ns", 0.4, "division of a 16-bit pointer", f"{_RTL}: 0.9 and 1.1 ns for 7 and 51"),
        "lnzd_unit_ns": Constant(0.14, "ns", 0.3, "leading non-zero detection unit", _RTL),
        "wire_ns_per_mm": Constant(
            0.07, "ns/mm", 0.3, "repeated global wire", "Ho, Mai, Horowitz, The Future of Wires, Proc. IEEE 2001"
        ),
        # SRAM tables
        "sram_energy": Constant(1.0, "1", 0.15, "factor of the energies of SRAMs", _CACTI),
        "sram_leakage": Constant(1.0, "1", 0.3, "factor of the leakage of SRAMs", _CACTI),
        "sram_area": Constant(1.0, "1", 0.1, "factor of the area of SRAMs", _CACTI),
        "sram_time": Constant(1.0, "1", 0.15, "factor of access and cycle times of SRAMs", _CACTI),
    }
)


@dataclass(frozen=True)
class Node:
    """Factors that take figures of logic and wires from 45 nm to another node, each node at its nominal voltage.

    Attributes
    ----------
    area, energy, delay : float
        Factors of area, energy and delay of logic.
    wire_energy : float
        Factor of the energy of a wire of given length, with the square of the voltage.
    """

    area: float
    energy: float
    delay: float
    wire_energy: float


#: Factors by node in nm. Source: Stillmaker and Baas, Integration 2017, high-performance planar transistors at 1.1,
#: 1.0, 0.9 and 0.8 V; 22 nm lies between their 32 and 20 nm. Capacitance and delay of a wire per mm are constant.
NODES: Mapping[int, Node] = MappingProxyType(
    {
        65: Node(1.5, 1.95, 1.54, 1.21),
        45: Node(1.0, 1.0, 1.0, 1.0),
        32: Node(0.46, 0.53, 0.67, 0.81),
        22: Node(0.24, 0.20, 0.79, 0.64),
    }
)


class Constants:
    """Values of all constants, as attributes named like `CONSTANTS`.

    Parameters
    ----------
    changed : mapping of str to float, optional
        Values other than the stated ones, by name.

    Raises
    ------
    InputError
        If there is no constant of a name, or a value is not a positive number.
    """

    def __init__(self, changed: Mapping[str, float] = MappingProxyType({})) -> None:
        for name, value in changed.items():
            if name not in CONSTANTS:
                raise InputError(f"a constant must be one of {', '.join(CONSTANTS)}; found {name!r}")
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"constant {name} must be a positive number; found {value}")
        values = {name: constant.value for name, constant in CONSTANTS.items()} | dict(changed)
        vars(self).update({name: float(value) for name, value in values.items()})

    def __getattr__(self, name: str) -> float:
        raise AttributeError(name)  # attributes are those that __init__ sets


NOMINAL = Constants()
"""The constants as stated."""


def drawn_constants(number: int, seed: int = 0) -> Iterator[Constants]:
    """Yield sets of constants, each constant drawn on its own from a log-normal distribution of its sigma.

    Parameters
    ----------
    number : int
        Number of sets.
    seed : int
        Seed of the draws.

    Yields
    ------
    Constants
        One set.
    """
    draw = np.random.default_rng(whole_number("seed", seed, 0))
    for _ in range(whole_number("number", number, 0, 10**9)):
        factors = np.exp([draw.normal(0.0, constant.sigma) for constant in CONSTANTS.values()])
        yield Constants(
            {
                name: constant.value * float(factor)
                for (name, constant), factor in zip(CONSTANTS.items(), factors, strict=True)
            }
        )
