"""The array in SystemVerilog is the tick machine is the closed form: outputs, cycles, every counter, every cycle."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, simulate
from sim.array import prepare
from sim.cost.blocks import num_lnzd_units, pe_cells
from sim.fixed_point import FixedPoint
from sim.rtl import bench, cases, model, mutations, synthesis
from sim.rtl.agreement import disagreements
from sim.rtl.bench import Job, line_image, run_jobs, simulate_rtl
from sim.rtl.cases import ARRAYS, Case, corner_cases, random_cases
from sim.rtl.parameters import RtlParameters
from tests.conftest import PROJECT, real_file
from tests.sim.test_golden import ALEX8, Row, array_of
from traces import CompressedLayer, InputError
from traces.files.npz import read_layer_and_input
from traces.synthetic import draw_layer

MISSING = model.missing_program("verilator", "make", "g++")
needs_verilator = pytest.mark.skipif(
    MISSING is not None, reason=f"needs verilator, make and g++ ({MISSING} is missing): make rtl installs them"
)
needs_yosys = pytest.mark.skipif(
    model.missing_program("yosys") is not None, reason="needs yosys, which is missing: make rtl installs it"
)
RANDOM_CASES = 12  # for each of the seven arrays; 100 in the slow test

CORNERS = [(array, case) for array, found in corner_cases().items() for case in found]


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, list[str]]]:
    """Return the disagreements on corner cases, then random ones, one after the other without a reset."""
    return {
        array: disagreements(corner_cases()[array] + random_cases(config, RANDOM_CASES, seed=1), config)
        for array, config in ARRAYS.items()
    }


@needs_verilator
@pytest.mark.parametrize(("array", "case"), CORNERS, ids=[f"{array}: {case.name}" for array, case in CORNERS])
def test_three_machines_agree_on_a_corner_case(found: Any, array: str, case: Case) -> None:
    assert found[array][case.name] == []


@needs_verilator
@pytest.mark.parametrize("array", ARRAYS)
def test_three_machines_agree_on_random_layers(found: Any, array: str) -> None:
    drawn = {name: said for name, said in found[array].items() if name.startswith("random")}
    assert len(drawn) == RANDOM_CASES
    assert {name: said for name, said in drawn.items() if said} == {}


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize("array", ARRAYS)
def test_three_machines_agree_on_a_hundred_random_layers_of_each_array(array: str) -> None:
    config = ARRAYS[array]
    drawn = disagreements(random_cases(config, 100, seed=2), config)
    assert {name: said for name, said in drawn.items() if said} == {}


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize("pipeline_cycles", [5, 6, 7, 8])
@pytest.mark.parametrize("broadcast_cycles", [1, 2, 3, 4])
def test_three_machines_agree_on_random_layers_of_every_depth(pipeline_cycles: int, broadcast_cycles: int) -> None:
    slots = 2 + (pipeline_cycles + broadcast_cycles) % 4 * 3
    config = replace(cases.BYTES, queue_slots=slots, pipeline_cycles=pipeline_cycles, broadcast_cycles=broadcast_cycles)
    drawn = disagreements(random_cases(config, 50, seed=slots), config)
    assert {name: said for name, said in drawn.items() if said} == {}


def test_the_corner_cases_are_what_their_names_say() -> None:
    """Make sure that each case reaches its corner; otherwise its agreement proves nothing."""
    by_name = {case.name: (ARRAYS[array], case) for array, case in CORNERS}

    def result_of(name: str) -> Any:
        config, case = by_name[name]
        return simulate(case.layer, case.activations, config, "reference", case.number_format)

    assert result_of("full queue, a pop in the same cycle").blocked_cycles > 0
    assert result_of("saturation at both ends, and back").overflows == 3
    assert result_of("sums that just reach either end").overflows == 0
    assert result_of("sums one beyond either end").overflows == 2
    assert result_of("ties round upwards").output.tolist() == [1, 2, 0, -1, 3, -2, 1, 0]
    assert result_of("padding across a line").padding_entries > 2
    assert result_of("no activation at all").broadcasts == 0
    assert result_of("a bias whose activation rounds to zero").broadcasts == 1
    assert result_of("an activation that rounds to zero").broadcasts == 1
    assert result_of("magnitudes at the threshold and beside it").broadcasts == 4
    assert result_of("a threshold between two codes").output.tolist() == [3 + 4 - 4 + 5]
    assert result_of("a threshold that leaves the bias alone").output.tolist() == [3]
    assert result_of("a threshold that leaves nothing").broadcasts == 0
    assert result_of("a threshold below the largest magnitude").output.tolist() == [-32768]
    assert result_of("a threshold of the largest magnitude").broadcasts == 0
    assert result_of("a threshold beyond all codes").broadcasts == 1
    assert result_of("a threshold of 30 bits").broadcasts == 1
    assert result_of("rows with values up to the threshold").broadcasts == 4 + 1
    assert 1 < result_of("a threshold of fitted activations").broadcasts < 24
    assert result_of("back to back on one accumulator").finish_edge_per_pe.tolist() == [2 + 8]  # one in every cycle
    left = result_of("columns without entries left in the queue at the end")
    assert left.cycles < left.finish_edge_per_pe[0] + 30  # they take longer than the layer
    assert result_of("gaps of 255, 256 and more").padding_entries == 6
    assert result_of("as many columns as the longest queue holds").blocked_cycles == 0
    assert result_of("every credit on its way, no column in a queue").blocked_cycles == 4 * 4  # 2 in 6 cycles
    assert result_of("as many slots as the way takes").blocked_cycles == 0
    assert result_of("fewer slots than busy PEs take").blocked_cycles > 0
    assert result_of("columns without entries on their way at the end").cycles == 30 + 1 + 6  # the last arrives at 38
    assert result_of("an entry on its way when all PEs are idle").cycles == 9 + 1 + 1 + 1 + 6
    assert result_of("trailing zeros longer than the way").cycles == 31 + 1 + 6


def golden_array(row: Row) -> ArrayConfig:
    """Return memories that hold Alex-8 on 8 PEs, and 16-bit arithmetic; golden counts know no capacities."""
    return replace(
        array_of(row),
        precision="fixed-16",
        pointer_bits=18,
        sparse_matrix_bytes=256 * 1024,
        pointer_bytes=64 * 1024,
        activation_bytes=4096,
    )


def golden_rows() -> list[Any]:
    """Return the rows of 8, 16 and 64 PEs with 2, 8 and 16 slots; an array of 64 PEs takes half a minute to build."""
    rows = []
    for row in ALEX8:
        wanted = row["num_pes"] in ("8", "16", "64") and row["queue_slots"] in ("2", "8", "16")
        if wanted and (row["line_bits"], row["max_gap"]) == ("64", "16"):
            name = f"{row['num_pes']}-{row['queue_slots']}"
            marks = [] if row["queue_slots"] == "8" else [pytest.mark.slow]
            rows.append(pytest.param(row, id=name, marks=marks))
    assert len(rows) == 5
    return rows


@needs_verilator
@pytest.mark.parametrize("row", golden_rows())
def test_the_real_alex8_comes_out_exactly(row: Row, data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    config = golden_array(row)
    assert disagreements([Case("alex8", layer, activations)], config, ticked=False) == {"alex8": []}
    closed = simulate(layer, activations, config)
    assert closed.cycles == int(row["cycles"])
    assert (closed.pointer_reads, closed.line_reads) == (int(row["pointer_reads"]), int(row["line_reads"]))


@needs_verilator
def test_the_outputs_of_a_layer_are_the_inputs_of_the_next_after_a_swap() -> None:
    config = ARRAYS["seven PEs"]
    first, inputs = draw_layer("first", 20, 30, 0.4, 0.6, seed=3)
    second, _ = draw_layer("second", 25, 20, 0.4, 0.6, seed=4)
    packed, operands = prepare(first, inputs, config)
    between = simulate(first, inputs, config)
    assert between.number_format is not None
    bits = between.number_format.accumulator_fraction_bits
    number_format = FixedPoint(16, 12, bits, bits)
    jobs = [
        Job(packed, operands),
        Job(*prepare(second, between.output, config, number_format), chained=True),
    ]
    runs = run_jobs(jobs, config)
    expected = simulate(second, between.output, config, number_format=number_format)
    np.testing.assert_array_equal(runs[1].result.output_codes, expected.output_codes)
    assert runs[1].result.cycles == expected.cycles
    assert expected.output.any()


@needs_verilator
def test_rows_in_another_order_come_back_in_theirs() -> None:
    from sim import pack

    config = ARRAYS["seven PEs"]
    layer, activations = draw_layer("rows", 23, 11, 0.5, 0.7, seed=5)
    packed = pack(layer, config, np.random.default_rng(0).permutation(23))
    found, expected = simulate_rtl(packed, activations, config), simulate(packed, activations, config)
    np.testing.assert_array_equal(found.output_codes, expected.output_codes)
    np.testing.assert_array_equal(found.output, expected.output)
    assert (found.cycles, found.energy) == (expected.cycles, expected.energy)


def test_a_line_holds_its_entries_from_the_lowest_bits_on() -> None:
    config = ArrayConfig(num_pes=1, line_bits=70, weight_bits=9, index_bits=8)
    codes = np.array([[300], [0], [7], [1], [2], [3]], dtype=np.uint16)
    layer = CompressedLayer("six", codes, np.zeros(512, dtype=np.float32))
    packed, _ = prepare(layer, [1.0], config)
    first, second = line_image(packed, 0, config)
    assert [int(word) for word in second] == [3, 0, 0]
    line = sum(int(word) << 32 * place for place, word in enumerate(first))
    assert [line >> 17 * place & 0x1FFFF for place in range(4)] == [300, 7 | 1 << 9, 1, 2]
    assert line < 1 << 68


@pytest.mark.slow
@needs_verilator
@needs_yosys
@pytest.mark.parametrize("array", ["bytes", "deeper"])
def test_the_gates_of_the_synthesis_agree_on_the_corner_cases(array: str) -> None:
    config = ARRAYS[array]
    gates = model.build(RtlParameters.of(config), synthesis.netlist(config), synthesized=True)
    found = disagreements(corner_cases()[array], config, gates)
    assert {name: said for name, said in found.items() if said} == {}


@needs_yosys
def test_the_synthesis_finds_the_memories_and_units_that_the_area_model_assumes() -> None:
    config = ArrayConfig(num_pes=5, queue_slots=8, precision="fixed-8")
    found = {row.block: row for row in synthesis.synthesize(config)}
    for block in ("pointer_read", "sparse_matrix_read", "activation_write"):
        assert found[block].memory_bits == found[block].assumed_bits, block
    queue = found["activation_queue"]
    assert (queue.memory_bits, queue.assumed_bits) == (8 * (8 + 14), 8 * (8 + 16))  # 16,384 columns take 14 bits
    assert found["arithmetic"].memory_bits == 16 * 8
    assert found["activation_scan"].lnzd_units == num_lnzd_units(5) == 3
    # Pointers of 16 bits reach half of the lines: of their address, 13 bits of 14 are kept.
    assert found["sparse_matrix_read"].flip_flops == 2 * 8 + 16 + 13 + 3 + 5
    assert all(row.gates > 0 and row.flip_flops > 0 for row in found.values())
    modelled = dict(zip(synthesis.PE_BLOCKS, pe_cells(config).values(), strict=True))
    for block, cells in modelled.items():
        assert cells.flip_flops == pytest.approx(found[block].flip_flops, rel=0.10), block
        if block != "arithmetic":  # its gates are in constants of their own
            assert cells.gates == pytest.approx(found[block].gates, rel=0.15), block


@needs_yosys
def test_the_synthesis_finds_the_registers_of_a_deeper_pipeline_and_of_a_longer_broadcast() -> None:
    config = ArrayConfig(num_pes=5, queue_slots=8, precision="fixed-8")
    shortest = {row.block: row.flip_flops for row in synthesis.synthesize(config)}
    longer = replace(config, pipeline_cycles=7, broadcast_cycles=3)
    found = {row.block: row.flip_flops for row in synthesis.synthesize(longer)}
    wires = 2 * (1 + 14 + 8) + 2 * 5 + 3 * 5  # columns, pops and credits
    assert found == shortest | {
        "sparse_matrix_read": shortest["sparse_matrix_read"] + 2 * (2 + 8 + 8),  # flags, activation, entry
        "broadcast_wires": wires,
    }


@needs_verilator
@pytest.mark.parametrize("array", ARRAYS)
def test_verilator_has_nothing_to_say_of_the_files(array: str) -> None:
    assert model.lint(RtlParameters.of(ARRAYS[array])) == ""


@needs_verilator
def test_verilator_has_nothing_to_say_of_the_paper_s_array() -> None:
    assert model.lint(RtlParameters.of(ArrayConfig(precision="fixed-16"))) == ""


def test_every_block_has_a_fault_that_can_be_planted() -> None:
    blocks = {name.removesuffix(".sv") for name in model.sources() if name.endswith(".sv")}
    assert {fault.block for fault in mutations.FAULTS} == blocks
    for fault in mutations.FAULTS:
        assert fault.planted() != model.sources()


@needs_verilator
def test_a_planted_fault_is_caught() -> None:
    fault = next(fault for fault in mutations.FAULTS if fault.effect == "no bypass")
    verdict = mutations.verdict_on(fault)
    assert verdict.caught_in[0] == "back to back on one accumulator"
    assert verdict.differing == ("output (closed form)", "output (tick machine)")


@pytest.mark.slow
@needs_verilator
def test_every_planted_fault_is_caught() -> None:
    verdicts = mutations.mutation_run()
    assert [(verdict.fault.block, verdict.fault.effect) for verdict in verdicts if not verdict.caught_in] == []


def test_floating_point_is_refused() -> None:
    layer, activations = draw_layer("float", 4, 4, 0.5, 1.0, 0)
    with pytest.raises(InputError) as refused:
        simulate_rtl(layer, activations, ArrayConfig())
    assert str(refused.value) == (
        "the array in SystemVerilog calculates in fixed point; found precision='float'; give it precision='fixed-16' "
        "(or 'fixed-32', 'fixed-8')"
    )


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (
            {"num_pes": 512},
            "the array in SystemVerilog is built with num_pes of at most 256; found 512; simulate a larger one with "
            "another engine",
        ),
        (
            {"queue_slots": 2048},
            "the array in SystemVerilog is built with queue_slots of at most 1,024; found 2,048; simulate a larger one "
            "with another engine",
        ),
        (
            {"pointer_bytes": 4},
            "the array in SystemVerilog needs at least 2 pointers per bank in a PE; found 1; enlarge "
            "sparse_matrix_bytes, pointer_bytes or activation_bytes",
        ),
    ],
)
def test_an_array_that_is_not_built_is_refused(array: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        RtlParameters.of(ArrayConfig(precision="fixed-16", **array))
    assert str(refused.value) == sentence


def test_a_layer_that_does_not_fit_is_refused() -> None:
    layer, activations = draw_layer("long", 600, 9, 0.5, 1.0, 0)
    with pytest.raises(InputError) as refused:
        simulate_rtl(layer, activations, ArrayConfig(num_pes=1, precision="fixed-16"))
    assert str(refused.value) == (
        "layer 'long' does not fit the array in SystemVerilog: a register file of a PE: 600 outputs needed, 512 "
        "available, which is half of the activation SRAM; enlarge what is too small, or use more PEs"
    )


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "verilator" else program)
    with pytest.raises(InputError) as refused:
        model.build(RtlParameters.of(cases.ONE_PE))
    assert str(refused.value) == (
        "the array in SystemVerilog needs verilator, make, g++; verilator was not found; install it with your system's "
        "packages, on Debian and Ubuntu with make rtl"
    )


@needs_verilator
def test_files_that_do_not_build_end_in_a_sentence() -> None:
    files = {**model.sources(), "array.sv": "module array (input logic clock)\nendmodule\n"}
    with pytest.raises(
        InputError, match=r"^the array in SystemVerilog could not be built: verilator ended with 1: %Error"
    ):
        model.build(RtlParameters.of(cases.ONE_PE), files)


def test_the_most_edges_are_more_than_any_layer_takes() -> None:
    for array, case in CORNERS:
        config = ARRAYS[array]
        packed, operands = prepare(case.layer, case.activations, config, case.number_format)
        assert bench.most_edges(Job(packed, operands), config) > simulate(packed, case.activations, config).cycles


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ((), "there is no apt-get to install them with: use your system's packages"),
        (("apt-get",), "installing them takes root or sudo: ask who has it"),
    ],
)
def test_make_says_what_it_cannot_install(tmp_path: Path, there: tuple[str, ...], sentence: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    for name in ("id", *there):
        (tmp_path / name).write_text("#!/bin/sh\necho 1000\n")  # of a user who is not root
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [make, "rtl-programs"], cwd=PROJECT, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == f"make rtl needs verilator, yosys and g++; {sentence}"
