"""Formats, outputs, costs and containers, whatever instructions the processor has."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, fit_formats, pack, simulate, simulate_batch
from sim.fixed_point import Ranges, fitted_format, format_of_ranges
from tests.layers import Case, cases
from tests.sim.processor_digests import BORDER, digests, layers_at_the_border
from traces import CompressedLayer

PROCESSORS = (
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX512_ICL"},
    {"OPENBLAS_CORETYPE": "Haswell", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable,-FMA4"},
    {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "1"},
)
ARRAY = ArrayConfig(num_pes=4, precision="fixed-16")


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: processor["OPENBLAS_CORETYPE"])
def test_results_do_not_depend_on_the_instructions_of_the_processor(processor: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.sim.processor_digests"],
        env={**os.environ, **processor},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(run.stdout) == digests()


def test_a_few_ulps_at_the_border_decide_the_format() -> None:
    for border, fraction_bits in ((BORDER + 1e-5, 8), (BORDER - 1e-5, 9)):
        found = [simulate(layer, inputs, ARRAY).number_format for layer, inputs in layers_at_the_border(20, border)]
        assert {number.accumulator_fraction_bits for number in found if number is not None} == {fraction_bits}


@settings(deadline=None, max_examples=60)
@given(cases(several_codebooks=True), st.sampled_from([1e-6, 1.0, 1e38]))
def test_the_range_is_that_of_the_output_in_floating_point(case: Case, scale: float) -> None:
    layer, vector, config = case
    vector = np.clip(vector * scale, -3e38, 3e38).astype(np.float32)
    expected = format_of_ranges([layer], Ranges.of(vector, simulate(layer, vector, config).output), 16)
    assert fitted_format(pack(layer, config), vector[np.newaxis], 16) == expected
    several = np.stack([np.zeros_like(vector), vector, vector / 2])
    outputs = simulate_batch(layer, several, config).output
    assert fitted_format(pack(layer, config), several, 16) == format_of_ranges([layer], Ranges.of(several, outputs), 16)


def huge_layer(sign: int) -> CompressedLayer:
    codebook = np.array([0, 3e38, sign * 3e38, 1], dtype=np.float32)
    return CompressedLayer("huge", np.array([[1, 2], [1, 1]], dtype=np.uint8), codebook)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("precision", ["fixed-8", "fixed-16", "fixed-32"])
def test_weights_near_the_end_of_float32_have_a_format(sign: int, precision: str) -> None:
    layer, array = huge_layer(sign), ArrayConfig(num_pes=1, precision=precision)  # type: ignore[arg-type]
    inputs = np.array([3e38, 3e38], dtype=np.float32)
    number = simulate(layer, inputs, array).number_format
    assert number is not None
    bits = number.bits
    # 3e38 is below 2**128; an output of infinity counts as the largest float32, below 2**128, with a bit to spare
    assert (number.weight_fraction_bits, number.activation_fraction_bits) == (bits - 129, bits - 129)
    assert number.accumulator_fraction_bits <= bits - 130
    assert fit_formats([layer], inputs[np.newaxis], array) == {"huge": number}
