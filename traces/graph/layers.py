"""Layers of a network, and its execution with the vectors of each layer."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, NodeProto

from traces.arrays import Floats, Numbers
from traces.errors import InputError
from traces.graph.compaction import compacted
from traces.graph.description import RECURRENT, NetworkLayer, OffArray, Recorded
from traces.graph.inputs import first_state, next_state
from traces.graph.products import Multiply, Part, Product, find_lookups, find_products
from traces.graph.program import GuardError, Program
from traces.graph.resolve import FixedValues, Origin
from traces.graph.runtime import Session, graph_faults
from traces.graph.surgery import attributes, every_branch, flatten, restored, subgraphs, without_functions
from traces.layer import thresholded

if TYPE_CHECKING:
    from traces.graph.network import Network

_GOLDEN = (math.sqrt(5) - 1) / 2  # shifts of its multiples are spread over an interval


@dataclass(eq=False)
class FlatNetwork:
    """Network resolved for inputs of certain shapes: what runs, in which order.

    Attributes
    ----------
    program : Program
        Execution of the graph.
    layers : list of NetworkLayer
        Layers, in the order of their first call.
    layer_of_part : dict
        Number of the layer of each part of a product, by the part's id.
    lookups : dict of str to int
        Tables of weights, and the look-ups in each.
    biases : list of numpy.ndarray or None
        Values that the array adds, float32 [groups, rows / groups], of each layer.
    shapes : ShapesOfValues
        Shapes of the values of one input, once `shapes_of` has found them.
    """

    program: Program
    layers: list[NetworkLayer]
    layer_of_part: dict[int, int]
    lookups: dict[str, int]
    biases: list[Numbers | None]
    shapes: ShapesOfValues = field(default_factory=lambda: ShapesOfValues())

    @property
    def on_array(self) -> list[int]:
        """Numbers of the layers whose products are computed apart, in order."""
        return sorted({self.layer_of_part[id(part)] for product in self.program.products for part in product.parts})


def resolve(
    network: Network,
    feeds: Mapping[str, Numbers],
    on_array: Callable[[NetworkLayer], bool] = lambda _: True,
) -> FlatNetwork:
    """Return the network resolved for these inputs.

    Parameters
    ----------
    network : Network
        The network.
    feeds : mapping of str to array
        Bound inputs, which decide branches and numbers of iterations.
    on_array : callable, optional
        Takes a layer, and returns False if it is to run in ONNX Runtime.
    """
    with graph_faults(network.name):
        model, guards = flatten(restored(network.graph, network.parameters), feeds)
        fixed = FixedValues(model, network.parameters.keys(), network.kept.setdefault("origins", {}))
        products = compacted(find_products(model, fixed), network.graph, fixed)
        operands = [part.operand for product in products for part in product.parts]
        biases = [name for product in products for part in product.parts for name in part.biases]
        origins = fixed.origins([*operands, *biases])
        layers, layer_of_part, bias_values, keys = _layers(products, fixed, origins)
        layers = _with_names_of_all_branches(network, layers, keys)
        lookups = _lookups(model, fixed)
    kept = {number for number, layer in enumerate(layers) if on_array(layer)}
    # a recurrent node of which one matrix is not on the array runs off it whole
    chosen = [product for product in products if all(layer_of_part[id(part)] in kept for part in product.parts)]
    return FlatNetwork(Program(model, fixed, chosen, guards), layers, layer_of_part, lookups, bias_values)


def _layers(
    products: list[Product], fixed: FixedValues, origins: Mapping[str, Origin | None]
) -> tuple[list[NetworkLayer], dict[int, int], list[Numbers | None], list[Any]]:
    """Return the layers, the layer of each part by the part's id, the values of each layer's bias, and their keys."""
    keys: dict[Any, int] = {}
    layers: list[NetworkLayer] = []
    biases: list[Numbers | None] = []
    layer_of_part: dict[int, int] = {}
    for product in products:
        for part in product.parts:
            weight, places = _one_parameter(product, part, origins[part.operand])
            bias_name, bias_places = _bias_parameter(part, origins)
            values = [np.asarray(part.bias(fixed.value(name)), dtype=np.float64) for name in part.biases]
            bias = sum(values[1:], values[0]) if values else None
            key = (
                weight,
                part.kind,
                places.shape,
                _digest(places),
                None if bias is None else _digest(bias),
                bias_name,
                product.activation_threshold,
            )
            if key not in keys:
                keys[key] = len(layers)
                groups, rows, columns = places.shape
                layers.append(
                    NetworkLayer(
                        _layer_name(weight),
                        part.kind,
                        groups * rows,
                        columns,
                        groups,
                        weight,
                        places,
                        bias_name,
                        bias_places,
                        0,
                        math.nan,
                        product.activation_threshold,
                        part.left_out,
                        part.window_reuse,
                    )
                )
                biases.append(None if bias is None else bias.astype(np.float32))
            number = keys[key]
            layer_of_part[id(part)] = number
            reuse = min(layers[number].window_reuse, part.window_reuse)
            layers[number] = replace(layers[number], calls=layers[number].calls + 1, window_reuse=reuse)
    return _with_own_names(layers), layer_of_part, biases, list(keys)


def _one_parameter(product: Product, part: Part, origin: Origin | None) -> tuple[str, Any]:
    if origin is None:
        raise InputError(f"{product.name}: its weights {part.operand} are computed; this network cannot be resolved")
    sources = origin.sources(part.matrix)
    if len(sources) != 1:
        raise InputError(f"{product.name}: its weights are joined of {', '.join(sources)}, which is not handled")
    return sources[0], np.ascontiguousarray(part.matrix(origin.places))


def _bias_parameter(part: Part, origins: Mapping[str, Origin | None]) -> tuple[str | None, Any]:
    if len(part.biases) != 1:
        return None, None
    origin = origins[part.biases[0]]
    if origin is None:
        return None, None
    sources = origin.sources(part.bias)
    if len(sources) != 1:
        return None, None
    return sources[0], np.ascontiguousarray(part.bias(origin.places))


def _digest(values: Numbers) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).data).digest()


def _layer_name(parameter: str) -> str:
    name = parameter.removesuffix(".weight")
    return name or parameter


def _with_own_names(layers: list[NetworkLayer]) -> list[NetworkLayer]:
    """Return the layers with names of their own: parts of one parameter are numbered."""
    counts: dict[str, int] = {}
    totals: dict[str, int] = {}
    for layer in layers:
        totals[layer.name] = totals.get(layer.name, 0) + 1
    named = []
    for layer in layers:
        if totals[layer.name] > 1:
            place = counts.get(layer.name, 0)
            counts[layer.name] = place + 1
            layer = replace(layer, name=f"{layer.name}[{place}]")
        named.append(layer)
    return named


def _with_names_of_all_branches(network: Network, layers: list[NetworkLayer], keys: list[Any]) -> list[NetworkLayer]:
    """Return the layers of a flat graph, named as among those of all branches."""
    if not any(True for node in network.graph.graph.node for _ in subgraphs(node)):
        return layers
    if "names" not in network.kept:
        static_layers(network)
    known = network.kept["names"]
    taken = set(known.values())
    named = []
    for layer, key in zip(layers, keys, strict=True):
        base = _layer_name(layer.weight)  # weights that only an iteration knows have no name yet
        name = known.get(key) or next(each for n in itertools.count() if (each := f"{base}[{n}]") not in taken)
        taken.add(name)
        named.append(replace(layer, name=name))
    return named


def static_layers(network: Network) -> tuple[list[NetworkLayer], dict[str, int]]:
    """Return the layers and the look-ups of a network, in all branches, without running it."""
    with graph_faults(network.name):
        model = every_branch(without_functions(restored(network.graph, network.parameters)))
        fixed = FixedValues(model, network.parameters.keys(), network.kept.setdefault("origins", {}))
        products = find_products(model, fixed)
        operands = [part.operand for product in products for part in product.parts]
        biases = [name for product in products for part in product.parts for name in part.biases]
        layers, _, _, keys = _layers(products, fixed, fixed.origins([*operands, *biases]))
        network.kept["names"] = {key: layer.name for key, layer in zip(keys, layers, strict=True)}
        return layers, _lookups(model, fixed)


def _lookups(model: ModelProto, fixed: FixedValues) -> dict[str, int]:
    """Return the tables of weights, and the number of look-ups in each."""
    lookups: dict[str, int] = {}
    for _, operand in find_lookups(model, fixed):
        origin = fixed.origins([operand])[operand]
        if origin is not None:
            name = origin.parameters[int(origin.numbers.flat[0])]
            lookups[name] = lookups.get(name, 0) + 1
    return lookups


def dense(flat: FlatNetwork) -> Callable[[Part, Floats], Floats]:
    """Return a multiplication with the network's own weights, without an array."""
    fixed = flat.program.fixed
    matrices: dict[int, Any] = {}

    def multiply(part: Part, vectors: Floats) -> Floats:
        if not matrices:  # one evaluation of all that are computed
            fixed.values([each.operand for product in flat.program.products for each in product.parts])
        if id(part) not in matrices:
            weights = np.asarray(part.matrix(fixed.value(part.operand)))
            bias = flat.biases[flat.layer_of_part[id(part)]]
            matrices[id(part)] = np.swapaxes(weights, 1, 2), None if bias is None else bias[:, np.newaxis]
        weights, bias = matrices[id(part)]
        threshold = flat.layers[flat.layer_of_part[id(part)]].activation_threshold
        products: Floats = np.matmul(thresholded(vectors, threshold), weights)
        return products if bias is None else (products + bias).astype(products.dtype)

    return multiply


def traced(network: Network, feeds: Mapping[str, Numbers]) -> tuple[list[NetworkLayer], dict[str, OffArray]]:
    """Run one input, and return the layers with their vectors per input, and what is computed off the array."""
    with graph_faults(network.name):
        flat = network.flat(feeds)
        counts = [0.0] * len(flat.layers)
        multiply = dense(flat)

        def counting(part: Part, vectors: Floats) -> Floats:
            counts[flat.layer_of_part[id(part)]] += vectors.shape[0] * vectors.shape[1]
            return multiply(part, vectors)

        shapes_of(flat, feeds)  # in ONNX Runtime, which refuses values that do not fit
        flat.program.run(feeds, counting)
        inputs = network.num_inputs(feeds)
        layers = [
            replace(layer, vectors_per_input=count / inputs) for layer, count in zip(flat.layers, counts, strict=True)
        ]
        return layers, off_array(flat, feeds, inputs)


def off_array(flat: FlatNetwork, feeds: Mapping[str, Numbers], inputs: int) -> dict[str, OffArray]:
    """Return the operations that are no products of the program, per input, by operator."""
    program, shapes = flat.program, shapes_of(flat, feeds)
    totals: dict[str, list[float]] = {}
    for node in _nodes_off_array(program):
        entry = totals.setdefault(node.op_type, [0, 0.0, 0.0])
        entry[0] += 1
        entry[1] += sum(math.prod(shapes[name]) for name in node.output if name in shapes)
        entry[2] += _macs(node, shapes, program)
    return {
        name: OffArray(int(count), round(elements / inputs), round(macs / inputs))
        for name, (count, elements, macs) in sorted(totals.items())
    }


def _nodes_off_array(program: Program) -> list[NodeProto]:
    """Return the nodes that are part of no product and that an input changes."""
    on_array = {id(node) for product in program.products for node in product.nodes}
    return [
        node
        for node in program.model.graph.node
        if id(node) not in on_array and any(name not in program.fixed for name in node.output if name)
    ]


@dataclass(eq=False)
class ShapesOfValues:
    """Shapes of the values of a flat network, for inputs of the shapes that it was asked for last.

    Attributes
    ----------
    of_inputs : dict of str to tuple of int
        Shapes of the inputs.
    of_values : dict of str to tuple of int
        Shapes of the inputs and of the values of each operation.
    session : Session or None
        Session that gives the values, once shapes have changed.
    """

    of_inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    of_values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    session: Session | None = None


def shapes_of(flat: FlatNetwork, feeds: Mapping[str, Numbers]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all values that enter or leave a product or an operation off the array, by name.

    They are found anew for inputs of other shapes. A value that is no array, such as a sequence, has none.
    """
    known, of_inputs = flat.shapes, {name: values.shape for name, values in feeds.items()}
    if known.of_inputs != of_inputs:
        program = flat.program
        names = {name for node in _nodes_off_array(program) for name in [*node.output, *node.input]}
        names |= {name for product in program.products for name in [*product.entering, *product.outputs]}
        produced = {name for node in program.model.graph.node for name in node.output if name}
        wanted = sorted(name for name in names & produced if name not in program.fixed)
        session = known.session or (Session(program.model, wanted) if wanted else None)
        if known.of_inputs:  # shapes that change once change again
            known.session = session
        values = dict(feeds) | (session.run(feeds) if session is not None else {})
        known.of_values = {name: value.shape for name, value in values.items() if isinstance(value, np.ndarray)}
        known.of_inputs = of_inputs
    return known.of_values


def _macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]], program: Program) -> float:
    """Return the multiply-accumulates of a product that is computed off the array."""
    if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", *RECURRENT):
        return 0.0

    def shape(name: str) -> tuple[int, ...]:
        return tuple(np.shape(program.fixed.value(name))) if name in program.fixed else shapes[name]

    size = float(math.prod(shapes[next(name for name in node.output if name)]))
    first, second = shape(node.input[0]), shape(node.input[1]) if len(node.input) > 1 else ()
    if node.op_type == "MatMul":
        return size * first[-1]
    if node.op_type == "Gemm":
        return size * first[0 if attributes(node).get("transA") else -1]
    if node.op_type == "Conv":
        return size * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return float(math.prod(first)) * math.prod(second[1:])
    if node.op_type == "Einsum":
        lengths: dict[str, int] = {}
        terms = attributes(node)["equation"].replace(" ", "").partition("->")[0].split(",")
        for term, name in zip(terms, node.input, strict=True):
            if "." not in term:
                lengths |= dict(zip(term, shape(name), strict=True))
        return float(math.prod(lengths.values())) if len(terms) > 1 else 0.0
    steps = first[0] * first[1]
    return float(steps) * (math.prod(second[1:]) + math.prod(shape(node.input[2])[1:])) * second[0]


def run_whole(network: Network, feeds: Mapping[str, Numbers]) -> dict[str, Any]:
    """Run all inputs in ONNX Runtime, and return the outputs by name."""
    session = whole_session(network)
    total = network.num_inputs(feeds)
    if total == 1:
        return session.run(feeds)
    if not _one_by_one(network, feeds):
        with contextlib.suppress(InputError):
            return session.run(feeds)
    parts = [session.run(network.part(feeds, place, place + 1)) for place in range(total)]
    return joined(network, parts)


def _one_by_one(network: Network, feeds: Mapping[str, Numbers]) -> bool:
    """Return True if there are more inputs than the graph takes at once."""
    return any(
        entry.fixed_batch and feeds[entry.name].shape[entry.batch_axis] > 1
        for entry in network.inputs
        if entry.batch_axis is not None
    )


def whole_session(network: Network) -> Session:
    """Return the whole network, ready to run; it is made once."""
    if "session" not in network.kept:
        network.kept["session"] = Session(restored(network.graph, network.parameters))
    session: Session = network.kept["session"]
    return session


def joined(network: Network, parts: list[dict[str, Any]], last: Collection[str] = ()) -> dict[str, Any]:
    """Return the outputs of several runs as one, along the axis that holds the inputs; of those in `last`, the last."""
    axes = output_axes(network)
    return {
        name: parts[-1][name]
        if len(parts) == 1 or name in last or np.ndim(parts[0][name]) == 0
        else np.concatenate([part[name] for part in parts], axis=axes[name])
        for name in network.outputs
    }


def output_axes(network: Network) -> dict[str, int]:
    """Return the axis of each output that holds the inputs: that of the name of the inputs' axis, else the first."""
    first = next((entry for entry in network.inputs if entry.batch_axis is not None), None)
    symbol = ""
    if first is not None:
        (value,) = [value for value in network.graph.graph.input if value.name == first.name]
        symbol = value.type.tensor_type.shape.dim[first.batch_axis or 0].dim_param
    axes = {}
    for value in network.graph.graph.output:
        names = [length.dim_param for length in value.type.tensor_type.shape.dim]
        axes[value.name] = names.index(symbol) if symbol and symbol in names else 0
    return axes


def check_independent(network: Network, feeds: Mapping[str, Numbers]) -> None:
    """Raise InputError if the network computes for two inputs together another thing than for each alone."""
    entries = [entry for entry in network.inputs if entry.batch_axis is not None]
    if not entries or network.num_inputs(feeds) < 2 or _one_by_one(network, feeds):
        return
    place = f"{network.name}: axis {entries[0].batch_axis} of {entries[0].name!r}"
    session = whole_session(network)
    first, second = (session.run(network.part(feeds, *part)) for part in ((0, 1), (1, 2)))
    try:
        both = session.run(network.part(feeds, 0, 2))
    except InputError:  # inputs run one by one
        return
    for name, axis in output_axes(network).items():
        back = np.flip(both[name], axis) if both[name].ndim > axis else both[name]
        last = np.flip(second[name], axis) if second[name].ndim > axis else second[name]
        if not (_in_front(first[name], both[name], axis) and _in_front(last, back, axis)):
            raise InputError(
                f"{place} must hold inputs that do not depend on each other; output {name!r} of two inputs is not that "
                f"of each alone; open the network with inputs, which are then one input, or put the inputs' axis first"
            )


def _in_front(alone: Any, together: Any, axis: int) -> bool:
    """Return True if the values of two inputs begin with those of the first one."""
    one, two = np.asarray(alone), np.asarray(together)
    if one.ndim <= axis or [*one.shape[:axis], 2 * one.shape[axis], *one.shape[axis + 1 :]] != list(two.shape):
        return False
    front = np.take(two, range(one.shape[axis]), axis=axis)
    if one.dtype.kind not in "fV" or not one.size:
        return bool(np.array_equal(front, one))
    one, front = one.astype(np.float64), front.astype(np.float64)
    scale = float(np.abs(one).max(where=np.isfinite(one), initial=0)) or 1.0
    return bool(np.isclose(front, one, rtol=0, atol=1e-3 * scale, equal_nan=True).all())


def chunked(network: Network, feeds: Mapping[str, Numbers], flat: FlatNetwork, measure: Multiply) -> bool:
    """Return True if several inputs can run at once, and each vector's input is known.

    One input and two inputs are run. Several can run at once if every value that enters a product has the inputs on
    the axis from which its vectors come input by input, with the first input's values in front. `measure` takes the
    vectors of the first input and returns anything of the shape of their products, which is not used.
    """
    total = network.num_inputs(feeds)
    if total < 2 or any(entry.fixed_batch or entry.batch_axis is None for entry in network.inputs):
        return total < 2
    seen: list[list[tuple[Product, Any]]] = []
    for count in (1, 2):
        entered: list[tuple[Product, Any]] = []

        def enter(product: Product, entering: Any, _: Any, entered: Any = entered, first: bool = count == 1) -> None:
            entered.append((product, entering[0]))
            if first:
                product.run(entering, measure)

        try:
            flat.program.run(network.part(feeds, 0, count), None, enter)
        except (InputError, GuardError):
            return False
        seen.append(entered)
    for (product, one), (_, two) in zip(*seen, strict=True):
        axis = product.batch_axis
        if axis is None or one.ndim <= axis or one.ndim != two.ndim:
            return False
        if not _in_front(one, two, axis):
            return False
    return True


def record(
    network: Network,
    feeds: Mapping[str, Numbers],
    most: int | None,
    after_input: Callable[[], object],
    state: Mapping[str, str] | None = None,
) -> dict[str, Recorded]:
    """Run inputs one by one, and return the vectors that enter each layer."""
    total = network.num_inputs(feeds)
    quota = None if most is None else max(1, -(-most // total))
    layers: dict[str, NetworkLayer] = {}
    kept: dict[str, list[Floats]] = {}
    counts: dict[str, int] = {}
    for place, (flat, calls_by_layer) in enumerate(calls_by_input(network, feeds, network.flat, state)):
        layers = {layer.name: layer for layer in flat.layers} | layers
        for name, calls in calls_by_layer.items():
            vectors = np.concatenate([entering for entering, _ in calls], axis=1)
            counts[name] = counts.get(name, 0) + vectors.shape[1]
            shift = (0.5 + place * _GOLDEN) % 1
            kept.setdefault(name, []).append(_spaced(vectors, quota, shift).astype(np.float32))
        after_input()
    recorded = {}
    for name, layer in layers.items():
        if name in kept:
            vectors = _spaced(np.concatenate(kept.pop(name), axis=1), most)
        else:
            vectors = np.zeros((layer.groups, 1, layer.columns), dtype=np.float32)
        recorded[name] = Recorded(np.ascontiguousarray(vectors), counts.get(name, 0) / total)
    return recorded


Calls = dict[str, list[tuple[Floats, Floats]]]
"""Vectors [groups, vectors, columns] and outputs [groups, vectors, rows] of each call, for each layer by name."""


def calls_by_input(
    network: Network,
    feeds: Mapping[str, Numbers],
    resolved: Callable[[Mapping[str, Numbers]], FlatNetwork],
    state: Mapping[str, str] | None = None,
    multiplication: Callable[[FlatNetwork], Multiply] | None = None,
) -> Iterator[tuple[FlatNetwork, Calls]]:
    """Run inputs one by one, and yield the calls of the products of each.

    Parameters
    ----------
    network : Network
        The network.
    feeds : mapping of str to array
        Bound inputs.
    resolved : callable
        Takes one bound input, and returns the network resolved for it.
    state : mapping of str to str, optional
        For each input that is the network's own earlier output, the name of that output.
    multiplication : callable, optional
        Takes the resolved network, and returns the multiplication of its products; by default `dense`, with the
        network's own weights.

    Yields
    ------
    FlatNetwork
        The network, resolved for this input.
    dict of str to list
        Calls of each layer whose products the resolved network computes apart.
    """
    if not state:
        check_independent(network, feeds)
    current = first_state(network, feeds, state)
    others = {name: values for name, values in feeds.items() if name not in current}
    flat: FlatNetwork | None = None
    multiply = multiplication or dense
    for place in range(network.num_inputs(feeds)):
        given = network.part({**others, **current}, place, place + 1) | current
        try:
            flat = flat or resolved(given)
            outputs, calls = _called(flat, given, multiply(flat))
        except GuardError:  # another branch, or another number of iterations
            flat = resolved(given)
            outputs, calls = _called(flat, given, multiply(flat))
        current = next_state(network, outputs, state)
        yield flat, calls


def _called(flat: FlatNetwork, feeds: Mapping[str, Numbers], multiply: Multiply) -> tuple[dict[str, Any], Calls]:
    """Run a network, and return its outputs, and the calls of each layer that is called."""
    calls: Calls = {}

    def recording(part: Part, vectors: Floats) -> Floats:
        products = multiply(part, vectors)
        calls.setdefault(flat.layers[flat.layer_of_part[id(part)]].name, []).append((vectors, products))
        return products

    return flat.program.run(feeds, recording), calls


def _spaced(vectors: Floats, most: int | None, shift: float = 0.5) -> Floats:
    """Return at most so many of the vectors of each group [groups, vectors, columns], evenly spaced.

    The first one is at the shift, 0 to 1, of the first of `most` equal intervals.
    """
    if most is None or vectors.shape[1] <= most:
        return vectors
    return vectors[:, ((np.arange(most) + shift) * vectors.shape[1] / most).astype(np.int64)]
