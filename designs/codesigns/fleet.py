"""One analysis, many chips: for each target of a fleet, how to compress the network and which array to build.

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
import json
import math
import os
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from designs.codesigns.compressions import CompressionChoices, TrainedNetwork
from designs.codesigns.loop import remove_study, run_study
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import FIGURES, Figure, Search
from designs.codesigns.trials import StudyTrial, feasible_points
from designs.codesigns.verification import FineTune, Verification
from designs.design import DESIGN_COLUMNS, Design, design_row
from designs.file_names import file_name, one_file
from designs.results import Column, provenance, table_of, write_results
from designs.space import Space
from traces import InputError

FLEET_FILE = "fleet.parquet"
_OWN_FILES = (FLEET_FILE, "*.dc")
_MOST_VERIFIED = 8  # of one target, the best first, until one keeps its budget as measured
FLEET_COLUMNS = [
    Column("target", pa.string(), "", "name of the target"),
    Column("container", pa.string(), "", "file of the compressed network in the folder of the results"),
    *DESIGN_COLUMNS[:-1],
    Column("choices", pa.string(), "", "density and bits of a code of each layer, as JSON"),
    *(Column(f"predicted_{name}", pa.float64(), "", "as of a co-design") for name in FIGURES),
    *(Column(f"measured_{name}", pa.float64(), "", "as of a co-design") for name in FIGURES),
    Column("test_accuracy", pa.float64(), "1", "on test images, by which nothing was chosen; nan without any"),
    Column("sram_bytes_per_pe", pa.float64(), "bytes", "of all SRAMs of one PE"),
    Column("minimised", pa.string(), "", "what is least among the designs that keep the budget"),
    Column("keeps_budget", pa.bool_(), "", "whether all of it is kept, as measured"),
    Column("exceeds", pa.string(), "", "what is not kept, and by how much; empty if all is"),
]


@dataclass(frozen=True)
class Target:
    """What one chip may cost; None: anything. Raises InputError if a bound is not positive, or no file can be so named.

    name       of its folder, too, and of its container
    minimise   what is made as small as the others allow
    """

    name: str
    max_accuracy_loss: float | None = None
    max_latency_us: float | None = None
    max_energy_nj: float | None = None
    max_area_mm2: float | None = None
    max_file_bytes: float | None = None
    max_sram_bytes_per_pe: float | None = None
    max_num_pes: int | None = None
    minimise: Figure = "energy_nj"

    def __post_init__(self) -> None:
        file_name("a target's name", self.name, "give the target another name", _OWN_FILES)
        if self.minimise not in FIGURES:
            raise InputError(f"{self.name}: minimise must be one of {', '.join(FIGURES)}; found {self.minimise!r}")
        for name, bound in vars(self).items():
            if not name.startswith("max_") or bound is None:
                continue
            if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < math.inf:
                raise InputError(f"{self.name}: {name} must be a number above 0; found {bound!r}")

    @property
    def bounds(self) -> dict[str, float]:
        """What each figure may be at most."""
        found = {name: getattr(self, f"max_{name}") for name in FIGURES}
        return {name: float(bound) for name, bound in found.items() if bound is not None}

    def space(self, space: Space) -> Space:
        """The part of a space that has no more PEs. Raises InputError if it has none."""
        if self.max_num_pes is None:
            return space
        values = space.hardware_parameters()["num_pes"].values or ()
        allowed = tuple(value for value in values if value <= self.max_num_pes)
        if not allowed:
            raise InputError(f"{self.name}: max_num_pes={self.max_num_pes}; the space has {min(values)} PEs or more")
        return dataclasses.replace(space, hardware={**space.hardware, "num_pes": allowed})


class _TargetProblem(CodesignProblem):
    """A co-design of one target: its bounds, and besides them that on the SRAMs of a PE."""

    def __init__(self, choices: CompressionChoices, space: Space, search: Search, target: Target) -> None:
        super().__init__(choices, space, search)
        self.target = target

    def excesses(self, figures: Mapping[str, float], lacking: bool, design: Design) -> dict[str, float]:
        """Of the target, too."""
        found = super().excesses(figures, lacking, design)
        if self.target.max_sram_bytes_per_pe is not None:
            found["sram_bytes_per_pe"] = sram_bytes_per_pe(design) / self.target.max_sram_bytes_per_pe - 1
        return found

    def origin(self) -> dict[str, Any]:
        """With the target."""
        return super().origin() | {"target": dataclasses.asdict(self.target)}


def sram_bytes_per_pe(design: Design) -> float:
    """All SRAMs of one PE: entries, pointers, activations."""
    array = design.array
    return float(array.sparse_matrix_bytes + array.pointer_bytes + array.activation_bytes)


def read_fleet(path: str | os.PathLike[str]) -> tuple[Target, ...]:
    """The targets of a TOML file. Raises InputError if it is missing, has none, or a name or value does not exist."""
    try:
        tables = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: a fleet must be TOML: {error}") from error
    known = [each.name for each in dataclasses.fields(Target) if each.name != "name"]
    targets = []
    for name, options in tables.items():
        if not isinstance(options, Mapping):
            raise InputError(f"{path}: {name} must be a table of a target's budget; found {options!r}")
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(f"{path}: {name}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
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
    """Raise InputError if there is no target, or two have names that a file system may take for one."""
    names = [target.name for target in targets]
    if not names or len({one_file(name) for name in names}) < len(names):
        raise InputError(
            f"a fleet needs targets of different names; found {', '.join(names) or 'none'}; give each target a name "
            f"that differs from the others' by more than case"
        )


def fleet(
    network: TrainedNetwork | CompressionChoices,
    targets: tuple[Target, ...],
    space: Space,
    search: Search | None = None,
    folder: str | os.PathLike[str] = "results/fleet",
    fine_tune: FineTune | None = None,
    fresh: bool = False,
) -> pa.Table:
    """One container and one array for each target, from one analysis of the network: FLEET_COLUMNS, a row a target.

    Each target has a study of `search.trials` trials in a folder of its own, which goes on where it stopped; designs
    that were tried for one target count for all. The best few are compressed and measured, until one keeps its budget.
    Where none does, the row is of the one that comes nearest, and says what it exceeds.

    Raises InputError as `codesign` does, or if two targets have one name, or names that differ by case only.
    """
    folder, search = Path(folder), search or Search()
    _check_names(targets)
    if search.bounds or search.objectives != Search().objectives:
        raise InputError("each target of a fleet says its own bounds and what is least; leave them out of the search")
    losses = [target.max_accuracy_loss for target in targets if target.max_accuracy_loss is not None]
    if isinstance(network, CompressionChoices):
        choices = network
    else:
        choices = CompressionChoices(network, 1.5 * max(losses, default=0.1), search.seed)
    problems, tried = [], []
    for target in targets:
        aims: tuple[Figure, ...] = (target.minimise,)
        each = dataclasses.replace(search, objectives=aims, bounds=target.bounds)
        problem = _TargetProblem(choices, target.space(space), each, target)
        if fresh:
            remove_study(folder / target.name, None, target.name)
        tried += run_study(problem, folder / target.name, None, target.name)
        problems.append(problem)
    rows = [_row(problem, tried, folder, fine_tune) for problem in problems]
    table = table_of(FLEET_COLUMNS, rows)
    origin = {"targets": [dataclasses.asdict(target) for target in targets], "space": space.to_dict()}
    write_results(folder / FLEET_FILE, table, provenance(origin))
    return table


def _row(problem: _TargetProblem, tried: list[StudyTrial], folder: Path, fine_tune: FineTune | None) -> dict[str, Any]:
    target = problem.target
    judged = [_judged(problem, trial) for trial in tried]
    points = [point for _, point in feasible_points(judged).values()]
    points.sort(key=lambda point: point.figures[target.minimise])
    if not points:  # then what comes nearest
        known = {each.point.digest: each.point for each in judged if each.point is not None}
        points = sorted(known.values(), key=lambda point: max(point.excesses.values(), default=0.0))
    if not points:
        raise InputError(f"{target.name}: no design of the space can be simulated: {tried[0].refused}")
    verification = Verification(problem, folder / target.name / "front", fine_tune)
    found = []
    for point in points[:_MOST_VERIFIED]:
        record = verification(point)
        found.append((point, CodesignPoint.from_dict(record), record["test_accuracy"]))
        if found[-1][1].feasible:
            break
    point, measured, accuracy = min(found, key=lambda each: (_excess(each[1]), each[1].figures[target.minimise]))
    container = f"{target.name}.dc"
    shutil.copyfile(verification.container(point), folder / container)
    over = {name: excess for name, excess in measured.excesses.items() if excess > 0}
    return {
        "target": target.name,
        "container": container,
        **{name: value for name, value in design_row(measured.design).items() if name != "area_mm2"},
        "choices": json.dumps({name: [each.density, each.weight_bits] for name, each in point.choices.items()}),
        **{f"predicted_{name}": point.figures[name] for name in FIGURES},
        **{f"measured_{name}": measured.figures[name] for name in FIGURES},
        "test_accuracy": accuracy,
        "sram_bytes_per_pe": sram_bytes_per_pe(measured.design),
        "minimised": target.minimise,
        "keeps_budget": not over,
        "exceeds": ", ".join(f"{name} by {excess:.1%}" for name, excess in over.items()),
    }


def _excess(point: CodesignPoint) -> float:
    return max(0.0, max(point.excesses.values(), default=0.0))


def _judged(problem: _TargetProblem, trial: StudyTrial) -> StudyTrial:
    """A trial of any target, by the bounds of this one."""
    if trial.point is None:
        return trial
    point, target = trial.point, problem.target
    excesses = problem.excesses(point.figures, point.excesses.get("must_fit", 0) > 0, point.design)
    if target.max_num_pes is not None:
        excesses["num_pes"] = point.design.array.num_pes / target.max_num_pes - 1
    return StudyTrial(trial.number, dataclasses.replace(point, excesses=excesses))
