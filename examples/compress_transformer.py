"""Compression of a transformer encoder with fine-tuning, and a simulation of each layer on an array.

    python examples/compress_transformer.py

The array runs the four projections of attention (queries, keys, values, output) and the two feed-forward layers. The
products of queries with keys and of scores with values have no weights, so they cannot be compressed. These products,
softmax and normalisation run elsewhere and cost nothing here. Zero activations save broadcasts; only ReLU produces
them, so the normalised inputs of attention have none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, Stage, accuracy, compress, train
from sim import ArrayConfig, simulate_batch
from traces import load_digits, record_activations

CONTAINER = Path("transformer.dc")
WIDTH, HEADS = 32, 4


class EncoderLayer(torch.nn.Module):
    """Multi-head attention and a feed-forward part, each with normalised inputs and a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.output = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.widen, self.narrow = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normal = self.norm1(tokens)
        heads = (part(normal).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        tokens = tokens + self.output(attended)
        added: torch.Tensor = tokens + self.narrow(torch.relu(self.widen(self.norm2(tokens))))
        return added


class Encoder(torch.nn.Module):
    """Two encoder layers and a classifier; the tokens are the eight rows of a digit, eight pixels each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(8, WIDTH)
        self.place = torch.nn.Parameter(torch.randn(8, WIDTH) * 0.1)
        self.encoder = torch.nn.Sequential(EncoderLayer(), EncoderLayer())
        self.classify = torch.nn.Linear(WIDTH, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(pixels.reshape(-1, 8, 8)) + self.place
        logits: torch.Tensor = self.classify(self.encoder(tokens).mean(dim=1))
        return logits


def main() -> None:
    images = load_digits()
    torch.manual_seed(0)
    network = Encoder()
    train(network, images.train_images, images.train_labels, epochs=12, learning_rate=3e-3)
    before = accuracy(network, images.test_images, images.test_labels)

    def fine_tune(module: torch.nn.Module, stage: Stage) -> None:
        train(module, images.train_images, images.train_labels, epochs=3, learning_rate=1e-3)

    config = CompressionConfig(every=LayerSettings(density=0.3, weight_bits=4), pruning_steps=2)
    model = compress(network, config, fine_tune)
    model.save(CONTAINER)
    CompressedModel.load(CONTAINER).load_into(network)
    after = accuracy(network, images.test_images, images.test_labels)
    print(f"accuracy {before:.1%}, compressed {after:.1%}")
    print(f"{model.size_bytes:,} bytes, {model.compression_ratio:.1f}x smaller")

    recorded = record_activations(network, images.test_images[:4], [layer.name for layer in model.layers])
    array = ArrayConfig(num_pes=16)
    print(f"{'layer':<20}{'shape':>10}{'non-zero':>10}{'us per token':>14}{'efficiency':>12}")
    for layer in model.layers:
        vectors = recorded[layer.name].reshape(-1, layer.columns)
        result = simulate_batch(layer, vectors, array)
        assert np.allclose(result.output, vectors @ layer.weights().T + layer.bias_values(), atol=1e-3)
        efficiency = result.useful_macs.sum() / (result.cycles.sum() * array.num_pes)
        shape = f"{layer.rows} x {layer.columns}"
        print(
            f"{layer.name:<20}{shape:>10}{(vectors != 0).mean():>10.0%}"
            f"{result.latency_us.mean():>14.3f}{efficiency:>12.1%}"
        )


if __name__ == "__main__":
    main()
