"""Distance of searches from the true front, in stated spaces that are small enough to be enumerated.

For each network, the true front of a stated space is found by trying every compression with every array. Three
searches are held against it: that of `designs.codesigns.compression_search`, which enumerates all arrays for each
compression that it tries, and two that try one design at a time, by TPE and at random. The folder of each network
holds:

    truth.parquet      the members of the true front
    space.parquet      sizes of the stated space, and the processor time of its enumeration
    enumeration/       the enumeration itself (`designs.codesigns.exhaustive`)
    SEED/NAME.parquet  distance of one search from the true front, by the number of its trials
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from compress.planning.choices import usual_densities
from compress.planning.plan import Choice
from designs.codesigns.compressions import LARGEST_LAYERS, LIMITS, WORK_WEIGHTS
from designs.codesigns.exhaustive import TrueFront, exhaustive_front
from designs.codesigns.loop import ANALYSIS_FOLDER, analysed, run_study
from designs.codesigns.point import plain_choices
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.quality import regret
from designs.codesigns.search import Search
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.trials import Front
from designs.hypervolume import scaled
from designs.result_files import SEARCH_QUALITY_COLUMNS
from designs.results import provenance, read_results, table_of, write_results
from designs.space import Range, Space
from designs.stages import Stages
from traces import InputError
from traces.arrays import Floats64
from traces.pareto import non_dominated
from traces.shell.progress import progress_bar

Row = dict[str, Any]
SEEDS = 5
COMPRESSION_SEARCH = "compressions"
SEARCHES = (COMPRESSION_SEARCH, "tpe", "random")
"""Searches: of compressions with all arrays, and of designs, by TPE or at random."""
COMPRESSIONS = (12, 24, 48, 96, 200)
"""Trials of searches that try a compression with all arrays."""
DESIGNS = (24, 50, 100, 200, 300)
"""Trials of searches that try a design."""
ARRAYS = MappingProxyType(
    {
        "num_pes": Range(1, 256, factor=2),
        "queue_slots": (2, 8, 16, 64),
        "line_bits": (16, 32, 64, 128),
        "weight_bits": (3, 4, 5),
        "index_bits": (3, 4, 5, 6),
        "clock_mhz": (400.0, 800.0),
    }
)
"""Arrays of the stated spaces: 1,152 for each width of a code."""
_LENET_5_DENSITIES = (0.8, 0.7, 0.6, 0.5, 0.42, 0.36, 0.3, 0.25, 0.2, 0.17, 0.14, 0.12, 0.1, 0.08, 0.07, 0.05, 0.03)
_FREE_IN_RESNET_20 = ("layer1.0.conv1", "layer1.2.conv1", "layer2.1.conv1", "layer2.2.conv1", "layer3.1.conv1")
_STARTUP = 5  # random trials of TPE for each parameter
_WIDTHS = (3, 4, 5)


@dataclass(frozen=True)
class StatedSpace:
    """Stated space of one network.

    Attributes
    ----------
    compression : mapping
        Options of each layer, as `Space` takes them.
    most_loss : float
        Bound on the loss of accuracy.
    hardware : mapping
        Parameters of the arrays, likewise.
    """

    compression: Mapping[str, Any]
    most_loss: float
    hardware: Mapping[str, Any] = field(default_factory=lambda: ARRAYS)

    @property
    def space(self) -> Space:
        """Arrays and compressions."""
        return Space(dict(self.hardware), dict(self.compression))

    @property
    def search(self) -> Search:
        """Objectives and bounds."""
        return Search(bounds={"accuracy_loss": self.most_loss}, trials=COMPRESSIONS[-1])


STATED: Mapping[str, StatedSpace] = MappingProxyType(
    {
        "digits": StatedSpace({"density": usual_densities(3), "weight_bits": _WIDTHS}, 0.05),
        "lenet_300_100": StatedSpace({"density": usual_densities(3), "weight_bits": _WIDTHS}, 0.05),
        "lenet_5": StatedSpace({"density": _LENET_5_DENSITIES, "weight_bits": _WIDTHS}, 0.02),
        "resnet_20": StatedSpace(
            {
                "density": 0.65,
                "weight_bits": 4,
                "layers": {
                    name: {"density": (1.0, 0.8, 0.65, 0.52, 0.42, 0.34, 0.27), "weight_bits": (3, 4, 5)}
                    for name in _FREE_IN_RESNET_20
                },
            },
            0.1,
        ),
    }
)
"""Stated spaces by network; in that of ResNet-20, five layers are free, and the others are the same everywhere."""


class DesignTrials:
    """Search that tries one design at a time: the planner's three parameters, and those of the array.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    sampler : optuna.samplers.BaseSampler
        Sampler of the parameters.

    Attributes
    ----------
    costs : float64 [designs, objectives]
        Costs of the feasible designs so far.
    """

    def __init__(self, problem: CodesignProblem, sampler: optuna.samplers.BaseSampler) -> None:
        self._problem, self._objectives = problem, problem.search.objectives
        self._study = optuna.create_study(directions=["minimize"] * len(self._objectives), sampler=sampler)
        self._planned: dict[tuple[int, ...], dict[str, Choice]] = {}
        widths = [[each.choice.weight_bits for each in of_layer] for of_layer in problem.options.candidates]
        self._narrowest = max(map(min, widths))  # codes that every layer can have
        self.costs: Floats64 = np.zeros((0, len(self._objectives)))

    def run(self, trials: int) -> None:
        """Try more designs."""
        for _ in range(trials):
            trial = self._study.ask()
            values = {
                name: parameter.values[trial.suggest_int(name, 0, len(parameter.values) - 1)]
                for name, parameter in self._problem.space.hardware_parameters().items()
                if parameter.values is not None
            }
            values["weight_bits"] = max(values["weight_bits"], self._narrowest)
            steps = [trial.suggest_int(name, 0, steps - 1) for name, steps in _STEPS.items()]
            try:
                point = self._problem.predict(
                    self._problem.design_of(values), self._plan((*steps, values["weight_bits"]))
                )
            except InputError:  # no such array can be built, or it does not run the network
                self._study.tell(trial, state=TrialState.PRUNED)
                continue
            for name, excess in point.excesses.items():
                trial.set_constraint(name, excess)
            costs = [[point.figures[name] for name in self._objectives]]
            self._study.tell(trial, scaled(self._objectives, costs)[0].tolist())
            if point.feasible:
                self.costs = np.concatenate([self.costs, costs])

    def _plan(self, parameters: tuple[int, ...]) -> dict[str, Choice]:
        """Return the plan of a limit, a weight of work, a largest layer and the bits of a code."""
        if parameters not in self._planned:
            limit, work_weight, largest_layer, weight_bits = parameters
            change = float(self._problem.analysis.limits[limit])
            plan = self._problem.options.plan(change, work_weight, largest_layer, weight_bits)
            self._planned[parameters] = {name: each.choice for name, each in plan.items()}
        return self._planned[parameters]


_STEPS = {"limit": LIMITS, "work_weight": WORK_WEIGHTS, "largest_layer": LARGEST_LAYERS}


def _sampler(name: str, problem: CodesignProblem) -> optuna.samplers.BaseSampler:
    seed = problem.search.seed
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    varied = sum(each.varies for each in problem.space.hardware_parameters().values())
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP * (varied + len(_STEPS)))


def design_search(
    name: str, problem: CodesignProblem, true_costs: Floats64, trials: Sequence[int] = DESIGNS
) -> list[Row]:
    """Run a search that tries one design at a time.

    Parameters
    ----------
    name : str
        tpe or random.
    problem : CodesignProblem
        The problem, with the seed.
    true_costs : float64 [members, objectives]
        Costs of the true front.
    trials : sequence of int
        Numbers of trials after which the front is held against the true one, increasing.

    Returns
    -------
    list of dict
        Values of SEARCH_QUALITY_COLUMNS["searches"] without network and seed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search, rows, done, processor_s = DesignTrials(problem, _sampler(name, problem)), [], 0, 0.0
    with progress_bar(f"searching, {name}", len(trials)) as advance:
        for number in trials:
            began = time.process_time()
            search.run(number - done)
            processor_s += time.process_time() - began
            done = number
            advance()
            rows.append(_row(name, problem, search.costs, true_costs) | _effort(number, number, processor_s))
    return rows


def compression_search(
    problem: CodesignProblem, true_costs: Floats64, trials: Sequence[int] = COMPRESSIONS
) -> list[Row]:
    """Run the search that tries a compression with all arrays, and resume it with more and more trials.

    The arguments and the rows are as in `design_search`. The processor time includes that of resuming.
    """
    rows, processor_s = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in trials:
            longer = CodesignProblem(problem.analysis, problem.space, replace(problem.search, trials=number))
            assert longer.options  # made before the search is timed
            began = time.process_time()
            tried = run_study(longer, Path(folder))
            processor_s += time.process_time() - began
            costs = Front.of(tried, problem.search.objectives).costs
            row = _row(COMPRESSION_SEARCH, problem, costs, true_costs)
            rows.append(row | _effort(number, sum(trial.tried for trial in tried), processor_s))
    return rows


def _row(name: str, problem: CodesignProblem, costs: Floats64, true_costs: Floats64) -> Row:
    if not len(costs):
        return {"search": name, "members": 0, "hypervolume": 0.0, "found": 0.0, "matched": 0.0, "worst": math.inf}
    front = costs[non_dominated(costs, keep_equal=False)]
    return {"search": name, "members": len(front)} | dataclasses.asdict(
        regret(problem.search.objectives, front, true_costs)
    )


def _effort(trials: int, designs: int, processor_s: float) -> Row:
    return {"trials": trials, "designs": designs, "processor_s": processor_s}


def run_search_quality(
    networks: Mapping[str, Callable[[], TrainedNetwork]],
    folder: Path,
    seeds: Sequence[int] = range(SEEDS),
    stated: Mapping[str, StatedSpace] = STATED,
    compressions: Sequence[int] = COMPRESSIONS,
    designs: Sequence[int] = DESIGNS,
) -> None:
    """Enumerate the stated space of each network, and hold searches against its true front.

    Parameters
    ----------
    networks : mapping of str to callable
        What opens each network, by name.
    folder : Path
        Folder of the results. The same call resumes an interrupted run.
    seeds : sequence of int
        Seeds of the searches.
    stated : mapping of str to StatedSpace
        Stated space of each network.
    compressions, designs : sequence of int
        Numbers of trials of the searches that try compressions, and of those that try designs, increasing.

    Raises
    ------
    InputError
        As `designs.codesign` does.
    """
    for name, open_network in networks.items():
        case = stated[name]
        analysis = analysed(open_network(), case.search, case.space, folder / name / ANALYSIS_FOLDER)
        _Case(name, CodesignProblem(analysis, case.space, case.search), folder / name).run(seeds, compressions, designs)


class _Case:
    """Stated space of one network, with the folder of its results."""

    def __init__(self, name: str, problem: CodesignProblem, folder: Path) -> None:
        self._problem, self._folder = problem, folder
        self._name, self._origin = name, problem.origin()

    def run(self, seeds: Sequence[int], compressions: Sequence[int], designs: Sequence[int]) -> None:
        """Enumerate the space, and run the searches with each seed."""
        with Stages(self._folder) as stages:
            stages.run("truth.parquet", self._origin, self._writer("truth", self._members))
            stages.run("space.parquet", self._origin, self._writer("space", lambda: [self._size()]))
        table = read_results(self._folder / "truth.parquet", SEARCH_QUALITY_COLUMNS["truth"])[0]
        true_costs = np.stack([table[name].to_numpy() for name in self._problem.search.objectives], axis=1)
        for seed in seeds:
            with Stages(self._folder / str(seed)) as stages:
                for search in SEARCHES:
                    trials = compressions if search == COMPRESSION_SEARCH else designs
                    origin = self._origin | {
                        "seed": seed,
                        "trials": list(trials),
                        "truth": zlib.crc32(true_costs.tobytes()),
                    }
                    rows = functools.partial(self._searched, search, seed, trials, true_costs)
                    stages.run(f"{search}.parquet", origin, self._writer("searches", rows))

    @functools.cached_property
    def _truth(self) -> tuple[TrueFront, float]:
        """The true front, and the processor time of its enumeration from the beginning."""
        folder = self._folder / "enumeration"
        shutil.rmtree(folder, ignore_errors=True)
        began = time.process_time()
        return exhaustive_front(self._problem, folder), time.process_time() - began

    def _writer(self, part: str, make: Callable[[], list[Row]]) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            rows = [{"network": self._name} | row for row in make()]
            write_results(path, table_of(SEARCH_QUALITY_COLUMNS[part], rows), provenance(self._origin))

        return write

    def _members(self) -> list[Row]:
        objectives, varied = self._problem.search.objectives, self._problem.space.hardware
        rows: list[Row] = []
        for trial in self._truth[0].trials:
            designs, choices = trial.designs, json.dumps(plain_choices(trial.choices))
            for place, costs in enumerate(designs.costs(objectives).tolist()):
                array = {name: designs.hardware[name][place].item() for name in varied}
                costs_by_name = dict(zip(objectives, costs, strict=True))
                rows.append({"choices": choices, "array": json.dumps(array)} | costs_by_name)
        if not rows:
            raise InputError(
                f"{self._name}: one of {self._truth[0].designs:,} designs must keep all bounds; found none; relax them"
            )
        return rows

    def _size(self) -> Row:
        truth, processor_s = self._truth
        return {
            "most_loss": self._problem.search.most_loss,
            "compressions": truth.compressions,
            "arrays": len(self._problem.enumeration.grid),
            "designs": truth.designs,
            "members": truth.members,
            "member_compressions": len(truth.trials),
            "processor_s": processor_s,
        }

    def _searched(self, name: str, seed: int, trials: Sequence[int], true_costs: Floats64) -> list[Row]:
        problem = self._fresh(seed)
        if name == COMPRESSION_SEARCH:
            rows = compression_search(problem, true_costs, trials)
        else:
            rows = design_search(name, problem, true_costs, trials)
        return [{"seed": seed} | row for row in rows]

    def _fresh(self, seed: int) -> CodesignProblem:
        """Return the problem as a search finds it: the network is analysed, and no layer is counted."""
        problem = self._problem
        analysis = replace(problem.analysis, array_cost=problem.analysis.array_cost.without_counts())
        fresh = CodesignProblem(analysis, problem.space, replace(problem.search, seed=seed))
        assert fresh.options  # made before the search is timed
        return fresh
