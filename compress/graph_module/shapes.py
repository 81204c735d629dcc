"""Operators that rearrange, cut and join tensors, and those that make tensors from shapes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from compress.graph_module.operator_table import TYPES, integers, operator
from traces import InputError


@operator("Identity")
def _identity(x: Tensor) -> Tensor:
    return x


@operator("Constant")
def _constant(
    *,
    value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: list[float] | None = None,
    value_int: int | None = None,
    value_ints: list[int] | None = None,
) -> Tensor:
    if value is not None:
        return value
    if value_int is not None or value_ints is not None:
        return torch.tensor(value_int if value_int is not None else value_ints, dtype=torch.int64)
    return torch.tensor(value_float if value_float is not None else value_floats, dtype=torch.float32)


@operator("Shape")
def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[slice(start, end)], dtype=torch.int64)


@operator("Size")
def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("ConstantOfShape")
def _constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    filling = torch.zeros(1) if value is None else value
    return filling.reshape(()).repeat(integers(shape)) if shape.numel() else filling.reshape(())


@operator("Range")
def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, step = start.item(), delta.item()
    count = max(0, -int((first - limit.item()) // step))  # ceiling of (limit - first) / step
    return start.reshape(()) + delta.reshape(()) * torch.arange(count, dtype=start.dtype)


@operator("EyeLike", dtype=tuple(TYPES))
def _eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    columns = torch.arange(x.shape[1]) - torch.arange(x.shape[0])[:, None]
    return (columns == k).to(x.dtype if dtype is None else TYPES[dtype])


@operator("Reshape", allowzero=(0, 1))
def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = integers(shape)
    return x.reshape(sizes if allowzero else [size or x.shape[axis] for axis, size in enumerate(sizes)])


@operator("Flatten")
def _flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, x.numel() // rows if rows else 0)


@operator("Transpose")
def _transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    return x.permute(list(range(x.ndim))[::-1] if perm is None else perm)


@operator("Squeeze")
def _squeeze_by_attribute(x: Tensor, *, axes: list[int] | None = None) -> Tensor:
    if axes is None:
        return x.squeeze()
    wrong = [axis for axis in axes if x.shape[axis] != 1]
    if wrong:
        raise InputError(f"squeezed axes must have size 1; found axis {wrong[0]} of {list(x.shape)}; remove it")
    return x.squeeze(axes)


@operator("Squeeze", since=13)
def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return _squeeze_by_attribute(x, axes=None if axes is None else integers(axes))


@operator("Unsqueeze")
def _unsqueeze_by_attribute(x: Tensor, *, axes: list[int]) -> Tensor:
    ndim = x.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Unsqueeze", since=13)
def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    return _unsqueeze_by_attribute(x, axes=integers(axes))


@operator("Concat")
def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


@operator("Split", outputs=None)
def _split_by_attribute(
    x: Tensor, *, axis: int = 0, split: list[int] | None = None, output_count: int
) -> tuple[Tensor, ...]:
    size = x.shape[axis]
    part = -(-size // output_count)
    return torch.split(x, split or [max(0, min(part, size - part * each)) for each in range(output_count)], axis)


@operator("Split", since=13, outputs=None)
def _split(
    x: Tensor, split: Tensor | None = None, *, axis: int = 0, num_outputs: int | None = None, output_count: int
) -> tuple[Tensor, ...]:
    sizes = None if split is None else integers(split)
    return _split_by_attribute(x, axis=axis, split=sizes, output_count=num_outputs or output_count)


_NO_END = (2**31 - 1, 2**63 - 1)


def _sliced(x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        lowest, highest = (0, size) if step > 0 else (-1, size - 1)
        first = min(max(start + size if start < 0 else start, 0), highest)
        stop = min(max(end + size if end < 0 else end, lowest), highest)
        if step < 0 and end in _NO_END:
            stop = -1  # as ONNX Runtime has it
        if step > 0:
            x = x[(*[slice(None)] * (axis % x.ndim), slice(first, stop, step))]
        else:
            x = x.index_select(axis, torch.arange(first, min(stop, first), step))
    return x


@operator("Slice")
def _slice_by_attributes(x: Tensor, *, starts: list[int], ends: list[int], axes: list[int] | None = None) -> Tensor:
    return _sliced(x, starts, ends, axes or list(range(len(starts))), [1] * len(starts))


@operator("Slice", since=10)
def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    first = integers(starts)
    along = list(range(len(first))) if axes is None else integers(axes)
    return _sliced(x, first, integers(ends), along, [1] * len(first) if steps is None else integers(steps))


@operator("Expand")
def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(integers(shape))))


@operator("Tile")
def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(integers(repeats)) if x.ndim else x


@operator("Trilu")
def _triangle(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


@operator("DepthToSpace", mode=("DCR", "CRD"))
def _depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        parts = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // b**2, h * b, w * b)


@operator("SpaceToDepth")
def _space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * b**2, h // b, w // b)


def _padded(x: Tensor, pads: list[int], axes: list[int], mode: str, value: float) -> Tensor:
    before = {axis % x.ndim: pad for axis, pad in zip(axes, pads[: len(axes)], strict=True)}
    after = {axis % x.ndim: pad for axis, pad in zip(axes, pads[len(axes) :], strict=True)}
    if mode == "constant":
        both = [pad for axis in reversed(range(x.ndim)) for pad in (before.get(axis, 0), after.get(axis, 0))]
        return functional.pad(x, both, value=value)
    if min(pads, default=0) < 0:
        raise InputError(f"pads must be 0 or more in mode {mode}; found {pads}; cut with a Slice")
    for axis in before:
        size = x.shape[axis]
        places = torch.arange(-before[axis], size + after[axis])
        if mode == "reflect":
            period = max(2 * (size - 1), 1)
            places = places.remainder(period)
            places = torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)
        else:
            places = places.clamp(0, size - 1) if mode == "edge" else places.remainder(size)
        x = x.index_select(axis, places)
    return x


_PAD_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad", mode=_PAD_MODES)
def _pad_by_attributes(x: Tensor, *, pads: list[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    return _padded(x, pads, list(range(x.ndim)), mode, value)


@operator("Pad", since=11, mode=_PAD_MODES)
def _pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    along = list(range(x.ndim)) if axes is None else integers(axes)
    return _padded(x, integers(pads), along, mode, 0.0 if value is None else value.item())


@operator("Dropout")
def _dropout(x: Tensor, *, ratio: float = 0.5, seed: int = 0) -> Tensor:
    return x


@operator("Dropout", since=12)
def _dropout_by_inputs(
    x: Tensor, ratio: Tensor | None = None, training_mode: Tensor | None = None, *, seed: int = 0
) -> Tensor:
    if training_mode is not None and bool(training_mode):
        raise InputError("training_mode must be false; found true; export the network in evaluation mode")
    return x


@operator("SequenceConstruct")
def _sequence(*parts: Tensor) -> list[list[Tensor]]:
    return [list(parts)]


@operator("SplitToSequence", keepdims=(0, 1))
def _split_to_sequence(
    x: Tensor, split: Tensor | None = None, *, axis: int = 0, keepdims: int = 1
) -> list[list[Tensor]]:
    if split is None:
        return [list(torch.split(x, 1, axis) if keepdims else x.unbind(axis))]
    return [list(torch.split(x, int(split) if split.ndim == 0 else integers(split), axis))]


@operator("SequenceAt")
def _sequence_at(parts: list[Tensor], position: Tensor) -> Tensor:
    return parts[int(position)]


@operator("SequenceLength")
def _sequence_length(parts: list[Tensor]) -> Tensor:
    return torch.tensor(len(parts), dtype=torch.int64)


@operator("ConcatFromSequence", new_axis=(0, 1))
def _concat_from_sequence(parts: list[Tensor], *, axis: int, new_axis: int = 0) -> Tensor:
    return torch.stack(parts, axis) if new_axis else torch.cat(parts, axis)
