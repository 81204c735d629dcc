"""Analysis of a network on a few inputs: the effect of every weight on the outputs, from which plans are made.

For each input, the derivatives of the outputs along one random direction by all weights are kept. Their product with a
change of weights is the effect of that change on the outputs along that direction, to first order. The mean square over
the inputs is the expected squared change of the outputs, with the effects of layers on one another included. This is
the Gauss-Newton form under a random projection; its blocks need not be independent. Divergences of softmax outputs
cannot replace it: if the network is sure of its answers, their curvature is almost zero and does not predict changes
that are not small. (PyTorch needed.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress.modules import weight_units
from compress.planning.moments import Moments
from compress.planning.outputs import OutputReader, call, float_type
from traces import AnyInputs, InputError, Inputs
from traces.arrangement import Arrangement
from traces.arrays import Floats, Floats32, Floats64
from traces.shell.progress import progress_bar
from traces.torch_modules import evaluating

#: Parameters that are multiplied with activations by name, with the kind of each product (`weight_units`).
Products = Mapping[str, str | tuple[str, Arrangement]]

_NO_DERIVATIVE = 1e-30  # a smaller one has no effect, and no scale in 32 bits


@dataclass(frozen=True, eq=False)
class UnitAnalysis:
    """Analysis of one weight of the network.

    Attributes
    ----------
    name : str
        Of the layer.
    weights : float32 [rows, columns]
        Matrix whose rows are outputs (`WeightUnit.matrix`).
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
    directions : float32 [inputs, values]
        Random direction of the outputs that `OutputReader.vectors` gives, for each input.
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


def analyse(
    module: torch.nn.Module,
    inputs: AnyInputs,
    seed: int = 0,
    *,
    reader: OutputReader | None = None,
    leave: Sequence[str] = (),
    products: Products | None = None,
) -> Analysis:
    """Analyse a network on inputs, with one pass forward and one back for each.

    The analysis takes two bytes for each weight and input.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network, whose weights are parameters (`compress.plain_module`); it is left as it is.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        At least one input, as `traces.Inputs.of` takes them.
    seed : int
        Of the random directions.
    reader : OutputReader or None
        What of the outputs counts; by default, they are class scores.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.weight_units`).

    Returns
    -------
    Analysis
        Of all weights that can be compressed.

    Raises
    ------
    InputError
        If there are no inputs, the network does not take them, or outputs or derivatives are not finite.
    """
    inputs, reader = Inputs.of(inputs), reader or OutputReader()
    units = weight_units(module, leave=leave, products=products)[0]
    if len(inputs) == 0:
        raise InputError("an analysis needs inputs; found none")
    draw = torch.Generator().manual_seed(seed)
    moments = Moments(module, units)
    derivatives: list[list[Floats32]] = [[] for _ in units]
    directions = []
    weights = [unit.weight for unit in units]
    frozen = [weight for weight in weights if not weight.requires_grad]
    floats = float_type(module)
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with evaluating(module), moments, torch.enable_grad(), progress_bar("analysing inputs", len(inputs)) as advance:
            for single in inputs:
                vectors = reader.vectors(_finite(call(module, single, floats)))
                along = [torch.randn(each.shape, generator=draw) for each in vectors]
                if reader.scores:
                    along = [each - each.mean(dim=-1, keepdim=True) for each in along]  # softmax ignores the mean
                directions.append(np.concatenate([each.reshape(1, -1).numpy() for each in along], axis=1))
                parts = [(each * direction).sum() for each, direction in zip(vectors, along, strict=True)]
                total = torch.stack(parts).sum()
                if not total.requires_grad:
                    raise InputError("the outputs must have derivatives by the weights; found none; do not detach them")
                gradients = torch.autograd.grad(total, weights, allow_unused=True)
                for of_unit, unit, gradient in zip(derivatives, units, gradients, strict=True):
                    values = np.zeros(unit.weight.shape, np.float32) if gradient is None else gradient.numpy()
                    of_unit.append(unit.arrangement.matrix(values).ravel())
                advance()
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
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
        moment, positions = moments.of(number)
        shape = tuple(unit.weight.shape)
        analysed.append(UnitAnalysis(unit.name, unit.matrix, shape, scaled, scale, moment, positions))
    return Analysis(analysed, np.concatenate(directions))


def _finite(outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not all(bool(values.isfinite().all()) for values in outputs.values()):
        raise InputError("the network's outputs must be finite; found NaN or infinity; check its parameters and inputs")
    return outputs
