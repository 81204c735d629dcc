"""Compression of a convolutional network with fine-tuning, and its simulation on an array.

    python examples/compress_cnn.py

The network has the form of torchvision's: features (Conv2d, ReLU, MaxPool2d), then a classifier (Linear). It is trained
on scikit-learn's digits. With example inputs, the container holds the graph, and the simulator needs nothing else.
Replace the module and the training with your own.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, Stage, accuracy, compress, train
from sim import ArrayConfig, simulate_network
from traces import load_digits

CONTAINER = Path("cnn.dc")


class SmallConvNet(torch.nn.Module):
    """Two convolutions and two fully connected layers, [inputs, 64] pixels to [inputs, 10] classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, kernel_size=3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(16, 32, kernel_size=3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
        )
        self.classifier = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(pixels.reshape(-1, 1, 8, 8))
        logits: torch.Tensor = self.classifier(features.flatten(1))
        return logits


def main() -> None:
    images = load_digits()
    torch.manual_seed(0)
    network = SmallConvNet()
    train(network, images.train_images, images.train_labels, epochs=10, learning_rate=1e-2)
    before = accuracy(network, images.test_images, images.test_labels)

    def fine_tune(module: torch.nn.Module, stage: Stage) -> None:
        train(module, images.train_images, images.train_labels, epochs=3, learning_rate=3e-3)

    config = CompressionConfig(
        every=LayerSettings(density=0.15, weight_bits=4),
        types={"Conv2d": {"density": 0.4, "weight_bits": 5}},
        pruning_steps=2,
    )
    model = compress(network, config, fine_tune, inputs=images.test_images[:2])
    model.save(CONTAINER)

    decoded = copy.deepcopy(network)
    CompressedModel.load(CONTAINER).load_into(decoded)
    after = accuracy(decoded, images.test_images, images.test_labels)
    print(f"accuracy {before:.1%}, compressed {after:.1%}")
    print(f"{model.size_bytes:,} bytes, {model.compression_ratio:.1f}x smaller")
    for layer in model.layers:
        print(f"  {layer.name:<14}{layer.rows:>4} x {layer.columns:<5}{layer.density:6.1%}")

    some = images.test_images[:20]
    result = simulate_network(CONTAINER, some, ArrayConfig(num_pes=16, weight_bits=5))
    with torch.no_grad():
        expected = decoded(torch.from_numpy(some)).numpy()
    print(f"on 16 PEs: {result.latency_us.mean():.1f} us and {result.energy_nj.mean():.0f} nJ per image")
    print(f"every product is within {result.largest_difference:.1e} of ONNX Runtime's")
    print("same outputs as PyTorch:", np.allclose(result.output, expected, atol=1e-3))


if __name__ == "__main__":
    main()
