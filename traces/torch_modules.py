"""Submodules of a PyTorch network: their names without wrappers, their modes, and weights that are computed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from traces.errors import InputError

_WRAPPERS = (
    torch.nn.DataParallel,
    torch.nn.parallel.DistributedDataParallel,
    torch.optim.swa_utils.AveragedModel,
)


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module within DataParallel, DistributedDataParallel, AveragedModel or torch.compile.

    Parameters
    ----------
    module : torch.nn.Module
        A network or a part of one.

    Returns
    -------
    torch.nn.Module
        The module itself if nothing wraps it.
    """
    while True:
        if isinstance(module, _WRAPPERS):
            module = module.module
        elif type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules:
            module = module.get_submodule("_orig_mod")  # its class takes a second to import
        else:
            return module


def independent_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a network without its wrappers, also of one whose weights an earlier call computed.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    torch.nn.Module
        The copy; submodules are not wrapped either.

    Raises
    ------
    InputError
        If the network cannot be copied.
    """
    module = unwrapped(module)
    memo: dict[int, Any] = {}
    for part in module.modules():
        _detach(vars(part), memo)
    try:
        copied = copy.deepcopy(module, memo)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"the network must be one that copy.deepcopy can copy; found {type(error).__name__}: {error}; take the "
            f"attribute that it means out of the module"
        ) from error
    for part in list(copied.modules()):
        for name, child in part._modules.items():
            part._modules[name] = None if child is None else unwrapped(child)
    return copied


def _detach(value: Any, memo: dict[int, Any]) -> None:
    """Add a copy of each computed tensor in a value to the memo of deepcopy, which would refuse the tensor."""
    if isinstance(value, torch.Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            _detach(each, memo)


def named_parts(module: torch.nn.Module, every_name: bool = False) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield each submodule with its name, the module itself first; wrappers are left out, and so are their names.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    every_name : bool
        True to yield a submodule under each of its names; otherwise under the first one.

    Yields
    ------
    tuple of (str, torch.nn.Module)
        Name and submodule.
    """
    seen: set[int] = set()

    def walk(name: str, part: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
        part = unwrapped(part)
        if id(part) in seen and not every_name:
            return
        seen.add(id(part))
        yield name, part
        for child_name, child in part._modules.items():
            if child is not None:
                yield from walk(f"{name}.{child_name}" if name else child_name, child)

    return walk("", module)


def multiplies_as_called(part: torch.nn.Module | None) -> TypeGuard[torch.nn.Module]:
    """Return True if a module is a linear or convolutional layer that multiplies its parameter `weight` when called.

    Parameters
    ----------
    part : torch.nn.Module or None
        A module. The output projection of torch.nn.MultiheadAttention is never called.

    Returns
    -------
    bool
        False for layers with a forward of their own, and where something computes the weight.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return (
        any(type(part).forward is kind.forward for kind in kinds if isinstance(part, kind))
        and "forward" not in vars(part)
        and not isinstance(part, nn.modules.linear.NonDynamicallyQuantizableLinear)
        and "weight" in part._parameters  # type: ignore[union-attr]
    )


def named_tensors(module: torch.nn.Module, every_name: bool = False, kept: bool = True) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a network by name, without the names of wrappers.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    every_name : bool
        True to return a tensor of a submodule with several names under each of them.
    kept : bool
        True to leave out buffers that a state dict leaves out.

    Returns
    -------
    dict of str to torch.Tensor
        The tensors themselves, no copies.
    """
    tensors = {}
    for path, part in named_parts(module, every_name):
        left_out = part._non_persistent_buffers_set if kept else set()
        own = {**part._parameters, **{name: part._buffers[name] for name in part._buffers if name not in left_out}}
        prefix = f"{path}." if path else ""
        tensors.update({prefix + name: values for name, values in own.items() if values is not None})
    return tensors


def computed_tensors(part: torch.nn.Module) -> dict[str, str]:
    """Return the tensors of one module that are no parameters because something computes them.

    Parameters
    ----------
    part : torch.nn.Module
        Submodule whose own tensors are asked for.

    Returns
    -------
    dict of str to str
        For the name of each such tensor, the name of what computes it: a parametrization, weight_norm, spectral_norm or
        prune. The last registered comes first.
    """
    computed = {}
    if parametrize.is_parametrized(part):
        for name, steps in part.parametrizations.items():  # type: ignore[operator, union-attr]
            computed[name] = " and ".join(type(step).__name__.lstrip("_") for step in steps)
    for hook in reversed(part._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm | SpectralNorm):
            computed[hook.name] = "weight_norm" if isinstance(hook, WeightNorm) else "spectral_norm"
        elif isinstance(hook, prune.BasePruningMethod):
            computed[hook._tensor_name] = "prune"
    return computed


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, and restore the mode of each submodule afterwards.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def training(module: torch.nn.Module) -> Iterator[None]:
    """Set a network to training mode, and restore the mode of each submodule afterwards.

    Submodules in evaluation mode within a network in training mode stay as they are: someone has frozen them.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    """
    modes = [(part, part.training) for part in module.modules()]
    if not module.training:
        module.train()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
