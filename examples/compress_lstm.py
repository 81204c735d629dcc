"""Compression of an LSTM with fine-tuning, and its simulation on an array, step by step.

    python examples/compress_lstm.py

A digit is a sequence of eight rows of eight pixels, one row per step. The array multiplies by the two matrices of the
cell; the gates are computed off the array. Hidden states are rarely zero, so only zero weights save work.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, Stage, accuracy, compress, train
from sim import ArrayConfig, simulate_lstm
from traces import load_digits

CONTAINER = Path("lstm.dc")
HIDDEN = 48


class RowByRow(torch.nn.Module):
    """LSTM over the rows of a digit, with a classifier of the last hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(8, HIDDEN, batch_first=True)
        self.classify = torch.nn.Linear(HIDDEN, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(pixels.reshape(-1, 8, 8))
        logits: torch.Tensor = self.classify(hidden[:, -1])
        return logits


def main() -> None:
    images = load_digits()
    torch.manual_seed(0)
    network = RowByRow()
    train(network, images.train_images, images.train_labels, epochs=12, learning_rate=1e-2)
    before = accuracy(network, images.test_images, images.test_labels)

    def fine_tune(module: torch.nn.Module, stage: Stage) -> None:
        train(module, images.train_images, images.train_labels, epochs=6, learning_rate=3e-3)

    config = CompressionConfig(every=LayerSettings(density=0.5, weight_bits=4), pruning_steps=2)
    model = compress(network, config, fine_tune)
    model.save(CONTAINER)
    CompressedModel.load(CONTAINER).load_into(network)
    after = accuracy(network, images.test_images, images.test_labels)
    print(f"accuracy {before:.1%}, compressed {after:.1%}")
    print(f"{model.size_bytes:,} bytes, {model.compression_ratio:.1f}x smaller")

    layers = {layer.name: layer for layer in model.layers}
    sequences = images.test_images[:10].reshape(-1, 8, 8)
    array = ArrayConfig(num_pes=16)
    result = simulate_lstm(layers["lstm.weight_ih_l0"], layers["lstm.weight_hh_l0"], sequences, array)
    with torch.no_grad():
        expected = network.lstm(torch.from_numpy(sequences))[0].numpy()
    energy_nj = result.energy_nj.sum(axis=1).mean()
    print(f"on 16 PEs: {result.cycles.sum(axis=1).mean():,.0f} cycles and {energy_nj:.0f} nJ per sequence")
    print("same hidden states as PyTorch:", np.allclose(result.hidden, expected, atol=1e-4))


if __name__ == "__main__":
    main()
