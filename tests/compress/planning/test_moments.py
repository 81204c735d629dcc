"""Moments of what weights are multiplied with, however their layers are called (PyTorch needed)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress.modules import module_layers
from compress.planning import moments as moments_module
from compress.planning.analysis import analyse
from compress.planning.moments import BlockMoment, Moments, input_vectors
from traces import InputError
from traces.arrangement import Arrangement

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
    layers = module_layers(module)[0]
    moments = Moments(module, layers)
    with moments, torch.no_grad():
        module(inputs)
    vectors, entering = [], inputs
    for _ in range(3):
        vectors.append(entering.detach().double().numpy())
        entering = torch.tanh(module.again(entering))
    of = {layer.name: moments.of(number) for number, layer in enumerate(layers)}
    stacked = np.concatenate(vectors)
    again, out = of["again"], of["out"]
    assert again is not None
    assert out is not None
    assert again.positions == 15
    assert again.means()[0] == pytest.approx(stacked.T @ stacked / 15, rel=1e-5)
    assert out.positions == 5
    assert of["unused"] is None
    assert of["grouped"] is not None
    assert of["grouped"].groups == 2
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
    found = {layer.name: layer for layer in analyse(module, inputs, products=products).layers}
    moments = {name: layer.moment for name, layer in found.items() if layer.moment is not None}
    assert {name: moment.positions for name, moment in moments.items()} == {
        "kernel": 6 * 2 * 5, "transposed": 6, "plain": 6, "square": 6,
    }  # fmt: skip
    kernel = torch.from_numpy(parameters["kernel"])
    padded = torch.nn.functional.pad(torch.from_numpy(inputs), (0, 1, 1, 0))
    hidden = (
        torch.nn.functional.conv2d(padded, kernel, stride=(2, 1), dilation=(1, 2)).mean(dim=(2, 3)).double().numpy()
    )
    for name in ("transposed", "plain", "square"):
        assert moments[name].means()[0] == pytest.approx(hidden.T @ hidden / 6, rel=1e-4, abs=1e-6)
        matrix = parameters[name] if name == "transposed" else parameters[name].T
        assert np.array_equal(found[name].weights, matrix)
        hidden = hidden @ matrix.T
    patches = (
        torch.nn.functional.unfold(padded, (3, 2), (1, 2), 0, (2, 1)).movedim(1, 2).reshape(-1, 12).double().numpy()
    )
    assert moments["kernel"].means()[0] == pytest.approx(patches.T @ patches / len(patches), rel=1e-4, abs=1e-6)


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


def test_a_moment_of_many_columns_keeps_blocks_on_its_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_module, "MOST_COLUMNS", 8)
    torch.manual_seed(0)
    module, inputs = torch.nn.Linear(30, 4), torch.randn(50, 30)
    moments = Moments(module, module_layers(module)[0])
    with moments, torch.no_grad():
        module(inputs[:20])
        (first,), _ = moments.taken()
        module(inputs[20:])
    (second,), _ = moments.taken()
    assert moments.taken()[0] == [None]
    assert first is not None
    assert second is not None
    moment = first + second
    whole = inputs.double().numpy().T @ inputs.double().numpy() / 50
    assert (moment.columns, moment.positions, [len(block) for block in moment.sums]) == (30, 50, [7, 8, 7, 8])
    begin = 0
    for block in moment.means():
        end = begin + len(block)
        assert block == pytest.approx(whole[begin:end, begin:end], rel=1e-4, abs=1e-6)
        begin = end
    saved = {f"{name}_3": values for name, values in moment.arrays().items()}
    again = BlockMoment.of_arrays(saved, 3)
    assert again is not None
    assert again.positions == 50
    assert all(np.array_equal(*blocks) for blocks in zip(again.sums, moment.sums, strict=True))
    assert BlockMoment.of_arrays(saved, 2) is None
    with pytest.raises(InputError, match="moments must be of equal columns; found 30 and 3"):
        _ = moment + BlockMoment.of_vectors(np.ones((2, 3)))


def test_vectors_are_multiplied_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, inputs = torch.nn.Conv2d(3, 5, 3, padding=1), torch.randn(4, 3, 6, 5)
    vectors = input_vectors(module, inputs).double().numpy()
    for at_once in (1, 100, 2**22):
        monkeypatch.setattr(moments_module, "_VALUES_AT_ONCE", at_once)
        moments = Moments(module, module_layers(module)[0])
        with moments, torch.no_grad():
            module(inputs)
        moment = moments.of(0)
        assert moment is not None
        assert moment.positions == 4 * 6 * 5
        assert moment.sums[0] == pytest.approx(vectors.T @ vectors, rel=1e-4, abs=1e-4)


def test_of_too_many_vectors_each_call_adds_equally_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_module, "MOST_VECTORS", 3000)
    module, inputs = torch.nn.Conv2d(1, 5, 3), torch.randn(25, 1, 34, 34)
    moments = Moments(module, module_layers(module)[0], calls=3)
    with moments, torch.no_grad():
        for part in torch.tensor_split(inputs, 3):
            module(part)
    moment = moments.of(0)
    assert moment is not None
    assert moment.positions == 3000
    vectors = input_vectors(module, inputs).double().numpy()
    assert np.abs(moment.means()[0] - vectors.T @ vectors / len(vectors)).max() < 0.1


GROUPED: list[tuple[Any, tuple[int, ...]]] = [
    (torch.nn.Conv1d(6, 8, 3, padding=1, groups=2), (5, 6, 9)),
    (torch.nn.Conv2d(4, 8, (3, 2), stride=(2, 1), padding=1, groups=4), (5, 4, 7, 6)),
    (torch.nn.Conv2d(5, 5, 3, padding="same", dilation=2, groups=5), (5, 5, 7, 6)),
    (torch.nn.Conv3d(4, 2, 2, groups=2), (5, 4, 3, 4, 3)),
]


def of_groups(part: Any, entering: torch.Tensor) -> list[Any]:
    """Return the vectors of each group, from convolutions of the group's channels with unit kernels."""
    vectors = []
    convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
    for channels in entering.chunk(part.groups, 1):
        columns = part.weight[0].numel()
        kernels = torch.eye(columns).reshape(columns, *part.weight.shape[1:])
        found = convolve[len(part.kernel_size) - 1](channels, kernels, None, part.stride, part.padding, part.dilation)
        vectors.append(found.movedim(1, -1).reshape(-1, columns).double().numpy())
    return vectors


@pytest.mark.parametrize("block", [1024, 4])
@pytest.mark.parametrize(("part", "shape"), GROUPED, ids=str)
def test_each_group_of_a_convolution_has_the_moment_of_its_own_channels(
    part: Any, shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments_module, "MOST_COLUMNS", block)
    torch.manual_seed(0)
    entering = torch.randn(shape)
    moments = Moments(part, module_layers(part)[0])
    with moments, torch.no_grad():
        part(entering[:2])
        (first,), _ = moments.taken()
        part(entering[2:])
    second = moments.of(0)
    assert first is not None
    assert second is not None
    moment = first + second
    expected = of_groups(part, entering)
    assert (moment.groups, moment.columns, moment.positions) == (part.groups, part.weight[0].numel(), len(expected[0]))
    blocks = [block for vectors in expected for block in BlockMoment.of_vectors(vectors).sums]
    assert len(moment.sums) == len(blocks)
    for found, model in zip(moment.sums, blocks, strict=True):
        assert found == pytest.approx(model, rel=1e-4, abs=1e-4)
    again = BlockMoment.of_arrays({f"{name}_0": values for name, values in moment.arrays().items()}, 0)
    assert again is not None
    assert (again.groups, again.positions) == (moment.groups, moment.positions)
    assert all(np.array_equal(*each) for each in zip(again.sums, moment.sums, strict=True))
    of_rows = moment.group_of_rows(part.out_channels)
    assert of_rows is not None
    assert of_rows.tolist() == np.repeat(np.arange(part.groups), part.out_channels // part.groups).tolist()
    with pytest.raises(InputError, match=f"moments must be of equal groups; found {part.groups} and 1"):
        _ = moment + BlockMoment.of_vectors(expected[0])


def test_a_moment_of_too_many_groups_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, kept in ((4 * 9**2, True), (4 * 9**2 - 1, False)):
        monkeypatch.setattr(moments_module, "_MOST_GROUPED", most)
        part = torch.nn.Conv2d(4, 4, 3, groups=4)
        moments = Moments(part, module_layers(part)[0])
        with moments, torch.no_grad():
            part(torch.randn(2, 4, 5, 5))
        assert (moments.of(0) is not None) == kept


def test_grouped_and_recurrent_products_of_a_graph_have_moments() -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx: install the extra 'onnx'")
    from compress.graph_module import GraphModule

    draw = np.random.default_rng(0)
    shapes = {"depthwise": (6, 1, 3), "w": (2, 20, 6), "r": (2, 20, 5)}
    parameters = {name: draw.normal(size=shape).astype(np.float32) / 2 for name, shape in shapes.items()}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "depthwise"], ["c"], group=6, pads=[1, 1]),
        onnx.helper.make_node("Transpose", ["c"], ["t"], perm=[2, 0, 1]),
        onnx.helper.make_node("LSTM", ["t", "w", "r"], ["y"], hidden_size=5, direction="bidirectional"),
    ]
    entries = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", "y")]
    graph = onnx.helper.make_graph(nodes, "graph", entries[:1], entries[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    module = GraphModule(onnx.helper.make_model(graph, opset_imports=opset), parameters)
    products: dict[str, Any] = {
        "depthwise": "Conv1d",
        "w": ("LSTM", _directions(shapes["w"])),
        "r": ("LSTM", _directions(shapes["r"])),
    }
    inputs = torch.from_numpy(draw.normal(size=(4, 6, 7)).astype(np.float32))
    layers = module_layers(module, products=products)[0]
    moments = Moments(module, layers)
    with moments, torch.no_grad():
        states = module(inputs)
    found = {layer.name: moments.of(number) for number, layer in enumerate(layers)}
    part = torch.nn.Conv1d(6, 6, 3, padding=1, groups=6, bias=False)
    part.weight.data = torch.from_numpy(parameters["depthwise"])
    steps = part(inputs).detach().permute(2, 0, 1)
    nothing = torch.zeros(1, 4, 5)
    ways = [torch.cat([nothing, states[:-1, 0]]), torch.cat([states[1:, 1], nothing])]
    vectors = {
        "depthwise": of_groups(part, inputs),
        "w": [steps.reshape(-1, 6).double().numpy()],
        "r": [way.reshape(-1, 5).double().numpy() for way in ways],
    }
    for name, groups in vectors.items():
        moment = found[name]
        assert moment is not None
        assert (moment.groups, moment.positions) == (len(groups), len(groups[0]))
        for block, of_group in zip(moment.sums, groups, strict=True):
            assert block == pytest.approx(of_group.T @ of_group, rel=1e-4, abs=1e-4)


def _directions(shape: tuple[int, ...]) -> Arrangement:
    return Arrangement(shape, (0, 1, 2), 2)
