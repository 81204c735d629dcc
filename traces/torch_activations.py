"""Recording of what enters the layers of a PyTorch network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from traces.arrays import Numbers
from traces.errors import InputError
from traces.inputs import AnyInputs, Inputs
from traces.torch_modules import evaluating, named_parts


def record_activations(
    module: torch.nn.Module,
    inputs: AnyInputs,
    layers: Sequence[str],
    all_called: bool = True,
) -> dict[str, Numbers]:
    """Run inputs through a network and record the inputs of some of its layers.

    Parameters
    ----------
    module : torch.nn.Module
        Network. It runs in evaluation mode, and the mode of each submodule is restored.
    inputs : AnyInputs
        Arrays [inputs, ...] of the network: one, several in order, or several by keyword (`traces.inputs.Inputs.of`).
        Floating-point values get the type of the network's parameters; integers, such as token ids, and booleans stay
        as they are.
    layers : sequence of str
        Names of submodules, without those of wrappers such as DataParallel.
    all_called : bool
        True to require that the network calls all of them; otherwise those not called are left out.

    Returns
    -------
    dict
        First input of each layer by name [inputs, ...]: float32, or as it is if it is not floating-point. Inputs of a
        layer that is called several times follow one another along the first axis, call by call.

    Raises
    ------
    InputError
        If the inputs are no arrays of numbers, a name is no submodule, a submodule is never called, its first input is
        no tensor, or its calls have inputs of different shapes beyond the first axis.
    """
    entering = Inputs.of(inputs)
    submodules = dict(named_parts(module, every_name=True))
    unknown = [name for name in layers if name not in submodules]
    if unknown:
        known = ", ".join(name for name in submodules if name)
        raise InputError(f"the network has no layer {', '.join(unknown)}; its layers are {known}")
    calls: dict[str, list[Numbers]] = {}

    def recorder(name: str) -> Any:
        def record(part: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            first = first_input(part, arguments, keywords)
            if not isinstance(first, torch.Tensor):
                raise InputError(
                    f"the first input of layer {name} must be a tensor to be recorded; found "
                    f"{type(first).__name__}; record another layer"
                )
            values = first.detach().cpu()
            values = values.float() if values.is_floating_point() else values
            calls.setdefault(name, []).append(values.numpy().copy())

        return record

    hooks = [
        submodules[name].register_forward_pre_hook(recorder(name), with_kwargs=True) for name in dict.fromkeys(layers)
    ]
    try:
        with evaluating(module), torch.no_grad():
            tensors = {name: _tensor(values, module) for name, values in entering.arrays.items()}
            if entering.positional:
                module(*tensors.values())
            else:
                module(**tensors)
    finally:
        for hook in hooks:
            hook.remove()
    silent = [name for name in layers if name not in calls]
    if silent and all_called:
        raise InputError(f"the network never called {', '.join(silent)} on these inputs; record other layers")
    return {name: _joined(name, calls[name]) for name in layers if name in calls}


def first_input(part: torch.nn.Module, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Return the first input of a call of a module, by position or by keyword.

    Parameters
    ----------
    part : torch.nn.Module
        The module that is called.
    arguments : sequence
        Its arguments by position.
    keywords : Mapping[str, object]
        Its arguments by keyword.

    Returns
    -------
    object
        The argument for the first parameter of `forward`; None if there is none.
    """
    if arguments:
        return arguments[0]
    first = next(iter(inspect.signature(part.forward).parameters), "")
    return keywords.get(first, next(iter(keywords.values()), None))


def _tensor(values: Numbers, module: torch.nn.Module) -> torch.Tensor:
    """Return values as a tensor where the network's parameters are, floating-point ones in their type."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    like = next((parameter for parameter in module.parameters() if parameter.is_floating_point()), torch.zeros(0))
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype)


def _joined(name: str, calls: list[Numbers]) -> Numbers:
    """Return the inputs of all calls of a layer, along the first axis."""
    shapes = {values.shape[1:] for values in calls}
    if len(shapes) > 1 or not calls[0].ndim:
        raise InputError(
            f"the inputs of all calls of layer {name} must have one shape beyond their first axis; found "
            f"{' and '.join(sorted(str(list(values.shape)) for values in calls[:2]))}; record another layer"
        )
    return np.concatenate(calls) if len(calls) > 1 else calls[0]
