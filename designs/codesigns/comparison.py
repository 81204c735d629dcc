"""Comparison of co-design with searching compression first and the array second.

    co-design     all parameters at once
    two steps     the smallest file within a limit on the accuracy loss; then arrays for it
    front first   the smallest files for all accuracy losses; then arrays, each for any of these files

The second way is the usual one; the third is the best that two steps can do. Each way gets the same number of
evaluations; the planner solves the first step of the other two exactly, at no evaluation. That step knows no array: its
loss is that of floating point. The ways are compared by hypervolume (`designs.hypervolume`), in the box around the
front of all runs together.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compress.planning.plan import Choice
from designs.codesigns.compressions import LARGEST_LAYERS, LIMITS, CompressionAnalysis
from designs.codesigns.loop import analysed, run_study
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import Search, figure_of
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.trials import costs_of, feasible_points
from designs.hypervolume import CostBox, Hypervolume
from designs.results import Column, provenance, table_of, write_results
from designs.space import Space
from traces import InputError
from traces.pareto import non_dominated

COMPARISON_FILE = "comparison.parquet"
COMPARISON_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("method", pa.string(), "", "co-design, two steps, or front first"),
    Column("seed", pa.int64(), "", "seed of the search"),
    Column("evaluations", pa.int64(), "", "designs tried"),
    Column("front", pa.int64(), "designs", "Pareto-optimal designs of the run"),
    Column("hypervolume", pa.float64(), "1", "dominated share of the box around the front of all runs"),
]


class GivenCompressions(CodesignProblem):
    """Search of arrays for given compressions: each design has one of them.

    Parameters
    ----------
    analysis, space, search
        As of `CodesignProblem`.
    given : sequence of mapping
        The compressions, each one choice per layer.
    """

    def __init__(
        self, analysis: CompressionAnalysis, space: Space, search: Search, given: Sequence[Mapping[str, Choice]]
    ) -> None:
        super().__init__(analysis, space, search)
        self.given = given
        self.steps = {"compression": len(given)}

    def choices_of(self, values: Mapping[str, Any]) -> dict[str, Choice]:
        """Return the given choices that these values refer to."""
        return dict(self.given[values["compression"]])

    def point(self, values: Mapping[str, Any]) -> CodesignPoint:
        """Return the design of these values; the array's codes are exactly as wide as the compression's."""
        widest = max(each.weight_bits for each in self.choices_of(values).values())
        return super().point({**values, "weight_bits": widest})


def smallest_files(analysis: CompressionAnalysis, most_loss: float) -> list[dict[str, Choice]]:
    """Return the smallest file for each limit on the change of the outputs whose accuracy loss is at most `most_loss`.

    Raises InputError if there is none.
    """
    widest = max(analysis.network.weight_bits)
    files: list[dict[str, Choice]] = []
    for limit in range(LIMITS):
        choices = analysis.planned(limit, 0, LARGEST_LAYERS - 1, widest)
        if analysis.predict(choices).loss <= most_loss and choices not in files:
            files.append(choices)
    if not files:
        raise InputError(
            f"{figure_of(analysis.loss)} must be at most {most_loss:g}, which no compression reaches; allow more, or "
            f"more bits"
        )
    return files


def compare(
    network: TrainedNetwork | CompressionAnalysis,
    space: Space,
    search: Search | None = None,
    folder: str | os.PathLike[str] = "results/comparison",
    seeds: Sequence[int] = range(5),
    step_loss: float = 0.005,
) -> pa.Table:
    """Compare co-design with two ways that search compression first and the array second.

    Parameters
    ----------
    network : TrainedNetwork or CompressionAnalysis
        The trained network, or its analysis.
    space : Space
        Space of the arrays.
    search : Search, optional
        Objectives, bounds and trials of each run.
    folder : path
        Folder of the results, with a folder per method. Finished trials are kept and not repeated.
    seeds : sequence of int
        Seeds of the runs of each method.
    step_loss : float
        Largest accuracy loss of the file in the method "two steps".

    Returns
    -------
    pyarrow.Table
        COMPARISON_COLUMNS: one row per seed and method.

    Raises
    ------
    InputError
        If no compression keeps the bound on the accuracy loss, or as `codesign` does.
    """
    search, folder = search or Search(), Path(folder)
    analysis = network if isinstance(network, CompressionAnalysis) else analysed(network, search, space)

    def exceeded_loss_and_bytes(choices: Mapping[str, Choice]) -> tuple[float, float]:
        predicted = analysis.predict(choices)
        return max(0.0, predicted.loss - step_loss), predicted.file_bytes

    aims = CodesignProblem(analysis, space, search).search.objectives
    files = smallest_files(analysis, search.bounds.get(figure_of(analysis.loss), 1.0))
    best = [min(files, key=exceeded_loss_and_bytes)]
    arrays = Space({name: values for name, values in space.hardware.items() if name != "weight_bits"})
    problems = {
        "co-design": CodesignProblem(analysis, space, search),
        "two steps": GivenCompressions(analysis, arrays, search, best),
        "front first": GivenCompressions(analysis, arrays, search, files),
    }
    runs: list[tuple[str, int, list[CodesignPoint], int]] = []
    for seed in seeds:
        for method, problem in problems.items():
            problem.search = dataclasses.replace(search, seed=seed)
            trials = run_study(problem, folder / method.replace(" ", "_") / str(seed))
            points = [point for _, point in feasible_points(trials).values()]
            runs.append((method, seed, points, len(trials)))
    costs = np.concatenate([costs_of(points, aims) for _, _, points, _ in runs])
    box = CostBox.around(aims, costs[non_dominated(costs)])
    rows = []
    for method, seed, points, evaluations in runs:
        volume = Hypervolume(box)
        for point in points:
            volume.add([point.figures[name] for name in aims])
        rows.append(
            {
                "network": analysis.network.name,
                "method": method,
                "seed": seed,
                "evaluations": evaluations,
                "front": int(non_dominated(costs_of(points, aims)).sum()),
                "hypervolume": volume.share,
            }
        )
    table = table_of(COMPARISON_COLUMNS, rows)
    write_results(folder / COMPARISON_FILE, table, provenance(problems["co-design"].origin()))
    return table
