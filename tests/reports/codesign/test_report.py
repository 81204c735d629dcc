"""The page of a co-design as its readers open it, in a browser without a network; and what lies beside it."""

from __future__ import annotations

import csv
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("altair", reason="needs the extra 'report'")
pytest.importorskip("vl_convert", reason="needs the extra 'report'")

from designs.codesigns.columns import DENSE_COLUMNS, FRONT_COLUMNS, FRONT_FILE, TRIALS_FILE
from designs.codesigns.folder import read_study
from designs.codesigns.layer_costs import BYTE_KINDS, LAYER_COLUMNS, LAYERS_FILE
from designs.results import read_results, write_results
from designs.sweeps.evaluation import ENERGIES, LIMITS
from reports.codesign.charts import PARTS
from reports.codesign.data import (
    DOMINATED,
    FRONT,
    INFEASIBLE,
    MOST_SHOWN,
    PREDICTED,
    codesign_data,
    design_name,
    short_id,
    stairs,
    timeline_bins,
)
from reports.codesign.page import codesign_html
from reports.codesign.report import write_codesign_report
from reports.html_page import COLOURS
from sim import FixedPoint
from tests.commands import run_command
from tests.conftest import PROJECT
from tests.reports.page_reader import PageReader
from tests.small_study import BINS, CORRECTED, OF_TRIAL, write_journal, write_study
from traces import InputError

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
INFINITE = {"latency_us": math.inf, "energy_nj": math.nan}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study with hostile names and a design whose measured costs are not finite."""
    folder = tmp_path_factory.mktemp("study")
    refused = [HOSTILE, "codes of 9 bits are wider"]
    write_study(folder, 40, 8, HOSTILE, ("conv", HOSTILE), {7: INFINITE}, refused, ("accuracy_loss", "latency_us"))
    write_codesign_report(folder)
    return folder


def page_of(folder: Path) -> Path:
    """Write the page alone, which takes less time than the figures beside it."""
    data = codesign_data(read_study(folder))
    page = folder / "report.html"
    page.write_text(codesign_html(data, data.opened, "report"))
    return page


class Reader(PageReader):
    """The page of a co-design, open."""

    def click_point(self, name: str, **options: Any) -> None:
        """Click the point of a design in the chart of the front."""
        self.page.locator(f'#chart-front path[aria-label*="{name};"]').first.click(force=True, **options)


def exact(values: list[str]) -> list[float]:
    return [float(value) for value in values]


def test_a_click_on_the_front_shows_a_design_with_the_numbers_of_the_result_file(study: Path, browser: Any) -> None:
    rows = {row["digest"]: row for row in read_results(study / FRONT_FILE, FRONT_COLUMNS)[0].to_pylist()}
    layers = read_results(study / LAYERS_FILE, LAYER_COLUMNS)[0].to_pylist()
    data = codesign_data(read_study(study))
    first, second, third = data.designs[0], data.designs[1], data.designs[3]
    labels = {"accuracy_loss": "accuracy lost, %", "latency_us": "latency, us", "energy_nj": "energy, nJ"}
    with Reader(browser, study / "report.html") as reader:
        assert reader.page.input_value("#pick-a") == data.opened["id"]
        for design in (first, second):
            reader.click_point(design_name(design))
            assert reader.page.input_value("#pick-a") == design["id"]
            row, shown = rows[design["id"]], reader.rows("#table-costs")
            for figure, label in labels.items():
                assert exact(shown[label][:2]) == [row[f"measured_{figure}"], row[f"predicted_{figure}"]]
            assert float(shown["accuracy"][0]) == row["accuracy"]
            table = reader.rows("#table-bytes")
            for layer in layers:
                if layer["digest"] == design["id"]:
                    expected = [float(layer[f"{kind}_bytes"]) for kind in BYTE_KINDS]
                    assert exact(table[f"A: {layer['layer']}"]) == [*expected, sum(expected)]
            energies = reader.rows("#table-energy")
            for layer in layers:
                if layer["digest"] == design["id"]:
                    total_nj = float(energies[f"A: {layer['layer']}"][-1])
                    assert total_nj == pytest.approx(sum(layer[name] for name in ENERGIES) / 1e3)
        settings = reader.rows("#table-settings")
        assert settings["num PEs"] == [str(rows[second["id"]]["num_pes"])]

        reader.click_point(design_name(third), modifiers=["Shift"])  # the second one, beside it
        assert reader.page.input_value("#pick-a") == second["id"]
        assert reader.page.input_value("#pick-b") == third["id"]
        latencies = [rows[each["id"]]["measured_latency_us"] for each in (second, third)]
        compared = reader.rows("#table-costs")["latency, us"]
        assert exact([compared[0], compared[3]]) == latencies
        assert float(compared[6]) == pytest.approx(latencies[1] / latencies[0] - 1)
        assert f"latency {latencies[1] / latencies[0] - 1:+.1%}".replace("%", " %") in reader.page.inner_text(
            "#compare-words"
        )
        assert len(reader.rows("#table-cycles")) == 4  # two layers of two designs
        assert reader.page.locator("#plans table").count() == 2
        assert reader.page.locator("#chart-pes-b svg").count() == 1
        reader.page.click("#swap")
        assert reader.page.input_value("#pick-a") == third["id"]


def test_other_axes_and_a_design_that_is_not_verified_as_corrected(study: Path, browser: Any) -> None:
    other = next(each for each in codesign_data(read_study(study)).designs if each["kind"] == PREDICTED)
    with Reader(browser, study / "report.html") as reader:
        reader.page.select_option("#axis-x", "file_bytes")
        reader.page.wait_for_function("document.querySelector('#chart-front').textContent.includes('container, bytes')")
        reader.page.select_option("#axis-y", "file_bytes")  # then the two change places
        assert reader.page.input_value("#axis-x") == "accuracy_loss"
        reader.click_point(design_name(other))
        assert reader.page.input_value("#pick-a") == other["id"]
        assert "A corrected" in reader.page.inner_text("#table-costs thead")
        costs = reader.rows("#table-costs")
        corrected, predicted, off_by = exact(costs["latency, us"])
        assert corrected == pytest.approx(CORRECTED["latency_us"] * predicted)
        assert off_by == pytest.approx(1 / CORRECTED["latency_us"] - 1)
        assert predicted == other["predicted"]["latency_us"]
        assert costs["energy, nJ"][0] == str(other["predicted"]["energy_nj"])  # no objective, so it is not corrected
        lost = float(costs["accuracy lost, %"][0])
        assert float(costs["loss to be expected, lower end"][0]) == pytest.approx(0.5 * lost)
        assert float(costs["loss to be expected, upper end"][0]) == pytest.approx(2 * lost)
        assert reader.page.is_visible("#no-layers")
        said = reader.page.inner_text("#no-layers")
        assert said == "This design was not measured. Only verified designs have layers: pick one of them."
        words = "designs that are not verified, as corrected by what was measured of others"
        assert words in reader.page.inner_text("#front")
        reader.page.uncheck("#show-others")
        reader.page.wait_for_function(
            f"!document.querySelector('#chart-front path[aria-label*=\"{design_name(other)};\"]')"
        )


def test_the_page_needs_no_mouse_and_an_address_opens_two_designs(study: Path, browser: Any) -> None:
    one, other = codesign_data(read_study(study)).designs[1:3]
    with Reader(browser, study / "report.html", opened=f"#{one['id']},{other['id']}") as reader:
        assert reader.page.input_value("#pick-a") == one["id"]
        assert reader.page.input_value("#pick-b") == other["id"]
        button = reader.page.get_by_label(f"Show {design_name(other)} as A")
        button.focus()
        reader.page.keyboard.press("Enter")
        assert reader.page.input_value("#pick-a") == other["id"]
        assert reader.page.get_by_label(f"Show {design_name(other)} as A").get_attribute("aria-pressed") == "true"
        assert reader.page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Show")
        unlabelled = "[...document.querySelectorAll('select,input')].filter(each => !each.labels.length).length"
        assert reader.page.evaluate(unlabelled) == 0


def test_designs_that_cannot_be_told_apart_are_one_row_that_unfolds(tmp_path: Path, browser: Any) -> None:
    write_study(tmp_path, 20, 6, same_as={3: 0, 4: 0})
    data = codesign_data(read_study(tmp_path))
    standing, one, other, apart = (data.designs[number] for number in (0, 3, 4, 1))
    columns = ["show", "kind", "share", "stands for"]
    with Reader(browser, page_of(tmp_path)) as reader:
        said = reader.page.inner_text("#uncertainty")
        assert (
            "In 200 draws of the constants of energy, area and clock, each by its uncertainty, 1 of 2 designs" in said
        )
        assert "Table of 4 verified designs, as measured; they stand for 2 others" in reader.page.inner_text("main")
        table = reader.rows("#table-designs")
        assert list(table) == [design_name(data.designs[number]) for number in (0, 1, 2, 5)]
        row = dict(zip(columns, table[design_name(standing)], strict=False))
        assert (row["share"], row["stands for"]) == ("1", "2 others")
        row = dict(zip(columns, table[design_name(apart)], strict=False))
        assert (row["share"], row["stands for"]) == ("0.5", "")
        points = '#chart-front path[aria-label*="{};"]'
        assert reader.page.locator(points.format(design_name(standing))).count() >= 1
        assert reader.page.locator(points.format(design_name(one))).count() == 0
        reader.page.check("#show-same")
        reader.page.wait_for_selector(points.format(design_name(one)))

        others = reader.page.get_by_label(f"Others that {design_name(standing)} stands for")
        assert others.get_attribute("aria-expanded") == "false"
        others.focus()
        reader.page.keyboard.press("Enter")
        assert others.get_attribute("aria-expanded") == "true"
        assert reader.page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Others that")
        table = reader.rows("#table-designs")
        assert list(table)[:4] == [design_name(each) for each in (standing, one, other, apart)]
        row = dict(zip(columns, table[design_name(one)], strict=False))
        assert (float(row["share"]), row["stands for"]) == (one["front_share"], f"same as {short_id(standing)}")
        reader.page.get_by_label(f"Show {design_name(standing)} as A").click()
        reader.page.get_by_label(f"Show {design_name(other)} as B").click()
        assert reader.page.inner_text("#compare-words").endswith("No objective tells them apart.")
        assert reader.rows("#table-costs")["draws on the front, %"][0] == "1"
        others.click()
        assert len(reader.rows("#table-designs")) == 4


def test_figures_and_tables_of_drawn_constants(tmp_path: Path) -> None:
    write_study(tmp_path, 8, 3, objectives=("latency_us",), same_as={1: 0})
    (tmp_path / LAYERS_FILE).unlink()
    write_codesign_report(tmp_path)
    rows = read_results(tmp_path / FRONT_FILE, FRONT_COLUMNS)[0].to_pylist()
    with (tmp_path / "report" / "designs.csv").open() as stream:
        designs = list(csv.DictReader(stream))
    assert [row["front_share"] for row in designs[:4]] == [*(str(row["front_share"]) for row in rows), ""]
    assert [row["same_as"] for row in designs[:4]] == [*(row["same_as"] for row in rows), ""]
    dense = "4 x 8 MACs of 16 bits, output-stationary", "1000000.0"
    found = [(row["dense"], row["dense_energy_nj"]) for row in designs[:4]]
    assert found == [*[dense] * 3, ("", "")]
    data = codesign_data(read_study(tmp_path))
    drawn = (tmp_path / "report" / "front_latency_us_accuracy_loss.svg").read_text()
    assert design_name(data.designs[0]) in drawn
    assert design_name(data.designs[1]) not in drawn


def test_a_study_without_draws_says_nothing_about_them(study: Path) -> None:
    page = (study / "report.html").read_text().split('<script type="application/json"')[0]
    assert 'id="uncertainty"' not in page
    assert "stand for" not in page
    with (study / "report" / "designs.csv").open() as stream:
        assert {(row["front_share"], row["same_as"]) for row in csv.DictReader(stream)} == {("", "")}


def test_hostile_names_are_text_and_costs_that_are_no_numbers_are_said(study: Path, browser: Any) -> None:
    strange = codesign_data(read_study(study)).designs[7]
    with Reader(browser, study / "report.html", opened=f"#{strange['id']}") as reader:
        assert reader.page.inner_text("h1") == HOSTILE
        assert reader.page.title() == f"Co-design of {HOSTILE}"
        reader.page.locator('#chart-bytes path[aria-label*="onerror"]').first.hover(force=True)
        assert HOSTILE in reader.page.inner_text("#vg-tooltip-element.visible")
        assert reader.page.locator("img").count() == 0
        assert HOSTILE in reader.rows("#plans")
        shown = reader.rows("#table-costs")
        assert shown["latency, us"][0] == "Infinity"
        assert shown["energy, nJ"][0] == "NaN"
        assert "infinite" in reader.page.inner_text("#table-costs")
        assert "codes of 9 bits are wider" in reader.page.inner_text("main")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(scheme: str, study: Path, browser: Any) -> None:
    one, other = codesign_data(read_study(study)).designs[:2]
    with Reader(browser, study / "report.html", 375, scheme, f"#{one['id']},{other['id']}") as reader:
        reader.page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
        assert reader.page.evaluate("document.documentElement.scrollWidth") == 375
        widths = reader.page.eval_on_selector_all(
            ".chart svg", "all => all.map(each => each.getBoundingClientRect().right)"
        )
        assert len(widths) == 11  # the front, three of layers, three of time for each design, the search
        assert max(widths) <= 375
        ground = reader.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(25, 28, 32)"}[scheme]
        ink = reader.page.locator("#chart-front .role-axis-title text").first.get_attribute("fill")
        assert ink == {"light": "#1b1f24", "dark": "#e8eaed"}[scheme]


def test_of_thousands_of_designs_the_page_shows_some_that_are_spread_out_and_the_table_has_all(
    tmp_path: Path, browser: Any
) -> None:
    found = write_study(tmp_path, 2000, 40)
    data = codesign_data(read_study(tmp_path))
    asked = data.designs[1999]
    page = tmp_path / "report.html"
    page.write_text(codesign_html(data, asked, "report"))
    assert page.stat().st_size < 2e6
    shown = data.shown(asked)
    assert [each["id"] for each in shown[:40]] == [point.digest for point in found[:40]]
    assert shown[-1] is asked
    for name in data.figures:
        costs = [each["corrected"][name] for each in data.designs[40:]]
        assert min(each["corrected"][name] for each in shown[40:]) == min(costs)
    with Reader(browser, page) as reader:
        points = reader.page.locator(f"#chart-front path[aria-label*='kind: {PREDICTED};']")
        assert MOST_SHOWN <= points.count() <= MOST_SHOWN + 1
        assert reader.page.locator("#chart-front path[aria-label*='kind: front;']").count() >= 14
        said = reader.page.inner_text("#spread")
        assert said.startswith("Of 1,960 designs of the predicted front that are not verified the page shows 40")
        assert said.endswith("spread over all costs; designs.csv beside it has all of them.")
        assert len(reader.rows("#table-designs")) == 40


def test_an_unfinished_study_is_shown_as_predicted(tmp_path: Path, browser: Any) -> None:
    write_journal(tmp_path, 25)
    data = codesign_data(read_study(tmp_path))
    assert {each["kind"] for each in data.designs} == {PREDICTED}
    with Reader(browser, page_of(tmp_path)) as reader:
        header = reader.page.inner_text("header")
        assert "25 compressions of the network, each with all arrays of the space, were tried to minimise" in header
        assert f"600 designs. The predicted front has {len(data.designs)}." in header
        assert "None is verified yet: every number here is a prediction." in header
        assert len(reader.rows("#table-designs")) == len(data.designs)
        assert reader.rows("#table-costs")["latency, us"][:2] == ["", str(data.opened["predicted"]["latency_us"])]
        assert "No design is verified yet" in reader.page.inner_text("#no-layers")
        assert reader.page.locator("#show-others").count() == 0


def test_the_page_states_how_good_the_front_is(study: Path, tmp_path: Path) -> None:
    assert 'id="quality"' not in (study / "report.html").read_text()
    write_study(tmp_path, 6, 2, quality={"growth": 0.012, "unsettled": 0.03})
    said = re.search('<p id="quality">(.*)</p>', page_of(tmp_path).read_text())
    assert said is not None
    assert said[1] == (
        "The last quarter of the compressions added 1.20% of the hypervolume. 3.00% of the hypervolume of the front "
        "depends on where in their intervals the costs of unmeasured designs lie."
    )


def test_a_front_of_one_design_in_a_folder_without_layers_is_a_page(tmp_path: Path, browser: Any) -> None:
    (only,) = write_study(tmp_path, 1, 1)
    (tmp_path / LAYERS_FILE).unlink()
    with Reader(browser, page_of(tmp_path)) as reader:
        assert reader.page.input_value("#pick-a") == only.digest
        assert reader.page.locator("#chart-front path[aria-label*='kind: front;']").count() >= 1
        assert "The folder holds no layers.parquet" in reader.page.inner_text("#no-layers")
        assert reader.page.is_hidden("#chart-cycles")
        assert reader.rows("#plans")["conv"] == [
            str(only.choices["conv"].density),
            str(only.choices["conv"].weight_bits),
        ]


def test_a_design_in_fixed_point_shows_its_formats_and_overflows(tmp_path: Path, browser: Any) -> None:
    write_study(tmp_path, 3, 3, number_formats={"conv": FixedPoint(16, 14, 12, 9), "fc1": FixedPoint(16, 15, 11, 8)})
    with Reader(browser, page_of(tmp_path)) as reader:
        formats = reader.page.locator("#plans table").nth(1)
        assert "bits behind the binary point" in formats.inner_text()
        cells = formats.locator("tbody tr").first.locator("data")
        assert [cells.nth(place).get_attribute("value") for place in range(4)] == ["16", "14", "12", "9"]
        assert reader.rows("#table-costs")["overflows per input"][0] == "7.5"
    write_study(tmp_path / "float", 3, 3)
    with Reader(browser, page_of(tmp_path / "float")) as reader:
        assert reader.page.locator("#plans table").count() == 1
        assert "overflows per input" not in reader.rows("#table-costs")


def cells(reader: Reader, layer: str) -> dict[str, str]:
    """Return the plan of a layer on design A as it reads, by heading."""
    heads = reader.page.locator("#plans table thead th").all_inner_texts()
    row = reader.page.locator("#plans table tbody tr").filter(has=reader.page.get_by_text(layer, exact=True))
    return dict(list(zip(heads, [layer, *row.locator("td").all_inner_texts()], strict=True))[:10])


def test_thresholds_and_what_is_left_out_are_in_the_plan_of_networks_that_have_them(
    tmp_path: Path, browser: Any
) -> None:
    conv = {"activation_threshold": 0.525, "broadcast_share": 0.384, "rows": 14, "columns": 9}
    write_study(tmp_path, 3, 3, of_layers={"conv": conv, "fc1": {"rows_left_out": 3, "columns_left_out": 5}})
    with Reader(browser, page_of(tmp_path)) as reader:
        shown, other = cells(reader, "conv"), cells(reader, "fc1")
        assert (shown["threshold"], shown["broadcast"], shown["left out"]) == ("0.525", "38.4 %", "0, 0")
        assert (other["threshold"], other["broadcast"], other["left out"]) == ("0", "50 %", "3, 5")
        assert shown["rows x columns"] == "14 x 9"
    write_study(tmp_path / "thresholds", 3, 3, of_layers={"conv": conv})
    with Reader(browser, page_of(tmp_path / "thresholds")) as reader:
        assert cells(reader, "conv")["broadcast"] == "38.4 %"
        assert "left out" not in cells(reader, "conv")
    write_study(tmp_path / "neither", 3, 3)
    with Reader(browser, page_of(tmp_path / "neither")) as reader:
        assert not {"threshold", "broadcast", "left out"} & set(cells(reader, "conv"))


def test_designs_that_are_not_verified_show_the_thresholds_that_were_chosen(tmp_path: Path, browser: Any) -> None:
    write_study(tmp_path, 3, 0, cut=0.5)
    with Reader(browser, page_of(tmp_path)) as reader:
        shown, other = cells(reader, "conv"), cells(reader, "fc1")
        assert (shown["threshold"], shown["cut by it"]) == ("0.25", "50 %")
        assert (other["threshold"], other["cut by it"]) == ("0", "0 %")
    write_study(tmp_path / "without", 3, 0)
    with Reader(browser, page_of(tmp_path / "without")) as reader:
        assert "threshold" not in cells(reader, "conv")


def test_the_plan_shows_the_limit_of_each_layer(tmp_path: Path, browser: Any) -> None:
    of_conv = {"limit_energy_pj": 4500.0, "limit_bytes": 75.0, "sram_bytes": 100.0}
    write_study(tmp_path, 3, 3, of_layers={"conv": {"limit_cycles": 321.0, "limit_binds": "broadcasts"} | of_conv})
    with Reader(browser, page_of(tmp_path)) as reader:
        assert reader.page.locator("#plans table thead th").all_inner_texts()[-6:] == [
            *("limit, cycles", "of all cycles", "limited by"),
            *("limit, nJ", "limit, bytes in the SRAMs", "of all these bytes"),
        ]
        row = reader.page.locator("#plans table tbody tr").filter(has=reader.page.get_by_text("conv", exact=True))
        assert row.locator("td").all_inner_texts()[-6:] == ["321", "75 %", "broadcasts", "4.5", "75", "75 %"]
        said = reader.page.locator("#limit-words").inner_text()
        assert said.startswith(
            "Limits of A: at least 1,234 cycles per input (62.5% of all; limited by: broadcasts), at least 1"
        )
        assert said.endswith(", and at least 4,321 bytes of weights in the SRAMs.")


def test_the_page_compares_designs_with_dense_arrays(tmp_path: Path, browser: Any) -> None:
    write_study(tmp_path, 3, 3)
    with Reader(browser, page_of(tmp_path)) as reader:
        said = reader.page.locator("#dense-words").inner_text()
    assert said.startswith(
        "A beside a dense array: dense is faster, sparse takes less energy; the best dense array on the same "
        "silicon (4 x 8 MACs of 16 bits, output-stationary) takes 0.00 us and 1,000,000.0 nJ. The PEs take "
    )
    table, origin = read_results(tmp_path / FRONT_FILE, FRONT_COLUMNS)
    write_results(tmp_path / FRONT_FILE, table.drop_columns([column.name for column in DENSE_COLUMNS]), origin)
    with Reader(browser, page_of(tmp_path)) as reader:
        said = reader.page.locator("#dense-words").inner_text()
    assert "not compared: results of an earlier version lack the dense array" in said


OF_LIMITS = ("limit_cycles", "limit_share", "limit_binds", "limit_energy_pj", "limit_bytes", "sram_bytes")


def test_layers_of_an_earlier_version_are_shown_without_thresholds(tmp_path: Path, browser: Any) -> None:
    write_study(tmp_path, 3, 3, of_layers={"conv": {"activation_threshold": 0.5, "rows": 14, "columns": 9}})
    table, origin = read_results(tmp_path / LAYERS_FILE, LAYER_COLUMNS)
    newer = [column.name for column in LAYER_COLUMNS if column.newer]
    before = ["rows_left_out", "columns_left_out", "activation_threshold", "broadcast_share"]
    assert newer == [*before, "entropy_bytes", *LIMITS, *OF_LIMITS]
    write_results(tmp_path / LAYERS_FILE, table.drop_columns(newer), origin)
    with Reader(browser, page_of(tmp_path)) as reader:
        shown = cells(reader, "conv")
        assert shown["rows x columns"] == "14 x 9"
        assert not {"threshold", "broadcast", "left out"} & set(shown)
        assert "limit, cycles" not in reader.page.locator("#plans table thead th").all_inner_texts()
    wrong = table.drop_columns(["broadcast_share"]).append_column("broadcast_share", table["layer"])
    write_results(tmp_path / LAYERS_FILE, wrong, origin)
    with pytest.raises(InputError, match=r"layers.parquet: is no result of this kind: broadcast_share missing or of"):
        read_study(tmp_path)
    write_results(tmp_path / LAYERS_FILE, table.drop_columns(["density"]), origin)
    with pytest.raises(InputError, match=r"layers.parquet: is no result of this kind: density missing or of another"):
        read_study(tmp_path)


def test_a_study_without_answers_shows_the_error_of_the_outputs(tmp_path: Path) -> None:
    write_study(tmp_path, 12, 3, objectives=("output_error", "latency_us"))
    data = codesign_data(read_study(tmp_path))
    assert data.figures == ("output_error", "latency_us", "energy_nj", "area_mm2", "file_bytes")
    assert [design["accuracy"] for design in data.designs[:3]] == [None, None, None]
    page = codesign_html(data, data.opened, "report")
    assert "to minimise error of the outputs and latency" in page
    assert "Error of the outputs: measure of this test." in page
    assert "accuracy lost" not in page
    for listed in ("Conv2d, 64 vectors per input", "1 operations, 640 values, 0 multiply-accumulates"):
        assert listed in page


def test_beside_the_page_lie_the_same_numbers_and_figures_in_three_formats(study: Path) -> None:
    beside = study / "report"
    rows = {row["digest"]: row for row in read_results(study / FRONT_FILE, FRONT_COLUMNS)[0].to_pylist()}
    with (beside / "designs.csv").open() as stream:
        designs = list(csv.DictReader(stream))
    assert len(designs) == 40
    assert float(designs[8]["corrected_latency_us"]) == pytest.approx(
        CORRECTED["latency_us"] * float(designs[8]["predicted_latency_us"])
    )
    assert designs[0]["corrected_latency_us"] == ""
    with (beside / "trials.csv").open() as stream:
        trials = list(csv.DictReader(stream))
    assert [row["arrays"] for row in trials] == ["24"] * -(-40 // OF_TRIAL) + ["0"] * 2
    volumes = [float(row["hypervolume"]) for row in trials]
    assert volumes == sorted(volumes)
    figures = ("accuracy_loss", "latency_us", "energy_nj", "area_mm2", "file_bytes")
    assert not any("output_error" in name for name in designs[0])
    for row in designs:
        if row["id"] in rows:
            for name in (f"{kind}_{figure}" for figure in figures for kind in ("predicted", "measured")):
                assert row[name] == str(rows[row["id"]][name])
    with (beside / "layers.csv").open() as stream:
        layers = list(csv.DictReader(stream))
    stored = read_results(study / LAYERS_FILE, LAYER_COLUMNS)[0].to_pylist()
    assert [row["cycles"] for row in layers] == [str(row["cycles"]) for row in stored]
    names = ["front_accuracy_loss_latency_us", "hypervolume"]
    names += [f"layers_{name}" for name in ("cycles", "energy", "bytes")] + ["timeline_pes", "timeline_scan"]
    for name in names:
        assert (beside / f"{name}.svg").read_bytes().startswith(b"<svg")
        assert (beside / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (beside / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    template = (study / "report.html").read_text().split('<script type="application/json"')[0]
    outside = re.findall(r"<[^>]*(?:src|href)=.(?!data:|#)[^>]*>|url\(|@import", template)
    assert outside == []


def test_figures_show_the_design_that_is_asked_for(tmp_path: Path) -> None:
    asked = write_study(tmp_path, 8, 3, objectives=("latency_us",))[2]
    (tmp_path / LAYERS_FILE).unlink()
    arguments = [".", "--design", asked.digest[:8], "--out", "other.html"]
    done = run_command("reports", "codesign", *arguments, folder=tmp_path)
    assert "wrote other.html (" in done.stdout, done.stderr
    assert f'"opened":"{asked.digest}"' in (tmp_path / "other.html").read_text()
    names = {path.name for path in (tmp_path / "other").iterdir()}
    assert names >= {"designs.csv", "trials.csv", "hypervolume.pdf", "front_latency_us_accuracy_loss.svg"}


def test_kinds_of_designs_and_the_line_that_none_is_beyond(tmp_path: Path) -> None:
    write_study(tmp_path, 20, 6)
    data = codesign_data(read_study(tmp_path))
    assert [each["kind"] for each in data.designs[:6]] == [FRONT, DOMINATED, INFEASIBLE] * 2
    assert {each["kind"] for each in data.designs[6:]} == {PREDICTED}
    assert data.opened["kind"] == FRONT
    corners = stairs(data.designs, "latency_us", "area_mm2")
    assert [each["latency_us"] for each in corners] == sorted(each["latency_us"] for each in corners)
    assert [each["area_mm2"] for each in corners] == sorted((each["area_mm2"] for each in corners), reverse=True)
    front = [each["measured"] for each in data.designs if each["kind"] == FRONT]
    for each in front:
        assert any(
            corner["latency_us"] <= each["latency_us"] and corner["area_mm2"] <= each["area_mm2"] for corner in corners
        )
    bins = timeline_bins(next(iter(data.layers.values()))[0])
    assert [each["cycle"] for each in bins] == list(range(0, 5 * BINS + 1, 5))


def test_a_journal_with_more_trials_than_the_result_file_counts(tmp_path: Path) -> None:
    write_study(tmp_path, 4, 0, name="killed", objectives=("latency_us", "accuracy_loss"))
    write_journal(tmp_path, 9)
    assert read_study(tmp_path).trials.num_rows == 9


def test_pytorch_is_not_needed() -> None:
    script = "import sys, reports.codesign.report, reports.codesign.page; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT)
    assert done.stdout == "False\n", done.stderr


def test_what_cannot_be_reported_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match=r"empty: must hold a finished trial of a co-design, in trials.parquet or st"):
        write_codesign_report(empty)
    assert not empty.exists()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.journal").write_text("{}\n{}\n")
    with pytest.raises(InputError, match=r"broken/study.journal: the study's storage cannot be opened: "):
        write_codesign_report(tmp_path / "broken")
    write_study(tmp_path / "refused", 0, 0, refused=["codes of 9 bits are wider"])
    with pytest.raises(
        InputError, match="refused: no design of 1 compressions keeps all bounds: codes of 9 bits are wider; relax"
    ):
        write_codesign_report(tmp_path / "refused")
    folder = tmp_path / "study"
    write_study(folder, 3, 1)
    with pytest.raises(InputError, match=r"must end in \.html, because its figures go into a folder without it; found"):
        write_codesign_report(folder, tmp_path / "page")
    with pytest.raises(InputError, match=r"must end in \.html, because its figures go into a folder without it; found"):
        write_codesign_report(folder, tmp_path / "..html")
    with pytest.raises(InputError, match="beginning of the digest of one design; found 'zz', with which none of 3"):
        write_codesign_report(folder, design="zz")
    (folder / TRIALS_FILE).write_bytes(b"no table")
    with pytest.raises(InputError, match=r"trials.parquet: must be a whole Parquet file"):
        write_codesign_report(folder)

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"needs the package altair; install the extra: pip install 'eie-codesign\[re"):
        write_codesign_report(folder)


def test_no_two_parts_of_a_bar_have_the_same_colour() -> None:
    assert max(len(parts) for _, _, parts in PARTS.values()) <= len(set(COLOURS))
