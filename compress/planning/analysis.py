"""Analysis of a network on a few inputs: the effect of every weight on the outputs, from which plans are made.

For each input, the derivatives of the outputs along one random direction by all weights are kept. Their product with a
change of weights is the effect of that change on the outputs along that direction, to first order. The mean square over
the inputs is the expected squared change of the outputs, with the effects of layers on one another included. This is
the Gauss-Newton form under a random projection; its blocks need not be independent. Divergences of softmax outputs
cannot replace it: if the network is sure of its answers, their curvature is almost zero and does not predict changes
that are not small. (PyTorch needed.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from compress.modules import WeightUnit, weight_units
from traces import InputError
from traces.arrays import Floats, Floats32, Floats64
from traces.shell.progress import progress_bar

_NO_DERIVATIVE = 1e-30  # a smaller one has no effect, and no scale in 32 bits


@dataclass(frozen=True, eq=False)
class UnitAnalysis:
    """Analysis of one weight of the network.

    Attributes
    ----------
    name : str
        Of the layer.
    weights : float32 [rows, columns]
        A convolution is unrolled to [out, in * kernel_height * kernel_width].
    shape : tuple of int
        Of the weights in the network.
    derivatives : float16 [inputs, rows * columns]
        Derivatives of the outputs along each input's random direction, divided by `scale`.
    scale : float
        Factor of the derivatives.
    moment : float64 [columns, columns] or None
        Mean of x x^T over the layer's input vectors x; None if the layer is no matrix product of its input (a
        recurrent cell, an embedding, attention).
    positions : int
        Number of vectors x in that mean.
    """

    name: str
    weights: Floats32
    shape: tuple[int, ...]
    derivatives: Floats
    scale: float
    moment: Floats64 | None
    positions: int

    @property
    def curvatures(self) -> Floats64:
        """Expected squared change of the outputs per squared change of a weight, [rows, columns]."""
        squares = np.square(self.derivatives, dtype=np.float32).mean(axis=0, dtype=np.float64)
        curvatures: Floats64 = squares.reshape(self.weights.shape) * self.scale**2
        return curvatures

    def effects(self, weights: Floats) -> Floats64:
        """Return the change of the outputs along each input's direction if the weights become these, [..., inputs].

        Parameters
        ----------
        weights : float [..., rows, columns]
            New weights, or several sets of them.
        """
        changes = (weights - self.weights).astype(np.float32)
        flat = changes.reshape(-1, self.weights.size)
        parts = [flat @ part.astype(np.float32).T for part in np.array_split(self.derivatives, 16)]
        effects = np.concatenate(parts, axis=1).astype(np.float64) * self.scale
        return effects.reshape(*changes.shape[:-2], len(self.derivatives))


@dataclass(frozen=True, eq=False)
class Analysis:
    """Analysis of all weights of a network.

    Attributes
    ----------
    units : list of UnitAnalysis
        One for each weight.
    directions : float32 [inputs, ...]
        Random direction of the outputs, for each input.
    """

    units: list[UnitAnalysis]
    directions: Floats32

    def predicted_change(self, weights: Mapping[str, Floats]) -> float:
        """Return the expected squared change of the outputs if layers, by name, have these weights [rows, columns]."""
        known = {unit.name: unit for unit in self.units}
        unknown = sorted(set(weights) - set(known))
        if unknown:
            raise InputError(f"the network has no layers {', '.join(unknown)}; it has {', '.join(known)}")
        effects = sum((known[name].effects(values) for name, values in weights.items()), np.zeros(len(self.directions)))
        return float(np.square(effects).mean())


def analyse(module: torch.nn.Module, inputs: Floats, seed: int = 0) -> Analysis:
    """Analyse a network on inputs, with one pass forward and one back for each.

    The analysis takes two bytes for each weight and input.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is left as it is.
    inputs : array [inputs, ...]
        At least one input.
    seed : int
        Of the random directions.

    Returns
    -------
    Analysis
        Of all weights that can be compressed.

    Raises
    ------
    InputError
        If there are no inputs, the network does not give one tensor, or outputs or derivatives are not finite.
    """
    units = weight_units(module)[0]
    if len(inputs) == 0:
        raise InputError("an analysis needs inputs; found none")
    draw = torch.Generator().manual_seed(seed)
    moments = _Moments(units)
    derivatives: list[list[Floats32]] = [[] for _ in units]
    directions = []
    was_training = module.training
    weights = [unit.weight for unit in units]
    frozen = [weight for weight in weights if not weight.requires_grad]
    module.eval()
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with moments, progress_bar("analysing inputs", len(inputs)) as advance:
            for single in inputs:
                outputs = _checked(module(torch.as_tensor(single)[None]))
                direction = torch.randn(outputs.shape, generator=draw)
                direction -= direction.mean(dim=-1, keepdim=True)  # softmax ignores the mean
                directions.append(direction.numpy())
                gradients = torch.autograd.grad((outputs * direction).sum(), weights, allow_unused=True)
                for of_unit, gradient, weight in zip(derivatives, gradients, weights, strict=True):
                    of_unit.append((torch.zeros_like(weight) if gradient is None else gradient).numpy().ravel())
                advance()
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        module.train(was_training)
    analysed = []
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
        analysed.append(UnitAnalysis(unit.name, matrix, values.shape, scaled, scale, moment, positions))
    return Analysis(analysed, np.concatenate(directions))


def centred(outputs: Floats) -> Floats:
    """Return outputs without their mean over the last axis, which softmax ignores."""
    differences: Floats = outputs - outputs.mean(axis=-1, keepdims=True)
    return differences


def _checked(outputs: object) -> torch.Tensor:
    if not isinstance(outputs, torch.Tensor):
        raise InputError(
            f"the network must give one tensor; found {type(outputs).__name__}; wrap it in a module that does"
        )
    if not bool(outputs.isfinite().all()):
        raise InputError("the network's outputs must be finite; found NaN or infinity; check its parameters and inputs")
    return outputs


class _Moments:
    """Collector of the mean x x^T of matrix products' inputs, while the network runs."""

    def __init__(self, units: list[WeightUnit]) -> None:
        self.sums: list[Floats64 | None] = [None] * len(units)
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
            vectors = _input_vectors(part, arguments[0].detach()).double()
            moment = (vectors.T @ vectors).numpy()
            before = self.sums[number]
            self.sums[number] = moment if before is None else before + moment
            self.positions[number] += len(vectors)

        return add

    def of(self, number: int) -> tuple[Floats64 | None, int]:
        total, positions = self.sums[number], self.positions[number]
        return (None if total is None else total / positions), positions


def _input_vectors(part: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the vectors that the weight matrix is multiplied with, [positions, columns]."""
    if not isinstance(part, torch.nn.Conv2d):
        return inputs.reshape(-1, inputs.shape[-1])
    if isinstance(part.padding, str):
        raise InputError(f"a convolution's padding must be numbers; found {part.padding!r}; give it in numbers")
    patches = torch.nn.functional.unfold(inputs, part.kernel_size, part.dilation, part.padding, part.stride)
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])
