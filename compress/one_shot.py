"""Compression of given weights without data: prune and share once, no fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from compress.container import CompressedModel
from compress.pruning import check_density, magnitude_mask
from compress.weight_sharing import share_weights
from traces import CompressedLayer, InputError
from traces.npz import read_npz

BUFFER_NAMES = ("running_mean", "running_var", "num_batches_tracked")  # what batch normalisation counts and averages

Parameters = Mapping[str, npt.NDArray[Any]]


def read_parameters(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Parameters by name from an `.npz` file, or from a PyTorch state dict (`.pt`, `.pth`, PyTorch needed).

    A prefix `state_dict.` of all names is dropped. Raises InputError if the file is missing, damaged or holds
    anything but tensors.
    """
    parameters = _read_state_dict(path) if path.suffix in (".pt", ".pth") else read_npz(path)
    if all(name.startswith("state_dict.") for name in parameters):
        parameters = {name.removeprefix("state_dict."): value for name, value in parameters.items()}
    return parameters


def _read_state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    import torch

    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: must be a PyTorch state dict of tensors; reading it failed: {reason}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise InputError(f"{path}: must be a state dict, names to tensors; save module.state_dict()")
    return {name: value.numpy() for name, value in loaded.items()}


def compress_parameters(
    parameters: Parameters,
    density: float,
    weight_bits: int = 4,
    index_bits: int | None = None,
    layer_density: Mapping[str, float] | None = None,
) -> tuple[CompressedModel, dict[str, str]]:
    """Compress every `NAME.weight` of two dimensions or more, with its `NAME.bias`.

    density, layer_density   share of weights to keep, in all layers and in those named
    weight_bits, index_bits  bits of a code and of a gap in the file; of a gap, if none are given, what takes the
                             fewest bytes

    Returns the compressed model, and for every parameter that is stored as it is the reason. Raises InputError if
    nothing can be compressed, `layer_density` names no layer, or a value is not finite.
    """
    layer_density = layer_density or {}
    for name, share in {"density": density, **layer_density}.items():
        check_density(name, share)
    layers, shapes, left_alone = [], [], {}
    for name, weights in parameters.items():
        layer_name = name.removesuffix(".weight")
        if name == layer_name or weights.ndim < 2 or weights.dtype.kind != "f" or not weights.size:
            left_alone[name] = _reason(name, weights)
            continue
        bias = parameters.get(f"{layer_name}.bias")
        if bias is not None and (bias.shape != weights.shape[:1] or bias.dtype.kind != "f"):
            raise InputError(
                f"{layer_name}.bias must be [{weights.shape[0]}] floating-point numbers, one for each output of "
                f"{name}; found {bias.dtype} {list(bias.shape)}"
            )
        kept = magnitude_mask(weights, layer_density.get(layer_name, density))
        codes, codebook, bias_codes = share_weights(weights, kept, weight_bits, bias)
        layers.append(CompressedLayer(layer_name, codes.reshape(len(codes), -1), codebook, bias_codes))
        shapes.append(weights.shape)
    names = [layer.name for layer in layers]
    for layer in layers:
        left_alone.pop(f"{layer.name}.bias", None)
    unknown = sorted(set(layer_density) - set(names))
    if unknown:
        raise InputError(f"layer_density names {', '.join(unknown)}; the layers are {', '.join(names) or 'none'}")
    if not layers:
        raise InputError("there is no parameter NAME.weight of two dimensions or more to compress")
    tensors = {name: parameters[name] for name in left_alone}
    buffers = [name for name in tensors if name.rpartition(".")[2] in BUFFER_NAMES]
    return CompressedModel(layers, shapes, index_bits, tensors=tensors, buffers=buffers), left_alone


def _reason(name: str, values: npt.NDArray[Any]) -> str:
    if values.dtype.kind != "f":
        return f"{values.dtype} values, no weights"
    if values.ndim < 2:
        return "fewer than two dimensions: no weight matrix or kernel"
    return "not named NAME.weight, or empty"
