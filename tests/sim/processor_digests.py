"""Digests of results that are the same on every processor; `test_same_on_every_processor` runs this as a script."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import get_args

import numpy as np

from compress import CompressedModel, CompressionConfig
from compress.one_shot import compress_parameters
from sim import ArrayConfig, fit_formats, simulate, simulate_network
from sim.config import Precision
from sim.cost.area import area_mm2
from sim.cost.sram import sram
from traces import CompressedLayer
from traces.arrays import Floats32
from traces.synthetic import draw_uneven_layer
from traces.unevenness import Unevenness

BITS = 16
COLUMNS = 300
#: Smallest output that takes a fraction bit away. Additions in float32 in any other order fall on either side of it.
BORDER = (1 - 2.0**-BITS) / 2 * 2.0**6


def layers_at_the_border(number: int, border: float = BORDER, rows: int = 1) -> list[tuple[CompressedLayer, Floats32]]:
    """Return layers and inputs whose output in each row is at a border between two formats."""
    drawn = []
    for seed in range(number):
        stream = np.random.default_rng(seed)
        codebook = stream.normal(size=16).astype(np.float32)
        codebook[0] = 0
        codes = stream.integers(0, 16, (rows, COLUMNS)).astype(np.uint8)
        inputs = stream.normal(size=COLUMNS).astype(np.float32)
        plain = CompressedLayer("plain", codes, codebook)
        inputs *= np.float32(10) / simulate(plain, inputs).output[0]  # the bias is below the border
        bias = (border - simulate(plain, inputs).output.astype(np.float64)).astype(np.float32)
        drawn.append((CompressedLayer(f"layer{seed}", codes, codebook, free_bias=bias), inputs))
    return drawn


def digest(*values: object) -> str:
    """Return a short digest of arrays, bytes and anything with a repr."""
    found = hashlib.sha256()
    for value in values:
        found.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return found.hexdigest()[:16]


def digests() -> dict[str, str]:
    """Return the digests by the kind of result."""
    array = ArrayConfig(num_pes=4, precision="fixed-16")
    border = layers_at_the_border(40)
    results = [simulate(layer, inputs, array) for layer, inputs in border]
    formats = [fit_formats([layer], inputs[np.newaxis], array) for layer, inputs in border]
    uneven, vector = draw_uneven_layer("uneven", 400, COLUMNS, 0.2, 0.4, 3, Unevenness(0.7, 0.9))
    floats = simulate(uneven, vector, ArrayConfig(num_pes=8))
    turned = CompressedLayer("last", uneven.codes.T.copy(), uneven.codebook)
    network = simulate_network([layers_at_the_border(1, rows=400)[0][0], turned], border[0][1][np.newaxis], array)
    stream = np.random.default_rng(0)
    weights = {
        "a.weight": stream.normal(size=(200, 300)).astype(np.float32),
        "a.bias": stream.normal(size=200).astype(np.float32),
        "b.weight": stream.normal(size=(700, 700)).astype(np.float32),  # more values than are cut exactly
    }
    models: list[CompressedModel] = [
        compress_parameters(weights, CompressionConfig(criterion=criterion))[0] for criterion in ("layer", "lamp")
    ]
    srams = [
        dataclasses.astuple(sram(capacity_bytes, port_bits))
        for capacity_bytes in (4096, 5000, 32768, 100_000, 131_072)
        for port_bits in (16, 24, 64, 100, 128)
    ]
    return {
        "formats of layers": digest([result.number_format for result in results]),
        "formats of networks": digest(formats, network.number_formats),
        "outputs in fixed point": digest(*(result.output for result in results), network.output),
        "outputs in floating point": digest(floats.output),
        "cycles": digest([result.cycles for result in results], floats.cycles, network.cycles),
        "energies": digest([result.energy for result in results], floats.energy, network.energy_pj),
        "areas": digest([area_mm2(dataclasses.replace(array, precision=each)) for each in get_args(Precision)]),
        "SRAMs": digest(srams),
        "drawn layers": digest(uneven.codes, uneven.codebook, vector),
        "containers": digest(*(model.to_bytes() for model in models)),
    }


if __name__ == "__main__":
    print(json.dumps(digests()))
