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


def network(inputs: int, depth: int) -> None:
    """Run a network of many layers."""
    simulate_network(layers(depth), np.random.default_rng(0).random((inputs, SIZE), dtype=np.float32))


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
    parser.add_argument("--inputs", type=int, default=400_000, help="inputs of the batch")
    parser.add_argument("--layers", type=int, default=500, help="layers of the network")
    parser.add_argument("--network-inputs", type=int, default=4000, help="inputs of the network")
    options = parser.parse_args()
    inputs = options.inputs
    for precision in ("float", "fixed-16"):
        (half, _), (whole, seconds) = (peak_of(batch, number, precision) for number in (inputs // 2, inputs))
        print(
            f"{precision}: a layer of {SIZE} x {SIZE} with {inputs:,} inputs takes {whole / 2**20:,.0f} MiB and "
            f"{seconds:.1f} s; {2 * (whole - half) / inputs:,.0f} bytes for each further input"
        )
    inputs = options.network_inputs
    (half, _), (whole, seconds) = (peak_of(network, number, options.layers) for number in (inputs // 2, inputs))
    print(
        f"{options.layers} such layers with {inputs:,} inputs take {whole / 2**20:,.0f} MiB and {seconds:.1f} s; "
        f"{2 * (whole - half) / inputs / options.layers:,.0f} bytes for each further input and layer"
    )


if __name__ == "__main__":
    main()
