"""Network named by a Python function that builds it, and by a file of its parameters (PyTorch needed)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from compress.weight_files.reading import read_parameters
from traces import InputError
from traces.arrays import Numbers


def named_function(name: str) -> Callable[..., Any]:
    """Return the function named `package.module:function`. Raises InputError if it cannot be called."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} must be package.module:function, like my_network:build")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(f"{name}: the module cannot be imported: {error}; run this where Python finds it") from error
    except AttributeError:
        raise InputError(f"{name}: the module has no {attribute}") from None
    if not callable(function):
        raise InputError(f"{name} must be a function or a class; found {type(function).__name__}")
    return function


def build_network(name: str, weights: str | os.PathLike[str] | None) -> tuple[torch.nn.Module, Any]:
    """Return the network that a function builds, in evaluation mode, and the inputs that it gives beside it, or None.

    Parameters
    ----------
    name : str
        package.module:function
    weights : path or None
        File of its parameters.

    Raises
    ------
    InputError
        If the function gives no network, or the parameters are not those of the network.
    """
    network = named_function(name)()
    network, inputs = network if isinstance(network, tuple) and len(network) == 2 else (network, None)
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"{name} must give a torch.nn.Module; found {type(network).__name__}")
    if weights is not None:
        load_parameters(network, read_parameters(weights), f"{weights}: must hold the parameters of {name}")
    return network.eval(), inputs


def load_parameters(network: torch.nn.Module, parameters: Mapping[str, Numbers], must: str) -> None:
    """Load parameters and buffers by name. Raises InputError, beginning with `must`, if names or shapes differ."""
    try:
        network.load_state_dict({name: torch.from_numpy(np.asarray(values)) for name, values in parameters.items()})
    except RuntimeError as error:  # torch says which names are missing, unknown or of another shape
        raise InputError(f"{must}: {' '.join(str(error).split())}") from None
