"""Memory of many inputs and of deep networks, each measured in a process of its own; guide/array.md states the rule."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable

import numpy as np

from sim import ArrayConfig, simulate_batch, simulate_network
from traces import CompressedLayer
from traces.synthetic import draw_layer

SIZE = 64  # rows and columns of each layer


def layers(number: int) -> list[CompressedLayer]:
    """Return fully connected layers of a network."""
    return [draw_layer(f"layer{seed}", SIZE, SIZE, 0.1, 0.5, seed)[0] for seed in range(number)]


def batch(inputs: int, precision: str) -> None:
    """Run one layer with many inputs."""
    array = ArrayConfig(precision=precision)  # type: ignore[arg-type]
    simulate_batch(layers(1)[0], np.random.default_rng(0).random((inputs, SIZE), dtype=np.float32), array)


def network(inputs: int, depth: int, precision: str) -> None:
    """Run a network of many layers."""
    array = ArrayConfig(precision=precision)  # type: ignore[arg-type]
    simulate_network(layers(depth), np.random.default_rng(0).random((inputs, SIZE), dtype=np.float32), array)


def peak_of(run: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Return the peak of the resident memory in bytes, and the seconds, of a call in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak, seconds = pool.apply(_measured, (run, arguments))
    return float(peak), float(seconds)


def _measured(run: Callable[..., None], arguments: tuple[object, ...]) -> tuple[int, float]:
    warnings.simplefilter("ignore")
    begin = time.perf_counter()
    run(*arguments)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter() - begin


def main() -> None:
    """Print the bytes that a further input, and a further input and layer, take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs of the batch")
    parser.add_argument("--layers", type=int, default=500, help="layers of the network")
    options = parser.parse_args()
    few = max(1, options.inputs // 10)
    deep_inputs = max(10, options.inputs // 100)
    for precision in ("float", "fixed-16"):
        (small, _), (large, seconds) = peak_of(batch, few, precision), peak_of(batch, options.inputs, precision)
        print(
            f"{precision}: a layer with {options.inputs:,} inputs {large / 2**20:,.0f} MiB, {seconds:.1f} s; "
            f"{(large - small) / (options.inputs - few):,.0f} bytes for each further input"
        )
    for precision in ("float", "fixed-16"):
        (small, _), (large, seconds) = (
            peak_of(network, inputs, options.layers, precision) for inputs in (deep_inputs // 10, deep_inputs)
        )
        per_input = (large - small) / (deep_inputs - deep_inputs // 10)
        print(
            f"{precision}: {options.layers} layers with {deep_inputs:,} inputs {large / 2**20:,.0f} MiB, "
            f"{seconds:.1f} s; {per_input / options.layers:,.0f} bytes for each further input and layer"
        )


if __name__ == "__main__":
    main()
