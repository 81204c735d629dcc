"""Planned compression beside other ways of choosing it, without retraining: LeNet-5 and ResNet-20 (PyTorch needed).

Beside plans stand: one density and width for all layers; a scan of each layer's sensitivity; tolerances of the weights
alone; and a black-box search over the plan's own choices. Test images are only looked at to report.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from compress.config import CompressionConfig, LayerSettings
from compress.container.model import CompressedModel
from compress.one_shot import compress_parameters
from compress.planning.committee import choose_inputs
from compress.planning.knapsack import choose
from compress.planning.plan import Budget, Choice, Tolerance
from compress.planning.planner import DENSITIES, WEIGHT_BITS, Planner, run_batches
from compress.training.fine_tuning import train
from designs.codesigns.array_cost import ArrayCost
from designs.experiments.lenet import LENET_5, build_lenet, load_parameters, save_parameters
from designs.experiments.resnet import ResNet20
from designs.results import Column, provenance, table_of, write_results
from designs.stages import Stages
from sim import ArrayConfig
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

Row = dict[str, Any]
Floats = npt.NDArray[Any]

CURVE_COLUMNS = [
    Column("network", pa.string(), "", "lenet_5 or resnet_20"),
    Column("method", pa.string(), "", "planned, uniform, scan, or tolerances"),
    Column("setting", pa.string(), "", "what the method was asked for"),
    Column(
        "evaluations",
        pa.float64(),
        "",
        "runs of the network over the pool that the method took up to here; -1: not counted",
    ),
    Column("size_bytes", pa.int64(), "B", "of the container"),
    Column("accuracy", pa.float64(), "1", "share of the test images that are given their label"),
    Column("accuracy_before", pa.float64(), "1", "the same of the network before compression"),
    Column("divergence", pa.float64(), "nat", "mean divergence of the outputs on the test images"),
]
SEARCH_COLUMNS = [
    Column("network", pa.string(), "", "lenet_5 or resnet_20"),
    Column("method", pa.string(), "", "planned, or black box"),
    Column("bound", pa.float64(), "nat", "divergence on the pool that was to be kept"),
    Column("evaluations", pa.float64(), "", "runs of the network over the pool so far"),
    Column("size_bytes", pa.int64(), "B", "of the smallest container so far that keeps the bound; -1: none yet"),
    Column("accuracy", pa.float64(), "1", "share of the test images given their label by that container; -1: unknown"),
]
PREDICTION_COLUMNS = [
    Column("network", pa.string(), "", "lenet_5 or resnet_20"),
    Column("predicted", pa.float64(), "nat", "divergence of a random plan, from the analysis alone"),
    Column("measured", pa.float64(), "nat", "the same, measured on test images"),
    Column("changed_answers", pa.float64(), "1", "share of these images whose answer it changes"),
]
COMMITTEE_COLUMNS = [
    Column("how", pa.string(), "", "who chose the inputs: committee or random"),
    Column("number", pa.int64(), "inputs", "that were drawn"),
    Column("seed", pa.int64(), "", "of the draws"),
    Column("size_bytes", pa.int64(), "B", "of the container that was planned on them"),
    Column("bound", pa.float64(), "nat", "divergence that was to be kept"),
    Column("divergence", pa.float64(), "nat", "the container's, on all test images"),
]
BUDGET_COLUMNS = [
    Column("network", pa.string(), "", "lenet_5 or resnet_20"),
    Column("asked", pa.string(), "", "what was planned"),
    Column("seconds", pa.float64(), "s", "that the plan took, the analysis included where it is the first"),
    Column("measurements", pa.float64(), "", "runs of the network over the pool"),
    Column("size_bytes", pa.float64(), "B", "of the container"),
    Column("latency_us", pa.float64(), "us", "of one input on the array"),
    Column("energy_uj", pa.float64(), "uJ", "of one input on the array"),
    Column("used", pa.float64(), "nat", "divergence, measured or, where nothing was run, predicted"),
    Column("bound", pa.float64(), "nat", "divergence that was to be kept"),
    Column("confidence", pa.float64(), "1", "probability that it is kept by all inputs like the pool's; -1: not run"),
    Column("feasible", pa.bool_(), "", "whether tolerance and budget are kept"),
    Column("binding", pa.string(), "", "what keeps the plan from being smaller, or what it does not keep"),
    Column("nearest", pa.string(), "", "what is reachable of bounds that are not kept"),
]
FILES = {
    "curves": CURVE_COLUMNS,
    "search": SEARCH_COLUMNS,
    "predictions": PREDICTION_COLUMNS,
    "budgets": BUDGET_COLUMNS,
}
TRAINED_ON, TRAINING_EPOCHS = 50_000, 6  # of MNIST's training images; the other 10,000 are the pool
ANALYSED = 256
TRIALS, RANDOM_PLANS = 200, 200
COMMITTEE_NUMBERS, COMMITTEE_SEEDS = (16, 32, 64, 128), 10
COMMITTEE_POOL, COMMITTEE_CONFIDENCE = 4000, 0.9


@dataclass(frozen=True, eq=False)
class StudiedNetwork:
    """A trained network, the inputs it is planned on, and what is tried on it.

    pool       float32 [inputs, pixels], unlabelled
    bounds     divergences on the pool that plans are made for
    uniform    densities for all layers alike, with each of the widths; the scan tries its own with all but the last
    search     the bound of the black-box search
    """

    name: str
    module: torch.nn.Module
    pool: npt.NDArray[np.float32]
    images: ImageSet
    densities: tuple[float, ...]
    bounds: tuple[float, ...]
    uniform: tuple[float, ...]
    widths: tuple[int, ...]
    search: float

    def planner(self, **options: Any) -> Planner:
        chosen = range(min(ANALYSED, len(self.pool)))
        return Planner(self.module, self.pool, analysed=chosen, densities=self.densities, **options)


def lenet(images: ImageSet, folder: Path, seed: int = 0) -> StudiedNetwork:
    """LeNet-5, trained here on 50,000 of MNIST's training images; the pool is of the others."""
    module = build_lenet(LENET_5.name)
    origin = {"digest": images.digest, "epochs": TRAINING_EPOCHS, "seed": seed}

    def trained(path: Path) -> None:
        torch.manual_seed(seed)
        new = build_lenet(LENET_5.name)
        with progress_bar("training LeNet-5", TRAINING_EPOCHS) as advance:
            shown, labels = images.train_images[:TRAINED_ON], images.train_labels[:TRAINED_ON]
            train(new, shown, labels, TRAINING_EPOCHS, 1e-3, seed=seed, after_epoch=advance)
        save_parameters(new, path)

    with Stages(folder) as stages:
        stages.run("lenet_5.npz", origin, trained)
    load_parameters(module, folder / "lenet_5.npz")
    return StudiedNetwork(
        LENET_5.name,
        module.eval(),
        images.train_images[TRAINED_ON : TRAINED_ON + 2000],
        images,
        densities=(0.8, 0.6, 0.42, 0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03),
        bounds=(0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45),
        uniform=(1.0, 0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3),
        widths=(2, 3, 4, 5),
        search=0.012,
    )


def resnet(module: ResNet20, images: ImageSet) -> StudiedNetwork:
    """A trained ResNet-20; the pool is of CIFAR-10's training images."""
    return StudiedNetwork(
        "resnet_20",
        module.eval(),
        images.train_images[:1000],
        images,
        densities=DENSITIES,
        bounds=(0.003, 0.01, 0.02, 0.03, 0.045, 0.07, 0.1, 0.14),
        uniform=(1.0, 0.8, 0.65, 0.52, 0.42),
        widths=(3, 4, 5, 6),
        search=0.03,
    )


def run_study(networks: Sequence[StudiedNetwork], folder: Path, seed: int = 0) -> None:
    """Compute and measure everything; finished steps are kept in `folder`, and taken up again from there.

    Writes NAME/curves/curves.parquet for each network, likewise search, predictions and budgets, and for LeNet-5
    `committee_files`.
    """
    for studied in networks:
        weights = sum(float(each.double().abs().sum()) for each in studied.module.state_dict().values())
        origin: Row = {"digest": studied.images.digest, "weights": weights, "seed": seed, "network": studied.name}
        origin |= {"densities": studied.densities}
        own: Row = {"search": {"bound": studied.search}, "budgets": {"bound": studied.search}, "predictions": {}}
        own |= {"curves": {name: getattr(studied, name) for name in ("bounds", "uniform", "widths")}}
        planner = functools.cache(partial(studied.planner, seed=seed))  # analysed when a step first asks for it
        makers: dict[str, Callable[[], list[Row]]] = {
            "budgets": partial(_budgets, studied, seed),
            "predictions": partial(_predictions, studied, planner, seed),
            "curves": partial(_curves, studied, planner),
            "search": partial(_search, studied, seed, folder / studied.name / "search" / "trials.journal"),
        }
        for name, make in makers.items():
            with Stages(folder / studied.name / name) as stages:
                part = origin | own[name]
                stages.run(f"{name}.parquet", part, _writer(FILES[name], make, part))
        if studied.name == LENET_5.name:
            with Stages(folder / studied.name / "committee") as stages:
                _committee(studied, stages, origin | {"bound": studied.search})


def committee_files(folder: Path) -> list[Path]:
    """What the study of the committee leaves in its folder: a file for each number of inputs and way of choosing."""
    where = folder / LENET_5.name / "committee"
    return [where / _committee_file(number, how) for number in COMMITTEE_NUMBERS for how in ("committee", "random")]


def _committee_file(number: int, how: str) -> str:
    return f"{how}_{number}.parquet"


def _writer(columns: list[Column], make: Callable[[], list[Row]], origin: Mapping[str, Any]) -> Callable[[Path], None]:
    return lambda path: write_results(path, table_of(columns, make()), provenance(origin))


class _Judge:
    """Runs containers of a network over the test images."""

    def __init__(self, studied: StudiedNetwork, planner: Planner, images: int | None = None) -> None:
        self.planner = planner
        self.images = studied.images.test_images[:images]
        self.labels = studied.images.test_labels[:images]
        self.before = run_batches(planner.module, self.images)

    def __call__(self, model: CompressedModel) -> Row:
        after = run_batches(self.planner.changed(model), self.images)
        return {
            "size_bytes": model.size_bytes,
            "accuracy": float((after.argmax(axis=1) == self.labels).mean()),
            "accuracy_before": float((self.before.argmax(axis=1) == self.labels).mean()),
            "divergence": Tolerance(divergence=1).measure(self.before, after, None),
        }


def _curves(studied: StudiedNetwork, analysed: Callable[[], Planner]) -> list[Row]:
    """Size against accuracy for each method."""
    planner = analysed()
    judge = _Judge(studied, planner)
    settings = list(itertools.product(studied.uniform, studied.widths))
    rows = []
    with progress_bar("points of the curves", 3 * len(studied.bounds) + len(settings)) as advance:
        for method, points in (
            ("planned", _planned(studied, planner)),
            ("uniform", _uniform(studied, settings)),
            ("scan", _scanned(studied, planner)),
            ("tolerances", _within_tolerances(studied, planner)),
        ):
            for setting, evaluations, model in points:
                row = {"network": studied.name, "method": method, "setting": setting, "evaluations": evaluations}
                rows.append(row | judge(model))
                advance()
    return rows


def _analysis_evaluations(studied: StudiedNetwork) -> float:
    """What the analysis takes, in runs over the pool: a pass back is as much work as two forward."""
    return 3 * min(ANALYSED, len(studied.pool)) / len(studied.pool)


Point = tuple[str, float, CompressedModel]


def _planned(studied: StudiedNetwork, planner: Planner) -> Iterator[Point]:
    for bound in studied.bounds:
        plan = planner.plan(Tolerance(divergence=bound))
        yield f"divergence {bound}", _analysis_evaluations(studied) + plan.measurements, plan.apply(studied.module)


def _uniform(studied: StudiedNetwork, settings: Sequence[tuple[float, int]]) -> Iterator[Point]:
    for number, (density, bits) in enumerate(settings):
        yield f"density {density}, {bits} bits", number + 1.0, _magnitude(studied, {}, density, bits)


def _magnitude(
    studied: StudiedNetwork, layers: Mapping[str, Choice], density: float = 1.0, weight_bits: int = 8
) -> CompressedModel:
    """Magnitude pruning and k-means in one step: of all layers alike but those that have a choice of their own."""
    parameters = {name: values.numpy() for name, values in studied.module.state_dict().items()}
    config = CompressionConfig(
        LayerSettings(density, weight_bits, share_bias=False, codebook_bits=16),
        layers={name: {"density": each.density, "weight_bits": each.weight_bits} for name, each in layers.items()},
        tensor_bits=16,
    )
    return compress_parameters(parameters, config)[0]


def _scanned(studied: StudiedNetwork, planner: Planner) -> Iterator[Point]:
    """Each layer's densities and widths tried alone, on the network itself; then, for each limit, the smallest file.

    What several layers do to the outputs is taken to be the sum of what each does alone.
    """
    names = [unit.name for unit in planner.units]
    settings = list(itertools.product(studied.densities[::2], studied.widths[:-1]))
    tried: list[list[tuple[Choice, float, float]]] = []
    evaluations = 0.0
    measure = Tolerance(divergence=1).measure
    with progress_bar("scanning layers", len(names)) as advance:
        for name in names:
            of_layer = []
            for density, bits in settings:
                choice = Choice(density, bits)
                model = _magnitude(studied, {name: choice})
                changed = planner.changed(model)
                used = measure(planner.outputs, run_batches(changed, planner.pool), None)
                evaluations += 1
                size = next(each.total for each in model.size_report.layers if each.name == name)
                of_layer.append((choice, max(used, 0.0), float(size)))
            tried.append(of_layer)
            advance()
    costs = [np.array([size for _, _, size in of_layer]) for of_layer in tried]
    changes = [np.array([used for _, used, _ in of_layer]) for of_layer in tried]
    for bound in np.geomspace(studied.bounds[0] / 4, studied.bounds[-1], 3 * len(studied.bounds)):
        found = choose(costs, {"divergence": (changes, float(bound))})
        if found is None:
            continue
        evaluations += 1
        layers = {name: of_layer[place][0] for name, of_layer, place in zip(names, tried, found, strict=True)}
        yield f"sum of divergences {bound:.4g}", evaluations, _magnitude(studied, layers)


def _within_tolerances(studied: StudiedNetwork, planner: Planner) -> Iterator[Point]:
    for bound in studied.bounds:
        yield f"divergence {bound}", -1.0, planner.within_tolerances(Tolerance(divergence=bound))


def _predictions(studied: StudiedNetwork, analysed: Callable[[], Planner], seed: int) -> list[Row]:
    """Random plans, from harmless to ruinous: what is predicted of them, and what is measured on test images."""
    planner = analysed()
    draw = np.random.default_rng(seed)
    judge = _Judge(studied, planner, 1000)
    tolerance = Tolerance(divergence=1)
    low, high = (math.log(planner.change_of(tolerance, used)) for used in (1e-3, 0.5))
    rows = []
    with progress_bar("measuring random plans", RANDOM_PLANS) as advance:
        for _ in range(RANDOM_PLANS):
            goals = np.exp(draw.uniform(low, high) + draw.normal(0, 1.5, len(planner.units))) / len(planner.units)
            chosen = [
                min(of_layer, key=lambda each, goal=goal: abs(math.log(each.change / goal)))  # type: ignore[misc]
                for of_layer, goal in zip(planner.candidates, goals, strict=True)
            ]
            choices = {unit.name: each.choice for unit, each in zip(planner.units, chosen, strict=True)}
            after = run_batches(planner.changed(planner.apply(studied.module, choices)), judge.images)
            rows.append(
                {
                    "network": studied.name,
                    "predicted": planner.expected(tolerance, sum(each.change for each in chosen)),
                    "measured": tolerance.measure(judge.before, after, None),
                    "changed_answers": float((after.argmax(axis=1) != judge.before.argmax(axis=1)).mean()),
                }
            )
            advance()
    return rows


def _search(studied: StudiedNetwork, seed: int, journal: Path) -> list[Row]:
    """A plan, and 200 trials of Optuna's TPE over the same choices on the same pool, for one bound.

    journal   file of the finished trials, from which a search that was cut off goes on
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    planner = studied.planner(seed=seed)  # that knows nothing from other plans
    judge = _Judge(studied, planner)
    tolerance = Tolerance(divergence=studied.search)
    plan = planner.plan(tolerance)
    row = {"network": studied.name, "bound": studied.search, "method": "planned"}
    row |= {"evaluations": _analysis_evaluations(studied) + plan.measurements}
    of_plan = judge(plan.apply(studied.module))
    rows: list[Row] = [row | {name: of_plan[name] for name in ("size_bytes", "accuracy")}]
    names = [unit.name for unit in planner.units]

    def compressed(values: Mapping[str, Any]) -> CompressedModel:
        choices = {name: Choice(values[f"{name} density"], values[f"{name} weight_bits"]) for name in names}
        return planner.apply(studied.module, choices)

    def objective(trial: optuna.Trial) -> float:
        for name in names:
            trial.suggest_categorical(f"{name} density", studied.densities)
            trial.suggest_int(f"{name} weight_bits", min(WEIGHT_BITS), max(WEIGHT_BITS))
        model = compressed(trial.params)
        used = tolerance.measure(planner.outputs, run_batches(planner.changed(model), planner.pool), None)
        trial.set_constraint("divergence", used - tolerance.bound)
        trial.set_user_attr("kept", used <= tolerance.bound)
        advance()
        return float(model.size_bytes)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True),
        study_name=studied.name,
        load_if_exists=True,
    )
    finest = {f"{name} density": max(studied.densities) for name in names}
    study.enqueue_trial(finest | {f"{name} weight_bits": max(WEIGHT_BITS) for name in names}, skip_if_exists=True)
    complete = (optuna.trial.TrialState.COMPLETE,)
    left = TRIALS - len(study.get_trials(states=complete))
    with progress_bar("black-box search", max(left, 0)) as advance:
        if left > 0:
            study.optimize(objective, n_trials=left)
    best_size, best = -1, {}
    for number, trial in enumerate(study.get_trials(states=complete)):
        size = int(trial.value or 0)
        if trial.user_attrs["kept"] and (best_size < 0 or size < best_size):
            best_size, best = size, trial.params
        rows.append(
            row | {"method": "black box", "evaluations": number + 1.0, "size_bytes": best_size, "accuracy": -1.0}
        )
    if best:
        rows[-1]["accuracy"] = judge(compressed(best))["accuracy"]
    return rows


def _budgets(studied: StudiedNetwork, seed: int) -> list[Row]:
    """A first plan for the array, then other budgets from the same analysis; a few inputs; a budget out of reach."""
    tolerance = Tolerance(divergence=studied.search)
    rows = []

    def add(asked: str, begin: float, plan: Any) -> None:
        rows.append(
            {
                "network": studied.name,
                "asked": asked,
                "seconds": time.perf_counter() - begin,
                "measurements": plan.measurements,
                "size_bytes": plan.costs["file_bytes"],
                "latency_us": plan.costs["latency_us"],
                "energy_uj": plan.costs["energy_uj"],
                "used": plan.used,
                "bound": tolerance.bound,
                "confidence": -1.0 if plan.confidence is None else plan.confidence,
                "feasible": plan.feasible,
                "binding": ", ".join(plan.binding),
                "nearest": ", ".join(f"{name} {value:.4g}" for name, value in plan.nearest.items()),
            }
        )

    begin = time.perf_counter()
    cost = ArrayCost(studied.module, studied.pool[:4], ArrayConfig(num_pes=8))
    planner = studied.planner(cost=cost, seed=seed)
    first = planner.plan(tolerance)
    add("the smallest file", begin, first)
    for share in (0.9, 0.75, 0.6):
        begin = time.perf_counter()
        add(f"latency of {share:.0%}", begin, first.replan(Budget(latency_us=share * first.costs["latency_us"])))
    begin = time.perf_counter()
    add("energy of 80 %", begin, first.replan(Budget(energy_uj=0.8 * first.costs["energy_uj"])))
    begin = time.perf_counter()
    add("half the file", begin, planner.plan(tolerance, Budget(file_bytes=0.5 * first.costs["file_bytes"])))
    begin = time.perf_counter()
    few = Planner(studied.module, studied.pool[:64], cost=cost, densities=studied.densities, seed=seed)
    add("from 64 inputs", begin, few.plan(tolerance))
    return rows


def _committee(studied: StudiedNetwork, stages: Stages, origin: Mapping[str, Any]) -> None:
    """Plans on few inputs, chosen by a committee or at random: does the bound hold on the test images?"""
    pool = studied.images.train_images[TRAINED_ON : TRAINED_ON + COMMITTEE_POOL]
    tolerance = Tolerance(divergence=studied.search, confidence=COMMITTEE_CONFIDENCE)
    before = run_batches(studied.module, studied.images.test_images)

    def row(how: str, number: int, seed: int) -> Row:
        if how == "random":
            places, weights = np.random.default_rng(seed).permutation(len(pool))[:number], None
        else:
            chosen = choose_inputs(studied.module, pool, number, tolerance, seed=seed)
            places, weights = chosen.places, chosen.weights
        planner = Planner(
            studied.module,
            pool[places],
            weights=weights,
            densities=studied.densities[1:],
            weight_bits=(2, 3, 4),
            seed=seed,
        )
        model = planner.plan(tolerance).apply(studied.module)
        after = run_batches(planner.changed(model), studied.images.test_images)
        return {
            "how": how,
            "number": number,
            "seed": seed,
            "size_bytes": model.size_bytes,
            "bound": tolerance.bound,
            "divergence": tolerance.measure(before, after, None),
        }

    rounds = [(number, how) for number in COMMITTEE_NUMBERS for how in ("committee", "random")]
    with progress_bar("plans from few inputs", len(rounds) * COMMITTEE_SEEDS) as advance:
        for number, how in rounds:
            part = {**origin, "number": number, "how": how, "pool": COMMITTEE_POOL, "confidence": COMMITTEE_CONFIDENCE}

            def make(number: int = number, how: str = how) -> list[Row]:
                found = []
                for seed in range(COMMITTEE_SEEDS):
                    found.append(row(how, number, seed))
                    advance()
                return found

            stages.run(_committee_file(number, how), part, _writer(COMMITTEE_COLUMNS, make, part))
