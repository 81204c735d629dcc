import itertools
from typing import Any

import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime
from traces.arrays import Numbers

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(3, 1, 4)).astype("f4") * 2
Y = DRAW.normal(size=(2, 4)).astype("f4")
ABOVE = np.abs(X) + 1
INSIDE = np.tanh(X)
INTEGERS = np.array([[-7, 7, -3], [5, -5, 4]])
DIVISORS = np.array([2, -3, 4])
BOOLEANS, OTHERS = X[:, 0] > 0, Y[:1] > 0
NOT_FINITE = np.array([np.nan, np.inf, -np.inf, 1], "f4")


@pytest.mark.parametrize("opset", [7, 13, 22])
@pytest.mark.parametrize(
    ("operator", "x"),
    [
        *((name, X) for name in ("Abs", "Neg", "Exp", "Floor", "Ceil", "Sin", "Cos", "Tan", "Atan")),
        *((name, X) for name in ("Tanh", "Sigmoid", "Relu", "Elu", "Selu", "LeakyRelu", "HardSigmoid")),
        *((name, X) for name in ("Softplus", "Softsign", "Reciprocal")),
        *((name, ABOVE) for name in ("Sqrt", "Log")),
        *((name, INSIDE) for name in ("Asin", "Acos")),
        *((name, INTEGERS) for name in ("Abs", "Neg")),
        ("Not", BOOLEANS),
    ],
)
def test_functions_of_one_tensor(operator: str, x: Numbers, opset: int) -> None:
    assert_as_in_onnx_runtime(operator, [x], opset)


@pytest.mark.parametrize(
    ("operator", "x", "opset", "attributes"),
    [
        ("Erf", X, 9, {}),
        ("Sign", X, 9, {}),
        ("Sinh", X, 9, {}),
        ("Cosh", X, 9, {}),
        ("Asinh", X, 9, {}),
        ("Acosh", ABOVE, 9, {}),
        ("Atanh", INSIDE * 0.9, 9, {}),
        ("Round", np.array([-1.5, -0.5, 0.5, 1.5, 2.5, 2.6], "f4"), 11, {}),
        ("IsNaN", NOT_FINITE, 9, {}),
        ("IsInf", NOT_FINITE, 10, {}),
        ("IsInf", NOT_FINITE, 10, {"detect_negative": 0}),
        ("IsInf", NOT_FINITE, 20, {"detect_positive": 0}),
        ("Elu", X, 12, {"alpha": 0.3}),
        ("Selu", X, 12, {"alpha": 1.3, "gamma": 0.7}),
        ("Celu", X, 12, {"alpha": 0.4}),
        ("LeakyRelu", X, 16, {"alpha": 0.3}),
        ("HardSigmoid", X, 12, {"alpha": 0.4, "beta": 0.3}),
        ("HardSwish", X * 2, 14, {}),
        ("ThresholdedRelu", X, 10, {"alpha": 0.4}),
        ("Mish", X, 18, {}),
        ("Gelu", X, 20, {}),
        ("Gelu", X, 20, {"approximate": "tanh"}),
        ("Swish", X, 24, {"alpha": 0.7}),
        ("Shrink", X, 9, {"lambd": 0.4}),
        ("Shrink", X, 17, {"lambd": 0.4, "bias": 0.25}),
        ("Shrink", INTEGERS, 17, {"lambd": 1.5}),
        ("Clip", X, 7, {"min": -0.5, "max": 0.5}),
        ("Clip", X, 7, {"min": -0.5}),
        ("Clip", X, 7, {}),
        ("Cast", X, 9, {"to": 7}),
        ("Cast", X, 13, {"to": 10}),
        ("Cast", X, 13, {"to": 11}),
        ("Cast", X, 19, {"to": 9}),
        ("Cast", INTEGERS, 9, {"to": 1}),
        ("Softmax", X, 7, {}),
        ("Softmax", X, 7, {"axis": 2}),
        ("Softmax", X, 12, {"axis": 0}),
        ("Softmax", X, 13, {}),
        ("Softmax", X, 13, {"axis": 0}),
        ("LogSoftmax", X, 12, {}),
        ("LogSoftmax", X, 13, {}),
    ],
)
def test_functions_with_attributes(operator: str, x: Numbers, opset: int, attributes: dict[str, Any]) -> None:
    assert_as_in_onnx_runtime(operator, [x], opset, **attributes)


@pytest.mark.parametrize(
    ("operator", "a", "b", "opset"),
    [
        *((name, X, Y, opset) for name, opset in itertools.product(("Add", "Sub", "Mul", "Div"), (7, 14))),
        *((name, INTEGERS, DIVISORS, 14) for name in ("Add", "Sub", "Mul", "Div")),
        ("Pow", ABOVE, Y, 7),
        ("Pow", ABOVE, np.array(2), 13),
        ("Pow", np.array([2, 3]), np.array([2.0, 1.5], "f4"), 13),
        ("PRelu", X, np.array([0.2], "f4"), 7),
        ("PRelu", X, Y[:1] * 0.1, 16),
        *((name, X, Y, 9) for name in ("Greater", "Less")),
        *((name, INTEGERS, DIVISORS, 13) for name in ("Greater", "Less", "Equal")),
        ("Equal", X, X[:1], 11),
        *((name, INTEGERS, DIVISORS, 16) for name in ("GreaterOrEqual", "LessOrEqual")),
        *((name, BOOLEANS, OTHERS, 7) for name in ("And", "Or", "Xor")),
        ("Clip", X, np.array(-0.5, "f4"), 11),
        ("Clip", INTEGERS, np.array(2), 13),
        ("CastLike", X, DIVISORS, 15),
        ("Mod", INTEGERS, DIVISORS, 10),
    ],
)
def test_functions_of_two_tensors(operator: str, a: Numbers, b: Numbers, opset: int) -> None:
    assert_as_in_onnx_runtime(operator, [a, b], opset)


@pytest.mark.parametrize("opset", [8, 13])
@pytest.mark.parametrize("operator", ["Max", "Min", "Mean", "Sum"])
def test_functions_of_any_number_of_tensors(operator: str, opset: int) -> None:
    assert_as_in_onnx_runtime(operator, [X, Y, X[:1] * 0.5], opset)
    assert_as_in_onnx_runtime(operator, [X], opset)


def test_remainders_follow_c_if_asked() -> None:
    assert_as_in_onnx_runtime("Mod", [INTEGERS, DIVISORS], 13, fmod=1)
    assert_as_in_onnx_runtime("Mod", [X, Y], 13, fmod=1)


def test_limits_and_conditions_are_inputs() -> None:
    low, high = np.array(-0.5, "f4"), np.array(0.25, "f4")
    assert_as_in_onnx_runtime("Clip", [X, None, high], 12)
    assert_as_in_onnx_runtime("Clip", [X, low, high], 12)
    assert_as_in_onnx_runtime("Clip", [X, high, low], 13)
    assert_as_in_onnx_runtime("Where", [BOOLEANS[:, None], X, Y], 9)
    assert_as_in_onnx_runtime("Where", [BOOLEANS[:2], INTEGERS[:, :1], DIVISORS[:1]], 16)
