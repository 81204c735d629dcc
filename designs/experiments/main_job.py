"""The main job: train a network, compress it, and simulate it on a grid of arrays."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import CompressedModel
from designs.experiments.grid import Grid
from designs.file_names import file_name
from designs.results import RESULTS_FOLDER, provenance, write_results
from designs.stages import Stages
from designs.sweeps.folder import SWEEP_FILE
from designs.sweeps.sweep import sweep
from designs.sweeps.workload import Workload
from sim import ArrayConfig, simulate_network
from traces import InputError
from traces.files.images import ImageSet, load_images
from traces.files.npz import read_npz, write_npz
from traces.shell.progress import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from compress.config import CompressionConfig

HIDDEN_UNITS = (300, 100)  # LeNet-300-100, LeCun et al., "Gradient-based learning", Proc. IEEE 1998
TRAINED_FILE, CONTAINER_FILE = "trained.npz", "compressed.dc"


@dataclass(frozen=True)
class MainJobSettings:
    """What to train, how far to compress it and where to run it.

    Raises InputError if a value is out of its range.
    """

    layer_density: tuple[float, float, float] = (0.15, 0.10, 0.30)
    """share of weights to keep in each of the three layers"""
    weight_bits: int = 4
    """bits of a code, in the file and on the array"""
    index_bits: int = 4
    """bits of a gap on the array; the file has gaps of its own"""
    inputs: int = 50
    """test images to simulate on every design point"""
    seed: int = 0
    """of the initial weights and the order of the training images"""

    def __post_init__(self) -> None:
        if self.inputs < 1:
            raise InputError(f"inputs={self.inputs} must be at least 1 test image")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed} must be 0 to 2**63 - 1")


@dataclass(frozen=True)
class _Recipe:
    """How long to train. Small sets take many short epochs, large ones few long ones."""

    epochs: int
    fine_tuning_epochs: int
    batch_size: int
    learning_rate: float = 1e-3


def _recipe(images: ImageSet) -> _Recipe:
    return _Recipe(40, 10, 64) if len(images.train_images) <= 10_000 else _Recipe(10, 3, 128)


@dataclass(frozen=True, eq=False)
class MainJobResult:
    """What came out: the network before and after, and the sweep's table, a row a layer and design point."""

    images: str
    accuracy_before: float
    accuracy_after: float
    bytes_before: int
    bytes_after: int
    model: CompressedModel
    inputs: int
    agreeing_inputs: int
    table: pa.Table
    folder: Path
    kept_files: tuple[str, ...]


def run_main_job(
    data: Path | None = None,
    settings: MainJobSettings | None = None,
    grid: Grid | None = None,
    folder: Path | None = None,
    fresh: bool = False,
) -> MainJobResult:
    """Run the main job and keep its files in `folder`, if none is given in results/ and the images' name.

    The network has 300 and 100 hidden units and is trained on scikit-learn's digits, or on the IDX files in
    the folder `data`. Its accuracy after compression is that of the container as it is read back. What enters
    each layer is recorded from the first test images and simulated on every array of the grid; on the
    paper's array, these images are run from layer to layer, and the array's answers compared with the
    network's.

    Finished steps are kept: the same call goes on where an earlier one was cut off, unless `fresh`.
    """
    import torch

    from compress.training.fine_tuning import accuracy
    from traces.torch_activations import record_activations

    settings, grid = settings or MainJobSettings(), grid or Grid()
    images = load_images(data)
    if folder is None:
        remedy = "give the folder of the results with --out"
        folder = RESULTS_FOLDER / file_name("the name of the images' folder", images.name, remedy)
    inputs = images.test_images[: settings.inputs]
    paper_array = ArrayConfig(weight_bits=settings.weight_bits, index_bits=settings.index_bits)
    designs = grid.designs(paper_array)  # refuses, before any training, an array that there cannot be
    compression = _compression(settings)
    origin = provenance({"images": images.name, "data_digest": images.digest, **dataclasses.asdict(settings)})
    kept = []
    with Stages(folder, fresh) as stages:
        torch.manual_seed(settings.seed)
        network = build_network(images)
        if not stages.run(TRAINED_FILE, origin, lambda path: _train(network, images, settings, path)):
            kept.append(TRAINED_FILE)
        trained = read_npz(folder / TRAINED_FILE)
        network.load_state_dict({name: torch.from_numpy(values) for name, values in trained.items()})
        accuracy_before = accuracy(network, images.test_images, images.test_labels)

        if not stages.run(CONTAINER_FILE, origin, lambda path: _compress(network, images, compression, path)):
            kept.append(CONTAINER_FILE)
        model = CompressedModel.load(folder / CONTAINER_FILE)
        model.load_into(network)
        accuracy_after = accuracy(network, images.test_images, images.test_labels)
        with torch.no_grad():
            answers = network(torch.from_numpy(inputs)).argmax(dim=1).numpy()
        activations = record_activations(network, inputs, [layer.name for layer in model.layers])

        on_the_array = simulate_network(model.layers, inputs, paper_array).output.argmax(axis=1)
        table = sweep(Workload.of_layers(images.name, model.layers, activations), designs)
        result = MainJobResult(
            images=images.name,
            accuracy_before=accuracy_before,
            accuracy_after=accuracy_after,
            bytes_before=model.parameter_bytes,
            bytes_after=model.size_bytes,
            model=model,
            inputs=len(inputs),
            agreeing_inputs=int((on_the_array == answers).sum()),
            table=table,
            folder=folder,
            kept_files=tuple(kept),
        )
        write_results(folder / SWEEP_FILE, table, origin | {"network": _summary(result)})
    return result


def _summary(result: MainJobResult) -> dict[str, Any]:
    names = ("images", "accuracy_before", "accuracy_after", "bytes_before", "bytes_after", "inputs")
    return {name: getattr(result, name) for name in names}


def build_network(images: ImageSet) -> torch.nn.Sequential:
    """Pixels to 300 to 100 to classes, rectifiers in between; layers fc1, fc2, fc3."""
    import torch

    first, second = HIDDEN_UNITS
    return torch.nn.Sequential(
        OrderedDict(
            fc1=torch.nn.Linear(images.num_pixels, first),
            relu1=torch.nn.ReLU(),
            fc2=torch.nn.Linear(first, second),
            relu2=torch.nn.ReLU(),
            fc3=torch.nn.Linear(second, images.num_classes),
        )
    )


def _train(network: torch.nn.Module, images: ImageSet, settings: MainJobSettings, path: Path) -> None:
    from compress.training.fine_tuning import train

    recipe = _recipe(images)
    with progress_bar("training", recipe.epochs) as advance:
        train(
            network,
            images.train_images,
            images.train_labels,
            recipe.epochs,
            recipe.learning_rate,
            recipe.batch_size,
            settings.seed,
            advance,
        )
    write_npz(path, {name: values.numpy() for name, values in network.state_dict().items()})


def _compression(settings: MainJobSettings) -> CompressionConfig:
    from compress.config import CompressionConfig, LayerSettings

    densities = zip(("fc1", "fc2", "fc3"), settings.layer_density, strict=True)
    return CompressionConfig(
        every=LayerSettings(weight_bits=settings.weight_bits),
        layers={name: {"density": density} for name, density in densities},
        seed=settings.seed,
    )


def _compress(network: torch.nn.Module, images: ImageSet, config: CompressionConfig, path: Path) -> None:
    from compress.training.compressor import Stage, compress
    from compress.training.fine_tuning import train

    recipe = _recipe(images)
    epochs = recipe.fine_tuning_epochs
    with progress_bar("compressing", epochs * (config.pruning_steps + 1)) as advance:

        def fine_tune(module: torch.nn.Module, stage: Stage) -> None:
            given, labels = images.train_images, images.train_labels
            train(module, given, labels, epochs, recipe.learning_rate, recipe.batch_size, config.seed, advance)

        model = compress(network, config, fine_tune)
    model.save(path)
