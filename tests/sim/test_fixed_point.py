"""Fixed point: both engines bit for bit, against whole numbers of any size, with every overflow counted."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, FixedPoint, pack, simulate
from sim.config import Precision
from sim.fixed_point import fitted_format
from tests.layers import Case, cases
from tests.sim.test_machine import assert_same
from traces import CompressedLayer, InputError
from traces.synthetic import draw_layer

PRECISIONS: tuple[Precision, ...] = ("fixed-32", "fixed-16", "fixed-8")
FLOAT_AND_FIXED: tuple[Precision, ...] = ("float", *PRECISIONS)


@settings(deadline=None, max_examples=300)
@given(
    cases(several_codebooks=True), st.sampled_from(PRECISIONS), st.integers(-6, 6), st.sampled_from([1e-3, 1.0, 300.0])
)
def test_both_engines_agree_bit_for_bit_and_with_whole_numbers(
    case: Case, precision: Any, offset: int, scale: float
) -> None:
    layer, activations, config = case
    config = dataclasses.replace(config, precision=precision)
    activations = activations * np.float32(scale)
    number = fitted_format(pack(layer, config), activations[np.newaxis], config.activation_bits)
    shift = min(max(number.shift + offset, 0), 62)  # finer accumulators overflow, coarser ones round
    number = dataclasses.replace(
        number,
        accumulator_fraction_bits=number.weight_fraction_bits + number.activation_fraction_bits - shift,
    )
    fast = simulate(layer, activations, config, number_format=number)
    ticked = simulate(layer, activations, config, "reference", number)
    assert_same(fast, ticked)
    np.testing.assert_array_equal(fast.output_codes, ticked.output_codes)
    assert (fast.overflows, fast.saturated_activations) == (ticked.overflows, ticked.saturated_activations)

    # the definition, in Python's whole numbers
    codebooks = number.codes(layer.codebooks, number.weight_fraction_bits).tolist()
    inputs = number.codes(activations, number.activation_fraction_bits).tolist()
    one = int(number.codes(1.0, number.activation_fraction_bits))
    step = Fraction(2) ** -number.activation_fraction_bits

    def is_kept(code: int) -> bool:
        return abs(code) * step > Fraction(layer.activation_threshold)

    overflows = 0
    for row in range(layer.rows):
        total = 0
        weights = codebooks[0 if layer.row_codebooks is None else layer.row_codebooks[row]]
        terms = [(layer.codes[row, column], value) for column, value in enumerate(inputs) if is_kept(value)]
        terms += [(layer.bias[row], one)] if layer.bias is not None else []
        for code, value in terms:
            product = weights[code] * value
            total += (product * 2 + 2**shift) // 2 ** (shift + 1)
            if not number.lowest <= total <= number.highest:
                overflows += 1
                total = max(number.lowest, min(number.highest, total))
        assert fast.output_codes is not None
        assert fast.output_codes[row] == total
    assert fast.overflows == overflows
    assert fast.output_codes is not None
    expected = np.ldexp(fast.output_codes.astype(np.float64), -number.accumulator_fraction_bits)
    np.testing.assert_array_equal(fast.output, expected.astype(np.float32))


@settings(deadline=None, max_examples=100)
@given(cases(several_codebooks=True), st.sampled_from(PRECISIONS), st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_a_fitted_format_holds_weights_and_inputs_at_half_a_step(case: Case, precision: Any, scale: float) -> None:
    layer, activations, config = case
    activations = activations * np.float32(scale)
    bits = ArrayConfig(precision=precision).activation_bits
    number = fitted_format(pack(layer, config), activations[np.newaxis], bits)
    for values, fraction_bits in (
        (layer.codebook.ravel(), number.weight_fraction_bits),
        (activations, number.activation_fraction_bits),
    ):
        assert number.codes_and_saturated(values, fraction_bits)[1] == 0
        error = np.abs(np.ldexp(number.codes(values, fraction_bits).astype(float), -fraction_bits) - values)
        assert error.max() <= 2.0 ** (-fraction_bits - 1)
        finer = np.abs(values).max() * 2.0 ** (fraction_bits + 1)
        assert values.max(initial=0) == values.min(initial=0) or finer >= number.highest - 0.5 or layer.bias is not None


def test_wider_numbers_come_closer_to_floating_point() -> None:
    layer, activations = draw_layer("x", 100, 300, 0.3, 0.5, 3)
    exact = layer.weights().astype(np.float64) @ activations + layer.bias_values()
    errors = []
    for precision in PRECISIONS:
        result = simulate(layer, activations, ArrayConfig(num_pes=8, precision=precision))
        assert result.number_format is not None
        assert result.overflows == 0
        errors.append(np.abs(result.output - exact).max() / np.abs(exact).max())
    assert errors[0] < 1e-6 < errors[1] < 1e-2 < errors[2] < 1


def test_a_sum_that_leaves_the_range_saturates_and_is_counted() -> None:
    codebook = np.array([0, 1], dtype=np.float32)
    layer = CompressedLayer("ones", np.ones((2, 5), dtype=np.uint8), codebook)
    config = ArrayConfig(num_pes=1, precision="fixed-8", weight_bits=1)
    number = FixedPoint(8, 0, 0, 0)
    activations = np.array([100, 27, 1, -200, -1], dtype=np.float32)
    result = simulate(layer, activations, config, number_format=number)
    # 100, 127, 127 (not 128), -1 (the input saturates at -128), -2
    assert result.output.tolist() == [-2, -2]
    assert result.overflows == 2
    assert result.saturated_activations == 1


def test_products_round_to_the_nearest_and_ties_upwards() -> None:
    codebook = np.array([0, 0.5], dtype=np.float32)
    layer = CompressedLayer("half", np.ones((1, 1), dtype=np.uint8), codebook)
    config = ArrayConfig(num_pes=1, precision="fixed-8", weight_bits=1)
    number = FixedPoint(8, 1, 0, 0)
    rounded = [simulate(layer, [value], config, number_format=number).output[0] for value in (1, 2, 3, -1, -2, -3)]
    assert rounded == [1, 1, 2, 0, -1, -1]


def test_an_activation_that_rounds_to_zero_is_not_broadcast() -> None:
    layer = CompressedLayer("x", np.ones((1, 2), dtype=np.uint8), np.array([0, 1], dtype=np.float32))
    activations = np.array([1.0, 1e-4], dtype=np.float32)
    config = ArrayConfig(num_pes=1, weight_bits=1)
    broadcasts = [
        simulate(layer, activations, dataclasses.replace(config, precision=precision)).broadcasts
        for precision in FLOAT_AND_FIXED
        if precision != "fixed-32"
    ]
    assert broadcasts == [2, 2, 1]


@pytest.mark.parametrize("engine", ["closed-form", "reference"])
def test_a_code_is_kept_if_its_value_is_above_the_threshold(engine: Any) -> None:
    codebook = np.array([0, 1], dtype=np.float32)
    activations = np.array([2.0, -2, 2.25, -2.25, 1.75, 0, 2.124, 2.125], dtype=np.float32)
    number = FixedPoint(8, 0, 2, 2)  # codes of a quarter: 2.124 becomes 2, and 2.125 becomes 2.25
    config = ArrayConfig(num_pes=1, weight_bits=1, precision="fixed-8")

    def broadcasts(threshold: float) -> int:
        layer = CompressedLayer("ones", np.ones((1, 8), np.uint8), codebook, activation_threshold=threshold)
        return simulate(layer, activations, config, engine, number).broadcasts

    assert [broadcasts(t) for t in (0.0, 1.0, 1.75, 1.99, 2.0, 2.24, 2.25, 1e30)] == [7, 7, 6, 6, 3, 3, 0, 0]
    assert [number.limit(t) for t in (0.0, 0.2, 0.25, 2.0, 2.24, 31.9, 32.0, 3e38)] == [0, 0, 1, 8, 8, 127, 128, 128]
    assert dataclasses.replace(number, activation_fraction_bits=1000, weight_fraction_bits=-990).limit(3e38) == 128


def test_energy_and_area_follow_the_width_of_the_numbers() -> None:
    from sim.cost.area import area_mm2

    layer, activations = draw_layer("x", 100, 300, 0.3, 1.0, 3)
    activations = np.ones_like(activations)
    by_precision = {
        precision: simulate(layer, activations, ArrayConfig(precision=precision)) for precision in FLOAT_AND_FIXED
    }
    energy = {precision: result.energy for precision, result in by_precision.items()}
    assert energy["float"] == energy["fixed-16"]  # the paper's width, whatever the arithmetic computes
    for block in ("arithmetic_pj", "activation_write_pj", "queue_pj"):
        widths = [getattr(energy[precision], block) for precision in PRECISIONS]
        assert widths[0] > widths[1] > widths[2] > 0
    areas = [area_mm2(result.config) for result in by_precision.values()]
    assert areas[0] == areas[2]
    assert areas[1] > areas[2] > areas[3]
    horowitz = by_precision["fixed-32"].energy_with("horowitz-45nm")
    entries = int(by_precision["fixed-32"].entries_per_pe.sum())
    assert horowitz.arithmetic_pj == pytest.approx(entries * (1 + 3.1 + 0.1))  # decode, multiply, add; Table I


def test_a_format_that_does_not_go_with_the_array_is_refused() -> None:
    layer, activations = draw_layer("x", 4, 4, 1, 1, 0)
    number = FixedPoint(16, 10, 10, 10)
    with pytest.raises(InputError, match="number_format has no effect with precision='float'"):
        simulate(layer, activations, ArrayConfig(), number_format=number)
    with pytest.raises(InputError, match="precision='fixed-8', so number_format must have 8 bits; found 16"):
        simulate(layer, activations, ArrayConfig(precision="fixed-8"), number_format=number)
    with pytest.raises(InputError, match="bits must be 8, 16 or 32; found 12"):
        FixedPoint(12, 0, 0, 0)
    with pytest.raises(InputError, match=r"must be 0 to 62, the shift of a product; found -1"):
        FixedPoint(16, 4, 4, 9)
