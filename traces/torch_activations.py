"""What a PyTorch network feeds to its layers. The one module here that knows PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from traces.errors import InputError


def record_activations(
    module: torch.nn.Module, inputs: npt.NDArray[np.float32], layers: Sequence[str], all_called: bool = True
) -> dict[str, npt.NDArray[np.float32]]:
    """Run `inputs` [batch, ...] through `module` and record what enters each named submodule.

    Returns float32 [batch, ...] by layer name. The module is put in evaluation mode for the run and left as
    it was found. Raises InputError if a name is no submodule, or, with `all_called`, a submodule is never called;
    without it, such a submodule is left out.
    """
    submodules = dict(module.named_modules())
    unknown = [name for name in layers if name not in submodules]
    if unknown:
        known = ", ".join(name for name in submodules if name)
        raise InputError(f"the network has no layer {', '.join(unknown)}; its layers are {known}")
    recorded: dict[str, npt.NDArray[np.float32]] = {}

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
