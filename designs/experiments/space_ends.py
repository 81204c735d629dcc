"""Ends of a space: the share of a front at the smallest and largest value of each parameter, and what stops it.

A parameter whose front gathers at one end is free in the cost model, or stopped by the space alone. For each network
and seed, a folder holds:

    trials.parquet     compressions tried, each with all arrays of the space
    designs.parquet    the front, as predicted
    shares.parquet     share of the front at the ends of each parameter
    moves.parquet      cost that stops a member of the front, moved by one value of one parameter
    earlier.parquet    front that an earlier version of the cost model found, predicted again
"""

from __future__ import annotations

import functools
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compress.planning.plan import Choice
from designs.codesigns.columns import TRIALS_FILE
from designs.codesigns.loop import ANALYSIS_FOLDER, analysed, finished_trials, run_study, write_trials
from designs.codesigns.point import CodesignPoint, choices_of
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import LOSSES, Search
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.trials import designs_table
from designs.design import Design
from designs.experiments.comparison import SEARCH, SPACE
from designs.hypervolume import CostBox, spread_out
from designs.result_files import SPACE_ENDS_COLUMNS
from designs.results import Column, provenance, read_results, table_of, write_results
from designs.space import Parameter, Space
from designs.stages import Stages
from sim.cost.timing import timing
from traces import InputError
from traces.arrays import Floats64
from traces.pareto import non_dominated
from traces.plain_values import whole_number
from traces.shell.progress import progress_bar

Row = dict[str, Any]
SEEDS, MOVED = 5, 20
COSTS = ("latency_us", "energy_nj", "area_mm2")
_EARLIER_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial, which was one design"),
    Column("digest", pa.string(), "", "hash of the design"),
    Column("feasible", pa.bool_(), "", "true if all bounds were kept, as predicted"),
    *(Column(name, pa.float64(), "", "predicted") for name in COSTS),
    *(Column(name, pa.float64(), "1", "predicted; null if this loss was not measured", True) for name in LOSSES),
    Column("design", pa.string(), "", "array, row assignment and choices as JSON"),
]
"""Columns of trials.parquet up to version 1.0."""
_NO_MOVE = "end of the space"
_NO_WORSENING = "nothing"
_EQUAL = 1e-9  # relative difference of equal costs


@dataclass(frozen=True)
class EarlierTrial:
    """Trial of version 1.0 or earlier, which was one design.

    Attributes
    ----------
    number : int
        Number of the trial.
    values : mapping
        Value of each parameter of the space by name.
    choices : mapping of str to Choice
        Compression of each layer by name.
    figures : mapping of str to float
        Figures as that version predicted them.
    """

    number: int
    values: Mapping[str, Any]
    choices: Mapping[str, Choice]
    figures: Mapping[str, float]


def run_space_ends(
    networks: Mapping[str, Callable[[], TrainedNetwork]],
    folder: Path,
    seeds: Sequence[int] = range(SEEDS),
    search: Search = SEARCH,
    space: Space = SPACE,
    earlier: Path | None = None,
    moved: int = MOVED,
) -> list[str]:
    """Search each network with each seed, and write where the fronts lie in the space.

    Parameters
    ----------
    networks : mapping of str to callable
        What opens each network, by name.
    folder : Path
        Folder of the results. The same call resumes an interrupted run.
    seeds : sequence of int
        Seeds of the searches.
    search : Search
        Objectives, bounds and trials.
    space : Space
        Space of the arrays; each parameter has a list of values.
    earlier : Path, optional
        Folder with NETWORK/SEED/trials.parquet of version 1.0 or earlier, in the same space.
    moved : int
        Most members of each front that are moved; they lie far apart.

    Returns
    -------
    list of str
        Sentences about what was left out, and why.

    Raises
    ------
    InputError
        If a parameter of the space is continuous, or as `designs.codesign` does.
    """
    parameters, moved = _varied(space), whole_number("moved", moved, 0)
    left_out: list[str] = []
    for name, open_network in networks.items():
        analysis = analysed(open_network(), search, space, folder / name / ANALYSIS_FOLDER)
        for seed in seeds:
            problem = CodesignProblem(analysis, space, replace(search, seed=seed))
            trials = None if earlier is None else earlier / name / str(seed) / TRIALS_FILE
            if trials is not None and not trials.exists():
                left_out.append(f"{name}, seed {seed}: no earlier front, because {trials} is absent")
                trials = None
            _run(problem, parameters, folder / name / str(seed), {"network": name, "seed": seed}, trials, moved)
    return left_out


def _varied(space: Space) -> list[Parameter]:
    parameters = [each for each in space.hardware_parameters().values() if each.varies]
    continuous = [each.name for each in parameters if each.values is None]
    if continuous:
        raise InputError(f"{', '.join(continuous)} must have values, so that there is a next one; give step or factor")
    return parameters


def _run(
    problem: CodesignProblem,
    parameters: Sequence[Parameter],
    folder: Path,
    key: Row,
    earlier: Path | None,
    moved: int,
) -> None:
    """Run the steps of one network and seed."""
    origin = problem.origin() | key | {"trials": problem.search.trials}

    @functools.cache
    def front() -> list[CodesignPoint]:
        return _front(problem, folder)

    def search(_: Path) -> None:
        write_trials(folder, problem, run_study(problem, folder))

    def table(part: str, make: Callable[[], list[Row]]) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            rows = [key | row for row in make()]
            write_results(path, table_of(SPACE_ENDS_COLUMNS[part], rows), provenance(origin))

        return write

    def shares() -> list[Row]:
        rows = end_shares("today", parameters, [point.design.hardware for point in front()])
        if earlier is not None:
            rows += end_shares("earlier", parameters, [each.values for each in earlier_front(problem, earlier)])
        return rows

    with Stages(folder) as stages:
        stages.run(TRIALS_FILE, origin, search)
        moves = table("moves", lambda: stopped_moves(problem, parameters, front(), moved))
        stages.run("moves.parquet", {"moved": moved}, moves)
        found = {"earlier": None if earlier is None else zlib.crc32(earlier.read_bytes())}
        stages.run("shares.parquet", found, table("shares", shares))
        if earlier is not None:
            predict_again = table("earlier", lambda: recosted(problem, earlier_front(problem, earlier)))
            stages.run("earlier.parquet", found, predict_again)


def _front(problem: CodesignProblem, folder: Path) -> list[CodesignPoint]:
    """Return the predicted front of a folder's study."""
    search = problem.search
    trials = finished_trials(folder)[: search.trials]
    rows = designs_table(trials, search.objectives).to_pylist()
    if not rows:
        raise InputError(
            f"seed {search.seed}: no design of {len(trials):,} compressions keeps all bounds; relax them, or give more "
            f"trials"
        )
    return [
        CodesignPoint(
            Design.from_hardware(row),
            choices_of(json.loads(row["choices"])),
            {name: row[name] for name in problem.figure_names},
            {},
        )
        for row in rows
    ]


def earlier_front(problem: CodesignProblem, path: Path) -> list[EarlierTrial]:
    """Return the Pareto-optimal feasible trials of version 1.0 or earlier, from its trials.parquet.

    Raises InputError if the file is none of a co-design's trials, or holds no feasible one.
    """
    objectives = problem.search.objectives
    rows = read_results(path, _EARLIER_COLUMNS)[0].to_pylist()
    feasible = list({row["digest"]: row for row in reversed(rows) if row["feasible"]}.values())
    if not feasible:
        raise InputError(f"{path}: must hold a trial that keeps all bounds; found none of {len(rows):,}")
    costs = np.array([[row[name] for name in objectives] for row in feasible], dtype=np.float64)
    parameters = [each.name for each in _varied(problem.space)]
    front = []
    for row, optimal in zip(feasible, non_dominated(costs), strict=True):
        if optimal:
            design = json.loads(row["design"])
            hardware = design["array"] | {"row_assignment": design["row_assignment"]}
            front.append(
                EarlierTrial(
                    row["trial"],
                    {name: hardware[name] for name in parameters},
                    choices_of(design["choices"]),
                    {name: row[name] for name in objectives},
                )
            )
    return sorted(front, key=lambda each: each.number)


def end_shares(version: str, parameters: Sequence[Parameter], members: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the share of members at the ends of each parameter.

    Parameters
    ----------
    version : str
        Name of the version that found the members.
    parameters : sequence of Parameter
        Parameters of the space, with values.
    members : sequence of mapping
        Values of the parameters of each member by name.

    Returns
    -------
    list of dict
        Values of SPACE_ENDS_COLUMNS["shares"] without network and seed, one row per parameter.
    """
    rows = []
    for parameter in parameters:
        assert parameter.values is not None  # as `run_space_ends` checks
        ends = parameter.values[0], parameter.values[-1]
        at_ends = [sum(member[parameter.name] == end for member in members) / len(members) for end in ends]
        rows.append(
            {
                "version": version,
                "parameter": parameter.name,
                "smallest": f"{ends[0]}",
                "largest": f"{ends[1]}",
                "members": len(members),
                "at_smallest": at_ends[0],
                "at_largest": at_ends[1],
            }
        )
    return rows


def recosted(problem: CodesignProblem, members: Sequence[EarlierTrial]) -> list[Row]:
    """Predict members of an earlier front by the cost model of today.

    Returns
    -------
    list of dict
        Values of SPACE_ENDS_COLUMNS["earlier"] without network and seed, one row per member.
    """
    rows: list[Row] = []
    points: list[CodesignPoint | None] = []
    with progress_bar("predicting earlier members", len(members)) as advance:
        for member in members:
            reason, point = _predicted(problem, member.values, member.choices)
            points.append(point if not reason else None)
            ratios = {
                f"{name}_ratio": float("nan") if point is None else point.figures[name] / member.figures[name]
                for name in COSTS
            }
            rows.append({"trial": member.number, "feasible": not reason, "reason": reason, "optimal": False} | ratios)
            advance()
    feasible = [number for number, point in enumerate(points) if point is not None]
    costs = _costs([point for point in points if point is not None], problem.search.objectives)
    for number, optimal in zip(feasible, non_dominated(costs), strict=True):
        rows[number]["optimal"] = bool(optimal)
    return rows


def stopped_moves(
    problem: CodesignProblem, parameters: Sequence[Parameter], front: Sequence[CodesignPoint], most: int
) -> list[Row]:
    """Move members of a front by one value of one parameter, and count what stops them.

    Of at most `most` members that lie far apart, each parameter is moved alone. Codes of a layer that are wider than
    the moved array's are narrowed to it; everything else stays, but for what follows from the design: SRAMs and stages.

    Returns
    -------
    list of dict
        Values of SPACE_ENDS_COLUMNS["moves"] without network and seed.
    """
    costs = _costs(front, problem.search.objectives)
    places = spread_out(CostBox.around(problem.search.objectives, costs).places(costs), most)
    rows = []
    with progress_bar("moving members", len(parameters)) as advance:
        for parameter in parameters:
            for direction, step in (("down", -1), ("up", 1)):
                found: dict[str, list[float]] = defaultdict(list)
                for place in places.tolist():
                    stops, worsening = _stopped(problem, front[place], parameters, parameter, step)
                    found[stops].append(worsening)
                rows += [
                    {
                        "parameter": parameter.name,
                        "direction": direction,
                        "stops": stops,
                        "members": len(worsenings),
                        "worsening": float(np.median(worsenings)),
                    }
                    for stops, worsenings in sorted(found.items(), key=lambda each: -len(each[1]))
                ]
            advance()
    return rows


def _costs(points: Sequence[CodesignPoint], objectives: Sequence[str]) -> Floats64:
    """Return the figures to minimise, float64 [designs, objectives]."""
    values = [[point.figures[name] for name in objectives] for point in points]
    return np.array(values, dtype=np.float64).reshape(len(points), len(objectives))


def _stopped(
    problem: CodesignProblem, member: CodesignPoint, parameters: Sequence[Parameter], parameter: Parameter, step: int
) -> tuple[str, float]:
    """Return what stops a member that is moved by one value, and by how much."""
    assert parameter.values is not None  # as `run_space_ends` checks
    hardware = member.design.hardware
    place = parameter.values.index(hardware[parameter.name]) + step
    if not 0 <= place < len(parameter.values):
        return _NO_MOVE, float("nan")
    values = {each.name: hardware[each.name] for each in parameters} | {parameter.name: parameter.values[place]}
    bits = values.get("weight_bits", hardware["weight_bits"])
    choices = {name: replace(each, weight_bits=min(each.weight_bits, bits)) for name, each in member.choices.items()}
    reason, point = _predicted(problem, values, choices)
    if point is None:
        return reason, float("nan")
    if reason:
        return reason, max(point.excesses.values())
    bound = problem.search.most_loss or 1.0
    worse = {
        name: (point.figures[name] - member.figures[name]) / (bound if name in LOSSES else member.figures[name])
        for name in problem.search.objectives
    }
    worst = max(worse, key=lambda name: worse[name])
    return (worst, worse[worst]) if worse[worst] > _EQUAL else (_NO_WORSENING, float("nan"))


def _predicted(
    problem: CodesignProblem, values: Mapping[str, Any], choices: Mapping[str, Choice]
) -> tuple[str, CodesignPoint | None]:
    """Return the reason why a design is not feasible, empty if it is, and the design, None if it is invalid."""
    fixed = {name: each.at(0) for name, each in problem.space.hardware_parameters().items()}
    hardware = fixed | dict(values)
    if hardware["line_bits"] < hardware["weight_bits"] + hardware["index_bits"]:
        return "a line holds no entry", None
    try:
        point = problem.predict(Design.from_hardware(hardware), choices)
    except InputError as error:
        return str(error), None
    over = {name: excess for name, excess in point.excesses.items() if excess > 0}
    if not over:
        return "", point
    worst = max(over, key=lambda name: over[name])
    return (f"clock: {timing(point.design.array).limit}" if worst == "clock_mhz" else f"bound of {worst}"), point
