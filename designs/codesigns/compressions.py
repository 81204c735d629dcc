"""Compression of all layers of a network, from three parameters or from one choice per layer (PyTorch needed).

The choices of all layers follow from three parameters and one analysis, as in a plan (`compress.planning.planner`). The
choices minimise a weighted sum of bytes in the file and work (multiply-accumulates) on an array. One parameter is the
weight of work in this sum. The two others limit the predicted change of the outputs and the entries of each layer.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from compress.modules import module_layers, plain_module
from compress.planning.analysis_folder import digest_of_arrays
from compress.planning.knapsack import choose
from compress.planning.layer_compression import layer_file_bytes
from compress.planning.losses import AUTO, Loss, LossFunction
from compress.planning.outputs import run_outputs
from compress.planning.plan import Candidate, Choice, Tolerance
from compress.planning.planner import Planner
from compress.planning.preparation import make_planner
from designs.codesigns.arithmetic import NetworkArithmetic
from designs.codesigns.array_cost import RECORDED_INPUTS, ArrayCost, ChosenLayer
from designs.codesigns.layer_counts import LayerCountsStore
from designs.codesigns.loss_prediction import LossPrediction
from designs.codesigns.trained_network import TrainedNetwork
from designs.network_outputs import loss_between
from designs.sweeps.recorded import LARGEST_ERROR
from sim.config import Precision
from traces import CompressedLayer, InputError, Inputs
from traces.arrays import Floats, Floats64
from traces.shell.progress import progress_bar

COUNTS_FOLDER = "counts"
"""Folder of the counts of layers, in that of the analysis."""
LIMITS, WORK_WEIGHTS, LARGEST_LAYERS = 32, 9, 12
"""Number of steps of the three parameters."""
MEASURED_INPUTS = 256
"""Most inputs of the pool, besides those that were analysed, that plans are measured on in fixed point."""
_JUDGED_INPUTS = 256  # whose outputs decide what is measured
_CALIBRATED_PLANS = 10
_STEPS_OF_ENTRIES = 64
_TRIED_ALONE = 6  # choices of each layer
_LEAST_LOSS = 0.02  # share of the largest loss that the smallest limit gives
_FEW_ANSWERS = 5  # added to measured and expected losses, so that their ratio is damped
_SMALL_LOSS = 1e-3  # likewise, for losses that are no shares of answers
_KEPT_CODES_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class LayerOptions:
    """All choices for each layer, with their calibrated change of the outputs.

    Attributes
    ----------
    names : tuple of str
        Names of the layers.
    candidates : list of list of Candidate [layers][choices]
        The choices for each layer.
    """

    names: tuple[str, ...]
    candidates: list[list[Candidate]]

    def plan(self, limit: float, work_weight: int, largest_layer: int, weight_bits: int) -> dict[str, Candidate]:
        """Return one choice per layer, as `CompressionAnalysis.planned` does; `limit` is the value of the limit."""
        narrow = [[each for each in of_layer if each.choice.weight_bits <= weight_bits] for of_layer in self.candidates]
        fewest = self._fewest_entries(narrow, limit)
        most_entries = fewest * (self._entries_range[1] / fewest) ** (largest_layer / (LARGEST_LAYERS - 1))
        allowed = [_small(of_layer, most_entries) for of_layer in narrow]
        weight = work_weight / (WORK_WEIGHTS - 1)
        objective = [
            np.array(
                [
                    (1 - weight) * each.costs["file_bytes"] / self._totals["file_bytes"]
                    + weight * each.costs["macs"] / self._totals["macs"]
                    for each in of_layer
                ]
            )
            for of_layer in allowed
        ]
        changes = [np.array([each.change for each in of_layer]) for of_layer in allowed]
        chosen = choose(objective, {"change": (changes, limit)})
        places = [int(each.argmin()) for each in changes] if chosen is None else chosen
        return {name: of_layer[at] for name, of_layer, at in zip(self.names, allowed, places, strict=True)}

    @cached_property
    def _totals(self) -> dict[str, float]:
        """Largest bytes and multiply-accumulates of all layers together."""
        return {
            name: sum(max(each.costs[name] for each in of_layer) for of_layer in self.candidates) or 1.0
            for name in ("file_bytes", "macs")
        }

    @cached_property
    def _entries_range(self) -> tuple[float, float]:
        """Fewest and most entries that the largest layer can have."""
        of_layers = [[each.costs["entries"] for each in of_layer] for of_layer in self.candidates]
        fewest = max(1.0, *(min(of_layer) for of_layer in of_layers))  # 1, because it becomes a divisor
        return fewest, max(fewest, *(max(of_layer) for of_layer in of_layers))

    def _fewest_entries(self, candidates: Sequence[Sequence[Candidate]], limit: float) -> float:
        """Return the fewest entries of the largest layer within a limit on the change of the outputs."""
        least, most = self._entries_range
        for entries in np.geomspace(least, most, _STEPS_OF_ENTRIES):
            change = sum(min(each.change for each in _small(of_layer, entries)) for of_layer in candidates)
            if change <= limit:
                return float(entries)
        return most


@dataclass(frozen=True, eq=False)
class PredictedCompression:
    """One choice per layer, and its predictions.

    Attributes
    ----------
    choices : mapping of str to Choice
        The choice of each layer by name.
    change : float
        Expected squared change of the outputs.
    loss : float
        Predicted loss: of accuracy, of unchanged answers, or the error of the outputs.
    loss_interval : (float, float)
        Least and largest loss to be expected (`LossPrediction.interval`).
    file_bytes : float
        Bytes of the container.
    """

    choices: Mapping[str, Choice]
    change: float
    loss: float
    loss_interval: tuple[float, float]
    file_bytes: float


@dataclass(frozen=True, eq=False)
class CompressionAnalysis:
    """Analysis of a network that predicts the effect of any choice for its layers; made by `analyse_compression`.

    Attributes
    ----------
    network : TrainedNetwork
        The network.
    planner : Planner
        Planner that compresses the layers.
    loss : Loss
        What is lost.
    array_cost : ArrayCost
        Costs of compressed layers on arrays.
    options : LayerOptions
        Choices for each layer, as analysed.
    loss_predictions : mapping of str to LossPrediction
        Prediction of the loss in the arithmetic of each precision that was measured; "float" is always there.
    arithmetic : NetworkArithmetic
        Arithmetic of arrays in fixed point, for compressions of the network.
    limits : array [LIMITS]
        Limits on the predicted change of the outputs, increasing.
    """

    network: TrainedNetwork
    planner: Planner
    loss: Loss
    array_cost: ArrayCost
    options: LayerOptions
    loss_predictions: Mapping[Precision, LossPrediction]
    arithmetic: NetworkArithmetic
    limits: Floats64
    _planned: dict[tuple[int, int, int, int], dict[str, Choice]] = field(default_factory=dict, init=False, repr=False)
    _candidates: dict[tuple[str, Choice], Candidate] = field(default_factory=dict, init=False, repr=False)
    _layers: OrderedDict[tuple[str, Choice], CompressedLayer] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        for name, of_layer in zip(self.names, self.options.candidates, strict=True):
            self._candidates.update({(name, each.choice): each for each in of_layer})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return self.options.names

    def planned(self, limit: int, work_weight: int, largest_layer: int, weight_bits: int) -> dict[str, Choice]:
        """Return the choices of all layers for these planner parameters.

        Parameters
        ----------
        limit : int
            Step of the limit on the predicted change of the outputs, 0 (hardly any loss) to LIMITS - 1.
        work_weight : int
            Weight of work against bytes, 0 (bytes alone) to WORK_WEIGHTS - 1 (work alone).
        largest_layer : int
            Step of the limit on the entries of each layer, 0 (fewest possible) to LARGEST_LAYERS - 1 (no limit).
        weight_bits : int
            Width of a code on the array; no layer has wider codes.

        Returns
        -------
        dict of str to Choice
            The choices. If no choices keep the limits, those that change the outputs least.
        """
        bits = max(weight_bits, min(self.network.weight_bits))
        key = (limit, work_weight, largest_layer, bits)
        if key not in self._planned:
            plan = self.options.plan(float(self.limits[limit]), *key[1:])
            self._planned[key] = {name: each.choice for name, each in plan.items()}
        return dict(self._planned[key])

    def check_precision(self, precision: Precision) -> None:
        """Raise InputError if nothing was measured in the arithmetic of this precision."""
        if precision not in self.loss_predictions:
            raise InputError(
                f"precision must be one in which plans of {self.network.name} were measured, "
                f"{', '.join(self.loss_predictions)}; found {precision!r}, whose loss is unknown; analyse the network "
                f"with precisions=({precision!r},)"
            )

    def predict(self, choices: Mapping[str, Choice], precision: Precision = "float") -> PredictedCompression:
        """Return the predictions for these choices, one per layer.

        Parameters
        ----------
        choices : mapping of str to Choice
            The choices.
        precision : str
            Arithmetic of the array, on which the loss depends.

        Raises
        ------
        InputError
            If nothing was measured in this arithmetic.
        """
        self.check_precision(precision)
        chosen = [self.candidate(name, choices[name]) for name in self.names]
        change = sum(each.change for each in chosen)
        file_bytes = sum(each.costs["file_bytes"] for each in chosen) + self.planner.other_bytes
        prediction = self.loss_predictions[precision]
        return PredictedCompression(
            dict(choices), change, prediction.loss(change), prediction.interval(change), file_bytes
        )

    def layers(self, choices: Mapping[str, Choice]) -> dict[str, ChosenLayer]:
        """Return the layers of these choices, compressed by them, in order."""
        return {
            name: ChosenLayer(self._layer(name, choices[name]), choices[name]) for name in self.names if name in choices
        }

    def candidate(self, name: str, choice: Choice) -> Candidate:
        """Return the predictions for one layer that is compressed alone, by this choice.

        Raises
        ------
        InputError
            If the choice has an activation threshold that was not analysed, so that its effect is unknown.
        """
        key = (name, choice)
        if key not in self._candidates:
            if choice.activation_threshold:
                raise InputError(
                    f"{name}: activation_threshold must be one that was analysed with density={choice.density:g} and "
                    f"weight_bits={choice.weight_bits}; found {choice.activation_threshold:g}; take one of the options"
                )
            layer = self._layer(name, choice)
            alone = np.array([self.planner.analysis.predicted_change({name: layer.weights()})])
            change = float(self.planner.calibrated(self.names.index(name), alone)[0])
            costs = {"file_bytes": layer_file_bytes(layer)} | self.array_cost.work(layer)
            self._candidates[key] = Candidate(choice, change, costs)
        return self._candidates[key]

    def _layer(self, name: str, choice: Choice) -> CompressedLayer:
        key = (name, choice)
        if key not in self._layers:
            self._layers[key] = self.planner.compressed_layer(name, choice)
            while len(self._layers) > len(self.names) and self._codes_bytes() > _KEPT_CODES_BYTES:
                self._layers.popitem(last=False)
        self._layers.move_to_end(key)
        return self._layers[key]

    def _codes_bytes(self) -> int:
        return sum(each.codes.nbytes for each in self._layers.values())


def analyse_compression(
    network: TrainedNetwork,
    most_loss: float = 0.1,
    seed: int = 0,
    loss: str | LossFunction = AUTO,
    sampling_error: float = LARGEST_ERROR,
    folder: str | os.PathLike[str] | None = None,
    precisions: Sequence[Precision] = (),
) -> CompressionAnalysis:
    """Analyse a network once, so that any compression of its layers can be predicted.

    Parameters
    ----------
    network : TrainedNetwork
        The network.
    most_loss : float
        Loss at the largest limit on the change of the outputs.
    seed : int
        Seed of the analysis.
    loss : str or callable
        What is lost, as `compress.Tolerance` takes it. By default, it follows from labels, outputs and graph; class
        scores and probabilities lose answers.
    sampling_error : float
        Largest relative error of each layer's mean cycles and energy, at a confidence level of 95 %, as of `ArrayCost`.
    folder : path, optional
        Folder that keeps the analysis and its runs; a plan of the same network, inputs and seed shares it.
    precisions : sequence of str
        Fixed-point precisions of arrays: the plans that correct the prediction are measured in the arithmetic of each,
        too, on at most `MEASURED_INPUTS` inputs. Floating point needs no mention.

    Returns
    -------
    CompressionAnalysis
        The analysis.

    Raises
    ------
    InputError
        If no layer of the network runs on an array, or labels or loss do not fit its outputs.
    """
    pool = network.inputs(network.pool)
    labels = network.checked_labels()[0]
    judged = pool[:_JUDGED_INPUTS]
    taken = _loss_of(network, judged, loss, labels is not None)
    layers = module_layers(plain_module(network.module), leave=network.leave, products=network.products)[0]
    recorded = network.graph_inputs(network.pool, range(RECORDED_INPUTS))
    counts = LayerCountsStore(None if folder is None else Path(folder) / COUNTS_FOLDER)
    array_cost = ArrayCost(network.graph, recorded, None, sampling_error, layers=layers, counts=counts)
    planner = make_planner(
        network.module,
        pool,
        labels,
        loss=taken,
        cost=_Work(array_cost, digest_of_arrays(recorded)),
        densities=network.densities,
        weight_bits=network.weight_bits,
        seed=seed,
        leave=network.leave,
        products=network.products,
        network=network.graph,
        folder=folder,
        thresholds=network.thresholds,
    )
    options = LayerOptions(
        tuple(layer.name for layer in planner.layers), _calibrated_candidates(planner, taken, most_loss)
    )
    least = sum(min(each.change for each in of_layer) for of_layer in options.candidates)
    most = planner.change_of(Tolerance(1.0, _key(taken)), min(0.5, 2 * most_loss))  # plans may lose less than predicted
    tried = np.geomspace(max(least, most / 1e5), max(most, 2 * least), _CALIBRATED_PLANS)
    assert planner.places is not None  # the pool was split
    analysed = np.setdiff1d(np.arange(len(pool)), planner.places)
    arithmetic = NetworkArithmetic(network, analysed, planner.outputs)
    predictions = _measured_losses(network, planner, arithmetic, taken, options, tried, most_loss, precisions)
    limits = _limits_within(predictions["float"], float(tried[0]), float(tried[-1]), most_loss)
    return CompressionAnalysis(network, planner, taken, array_cost, options, predictions, arithmetic, limits)


@dataclass(frozen=True, eq=False)
class _Work:
    """Cost function of a planner: the work of a layer, which does not depend on the array."""

    array_cost: ArrayCost
    recorded: str

    @property
    def origin(self) -> str:
        """Origin of the costs: the inputs whose activations they were counted on."""
        return f"work on {self.recorded}"

    def __call__(self, layer: CompressedLayer, _: int) -> dict[str, float]:
        return self.array_cost.work(layer)


def _loss_of(network: TrainedNetwork, judged: Inputs, loss: str | LossFunction, labelled: bool) -> Loss:
    """Return the loss of a co-design, checked on some inputs."""
    return loss_between(judged, run_outputs(network.module, judged), loss, labelled, network.graph)


def _calibrated_candidates(planner: Planner, loss: Loss, most_loss: float) -> list[list[Candidate]]:
    """Return all choices for each layer; runs with one layer compressed correct their changes of the outputs."""
    # smaller changes of one layer are hardly measurable
    least = planner.change_of(Tolerance(1.0, _key(loss)), most_loss) / 100
    aims = [
        np.geomspace(least, max(least, *(each.change for each in of_layer)), _TRIED_ALONE)
        for of_layer in planner.candidates
    ]
    for step in range(_TRIED_ALONE):
        planner.calibrate(
            [_nearest(of_layer, float(aim[step])) for of_layer, aim in zip(planner.candidates, aims, strict=True)]
        )
    candidates = []
    for number, of_layer in enumerate(planner.candidates):
        changes = planner.calibrated(number, np.array([each.change for each in of_layer]))
        candidates.append([replace(each, change=float(new)) for each, new in zip(of_layer, changes, strict=True)])
    return candidates


def _measured_losses(
    network: TrainedNetwork,
    planner: Planner,
    arithmetic: NetworkArithmetic,
    loss: Loss,
    options: LayerOptions,
    limits: Floats64,
    most_loss: float,
    precisions: Sequence[Precision],
) -> dict[Precision, LossPrediction]:
    """Measure a plan for each of these limits in each arithmetic, and predict the loss in it from them."""
    change_loss = replace(loss, name="kl") if loss.scores else loss  # which small changes change, too
    lost_of, change_of = Tolerance(1.0, _key(loss)), Tolerance(1.0, _key(change_loss))
    expected_changes = np.geomspace(float(limits[0]) / 100, float(limits[-1]) * 1000, 64)
    losses = [planner.expected(lost_of, float(change)) for change in expected_changes]
    changes, losses_by_change = np.log(expected_changes), np.maximum.accumulate(np.maximum(losses, 0.0))
    widest = max(network.weight_bits)
    plans = [options.plan(float(limit), WORK_WEIGHTS // 2, LARGEST_LAYERS - 1, widest) for limit in limits]
    predictions: dict[Precision, LossPrediction] = {}
    for precision in dict.fromkeys(("float", *precisions)):
        measured_on = len(planner.pool) if precision == "float" else min(MEASURED_INPUTS, len(planner.pool))
        damping = _FEW_ANSWERS / measured_on if loss.of_answers else _SMALL_LOSS * most_loss
        points: list[tuple[float, float, float]] = []
        title = "measuring plans" if precision == "float" else f"measuring plans in {precision}"
        with progress_bar(title, len(plans)) as advance:
            for plan in plans:
                choices = {name: each.choice for name, each in plan.items()}
                if precision == "float":
                    of_inputs = planner.losses((loss, change_loss), choices)
                else:
                    run = _FixedPointRun(planner, arithmetic, choices, precision, measured_on)
                    of_inputs = [run.losses(each) for each in (loss, change_loss)]
                lost, changed = (float(np.mean(each)) for each in of_inputs)
                predicted = math.log(max(sum(each.change for each in plan.values()), 1e-300))
                points.append((predicted, math.log(planner.change_of(change_of, changed)), lost))
                advance()
        prediction = LossPrediction.of(changes, losses_by_change, points, damping, precision)
        most = 1.0 if precision != "float" and loss.of_answers else math.inf
        predictions[precision] = replace(prediction, most=most)
    return predictions


@dataclass(frozen=True, eq=False)
class _FixedPointRun:
    """Run of a compressed network in fixed point, on the first inputs of the planner's pool."""

    planner: Planner
    arithmetic: NetworkArithmetic
    choices: Mapping[str, Choice]
    precision: Precision
    inputs: int

    def losses(self, loss: Loss) -> Floats64:
        """Return the loss of each input, from the folder of the analysis if it has them."""
        of_layers = {name: each.origin for name, each in self.choices.items()}
        origin = {"loss": loss.name, "plan": of_layers, "precision": self.precision, "inputs": self.inputs}
        return self.planner.kept_run(origin, lambda: self._losses(loss))

    def _losses(self, loss: Loss) -> Floats64:
        first = {name: values[: self.inputs] for name, values in self.planner.outputs.items()}
        labels = None if self.planner.labels is None else self.planner.labels[: self.inputs]
        return loss.by_input(first, self._outputs, labels)

    @cached_property
    def _outputs(self) -> dict[str, Floats]:
        network, planner = self.arithmetic.network, self.planner
        assert planner.places is not None
        model = planner.compress(network.module, self.choices)
        formats = self.arithmetic.formats(model, self.precision)
        inputs = network.graph_inputs(network.pool, planner.places[: self.inputs])
        return planner.loss.read(self.arithmetic.run(model, inputs, self.precision, formats)[0])


def _key(loss: Loss) -> str | LossFunction:
    """Return a loss as `Tolerance` takes it."""
    return loss.function or loss.name


def _limits_within(prediction: LossPrediction, least: float, most: float, most_loss: float) -> Floats64:
    """Return limits on the predicted change whose predicted losses go from a fiftieth of `most_loss` to `most_loss`."""
    changes = np.geomspace(least, most, 512)
    losses = np.array([prediction.loss(float(change)) for change in changes])
    within = changes[(losses >= _LEAST_LOSS * most_loss) & (losses <= most_loss)]
    first, last = (float(within[0]), float(within[-1])) if len(within) else (least, most)
    return np.asarray(np.geomspace(first, last, LIMITS), dtype=np.float64)


def _small(of_layer: Sequence[Candidate], most_entries: float) -> list[Candidate]:
    """Return the choices with at most `most_entries` entries; if there is none, the choice with the fewest."""
    small = [each for each in of_layer if each.costs["entries"] <= most_entries * (1 + 1e-9)]
    return small or [min(of_layer, key=lambda each: each.costs["entries"])]


def _nearest(of_layer: Sequence[Candidate], change: float) -> Candidate:
    """Return the choice whose predicted change of the outputs is nearest to `change`, by ratio."""
    return min(of_layer, key=lambda each: abs(math.log(max(each.change, 1e-30) / change)))
