"""Choices for one layer, tried on it alone: their effect on the outputs and their costs (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compress.planning.activation_bins import ActivationCut
from compress.planning.analysis import LayerAnalysis
from compress.planning.analysis_folder import AnalysisFolder
from compress.planning.layer_compression import LayerCompressor, TriedLayer
from compress.planning.plan import Candidate, Choice
from traces import CompressedLayer, InputError
from traces.arrays import Floats64
from traces.pareto import non_dominated
from traces.plain_values import shown
from traces.shell.progress import progress_bar

#: Costs of a compressed layer on an array with gaps of this many bits, by the names of a budget's bounds.
Cost = Callable[[CompressedLayer, int], Mapping[str, float]]

DENSITIES = (1.0, 0.8, 0.65, 0.52, 0.42, 0.34, 0.27, 0.2, 0.15, 0.1, 0.06, 0.03)
WEIGHT_BITS = (2, 3, 4, 5, 6)
CUT_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_THRESHOLD_BYTES = 4  # in the file, of a layer that has one
_NO_CUT = ActivationCut(0.0, 0.0, np.zeros(1))
_FEW_LAYERS = 8  # of fewer, plans are coarse unless densities are close
_WEIGHTS_AT_ONCE = 2**23  # of several choices, whose effects are computed together


def usual_densities(layers: int) -> tuple[float, ...]:
    """Return the densities to choose from by default: `DENSITIES`, and those between them for a few layers."""
    if layers > _FEW_LAYERS:
        return DENSITIES
    between = [round(math.sqrt(a * b), 3) for a, b in itertools.pairwise(DENSITIES)]
    return tuple(sorted((*DENSITIES, *between), reverse=True))


def cut_shares(thresholds: bool | Sequence[float]) -> tuple[float, ...]:
    """Return the shares of activations to choose from: `CUT_SHARES` if True, none if False, or those given.

    Raises InputError if `thresholds` is no bool, list or tuple, or a share is not above 0 and below 1.
    """
    if isinstance(thresholds, bool | np.bool_):
        return CUT_SHARES if thresholds else ()
    given: Sequence[object] = thresholds if isinstance(thresholds, list | tuple) else [thresholds]
    numbers = (int, float, np.integer, np.floating)
    wrong = [share for share in given if not (isinstance(share, numbers) and 0 < share < 1)]
    if wrong or given is not thresholds:
        raise InputError(
            f"thresholds must be a bool, or a list of shares of the activations to cut, each above 0 and below 1; "
            f"found {shown((wrong or given)[0])}; give True to try {CUT_SHARES[0]} to {CUT_SHARES[-1]}"
        )
    return tuple(map(float, thresholds))


def tried_choices(
    compressor: LayerCompressor,
    densities: Sequence[float],
    weight_bits: Sequence[int] = WEIGHT_BITS,
    index_bits: Sequence[int] = (4,),
    cost: Cost | None = None,
    folder: AnalysisFolder | None = None,
    thresholds: Sequence[float] = (),
) -> list[list[Candidate]]:
    """Try all choices on each layer alone.

    Effects of weights and of thresholds are computed apart and added, probe by probe. Thresholds are combined with
    those choices of weights that no other one dominates.

    Parameters
    ----------
    compressor : LayerCompressor
        Compressor of the analysed network.
    densities, weight_bits : sequence of float, sequence of int
        Choices for each layer.
    index_bits : sequence of int
        Bits of a gap on the array, to choose from; without a cost function, only the first is used.
    cost : Cost or None
        Costs of a compressed layer on an array.
    folder : AnalysisFolder or None
        Folder that keeps the choices of each layer, unless the cost function has no `origin`.
    thresholds : sequence of float
        Shares of the activations to cut, of layers whose activations were analysed.

    Returns
    -------
    list of list of Candidate
        For each layer, the choices that no other choice dominates in effect and costs.
    """
    index_bits = tuple(index_bits) if cost is not None else tuple(index_bits)[:1]
    origin: dict[str, Any] = {"densities": list(densities), "weight_bits": list(weight_bits)}
    origin |= compressor.origin
    origin |= {"index_bits": list(index_bits), "cost": None if cost is None else getattr(cost, "origin", None)}
    layers = compressor.analysis.layers
    if thresholds:
        origin["thresholds"] = list(thresholds)
        origin["without_thresholds"] = [layer.name for layer in layers if layer.activations is None]
    if cost is not None and origin["cost"] is None:
        folder = None  # another cost function could not be told from this one
    tried = []
    with progress_bar("trying choices", len(layers)) as advance:
        for number in range(len(layers)):
            kept = None if folder is None else folder.choices(origin, number)
            if kept is None:
                candidates = _tried(compressor, number, densities, weight_bits, index_bits, cost, thresholds)
                if folder is not None:
                    folder.write_choices(origin, number, [dataclasses.asdict(each) for each in candidates])
            else:
                candidates = [Candidate(Choice(**each.pop("choice")), **each) for each in kept]
            tried.append(candidates)
            advance()
    return tried


def _tried(
    compressor: LayerCompressor,
    number: int,
    densities: Sequence[float],
    weight_bits: Sequence[int],
    index_bits: Sequence[int],
    cost: Cost | None,
    thresholds: Sequence[float],
) -> list[Candidate]:
    layer = compressor.analysis.layers[number]
    at_once = max(1, _WEIGHTS_AT_ONCE // layer.probes.shape[1])
    every = compressor.tried(number, densities, weight_bits)
    whole, *cuts = [_NO_CUT] if layer.activations is None else layer.activations.cuts(thresholds)
    candidates: list[Candidate] = []
    of_candidates: list[Floats64] = []
    while some := list(itertools.islice(every, at_once)):
        effects = layer.effects(np.stack([tried.weights for tried in some]))
        changes = np.square(effects).mean(axis=-1).tolist()
        for tried, of_tried, change in zip(some, effects, changes, strict=True):
            choice, in_file = Choice(tried.density, tried.weight_bits), {"file_bytes": tried.file_bytes}
            if thresholds:
                in_file["macs"] = _macs(tried, layer, whole)
            compressed = tried.layer if tried.whole or cost is None else compressor.compress(number, choice)
            for gap_bits in index_bits:
                costs = in_file if cost is None else in_file | dict(cost(compressed, gap_bits))
                candidates.append(Candidate(dataclasses.replace(choice, index_bits=gap_bits), change, costs))
                of_candidates.append(of_tried)
    optimal = _optimal(candidates)
    candidates = [candidates[place] for place in optimal]
    if not cuts:
        return candidates
    with_cuts = []
    for candidate, place in zip(candidates, optimal, strict=True):
        for cut in cuts:
            choice = dataclasses.replace(candidate.choice, activation_threshold=cut.threshold, activation_cut=cut.share)
            costs = dict(candidate.costs) | {"file_bytes": candidate.costs["file_bytes"] + _THRESHOLD_BYTES}
            costs["macs"] *= (1 - cut.share) / (1 - whole.share)
            if cost is not None:
                costs |= cost(compressor.compress(number, choice), choice.index_bits)
            change = float(np.square(of_candidates[place] + cut.effects).mean())
            with_cuts.append(Candidate(choice, change, costs))
    candidates += with_cuts
    return [candidates[place] for place in _optimal(candidates)]


def _macs(tried: TriedLayer, layer: LayerAnalysis, whole: ActivationCut) -> float:
    """Return the products per input of weights and activations that are both not zero, if they are independent."""
    weights = np.count_nonzero(tried.layer.codes) * len(layer.weights) / len(layer.rows)
    return float(weights * layer.vectors * (1 - whole.share))


def _optimal(candidates: Sequence[Candidate]) -> list[int]:
    """Return the places of the candidates that no other one dominates."""
    table = np.array([[candidate.change, *candidate.costs.values()] for candidate in candidates])
    return np.flatnonzero(non_dominated(table)).tolist()
