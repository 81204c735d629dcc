"""Main job: train a network, compress it, simulate it on a grid of arrays, and recommend one of them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import CompressedModel
from designs.experiments.grid import Grid
from designs.file_names import file_name
from designs.near_ties import TOLERANCE, standing_for, told_apart
from designs.results import RESULTS_FOLDER, provenance, write_results
from designs.stages import Stages
from designs.sweeps.folder import SWEEP_FILE
from designs.sweeps.sweep import plain_shapes, sweep
from designs.sweeps.totals import DesignPoint
from designs.sweeps.workload import Workload
from sim import ArrayConfig, ProductShape, simulate_network
from traces.files.images import ImageSet, load_images
from traces.files.npz import read_npz, write_npz
from traces.plain_values import whole_number
from traces.shell.progress import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from compress.config import CompressionConfig

HIDDEN_UNITS = (300, 100)  # LeNet-300-100, LeCun et al., "Gradient-based learning", Proc. IEEE 1998
TRAINED_FILE, CONTAINER_FILE = "trained.npz", "compressed.dc"


@dataclass(frozen=True)
class MainJobSettings:
    """Settings of the main job.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    layer_density: tuple[float, float, float] = (0.15, 0.10, 0.30)
    """share of weights to keep in each of the three layers"""
    weight_bits: int = 4
    """bits of a code in the file and on the array"""
    index_bits: int = 4
    """bits of a gap on the array; the file chooses its own"""
    most: int = 50
    """most test images to simulate on every design"""
    seed: int = 0
    """seed of the initial weights and the order of the training images"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", whole_number("most", self.most, 1))
        object.__setattr__(self, "seed", whole_number("seed", self.seed, 0, 2**63 - 1))


@dataclass(frozen=True)
class _Recipe:
    """Training settings; small sets take many short epochs, large ones few long epochs."""

    epochs: int
    fine_tuning_epochs: int
    batch_size: int
    learning_rate: float = 1e-3


def _recipe(images: ImageSet) -> _Recipe:
    return _Recipe(40, 10, 64) if len(images.train_images) <= 10_000 else _Recipe(10, 3, 128)


@dataclass(frozen=True, eq=False)
class MainJobResult:
    """Result of the main job.

    Attributes
    ----------
    images : str
        Name of the images.
    accuracy_before, accuracy_after : float
        Test accuracy before and after compression.
    bytes_before, bytes_after : int
        Bytes of the fp32 parameters and of the container.
    model : CompressedModel
        The container.
    inputs : int
        Test images simulated.
    agreeing_inputs : int
        Test images for which the paper's array gives the network's answer.
    table : pyarrow.Table
        Rows of the sweep, one for each layer and design, with SWEEP_COLUMNS.
    shapes : tuple of ProductShape
        Shapes of the layers for one input.
    folder : Path
        Folder of the results.
    kept_files : tuple of str
        Files kept from an earlier run.
    """

    images: str
    accuracy_before: float
    accuracy_after: float
    bytes_before: int
    bytes_after: int
    model: CompressedModel
    inputs: int
    agreeing_inputs: int
    table: pa.Table
    shapes: tuple[ProductShape, ...]
    folder: Path
    kept_files: tuple[str, ...]


def run_main_job(
    data: Path | None = None,
    settings: MainJobSettings | None = None,
    grid: Grid | None = None,
    folder: Path | None = None,
    fresh: bool = False,
) -> MainJobResult:
    """Run the main job.

    The network has 300 and 100 hidden units. Its accuracy after compression is that of the container read back from
    the disk. The activations of each layer are recorded for the first test images and simulated on every array of the
    grid. The paper's array also runs these images from layer to layer, and its answers are compared with the network's.

    Parameters
    ----------
    data : Path, optional
        Folder of IDX files to train on; default: scikit-learn's digits.
    settings : MainJobSettings, optional
        Training and compression.
    grid : Grid, optional
        Arrays to simulate.
    folder : Path, optional
        Folder of the results; default: results/ and the images' name. An interrupted run resumes from it.
    fresh : bool
        Discard earlier results.

    Returns
    -------
    MainJobResult
        Accuracy, sizes and the table of the sweep.

    Raises
    ------
    InputError
        If an array of the grid is invalid, or the images cannot be read.
    """
    import torch

    from compress.training.fine_tuning import accuracy
    from traces.torch_activations import record_activations

    settings, grid = settings or MainJobSettings(), grid or Grid()
    images = load_images(data)
    if folder is None:
        remedy = "give the folder of the results"
        folder = RESULTS_FOLDER / file_name("the name of the images' folder", images.name, remedy)
    inputs = images.test_images[: settings.most]
    paper_array = ArrayConfig(weight_bits=settings.weight_bits, index_bits=settings.index_bits)
    designs = grid.designs(paper_array)  # rejects invalid arrays before any training
    compression = _compression(settings)
    origin = provenance({"images": images.name, "data_digest": images.digest, **dataclasses.asdict(settings)})
    kept_files = []
    with Stages(folder, fresh) as stages:
        torch.manual_seed(settings.seed)
        network = build_network(images)
        if not stages.run(TRAINED_FILE, origin, lambda path: _train(network, images, settings, path)):
            kept_files.append(TRAINED_FILE)
        trained = read_npz(folder / TRAINED_FILE)
        network.load_state_dict({name: torch.from_numpy(values) for name, values in trained.items()})
        accuracy_before = accuracy(network, images.test_images, images.test_labels)

        if not stages.run(CONTAINER_FILE, origin, lambda path: _compress(network, images, compression, path)):
            kept_files.append(CONTAINER_FILE)
        model = CompressedModel.load(folder / CONTAINER_FILE)
        model.load_into(network)
        accuracy_after = accuracy(network, images.test_images, images.test_labels)
        with torch.no_grad():
            answers = network(torch.from_numpy(inputs)).argmax(dim=1).numpy()
        activations = record_activations(network, inputs, [layer.name for layer in model.layers])

        on_the_array = simulate_network(model.layers, inputs, paper_array).output.argmax(axis=1)
        workload = Workload.of_layers(images.name, model.layers, activations)
        table = sweep(workload, designs)
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
            shapes=tuple(workload.shapes),
            folder=folder,
            kept_files=tuple(kept_files),
        )
        stated = origin["settings"] | {"workload": plain_shapes(workload)}
        write_results(folder / SWEEP_FILE, table, origin | {"network": _summary(result), "settings": stated})
    return result


def recommended(points: Sequence[DesignPoint]) -> DesignPoint:
    """Choose the design to take.

    Parameters
    ----------
    points : sequence of DesignPoint
        Designs of the grid.

    Returns
    -------
    DesignPoint
        Design of the smallest area among those whose energy-delay product is within TOLERANCE of the smallest one.
        Designs whose SRAMs do not hold every layer are excluded if any design holds them all.
    """
    running = [point for point in points if point.runs]
    candidates = [point for point in running if point.fits] or running
    smallest = min(point.energy_delay_nj_us for point in candidates)
    close = [point for point in candidates if point.energy_delay_nj_us <= (1 + TOLERANCE) * smallest]
    return min(close, key=lambda point: (point.area_mm2, point.energy_delay_nj_us))


def without_near_ties(front: Sequence[DesignPoint], preferred: DesignPoint) -> list[DesignPoint]:
    """Drop each design whose costs all differ by at most TOLERANCE from those of `preferred` or a design kept before.

    Parameters
    ----------
    front : sequence of DesignPoint
        Pareto-optimal designs.
    preferred : DesignPoint
        Design that is kept if it is on the front.

    Returns
    -------
    list of DesignPoint
        The designs kept, in the order of `front`.
    """
    if not front:
        return []
    costs = np.array([point.costs for point in front])
    apart = np.any([told_apart(of_cost[None]) for of_cost in costs.T], axis=0)
    order = sorted(range(len(front)), key=lambda place: front[place] != preferred)
    standing = standing_for(apart, order)
    return [point for place, point in enumerate(front) if standing[place] == place]


def _summary(result: MainJobResult) -> dict[str, Any]:
    names = ("images", "accuracy_before", "accuracy_after", "bytes_before", "bytes_after", "inputs")
    return {name: getattr(result, name) for name in names}


def build_network(images: ImageSet) -> torch.nn.Sequential:
    """Return an untrained network of pixels - 300 - 100 - classes with ReLU; its layers are fc1, fc2 and fc3."""
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
    from compress.compression import compress
    from compress.training.compressor import Stage
    from compress.training.fine_tuning import train

    recipe = _recipe(images)
    epochs = recipe.fine_tuning_epochs
    with progress_bar("compressing", epochs * (config.pruning_steps + 1)) as advance:

        def fine_tune(module: torch.nn.Module, stage: Stage) -> None:
            inputs, labels = images.train_images, images.train_labels
            train(module, inputs, labels, epochs, recipe.learning_rate, recipe.batch_size, config.seed, advance)

        model = compress(network, config, fine_tune)
    model.save(path)
