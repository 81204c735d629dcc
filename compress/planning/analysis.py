"""What a few inputs say of every weight of a network: the analysis that plans are made from (PyTorch needed).

For each input, the derivative of the outputs along one random direction is kept, for all weights at once. Its product
with any change of weights is that change's effect on the outputs, to first order, along that direction; the mean square
over the inputs is the expected squared change of the outputs, effects of several layers on one another included. This
is the Gauss-Newton form, seen through a random projection, with nothing assumed of its blocks. Divergences of softmax
outputs are no such measure: where the network is sure of itself, their curvature is almost zero, and says nothing of
changes that are not small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.modules import WeightUnit, weight_units
from traces import InputError
from traces.shell.progress import progress_bar

Floats = npt.NDArray[Any]
_NO_DERIVATIVE = 1e-30  # one that is smaller has no effect, and no scale in 32 bits


@dataclass(frozen=True, eq=False)
class UnitAnalysis:
    """One weight of the network.

    name          of the layer
    weights       float32 [rows, columns]; a convolution's unrolled, [out, in * kernel_height * kernel_width]
    shape         of the weights in the network
    derivatives   float16 [inputs, rows * columns]: of the outputs along each input's random direction, over `scale`
    scale         what the derivatives are to be multiplied by
    moment        float64 [columns, columns]: mean of x x^T over what the layer sees; None where it is not a matrix
                  product of its input (a recurrent cell, an embedding, attention)
    positions     how many x that mean is over
    """

    name: str
    weights: npt.NDArray[np.float32]
    shape: tuple[int, ...]
    derivatives: npt.NDArray[np.float16]
    scale: float
    moment: npt.NDArray[np.float64] | None
    positions: int

    @property
    def curvatures(self) -> npt.NDArray[np.float64]:
        """[rows, columns]: the expected squared change of the outputs is curvature times squared change of a weight."""
        squares = np.square(self.derivatives, dtype=np.float32).mean(axis=0, dtype=np.float64)
        found: npt.NDArray[np.float64] = squares.reshape(self.weights.shape) * self.scale**2
        return found

    def effects(self, weights: Floats) -> npt.NDArray[np.float64]:
        """[..., inputs]: change of the outputs along each input's direction if the weights become these.

        weights   [rows, columns], or several such
        """
        changes = (weights - self.weights).astype(np.float32)
        flat = changes.reshape(-1, self.weights.size)
        parts = [flat @ part.astype(np.float32).T for part in np.array_split(self.derivatives, 16)]
        found = np.concatenate(parts, axis=1).astype(np.float64) * self.scale
        return found.reshape(*changes.shape[:-2], len(self.derivatives))


@dataclass(frozen=True, eq=False)
class Analysis:
    """All weights of a network, and the directions [inputs, ...] in which its outputs were looked at."""

    units: list[UnitAnalysis]
    directions: npt.NDArray[np.float32]

    def predicted_change(self, weights: Mapping[str, Floats]) -> float:
        """Expected squared change of the outputs if these layers' weights, by name, become [rows, columns]."""
        known = {unit.name: unit for unit in self.units}
        unknown = sorted(set(weights) - set(known))
        if unknown:
            raise InputError(f"the network has no layers {', '.join(unknown)}; it has {', '.join(known)}")
        effects = sum((known[name].effects(values) for name, values in weights.items()), np.zeros(len(self.directions)))
        return float(np.square(effects).mean())


def analyse(module: torch.nn.Module, inputs: Floats, seed: int = 0) -> Analysis:
    """Analyse a network on inputs [inputs, ...]: one pass forward and one back for each.

    Takes two bytes for each weight and input. Raises InputError if there are no inputs, or the network gives no tensor,
    or outputs or their derivatives are not finite.
    """
    units = weight_units(module)[0]
    if len(inputs) == 0:
        raise InputError("an analysis needs inputs; found none")
    draw = torch.Generator().manual_seed(seed)
    moments = _Moments(units)
    derivatives: list[list[npt.NDArray[np.float32]]] = [[] for _ in units]
    directions = []
    was_training = module.training
    weights = [unit.weight for unit in units]
    frozen = [weight for weight in weights if not weight.requires_grad]
    module.eval()
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with moments, progress_bar("analysing inputs", len(inputs)) as advance:
            for each in inputs:
                found = _checked(module(torch.as_tensor(each)[None]))
                direction = torch.randn(found.shape, generator=draw)
                direction -= direction.mean(dim=-1, keepdim=True)  # what softmax does not see
                directions.append(direction.numpy())
                gradients = torch.autograd.grad((found * direction).sum(), weights, allow_unused=True)
                for kept, gradient, weight in zip(derivatives, gradients, weights, strict=True):
                    kept.append((torch.zeros_like(weight) if gradient is None else gradient).numpy().ravel())
                advance()
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        module.train(was_training)
    found_units = []
    for number, unit in enumerate(units):
        largest = float(np.max([np.abs(each).max() for each in derivatives[number]]))
        if not np.isfinite(largest):
            raise InputError(
                f"the outputs' derivatives must be finite; found NaN or infinity in those by the weights of "
                f"{unit.name}; look for roots, norms and quotients of 0 behind it"
            )
        scale = largest / 1e4 if largest > _NO_DERIVATIVE else 1.0
        scaled = np.stack([(each / scale).astype(np.float16) for each in derivatives[number]])
        derivatives[number] = []
        values = unit.weight.detach().numpy().copy()
        matrix = values.reshape(len(values), -1)
        moment, positions = moments.of(number)
        found_units.append(UnitAnalysis(unit.name, matrix, values.shape, scaled, scale, moment, positions))
    return Analysis(found_units, np.concatenate(directions))


def centred(outputs: Floats) -> Floats:
    """Outputs without what softmax does not see: the mean over the last axis."""
    found: Floats = outputs - outputs.mean(axis=-1, keepdims=True)
    return found


def _checked(found: object) -> torch.Tensor:
    if not isinstance(found, torch.Tensor):
        raise InputError(
            f"the network must give one tensor; found {type(found).__name__}; wrap it in a module that does"
        )
    if not bool(found.isfinite().all()):
        raise InputError("the network's outputs must be finite; found NaN or infinity; check its parameters and inputs")
    return found


class _Moments:
    """Collects mean x x^T of what matrix products see, while the network runs."""

    def __init__(self, units: list[WeightUnit]) -> None:
        self.sums: list[npt.NDArray[np.float64] | None] = [None] * len(units)
        self.positions = [0] * len(units)
        self._owners = [(number, owner) for number, unit in enumerate(units) for owner, _ in unit.owners]
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        for number, owner in self._owners:
            if isinstance(owner, torch.nn.Linear) or (isinstance(owner, torch.nn.Conv2d) and owner.groups == 1):
                self._hooks.append(owner.register_forward_pre_hook(self._hook(number)))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, number: int) -> Any:
        def add(part: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            seen = _seen(part, arguments[0].detach()).double()
            moment = (seen.T @ seen).numpy()
            before = self.sums[number]
            self.sums[number] = moment if before is None else before + moment
            self.positions[number] += len(seen)

        return add

    def of(self, number: int) -> tuple[npt.NDArray[np.float64] | None, int]:
        total, positions = self.sums[number], self.positions[number]
        return (None if total is None else total / positions), positions


def _seen(part: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What the rows of the weight matrix are multiplied with: [positions, columns]."""
    if not isinstance(part, torch.nn.Conv2d):
        return inputs.reshape(-1, inputs.shape[-1])
    if isinstance(part.padding, str):
        raise InputError("padding by name is not analysed; give the convolution its padding in numbers")
    patches = torch.nn.functional.unfold(inputs, part.kernel_size, part.dilation, part.padding, part.stride)
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])
