"""Moments of what weights are multiplied with, however their layers are called (PyTorch needed)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress.modules import weight_units
from compress.planning.analysis import analyse
from compress.planning.moments import Moments, input_vectors

CONVOLUTIONS: list[tuple[Any, tuple[int, ...]]] = [
    (torch.nn.Conv1d(3, 4, 3, padding=1, dilation=2), (2, 3, 11)),
    (torch.nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 3, 7, 6)),
    (torch.nn.Conv2d(3, 4, 3, dilation=2, padding="same"), (2, 3, 7, 6)),
    (torch.nn.Conv2d(3, 4, (2, 4), padding="same"), (2, 3, 7, 6)),
    (torch.nn.Conv2d(3, 4, 3, padding="valid"), (3, 7, 6)),
    (torch.nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="circular"), (2, 3, 7, 6)),
    (torch.nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"), (2, 3, 7, 6)),
    (torch.nn.Conv1d(3, 4, 5, padding="same", padding_mode="replicate"), (2, 3, 7)),
    (torch.nn.Conv3d(2, 4, (1, 2, 3), stride=2, padding=1), (2, 2, 5, 4, 6)),
    (torch.nn.Linear(5, 4), (2, 6, 5)),
]


@pytest.mark.parametrize(("part", "shape"), CONVOLUTIONS, ids=str)
def test_vectors_times_the_matrix_are_the_layer_s_outputs(part: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    entering = torch.randn(shape)
    found = part(entering)
    if not isinstance(part, torch.nn.Linear):
        found = found.movedim(-1 - len(part.kernel_size), -1)
    products = input_vectors(part, entering) @ part.weight.flatten(1).T + part.bias
    assert torch.allclose(products, found.reshape(-1, 4), atol=1e-5)


class Called(torch.nn.Module):
    """One layer called three times, and one by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.out, self.unused = torch.nn.Linear(6, 6), torch.nn.Linear(6, 3), torch.nn.Linear(6, 6)
        self.grouped = torch.nn.Conv1d(6, 6, 1, groups=2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            inputs = torch.tanh(self.again(inputs))
        inputs = self.grouped(inputs[:, :, None])[:, :, 0]
        return self.out(input=inputs)  # type: ignore[no-any-return]


def test_every_call_adds_its_vectors_and_hooks_are_gone_afterwards() -> None:
    torch.manual_seed(0)
    module = Called()
    inputs = torch.randn(5, 6)
    units = weight_units(module)[0]
    moments = Moments(module, units)
    with moments, torch.no_grad():
        module(inputs)
    vectors, entering = [], inputs
    for _ in range(3):
        vectors.append(entering.detach().double().numpy())
        entering = torch.tanh(module.again(entering))
    of = {unit.name: moments.of(number) for number, unit in enumerate(units)}
    stacked = np.concatenate(vectors)
    assert of["again"][1] == 15
    assert of["again"][0] == pytest.approx(stacked.T @ stacked / 15)
    assert of["out"][1] == 5
    assert of["unused"] == of["grouped"] == (None, 0)
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_the_products_of_a_graph_have_moments_as_those_of_layers() -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx: install the extra 'onnx'")
    from compress.graph_module import GraphModule

    draw = np.random.default_rng(0)
    shapes = {"kernel": (4, 2, 3, 2), "transposed": (5, 4), "plain": (5, 3), "square": (3, 3)}
    parameters = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "kernel"], ["c"], strides=[2, 1], pads=[1, 0, 0, 1], dilations=[1, 2]),
        onnx.helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        onnx.helper.make_node("Flatten", ["p"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "transposed"], ["g"], transB=1),
        onnx.helper.make_node("MatMul", ["g", "plain"], ["m"]),
        onnx.helper.make_node("Gemm", ["m", "square"], ["y"]),
    ]
    entries = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", "y")]
    graph = onnx.helper.make_graph(nodes, "graph", entries[:1], entries[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    module = GraphModule(onnx.helper.make_model(graph, opset_imports=opset), parameters)
    products = {"kernel": "Conv2d", "transposed": "Linear", "plain": "MatMul", "square": "MatMul"}
    inputs = draw.normal(size=(6, 2, 5, 6)).astype(np.float32)
    found = {unit.name: unit for unit in analyse(module, inputs, products=products).units}
    assert {name: unit.positions for name, unit in found.items()} == {
        "kernel": 6 * 2 * 5, "transposed": 6, "plain": 6, "square": 6,
    }  # fmt: skip
    kernel = torch.from_numpy(parameters["kernel"])
    padded = torch.nn.functional.pad(torch.from_numpy(inputs), (0, 1, 1, 0))
    hidden = (
        torch.nn.functional.conv2d(padded, kernel, stride=(2, 1), dilation=(1, 2)).mean(dim=(2, 3)).double().numpy()
    )
    for name in ("transposed", "plain", "square"):
        assert found[name].moment == pytest.approx(hidden.T @ hidden / 6, rel=1e-4, abs=1e-6)
        matrix = parameters[name] if name == "transposed" else parameters[name].T
        assert np.array_equal(found[name].weights, matrix)
        hidden = hidden @ matrix.T
    patches = (
        torch.nn.functional.unfold(padded, (3, 2), (1, 2), 0, (2, 1)).movedim(1, 2).reshape(-1, 12).double().numpy()
    )
    assert found["kernel"].moment == pytest.approx(patches.T @ patches / len(patches), rel=1e-4, abs=1e-6)


def test_an_analysis_leaves_modes_hooks_and_gradients_as_they_were() -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Dropout(),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 3),
    )
    module.train()
    module[1].eval()
    module[4].weight.requires_grad_(False)
    calls: list[object] = []
    handle = module[0].register_forward_hook(lambda *_: calls.append(0))
    before = [(part.training, len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()]
    with torch.no_grad():
        analyse(module, np.random.default_rng(0).normal(size=(3, 2, 4, 4)))
    assert before == [
        (part.training, len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()
    ]
    assert len(calls) == 3
    assert [each.requires_grad for each in module.parameters()] == [True] * 4 + [False, True]
    assert all(each.grad is None for each in module.parameters())
    handle.remove()
