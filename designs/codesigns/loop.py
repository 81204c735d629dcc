"""Co-design: compression and array searched together, the front verified for real (PyTorch needed).

In the folder of a study:

    study.journal      the study in Optuna's own storage, unless a URL says another one; opens in optuna-dashboard
    trials.parquet     every trial, what was predicted of it, and the share of all costs that is beaten so far
    front/*.dc, .json  containers of the members that were verified, and what was measured
    front.parquet      these members, predicted and measured side by side
    layers.parquet     each layer of these members: bytes, cycles and energy by what they are, and a timeline
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt
import optuna
import pyarrow as pa
from optuna.trial import TrialState

from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE, TRIALS_FILE
from designs.codesigns.compressions import CompressionChoices, TrainedNetwork
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.progress import StudyProgress
from designs.codesigns.search import FIGURES, Search
from designs.codesigns.storage import WORKER, StudyWorker, open_storage
from designs.codesigns.trials import (
    DONE,
    ORIGIN,
    POINT,
    REFUSED,
    StudyTrial,
    costs_of,
    feasible_points,
    read_trial,
    read_trials,
    trials_table,
)
from designs.codesigns.verification import FineTune, Verification
from designs.design import design_row
from designs.hypervolume import LOGARITHMIC, CostBox, scaled
from designs.pareto import non_dominated
from designs.results import provenance, table_of, write_results
from designs.space import Space
from traces import InputError
from traces.shell.progress import progress_bar

_STARTUP = 5  # trials at random for each parameter; with fewer, TPE may settle on a value that it saw do well once


def codesign(
    network: TrainedNetwork | CompressionChoices,
    space: Space,
    search: Search | None = None,
    folder: str | os.PathLike[str] = "results/codesign",
    storage: str | None = None,
    name: str = "codesign",
    fine_tune: FineTune | None = None,
    fresh: bool = False,
) -> pa.Table:
    """Search compression and array together; the verified front: FRONT_COLUMNS, a row for each member verified.

    network    a trained network; or the analysis of one, where several searches share it
    space      arrays to choose from; and compression, layer by layer, unless the planner is to choose it
    search     what is minimised, bounded, and how
    folder     of the results; the same call goes on where an earlier one stopped, several processes at once may
    storage    of the study: a URL, or a journal file; None: a journal file in the folder
    name       of the study in its storage
    fine_tune  trains members of the front after compressing them, see `designs.codesigns.verification`
    fresh      begin anew, whatever folder and storage hold

    The table is Arrow's: `.to_pandas()`, Polars and others take it as a data frame. Raises InputError if the space does
    not fit the network, the folder or the storage holds another study or cannot be written, or no design of the study
    keeps all bounds.
    """
    search, folder = search or Search(), Path(folder)
    choices = network if isinstance(network, CompressionChoices) else analysed(network, search)
    problem = CodesignProblem(choices, space, search)
    if fresh:
        remove_study(folder, storage, name)
    try:
        trials = run_study(problem, folder, storage, name)
    except KeyboardInterrupt:  # so that what is there can be looked at
        write_trials(folder, problem, finished_trials(folder, storage, name))
        raise
    with _one_at_a_time(folder):
        write_trials(folder, problem, trials)
        return verified_front(problem, folder, trials, fine_tune)


def analysed(network: TrainedNetwork, search: Search) -> CompressionChoices:
    """The analysis that a search needs: its limits go half as far again as the bound on the loss of accuracy."""
    return CompressionChoices(network, 1.5 * search.bounds.get("accuracy_loss", 0.1), search.seed)


def remove_study(folder: Path, storage: str | None, name: str) -> None:
    """Forget a study and its results. Raises InputError if the storage cannot be opened."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=open_storage(folder, storage))
    for result in (FRONT_FILE, LAYERS_FILE, TRIALS_FILE):
        (folder / result).unlink(missing_ok=True)
    shutil.rmtree(folder / "front", ignore_errors=True)


def run_study(
    problem: CodesignProblem, folder: Path, storage: str | None = None, name: str = "codesign"
) -> list[StudyTrial]:
    """Try designs until the study has as many finished trials as the search asks for; all of them, in order.

    Raises InputError if folder or storage holds another study, or cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return _run_study(problem, folder, storage, name)
    except OSError as error:
        raise InputError(
            f"{folder}: the study cannot be written: {error.strerror or error}; finished trials are kept: make room "
            f"and run the same command again to go on"
        ) from error


def _run_study(problem: CodesignProblem, folder: Path, storage: str | None, name: str) -> list[StudyTrial]:
    search = problem.search
    with StudyWorker(folder) as worker:
        study = _open_study(problem, open_storage(folder, storage), name, folder)
        worker.take_over(study)
        done = study.get_trials(deepcopy=False, states=DONE)
        study.sampler = _sampler(
            search, len(problem.parameters) + len(problem.steps), [search.seed, worker.number, len(done)]
        )
        with StudyProgress(search.objectives, search.trials, len(done)) as progress:
            for trial in done:
                _show(progress, read_trial(trial), search)
            while len(study.get_trials(deepcopy=False, states=DONE)) < search.trials:
                if _unfinished(study) < search.trials:
                    _show(progress, _run_trial(study, problem, worker), search)
                    progress.advance_to(len(study.get_trials(deepcopy=False, states=DONE)))
                elif worker.others_at_work(study):
                    time.sleep(0.1)
                else:  # they were killed meanwhile, or just before they had said who they are
                    worker.take_over(study)
        while worker.others_at_work(study):
            time.sleep(0.1)
        return read_trials(study)


def _unfinished(study: optuna.Study) -> int:
    """Trials that are finished, and those that some process works on."""
    return len(study.get_trials(deepcopy=False, states=(*DONE, TrialState.RUNNING)))


def _open_study(
    problem: CodesignProblem, storage: optuna.storages.BaseStorage, name: str, folder: Path
) -> optuna.Study:
    objectives, origin = problem.search.objectives, problem.origin()
    with _one_at_a_time(folder):
        study = optuna.create_study(
            storage=storage, study_name=name, directions=["minimize"] * len(objectives), load_if_exists=True
        )
        found = study.user_attrs.get(ORIGIN)
        if found is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([f"log10 {name}" if name in LOGARITHMIC else name for name in objectives])
            study.set_user_attr(ORIGIN, origin)
            return study
    different = sorted(key for key in {*found, *origin} if found.get(key) != origin.get(key))
    if different:
        raise InputError(
            f"{folder} holds another study, of which {' and '.join(different)} differ; give another folder with --out, "
            f"or --fresh to begin anew"
        )
    return study


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Any:
    """One process of this folder at a time; the others wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".study.lock"):
            yield
    except OSError as error:
        raise InputError(
            f"{folder}: results cannot be written there: {error.strerror or error}; choose another folder with --out"
        ) from error


def _sampler(search: Search, parameters: int, seeds: Sequence[int]) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if search.sampler == "tpe":
            # Each parameter by itself: together, a few hundred trials are too few to tell which of them did well.
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP * parameters)
        kind = optuna.samplers.NSGAIISampler if search.sampler == "nsga2" else optuna.samplers.NSGAIIISampler
        return kind(seed=seed)


def _run_trial(study: optuna.Study, problem: CodesignProblem, worker: StudyWorker) -> StudyTrial:
    """One trial, from asking to telling; where it is broken off, its design goes back to the queue."""
    trial = study.ask()
    try:
        trial.set_user_attr(WORKER, worker.name)
        try:
            point = problem.point(problem.suggest(trial))
        except InputError as error:
            trial.set_user_attr(REFUSED, str(error))
            study.tell(trial, state=TrialState.PRUNED)
            return StudyTrial(trial.number, None, str(error))
        for name, excess in point.excesses.items():
            trial.set_constraint(name, excess)
        trial.set_user_attr(POINT, point.to_dict())
        study.tell(trial, scaled(problem.search.objectives, costs_of([point], problem.search.objectives))[0].tolist())
        return StudyTrial(trial.number, point)
    except BaseException:
        with contextlib.suppress(Exception):  # what stopped it is what is to be seen
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            if trial.params:
                study.enqueue_trial(trial.params)
        raise


def _show(progress: StudyProgress, trial: StudyTrial, search: Search) -> None:
    if trial.point is not None and trial.point.feasible:
        progress.add([trial.point.figures[name] for name in search.objectives])


def finished_trials(folder: Path, storage: str | None = None, name: str = "codesign") -> list[StudyTrial]:
    """All finished trials of the study of a folder, in order. Raises InputError if the storage cannot be opened."""
    return read_trials(optuna.load_study(study_name=name, storage=open_storage(folder, storage)))


def write_trials(folder: Path, problem: CodesignProblem, trials: Sequence[StudyTrial]) -> pa.Table:
    """Write all trials with the hypervolume after each; the table, TRIAL_COLUMNS."""
    table = trials_table(trials, problem.search.objectives)
    if trials:  # a result file has some
        write_results(folder / TRIALS_FILE, table, provenance(problem.settings()))
    return table


def verified_front(
    problem: CodesignProblem, folder: Path, trials: Sequence[StudyTrial], fine_tune: FineTune | None = None
) -> pa.Table:
    """Compress and measure members of the predicted front, and write them: FRONT_COLUMNS.

    Raises InputError if no design keeps all bounds.
    """
    objectives = problem.search.objectives
    numbered = list(feasible_points(trials).values())
    if not numbered:
        raise InputError(
            f"none of {len(trials):,} designs keeps all bounds{_nearest(trials)}; widen the bounds or the space, or "
            f"give more trials"
        )
    costs = costs_of([point for _, point in numbered], objectives)
    on_front = np.flatnonzero(non_dominated(costs))
    box = CostBox.around(objectives, costs[on_front])
    members = [numbered[on_front[at]] for at in spread_out(box.places(costs[on_front]), problem.search.verify)]
    verification = Verification(problem, folder / "front", fine_tune)
    rows, of_layers = [], {}
    with progress_bar("verifying designs", len(members)) as advance:
        for number, point in members:
            found = verification(point)
            rows.append(_front_row(number, point, found))
            named = {"trial": number, "digest": point.digest}
            of_layers[point.digest] = [named | of_layer for of_layer in found["layers"]]
            advance()
    kept = np.array([row["keeps_bounds"] for row in rows])
    measured = np.array([[row[f"measured_{name}"] for name in objectives] for row in rows])
    best = np.zeros(len(rows), dtype=bool)
    best[kept] = non_dominated(measured[kept])
    for row, each in zip(rows, best, strict=True):
        row["on_front"] = bool(each)
    rows.sort(key=lambda row: (not row["on_front"], row[f"measured_{objectives[0]}"]))
    table = table_of(FRONT_COLUMNS, rows)
    origin = provenance(problem.settings() | {"fine_tuned": fine_tune is not None})
    listed = [of_layer for row in rows for of_layer in of_layers[row["digest"]]]
    write_results(folder / LAYERS_FILE, table_of(LAYER_COLUMNS, listed), origin)
    write_results(folder / FRONT_FILE, table, origin)
    return table


def _nearest(trials: Sequence[StudyTrial]) -> str:
    points = [trial.point for trial in trials if trial.point is not None]
    if not points:
        reasons = sorted({trial.refused for trial in trials})
        return f": {'; '.join(reasons[:3])}" if reasons else ""
    nearest = min(points, key=lambda point: max(point.excesses.values()))
    over = {name: excess for name, excess in nearest.excesses.items() if excess > 0}
    return "; the nearest exceeds " + " and ".join(f"{name} by {excess:.0%}" for name, excess in over.items())


def spread_out(places: npt.NDArray[np.float64], most: int) -> list[int]:
    """At most so many rows of `places` [designs, objectives], each as far as can be from those before it.

    The first ones are the best in each objective.
    """
    if len(places) <= most:
        return list(range(len(places)))
    chosen = list(dict.fromkeys(int(each) for each in places.argmin(axis=0)))[:most]
    distances = np.min([np.abs(places - places[at]).sum(axis=1) for at in chosen], axis=0)
    while len(chosen) < most:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.abs(places - places[chosen[-1]]).sum(axis=1))
    return chosen


def _front_row(number: int, point: CodesignPoint, found: dict[str, Any]) -> dict[str, Any]:
    measured = CodesignPoint.from_dict(found)
    return {
        "trial": number,
        "digest": point.digest,
        **{name: value for name, value in design_row(measured.design).items() if name != "area_mm2"},
        "choices": json.dumps({name: [each.density, each.weight_bits] for name, each in point.choices.items()}),
        **{f"predicted_{name}": point.figures[name] for name in FIGURES},
        **{f"measured_{name}": measured.figures[name] for name in FIGURES},
        "accuracy": found["accuracy"],
        "test_accuracy": found["test_accuracy"],
        "keeps_bounds": measured.feasible,
        "on_front": False,
    }
