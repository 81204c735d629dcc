"""LeNet-300-100 and LeNet-5 on MNIST, compressed as far as their error allows (PyTorch needed).

A small convolutional network, the teacher, is trained on distorted images. The LeNets are trained mostly on its
outputs and a little on the labels, before and after each stage of compression. Every other epoch takes the original
images instead of distorted ones. Test images are used for the reported errors alone.
"""

from __future__ import annotations

import copy
import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.config import CompressionConfig, LayerSettings
from compress.container.model import CompressedModel
from compress.training.compressor import Compressor
from compress.training.distillation import Batch, distil
from compress.training.fine_tuning import accuracy
from designs.stages import Stages
from traces.files.images import ImageSet
from traces.files.npz import read_npz, write_npz
from traces.shell.progress import progress_bar

DENSE_FILE, CONTAINER_FILE = "dense.npz", "compressed.dc"
TEACHER_EPOCHS, TEACHER_BATCH = 14, 128
DISTORTED_COPIES, BATCH, TEMPERATURE = 10, 256, 3.0
PARTS_OF_AN_EPOCH = 4  # one part of the images is used between two pruning steps
SIDE = 28


@dataclass(frozen=True)
class LenetRecipe:
    """Training and compression of one LeNet: settings, and epochs of each of the four phases."""

    name: str
    density: float
    weight_bits: int
    dense_epochs: int
    pruning_epochs: int
    tuning_epochs: int
    sharing_epochs: int


LENET_300_100 = LenetRecipe("lenet_300_100", 0.037, 3, 30, 70, 100, 20)
LENET_5 = LenetRecipe("lenet_5", 0.012, 3, 8, 20, 28, 8)


def build_lenet(name: str) -> torch.nn.Module:
    """Return an untrained network that maps pixels [images, 784] to 10 classes.

    LeNet-300-100 has 266,610 parameters, LeNet-5, as Caffe has it, 431,080 (Deep Compression, Tables 2 and 3).
    """
    if name == LENET_300_100.name:
        return torch.nn.Sequential(
            OrderedDict(
                fc1=torch.nn.Linear(784, 300),
                relu1=torch.nn.ReLU(),
                fc2=torch.nn.Linear(300, 100),
                relu2=torch.nn.ReLU(),
                fc3=torch.nn.Linear(100, 10),
            )
        )
    return torch.nn.Sequential(
        OrderedDict(
            image=torch.nn.Unflatten(1, (1, SIDE, SIDE)),
            conv1=torch.nn.Conv2d(1, 20, 5),
            pool1=torch.nn.MaxPool2d(2),
            conv2=torch.nn.Conv2d(20, 50, 5),
            pool2=torch.nn.MaxPool2d(2),
            flat=torch.nn.Flatten(),
            fc1=torch.nn.Linear(800, 500),
            relu1=torch.nn.ReLU(),
            fc2=torch.nn.Linear(500, 10),
        )
    )


def _build_teacher() -> torch.nn.Module:
    def block(inputs: int, outputs: int) -> list[torch.nn.Module]:
        convolution = torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU()]

    return torch.nn.Sequential(
        *block(1, 24), *block(24, 24), torch.nn.MaxPool2d(2),
        *block(24, 48), *block(48, 48), torch.nn.MaxPool2d(2),
        *block(48, 96), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.2),
        torch.nn.Linear(96, 10),
    )  # fmt: skip


def distorted(images: torch.Tensor, draw: torch.Generator, strength: float) -> torch.Tensor:
    """Rotate, shift, scale, shear and bend images [n, 1, height, width] at random.

    At strength 1, rotation is up to 12 degrees, shift up to 2 pixels, scaling and shear up to 12 %.
    """
    number, _, side, _ = images.shape

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(number, generator=draw) * 2 - 1) * limit * strength

    angle, shear = uniform(math.radians(12)), uniform(0.12)
    across, down = 1 + uniform(0.12), 1 + uniform(0.12)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    moved = [uniform(2 * 2 / side), uniform(2 * 2 / side)]
    rows = [
        torch.stack([cosine * across, -sine * down + shear, moved[0]], 1),
        torch.stack([sine * across, cosine * down, moved[1]], 1),
    ]
    grid = torch.nn.functional.affine_grid(torch.stack(rows, 1), [number, 1, side, side], align_corners=False)
    bends = torch.randn(number, 2, 5, 5, generator=draw) * 0.035 * strength
    bends = torch.nn.functional.interpolate(bends, size=(side, side), mode="bicubic", align_corners=True)
    return torch.nn.functional.grid_sample(images, grid + bends.permute(0, 2, 3, 1), align_corners=False)


class Lessons:
    """Training batches: original and distorted images with the teacher's outputs and labels.

    The teacher is trained at the first batch and kept in `folder`/teacher. Test images are not used.
    """

    def __init__(self, images: ImageSet, folder: Path, seed: int = 0) -> None:
        self.images, self.folder, self.seed = images, folder / "teacher", seed
        self.labels = torch.from_numpy(images.train_labels)
        self.copies: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []
        self.draw = torch.Generator().manual_seed(seed)

    @property
    def origin(self) -> dict[str, Any]:
        """Digest of the images, and the seed."""
        return {"digest": self.images.digest, "seed": self.seed}

    def batches(self, epoch: int, share: float = 1.0) -> Iterator[Batch]:
        """Yield all images once, or a random share of them; odd epochs take the original images."""
        if not self.copies:
            self._prepare()
        copy = 0 if epoch % 2 else epoch // 2 % DISTORTED_COPIES
        order = torch.randperm(len(self.labels), generator=self.draw)[: round(share * len(self.labels))]
        for chosen in torch.split(order, BATCH):
            yield self.copies[copy][chosen].float() / 255, self.outputs[copy][chosen], self.labels[chosen]

    def _prepare(self) -> None:
        with Stages(self.folder) as stages:
            stages.run("teacher.npz", self.origin, lambda path: _train_teacher(self.images, self.seed, path))
            teacher = _build_teacher()
            load_parameters(teacher, stages.folder / "teacher.npz")
        teacher.eval()
        plain = torch.from_numpy(self.images.train_images).reshape(-1, 1, SIDE, SIDE)
        draw = torch.Generator().manual_seed(self.seed + 8)
        with progress_bar("distorting images", DISTORTED_COPIES) as advance, torch.no_grad():
            for copy in range(DISTORTED_COPIES):
                parts = torch.split(plain, 2000)
                changed = parts if copy == 0 else [distorted(part, draw, 0.55) for part in parts]
                self.copies.append(torch.cat([(part * 255).round().to(torch.uint8) for part in changed]).flatten(1))
                shown = [part.contiguous(memory_format=torch.channels_last) for part in changed]
                self.outputs.append(torch.cat([teacher(part) for part in shown]))
                advance()


def compress_lenet(recipe: LenetRecipe, lessons: Lessons, folder: Path) -> CompressedModel:
    """Train and compress one LeNet.

    Parameters
    ----------
    recipe : LenetRecipe
        Network, settings and epochs.
    lessons : Lessons
        Training batches.
    folder : Path
        Folder of the results, dense.npz and compressed.dc; an interrupted run resumes from it.

    Returns
    -------
    CompressedModel
        The container.
    """
    network = build_lenet(recipe.name)
    with Stages(folder) as stages:
        dense_origin = {**lessons.origin, "epochs": recipe.dense_epochs}
        stages.run(DENSE_FILE, dense_origin, lambda path: _train_dense(recipe, network, lessons, path))
        load_parameters(network, folder / DENSE_FILE)
        state = folder / "state.npz"
        origin = {**lessons.origin, **vars(recipe)}
        stages.run(CONTAINER_FILE, origin, lambda path: _compress(recipe, network, lessons, state).save(path))
        state.unlink(missing_ok=True)
        return CompressedModel.load(folder / CONTAINER_FILE)


def error_of(network: torch.nn.Module, images: ImageSet) -> float:
    """Return the share of the test images that are misclassified."""
    return 1 - accuracy(network, images.test_images, images.test_labels)


def _train_teacher(images: ImageSet, seed: int, path: Path) -> None:
    torch.manual_seed(seed)
    teacher = _build_teacher().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = torch.from_numpy(images.train_images).reshape(-1, 1, SIDE, SIDE)
    labels = torch.from_numpy(images.train_labels)
    draw = torch.Generator().manual_seed(seed + 1)
    steps = len(plain) // TEACHER_BATCH
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=2e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.15, total_steps=TEACHER_EPOCHS * steps, pct_start=0.2)
    with progress_bar("training the teacher", TEACHER_EPOCHS) as advance:
        for _ in range(TEACHER_EPOCHS):
            for chosen in torch.split(torch.randperm(len(plain), generator=draw), TEACHER_BATCH)[:steps]:
                shown = distorted(plain[chosen], draw, 1.0).contiguous(memory_format=torch.channels_last)
                loss = torch.nn.functional.cross_entropy(teacher(shown), labels[chosen], label_smoothing=0.05)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rate.step()
            advance()
    save_parameters(teacher, path)


def _train_dense(recipe: LenetRecipe, network: torch.nn.Module, lessons: Lessons, path: Path) -> None:
    torch.manual_seed(lessons.seed)
    lessons.draw.manual_seed(lessons.seed)
    network.load_state_dict(build_lenet(recipe.name).state_dict())
    with progress_bar(f"training {recipe.name}", recipe.dense_epochs) as advance:
        distil(network, lessons.batches, recipe.dense_epochs, 2e-3, TEMPERATURE, 1e-5, advance)
    save_parameters(network, path)


def _compress(recipe: LenetRecipe, network: torch.nn.Module, lessons: Lessons, state: Path) -> CompressedModel:
    """Prune, share and tune; save the progress to the file `state` after each epoch of pruning."""
    config = CompressionConfig(
        every=LayerSettings(recipe.density, recipe.weight_bits, share_bias=False, codebook_bits=16),
        criterion="lamp",
        pruning_steps=PARTS_OF_AN_EPOCH * recipe.pruning_epochs,
        tensor_bits=16,
        seed=lessons.seed,
    )
    compressor = Compressor(copy.deepcopy(network), config)
    module = compressor.module
    origin = json.dumps({**lessons.origin, **vars(recipe)})
    saved = read_npz(state) if state.exists() else {}
    if str(saved.get("origin")) == origin:
        compressor.restore(saved)
    else:
        saved = {}
    epochs = config.pruning_steps + recipe.tuning_epochs + recipe.sharing_epochs - int(saved.get("stages", 0))
    with progress_bar(f"compressing {recipe.name}", epochs) as advance:
        optimizer = None
        while (stage := compressor.step()) is not None:
            lessons.draw.manual_seed(lessons.seed + stage.number)
            if stage.last:
                distil(module, lessons.batches, recipe.sharing_epochs, 1e-3, TEMPERATURE, 1e-6, advance)
                continue
            optimizer = optimizer or _adam(module, saved)
            first = stage.number // PARTS_OF_AN_EPOCH
            distil(module, partial(_part, lessons, first), 1, 1e-3, TEMPERATURE, 1e-3, advance, optimizer)
            if stage.number == stage.of:
                distil(module, lessons.batches, recipe.tuning_epochs, 1.5e-3, TEMPERATURE, 1e-6, advance)
            if stage.number % PARTS_OF_AN_EPOCH == 0:
                write_npz(state, compressor.state() | _moments(optimizer) | {"origin": np.array(origin)})
    return compressor.finalize()


def _part(lessons: Lessons, first: int, epoch: int) -> Iterator[Batch]:
    return lessons.batches(first + epoch, 1 / PARTS_OF_AN_EPOCH)


def _adam(module: torch.nn.Module, saved: Mapping[str, npt.NDArray[Any]]) -> torch.optim.Adam:
    """Return an optimizer of the module, with the saved moments if there are any."""
    optimizer = torch.optim.Adam(module.parameters())
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, values in saved.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = torch.from_numpy(values)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return optimizer


def _moments(optimizer: torch.optim.Adam) -> dict[str, npt.NDArray[Any]]:
    state = optimizer.state_dict()["state"]
    return {f"adam.{number}.{key}": values.numpy() for number, own in state.items() for key, values in own.items()}


def save_parameters(network: torch.nn.Module, path: Path) -> None:
    """Write the state of a network, by name, to an .npz file."""
    write_npz(path, {name: np.ascontiguousarray(values.numpy()) for name, values in network.state_dict().items()})


def load_parameters(network: torch.nn.Module, path: Path) -> None:
    """Load the state of a network from an .npz file that `save_parameters` wrote."""
    network.load_state_dict({name: torch.from_numpy(values) for name, values in read_npz(path).items()})
