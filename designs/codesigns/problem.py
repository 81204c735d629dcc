"""One co-design: what is searched, what is judged, and what is predicted of each design (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import optuna

from compress.planning.plan import Choice
from designs.codesigns.compressions import LARGEST_LAYERS, LIMITS, WORK_WEIGHTS, CompressionChoices
from designs.codesigns.network_costs import NetworkOnArrays
from designs.codesigns.point import CodesignPoint, design_digest
from designs.codesigns.search import Search
from designs.design import ARRAY_FIELDS, Design
from designs.hypervolume import LOGARITHMIC
from designs.space import Parameter, Space
from traces import InputError

PLANNED = {"limit": LIMITS, "work_weight": WORK_WEIGHTS, "largest_layer": LARGEST_LAYERS}
_SRAMS = ("sparse_matrix_bytes", "pointer_bytes", "activation_bytes", "pointer_bits")


class CodesignProblem:
    """Turns what a sampler suggests into designs, and says what is predicted of them.

    Without compression in the space, three parameters say how all layers are compressed (`CompressionChoices.planned`);
    with it, there is a density and a width for each layer. A layer's codes are never wider than the array's.

    Raises InputError if the space is none for this network, or asks for what has no effect.
    """

    def __init__(self, choices: CompressionChoices, space: Space, search: Search) -> None:
        self.choices, self.space, self.search = choices, space, search
        self.arrays = NetworkOnArrays(choices.entering)
        self.parameters: dict[str, Parameter] = {
            name: each for name, each in space.parameters(choices.names).items() if each.varies
        }
        self._held = {
            name: each.values[0]
            for name, each in space.parameters(choices.names).items()
            if not each.varies and each.values is not None
        }
        self._check()
        self._known: dict[str, CodesignPoint] = {}

    def _check(self) -> None:
        by_layer = {name.rpartition(".")[2] for name in (*self.parameters, *self._held) if "." in name}
        if by_layer and not by_layer >= {"density", "weight_bits"}:
            raise InputError(
                "a space with compression must say density and weight_bits of every layer; found "
                f"{', '.join(sorted(by_layer))}; leave [compression] out to have all layers planned together"
            )
        if "index_bits" in by_layer:
            raise InputError(
                "compression.index_bits: the file's gaps are as wide as takes the fewest bytes; leave it out, and give "
                "the array's with hardware.index_bits"
            )
        if self.search.fit_srams:
            said = sorted(set(_SRAMS) & set(self.space.hardware))
            if said:
                raise InputError(
                    f"SRAMs are fitted to the compressed layers, so {', '.join(said)} of the space have no effect; "
                    f"leave them out, or set fit_srams to false"
                )
        self.steps: Mapping[str, int] = {} if by_layer else PLANNED

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """A value for each parameter; whole places in their lists for those that are not ranges of numbers."""
        values = dict(self._held)
        for name, parameter in self.parameters.items():
            values[name] = _suggested(trial, parameter)
        values |= {name: trial.suggest_int(name, 0, steps - 1) for name, steps in self.steps.items()}
        return values

    def point(self, values: Mapping[str, Any]) -> CodesignPoint:
        """What is predicted of the design of these values.

        Raises InputError if it is no design of the space, or cannot be simulated.
        """
        refused = None if self.search.fit_srams else self.space.refuses(values)
        if refused is None and values["line_bits"] < values["weight_bits"] + values["index_bits"]:
            refused = "a line does not hold one entry"
        if refused is not None:
            raise InputError(refused)
        design = self.space.design({name: values[name] for name in (*ARRAY_FIELDS, "row_assignment")})
        return self.predict(design, self.choices_of(values))

    def choices_of(self, values: Mapping[str, Any]) -> dict[str, Choice]:
        """How these values compress each layer."""
        bits = values["weight_bits"]
        if self.steps:
            return self.choices.planned(
                values["limit"], values["work_weight"], values["largest_layer"], weight_bits=bits
            )
        return {
            name: Choice(float(values[f"{name}.density"]), min(values[f"{name}.weight_bits"], bits))
            for name in self.choices.names
        }

    def predict(self, design: Design, choices: Mapping[str, Choice]) -> CodesignPoint:
        """What is predicted of a design and choices for all layers. Raises InputError as `point` does."""
        asked = design_digest(design, choices)
        if asked not in self._known:
            self._known[asked] = self._predict(design, choices)
        return self._known[asked]

    def _predict(self, design: Design, choices: Mapping[str, Choice]) -> CodesignPoint:
        widest = max(each.weight_bits for each in choices.values())
        if widest > design.array.weight_bits:
            raise InputError(f"codes of {widest} bits are wider than the array's, {design.array.weight_bits}")
        found = self.arrays.figures(self.choices.layers(choices), design, self.search.fit_srams)
        compressed = self.choices.compressed(choices)
        figures = {
            "accuracy_loss": compressed.accuracy_loss,
            "latency_us": found.latency_us,
            "energy_nj": found.energy_nj,
            "area_mm2": found.area_mm2,
            "file_bytes": compressed.file_bytes,
        }
        if math.isnan(found.latency_us):
            raise InputError(f"the array does not run the network: {'; '.join(found.lacking.values())}")
        return CodesignPoint(found.design, choices, figures, self.excesses(figures, bool(found.lacking), found.design))

    def excesses(self, figures: Mapping[str, float], lacking: bool, design: Design) -> dict[str, float]:
        """By how much of itself each bound is exceeded; 0 or less where it is kept."""
        found = {name: figures[name] / bound - 1 for name, bound in self.search.bounds.items()}
        constraints = self.space.constraints
        if constraints.max_area_mm2 is not None:
            found["max_area_mm2"] = figures["area_mm2"] / constraints.max_area_mm2 - 1
        if constraints.must_fit:
            found["must_fit"] = 1.0 if lacking else 0.0
        if constraints.whole_lines:
            found["whole_lines"] = float(design.array.line_bits % design.array.entry_bits > 0)
        return found

    def origin(self) -> dict[str, Any]:
        """What makes the study, as plain values; `trials` and `verify` may change from run to run."""
        search = {name: value for name, value in dataclasses.asdict(self.search).items() if name not in _FREE}
        found = {
            "space": self.space.to_dict(),
            "search": search,
            "network": network_origin(self.choices),
            "logarithms_of": LOGARITHMIC,
        }
        return dict(json.loads(json.dumps(found)))  # as it comes back from a storage

    def settings(self) -> dict[str, Any]:
        """All that a result says it was made with: what makes the study, and the whole of the search."""
        return self.origin() | {"search": dataclasses.asdict(self.search)}


_FREE = ("trials", "verify", "seed", "sampler")


def network_origin(choices: CompressionChoices) -> dict[str, Any]:
    """Name of the network, and a hash of its weights and of what it is judged on."""
    network, digest = choices.network, hashlib.sha256()
    for name, values in network.module.state_dict().items():
        digest.update(f"{name}\0".encode() + values.numpy().tobytes())
    judged = (network.evaluation, network.evaluation_labels, network.test, network.test_labels)
    for inputs in (network.pool, network.labels, *judged):
        digest.update(b"none" if inputs is None else inputs.tobytes())
    return {
        "name": network.name,
        "digest": digest.hexdigest()[:16],
        "densities": list(network.densities),
        "weight_bits": list(network.weight_bits),
    }


def _suggested(trial: optuna.Trial, parameter: Parameter) -> Any:
    values, name = parameter.values, parameter.name
    if values is None:
        assert parameter.range is not None
        return trial.suggest_float(name, parameter.range.low, parameter.range.high, log=parameter.range.log)
    if isinstance(values[0], str):
        return trial.suggest_categorical(name, values)
    return values[trial.suggest_int(f"{name} (place)", 0, len(values) - 1)]
