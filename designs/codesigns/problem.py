"""Co-design problems: parameters, constraints and predicted figures of each design (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from compress.modules import ASKED
from compress.planning.choices import cut_shares
from compress.planning.losses import AUTO, Loss
from compress.planning.plan import Choice
from designs.codesigns.arithmetic import CALIBRATION_INPUTS, fixed_precisions
from designs.codesigns.array_cost import ArrayFigures
from designs.codesigns.array_grid import listed
from designs.codesigns.array_problem import ArrayProblem
from designs.codesigns.compressions import MEASURED_INPUTS, CompressionAnalysis, LayerOptions
from designs.codesigns.enumeration import Enumeration
from designs.codesigns.layer_counts import CountsGrid, LayerCounts
from designs.codesigns.point import CodesignPoint, design_digest
from designs.codesigns.proposals import CompressionSpace
from designs.codesigns.search import Search, figure_of
from designs.design import HARDWARE, Design
from designs.hypervolume import LOGARITHMIC
from designs.space import DERIVED, Space
from sim.config import Precision
from traces import InputError
from traces.arrays import Floats64

_SRAMS = ("sparse_matrix_bytes", "pointer_bytes", "activation_bytes", "pointer_bits")
_CHANGES = 512  # of which the largest within the bound on the loss is found


class CodesignProblem(ArrayProblem):
    """Problem of one co-design: choices for each layer, arrays, bounds, and predicted figures of each design.

    Without compression in the space, the choices for a layer are those that the planner analysed; with it, those of the
    space, each layer's own.

    Parameters
    ----------
    analysis : CompressionAnalysis
        Analysis of the network.
    space : Space
        Space of the arrays, and of the compression of each layer if it has one.
    search : Search
        Objectives and bounds.

    Attributes
    ----------
    options : LayerOptions
        Choices for each layer.
    most_change : float
        Largest predicted change of the outputs of a compression that may keep the bound on the loss.

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
        self.loss_figure = figure_of(analysis.loss)
        self.search = search.of_loss(self.loss_figure, analysis.loss.description)
        self.calls, self.live_words = analysis.array_cost.calls, analysis.array_cost.live_words
        bound = self.search.most_loss
        if bound is not None:
            planner = analysis.planner
            analysis.loss.check_reach(bound, planner.outputs, planner.labels, planner.counts)
        self.compression = space.compression_parameters(analysis.names)
        self._check()
        self._known: dict[str, CodesignPoint] = {}

    def _check(self) -> None:
        by_layer = {name.rpartition(".")[2] for name in self.compression}
        if by_layer and not by_layer >= {"density", "weight_bits"}:
            raise InputError(
                "a space with compression must give density and weight_bits of every layer; found "
                f"{', '.join(sorted(by_layer))}; leave compression out to plan all layers together"
            )
        if by_layer and cut_shares(self.analysis.network.thresholds):
            raise InputError(
                "thresholds of the network have no effect on a space with compression, which gives density and "
                f"weight_bits of every layer; found thresholds={self.analysis.network.thresholds}; leave one out"
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

    @cached_property
    def options(self) -> LayerOptions:
        """Choices for each layer."""
        analysis, parameters = self.analysis, self.compression
        if not parameters:
            return analysis.options
        of_layers = []
        for name in analysis.names:
            pairs = itertools.product(listed(parameters[f"{name}.density"]), listed(parameters[f"{name}.weight_bits"]))
            of_layers.append([analysis.candidate(name, Choice(float(density), bits)) for density, bits in pairs])
        return LayerOptions(analysis.names, of_layers)

    @cached_property
    def most_change(self) -> float:
        """Largest predicted change of the outputs of a compression that may keep the bound on the loss."""
        bound = self.search.most_loss
        if bound is None:
            return float(self.analysis.limits[-1])
        widest = max(self.space.hardware_parameters()["weight_bits"].values or ())
        held = [[each for each in of if each.choice.weight_bits <= widest] for of in self.options.candidates]
        least, most = (sum(end((each.change for each in of), default=0.0) for of in held) for end in (min, max))
        changes = np.geomspace(max(least, 1e-300), max(most, 2e-300), _CHANGES)
        return float(max(changes[self._losses(changes) <= bound], default=least))

    @cached_property
    def compressions(self) -> CompressionSpace:
        """All compressions that may keep the bound on the loss; raises InputError if there are none."""
        search = self.search
        return CompressionSpace(
            self.options.names,
            self.options.candidates,
            tuple(self.enumeration.grid.values["weight_bits"]),
            self.most_change,
            "file_bytes" in (*search.objectives, *search.bounds),
            self._losses,
        )

    def _losses(self, changes: Floats64) -> Floats64:
        """Return the loss predicted for total changes of the outputs; of several precisions, the least."""
        precisions = self.space.hardware_parameters()["precision"].values or ()
        losses: Floats64 = np.min(
            [self.analysis.loss_predictions[each].losses_of(changes) for each in precisions], axis=0
        )
        return losses

    @cached_property
    def enumeration(self) -> Enumeration:
        """All arrays of the space, for any compression; raises InputError if they are too many."""
        return Enumeration(self)

    def design_of(self, values: Mapping[str, Any]) -> Design:
        """Return the array of these hardware parameters; raise InputError if it is not in the space or cannot be."""
        fit = self.search.fit_srams
        refused = None if fit else self.space.refuses(values)
        if refused is None and values["line_bits"] < values["weight_bits"] + values["index_bits"]:
            refused = "a line does not hold one entry"
        if refused is not None:
            raise InputError(refused)
        return Design.from_hardware(values) if fit else self.space.design({name: values[name] for name in HARDWARE})

    def predict(self, design: Design, choices: Mapping[str, Choice]) -> CodesignPoint:
        """Return a design and choices for all layers with predicted figures.

        Raises InputError if the array has narrower codes than the choices, or does not run the network.
        """
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
        excesses = self.excesses(figures, bool(costs.lacking), costs.design.array)
        return CodesignPoint(costs.design, choices, figures, excesses)

    def loading_point(self, values: Mapping[str, Any], choices: Mapping[str, Choice]) -> CodesignPoint:
        """Return the design of an array that loads weights; raise InputError if it cannot be or run the network."""
        return self.predict(self.design_of(values), choices)

    def compressed(self, choices: Mapping[str, Choice], precision: Precision) -> tuple[float, float]:
        """Return the predicted loss of a compression in the arithmetic of a precision, and the bytes of its file."""
        predicted = self.analysis.predict(choices, precision)
        return predicted.loss, predicted.file_bytes

    def layer_counts(self, name: str, choice: Choice, *grids: CountsGrid) -> LayerCounts:
        """Return the counts of a layer, compressed by a choice, on the arrays of some grids (`ArrayCost`)."""
        return self.analysis.array_cost.layer_counts(name, self.analysis.layers({name: choice})[name], *grids)

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


_FREE = ("trials", "exhaustive", "verify", "settled", "seed")  # may change from run to run


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
        Name, hash of weights and inputs, densities and weight_bits to try; shares of the activations to cut, and
        parameters that are left alone as asked, if there are any; what is lost and why that is measured; kind and
        vectors per input of each layer; and what is computed off the array, by operator.
    """
    network, cost = analysis.network, analysis.array_cost
    left_alone = [name for name, reason in analysis.planner.left_alone.items() if reason == ASKED]
    shares = cut_shares(network.thresholds)
    return {
        "name": network.name,
        "digest": network.digest,
        "densities": list(network.densities),
        "weight_bits": list(network.weight_bits),
        **({"thresholds": list(shares)} if shares else {}),
        **({"left_alone": left_alone} if left_alone else {}),
        "loss": analysis.loss.name,
        figure_of(analysis.loss): analysis.loss.description,
        "layers": {name: [cost.kind(name), cost.vectors_per_input(name)] for name in analysis.names},
        "off_array": {name: list(each) for name, each in sorted(cost.off_array.items())},
    }
