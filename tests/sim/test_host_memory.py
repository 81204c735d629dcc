"""Memory of the computer: estimates are what is allocated, and what does not fit is refused before that."""

from __future__ import annotations

import numpy as np
import pytest

from sim import ArrayConfig, pack, simulate, simulate_batch
from sim.batch import compute_batch
from sim.host_memory import MEMORY_BYTES_VARIABLE, image_bytes, most_memory_bytes
from sim.observe.cycles import cycle_breakdown
from sim.packing import kept_weights
from sim.row_assignment import rows_found_by_search
from traces import InputError, draw_layer

LAYER, VECTOR = draw_layer("wide", rows=300, columns=400, weight_density=0.2, activation_density=0.5, seed=1)
BROADCASTS = np.count_nonzero(VECTOR) + 1  # and the bias


@pytest.mark.parametrize("num_pes", [1, 2, 64, 1000])
@pytest.mark.parametrize("rows", [5, 300])
def test_the_estimate_is_what_the_images_take(num_pes: int, rows: int) -> None:
    layer = draw_layer("drawn", rows, 40, 0.3, 0.5, 2)[0]
    packed = pack(layer, ArrayConfig(num_pes=num_pes, index_bits=1))
    kept = kept_weights(layer)
    allocated = [
        each for each in (packed.entry_lanes.base, packed.padding_lanes.base) if each is not None and each.size
    ]
    needed = packed.pointers.nbytes + kept.nbytes + sum(each.nbytes for each in allocated)
    if len(allocated) < 2:  # no gap can be too long for the few rows of a PE
        needed += allocated[0].nbytes
    assert image_bytes(rows, packed.num_columns, num_pes) == needed


def test_images_beyond_the_memory_are_refused_before_they_are_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    array = ArrayConfig(num_pes=65_536)
    needed = image_bytes(300, 401, 65_536)
    monkeypatch.setenv(MEMORY_BYTES_VARIABLE, str(needed - 1))
    with pytest.raises(InputError) as refusal:
        pack(LAYER, array)
    assert str(refusal.value) == (
        "layer 'wide': pointers and counters of num_pes=65,536 times 401 columns must fit into the memory of this "
        f"computer; found {needed:,} bytes needed and {needed - 1:,} available; use fewer PEs or split the layer, or "
        f"set {MEMORY_BYTES_VARIABLE} to allow more"
    )
    monkeypatch.setenv(MEMORY_BYTES_VARIABLE, str(needed))
    assert pack(LAYER, array).num_pes == 65_536


def test_an_array_of_the_most_pes_and_a_wide_layer_is_refused_by_the_memory_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sim.host_memory._available_bytes", lambda: 2**30)
    monkeypatch.setattr("sim.host_memory._group_bytes", lambda: None)
    layer = draw_layer("widest", rows=4, columns=20_000, weight_density=0.1, activation_density=0.1, seed=1)[0]
    with pytest.raises(InputError, match=r"num_pes=65,536 times 20,001 columns must fit .* 1,073,741,824 available"):
        simulate(layer, np.zeros(20_000), ArrayConfig(num_pes=65_536))


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda packed, config: simulate_batch(packed, VECTOR[np.newaxis], config), "counters of num_pes=64 times 401"),
        (
            lambda packed, config: cycle_breakdown(packed, VECTOR, config),
            f"edges of num_pes=64 times {BROADCASTS} b",
        ),
    ],
)
def test_runs_beyond_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch, run: object, what: str) -> None:
    config = ArrayConfig()
    packed = pack(LAYER, config)
    monkeypatch.setenv(MEMORY_BYTES_VARIABLE, "100000")
    with pytest.raises(InputError, match=f"layer 'wide': {what}"):
        run(packed, config)  # type: ignore[operator]


def test_a_search_beyond_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = np.stack([VECTOR] * 50)
    monkeypatch.setenv(MEMORY_BYTES_VARIABLE, "1000000")
    with pytest.raises(InputError, match=f"a search over {50 * BROADCASTS:,} broadcasts, 300 rows and num_pes=64"):
        rows_found_by_search(LAYER, inputs, ArrayConfig())


@pytest.mark.parametrize("value", ["0", "-1", "1e9", "many", "9" * 400, "\u0661"])
def test_a_limit_that_is_no_number_of_bytes_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(MEMORY_BYTES_VARIABLE, value)
    with pytest.raises(InputError, match=f"{MEMORY_BYTES_VARIABLE} must be a whole number of bytes"):
        pack(LAYER, ArrayConfig())


def test_the_memory_is_known_here_or_not_at_all() -> None:
    known = most_memory_bytes()
    assert known is None or known > 0


@pytest.mark.parametrize("precision", ["float", "fixed-16"])
def test_inputs_in_parts_have_the_results_of_all_at_once(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    array = ArrayConfig(num_pes=8, precision=precision, sparse_matrix_bytes=2048, memory_mode="passes")  # type: ignore[arg-type]
    packed = pack(LAYER, array)
    inputs = np.stack([np.roll(VECTOR, shift) * (1 + shift) for shift in range(25)])
    whole, outputs = simulate_batch(packed, inputs, array), compute_batch(packed, inputs, array)
    monkeypatch.setattr("sim.batch.PART_BYTES", 100_000)  # a few inputs
    in_parts = simulate_batch(packed, inputs, array)
    assert vars(whole).keys() == vars(in_parts).keys()
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(in_parts, name), values)
    for name, values in vars(outputs).items():
        np.testing.assert_array_equal(getattr(compute_batch(packed, inputs, array), name), values)
