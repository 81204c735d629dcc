"""Layers that do not fit: said to, refused, cut into blocks, loaded from DRAM; both engines in every mode."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, count_all, pack, rows_balanced_by_entries, simulate
from sim.cost.constants import CONSTANTS
from sim.datapath.memory_control import DramChannel
from sim.memory import Block, DoesNotFitWarning, blocks_of, schedule, shortfalls, transfer_cycles
from sim.observe.cycles import CYCLE_CLASSES, cycle_breakdown
from sim.observe.timeline import timeline
from tests.layers import Case, cases
from tests.sim.test_machine import assert_same
from traces import CompressedLayer, InputError
from traces.arrays import Integers64
from traces.eie_benchmark import benchmark_layer
from traces.synthetic import draw_layer


@st.composite
def small_memories(draw: st.DrawFn) -> dict[str, Any]:
    """Draw memories that many layers exceed, in every memory mode."""
    return {
        "sparse_matrix_bytes": draw(st.sampled_from([16, 40, 100, 1000])),
        "pointer_bytes": draw(st.sampled_from([16, 40, 1000])),
        "activation_bytes": draw(st.sampled_from([20, 60, 200])),
        "pointer_bits": draw(st.sampled_from([4, 6, 16])),
        "dram_gb_per_s": draw(st.sampled_from([0.1, 0.7, 1.6, 12.8, 1000.0])),
        "memory_mode": draw(st.sampled_from(["passes", "streamed"])),
        "precision": draw(st.sampled_from(["float", "fixed-16", "fixed-8"])),
        "block_axis": draw(st.sampled_from(["columns", "rows"])),
    }


@settings(deadline=None, max_examples=400)
@given(cases(several_codebooks=True), small_memories(), st.booleans())
def test_both_engines_agree_on_a_layer_that_runs_in_blocks(case: Case, memories: dict[str, Any], reorder: bool) -> None:
    layer, activations, config = case
    small = dataclasses.replace(config, **memories)
    order: Integers64 | None = None
    if reorder:
        shuffled = np.random.default_rng(0).permutation(layer.rows)
        order = shuffled if layer.row_codebooks is None else rows_balanced_by_entries(layer, config.num_pes)
    packed = pack(layer, small, order)
    whole = simulate(packed, activations, dataclasses.replace(config, precision=small.precision))
    try:
        blocks = blocks_of(packed, small)
    except InputError:  # not even the smallest block fits
        return
    fast, ticked = simulate(packed, activations, small), simulate(packed, activations, small, "reference")
    assert_same(fast, ticked)
    np.testing.assert_array_equal(fast.output, whole.output)  # blocks change no bit of it
    assert fast.useful_macs == whole.useful_macs
    classes = cycle_breakdown(packed, activations, small)
    assert classes.cycles == fast.cycles
    assert classes.blocked_cycles == fast.blocked_cycles
    assert (sum(getattr(classes, name) for name in CYCLE_CLASSES) == fast.cycles).all()
    assert (classes.waiting == fast.waiting_cycles).all()
    assert fast.energy_with("horowitz-45nm").dram_pj == CONSTANTS["dram_pj_per_byte"].value * (
        fast.dram_read_bytes + fast.dram_write_bytes
    )

    # every column and row is in one block, every entry is loaded once, and each block fits its share of the SRAMs
    if small.block_axis == "columns" or len(blocks) == 1:
        assert [i for block in blocks for i in range(layer.columns)[block.columns]] == list(range(layer.columns))
    else:
        rows = np.concatenate([np.arange(layer.rows)[block.rows] for block in blocks])
        assert sorted(rows.tolist()) == list(range(layer.rows))
    buffers = 2 if small.memory_mode == "streamed" else 1
    if len(blocks) > 1 or buffers == 2:
        for block in blocks:
            entries = block.packed.stored_per_pe
            lines = -(-entries // small.entries_per_line)
            assert lines.max() * small.line_bits <= small.sparse_matrix_bytes * 8 / buffers
            assert entries.max() < 2**small.pointer_bits
            pointers = len(block.packed.pointers)
            assert -(-pointers // 2) * small.pointer_bits <= small.pointer_bytes * 8 / 2 / buffers
            image_bits = int(lines.sum()) * small.line_bits + pointers * small.num_pes * small.pointer_bits
            inputs_bytes = block.load_bytes - -(-image_bits // 8)
            assert inputs_bytes in (0, block.packed.layer.columns * small.activation_bits // 8)
    else:
        assert (fast.dram_read_bytes, fast.dram_write_bytes, fast.waiting_cycles) == (0, 0, 0)


def test_a_layer_that_fits_is_run_alike_in_every_mode_but_streamed() -> None:
    layer, activations = draw_layer("fits", 100, 200, 0.2, 0.5, 1)
    results = [
        simulate(layer, activations, ArrayConfig(memory_mode=mode)) for mode in ("unlimited", "resident", "passes")
    ]
    for result in results[1:]:
        assert_same(result, results[0])
        assert result.dram_read_bytes == 0
        assert result.shortfalls == ()
    streamed = simulate(layer, activations, ArrayConfig(memory_mode="streamed"))
    assert streamed.dram_read_bytes > 0
    assert streamed.cycles == results[0].cycles + transfer_cycles(streamed.dram_read_bytes, streamed.config)


def test_vgg_6_is_said_not_to_fit_and_by_how_much() -> None:
    layer, activations = benchmark_layer("VGG-6").draw()
    packed = pack(layer, ArrayConfig())
    # 25,088 inputs, the bias, and the end of the last column; 32 KB hold 16,384 pointers of 16 bits
    pointer_sram, pointer_range = shortfalls(packed, ArrayConfig())
    assert str(pointer_sram) == ("pointer SRAM of a PE: 25,090 pointers needed, 16,384 available, 8,706 (53%) too many")
    assert (pointer_range.memory, pointer_range.available) == ("range of a pointer", 65_535)
    assert pointer_range.needed == packed.stored_per_pe.max() > 65_535
    with pytest.warns(DoesNotFitWarning, match="layer 'VGG-6' was simulated as if it fitted, but exceeds pointer SRAM"):
        ideal = simulate(packed, activations, ArrayConfig())
    assert ideal.shortfalls == (pointer_sram, pointer_range)
    with pytest.raises(InputError, match=r"'VGG-6' does not fit: pointer SRAM of a PE: 25,090 .*; enlarge .* or 'str"):
        simulate(packed, activations, ArrayConfig(memory_mode="resident"))
    passes = simulate(packed, activations, ArrayConfig(memory_mode="passes"))
    streamed = simulate(packed, activations, ArrayConfig(memory_mode="streamed"))
    for result in (passes, streamed):
        np.testing.assert_array_equal(result.output, ideal.output)
        assert result.shortfalls == ()
    assert (passes.blocks, streamed.blocks) == (2, 4)
    assert streamed.cycles < passes.cycles
    with pytest.raises(
        InputError, match=r"cannot be cut into blocks of rows that fit, since even one row in each PE exceed po"
    ):
        simulate(packed, activations, ArrayConfig(memory_mode="passes", block_axis="rows"))


def test_a_pointer_that_is_too_narrow_for_the_entries_is_caught() -> None:
    layer = CompressedLayer("full", np.ones((16, 16), dtype=np.uint8), np.array([0, 1], dtype=np.float32))
    just = ArrayConfig(num_pes=1, pointer_bits=8, memory_mode="resident", index_bits=4, weight_bits=1)
    with pytest.raises(InputError, match="range of a pointer: 256 entries of a PE needed, 255 available, 1 "):
        simulate(layer, np.ones(16), just)
    assert simulate(layer, np.ones(16), dataclasses.replace(just, pointer_bits=9)).cycles > 256


def test_what_cannot_be_cut_is_refused_with_the_reason() -> None:
    layer, activations = draw_layer("wide", 64, 64, 1.0, 1.0, 0)
    tiny = ArrayConfig(num_pes=4, sparse_matrix_bytes=16, memory_mode="passes")
    with pytest.raises(
        InputError,
        match=r"columns that fit, since even columns 0 to 3 exceed sparse-matrix SRAM of a PE: 8 lines needed, "
        r"2 available, 6 \(300%\) too many; enlarge it, use more PEs, or try block_axis='rows'",
    ):
        simulate(layer, activations, tiny)
    with pytest.raises(InputError, match="of which a streamed block has one half"):
        simulate(layer, activations, dataclasses.replace(tiny, memory_mode="streamed"))


def test_passes_take_turns_and_streams_overlap() -> None:
    def cycles_of(mode: Any, loads: list[int], runs: list[int], stores: list[int]) -> int:
        config = ArrayConfig(memory_mode=mode, clock_mhz=1000, dram_gb_per_s=1)  # a byte a cycle
        parts = zip(loads, stores, strict=True)
        blocks = [Block(None, slice(0), slice(0), load, store) for load, store in parts]  # type: ignore[arg-type]
        return int(schedule(blocks, [np.array([run]) for run in runs], config)[0][0])

    assert cycles_of("passes", [10, 20, 30], [5, 6, 7], [0, 0, 0]) == 78
    assert cycles_of("passes", [10, 20], [5, 6], [3, 4]) == 48
    assert cycles_of("streamed", [10, 20, 30], [100, 100, 100], [0, 0, 0]) == 310  # transfers hidden
    assert cycles_of("streamed", [10, 20, 30], [5, 5, 5], [0, 0, 0]) == 65  # the DRAM never rests
    # block 0 runs to 110; block 2 goes into its buffer, 110 to 140, while block 1 runs to 130
    assert cycles_of("streamed", [10, 20, 30], [100, 20, 5], [0, 0, 0]) == 145
    # ... and now only after block 0's outputs, 110 to 117
    assert cycles_of("streamed", [10, 20, 30], [100, 20, 5], [7, 0, 0]) == 152
    assert cycles_of("streamed", [10], [5], [4]) == 19


def test_a_transfer_takes_whole_cycles_and_no_more() -> None:
    config = ArrayConfig(clock_mhz=800, dram_gb_per_s=12.8)  # 16 bytes a cycle
    assert [transfer_cycles(size, config) for size in (0, 1, 16, 17, 160)] == [0, 1, 1, 2, 10]
    channel = DramChannel(Fraction(16))
    first, second = channel.request(17), channel.request(1)
    channel.tick()
    assert not first.is_done
    channel.tick()
    assert first.is_done
    assert not second.is_done  # what the second cycle had left is lost
    channel.tick()
    assert second.is_done
    assert channel.is_idle


def test_arrays_that_cut_a_layer_differently_are_counted_together() -> None:
    layer, activations = draw_layer("x", 60, 200, 0.3, 0.5, 0)
    base = ArrayConfig(num_pes=4, memory_mode="passes")
    configs = [
        dataclasses.replace(base, sparse_matrix_bytes=size, queue_slots=slots, memory_mode=mode)
        for size in (300, 800, 100_000)
        for slots in (2, 8)
        for mode in ("passes", "streamed")
    ]
    packed = pack(layer, base)
    together = count_all(packed, activations, configs)
    for config, counts in zip(configs, together, strict=True):
        alone = simulate(layer, activations, config)
        assert (counts.cycles, counts.blocks, counts.dram_read_bytes, counts.line_reads) == (
            *(alone.cycles, alone.blocks, alone.dram_read_bytes, alone.line_reads),
        )
    assert len({counts.blocks for counts in together}) > 3


def test_a_timeline_of_blocks_is_refused() -> None:
    layer, activations = draw_layer("x", 60, 200, 0.3, 0.5, 0)
    config = ArrayConfig(num_pes=4, sparse_matrix_bytes=300, memory_mode="passes")
    with pytest.raises(InputError, match=r"'x' runs in \d+ block\(s\) loaded from DRAM; the state in each cycle"):
        timeline(layer, activations, config)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("sparse_matrix_bytes", 0, "sparse_matrix_bytes must be 1 to 1,073,741,824: an SRAM holds"),
        ("pointer_bits", 33, "pointer_bits must be 1 to 32: a pointer counts the entries of a PE; found 33"),
        ("dram_gb_per_s", 0, "dram_gb_per_s must be a bandwidth from 0.001 to 1,000,000 GB/s; found 0"),
        ("memory_mode", "stream", "memory_mode must be one of unlimited, resident, passes, streamed; found"),
        ("block_axis", "x", "block_axis must be one of columns, rows; found 'x'"),
        ("precision", 16, "precision must be one of float, fixed-32, fixed-16, fixed-8; found 16"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ArrayConfig(**{field: value})
