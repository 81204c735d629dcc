"""Is it worth searching compression and array together? Beside it stands the usual way: one after the other.

    co-design     all parameters at once
    two steps     the smallest file that loses at most STEP_LOSS of the accuracy; then the array for it
    front first   the smallest files of all losses; then arrays, each for any of these: what two steps can do at best

Each gets the same number of evaluations; the first step of the other two, solved exactly by the planner, costs none.
What is compared is the share of one box of costs that is beaten (`designs.hypervolume`): from the best in each
objective to the worst that any design has which none of any run beats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compress.planning.plan import Choice
from designs.codesigns.compressions import LARGEST_LAYERS, LIMITS, CompressionChoices
from designs.codesigns.loop import run_study
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import Search
from designs.codesigns.trials import StudyTrial, costs_of, feasible_points
from designs.hypervolume import CostBox, Hypervolume
from designs.pareto import non_dominated
from designs.results import Column, provenance, table_of, write_results
from designs.space import Range, Space
from traces import InputError

STEP_LOSS = 0.005
SEARCH = Search(bounds={"accuracy_loss": 0.05}, trials=300)
SPACE = Space(
    {
        "num_pes": Range(1, 256, factor=2),
        "queue_slots": Range(2, 64, factor=2),
        "line_bits": (16, 32, 64, 128, 256, 512),
        "weight_bits": (2, 3, 4, 5, 6),
        "index_bits": (2, 3, 4, 5, 6, 8),
        "clock_mhz": (200.0, 400.0, 800.0),
        "row_assignment": ("interleaved", "entries"),
    }
)
COMPARISON_FILE = "comparison.parquet"
COMPARISON_COLUMNS = [
    Column("network", pa.string(), "", "that was compressed"),
    Column("method", pa.string(), "", "co-design, two steps, or front first"),
    Column("seed", pa.int64(), "", "of the search"),
    Column("evaluations", pa.int64(), "", "designs tried"),
    Column("front", pa.int64(), "designs", "that no other one of the run beats"),
    Column("hypervolume", pa.float64(), "1", "share of the box around the front of all runs that is beaten"),
]


class GivenCompressions(CodesignProblem):
    """Arrays for compressions that are given: choices for all layers, any one of them."""

    def __init__(
        self, choices: CompressionChoices, space: Space, search: Search, given: Sequence[Mapping[str, Choice]]
    ) -> None:
        super().__init__(choices, space, search)
        self.given = given
        self.steps = {"compression": len(given)}

    def choices_of(self, values: Mapping[str, Any]) -> dict[str, Choice]:
        """The given ones."""
        return dict(self.given[values["compression"]])

    def point(self, values: Mapping[str, Any]) -> CodesignPoint:
        """As of any problem, but the array's codes are just as wide as the compression's."""
        widest = max(each.weight_bits for each in self.choices_of(values).values())
        return super().point({**values, "weight_bits": widest})


def smallest_files(choices: CompressionChoices, most_loss: float) -> list[dict[str, Choice]]:
    """The smallest files for each limit on the change of the outputs, as far as they lose no more than that.

    Raises InputError if there is none.
    """
    widest, found = max(choices.network.weight_bits), []
    for limit in range(LIMITS):
        each = choices.planned(limit, 0, LARGEST_LAYERS - 1, widest)
        if choices.compressed(each).accuracy_loss <= most_loss and each not in found:
            found.append(each)
    if not found:
        raise InputError(f"no compression loses at most {most_loss:g} of the accuracy; allow more, or more bits")
    return found


def _beyond_step(choices: CompressionChoices, each: Mapping[str, Choice]) -> tuple[float, float]:
    """By how much a loss exceeds STEP_LOSS; then the bytes of the file."""
    found = choices.compressed(each)
    return max(0.0, found.accuracy_loss - STEP_LOSS), found.file_bytes


def compare(
    choices: CompressionChoices,
    folder: Path,
    seeds: Sequence[int] = range(5),
    space: Space = SPACE,
    search: Search = SEARCH,
) -> pa.Table:
    """Run the three ways with each seed: COMPARISON_COLUMNS. Finished trials are kept, and not run again."""
    files = smallest_files(choices, search.bounds.get("accuracy_loss", 1.0))
    best = [min(files, key=lambda each: _beyond_step(choices, each))]
    unwidened = Space({name: each for name, each in space.hardware.items() if name != "weight_bits"})
    runs: list[tuple[str, int, list[CodesignPoint], int]] = []
    problems = {
        "co-design": CodesignProblem(choices, space, search),
        "two steps": GivenCompressions(choices, unwidened, search, best),
        "front first": GivenCompressions(choices, unwidened, search, files),
    }
    for seed in seeds:
        for method, problem in problems.items():
            problem.search = dataclasses.replace(search, seed=seed)
            trials: list[StudyTrial] = run_study(problem, folder / method.replace(" ", "_") / str(seed))
            points = [point for _, point in feasible_points(trials).values()]
            runs.append((method, seed, points, len(trials)))
    everything = np.concatenate([costs_of(points, search.objectives) for _, _, points, _ in runs])
    box = CostBox.around(search.objectives, everything[non_dominated(everything)])
    rows = []
    for method, seed, points, evaluations in runs:
        volume = Hypervolume(box)
        for point in points:
            volume.add([point.figures[name] for name in search.objectives])
        rows.append(
            {
                "network": choices.network.name,
                "method": method,
                "seed": seed,
                "evaluations": evaluations,
                "front": int(non_dominated(costs_of(points, search.objectives)).sum()),
                "hypervolume": volume.share,
            }
        )
    table = table_of(COMPARISON_COLUMNS, rows)
    write_results(folder / COMPARISON_FILE, table, provenance(problems["co-design"].origin()))
    return table
