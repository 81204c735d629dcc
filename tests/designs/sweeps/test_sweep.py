"""Grids, sweeps, result files and Pareto-optimal points."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs import Design, Workload, network_totals, sweep
from designs.experiments.grid import Grid
from designs.results import read_results, write_results
from designs.stages import Stages
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.fitting import fitted
from designs.sweeps.totals import best_point
from sim import ArrayConfig, simulate
from sim.cost.area import area_mm2
from traces import InputError
from traces.pareto import non_dominated
from traces.synthetic import draw_layer

GRID = Grid(num_pes=(1, 4, 16), queue_slots=(2, 8), line_bits=(32, 64))
FIRST, _ = draw_layer("first", 40, 30, 0.2, 0.5, seed=1)
SECOND, _ = draw_layer("second", 10, 40, 0.3, 0.5, seed=2)
INPUTS = {
    name: np.stack([draw_layer("x", 1, columns, 0.5, 0.6, seed)[1] for seed in range(3)])
    for name, columns in (("first", 30), ("second", 40))
}
WORKLOAD = Workload.of_layers("two layers", [FIRST, SECOND], INPUTS)
ONE_LAYER = Workload.of_layers("one layer", [FIRST], INPUTS)
PAPER = Design(ArrayConfig())


def test_a_grid_is_every_combination() -> None:
    points = GRID.designs(ArrayConfig(weight_bits=5))
    assert len(points) == len(set(points)) == 12
    assert all(point.array.weight_bits == 5 for point in points)


def test_a_grid_with_an_impossible_array_is_refused() -> None:
    with pytest.raises(InputError, match="num_pes must be 1 to 65,536"):
        Grid(num_pes=(4, 0))
    with pytest.raises(InputError, match=r"queue_slots must be one or more different values; found \(8, 8\)"):
        Grid(queue_slots=(8, 8))
    with pytest.raises(InputError, match="line_bits must be one or more different values"):
        Grid(line_bits=())
    with pytest.raises(InputError, match=r"must be a valid array; found a line does not hold one entry \(45\)"):
        Grid(line_bits=(8, 64)).designs(ArrayConfig(weight_bits=5))


def test_every_row_of_a_sweep_is_the_mean_of_its_simulations() -> None:
    designs = GRID.designs(ArrayConfig())
    arrays = [design.array for design in designs]
    rows = sweep(WORKLOAD, designs).to_pylist()
    assert len(rows) == 24
    for row, (array, layer) in zip(rows, [(a, x) for a in arrays for x in (FIRST, SECOND)], strict=True):
        results = [simulate(layer, values, array) for values in INPUTS[layer.name]]
        assert (row["num_pes"], row["queue_slots"], row["line_bits"]) == (
            array.num_pes,
            array.queue_slots,
            array.line_bits,
        )
        assert row["layer"] == layer.name
        assert row["inputs"] == 3
        for name in ("cycles", "useful_macs", "line_reads", "pointer_reads", "blocked_cycles", "broadcasts"):
            assert row[name] == pytest.approx(np.mean([getattr(result, name) for result in results]))
        assert row["energy_pj"] == pytest.approx(np.mean([result.energy.total_pj for result in results]))
        assert row["limit_cycles"] == pytest.approx(np.mean([result.limit.limit_cycles for result in results]))
        assert row["limit_bytes"] == pytest.approx(results[0].byte_limit.limit_bytes)
        assert row["limit_energy_pj"] == pytest.approx(np.mean([result.energy_limit.limit_pj for result in results]))
        assert row["area_mm2"] == area_mm2(array)


def test_arrays_that_codebooks_do_not_suit_are_points_without_figures(tmp_path: Path) -> None:
    numbers = (np.arange(40) % 8).astype(np.uint16)
    own = dataclasses.replace(FIRST, codebook=np.stack([FIRST.codebook] * 8), row_codebooks=numbers)
    workload = Workload.of_layers("codebooks for 8 PEs", [own, SECOND], INPUTS)
    designs = Grid(num_pes=(4, 8, 12), queue_slots=(2, 8), line_bits=(64,)).designs(ArrayConfig())
    rows = sweep(workload, designs).to_pylist()
    assert [row["num_pes"] for row in rows] == [4] * 4 + [8] * 4 + [12] * 4
    for row in rows:
        assert np.isnan(row["cycles"]) == (row["num_pes"] != 8) == (row["residency"] == "")
        suits = row["num_pes"] == 8 or row["layer"] == "second"
        assert row["fits"] == suits
        assert ("must suit its codebooks" in row["lacking"]) == (not suits)
    assert str(sweep(workload, designs, folder=tmp_path, workers=2).to_pylist()) == str(rows)
    points = network_totals(sweep(workload, designs))
    assert [point.runs for point in points] == [False] * 2 + [True] * 2 + [False] * 2
    table = sweep(workload, designs)
    assert fitted(designs[2], table) == fitted(designs[2], sweep(workload, designs[2:4]))
    with pytest.raises(InputError, match=r"sizes must be of packed layers; found none .*num_pes=12.* must suit its"):
        fitted(designs[4], table)
    (best,) = [place for place, point in enumerate(points) if point == best_point(table)]
    assert points[best].num_pes == 8


def test_a_network_s_total_is_the_sum_over_its_layers() -> None:
    table = sweep(WORKLOAD, GRID.designs(ArrayConfig()))
    rows = table.to_pylist()
    for number, point in enumerate(network_totals(table)):
        pair = rows[2 * number : 2 * number + 2]
        assert point.limit_cycles == pytest.approx(sum(row["limit_cycles"] for row in pair))
        assert point.limit_energy_nj == pytest.approx(sum(row["limit_energy_pj"] for row in pair) / 1e3)
        assert point.limit_binds == max(pair, key=lambda row: row["limit_cycles"])["limit_binds"]
        assert (point.num_pes, point.queue_slots, point.line_bits) == tuple(
            pair[0][name] for name in ("num_pes", "queue_slots", "line_bits")
        )
        assert point.cycles == sum(row["cycles"] for row in pair)
        assert point.latency_us == point.cycles / 800
        assert point.efficiency == sum(row["useful_macs"] for row in pair) / point.cycles / point.num_pes
        assert 0 < point.efficiency <= 1


def test_a_sweep_without_a_layer_s_activations_is_refused() -> None:
    with pytest.raises(InputError, match=r"layer 'second': activations must be \[inputs, 40\]; found none"):
        Workload.of_layers("two", [FIRST, SECOND], {"first": INPUTS["first"]})
    with pytest.raises(InputError, match="a sweep needs one or more designs, each once; found a design twice"):
        sweep(WORKLOAD, [PAPER, PAPER])
    with pytest.raises(InputError, match="a sweep needs one or more designs, each once; found none"):
        sweep(WORKLOAD, [])
    with pytest.raises(InputError, match=r"found shape \[30\]"):
        Workload.of_layers("one", [FIRST], {"first": INPUTS["first"][0]})


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_the_front_is_what_no_other_point_beats(points: list[tuple[int, int, int]]) -> None:
    def beats(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and one != other

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert non_dominated(np.array(points)).tolist() == expected


def test_design_points_may_differ_in_everything() -> None:
    arrays = [
        ArrayConfig(num_pes=4, index_bits=1),
        ArrayConfig(num_pes=4, index_bits=4, clock_mhz=400),
        ArrayConfig(num_pes=4, index_bits=4, pipeline_cycles=9),
        ArrayConfig(num_pes=4, index_bits=4, broadcast_cycles=3),
        ArrayConfig(num_pes=4, index_bits=4),
        ArrayConfig(num_pes=2, index_bits=1, weight_bits=8),
        ArrayConfig(num_pes=4, index_bits=2),
    ]
    table = sweep(ONE_LAYER, [Design(array) for array in arrays])
    for row, array, total in zip(table.to_pylist(), arrays, network_totals(table), strict=True):
        results = [simulate(FIRST, values, array) for values in INPUTS["first"]]
        assert row["stored_entries"] == results[0].stored_entries
        assert row["index_bits"] == array.index_bits
        assert row["cycles"] == pytest.approx(np.mean([result.cycles for result in results]))
        assert row["blocked_cycles"] == pytest.approx(np.mean([result.blocked_cycles for result in results]))
        assert total.latency_us == row["cycles"] / array.clock_mhz


def test_result_files_keep_units_and_origin(tmp_path: Path) -> None:
    path = tmp_path / "sweep.parquet"
    table = sweep(ONE_LAYER, [PAPER])
    write_results(path, table, {"settings": {"seed": 3}})
    found, origin = read_results(path, SWEEP_COLUMNS)
    assert found.to_pylist() == table.to_pylist()
    assert origin == {"settings": {"seed": 3}}
    fields = {field.name: field.metadata for field in pq.read_schema(path)}
    assert fields["energy_pj"][b"unit"] == b"pJ/input"
    assert all(metadata[b"description"] for metadata in fields.values())


def test_a_damaged_result_file_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "sweep.parquet"
    with pytest.raises(InputError, match="there is no such result file; make it with python -m designs"):
        read_results(path, SWEEP_COLUMNS)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="must be a whole Parquet file; reading it failed"):
        read_results(path, SWEEP_COLUMNS)
    table = sweep(ONE_LAYER, [PAPER])
    as_text = table.set_column(table.schema.get_field_index("cycles"), "cycles", pa.array(["many"]))
    unknown = table.set_column(table.schema.get_field_index("cycles"), "cycles", pa.array([None], pa.float64()))
    for damaged in (table.drop_columns(["cycles"]), as_text, unknown):
        write_results(path, damaged, {})
        with pytest.raises(InputError, match="is no result of this kind: cycles missing or of another type"):
            read_results(path, SWEEP_COLUMNS)
    for empty, origin in ((table.slice(0, 0), {}), (table, [])):
        write_results(path, empty, origin)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="no rows, or no origin"):
            read_results(path, SWEEP_COLUMNS)


def test_a_flipped_bit_in_the_values_of_a_result_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sweep.parquet"
    table = sweep(ONE_LAYER, GRID.designs(ArrayConfig()))
    write_results(path, table, {})
    whole = path.read_bytes()
    end_of_values = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(4, end_of_values, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        try:
            found = read_results(path, SWEEP_COLUMNS)[0]
        except InputError:
            continue
        assert found.equals(table), place  # a bit that holds no value


def make_and_count(content: bytes, calls: list[Path]) -> Any:
    def make(path: Path) -> None:
        calls.append(path)
        path.write_bytes(content)

    return make


def test_finished_steps_are_kept_until_something_before_them_changes(tmp_path: Path) -> None:
    def job(first: bytes, seed: int = 0, fresh: bool = False) -> list[str]:
        calls: list[Path] = []
        with Stages(tmp_path, fresh) as stages:
            stages.run("first", {"seed": seed}, make_and_count(first, calls))
            stages.run("second", {"seed": seed}, make_and_count(b"second", calls))
        return [path.name for path in calls]

    assert job(b"a") == ["first", "second"]
    assert job(b"a") == []
    assert job(b"a", fresh=True) == ["first", "second"]
    assert job(b"b", seed=1) == ["first", "second"]
    (tmp_path / "first").write_bytes(b"damaged")
    assert job(b"b", seed=1) == ["first"]  # the very same file again, so what follows stays
    (tmp_path / "first").unlink()
    assert job(b"c", seed=1) == ["first", "second"]
    (tmp_path / "stages.json").write_text("{")
    assert job(b"c", seed=1) == ["first", "second"]
    (tmp_path / ".first.abc.partial").write_text("left behind by a run that was killed")
    assert job(b"c", seed=1) == []
    assert not (tmp_path / ".first.abc.partial").exists()
    assert set(json.loads((tmp_path / "stages.json").read_text())) == {"first", "second"}


def test_a_step_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    def cut_off(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    calls: list[Path] = []
    with Stages(tmp_path) as stages:
        stages.run("first", {}, make_and_count(b"a", calls))
        with pytest.raises(KeyboardInterrupt):
            stages.run("second", {}, cut_off)
    with Stages(tmp_path) as stages:
        assert not stages.run("first", {}, make_and_count(b"a", calls))
        assert stages.run("second", {}, make_and_count(b"b", calls))


def _try_folder(folder: Path) -> str:
    try:
        with Stages(folder):
            return "entered"
    except InputError as error:
        return str(error)


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with Stages(tmp_path), multiprocessing.get_context("spawn").Pool(1) as pool:
        assert re.search("another run writes to this folder; wait for it", pool.apply(_try_folder, (tmp_path,)))
    assert _try_folder(tmp_path) == "entered"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written: " in _try_folder(tmp_path / "file" / "below")
