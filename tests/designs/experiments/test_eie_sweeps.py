"""Sweeps of the paper, and the search for an array better than the paper's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designs import Design, Workload, sweep
from designs.design import ARRAY_FIELDS
from designs.experiments import eie_sweeps
from designs.experiments.eie_sweeps import PAPER, PAPER_MM2, find_array, run_eie_sweeps, verify
from designs.results import read_results
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.fitting import fitted
from designs.sweeps.folder import SWEEP_FILE
from designs.sweeps.workload_source import EIE, open_workload
from sim import ArrayConfig, count_all, pack, simulate
from sim.cost.area import area_mm2
from sim.cost.blocks import needs_divider
from sim.cost.timing import clock_excess, timed, timing
from sim.memory import shortfalls
from traces import InputError
from traces.synthetic import draw_layer

DRAWN = [
    draw_layer(name, rows, columns, 0.05, 0.4, seed)
    for seed, (name, rows, columns) in enumerate([("wide", 300, 1500), ("tall", 2000, 200)])
]
WORKLOAD = Workload.of_layers(
    "two layers", [layer for layer, _ in DRAWN], {layer.name: values[np.newaxis] for layer, values in DRAWN}
)


def product(design: Design) -> float:
    """Return the geometric mean of the energy-delay products; simulate each layer by itself, rows interleaved."""
    results = [simulate(layer, values, design.array) for layer, values in DRAWN]
    return float(np.exp(np.mean([np.log(each.energy.total_pj / 1e3 * each.latency_us) for each in results])))


@pytest.mark.parametrize("row_assignment", ["interleaved", "entries"])
@pytest.mark.parametrize("array", [ArrayConfig(num_pes=2), ArrayConfig(num_pes=16, index_bits=6, line_bits=100)])
def test_fitted_srams_hold_every_layer_and_a_kib_less_does_not(array: ArrayConfig, row_assignment: str) -> None:
    design = Design(array, row_assignment)  # type: ignore[arg-type]
    found = fitted(design, sweep(WORKLOAD, [design]))
    (held,) = {all(row) for row in [sweep(WORKLOAD, [found])["fits"].to_pylist()]}
    assert held
    for field, least in (("sparse_matrix_bytes", 1024), ("pointer_bytes", 2048), ("activation_bytes", 1024)):
        smaller = getattr(found.array, field) - least
        if smaller > 0:
            less = dataclasses.replace(found, array=dataclasses.replace(found.array, **{field: smaller}))
            lacking = [shortfalls(pack(layer, less.array), less.array) for layer, _ in DRAWN]
            assert any(lacking), field
    narrower = dataclasses.replace(found.array, pointer_bits=found.array.pointer_bits - 1)
    assert not all(sweep(WORKLOAD, [dataclasses.replace(found, array=narrower)])["fits"].to_pylist())
    with pytest.raises(InputError, match="sizes must have rows of Packing"):
        fitted(Design(ArrayConfig(num_pes=3)), sweep(WORKLOAD, [design]))


def test_a_found_array_gains_what_simulating_it_says_and_the_tick_machine_agrees(tmp_path: Path) -> None:
    found = find_array(WORKLOAD, tmp_path)
    assert found.gain > 1
    assert area_mm2(found.design.array) <= PAPER_MM2
    assert found.network_bits[1] <= found.network_bits[0]
    assert found.same_entries.array.entry_bits == 8
    assert found.gain >= found.same_entries_gain
    assert found.steps[0] == ("the paper's array", 1.0)
    assert found.steps[-1][1] == pytest.approx(found.gain)
    for (_, gain), (name, (before, after)) in zip(found.steps, found.by_layer.items(), strict=False):
        assert gain > 0
        assert before > after, name
    if found.design.row_assignment == "interleaved":
        assert product(PAPER) / product(found.design) == pytest.approx(found.gain)
    assert product(PAPER) == pytest.approx(np.sqrt(np.prod([before for before, _ in found.by_layer.values()])))
    assert verify(WORKLOAD, found.design) == ("wide", "tall")


def test_a_found_array_reaches_the_paper_s_clock_with_the_stages_that_it_needs(tmp_path: Path) -> None:
    found = find_array(WORKLOAD, tmp_path)
    rows = read_results(tmp_path / "found" / SWEEP_FILE, SWEEP_COLUMNS)[0].to_pylist()
    paper, before, *others = list(dict.fromkeys(_array_of(row) for row in rows))
    assert paper == PAPER.array
    assert (before.num_pes, before.line_bits, before.entries_per_line) == (88, 512, 51)
    assert found.without_timing.array == before
    assert needs_divider(before)
    assert {array.clock_mhz for array in others} == {800.0}
    assert all(array.clock_mhz <= timing(array).highest_clock_mhz and array == timed(array) for array in others)
    assert {(10, 320), (9, 288), (8, 256)} <= {(array.entry_bits, array.line_bits) for array in others}
    assert all(area_mm2(array) <= PAPER_MM2 for array in others)
    assert found.design.array in (paper, before, *others)


def _array_of(row: dict[str, Any]) -> ArrayConfig:
    """Return the array of a row of a sweep."""
    return ArrayConfig(**{name: row[name] for name in ARRAY_FIELDS})


def test_arrays_above_their_clock_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = dataclasses.replace(PAPER.array, clock_mhz=1700.0)  # an addition takes longer than a cycle
    monkeypatch.setattr(eie_sweeps, "ArrayConfig", lambda **fields: dataclasses.replace(fast, **fields))
    monkeypatch.setattr(eie_sweeps, "QUEUES", (8,))
    found = find_array(WORKLOAD, tmp_path)
    assert found.too_fast > 100
    assert found.searched == 1
    assert found.design == PAPER


def test_the_sweeps_vary_one_parameter_each(tmp_path: Path) -> None:
    sweeps = run_eie_sweeps(WORKLOAD, tmp_path)
    assert [each.parameter for each in sweeps] == ["queue_slots", "line_bits", "num_pes"]
    for each in sweeps:
        rows = each.table.to_pylist()
        for name in ("queue_slots", "line_bits", "num_pes", "index_bits"):
            assert (len({row[name] for row in rows}) > 1) == (name == each.parameter)
    arrays = {pes: ArrayConfig(num_pes=pes) for pes in (1, 2, 4, 8, 16, 32, 64, 128, 256)}
    cycles = {row["num_pes"]: row["cycles"] for row in sweeps[2].table.to_pylist() if row["layer"] == "wide"}
    expected = {
        pes: count_all(pack(DRAWN[0][0], array), DRAWN[0][1], [array])[0].cycles for pes, array in arrays.items()
    }
    assert cycles == expected


@pytest.mark.slow
def test_an_array_of_the_paper_s_area_takes_two_thirds_of_the_energy_delay_product(tmp_path: Path) -> None:
    workload = open_workload([EIE])
    found = find_array(workload, tmp_path, workers=2)
    assert found.gain > 1.5
    assert clock_excess(found.without_timing.array)
    assert verify(workload, found.design) == ("Alex-8", "VGG-8", "NT-We", "NT-Wd", "NT-LSTM")
