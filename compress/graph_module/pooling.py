"""Pools."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from compress.graph_module.operator_table import operator
from compress.graph_module.windows import AUTO_PADS, Windows, windows

_MAXIMA: tuple[Callable[..., Tensor], ...] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_SUMS: tuple[Callable[..., Tensor], ...] = (functional.conv1d, functional.conv2d, functional.conv3d)


@operator("MaxPool", auto_pad=AUTO_PADS, storage_order=(0,))
def _max_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    kernel_shape: list[int],
    pads: list[int] | None = None,
    storage_order: int = 0,
    strides: list[int] | None = None,
) -> Tensor:
    frame = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    lowest = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
    padded = functional.pad(x, frame.needed(x.shape[2:]), value=lowest)
    return _MAXIMA[len(kernel_shape) - 1](padded, frame.kernel, frame.strides, 0, frame.dilations)


def _sums(padded: Tensor, frame: Windows) -> Tensor:
    """Return the sum over each window of a padded tensor."""
    ones = torch.ones(1, 1, *frame.kernel, dtype=padded.dtype, device=padded.device)
    single = padded.reshape(-1, 1, *padded.shape[2:])
    summed = _SUMS[len(frame.kernel) - 1](single, ones, None, frame.strides, 0, frame.dilations)
    return summed.reshape(*padded.shape[:2], *summed.shape[2:])


@operator("AveragePool", auto_pad=AUTO_PADS)
def _average_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: list[int] | None = None,
    kernel_shape: list[int],
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    frame = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    around = frame.needed(x.shape[2:])
    counted = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
    if count_include_pad:  # those of the attribute; what ceil_mode adds at the end never counts
        own = [pad for pads in zip(reversed(frame.before), reversed(frame.after), strict=True) for pad in pads]
        counted = functional.pad(counted, own, value=1.0)
        counted = functional.pad(counted, [pad - each for pad, each in zip(around, own, strict=True)])
    else:
        counted = functional.pad(counted, around)
    return _sums(functional.pad(x, around), frame) / _sums(counted, frame)


@operator("LpPool", auto_pad=AUTO_PADS)
def _norm_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    kernel_shape: list[int],
    p: int = 2,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    frame = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return _sums(functional.pad(x.abs().pow(p), frame.needed(x.shape[2:])), frame).pow(1 / p)


@operator("GlobalAveragePool")
def _global_average(x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def _global_maximum(x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.ndim)), keepdim=True)


@operator("GlobalLpPool")
def _global_norm(x: Tensor, *, p: int = 2) -> Tensor:
    return x.abs().pow(p).sum(list(range(2, x.ndim)), keepdim=True).pow(1 / p)
