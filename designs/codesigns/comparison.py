"""Comparison of co-design with searching compression first and the array second.

    co-design     compressions are searched for what they cost on arrays
    two steps     the smallest file within a limit on the accuracy loss
    front first   the smallest files for all accuracy losses

The second way is the usual one; the third is the best that two steps can do. All three enumerate every array of the
space for each of their compressions. The planner solves the first step of the other two exactly. That step knows no
array: its loss is that of floating point. The ways are compared by hypervolume (`designs.hypervolume`), in the box
around the front of all runs together. The other two need no seed; a co-design may find other compressions with another
one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from compress.planning.plan import Choice
from designs.codesigns.compressions import LARGEST_LAYERS, LIMITS, CompressionAnalysis
from designs.codesigns.loop import analysed, run_study
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import Search, figure_of
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.trials import Front, StudyTrial
from designs.hypervolume import CostBox, dominated_share
from designs.results import Column, provenance, table_of, write_results
from designs.space import Space
from traces import InputError
from traces.pareto import non_dominated
from traces.plain_values import number, whole_number

COMPARISON_FILE = "comparison.parquet"
COMPARISON_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("method", pa.string(), "", "co-design, two steps, or front first"),
    Column("seed", pa.int64(), "", "seed of the search"),
    Column("compressions", pa.int64(), "", "compressions tried, each with all arrays of the space"),
    Column("designs", pa.int64(), "", "designs that were costed"),
    Column("front", pa.int64(), "designs", "Pareto-optimal designs of the run"),
    Column("hypervolume", pa.float64(), "1", "dominated share of the box around the front of all runs"),
]


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
        Objectives, bounds and trials; a trial of a co-design is a compression.
    folder : path
        Folder of the results, with a folder per method. Finished trials are kept and not repeated.
    seeds : sequence of int
        Seeds of the co-designs.
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
    seeds = [whole_number("a seed", seed, 0) for seed in seeds]
    step_loss = number("step_loss", step_loss, 0)
    if not seeds:
        raise InputError("seeds must be one or more whole numbers; found none")
    analysis = network if isinstance(network, CompressionAnalysis) else analysed(network, search, space)

    def exceeded_loss_and_bytes(choices: Mapping[str, Choice]) -> tuple[float, float]:
        predicted = analysis.predict(choices)
        return max(0.0, predicted.loss - step_loss), predicted.file_bytes

    problem = CodesignProblem(analysis, space, search)
    aims = problem.search.objectives
    files = smallest_files(analysis, search.bounds.get(figure_of(analysis.loss), 1.0))
    given = {"two steps": [min(files, key=exceeded_loss_and_bytes)], "front first": files}
    runs: list[tuple[str, int, list[StudyTrial]]] = []
    for seed in seeds:
        problem = CodesignProblem(analysis, space, dataclasses.replace(search, seed=seed))
        runs.append(("co-design", seed, run_study(problem, folder / "co-design" / str(seed))))
        for method, compressions in given.items():
            runs.append((method, seed, run_study(problem, folder / method.replace(" ", "_"), given=compressions)))
    fronts = [Front.of(trials, aims).costs for _, _, trials in runs]
    costs = np.concatenate(fronts)
    if not len(costs):
        raise InputError("no design of any way keeps all bounds; relax the bounds, or widen the space")
    box = CostBox.around(aims, costs[non_dominated(costs)])
    rows = [
        {
            "network": analysis.network.name,
            "method": method,
            "seed": seed,
            "compressions": len(trials),
            "designs": sum(trial.tried for trial in trials),
            "front": len(front),
            "hypervolume": dominated_share(box, front),
        }
        for (method, seed, trials), front in zip(runs, fronts, strict=True)
    ]
    table = table_of(COMPARISON_COLUMNS, rows)
    write_results(folder / COMPARISON_FILE, table, provenance(problem.origin()))
    return table
