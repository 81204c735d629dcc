"""Compress an LSTM, and run the sequences through it on an array, step by step.

    python examples/compress_lstm.py

A digit is a sequence here, eight rows of eight pixels, one a step. The array multiplies by the two matrices of the
cell; gates are computed off it. Hidden states are signed and hardly ever zero: what is gained comes from the weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from compress import CompressedModel
from compress.config import CompressionConfig, LayerSettings
from compress.training.compressor import Stage, compress
from compress.training.fine_tuning import accuracy, train
from sim import ArrayConfig
from sim.recurrent import simulate_lstm
from traces.files.images import load_digits

CONTAINER = Path("lstm.dc")
HIDDEN = 48


class RowByRow(torch.nn.Module):
    """An LSTM over the rows of a digit, and a classifier of its last hidden state."""

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

    layer = {each.name: each for each in model.layers}
    sequences = images.test_images[:10].reshape(-1, 8, 8)
    array = ArrayConfig(num_pes=16)
    result = simulate_lstm(layer["lstm.weight_ih_l0"], layer["lstm.weight_hh_l0"], sequences, array)
    with torch.no_grad():
        expected = network.lstm(torch.from_numpy(sequences))[0].numpy()
    energy_nj = result.energy_pj.sum(axis=1).mean() / 1e3
    print(f"on 16 PEs: {result.cycles.sum(axis=1).mean():,.0f} cycles and {energy_nj:.0f} nJ a sequence")
    print("same hidden states as PyTorch:", np.allclose(result.hidden, expected, atol=1e-4))


if __name__ == "__main__":
    main()
