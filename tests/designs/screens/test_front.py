"""Screen about the front of a co-design, from folders of invented results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from designs.screens.front import print_front
from tests.small_study import write_journal, write_study
from traces import InputError

ALL = ("accuracy_loss", "latency_us", "energy_nj", "area_mm2")


def test_an_unfinished_study_shows_thirty_designs_that_are_spread_over_the_predicted_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = write_study(tmp_path, 1000, 0)
    print_front(tmp_path, ALL)
    said = capsys.readouterr().out
    assert "The study is not finished; the predicted front of 334 compressions has 1,000 designs, of which " in said
    assert "are Pareto-optimal in accuracy_loss, latency_us, energy_nj, area_mm2; 30 of these, spread over" in said
    shown = {line.split("│")[1].strip() for line in said.splitlines() if line.startswith("│")}
    assert len(shown) == 30
    for name in ALL:
        least = min(point.figures[name] for point in found)
        assert shown & {point.digest[:8] for point in found if point.figures[name] == least}


def test_all_designs_of_a_small_predicted_front_are_shown_from_the_journal_of_a_killed_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_journal(tmp_path, 2)
    print_front(tmp_path, ("latency_us", "area_mm2"))
    said = capsys.readouterr().out
    assert "the predicted front of 2 compressions has " in said
    assert "spread over" not in said
    assert "As predicted" in said
    assert "Dense:      not compared: no design is measured yet" in said


def test_a_finished_study_shows_what_was_measured_and_how_good_the_front_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, 20, 6, quality={"growth": 0.0, "unsettled": 0.25})
    print_front(tmp_path, ALL)
    said = capsys.readouterr().out
    assert "6 designs were compressed and measured, of which 4 are feasible" in said
    assert all(words in said for words in ("limit / cycles", "limited by", "limit / energy", "energy nJ"))
    assert len([line for line in said.splitlines() if " 62.5% │ broadcasts │ " in line]) == 4
    assert re.search(
        r"^Dense: +design [0-9a-f]{8}, which has the least energy x delay of those that can be compared: dense is "
        r"faster, sparse takes less energy; the best dense array on the same silicon \(4 x 8 MACs of 16 bits, "
        r"output-stationary\) takes 0\.00 us",
        said,
        re.MULTILINE,
    )
    assert said.endswith(
        "The last quarter of the compressions added 0.00% of the hypervolume.\n"
        "25.00% of the hypervolume of the front depends on where in their intervals the costs of unmeasured designs "
        "lie.\n"
    )


def test_a_study_without_a_design_and_a_loss_that_is_not_measured_get_sentences(tmp_path: Path) -> None:
    write_study(tmp_path / "none", 0, 0, refused=["codes of 9 bits are wider"])
    with pytest.raises(InputError, match="none: no design of 1 compressions keeps all bounds so far; run the same"):
        print_front(tmp_path / "none", ALL)
    write_study(tmp_path / "some", 6, 2)
    with pytest.raises(InputError, match="the loss of this co-design is accuracy_loss, the measure of this test; foun"):
        print_front(tmp_path / "some", ("output_error",))
    with pytest.raises(InputError, match="fitting applies to the front of a sweep"):
        print_front(tmp_path / "some", ALL, fitting=True)
