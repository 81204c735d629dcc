"""Small ONNX graphs, and what each must hold once its weights are compressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from compress import CompressedModel
from sim import ArrayConfig, simulate_network
from sim.network import NetworkResult
from traces import CompressedLayer, Network
from traces.graph.stored import arrangements

SHARED = 15  # values of a parameter besides zero

RUN_TYPES = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-5, np.dtype(np.float16): 4e-3}


def drawn(seed: int, *shape: int, dtype: Any = np.float32, sparse: bool = True) -> Any:
    """Return weights of few values that float16 holds, some of them zero, no two places alike by accident."""
    stream = np.random.default_rng(seed)
    values = stream.choice(np.arange(1, 128), SHARED, replace=False) / 64 * stream.choice([-1, 1], SHARED)
    weights = stream.choice(values, shape)
    if sparse:
        weights = np.where(stream.random(shape) < 0.3, 0, weights)
    return weights.astype(dtype)


def activations(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    """Return activations, a third of them zero."""
    stream = np.random.default_rng(1000 + seed)
    values = stream.normal(size=shape)
    return np.where(stream.random(shape) < 0.3, 0, values).astype(dtype)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> NodeProto:
    """Return a node."""
    domain = attributes.pop("domain", "")
    return helper.make_node(kind, list(inputs), list(outputs), domain=domain, **attributes)


def value(name: str, shape: Sequence[int | str | None] | None, dtype: Any = np.float32) -> Any:
    """Return the description of an input or output."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]],
    outputs: Sequence[str] = ("y",),
    parameters: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    dtype: Any = np.float32,
    types: Mapping[str, Any] | None = None,
) -> ModelProto:
    """Return a model. `types` has the types of inputs and outputs that are not of `dtype`."""
    types = types or {}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [value(name, shape, types.get(name, dtype)) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (parameters or {}).items()],
    )
    for output in graph.output:
        output.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(types.get(output.name, dtype)))
    domains = sorted({each.domain for each in nodes if each.domain})
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(each, 1) for each in domains)]
    )
    made.ir_version = 8
    return made


def body(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    parameters: Mapping[str, Any] | None = None,
) -> GraphProto:
    """Return a branch or a body."""
    return helper.make_graph(
        list(nodes),
        "inner",
        list(inputs),
        list(outputs),
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (parameters or {}).items()],
    )


def run(made: ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    """Run a model in ONNX Runtime, apart from this project."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(None, dict(feeds))
    return results


def compressed(network: Network) -> CompressedModel:
    """Return the model of a network whose parameters have at most 255 values each; nothing is changed."""
    shapes = {name: values.shape for name, values in network.parameters.items()}
    chosen = arrangements([layer for layer in network.weights.values() if layer is not None], shapes)
    layers, by_layer = [], []
    for name, arrangement in chosen.items():
        values = np.asarray(network.parameters[name], dtype=np.float32)
        table = np.unique(values[values != 0])
        assert len(table) < 256, "weights must have few values"
        codebook = np.zeros(256, dtype=np.float32)
        codebook[1 : 1 + len(table)] = table
        codes = np.where(values == 0, 0, 1 + np.searchsorted(table, values)).astype(np.uint8)
        matrix = arrangement.matrix(codes) if codes.ndim else codes.reshape(1, 1)
        layers.append(CompressedLayer(name, np.ascontiguousarray(matrix), codebook))
        by_layer.append((name, shapes[name], arrangement))
    others = {name: values for name, values in network.parameters.items() if name not in chosen}
    return CompressedModel(
        layers,
        [shape for _, shape, _ in by_layer],
        weight_names=[(name,) for name, _, _ in by_layer],
        bias_names=[f"{name}/none" for name, _, _ in by_layer],
        tensors=others,
        arrangements=[arrangement for _, _, arrangement in by_layer],
        graph=network.graph_bytes(),
    )


def matrix_of(network: Network, number: int = 0) -> Any:
    """Return the matrix of a layer as its places give it."""
    layer = network.layers[number]
    return network.parameters[layer.weight].ravel()[layer.places]


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Assert that two arrays are equal to rounding, relative to the largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if not expected.size:
        return
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    scale = float(np.abs(expected.astype(np.float64)).max()) or 1.0
    difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
    assert difference <= tolerance * scale, (difference, scale)


def checked(
    made: ModelProto,
    feeds: Any,
    *,
    num_pes: int = 3,
    kinds: Sequence[str] | None = None,
    vectors: Sequence[float] | None = None,
    tolerance: float | None = None,
    by_input: bool = True,
) -> tuple[Network, NetworkResult]:
    """Open a model, simulate it, and assert that all it computes is what ONNX Runtime computes.

    Parameters
    ----------
    made : ModelProto
        The model; its weights have few values.
    feeds : mapping of str to array
        Inputs by name.
    num_pes : int
        PEs of the array.
    kinds : sequence of str, optional
        Kind that each layer must have.
    vectors : sequence of float, optional
        Vectors per input that each layer must have.
    tolerance : float, optional
        Largest difference, relative to the largest output.
    by_input : bool
        True if each input alone must cost what it costs among the others.
    """
    names = [entry.name for entry in made.graph.output]
    expected = dict(zip(names, run(made, feeds), strict=True))
    dtype = next((each.dtype for each in feeds.values() if each.dtype.kind == "f"), np.dtype(np.float32))
    tolerance = tolerance or RUN_TYPES[dtype]
    before = made.SerializeToString()
    network = Network.open(made, feeds)
    assert made.SerializeToString() == before  # what was given is not changed
    whole = network.run(feeds)
    for name in names:
        close(whole[name], expected[name], 1e-6)
    if kinds is not None:
        assert [layer.kind for layer in network.layers] == list(kinds)
    if vectors is not None:
        assert [layer.vectors_per_input for layer in network.layers] == list(vectors)
    for layer in network.layers:
        assert layer.places.shape == (layer.groups, layer.rows // layer.groups, layer.columns)
        assert len(np.unique(layer.places)) == layer.places.size  # each weight once
        assert 0 <= layer.places.min() <= layer.places.max() < network.parameters[layer.weight].size
    config = ArrayConfig(num_pes=num_pes, weight_bits=8)
    container = compressed(network)
    result = simulate_network(container, feeds, config)
    outputs = result.output if isinstance(result.output, dict) else {names[0]: result.output}
    for name in names:
        close(outputs[name], expected[name], tolerance)
    assert result.largest_difference <= tolerance
    assert result.output_difference <= tolerance
    assert {layer.name for layer in result.layers} == {layer.name for layer in network.layers}
    by_name = {layer.name: layer for layer in network.layers}
    for costs in result.layers:
        layer = by_name[costs.name]
        assert (costs.kind, costs.rows, costs.columns) == (layer.kind, layer.rows, layer.columns)
        macs = _useful_macs(network, layer)
        assert costs.stored_entries - costs.padding_entries == macs
    total = network.num_inputs(network.bind(feeds))
    if by_input and total > 1:
        for place in (0, total - 1):
            alone = simulate_network(container, network.part(network.bind(feeds), place, place + 1), config)
            for one, many in zip(alone.layers, result.layers, strict=True):
                for count in ("cycles", "broadcasts", "useful_macs", "pointer_reads", "line_reads"):
                    assert getattr(one, count)[0] == getattr(many, count)[place], (one.name, count)
                assert one.vectors == many.vectors
    return network, result


def _useful_macs(network: Network, layer: Any) -> int:
    """Return the stored weights of all groups of a layer."""
    return int(np.count_nonzero(network.parameters[layer.weight].ravel()[layer.places]))


def off_array_counts(made: ModelProto, on_array: int, inputs: Sequence[str]) -> int:
    """Return how many operations that depend on an input are off the array; for graphs without graphs inside."""
    moving = set(inputs)
    count = 0
    for each in made.graph.node:
        if any(name in moving for name in each.input):
            moving |= set(each.output)
            count += 1
    return count - on_array
