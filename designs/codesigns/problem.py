"""Co-design problems: parameters, constraints and predicted figures of each design (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import optuna

from compress.modules import ASKED
from compress.planning.losses import AUTO, Loss
from compress.planning.plan import Choice
from designs.codesigns.arithmetic import CALIBRATION_INPUTS, fixed_precisions
from designs.codesigns.array_cost import ArrayFigures
from designs.codesigns.compressions import (
    LARGEST_LAYERS,
    LIMITS,
    MEASURED_INPUTS,
    WORK_WEIGHTS,
    CompressionAnalysis,
)
from designs.codesigns.point import CodesignPoint, design_digest
from designs.codesigns.search import Search, figure_of
from designs.design import HARDWARE, Design
from designs.hypervolume import LOGARITHMIC
from designs.space import DERIVED, Parameter, Space
from sim.cost.timing import timing
from traces import InputError

PLANNED = {"limit": LIMITS, "work_weight": WORK_WEIGHTS, "largest_layer": LARGEST_LAYERS}
_SRAMS = ("sparse_matrix_bytes", "pointer_bytes", "activation_bytes", "pointer_bits")


class CodesignProblem:
    """Problem of one co-design: it turns the values of a sampler into designs, and predicts their figures.

    Without compression in the space, three parameters determine the compression of all layers
    (`CompressionAnalysis.planned`); with it, each layer has a density and a code width. No layer's codes are wider than
    the array's.

    Parameters
    ----------
    analysis : CompressionAnalysis
        Analysis of the network.
    space : Space
        Space of the arrays, and of the compression of each layer if it has one.
    search : Search
        Objectives, bounds and sampler.

    Raises
    ------
    InputError
        If the space does not fit the network or has parameters without effect, it has a precision in which nothing was
        measured, the search asks for a loss that is not measured, or a network without any knowledge could keep its
        bound.
    """

    def __init__(self, analysis: CompressionAnalysis, space: Space, search: Search) -> None:
        if search.loss not in (AUTO, analysis.loss.name):
            raise InputError(
                f"loss must be that of the analysis, {analysis.loss.name}; found {search.loss}; analyse again"
            )
        for precision in fixed_precisions(space):
            analysis.check_precision(precision)
        self.analysis, self.space = analysis, space
        self.search = search.of_loss(figure_of(analysis.loss), analysis.loss.description)
        bound = self.search.most_loss
        if bound is not None:
            planner = analysis.planner
            analysis.loss.check_reach(bound, planner.outputs, planner.labels, planner.counts)
        parameters = space.parameters(analysis.names)
        self.parameters: dict[str, Parameter] = {name: each for name, each in parameters.items() if each.varies}
        self._fixed = {name: each.at(0) for name, each in parameters.items() if not each.varies}
        self._check()
        self._known: dict[str, CodesignPoint] = {}

    def _check(self) -> None:
        by_layer = {name.rpartition(".")[2] for name in (*self.parameters, *self._fixed) if "." in name}
        if by_layer and not by_layer >= {"density", "weight_bits"}:
            raise InputError(
                "a space with compression must give density and weight_bits of every layer; found "
                f"{', '.join(sorted(by_layer))}; leave compression out to plan all layers together"
            )
        if "index_bits" in by_layer:
            raise InputError(
                "compression.index_bits has no effect: the file's gaps have the width that takes the fewest bytes; "
                "leave it out, and give the array's gaps with hardware.index_bits"
            )
        if self.search.fit_srams:
            given = sorted({*_SRAMS, *DERIVED} & set(self.space.hardware))
            if given:
                raise InputError(
                    f"SRAMs are fitted to the compressed layers, and stages to them and the clock, so "
                    f"{', '.join(given)} of the space have no effect; leave them out, or give fit_srams=False"
                )
        self.steps: Mapping[str, int] = {} if by_layer else PLANNED

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return a value for each parameter, as the trial's sampler suggests it; lists are sampled by index."""
        values = dict(self._fixed)
        for name, parameter in self.parameters.items():
            values[name] = _suggested(trial, parameter)
        values |= {name: trial.suggest_int(name, 0, steps - 1) for name, steps in self.steps.items()}
        return values

    def point(self, values: Mapping[str, Any]) -> CodesignPoint:
        """Return the design of these values with its predicted figures.

        Raises InputError if the design is not in the space, or cannot be simulated.
        """
        fit = self.search.fit_srams
        refused = None if fit else self.space.refuses(values)
        if refused is None and values["line_bits"] < values["weight_bits"] + values["index_bits"]:
            refused = "a line does not hold one entry"
        if refused is not None:
            raise InputError(refused)
        design = Design.from_hardware(values) if fit else self.space.design({name: values[name] for name in HARDWARE})
        return self.predict(design, self.choices_of(values))

    def choices_of(self, values: Mapping[str, Any]) -> dict[str, Choice]:
        """Return the choice for each layer by these values."""
        bits = values["weight_bits"]
        if self.steps:
            return self.analysis.planned(
                values["limit"], values["work_weight"], values["largest_layer"], weight_bits=bits
            )
        return {
            name: Choice(float(values[f"{name}.density"]), min(values[f"{name}.weight_bits"], bits))
            for name in self.analysis.names
        }

    def predict(self, design: Design, choices: Mapping[str, Choice]) -> CodesignPoint:
        """Return a design and choices for all layers with predicted figures; raise InputError as `point` does."""
        digest = design_digest(design, choices)
        if digest not in self._known:
            self._known[digest] = self._predict(design, choices)
        return self._known[digest]

    def _predict(self, design: Design, choices: Mapping[str, Choice]) -> CodesignPoint:
        widest = max(each.weight_bits for each in choices.values())
        if widest > design.array.weight_bits:
            raise InputError(f"codes of {widest} bits are wider than the array's, {design.array.weight_bits}")
        costs = self.analysis.array_cost.figures(self.analysis.layers(choices), design, self.search.fit_srams)
        compressed = self.analysis.predict(choices, design.array.precision)
        if math.isnan(costs.latency_us):
            raise InputError(f"the array does not run the network: {costs.lacking}")
        figures = all_figures(self.analysis.loss, compressed.loss, costs, compressed.file_bytes)
        return CodesignPoint(costs.design, choices, figures, self.excesses(figures, bool(costs.lacking), costs.design))

    def excesses(self, figures: Mapping[str, float], lacking: bool, design: Design) -> dict[str, float]:
        """Return the relative violation of each bound and constraint; <= 0 if it is kept."""
        excesses = {name: figures[name] / bound - 1 for name, bound in self.search.bounds.items()}
        excesses["clock_mhz"] = design.array.clock_mhz / timing(design.array).highest_clock_mhz - 1
        constraints = self.space.constraints
        if constraints.max_area_mm2 is not None:
            excesses["max_area_mm2"] = figures["area_mm2"] / constraints.max_area_mm2 - 1
        if constraints.must_fit:
            excesses["must_fit"] = 1.0 if lacking else 0.0
        if constraints.whole_lines:
            excesses["whole_lines"] = float(design.array.line_bits % design.array.entry_bits > 0)
        return excesses

    def origin(self) -> dict[str, Any]:
        """Return the origin of the study as plain values, without the settings that may change from run to run."""
        search = {name: value for name, value in dataclasses.asdict(self.search).items() if name not in _FREE}
        origin = {
            "space": self.space.to_dict(),
            "search": search,
            "network": network_origin(self.analysis),
            "logarithms_of": LOGARITHMIC,
        }
        fixed = fixed_precisions(self.space)
        if fixed:  # studies of floating point are those of before
            origin["fixed_point"] = {
                "precisions": fixed,
                "calibration_inputs": CALIBRATION_INPUTS,
                "measured_inputs": MEASURED_INPUTS,
            }
        return dict(json.loads(json.dumps(origin)))  # as it comes back from a storage

    def settings(self) -> dict[str, Any]:
        """Return the settings for a result file: the origin of the study, and all settings of the search."""
        return self.origin() | {"search": dataclasses.asdict(self.search)}


_FREE = ("trials", "verify", "seed", "sampler")  # may change from run to run


def all_figures(loss: Loss, lost: float, costs: ArrayFigures, file_bytes: float) -> dict[str, float]:
    """Return the value of each figure by name; the loss that is not measured is left out."""
    return {
        figure_of(loss): lost,
        "latency_us": costs.latency_us,
        "energy_nj": costs.energy_nj,
        "area_mm2": costs.area_mm2,
        "file_bytes": file_bytes,
    }


def network_origin(analysis: CompressionAnalysis) -> dict[str, Any]:
    """Return what a study says of its network.

    Returns
    -------
    dict
        Name, hash of weights and inputs, densities and weight_bits to try; parameters that are left alone as asked, if
        there are any; what is lost and why that is measured; kind and vectors per input of each layer; and what is
        computed off the array, by operator.
    """
    network, cost = analysis.network, analysis.array_cost
    left_alone = [name for name, reason in analysis.planner.left_alone.items() if reason == ASKED]
    digest = hashlib.sha256()
    for name, values in network.module.state_dict().items():
        digest.update(f"{name}\0".encode() + values.numpy().tobytes())
    for inputs in (network.pool, network.evaluation, network.test):
        for values in () if inputs is None else network.inputs(inputs).arrays.values():
            digest.update(values.tobytes())
    for labels in (network.labels, network.evaluation_labels, network.test_labels):
        digest.update(b"none" if labels is None else labels.tobytes())
    return {
        "name": network.name,
        "digest": digest.hexdigest()[:16],
        "densities": list(network.densities),
        "weight_bits": list(network.weight_bits),
        **({"left_alone": left_alone} if left_alone else {}),
        "loss": analysis.loss.name,
        figure_of(analysis.loss): analysis.loss.description,
        "layers": {name: [cost.kind(name), cost.vectors_per_input(name)] for name in analysis.names},
        "off_array": {name: list(each) for name, each in sorted(cost.off_array.items())},
    }


def _suggested(trial: optuna.Trial, parameter: Parameter) -> Any:
    values, name = parameter.values, parameter.name
    if values is None:
        assert parameter.range is not None
        return trial.suggest_float(name, parameter.range.low, parameter.range.high, log=parameter.range.log)
    if isinstance(values[0], str):
        return trial.suggest_categorical(name, values)
    return values[trial.suggest_int(f"{name} (place)", 0, len(values) - 1)]
