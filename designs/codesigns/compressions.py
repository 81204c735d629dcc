"""How far each layer of a network is compressed, from a few parameters or from one for each layer (PyTorch needed).

A few parameters say what matters; the choices of all layers follow from the cached analysis, as those of a plan do
(`compress.planning.planner`): the least of a weighed sum of bytes in the file and of work on an array, the predicted change of
the outputs being within a limit, and no layer's entries above another one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.class_scores import check_labels
from compress.planning.knapsack import choose
from compress.planning.layer_compression import layer_file_bytes
from compress.planning.outputs import num_classes, run_batches
from compress.planning.plan import Candidate, Choice, Tolerance
from compress.planning.planner import DENSITIES, WEIGHT_BITS, make_planner
from designs.codesigns.entering_vectors import EnteringVectors, entering_vectors
from designs.codesigns.network_costs import ChosenLayer
from traces import CompressedLayer, InputError
from traces.shell.progress import progress_bar

LIMITS, WORK_WEIGHTS, LARGEST_LAYERS = 32, 9, 12  # steps of the three parameters
_SEEN_INPUTS, _SEEN_VECTORS = 8, 24  # what a layer is simulated on: positions of a convolution, evenly spaced
_CALIBRATED = 6  # plans
_STEPS_OF_ENTRIES = 64
_TRIED_ALONE = 6  # choices of each layer
_LEAST_LOSS = 0.02  # of the most, by which the finest plans differ
_FEW_ANSWERS = 5  # of the pool, that weigh against what plans were measured to lose
_KEPT_CODES = 2**28
Floats = npt.NDArray[np.float64]
_CHANGE = Tolerance(divergence=1.0)
_DROP = Tolerance(accuracy_drop=1.0)


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network, and what it is compressed and judged on.

    module      the network; it is left as it is
    pool        inputs [inputs, ...]: the first 256 are analysed, all are measured
    labels      of the pool, if there are any, whole numbers [inputs], the places of the right outputs: without them,
                accuracy lost is the share of answers that change
    evaluation, evaluation_labels   what a front is verified on; the pool, if nothing is said
    test, test_labels               what accuracy is reported on besides; nothing is chosen by it
    densities, weight_bits          what is tried for each layer

    Raises InputError if labels are not whole numbers, one for each input, or one evaluation array comes without the
    other.
    """

    name: str
    module: torch.nn.Module
    pool: npt.NDArray[np.float32]
    labels: npt.NDArray[Any] | None = None
    evaluation: npt.NDArray[np.float32] | None = None
    evaluation_labels: npt.NDArray[Any] | None = None
    test: npt.NDArray[np.float32] | None = None
    test_labels: npt.NDArray[Any] | None = None
    densities: Sequence[float] = DENSITIES
    weight_bits: Sequence[int] = WEIGHT_BITS

    def __post_init__(self) -> None:
        self.check_labels()
        if self.test is not None and self.test_labels is None:
            raise InputError("accuracy on the test images needs their labels; give test_labels")
        if self.evaluation is not None and self.labels is not None and self.evaluation_labels is None:
            raise InputError("the pool has labels, so the evaluation needs its own; give evaluation_labels")

    def check_labels(self, classes: int | None = None) -> None:
        """Raise InputError unless all labels are whole numbers, one for each input, and below `classes`, if known."""
        for what, inputs, labels in (
            ("pool", self.pool, self.labels),
            ("evaluation", self.evaluation, self.evaluation_labels),
            ("test", self.test, self.test_labels),
        ):
            if labels is not None and inputs is None:
                raise InputError(f"{what}: there must be inputs for the labels; found none for {len(labels):,} labels")
            if labels is not None and inputs is not None:
                check_labels(what, labels, len(inputs), classes)

    @property
    def judged_on(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any] | None]:
        """Inputs that designs are verified on, and their labels."""
        return (self.pool, self.labels) if self.evaluation is None else (self.evaluation, self.evaluation_labels)


@dataclass(frozen=True, eq=False)
class Compressed:
    """Choices for all layers, and what is predicted of them.

    change, accuracy_loss   of the outputs, as predicted; file_bytes: as the file will have them
    """

    choices: Mapping[str, Choice]
    change: float
    accuracy_loss: float
    file_bytes: float


class CompressionChoices:
    """What one analysis of a network says of every choice for its layers.

    most_loss   the largest loss of accuracy that the limits on the change of the outputs go up to
    """

    def __init__(self, network: TrainedNetwork, most_loss: float = 0.1, seed: int = 0) -> None:
        self.network = network
        layers = [name for name, part in network.module.named_modules() if _has_matrix(part)]
        seen = network.pool[:_SEEN_INPUTS]
        self.entering = entering_vectors(network.module, seen, layers, _SEEN_VECTORS)
        network.check_labels(num_classes(network.module, network.pool))
        self.planner = make_planner(
            network.module,
            network.pool,
            network.labels,
            cost=lambda layer, _: self._work(layer),
            densities=network.densities,
            weight_bits=network.weight_bits,
            seed=seed,
        )
        self.names = tuple(unit.name for unit in self.planner.units)
        self._candidates = self._calibrated_candidates(most_loss)
        self._by_choice = {
            (name, each.choice.density, each.choice.weight_bits): each
            for name, of_layer in zip(self.names, self._candidates, strict=True)
            for each in of_layer
        }
        self._planned: dict[tuple[int, int, int, int], dict[str, Candidate]] = {}
        self._layers: OrderedDict[tuple[str, float, int], CompressedLayer] = OrderedDict()
        self._narrowest, self._widest = min(network.weight_bits), max(network.weight_bits)
        self._least_entries, self._most_entries = self._entries_range()
        least = sum(min(each.change for each in of_layer) for of_layer in self._candidates)
        most = self.planner.change_of(_DROP, min(0.5, 2 * most_loss))  # plans may lose less than the analysis says
        tried = np.geomspace(max(least, most / 1e5), max(most, 2 * least), _CALIBRATED)
        self._changes, self._losses = self._loss_by_change(float(tried[0]) / 100, float(tried[-1]) * 1000)
        self._predicted, self._corrections, self._loss_share = self._measured(tried)
        self._limits = self._limits_within(float(tried[0]), float(tried[-1]), most_loss)

    def planned(self, limit: int, work_weight: int, largest_layer: int, weight_bits: int) -> dict[str, Choice]:
        """The choices that a few parameters say.

        limit          on the predicted change of the outputs, 0 to LIMITS - 1: from where it hardly costs accuracy on
        work_weight    what work counts against bytes, 0 (nothing) to WORK_WEIGHTS - 1 (alone)
        largest_layer  how many entries the largest layer may have, 0 (as few as the limit allows) to LARGEST_LAYERS - 1
                       (as many as it likes)
        weight_bits    of the array: no code is wider

        Where no choices keep the limits, those that change the outputs least.
        """
        bits = max(weight_bits, self._narrowest)
        key = (limit, work_weight, largest_layer, bits)
        if key not in self._planned:
            self._planned[key] = self._plan(float(self._limits[limit]), *key[1:])
        return {name: each.choice for name, each in self._planned[key].items()}

    def compressed(self, choices: Mapping[str, Choice]) -> Compressed:
        """What is predicted of these choices."""
        chosen = [self.candidate(name, choices[name]) for name in self.names]
        change = sum(each.change for each in chosen)
        file_bytes = sum(each.costs["file_bytes"] for each in chosen) + self.planner.other_bytes
        return Compressed(dict(choices), change, self.accuracy_loss(change), file_bytes)

    def accuracy_loss(self, change: float) -> float:
        """Predicted from the expected squared change of the outputs; both as a few measurements corrected them."""
        place = math.log(max(change, 1e-300))
        corrected = place + float(np.interp(place, self._predicted, self._corrections))
        return self._loss_share * float(np.interp(corrected, self._changes, self._losses))

    def layers(self, choices: Mapping[str, Choice]) -> dict[str, ChosenLayer]:
        """The compressed layers of these choices, in order."""
        return {
            name: ChosenLayer(self._layer(name, choices[name]), (choices[name].density, choices[name].weight_bits))
            for name in self.names
        }

    def _work(self, layer: CompressedLayer) -> dict[str, float]:
        """What a compressed layer is, whatever the array."""
        entering: EnteringVectors = self.entering[layer.name]
        kept = layer.codes != 0
        return {
            "macs": float(kept.sum(axis=0) @ entering.activity) * entering.per_input,
            "entries": float(kept.sum()),
            "code_bits": float(layer.weight_bits),
        }

    def _calibrated_candidates(self, most_loss: float) -> list[list[Candidate]]:
        """All choices for each layer; a few runs of each layer alone correct their predicted changes of the outputs."""
        planner = self.planner
        seen = planner.change_of(_DROP, most_loss) / 100  # below that, a layer alone hardly shows
        ways = [
            np.geomspace(seen, max(seen, *(each.change for each in of_layer)), _TRIED_ALONE)
            for of_layer in planner.candidates
        ]
        for step in range(_TRIED_ALONE):
            planner.calibrate(
                [_nearest(of_layer, float(way[step])) for of_layer, way in zip(planner.candidates, ways, strict=True)]
            )
        found = []
        for number, of_layer in enumerate(planner.candidates):
            changes = planner.calibrated(number, np.array([each.change for each in of_layer]))
            found.append([replace(each, change=float(change)) for each, change in zip(of_layer, changes, strict=True)])
        return found

    def _entries_range(self) -> tuple[float, float]:
        """Entries of the largest layer: as few, and as many, as there can be."""
        of_layers = [[each.costs["entries"] for each in of_layer] for of_layer in self._candidates]
        fewest = max(1.0, *(min(of_layer) for of_layer in of_layers))  # 1: there is no share of nothing
        return fewest, max(fewest, *(max(of_layer) for of_layer in of_layers))

    def _plan(self, limit: float, work_weight: int, largest_layer: int, weight_bits: int) -> dict[str, Candidate]:
        narrow = [
            [each for each in of_layer if each.choice.weight_bits <= weight_bits] for of_layer in self._candidates
        ]
        fewest = self._fewest_entries(narrow, limit)
        most_entries = fewest * (self._most_entries / fewest) ** (largest_layer / (LARGEST_LAYERS - 1))
        allowed = [_small(of_layer, most_entries) for of_layer in narrow]
        weight = work_weight / (WORK_WEIGHTS - 1)
        totals = {
            name: sum(max(each.costs[name] for each in of_layer) for of_layer in self._candidates) or 1.0
            for name in ("file_bytes", "macs")
        }
        objective = [
            np.array(
                [
                    (1 - weight) * each.costs["file_bytes"] / totals["file_bytes"]
                    + weight * each.costs["macs"] / totals["macs"]
                    for each in of_layer
                ]
            )
            for of_layer in allowed
        ]
        changes = [np.array([each.change for each in of_layer]) for of_layer in allowed]
        found = choose(objective, {"change": (changes, limit)})
        places = [int(each.argmin()) for each in changes] if found is None else found
        return {name: of_layer[at] for name, of_layer, at in zip(self.names, allowed, places, strict=True)}

    def _fewest_entries(self, candidates: Sequence[Sequence[Candidate]], limit: float) -> float:
        """As few entries as the largest layer can have within a limit on the change of the outputs."""
        for entries in np.geomspace(self._least_entries, self._most_entries, _STEPS_OF_ENTRIES):
            change = sum(min(each.change for each in _small(of_layer, entries)) for of_layer in candidates)
            if change <= limit:
                return float(entries)
        return self._most_entries

    def candidate(self, name: str, choice: Choice) -> Candidate:
        """What is predicted of one choice for one layer, were it compressed alone."""
        key = (name, choice.density, choice.weight_bits)
        if key not in self._by_choice:
            layer = self._layer(name, choice)
            alone = np.array([self.planner.analysis.predicted_change({name: layer.weights()})])
            change = float(self.planner.calibrated(self.names.index(name), alone)[0])
            self._by_choice[key] = Candidate(
                choice, change, {"file_bytes": layer_file_bytes(layer)} | self._work(layer)
            )
        return self._by_choice[key]

    def _layer(self, name: str, choice: Choice) -> CompressedLayer:
        key = (name, choice.density, choice.weight_bits)
        if key not in self._layers:
            self._layers[key] = self.planner.layer(name, choice)
            while len(self._layers) > len(self.names) and self._codes_bytes() > _KEPT_CODES:
                self._layers.popitem(last=False)
        self._layers.move_to_end(key)
        return self._layers[key]

    def _codes_bytes(self) -> int:
        return sum(each.codes.nbytes for each in self._layers.values())

    def _loss_by_change(self, least: float, most: float) -> tuple[Floats, Floats]:
        """Logarithms of changes of the outputs, and the accuracy that each is expected to lose: never less for more."""
        changes = np.geomspace(least, most, 64)
        losses = [self.planner.expected(_DROP, float(change)) for change in changes]
        return np.log(changes), np.maximum.accumulate(np.maximum(losses, 0.0))

    def _measured(self, limits: Floats) -> tuple[Floats, Floats, float]:
        """Measure a plan for each of these limits on the predicted change of the outputs.

        Logarithms of the predicted changes, in order, and of what the change of the outputs is to each; it is
        interpolated between them. And, for all of them together, what is lost of the accuracy to what a random change
        of that size loses: compression does not change outputs at random, it makes a network less sure first.
        """
        planner, found = self.planner, []
        lost = expected = _FEW_ANSWERS / len(planner.pool)
        with progress_bar("measuring plans", len(limits)) as advance:
            for limit in limits:
                plan = self._plan(float(limit), WORK_WEIGHTS // 2, LARGEST_LAYERS - 1, self._widest)
                choices = {name: each.choice for name, each in plan.items()}
                outputs = run_batches(planner.changed(planner.compress(self.network.module, choices)), planner.pool)
                change = planner.change_of(_CHANGE, _CHANGE.measure(planner.outputs, outputs, None))
                predicted = math.log(max(sum(each.change for each in plan.values()), 1e-300))
                found.append((predicted, math.log(change) - predicted))
                lost += max(0.0, _DROP.measure(planner.outputs, outputs, planner.labels))
                expected += float(np.interp(math.log(change), self._changes, self._losses))
                advance()
        places, corrections = np.array(sorted(found)).T
        return places, corrections, lost / expected

    def _limits_within(self, least: float, most: float, most_loss: float) -> Floats:
        """Limits on the predicted change: from where it loses a fiftieth of `most_loss` to where it loses that."""
        changes = np.geomspace(least, most, 512)
        losses = np.array([self.accuracy_loss(float(change)) for change in changes])
        within = changes[(losses >= _LEAST_LOSS * most_loss) & (losses <= most_loss)]
        first, last = (float(within[0]), float(within[-1])) if len(within) else (least, most)
        return np.asarray(np.geomspace(first, last, LIMITS), dtype=np.float64)


def _small(of_layer: Sequence[Candidate], most_entries: float) -> list[Candidate]:
    """The choices for a layer that have no more entries; if there is none, the one that has fewest."""
    found = [each for each in of_layer if each.costs["entries"] <= most_entries * (1 + 1e-9)]
    return found or [min(of_layer, key=lambda each: each.costs["entries"])]


def _nearest(of_layer: Sequence[Candidate], change: float) -> Candidate:
    """The choice for a layer whose predicted change of the outputs is nearest to this one."""
    return min(of_layer, key=lambda each: abs(math.log(max(each.change, 1e-30) / change)))


def _has_matrix(part: torch.nn.Module) -> bool:
    return isinstance(part, torch.nn.Linear | torch.nn.Conv2d | torch.nn.Conv1d | torch.nn.RNNBase)
