"""Sweeps of many points: packed rows of designs, draws and evaluations of many at once, and tables put in order."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from designs import (
    Constraints,
    Design,
    Range,
    Sampling,
    Space,
    Workload,
    front_of,
    network_totals,
    run_sweep,
    sample,
    sweep,
)
from designs.design import Packing
from designs.results import ResultFile, write_results
from designs.space import layer_settings
from designs.sweeps.design_rows import DesignRows
from designs.sweeps.evaluation import COUNTS, LIMITS, LayerRuns, counted
from designs.sweeps.folder import SweepReader
from designs.sweeps.packings import packed_images
from designs.sweeps.rows import SortedRows, SweepExtent, finished_rows
from designs.sweeps.totals import Objective, SweepTotals
from sim import ArrayConfig, simulate
from sim.cost.area import area_mm2
from sim.limits import BINDING
from sim.row_assignment import RowAssignment
from tests.bad_values import NO_WHOLE_NUMBERS
from traces import InputError
from traces.synthetic import draw_layer

LAYER, INPUT = draw_layer("layer", 40, 30, 0.3, 0.5, seed=1)
WORKLOAD = Workload.of_layers("one layer", [LAYER], {"layer": INPUT[np.newaxis]})
SPACES = [
    (Space({"num_pes": Range(1, 40), "queue_slots": Range(2, 9), "line_bits": [4, 32, 60]}), "sobol", 150),
    (
        Space(
            {"num_pes": [1, 4], "clock_mhz": Range(100.0, 2000.0, log=True), "dram_gb_per_s": Range(1.0, 9.0)},
            constraints=Constraints(max_area_mm2=3.0),
        ),
        "random",
        80,
    ),
    (Space({"num_pes": [1, 2, 3], "queue_slots": [2, 3], "row_assignment": ["interleaved", "entries"]}), "random", 12),
    (Space({"clock_mhz": [400.0, 900.0], "pipeline_cycles": Range(5, 9), "broadcast_cycles": [1, 2]}), "sobol", 9),
    (
        Space(
            {"num_pes": [1, 2, 4], "line_bits": [24, 32, 64], "node_nm": [22, 45]},
            constraints=Constraints(whole_lines=True),
        ),
        "grid",
        None,
    ),
    (Space({"num_pes": [1, 2]}, compression={"density": [0.1, 0.2], "weight_bits": [3, 4]}), "grid", None),
]


def one_by_one(space: Space, sampling: Sampling, layers: list[str]) -> tuple[list[Design], Counter[str]]:
    """Return designs and refused combinations, drawn, checked and compared one at a time."""
    parameters = space.parameters(layers)

    def candidates() -> Iterator[dict[str, Any]]:
        if sampling.method == "grid":
            for combination in itertools.product(*(each.values or () for each in parameters.values())):
                yield dict(zip(parameters, combination, strict=True))
            return
        from scipy.stats import qmc

        varied = [name for name, each in parameters.items() if each.varies]
        stream = np.random.default_rng(sampling.seed)
        sequence = qmc.Sobol(len(varied), scramble=True, rng=stream) if sampling.method == "sobol" else None
        while True:
            units = stream.random((1024, len(varied))) if sequence is None else sequence.random(1024)
            for row in units.tolist():
                at = dict(zip(varied, row, strict=True))
                yield {name: each.at(at.get(name, 0)) for name, each in parameters.items()}

    designs: dict[Design, None] = {}
    refused: Counter[str] = Counter()
    for values in candidates():
        reason = space.refuses(values)
        if reason is None:
            designs[space.design(values)] = None
            if len(designs) == sampling.points:
                break
        else:
            refused[reason] += 1
    return list(designs), refused


@pytest.mark.parametrize(("space", "method", "points"), SPACES)
def test_many_draws_at_once_are_those_that_are_drawn_one_by_one(space: Space, method: Any, points: int | None) -> None:
    sampling = Sampling(method, points, seed=0 if method == "grid" else 5)
    layers = ["layer"] if space.compression else []
    expected, refused = one_by_one(space, sampling, layers)
    found = sample(space, sampling, layers)
    assert list(found.designs) == expected
    assert found.left_out == refused


def test_rows_of_designs_are_a_sequence_of_designs() -> None:
    chosen: list[tuple[int, float, RowAssignment, float]] = [
        (4, 300.5, "entries", 0.5),
        (1, 800.0, "interleaved", 0.5),
        (4, 800.0, "entries", 0.25),
        (2, 800.0, "entries", 0.25),
    ]
    listed = [
        Design(ArrayConfig(num_pes=pes, clock_mhz=clock), rows, layer_settings({"layer.density": density}))
        for pes, clock, rows, density in chosen
    ]
    rows = DesignRows.of(listed)
    assert list(rows) == listed
    assert rows == listed
    assert rows[-1] == listed[-1]
    assert list(rows[1:3]) == listed[1:3]
    assert list(rows.take(np.array([2, 0]))) == [listed[2], listed[0]]
    assert rows != listed[:3]
    with pytest.raises(IndexError, match="there are 4 designs; found 4"):
        rows[4]
    packings, places = rows.packings()
    assert packings == sorted({design.packing for design in listed})
    assert [packings[place] for place in places] == [design.packing for design in listed]
    assert [rows.arrays.array(place) for place in range(4)] == [design.array for design in listed]
    first, kinds = rows.kinds(("clock_mhz", "row_assignment"))
    assert [listed[first[kind]].array.clock_mhz for kind in kinds] == [design.array.clock_mhz for design in listed]
    assert len(first) == 3
    alone = DesignRows.of(listed[:1])
    assert alone.packings()[0] == [Packing(4, 4, "entries")]
    assert alone.kinds(("clock_mhz",))[0].tolist() == [0]


def test_a_design_takes_a_few_bytes() -> None:
    rows = sample(SPACES[0][0], Sampling("sobol", 500)).designs
    assert rows._rows.nbytes <= 8 * len(rows)


def test_designs_evaluated_at_once_have_the_costs_of_each_alone() -> None:
    space = Space(
        {
            "num_pes": [1, 4],
            "sparse_matrix_bytes": [512, 4096],
            "activation_bytes": [512, 1024],
            "memory_mode": ["unlimited", "resident", "passes", "streamed"],
            "block_axis": ["columns", "rows"],
            "precision": ["float", "fixed-16"],
            "dram_gb_per_s": [1.0, 8.0],
        }
    )
    designs = list(sample(space).designs)
    table = sweep(WORKLOAD, designs)
    runs = {}
    for row, design in zip(table.to_pylist(), designs, strict=True):
        if design.packing not in runs:
            ((packed,),) = packed_images(WORKLOAD, design.packing)
            runs[design.packing] = LayerRuns([packed], WORKLOAD.layers[0])
        alone, array = runs[design.packing], design.array
        assert row["lacking"] == alone.lacking(array)
        assert row["area_mm2"] == area_mm2(array)
        assert {name: row[name] for name in design.hardware} == design.hardware
        if array.memory_mode == "resident" and row["lacking"]:
            assert np.isnan(row["cycles"])
            assert row["residency"] == ""
            continue
        found = counted(alone.runs(array), alone.work, [1], slice(None)).counts
        counts = dict(zip(COUNTS, found, strict=True))
        assert {name: row[name] for name in COUNTS if name not in LIMITS} == {
            name: value for name, value in counts.items() if name not in LIMITS
        }
        expected = simulate(LAYER, INPUT, array)
        limit = expected.limit
        assert (row["limit_cycles"], row["limit_binds"]) == (limit.limit_cycles, BINDING[limit.binds])
        assert row["limit_share"] == pytest.approx(limit.share)
        assert row["limit_energy_pj"] == pytest.approx(expected.energy_limit.limit_pj)
        if expected.blocks == 1:
            assert row["limit_bytes"] == pytest.approx(expected.byte_limit.limit_bytes)
        assert (row["cycles"], row["energy_pj"]) == (expected.cycles, pytest.approx(expected.energy.total_pj))


def test_a_batch_comes_back_from_a_worker_without_what_it_computed() -> None:
    rows = sample(SPACES[0][0], Sampling("sobol", 100)).designs
    before = len(pickle.dumps(rows))
    area_mm2(rows.arrays)
    assert len(pickle.dumps(rows)) == before
    assert pickle.loads(pickle.dumps(rows)) == rows


@pytest.mark.parametrize("piece_rows", [1, 3, 100])
def test_points_are_whole_wherever_a_file_is_cut_into_pieces(
    piece_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "c"]
    layers = {name: draw_layer(name, 12, 10, 0.4, 0.5, seed) for seed, name in enumerate(names)}
    workload = Workload.of_layers(
        "three", [layer for layer, _ in layers.values()], {name: x[np.newaxis] for name, (_, x) in layers.items()}
    )
    table = sweep(workload, [Design(ArrayConfig(num_pes=pes)) for pes in (1, 2, 4, 8)])
    lacking = pa.concat_tables([table[1:5], table[6:9], table[0:3], table[9:11]])  # 2 and 0 are whole
    origin = {"settings": {"points": 4, "workload": {"layers": names}}}
    write_results(tmp_path / "part.parquet", lacking, origin)
    real = ResultFile.tables
    monkeypatch.setattr(ResultFile, "tables", lambda file, rows: real(file, piece_rows))
    found = pa.concat_tables(finished_rows([tmp_path / "part.parquet"], origin))
    assert found.equals(pa.concat_tables([table[6:9], table[0:3]]))


def test_a_design_with_an_sram_outside_the_tables_is_an_error() -> None:
    with pytest.raises(InputError, match="line_bits must be at most 512, the widest port in the SRAM tables"):
        sweep(WORKLOAD, [Design(ArrayConfig()), Design(ArrayConfig(line_bits=1024))])


@pytest.mark.parametrize("held_bytes", [1, 3000, 2**28])
def test_rows_come_back_in_order_however_many_are_held(
    held_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designs.sweeps.rows._HELD_BYTES", held_bytes)
    monkeypatch.setattr("designs.sweeps.rows._GROUP_ROWS", 7)
    table = sweep(WORKLOAD, Space({"num_pes": [1, 2, 4], "queue_slots": [2, 4, 8], "line_bits": [32, 64]}))
    extent = SweepExtent({"settings": {"points": 18, "workload": {"layers": ["layer"]}}})
    rows = SortedRows(extent, tmp_path / "merging")
    order = np.random.default_rng(0).permutation(18)
    for piece in np.array_split(order, 6):
        rows.add(table.take(piece))
    assert rows.points == 18
    groups = list(rows.tables())
    assert [len(group) for group in groups] == [7, 7, 4]
    assert pa.concat_tables(groups).equals(table)
    assert not list((tmp_path / "merging").glob("*"))


def test_the_front_of_pieces_is_the_front_of_the_whole(tmp_path: Path) -> None:
    space = Space(
        {
            "num_pes": [1, 2, 4],
            "queue_slots": [2, 4, 8],
            "line_bits": [32, 64],
            "sparse_matrix_bytes": [512, 8192],
            "memory_mode": ["resident", "unlimited"],
        }
    )
    layer, activations = draw_layer("large", 200, 150, 0.2, 0.5, seed=1)
    workload = Workload.of_layers("one layer", [layer], {"large": activations[np.newaxis]})
    file = run_sweep(workload, space, None, tmp_path)
    (table,) = SweepReader(file).tables()
    objectives: tuple[Objective, ...] = ("latency_us", "energy_nj", "area_mm2")
    for fitting in (False, True):
        points = network_totals(table)
        running = [point for point in points if point.runs and (point.fits or not fitting)]
        totals = SweepTotals(objectives, fitting)
        for begin in range(0, len(table), 7):
            totals.add(table[begin : begin + 7])
        assert (totals.points, totals.running) == (len(points), len(running))
        assert totals.front == front_of(running, objectives)
        assert totals.lacking == next(filter(None, table["lacking"].to_pylist()))
    assert totals.varied == ["num_pes", "queue_slots", "line_bits", "sparse_matrix_bytes", "memory_mode"]


@pytest.mark.parametrize("value", [*NO_WHOLE_NUMBERS.values(), np.float64(4)])
def test_numbers_of_points_and_seeds_are_whole(value: Any) -> None:
    with pytest.raises(InputError, match=r"points must be (a whole number|the number of designs to draw)"):
        Sampling("sobol", value)
    with pytest.raises(InputError, match="seed must be a whole number"):
        Sampling("sobol", 8, value)
    assert dataclasses.astuple(Sampling("sobol", np.int64(8), np.uint8(3))) == ("sobol", 8, 3)  # type: ignore[arg-type]
    assert type(Sampling("sobol", np.int64(8)).points) is int  # type: ignore[arg-type]
