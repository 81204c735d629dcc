"""Choice of the members of a front that are measured, and correction of the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs import Range, Search, Space, codesign  # noqa: E402
from designs.codesigns.columns import DESIGN_COLUMNS, DESIGNS_FILE  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.codesigns.loop import run_study  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.verification import Verification  # noqa: E402
from designs.codesigns.verified_front import Members  # noqa: E402
from designs.results import read_results  # noqa: E402
from tests.small_network import small_network  # noqa: E402

SPACE = Space({"num_pes": Range(1, 16, factor=2), "weight_bits": (2, 3, 4), "clock_mhz": (400.0, 800.0)})
SEARCH = Search(bounds={"accuracy_loss": 0.08}, trials=16, verify=9, settled=0.0)


@pytest.fixture(scope="module")
def problem() -> CodesignProblem:
    analysis: CompressionAnalysis = analyse_compression(small_network())
    return CodesignProblem(analysis, SPACE, SEARCH)


@pytest.fixture
def members(problem: CodesignProblem, tmp_path: Path) -> Members:
    return Members(problem, run_study(problem, tmp_path))


def measured(members: Members, place: int, **factors: float) -> Any:
    point = members.front.point(place)[1]
    return dataclasses.replace(
        point, figures={name: value * factors.get(name, 1.0) for name, value in point.figures.items()}
    )


def test_the_best_in_each_cost_come_first_and_then_others_of_few_compressions(members: Members) -> None:
    best = set(members.predicted.argmin(axis=0).tolist())
    taken: list[int] = []
    for number in range(15):
        place = members.next()
        assert place not in taken
        taken.append(place)
        members.note(place, measured(members, place))
        if number >= len(best):
            assert best <= set(taken)
            assert len(np.unique(members.runs[taken])) <= max(len(best), number // 4 + 2)
    assert members.done.sum() == 15
    places = members.box.places(members.predicted)
    distances = np.abs(places[:, None] - places[None]).sum(axis=2)
    draws = [np.random.default_rng(seed).choice(len(members), 15, replace=False) for seed in range(20)]
    assert distances[:, taken].min(axis=1).max() < np.mean([distances[:, draw].min(axis=1).max() for draw in draws])


def test_designs_of_one_compression_share_its_measured_loss(members: Members) -> None:
    place = members.next()
    members.note(place, measured(members, place, accuracy_loss=3.0, latency_us=1.01))
    same = members.runs == members.runs[place]
    assert same.sum() > 1
    loss = members.objectives.index("accuracy_loss")
    known = members.measured[place, loss]
    assert (members.corrected[same, loss] == known).all()
    assert (members.lower[same, loss] == members.upper[same, loss]).all()
    others = ~same & (members.predicted[:, loss] > 0)
    assert (members.lower[others, loss] < members.upper[others, loss]).all()
    latency = members.objectives.index("latency_us")
    assert members.corrected[~members.done, latency] == pytest.approx(
        members.predicted[~members.done, latency] * 1.01**0.5
    )


def test_members_whose_corrected_loss_breaks_the_bound_are_measured_last(members: Members) -> None:
    loss = members.objectives.index("accuracy_loss")
    for _ in range(6):
        place = members.next()
        members.note(place, measured(members, place, accuracy_loss=5.0))
    kept = members.corrected[:, loss] <= SEARCH.bounds["accuracy_loss"]
    assert not kept.all()
    assert (kept & ~members.done).any()
    assert kept[members.next()]
    assert kept[members.cheapest("latency_us")]


def test_measuring_settles_the_front(members: Members) -> None:
    before = members.unsettled
    assert 0 < before < 1
    for _ in range(len(np.unique(members.runs)) * 4):
        place = members.next()
        members.note(place, measured(members, place))
    assert members.unsettled < before / 2


def test_verification_ends_when_the_front_is_settled(problem: CodesignProblem, tmp_path: Path) -> None:
    search = dataclasses.replace(SEARCH, settled=0.9)
    table = codesign(problem.analysis, SPACE, search, tmp_path)
    assert table.num_rows < SEARCH.verify
    designs, origin = read_results(tmp_path / DESIGNS_FILE, DESIGN_COLUMNS)
    assert origin["settings"]["quality"]["unsettled"] <= 0.9
    verified = [row["digest"] for row in designs.to_pylist() if row["verified"]]
    assert sorted(verified) == sorted(table["digest"].to_pylist())
    for row in designs.to_pylist():
        assert row["loss_lower"] <= row["corrected_accuracy_loss"] <= row["loss_upper"]


def test_the_network_runs_once_for_all_designs_of_a_compression(
    problem: CodesignProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    whole = Verification._run

    def counted(self: Verification, *arguments: Any) -> dict[str, Any]:
        ran.append(arguments)
        return whole(self, *arguments)

    monkeypatch.setattr(Verification, "_run", counted)
    rows = codesign(problem.analysis, SPACE, SEARCH, tmp_path).to_pylist()
    assert len(rows) == SEARCH.verify
    assert len(ran) == len({row["choices"] for row in rows}) < len(rows)
    for row in rows:
        same = [each for each in rows if each["choices"] == row["choices"]]
        assert {each["measured_accuracy_loss"] for each in same} == {row["measured_accuracy_loss"]}
    (tmp_path / "front" / f"{rows[0]['digest']}.json").unlink()  # another run takes what the others know
    ran.clear()
    again = codesign(problem.analysis, SPACE, SEARCH, tmp_path).to_pylist()
    assert again == rows
    assert len(ran) <= 1
