"""Operators that reduce or accumulate along axes, and those that sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from compress.graph_module.operator_table import integers, operator

_Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    total = x.sum(axes, keepdim=keep)
    return torch.div(total, x.numel() // max(total.numel(), 1), rounding_mode="trunc").to(x.dtype)


_IDENTITY_ON_NO_AXES: dict[str, _Reduction] = {
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMean": _mean,
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype),
}
_OTHERS: dict[str, _Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep, dtype=x.dtype),
}


def _enter(name: str, reduction: _Reduction) -> None:
    def reduced(x: Tensor, axes: list[int], keep: int, noop: int) -> Tensor:
        if not axes and noop:
            return x
        return reduction(x, axes or list(range(x.ndim)), bool(keep)) if x.ndim else reduction(x[None], [0], False)

    def by_attribute(x: Tensor, *, axes: list[int] | None = None, keepdims: int = 1) -> Tensor:
        return reduced(x, axes or [], keepdims, 0)

    def by_input(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        return reduced(x, [] if axes is None else integers(axes), keepdims, noop_with_empty_axes)

    choices: dict[str, Any] = {} if name in _IDENTITY_ON_NO_AXES else {"noop_with_empty_axes": (0,)}
    operator(name)(by_attribute)
    operator(name, since=13 if name == "ReduceSum" else 18, **choices)(by_input)


for _name, _reduction in (_IDENTITY_ON_NO_AXES | _OTHERS).items():
    _enter(_name, _reduction)


def _enter_index(name: str, function: Callable[..., Tensor]) -> None:
    def index(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return function(x, dim=axis, keepdim=bool(keepdims))
        return x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=bool(keepdims))

    operator(name)(index)


_enter_index("ArgMax", torch.argmax)
_enter_index("ArgMin", torch.argmin)


@operator("CumSum")
def _cumulative_sum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    along = int(axis)
    directed = x.flip(along) if reverse else x
    total = directed.cumsum(along, dtype=x.dtype)
    if exclusive:
        first = torch.zeros_like(total.narrow(along, 0, min(1, x.shape[along])))
        total = torch.cat([first, total.narrow(along, 0, max(x.shape[along] - 1, 0))], along)
    return total.flip(along) if reverse else total


def _largest(x: Tensor, count: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Return values and indices; of equal values, the one with the lower index is first."""
    values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


@operator("TopK", outputs=2)
def _top_by_attribute(x: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    return _largest(x, k, axis, True)


@operator("TopK", since=10, outputs=2)
def _top(x: Tensor, k: Tensor, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    return _largest(x, int(k), axis, bool(largest))
