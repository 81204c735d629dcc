"""Verification of designs: each is compressed, fine-tuned on request, run in the array's arithmetic and simulated.

PyTorch is needed.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress import CompressedModel
from compress.config import CompressionConfig, LayerSettings
from compress.networks import with_graph
from compress.output_changes import answers
from compress.planning.confidence import interval
from compress.planning.losses import choose_loss
from compress.planning.outputs import call, float_type, run_outputs
from compress.planning.planner import Planner
from compress.training.compressor import Stage, compress_module
from compress.training.distillation import Batch, distil
from designs.codesigns.arithmetic import NetworkArithmetic
from designs.codesigns.array_cost import ArrayCost, ArrayFigures, ChosenLayer
from designs.codesigns.columns import dense_values
from designs.codesigns.layer_costs import MeasuredCosts, layer_rows
from designs.codesigns.point import CodesignPoint, plain_choices
from designs.codesigns.problem import CodesignProblem, all_figures
from designs.codesigns.trained_network import TrainedNetwork
from designs.results import sources_of_results
from sim import FixedPoint, simulate_network
from sim.config import Precision
from sim.number_formats import formats_of_plain
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Floats, Numbers
from traces.files.atomic_file import copy_atomically
from traces.files.checksums import file_checksum, read_checked, values_checksum, write_checked
from traces.plain_values import whole_number

FRONT_FOLDER = "front"
FRONT_FILES = re.compile(r"[0-9a-f]{16}\.(dc|json)")
"""Names of the containers and records of verified designs in their folder."""
FineTune = Callable[[torch.nn.Module, Stage], object]
_INPUTS = 16  # that a compressed network is simulated on, or fewer, but at least two, if they are many multiplications
_MACS = 4e8
_KEPT_MODELS = 4  # in memory, with the vectors that enter their products
LOSS_LEVEL = 0.9
"""Confidence level of the interval of a measured loss."""
_BATCH, _TEMPERATURE, _RATE = 125, 2.0, 3e-4
_SHARED = ("lost", "measured_loss", "accuracy", "test_accuracy", "overflows", "saturated_activations")
_DESIGN, _CONTAINER = "design", "container_checksum"  # of a record: what it belongs to
_Outputs = dict[str, Floats]


class Verification:
    """Measurement of the designs of one problem; each result is kept in a folder, beside its container.

    The designs of one compression and precision share what is lost: the network runs once for all of them.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of records and containers.
    fine_tune : callable, optional
        Trains the module after pruning and after weight sharing, as `train` of
        `compress.compression.compress`. None: nothing is trained, and the planner compresses the layers.
    """

    def __init__(self, problem: CodesignProblem, folder: Path, fine_tune: FineTune | None = None) -> None:
        self.problem, self.folder, self.fine_tune = problem, folder, fine_tune
        self.network: TrainedNetwork = problem.analysis.network
        self._loss = problem.analysis.loss
        # records of an earlier version may lack columns, and be measured by another cost model
        self._origin = values_checksum(problem.origin() | {"sources": sources_of_results()})
        self._inputs = self.network.judged_on[0]
        pool, evaluation, self._test_labels = self.network.checked_labels()
        planner = problem.analysis.planner
        self._labels = pool if self.network.evaluation is None else evaluation
        self._not_analysed = slice(None) if self.network.evaluation is not None else planner.places
        self._models: OrderedDict[tuple[str, str], tuple[CompressedModel, ArrayCost]] = OrderedDict()
        self._tuning = "" if fine_tune is None else _name_of(fine_tune)
        self._before = self._loss.read(run_outputs(planner.module, self._inputs))
        macs = problem.analysis.array_cost.dense_macs
        judged = self.network.pool if self.network.evaluation is None else self.network.evaluation
        self._judged = judged
        self._simulated = self.network.graph_inputs(judged, range(int(min(_INPUTS, max(2, _MACS // macs)))))

    def __call__(self, point: CodesignPoint) -> dict[str, Any]:
        """Measure a design, unless the folder has its record, and its container, as they were written.

        Parameters
        ----------
        point : CodesignPoint
            The design.

        Returns
        -------
        dict
            The measured point as plain values (`CodesignPoint.to_dict`), its SRAMs fitted anew; accuracy,
            test_accuracy, overflows, saturated_activations and output_difference, and under "layers" the rows of
            `designs.codesigns.layer_costs.layer_rows`. Losses and accuracies are those of the array's arithmetic.

        Raises
        ------
        InputError
            If the record cannot be written.
        """
        record = self.folder / f"{point.digest}.json"
        earlier = self._record(record)
        if earlier is not None:
            return earlier
        measured = self._measured(point)
        checksum = file_checksum(self.container(point))
        measured = {_DESIGN: point.digest, _CONTAINER: checksum, **measured}
        write_checked(record, measured, self._origin)
        self._runs.update([self._shared(point.digest, measured)])
        return measured

    def container(self, point: CodesignPoint) -> Path:
        """Return the file of a design's compressed network."""
        return self.folder / f"{point.digest}.dc"

    def _record(self, path: Path) -> dict[str, Any] | None:
        """Return the record of a design as it was written, of this problem and tuning; None without its container."""
        record = read_checked(path, self._origin)
        if record is None or record[_DESIGN] != path.stem or record["fine_tune"] != self._tuning:
            return None
        return None if self._is_changed(path.stem, record[_CONTAINER]) else record

    @cached_property
    def _runs(self) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
        """Digest of a measured design of each compression and precision, and what all such designs share."""
        found = [(path.stem, self._record(path)) for path in sorted(self.folder.glob("*.json"))]
        return dict(self._shared(digest, record) for digest, record in found if record is not None)

    @staticmethod
    def _shared(digest: str, record: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, dict[str, Any]]]:
        """Return the compression and precision of a record, its digest, and what all such designs share."""
        key = json.dumps(record["choices"]), record["array"]["precision"]
        return key, (digest, {name: record[name] for name in (*_SHARED, "number_formats", _CONTAINER)})

    def _is_changed(self, digest: str, checksum: str) -> bool:
        """Return True if a container is not the one of its record."""
        try:
            return file_checksum(self.folder / f"{digest}.dc") != checksum
        except OSError:
            return True

    def _measured(self, point: CodesignPoint) -> dict[str, Any]:
        analysis, search = self.problem.analysis, self.problem.search
        precision = point.design.array.precision
        run = json.dumps(plain_choices(point.choices)), precision
        if run in self._runs and self._is_changed(self._runs[run][0], self._runs[run][1][_CONTAINER]):
            del self._runs[run]  # since it was measured
        if run not in self._runs:
            self._models.pop(run, None)
            model, cost = self._opened(run, point, None)
            model.save(self.container(point))
            formats = analysis.arithmetic.formats(model, precision)
            shared = self._run(model, precision, formats)
        else:
            digest, known = self._runs[run]
            container = self.folder / f"{digest}.dc"
            model, cost = self._opened(run, point, container)
            copy_atomically(container, self.container(point))
            formats = formats_of_plain(known["number_formats"])
            shared = {name: known[name] for name in _SHARED}
        layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
        costs = cost.figures(layers, point.design, search.fit_srams)
        measured_costs, lacking = self._simulate(model, cost, costs, formats)
        figures = all_figures(analysis.loss, shared["lost"], costs, float(model.size_bytes))
        figures |= {"latency_us": measured_costs.latency_us, "energy_nj": measured_costs.energy_nj}
        excesses = self.problem.excesses(figures, bool(costs.lacking or lacking), costs.design.array)
        measured = CodesignPoint(costs.design, point.choices, figures, excesses, formats)
        others = shared | {
            "output_difference": measured_costs.output_difference,
            "limits": measured_costs.network_limits,
            "dense": dense_values(analysis.array_cost.shapes, costs.design.array, not (costs.lacking or lacking)),
            "fine_tune": self._tuning,
            "predicted_loss": analysis.predict(point.choices, precision).loss_interval,
        }
        predicted = analysis.array_cost.figures(analysis.layers(point.choices), point.design, search.fit_srams)
        candidates = {name: analysis.candidate(name, each) for name, each in point.choices.items()}
        rows = layer_rows(candidates, cost, predicted, measured_costs, model.size_report.layers)
        return measured.to_dict() | others | {"layers": rows}

    def _opened(
        self, run: tuple[str, str], point: CodesignPoint, container: Path | None
    ) -> tuple[CompressedModel, ArrayCost]:
        """Return the network of a compression and its costs, from a container if there is one; some are kept."""
        if run not in self._models:
            model = self._compressed(point) if container is None else CompressedModel.load(container)
            cost = ArrayCost(model, self._simulated, None, self.problem.search.sampling_error, _INPUTS)
            self._models[run] = model, cost
            while len(self._models) > _KEPT_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(run)
        return self._models[run]

    def _run(self, model: CompressedModel, precision: Precision, formats: Mapping[str, FixedPoint]) -> dict[str, Any]:
        """Return what the designs of one compression and precision share: what is lost, and the accuracies."""
        analysis = self.problem.analysis
        run = _Run(analysis.arithmetic, analysis.planner, model, precision, formats)
        outputs, overflows, saturated = run(self._judged)
        outputs = self._loss.read(outputs)
        losses = self._loss.by_input(self._before, outputs, self._labels)
        measured_loss = interval(losses[self._not_analysed], LOSS_LEVEL, shares=self._loss.of_answers)
        return {
            "lost": float(losses.mean()),
            "measured_loss": [measured_loss.low, measured_loss.high],
            "accuracy": self._accuracy(outputs),
            "test_accuracy": self._test_accuracy(run),
            "overflows": overflows,
            "saturated_activations": saturated,
        }

    def _simulate(
        self, model: CompressedModel, cost: ArrayCost, costs: ArrayFigures, formats: Mapping[str, FixedPoint]
    ) -> tuple[MeasuredCosts, str]:
        """Return the costs of a network that is simulated whole; nan, and the reason, if the array does not run it."""
        if math.isnan(costs.latency_us):
            return MeasuredCosts(costs, {}), costs.lacking
        packed = {
            product: run.groups
            for name, of_layer in costs.runs.items()
            for product, run in zip(cost.products(name), of_layer, strict=True)
        }
        try:
            result = simulate_network(
                model, self._simulated, costs.design.array, packed=packed, number_formats=formats or None
            )
        except InputError as error:
            return MeasuredCosts(costs, {}), str(error)
        by_layer = {layer.name: layer for layer in result.layers}
        counted = {name: [by_layer[product] for product in cost.products(name)] for name in costs.runs}
        return MeasuredCosts(costs, counted, max(result.output_difference, result.largest_difference)), ""

    def _compressed(self, point: CodesignPoint) -> CompressedModel:
        planner, network = self.problem.analysis.planner, self.network
        if self.fine_tune is None:
            return planner.compress(network.module, point.choices)
        config = CompressionConfig(
            every=LayerSettings(share_bias=False, codebook_bits=16),
            layers={
                name: {"density": each.density, "weight_bits": each.weight_bits} for name, each in point.choices.items()
            },
            tensor_bits=16,
        )
        module = copy.deepcopy(planner.module)
        model = compress_module(module, config, self.fine_tune, leave=network.leave, products=network.products)
        thresholds = {name: each.activation_threshold for name, each in point.choices.items()}
        return with_graph(model.with_thresholds(thresholds), network.graph)

    def _accuracy(self, outputs: _Outputs) -> float:
        """Return the share of right answers; without labels, of unchanged answers; nan if there are no answers."""
        if not self._loss.of_answers:
            return math.nan
        if self._labels is None:
            return 1 - self._loss.mean(self._before, outputs)
        return _share_right(outputs, self._labels)

    def _test_accuracy(self, run: _Run) -> float:
        """Return the accuracy on the test inputs, only for the report; nan without any."""
        if self.network.test is None or self._test_labels is None:
            return math.nan
        return _share_right(run(self.network.test)[0], self._test_labels)


@dataclass(frozen=True, eq=False)
class _Run:
    """Compressed network, to be run in the arithmetic of an array.

    Attributes
    ----------
    arithmetic : NetworkArithmetic
        Arithmetic of arrays in fixed point.
    planner : Planner
        Planner of the network, which runs it in floating point.
    model : CompressedModel
        The compressed network.
    precision : str
        Precision of the array.
    formats : mapping of str to FixedPoint
        Formats by layer; empty for floating point.
    """

    arithmetic: NetworkArithmetic
    planner: Planner
    model: CompressedModel
    precision: Precision
    formats: Mapping[str, FixedPoint]

    @cached_property
    def _module(self) -> torch.nn.Module:
        return self.planner.changed(self.model)

    def __call__(self, values: AnyInputs) -> tuple[_Outputs, float, float]:
        """Return all outputs by name, and the mean overflows and saturated activations of an input."""
        network = self.arithmetic.network
        inputs = network.inputs(values)
        if self.precision == "float":
            return run_outputs(self._module, inputs), 0.0, 0.0
        feeds = network.graph_inputs(values, range(len(inputs)))
        outputs, found = self.arithmetic.run(self.model, feeds, self.precision, self.formats)
        return outputs, float(found.overflows.mean()), float(found.saturated_activations.mean())


def _share_right(outputs: Mapping[str, Floats], labels: Numbers) -> float:
    """Return the share of answers that are as labelled, of the only output."""
    (values,) = outputs.values()
    return float(np.mean(answers(values) == labels))


def _are_scores(pool: Inputs, outputs: Mapping[str, Floats], network: Network) -> bool:
    """Return True if the outputs are known to be class scores without any labels."""
    try:
        return choose_loss(pool, outputs, network=network).scores
    except InputError:
        return False


def _name_of(fine_tune: FineTune) -> str:
    return str(getattr(fine_tune, "__qualname__", fine_tune))


@dataclass(frozen=True, eq=False)
class Distillation:
    """Fine-tuning by distillation on the pool, towards the outputs of the original network; labels are not needed.

    One row of class scores for each input is distilled with a softmax; of all other outputs, the squared error is
    minimised. The result does not depend on the designs that were tuned before.

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
        object.__setattr__(self, "epochs", whole_number("epochs", self.epochs, 1))
        object.__setattr__(self, "seed", whole_number("seed", self.seed, 0, 2**63 - 1))

    def __str__(self) -> str:
        return f"distillation, {self.epochs} epochs, seed {self.seed}"

    def __call__(self, module: torch.nn.Module, stage: Stage) -> None:
        """Tune a module in place."""
        draw = torch.Generator().manual_seed(self.seed)
        pool, outputs, scores = self._pool

        def chosen() -> Iterator[torch.Tensor]:
            yield from torch.split(torch.randperm(len(pool), generator=draw), _BATCH)

        if scores:
            inputs, scored = torch.from_numpy(next(iter(pool.arrays.values()))), next(iter(outputs.values()))

            def batches(_: int) -> Iterator[Batch]:
                for places in chosen():
                    yield inputs[places], scored[places]

            distil(module, batches, self.epochs, _RATE, _TEMPERATURE)
            return
        optimizer = torch.optim.Adam([each for each in module.parameters() if each.requires_grad], _RATE)
        floats = float_type(module)
        with torch.enable_grad():
            for _ in range(self.epochs):
                for places in chosen():
                    changed = call(module, pool[places.numpy()], floats)
                    errors = [torch.nn.functional.mse_loss(changed[name], outputs[name][places]) for name in outputs]
                    optimizer.zero_grad(set_to_none=True)
                    torch.stack(errors).sum().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

    @cached_property
    def _pool(self) -> tuple[Inputs, dict[str, torch.Tensor], bool]:
        """The pool, the network's outputs for it, and True if they are a row of class scores for each input."""
        pool = self.network.inputs(self.network.pool)
        outputs = run_outputs(self.network.module, pool)
        scores = self.network.labels is not None or _are_scores(pool, outputs, self.network.graph)
        one = len(outputs) == 1 and len(pool.names) == 1 and next(iter(outputs.values())).ndim == 2
        tensors = {name: torch.from_numpy(values) for name, values in outputs.items()}
        return pool, {name: each for name, each in tensors.items() if each.is_floating_point()}, scores and one
