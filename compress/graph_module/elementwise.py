"""Operators that compute each element alone, with broadcasts."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from compress.graph_module.operator_table import TYPES, operator

_OF_ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": lambda x: torch.logaddexp(x, x.new_zeros(())),
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": lambda a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc"),
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
    "Pow": lambda a, b: torch.pow(a, b).to(a.dtype),
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_OF_ANY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def _enter_simple_operators() -> None:
    def of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: function(x)

    def of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda a, b: function(a, b)

    def of_any(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda *values: functools.reduce(function, values)

    for name, unary in _OF_ONE.items():
        operator(name)(of_one(unary))
    for name, binary in _OF_TWO.items():
        operator(name)(of_two(binary))
    for name, binary in _OF_ANY.items():
        operator(name)(of_any(binary))


_enter_simple_operators()


@operator("Mean")
def _mean(*values: Tensor) -> Tensor:
    return functools.reduce(torch.add, values) / len(values)


@operator("Where")
def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@operator("Mod", fmod=(0, 1))
def _mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


@operator("IsInf")
def _is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    infinite = torch.isinf(x)
    if not detect_negative:
        infinite = infinite & ~(x < 0)
    return infinite if detect_positive else infinite & ~(x > 0)


@operator("Clip")
def _clip_by_attributes(x: Tensor, *, min: float | None = None, max: float | None = None) -> Tensor:
    return x if min is None and max is None else torch.clamp(x, min, max)


@operator("Clip", since=11)
def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


@operator("Cast", to=tuple(TYPES), round_mode=("up",))
def _cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(TYPES[to])  # `saturate` and `round_mode` concern types of 8 bits and fewer, which are refused


@operator("CastLike", round_mode=("up",))
def _cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(like.dtype)


@operator("LeakyRelu")
def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return functional.leaky_relu(x, alpha)


@operator("ThresholdedRelu")
def _thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


@operator("Shrink")
def shrink(x: Tensor, *, lambd: float = 0.5, bias: float = 0.0) -> Tensor:
    """Return values beyond `lambd`, moved towards zero by `bias`, and zero for the others."""
    wide = x if x.dtype.itemsize >= 4 else x.float()  # compared in float32
    return torch.where(wide > lambd, x - bias, torch.where(wide < -lambd, x + bias, torch.zeros_like(x))).to(x.dtype)


@operator("Elu")
def _elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return functional.elu(x, alpha)


@operator("Celu")
def _celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return functional.celu(x, alpha)


@operator("Selu")
def _selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    return gamma * functional.elu(x, alpha)


@operator("HardSigmoid")
def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


@operator("Gelu", approximate=("none", "tanh"))
def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return functional.gelu(x, approximate=approximate)


@operator("Swish")
def _swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return x * torch.sigmoid(alpha * x)


@operator("Softmax")
def _softmax_of_matrix(x: Tensor, *, axis: int = 1) -> Tensor:
    if axis % x.ndim == x.ndim - 1:
        return torch.softmax(x, -1)
    return torch.softmax(x.flatten(axis), -1).reshape(x.shape)


@operator("LogSoftmax")
def _log_softmax_of_matrix(x: Tensor, *, axis: int = 1) -> Tensor:
    if axis % x.ndim == x.ndim - 1:
        return torch.log_softmax(x, -1)
    return torch.log_softmax(x.flatten(axis), -1).reshape(x.shape)


@operator("Softmax", since=13)
def _softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


@operator("LogSoftmax", since=13)
def _log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.log_softmax(x, axis)
