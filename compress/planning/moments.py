"""Second moments of the vectors that weight matrices are multiplied with, while a network runs (PyTorch needed).

A moment keeps blocks on its diagonal of at most `MOST_COLUMNS` columns, so that memory and time are linear in columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from compress.modules import ModuleLayer
from compress.planning.recurrent_vectors import can_follow, vectors_of_weights
from compress.row_classes import group_of_rows
from traces import InputError
from traces.arrays import Floats64, Integers64, Numbers
from traces.graph.description import RECURRENT
from traces.torch_activations import first_input

MOST_COLUMNS = 1024  # of a block
MOST_VECTORS = 2**14  # of a layer that are added, if the number of calls is known

_MOST_GROUPED = 2**22  # values of the moment of a layer with groups; with more of them it has none
_Convolution = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d
_PADDINGS = {"zeros": "constant"}  # the names of torch.nn by those of torch.nn.functional.pad, where they differ
_VALUES_AT_ONCE = 2**22  # of vectors that are copied to be multiplied


def block_begins(columns: int) -> list[int]:
    """Return the first column of each block of a moment, and the number of columns."""
    blocks = -(-columns // MOST_COLUMNS)
    return [columns * place // blocks for place in range(blocks + 1)]


@dataclass(frozen=True, eq=False)
class BlockMoment:
    """Sum of x x^T over vectors x, of which the blocks on the diagonal are kept.

    Attributes
    ----------
    sums : tuple of float64 [block, block]
        Blocks from the first column on (`block_begins`); one block if there are at most MOST_COLUMNS columns. With
        groups, the blocks of each group follow those of the group before it.
    positions : int
        Number of vectors x, of each group.
    groups : int
        Groups of rows of the weight matrix, equally many rows in each, that are multiplied with other vectors.
    """

    sums: tuple[Floats64, ...]
    positions: int
    groups: int = 1

    @classmethod
    def of_vectors(cls, vectors: Numbers) -> BlockMoment:
        """Return the moment of vectors [positions, columns]."""
        vectors = np.asarray(vectors, dtype=np.float64)
        begins = block_begins(vectors.shape[1])
        parts = [vectors[:, begin:end] for begin, end in itertools.pairwise(begins)]
        return cls(tuple(part.T @ part for part in parts), len(vectors))

    @property
    def columns(self) -> int:
        """Number of columns of the weight matrix."""
        return sum(len(block) for block in self.sums) // self.groups

    def group_of_rows(self, rows: int) -> Integers64 | None:
        """Return the group of each of the rows of the weight matrix; None if there is one group."""
        return None if self.groups == 1 else group_of_rows(rows, self.groups)

    def means(self) -> list[Floats64]:
        """Return the blocks of the mean of x x^T."""
        return [block / self.positions for block in self.sums]

    def __add__(self, other: BlockMoment) -> BlockMoment:
        if self.columns != other.columns:
            raise InputError(f"moments must be of equal columns; found {self.columns} and {other.columns}")
        if self.groups != other.groups:
            raise InputError(f"moments must be of equal groups; found {self.groups} and {other.groups}")
        sums = tuple(one + another for one, another in zip(self.sums, other.sums, strict=True))
        return BlockMoment(sums, self.positions + other.positions, self.groups)

    def arrays(self) -> dict[str, Numbers]:
        """Return everything by name, to be saved; `of_arrays` reads it."""
        flat = np.concatenate([block.ravel() for block in self.sums])
        groups = [] if self.groups == 1 else [self.groups]
        return {"moment": flat, "moment_of": np.array([self.columns, self.positions, *groups])}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Numbers], number: int | None = None) -> BlockMoment | None:
        """Return what `arrays` named, or None if nothing is named so.

        Parameters
        ----------
        arrays : Mapping[str, array]
            Arrays by name.
        number : int or None
            Stands behind each name after an underscore.
        """
        behind = "" if number is None else f"_{number}"
        if f"moment{behind}" not in arrays:
            return None
        columns, positions, *more = (int(each) for each in arrays[f"moment_of{behind}"])
        groups = more[0] if more else 1
        sizes = np.tile(np.diff(block_begins(columns)), groups)
        flat = np.asarray(arrays[f"moment{behind}"], dtype=np.float64)
        parts = np.split(flat, np.cumsum(sizes**2)[:-1])
        return cls(tuple(part.reshape(size, size) for part, size in zip(parts, sizes, strict=True)), positions, groups)


class Moments:
    """Collector of the moment of the input vectors of each weight matrix, as a context.

    A layer that is called several times adds the vectors of all calls, a recurrent one those of all steps. There is no
    moment of transposed convolutions, attention, embeddings, recurrent layers with projections or packed sequences,
    layers whose moment would have too many groups, and layers that are never called. Products are in the precision of
    the vectors, and are added in 64 bits.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    layers : sequence of ModuleLayer
        Its weights.
    calls : int or None
        Calls of the network, on about equally many inputs each. If it is known, a layer adds at most MOST_VECTORS
        vectors in as many calls: of each call an equal number, drawn evenly from all its inputs and positions.
    seed : int
        Seed of the draw, which does not depend on earlier calls.

    Attributes
    ----------
    vectors : int64 [layers]
        Vectors that entered so far, those that were not drawn and those of layers without a moment included.
    """

    def __init__(
        self, module: torch.nn.Module, layers: Sequence[ModuleLayer], calls: int | None = None, seed: int = 0
    ) -> None:
        self._module, self._layers, self._calls, self._seed = module, layers, calls, seed
        self._moments: list[BlockMoment | None] = [None] * len(layers)
        self.vectors = np.zeros(len(layers), dtype=np.int64)
        self._context = ExitStack()

    def __enter__(self) -> None:
        recurrent: dict[torch.nn.Module, list[tuple[int, str]]] = {}
        for number, layer in enumerate(self._layers):
            for owner, attribute in layer.owners:
                if attribute == "weight" and isinstance(owner, torch.nn.Linear | _Convolution):
                    hook = owner.register_forward_pre_hook(self._hook(number), with_kwargs=True)
                    self._context.callback(hook.remove)
                elif can_follow(owner):
                    recurrent.setdefault(owner, []).append((number, attribute))
        for owner, weights in recurrent.items():
            hook = owner.register_forward_hook(self._recurrent_hook(weights), with_kwargs=True)
            self._context.callback(hook.remove)
        observing: Any = getattr(self._module, "observing", None)
        if observing is not None:  # it runs an ONNX graph, whose products are no modules
            self._context.enter_context(observing(self._observe))

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def of(self, number: int) -> BlockMoment | None:
        """Return the moment of a weight so far; None if there is none."""
        return self._moments[number]

    def taken(self) -> tuple[list[BlockMoment | None], Integers64]:
        """Return the moments of all weights and their `vectors` since the last time, and begin anew."""
        moments, self._moments = self._moments, [None] * len(self._layers)
        vectors, self.vectors = self.vectors, np.zeros(len(self._layers), dtype=np.int64)
        return moments, vectors

    def _hook(self, number: int) -> Any:
        def add(part: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            entering = first_input(part, arguments, keywords)
            if isinstance(entering, torch.Tensor):
                self._add(number, _entering_vectors(part, entering.detach()))

        return add

    def _recurrent_hook(self, weights: Sequence[tuple[int, str]]) -> Any:
        def add(part: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], outputs: Any) -> None:
            entering = vectors_of_weights(part, arguments, keywords, outputs)
            for number, attribute in weights:
                if attribute in entering:
                    self._add(number, _rows_of(entering[attribute]))

        return add

    def _observe(self, parameter: str | None, _: str, node: Any, entering: torch.Tensor, weight: torch.Tensor) -> None:
        for number, layer in enumerate(self._layers):
            if parameter in layer.names:
                vectors = _graph_vectors(node, entering.detach(), weight.detach(), layer)
                if vectors is not None:
                    self._add(number, vectors)

    def _add(self, number: int, vectors: _Vectors) -> None:
        self.vectors[number] += len(vectors)
        blocks = list(itertools.pairwise(block_begins(vectors.columns)))
        sizes = [end - begin for begin, end in blocks] * vectors.groups
        if vectors.groups > 1 and sum(size**2 for size in sizes) > _MOST_GROUPED:
            return
        before = self._moments[number]
        if before is not None and before.groups != vectors.groups:  # a tied weight: the first layer counts
            return
        sums = [np.zeros((size, size)) for size in sizes] if before is None else list(before.sums)
        places = self._places(number, len(vectors))
        step = max(1, _VALUES_AT_ONCE // (vectors.groups * vectors.columns))
        for first in range(0, len(places), step):
            part = vectors.at(places[first : first + step])
            part = part if part.dtype == torch.float64 else part.float()
            for place, (begin, end) in enumerate(blocks):
                columns = part[..., begin:end]
                products = columns.mT @ columns if vectors.groups > 1 else (columns[0].T @ columns[0])[None]
                for block, product in zip(sums[place :: len(blocks)], products.numpy(), strict=True):
                    block += product
        positions = len(places) + (0 if before is None else before.positions)
        if positions:
            self._moments[number] = BlockMoment(tuple(sums), positions, vectors.groups)

    def _places(self, number: int, vectors: int) -> Integers64:
        """Return the places of the vectors of a call that are added."""
        added = vectors if self._calls is None else max(1, MOST_VECTORS // self._calls)
        if added >= vectors:
            return np.arange(vectors)
        draw = np.random.default_rng([self._seed, number, vectors])
        return np.sort(draw.choice(vectors, added, replace=False))


class _Vectors:
    """Vectors that a weight matrix is multiplied with, which overlap in memory.

    Parameters
    ----------
    view : tensor [*positions, *columns]
        View of what enters a layer; the columns of all groups follow one another.
    axes : int
        Number of axes of positions.
    groups : int
        Groups of rows that are multiplied with vectors of their own.
    """

    def __init__(self, view: torch.Tensor, axes: int, groups: int = 1) -> None:
        self._view, self._positions, self.groups = view, tuple(view.shape[:axes]), groups
        self.columns = int(np.prod(view.shape[axes:])) // groups

    def __len__(self) -> int:
        return int(np.prod(self._positions))

    def at(self, places: Integers64) -> torch.Tensor:
        """Return the vectors of these places, [groups, places, columns]."""
        index = tuple(torch.from_numpy(each) for each in np.unravel_index(places, self._positions))
        return self._view[index].reshape(len(places), self.groups, self.columns).movedim(1, 0)


def input_vectors(part: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the vectors that the weight matrix of a layer is multiplied with, [positions, columns].

    Parameters
    ----------
    part : torch.nn.Module
        Linear, or a convolution with one group.
    inputs : tensor [inputs, ...]
        What enters the layer; one input alone may lack its first axis.
    """
    vectors = _entering_vectors(part, inputs)
    return vectors.at(np.arange(len(vectors)))[0]


def _entering_vectors(part: torch.nn.Module, inputs: torch.Tensor) -> _Vectors:
    if not isinstance(part, _Convolution):
        return _rows_of(inputs)
    axes = len(part.kernel_size)
    batch = inputs if inputs.dim() == axes + 2 else inputs[None]
    padding = part._reversed_padding_repeated_twice
    padded = torch.nn.functional.pad(batch, padding, _PADDINGS.get(part.padding_mode, part.padding_mode))
    return _patches(padded, part.kernel_size, part.stride, part.dilation, part.groups)


def _rows_of(entering: torch.Tensor) -> _Vectors:
    return _Vectors(entering.reshape(-1, entering.shape[-1]), 1)


def _patches(
    inputs: torch.Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], groups: int
) -> _Vectors:
    """Return the patches of padded inputs [inputs, channels, *axes]; a vector is [channels / groups, *kernel]."""
    axes = len(kernel)
    for axis, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        inputs = inputs.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    order = (0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))
    return _Vectors(inputs.permute(order), 1 + axes, groups)


def _graph_vectors(node: Any, entering: torch.Tensor, weight: torch.Tensor, layer: ModuleLayer) -> _Vectors | None:
    """Return the vectors that a node of a graph multiplies a layer's matrix with, or None if it is not that matrix."""
    import onnx

    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    vectors = None
    if node.op_type == "Conv":
        from compress.graph_module.windows import windows

        kernel = weight.shape[2:]
        frame = windows(
            entering.shape[2:],
            kernel,
            attributes.get("strides"),
            attributes.get("dilations"),
            attributes.get("pads"),
            attributes.get("auto_pad", b"NOTSET").decode(),
        )
        padded = torch.nn.functional.pad(entering, frame.needed(entering.shape[2:]))
        groups = attributes.get("group", 1)
        vectors = _patches(padded, frame.kernel, frame.strides, frame.dilations, groups)
        matrix = weight.flatten(1)
    elif node.op_type in RECURRENT and not (len(node.input) > 4 and node.input[4]):
        matrix = weight.flatten(0, 1)
        if entering.dim() == 3:
            vectors = _rows_of(entering)
        else:  # hidden states [steps, directions, batch, hidden], those of one direction by the rows of its weights
            vectors = _Vectors(entering.transpose(1, 2), 2, entering.shape[1])
    elif node.op_type in ("MatMul", "Gemm") and weight.dim() == 2:
        from_left = weight.shape[-1] == entering.shape[-2] if entering.dim() > 1 else False
        if attributes.get("transA") or (node.op_type == "MatMul" and from_left):
            return None
        matrix = weight if attributes.get("transB") else weight.T
        vectors = _rows_of(entering)
    if vectors is None or not np.array_equal(matrix.numpy(), layer.matrix):
        return None
    return vectors
