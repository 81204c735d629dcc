"""Interpolation to another size, one axis after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compress.graph_module.operator_table import integers, operator
from traces import InputError

# From places of the output, scale, size of the input and of the output to places of the input
_COORDINATES: dict[str, Callable[[Tensor, float, int, int], Tensor]] = {
    "half_pixel": lambda places, scale, _, __: (places + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda places, scale, _, out: (
        (places + 0.5) / scale - 0.5 if out > 1 else torch.zeros_like(places)
    ),
    "align_corners": lambda places, _, size, out: (
        places * (size - 1) / (out - 1) if out > 1 else torch.zeros_like(places)
    ),
    "asymmetric": lambda places, scale, _, __: places / scale,
}
_NEAREST: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": lambda places: torch.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: torch.floor(places + 0.5),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Return the cubic kernel at distances, which are 0 or more (Keys 1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


def _interpolated(x: Tensor, axis: int, places: Tensor, mode: str, a: float, exclude_outside: int) -> Tensor:
    """Return x at places of one axis, interpolated linearly or cubically."""
    last = x.shape[axis] - 1
    if mode == "linear":
        places = places.clamp(0, last)
    floor = places.floor()
    taps = [floor + step for step in ((0, 1) if mode == "linear" else (-1, 0, 1, 2))]
    weights = [1 - (places - tap).abs() if mode == "linear" else _cubic((places - tap).abs(), a) for tap in taps]
    if exclude_outside:
        inside = [(tap >= 0) & (tap <= last) for tap in taps]
        weights = [weight * valid for weight, valid in zip(weights, inside, strict=True)]
        total = torch.stack(weights).sum(0)
        weights = [weight / total for weight in weights]
    along = [-1 if each == axis else 1 for each in range(x.ndim)]
    parts = [
        x.index_select(axis, tap.clamp(0, last).long()) * weight.to(x.dtype).reshape(along)
        for tap, weight in zip(taps, weights, strict=True)
    ]
    return torch.stack(parts).sum(0)


def _resized(
    x: Tensor,
    axes: list[int],
    scales: list[float],
    sizes: list[int],
    mode: str,
    coordinates: str,
    nearest: Callable[[Tensor, float], Tensor],
    a: float = -0.75,
    exclude_outside: int = 0,
) -> Tensor:
    for axis, scale, out in zip(axes, scales, sizes, strict=True):
        size = x.shape[axis]
        if scale == 1 and out == size:
            continue
        places = _COORDINATES[coordinates](torch.arange(out, dtype=torch.float64), scale, size, out)
        if mode == "nearest":
            exact = torch.round(places, decimals=6)  # a half stays a half
            x = x.index_select(axis, nearest(exact, scale).clamp(0, size - 1).long())
        else:
            x = _interpolated(x, axis, places, mode, a, exclude_outside)
    return x


@operator("Upsample", mode=("nearest", "linear"))
def _upsample_by_attribute(x: Tensor, *, mode: str = "nearest", scales: list[float]) -> Tensor:
    sizes = [int(size * scale) for size, scale in zip(x.shape, scales, strict=True)]
    axes = list(range(x.ndim))
    return _resized(x, axes, scales, sizes, mode, "asymmetric", _simple_nearest)


@operator("Upsample", since=9, mode=("nearest", "linear"))
@operator("Resize", since=10, mode=("nearest", "linear"))
def _upsample(x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Tensor:
    return _upsample_by_attribute(x, mode=mode, scales=scales.tolist())


def _simple_nearest(places: Tensor, scale: float) -> Tensor:
    return torch.ceil(places) if scale < 1 else torch.floor(places)


@operator(
    "Resize",
    since=11,
    mode=("nearest", "linear", "cubic"),
    antialias=(0,),
    coordinate_transformation_mode=tuple(_COORDINATES),
    keep_aspect_ratio_policy=("stretch",),
    nearest_mode=tuple(_NEAREST),
)
def _resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: list[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    along = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    if sizes is not None and sizes.numel():
        out = integers(sizes)
        factors = [size / x.shape[axis] for size, axis in zip(out, along, strict=True)]
    elif scales is not None and scales.numel():
        factors = scales.tolist()
        out = [int(x.shape[axis] * factor) for factor, axis in zip(factors, along, strict=True)]
    else:
        raise InputError("a resize needs scales or sizes; found neither; give one of them")
    if min(out) < 1:
        raise InputError(f"a resize must give at least one element along each axis; found {out}; use larger scales")
    rounding = _NEAREST[nearest_mode]
    return _resized(
        x,
        along,
        factors,
        out,
        mode,
        coordinate_transformation_mode,
        lambda places, _: rounding(places),
        cubic_coeff_a,
        exclude_outside,
    )
