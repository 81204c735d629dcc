"""Advice on an array: its classes of cycles, the gain of changes, and the screen that shows them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from compress import CompressedModel
from designs.screens.network_run import print_network_run
from designs.sweeps.advice import Advice, advise
from designs.sweeps.network_run import NetworkRun, run_container
from designs.sweeps.packings import packed_images
from sim import ArrayConfig, simulate, simulate_network
from sim.cost.area import area_mm2
from sim.observe.cycles import CYCLE_CLASSES
from traces import CompressedLayer
from traces.files.matrix import layer_from_matrix
from traces.files.npz import write_npy

DRAW = np.random.default_rng(0)
SMALL = ArrayConfig(num_pes=8, weight_bits=6)


def drawn(name: str, rows: int, columns: int, density: float) -> CompressedLayer:
    values = DRAW.normal(size=(rows, columns)).round(1).clip(-2, 2)
    return layer_from_matrix(name, np.where(DRAW.random((rows, columns)) < density, values, 0))


def run_of(folder: Path, layers: list[CompressedLayer], array: ArrayConfig, inputs: int = 6) -> NetworkRun:
    CompressedModel(layers).save(folder / "network.dc")
    write_npy(folder / "inputs.npy", DRAW.normal(size=(inputs, layers[0].columns)).clip(0))
    return run_container(folder / "network.dc", array, folder / "inputs.npy")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[NetworkRun, Advice]:
    folder = tmp_path_factory.mktemp("network")
    run = run_of(folder, [drawn("first", 100, 80, 0.15), drawn("second", 20, 100, 0.3)], SMALL)
    return run, advise(run)


def test_the_classes_are_shares_of_all_cycles_of_all_pes(ran: tuple[NetworkRun, Advice]) -> None:
    run, advice = ran
    for layer in run.result.layers:
        shares = advice.layers[layer.name]
        assert sum(shares.values()) == pytest.approx(1)
        pe_cycles = layer.cycles.sum() * SMALL.num_pes
        assert shares["computing"] == pytest.approx(layer.useful_macs.sum() / pe_cycles)
        assert shares["padding"] == pytest.approx(layer.processed_padding.sum() / pe_cycles)
    pe_cycles = sum(int(layer.cycles.sum()) for layer in run.result.layers) * SMALL.num_pes
    macs = sum(int(layer.useful_macs.sum()) for layer in run.result.layers)
    assert advice.total["computing"] == pytest.approx(macs / pe_cycles)


def test_every_change_is_what_a_simulation_of_the_changed_array_says(ran: tuple[NetworkRun, Advice]) -> None:
    run, advice = ran
    parameters = {change.parameter for change in advice.changes}
    assert parameters == {
        *("queue_slots", "index_bits", "line_bits", "num_pes", "port_bits", "row_assignment", "srams", "together")
    }
    inputs = run.workload.layers[0].activations
    for change in advice.changes:
        design = change.point.design
        packed = packed_images(run.workload, design.packing)
        again = simulate_network([layer for (layer,) in packed], inputs, design.array)
        assert change.speedup == pytest.approx(run.result.latency_us.mean() / again.latency_us.mean()), change.what
        assert change.energy_gain == pytest.approx(run.result.energy_pj.mean() / again.energy_pj.mean()), change.what
        assert change.area_ratio == pytest.approx(area_mm2(design.array) / area_mm2(SMALL)), change.what
        np.testing.assert_allclose(again.output, run.result.output, rtol=1e-5, atol=1e-5)


def test_together_stands_last_and_takes_the_best_of_each_parameter(ran: tuple[NetworkRun, Advice]) -> None:
    _, advice = ran
    *singles, together = advice.changes
    assert together.parameter == "together"
    gains = [change.energy_delay_gain for change in singles]
    assert gains == sorted(gains, reverse=True)
    assert together.energy_delay_gain > gains[0]
    assert singles[0].what in together.what


def uneven(rows: int = 64, columns: int = 64) -> CompressedLayer:
    """Return a layer with all entries in the rows of one PE of eight."""
    weights = np.zeros((rows, columns))
    weights[::8] = 1.0
    return layer_from_matrix("uneven", weights)


@pytest.mark.parametrize(
    ("layer", "array", "bottleneck", "parameter", "words"),
    [
        (uneven(), SMALL, "starved", "row_assignment", "one full queue blocks the broadcast"),
        (
            drawn("sparse", 400, 60, 0.03),
            dataclasses.replace(SMALL, num_pes=2, index_bits=1),
            "padding",
            "index_bits",
            "gaps of 1 bits are too short",
        ),
        (
            drawn("dense", 100, 60, 0.5),
            dataclasses.replace(
                SMALL, memory_mode="streamed", dram_gb_per_s=0.1, sparse_matrix_bytes=512, line_bits=32
            ),
            "waiting",
            "dram_gb_per_s",
            "wait for blocks from DRAM (0.1 GB/s)",
        ),
        (drawn("small", 4, 60, 0.5), SMALL, "empty_columns", "num_pes", "take columns without entries of their own"),
    ],
    ids=["uneven", "padding", "DRAM", "too many PEs"],
)
def test_a_planted_bottleneck_is_found_and_the_change_that_mends_it_gains(
    layer: CompressedLayer,
    array: ArrayConfig,
    bottleneck: str,
    parameter: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = run_of(tmp_path, [layer], array, inputs=3)
    advice = advise(run)
    assert advice.bottleneck == bottleneck, advice.total
    assert max(change.energy_delay_gain for change in advice.changes if change.parameter == parameter) > 1.1
    print_network_run(run, advice)
    assert words in capsys.readouterr().out


def test_the_screen_answers_how_fast_how_much_what_and_what_next(
    ran: tuple[NetworkRun, Advice], capsys: pytest.CaptureFixture[str]
) -> None:
    run, advice = ran
    print_network_run(run, advice)
    printed = capsys.readouterr().out
    assert f"Latency:    {run.result.latency_us.mean():,.2f} us per input" in printed
    assert f"Energy:     {run.result.energy_nj.mean():,.1f} nJ per input" in printed
    assert f"Bottleneck: {advice.total[advice.bottleneck]:.0%} of the PEs' cycles" in printed
    assert f"Try next:   {advice.changes[-1].what}" in printed
    limit = run.result.limit
    assert f"Limit:      at least {limit.limit_cycles / run.inputs:,.0f} of " in printed
    assert f" cycles are needed ({limit.share:.1%}), limited by: " in printed
    energy, stored = run.result.energy_limit, run.result.byte_limit
    assert f"at least {energy.limit_pj / run.inputs / 1e3:,.1f} of " in printed
    assert f" nJ are needed ({energy.share:.0%}: arithmetic" in printed
    assert f"at least {stored.limit_bytes:,.0f} of {stored.stored_bytes:,.0f} bytes of weights" in printed
    assert f" are needed ({stored.share:.0%}: codes" in printed
    assert len(printed.splitlines()) <= 46
    assert all(name.replace("_", " ") in printed for name in CYCLE_CLASSES[:-1])


def test_a_change_that_no_array_allows_is_left_out(tmp_path: Path) -> None:
    array = ArrayConfig(num_pes=1, line_bits=512, index_bits=8, weight_bits=6)
    advice = advise(run_of(tmp_path, [drawn("one", 30, 20, 0.3)], array, inputs=1))
    designs = [change.point.design.array for change in advice.changes]
    assert {design.num_pes for design in designs} == {1, 2}
    assert max(design.line_bits for design in designs) == 512
    assert {design.index_bits for design in designs} == {8}


def test_rows_may_be_balanced_and_outputs_stay(ran: tuple[NetworkRun, Advice]) -> None:
    run, advice = ran
    folder = run.container.parent
    balanced = run_container(run.container, SMALL, folder / "inputs.npy", row_assignment="activity")
    np.testing.assert_array_equal(balanced.result.output, run.result.output)
    (change,) = [each for each in advice.changes if each.what == "rows balanced by these inputs"]
    assert balanced.result.latency_us.mean() == pytest.approx(change.point.latency_us)
    first = run.workload.layers[0]
    alone = [simulate(balanced.packed[0][0], vector, SMALL).cycles for vector in first.activations]
    assert balanced.result.layers[0].cycles.tolist() == alone
