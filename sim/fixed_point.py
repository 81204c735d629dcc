"""Fixed-point numbers of the array: conversion of values to codes, and the arithmetic of the codes.

A code is a two's complement integer of 8, 16 or 32 bits, and its value is `code * 2**-fraction_bits`. Weights (through
the codebook), activations and accumulators all have this width, and fraction bits of their own in each layer.

    product   = weight code * activation code                       exact, twice as wide
    rounded   = floor(product / 2**shift + 1/2)                     to the nearest, ties upwards
    sum       = accumulator code + rounded, saturated               counted as an overflow if saturation changes it

with `shift = weight_fraction_bits + activation_fraction_bits - accumulator_fraction_bits`. Values become codes with
the same rounding and saturation. A bias outside of the codebook (`CompressedLayer.free_bias`) is the initial value of
the accumulators, as codes of their format. In a layer with an activation threshold t, an activation is kept if the
magnitude of its code is above floor(t * 2**activation_fraction_bits): if the value of the code is above t. Source of
the 16 bits: Han et al., "EIE", ISCA 2016, section VI and Fig 10.
The paper states no rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError
from traces.arrays import Floats, Floats32, Floats64, Integers, Integers64, Numbers
from traces.plain_values import whole_number

_SUM_BYTES = 2**20  # of the accumulators of the inputs that run at once
# Inputs whose products are added side by side, zero activations included (`sim.batch_kernels`): where it is faster.
_LEAST_INPUTS = 64
_LEAST_DENSITY, _DENSITY_OF_INPUTS = 0.18, 8  # of the activations: so much, and 8 / inputs more


@dataclass(frozen=True)
class FixedPoint:
    """Fixed-point format of one layer.

    Attributes
    ----------
    bits : int
        Width of a code: 8, 16 or 32.
    weight_fraction_bits, activation_fraction_bits, accumulator_fraction_bits : int
        Bits behind the binary point of a shared weight, an activation and an accumulator.

    Raises
    ------
    InputError
        If `bits` is none of the three, or products need a shift of less than 0 or more than 62 bits.
    """

    bits: int
    weight_fraction_bits: int
    activation_fraction_bits: int
    accumulator_fraction_bits: int

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, whole_number(each.name, getattr(self, each.name), -1000, 1000))
        if self.bits not in (8, 16, 32):
            raise InputError(f"bits must be 8, 16 or 32; found {self.bits}")
        if not 0 <= self.shift <= 62:
            raise InputError(
                f"weight_fraction_bits + activation_fraction_bits - accumulator_fraction_bits must be 0 to 62, the "
                f"shift of a product; found {self.shift}"
            )

    @property
    def shift(self) -> int:
        """Bits that a product has behind the binary point and an accumulator has not."""
        return self.weight_fraction_bits + self.activation_fraction_bits - self.accumulator_fraction_bits

    @property
    def lowest(self) -> int:
        """Smallest code."""
        return int(-(2 ** (self.bits - 1)))

    @property
    def highest(self) -> int:
        """Largest code."""
        return int(2 ** (self.bits - 1) - 1)

    def codes(self, values: npt.ArrayLike, fraction_bits: int) -> Integers64:
        """Return values as codes, int64 of the same shape."""
        return self._clipped(self._scaled(values, fraction_bits))

    def codes_and_saturated(self, values: npt.ArrayLike, fraction_bits: int) -> tuple[Integers64, Integers64]:
        """Return what `codes` returns, and the number of values too large for a code along the last axis, int64."""
        scaled = self._scaled(values, fraction_bits)
        saturated = self._beyond(scaled)
        return self._clipped(scaled), saturated

    def limit(self, threshold: float) -> int:
        """Return the largest magnitude of the code of an activation whose value is at most a threshold."""
        with np.errstate(over="ignore"):
            scaled = np.ldexp(np.float64(threshold), self.activation_fraction_bits)
        return int(np.floor(min(scaled, -self.lowest)))

    def _scaled(self, values: npt.ArrayLike, fraction_bits: int) -> Floats64:
        """Return values in steps of a code, rounded, float64; in place, because many values take many passes."""
        scaled: Floats64 = np.ldexp(np.asarray(values, dtype=np.float64), fraction_bits)
        scaled = np.asarray(scaled + 0.5) if scaled.ndim == 0 else np.add(scaled, 0.5, out=scaled)
        return np.floor(scaled, out=scaled)

    def _beyond(self, scaled: Floats64) -> Integers64:
        too_large: Integers64 = np.sum((scaled < self.lowest) | (scaled > self.highest), axis=-1, dtype=np.int64)
        return too_large

    def _clipped(self, scaled: Floats64) -> Integers64:
        return np.clip(scaled, self.lowest, self.highest, out=scaled).astype(np.int64)


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes of the values of one layer, over any number of inputs.

    Attributes
    ----------
    activation : float
        Largest magnitude of an activation.
    output : float
        Largest magnitude of an output, in floating point.
    """

    activation: float = 0.0
    output: float = 0.0

    @classmethod
    def of(cls, activations: Floats, outputs: Floats) -> Ranges:
        """Return the ranges of some activations and of the outputs that follow from them."""
        return cls(float(np.abs(activations).max(initial=0.0)), float(np.abs(outputs).max(initial=0.0)))

    def __or__(self, other: Ranges) -> Ranges:
        return Ranges(max(self.activation, other.activation), max(self.output, other.output))


_OUTPUTS_AT_ONCE = 2**20  # of a layer in floating point, whose range is all that is kept


def exact_outputs(packed: PackedLayer, activations: Floats32) -> Floats32:
    """Return the outputs of a layer in floating point, as `sim.simulate` computes them.

    Parameters
    ----------
    packed : PackedLayer
        Layer, packed for any array.
    activations : numpy.ndarray
        Finite inputs, float32 [inputs, columns].

    Returns
    -------
    numpy.ndarray
        Outputs, float32 [inputs, rows]; infinite beyond float32. They are the same on every processor, because the
        additions have the order of the array's.
    """
    numbers = _in_floating_point(packed, activations)
    return sums_of_products(numbers, packed.layer.rows, [(packed, slice(None), slice(None))])[0]


def fitted_format(packed: PackedLayer, activations: Floats32, bits: int) -> FixedPoint:
    """Return the format of a layer that fits these activations, float32 [inputs, columns] (`format_of_ranges`)."""
    ranges = Ranges()
    step = max(1, _OUTPUTS_AT_ONCE // packed.layer.rows)
    for begin in range(0, len(activations), step):
        part = activations[begin : begin + step]
        ranges |= Ranges.of(part, exact_outputs(packed, part))
    return format_of_ranges([packed.layer], ranges, bits)


def format_of_ranges(groups: Sequence[CompressedLayer], ranges: Ranges, bits: int) -> FixedPoint:
    """Return the finest format in which no weight and no activation saturates and outputs have one bit to spare.

    The spare bit is for partial sums: the largest output and the largest initial value of an accumulator take at most
    half the range.

    Parameters
    ----------
    groups : sequence of CompressedLayer
        Matrices that have the format: one, or those of all groups of a product.
    ranges : Ranges
        Largest magnitudes over all inputs and matrices.
    bits : int
        Width of a code.
    """
    largest_activation = ranges.activation
    if any(group.bias is not None for group in groups):
        largest_activation = max(largest_activation, 1.0)
    largest_output = min(ranges.output, float(np.finfo(np.float32).max))
    for group in groups:
        if group.free_bias is not None:
            largest_output = max(largest_output, float(np.abs(group.free_bias).max()))
    weight = _fraction_bits(max(float(np.abs(group.codebook).max()) for group in groups), bits)
    activation = _fraction_bits(largest_activation, bits)
    accumulator = min(_fraction_bits(2 * largest_output, bits), weight + activation)
    activation = min(activation, accumulator + 62 - weight)  # a large free bias would ask for a longer shift
    return FixedPoint(bits, weight, activation, accumulator)


def _fraction_bits(largest: float, bits: int) -> int:
    """Return the most fraction bits with which `largest` does not saturate."""
    if largest == 0:
        return bits - 1
    fraction_bits = bits - 1 - math.frexp(largest)[1]
    return (
        fraction_bits if math.floor(math.ldexp(largest, fraction_bits) + 0.5) < 2 ** (bits - 1) else fraction_bits - 1
    )


@dataclass(frozen=True, eq=False)
class Operands:
    """Operands of one layer's arithmetic: floating-point numbers, or codes of a format.

    Attributes
    ----------
    codebook : numpy.ndarray
        float64 or int64 [shared weights]; those of all PEs, one after the other, if PEs have codebooks of their own.
    entering : numpy.ndarray
        Activations as they enter the array, float32 or int64 [columns] or [inputs, columns].
    one : float or int
        Activation of the bias column.
    number_format : FixedPoint or None
        Format of the codes; None for floating point.
    saturated_activations : numpy.ndarray
        Activations that were too large for a code, int64 [] or [inputs].
    free_bias : numpy.ndarray or None
        Initial value of the accumulators, float64 or int64 [rows]; None for zeros.
    limit : float or int
        Largest magnitude of an activation that is not broadcast: 0, or the threshold.
    """

    codebook: Numbers
    entering: Numbers
    one: float | int
    number_format: FixedPoint | None
    saturated_activations: Integers64
    free_bias: Numbers | None = None
    limit: float | int = 0

    @cached_property
    def activations(self) -> Numbers:
        """Activations with zeros for those that are not broadcast, as `entering`."""
        if not self.limit:
            return self.entering
        kept = (self.entering > self.limit) | (self.entering < -self.limit)
        return np.where(kept, self.entering, self.entering.dtype.type(0))

    def values(self, accumulators: Numbers) -> Floats32:
        """Return accumulators as outputs, float32; values beyond float32 become infinite."""
        with np.errstate(over="ignore"):
            if self.number_format is None:
                return accumulators.astype(np.float32)
            values: Floats64 = np.ldexp(accumulators, -self.number_format.accumulator_fraction_bits)
            return values.astype(np.float32)

    def accumulators(self, *shape: int) -> Numbers:
        """Return the accumulators of a layer before the first product, of shape [rows] or [inputs, rows]."""
        accumulators = np.zeros(shape, dtype=self.codebook.dtype, order="F" if self.side_by_side else "C")
        if self.free_bias is not None:
            accumulators[:] = self.free_bias
        return accumulators

    @cached_property
    def nonzero(self) -> npt.NDArray[np.uint8]:
        """1 where an activation of many inputs is not zero, and 0 elsewhere, uint8 [columns, inputs]."""
        result = np.empty(self.activations.shape[::-1], dtype=np.bool_)
        np.not_equal(self.activations.T, 0, out=result)
        return result.view(np.uint8)

    @cached_property
    def density(self) -> float:
        """Share of the activations that are not zero."""
        return np.count_nonzero(self.nonzero.view(np.bool_)) / max(1, self.nonzero.size)

    @cached_property
    def side_by_side(self) -> bool:
        """True if the products of many inputs are added side by side, zero activations included."""
        if self.activations.ndim == 1 or len(self.activations) < _LEAST_INPUTS:
            return False
        initial = self.free_bias if self.number_format is None else None
        if initial is not None and (np.signbit(initial) & (initial == 0)).any():  # adding 0 would change its sign
            return False
        return self.density >= _LEAST_DENSITY + _DENSITY_OF_INPUTS / len(self.activations)


class Products:
    """Products of one block of a layer with many inputs, which are added to accumulators.

    Parameters
    ----------
    numbers : Operands
        Operands of the whole layer.
    packed : PackedLayer
        The block.
    columns : slice
        Activations that enter the block.
    """

    def __init__(self, numbers: Operands, packed: PackedLayer, columns: slice) -> None:
        self._numbers = numbers
        one = numbers.one if numbers.number_format is None else int(numbers.one)
        if numbers.side_by_side:
            self._activations = np.ascontiguousarray(numbers.activations.T[columns])
            self._entries: tuple[Any, ...] = one, *_entries(packed), numbers.codebook
        else:
            self._activations = np.ascontiguousarray(numbers.activations[:, columns])
            entries = packed.entries, packed.code_bits, packed.column_begin
            self._entries = packed.layer.bias is not None, one, *entries, numbers.codebook

    def add(self, begin: int, accumulators: Numbers) -> Integers64:
        """Add the products of the inputs from `begin` on to their accumulators.

        Parameters
        ----------
        begin : int
            First input.
        accumulators : numpy.ndarray
            [inputs, rows of the block], in the memory order of `Operands.accumulators`.

        Returns
        -------
        numpy.ndarray
            Additions that overflowed, int64 [inputs].
        """
        from sim import batch_kernels as kernels  # compile on first use

        overflows = np.zeros(len(accumulators), dtype=np.int64)
        number = self._numbers.number_format
        results: tuple[Any, ...] = (accumulators.T if self._numbers.side_by_side else accumulators,)
        if number is not None:
            results = number.shift, number.lowest, number.highest, *results, overflows
        if self._numbers.side_by_side:
            add: Any = kernels.accumulate_lanes if number is None else kernels.accumulate_code_lanes
            add(self._activations, begin, *self._entries, *results)
        else:
            add = kernels.accumulate_inputs if number is None else kernels.accumulate_codes_of_inputs
            add(self._activations[begin : begin + len(accumulators)], *self._entries, *results)
        return overflows


def sums_of_products(
    numbers: Operands, rows: int, blocks: Sequence[tuple[PackedLayer, slice, Any]]
) -> tuple[Floats32, Integers64]:
    """Multiply and add all inputs, block by block.

    Parameters
    ----------
    numbers : Operands
        Operands of the layer.
    rows : int
        Rows of the layer.
    blocks : sequence of (PackedLayer, slice, slice or array)
        Blocks in their order, with the activations that enter each, and the rows that it adds to.

    Returns
    -------
    outputs : numpy.ndarray
        float32 [inputs, rows]; infinite beyond float32.
    overflows : numpy.ndarray
        Additions that overflowed, int64 [inputs].
    """
    from sim.batch_kernels import SUM_LANES  # compile on first use

    inputs = len(numbers.activations)
    order: Literal["C", "F"] = "F" if numbers.side_by_side else "C"
    outputs = np.empty((inputs, rows), dtype=np.float32, order=order)
    overflows = np.zeros(inputs, dtype=np.int64)
    products = [(Products(numbers, packed, columns), of_block) for packed, columns, of_block in blocks]
    step = max(1, _SUM_BYTES // (8 * rows * SUM_LANES)) * SUM_LANES
    for begin in range(0, inputs, step):
        end = min(begin + step, inputs)
        accumulators = numbers.accumulators(end - begin, rows)
        for of_block, block_rows in products:
            sums = np.asarray(accumulators[:, block_rows], order=order)
            overflows[begin:end] += of_block.add(begin, sums)
            if not np.shares_memory(sums, accumulators):  # a copy
                accumulators[:, block_rows] = sums
        outputs[begin:end] = numbers.values(accumulators)
    return outputs, overflows


def _entries(packed: PackedLayer) -> tuple[Integers, Integers, Integers]:
    """Return the entries of a layer as `sim.batch_kernels.list_entries` lists them."""
    from sim.batch_kernels import SUM_COLUMNS, list_entries

    layer = packed.layer
    codes, bias = packed.places_in_codebooks()
    groups = -(-(layer.columns + (bias.size > 0)) // SUM_COLUMNS)
    number = int(np.count_nonzero(codes)) + int(np.count_nonzero(bias)) + 1
    begins = np.empty(groups * layer.rows + 1, dtype=np.int32)
    entry_columns, entry_codes = np.empty(number, dtype=np.uint8), np.empty(number, dtype=codes.dtype)
    list_entries(codes, bias, begins, entry_columns, entry_codes)
    return begins, entry_columns, entry_codes


def operands(
    packed: PackedLayer,
    activations: Floats32,
    config: ArrayConfig,
    number_format: FixedPoint | None = None,
) -> Operands:
    """Return the operands for an array's arithmetic.

    Parameters
    ----------
    packed : PackedLayer
        Layer to run.
    activations : numpy.ndarray
        float32 [columns] or [inputs, columns].
    config : ArrayConfig
        Array whose precision decides the type of the operands.
    number_format : FixedPoint, optional
        Format of an array in fixed point. By default it is fitted to the layer and these activations.

    Returns
    -------
    Operands
        Numbers or codes.

    Raises
    ------
    InputError
        If a format is given and the array has another one.
    """
    layer = packed.layer
    if config.precision == "float":
        if number_format is not None:
            raise InputError("number_format has no effect with precision='float'; give the array a fixed precision")
        return _in_floating_point(packed, activations)
    bits = config.activation_bits
    if number_format is None:
        number_format = fitted_format(packed, np.atleast_2d(activations), bits)
    elif number_format.bits != bits:
        raise InputError(
            f"the array has precision={config.precision!r}, so number_format must have {bits} bits; "
            f"found {number_format.bits}"
        )
    fraction_bits = number_format.activation_fraction_bits
    codes, saturated = number_format.codes_and_saturated(activations, fraction_bits)
    return Operands(
        codebook=number_format.codes(packed.codebooks.ravel(), number_format.weight_fraction_bits),
        entering=codes,
        one=int(number_format.codes(1.0, fraction_bits)),
        number_format=number_format,
        saturated_activations=saturated,
        free_bias=(
            None
            if layer.free_bias is None
            else number_format.codes(layer.free_bias, number_format.accumulator_fraction_bits)
        ),
        limit=number_format.limit(layer.activation_threshold),
    )


def _in_floating_point(packed: PackedLayer, activations: Floats32) -> Operands:
    layer = packed.layer
    return Operands(
        codebook=packed.codebooks.ravel().astype(np.float64),
        entering=activations,
        one=1.0,
        number_format=None,
        saturated_activations=np.zeros(activations.shape[:-1], dtype=np.int64),
        free_bias=None if layer.free_bias is None else layer.free_bias.astype(np.float64),
        limit=layer.activation_threshold,
    )
