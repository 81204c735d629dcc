"""Compression of given weights in one step, without data: prune and share once, no fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.config import CompressionConfig
from compress.container.model import CompressedModel
from compress.layer_stages import FREE_BIAS, in_bits, pruning_masks, share_layer
from traces import CompressedLayer, InputError
from traces.arrays import Numbers
from traces.files.npz import read_npz

BUFFER_NAMES = ("running_mean", "running_var", "num_batches_tracked")  # of batch normalisation


def read_parameters(path: str | os.PathLike[str]) -> dict[str, Numbers]:
    """Read parameters by name from an .npz file, or from a PyTorch state dict (.pt, .pth; PyTorch needed).

    A prefix `state_dict.` of all names is dropped.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict of str to array
        Parameters by name.

    Raises
    ------
    InputError
        If the file is missing or damaged, or holds anything but tensors.
    """
    path = Path(path)
    parameters = _read_state_dict(path) if path.suffix in (".pt", ".pth") else read_npz(path)
    if all(name.startswith("state_dict.") for name in parameters):
        parameters = {name.removeprefix("state_dict."): value for name, value in parameters.items()}
    return parameters


def _read_state_dict(path: Path) -> dict[str, Numbers]:
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
    if not all(isinstance(name, str) for name in loaded):
        raise InputError(f"{path}: must be a state dict, names to tensors; found the name {next(iter(loaded))!r}")
    native = (torch.float16, torch.float32, torch.float64)
    native_values = {
        name: value.detach().float() if value.is_floating_point() and value.dtype not in native else value.detach()
        for name, value in loaded.items()
    }
    try:
        return {name: value.numpy() for name, value in native_values.items()}
    except (TypeError, RuntimeError) as error:  # sparse or quantised
        raise InputError(f"{path}: must be a PyTorch state dict of plain tensors: {error}") from error


def compress_parameters(
    parameters: Mapping[str, Numbers], config: CompressionConfig | None = None
) -> tuple[CompressedModel, dict[str, str]]:
    """Compress every NAME.weight of two dimensions or more, with its NAME.bias, in one step.

    Parameters
    ----------
    parameters : Mapping[str, array]
        Parameters by name.
    config : CompressionConfig or None
        Settings of the layers.

    Returns
    -------
    model : CompressedModel
        The compressed model.
    left_alone : dict of str to str
        For each parameter that is stored as it is, the reason.

    Raises
    ------
    InputError
        If nothing can be compressed, a value is not finite, or the config names an unknown layer or has settings of
        types or of fine-tuning, which have no effect here.
    """
    config = config or CompressionConfig()
    _check_config(config)
    weights, biases, left_alone = {}, {}, {}
    parameters = {name: _native(name, values) for name, values in parameters.items()}
    for name, values in parameters.items():
        layer_name = name.removesuffix(".weight")
        if name == layer_name or values.ndim < 2 or values.dtype.kind != "f" or not values.size:
            left_alone[name] = _reason(name, values)
            continue
        bias = parameters.get(f"{layer_name}.bias")
        if bias is not None and (bias.shape != values.shape[:1] or bias.dtype.kind != "f"):
            raise InputError(
                f"{layer_name}.bias must be [{values.shape[0]}] floating-point numbers, one for each output of "
                f"{name}; found {bias.dtype} {list(bias.shape)}"
            )
        weights[layer_name], biases[layer_name] = values, bias
    if not weights:
        raise InputError("there is no parameter NAME.weight of two dimensions or more to compress")
    settings = [config.settings_of(name, "") for name in weights]
    biased = {name for name, bias in biases.items() if bias is not None}
    for name, of_layer in zip(weights, settings, strict=True):
        if biases[name] is not None and of_layer.share_bias:
            del left_alone[f"{name}.bias"]
        elif biases[name] is not None:
            left_alone[f"{name}.bias"] = FREE_BIAS
            biases[name] = None
    has_tensors = any(parameters[name].dtype.kind == "f" for name in left_alone)
    config.check_effect(dict.fromkeys(weights, ""), biased, has_tensors)
    if config.seed and all(of_layer.initialisation != "random" for of_layer in settings):
        raise InputError("seed has no effect unless the initialisation of a layer is random; leave it out")
    layers = []
    masks = pruning_masks(list(weights.values()), settings, config)
    for (name, values), mask, of_layer in zip(weights.items(), masks, settings, strict=True):
        codes, codebook, bias_codes = share_layer(values, mask, biases[name], of_layer, config.seed)
        layers.append(CompressedLayer(name, codes.reshape(len(codes), -1), codebook, bias_codes))
    model = CompressedModel(
        layers,
        [values.shape for values in weights.values()],
        tensors={name: in_bits(parameters[name], config.tensor_bits) for name in left_alone},
        buffers=[
            name for name in left_alone if name.rpartition(".")[2] in BUFFER_NAMES or parameters[name].dtype.kind != "f"
        ],
        coding=[of_layer.coding for of_layer in settings],
    )
    return model, left_alone


def _native(name: str, values: Any) -> Numbers:
    """Return an array of numbers; floating-point ones as float32 or float64, in this machine's order of bytes."""
    if not isinstance(values, np.ndarray):
        raise InputError(f"parameter {name!r} must be an array; found {type(values).__name__}")
    if values.dtype.kind != "f":
        return values
    return values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64, copy=False)


def _check_config(config: CompressionConfig) -> None:
    default = CompressionConfig()
    for name in ("types", "pruning_steps", "sharing"):
        if getattr(config, name) != getattr(default, name):
            raise InputError(
                f"{name} has no effect where weights are compressed in one step, without their network; leave it out"
            )


def _reason(name: str, values: Numbers) -> str:
    """Return why a parameter is stored as it is."""
    if values.dtype.kind != "f":
        return f"{values.dtype} values, no weights"
    if values.ndim < 2:
        return "fewer than two dimensions: no weight matrix or kernel"
    return "not named NAME.weight, or empty"
