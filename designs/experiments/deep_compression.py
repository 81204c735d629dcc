"""LeNets of Deep Compression, as small as possible and as the paper has them, and its curves (PyTorch needed).

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016: Tables 1 to 3, Figs 6 to 8.
"""

from __future__ import annotations

import copy
import importlib.util
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import parametrize

from compress.compression import compress
from compress.config import CompressionConfig, LayerSettings
from compress.container.layer_coding import CodingChoice
from compress.container.model import CompressedModel
from compress.training.compressor import Compressor, Stage
from compress.training.distillation import distil
from compress.weight_sharing import Initialisation
from designs.experiments.lenet import (
    CONTAINER_FILE,
    DENSE_FILE,
    LENET_5,
    LENET_300_100,
    SIDE,
    TEMPERATURE,
    LenetRecipe,
    Lessons,
    build_lenet,
    compress_lenet,
    error_of,
    load_parameters,
    save_parameters,
)
from designs.result_files import CONTAINER_COLUMNS, CONTAINERS_FILE, CURVE_COLUMNS, CURVES_FILE
from designs.results import provenance, table_of, write_results
from designs.stages import Stages
from traces import InputError
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

PAPER_FOLDER, PRUNED_FILE = "paper", "pruned.npz"
# Tables 2 and 3: density and bits of each layer; LeNet-300-100 has 5 bits here, 6 in Table 2
PAPER_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    LENET_300_100.name: {
        "fc1": {"density": 0.08, "weight_bits": 5},
        "fc2": {"density": 0.09, "weight_bits": 5},
        "fc3": {"density": 0.26, "weight_bits": 5},
    },
    LENET_5.name: {
        "conv1": {"density": 0.66, "weight_bits": 8},
        "conv2": {"density": 0.12, "weight_bits": 8},
        "fc1": {"density": 0.08, "weight_bits": 5},
        "fc2": {"density": 0.19, "weight_bits": 5},
    },
}
PRUNING_STEPS = 4
TUNING_EPOCHS = 8  # after pruning and after sharing, of the networks with the paper's settings
DENSITIES = (0.02, 0.03, 0.05, 0.08, 0.15, 0.3)
SHARED_BITS = (2, 3, 4, 6)
CURVE_EPOCHS = 2  # after pruning and after sharing, of the networks of Fig 6
INITIALISATIONS: tuple[Initialisation, ...] = ("optimal", "linear", "density", "random")

RECIPES = (LENET_300_100, LENET_5)

Row = dict[str, Any]


def run_deep_compression(images: ImageSet, folder: Path) -> None:
    """Train, compress and measure the LeNets; write containers, their errors and the points of the curves.

    Parameters
    ----------
    images : ImageSet
        MNIST.
    folder : Path
        Folder of the results; an interrupted run resumes from it. It gets NAME/compressed.dc for each recipe,
        NAME/paper/huffman.dc with the paper's densities and bits, a range.dc beside each of these if the range coder
        is installed, CONTAINERS_FILE and CURVES_FILE.

    Raises
    ------
    InputError
        If the images do not have MNIST's size.
    """
    if images.num_pixels != SIDE**2:
        raise InputError(
            f"LeNets take images of {SIDE} x {SIDE} pixels; those of {images.name} have {images.num_pixels} pixels"
        )
    lessons = Lessons(images, folder)
    rows = [row for recipe in RECIPES for row in _containers(recipe, lessons, folder)]
    origin = {**lessons.origin, "recipes": [vars(recipe) for recipe in RECIPES]}
    write_results(folder / CONTAINERS_FILE, table_of(CONTAINER_COLUMNS, rows), provenance(origin))
    origin |= {"densities": DENSITIES, "bits": SHARED_BITS, "epochs": CURVE_EPOCHS}
    with Stages(folder) as stages:
        stages.run(CURVES_FILE, origin, lambda path: _write_curves(path, lessons, folder, origin))


def _containers(recipe: LenetRecipe, lessons: Lessons, folder: Path) -> list[Row]:
    """Make the containers of one network; return their rows of the result file."""
    name = recipe.name
    smallest = compress_lenet(recipe, lessons, folder / name)
    models = [("smallest", "huffman", smallest, f"{name}/{CONTAINER_FILE}")]
    range_coder = importlib.util.find_spec("constriction") is not None
    if range_coder:
        range_origin = {"crc32": zlib.crc32(smallest.to_bytes())}
        with Stages(folder / name) as stages:
            stages.run("range.dc", range_origin, lambda path: smallest.coded(CodingChoice(coder="range")).save(path))
        models.append(("smallest", "range", smallest, f"{name}/range.dc"))
    dense = build_lenet(name)
    load_parameters(dense, folder / name / DENSE_FILE)
    before = error_of(dense, lessons.images)
    bits = {layer: settings["weight_bits"] for layer, settings in PAPER_SETTINGS[name].items()}
    origin = {**lessons.origin, "dense_epochs": recipe.dense_epochs, "layers": PAPER_SETTINGS[name]}
    origin |= {"steps": PRUNING_STEPS, "epochs": TUNING_EPOCHS}
    with Stages(folder / name / PAPER_FOLDER) as stages:
        stages.run(PRUNED_FILE, origin, lambda path: _prune_as_the_paper(dense, name, lessons, path))
        pruned = build_lenet(name)
        load_parameters(pruned, stages.folder / PRUNED_FILE)
        stages.run("huffman.dc", origin, lambda path: _shared(pruned, bits, lessons, TUNING_EPOCHS).save(path))
        paper = CompressedModel.load(stages.folder / "huffman.dc")
        models.append(("as the paper", "huffman", paper, f"{name}/{PAPER_FOLDER}/huffman.dc"))
        if range_coder:
            stages.run("range.dc", origin, lambda path: paper.coded(CodingChoice(coder="range")).save(path))
            models.append(("as the paper", "range", paper, f"{name}/{PAPER_FOLDER}/range.dc"))
    rows = []
    for recipe_name, coder, model, file in models:
        row = {"network": name, "recipe": recipe_name, "coder": coder, "file": file}
        rows.append(row | {"error_before": before, "error": error_of(loaded(name, model), lessons.images)})
    return rows


def loaded(name: str, model: CompressedModel) -> torch.nn.Module:
    """Return a network with the parameters of a container."""
    network = build_lenet(name)
    model.load_into(network)
    return network


def _pruned(network: torch.nn.Module, config: CompressionConfig, lessons: Lessons, epochs: int) -> torch.nn.Module:
    """Prune a copy step by step; tune it one epoch after each step, and all epochs after the last step."""
    compressor = Compressor(copy.deepcopy(network), config)
    for number in range(config.pruning_steps):
        compressor.step()
        lessons.draw.manual_seed(lessons.seed + number)
        last = number == config.pruning_steps - 1
        distil(compressor.module, lessons.batches, epochs if last else 1, 1e-3, TEMPERATURE, 1e-5)
    for layer in compressor.layers:
        for owner in layer.owners:
            parametrize.remove_parametrizations(*owner)
    return compressor.module


def _shared(
    network: torch.nn.Module,
    weight_bits: Mapping[str, int] | int,
    lessons: Lessons,
    epochs: int,
    initialisation: Initialisation = "optimal",
) -> CompressedModel:
    """Share the non-zero weights and tune the centroids.

    `weight_bits` holds the bits by layer, with biases in the codebooks; or it is one number, and biases are free.
    """
    layers: dict[str, dict[str, Any]] = {}
    for key, weight in network.state_dict().items():
        name, _, kind = key.rpartition(".")
        if kind == "weight":
            layers[name] = {"density": max(1, int(weight.count_nonzero())) / weight.numel()}
            layers[name]["weight_bits"] = weight_bits if isinstance(weight_bits, int) else weight_bits[name]
    every = LayerSettings(initialisation=initialisation, share_bias=not isinstance(weight_bits, int))
    config = CompressionConfig(every, layers=layers, pruning_steps=1, seed=lessons.seed)

    def train(module: torch.nn.Module, stage: Stage) -> None:
        if stage.last and epochs:
            lessons.draw.manual_seed(lessons.seed)
            distil(module, lessons.batches, epochs, 1e-3, TEMPERATURE, 1e-5)

    return compress(network, config, train)


def _prune_as_the_paper(dense: torch.nn.Module, name: str, lessons: Lessons, path: Path) -> None:
    densities = {layer: {"density": settings["density"]} for layer, settings in PAPER_SETTINGS[name].items()}
    config = CompressionConfig(layers=densities, pruning_steps=PRUNING_STEPS, seed=lessons.seed)
    save_parameters(_pruned(dense, config, lessons, TUNING_EPOCHS), path)


def _write_curves(path: Path, lessons: Lessons, folder: Path, origin: Row) -> None:
    curves = [
        (6, LENET_300_100.name, _size_curves),
        (7, LENET_5.name, _bits_curves),
        (8, LENET_300_100.name, _initialisation_curves),
    ]
    rows = []
    points = 2 * len(DENSITIES) + len(SHARED_BITS) + 2 * 3 * 8 + 7 * len(INITIALISATIONS)
    with progress_bar("computing the curves", points) as advance:
        for figure, name, draw in curves:
            dense, pruned = build_lenet(name), build_lenet(name)
            load_parameters(dense, folder / name / DENSE_FILE)
            load_parameters(pruned, folder / name / PAPER_FOLDER / PRUNED_FILE)
            for row in draw(dense, pruned, lessons):
                rows.append({"figure": figure, "network": name, **row})
                advance()
    write_results(path, table_of(CURVE_COLUMNS, rows), provenance(origin))


def _size_curves(dense: torch.nn.Module, _: torch.nn.Module, lessons: Lessons) -> Iterator[Row]:
    """Yield Fig 6: error against size of pruned, shared, and pruned and shared networks, all tuned alike.

    Weights that are not shared take four bytes each; gaps take what they take in the container.
    """
    name = LENET_300_100.name
    for density in DENSITIES:
        config = CompressionConfig(LayerSettings(density), criterion="lamp", pruning_steps=PRUNING_STEPS)
        pruned = _pruned(dense, config, lessons, CURVE_EPOCHS)
        model = _shared(pruned, 8, lessons, 0)
        layers = model.size_report.layers
        in_full = sum(4 * layer.kept - layer.codes - layer.codebook for layer in layers)
        point = _point("pruning alone", name, model, lessons)
        yield point | {
            "weight_bits": 32,
            "error": error_of(pruned, lessons.images),
            "size_bytes": model.size_bytes + in_full,
        }
        yield _point("pruning and sharing", name, _shared(pruned, 4, lessons, CURVE_EPOCHS), lessons)
    for bits in SHARED_BITS:
        yield _point("sharing alone", name, _shared(dense, bits, lessons, CURVE_EPOCHS), lessons)


def _bits_curves(dense: torch.nn.Module, pruned: torch.nn.Module, lessons: Lessons) -> Iterator[Row]:
    """Yield Fig 7: error against bits in convolutions, fully connected layers and all layers; not tuned."""
    for network, state in ((dense, "dense"), (pruned, "pruned")):
        for bits in range(1, 9):
            model = _shared(network, bits, lessons, 0)
            decoded = {key: torch.from_numpy(values) for key, values in model.decoded_parameters().items()}
            for series, chosen in (("convolutions", "conv"), ("fully connected", "fc"), ("all layers", "")):
                partly = copy.deepcopy(network)
                changed = {key: values for key, values in decoded.items() if key.startswith(chosen)}
                partly.load_state_dict(network.state_dict() | changed)
                point = _point(f"{series}, {state}", LENET_5.name, model, lessons)
                yield point | {"error": error_of(partly, lessons.images)}


def _initialisation_curves(_: torch.nn.Module, pruned: torch.nn.Module, lessons: Lessons) -> Iterator[Row]:
    """Yield Fig 8: error of a pruned network against bits for each initialisation; not tuned."""
    for initialisation in INITIALISATIONS:
        for bits in range(2, 9):
            model = _shared(pruned, bits, lessons, 0, initialisation)
            yield _point(initialisation, LENET_300_100.name, model, lessons)


def _point(series: str, name: str, model: CompressedModel, lessons: Lessons) -> Row:
    sizes = model.size_report.layers
    return {
        "series": series,
        "weight_bits": max(layer.weight_bits for layer in model.layers),
        "density": sum(size.kept for size in sizes) / sum(size.parameters for size in sizes),
        "size_bytes": model.size_bytes,
        "error": error_of(loaded(name, model), lessons.images),
    }
