"""Rows of the page on others' numbers: made again, or found on the page that they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from designs.experiments.outside import MASKS, NUM_PES, read_masks
from reports.outside import TINY_MODELS, outside_rows
from sim import ArrayConfig, simulate_batch
from sim.cost.sram import sram
from tests.conftest import PROJECT, real_file
from tests.guide.test_figures import rows_with
from traces import layer_from_matrix

GUIDE = PROJECT / "guide"
PAGE = (GUIDE / "outside.md").read_text()
_LINK = re.compile(r"\]\((\w[\w-]*\.md)")
_NUMBER = re.compile(r"\d[\d,]*\.?\d*(?:e-\d+)?")


def tables() -> list[list[dict[str, str]]]:
    """Return the rows of the tables of numbers."""
    parts = PAGE.split("\n## ")[1:]
    return [rows_with("who", "number", "theirs", "ours", page=part) for part in parts[:2]]


ROWS = [row for table in tables() for row in table]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['who']}: {row['number']}"[:60])
def test_our_numbers_stand_on_the_page_that_the_row_links_to(row: dict[str, str]) -> None:
    assert row["command"] == "the same" or re.match(r"`(python|pytest|make) ", row["command"])
    pages = _LINK.findall(row["number"] + row["ours"])
    if "pytest" in row["command"] or not pages:
        return
    text = "\n".join((GUIDE / page).read_text() for page in pages)
    for number in _NUMBER.findall(re.sub(r"\(.*?\)", "", row["ours"])):
        assert re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d)", text), number


def test_paths_of_commands_are_there() -> None:
    for row in ROWS:
        for path in re.findall(r"(?:tests|examples)/[\w/]+\.py", row["command"]):
            assert (PROJECT / path).exists()


def test_the_read_of_an_sram_is_that_of_the_tables() -> None:
    (row,) = [row for row in ROWS if row["who"].startswith("Horowitz")]
    ours = sram(32 * 1024, 32).read_pj
    assert row["ours"] == f"{ours:.2f} pJ"
    assert row["difference"] == f"{100 * (ours / 5 - 1):+.0f} %"


def test_the_rows_of_sparseloop_are_those_of_the_command(data: Path) -> None:
    real_file(data, "mobilenet_masks", "L07_weights.txt")
    found = []
    for name in MASKS:
        weights, activations = (mask.astype("float32") for mask in read_masks(data, name))
        for num_pes in NUM_PES:
            result = simulate_batch(layer_from_matrix(name, weights), activations, ArrayConfig(num_pes=num_pes))
            counts = {"useful_macs": int(result.useful_macs.sum()), "cycles": int(result.cycles.sum())}
            found.append({"layer": name, "num_pes": num_pes, **counts})
    expected = [(row.who, row.number, row.theirs, row.ours, row.difference) for row in outside_rows(found, [])]
    said = [tuple(row.values())[:5] for row in ROWS if re.match(r"L\d\d: ", row["number"])]
    assert said == expected


def test_weights_and_macs_of_mlperf_tiny_are_the_published_ones() -> None:
    said = {row["number"]: (row["theirs"], row["ours"]) for row in ROWS if row["who"] == "MLPerf Tiny"}
    for model in TINY_MODELS.values():
        assert said[f"{model.title}: weights"] == (f"{model.weights:,}", f"{model.weights:,}")
        assert said[f"{model.title}: MACs per input"] == (f"{model.macs:,}", f"{model.macs:,}")
