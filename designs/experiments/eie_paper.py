"""What `python -m reports paper` simulates: all that the EIE paper's tables and figures are made from.

    eie_benchmark.parquet   Tables II to V, Figs 6 and 7: the nine layers, masks random, uneven and real
    random/, uneven/        Figs 8 and 11 to 13 for both kinds of masks: sweeps in queue_slots/ and num_pes/
    line_widths.parquet     Fig 9
    precision.parquet       Fig 10, of networks that are here
    sharing.parquet         Table 6 of Deep Compression, of networks that are here (PyTorch needed)

Finished files are kept; the same call goes on where an earlier one was cut off.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compress import CompressedModel
from compress.one_shot import read_parameters
from designs.experiments.benchmark import BENCHMARK_FILE, run_benchmark
from designs.experiments.eie_studies import STUDIES
from designs.experiments.line_widths import LINE_WIDTH_FILE, run_line_widths
from designs.experiments.precision import PRECISION_FILE, LabelledNetwork, lenet_on_mnist, run_precisions
from designs.experiments.sharing import SHARING_FILE, TrainedImageNetwork, run_sharing
from designs.results import provenance
from designs.space import Space
from designs.stages import Stages
from designs.sweeps.folder import SWEEP_FILE
from designs.sweeps.sweep import sweep
from designs.sweeps.workload import Workload, WorkloadLayer
from designs.sweeps.workload_source import EIE, open_workload
from traces import InputError
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.images import load_digits, load_idx_folder
from traces.network import Network

MASKS = ("random", "uneven")
QUEUE_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # labels of Fig 8
# A label may be the slots of the ring, or the columns that it holds, one less; a ring of one slot holds none
QUEUE_SLOTS = tuple(sorted({depth for depth in QUEUE_DEPTHS if depth > 1} | {depth + 1 for depth in QUEUE_DEPTHS}))
SPACES = {"queue_slots": Space({"queue_slots": QUEUE_SLOTS}), "num_pes": STUDIES["num_pes"]}
UNEVEN_DRAWS = 3
LENETS = ("lenet_300_100", "lenet_5")
PRUNED_LENET_5 = Path("lenet_5") / "paper" / "pruned.npz"  # as the study of the LeNets leaves it
RESNET = Path("models") / "resnet20_cifar10.npz"
CIFAR = "cifar10"


@dataclass(frozen=True)
class PaperSources:
    """Where the material of the papers lies, each part of it if it is there.

    data         folder of real data: alex8/, mnist/, cifar10/, models/
    containers   folder of the project's own compressed networks
    studied      folder of the results of `python -m reports deep-compression`
    """

    data: Path | None
    containers: Path
    studied: Path

    def __post_init__(self) -> None:
        if self.data is not None and not self.data.is_dir():
            raise InputError(
                f"{self.data}: there is no such folder of data; give one that holds alex8/, mnist/ and so on"
            )

    def real(self, *parts: str | Path) -> Path | None:
        """A file or folder of the data, if it is there."""
        path = None if self.data is None else self.data.joinpath(*parts)
        return path if path is not None and path.exists() else None

    @property
    def mnist(self) -> Path | None:
        """The folder that holds MNIST, if there is one: the data itself, or mnist/ in it."""
        has_images = self.data is not None and any(self.data.glob("train*-images-idx*"))
        return self.data if has_images else self.real("mnist")

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """A checksum of each file that goes in."""
        files = [self.real(path) for path in (*REAL_LAYERS.values(), RESNET)]
        files += [self.containers / f"{name}.dc" for name in LENETS] + [self.studied / PRUNED_LENET_5]
        return {
            str(path): f"{zlib.crc32(path.read_bytes()):08x}" for path in files if path is not None and path.exists()
        }


def run_paper(sources: PaperSources, folder: Path, workers: int = 1, fresh: bool = False) -> None:
    """Simulate everything that is not yet in `folder`.

    workers   processes on this machine for the sweeps
    fresh     begin anew, whatever the folder holds

    Raises InputError if the folder cannot be written, another run writes to it, or a file of the data is damaged.
    """
    origin = provenance({"data": sources.digests, "draws": UNEVEN_DRAWS})
    workloads = _Workloads(sources)
    with Stages(folder, fresh) as stages:
        stages.run(BENCHMARK_FILE, origin, lambda path: run_benchmark(path, sources.data, UNEVEN_DRAWS))
        stages.run(LINE_WIDTH_FILE, origin, lambda path: run_line_widths(path, sources.data))
        for masks in MASKS:
            for name, space in SPACES.items():

                def simulate(path: Path, masks: str = masks, space: Space = space) -> None:
                    # what is there was made otherwise, or it would have been kept
                    sweep(workloads.of(masks), space, folder=path.parent, workers=workers, fresh=fresh or path.exists())

                stages.run(str(Path(masks) / name / SWEEP_FILE), origin, simulate)
        networks = _labelled_networks(sources, folder)
        if networks:
            of_networks = origin | {"networks": [each.network.name for each in networks]}
            stages.run(PRECISION_FILE, of_networks, lambda path: run_precisions(path, networks))
        if importlib.util.find_spec("torch") is not None:
            trained = _trained_networks(sources)
            if trained:
                of_trained = origin | {"networks": [each.name for each in trained]}
                stages.run(SHARING_FILE, of_trained, lambda path: run_sharing(path, trained))


class _Workloads:
    """The nine layers as sweeps take them, drawn when they are first asked for; Alex-8 is the real one, if there."""

    def __init__(self, sources: PaperSources) -> None:
        self.sources = sources
        self._drawn: dict[str, Workload] = {}

    def of(self, masks: str) -> Workload:
        """`masks` is one of MASKS."""
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
            self._drawn = {masks: workload}  # the other one's arrays may go
        return self._drawn[masks]


def _labelled_networks(sources: PaperSources, folder: Path) -> list[LabelledNetwork]:
    """LeNets on MNIST where it is there; else the main job's network on scikit-learn's digits, if PyTorch is."""
    kept = [name for name in LENETS if (sources.containers / f"{name}.dc").exists()]
    if sources.mnist is not None and kept:
        images = load_idx_folder(sources.mnist)
        return [lenet_on_mnist(name, sources.containers / f"{name}.dc", images) for name in kept]
    if importlib.util.find_spec("torch") is None:
        return []
    from designs.experiments.main_job import run_main_job

    model: CompressedModel = run_main_job(folder=folder / "digits").model
    digits = load_digits()
    return [LabelledNetwork(Network.of_layers("digits", model.layers), digits.test_images, digits.test_labels)]


def _trained_networks(sources: PaperSources) -> list[TrainedImageNetwork]:
    """ResNet-20, and LeNet-5 as pruned by the study of the LeNets, where their weights and images are there."""
    from designs.experiments.lenet import build_lenet, load_parameters
    from designs.experiments.resnet import load_resnet

    found: list[Any] = []
    weights, cifar = sources.real(RESNET), sources.real(CIFAR)
    if weights is not None and cifar is not None:
        network = load_resnet(read_parameters(weights))
        found.append(TrainedImageNetwork("ResNet-20, not pruned", network, load_idx_folder(cifar)))
    if sources.mnist is not None and (sources.studied / PRUNED_LENET_5).exists():
        pruned = build_lenet("lenet_5")
        load_parameters(pruned, sources.studied / PRUNED_LENET_5)
        found.append(TrainedImageNetwork("LeNet-5, pruned", pruned, load_idx_folder(sources.mnist)))
    return found
