from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from compress.graph_module import GraphModule
from compress.network_module import NetworkModule
from tests.conftest import real_file
from traces import InputError
from traces.arrays import Numbers
from traces.graph.network import Network

DRAW = np.random.default_rng(12)


def draw(*shape: int) -> Numbers:
    return DRAW.normal(size=shape).astype("f4")


def opened(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    opset: int = 13,
    **parameters: Numbers,
) -> Network:
    """Return the network of an ONNX file with these nodes."""
    path = folder / "network.onnx"
    entering, leaving = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in parameters.items()]
    graph = helper.make_graph(nodes, "graph", entering, leaving, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return Network.open(path)


def rows(network: Network, inputs: tuple[Numbers, ...], *axes: int) -> Numbers:
    """Return ONNX Runtime's outputs as one row for each input, by the axis of each output that holds the inputs."""
    outputs = network.run(inputs).values()
    moved = [np.moveaxis(output, axis, 0) for output, axis in zip(outputs, axes, strict=True)]
    return np.concatenate([each.reshape(len(each), -1) for each in moved], axis=1)


@pytest.mark.parametrize(
    ("file", "inputs", "taken", "axes"),
    [
        ("mlperf_tiny/ds_cnn_keyword_spotting.onnx", (draw(3, 49, 10, 1),), (0,), (0,)),
        ("deepfilternet3/df_dec.onnx", (draw(3, 5, 512), draw(3, 64, 5, 96)), (0, 0), (0, 0)),
        (
            "silero_vad/silero_vad_16k_op15.onnx",
            (draw(3, 576), draw(2, 3, 128), np.array(16000)),
            (0, 1),
            (0, 1),
        ),
    ],
)
def test_real_networks_give_a_row_for_each_input(
    data: Path, file: str, inputs: tuple[Numbers, ...], taken: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    network = Network.open(real_file(data, "models", *file.split("/")), inputs)
    module = NetworkModule(network, inputs)
    tensors = [torch.tensor(each).movedim(axis, 0) for each, axis in zip(inputs, taken, strict=False)]
    expected = rows(network, inputs, *axes)
    limit = 1e-5 * np.abs(expected).max()
    with torch.no_grad():
        np.testing.assert_allclose(module(*tensors), expected, atol=limit)
        np.testing.assert_allclose(module(*(tensor[1:2] for tensor in tensors)), expected[1:2], atol=limit)
    assert module.together
    assert len(module.inputs) == len(taken)
    assert set(dict(module.named_parameters())) == set(network.parameters)


def test_a_graph_in_which_inputs_influence_each_other_runs_them_one_by_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "centred"], ["y"]),
    ]
    network = opened(tmp_path, nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, w=draw(3, 3))
    x = draw(4, 3)
    module = NetworkModule(network, x)
    assert not module.together
    np.testing.assert_allclose(
        module(torch.tensor(x)).detach(), np.concatenate([network.run(each[None])["y"] for each in x]), rtol=1e-5
    )


def test_a_graph_whose_shapes_are_those_of_one_input_runs_them_one_by_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    shape = np.array([1, 6])
    network = opened(tmp_path, nodes, {"x": [1, 2, 3]}, {"y": [1, 2]}, w=draw(6, 2), shape=shape)
    x = draw(3, 2, 3)
    module = NetworkModule(network, x)
    assert not module.together
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), rows(network, (x,), 0), rtol=1e-5)


def test_several_outputs_are_joined_in_order_wherever_they_hold_the_inputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Transpose", ["product"], ["y"], perm=[1, 2, 0]),
        helper.make_node("ArgMax", ["product"], ["z"], axis=2, keepdims=0),
    ]
    network = opened(tmp_path, nodes, {"x": ["n", 2, 3]}, {"y": [2, 4, "n"]}, w=draw(3, 4))
    network.graph.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.INT64, ["n", 2]))
    x = draw(5, 2, 3)
    module = NetworkModule(network, x)
    assert module.together
    found = module(torch.tensor(x)).detach()
    assert (found.shape, found.dtype) == ((5, 10), torch.float32)
    np.testing.assert_allclose(found, rows(network, (x,), 2, 0), rtol=1e-5)


@pytest.mark.parametrize(
    ("operator", "attributes", "opset", "shape", "expected"),
    [
        ("Softmax", {}, 13, ["n", 4], True),
        ("LogSoftmax", {"axis": -1}, 13, ["n", 4], True),
        ("Softmax", {"axis": 1}, 13, ["n", 4], True),
        ("Softmax", {}, 12, ["n", 4], True),
        ("Softmax", {"axis": 0}, 13, ["n", 4], False),
        ("Sigmoid", {}, 13, ["n", 4], False),
    ],
)
def test_logarithms_of_probabilities(
    tmp_path: Path, operator: str, attributes: dict[str, Any], opset: int, shape: list[int | str], expected: bool
) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node(operator, ["scores"], ["y"], **attributes),
    ]
    network = opened(tmp_path, nodes, {"x": ["n", 3]}, {"y": shape}, opset, w=draw(3, 4))
    x = torch.tensor(20 * draw(5, 3))
    plain = NetworkModule(network, x)
    module = NetworkModule(network, x, probabilities="log")
    assert not plain.log_probabilities
    assert module.log_probabilities == expected
    if expected:
        scores = x @ torch.tensor(network.parameters["w"])
        torch.testing.assert_close(module(x), torch.log_softmax(scores, 1))
    else:
        torch.testing.assert_close(module(x), plain(x))


def test_logarithms_of_a_probability_of_zero_are_finite(tmp_path: Path) -> None:
    network = opened(tmp_path, [helper.make_node("Softmax", ["x"], ["y"])], {"x": ["n", 2]}, {"y": ["n", 2]})
    module = NetworkModule(network, np.zeros((1, 2), "f4"), probabilities="log")
    assert module(torch.tensor([[0.0, -1e4]])).tolist() == [[0, -1e4]]


def test_a_module_that_ends_in_a_softmax_gives_logarithms_too() -> None:
    class Classifier(TwoInputs):
        def forward(self, second: torch.Tensor, first: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return torch.nn.functional.softmax(self.layer(first), dim=-1)

    original = Classifier()
    inputs = {"first": 1e3 * draw(4, 3), "second": draw(4, 2)}
    module = NetworkModule(network_of(original, **inputs), inputs, probabilities="log")
    assert module.log_probabilities
    first, second = map(torch.tensor, inputs.values())
    torch.testing.assert_close(module(first, second), torch.log_softmax(original.layer(first), -1))


class TwoInputs(torch.nn.Module):
    """Network with two inputs, an inner name and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.normal = torch.nn.BatchNorm1d(4)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, second: torch.Tensor, first: torch.Tensor) -> dict[str, torch.Tensor]:
        values = self.dropout(self.normal(self.layer(first)))
        return {"values": values, "rest": second * 2}


def network_of(module: torch.nn.Module, **inputs: Numbers) -> Network:
    """Return a network of a module without its export: the same graph is given by hand."""
    nodes = [
        helper.make_node("Gemm", ["first", "layer.weight", "layer.bias"], ["product"], transB=1),
        helper.make_node("Mul", ["second", "two"], ["rest"]),
    ]
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", *a.shape[1:]]) for n, a in inputs.items()]
    outputs = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 4]) for n in ("product", "rest")]
    graph = helper.make_graph(nodes, "graph", values, outputs, [numpy_helper.from_array(np.array(2, "f4"), "two")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    state = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    return Network("two", model, {name: state[name] for name in ("layer.weight", "layer.bias")}, module)


def test_a_module_runs_itself_by_the_names_of_its_inputs() -> None:
    original = TwoInputs()
    original.dropout.eval()
    inputs = {"first": draw(4, 3), "second": draw(4, 2)}
    module = NetworkModule(network_of(original, **inputs), inputs)
    assert module.inner is original
    assert module.inputs == ("first", "second")
    assert module.together
    assert [part.training for part in original.modules()] == [True, True, True, False]
    module.eval()
    assert not original.normal.training
    expected = original(**{name: torch.tensor(array) for name, array in inputs.items()})
    found = module(*map(torch.tensor, inputs.values()))
    torch.testing.assert_close(found, torch.cat([expected["values"], expected["rest"]], 1))


def test_modules_parameters_and_state_have_the_names_of_the_inner_module() -> None:
    original = TwoInputs()
    inputs = {"first": draw(4, 3), "second": draw(4, 2)}
    module = NetworkModule(network_of(original, **inputs), inputs)
    assert dict(module.named_modules()) == dict(original.named_modules())
    assert dict(module.named_parameters()) == dict(original.named_parameters())
    assert dict(module.named_buffers()) == dict(original.named_buffers())
    assert module.state_dict().keys() == original.state_dict().keys()
    assert module.get_parameter("layer.weight") is original.layer.weight
    assert module.get_submodule("layer") is original.layer
    module.load_state_dict({name: torch.ones_like(value) for name, value in original.state_dict().items()})
    assert original.layer.weight.eq(1).all()
    module.zero_grad()
    module.requires_grad_(False)
    assert not original.layer.weight.requires_grad


def test_graphs_are_observed_and_modules_are_not() -> None:
    original = TwoInputs()
    inputs = {"first": draw(4, 3), "second": draw(4, 2)}
    network = network_of(original, **inputs)
    with (
        pytest.raises(InputError, match="the network must be a graph; found a module"),
        NetworkModule(network, inputs).observing(lambda *_: None),
    ):
        pass
    network.module = None
    module = NetworkModule(network, inputs)
    assert isinstance(module.inner, GraphModule)
    seen: list[tuple[str | None, torch.Size]] = []
    with module.observing(lambda parameter, _, __, entering, ___: seen.append((parameter, entering.shape))):
        module(*map(torch.tensor, inputs.values()))
    assert seen == [("layer.weight", (4, 3))]


def test_tensors_that_do_not_fit_are_refused() -> None:
    inputs = {"first": draw(4, 3), "second": draw(4, 2)}
    module = NetworkModule(network_of(TwoInputs(), **inputs), inputs)
    first, second = map(torch.tensor, inputs.values())
    with pytest.raises(InputError, match="the network's inputs are first, second; found 1 tensors"):
        module(first)
    with pytest.raises(InputError, match="same number of inputs on the first axis, at least 1; found 4, 3"):
        module(first, second[:3])
    with pytest.raises(InputError, match="at least 1; found 0, 0"):
        module(first[:0], second[:0])
