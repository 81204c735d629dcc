"""A small network on scikit-learn's digits, trained in a second, for tests of co-design."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from compress.training.fine_tuning import train
from designs import TrainedNetwork
from tests.made_once import made_once
from traces.files.images import load_digits


@functools.cache
def small_network() -> TrainedNetwork:
    """Return a convolution and two fully connected layers, trained once in a test session."""
    images = load_digits()
    torch.manual_seed(0)
    module = torch.nn.Sequential()
    module.add_module("image", torch.nn.Unflatten(1, (1, 8, 8)))
    module.add_module("conv", torch.nn.Conv2d(1, 6, 3, padding=1))
    module.add_module("relu1", torch.nn.ReLU())
    module.add_module("pool", torch.nn.MaxPool2d(2))
    module.add_module("flat", torch.nn.Flatten())
    module.add_module("fc1", torch.nn.Linear(96, 24))
    module.add_module("relu2", torch.nn.ReLU())
    module.add_module("fc2", torch.nn.Linear(24, 10))

    def trained(folder: Path) -> None:
        train(module, images.train_images, images.train_labels, 8, 3e-3, 32)
        torch.save(module.state_dict(), folder / "small.pt")

    module.load_state_dict(torch.load(made_once("small_network", trained) / "small.pt"))
    return TrainedNetwork(
        "small",
        module.eval(),
        images.train_images[-300:],
        images.train_labels[-300:],
        images.train_images[-600:-300],
        images.train_labels[-600:-300],
        images.test_images,
        images.test_labels,
        densities=(0.8, 0.5, 0.3, 0.15),
        weight_bits=(2, 3, 4),
    )


def no_network() -> int:
    """Return what is no network."""
    return 0
