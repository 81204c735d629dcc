"""Many inputs on many arrays: what arrays share is worked out once, and nothing comes out differently."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, BatchRun, DoesNotFitWarning, pack, simulate
from sim.config import MemoryMode
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
