"""Ratios of kernel speeds, measured in one run.

    python examples/benchmark_kernels.py

Each result is checked before it is timed. The first call of a kernel compiles it and is not timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse

from compress import CompressedModel
from sim import ArrayConfig, pack, simulate, simulate_batch
from traces import draw_layer

RUNS = 7
SCIPY = "SciPy's csc_matrix @ vector"


def medians_s(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each call in seconds; calls alternate, so that a slow minute affects all."""
    times_s: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    for _ in range(RUNS):
        for name, call in candidates.items():
            begin = time.perf_counter()
            call()
            times_s[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in times_s.items()}


def main() -> None:
    layer, activations = draw_layer("fc", rows=1000, columns=2000, weight_density=0.1, activation_density=0.4, seed=0)
    array = ArrayConfig()
    packed = pack(layer, array)
    matrix = scipy.sparse.csc_matrix(layer.weights())
    many = np.tile(activations, (50, 1))
    small, its_input = draw_layer("small", rows=64, columns=100, weight_density=0.2, activation_density=0.4, seed=0)
    content = CompressedModel([layer]).to_bytes()

    exact = matrix @ activations + layer.bias_values()
    assert np.allclose(simulate(packed, activations, array).output, exact, atol=1e-3)
    ticked, fast = (simulate(small, its_input, array, engine).cycles for engine in ("reference", "closed-form"))
    assert ticked == fast
    assert (CompressedModel.from_bytes(content).layers[0].codes == layer.codes).all()

    medians = medians_s(
        {
            "simulate, one input": lambda: simulate(packed, activations, array),
            SCIPY: lambda: matrix @ activations,
            "simulate, 50 inputs at once": lambda: simulate_batch(packed, many, array),
            "small layer, closed form": lambda: simulate(small, its_input, array),
            "small layer, tick machine": lambda: simulate(small, its_input, array, "reference"),
            "pack for 64 PEs": lambda: pack(layer, array),
            "decode a container": lambda: CompressedModel.from_bytes(content).layers,
        }
    )
    for name, seconds in medians.items():
        print(f"{name:<30}{1e3 * seconds:10.3f} ms")
    one, in_batch = medians["simulate, one input"], medians["simulate, 50 inputs at once"] / 50
    closed_form = medians["small layer, tick machine"] / medians["small layer, closed form"]
    print(f"closed form: {closed_form:,.0f} times as fast as the tick machine")
    print(f"simulate: {one / medians[SCIPY]:.1f} times as long as the product alone")
    print(f"50 inputs at once: {one / in_batch:.1f} times as fast as one by one")


if __name__ == "__main__":
    main()
