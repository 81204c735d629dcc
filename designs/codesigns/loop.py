"""Co-design: search of compression and array together, and verification of the Pareto front (PyTorch needed).

The front is the set of Pareto-optimal designs; a member is one of them. Files in the folder of a study:

    study.journal      the study in Optuna's storage, unless it is in a database; optuna-dashboard opens it
    exhaustive/        ranges of compressions that an exhaustive search has finished
    exhaustive.parquet the true front of an exhaustive search, predicted
    trials.parquet     every trial, which is one compression with all arrays, and the hypervolume so far
    designs.parquet    the predicted front, corrected by what was measured
    front/*.dc, .json  containers and measurements of the verified members of the front
    front.parquet      these members, predicted and measured
    layers.parquet     each layer of these members: bytes, cycles and energy by kind, and a timeline
"""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import filelock
import optuna
import pyarrow as pa
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from designs.codesigns.arithmetic import fixed_precisions
from designs.codesigns.columns import DESIGNS_FILE, FRONT_FILE, TRIALS_FILE
from designs.codesigns.compression_search import Compression, CompressionSearch, compression_key
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
from designs.codesigns.exhaustive import EXHAUSTIVE_FILE, PART_FILES, PARTS_FOLDER, exhaustive_front
from designs.codesigns.layer_costs import LAYERS_FILE
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.progress import StudyProgress
from designs.codesigns.quality import quality
from designs.codesigns.search import Search
from designs.codesigns.storage import JOURNAL_FILE, open_storage, unreadable
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.trials import (
    BEGUN,
    DONE,
    ORIGIN,
    RECORD,
    WORKER,
    Front,
    StudyReader,
    StudyTrial,
    designs_table,
    read_trials,
    trial_record,
    trials_table,
)
from designs.codesigns.uncertainty import number_of_draws
from designs.codesigns.verification import FRONT_FILES, FRONT_FOLDER, FineTune
from designs.codesigns.verified_front import verified_front
from designs.hypervolume import LOGARITHMIC, scaled
from designs.results import provenance, sources_of_results, write_results
from designs.results_folder import check_links, check_origin, remove_files, unwritable
from designs.space import Space
from designs.sweeps.workers import Workers
from traces import InputError

ANALYSIS_FOLDER = "analysis"
OWN_FILES = (
    *(DESIGNS_FILE, EXHAUSTIVE_FILE, FRONT_FILE, LAYERS_FILE, TRIALS_FILE, JOURNAL_FILE),
    *(FRONT_FOLDER, PARTS_FOLDER, ANALYSIS_FOLDER, ".study.lock", f".{JOURNAL_FILE}.lock"),
)
"""Files and folders of a study in its folder."""


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
    workers: int | Workers = 1,
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
        Objectives, bounds and trials.
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
    workers : int or Workers
        Processes on this machine, or a `designs.sweeps.dask_workers.Cluster`, with which an exhaustive search
        enumerates.

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
    uncertain = number_of_draws(uncertain)
    search, folder = search or Search(), Path(folder)
    kept_analysis = folder / ANALYSIS_FOLDER if kept_analysis is None else kept_analysis
    analysis = network if isinstance(network, CompressionAnalysis) else analysed(network, search, space, kept_analysis)
    problem = CodesignProblem(analysis, space, search)
    if fresh:
        remove_study(folder, storage, name)
    try:
        trials = run_study(problem, folder, storage, name)
    except KeyboardInterrupt:  # so that the trials so far can be read
        with contextlib.suppress(InputError, KeyError):  # there may be no study yet
            write_trials(folder, problem, finished_trials(folder, storage, name))
        raise
    with _one_at_a_time(folder):
        found, best = quality(problem, trials), trials
        write_trials(folder, problem, trials, found)
        if search.exhaustive:
            whole = exhaustive_front(problem, folder, workers)
            objectives = problem.search.objectives
            best = whole.trials or trials
            if whole.trials and found:
                found = found | {"regret": whole.regret(objectives, Front.of(trials, objectives).costs)}
        return verified_front(problem, folder, best, fine_tune, uncertain, found)


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
    """Remove a study and its results, and no other files.

    Raises InputError if the storage cannot be opened, or a link leads out of the folder.
    """
    check_links(folder, OWN_FILES)
    try:
        optuna.delete_study(study_name=name, storage=open_storage(folder, storage))
    except KeyError:
        pass
    except Exception as error:  # Optuna may raise anything if a storage is damaged
        if storage is not None:
            raise error if isinstance(error, InputError) else unreadable(folder, storage, error) from error
        (folder / JOURNAL_FILE).unlink(missing_ok=True)
    for result in (DESIGNS_FILE, EXHAUSTIVE_FILE, FRONT_FILE, LAYERS_FILE, TRIALS_FILE):
        (folder / result).unlink(missing_ok=True)
    remove_files(folder / FRONT_FOLDER, FRONT_FILES)
    remove_files(folder / PARTS_FOLDER, PART_FILES)


def run_study(
    problem: CodesignProblem,
    folder: Path,
    storage: str | None = None,
    name: str = "codesign",
    given: Sequence[Compression] | None = None,
) -> list[StudyTrial]:
    """Try compressions until the study has `search.trials` of them, or there are no others.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of the results.
    storage, name : str, optional
        Storage of the study and its name there, as in `codesign`.
    given : sequence of mapping of str to Choice, optional
        All compressions to try, in order. By default they are searched (`designs.codesigns.compression_search`).

    Returns
    -------
    list of StudyTrial
        All finished trials of the study, in order.

    Raises
    ------
    InputError
        If folder or storage holds another study or trials that were changed, cannot be written, or a link leads out of
        the folder.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = _open_study(problem, folder, storage, name)
        return _run_study(problem, study, given)
    except OSError as error:
        raise InputError(
            f"{folder}: the study cannot be written: {error.strerror or error}; finished trials are kept; make room "
            f"and run the same search again to continue"
        ) from error


def _run_study(problem: CodesignProblem, study: optuna.Study, given: Sequence[Compression] | None) -> list[StudyTrial]:
    search, worker = problem.search, f"{BEGUN}{socket.gethostname()}-{os.getpid()}"
    chooser = CompressionSearch.of(problem) if given is None else CompressionSearch(given, search.objectives)
    trials: list[StudyTrial] = []
    reader, origin = StudyReader(study), _study_origin(problem)
    most = search.trials if given is None else len(given)
    with StudyProgress(search.objectives, most, len(study.get_trials(deepcopy=False, states=DONE))) as progress:
        while True:
            for trial in reader.new():
                trials.append(trial)
                progress.add(trial.designs.costs(search.objectives)[chooser.add(trial)])
            progress.advance_to(len(trials))
            if len(trials) >= most:
                break
            marks = {name: key for name, key in study.user_attrs.items() if name.startswith(BEGUN) and name != worker}
            others = {key for name, key in marks.items() if _may_be_running(name)}
            compression = chooser.next(others) or chooser.next(set())  # a process elsewhere may have been killed
            if compression is None:
                break
            study.set_user_attr(worker, compression_key(compression))
            study.add_trial(_tried(problem, compression, chooser.front, worker, origin))
    return trials


def _may_be_running(worker: str) -> bool:
    """Return False if a process that began a compression has ended on this machine; so the next one has its order."""
    machine, _, number = worker.removeprefix(BEGUN).rpartition("-")
    if machine != socket.gethostname() or not number.isdecimal() or os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _tried(
    problem: CodesignProblem, compression: Compression, front: Front, worker: str, origin: Mapping[str, Any]
) -> FrozenTrial:
    """Return a finished trial of Optuna's: a compression on all arrays."""
    objectives = problem.search.objectives
    trial = StudyTrial.of(-1, compression, problem.enumeration(compression), front, objectives)
    least = [trial.least.get(name, 0.0) for name in objectives]
    params, distributions = _parameters(compression)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if trial.least else TrialState.PRUNED,
        values=scaled(objectives, [least])[0].tolist() if trial.least else None,
        params=params,
        distributions=distributions,
        user_attrs={RECORD: trial_record(trial, origin), WORKER: worker.removeprefix(BEGUN)},
    )


def _parameters(compression: Compression) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return density and bits of each layer, and the share that its threshold cuts, as parameters of Optuna's."""
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name, choice in compression.items():
        params |= {f"{name}.density": float(choice.density), f"{name}.weight_bits": choice.weight_bits}
        distributions |= {f"{name}.density": FloatDistribution(0, 1), f"{name}.weight_bits": IntDistribution(1, 16)}
        if choice.activation_threshold:
            params[f"{name}.activation_cut"] = choice.activation_cut
            distributions[f"{name}.activation_cut"] = FloatDistribution(0, 1)
    return params, distributions


def _study_origin(problem: CodesignProblem) -> dict[str, Any]:
    """Return the origin of a study, with the sources: trials of different cost models are not compared."""
    return problem.origin() | {"sources": sources_of_results()}


def _open_study(problem: CodesignProblem, folder: Path, storage: str | None, name: str) -> optuna.Study:
    objectives, origin = problem.search.objectives, _study_origin(problem)
    with _one_at_a_time(folder):
        try:
            study = optuna.create_study(
                storage=open_storage(folder, storage),
                study_name=name,
                directions=["minimize"] * len(objectives),
                load_if_exists=True,
            )
            previous, known = study.user_attrs.get(ORIGIN), len(study.get_trials(deepcopy=False))
        except (InputError, OSError):
            raise
        except Exception as error:  # Optuna may raise anything if a storage is damaged
            raise unreadable(folder, storage, error) from error
        if previous is None and not known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                least = [f"least log10 {name}" if name in LOGARITHMIC else f"least {name}" for name in objectives]
                study.set_metric_names(least)
            study.set_user_attr(ORIGIN, origin)
            return study
    check_origin(folder, "study", previous, origin)
    if len(study.directions) != len(objectives):
        raise InputError(
            f"{folder}: the study must have {len(objectives)} objectives, as its origin has; found "
            f"{len(study.directions)}; restore the storage, or give fresh=True to begin anew"
        )
    return study


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Any:
    """Let one process at a time work on this folder; the others wait."""
    check_links(folder, OWN_FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".study.lock"):
            yield
    except OSError as error:
        raise unwritable(folder, error) from error


def finished_trials(folder: Path, storage: str | None = None, name: str = "codesign") -> list[StudyTrial]:
    """Return the finished trials of a folder's study, in order; raise InputError if the storage cannot be opened."""
    return read_trials(optuna.load_study(study_name=name, storage=open_storage(folder, storage)))


def write_trials(
    folder: Path,
    problem: CodesignProblem,
    trials: Sequence[StudyTrial],
    found: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write TRIAL_COLUMNS of all trials and DESIGN_COLUMNS of their front, with what is known of its quality.

    Nothing is written without trials.
    """
    if trials:  # a result file needs a row
        settings = problem.settings() | ({"quality": dict(found)} if found else {})
        origin, objectives = provenance(settings), problem.search.objectives
        write_results(folder / TRIALS_FILE, trials_table(trials, objectives), origin)
        designs = designs_table(trials, objectives)
        if designs.num_rows:
            write_results(folder / DESIGNS_FILE, designs, origin)
