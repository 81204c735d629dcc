"""Second moments of the vectors that weight matrices are multiplied with, while a network runs (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from compress.modules import WeightUnit
from traces.arrays import Floats64
from traces.torch_activations import first_input

_Convolution = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d
_PADDINGS = {"zeros": "constant"}  # the names of torch.nn by those of torch.nn.functional.pad, where they differ


class Moments:
    """Collector of the mean x x^T over the input vectors x of each weight matrix, as a context.

    A layer that is called several times adds the vectors of all calls. There is no moment of a layer that multiplies
    each weight with several vectors at once (convolutions with groups, transposed ones, recurrent cells), looks rows
    up, or is never called.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    units : sequence of WeightUnit
        Its weights.
    """

    def __init__(self, module: torch.nn.Module, units: Sequence[WeightUnit]) -> None:
        self._module, self._units = module, units
        self._sums: dict[int, Floats64] = {}
        self._positions = [0] * len(units)
        self._context = ExitStack()

    def __enter__(self) -> None:
        for number, unit in enumerate(self._units):
            for owner, attribute in unit.owners:
                if attribute == "weight" and _has_vectors(owner):
                    hook = owner.register_forward_pre_hook(self._hook(number), with_kwargs=True)
                    self._context.callback(hook.remove)
        observing: Any = getattr(self._module, "observing", None)
        if observing is not None:  # it runs an ONNX graph, whose products are no modules
            self._context.enter_context(observing(self._observe))

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def of(self, number: int) -> tuple[Floats64 | None, int]:
        """Return the mean x x^T of a weight, [columns, columns], and the number of vectors; None if there is none."""
        positions = self._positions[number]
        return (self._sums[number] / positions if positions else None), positions

    def _hook(self, number: int) -> Any:
        def add(part: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            entering = first_input(part, arguments, keywords)
            if isinstance(entering, torch.Tensor):
                self._add(number, input_vectors(part, entering.detach()))

        return add

    def _observe(self, parameter: str | None, _: str, node: Any, entering: torch.Tensor, weight: torch.Tensor) -> None:
        for number, unit in enumerate(self._units):
            if parameter in unit.names:
                vectors = _graph_vectors(node, entering.detach(), weight.detach(), unit)
                if vectors is not None:
                    self._add(number, vectors)

    def _add(self, number: int, vectors: torch.Tensor) -> None:
        vectors = vectors.double()
        moment = (vectors.T @ vectors).numpy()
        before = self._sums.get(number)
        self._sums[number] = moment if before is None else before + moment
        self._positions[number] += len(vectors)


def input_vectors(part: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the vectors that the weight matrix of a layer is multiplied with, [positions, columns].

    Parameters
    ----------
    part : torch.nn.Module
        Linear, or a convolution with one group.
    inputs : tensor [inputs, ...]
        What enters the layer; one input alone may lack its first axis.
    """
    if not isinstance(part, _Convolution):
        return inputs.reshape(-1, inputs.shape[-1])
    axes = len(part.kernel_size)
    batch = inputs if inputs.dim() == axes + 2 else inputs[None]
    padding = part._reversed_padding_repeated_twice
    padded = torch.nn.functional.pad(batch, padding, _PADDINGS.get(part.padding_mode, part.padding_mode))
    return _patches(padded, part.kernel_size, part.stride, part.dilation)


def _has_vectors(part: torch.nn.Module) -> bool:
    return isinstance(part, torch.nn.Linear) or (isinstance(part, _Convolution) and part.groups == 1)


def _patches(
    inputs: torch.Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> torch.Tensor:
    """Return the patches of padded inputs [inputs, channels, *axes], [positions, channels * kernel]."""
    axes = len(kernel)
    for axis, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        inputs = inputs.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    order = (0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))
    channels = inputs.shape[1]
    return inputs.permute(order).reshape(-1, channels * int(np.prod(kernel)))


def _graph_vectors(node: Any, entering: torch.Tensor, weight: torch.Tensor, unit: WeightUnit) -> torch.Tensor | None:
    """Return the vectors that a node of a graph multiplies a unit's matrix with, or None if it is not that matrix."""
    import onnx

    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    vectors = None
    if node.op_type == "Conv" and attributes.get("group", 1) == 1:
        from compress.graph_module.windows import windows

        kernel = weight.shape[2:]
        frame = windows(
            entering.shape[2:],
            kernel,
            attributes.get("strides"),
            attributes.get("dilations"),
            attributes.get("pads"),
            attributes.get("auto_pad", b"NOTSET").decode(),
        )
        padded = torch.nn.functional.pad(entering, frame.needed(entering.shape[2:]))
        matrix, vectors = weight.flatten(1), _patches(padded, frame.kernel, frame.strides, frame.dilations)
    elif node.op_type in ("MatMul", "Gemm") and weight.dim() == 2:
        from_left = weight.shape[-1] == entering.shape[-2] if entering.dim() > 1 else False
        if attributes.get("transA") or (node.op_type == "MatMul" and from_left):
            return None
        matrix, vectors = weight if attributes.get("transB") else weight.T, entering.reshape(-1, entering.shape[-1])
    if vectors is None or not np.array_equal(matrix.numpy(), unit.matrix):
        return None
    return vectors
