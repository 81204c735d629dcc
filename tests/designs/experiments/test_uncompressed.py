"""Containers in which all weights keep their values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress import CompressedModel
from designs.experiments.uncompressed import uncompressed
from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import model, node
from traces import InputError, Network


def network(weights: np.ndarray) -> Network:
    nodes = [node("Gemm", ["x", "w", "b"], transB=1)]
    bias = np.arange(len(weights), dtype=np.float32)
    return Network.open(model(nodes, {"x": ["n", weights.shape[1]]}, parameters={"w": weights, "b": bias}))


@pytest.mark.parametrize(("distinct", "bits"), [(1, 1), (3, 2), (255, 8), (256, 9), (700, 10)])
def test_every_weight_keeps_its_value_in_the_fewest_bits(distinct: int, bits: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(distinct)
    weights = np.resize(draw.normal(size=distinct).astype(np.float32), (30, 25))
    weights[0, :3] = 0, -0.0, 0
    given = network(weights)
    uncompressed(given).save(tmp_path / "all.dc")
    read = CompressedModel.load(tmp_path / "all.dc")
    np.testing.assert_array_equal(read.decoded_parameters()["w"], weights)
    assert read.layers[0].weight_bits == bits
    x = draw.normal(size=(2, 25)).astype(np.float32)
    result = simulate_network(read, x, ArrayConfig(num_pes=2, weight_bits=bits))
    np.testing.assert_allclose(result.output, given.run(x)["y"], rtol=1e-5, atol=1e-5)


def test_more_values_than_codes_are_refused() -> None:
    weights = np.arange(1, 2**16 + 1, dtype=np.float32).reshape(2**8, 2**8)
    with pytest.raises(InputError, match="weight 'w' must have at most 65,535 distinct values to be stored without"):
        uncompressed(network(weights))
