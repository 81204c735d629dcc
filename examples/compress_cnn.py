"""Compression of a convolutional network with fine-tuning, and its simulation on an array.

    python examples/compress_cnn.py

The network has the form of torchvision's: features (Conv2d, ReLU, MaxPool2d), then a classifier (Linear). It is trained
on scikit-learn's digits. Replace the module and the training with your own.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, Stage, accuracy, compress, train
from sim import ArrayConfig, simulate_network
from traces import Convolution, LayerStep, Network, PoolStep, load_digits

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


def on_the_array(model: CompressedModel) -> Network:
    """Return the network for the simulator: the container's layers, with rectifiers and pooling between them."""
    layer = {weights.name: weights for weights in model.layers}
    same = Convolution(kernel=(3, 3), padding=(1, 1))
    steps = (
        LayerStep(layer["features.0"], convolution=same, rectified=True),
        PoolStep("pool1", "features.0", "max", kernel=(2, 2), stride=(2, 2)),
        LayerStep(layer["features.3"], source="pool1", convolution=same, rectified=True),
        PoolStep("pool2", "features.3", "max", kernel=(2, 2), stride=(2, 2)),
        LayerStep(layer["classifier.0"], source="pool2", rectified=True),
        LayerStep(layer["classifier.2"], source="classifier.0"),
    )
    return Network("cnn", (1, 8, 8), steps)


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
    model = compress(network, config, fine_tune)
    model.save(CONTAINER)

    decoded = copy.deepcopy(network)
    CompressedModel.load(CONTAINER).load_into(decoded)
    after = accuracy(decoded, images.test_images, images.test_labels)
    print(f"accuracy {before:.1%}, compressed {after:.1%}")
    print(f"{model.size_bytes:,} bytes, {model.compression_ratio:.1f}x smaller")
    for layer in model.layers:
        print(f"  {layer.name:<14}{layer.rows:>4} x {layer.columns:<5}{layer.density:6.1%}")

    some = images.test_images[:20].reshape(-1, 1, 8, 8)
    result = simulate_network(on_the_array(model), some, ArrayConfig(num_pes=16, weight_bits=5))
    with torch.no_grad():
        expected = decoded(torch.from_numpy(some)).numpy()
    print(f"on 16 PEs: {result.latency_us.mean():.1f} us and {result.energy_nj.mean():.0f} nJ per image")
    print("same outputs as PyTorch:", np.allclose(result.output, expected, atol=1e-3))


if __name__ == "__main__":
    main()
