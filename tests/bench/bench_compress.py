"""Speed of compression beside other tools, as ratios measured in one run: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zstandard

from compress.container import huffman
from compress.weight_sharing import shared_values
from tests.bench.memory import peak_mib

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed
SYMBOLS = 10_000_000
CENTROIDS = 16

KMEANS = f"k-means of 4,096 x 4,096 weights, {CENTROIDS} centroids"


@pytest.fixture(scope="module")
def weights() -> Any:
    return np.random.default_rng(0).normal(size=4096 * 4096).astype(np.float32)


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    return {}


@pytest.mark.benchmark(group=KMEANS)
def test_scikit_learn_s_kmeans(benchmark: Benchmark, weights: Any, errors: dict[str, float]) -> None:
    from sklearn.cluster import KMeans  # not for the process that packs

    fit = benchmark.pedantic(lambda: KMeans(CENTROIDS, n_init=1, random_state=0).fit(weights[:, np.newaxis]), rounds=1)
    centroids = fit.cluster_centers_[:, 0].astype(np.float64)  # `inertia_` is a sum of 17 million in float32
    errors["theirs"] = float(((weights - centroids[fit.labels_]) ** 2).sum())


@pytest.mark.benchmark(group=KMEANS)
def test_optimal_shared_values(benchmark: Benchmark, weights: Any, errors: dict[str, float]) -> None:
    centroids, codes = benchmark(lambda: shared_values(weights, CENTROIDS))
    error = float(((weights - centroids[codes - 1]) ** 2).sum())
    assert error <= errors["theirs"]


WEIGHTED = f"weighted {KMEANS}"


@pytest.fixture(scope="module")
def importances() -> Any:
    return np.random.default_rng(1).random(4096 * 4096, dtype=np.float32) + np.float32(0.1)


@pytest.mark.benchmark(group=WEIGHTED)
def test_scikit_learn_s_weighted_kmeans(
    benchmark: Benchmark, weights: Any, importances: Any, errors: dict[str, float]
) -> None:
    from sklearn.cluster import KMeans

    fit = KMeans(CENTROIDS, n_init=1, random_state=0).fit
    found = benchmark.pedantic(lambda: fit(weights[:, np.newaxis], sample_weight=importances), rounds=1)
    centroids = found.cluster_centers_[:, 0].astype(np.float64)
    errors["their weighted"] = float((importances * (weights - centroids[found.labels_]) ** 2).sum())


@pytest.mark.benchmark(group=WEIGHTED)
def test_optimal_weighted_shared_values(
    benchmark: Benchmark, weights: Any, importances: Any, errors: dict[str, float]
) -> None:
    centroids, codes = benchmark(lambda: shared_values(weights, CENTROIDS, importances=importances))
    error = float((importances * (weights - centroids[codes - 1]) ** 2).sum())
    assert error <= errors["their weighted"]
    benchmark.extra_info["million_weights_per_second"] = weights.size / benchmark.stats["min"] / 1e6


DECODING = "decoding 10 million symbols of 4 bits"
ENCODING = "encoding 10 million symbols of 4 bits"


@pytest.fixture(scope="module")
def symbols() -> Any:
    """Return codes as shared weights have them: of 15 centroids of a normal distribution."""
    shares = np.exp(-0.5 * ((np.arange(16) - 7.5) / 3) ** 2)
    return np.random.default_rng(0).choice(16, SYMBOLS, p=shares / shares.sum()).astype(np.uint8)


@pytest.mark.benchmark(group=DECODING)
def test_huffman_decoding(benchmark: Benchmark, symbols: Any) -> None:
    lengths = huffman.code_lengths(np.bincount(symbols))
    content = huffman.encode(symbols, lengths)
    assert np.array_equal(benchmark(lambda: huffman.decode(content, SYMBOLS, lengths)), symbols)


@pytest.mark.benchmark(group=DECODING)
@pytest.mark.parametrize("level", [1, 3])
def test_zstandard_decoding(benchmark: Benchmark, symbols: Any, level: int) -> None:
    content = zstandard.ZstdCompressor(level=level).compress(symbols.tobytes())
    decompressor = zstandard.ZstdDecompressor()
    assert benchmark(lambda: decompressor.decompress(content)) == symbols.tobytes()


@pytest.mark.benchmark(group=ENCODING)
def test_huffman_encoding(benchmark: Benchmark, symbols: Any) -> None:
    lengths = huffman.code_lengths(np.bincount(symbols))
    assert benchmark(lambda: huffman.encode(symbols, lengths))


@pytest.mark.benchmark(group=ENCODING)
@pytest.mark.parametrize("level", [1, 3])
def test_zstandard_encoding(benchmark: Benchmark, symbols: Any, level: int) -> None:
    compressor = zstandard.ZstdCompressor(level=level)
    content = symbols.tobytes()
    assert benchmark(lambda: compressor.compress(content))


ALEXNET = (
    (96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3), (256, 192, 3, 3),
    (4096, 9216), (4096, 4096), (1000, 4096),
)  # fmt: skip


def pack_alexnet() -> None:
    """Pack weights of AlexNet's shapes, 61 million, at a density of 0.11; print bytes before, after, and peak MiB."""
    from compress.config import CompressionConfig, LayerSettings
    from compress.one_shot import compress_parameters

    stream = np.random.default_rng(0)
    parameters = {}
    for number, shape in enumerate(ALEXNET):
        parameters[f"layer{number}.weight"] = stream.standard_normal(shape, dtype=np.float32)
        parameters[f"layer{number}.bias"] = stream.standard_normal(shape[0], dtype=np.float32)
    model, _ = compress_parameters(parameters, CompressionConfig(LayerSettings(density=0.11)))
    print(model.parameter_bytes, model.size_bytes, peak_mib())


@pytest.mark.benchmark(group="packing AlexNet's shapes: a process of its own, drawing the weights included")
def test_packing_alexnet(benchmark: Benchmark) -> None:
    script = "from tests.bench.bench_compress import pack_alexnet; pack_alexnet()"
    done = benchmark.pedantic(
        lambda: subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True), rounds=1
    )
    before, after, peak_mib = map(int, done.stdout.split())
    print(f"\n{before:,} bytes to {after:,}; peak {peak_mib:,} MiB")
    benchmark.extra_info["peak_mib"] = peak_mib
