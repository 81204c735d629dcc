"""Normalisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from compress.graph_module.operator_table import operator


def _standardised(x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return x with mean 0 and variance 1 over the axes, the means, and the inverse standard deviations.

    Moments are in single precision or better.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    mean = wide.mean(axes, keepdim=True)
    centred = wide - mean
    inverse = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + epsilon)
    return (centred * inverse).to(x.dtype), mean, inverse


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 2))


@operator("BatchNormalization", spatial=(1,))
def _batch_normalisation_before_14(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
) -> Tensor:
    factor = scale * torch.rsqrt(variance + epsilon)  # written out, because PyTorch's has no derivatives by the mean
    return x * _by_channel(factor, x) + _by_channel(bias - mean * factor, x)


@operator("BatchNormalization", since=14, training_mode=(0,))
def _batch_normalisation(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    return _batch_normalisation_before_14(x, scale, bias, mean, variance, epsilon=epsilon)


@operator("InstanceNormalization")
def _instance_normalisation(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    normal = _standardised(x, list(range(2, x.ndim)), epsilon)[0]
    return normal * _by_channel(scale, x) + _by_channel(bias, x)


@operator("LayerNormalization", outputs=3, stash_type=(1,))
def _layer_normalisation(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    normal, mean, inverse = _standardised(x, list(range(axis % x.ndim, x.ndim)), epsilon)
    return normal * scale + (0 if bias is None else bias), mean, inverse


def _group_standardised(x: Tensor, groups: int, epsilon: float) -> Tensor:
    parts = x.reshape(x.shape[0], groups, -1)
    return _standardised(parts, [2], epsilon)[0]


@operator("GroupNormalization")
def _group_normalisation_by_group(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, num_groups: int
) -> Tensor:
    normal = _group_standardised(x, num_groups, epsilon)
    return (normal * scale[:, None] + bias[:, None]).reshape(x.shape)


@operator("GroupNormalization", since=21, stash_type=(1,))
def _group_normalisation(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Tensor:
    normal = _group_standardised(x, num_groups, epsilon).reshape(x.shape)
    return normal * _by_channel(scale, x) + _by_channel(bias, x)


@operator("RMSNormalization", stash_type=(1,))
def _root_mean_square_normalisation(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    mean_square = (wide * wide).mean(list(range(axis % x.ndim, x.ndim)), keepdim=True)
    return (wide * torch.rsqrt(mean_square + epsilon)).to(x.dtype) * scale


@operator("LpNormalization", p=(1, 2))
def _norm_normalisation(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@operator("LRN")
def _local_response_normalisation(
    x: Tensor, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int
) -> Tensor:
    squares = functional.pad((x * x).flatten(2).transpose(1, 2), [(size - 1) // 2, size // 2])
    sums = squares.unfold(2, size, 1).sum(-1).transpose(1, 2).reshape(x.shape)
    return x / (bias + alpha / size * sums).pow(beta)


@operator("MeanVarianceNormalization")
def _mean_variance_normalisation(x: Tensor, *, axes: list[int] | None = None) -> Tensor:
    along = [0, 2, 3] if axes is None else axes
    centred = x - x.mean(along, keepdim=True)
    return centred / ((centred * centred).mean(along, keepdim=True).sqrt() + 1e-9)
