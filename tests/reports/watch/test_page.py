"""The page of a watch as its readers open it, in a browser without a network."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("altair", reason="needs the extra 'report'")
pytest.importorskip("vl_convert", reason="needs the extra 'report'")

from compress.planning.confidence import interval
from compress.planning.drift import InputSummary, compare_halves
from compress.planning.plan import Tolerance
from compress.planning.watch_report import LEVEL, WatchReport
from reports.watch.charts import running_means, window_length
from reports.watch.page import watch_html, write_watch_page
from tests.commands import check_refusal, run_command
from tests.reports.page_reader import PageReader
from traces import InputError, Inputs
from traces.arrays import Floats64

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def report_of(losses: Floats64, bound: float = 0.01, shift: float = 0.0, planned: bool = True) -> WatchReport:
    draw = np.random.default_rng(0)
    pool, later = (draw.normal(size=(300, 6)) for _ in range(2))
    later[150:] += shift
    return WatchReport(
        Tolerance(divergence=bound),
        "there are class scores",
        losses,
        interval(losses, LEVEL, shares=False),
        {"answers": interval(np.array([0.0] * 290 + [1.0] * 10), LEVEL)},
        {"used, second half from first": float("inf"), "used, from the plan": -1.25},
        tuple(InputSummary.of(Inputs.of(pool)).compare(Inputs.of(later))) if planned else (),
        tuple(compare_halves(Inputs.of(later))),
        [{"layer": HOSTILE, "density": 0.3, "weight_bits": 4, "file_bytes": 1234567.0}] if planned else [],
        {"measured": 0.004, "used": 0.006} if planned else {},
        HOSTILE,
        "mine:network",
    )


@pytest.fixture(scope="module")
def losses() -> Floats64:
    return np.random.default_rng(1).exponential(0.005, 300)


@pytest.mark.parametrize(
    ("bound", "sentence"),
    [
        (0.01, "The bound is kept."),
        (0.001, "The bound is broken."),
        (0.005, "lies in between, so that more inputs are needed"),
    ],
)
def test_the_page_says_the_verdict_in_a_sentence(bound: float, sentence: str, losses: Floats64) -> None:
    assert sentence in watch_html(report_of(losses, bound))


def test_everything_is_shown_and_names_are_text(losses: Floats64, tmp_path: Path, browser: Any) -> None:
    report = report_of(losses, shift=2.0)
    (tmp_path / "page.html").write_text(watch_html(report))
    with PageReader(browser, tmp_path / "page.html") as reader:
        assert reader.page.inner_text("h1") == HOSTILE
        assert reader.page.locator("img").count() == 0
        assert "Inputs and outputs drift more than chance explains." in reader.page.inner_text("header")
        outputs = reader.rows("#table-outputs")
        assert outputs["used, second half from first"] == ["+inf", "drifts"]
        assert outputs["used, from the plan"] == ["-1.2", "no drift"]
        places = list(map(int, reader.page.locator("#table-worst tbody th").all_inner_texts()))
        assert places == np.argsort(-losses)[:10].tolist()
        assert reader.rows("#table-layers")[HOSTILE] == ["0.3", "4", "1,234,567"]
        said = reader.page.inner_text("main")
        assert "quantities changed more than chance explains. Most of all: mean, whose median went from" in said
        assert reader.page.locator(".chart svg").count() == 6  # bound, time, two of each comparison


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(scheme: str, losses: Floats64, tmp_path: Path, browser: Any) -> None:
    (tmp_path / "page.html").write_text(watch_html(report_of(losses, shift=2.0)))
    with PageReader(browser, tmp_path / "page.html", 375, scheme) as reader:
        assert reader.page.evaluate("document.documentElement.scrollWidth") == 375
        ground = reader.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(25, 28, 32)"}[scheme]
        ink = reader.page.locator("#chart-time .role-axis-title text").first.get_attribute("fill")
        assert ink == {"light": "#1b1f24", "dark": "#e8eaed"}[scheme]


def test_two_inputs_without_a_plan_and_without_a_loss_make_a_page(tmp_path: Path, browser: Any) -> None:
    report = report_of(np.zeros(2), planned=False)
    (tmp_path / "page.html").write_text(watch_html(dataclasses.replace(report, from_first_half=())))
    with PageReader(browser, tmp_path / "page.html") as reader:
        said = reader.page.inner_text("main")
        assert "No input loses anything." in said
        assert "The plan of the container is unknown, or has no summary of its inputs" in said
        assert reader.page.locator("#table-layers").count() == 0
        assert reader.page.locator("#chart-time svg").count() == 1


def test_a_second_half_that_breaks_the_bound_alone_is_said(losses: Floats64) -> None:
    assert "The second half" not in watch_html(report_of(losses))
    uneven = losses.copy()
    uneven[:150] *= 0.2
    uneven[150:] *= 2.8
    report = report_of(uneven)
    assert report.verdict == "kept"
    mean = uneven[150:].mean()
    assert f"The second half of the inputs alone breaks the bound: its mean is {mean:.3g}" in watch_html(report)


def test_running_means_are_those_of_windows(losses: Floats64) -> None:
    report = report_of(losses)
    length = window_length(report)
    assert length == 25
    rows = running_means(report, False)
    assert rows[0]["last"] == length
    assert rows[-1]["last"] == 300
    for row in rows:
        last = int(row["last"])
        assert row["mean"] == pytest.approx(losses[last - length : last].mean())
        assert row["low"] < row["mean"] < row["high"]


def test_the_command_makes_a_page_of_each_report(losses: Floats64, tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        report_of(losses).save(tmp_path / f"{name}.watch.json")
    done = run_command("reports", "watch", ".", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("monday", "tuesday"):
        assert "The bound is kept." in (tmp_path / f"{name}.watch.html").read_text()
    done = run_command("reports", "watch", "monday.watch.json", "--out", "mine.html", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.html").read_text() == (tmp_path / "monday.watch.html").read_text()
    sentence = "one page has one report; found 2 in ."
    check_refusal(sentence, "reports", "watch", ".", "--out", "both.html", folder=tmp_path)
    (tmp_path / "monday.watch.json").write_text("{}")
    sentence = "monday.watch.json: a report of a watch must be JSON as WatchReport.to_json writes it"
    check_refusal(sentence, "reports", "watch", "monday.watch.json", folder=tmp_path)
    (tmp_path / "empty").mkdir()
    check_refusal("empty: holds no *.watch.json; make one with", "reports", "watch", "empty", folder=tmp_path)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name == "altair":
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match="the page of a watch needs the package altair; install the extra: pip inst"):
        write_watch_page(tmp_path)


@pytest.mark.parametrize(("shift", "word"), [(0.4, ""), (9.0, "over "), (-9.0, "under ")])
def test_a_median_beyond_all_values_before_is_said_to_be_so(shift: float, word: str, losses: Floats64) -> None:
    pool = np.random.default_rng(0).normal(size=(200, 6))
    moved = tuple(InputSummary.of(Inputs.of(pool)).compare(Inputs.of(pool + shift)))
    assert moved[0].drifting
    page = watch_html(dataclasses.replace(report_of(losses), from_plan=moved, from_first_half=()))
    assert f"to {word}{moved[0].medians[1]:.3g}." in page
