"""Methods beside a plan: one density and width for all layers, and a scan of each layer (PyTorch needed)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch

from compress.config import LayerSettings
from compress.container.model import CompressedModel
from compress.layer_stages import share_layer
from compress.networks import with_graph
from compress.planning.knapsack import choose
from compress.planning.layer_compression import layer_file_bytes
from compress.planning.pipeline import ApplicablePlan
from compress.pruning import magnitude_mask
from compress.training.compressor import assemble
from designs.experiments.planning.measuring import Judge
from designs.experiments.planning.networks import MeasuredNetwork
from traces import CompressedLayer
from traces.arrays import Floats64
from traces.shell.progress import progress_bar

Setting = tuple[float, int]  # density and bits of a code
_TENSOR_BITS = 16
_BISECTIONS = 9
ALONE_ON = 500  # inputs of the pool that layers are tried alone on


class MagnitudePruning:
    """Pruning by magnitude and sharing by k-means of each layer in one step, in containers as those of a plan.

    Parameters
    ----------
    plan : ApplicablePlan
        A plan of the network, which knows its layers.
    """

    def __init__(self, plan: ApplicablePlan) -> None:
        self.planner, self.planned = plan.planner, plan.planned
        self.names = [layer.name for layer in self.planner.layers]
        self.layer = cache(self._layer)

    def _layer(self, number: int, setting: Setting) -> CompressedLayer:
        density, bits = setting
        layer = self.planner.layers[number]
        settings = LayerSettings(density, bits, share_bias=False, codebook_bits=16)
        matrix = layer.matrix
        return CompressedLayer(layer.name, *share_layer(matrix, magnitude_mask(matrix, density), None, settings))

    def model(self, settings: Sequence[Setting]) -> CompressedModel:
        """Return the network compressed with one setting for each layer."""
        compressed = [self.layer(number, setting) for number, setting in enumerate(settings)]
        planner = self.planner
        model = assemble(planner.module, planner.layers, planner.left_alone, compressed, _TENSOR_BITS)
        return model if planner.network is None else with_graph(model, planner.network)

    def loss_alone(self, judge: Judge, number: int, setting: Setting) -> float:
        """Return the mean loss if one layer alone is compressed."""
        layer = self.planner.layers[number]
        weight = layer.weight
        before = weight.detach().clone()
        values = layer.in_shape(self.layer(number, setting).weights())
        try:
            with torch.no_grad():
                weight.copy_(torch.from_numpy(values))
            return float(judge.by_input_of(self.planner.module).mean())
        finally:
            with torch.no_grad():
                weight.copy_(before)


class Scan:
    """Densities and widths of each layer, tried alone on the network, and the smallest files that follow from them.

    The loss of several compressed layers is assumed to grow with the sum of their own; of a relative error, with the
    root of the sum of squares. For each wanted loss, the sum is bisected until the measured loss fits.

    Parameters
    ----------
    network : MeasuredNetwork
        Network and its settings.
    pruning : MagnitudePruning
        Compression of its layers.
    judge : Judge
        Loss on the pool.
    alone : Judge
        Loss on a part of the pool, on which single layers are tried.

    Attributes
    ----------
    evaluations : float
        Runs of the network over the pool so far; runs over a part count as that part.
    """

    def __init__(self, network: MeasuredNetwork, pruning: MagnitudePruning, judge: Judge, alone: Judge) -> None:
        self.pruning, self.judge, self.evaluations = pruning, judge, 0.0
        self.settings = list(itertools.product(network.densities[::2], network.widths))
        power = 2 if network.loss == "relative-error" else 1
        self.costs: list[Floats64] = []
        self.changes: list[Floats64] = []
        with progress_bar("scanning layers", len(pruning.names)) as advance:
            for number in range(len(pruning.names)):
                losses = [max(pruning.loss_alone(alone, number, each), 0.0) for each in self.settings]
                sizes = [layer_file_bytes(pruning.layer(number, each)) for each in self.settings]
                self.evaluations += len(self.settings) * len(alone.inputs) / len(judge.inputs)
                self.costs.append(np.array(sizes))
                self.changes.append(np.array(losses) ** power)
                advance()

    def smallest(self, loss: float) -> tuple[CompressedModel, float] | None:
        """Return the smallest file found whose measured loss is at most this, and that loss; None if there is none."""
        low = sum(float(each.min()) for each in self.changes)
        high = sum(float(each.max()) for each in self.changes)
        low, high = max(low, 1e-12 * high), high * (1 + 1e-9)
        best: tuple[CompressedModel, float] | None = None
        tried: dict[tuple[int, ...], float] = {}
        for number in range(_BISECTIONS):
            limit = low * (1 + 1e-9) if number == 0 else float(np.sqrt(low * high))
            places = choose(self.costs, {"loss": (self.changes, limit)})
            assert places is not None, "the limit is at least that of the finest choices"
            key = tuple(int(place) for place in places)
            if key not in tried:
                model = self.pruning.model([self.settings[place] for place in key])
                tried[key] = self.judge.loss(model)
                self.evaluations += 1
                if tried[key] <= loss and (best is None or model.size_bytes < best[0].size_bytes):
                    best = model, tried[key]
            if number == 0:
                if tried[key] > loss:
                    return None
                continue
            low, high = (limit, high) if tried[key] <= loss else (low, limit)
        return best


def uniform_models(network: MeasuredNetwork, pruning: MagnitudePruning) -> Iterator[tuple[Setting, CompressedModel]]:
    """Yield the network compressed with each of the settings for all layers alike."""
    for setting in itertools.product(network.uniform, network.widths):
        yield setting, pruning.model([setting] * len(pruning.names))
