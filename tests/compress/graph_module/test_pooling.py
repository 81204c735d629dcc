from typing import Any

import numpy as np
import pytest

from tests.compress.graph_module.test_products import SIZES, spread
from tests.compress.graph_module.twins import assert_as_in_onnx_runtime

DRAW = np.random.default_rng(6)
VARIANTS: list[dict[str, Any]] = [
    {},
    {"strides": 2},
    {"strides": 2, "pads": (1, 0)},
    {"strides": 2, "pads": (1, 1)},
    {"strides": 2, "auto_pad": "SAME_UPPER"},
    {"strides": 2, "auto_pad": "SAME_LOWER"},
    {"strides": 2, "auto_pad": "VALID"},
]
CEILINGS: list[dict[str, Any]] = [{"strides": 2}, {"strides": 2, "pads": (1, 1)}, {"strides": 3, "pads": (1, 1)}]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("attributes", VARIANTS)
def test_pools(operator: str, rank: int, attributes: dict[str, Any]) -> None:
    x = DRAW.normal(size=(2, 3, *SIZES[rank])).astype("f4")
    kernel = [3, 2, 3][:rank]
    assert_as_in_onnx_runtime(operator, [x], 11, kernel_shape=kernel, **spread(attributes, rank))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("attributes", CEILINGS)
def test_pools_with_a_cut_last_window(operator: str, rank: int, attributes: dict[str, Any]) -> None:
    x = DRAW.normal(size=(2, 3, *SIZES[rank])).astype("f4")
    assert_as_in_onnx_runtime(operator, [x], 22, kernel_shape=[3, 2, 3][:rank], ceil_mode=1, **spread(attributes, rank))


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_averages_that_count_the_padding(size: int, ceil_mode: int) -> None:
    x = DRAW.normal(size=(1, 2, size, size)).astype("f4")
    pads: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 2]}
    assert_as_in_onnx_runtime("AveragePool", [x], 22, ceil_mode=ceil_mode, count_include_pad=1, **pads)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_dilated_pools(operator: str) -> None:
    x = DRAW.normal(size=(1, 2, 9, 8)).astype("f4")
    attributes: dict[str, Any] = {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 1, 0, 1]}
    assert_as_in_onnx_runtime(operator, [x], 22, **attributes)


def test_norm_pools_of_another_order() -> None:
    x = DRAW.normal(size=(1, 2, 9)).astype("f4")
    assert_as_in_onnx_runtime("LpPool", [x], 18, kernel_shape=[3], p=3)
    assert_as_in_onnx_runtime("GlobalLpPool", [x], 18, p=3)


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pools(operator: str) -> None:
    for sizes in SIZES.values():
        assert_as_in_onnx_runtime(operator, [DRAW.normal(size=(2, 3, *sizes)).astype("f4")], 13)
