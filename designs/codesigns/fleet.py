"""Fleets: one network, compressed for each of several target chips, with an array for each, from one analysis.

A fleet is a TOML file with a table for each target:

    [watch]
    max_area_mm2 = 1.0
    max_latency_us = 500
    max_accuracy_loss = 0.01
    minimise = "energy_nj"

    [camera]
    max_num_pes = 64
    max_file_bytes = 40000
    max_sram_bytes_per_pe = 8192
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.codesigns.arithmetic import fixed_precisions
from designs.codesigns.columns import VERIFIED_COLUMNS, verified_row
from designs.codesigns.compression_search import Compression, compression_key
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
from designs.codesigns.loop import ANALYSIS_FOLDER, remove_study, run_study
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem, network_origin
from designs.codesigns.search import FIGURES, LOSSES, Figure, Search, figure_of
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.trials import Front, StudyTrial
from designs.codesigns.verification import FRONT_FOLDER, FineTune, Verification
from designs.codesigns.verified_front import Members
from designs.file_names import file_name, one_file
from designs.results import Column, provenance, table_of, write_results
from designs.results_folder import check_links
from designs.space import Space
from sim.array_table import ArrayOrTable
from traces import InputError
from traces.files.atomic_file import copy_atomically
from traces.plain_values import number_as_given, one_of, parsed_toml, read_text, whole_number

FLEET_FILE = "fleet.parquet"
_OWN_FILES = (FLEET_FILE, ANALYSIS_FOLDER, "*.dc")
_MOST_VERIFIED = 8  # designs per target, the best first, until one keeps its budget as measured
FLEET_COLUMNS = [
    Column("target", pa.string(), "", "name of the target"),
    Column("container", pa.string(), "", "file of the compressed network in the folder of the results"),
    *VERIFIED_COLUMNS,
    Column("test_accuracy", pa.float64(), "1", "accuracy on test images, which no choice depends on; nan without any"),
    Column("sram_bytes_per_pe", pa.float64(), "bytes", "all SRAMs of one PE"),
    Column("minimised", pa.string(), "", "figure that is minimised within the budget"),
    Column("keeps_budget", pa.bool_(), "", "true if the whole budget is kept, as measured"),
    Column("exceeds", pa.string(), "", "exceeded bounds, and by how much; empty if none"),
]


@dataclass(frozen=True)
class Target:
    """Budget of one chip; a bound of None is no bound.

    Attributes
    ----------
    name : str
        Name of the target, of its folder and of its container.
    max_accuracy_loss, max_output_error : float, optional
        Largest loss: the first if answers are lost, the second if the error of the outputs is measured.
    max_latency_us, max_energy_nj : float, optional
        Largest latency and energy per input.
    max_area_mm2 : float, optional
        Largest area of the array.
    max_file_bytes : float, optional
        Largest size of the container.
    max_sram_bytes_per_pe : float, optional
        Largest sum of the SRAMs of one PE.
    max_num_pes : int, optional
        Largest number of PEs.
    minimise : {"accuracy_loss", "output_error", "latency_us", "energy_nj", "area_mm2", "file_bytes"}
        Figure to minimise within the budget.

    Raises
    ------
    InputError
        If a bound is not positive, or the name is no valid file name.
    """

    name: str
    max_accuracy_loss: float | None = None
    max_output_error: float | None = None
    max_latency_us: float | None = None
    max_energy_nj: float | None = None
    max_area_mm2: float | None = None
    max_file_bytes: float | None = None
    max_sram_bytes_per_pe: float | None = None
    max_num_pes: int | None = None
    minimise: Figure = "energy_nj"

    def __post_init__(self) -> None:
        file_name("a target's name", self.name, "give the target another name", _OWN_FILES)
        one_of(f"{self.name}: minimise", self.minimise, FIGURES)
        for name, bound in list(vars(self).items()):
            if not name.startswith("max_") or bound is None:
                continue
            where = f"{self.name}: {name}"
            whole = name == "max_num_pes"
            checked = whole_number(where, bound, 1) if whole else number_as_given(where, bound, above=0)
            object.__setattr__(self, name, checked)

    @property
    def bounds(self) -> dict[str, float]:
        """Upper bounds by figure, of those that have one."""
        given = {name: getattr(self, f"max_{name}") for name in FIGURES}
        return {name: float(bound) for name, bound in given.items() if bound is not None}

    def space(self, space: Space) -> Space:
        """Return the part of a space with at most max_num_pes PEs; raise InputError if it is empty."""
        if self.max_num_pes is None:
            return space
        values = space.hardware_parameters()["num_pes"].values or ()
        allowed = tuple(value for value in values if value <= self.max_num_pes)
        if not allowed:
            raise InputError(
                f"{self.name}: max_num_pes={self.max_num_pes} must be at least the space's fewest PEs, {min(values)}"
            )
        return dataclasses.replace(space, hardware={**space.hardware, "num_pes": allowed})


class _TargetProblem(CodesignProblem):
    """Co-design of one target: its bounds, and the bound on the SRAMs of a PE."""

    def __init__(self, analysis: CompressionAnalysis, space: Space, search: Search, target: Target) -> None:
        super().__init__(analysis, space, search)
        self.target = target

    def excesses(self, figures: Mapping[str, Any], lacking: Any, array: ArrayOrTable) -> dict[str, Any]:
        """Return the violations, with that of the target's SRAM bound."""
        excesses = super().excesses(figures, lacking, array)
        if self.target.max_sram_bytes_per_pe is not None:
            excesses["sram_bytes_per_pe"] = sram_bytes_per_pe(array) / self.target.max_sram_bytes_per_pe - 1
        return excesses

    def origin(self) -> dict[str, Any]:
        """Return the origin of the study, with the target."""
        return super().origin() | {"target": dataclasses.asdict(self.target)}


def sram_bytes_per_pe(array: ArrayOrTable) -> Any:
    """Return the bytes of all SRAMs of one PE, of one array or of each array of a table."""
    return array.sparse_matrix_bytes + array.pointer_bytes + array.activation_bytes


def read_fleet(path: str | os.PathLike[str]) -> tuple[Target, ...]:
    """Read the targets of a fleet.

    Parameters
    ----------
    path : path
        TOML file with a table for each target; its keys are the fields of `Target`.

    Returns
    -------
    tuple of Target
        The targets, in the order of the file.

    Raises
    ------
    InputError
        If the file cannot be read, has no target, or a name or value is invalid.
    """
    tables = parsed_toml(path, read_text(path))
    known = [field.name for field in dataclasses.fields(Target) if field.name != "name"]
    targets = []
    for name, options in tables.items():
        if not isinstance(options, Mapping):
            raise InputError(f"{path}: {name} must be a table with a target's budget; found {options!r}")
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(f"{path}: {name}: unknown: {', '.join(unknown)}; valid names: {', '.join(known)}")
        try:
            targets.append(Target(name, **options))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    if not targets:
        raise InputError(f"{path}: a fleet has a table for each target; found none")
    try:
        _check_names(targets)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return tuple(targets)


def _check_names(targets: Sequence[Target]) -> None:
    """Raise InputError if there is no target, or two names are one file on some system."""
    names = [target.name for target in targets]
    if not names or len({one_file(name) for name in names}) < len(names):
        raise InputError(
            f"a fleet needs targets of different names; found {', '.join(names) or 'none'}; give each target a name "
            f"that differs from the others by more than case"
        )


def fleet(
    network: TrainedNetwork | CompressionAnalysis,
    targets: Sequence[Target],
    space: Space,
    search: Search | None = None,
    folder: str | os.PathLike[str] = "results/fleet",
    fine_tune: FineTune | None = None,
    fresh: bool = False,
    kept_analysis: str | os.PathLike[str] | None = None,
) -> pa.Table:
    """Find a compressed network and an array for each target, from one analysis.

    Each target has its own study, which continues after an interruption; compressions on the front of one target are
    tried on the arrays of all. For each target, the best designs are compressed and measured until one keeps the
    budget.

    Parameters
    ----------
    network : TrainedNetwork or CompressionAnalysis
        The trained network, or its analysis.
    targets : sequence of Target
        The targets, such as those of `read_fleet`.
    space : Space
        Space of the arrays.
    search : Search, optional
        Trials per target, seed and loss; the targets give objectives and bounds.
    folder : path
        Folder of the results, with a folder for each target.
    fine_tune : callable, optional
        As of `codesign`.
    fresh : bool
        Begin anew: remove the studies in the folder.
    kept_analysis : path, optional
        As of `codesign`.

    Returns
    -------
    pyarrow.Table
        FLEET_COLUMNS: one row per target. If no design keeps a budget, the row is the nearest design, and its column
        `exceeds` states the violation.

    Raises
    ------
    InputError
        As `codesign` does, or if the names of two targets are equal except for case or accent forms.
    """
    folder, search = Path(folder), search or Search()
    _check_names(targets)
    if search.bounds or search.objectives != Search().objectives:
        raise InputError("the targets of a fleet have their own bounds and objectives; leave both out of the search")
    check_links(
        folder,
        [FLEET_FILE, ANALYSIS_FOLDER, *(name for target in targets for name in (target.name, _container(target.name)))],
    )
    losses = [bound for target in targets for name, bound in target.bounds.items() if name in LOSSES]
    if isinstance(network, CompressionAnalysis):
        analysis = network
    else:
        analysis = analyse_compression(
            network,
            1.5 * max(losses, default=0.1),
            search.seed,
            search.loss,
            search.sampling_error,
            folder / ANALYSIS_FOLDER if kept_analysis is None else kept_analysis,
            fixed_precisions(space),
        )
    problems: list[_TargetProblem] = []
    compressions: dict[str, Compression] = {}
    if fresh:  # all at once, since an interrupted fleet continues without it
        for target in targets:
            remove_study(folder / target.name, None, target.name)
    for target in targets:
        figures = [target.minimise, figure_of(analysis.loss), *target.bounds]
        objectives: tuple[Figure, ...] = tuple(name for name in FIGURES if name in figures)
        of_target = dataclasses.replace(search, objectives=objectives, bounds=target.bounds)
        problem = _TargetProblem(analysis, target.space(space), of_target, target)
        trials = run_study(problem, folder / target.name, None, target.name)
        problems.append(problem)
        best = [trials[at] for at in np.unique(Front.of(trials, objectives).trials)] or _nearest(trials)[:1]
        compressions |= {compression_key(trial.choices): trial.choices for trial in best}
    found = [_row(problem, compressions, folder, fine_tune) for problem in problems]
    table = table_of(FLEET_COLUMNS, [row for row, _ in found])
    origin = {
        "targets": [dataclasses.asdict(target) for target in targets],
        "space": space.to_dict(),
        "network": network_origin(analysis),
    }
    (folder / FLEET_FILE).unlink(missing_ok=True)  # it is there only beside its containers
    for row, container in found:
        copy_atomically(container, folder / row["container"])
    write_results(folder / FLEET_FILE, table, provenance(origin))
    return table


def _container(target: str) -> str:
    """Return the name of the file of a target's compressed network."""
    return f"{target}.dc"


def _row(
    problem: _TargetProblem, compressions: Mapping[str, Compression], folder: Path, fine_tune: FineTune | None
) -> tuple[dict[str, Any], Path]:
    """Return the row of a target, and the file of the compressed network that it is about."""
    target, objectives = problem.target, problem.search.objectives
    front, trials = Front(objectives), []
    for number, choices in enumerate(compressions.values()):
        enumerated = problem.enumeration(choices)
        trials.append(StudyTrial.of(number, choices, enumerated, front, objectives))
        front.add(trials[-1].designs)
    verification = Verification(problem, folder / target.name / FRONT_FOLDER, fine_tune)
    verified: list[tuple[CodesignPoint, CodesignPoint, dict[str, Any]]] = []
    if len(front):
        members = Members(problem, trials)
        while len(verified) < min(_MOST_VERIFIED, len(members)):
            place = members.cheapest(target.minimise)
            point = members.front.point(place)[1]
            verified.append(_verified(verification, point))
            members.note(place, verified[-1][1])
            if verified[-1][1].feasible:
                break
    else:
        nearest = _nearest(trials)
        if not nearest:
            reasons = "; ".join(sorted({trial.refused for trial in trials}))
            raise InputError(f"{target.name}: no design of the space can be simulated: {reasons}; widen the space")
        points = [trial.nearest for trial in nearest if trial.nearest is not None]
        verified = [_verified(verification, point) for point in points[:1]]
    point, measured, record = min(verified, key=lambda each: (_excess(each[1]), each[1].figures[target.minimise]))
    over = {name: excess for name, excess in measured.excesses.items() if excess > 0}
    row = {
        "target": target.name,
        "container": _container(target.name),
        **verified_row(point, measured, record),
        "test_accuracy": record["test_accuracy"],
        "sram_bytes_per_pe": float(sram_bytes_per_pe(measured.design.array)),
        "minimised": target.minimise,
        "keeps_budget": not over,
        "exceeds": ", ".join(f"{name} by {excess:.1%}" for name, excess in over.items()),
    }
    return row, verification.container(point)


def _verified(verification: Verification, point: CodesignPoint) -> tuple[CodesignPoint, CodesignPoint, dict[str, Any]]:
    """Return a design as predicted, as measured, and its record."""
    record = verification(point)
    return point, CodesignPoint.from_dict(record), record


def _nearest(trials: Sequence[StudyTrial]) -> list[StudyTrial]:
    """Return the trials with a design that breaks a bound but no other, the one nearest to its bounds first."""
    broken = [(max(trial.nearest.excesses.values()), trial) for trial in trials if trial.nearest is not None]
    return [trial for _, trial in sorted(broken, key=lambda each: each[0])]


def _excess(point: CodesignPoint) -> float:
    return max(0.0, max(point.excesses.values(), default=0.0))
