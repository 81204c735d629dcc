"""Verification of designs: each is compressed, fine-tuned on request, run and simulated (PyTorch needed)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from compress import CompressedModel
from compress.config import CompressionConfig, LayerSettings
from compress.planning.outputs import run_batches
from compress.compression import compress
from compress.training.compressor import Stage
from compress.training.distillation import Batch, distil
from designs.codesigns.entering_vectors import entering_vectors
from designs.codesigns.layer_costs import layer_rows
from designs.codesigns.network_costs import ChosenLayer, NetworkOnArrays
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem, all_figures
from designs.codesigns.trained_network import TrainedNetwork
from traces import InputError
from traces.arrays import Floats32
from traces.files.atomic_file import write_atomically

FineTune = Callable[[torch.nn.Module, Stage], object]
_INPUTS, _VECTORS = 16, 64  # that a compressed network is simulated on
_BATCH, _TEMPERATURE, _RATE = 125, 2.0, 3e-4


class Verification:
    """Measurement of the designs of one problem; each result is kept in a folder, beside its container.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of records and containers.
    fine_tune : callable, optional
        Trains the module after pruning and after weight sharing, as `train` of
        `compress.training.compressor.compress`. None: nothing is trained, and the planner compresses the layers.
    """

    def __init__(self, problem: CodesignProblem, folder: Path, fine_tune: FineTune | None = None) -> None:
        self.problem, self.folder, self.fine_tune = problem, folder, fine_tune
        self.network: TrainedNetwork = problem.analysis.network
        self._inputs, self._labels = self.network.judged_on
        self._tuning = "" if fine_tune is None else _name_of(fine_tune)
        self._before = run_batches(problem.analysis.planner.module, self._inputs)

    def __call__(self, point: CodesignPoint) -> dict[str, Any]:
        """Measure a design, unless the folder has its record.

        Returns
        -------
        dict
            The measured point as plain values (`CodesignPoint.to_dict`), its SRAMs fitted anew; accuracy,
            test_accuracy, and under "layers" the rows of `designs.codesigns.layer_costs.layer_rows`.

        Raises
        ------
        InputError
            If the record cannot be written.
        """
        record = self.folder / f"{point.digest}.json"
        try:
            earlier: dict[str, Any] = json.loads(record.read_text())
            if earlier["fine_tune"] == self._tuning and "layers" in earlier and self.container(point).exists():
                return earlier
        except (OSError, ValueError, KeyError, TypeError):
            pass  # it was not measured, or the record is damaged
        measured = self._measured(point)
        write_atomically(record, json.dumps(measured, indent=1).encode())
        return measured

    def container(self, point: CodesignPoint) -> Path:
        """Return the file of a design's compressed network."""
        return self.folder / f"{point.digest}.dc"

    def _measured(self, point: CodesignPoint) -> dict[str, Any]:
        analysis, search = self.problem.analysis, self.problem.search
        model = self._compressed(point)
        model.save(self.container(point))
        changed = analysis.planner.changed(model)
        outputs = run_batches(changed, self._inputs)
        layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
        entering = entering_vectors(changed, self._inputs[:_INPUTS], list(layers), _VECTORS)
        costs = NetworkOnArrays(entering).figures(layers, point.design, search.fit_srams)
        figures = all_figures(self._loss(outputs), costs, float(model.size_bytes))
        excesses = self.problem.excesses(figures, bool(costs.lacking), costs.design)
        measured = CodesignPoint(costs.design, point.choices, figures, excesses)
        accuracies = {"accuracy": self._accuracy(outputs), "test_accuracy": self._test_accuracy(changed)}
        predicted = self.problem.arrays.figures(analysis.layers(point.choices), point.design, search.fit_srams)
        candidates = {name: analysis.candidate(name, each) for name, each in point.choices.items()}
        rows = layer_rows(candidates, predicted, costs, model.size_report.layers)
        return measured.to_dict() | accuracies | {"layers": rows, "fine_tune": self._tuning}

    def _compressed(self, point: CodesignPoint) -> CompressedModel:
        planner = self.problem.analysis.planner
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

    def _loss(self, outputs: Floats32) -> float:
        """Return the share of right answers that is lost; without labels, of answers that changed."""
        if self._labels is None:
            return float((outputs.argmax(axis=1) != self._before.argmax(axis=1)).mean())
        return self._accuracy() - self._accuracy(outputs)

    def _accuracy(self, outputs: Floats32 | None = None) -> float:
        """Return the share of right answers; without labels, of unchanged answers."""
        right = self._before.argmax(axis=1) if self._labels is None else self._labels
        return float(((self._before if outputs is None else outputs).argmax(axis=1) == right).mean())

    def _test_accuracy(self, changed: torch.nn.Module) -> float:
        """Return the accuracy on the test images, only for the report; nan without any."""
        if self.network.test is None:
            return float("nan")
        return float((run_batches(changed, self.network.test).argmax(axis=1) == self.network.test_labels).mean())


def _name_of(fine_tune: FineTune) -> str:
    return str(getattr(fine_tune, "__qualname__", fine_tune))


@dataclass(frozen=True, eq=False)
class Distillation:
    """Fine-tuning by distillation on the pool, towards the outputs of the original network; labels are not needed.

    The result does not depend on the designs that were tuned before.

    Attributes
    ----------
    network : TrainedNetwork
        The original network.
    epochs : int
        Epochs after pruning, and again after weight sharing.
    seed : int
        Seed of the order of the inputs.

    Raises
    ------
    InputError
        If epochs is below 1.
    """

    network: TrainedNetwork
    epochs: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"epochs must be at least 1; found {self.epochs}")

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
