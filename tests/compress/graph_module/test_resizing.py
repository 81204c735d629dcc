from typing import Any

import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime

X = np.random.default_rng(8).normal(size=(1, 2, 5, 7)).astype("f4")
UP, DOWN = np.array([1, 1, 2, 1.7], "f4"), np.array([1, 1, 0.6, 0.5], "f4")
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("scales", [UP, DOWN])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolation(mode: str, coordinates: str, scales: np.ndarray) -> None:
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    assert_as_in_onnx_runtime("Resize", [X, None, scales], 19, **attributes)
    assert_as_in_onnx_runtime("Resize", [X, None, None, np.array([1, 2, 8, 4])], 19, constants=(3,), **attributes)


@pytest.mark.parametrize("scales", [UP, DOWN])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest_places(rounding: str, coordinates: str, scales: np.ndarray) -> None:
    attributes: dict[str, Any] = {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    assert_as_in_onnx_runtime("Resize", [X, None, scales], 19, **attributes)
    assert_as_in_onnx_runtime("Resize", [X, None, None, np.array([1, 2, 10, 4])], 19, constants=(3,), **attributes)


def test_other_attributes() -> None:
    sizes = np.array([9, 4])
    assert_as_in_onnx_runtime("Resize", [X, None, None, sizes], 18, constants=(3,), axes=[2, 3], mode="linear")
    assert_as_in_onnx_runtime("Resize", [X, None, UP], 13, mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)
    empty = np.zeros(0, "f4")
    assert_as_in_onnx_runtime("Resize", [X, empty, UP], 11, mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [UP, DOWN])
def test_earlier_versions(mode: str, scales: np.ndarray) -> None:
    assert_as_in_onnx_runtime("Resize", [X, scales], 10, mode=mode)
    if (scales >= 1).all():
        assert_as_in_onnx_runtime("Upsample", [X, scales], 9, mode=mode)
        assert_as_in_onnx_runtime("Upsample", [X], 8, mode=mode, scales=scales.tolist())
