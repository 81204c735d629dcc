"""Recording of a PyTorch network's activations; no other module here needs PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from traces.arrays import Floats32
from traces.errors import InputError


def record_activations(
    module: torch.nn.Module, inputs: Floats32, layers: Sequence[str], all_called: bool = True
) -> dict[str, Floats32]:
    """Run inputs through a network and record the inputs of some of its layers.

    Parameters
    ----------
    module : torch.nn.Module
        Network. It runs in evaluation mode, and its mode is restored.
    inputs : numpy.ndarray
        Inputs, float32 [batch, ...].
    layers : sequence of str
        Names of submodules.
    all_called : bool
        True to require that the network calls all of them; otherwise those not called are left out.

    Returns
    -------
    dict
        Inputs of each layer by name, float32 [batch, ...].

    Raises
    ------
    InputError
        If a name is no submodule, or a submodule is never called.
    """
    submodules = dict(module.named_modules())
    unknown = [name for name in layers if name not in submodules]
    if unknown:
        known = ", ".join(name for name in submodules if name)
        raise InputError(f"the network has no layer {', '.join(unknown)}; its layers are {known}")
    recorded: dict[str, Floats32] = {}

    def recorder(name: str) -> Any:
        def record(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            recorded[name] = arguments[0].detach().to("cpu", torch.float32).numpy().copy()

        return record

    hooks = [submodules[name].register_forward_pre_hook(recorder(name)) for name in layers]
    was_training = module.training
    try:
        module.eval()
        with torch.no_grad():
            module(torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    silent = [name for name in layers if name not in recorded]
    if silent and all_called:
        raise InputError(f"the network never called {', '.join(silent)} on these inputs; record other layers")
    return recorded
