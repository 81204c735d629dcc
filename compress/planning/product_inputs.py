"""Activations that enter the products of weights, replaced while a network runs (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from compress.modules import ModuleLayer
from traces.torch_activations import first_input

#: Number of a weight and what enters one of its products, to what enters instead.
Replacement = Callable[[int, torch.Tensor], torch.Tensor]

_PRODUCTS = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
_GRAPH_PRODUCTS = ("Conv", "Gemm", "MatMul")


@contextmanager
def replacing_inputs(module: torch.nn.Module, layers: Sequence[ModuleLayer], replace: Replacement) -> Iterator[None]:
    """Replace what enters the products of weights while the context lasts.

    Products are linear layers, convolutions, and Conv, Gemm and MatMul of a graph. What enters recurrent layers,
    attention, transposed convolutions and embeddings stays as it is.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    layers : sequence of ModuleLayer
        Its weights.
    replace : callable
        Gets the number of the weight and the floating-point tensor that enters, at each call of a product.
    """
    with ExitStack() as context:
        for number, layer in enumerate(layers):
            for owner, attribute in layer.owners:
                if attribute == "weight" and isinstance(owner, _PRODUCTS):
                    hook = owner.register_forward_pre_hook(_hook(number, replace), with_kwargs=True)
                    context.callback(hook.remove)
        replacing: Any = getattr(module, "replacing", None)
        if replacing is not None:  # it runs an ONNX graph, whose products are no modules
            numbers = {name: number for number, layer in enumerate(layers) for name in layer.names}

            def enter(parameter: str | None, node: Any, entering: torch.Tensor) -> torch.Tensor:
                if parameter not in numbers or node.op_type not in _GRAPH_PRODUCTS:
                    return entering
                return replace(numbers[parameter], entering)

            context.enter_context(replacing(enter))
        yield


def _hook(number: int, replace: Replacement) -> Any:
    def enter(part: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        entering = first_input(part, arguments, keywords)
        if not isinstance(entering, torch.Tensor) or not entering.is_floating_point():
            return None
        entered = replace(number, entering)
        if arguments:
            return (entered, *arguments[1:]), keywords
        return arguments, {name: entered if value is entering else value for name, value in keywords.items()}

    return enter
