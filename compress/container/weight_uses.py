"""Uses of weights outside of calls of their layers, where a module applies no activation threshold (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from traces.torch_modules import named_parts

_LOOKUPS = (torch.nn.functional.embedding, torch.nn.functional.embedding_bag)


@contextmanager
def uses_elsewhere(module: torch.nn.Module, layers: Collection[str]) -> Iterator[dict[str, str]]:
    """Watch runs of a module for uses of weights outside of calls of their layers.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    layers : collection of str
        Names of layers with a parameter `weight`; tied ones are named together.

    Yields
    ------
    dict of str to str
        For each layer whose weight was used elsewhere, the function that took it. Look-ups do not count, nor do
        functions that return no tensor.
    """
    uses = _Uses({name: part for name, part in named_parts(module, every_name=True) if name in layers})
    hooks = []
    for part in uses.layers.values():
        hooks.append(part.register_forward_pre_hook(uses.enter))
        hooks.append(part.register_forward_hook(uses.leave, always_call=True))
    try:
        with uses:
            yield uses.elsewhere
    finally:
        for hook in hooks:
            hook.remove()


class _Uses(TorchFunctionMode):
    """Watch of functions that take certain weights.

    Parameters
    ----------
    layers : dict of str to torch.nn.Module
        Layers with these weights by name.
    """

    def __init__(self, layers: dict[str, torch.nn.Module]) -> None:
        super().__init__()
        self.layers = layers
        self.elsewhere: dict[str, str] = {}
        self._names = {id(part.weight): name for name, part in layers.items()}
        self._inside = 0

    def enter(self, *_: object) -> None:
        """Note the begin of a call of a layer."""
        self._inside += 1

    def leave(self, *_: object) -> None:
        """Note the end of a call of a layer."""
        self._inside -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._inside and func not in _LOOKUPS and any(True for _ in _tensors(result)):
            for tensor in _tensors([args, kwargs or {}]):
                if id(tensor) in self._names:
                    self.elsewhere.setdefault(self._names[id(tensor)], getattr(func, "__name__", str(func)))
        return result


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested sequences and mappings."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, dict | list | tuple):
        for each in values.values() if isinstance(values, dict) else values:
            yield from _tensors(each)
