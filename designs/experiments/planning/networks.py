"""Networks that planning is measured on: their inputs, their losses, and the settings of each method."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.planning.choices import DENSITIES, WEIGHT_BITS
from compress.weight_files.reading import read_parameters
from designs.experiments.example_networks import read_llama
from designs.experiments.planning.inputs import mixed_frames, sampled_texts, speech_features
from designs.experiments.planning.sentences import SentenceEncoder, SentenceTokens
from designs.experiments.planning.trained import (
    TRAINED_ON,
    small_images,
    trained_embedding,
    trained_lenet,
    trained_lenet_300_100,
    trained_tagger,
)
from designs.experiments.resnet import load_resnet
from traces import Network
from traces.arrays import Floats32, Integers64, Numbers
from traces.files.images import ImageSet, load_idx_folder

LENET_DENSITIES = (0.8, 0.6, 0.42, 0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03)
LENET_POOL, RESNET_POOL = 2000, 1000
_TEXTS, _STEPS = 600, 48
_FRAMES, _CUTS = 4000, 4000
_SENTENCES = 128


@dataclass(frozen=True, eq=False)
class MeasuredNetwork:
    """Trained network, its inputs, the loss that its plans bound, and the settings of each method.

    Attributes
    ----------
    name : str
        Name in the result files.
    network : torch.nn.Module or Network
        Trained network, as `compress.plan` takes it.
    population : array [inputs, ...]
        Inputs that pools are drawn from.
    unseen : array [inputs, ...]
        Inputs that results are measured on; no plan is made from them.
    loss : str
        Loss that plans bound.
    bounds : tuple of float
        Bounds of the loss: a plan for each.
    shown : tuple of float
        Three of them, for the table of bytes.
    labels : int64 [inputs] or None
        Right classes of the unseen inputs.
    number : int
        Inputs of the population that plans are made from, except where pools are drawn.
    densities, weight_bits : tuple of float, tuple of int
        Densities and code widths that plans choose from.
    uniform : tuple of float
        Densities for all layers alike.
    widths : tuple of int
        Code widths combined with each uniform density, and those of the scan.
    search : float
        Bound of the black-box search and of the pools that are drawn.
    pool_labels : int64 [inputs] or None
        Right classes of the population, for pools of another composition.
    own : bool
        True if the network was trained on the population.
    tokens : bool
        True if inputs are token ids [inputs, tokens], and outputs scores of the next one: costs are per token.
    with_thresholds : tuple of float
        Bounds of plans with activation thresholds; `bounds` if empty.
    """

    name: str
    network: torch.nn.Module | Network
    population: Numbers
    unseen: Numbers
    loss: str
    bounds: tuple[float, ...]
    shown: tuple[float, ...]
    search: float
    labels: Integers64 | None = None
    number: int = 1000
    densities: tuple[float, ...] = DENSITIES
    weight_bits: tuple[int, ...] = WEIGHT_BITS
    uniform: tuple[float, ...] = (1.0, 0.8, 0.65, 0.52, 0.42, 0.34, 0.27)
    widths: tuple[int, ...] = (3, 4, 5, 6)
    pool_labels: Integers64 | None = None
    own: bool = False
    tokens: bool = False
    with_thresholds: tuple[float, ...] = ()

    @property
    def pool(self) -> Numbers:
        """Inputs that plans are made from."""
        return self.population[: self.number]

    @property
    def origin(self) -> dict[str, Any]:
        """Name, loss, and checksums of weights and inputs."""
        if isinstance(self.network, Network):
            weights = dict(self.network.parameters)
        else:
            weights = {name: values.numpy() for name, values in self.network.state_dict().items()}
        inputs = {"population": self.population, "unseen": self.unseen}
        origin = {"network": self.name, "loss": self.loss, "weights": _checksum(weights), "inputs": _checksum(inputs)}
        return origin | {"number": self.number, "densities": self.densities, "weight_bits": self.weight_bits}


def _checksum(arrays: Mapping[str, Numbers]) -> str:
    checksum = 0
    for name in sorted(arrays):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"


Maker = Callable[[], MeasuredNetwork]


@dataclass(frozen=True)
class Data:
    """Folders of the data, and the folder that networks trained here are kept in.

    Attributes
    ----------
    folder : Path
        Folder of the results.
    mnist, cifar10, models : Path or None
        Folders of IDX files and of models; None or absent: networks that need them are left out.
    """

    folder: Path
    mnist: Path | None = None
    cifar10: Path | None = None
    models: Path | None = None

    @classmethod
    def of(cls, data: Path | None, folder: Path) -> Data:
        """Return the data in a folder that holds mnist, cifar10 and models, or MNIST's files themselves."""
        if data is None:
            return cls(folder)
        mnist = data if any(data.glob("train*-images-idx3*")) else data / "mnist"
        return cls(folder, mnist, data / "cifar10", data / "models")


def network_makers(data: Data) -> dict[str, Maker]:
    """Return what makes each network whose data are here, by name."""
    absent = Path("absent")
    mnist, cifar10, models = (each or absent for each in (data.mnist, data.cifar10, data.models))
    tiny = models / "mlperf_tiny"
    resnet_20, resnet_8 = models / "resnet20_cifar10.npz", tiny / "resnet8_cifar10.onnx"
    keywords, speech = tiny / "ds_cnn_keyword_spotting.onnx", models / "silero_vad" / "speech_16khz.wav"
    encoder, frames = tiny / "autoencoder_toycar.onnx", tiny / "toycar_normal_float32.bin"
    stories = models / "stories260k" / "stories260K.bin"
    makers: dict[str, tuple[list[Path], Maker]] = {
        "lenet_5": ([mnist], lambda: lenet_5(load_idx_folder(mnist), data.folder / "lenet_5" / "trained")),
        "lenet_5_own": ([mnist], lambda: lenet_5_own(load_idx_folder(mnist), data.folder / "lenet_5" / "trained")),
        "lenet_300_100": (
            [mnist],
            lambda: lenet_300_100(load_idx_folder(mnist), data.folder / "lenet_300_100" / "trained"),
        ),
        "embedding": ([mnist], lambda: embedding(load_idx_folder(mnist), data.folder / "embedding" / "trained")),
        "lstm_tagger": ([mnist], lambda: lstm_tagger(load_idx_folder(mnist), data.folder / "lstm_tagger" / "trained")),
        "autoencoder": ([encoder, frames], lambda: autoencoder(encoder, frames)),
        "anomaly_score": ([encoder, frames], lambda: anomaly_score(encoder, frames)),
        "ds_cnn": ([keywords, speech], lambda: ds_cnn(keywords, speech)),
        "resnet_8": ([resnet_8, cifar10], lambda: resnet_8_onnx(resnet_8, load_idx_folder(cifar10))),
        "resnet_20": ([resnet_20, cifar10], lambda: resnet_20_own(resnet_20, load_idx_folder(cifar10))),
        "stories": ([stories], lambda: stories_llama(stories)),
    }
    return {name: make for name, (needed, make) in makers.items() if all(path.exists() for path in needed)}


def lenet_5(images: ImageSet, folder: Path) -> MeasuredNetwork:
    """Return LeNet-5, trained on 50,000 of MNIST's training images; pools are of the others."""
    return MeasuredNetwork(
        "lenet_5",
        trained_lenet(images, folder),
        images.train_images[TRAINED_ON:],
        images.test_images,
        "kl",
        bounds=(0.003, 0.012, 0.05, 0.15, 0.3),
        shown=(0.003, 0.012, 0.05),
        search=0.012,
        labels=images.test_labels,
        number=LENET_POOL,
        densities=LENET_DENSITIES,
        uniform=(1.0, 0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3),
        widths=(2, 3, 4, 5),
        pool_labels=images.train_labels[TRAINED_ON:],
    )


def lenet_5_own(images: ImageSet, folder: Path) -> MeasuredNetwork:
    """Return LeNet-5 with pools of the images that it was trained on."""
    population = images.train_images[:TRAINED_ON]
    return replace(lenet_5(images, folder), name="lenet_5_own", population=population, pool_labels=None, own=True)


def lenet_300_100(images: ImageSet, folder: Path) -> MeasuredNetwork:
    """Return LeNet-300-100, trained on 50,000 of MNIST's training images; pools are of the others."""
    return MeasuredNetwork(
        "lenet_300_100",
        trained_lenet_300_100(images, folder),
        images.train_images[TRAINED_ON:],
        images.test_images,
        "kl",
        bounds=(0.01, 0.03, 0.1),
        shown=(0.01, 0.03, 0.1),
        search=0.03,
        labels=images.test_labels,
    )


def embedding(images: ImageSet, folder: Path) -> MeasuredNetwork:
    """Return an embedding of MNIST's digits."""
    return MeasuredNetwork(
        "embedding",
        trained_embedding(images, folder),
        images.train_images[TRAINED_ON:],
        images.test_images,
        "cosine",
        bounds=(0.003, 0.01, 0.03),
        shown=(0.003, 0.01, 0.03),
        search=0.01,
    )


def lstm_tagger(images: ImageSet, folder: Path) -> MeasuredNetwork:
    """Return an LSTM tagger of the rows of MNIST's digits at 8 x 8 pixels."""
    return MeasuredNetwork(
        "lstm_tagger",
        trained_tagger(images, folder),
        small_images(images.train_images[TRAINED_ON:]),
        small_images(images.test_images),
        "kl",
        bounds=(0.003, 0.01, 0.03),
        shown=(0.003, 0.01, 0.03),
        search=0.01,
        widths=(3, 4, 5, 6, 7),
        weight_bits=(2, 3, 4, 5, 6, 7),
    )


def autoencoder(path: Path, frames: Path) -> MeasuredNetwork:
    """Return the autoencoder of machine sounds; its inputs are 40 recorded frames, and mixtures of these."""
    population, unseen = _machine_frames(frames)
    return MeasuredNetwork(
        "autoencoder",
        Network.open(path),
        population,
        unseen,
        "relative-error",
        bounds=(0.005, 0.01, 0.02),  # the mean of all outputs has an error of 0.047
        shown=(0.005, 0.01, 0.02),
        search=0.01,
        widths=(4, 5, 6, 7, 8),
        weight_bits=(4, 5, 6, 7, 8),
    )


def anomaly_score(path: Path, frames: Path) -> MeasuredNetwork:
    """Return the autoencoder with its error as output, and the change of its anomaly score as loss."""
    import onnx

    model = Network.open(path).to_onnx()
    (output,) = model.graph.output
    entry = model.graph.input[0].name
    model.graph.node.append(onnx.helper.make_node("Sub", [output.name, entry], ["error"]))
    error = onnx.helper.make_tensor_value_info("error", onnx.TensorProto.FLOAT, [None, 640])
    del model.graph.output[:]
    model.graph.output.append(error)
    population, unseen = _machine_frames(frames)
    return MeasuredNetwork(
        "anomaly_score",
        Network.open(model),
        population,
        unseen,
        "designs.experiments.planning.losses:score_change",
        bounds=(0.005, 0.02, 0.06),
        shown=(0.005, 0.02, 0.06),
        search=0.02,
        widths=(4, 5, 6, 7, 8),
        weight_bits=(4, 5, 6, 7, 8),
    )


def ds_cnn(path: Path, recording: Path) -> MeasuredNetwork:
    """Return keyword spotting; its inputs are the features of overlapping cuts of a minute of speech, with noise."""
    features = speech_features(recording, 2 * _CUTS)
    return MeasuredNetwork(
        "ds_cnn",
        Network.open(path),
        features[:_CUTS],
        features[_CUTS:],
        "kl",
        bounds=(0.01, 0.03, 0.1),
        shown=(0.01, 0.03, 0.1),
        search=0.03,
        widths=(3, 4, 5, 6, 7),
    )


def resnet_8_onnx(path: Path, images: ImageSet) -> MeasuredNetwork:
    """Return ResNet-8; pools are of half of CIFAR-10's test images, and the others are unseen."""
    pixels = resnet_8_inputs(images.test_images)
    half = len(pixels) // 2
    return MeasuredNetwork(
        "resnet_8",
        Network.open(path),
        pixels[:half],
        pixels[half:],
        "kl",
        bounds=(0.01, 0.03, 0.1),
        shown=(0.01, 0.03, 0.1),
        search=0.03,
        labels=images.test_labels[half:],
        widths=(3, 4, 5, 6, 7),
    )


def resnet_8_inputs(images: Floats32) -> Floats32:
    """Return images of CIFAR-10 [images, 3072] as ResNet-8 takes them: [images, 32, 32, 3], 0 to 255."""
    pixels = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) * np.float32(255)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def resnet_20_own(weights: Path, images: ImageSet) -> MeasuredNetwork:
    """Return ResNet-20 with pools of the images of CIFAR-10 that it was trained on."""
    return MeasuredNetwork(
        "resnet_20",
        load_resnet(read_parameters(weights)),
        images.train_images,
        images.test_images,
        "kl",
        bounds=(0.01, 0.03, 0.06, 0.1),
        shown=(0.01, 0.03, 0.1),
        search=0.03,
        labels=images.test_labels,
        number=RESNET_POOL,
        uniform=(1.0, 0.8, 0.65, 0.52, 0.42),
        own=True,
    )


def stories_llama(path: Path) -> MeasuredNetwork:
    """Return the Llama of 260,032 weights; its inputs are texts that it writes itself."""
    network = read_llama(path)
    texts = sampled_texts(network, _TEXTS, _STEPS)
    return MeasuredNetwork(
        "stories",
        network,
        texts[: _TEXTS // 2],
        texts[_TEXTS // 2 :],
        "kl",
        bounds=(0.02, 0.05, 0.15),
        shown=(0.02, 0.05, 0.15),
        search=0.05,
        number=128,
        widths=(3, 4, 5, 6, 7),
        tokens=True,
        with_thresholds=(0.01, 0.02, 0.05, 0.1, 0.2),
    )


class _OfPairs(torch.nn.Module):
    """Sentence encoder that takes ids and mask as one array, int64 [inputs, 2, steps]."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Return the vectors of sentences."""
        vectors: torch.Tensor = self.encoder(pairs[:, 0], pairs[:, 1])
        return vectors


def sentence_encoder(folder: Path) -> MeasuredNetwork:
    """Return all-MiniLM-L6-v2 of a folder (model.safetensors and tokenizer.json), with sentences."""
    encoder = SentenceEncoder()
    encoder.load(read_parameters(folder / "model.safetensors"))
    sentences = SentenceTokens(folder / "tokenizer.json").sentences(2 * _SENTENCES)
    pairs = np.stack([sentences["ids"], sentences["mask"]], axis=1)
    return MeasuredNetwork(
        "sentence_encoder",
        _OfPairs(encoder).eval(),
        pairs[:_SENTENCES],
        pairs[_SENTENCES:],
        "cosine",
        bounds=(0.003, 0.01, 0.03),
        shown=(0.003, 0.01, 0.03),
        search=0.01,
        number=_SENTENCES,
        densities=(1.0,),
        weight_bits=(4, 5, 6),
        widths=(5, 6),
    )


def _machine_frames(path: Path) -> tuple[Floats32, Floats32]:
    """Return recorded frames of a machine with mixtures of them, and other mixtures."""
    frames = np.fromfile(path, "<f4").reshape(-1, 640)
    mixtures = mixed_frames(frames, 2 * _FRAMES)
    return np.concatenate([frames, mixtures[:_FRAMES]]), mixtures[_FRAMES:]
