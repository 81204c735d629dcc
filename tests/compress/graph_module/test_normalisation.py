from typing import Any

import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime
from traces.arrays import Numbers

DRAW = np.random.default_rng(7)
X = DRAW.normal(size=(2, 4, 3, 5)).astype("f4") + 1


def channels(count: int = 4) -> Numbers:
    return np.abs(DRAW.normal(size=count)).astype("f4") + 0.5


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("x", [X, X[..., 0], X[..., 0, 0]])
def test_batch_normalisation(x: Numbers, opset: int) -> None:
    assert_as_in_onnx_runtime(
        "BatchNormalization", [x, *(channels() for _ in range(4))], opset, epsilon=1e-3, momentum=0.8
    )


@pytest.mark.parametrize(
    ("operator", "inputs", "opset", "attributes"),
    [
        ("InstanceNormalization", [X, channels(), channels()], 7, {"epsilon": 1e-3}),
        ("InstanceNormalization", [X[..., 0], channels(), channels()], 22, {}),
        ("LayerNormalization", [X, channels(5), channels(5)], 17, {"epsilon": 1e-3}),
        ("LayerNormalization", [X, X[0, 0]], 17, {"axis": 2}),
        ("LayerNormalization", [X, X[0], X[1]], 17, {"axis": -3}),
        ("GroupNormalization", [X, channels(2), channels(2)], 18, {"num_groups": 2}),
        ("GroupNormalization", [X, channels(), channels()], 21, {"num_groups": 2, "epsilon": 1e-3}),
        ("RMSNormalization", [X, channels(5)], 23, {}),
        ("RMSNormalization", [X, X[0, 0]], 23, {"axis": 2, "epsilon": 1e-3}),
        ("LpNormalization", [X], 13, {}),
        ("LpNormalization", [X], 13, {"axis": 1, "p": 1}),
        ("LRN", [X], 13, {"size": 3}),
        ("LRN", [X], 13, {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
        ("MeanVarianceNormalization", [X], 13, {}),
        ("MeanVarianceNormalization", [X], 13, {"axes": [1, 3]}),
    ],
)
def test_normalisation(operator: str, inputs: list[Numbers], opset: int, attributes: dict[str, Any]) -> None:
    assert_as_in_onnx_runtime(operator, inputs, opset, **attributes)


def test_layer_normalisation_gives_its_moments() -> None:
    assert_as_in_onnx_runtime("LayerNormalization", [X, channels(5)], 17, outputs=3)


def test_moments_of_half_precision_are_in_single_precision() -> None:
    half = (100 * X).astype("f2")  # squares are beyond the range of half precision
    assert_as_in_onnx_runtime("LayerNormalization", [half, channels(5).astype("f2")], 17, tolerance=1e-3)
