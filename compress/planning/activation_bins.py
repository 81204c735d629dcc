"""Activations that enter the products of a weight, by magnitude, and the effect of setting each bin to zero.

The effect of a threshold on the outputs follows to first order, as that of a change of weights does: it is the sum of
minus each activation below it times the derivative of the outputs by it, along the same random directions (`analysis`).
(PyTorch needed.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress.modules import ModuleLayer
from traces.arrays import Floats64, Integers64, Numbers

_LOWEST, _HIGHEST = -24, 16  # powers of 2 between which bins lie
_PER_OCTAVE_BITS = 3
_MANTISSA_BITS, _EXPONENT_BIAS = 23, 127  # of float32
_SHIFT = _MANTISSA_BITS - _PER_OCTAVE_BITS
_FIRST = (_LOWEST + _EXPONENT_BIAS) << _PER_OCTAVE_BITS
BINS = ((_HIGHEST - _LOWEST) << _PER_OCTAVE_BITS) + 3  # zeros, smaller ones, and larger ones


@dataclass(frozen=True, eq=False)
class ActivationCut:
    """Threshold of the activations that enter a product, and its effect.

    Attributes
    ----------
    threshold : float
        Activations whose magnitude is at most this count as zero; a float32.
    share : float
        Share of the activations that do.
    effects : float64 [probes]
        Change of the outputs along each probe, as of `LayerAnalysis.effects`.
    """

    threshold: float
    share: float
    effects: Floats64


@dataclass(frozen=True, eq=False)
class ActivationBins:
    """Activations that enter the products of one weight, in bins of their magnitude, eight for each power of 2.

    Attributes
    ----------
    counts : int64 [bins]
        Activations that meet a weight that is not zero: zeros first, then by ascending magnitude.
    effects : float64 [probes, bins]
        Change of the outputs along each probe if the activations of a bin become zero, as of `LayerAnalysis.effects`.
    """

    counts: Integers64
    effects: Floats64

    def cuts(self, shares: Sequence[float]) -> list[ActivationCut]:
        """Return the smallest thresholds that cut at least these shares, ascending, without those that are equal.

        The first is the threshold 0; it is the only one if no activation was seen. A share that only the largest
        activations of all would reach has no threshold.
        """
        none = ActivationCut(0.0, 0.0, np.zeros(len(self.effects)))
        total = int(self.counts.sum())
        if total == 0:
            return [none]
        reached = self.counts.cumsum() / total
        cuts = [ActivationCut(0.0, float(reached[0]), none.effects)]
        for share in sorted(shares):
            last = int(np.searchsorted(reached, share - 1e-12))
            if 0 < last < BINS - 1 and upper_end(last) > cuts[-1].threshold:
                effects = self.effects[:, 1 : last + 1].sum(axis=1)
                cuts.append(ActivationCut(upper_end(last), float(reached[last]), effects))
        return cuts


def upper_end(number: int) -> float:
    """Return the largest float32 of a bin other than the first and the last."""
    bits = np.uint32((_FIRST + number - 1) << _SHIFT)
    return float(np.nextafter(bits.view(np.float32), np.float32(0)))


def bins_of(values: torch.Tensor) -> torch.Tensor:
    """Return the bin of each value, int64 of the values' shape."""
    bits = values.detach().float().abs().contiguous().view(torch.int32)
    numbers = ((bits >> _SHIFT) - (_FIRST - 2)).clamp(1, BINS - 1)
    return torch.where(bits == 0, 0, numbers).long()


def _meeting_weights(layer: ModuleLayer, entering: torch.Tensor) -> torch.Tensor:
    """Return the values that meet a weight that is not zero; all values if the axis of the columns is not known."""
    weight = layer.weight.detach()
    if weight.dim() == 2:
        used = torch.from_numpy(np.any(layer.view, axis=0))
        found = [axis for axis in (-1, -2) if entering.dim() >= -axis and entering.shape[axis] == len(used)]
        if not found:
            return entering
        axis = found[0]
    elif layer.kind.startswith("Conv"):
        axis, (rows, channels) = 1 - weight.dim(), weight.shape[:2]
        groups = entering.shape[axis] // channels
        of_rows = (weight != 0).flatten(2).any(2)  # [rows, channels of a group]
        used = of_rows.reshape(groups, rows // groups, channels).any(1).ravel()
    else:
        return entering
    return entering if used.all() else entering.movedim(axis, 0)[used]


class BinnedInputs:
    """Collector of what enters the products of weights in one pass forward, and of the bins over all passes.

    Parameters
    ----------
    layers : sequence of ModuleLayer
        The weights.
    """

    def __init__(self, layers: Sequence[ModuleLayer]) -> None:
        self._layers = layers
        self._entered: list[tuple[int, torch.Tensor]] = []
        self._counts = [np.zeros(BINS, dtype=np.int64) for _ in layers]
        self._effects: list[list[Floats64]] = [[] for _ in layers]

    def enter(self, number: int, entering: torch.Tensor) -> torch.Tensor:
        """Return what enters a product as a tensor of its own, by which outputs are derived (`Replacement`)."""
        entered = entering.view_as(entering) if entering.requires_grad else entering.detach().requires_grad_()
        self._entered.append((number, entered))
        return entered

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Activations that entered the products in the latest pass, in order."""
        return [entered for _, entered in self._entered]

    def add(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Add a probe: the derivatives of the outputs along its directions by `tensors`; None for no derivative."""
        probe = [np.zeros(BINS) for _ in self._counts]
        for (number, entered), gradient in zip(self._entered, gradients, strict=True):
            values = entered.detach()
            places = bins_of(values).ravel()
            meeting = _meeting_weights(self._layers[number], values)
            counted = places if meeting is values else bins_of(meeting).ravel()
            self._counts[number] += np.bincount(counted.numpy(), minlength=BINS)
            if gradient is not None:
                products = (values.double() * gradient).ravel()
                probe[number] -= np.bincount(places.numpy(), products.numpy(), BINS)
        for of_unit, effects in zip(self._effects, probe, strict=True):
            of_unit.append(effects)
        self._entered.clear()

    def arrays(self) -> dict[str, Numbers]:
        """Return everything by name, as a part of a folder holds it, and begin anew; `add_part` takes it."""
        arrays: dict[str, Numbers] = {}
        for number, (counts, effects) in enumerate(zip(self._counts, self._effects, strict=True)):
            arrays |= {f"bins_{number}": counts.copy(), f"bin_effects_{number}": np.array(effects)}
            counts[:] = 0
            effects.clear()
        return arrays

    def add_part(self, arrays: Mapping[str, Numbers]) -> None:
        """Add what `arrays` returned of other passes."""
        for number in range(len(self._counts)):
            self._counts[number] += arrays[f"bins_{number}"]
            self._effects[number] += list(arrays[f"bin_effects_{number}"])

    def of(self, number: int, scale: float) -> ActivationBins:
        """Return the bins of one weight, their effects multiplied by a number."""
        effects = np.array(self._effects[number], dtype=np.float64).reshape(-1, BINS)
        return ActivationBins(self._counts[number], effects * scale)
