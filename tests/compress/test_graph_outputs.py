"""Graphs as modules whose tensors have the inputs on the first axis, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
pytest.importorskip("onnx", reason="needs onnx: install the extra 'onnx'")

import onnx
import torch
from onnx import helper, numpy_helper

from compress.graph_outputs import GraphOutputs
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


def check_outputs(module: GraphOutputs, tensors: list[torch.Tensor], network: Network, inputs: Any, *axes: int) -> None:
    """Check all outputs beside ONNX Runtime's; of each, an axis holds the inputs."""
    with torch.no_grad():
        found = module(*tensors)
    found = found if isinstance(found, dict) else {network.outputs[0]: found}
    for (name, expected), axis in zip(network.run(inputs).items(), axes, strict=True):
        moved = np.moveaxis(expected, axis, 0)
        assert (found[name].shape, found[name].numpy().dtype) == (moved.shape, moved.dtype)
        np.testing.assert_allclose(found[name], moved, atol=1e-5 * np.abs(expected).max())


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
def test_real_networks_give_outputs_with_the_inputs_in_front(
    data: Path, file: str, inputs: tuple[Numbers, ...], taken: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    network = Network.open(real_file(data, "models", *file.split("/")), inputs)
    module = GraphOutputs(network, network.bind(inputs))
    tensors = [torch.tensor(each).movedim(axis, 0) for each, axis in zip(inputs, taken, strict=False)]
    check_outputs(module, tensors, network, inputs, *axes)
    one = network.part(network.bind(inputs), 1, 2)
    check_outputs(module, [tensor[1:2] for tensor in tensors], network, one, *axes)
    arranged = module.in_front(network.bind(inputs)).arrays.values()
    assert all(torch.equal(torch.tensor(each), tensor) for each, tensor in zip(arranged, tensors, strict=True))
    assert module.together
    assert len(module.input_names) == len(taken)
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
    module = GraphOutputs(network, network.bind(x))
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
    module = GraphOutputs(network, network.bind(x))
    assert not module.together
    check_outputs(module, [torch.tensor(x)], network, x, 0)


def test_several_outputs_have_the_inputs_in_front_wherever_they_hold_the_inputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Transpose", ["product"], ["y"], perm=[1, 2, 0]),
        helper.make_node("ArgMax", ["product"], ["z"], axis=2, keepdims=0),
    ]
    network = opened(tmp_path, nodes, {"x": ["n", 2, 3]}, {"y": [2, 4, "n"]}, w=draw(3, 4))
    network.graph.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.INT64, ["n", 2]))
    x = draw(5, 2, 3)
    module = GraphOutputs(network, network.bind(x))
    assert module.together
    check_outputs(module, [torch.tensor(x)], network, x, 2, 0)


def test_an_output_with_several_places_for_each_input_keeps_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["places"]),
        helper.make_node("MatMul", ["places", "w"], ["y"]),
    ]
    shape = np.array([-1, 3])
    network = opened(tmp_path, nodes, {"x": ["n", 2, 3]}, {"y": ["m", 4]}, w=draw(3, 4), shape=shape)
    x = draw(5, 2, 3)
    module = GraphOutputs(network, network.bind(x))
    assert module.together
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), network.run(x)["y"].reshape(5, 2, 4), rtol=1e-5)


def test_an_input_without_an_axis_of_inputs_gets_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    network = opened(tmp_path, nodes, {"x": [2, 3]}, {"y": [2, 4]}, w=draw(3, 4))
    x = draw(2, 3)
    module = GraphOutputs(network, network.bind(x))
    assert not module.together
    found = module(torch.tensor(np.stack([x, 2 * x])))
    np.testing.assert_allclose(found.detach(), np.stack([network.run(each)["y"] for each in (x, 2 * x)]), rtol=1e-5)


def two_inputs(folder: Path) -> Network:
    nodes = [
        helper.make_node("Gemm", ["first", "layer.weight", "layer.bias"], ["values"], transB=1),
        helper.make_node("Add", ["second", "second"], ["rest"]),
    ]
    ends: Any = {"first": ["n", 3], "second": ["n", 2]}, {"values": ["n", 4], "rest": ["n", 2]}
    parameters: Any = {"layer.weight": draw(4, 3), "layer.bias": draw(4)}
    return opened(folder, nodes, *ends, **parameters)


def test_parameters_have_the_names_of_the_graph_and_products_are_observed(tmp_path: Path) -> None:
    network = two_inputs(tmp_path)
    module = GraphOutputs(network, network.bind((draw(4, 3), draw(4, 2))))
    assert module.input_names == ("first", "second")
    assert set(module.state_dict()) == set(dict(module.named_parameters())) == {"layer.weight", "layer.bias"}
    seen: list[tuple[str | None, torch.Size]] = []
    with module.observing(lambda parameter, _, __, entering, ___: seen.append((parameter, entering.shape))):
        module(torch.ones(4, 3), torch.ones(4, 2))
    assert seen == [("layer.weight", (4, 3))]


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network = two_inputs(tmp_path)
    inputs = draw(4, 3), draw(4, 2)
    module = GraphOutputs(network, network.bind(inputs))
    first, second = map(torch.tensor, inputs)
    with pytest.raises(InputError, match="the network's inputs are first, second; found 1 tensors"):
        module(first)
    with pytest.raises(InputError, match="same number of inputs on the first axis, at least 1; found 4, 3"):
        module(first, second[:3])
    with pytest.raises(InputError, match="at least 1; found 0, 0"):
        module(first[:0], second[:0])
