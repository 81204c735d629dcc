"""Networks that this experiment trains: LeNet-5, a tagger of the rows of digits, and an embedding of digits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from compress.training.fine_tuning import train
from designs.experiments import example_networks
from designs.experiments.lenet import LENET_5, LENET_300_100, build_lenet, load_parameters, save_parameters
from designs.stages import Stages
from traces.arrays import Floats32
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

TRAINED_ON, TRAINING_EPOCHS = 50_000, 6  # MNIST's other 10,000 training images are the pool
_EMBEDDING_EPOCHS, _TAGGER_EPOCHS = 2, 5
_TAGGER_RATE = 3e-3
_SIDE, _CLASSES = 28, 10
_SHARPNESS = 16.0  # of the softmax over cosines


class Embedding(torch.nn.Module):
    """Embedding of images: pixels [inputs, 784] to vectors of length 1, [inputs, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 8, 5)
        self.conv2 = torch.nn.Conv2d(8, 16, 5)
        self.fc1 = torch.nn.Linear(256, 128)
        self.fc2 = torch.nn.Linear(128, 32)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the vectors."""
        images = pixels.reshape(-1, 1, _SIDE, _SIDE)
        for layer in (self.conv1, self.conv2):
            images = functional.relu(functional.max_pool2d(layer(images), 2))
        return functional.normalize(self.fc2(functional.relu(self.fc1(images.flatten(1)))), dim=-1)


class _Cosines(torch.nn.Module):
    """Classifier by the cosines between an embedding and one direction for each class, to train the embedding."""

    def __init__(self, embedding: torch.nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.directions = torch.nn.Parameter(torch.randn(_CLASSES, 32))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = _SHARPNESS * self.embedding(pixels) @ functional.normalize(self.directions, dim=-1).T
        return scores


class _MeanScores(torch.nn.Module):
    """Classifier by the mean of a tagger's scores over the steps, to train the tagger."""

    def __init__(self, tagger: torch.nn.Module) -> None:
        super().__init__()
        self.tagger = tagger

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.tagger(sequences).mean(dim=1)
        return scores


def small_images(images: Floats32) -> Floats32:
    """Return images of 28 x 28 pixels as rows of 8 x 8 pixels, [images, 8, 8], each the mean of about 4 x 4 pixels."""
    side = example_networks.SIDE
    framed = np.pad(images.reshape(-1, _SIDE, _SIDE), ((0, 0), (2, 2), (2, 2)))
    small = framed.reshape(-1, side, framed.shape[1] // side, side, framed.shape[2] // side).mean(axis=(2, 4))
    return np.ascontiguousarray(small, dtype=np.float32)


def trained_lenet(images: ImageSet, folder: Path, trained_on: int = TRAINED_ON, seed: int = 0) -> torch.nn.Module:
    """Return LeNet-5, trained on the first of MNIST's training images and kept in `folder`."""
    return _trained("lenet_5", lambda: build_lenet(LENET_5.name), images, folder, trained_on, TRAINING_EPOCHS, seed)


def trained_lenet_300_100(images: ImageSet, folder: Path) -> torch.nn.Module:
    """Return LeNet-300-100, trained on the first of MNIST's training images and kept in `folder`."""
    build = functools.partial(build_lenet, LENET_300_100.name)
    return _trained(LENET_300_100.name, build, images, folder, TRAINED_ON, TRAINING_EPOCHS, 0)


def trained_embedding(images: ImageSet, folder: Path, trained_on: int = TRAINED_ON, seed: int = 0) -> torch.nn.Module:
    """Return an embedding, trained to tell the digits apart by cosines and kept in `folder`."""
    return _trained("embedding", Embedding, images, folder, trained_on, _EMBEDDING_EPOCHS, seed, _Cosines)


def trained_tagger(images: ImageSet, folder: Path, trained_on: int = TRAINED_ON, seed: int = 0) -> torch.nn.Module:
    """Return an LSTM tagger of rows of `small_images`, trained on them and kept in `folder`."""
    build, epochs = example_networks.lstm_tagger, _TAGGER_EPOCHS
    how = (_MeanScores, small_images, _TAGGER_RATE)
    return _trained("lstm_tagger", build, images, folder, trained_on, epochs, seed, *how)


def _trained(
    name: str,
    build: Callable[[], torch.nn.Module],
    images: ImageSet,
    folder: Path,
    trained_on: int,
    epochs: int,
    seed: int,
    classifier: Callable[[torch.nn.Module], torch.nn.Module] = lambda network: network,
    shown: Callable[[Floats32], Floats32] = lambda pixels: pixels,
    rate: float = 1e-3,
) -> torch.nn.Module:
    """Return a network, trained inside a classifier, whose parameters are kept in `folder`."""
    origin = {"digest": images.digest, "trained_on": trained_on, "epochs": epochs, "rate": rate, "seed": seed}

    def write(path: Path) -> None:
        torch.manual_seed(seed)
        new = build()
        with progress_bar(f"training {name}", epochs) as advance:
            pixels, labels = shown(images.train_images[:trained_on]), images.train_labels[:trained_on]
            train(classifier(new), pixels, labels, epochs, rate, seed=seed, after_epoch=advance)
        save_parameters(new, path)

    with Stages(folder) as stages:
        stages.run(f"{name}.npz", origin, write)
    network = build()
    load_parameters(network, folder / f"{name}.npz")
    return network.eval()
