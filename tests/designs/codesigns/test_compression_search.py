"""Choice of the compression to try next."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs import Search, Space  # noqa: E402
from designs.codesigns.compression_search import CompressionSearch, compression_key  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.codesigns.loop import run_study  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.quality import regret  # noqa: E402
from designs.codesigns.trials import Front, StudyTrial  # noqa: E402
from tests.small_network import small_network  # noqa: E402

SPACE = Space({"num_pes": (1, 4, 16), "queue_slots": (2, 8), "weight_bits": (2, 3, 4), "index_bits": (3, 4)})


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network())


def tried(problem: CodesignProblem, chooser: CompressionSearch, number: int) -> list[str]:
    """Try compressions one after the other; return their keys."""
    keys = []
    for place in range(number):
        compression = chooser.next(frozenset())
        if compression is None:
            break
        keys.append(compression_key(compression))
        found = problem.enumeration(compression)
        chooser.add(StudyTrial.of(place, compression, found, chooser.front, problem.search.objectives))
    return keys


def test_no_compression_is_tried_twice_and_all_are_tried_in_the_end(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, SPACE, Search(trials=1000))
    every = {
        compression_key(problem.compressions.choices(row))
        for rows in problem.compressions.all_compressions()
        for row in rows
    }
    keys = tried(problem, CompressionSearch.of(problem), 1000)
    assert len(keys) == len(set(keys))
    assert set(keys) >= every


def test_what_others_work_on_is_left_to_them(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, SPACE, Search(trials=12))
    chooser = CompressionSearch.of(problem)
    first = chooser.next(frozenset())
    assert first is not None
    second = chooser.next({compression_key(first)})
    assert second is not None
    assert compression_key(first) != compression_key(second)


def test_the_proposals_are_tried_in_order_and_what_was_tried_before_is_left_out(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, SPACE, Search(trials=8))
    space = problem.compressions
    expected = [compression_key(space.choices(row)) for row in space.proposals(8)]
    assert tried(problem, CompressionSearch.of(problem), 8) == expected
    resumed = CompressionSearch.of(problem)
    for row in space.proposals(8)[[1, 3]]:
        found = problem.enumeration(space.choices(row))
        resumed.add(StudyTrial.of(0, space.choices(row), found, resumed.front, problem.search.objectives))
    assert tried(problem, resumed, 9) == [key for place, key in enumerate(expected) if place not in (1, 3)]


def test_half_of_all_compressions_find_nearly_the_whole_front(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    problem = CodesignProblem(analysis, SPACE, Search(trials=1000, bounds={"accuracy_loss": 0.2}))
    objectives = problem.search.objectives
    whole = run_study(problem, tmp_path / "all")
    assert len(whole) >= 30
    some = CodesignProblem(analysis, SPACE, Search(trials=len(whole) // 2, bounds={"accuracy_loss": 0.2}))
    half = run_study(some, tmp_path / "half")
    found = regret(objectives, Front.of(half, objectives).costs, Front.of(whole, objectives).costs)
    assert found.hypervolume > 0.97
    assert found.matched > 0.9


def test_given_compressions_are_tried_in_order_and_no_others(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, SPACE, Search())
    given = [problem.compressions.choices(row) for row in problem.compressions.proposals(5)]
    chooser = CompressionSearch([*given, given[0]], problem.search.objectives)
    assert tried(problem, chooser, 9) == [compression_key(each) for each in given]
