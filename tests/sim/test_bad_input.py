"""Bad input gets a sentence: what must hold, what was found, what to do."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, simulate, simulate_network
from traces import CompressedLayer, InputError
from traces.eie_benchmark import benchmark_layer
from traces.synthetic import draw_layer

CODES = np.array([[1, 0], [0, 1]], dtype=np.uint8)
CODEBOOK = np.array([0, 0.5], dtype=np.float32)
LAYER = CompressedLayer("fc", CODES, CODEBOOK)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_pes": 0}, "num_pes must be 1 to 65,536: an array has at least one PE; found 0"),
        ({"num_pes": 2.5}, "num_pes must be a whole number; found 2.5"),
        ({"num_pes": True}, "num_pes must be a whole number; found True"),
        ({"queue_slots": 1}, "queue_slots must be 2 to 1,048,576: one slot of the ring stays free"),
        ({"index_bits": 0}, "index_bits must be 1 to 8: a gap must be able to skip a row"),
        ({"index_bits": 9}, "index_bits must be 1 to 8"),
        ({"weight_bits": 0}, "weight_bits must be 1 to 16"),
        ({"line_bits": 7}, "line_bits=7 must be at least weight_bits + index_bits = 8"),
        (
            {"pipeline_cycles": 4},
            "pipeline_cycles must be 5 to 64: an entry is looked up, decoded, multiplied, added and written in a cycle "
            "each; found 4",
        ),
        ({"broadcast_cycles": 0}, "broadcast_cycles must be 1 to 64: a broadcast takes at least one cycle; found 0"),
        ({"broadcast_cycles": 65}, "broadcast_cycles must be 1 to 64"),
        ({"clock_mhz": 0.0}, "clock_mhz must be a frequency from 0.001 to 1,000,000 MHz; found 0.0"),
        ({"clock_mhz": float("nan")}, "clock_mhz must be a finite number; found nan"),
        ({"clock_mhz": 10**400}, "clock_mhz must be a finite number; found 1000"),
        ({"clock_mhz": 1j}, "clock_mhz must be a finite number; found 1j"),
        ({"clock_mhz": "fast"}, "clock_mhz must be a finite number; found 'fast'"),
    ],
)
def test_an_array_that_cannot_be_built_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence)):
        ArrayConfig(**change)
    with pytest.raises(InputError):
        dataclasses.replace(ArrayConfig(), **change)


def test_configs_of_equal_arrays_are_one_key() -> None:
    points = {ArrayConfig(num_pes=np.int64(4)), ArrayConfig(num_pes=4)}  # type: ignore[arg-type]
    assert len(points) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((CODES * 2, CODEBOOK), "every value of codes must be below 2, the length of the codebook; found 2"),
        ((CODES.astype(int), CODEBOOK), "codes must be a 2-dimensional array of uint8 or uint16"),
        ((CODES[0], CODEBOOK), "codes must be a 2-dimensional array of uint8 or uint16 codebook indices; found uint8"),
        ((CODES[:0], CODEBOOK), "codes must have at least one row and one column; found shape (0, 2)"),
        ((CODES, CODEBOOK + 1), "codebook entry 0 is the value of a pruned weight and must be 0.0; found 1.0"),
        ((CODES, np.zeros(3)), "codebook must be one row of 2**weight_bits shared weights"),
        ((CODES, np.array([0, np.nan])), "every codebook value must be finite as float32; found nan at [1]"),
        ((CODES, np.array([0, 1e-60])), "every codebook value must be 0 or above 7.01e-46 in magnitude"),
        ((CODES, np.array(["a", "b"])), "codebook must be real numbers; found <U1"),
        ((CODES, CODEBOOK + 0j), "codebook must be real numbers; found complex64"),
        ((CODES, CODEBOOK, CODES[0, :1]), "bias must be uint8 [2], one codebook index per row"),
        ((CODES, CODEBOOK, np.array([0, 3], dtype=np.uint8)), "every value of bias must be below 2"),
    ],
)
def test_an_impossible_layer_is_refused(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        CompressedLayer("fc", *arguments)


@pytest.mark.parametrize("name", ["", None, 3, "new\nline", "\ud800"])
def test_a_layer_has_a_printable_name(name: Any) -> None:
    with pytest.raises(InputError, match="a layer's name must be printable text, not empty; found"):
        CompressedLayer(name, CODES, CODEBOOK)


def test_the_arrays_of_a_layer_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        LAYER.codes[0, 0] = 1
    mine, whole = CODES.copy(), np.zeros((4, 2), dtype=np.uint8)
    layers = [CompressedLayer("fc", array, CODEBOOK) for array in (mine, whole[:2])]
    mine[0, 0] = whole[0, 0] = 9
    assert [layer.codes[0, 0] for layer in layers] == [1, 0]
    again = CompressedLayer("again", layers[0].codes, layers[0].codebook)
    assert np.shares_memory(again.codes, layers[0].codes)  # what nobody can change is not copied


def test_a_pruned_weight_is_plus_zero_and_codes_may_be_big_endian() -> None:
    layer = CompressedLayer("fc", CODES.astype(">u2"), np.array([-0.0, 1]))
    assert not np.signbit(layer.codebook[0])
    assert layer.codes.dtype == np.uint16
    assert layer.codes.dtype.isnative


def test_an_output_beyond_float32_is_infinite_without_a_warning() -> None:
    huge = CompressedLayer("huge", CODES, np.array([0, 3e38], dtype=np.float32))
    for engine in ("closed-form", "reference"):
        assert simulate(huge, [2, 0], engine=engine).output.tolist() == [np.inf, 0]


@pytest.mark.parametrize(
    ("activations", "sentence"),
    [
        ([1.0, np.nan], "every activation must be a finite float32; found nan at column 1"),
        ([1e300, 0], "every activation must be a finite float32; found 1e+300 at column 0"),
        ([1.0, 2.0, 3.0], "has 2 columns, so activations must be [2]; found shape [3]"),
        ([[1.0, 2.0]], "has 2 columns, so activations must be [2]; found shape [1, 2]"),
        (["a", "b"], "activations must be real numbers; found <U1"),
        ([[1.0], [1.0, 2.0]], "activations must be one row of numbers; they are ragged"),
        ([1j, 0], "activations must be real numbers; found complex128"),
    ],
)
def test_impossible_activations_are_refused(activations: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        simulate(LAYER, activations, ArrayConfig(num_pes=2))


def test_what_is_no_layer_or_no_engine_is_refused() -> None:
    with pytest.raises(InputError, match="layer must be a CompressedLayer or a PackedLayer; found ndarray"):
        simulate(CODES, [1, 1])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="engine must be 'closed-form' or 'reference'; found 'quick'"):
        simulate(LAYER, [1, 1], engine="quick")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="config must be an ArrayConfig; found dict"):
        simulate(LAYER, [1, 1], {"num_pes": 4})  # type: ignore[arg-type]


def test_layers_that_do_not_follow_one_another_are_refused() -> None:
    wide = CompressedLayer("wide", np.ones((1, 3), dtype=np.uint8), CODEBOOK)
    with pytest.raises(InputError, match="layer 'wide' must have 2 columns, the rows of 'fc'; found 3"):
        simulate_network([LAYER, wide], [[1, 1]])


def test_a_network_rectifies_between_its_layers_and_not_after_the_last() -> None:
    minus = [CompressedLayer(name, CODES, np.array([0, -1], dtype=np.float32)) for name in ("first", "last")]
    outputs = [simulate_network(minus[:depth], [[1, -2]], ArrayConfig(num_pes=2)).output for depth in (1, 2)]
    assert [output.tolist() for output in outputs] == [[[-1, 2]], [[0, -2]]]


def test_an_unknown_benchmark_layer_is_refused_with_the_nine_names() -> None:
    with pytest.raises(InputError, match="no EIE benchmark layer 'Alex-9'; the nine are Alex-6, Alex-7"):
        benchmark_layer("Alex-9")


def test_a_drawn_layer_has_densities_between_0_and_1() -> None:
    with pytest.raises(InputError, match=r"weight_density is a share of non-zeros and must be 0 to 1; found 9"):
        draw_layer("x", 4, 4, 9, 0.3, 0)
    with pytest.raises(InputError, match="at least one row and one column; found 0 x 4"):
        draw_layer("x", 0, 4, 0.9, 0.3, 0)
