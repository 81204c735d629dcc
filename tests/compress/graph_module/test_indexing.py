from typing import Any

import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime

DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(3, 4, 2)).astype("f4")


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.array(1), np.array([0, -1]), np.array([[1, 0, 1]], "i4")])
def test_gather(axis: int, indices: np.ndarray) -> None:
    assert_as_in_onnx_runtime("Gather", [X, indices], 13, axis=axis)


def test_gather_of_shapes_is_exact() -> None:
    assert_as_in_onnx_runtime("Gather", [np.array([2**60 + 1, 5]), np.array(0)], 13)


def test_gather_elements() -> None:
    assert_as_in_onnx_runtime("GatherElements", [X, DRAW.integers(-4, 4, (2, 5, 2))], 13, axis=1)


def test_gather_by_places() -> None:
    assert_as_in_onnx_runtime("GatherND", [X, np.array([[0, 1], [-1, 2]])], 11)
    assert_as_in_onnx_runtime("GatherND", [X, np.array([[[0, 1, 1]]])], 13)
    assert_as_in_onnx_runtime("GatherND", [X, np.array([[1], [0], [-1]])], 13, batch_dims=1)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter(reduction: str) -> None:
    attributes: dict[str, Any] = {} if reduction == "none" else {"reduction": reduction}
    opset = 13 if reduction == "none" else 18
    places = np.array([[0, 1], [-1, 0], [1, 3]])[:, :, None]
    updates = DRAW.normal(size=places.shape).astype("f4")
    assert_as_in_onnx_runtime("ScatterElements", [X, places, updates], opset, axis=1, **attributes)
    corners = np.array([[0, 1], [-1, 2]])
    updates = DRAW.normal(size=(2, 2)).astype("f4")
    assert_as_in_onnx_runtime("ScatterND", [X, corners, updates], opset, **attributes)
    assert_as_in_onnx_runtime("ScatterND", [X, np.array([[0, 1, 1]]), updates[0, :1]], opset, **attributes)


def test_scatter_before_11() -> None:
    assert_as_in_onnx_runtime("Scatter", [X[0], np.array([[1, 0]]), X[1, :1]], 9)


def test_places_of_what_is_not_zero() -> None:
    assert_as_in_onnx_runtime("NonZero", [np.array([[1, 0], [0, 2]], "f4")], 13)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot_with_indices_out_of_range(axis: int) -> None:
    indices, values = np.array([[0, -1, 2], [3, 1, -4]]), np.array([0.5, 2], "f4")
    assert_as_in_onnx_runtime("OneHot", [indices, np.array(3), values], 11, axis=axis)
