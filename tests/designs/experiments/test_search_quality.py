"""True fronts of stated spaces, and searches beside them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress.planning.plan import Choice  # noqa: E402
from designs.codesigns.loop import ANALYSIS_FOLDER, analysed  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.experiments.search_quality import STATED, StatedSpace, design_search, run_search_quality  # noqa: E402
from designs.result_files import SEARCH_QUALITY_COLUMNS, search_quality_files  # noqa: E402
from designs.results import read_results  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402
from traces.pareto import non_dominated  # noqa: E402

HARDWARE = {"num_pes": (1, 4), "queue_slots": (2, 8), "weight_bits": (3, 4), "index_bits": (4,)}
CASE = StatedSpace({"density": (0.8, 0.5, 0.3), "weight_bits": (3, 4)}, 0.2, HARDWARE)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with two seeds."""
    folder = tmp_path_factory.mktemp("quality")
    run(folder)
    return folder


def run(folder: Path) -> None:
    """Run the experiment on the small network."""
    run_search_quality({"small": small_network}, folder, (0, 1), {"small": CASE}, (2, 6), (20, 40))


def rows_of(folder: Path, part: str) -> list[dict[str, Any]]:
    """Return the rows of all files of a part."""
    paths = search_quality_files(folder, part)
    return [row for path in paths for row in read_results(path, SEARCH_QUALITY_COLUMNS[part])[0].to_pylist()]


def test_the_true_front_is_that_of_every_design_costed_alone(results: Path) -> None:
    analysis = analysed(small_network(), CASE.search, CASE.space, results / "small" / ANALYSIS_FOLDER)
    problem = CodesignProblem(analysis, CASE.space, CASE.search)
    objectives, points = problem.search.objectives, []
    hardware: dict[str, Any] = {name: each.values for name, each in problem.space.hardware_parameters().items()}
    every = [Choice(density, bits) for density in (0.8, 0.5, 0.3) for bits in (3, 4)]
    for combination in itertools.product(every, repeat=len(analysis.names)):
        choices = dict(zip(analysis.names, combination, strict=True))
        for values in itertools.product(*hardware.values()):
            named = dict(zip(hardware, values, strict=True))
            if named["weight_bits"] >= max(each.weight_bits for each in combination):
                point = problem.predict(problem.design_of(named), choices)
                points += [[point.figures[name] for name in objectives]] if point.feasible else []
    costs = np.unique(np.array(points), axis=0)
    expected = costs[non_dominated(costs)]
    members = rows_of(results, "truth")
    found = np.unique(np.array([[row[name] for name in objectives] for row in members]), axis=0)
    assert len(found) == len(members) == len(expected)
    assert np.allclose(found, expected, rtol=1e-12)
    first = members[0]
    named = {name: values[0] for name, values in hardware.items()} | json.loads(first["array"])
    of_first = {name: Choice(*each) for name, each in json.loads(first["choices"]).items()}
    alone = problem.predict(problem.design_of(named), of_first)
    assert [alone.figures[name] for name in objectives] == pytest.approx([first[name] for name in objectives])


def test_the_size_of_the_space_is_stated(results: Path) -> None:
    (size,) = rows_of(results, "space")
    assert size["arrays"] == 4
    assert size["designs"] == 4 * size["compressions"] >= size["members"]
    assert size["members"] == len(rows_of(results, "truth"))
    assert size["member_compressions"] == len({row["choices"] for row in rows_of(results, "truth")})


def test_searches_come_nearer_with_more_trials_and_never_beyond_the_true_front(results: Path) -> None:
    rows = rows_of(results, "searches")
    assert len(rows) == 2 * 3 * 2  # seeds, searches, numbers of trials
    for less, more in zip(rows[::2], rows[1::2], strict=True):
        assert less["seed"] == more["seed"]
        assert less["trials"] < more["trials"]
        assert less["hypervolume"] <= more["hypervolume"] <= 1 + 1e-9
        assert less["matched"] <= more["matched"] <= 1
        assert less["processor_s"] < more["processor_s"]
        assert more["found"] <= more["matched"]
    of_compressions = [row for row in rows if row["search"] == "compressions"]
    assert all(row["designs"] == 4 * row["trials"] for row in of_compressions)


def test_a_finished_run_is_kept_and_a_removed_search_is_run_again(results: Path) -> None:
    kept, again = results / "small" / "0" / "tpe.parquet", results / "small" / "1" / "random.parquet"
    before, times = read_results(again, [])[0], kept.stat().st_mtime_ns
    again.unlink()
    run(results)
    assert kept.stat().st_mtime_ns == times
    after = read_results(again, [])[0]
    assert after["hypervolume"].to_pylist() == before["hypervolume"].to_pylist()


def test_a_space_without_a_feasible_design_is_refused(tmp_path: Path) -> None:
    large = {"num_pes": (1024,), "queue_slots": (8,), "weight_bits": (4,), "clock_mhz": (3200.0,)}
    case = StatedSpace({"density": 0.8, "weight_bits": 4}, 0.2, large)
    with pytest.raises(InputError, match=r"small: one of [0-9,]+ designs must keep all bounds; found none; relax them"):
        run_search_quality({"small": small_network}, tmp_path, (0,), {"small": case}, (2,), (20,))


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_single_designs_have_codes_as_wide_as_every_layer_needs(name: str, results: Path) -> None:
    compression = {"density": 0.8, "weight_bits": 4, "layers": {"fc1": {"density": (0.8, 0.5), "weight_bits": (3, 4)}}}
    case = StatedSpace(compression, 0.2, HARDWARE)
    analysis = analysed(small_network(), CASE.search, CASE.space, results / "small" / ANALYSIS_FOLDER)
    (row,) = design_search(name, CodesignProblem(analysis, case.space, case.search), np.ones((1, 4)), (10,))
    assert row["trials"] == 10
    assert row["members"] > 0


def test_stated_spaces_have_about_a_thousand_arrays() -> None:
    for case in STATED.values():
        hardware = case.space.hardware_parameters()
        assert np.prod([len(each.values or ()) for name, each in hardware.items() if name != "weight_bits"]) == 1152
