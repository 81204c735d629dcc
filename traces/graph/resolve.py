"""Values of a graph that depend on its parameters alone, and the way back from them to single parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from traces.arrays import Integers64, Numbers
from traces.graph.runtime import Session

DRAWN = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
_STEP = 2**20  # places up to this one are exact in float32, and in half precision after one more step
_HALF = 2**10


@dataclass(frozen=True, eq=False)
class Origin:
    """Origin of each value of an operand in the parameters.

    Attributes
    ----------
    parameters : tuple of str
        Parameters that the operand is made of.
    numbers : numpy.ndarray
        Position in `parameters` of each value's parameter, int64, shape of the operand.
    places : numpy.ndarray
        Flat place of each value in its parameter, int64, shape of the operand.
    """

    parameters: tuple[str, ...]
    numbers: Integers64
    places: Integers64

    def sources(self, arranged: Callable[[Integers64], Integers64] = lambda numbers: numbers) -> list[str]:
        """Return the parameters that the operand has values of, or that a part of it has, which a function takes."""
        if len(self.parameters) == 1:
            return list(self.parameters)
        return [self.parameters[number] for number in np.unique(arranged(self.numbers))]


#: Origins of operands, by a digest of the parameters' values and of the operations that lead to them.
KnownOrigins = dict[bytes, Origin | None]


class FixedValues:
    """Values of a flat graph that no input changes.

    Parameters
    ----------
    model : onnx.ModelProto
        A flat graph with the values of its parameters.
    parameters : set of str
        Names of the parameters.
    known : dict, optional
        Origins that were traced before, in this or another flat graph; those that are traced here are added.
    """

    def __init__(self, model: ModelProto, parameters: Set[str], known: KnownOrigins | None = None) -> None:
        self._known: KnownOrigins = {} if known is None else known
        self._model = model
        self._initialisers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._parameters = parameters & set(self._initialisers)
        self._producer: dict[str, NodeProto] = {}
        self._places: dict[str, int] = {name: place for place, name in enumerate(self._initialisers)}
        self.names = set(self._initialisers)
        for place, node in enumerate(model.graph.node):
            if node.op_type not in DRAWN and all(name in self.names for name in node.input if name):
                self.names |= {name for name in node.output if name}
                self._producer |= {name: node for name in node.output if name}
                self._places |= {name: place for name in node.output if name}
        self._values: dict[str, Numbers] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def values(self, names: Sequence[str]) -> dict[str, Numbers]:
        """Return the values of these names."""
        missing = [name for name in dict.fromkeys(names) if name not in self._values]
        for name in list(missing):
            if name in self._initialisers:
                self._values[name] = numpy_helper.to_array(self._initialisers[name])
                missing.remove(name)
        if missing:
            self._values |= self._evaluated(missing, {})
        return {name: self._values[name] for name in names}

    def value(self, name: str) -> Numbers:
        """Return the value of one name."""
        return self.values([name])[name]

    def origins(self, names: Sequence[str]) -> dict[str, Origin | None]:
        """Return where the values of these operands come from; None for an operand that is computed."""
        origins: dict[str, Origin | None] = {}
        computed = []
        for name in dict.fromkeys(names):
            if name in self._parameters:
                shape = tuple(self._initialisers[name].dims)
                places = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)
                origins[name] = Origin((name,), _zeros(shape), places)
            elif name in self._initialisers:
                origins[name] = None
            else:
                computed.append(name)
        digests = {name: self._digest(name) for name in computed}
        new = [name for name in computed if digests[name] not in self._known]
        if new:
            self._known |= {digests[name]: origin for name, origin in self._traced(new).items()}
        return origins | {name: self._known[digest] for name, digest in digests.items()}

    def _digest(self, name: str) -> bytes:
        """Return a digest of everything that the origin of an operand depends on."""
        nodes, initialisers = self._needed([name])
        names = [name, *(each for each in initialisers if each in self._parameters)]
        digest = hashlib.blake2b("\0".join(names).encode())
        for part in (*nodes, *(self._initialisers[each] for each in initialisers)):
            digest.update(part.SerializeToString(deterministic=True))
        return digest.digest()

    def _needed(self, names: Sequence[str]) -> tuple[list[NodeProto], list[str]]:
        """Return the nodes that these names depend on, in order, and the initialisers."""
        waiting, reached = list(names), set()
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                if name in self._producer:
                    waiting += [each for each in self._producer[name].input if each]
        nodes = {self._places[name]: self._producer[name] for name in reached & self._producer.keys()}
        initialisers = sorted(reached & self._initialisers.keys(), key=self._places.__getitem__)
        return [nodes[place] for place in sorted(nodes)], initialisers

    def _evaluated(self, names: Sequence[str], replaced: Mapping[str, Numbers]) -> dict[str, Numbers]:
        nodes, initialisers = self._needed(names)
        graph = helper.make_graph(nodes, "fixed", [], [onnx.ValueInfoProto(name=name) for name in names])
        for name in initialisers:
            tensor = self._initialisers[name]
            if name in replaced:
                dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
                tensor = numpy_helper.from_array(np.asarray(replaced[name], dtype, order="C"), name)
            graph.initializer.append(tensor)
        model = helper.make_model(graph, opset_imports=list(self._model.opset_import))
        model.ir_version = self._model.ir_version
        return Session(model).run({})

    def _traced(self, names: Sequence[str]) -> dict[str, Origin | None]:
        """Follow the places of parameters through the operations that lead to these operands.

        The operations run on places in place of values. An operand is taken for moved values only if the parameters'
        values at the places that arrive are its own values.
        """
        _, initialisers = self._needed(names)
        roots = [name for name in initialisers if name in self._parameters and self._is_float(name)]
        shapes = {name: tuple(self._initialisers[name].dims) for name in roots}
        values = self.values(list(names))
        numbers = self._evaluated(names, {name: np.full(shapes[name], k + 1) for k, name in enumerate(roots)})
        places: dict[str, Numbers] = {name: np.zeros(value.shape, dtype=np.int64) for name, value in values.items()}
        step = _STEP if all(self._initialisers[name].data_type != TensorProto.FLOAT16 for name in roots) else _HALF
        size = max((int(np.prod(shape, dtype=np.int64)) for shape in shapes.values()), default=0)
        factor = 1
        while factor <= max(size - 1, 1):
            digits = {
                name: np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape) // factor % step
                for name, shape in shapes.items()
            }
            arrived = self._evaluated(names, digits)
            places = {name: places[name] + _whole(arrived[name]) * factor for name in names}
            factor *= step
        root_values = self.values(roots)
        return {
            name: _origin(roots, root_values, values[name], _whole(numbers[name]) - 1, places[name]) for name in names
        }

    def _is_float(self, name: str) -> bool:
        return numpy_helper.to_array(self._initialisers[name]).dtype.kind in "fV"


def _zeros(shape: tuple[int, ...]) -> Integers64:
    """Return zeros that take no memory."""
    return np.broadcast_to(np.int64(0), shape)


def _whole(values: Numbers) -> Integers64:
    with np.errstate(invalid="ignore"):
        rounded = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-1, posinf=-1, neginf=-1)
        return np.clip(np.rint(rounded), -(2**62), 2**62).astype(np.int64)


def _origin(
    roots: Sequence[str], root_values: Mapping[str, Numbers], values: Numbers, numbers: Integers64, places: Integers64
) -> Origin | None:
    if values.size == 0 or numbers.min() < 0 or numbers.max() >= len(roots) or places.min() < 0:
        return None
    if numbers.min() == numbers.max():  # of one parameter, as most operands are
        roots = roots[int(numbers.flat[0]) :][:1]
        numbers = _zeros(values.shape)
    expected = np.empty_like(values)
    for number in range(len(roots)):
        of_root = root_values[roots[number]].ravel()
        here = numbers == number
        if not here.any():
            continue
        if places[here].max() >= of_root.size:
            return None
        expected[here] = of_root[places[here]]
    if not np.array_equal(expected, values, equal_nan=True):
        return None
    return Origin(tuple(roots), numbers, places)
