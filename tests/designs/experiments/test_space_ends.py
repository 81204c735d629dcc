"""Ends of a space: shares of fronts, moves of their members, and fronts of earlier versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

torch: Any = pytest.importorskip("torch", reason="co-design needs PyTorch: install the extra [train]")

from compress import train  # noqa: E402
from designs.codesigns.columns import DESIGN_COLUMNS, DESIGNS_FILE, TRIALS_FILE  # noqa: E402
from designs.codesigns.search import Search  # noqa: E402
from designs.codesigns.trained_network import TrainedNetwork  # noqa: E402
from designs.design import ARRAY_FIELDS  # noqa: E402
from designs.experiments.space_ends import end_shares, run_space_ends  # noqa: E402
from designs.result_files import SPACE_ENDS_COLUMNS  # noqa: E402
from designs.results import provenance, read_results, write_results  # noqa: E402
from designs.space import Parameter, Range, Space  # noqa: E402
from traces import InputError, load_digits  # noqa: E402

SPACE = Space(
    {"num_pes": Range(1, 16, factor=4), "weight_bits": (2, 4), "line_bits": (4, 64), "clock_mhz": (200.0, 3200.0)}
)
SEARCH = Search(bounds={"accuracy_loss": 0.2}, trials=24)


def digits() -> TrainedNetwork:
    """Return a small network of the handwritten digits."""
    images = load_digits()
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    train(network, images.train_images, images.train_labels, epochs=3, learning_rate=3e-3)
    pool, labels = images.test_images[:100], images.test_labels[:100]
    return TrainedNetwork("digits", network, pool, labels, densities=(0.5, 0.2), weight_bits=(2, 4))


def rows_of(folder: Path, part: str) -> list[dict[str, Any]]:
    """Return the rows of a result file."""
    rows: list[dict[str, Any]] = read_results(folder / f"{part}.parquet", SPACE_ENDS_COLUMNS[part])[0].to_pylist()
    return rows


def earlier_trial(number: int, row: dict[str, Any]) -> dict[str, Any]:
    """Return a design as version 1.0 wrote it as a trial, with twice the energy."""
    design = {
        "array": {name: row[name] for name in ARRAY_FIELDS},
        "row_assignment": row["row_assignment"],
        "choices": json.loads(row["choices"]),
    }
    costs = {name: row[name] for name in ("accuracy_loss", "output_error", "latency_us", "area_mm2")}
    found = {"trial": number, "digest": row["digest"], "refused": "", "feasible": True, "repeats": False}
    return found | costs | {"energy_nj": 2 * row["energy_nj"], "design": json.dumps(design), "hypervolume": 0.5}


def type_of(value: Any) -> pa.DataType:
    """Return the type of a column of trials; a loss that is not measured is a number that is absent."""
    return {int: pa.int64(), bool: pa.bool_(), str: pa.string()}.get(type(value), pa.float64())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run, whose second run had the front of the first as trials of version 1.0.

    That version says twice the energy, and one of its trials has the fast clock.
    """
    folder = tmp_path_factory.mktemp("ends")
    assert run_space_ends({"digits": digits}, folder / "first", [3], SEARCH, SPACE, moved=3) == []
    table, _ = read_results(folder / "first" / "digits" / "3" / DESIGNS_FILE, DESIGN_COLUMNS)
    trials = [earlier_trial(number, row) for number, row in enumerate(table.to_pylist())]
    fast = dict(trials[0])
    design = json.loads(fast["design"])
    design["array"]["clock_mhz"] = 3200.0
    fast |= {"trial": 99_999, "digest": "fast", "design": json.dumps(design), "latency_us": 1e-3}
    schema = pa.schema({name: type_of(value) for name, value in fast.items()})
    (folder / "v1" / "digits" / "3").mkdir(parents=True)
    earlier = pa.Table.from_pylist([*trials, fast], schema)
    write_results(folder / "v1" / "digits" / "3" / TRIALS_FILE, earlier, provenance({}))
    left_out = run_space_ends({"digits": digits}, folder / "out", [3, 4], SEARCH, SPACE, folder / "v1", moved=3)
    assert left_out == [f"digits, seed 4: no earlier front, because {folder / 'v1/digits/4/trials.parquet'} is absent"]
    return folder / "out" / "digits"


def test_shares_count_the_members_at_the_ends() -> None:
    members = [{"num_pes": pes} for pes in (1, 1, 4, 16)]
    (row,) = end_shares("today", [Parameter("num_pes", (1, 4, 16))], members)
    assert (row["smallest"], row["largest"], row["members"]) == ("1", "16", 4)
    assert (row["at_smallest"], row["at_largest"]) == (0.5, 0.25)


def test_no_member_of_a_front_has_a_clock_that_its_array_does_not_reach(results: Path) -> None:
    rows = {(row["version"], row["parameter"]): row for row in rows_of(results / "3", "shares")}
    assert set(rows) == {(version, name) for version in ("today", "earlier") for name in SPACE.hardware}
    clock = rows["today", "clock_mhz"]
    assert (clock["at_smallest"], clock["at_largest"]) == (1.0, 0.0)
    assert rows["earlier", "clock_mhz"]["at_largest"] > 0


def test_moves_name_what_stops_them(results: Path) -> None:
    rows = rows_of(results / "3", "moves")
    stops: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        stops.setdefault((row["parameter"], row["direction"]), {})[row["stops"]] = row["members"]
    assert set(stops) == {(name, direction) for name in SPACE.hardware for direction in ("up", "down")}
    members = {sum(found.values()) for found in stops.values()}
    assert len(members) == 1
    assert 1 <= members.pop() <= 3
    assert set(stops["clock_mhz", "down"]) == {"end of the space"}
    assert all(stop.startswith("clock: ") for stop in stops["clock_mhz", "up"])
    assert set(stops["line_bits", "down"]) == {"a line holds no entry"}  # 2 or 4 bits and a gap of 4 in a line of 4
    assert set(stops["num_pes", "up"]) <= {"area_mm2", "energy_nj", "latency_us", "end of the space"}


def test_members_of_an_earlier_front_are_predicted_again(results: Path) -> None:
    *same, fast = rows_of(results / "3", "earlier")
    assert fast["trial"] == 99_999
    assert not fast["feasible"]
    assert not fast["optimal"]
    assert fast["reason"].startswith("clock: ")
    assert same
    assert all(row["feasible"] and row["optimal"] for row in same)
    for row in same:
        assert row["energy_nj_ratio"] == pytest.approx(0.5)
        assert row["latency_us_ratio"] == pytest.approx(1)
        assert row["area_mm2_ratio"] == pytest.approx(1)


def test_a_second_run_keeps_the_results_of_the_first(results: Path) -> None:
    paths = sorted(results.glob("4/*.parquet"))
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stem for path in paths] == ["designs", "moves", "shares", "trials"]
    run_space_ends({"digits": digits}, results.parent, [4], SEARCH, SPACE, moved=3)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_spaces_and_bounds_without_a_front_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="clock_mhz must have values, so that there is a next one"):
        run_space_ends({}, tmp_path, [0], SEARCH, Space({"clock_mhz": Range(200.0, 400.0)}))
    strict = replace(SEARCH, trials=3, bounds={"accuracy_loss": 0.2, "area_mm2": 1e-6})
    with pytest.raises(InputError, match="no design of 3 compressions keeps all bounds"):
        run_space_ends({"digits": digits}, tmp_path, [0], strict, SPACE)
