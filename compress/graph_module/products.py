"""Operators that multiply a weight with activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from compress.graph_module.operator_table import operator
from compress.graph_module.windows import AUTO_PADS, windows
from traces import InputError

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED: tuple[Callable[..., Tensor], ...] = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


@operator("MatMul")
def _matrix_product(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


@operator("Gemm")
def _general_product(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    product = (a.T if transA else a) @ (b.T if transB else b)
    if alpha != 1:
        product = alpha * product
    if c is None:
        return product
    return product + (c if beta == 1 else beta * c)


@operator("Einsum")
def _einsum(*operands: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *operands)


@operator("Conv", auto_pad=AUTO_PADS)
def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    frame = windows(x.shape[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    padding: tuple[int, ...] = frame.before
    if frame.before != frame.after:
        x, padding = functional.pad(x, frame.needed(x.shape[2:])), (0,) * len(frame.kernel)
    convolution = _CONVOLUTIONS[len(frame.kernel) - 1]
    return convolution(x, weight, bias, frame.strides, padding, frame.dilations, group)


@operator("ConvTranspose", auto_pad=AUTO_PADS)
def _transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    output_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    rank = x.ndim - 2
    if not 1 <= rank <= 3:
        raise InputError(f"a transposed convolution must have 1 to 3 spatial axes; found {rank}; add or remove axes")
    strides, dilations, extra = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    whole = _TRANSPOSED[rank - 1](x, weight, None, strides, 0, 0, group, dilations)
    cut: list[int] = []  # in the order of torch.nn.functional.pad
    for axis in reversed(range(rank)):
        size = whole.shape[2 + axis] + extra[axis]
        before, after = (pads[axis], pads[rank + axis]) if pads else (0, 0)
        wanted = output_shape[axis - rank] if output_shape else x.shape[2 + axis] * strides[axis]
        if output_shape or auto_pad.startswith("SAME"):
            total = size - wanted
            before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            after = total - before
        elif auto_pad == "VALID":
            before = after = 0
        cut += [-before, extra[axis] - after]
    outputs = functional.pad(whole, cut)
    return outputs if bias is None else outputs + bias.reshape(-1, *[1] * rank)
