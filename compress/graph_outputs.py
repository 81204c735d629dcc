"""Graph of a network as a module whose outputs have their own shapes (PyTorch and onnx needed)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from compress.network_module import NetworkModule
from traces import Inputs, Network
from traces.arrays import Numbers


class GraphOutputs(NetworkModule):
    """`NetworkModule` that returns each output as the network has it, with its inputs on the first axis.

    Parameters
    ----------
    network : Network
        The network.
    inputs : dict of arrays
        Inputs as `Network.bind` returns them.
    """

    def __init__(self, network: Network, inputs: Mapping[str, Numbers]) -> None:
        super().__init__(network, inputs)
        inner = self._modules.pop("inner")
        assert inner is not None
        vars(self).update(inner=inner, _parameters=inner._parameters, _modules=inner._modules)  # under their own names
        self._input_axes = {each.name: each.batch_axis for each in network.inputs}
        axes: list[int | None] = (
            [*self._output_axes] if self._output_axes is not None else [None] * len(network.outputs)
        )
        first = network.run(network.part(inputs, 0, 1))
        self._shapes: dict[str, tuple[int, ...]] = {}
        for (name, values), axis in zip(first.items(), axes, strict=True):
            shape = list(values.shape)
            if axis is None and shape[:1] == [1]:
                axis = 0
            if axis is not None:
                del shape[axis]
            self._shapes[name] = tuple(shape)

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Return the output [inputs, ...], or the outputs by name if there are several."""
        rows = super().forward(*tensors)
        parts = torch.split(rows, [math.prod(shape) for shape in self._shapes.values()], dim=1)
        outputs = {
            name: part.reshape(len(rows), *shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def in_front(self, feeds: Mapping[str, Numbers]) -> Inputs:
        """Return inputs of the network with their own axis in front, in the order that `forward` takes them."""
        arrays = []
        for name in self.inputs:
            axis = self._input_axes[name]
            arrays.append(feeds[name][None] if axis is None else np.moveaxis(feeds[name], axis, 0))
        return Inputs.of(tuple(arrays))
