from typing import Any

import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime, in_pytorch, model_of
from traces import InputError
from traces.arrays import Numbers

DRAW = np.random.default_rng(4)
SIZES = {1: (9,), 2: (9, 8), 3: (5, 6, 4)}


def draw(*shape: int) -> Numbers:
    return DRAW.normal(size=shape).astype("f4")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("group", "attributes"),
    [
        (1, {}),
        (2, {"strides": 2}),
        (4, {"pads": (1, 1), "dilations": 2}),
        (1, {"pads": (0, 2), "strides": 2}),
        (1, {"auto_pad": "SAME_UPPER", "strides": 2}),
        (2, {"auto_pad": "SAME_LOWER", "strides": 2}),
        (1, {"auto_pad": "SAME_LOWER", "kernel_shape": 2}),
        (1, {"auto_pad": "VALID", "strides": 2}),
    ],
)
def test_convolutions(rank: int, group: int, attributes: dict[str, Any]) -> None:
    attributes = spread(attributes, rank)
    kernel = attributes.get("kernel_shape", [3, 2, 3][:rank])
    x, weight = draw(2, 4, *SIZES[rank]), draw(8, 4 // group, *kernel)
    for bias in (None, draw(8)):
        inputs = [x, weight] if bias is None else [x, weight, bias]
        assert_as_in_onnx_runtime("Conv", inputs, 11, group=group, **attributes)


def spread(attributes: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return attributes with one value for each axis."""
    spread: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, tuple):
            spread[name] = [value[0]] * rank + [value[1]] * rank
        else:
            spread[name] = value if isinstance(value, str) else [value] * rank
    return spread


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("group", "attributes"),
    [
        (1, {}),
        (2, {"strides": 2}),
        (2, {"strides": 3, "pads": (1, 1), "output_padding": 1}),
        (1, {"strides": 2, "pads": (0, 2), "dilations": 2}),
        (1, {"strides": 2, "pads": (2, 0), "output_padding": 1}),
        (1, {"strides": 2, "auto_pad": "SAME_UPPER"}),
        (1, {"strides": 2, "auto_pad": "SAME_LOWER"}),
        (1, {"strides": 2, "auto_pad": "VALID"}),
    ],
)
def test_transposed_convolutions(rank: int, group: int, attributes: dict[str, Any]) -> None:
    attributes = spread(attributes, rank)
    x, weight = draw(2, 4, *SIZES[rank]), draw(4, 3, *[3, 2, 3][:rank])
    for bias in (None, draw(3 * group)):
        inputs = [x, weight] if bias is None else [x, weight, bias]
        assert_as_in_onnx_runtime("ConvTranspose", inputs, 11, group=group, **attributes)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("output", [18, 17, 16])
def test_transposed_convolutions_of_a_given_shape(auto_pad: str, output: int) -> None:
    x, weight = draw(1, 2, 9), draw(2, 3, 3)
    assert_as_in_onnx_runtime("ConvTranspose", [x, weight], 11, strides=[2], auto_pad=auto_pad, output_shape=[output])


@pytest.mark.parametrize(
    "shapes",
    [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)), ((3, 4), (4,)), ((4,), (4,))],
)
def test_matrix_products(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert_as_in_onnx_runtime("MatMul", [draw(*shape) for shape in shapes], 13)


def test_general_products() -> None:
    a, b = draw(3, 4), draw(4, 5)
    assert_as_in_onnx_runtime("Gemm", [a, b, draw(5)], 7)
    assert_as_in_onnx_runtime("Gemm", [a, b], 11)
    assert_as_in_onnx_runtime("Gemm", [a.T, b.T, draw(3, 1)], 13, transA=1, transB=1, alpha=0.5, beta=2.0)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,jk->bik", [(2, 3, 4), (4, 5)]),
        ("...gi,...gih->...gh", [(2, 3, 4), (1, 3, 4, 5)]),
        ("ij,jk", [(3, 4), (4, 2)]),
        ("ii->i", [(3, 3)]),
        ("a,b,c->cab", [(2,), (3,), (4,)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    assert_as_in_onnx_runtime("Einsum", [draw(*shape) for shape in shapes], 12, equation=equation)


def test_a_convolution_with_four_spatial_axes_is_refused_by_its_node() -> None:
    from onnx import helper

    inputs = {"x": draw(1, 1, 3, 3, 3, 3), "w": draw(1, 1, 2, 2, 2, 2)}
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"], "four")], inputs, ["y"], 11)
    with pytest.raises(InputError, match=r"node 'four' \(Conv\).*1 to 3 axes"):
        in_pytorch(model, inputs)
