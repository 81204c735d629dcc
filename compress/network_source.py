"""A network that is named on the command line: a Python function that builds it, and a file of its parameters."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.one_shot import read_parameters
from traces import InputError


def named_function(name: str) -> Callable[..., Any]:
    """What `package.module:function` names. Raises InputError if there is no such thing to call."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} must be package.module:function, like designs.experiments.resnet:ResNet20")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(f"{name}: the module cannot be imported: {error}; run this where Python finds it") from error
    except AttributeError:
        raise InputError(f"{name}: the module has no {attribute}") from None
    if not callable(found):
        raise InputError(f"{name} must be a function or a class; found {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def build_network(name: str, weights: Path | None) -> torch.nn.Module:
    """The network that a function builds, with the parameters of a file (.npz, .pt), if one is given.

    Raises InputError if the function gives no network, or the parameters are not its own.
    """
    network = named_function(name)()
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"{name} must give a torch.nn.Module; found {type(network).__name__}")
    if weights is not None:
        load_parameters(network, read_parameters(weights), f"{weights}: must hold the parameters of {name}")
    return network.eval()


def load_parameters(network: torch.nn.Module, parameters: Mapping[str, npt.NDArray[Any]], must: str) -> None:
    """Give a network parameters and buffers by name. Raises InputError, beginning with `must`, if they differ."""
    try:
        network.load_state_dict({name: torch.from_numpy(np.asarray(values)) for name, values in parameters.items()})
    except RuntimeError as error:  # torch says which names are missing, unknown or of another shape
        raise InputError(f"{must}: {' '.join(str(error).split())}") from None
