"""Layers whose weights are not stored with outputs first: the container keeps the parameter and the product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress import CompressedModel
from compress.container.bytes_io import varint
from tests.compress.container.test_container import LAYER, assert_same, container, drawn_model, network_model
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement

CODEBOOK = np.arange(16, dtype=np.float32) / np.float32(3)


def layer_of(matrix: Any) -> CompressedLayer:
    return CompressedLayer("fc", np.asarray(matrix, dtype=np.uint8), CODEBOOK)


def test_decoded_parameters_have_the_parameter_s_shape_and_order() -> None:
    weight = np.arange(15, dtype=np.uint8).reshape(5, 3)  # [in, out]
    model = CompressedModel([layer_of(weight.T)], [(5, 3)], arrangements=[Arrangement((5, 3), (1, 0), 1)])
    found = CompressedModel.from_bytes(model.to_bytes())
    assert found.layers[0].codes.tolist() == weight.T.tolist()
    decoded = found.decoded_parameters()["fc.weight"]
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, CODEBOOK[weight])


@pytest.mark.parametrize("given", [None, Arrangement.identity((6, 3, 3)), Arrangement((2, 3, 1, 9), (0, 1, 2, 3), 2)])
def test_an_arrangement_that_changes_nothing_is_not_stored(given: Arrangement | None) -> None:
    layer = drawn_model().layers[0]
    model = CompressedModel([layer], [(6, 3, 3)], arrangements=[given])
    assert model.arrangements == (None,)
    assert model.to_bytes() == CompressedModel([layer], [(6, 3, 3)]).to_bytes()


def test_weights_of_one_dimension_and_of_none_are_matrices_by_their_arrangement() -> None:
    for matrix, shape, view in ((np.ones((1, 7)), (7,), (1, 7)), (np.ones((7, 1)), (7,), (7,)), ([[1]], (), (1,))):
        model = CompressedModel(
            [layer_of(matrix)], [shape], arrangements=[Arrangement(view, tuple(range(len(view))), 1)]
        )
        found = CompressedModel.from_bytes(model.to_bytes())
        assert_same(found, model)
        assert found.decoded_parameters()["fc.weight"].shape == shape


def test_a_bias_has_a_value_for_each_row_of_the_matrix() -> None:
    model = CompressedModel.from_bytes(network_model().to_bytes())
    assert model.decoded_parameters()["up.bias"].shape == (16,)
    free = model.layers[0].free_bias
    assert free is not None
    assert free.tolist() == np.array([0.1, 0.2, 0.3], dtype=np.float32).tolist()  # of a float64 tensor
    again = CompressedModel(
        model.layers,
        model.shapes,
        tensors=model.tensors,
        buffers=sorted(model.buffers),
        arrangements=model.arrangements,
        graph=model.graph,
    )
    assert_same(again, model)


@pytest.mark.parametrize(
    ("shape", "arrangement", "sentence"),
    [
        ((5, 3), Arrangement((5, 3), (0, 1), 1), r"make its matrix \[3, 5\] of weights.*found \[5, 3\] of \[5, 3\]"),
        ((4, 3), Arrangement((5, 3), (1, 0), 1), r"found \[3, 5\] of \[4, 3\]"),
        ((-5, -3), Arrangement((5, 3), (1, 0), 1), r"found \[3, 5\] of \[-5, -3\]"),
        ((5, 3, *(1,) * 7), Arrangement((5, 3), (1, 0), 1), "up to 8 dimensions; found"),
        ((5, 3), (1, 0), r"its arrangement must be an Arrangement; found \(1, 0\)"),
    ],
)  # fmt: skip
def test_an_arrangement_that_does_not_fit_gets_a_sentence(shape: Any, arrangement: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=f"layer 'fc': .*{sentence}"):
        CompressedModel([layer_of(np.ones((3, 5)))], [shape], arrangements=[arrangement])


def test_there_is_one_arrangement_for_each_layer() -> None:
    with pytest.raises(InputError, match="one of arrangements for each layer; found 2 for 1 layers"):
        CompressedModel([layer_of(np.ones((3, 5)))], arrangements=[None, None])


def arranged(*content: int | bytes) -> bytes:
    """Return the section of layer fc, [2, 3], with other bytes as its arrangement."""
    middle = b"".join(bytes([part]) if isinstance(part, int) else part for part in content)
    return LAYER[:1] + bytes([LAYER[1] | 16]) + LAYER[2:7] + middle + LAYER[7:]


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (arranged(2, 2, 3, 0, 0, 1), "axes must name each of the 2 axes of view once, from 0 on; found (0, 0)"),
        (arranged(2, 2, 3, 0, 1, 0), "row_axes must be 1 to 2, the number of axes; found 0"),
        (arranged(2, 2, 3, 0, 1, 3), "row_axes must be 1 to 2, the number of axes; found 3"),
        (arranged(0, 1), "view must have 1 to 16 axes"),
        (arranged(17, bytes(40)), "an arrangement of 17 axes; up to 16 are possible"),
        (arranged(2, 2, 0, 0, 1, 1), "view must have 1 to 16 axes, each of 1 or more values; found (2, 0)"),
        (arranged(2, 2, 4, 0, 1, 1), "weights of shape [2, 3], viewed as [2, 4]"),
        (arranged(2, varint(2**62), varint(2**62), 0, 1, 1), "viewed as [4611686018427387904, 4611686018427387904]"),
        (arranged(1, 6, 0), "row_axes must be 1 to 1, the number of axes; found"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_arrangement_is_refused(section: bytes, sentence: str) -> None:
    import re

    model = CompressedModel.from_bytes(container((1, b"fc", arranged(2, 3, 2, 0, 1, 1)), version=3))
    assert model.arrangements == (Arrangement((3, 2), (0, 1), 1),)
    assert model.layers[0].codes.shape == (3, 2)
    with pytest.raises(InputError, match="container: the container is invalid: layer 'fc': .*" + re.escape(sentence)):
        CompressedModel.from_bytes(container((1, b"fc", section), version=3))
