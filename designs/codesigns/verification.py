"""What a design found by a search really is: compressed, fine-tuned if asked, run, and simulated (PyTorch needed)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress import CompressedModel
from compress.config import CompressionConfig, LayerSettings
from compress.planning.outputs import run_batches
from compress.training.compressor import Stage, compress
from compress.training.distillation import Batch, distil
from designs.codesigns.compressions import TrainedNetwork
from designs.codesigns.entering_vectors import entering_vectors
from designs.codesigns.layer_costs import layer_rows
from designs.codesigns.network_costs import ChosenLayer, NetworkOnArrays
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from traces import InputError
from traces.files.atomic_file import write_atomically

FineTune = Callable[[torch.nn.Module, Stage], object]
_INPUTS, _VECTORS = 16, 64  # that a compressed network is simulated on
_BATCH, _TEMPERATURE, _RATE = 125, 2.0, 3e-4


class Verification:
    """Measures designs of one problem; each that is done is kept in a folder at once, beside its container.

    fine_tune   called with the module after it was pruned, and after its weights were shared, as `train` of
                `compress.training.compressor.compress`; None: nothing is trained, and layers are as the planner makes them
    """

    def __init__(self, problem: CodesignProblem, folder: Path, fine_tune: FineTune | None = None) -> None:
        self.problem, self.folder, self.fine_tune = problem, folder, fine_tune
        self.network: TrainedNetwork = problem.choices.network
        self._inputs, self._labels = self.network.judged_on
        self._tuning = "" if fine_tune is None else _name_of(fine_tune)
        self._before = run_batches(problem.choices.planner.module, self._inputs)

    def __call__(self, point: CodesignPoint) -> dict[str, Any]:
        """Figures as measured, whether all bounds are kept, and the design, its SRAMs fitted anew, as plain values.

        Under `layers`, what `designs.codesigns.layer_costs.layer_rows` says of each.

        Raises InputError if the result cannot be written.
        """
        record = self.folder / f"{point.digest}.json"
        try:
            found: dict[str, Any] = json.loads(record.read_text())
            if found["fine_tune"] == self._tuning and "layers" in found and self.container(point).exists():
                return found
        except (OSError, ValueError, KeyError, TypeError):
            pass  # it was not measured, or with other fine-tuning, or the record is no record
        found = self._measured(point)
        write_atomically(record, json.dumps(found, indent=1).encode())
        return found

    def container(self, point: CodesignPoint) -> Path:
        """Where the compressed network of a design is kept."""
        return self.folder / f"{point.digest}.dc"

    def _measured(self, point: CodesignPoint) -> dict[str, Any]:
        choices, search = self.problem.choices, self.problem.search
        model = self._compressed(point)
        model.save(self.container(point))
        changed = choices.planner.changed(model)
        outputs = run_batches(changed, self._inputs)
        layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
        entering = entering_vectors(changed, self._inputs[:_INPUTS], list(layers), _VECTORS)
        found = NetworkOnArrays(entering).figures(layers, point.design, search.fit_srams)
        figures = {
            "accuracy_loss": self._loss(outputs),
            "latency_us": found.latency_us,
            "energy_nj": found.energy_nj,
            "area_mm2": found.area_mm2,
            "file_bytes": float(model.size_bytes),
        }
        excesses = self.problem.excesses(figures, bool(found.lacking), found.design)
        measured = CodesignPoint(found.design, point.choices, figures, excesses)
        accuracies = {"accuracy": self._accuracy(outputs), "test_accuracy": self._test_accuracy(changed)}
        predicted = self.problem.arrays.figures(choices.layers(point.choices), point.design, search.fit_srams)
        candidates = {name: choices.candidate(name, each) for name, each in point.choices.items()}
        of_layers = layer_rows(candidates, predicted, found, model.size_report.layers)
        return measured.to_dict() | accuracies | {"layers": of_layers, "fine_tune": self._tuning}

    def _compressed(self, point: CodesignPoint) -> CompressedModel:
        planner = self.problem.choices.planner
        if self.fine_tune is None:
            return planner.compress(self.network.module, point.choices)
        config = CompressionConfig(
            every=LayerSettings(share_bias=False, codebook_bits=16),
            layers={
                name: {"density": each.density, "weight_bits": each.weight_bits} for name, each in point.choices.items()
            },
            tensor_bits=16,
        )
        return compress(copy.deepcopy(planner.module), config, self.fine_tune)

    def _loss(self, outputs: npt.NDArray[np.float32]) -> float:
        """Share of right answers that is lost; without labels, share of answers that changed."""
        if self._labels is None:
            return float((outputs.argmax(axis=1) != self._before.argmax(axis=1)).mean())
        return self._accuracy() - self._accuracy(outputs)

    def _accuracy(self, outputs: npt.NDArray[np.float32] | None = None) -> float:
        """Share of right answers; without labels, of answers as before."""
        wanted = self._before.argmax(axis=1) if self._labels is None else self._labels
        return float(((self._before if outputs is None else outputs).argmax(axis=1) == wanted).mean())

    def _test_accuracy(self, changed: torch.nn.Module) -> float:
        """Only to be reported; not a number without test images."""
        if self.network.test is None:
            return float("nan")
        return float((run_batches(changed, self.network.test).argmax(axis=1) == self.network.test_labels).mean())


def _name_of(fine_tune: FineTune) -> str:
    return str(getattr(fine_tune, "__qualname__", fine_tune))


@dataclass(frozen=True, eq=False)
class Distillation:
    """Fine-tuning on the pool, towards what the network answered before it was compressed; labels are not needed.

    Each design is tuned alike, whichever were tuned before it. Raises InputError if there is no epoch.
    """

    network: TrainedNetwork
    epochs: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"fine-tuning takes at least 1 epoch; found {self.epochs}")

    def __str__(self) -> str:
        return f"distillation, {self.epochs} epochs, seed {self.seed}"

    def __call__(self, module: torch.nn.Module, stage: Stage) -> None:
        """Tune a module in place."""
        draw = torch.Generator().manual_seed(self.seed)
        pool, answers = self._pool_and_answers

        def batches(_: int) -> Iterator[Batch]:
            for chosen in torch.split(torch.randperm(len(pool), generator=draw), _BATCH):
                yield pool[chosen], answers[chosen]

        distil(module, batches, self.epochs, _RATE, _TEMPERATURE)

    @cached_property
    def _pool_and_answers(self) -> tuple[torch.Tensor, torch.Tensor]:
        pool, module = self.network.pool, self.network.module.eval()
        return torch.from_numpy(pool), torch.from_numpy(run_batches(module, pool))
