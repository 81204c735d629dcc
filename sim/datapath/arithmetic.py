"""Arithmetic: decode the code, find the accumulator, multiply, add."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sim.datapath.activation_write import ActivationWrite, Sum
from sim.datapath.sparse_matrix_read import Entry
from sim.fixed_point import FixedPoint


@dataclass(frozen=True)
class Operands:
    """Decoded weight and activation for one accumulator."""

    row: int
    weight: float
    activation: float


@dataclass(frozen=True)
class Product:
    """Product, and the accumulator that was read during the multiplication."""

    row: int
    value: float
    accumulator: float


class FloatingPoint:
    """Multiplier and adder for 64-bit floating point."""

    overflows = 0

    def multiply(self, weight: float, activation: float) -> float:
        """Return the product."""
        return weight * activation

    def add(self, accumulator: float, product: float) -> float:
        """Return the sum."""
        return accumulator + product


class FixedPointUnit:
    """Multiplier and adder for codes of a fixed-point format, here Python integers."""

    def __init__(self, number_format: FixedPoint) -> None:
        self.format = number_format
        self.overflows = 0

    def multiply(self, weight: float, activation: float) -> float:
        """Return the product, rounded to the accumulator's fraction bits: to the nearest, ties upwards."""
        exact = Fraction(int(weight) * int(activation), 2**self.format.shift)
        return math.floor(exact + Fraction(1, 2))

    def add(self, accumulator: float, product: float) -> float:
        """Return the sum, or the nearest code if it is out of range."""
        exact = accumulator + product
        if exact > self.format.highest:
            self.overflows += 1
            return self.format.highest
        if exact < self.format.lowest:
            self.overflows += 1
            return self.format.lowest
        return exact


class Arithmetic:
    """Three stages: decode and address; multiply while the accumulator is read; add.

    If two successive entries have the same accumulator, the second one reads it too early. The sum that is written in
    that cycle is bypassed to the adder, so that nothing stalls.
    """

    def __init__(self, codebook: Sequence[float], number_format: FixedPoint | None) -> None:
        self.codebook = codebook
        self.unit = FloatingPoint() if number_format is None else FixedPointUnit(number_format)
        self.row = -1  # of the last entry of this column
        self.entry: Entry | None = None
        self.operands: Operands | None = None
        self.product: Product | None = None
        self.entries = 0
        self.padding = 0

    def tick(self, arriving: Entry | None, registers: ActivationWrite) -> Sum | None:
        """Run one cycle of all three stages; return the sum that leaves at its end, while the next entry arrives."""
        leaving = self._add(registers)
        self.product = self._multiply(registers)
        self.operands = self._decode()
        self.entry = arriving
        return leaving

    def _decode(self) -> Operands | None:
        entry = self.entry
        if entry is None:
            return None
        self.entries += 1
        self.row = (-1 if entry.starts_column else self.row) + entry.gap + 1
        if entry.code == 0:  # padding takes its cycle and goes no further
            self.padding += 1
            return None
        return Operands(self.row, self.codebook[entry.code], entry.activation)

    def _multiply(self, registers: ActivationWrite) -> Product | None:
        operands = self.operands
        if operands is None:
            return None
        product = self.unit.multiply(operands.weight, operands.activation)
        return Product(operands.row, product, registers.accumulators[operands.row])

    def _add(self, registers: ActivationWrite) -> Sum | None:
        product = self.product
        if product is None:
            return None
        written = registers.just_written
        bypassed = written is not None and written.row == product.row
        accumulator = written.value if bypassed and written is not None else product.accumulator
        return Sum(product.row, self.unit.add(accumulator, product.value))
