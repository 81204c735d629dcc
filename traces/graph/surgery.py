"""Changes of ONNX graphs: parameters taken out and put back, names, and the resolution of If, Loop and Scan.

A *flat* graph has no node with a graph inside: each If is replaced by the branch that is taken, each Loop and Scan by
its iterations. The values that decided this are its guards; a run in which one differs needs another flat graph.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.runtime import Session

MOST_ITERATIONS = 10_000
UNKNOWN = "unknown value"
ELSEWHERE = "elsewhere"  # metadata: weights of layers that are multiplied outside of calls of their layer, too
WHOLE = "whole"  # metadata of a graph whose inputs are one input, whatever their first axes
COMPACT = "compact"  # metadata of a graph whose products leave out rows and columns that hold no weights
_LARGE = 64  # integer constants with more values are taken out of the graph as parameters are
_TYPES = "parameter_types"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs inside a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name; text as str."""

    def decoded(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode()
        return [decoded(each) for each in value] if isinstance(value, list) else value

    return {each.name: decoded(helper.get_attribute_value(each)) for each in node.attribute}


def opset(model: ModelProto) -> int:
    """Return the version of the default operator set."""
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)


def take_parameters(model: ModelProto, named: frozenset[str] | None = None) -> dict[str, Numbers]:
    """Take the parameters out of a graph, in place, and return them by name.

    If their names are given, parameters are the initialisers of these names. Otherwise a parameter is an initialiser or
    a constant of floating-point values that is no scalar, or a large array of integers. Those inside If, Loop and Scan
    come to the top of the graph. Names,
    comments and shapes that nothing needs are removed.
    """
    parameters: dict[str, Numbers] = {}
    types: dict[str, int] = {}
    counts: Counter[str] = Counter()
    _count_names(model.graph, counts)
    taken = set(counts)

    def is_parameter(tensor: TensorProto, name: str) -> bool:
        if tensor.data_type not in TensorProto.DataType.values() or min(tensor.dims, default=0) < 0:
            raise InputError(
                f"constant {name or 'of a node'!r} is damaged: type {tensor.data_type}, {list(tensor.dims)}"
            )
        if named is not None:
            return name in named
        size = int(np.prod(tensor.dims, dtype=np.int64))
        floating = tensor.data_type in _FLOATS and (size > 1 or (bool(name) and len(tensor.dims) > 0))
        return floating or size > _LARGE

    def visit(graph: GraphProto, top: bool) -> None:
        renamed: dict[str, str] = {}

        def keep(name: str, tensor: TensorProto) -> None:
            unique = name if top or counts[name] == 1 else unique_name(name, taken)
            taken.add(unique)
            if unique != name:
                renamed[name] = unique
            if tensor.data_type not in (TensorProto.FLOAT, TensorProto.INT64):
                types[unique] = tensor.data_type
            try:
                values = numpy_helper.to_array(tensor)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"constant {name!r} is damaged: {error}") from None
            parameters[unique] = values.astype(np.float32) if values.dtype.kind == "V" else np.array(values)

        for tensor in list(graph.initializer):
            if is_parameter(tensor, tensor.name):
                keep(tensor.name, tensor)
                graph.initializer.remove(tensor)
            elif not top:  # a small one stays, as a constant of its graph
                graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        if not top:
            del graph.initializer[:]
        for node in list(graph.node):
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                tensor = constant_tensor(node)
                if tensor is not None and is_parameter(tensor, ""):
                    keep(node.output[0], tensor)
                    graph.node.remove(node)
            for inner in subgraphs(node):
                visit(inner, top=False)
        if renamed:
            rename(graph, renamed)

    outputs = {value.name for value in model.graph.output}
    initialisers = {tensor.name for tensor in model.graph.initializer}
    for value in list(model.graph.input):  # old files list their initialisers among the inputs
        if value.name in initialisers:
            model.graph.input.remove(value)
    model.ir_version = max(model.ir_version, 4)
    if model.graph.sparse_initializer:
        raise InputError("a network's weights must be dense; found sparse initialisers, which are not handled")
    visit(model.graph, top=True)
    for name in sorted(outputs & set(parameters)):  # an output that is a constant
        model.graph.initializer.append(numpy_helper.from_array(parameters.pop(name), name))
    _strip(model)
    if types:
        model.metadata_props.add(key=_TYPES, value=json.dumps(types, separators=(",", ":")))
    order: dict[str, None] = {}
    _collect_uses(model.graph, order)
    return {name: parameters[name] for name in order if name in parameters}


def restored(model: ModelProto, parameters: Mapping[str, Numbers]) -> ModelProto:
    """Return the graph with these values of its parameters."""
    whole = ModelProto()
    whole.CopyFrom(model)
    types = parameter_types(model)
    for name in sorted(free_names(model.graph)):
        if name not in parameters:
            raise InputError(f"the network's parameter {name!r} must have a value; the parameters do not hold it")
        whole.graph.initializer.append(_tensor(name, parameters[name], types.get(name)))
    return whole


def parameter_types(model: ModelProto) -> dict[str, int]:
    """Return the element types of the parameters that are neither float32 nor int64, by name."""
    text = next((each.value for each in model.metadata_props if each.key == _TYPES), "{}")
    types: dict[str, int] = json.loads(text)
    return types


def _tensor(name: str, values: Numbers, element_type: int | None) -> TensorProto:
    if element_type is None:
        return numpy_helper.from_array(np.asarray(values, order="C"), name)
    if element_type == TensorProto.BFLOAT16:
        return helper.make_tensor(name, element_type, values.shape, np.ravel(values))
    dtype = helper.tensor_dtype_to_np_dtype(element_type)
    return numpy_helper.from_array(np.asarray(values, dtype, order="C"), name)


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """Return the value of a Constant node as a tensor, or None if it is text or sparse."""
    (attribute,) = node.attribute
    if attribute.name == "value":
        tensor: TensorProto = attribute.t
        return tensor
    if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
        dtype = np.float32 if "float" in attribute.name else np.int64
        return numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), dtype=dtype))
    return None


def free_names(graph: GraphProto) -> set[str]:
    """Return the names that a graph uses and does not define: those of its parameters, or of an outer graph."""
    defined = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    used: set[str] = set()
    for node in graph.node:
        used |= {name for name in node.input if name and name not in defined}
        for inner in subgraphs(node):
            used |= free_names(inner) - defined
        defined |= set(node.output)
    return used | ({value.name for value in graph.output} - defined)


def rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Replace names in a graph and in the graphs inside it."""
    for node in graph.node:
        for places in (node.input, node.output):
            for number, name in enumerate(places):
                if name in names:
                    places[number] = names[name]
        for inner in subgraphs(node):
            rename(inner, names)
    for values in (graph.input, graph.output):
        for value in values:
            value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


def flatten(model: ModelProto, feeds: Mapping[str, Numbers]) -> tuple[ModelProto, dict[str, Numbers]]:
    """Return the flat graph for these inputs, and the values of its guards by name.

    Raises InputError if a graph inside a node cannot be resolved.
    """
    flat = without_functions(model)
    guards: dict[str, Numbers] = {}
    while any(next(subgraphs(node), None) is not None for node in flat.graph.node):
        for node in flat.graph.node:
            if next(subgraphs(node), None) is not None and node.op_type not in ("If", "Loop", "Scan"):
                raise InputError(f"operator {node.op_type} ({node.name or node.output[0]}), which is not handled")
        observed = _observed(flat, feeds)
        nodes: list[NodeProto] = []
        for node in flat.graph.node:
            if next(subgraphs(node), None) is None:
                nodes.append(node)
            elif node.op_type == "If":
                nodes += _taken_branch(node, observed, guards)
            elif node.op_type == "Loop":
                nodes += _iterations(flat, node, observed, guards)
            else:
                nodes += _scan_iterations(flat, node, observed)
        del flat.graph.node[:]
        flat.graph.node.extend(nodes)
    return flat, guards


def without_functions(model: ModelProto) -> ModelProto:
    """Return a copy of a graph in which the functions of its own are inlined."""
    if model.functions:
        import onnx.inliner

        inlined: ModelProto = onnx.inliner.inline_local_functions(model)
        return inlined
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def every_branch(model: ModelProto) -> ModelProto:
    """Return a flat graph that cannot run but has all operations: both branches of each If, one iteration of each loop.

    What enters a body, and what leaves a branch or a body, has the unknown value `UNKNOWN`.
    """
    flat = ModelProto()
    flat.CopyFrom(model)
    while any(next(subgraphs(node), None) is not None for node in flat.graph.node):
        nodes: list[NodeProto] = []
        for node in flat.graph.node:
            inner = list(subgraphs(node))
            if not inner:
                nodes.append(node)
                continue
            for number, graph in enumerate(inner):
                bound = {value.name: UNKNOWN for value in graph.input}
                nodes += _copied(graph, f"{_place(node)}/{number}/", bound)[0]
            nodes += [_identity(UNKNOWN, name) for name in node.output if name]
        del flat.graph.node[:]
        flat.graph.node.extend(nodes)
    return flat


def _observed(model: ModelProto, feeds: Mapping[str, Numbers]) -> dict[str, Any]:
    """Run the graph and return what decides its If, Loop and Scan nodes: conditions, trip counts, scanned values."""
    watching = ModelProto()
    watching.CopyFrom(model)
    wanted: list[str] = []
    for node in watching.graph.node:
        if node.op_type == "If":
            wanted.append(node.input[0])
        elif node.op_type == "Loop":
            (body,) = subgraphs(node)
            counted = f"{_place(node)}/iteration"
            body.node.append(helper.make_node("Identity", [body.input[0].name], [counted]))
            body.output.append(helper.make_tensor_value_info(counted, TensorProto.INT64, []))
            node.output.append(f"{_place(node)}/iterations")
            wanted += [name for name in [*node.input[:2], *node.output] if name]
        elif node.op_type == "Scan":
            wanted += list(node.input)
    _bound_trips(watching)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    produced = {name for node in watching.graph.node for name in node.output}
    outputs = sorted({name for name in wanted if name in produced})
    observed = Session(watching, outputs).run(feeds) if outputs else {}
    return {**constants, **feeds, **observed}


def _bound_trips(model: ModelProto) -> None:
    """End each loop of a graph, in place, one iteration after the most that are handled.

    Raises InputError if there is a loop in an operator set without Where.
    """
    most = "#most iterations"

    def visit(graph: GraphProto) -> bool:
        found = False
        nodes: list[NodeProto] = []
        for node in graph.node:
            inner = [visit(each) for each in subgraphs(node)]
            found = found or any(inner)
            if node.op_type == "Loop" and node.domain in ("", "ai.onnx"):
                found = True
                stated = node.input[0]
                if stated:
                    fewer, bounded = f"{_place(node)}#fewer", f"{_place(node)}#bounded"
                    nodes.append(helper.make_node("Less", [stated, most], [fewer]))
                    nodes.append(helper.make_node("Where", [fewer, stated, most], [bounded]))
                node.input[0] = bounded if stated else most
            nodes.append(node)
        if found:
            del graph.node[:]
            graph.node.extend(nodes)
        return found

    if visit(model.graph):
        if opset(model) < 9:
            raise InputError("a Loop needs operator set 9 or later; convert the file with onnx.version_converter")
        model.graph.initializer.append(numpy_helper.from_array(np.array(MOST_ITERATIONS + 1), most))


def _place(node: NodeProto) -> str:
    names: list[str] = [name for name in node.output if name]
    return names[0]


def _copied(graph: GraphProto, prefix: str, bound: Mapping[str, str]) -> tuple[list[NodeProto], list[str]]:
    """Return a copy of a graph's nodes, its own names behind `prefix`, and the names of its outputs.

    Parameters
    ----------
    graph : GraphProto
        A branch or a body.
    prefix : str
        Prefix of the names that the graph defines.
    bound : mapping of str to str
        Values that stand for the graph's inputs.
    """
    inner = GraphProto()
    inner.CopyFrom(graph)
    names = {name: f"{prefix}{name}" for node in inner.node for name in node.output if name}
    names |= {tensor.name: f"{prefix}{tensor.name}" for tensor in inner.initializer}
    for node in inner.node:
        for deeper in subgraphs(node):
            defined: set[str] = set()
            collect_names(deeper, defined)
            names |= {name: f"{prefix}{name}" for name in defined if name and name not in bound}
    names |= bound
    for node in inner.node:
        if node.name:
            node.name = f"{prefix}{node.name}"
    rename(inner, names)
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in inner.initializer]
    return [*nodes, *inner.node], [value.name for value in inner.output]


def _taken_branch(node: NodeProto, observed: Mapping[str, Any], guards: dict[str, Numbers]) -> list[NodeProto]:
    condition = np.asarray(observed[node.input[0]])
    guards[node.input[0]] = condition
    wanted = "then_branch" if bool(condition.all()) else "else_branch"
    (branch,) = [attribute.g for attribute in node.attribute if attribute.name == wanted]
    nodes, outputs = _copied(branch, f"{_place(node)}/", {})
    return [*nodes, *(_identity(*pair) for pair in zip(outputs, node.output, strict=True) if pair[1])]


def _iterations(
    model: ModelProto, node: NodeProto, observed: Mapping[str, Any], guards: dict[str, Numbers]
) -> list[NodeProto]:
    (body,) = subgraphs(node)
    trips = _checked_trips(node, len(observed[f"{_place(node)}/iterations"]))
    for name in node.input[:2]:
        if name:
            guards[name] = np.asarray(observed[name])
    states = list(node.input[2:])
    nodes: list[NodeProto] = []
    stacked: list[list[str]] = [[] for _ in range(len(body.output) - 1 - len(states))]
    always = f"{_place(node)}/true"
    nodes.append(_constant(always, np.array(True)))
    for trip in range(trips):
        prefix = f"{_place(node)}/{trip}/"
        number = f"{_place(node)}/{trip}#number"  # no name of the body, which stand behind the prefix
        nodes.append(_constant(number, np.array(trip, dtype=np.int64)))
        entering = [number, always, *states]
        bound = dict(zip([value.name for value in body.input], entering, strict=True))
        copied, outputs = _copied(body, prefix, bound)
        nodes += copied
        goes_on = outputs[0]
        if goes_on not in (always, ""):
            full = node.input[0] and int(np.asarray(observed[node.input[0]]).ravel()[0]) == trips
            guards[goes_on] = np.array(trip + 1 < trips or bool(full))
            if trip + 1 == trips and full:  # its value decides nothing
                del guards[goes_on]
        states = outputs[1 : 1 + len(states)]
        for of_output, name in zip(stacked, outputs[1 + len(states) :], strict=True):
            of_output.append(name)
    finals = [*states, *_stack(model, nodes, node, stacked, observed, len(states))]
    return [*nodes, *(_identity(*pair) for pair in zip(finals, node.output, strict=True) if pair[1])]


def _scan_iterations(model: ModelProto, node: NodeProto, observed: Mapping[str, Any]) -> list[NodeProto]:
    (body,) = subgraphs(node)
    values = attributes(node)
    scanned = int(values["num_scan_inputs"])
    states, sequences = list(node.input[:-scanned]), list(node.input[-scanned:])
    if opset(model) < 9:
        raise InputError(f"operator Scan ({_place(node)}) of operator set 8, which is not handled; convert the file")
    axes = list(values.get("scan_input_axes", [0] * scanned))
    backwards = list(values.get("scan_input_directions", [0] * scanned))
    num_outputs = len(body.output) - len(states)
    output_axes = list(values.get("scan_output_axes", [0] * num_outputs))
    output_backwards = list(values.get("scan_output_directions", [0] * num_outputs))
    trips = _checked_trips(node, np.asarray(observed[sequences[0]]).shape[axes[0]])
    nodes: list[NodeProto] = []
    stacked: list[list[str]] = [[] for _ in range(num_outputs)]
    for trip in range(trips):
        prefix = f"{_place(node)}/{trip}/"
        entering = list(states)
        for place, (sequence, axis, back) in enumerate(zip(sequences, axes, backwards, strict=True)):
            index, item = (f"{_place(node)}/{trip}#{kind}{place}" for kind in ("index", "item"))
            nodes.append(_constant(index, np.array(trips - 1 - trip if back else trip, dtype=np.int64)))
            nodes.append(helper.make_node("Gather", [sequence, index], [item], axis=axis))
            entering.append(item)
        copied, outputs = _copied(body, prefix, dict(zip([v.name for v in body.input], entering, strict=True)))
        nodes += copied
        states = outputs[: len(states)]
        for of_output, name in zip(stacked, outputs[len(states) :], strict=True):
            of_output.append(name)
    ordered = [names[::-1] if back else names for names, back in zip(stacked, output_backwards, strict=True)]
    finals = [*states, *_stack(model, nodes, node, ordered, observed, len(states), output_axes)]
    return [*nodes, *(_identity(*pair) for pair in zip(finals, node.output, strict=True) if pair[1])]


def _checked_trips(node: NodeProto, trips: int) -> int:
    if trips > MOST_ITERATIONS:
        raise InputError(
            f"{node.op_type} ({_place(node)}) must have at most {MOST_ITERATIONS:,} iterations; found {trips:,}; give "
            f"a shorter input"
        )
    return trips


def _stack(
    model: ModelProto,
    nodes: list[NodeProto],
    node: NodeProto,
    stacked: list[list[str]],
    observed: Mapping[str, Any],
    num_states: int,
    axes: list[int] | None = None,
) -> list[str]:
    """Add the nodes that stack the outputs of all iterations, and return the names of the stacks."""
    names = []
    for place, parts in enumerate(stacked):
        name = f"{_place(node)}/stack{place}"
        axis = axes[place] if axes else 0
        names.append(name)
        if not parts:
            value = observed.get(node.output[num_states + place])
            if value is None:
                raise InputError(f"{node.op_type} ({_place(node)}) without iterations, which is not handled")
            nodes.append(_constant(name, np.asarray(value)))
            continue
        single = []
        axes_name = f"{name}/axes"
        if opset(model) >= 13:
            nodes.append(_constant(axes_name, np.array([axis], dtype=np.int64)))
        for number, part in enumerate(parts):
            single.append(f"{name}/{number}")
            if opset(model) >= 13:
                nodes.append(helper.make_node("Unsqueeze", [part, axes_name], [single[-1]]))
            else:
                nodes.append(helper.make_node("Unsqueeze", [part], [single[-1]], axes=[axis]))
        nodes.append(helper.make_node("Concat", single, [name], axis=axis))
    return names


def _identity(source: str, target: str) -> NodeProto:
    return helper.make_node("Identity", [source], [target])


def _constant(name: str, value: Numbers) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _count_names(graph: GraphProto, counts: Counter[str]) -> None:
    """Count the values of each name, those of inner graphs too."""
    counts.update(value.name for value in (*graph.initializer, *graph.input))
    for node in graph.node:
        counts.update(node.output)
        for inner in subgraphs(node):
            _count_names(inner, counts)


def collect_names(graph: GraphProto, names: set[str]) -> None:
    """Add the names that a graph and the graphs inside it define."""
    names |= {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for node in graph.node:
        names |= set(node.output)
        for inner in subgraphs(node):
            collect_names(inner, names)


def _collect_uses(graph: GraphProto, names: dict[str, None]) -> None:
    """Add the names that a graph uses, in the order of their first use."""
    for node in graph.node:
        names |= dict.fromkeys(node.input)
        for inner in subgraphs(node):
            _collect_uses(inner, names)


def unique_name(name: str, taken: set[str]) -> str:
    """Return a name, numbered if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique


def _strip(model: ModelProto) -> None:
    """Remove comments, shapes of inner values and metadata."""
    model.doc_string = ""
    is_whole = any(each.key == WHOLE for each in model.metadata_props)
    del model.metadata_props[:]
    if is_whole:
        model.metadata_props.add(key=WHOLE, value="1")
    del model.training_info[:]

    def visit(graph: GraphProto) -> None:
        graph.doc_string = ""
        del graph.value_info[:]
        del graph.quantization_annotation[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for inner in subgraphs(node):
                visit(inner)
        for value in [*graph.input, *graph.output]:
            value.doc_string = ""
            del value.metadata_props[:]

    visit(model.graph)
    for function in model.functions:
        function.doc_string = ""
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
