"""Speed of trying the choices of a plan beside a straightforward way, as ratios measured in one run: `make bench`.

The straightforward way compresses each choice of density and bits by itself, row by row in NumPy, cuts the points again
for each number of bits, and writes the layer to know its bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compress.container.layer_coding import CodingChoice, encode_matrix
from compress.planning.analysis import Analysis, analyse
from compress.planning.choices import DENSITIES, WEIGHT_BITS
from compress.planning.compensation import Spread, error_spread, stored_codebook
from compress.planning.layer_compression import LayerCompressor
from compress.pruning import magnitude_mask
from compress.weight_sharing import share_weights
from designs.experiments.resnet import ResNet20
from traces.arrays import Booleans, Floats32, Floats64, Integers

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed
CHOICES = f"all {len(DENSITIES) * len(WEIGHT_BITS)} choices of each of four layers of ResNet-20, random weights"
LAYERS = (0, 2, 9, 15)  # of 432, 2,304, 9,216 and 36,864 weights


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).random((4, 3072), dtype=np.float32)
    return analyse(ResNet20().eval(), inputs)


def straightforward(analysis: Analysis) -> list[int]:
    """Return the bytes of each choice of the layers."""
    sizes = []
    for layer in (analysis.layers[number] for number in LAYERS):
        assert layer.moment is not None
        spread, curvatures = error_spread(layer.moment), layer.curvatures
        importances = curvatures + max(float(curvatures.mean()), 1e-30) * 1e-3
        for density in DENSITIES:
            for bits in WEIGHT_BITS:
                kept = magnitude_mask(layer.weights, density)
                pruned = _swept(layer.weights, kept, spread, None).astype(np.float32)
                _, codebook, _ = share_weights(pruned, kept, bits, importances=importances)
                codebook = stored_codebook(codebook[1:].astype(np.float64))
                moved = _swept(layer.weights, kept, spread, np.unique(codebook[1:]).astype(np.float64))
                codes: Integers = np.where(kept, 1 + np.searchsorted(codebook[1:], moved), 0).astype(np.uint8)
                sizes.append(len(encode_matrix(codes, bits, CodingChoice()).content) + 2 * (len(codebook) - 1))
    return sizes


def _swept(weights: Floats32, kept: Booleans, spread: Spread, shared: Floats64 | None) -> Floats64:
    """Return the weights after a sweep over the columns, all rows at once."""
    (block,) = spread
    moved = weights.astype(np.float64)
    for j in range(len(block)):
        before = moved[:, j].copy()
        after = before
        if shared is not None:
            after = shared[np.searchsorted((shared[1:] + shared[:-1]) / 2, before)]
        moved[:, j] = np.where(kept[:, j], after, 0)
        moved[:, j + 1 :] -= np.outer((before - moved[:, j]) / block[j, j], block[j, j + 1 :])
    return moved


def all_at_once(analysis: Analysis) -> list[int]:
    """Return the bytes of each choice of the layers, as the planner tries them."""
    compressor = LayerCompressor.of(analysis)
    return [int(each.file_bytes) for number in LAYERS for each in compressor.tried(number, DENSITIES, WEIGHT_BITS)]


@pytest.mark.benchmark(group=CHOICES)
def test_choices_one_by_one(benchmark: Benchmark, analysis: Analysis) -> None:
    sizes = benchmark.pedantic(lambda: straightforward(analysis), rounds=1)
    assert np.allclose(sizes, all_at_once(analysis), rtol=1e-3)


@pytest.mark.benchmark(group=CHOICES)
def test_choices_all_at_once(benchmark: Benchmark, analysis: Analysis) -> None:
    all_at_once(analysis)  # compiles the kernels
    sizes = benchmark.pedantic(lambda: all_at_once(analysis), rounds=3)
    assert len(sizes) == len(LAYERS) * len(DENSITIES) * len(WEIGHT_BITS)
