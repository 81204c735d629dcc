"""Structured units of a network: neurons, channels, heads, each with the rows that make it and the columns it enters.

Every row of a product makes one element of its outputs, which has the row's label. Labels follow their elements through
the graph. Where elements are added or multiplied with each other, their labels become one unit, which can be removed
only as a whole. What reaches an output of the network, or an operator without a rule, stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from traces.arrays import Integers64, Numbers
from traces.graph.elements import MOVES, Elements
from traces.graph.liveness import BY_CHANNEL, ELEMENTWISE, REDUCTIONS, used_elsewhere
from traces.graph.network import Network
from traces.graph.products import Part, Product
from traces.graph.surgery import attributes

_STAYS, _CONSTANT = 0, -1  # labels: of what cannot be removed, and of what no unit changes
_PRODUCTS_OF_ELEMENTS = ("Mul", "Div", "And")
_NORMALISATIONS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization")


@dataclass(frozen=True, eq=False)
class Unit:
    """Neuron, channel or head.

    Attributes
    ----------
    rows : dict of str to numpy.ndarray
        Flat places, int64, of the weights and biases that make the unit, by parameter.
    columns : dict of str to numpy.ndarray
        Flat places, int64, of the weights that it enters, by parameter.
    """

    rows: Mapping[str, Integers64]
    columns: Mapping[str, Integers64]


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Units that the same parameters make and take.

    Attributes
    ----------
    kind : {"channels", "heads"}
        Single channels or neurons, or all channels of one head of an attention.
    makers, takers : tuple of str
        Parameters whose rows make each of the units, and parameters whose columns take it.
    units : tuple of Unit
        The units.
    """

    kind: str
    makers: tuple[str, ...]
    takers: tuple[str, ...]
    units: tuple[Unit, ...]


def unit_groups(network: Network, feeds: Mapping[str, Numbers] | None = None) -> list[UnitGroup]:
    """Return the units of a network that can be removed one by one, in groups.

    Parameters
    ----------
    network : Network
        The network.
    feeds : mapping of str to array, optional
        One bound input; by default the network's example.

    Returns
    -------
    list of UnitGroup
        Groups in the order of their first parameter. A network with If, Loop or Scan has none.

    Notes
    -----
    A unit is removed by setting all weights and biases of its rows and columns to 0. Its columns then take nothing, and
    only normalisations see what its rows make. Compare Fang et al., "DepGraph: Towards Any
    Structural Pruning", CVPR 2023.
    """
    elements = Elements.of_network(network, feeds)
    return [] if elements is None else _Labels(elements).groups(network)


class _Labels:
    """Labels of all values of a network, and the units that they are."""

    def __init__(self, elements: Elements) -> None:
        self.elements, self.flat, self.fixed = elements, elements.flat, elements.flat.program.fixed
        self.parent = [_STAYS]
        self.labels: dict[str, Integers64] = {}
        self.rows: dict[int, Integers64] = {}  # labels of a part's rows [groups, rows], by its id
        self.columns: dict[int, Integers64] = {}  # [groups, columns]
        self.tables: list[tuple[str, int, Integers64]] = []  # operand, axis, and labels of its other axes
        self.heads: list[Integers64] = []  # labels of the elements of each head
        self._known_rows: dict[Any, Integers64] = {}
        self._origins = self.fixed.origins(
            [name for product in self.flat.program.products for part in product.parts for name in (part.operand,)]
        )
        for step in self.flat.program.steps:
            if isinstance(step, Product):
                self._product(step)
            else:
                self._node(step)
        for value in self.flat.program.model.graph.output:
            self._stay(self.of(value.name))

    # Units

    def root(self, label: int) -> int:
        """Return the label that stands for a unit."""
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label

    def roots(self, labels: Integers64) -> Integers64:
        """Return the labels that stand for the units of labels."""
        found, places = np.unique(labels, return_inverse=True)
        return np.array([each if each < 0 else self.root(each) for each in found.tolist()], dtype=np.int64)[
            places.reshape(labels.shape)
        ]

    def _new(self, count: int) -> Integers64:
        first = len(self.parent)
        self.parent += range(first, first + count)
        return np.arange(first, first + count, dtype=np.int64)

    def _join(self, first: Integers64, second: Integers64) -> None:
        """Make one unit of each pair of labels; constants are no units."""
        pairs = np.unique(np.stack([np.ravel(first), np.ravel(second)], axis=1), axis=0)
        for one, other in pairs.tolist():
            if one >= 0 and other >= 0:
                one, other = sorted((self.root(one), self.root(other)))
                self.parent[other] = one

    def _stay(self, labels: Integers64 | None) -> None:
        if labels is not None:
            kept = np.unique(labels[labels > 0])
            self._join(kept, np.zeros_like(kept))

    # Values

    def of(self, name: str) -> Integers64 | None:
        """Return the labels of a value's elements; None if it is no array."""
        if name in self.fixed:
            return np.full(self.fixed.value(name).shape, _CONSTANT, dtype=np.int64)
        shape = self.elements.shape(name)
        if name not in self.labels and shape is not None:
            self.labels[name] = np.zeros(shape, dtype=np.int64)
        return self.labels.get(name)

    def _set(self, name: str, labels: Integers64) -> None:
        shape = self.elements.shape(name) if name else None
        if shape is None or name in self.fixed:
            return
        whole = np.array(np.broadcast_to(labels, shape))
        axes = self.elements.moving_axes(name)
        if axes and not self._uniform(whole, axes):
            self._stay(whole)
            whole = np.zeros(shape, dtype=np.int64)
        self.labels[name] = whole

    def _uniform(self, labels: Integers64, axes: tuple[int, ...]) -> bool:
        """Return True if labels do not change along some axes."""
        return bool((labels == _first(labels, axes)).all())

    def _node(self, node: NodeProto) -> None:
        kind = node.op_type if node.domain in ("", "ai.onnx") else ""
        given = [self.of(name) for name in node.input if name]
        first = given[0] if given else None
        if kind in ("Shape", "Size"):
            return
        if kind == "Gather" and node.input[0] in self.fixed and node.input[1] not in self.fixed:
            self._look_up(node)
        elif kind in MOVES and self._move(node):
            return
        elif kind in ELEMENTWISE and len(node.output) == 1 and all(each is not None for each in given):
            self._elementwise(node)
        elif kind in _NORMALISATIONS and first is not None and all(name in self.fixed for name in node.input[1:]):
            if kind == "InstanceNormalization":
                first = self._by_channel(first)
            self._set(node.output[0], first)
        elif kind in BY_CHANNEL and first is not None and self._keeps_channels(node):
            self._set(node.output[0], _first(self._by_channel(first), tuple(range(2, first.ndim))))
        elif kind in REDUCTIONS and first is not None and self._reduce(node, first):
            return
        elif kind == "MatMul" and len(given) == 2 and min(0 if each is None else each.ndim for each in given) >= 2:
            self._contraction(node.output[0], *given)  # type: ignore[arg-type]
        else:
            for each in given:
                self._stay(each)

    def _by_channel(self, labels: Integers64) -> Integers64:
        """Return labels [inputs, channels, ...] that do not change within a channel."""
        axes = (0, *range(2, labels.ndim))
        if self._uniform(labels, axes):
            return labels
        self._stay(labels)
        return np.zeros_like(labels)

    def _keeps_channels(self, node: NodeProto) -> bool:
        before, after = self.elements.shape(node.input[0]), self.elements.shape(node.output[0])
        return before is not None and after is not None and len(before) >= 3 and before[:2] == after[:2]

    def _move(self, node: NodeProto) -> bool:
        """Move labels with their elements; return False if the way is not known."""
        ways, moved = self.elements.moves(node), [self.of(name) for name in self.elements.moved(node)]
        if ways is None or any(each is None for each in moved):
            return False
        labels = [each for each in moved if each is not None]
        for name, each in zip(self.elements.moved(node), labels, strict=True):
            free = self.elements.selects_freely(node)
            axes = tuple(range(each.ndim)) if free else self.elements.mixed_axes(node, name)
            if axes and not self._uniform(each, axes):
                return False
        whole = np.concatenate([np.ravel(each) for each in labels])
        filled = _CONSTANT
        for name, way in zip([name for name in node.output if name], ways, strict=False):
            self._set(name, np.where(way >= 0, whole[way], filled))
        return True

    def _look_up(self, node: NodeProto) -> None:
        """Label what is looked up by its place in a row of the table."""
        table, axis = self.fixed.value(node.input[0]), int(attributes(node).get("axis", 0))
        indices = self.elements.shape(node.input[1])
        self._stay(self.of(node.input[1]))
        if indices is None or axis % table.ndim or table.ndim != 2:
            return
        key = ("table", node.input[0])
        if key not in self._known_rows:
            self._known_rows[key] = self._new(table.shape[1])
            self.tables.append((node.input[0], axis, self._known_rows[key]))
        self._set(node.output[0], self._known_rows[key])

    def _elementwise(self, node: NodeProto) -> None:
        (output,) = node.output
        shape = self.elements.shape(output)
        operands = [labels for labels in (self.of(name) for name in node.input if name) if labels is not None]
        if shape is None:
            for each in operands:
                self._stay(each)
            return
        multiplies = node.op_type in _PRODUCTS_OF_ELEMENTS
        condition = operands.pop(0) if node.op_type == "Where" else None
        result = np.full(shape, _CONSTANT, dtype=np.int64)
        widened: list[Integers64] = []
        for labels in operands:
            if labels.size and labels.max() == _CONSTANT:
                continue
            whole = np.broadcast_to(labels, shape)
            if whole.size > labels.size:
                widened.append(labels)
                continue
            if multiplies:  # an element that stays does not keep the other one
                both = (result > 0) & (whole > 0)
                self._join(result[both], whole[both])
                result = np.where(whole > 0, whole, np.where(result > 0, result, np.maximum(result, whole)))
            else:
                both = (result >= 0) & (whole >= 0)
                self._join(result[both], whole[both])
                result = np.where(whole >= 0, whole, result)
        for labels in widened:
            whole = np.broadcast_to(labels, shape)
            if (result == _CONSTANT).all():
                result = np.array(whole)
                continue
            same, mine = _same_over(result, labels), labels > 0
            self._join(labels[mine & (same > 0)], same[mine & (same > 0)])
            self._stay(labels[mine & (same <= 0)])
        if condition is not None:
            self._stay(condition)
        self._set(output, result)

    def _reduce(self, node: NodeProto, labels: Integers64) -> bool:
        """Label sums over some axes; return False if the axes are not known."""
        over = self.elements.reduced_axes(node)
        if over is None:
            return False
        first = _first(labels, over)
        kept = np.where((labels == first).all(axis=over, keepdims=True), first, _STAYS)
        self._set(node.output[0], kept if attributes(node).get("keepdims", 1) else np.squeeze(kept, over))
        return True

    def _contraction(self, output: str, first: Integers64, second: Integers64) -> None:
        """Label a product of activations: [..., i, k] with [..., k, j]."""
        shape = self.elements.shape(output)
        if shape is None:
            self._stay(first)
            self._stay(second)
            return
        lead = shape[:-2]
        one = np.broadcast_to(first, (*lead, *first.shape[-2:]))
        two = np.broadcast_to(second, (*lead, *second.shape[-2:]))
        one_even, two_even = self._uniform(one, (one.ndim - 1,)), self._uniform(two, (two.ndim - 2,))
        has_one, has_two = bool((one > 0).any()), bool((two > 0).any())
        if has_two and not has_one and two_even:  # shares of positions times values
            self._note_heads(two)
            self._set(output, _first(two, (two.ndim - 2,)))
        elif has_one and not has_two and one_even:
            self._set(output, _first(one, (one.ndim - 1,)))
        elif has_one and has_two and self._uniform(one, (one.ndim - 2,)) and self._uniform(two, (two.ndim - 1,)):
            pairs = one[..., 0, :], two[..., :, 0]  # queries times keys
            self._join(*pairs)
            self._set(output, np.zeros(shape, dtype=np.int64))
        else:
            self._stay(first)
            self._stay(second)

    def _note_heads(self, values: Integers64) -> None:
        """Keep the labels of each place of the leading axes, if these tell heads apart."""
        flat = values.reshape(-1, values.shape[-1] * values.shape[-2])
        for labels in flat:
            self.heads.append(np.unique(labels))

    # Products

    def _product(self, product: Product) -> None:
        entering = self.of(product.entering[0]) if product.entering else None
        if entering is not None and product.node.op_type in ("Conv", "ConvTranspose"):
            self._convolution(product, entering)
            return
        passage = None if entering is None else self.elements.passage(product)
        if entering is None or passage is None:
            for name in product.entering:
                if name:
                    self._stay(self.of(name))
            return
        places, leaving = passage
        (part,) = product.parts
        columns = np.append(entering.ravel(), _CONSTANT)[places]  # [groups, vectors, columns]
        rows = self._rows(part)
        if not self._uniform(columns, (1,)):
            self._stay(entering)
            self._stay(rows)
        self._columns(part, _first(columns, (1,))[:, 0])
        made = np.broadcast_to(rows[:, np.newaxis], (rows.shape[0], places.shape[1], rows.shape[1]))
        self._set(product.outputs[0], np.ravel(made)[leaving])

    def _convolution(self, product: Product, entering: Integers64) -> None:
        (part,) = product.parts
        groups, _, columns = self._shape(part)
        by_channel = _first(self._by_channel(entering), (0, *range(2, entering.ndim))).ravel()
        inputs = by_channel.reshape(groups, -1)
        rows = self._rows(part)
        if product.node.op_type == "Conv":
            outputs = rows
            self._columns(part, np.repeat(inputs, columns // inputs.shape[1], axis=1))
        else:
            kernel = int(np.prod(self.fixed.value(product.node.input[1]).shape[2:]))
            outputs = rows.reshape(groups, -1, kernel)[:, :, 0]
            self._join(rows, np.repeat(outputs, kernel, axis=1))
            self._columns(part, inputs)
            if len(product.node.input) > 2:  # a bias that is not the array's
                self._stay(rows)
        if inputs.shape[1] == 1 and groups > 1:  # a channel that is filtered by itself
            self._join(np.broadcast_to(inputs, outputs.shape), outputs)
        self._set(product.outputs[0], outputs.reshape(1, -1, *[1] * (entering.ndim - 2)))

    def _shape(self, part: Part) -> tuple[int, int, int]:
        groups, rows, columns = part.matrix(self.fixed.value(part.operand)).shape
        return groups, rows, columns

    def _key(self, part: Part) -> Any:
        """Return what two parts have in common that multiply the same matrix."""
        origin = self._origins[part.operand]
        if origin is None or len(origin.parameters) != 1:
            return None
        return origin.parameters[0], self._shape(part), part.matrix(origin.places).tobytes()

    def _rows(self, part: Part) -> Integers64:
        key, (groups, rows, _) = self._key(part), self._shape(part)
        if key is None or key not in self._known_rows:
            labels = self._new(groups * rows).reshape(groups, rows)
            if key is None:
                self._stay(labels)
                return labels
            self._known_rows[key] = labels
        self.rows[id(part)] = self._known_rows[key]
        return self._known_rows[key]

    def _columns(self, part: Part, labels: Integers64) -> None:
        key = ("columns", self._key(part))
        if key[1] is None:
            self._stay(labels)
            return
        if key in self._known_rows:
            before = self._known_rows[key]
            both = (before > 0) | (labels > 0)
            self._join(np.maximum(before, 0)[both], np.maximum(labels, 0)[both])
        self._known_rows[key] = labels
        self.columns[id(part)] = labels

    # Groups

    def groups(self, network: Network) -> list[UnitGroup]:
        """Return the groups of units: channels, then heads."""
        makers, takers = self._members(network)
        units = {label: Unit(of_label, takers.get(label, {})) for label, of_label in makers.items()}
        heads = []
        for labels in self.heads:
            found = sorted({int(label) for label in self.roots(labels)})
            if len(found) > 1 and all(label in units for label in found) and found not in heads:
                heads.append(found)
        of_heads = [_joined([units[label] for label in found]) for found in heads]
        return [*_grouped("channels", units.values()), *_grouped("heads", of_heads)]

    def _members(self, network: Network) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return the places of the weights that make each unit, and of those that take it, by parameter."""
        parts = {id(part): part for product in self.flat.program.products for part in product.parts}
        known = {number: part for number, part in parts.items() if number in self.rows and number in self.columns}
        allowed = {
            (id(node), name)
            for product in self.flat.program.products
            for part in product.parts
            if id(part) in known
            for node in product.nodes
            for name in (part.operand, *part.biases)
        }
        tables = {operand for operand, _, _ in self.tables}
        allowed |= {
            (id(node), node.input[0])
            for node in self.flat.program.model.graph.node
            if node.op_type == "Gather" and node.input[0] in tables
        }
        barred = used_elsewhere(self.flat, network.parameters.keys(), allowed)
        several = self._of_several_matrices(known.values())
        origins = self.fixed.origins([*tables, *(name for part in known.values() for name in part.biases)])
        tied = {name for operand in tables for origin in [origins[operand]] if origin for name in origin.parameters}
        for number, part in known.items():
            origin = self._origins[part.operand]
            if origin is None or origin.parameters[0] in barred | several | tied:
                self._stay(self.rows[number])
            if origin is not None and origin.parameters[0] in barred | several:
                self._stay(self.columns[number])
        for operand, _, labels in self.tables:
            origin = origins[operand]
            if origin is None or len(origin.parameters) != 1 or origin.parameters[0] in barred:
                self._stay(labels)
        makers: dict[int, dict[str, list[Integers64]]] = {}
        takers: dict[int, dict[str, list[Integers64]]] = {}
        for number, part in known.items():
            origin = self._origins[part.operand]
            assert origin is not None
            places, name = part.matrix(origin.places), origin.parameters[0]
            _add(makers, name, self.roots(self.rows[number]), places.reshape(-1, places.shape[2]))
            by_column = np.swapaxes(places, 1, 2)
            _add(takers, name, self.roots(self.columns[number]), by_column.reshape(-1, places.shape[1]))
            for bias in part.biases:
                found = origins[bias]
                if found is not None and len(found.parameters) == 1 and found.parameters[0] not in barred:
                    own = part.bias(found.places).reshape(-1, 1)
                    _add(makers, found.parameters[0], self.roots(self.rows[number]), own)
        for operand, _, labels in self.tables:
            origin = origins[operand]
            if origin is not None and len(origin.parameters) == 1:
                _add(makers, origin.parameters[0], self.roots(labels), origin.places.T)
        return _whole(makers), _whole(takers)

    def _of_several_matrices(self, parts: Iterable[Part]) -> set[str]:
        """Return the parameters that products use as different matrices."""
        seen: dict[str, Any] = {}
        several = set()
        for part in parts:
            key = self._key(part)
            if key is not None and seen.setdefault(key[0], key) != key:
                several.add(key[0])
        return several


def _first(labels: Integers64, axes: tuple[int, ...]) -> Integers64:
    """Return the labels at the first place of some axes, which get the length 1."""
    return labels[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(labels.ndim))]


def _same_over(labels: Integers64, narrow: Integers64) -> Integers64:
    """Return, for each element of a value that is broadcast, the label of all it meets; 0 where these differ."""
    more = labels.ndim - narrow.ndim
    axes = tuple(range(more)) + tuple(
        more + axis for axis, length in enumerate(narrow.shape) if length != labels.shape[more + axis]
    )
    first = _first(labels, axes)
    return np.where((labels == first).all(axis=axes, keepdims=True), first, _STAYS).reshape(narrow.shape)


def _add(members: dict[int, dict[str, list[Integers64]]], name: str, labels: Integers64, places: Integers64) -> None:
    """Add places of a parameter [labels, ...] to the units of these labels."""
    for label, of_label in zip(labels.ravel().tolist(), places, strict=True):
        if label > 0:
            members.setdefault(label, {}).setdefault(name, []).append(of_label)


def _whole(members: dict[int, dict[str, list[Integers64]]]) -> dict[int, Any]:
    return {
        label: {name: np.unique(np.concatenate(places)) for name, places in of_label.items()}
        for label, of_label in members.items()
    }


def _joined(units: Sequence[Unit]) -> Unit:
    def together(members: Sequence[Mapping[str, Integers64]]) -> dict[str, Integers64]:
        names = dict.fromkeys(name for each in members for name in each)
        return {name: np.unique(np.concatenate([each[name] for each in members if name in each])) for name in names}

    return Unit(together([unit.rows for unit in units]), together([unit.columns for unit in units]))


def _grouped(kind: str, units: Iterable[Unit]) -> list[UnitGroup]:
    """Return units in groups of the same parameters."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Unit]] = {}
    for unit in units:
        groups.setdefault((tuple(sorted(unit.rows)), tuple(sorted(unit.columns))), []).append(unit)
    return [UnitGroup(kind, *names, tuple(of_group)) for names, of_group in groups.items()]
