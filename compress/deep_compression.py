"""The pipeline of Deep Compression: prune, share, fine-tune after each, and code.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, Fig 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from compress.container import CompressedModel
from compress.fine_tuning import mask_weight, share_parameters, train
from compress.pruning import check_density, density_schedule, magnitude_mask
from compress.weight_sharing import share_weights
from traces import CompressedLayer, InputError


@dataclass(frozen=True)
class CompressionConfig:
    """How far to compress, and how long to fine-tune. Raises InputError if a value is out of its range."""

    density: float = 0.1
    """share of weights to keep, in layers that `layer_density` does not name"""
    layer_density: Mapping[str, float] = field(default_factory=dict)
    """share of weights to keep, by layer name"""
    weight_bits: int = 4
    """bits of a code, 1 to 8"""
    index_bits: int = 5
    """bits of a gap in the file, 1 to 8"""
    pruning_steps: int = 3
    """steps of gradual pruning, each followed by `pruning_epochs` of fine-tuning"""
    pruning_epochs: int = 10
    """epochs of fine-tuning after each pruning step"""
    sharing_epochs: int = 10
    """epochs of fine-tuning of the shared weights"""
    learning_rate: float = 1e-3
    """of Adam, at the start of each fine-tuning"""
    batch_size: int = 64
    """samples a training step"""
    seed: int = 0
    """of the order of the samples"""

    def __post_init__(self) -> None:
        for name, value in {"density": self.density, **self.layer_density}.items():
            check_density(name, value)
        for name in ("weight_bits", "index_bits"):
            if not 1 <= getattr(self, name) <= 8:
                raise InputError(f"{name}={getattr(self, name)} must be 1 to 8")
        for name, lowest in {
            "pruning_steps": 1,
            "pruning_epochs": 0,
            "sharing_epochs": 0,
            "batch_size": 1,
        }.items():
            if getattr(self, name) < lowest:
                raise InputError(f"{name}={getattr(self, name)} must be at least {lowest}")
        object.__setattr__(self, "layer_density", MappingProxyType(dict(self.layer_density)))

    @property
    def epochs(self) -> int:
        """Epochs of fine-tuning in all."""
        return self.pruning_steps * self.pruning_epochs + self.sharing_epochs


def compressible_layers(module: torch.nn.Module) -> dict[str, torch.nn.Linear | torch.nn.Conv2d]:
    """The layers that can be compressed, by name in the module: Linear and Conv2d.

    Raises InputError if there is none, or the module holds parameters or buffers besides theirs.
    """
    layers = {
        name: layer for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
    }
    if not layers:
        raise InputError("the network has no Linear or Conv2d layer to compress")
    if "" in layers:
        raise InputError("a layer alone has no name to be stored under; put it into a torch.nn.Sequential")
    held = {f"{name}.{parameter}" for name, layer in layers.items() for parameter in layer.state_dict()}
    others = [name for name in module.state_dict() if name not in held]
    if others:
        raise InputError(
            f"every parameter must belong to a Linear or Conv2d layer, since a container holds no others and "
            f"fine-tuning would change them; found {', '.join(others)}; fold normalisation into the layers before"
        )
    return layers


def compress(
    module: torch.nn.Module,
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    config: CompressionConfig | None = None,
    after_epoch: Callable[[], object] = lambda: None,
) -> CompressedModel:
    """Compress all Linear and Conv2d layers of a trained classifier; `module` itself is left as it is.

    images [samples, ...] and labels [samples] fine-tune what is left; `after_epoch` is called after each of
    `config.epochs` epochs. Raises InputError if the module has nothing to compress, or more than a container
    can hold, or the config names a layer that it does not have.
    """
    config = config or CompressionConfig()
    module = copy.deepcopy(module)
    layers = compressible_layers(module)
    unknown = sorted(set(config.layer_density) - set(layers))
    if unknown:
        raise InputError(
            f"layer_density names {', '.join(unknown)}, which the network does not have; its layers are "
            f"{', '.join(layers)}"
        )

    def fine_tune(epochs: int) -> None:
        train(module, images, labels, epochs, config.learning_rate, config.batch_size, config.seed, after_epoch)

    densities = {name: config.layer_density.get(name, config.density) for name in layers}
    schedules = {name: density_schedule(density, config.pruning_steps) for name, density in densities.items()}
    for step in range(config.pruning_steps):
        for name, layer in layers.items():
            mask_weight(layer, magnitude_mask(_array(layer.weight), schedules[name][step]))
        fine_tune(config.pruning_epochs)

    codes = {}
    centroids = {}
    for name, layer in layers.items():
        weights = _array(layer.weight)
        bias = None if layer.bias is None else _array(layer.bias)
        shared, codebook, bias_codes = share_weights(weights, weights != 0, config.weight_bits, bias)
        codes[name] = shared, bias_codes
        centroids[name] = share_parameters(layer, shared, codebook, bias_codes)
    fine_tune(config.sharing_epochs)

    compressed, shapes = [], []
    for name, (shared, bias_codes) in codes.items():
        codebook = np.concatenate([[0.0], _array(centroids[name])]).astype(np.float32)
        compressed.append(CompressedLayer(name, shared.reshape(len(shared), -1), codebook, bias_codes))
        shapes.append(shared.shape)
    return CompressedModel(compressed, shapes, config.index_bits)


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().numpy().copy()
