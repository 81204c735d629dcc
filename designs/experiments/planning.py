"""Planned compression compared with other methods, without retraining: LeNet-5 and ResNet-20 (PyTorch needed).

The other methods are one density and width for all layers, a scan of each layer's sensitivity, tolerances of the
weights alone, and a black-box search over the plan's own choices. Test images are used for reported results alone.
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
import torch

from compress.config import CompressionConfig, LayerSettings
from compress.container.model import CompressedModel
from compress.one_shot import compress_parameters
from compress.planning.committee import choose_inputs
from compress.planning.knapsack import choose
from compress.planning.outputs import run_batches
from compress.planning.plan import Budget, Choice, Tolerance
from compress.planning.planner import DENSITIES, WEIGHT_BITS, Planner, make_planner
from compress.training.fine_tuning import train
from designs.codesigns.array_cost import ArrayCost
from designs.experiments.lenet import LENET_5, build_lenet, load_parameters, save_parameters
from designs.experiments.resnet import ResNet20
from designs.result_files import COMMITTEE_COLUMNS, PLANNING_COLUMNS, committee_folder, planning_file
from designs.results import Column, provenance, table_of, write_results
from designs.stages import Stages
from sim import ArrayConfig
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

Row = dict[str, Any]
Floats = npt.NDArray[Any]

TRAINED_ON, TRAINING_EPOCHS = 50_000, 6  # MNIST's other 10,000 training images are the pool
ANALYSED = 256
TRIALS, RANDOM_PLANS = 200, 200
COMMITTEE_NUMBERS, COMMITTEE_SEEDS = (16, 32, 64, 128), 10
COMMITTEE_POOL, COMMITTEE_CONFIDENCE = 4000, 0.9


@dataclass(frozen=True, eq=False)
class PlannedNetwork:
    """Trained network, the inputs it is planned on, and the settings of each method.

    Attributes
    ----------
    name : str
        Name in the result files.
    module : torch.nn.Module
        Trained network.
    pool : float32 [inputs, pixels]
        Unlabelled inputs.
    images : ImageSet
        Images whose test part the results are measured on.
    densities : tuple of float
        Densities that plans choose from.
    bounds : tuple of float
        Bounds on the divergence on the pool, one plan for each.
    uniform : tuple of float
        Densities for all layers alike.
    widths : tuple of int
        Code widths combined with each uniform density; the scan takes all but the last.
    search : float
        Bound of the black-box search.
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
        """Return a planner of the network on its pool."""
        chosen = range(min(ANALYSED, len(self.pool)))
        return make_planner(self.module, self.pool, analysed=chosen, densities=self.densities, **options)


def lenet(images: ImageSet, folder: Path, seed: int = 0) -> PlannedNetwork:
    """Return LeNet-5, trained on 50,000 of MNIST's training images and kept in `folder`; the pool is of the others."""
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
    return PlannedNetwork(
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


def resnet(module: ResNet20, images: ImageSet) -> PlannedNetwork:
    """Return a trained ResNet-20; the pool is of CIFAR-10's training images."""
    return PlannedNetwork(
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


def run_planning(networks: Sequence[PlannedNetwork], folder: Path, seed: int = 0) -> None:
    """Run all methods on each network and measure them.

    Parameters
    ----------
    networks : sequence of PlannedNetwork
        Networks to plan.
    folder : Path
        Folder of the results; an interrupted run resumes from it. It gets a `planning_file` for each network and part,
        and for LeNet-5 the `committee_files`.
    seed : int
        Seed of the plans and of the search.
    """
    for network in networks:
        weights = sum(float(values.double().abs().sum()) for values in network.module.state_dict().values())
        origin: Row = {"digest": network.images.digest, "weights": weights, "seed": seed, "network": network.name}
        origin |= {"densities": network.densities}
        own: Row = {"search": {"bound": network.search}, "budgets": {"bound": network.search}, "predictions": {}}
        own |= {"curves": {name: getattr(network, name) for name in ("bounds", "uniform", "widths")}}
        planner = functools.cache(partial(network.planner, seed=seed))  # analyses at its first use
        makers: dict[str, Callable[[], list[Row]]] = {
            "budgets": partial(_budgets, network, seed),
            "predictions": partial(_predictions, network, planner, seed),
            "curves": partial(_curves, network, planner),
            "search": partial(_search, network, seed, folder / network.name / "search" / "trials.journal"),
        }
        for name, make in makers.items():
            path = planning_file(folder, network.name, name)
            with Stages(path.parent) as stages:
                part = origin | own[name]
                stages.run(path.name, part, _writer(PLANNING_COLUMNS[name], make, part))
        if network.name == LENET_5.name:
            with Stages(committee_folder(folder)) as stages:
                _committee(network, stages, origin | {"bound": network.search})


def _writer(columns: list[Column], make: Callable[[], list[Row]], origin: Mapping[str, Any]) -> Callable[[Path], None]:
    return lambda path: write_results(path, table_of(columns, make()), provenance(origin))


class _Judge:
    """Measurement of containers of a network on the test images."""

    def __init__(self, network: PlannedNetwork, planner: Planner, images: int | None = None) -> None:
        self.planner = planner
        self.images = network.images.test_images[:images]
        self.labels = network.images.test_labels[:images]
        self.before = run_batches(planner.module, self.images)

    def __call__(self, model: CompressedModel) -> Row:
        after = run_batches(self.planner.changed(model), self.images)
        return {
            "size_bytes": model.size_bytes,
            "accuracy": float((after.argmax(axis=1) == self.labels).mean()),
            "accuracy_before": float((self.before.argmax(axis=1) == self.labels).mean()),
            "divergence": Tolerance(divergence=1).measure(self.before, after, None),
        }


def _curves(network: PlannedNetwork, analysed: Callable[[], Planner]) -> list[Row]:
    """Measure size against accuracy for each method."""
    planner = analysed()
    judge = _Judge(network, planner)
    settings = list(itertools.product(network.uniform, network.widths))
    rows = []
    with progress_bar("computing the curves", 3 * len(network.bounds) + len(settings)) as advance:
        for method, points in (
            ("planned", _planned(network, planner)),
            ("uniform", _uniform(network, settings)),
            ("scan", _scanned(network, planner)),
            ("tolerances", _within_tolerances(network, planner)),
        ):
            for setting, evaluations, model in points:
                row = {"network": network.name, "method": method, "setting": setting, "evaluations": evaluations}
                rows.append(row | judge(model))
                advance()
    return rows


def _analysis_evaluations(network: PlannedNetwork) -> float:
    """Return the cost of the analysis in runs over the pool; a backward pass counts as two forward ones."""
    return 3 * min(ANALYSED, len(network.pool)) / len(network.pool)


Point = tuple[str, float, CompressedModel]


def _planned(network: PlannedNetwork, planner: Planner) -> Iterator[Point]:
    for bound in network.bounds:
        plan = planner.plan(Tolerance(divergence=bound))
        evaluations = _analysis_evaluations(network) + plan.measurements
        yield f"divergence {bound}", evaluations, planner.compress(network.module, plan)


def _uniform(network: PlannedNetwork, settings: Sequence[tuple[float, int]]) -> Iterator[Point]:
    for number, (density, bits) in enumerate(settings):
        yield f"density {density}, {bits} bits", number + 1.0, _magnitude(network, {}, density, bits)


def _magnitude(
    network: PlannedNetwork, layers: Mapping[str, Choice], density: float = 1.0, weight_bits: int = 8
) -> CompressedModel:
    """Prune by magnitude and share by k-means in one step; `layers` overrides the settings of all layers."""
    parameters = {name: values.numpy() for name, values in network.module.state_dict().items()}
    config = CompressionConfig(
        LayerSettings(density, weight_bits, share_bias=False, codebook_bits=16),
        layers={name: {"density": own.density, "weight_bits": own.weight_bits} for name, own in layers.items()},
        tensor_bits=16,
    )
    return compress_parameters(parameters, config)[0]


def _scanned(network: PlannedNetwork, planner: Planner) -> Iterator[Point]:
    """Try each layer's densities and widths alone on the network; then choose the smallest file for each limit.

    The divergence of several compressed layers is assumed to be the sum of their own.
    """
    names = [unit.name for unit in planner.units]
    settings = list(itertools.product(network.densities[::2], network.widths[:-1]))
    tried: list[list[tuple[Choice, float, float]]] = []
    evaluations = 0.0
    measure = Tolerance(divergence=1).measure
    with progress_bar("scanning layers", len(names)) as advance:
        for name in names:
            options = []
            for density, bits in settings:
                choice = Choice(density, bits)
                model = _magnitude(network, {name: choice})
                changed = planner.changed(model)
                used = measure(planner.outputs, run_batches(changed, planner.pool), None)
                evaluations += 1
                size = next(layer.total for layer in model.size_report.layers if layer.name == name)
                options.append((choice, max(used, 0.0), float(size)))
            tried.append(options)
            advance()
    costs = [np.array([size for _, _, size in options]) for options in tried]
    changes = [np.array([used for _, used, _ in options]) for options in tried]
    for bound in np.geomspace(network.bounds[0] / 4, network.bounds[-1], 3 * len(network.bounds)):
        places = choose(costs, {"divergence": (changes, float(bound))})
        if places is None:
            continue
        evaluations += 1
        layers = {name: options[place][0] for name, options, place in zip(names, tried, places, strict=True)}
        yield f"sum of divergences {bound:.4g}", evaluations, _magnitude(network, layers)


def _within_tolerances(network: PlannedNetwork, planner: Planner) -> Iterator[Point]:
    for bound in network.bounds:
        yield f"divergence {bound}", -1.0, planner.within_tolerances(Tolerance(divergence=bound))


def _predictions(network: PlannedNetwork, analysed: Callable[[], Planner], seed: int) -> list[Row]:
    """Measure random plans, from harmless to ruinous, on test images and compare them with the predictions."""
    planner = analysed()
    draw = np.random.default_rng(seed)
    judge = _Judge(network, planner, 1000)
    tolerance = Tolerance(divergence=1)
    low, high = (math.log(planner.change_of(tolerance, used)) for used in (1e-3, 0.5))
    rows = []
    with progress_bar("measuring random plans", RANDOM_PLANS) as advance:
        for _ in range(RANDOM_PLANS):
            goals = np.exp(draw.uniform(low, high) + draw.normal(0, 1.5, len(planner.units))) / len(planner.units)
            chosen = [
                min(options, key=lambda option, goal=goal: abs(math.log(option.change / goal)))  # type: ignore[misc]
                for options, goal in zip(planner.candidates, goals, strict=True)
            ]
            choices = {unit.name: option.choice for unit, option in zip(planner.units, chosen, strict=True)}
            after = run_batches(planner.changed(planner.compress(network.module, choices)), judge.images)
            rows.append(
                {
                    "network": network.name,
                    "predicted": planner.expected(tolerance, sum(option.change for option in chosen)),
                    "measured": tolerance.measure(judge.before, after, None),
                    "changed_answers": float((after.argmax(axis=1) != judge.before.argmax(axis=1)).mean()),
                }
            )
            advance()
    return rows


def _search(network: PlannedNetwork, seed: int, journal: Path) -> list[Row]:
    """Compare a plan with TRIALS trials of Optuna's TPE over the same choices on the same pool, for one bound.

    An interrupted search resumes from the finished trials in the file `journal`.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    planner = network.planner(seed=seed)  # without knowledge from other plans
    judge = _Judge(network, planner)
    tolerance = Tolerance(divergence=network.search)
    plan = planner.plan(tolerance)
    row = {"network": network.name, "bound": network.search, "method": "planned"}
    row |= {"evaluations": _analysis_evaluations(network) + plan.measurements}
    measured = judge(planner.compress(network.module, plan))
    rows: list[Row] = [row | {name: measured[name] for name in ("size_bytes", "accuracy")}]
    names = [unit.name for unit in planner.units]

    def compressed(values: Mapping[str, Any]) -> CompressedModel:
        choices = {name: Choice(values[f"{name} density"], values[f"{name} weight_bits"]) for name in names}
        return planner.compress(network.module, choices)

    def objective(trial: optuna.Trial) -> float:
        for name in names:
            trial.suggest_categorical(f"{name} density", network.densities)
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
        study_name=network.name,
        load_if_exists=True,
    )
    finest = {f"{name} density": max(network.densities) for name in names}
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


def _budgets(network: PlannedNetwork, seed: int) -> list[Row]:
    """Plan for the array, then for other budgets from the same analysis, one out of reach, and from few inputs."""
    tolerance = Tolerance(divergence=network.search)
    rows = []

    def add(asked: str, begin: float, plan: Any) -> None:
        rows.append(
            {
                "network": network.name,
                "asked": asked,
                "seconds": time.perf_counter() - begin,
                "measurements": plan.measurements,
                "size_bytes": plan.costs["file_bytes"],
                "latency_us": plan.costs["latency_us"],
                "energy_nj": plan.costs["energy_nj"],
                "used": plan.used,
                "bound": tolerance.bound,
                "confidence": -1.0 if plan.confidence is None else plan.confidence,
                "feasible": plan.feasible,
                "binding": ", ".join(plan.binding),
                "nearest": ", ".join(f"{name} {value:.4g}" for name, value in plan.nearest.items()),
            }
        )

    begin = time.perf_counter()
    cost = ArrayCost(network.module, network.pool[:4], ArrayConfig(num_pes=8))
    planner = network.planner(cost=cost, seed=seed)
    first = planner.plan(tolerance)
    add("the smallest file", begin, first)
    for share in (0.9, 0.75, 0.6):
        begin = time.perf_counter()
        budget = Budget(latency_us=share * first.costs["latency_us"])
        add(f"latency of {share:.0%}", begin, planner.replan(first, budget))
    begin = time.perf_counter()
    add("energy of 80 %", begin, planner.replan(first, Budget(energy_nj=0.8 * first.costs["energy_nj"])))
    begin = time.perf_counter()
    add("half the file", begin, planner.plan(tolerance, Budget(file_bytes=0.5 * first.costs["file_bytes"])))
    begin = time.perf_counter()
    few = make_planner(network.module, network.pool[:64], cost=cost, densities=network.densities, seed=seed)
    add("from 64 inputs", begin, few.plan(tolerance))
    return rows


def _committee(network: PlannedNetwork, stages: Stages, origin: Mapping[str, Any]) -> None:
    """Plan on few inputs, chosen by a committee or at random, and measure the plans on the test images."""
    pool = network.images.train_images[TRAINED_ON : TRAINED_ON + COMMITTEE_POOL]
    tolerance = Tolerance(divergence=network.search, confidence=COMMITTEE_CONFIDENCE)
    before = run_batches(network.module, network.images.test_images)

    def row(how: str, number: int, seed: int) -> Row:
        if how == "random":
            places, weights = np.random.default_rng(seed).permutation(len(pool))[:number], None
        else:
            chosen = choose_inputs(network.module, pool, number, tolerance, seed=seed)
            places, weights = chosen.places, chosen.weights
        planner = make_planner(
            network.module,
            pool[places],
            weights=weights,
            densities=network.densities[1:],
            weight_bits=(2, 3, 4),
            seed=seed,
        )
        model = planner.compress(network.module, planner.plan(tolerance))
        after = run_batches(planner.changed(model), network.images.test_images)
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
                rows = []
                for seed in range(COMMITTEE_SEEDS):
                    rows.append(row(how, number, seed))
                    advance()
                return rows

            stages.run(f"{how}_{number}.parquet", part, _writer(COMMITTEE_COLUMNS, make, part))
