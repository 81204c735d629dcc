"""Operators that read and write at given places."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.graph_module.operator_table import operator

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _from_start(indices: Tensor, size: int) -> Tensor:
    """Return the indices with those below 0 counted from the end."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@operator("Gather")
def _gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.ndim
    places = _from_start(indices, x.shape[axis])
    taken = x.index_select(axis, places.reshape(-1))
    return taken.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("GatherElements")
def _gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return torch.gather(x, axis, _from_start(indices, x.shape[axis]))


@operator("GatherND")
def _gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    b, depth = batch_dims, indices.shape[-1]
    batch = [
        torch.arange(size).reshape([-1 if axis == each else 1 for each in range(indices.ndim - 1)])
        for axis, size in enumerate(x.shape[:b])
    ]
    places = [_from_start(each, x.shape[b + axis]) for axis, each in enumerate(indices.unbind(-1))]
    taken = x[(*batch, *places)]
    return taken.reshape((*indices.shape[:-1], *x.shape[b + depth :]))


def _scatter(x: Tensor, axis: int, places: Tensor, updates: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCTIONS[reduction])


@operator("ScatterElements", "Scatter", reduction=("none", *_REDUCTIONS))
def _scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    return _scatter(x, axis, _from_start(indices, x.shape[axis]), updates, reduction)


@operator("ScatterND", reduction=("none", *_REDUCTIONS))
def _scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    depth = indices.shape[-1]
    inner = 1
    for size in x.shape[depth:]:
        inner *= size
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for axis, each in enumerate(indices.unbind(-1)):
        flat = flat * x.shape[axis] + _from_start(each, x.shape[axis])
    places = flat.reshape(-1, 1).expand(-1, inner)
    return _scatter(x.reshape(-1, inner), 0, places, updates.reshape(-1, inner), reduction).reshape(x.shape)


@operator("NonZero")
def _non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).T


@operator("OneHot")
def _one_hot(indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    size = int(depth)
    axis %= indices.ndim + 1
    classes = torch.arange(size).reshape([-1] + [1] * (indices.ndim - axis))
    hot = _from_start(indices, size).unsqueeze(axis) == classes
    return torch.where(hot, values[1], values[0])
