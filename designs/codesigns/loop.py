"""Co-design: search of compression and array together, and verification of the Pareto front (PyTorch needed).

The front is the set of Pareto-optimal designs; a member is one of them. Files in the folder of a study:

    study.journal      the study in Optuna's storage, unless it is in a database; optuna-dashboard opens it
    trials.parquet     every trial with its predicted figures, and the hypervolume so far
    front/*.dc, .json  containers and measurements of the verified members of the front
    front.parquet      these members, predicted and measured
    layers.parquet     each layer of these members: bytes, cycles and energy by kind, and a timeline
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import optuna
import pyarrow as pa
from optuna.trial import TrialState

from designs.codesigns.arithmetic import fixed_precisions
from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE, TRIALS_FILE, verified_row
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.progress import StudyProgress
from designs.codesigns.search import Search
from designs.codesigns.storage import WORKER, StudyWorker, open_storage
from designs.codesigns.trained_network import TrainedNetwork
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
from designs.codesigns.uncertainty import VerifiedDesign, check_draws, standings
from designs.codesigns.verification import FineTune, Verification
from designs.hypervolume import LOGARITHMIC, CostBox, scaled
from designs.results import provenance, table_of, write_results
from designs.results_folder import check_origin, unwritable
from designs.space import Space
from sim.cost.constants import drawn_constants
from traces import InputError
from traces.arrays import Floats64
from traces.pareto import non_dominated
from traces.shell.progress import Progress

ANALYSIS_FOLDER = "analysis"
_STARTUP = 5  # random trials per parameter; with fewer, TPE may settle too early


def codesign(
    network: TrainedNetwork | CompressionAnalysis,
    space: Space,
    search: Search | None = None,
    folder: str | os.PathLike[str] = "results/codesign",
    storage: str | None = None,
    name: str = "codesign",
    fine_tune: FineTune | None = None,
    fresh: bool = False,
    kept_analysis: str | os.PathLike[str] | None = None,
    uncertain: int = 0,
) -> pa.Table:
    """Search compression and array together, and verify the front.

    Parameters
    ----------
    network : TrainedNetwork or CompressionAnalysis
        The trained network, or its analysis if several searches share it.
    space : Space
        Space of the arrays. If it has compression, each layer is searched on its own; otherwise the planner
        compresses all layers together.
    search : Search, optional
        Objectives, bounds, trials and sampler.
    folder : path
        Folder of the results. The same call continues an interrupted search; several processes may work at once.
    storage : str, optional
        URL of a database, or path of a journal file, that holds the study. None: a journal file in the folder.
    name : str
        Name of the study in its storage.
    fine_tune : callable, optional
        Function that trains each verified design after pruning and after weight sharing, such as
        `designs.codesigns.verification.Distillation`.
    fresh : bool
        True to remove the results in the folder and the study in its storage, and to begin anew.
    kept_analysis : path, optional
        Folder that keeps the analysis of the network, which plans and other searches share; by default `analysis` in
        the folder of the results.
    uncertain : int
        Draws of the constants of the cost model, each by its sigma (`sim.cost.constants`), for the columns front_share
        and same_as; 0 for none. A finished study gets them from its verified designs, without another search.

    Returns
    -------
    pyarrow.Table
        FRONT_COLUMNS: one row per verified design. `table.to_pylist()` gives the rows as dicts; Polars and pandas, if
        installed, read the table, too.

    Raises
    ------
    InputError
        If the space does not fit the network, the folder or the storage holds another study or cannot be written, no
        design of the study keeps all bounds, or `uncertain` is no number of draws.
    """
    check_draws(uncertain)
    search, folder = search or Search(), Path(folder)
    kept_analysis = folder / ANALYSIS_FOLDER if kept_analysis is None else kept_analysis
    analysis = network if isinstance(network, CompressionAnalysis) else analysed(network, search, space, kept_analysis)
    problem = CodesignProblem(analysis, space, search)
    if fresh:
        remove_study(folder, storage, name)
    try:
        trials = run_study(problem, folder, storage, name)
    except KeyboardInterrupt:  # so that the trials so far can be read
        write_trials(folder, problem, finished_trials(folder, storage, name))
        raise
    with _one_at_a_time(folder):
        write_trials(folder, problem, trials)
        return verified_front(problem, folder, trials, fine_tune, uncertain)


def analysed(
    network: TrainedNetwork, search: Search, space: Space, folder: str | os.PathLike[str] | None = None
) -> CompressionAnalysis:
    """Return the analysis for a search of a space, kept in a folder.

    Its limits go up to 1.5 times the bound on the loss. Plans are measured in each precision of the space.
    """
    return analyse_compression(
        network,
        1.5 * (search.most_loss or 0.1),
        search.seed,
        search.loss,
        search.sampling_error,
        folder,
        fixed_precisions(space),
    )


def remove_study(folder: Path, storage: str | None, name: str) -> None:
    """Remove a study and its results; raise InputError if the storage cannot be opened."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=open_storage(folder, storage))
    for result in (FRONT_FILE, LAYERS_FILE, TRIALS_FILE):
        (folder / result).unlink(missing_ok=True)
    shutil.rmtree(folder / "front", ignore_errors=True)


def run_study(
    problem: CodesignProblem, folder: Path, storage: str | None = None, name: str = "codesign"
) -> list[StudyTrial]:
    """Try designs until the study has `search.trials` finished trials.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of the results.
    storage, name : str, optional
        Storage of the study and its name there, as in `codesign`.

    Returns
    -------
    list of StudyTrial
        All finished trials of the study, in order.

    Raises
    ------
    InputError
        If folder or storage holds another study, or cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return _run_study(problem, folder, storage, name)
    except OSError as error:
        raise InputError(
            f"{folder}: the study cannot be written: {error.strerror or error}; finished trials are kept; make room "
            f"and run the same search again to continue"
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
                if _begun(study) < search.trials:
                    _show(progress, _run_trial(study, problem, worker), search)
                    progress.advance_to(len(study.get_trials(deepcopy=False, states=DONE)))
                elif worker.others_at_work(study):
                    time.sleep(0.1)
                else:  # their processes were killed
                    worker.take_over(study)
        while worker.others_at_work(study):
            time.sleep(0.1)
        return read_trials(study)


def _begun(study: optuna.Study) -> int:
    """Return the number of trials that are finished or that some process works on."""
    return len(study.get_trials(deepcopy=False, states=(*DONE, TrialState.RUNNING)))


def _open_study(
    problem: CodesignProblem, storage: optuna.storages.BaseStorage, name: str, folder: Path
) -> optuna.Study:
    objectives, origin = problem.search.objectives, problem.origin()
    with _one_at_a_time(folder):
        study = optuna.create_study(
            storage=storage, study_name=name, directions=["minimize"] * len(objectives), load_if_exists=True
        )
        previous = study.user_attrs.get(ORIGIN)
        if previous is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([f"log10 {name}" if name in LOGARITHMIC else name for name in objectives])
            study.set_user_attr(ORIGIN, origin)
            return study
    check_origin(folder, "study", previous, origin)
    return study


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Any:
    """Let one process at a time work on this folder; the others wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".study.lock"):
            yield
    except OSError as error:
        raise unwritable(folder, error) from error


def _sampler(search: Search, parameters: int, seeds: Sequence[int]) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if search.sampler == "tpe":
            # TPE models each parameter alone: a few hundred trials are too few for a joint model of all parameters.
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP * parameters)
        kind = optuna.samplers.NSGAIISampler if search.sampler == "nsga2" else optuna.samplers.NSGAIIISampler
        return kind(seed=seed)


def _run_trial(study: optuna.Study, problem: CodesignProblem, worker: StudyWorker) -> StudyTrial:
    """Run one trial; if it is interrupted, its design is enqueued again."""
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
        with contextlib.suppress(Exception):  # the first error is the one to show
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            if trial.params:
                study.enqueue_trial(trial.params)
        raise


def _show(progress: StudyProgress, trial: StudyTrial, search: Search) -> None:
    if trial.point is not None and trial.point.feasible:
        progress.add([trial.point.figures[name] for name in search.objectives])


def finished_trials(folder: Path, storage: str | None = None, name: str = "codesign") -> list[StudyTrial]:
    """Return the finished trials of a folder's study, in order; raise InputError if the storage cannot be opened."""
    return read_trials(optuna.load_study(study_name=name, storage=open_storage(folder, storage)))


def write_trials(folder: Path, problem: CodesignProblem, trials: Sequence[StudyTrial]) -> pa.Table:
    """Write TRIAL_COLUMNS of all trials, and return the table."""
    table = trials_table(trials, problem.search.objectives)
    if trials:  # a result file needs a row
        write_results(folder / TRIALS_FILE, table, provenance(problem.settings()))
    return table


def verified_front(
    problem: CodesignProblem,
    folder: Path,
    trials: Sequence[StudyTrial],
    fine_tune: FineTune | None = None,
    uncertain: int = 0,
) -> pa.Table:
    """Compress and measure members of the predicted front, and write the results.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of the results.
    trials : sequence of StudyTrial
        All finished trials.
    fine_tune : callable, optional
        As in `codesign`.
    uncertain : int
        As in `codesign`.

    Returns
    -------
    pyarrow.Table
        FRONT_COLUMNS, one row per verified design; designs on the measured front come first.

    Raises
    ------
    InputError
        If no design keeps all bounds.
    """
    objectives = problem.search.objectives
    numbered = list(feasible_points(trials).values())
    if not numbered:
        raise InputError(
            f"none of {len(trials):,} designs keeps all bounds{_nearest(trials)}; relax the bounds, widen the space "
            f"or give more trials"
        )
    costs = costs_of([point for _, point in numbered], objectives)
    on_front = np.flatnonzero(non_dominated(costs))
    box = CostBox.around(objectives, costs[on_front])
    members = [numbered[on_front[at]] for at in spread_out(box.places(costs[on_front]), problem.search.verify)]
    verification = Verification(problem, folder / "front", fine_tune)
    rows, layers_by_digest, designs = [], {}, {}
    with Progress("verifying designs", "inputs", len(members) * verification.num_inputs) as progress:
        for place, (number, point) in enumerate(members, start=1):
            record = verification(point, progress.advance)
            progress.advance(place * verification.num_inputs - progress.done)
            rows.append(_front_row(number, point, record))
            designs[point.digest] = VerifiedDesign.of_record(record)
            key = {"trial": number, "digest": point.digest}
            layers_by_digest[point.digest] = [key | layer for layer in record["layers"]]
    feasible = np.array([row["keeps_bounds"] for row in rows])
    measured = np.array([[row[f"measured_{name}"] for name in objectives] for row in rows])
    optimal = np.zeros(len(rows), dtype=bool)
    optimal[feasible] = non_dominated(measured[feasible])
    for row, on_measured_front in zip(rows, optimal, strict=True):
        row["on_front"] = bool(on_measured_front)
    rows.sort(key=lambda row: (not row["on_front"], row[f"measured_{objectives[0]}"]))
    if uncertain:
        ordered, constants = [designs[row["digest"]] for row in rows], list(drawn_constants(uncertain))
        for row, standing in zip(rows, standings(ordered, objectives, problem.excesses, constants), strict=True):
            row |= {"front_share": standing.front_share, "same_as": rows[standing.same_as]["digest"]}
    table = table_of(FRONT_COLUMNS, rows)
    origin = provenance(problem.settings() | {"fine_tuned": fine_tune is not None, "uncertain": uncertain})
    layer_rows = [layer for row in rows for layer in layers_by_digest[row["digest"]]]
    write_results(folder / LAYERS_FILE, table_of(LAYER_COLUMNS, layer_rows), origin)
    write_results(folder / FRONT_FILE, table, origin)
    return table


def _nearest(trials: Sequence[StudyTrial]) -> str:
    """Describe the smallest violation of the bounds by any trial, as the end of an error sentence."""
    points = [trial.point for trial in trials if trial.point is not None]
    if not points:
        reasons = sorted({trial.refused for trial in trials})
        return f": {'; '.join(reasons[:3])}" if reasons else ""
    nearest = min(points, key=lambda point: max(point.excesses.values()))
    over = {name: excess for name, excess in nearest.excesses.items() if excess > 0}
    return "; the nearest exceeds " + " and ".join(f"{name} by {excess:.0%}" for name, excess in over.items())


def spread_out(places: Floats64, most: int) -> list[int]:
    """Choose at most `most` rows of `places` [designs, objectives] that lie far apart.

    It chooses the row with the best value of each objective first, then always the row farthest from those chosen.
    """
    if len(places) <= most:
        return list(range(len(places)))
    chosen = list(dict.fromkeys(places.argmin(axis=0).tolist()))[:most]
    distances = np.min([np.abs(places - places[at]).sum(axis=1) for at in chosen], axis=0)
    while len(chosen) < most:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.abs(places - places[chosen[-1]]).sum(axis=1))
    return chosen


def _front_row(number: int, point: CodesignPoint, record: dict[str, Any]) -> dict[str, Any]:
    measured = CodesignPoint.from_dict(record)
    return {
        "trial": number,
        "digest": point.digest,
        **verified_row(point, measured, record),
        "accuracy": record["accuracy"],
        "test_accuracy": record["test_accuracy"],
        "overflows": record["overflows"],
        "saturated_activations": record["saturated_activations"],
        "output_difference": record["output_difference"],
        "keeps_bounds": measured.feasible,
        "on_front": False,
        "front_share": None,
        "same_as": "",
    }
