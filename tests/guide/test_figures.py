"""Figures of README and guide, read out of the text and made again: a sample of those that take seconds."""

from __future__ import annotations

import csv
import itertools
import re
from pathlib import Path

import pytest

from compress import CompressedModel
from compress.container.layer_coding import CodingChoice
from sim import ArrayConfig, count, pack, simulate
from sim.cost.area import area_mm2, module_areas_um2, pe_area_um2
from sim.limits import STEPS
from tests.conftest import PROJECT, real_file
from tests.guide.tables import constants_table, nodes_table
from traces.eie_benchmark import EIE_BENCHMARK
from traces.files.npz import read_layer_and_input

README = (PROJECT / "README.md").read_text()
RESULTS = (PROJECT / "guide/results.md").read_text()
WORDS = " ".join(RESULTS.split())
GOLDEN = PROJECT / "tests" / "golden"


def rows_with(*headings: str, page: str = RESULTS) -> list[dict[str, str]]:
    """Read the rows of the table that begins with these headings; an empty cell repeats that of the row before."""
    lines = iter(page.splitlines())
    for line in lines:
        found = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and found[: len(headings)] == list(headings):
            break
    else:
        raise AssertionError(f"there is no table {headings}")
    next(lines)
    rows: list[dict[str, str]] = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        before = rows[-1] if rows else {}
        rows.append({name: cell or before[name] for name, cell in zip(found, cells, strict=True)})
    return rows


def number(text: str) -> float:
    return float(re.sub(r"[,x% ]|mm2|W|KB", "", text))


def test_the_row_of_the_real_alex_8(data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    result = simulate(layer, activations, ArrayConfig())
    (row,) = [row for row in rows_with("layer", "weights", "cycles") if row["weights"] == "real"]
    assert row["cycles"] == f"{result.cycles:,}"
    assert row["efficiency"] == f"{result.efficiency:.3f}"
    assert row["ours, us"] == f"{result.latency_us:.2f}"
    assert row["difference"] == f"{result.latency_us / number(row['paper, us']) - 1:+.1%}"
    assert f"{result.energy.total_pj * 1e-6 / result.latency_us:.3f} W" in RESULTS


def test_what_is_said_of_predicted_masks_is_what_the_table_says() -> None:
    rows = rows_with("group", "layers", "random masks")
    means = [[number(row[name].split()[0]) for name in ("random masks", "model, predicted")] for row in rows]
    *groups, _, (random, predicted) = means
    words = " ".join(RESULTS.split())
    assert f"the mean difference is {predicted} % instead of the {random} % of random masks" in words
    assert (sum(two < one for one, two in groups), len(groups), sum(two > one for one, two in groups)) == (7, 10, 2)
    assert "it is smaller in seven of the ten groups, and larger in two" in words


def test_the_cycles_of_balanced_rows_in_the_guide(data: Path) -> None:
    from sim.row_assignment import rows_balanced_by_activity, rows_balanced_by_entries

    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    text = " ".join((PROJECT / "guide/array.md").read_text().split())
    found = re.search(r"takes ([\d,]+) cycles with interleaved rows, and ([\d,]+), ([\d,]+) and [\d,]+", text)
    assert found is not None
    orders = (None, rows_balanced_by_entries(layer, 64), rows_balanced_by_activity(layer, activations, 64))
    for said, order in zip(found.groups(), orders, strict=True):
        assert said == f"{count(pack(layer, ArrayConfig(), order), activations).cycles:,}"


@pytest.mark.parametrize("name", ["Alex-8", "VGG-8", "NT-We"])
def test_the_distance_to_the_limit_in_the_guide(name: str) -> None:
    page = (PROJECT / "guide/counters.md").read_text()
    (row,) = [row for row in rows_with("layer", "cycles", "limit, cycles", page=page) if row["layer"] == name]
    counts = count(*EIE_BENCHMARK[name].draw())
    limit, energy, stored = counts.limit, counts.energy_limit.share, counts.byte_limit.share
    shares = {STEPS[step]: f"{share:.1%}" for step, share in limit.shares.items() if STEPS[step] in row}
    found = {"layer": name, "cycles": f"{limit.cycles:,}", "limit, cycles": f"{limit.limit_cycles:,}"}
    found |= {"limit / cycles": f"{limit.share:.1%}", "limit / energy": f"{energy:.1%}"}
    found |= {"limit / bytes": f"{stored:.1%}"}
    assert row == found | shares
    assert limit.binds == "pe"


def test_the_area_of_each_module_and_of_the_array() -> None:
    array = ArrayConfig()
    areas = module_areas_um2(array) | {"one PE": pe_area_um2(array)}
    rows = {row["module"]: row for row in rows_with("module", "power, mW: paper")}
    for module in ("pointer read", "sparse-matrix read", "one PE"):
        paper, ours = number(rows[module]["area, um2: paper"]), areas[module]
        assert rows[module]["ours"] == f"{ours:,.0f} ({100 * (ours / paper - 1):+.1f} %)"
    assert f"| {area_mm2(array):.2f} mm2 (" in RESULTS


@pytest.mark.parametrize("name", ["LeNet-300-100", "LeNet-5", "ResNet-20"])
def test_bytes_and_ratios_of_the_kept_containers(name: str) -> None:
    model = CompressedModel.load(PROJECT / f"tests/containers/{name.lower().replace('-', '_')}.dc")
    rows = [row for row in rows_with("network", "container") if row["network"] == name]
    place = next(place for place, row in enumerate(rows) if row["container"] == "smallest")
    assert rows[place]["bytes"] == f"{model.size_bytes:,}"
    assert rows[place]["ratio"] == f"{model.compression_ratio:.1f}x"
    if name != "ResNet-20":
        pytest.importorskip("constriction", reason="needs the extra 'range'")
        coded = model.coded(CodingChoice(coder="range"))
        assert rows[place + 1]["container"] == "the same, range coder"
        assert rows[place + 1]["bytes"] == f"{coded.size_bytes:,}"
        assert rows[place + 1]["ratio"] == f"{coded.compression_ratio:.1f}x"


def test_the_table_of_the_readme_is_that_of_the_kept_containers() -> None:
    for row in rows_with("network", "accuracy, fp32", page=README):
        name, measured = row["network"].split()[0], rows_with("network", "container")
        model = CompressedModel.load(PROJECT / f"tests/containers/{name.lower().replace('-', '_')}.dc")
        (smallest,) = [each for each in measured if each["network"] == name and each["container"] == "smallest"]
        assert row["container bytes"] == f"{model.size_bytes:,}"
        assert row["fp32 bytes"] == f"{model.parameter_bytes:,}"
        assert row["ratio"] == f"{model.compression_ratio:.1f}x"
        assert number(row["accuracy, fp32"]) == pytest.approx(100 - number(smallest["error, fp32"]))
        assert number(row["accuracy, container"]) == pytest.approx(100 - number(smallest["error, container"]))


def test_the_bytes_of_the_main_job_s_networks_and_their_ratios() -> None:
    for row in rows_with("images", "accuracy, fp32"):
        inputs = {"digits": 64, "MNIST": 784}[row["images"]]
        units = (inputs, 300, 100, 10)
        parameters = sum(rows * (columns + 1) for columns, rows in itertools.pairwise(units))
        assert number(row["fp32 bytes"]) == 4 * parameters
        assert row["ratio"] == f"{4 * parameters / number(row['container bytes']):.1f}x"


def test_every_percentage_and_ratio_of_the_tables_is_that_of_its_row() -> None:
    for row in rows_with("layer", "weights", "cycles"):
        cycles = number(row["cycles"])
        assert row["ours, us"] == f"{cycles / 800:.2f}", row
    fp32 = {"LeNet-300-100": 1_066_440, "LeNet-5": 1_724_320, "ResNet-20": 4 * 269_722}
    for row in rows_with("network", "container"):
        if row["container"] != "the paper's":
            assert row["ratio"] == f"{fp32[row['network']] / number(row['bytes']):.1f}x", row


def test_the_golden_rows_are_as_many_as_it_says() -> None:
    found = re.search(
        r"in all (\d+) rows of `tests/golden/`, line reads in those with 8-bit entries: (\d+) rows", WORDS
    )
    assert found is not None
    stopped = []
    for path in GOLDEN.glob("*.csv"):
        with path.open() as file:
            stopped += [row.get("reference_stopped_early", "0") == "1" for row in csv.DictReader(file)]
    assert [int(text) for text in found.groups()] == [len(stopped), stopped.count(False)]
    assert f"{stopped.count(True)} what its rules give" in WORDS


def test_the_guide_states_every_constant_of_the_cost_model() -> None:
    page = (PROJECT / "guide" / "costs.md").read_text()
    assert constants_table() in page
    assert nodes_table() in page


def test_what_a_narrower_line_costs_on_the_real_alex_8(data: Path) -> None:
    from sim.cost.energy import event_energies

    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    packed = pack(layer, ArrayConfig())
    energies = []
    for width in (64, 512):
        array = ArrayConfig(line_bits=width)
        energies.append(count(packed, activations, array).line_reads * event_energies(array).line_read_pj)
    found = re.search(r"64 bits cost (\d+) % more on the real Alex-8", WORDS)
    assert found is not None
    assert int(found[1]) == round(100 * (energies[0] / energies[1] - 1))


def test_each_passage_with_figures_names_its_command() -> None:
    figures = 0
    for section in re.split(r"^## ", RESULTS, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title != "Where we differ from the papers" and re.search(r"^\|.*\d (us|s|ms|%|mm2|x) ", body, re.MULTILINE):
            figures += 1
            assert re.search(r"`(python -m|make) ", body), title
    assert figures >= 3


def test_commands_in_readme_and_guide_are_ones() -> None:
    """Every `python -m PACKAGE COMMAND` and every option beside it exists."""
    from traces.shell.completion import completion_script

    script = completion_script("bash")
    specs = dict(re.findall(r"^COMPLETION_SPEC = \{'prog': 'python -m (\w+)', (.*)$", script, flags=re.MULTILINE))
    pages = [README, *(page.read_text() for page in (PROJECT / "guide").glob("*.md"))]
    named = {match for page in pages for match in re.findall(r"python -m (\w+)((?: [^`\n#]*)?)", page)}
    assert len(named) > 30
    for package, rest in named:
        if package not in specs:
            assert package in ("traces", "tests"), package
            continue
        for option in re.findall(r"--[a-z][a-z-]+", rest):
            assert f"'{option}'" in specs[package], f"python -m {package}{rest}"
