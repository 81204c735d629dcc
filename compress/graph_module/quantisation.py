"""Quantisation to integers and back.

Rounding has no useful derivative. Derivatives pass straight through it (Bengio, Léonard and Courville 2013), for which
the levels stay in floating-point numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compress.graph_module.operator_table import operator


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return one value, or one for each place of the axis, ready to broadcast."""
    return (
        values.reshape([-1 if each == axis % x.ndim else 1 for each in range(x.ndim)]) if values.numel() > 1 else values
    )


@operator("QuantizeLinear", block_size=(0,), precision=(0, 1), saturate=(1,))
def _quantise(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    kind = torch.uint8 if zero is None else zero.dtype
    limits = torch.iinfo(kind)
    steps = x / _along(scale, x, axis)
    levels = torch.round(steps)
    if levels.requires_grad:
        levels = levels.detach() + (steps - steps.detach())
    if zero is not None:
        levels = levels + _along(zero, x, axis).to(x.dtype)
    levels = levels.clamp(limits.min, limits.max)
    return levels if levels.requires_grad else levels.to(kind)


@operator("DequantizeLinear", block_size=(0,))
def _dequantise(x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0) -> Tensor:
    levels = x.to(scale.dtype)
    if zero is not None:
        levels = levels - _along(zero, x, axis).to(scale.dtype)
    return levels * _along(scale, x, axis)
