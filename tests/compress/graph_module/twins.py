"""Graphs of one node, and ONNX Runtime as the second implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper

from compress.graph_module import GraphModule
from traces.arrays import Numbers


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Numbers],
    outputs: list[str],
    opset: int,
    initialisers: dict[str, Numbers] | None = None,
) -> onnx.ModelProto:
    """Return a graph with inputs of any size and the types of these arrays."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), [f"{name}{axis}" for axis in range(array.ndim)]
            )
            for name, array in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in (initialisers or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {each.name: each for each in inferred.graph.value_info}
    for output in model.graph.output:  # ONNX Runtime infers types, but wants a field for them
        output.type.CopyFrom(kinds[output.name].type if output.name in kinds else onnx.TypeProto())
    return model


def in_onnx_runtime(model: onnx.ModelProto, inputs: dict[str, Numbers]) -> list[Numbers]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return [np.asarray(each) for each in session.run(None, inputs)]


def in_pytorch(model: onnx.ModelProto, inputs: dict[str, Numbers], **parameters: Numbers) -> list[Numbers]:
    module = GraphModule(model, parameters)
    with torch.no_grad():
        outputs = module(**{name: torch.tensor(array) for name, array in inputs.items()})
    return [each.numpy() for each in (outputs.values() if isinstance(outputs, dict) else [outputs])]


def assert_same(found: list[Numbers], expected: list[Numbers], tolerance: float = 1e-5) -> None:
    assert len(found) == len(expected)
    for each, wanted in zip(found, expected, strict=True):
        assert (each.shape, each.dtype) == (wanted.shape, wanted.dtype)
        if wanted.dtype.kind == "f":
            finite = wanted[np.isfinite(wanted)]
            limit = tolerance * max(1.0, float(np.abs(finite).max(initial=0)))
            np.testing.assert_allclose(each, wanted, rtol=tolerance, atol=limit)
        else:
            np.testing.assert_array_equal(each, wanted)


def assert_as_in_onnx_runtime(
    operator: str,
    inputs: Sequence[Numbers | None],
    opset: int,
    outputs: int = 1,
    constants: tuple[int, ...] = (),
    tolerance: float = 1e-5,
    **attributes: Any,
) -> None:
    """Hold one node to ONNX Runtime; inputs at some positions may be constants of the graph."""
    names = ["" if array is None else f"x{place}" for place, array in enumerate(inputs)]
    given = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    results = [f"y{place}" for place in range(outputs)]
    fixed = {names[place]: given.pop(names[place]) for place in constants}
    node = helper.make_node(operator, names, results, "node", **attributes)
    model = model_of([node], given, results, opset, fixed)
    assert_same(in_pytorch(model, given), in_onnx_runtime(model, given), tolerance)
