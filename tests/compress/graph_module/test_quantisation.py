import numpy as np
import pytest
import torch
from onnx import helper

from compress.graph_module import GraphModule
from tests.compress.graph_module.twins import assert_as_in_onnx_runtime, model_of

X = np.random.default_rng(10).normal(size=(2, 3, 4)).astype("f4") * 20
SCALES = np.array([0.1, 0.2, 0.3], "f4")


@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_levels(kind: str) -> None:
    one = np.array(0.1, "f4")
    assert_as_in_onnx_runtime("QuantizeLinear", [X, one, np.array(7, kind)], 10)
    assert_as_in_onnx_runtime("QuantizeLinear", [X, SCALES, np.array([0, 7, 2], kind)], 13)
    assert_as_in_onnx_runtime("QuantizeLinear", [X, SCALES], 13)
    levels = X.astype("i4").astype(kind)
    assert_as_in_onnx_runtime("DequantizeLinear", [levels, one, np.array(7, kind)], 10)
    assert_as_in_onnx_runtime("DequantizeLinear", [levels, SCALES, np.array([0, 7, 2], kind)], 13, axis=-2)
    assert_as_in_onnx_runtime("DequantizeLinear", [levels, SCALES], 13)


def test_derivatives_pass_through_rounding_but_not_through_saturation() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["y"]),
    ]
    constants = {"scale": np.array(0.5, "f4"), "zero": np.array(3, "i1")}
    x = np.array([0.3, -0.8, 200], "f4")
    module = GraphModule(model_of(nodes, {"x": x}, ["y"], 13, constants), {})
    entering = torch.tensor(x, requires_grad=True)
    outputs = module(entering)
    assert torch.equal(outputs.detach(), module(torch.tensor(x)))
    outputs.sum().backward()
    assert entering.grad is not None
    assert entering.grad.tolist() == [1, 1, 0]
