"""Simulations behind the tables and figures of the EIE paper, and some of Deep Compression's.

* eie_benchmark.parquet: Tables II to V, Figs 6 and 7: the nine layers with random, uneven and real masks
* random/, uneven/: Figs 8 and 11 to 13 for both kinds of masks: sweeps in queue_slots/ and num_pes/
* line_widths.parquet: Fig 9
* precision.parquet: Fig 10, for the networks available here
* sharing.parquet: Table 6 of Deep Compression, for the networks available here (PyTorch needed)
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from compress import CompressedModel
from compress.weight_files.reading import read_parameters
from designs.experiments.benchmark import run_benchmark
from designs.experiments.eie_sweeps import SWEPT
from designs.experiments.line_widths import run_line_widths
from designs.experiments.precision import CALIBRATION_IMAGES, LabelledNetwork, lenet_on_mnist, run_precisions
from designs.experiments.sharing import TrainedImageNetwork, run_sharing
from designs.paper_sources import CIFAR, LENETS, MASKS, PRUNED_LENET_5, QUEUE_DEPTHS, RESNET, PaperSources
from designs.result_files import BENCHMARK_FILE, LINE_WIDTH_FILE, PRECISION_FILE, SHARING_FILE
from designs.results import provenance
from designs.space import Space
from designs.stages import Stages
from designs.sweeps.folder import SWEEP_FILE
from designs.sweeps.sweep import sweep
from designs.sweeps.workload import Workload, WorkloadLayer
from designs.sweeps.workload_source import EIE, open_workload
from traces import CompressedNetwork
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.images import load_digits, load_idx_folder

# A depth in Fig 8 may count the slots of the ring, or the columns it holds, one fewer; a ring of one slot holds none
QUEUE_SLOTS = tuple(sorted({depth for depth in QUEUE_DEPTHS if depth > 1} | {depth + 1 for depth in QUEUE_DEPTHS}))
SPACES = {"queue_slots": Space({"queue_slots": QUEUE_SLOTS}), "num_pes": SWEPT["num_pes"]}
UNEVEN_DRAWS = 3


def run_paper(sources: PaperSources, folder: Path, workers: int = 1, fresh: bool = False) -> None:
    """Simulate everything that is not yet in the folder of the results.

    Parameters
    ----------
    sources : PaperSources
        Folders of the material.
    folder : Path
        Folder of the results; an interrupted run resumes from it.
    workers : int
        Processes on this machine for the sweeps.
    fresh : bool
        Discard earlier results.

    Raises
    ------
    InputError
        If the folder cannot be written, another run writes to it, or a source file is damaged.
    """
    origin = provenance({"data": sources.digests, "draws": UNEVEN_DRAWS})
    workloads = _Workloads(sources)
    with Stages(folder, fresh) as stages:
        stages.run(BENCHMARK_FILE, origin, lambda path: run_benchmark(path, sources.data, UNEVEN_DRAWS))
        stages.run(LINE_WIDTH_FILE, origin, lambda path: run_line_widths(path, sources.data))
        for masks in MASKS:
            for name, space in SPACES.items():

                def simulate(path: Path, masks: str = masks, space: Space = space) -> None:
                    # An existing file is out of date here, or the stage would have been skipped
                    sweep(workloads.of(masks), space, folder=path.parent, workers=workers, fresh=fresh or path.exists())

                stages.run(str(Path(masks) / name / SWEEP_FILE), origin, simulate)
        networks = _labelled_networks(sources, folder)
        if networks:
            names = [labelled.name for labelled in networks]
            precision_origin = origin | {"networks": names, "calibration_images": CALIBRATION_IMAGES}
            stages.run(PRECISION_FILE, precision_origin, lambda path: run_precisions(path, networks))
        if importlib.util.find_spec("torch") is not None:
            trained = _trained_networks(sources)
            if trained:
                sharing_origin = origin | {"networks": [network.name for network in trained]}
                stages.run(SHARING_FILE, sharing_origin, lambda path: run_sharing(path, trained))


class _Workloads:
    """Workloads of the nine layers, drawn at first use; Alex-8 is the real one if the data hold it."""

    def __init__(self, sources: PaperSources) -> None:
        self.sources = sources
        self._drawn: dict[str, Workload] = {}

    def of(self, masks: str) -> Workload:
        """Return the workload with one of MASKS."""
        if masks not in self._drawn:
            workload = open_workload([EIE], self.sources.data)
            if masks == "uneven":
                layers = []
                for work in workload.layers:
                    name = work.layer.name
                    if name not in REAL_LAYERS or self.sources.real(REAL_LAYERS[name]) is None:
                        layer, activations = EIE_BENCHMARK[name].draw_uneven()
                        work = WorkloadLayer(layer, activations[np.newaxis])
                    layers.append(work)
                workload = Workload(f"{EIE} uneven", tuple(layers))
            self._drawn = {masks: workload}  # frees the arrays of the other one
        return self._drawn[masks]


def _labelled_networks(sources: PaperSources, folder: Path) -> list[LabelledNetwork]:
    """Return the LeNets on MNIST if the data hold it, else the main job's network on digits; none without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return []
    kept = [name for name in LENETS if (sources.containers / f"{name}.dc").exists()]
    if sources.mnist is not None and kept:
        images = load_idx_folder(sources.mnist)
        return [lenet_on_mnist(name, sources.containers / f"{name}.dc", images) for name in kept]
    from designs.experiments.main_job import run_main_job

    model: CompressedModel = run_main_job(folder=folder / "digits").model
    digits = load_digits()
    network = CompressedNetwork.of_layers(model.layers, "digits")
    calibration = digits.train_images[:CALIBRATION_IMAGES]
    return [LabelledNetwork("digits", network, digits.test_images, digits.test_labels, calibration)]


def _trained_networks(sources: PaperSources) -> list[TrainedImageNetwork]:
    """Return ResNet-20 and the pruned LeNet-5, each if its weights and images are available."""
    from designs.experiments.lenet import build_lenet, load_parameters
    from designs.experiments.resnet import load_resnet

    networks: list[TrainedImageNetwork] = []
    weights, cifar = sources.real(RESNET), sources.real(CIFAR)
    if weights is not None and cifar is not None:
        network = load_resnet(read_parameters(weights))
        networks.append(TrainedImageNetwork("ResNet-20, not pruned", network, load_idx_folder(cifar)))
    if sources.mnist is not None and (sources.deep_compression / PRUNED_LENET_5).exists():
        pruned = build_lenet("lenet_5")
        load_parameters(pruned, sources.deep_compression / PRUNED_LENET_5)
        networks.append(TrainedImageNetwork("LeNet-5, pruned", pruned, load_idx_folder(sources.mnist)))
    return networks
