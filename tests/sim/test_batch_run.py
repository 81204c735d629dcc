"""Many inputs on many arrays: what arrays share is worked out once, and nothing comes out differently."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, BatchRun, DoesNotFitWarning, pack, simulate
from sim.batch import PER_INPUT
from sim.config import MemoryMode, Precision
from traces import InputError
from traces.synthetic import draw_layer

LAYER, _ = draw_layer("layer", 60, 80, 0.3, 0.5, seed=5)
INPUTS = np.stack([draw_layer("x", 1, 80, 0.5, density, seed)[1] for seed, density in enumerate((0.0, 0.4, 1.0))])
RUNS = {pes: BatchRun(pack(LAYER, ArrayConfig(num_pes=pes)), INPUTS, ArrayConfig(num_pes=pes)) for pes in (1, 4)}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([1, 4]),
    st.sampled_from([2, 5, 64]),
    st.sampled_from([16, 64]),
    st.sampled_from(["unlimited", "passes", "streamed"]),
    st.sampled_from(["columns", "rows"]),
    st.sampled_from([512, 131_072]),
    st.sampled_from([5, 9]),
    st.sampled_from([1, 2, 6]),
)
def test_every_array_of_one_run_costs_what_simulating_it_alone_does(
    num_pes: int, slots: int, line: int, mode: MemoryMode, axis: str, capacity: int, pipeline: int, broadcast: int
) -> None:
    array = ArrayConfig(
        num_pes=num_pes,
        queue_slots=slots,
        line_bits=line,
        memory_mode=mode,
        block_axis=axis,  # type: ignore[arg-type]
        sparse_matrix_bytes=capacity,
        pipeline_cycles=pipeline,
        broadcast_cycles=broadcast,
    )
    counts = RUNS[num_pes].counts(array)  # one run for all arrays that Hypothesis draws
    for number, values in enumerate(INPUTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DoesNotFitWarning)
            alone = simulate(LAYER, values, array)
        for name in ("cycles", "broadcasts", "blocked_cycles", "waiting_cycles", "useful_macs", "line_reads"):
            assert getattr(counts, name)[number] == getattr(alone, name), name
        assert counts.energy_pj[number] == pytest.approx(alone.energy.total_pj)
        assert counts.dram_read_bytes[number] == alone.dram_read_bytes


def test_an_array_of_another_precision_or_packing_is_refused() -> None:
    with pytest.raises(InputError, match="counted together must have one precision; found 'float' and 'fixed-16'"):
        RUNS[4].counts(ArrayConfig(num_pes=4, precision="fixed-16"))
    with pytest.raises(InputError, match="was packed for num_pes=4, index_bits=4; the array has num_pes=2"):
        RUNS[4].counts(ArrayConfig(num_pes=2))


@pytest.mark.parametrize("precision", ["float", "fixed-8"])
@pytest.mark.parametrize("num_pes", [1, 3, 16, 128])
def test_all_queues_and_lines_counted_at_once_are_those_counted_one_at_a_time(
    num_pes: int, precision: Precision
) -> None:
    base = ArrayConfig(num_pes=num_pes, precision=precision, index_bits=2)
    packed = pack(LAYER, base)
    timings = [(slots, cycles) for slots in (2, 3, 8, 64, 2000) for cycles in (1, 4)]
    lines = [1, 2, 3, 5, 16, 1000]
    together = BatchRun(packed, INPUTS, base)
    whole = together.whole(timings, lines)
    assert whole.cycles_without_pipeline.shape == (len(timings), len(INPUTS))
    for place, (slots, cycles) in enumerate(timings):
        for line, entries in enumerate(lines):
            array = replace(
                base, queue_slots=slots, broadcast_cycles=cycles, line_bits=entries * base.entry_bits, pipeline_cycles=7
            )
            alone = BatchRun(packed, INPUTS, base).counts(array)
            assert (alone.cycles == whole.cycles_without_pipeline[place] + 7).all()
            assert (alone.line_reads == whole.line_reads[line]).all()
            for name in PER_INPUT:
                assert (getattr(alone, name) == getattr(together.counts(array), name)).all(), name
    assert (alone.broadcasts == whole.broadcasts).all()
    assert (alone.processed_entries == whole.processed_entries).all()
    assert (alone.processed_padding == whole.processed_padding).all()


def test_arrays_asked_for_later_have_the_counts_of_a_run_of_their_own() -> None:
    base = ArrayConfig(num_pes=4)
    packed, run = pack(LAYER, base), BatchRun(pack(LAYER, base), INPUTS, base)
    run.whole([(8, 1)], [8])
    later, fresh = (each.whole([(64, 2), (8, 1)], [3, 8]) for each in (run, BatchRun(packed, INPUTS, base)))
    assert (later.cycles_without_pipeline == fresh.cycles_without_pipeline).all()
    assert (later.line_reads == fresh.line_reads).all()
