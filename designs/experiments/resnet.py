"""ResNet-20 on CIFAR-10, compressed without labels towards its own outputs (PyTorch needed).

Weights, centroids and normalisation are tuned towards the original's outputs on unlabelled training images. Test
images and their labels are used for the reported accuracy alone.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from compress.config import CompressionConfig, LayerSettings
from compress.container.model import CompressedModel
from compress.networks import load_parameters
from compress.training.compressor import Compressor
from compress.training.distillation import Batch, distil
from compress.training.fine_tuning import accuracy
from compress.training.normalisation import fold_normalisation
from designs.result_files import RESNET_COLUMNS, RESNET_CONTAINER, RESNET_FILE
from designs.results import provenance, table_of, write_results
from designs.stages import Stages
from traces import InputError
from traces.files.images import ImageSet
from traces.files.npz import read_npz, write_npz
from traces.shell.progress import progress_bar

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 32
BATCH, TEMPERATURE = 125, 2.0
PARTS_OF_AN_EPOCH = 4  # one part of the images is used between two pruning steps


@dataclass(frozen=True)
class ResnetRecipe:
    """Density, bits, and epochs of tuning in each phase."""

    density: float = 0.42
    weight_bits: int = 5
    pruning_epochs: int = 4
    tuning_epochs: int = 9
    sharing_epochs: int = 10


class _Block(torch.nn.Module):
    """Two convolutions with a shortcut; where the image shrinks, it takes every other pixel and adds zero channels.

    Source: He et al., "Deep residual learning", CVPR 2016, section 4.2, option A.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(outputs)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(outputs)
        self.added = outputs - inputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(images)))))
        if self.added:
            half = self.added // 2
            images = functional.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return functional.relu(images + outputs)


class ResNet20(torch.nn.Module):
    """ResNet-20 of 269,722 parameters; it maps pixels [images, 3072], from 0 to 1, to 10 classes.

    Parameters
    ----------
    blocks : int
        Blocks of each of the three stages; 3 for ResNet-20, 5 for ResNet-32.
    """

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.layer1 = torch.nn.Sequential(*(_Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = torch.nn.Sequential(_Block(16, 32, 2), *(_Block(32, 32, 1) for _ in range(blocks - 1)))
        self.layer3 = torch.nn.Sequential(_Block(32, 64, 2), *(_Block(64, 64, 1) for _ in range(blocks - 1)))
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the outputs [images, 10]."""
        images = pixels.reshape(-1, 3, 32, 32)
        mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        features = functional.relu(self.bn1(self.conv1((images - mean) / deviation)))
        return self.linear(self.layer3(self.layer2(self.layer1(features))).mean((2, 3)))  # type: ignore[no-any-return]


def load_resnet(parameters: Mapping[str, npt.NDArray[Any]]) -> ResNet20:
    """Return a ResNet-20 with these parameters and buffers. Raises InputError if they are not those of one."""
    network = ResNet20()
    load_parameters(network, parameters, "the parameters must be those of a ResNet-20, option A")
    return network.eval()


def compress_resnet(
    original: ResNet20, images: ImageSet, folder: Path, recipe: ResnetRecipe | None = None, seed: int = 0
) -> CompressedModel:
    """Compress a trained network towards its own outputs on the training images.

    Parameters
    ----------
    original : ResNet20
        Trained network.
    images : ImageSet
        CIFAR-10.
    folder : Path
        Folder of the container; an interrupted run resumes from its last finished epoch of pruning.
    recipe : ResnetRecipe, optional
        Settings and epochs.
    seed : int
        Seed of the order of the images.

    Returns
    -------
    CompressedModel
        The container.

    Raises
    ------
    InputError
        If the images do not have CIFAR-10's size.
    """
    if images.num_pixels != 3 * SIDE**2:
        raise InputError(
            f"ResNet-20 takes images of 3 x {SIDE} x {SIDE} values; those of {images.name} have {images.num_pixels}"
        )
    recipe = recipe or ResnetRecipe()
    weights = zlib.crc32(b"".join(values.numpy().tobytes() for values in original.state_dict().values()))
    origin = {"digest": images.digest, "weights": f"{weights:08x}", "seed": seed, **vars(recipe)}
    with Stages(folder) as stages:
        state = folder / "state.npz"
        stages.run(RESNET_CONTAINER, origin, lambda path: _compress(original, images, recipe, seed, state).save(path))
        state.unlink(missing_ok=True)
    return CompressedModel.load(folder / RESNET_CONTAINER)


def accuracy_of(network: torch.nn.Module, images: ImageSet) -> float:
    """Return the share of the test images that are classified correctly."""
    return accuracy(network, images.test_images, images.test_labels)


def run_resnet(parameters: Mapping[str, npt.NDArray[Any]], images: ImageSet, folder: Path) -> None:
    """Compress a trained ResNet-20 and measure it; write the container and RESNET_FILE.

    Parameters
    ----------
    parameters : mapping of str to ndarray
        State of the trained network, by name.
    images : ImageSet
        CIFAR-10.
    folder : Path
        Folder of the results; an interrupted run resumes from it.

    Raises
    ------
    InputError
        If the parameters are not those of a ResNet-20, or the images do not have CIFAR-10's size.
    """
    network = load_resnet(parameters)
    model = compress_resnet(network, images, folder)
    before = accuracy_of(network, images)
    model.load_into(network)
    row = {"network": "ResNet-20", "accuracy_before": before, "accuracy": accuracy_of(network, images)}
    write_results(folder / RESNET_FILE, table_of(RESNET_COLUMNS, [row]), provenance({"digest": images.digest}))


def _compress(original: ResNet20, images: ImageSet, recipe: ResnetRecipe, seed: int, state: Path) -> CompressedModel:
    """Prune, share and tune; save the progress to the file `state` after each epoch of pruning."""
    config = CompressionConfig(
        every=LayerSettings(recipe.density, recipe.weight_bits, share_bias=False, codebook_bits=16),
        criterion="lamp",
        pruning_steps=PARTS_OF_AN_EPOCH * recipe.pruning_epochs,
        sharing="joint",
        tensor_bits=16,
        seed=seed,
    )
    pixels = torch.from_numpy(images.train_images)
    draw = torch.Generator().manual_seed(seed)

    def batches(share: float) -> Iterator[Batch]:
        order = torch.randperm(len(pixels), generator=draw)[: round(share * len(pixels))]
        for chosen in torch.split(order, BATCH):
            shown = _varied(pixels[chosen].reshape(-1, 3, 32, 32), draw)
            with torch.no_grad():
                outputs = original(shown)
            yield shown, outputs

    compressor = Compressor(copy.deepcopy(original), config)
    module = compressor.module
    identity = {"digest": np.array(images.digest), "recipe": np.array(repr((recipe, seed)))}
    saved = read_npz(state) if state.exists() else {}
    if all(str(saved.get(name)) == str(value) for name, value in identity.items()):
        compressor.restore(saved)
        draw.set_state(torch.from_numpy(saved["draw"]))
    else:
        saved = {}
    epochs = recipe.tuning_epochs + recipe.sharing_epochs + config.pruning_steps - int(saved.get("stages", 0))
    with progress_bar("compressing ResNet-20", epochs) as advance:
        while (stage := compressor.step()) is not None:
            if stage.last:
                distil(module, lambda _: batches(1), recipe.sharing_epochs, 3e-4, TEMPERATURE, 1e-6, advance)
                continue
            part = 1 / PARTS_OF_AN_EPOCH
            distil(module, lambda _, part=part: batches(part), 1, 7e-4, TEMPERATURE, 7e-4, advance)  # type: ignore[misc]
            if stage.number == stage.of:
                distil(module, lambda _: batches(1), recipe.tuning_epochs, 7e-4, TEMPERATURE, 1e-5, advance)
            if stage.number % PARTS_OF_AN_EPOCH == 0:
                write_npz(state, compressor.state() | identity | {"draw": draw.get_state().numpy()})
    fold_normalisation(module)
    return compressor.finalize()


def _varied(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Mirror images at random, and shift all by the same distance of up to four pixels."""
    mirrored = torch.rand(len(images), generator=draw) < 0.5
    images = torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(3), images)
    down, across = (int(torch.randint(0, 9, (1,), generator=draw)) for _ in range(2))
    mean = torch.tensor(MEAN).reshape(1, 3, 1, 1).expand(1, 3, 40, 40).clone()
    framed = mean.repeat(len(images), 1, 1, 1)
    framed[:, :, 4:36, 4:36] = images
    return framed[:, :, down : down + 32, across : across + 32]
