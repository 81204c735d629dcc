"""Graph of a network as a module with the inputs on the first axis of all tensors (PyTorch and onnx needed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from compress.graph_module import GraphModule
from traces import InputError, Inputs, Network
from traces.arrays import Numbers
from traces.graph.surgery import flatten

_CLOSE = 1e-4  # of the largest value of an output, between inputs that run together and alone


class GraphOutputs(GraphModule):
    """`GraphModule` that takes and gives tensors [inputs, ...], wherever the network has the axis of its inputs.

    Inputs run together if the first ones show that their outputs are then the same as alone. They run one by one
    otherwise.

    Parameters
    ----------
    network : Network
        The network.
    feeds : dict of arrays
        Inputs as `Network.bind` returns them. They give the inputs that are the same for all, and decide the branches
        of the graph. At least two that differ are needed to run inputs together.

    Attributes
    ----------
    input_names : tuple of str
        Names of the inputs, one for each tensor of `forward`. If the network has no axis of inputs, each tensor has it
        in front of the others.

    Raises
    ------
    InputError
        If the graph has an operator that is not executed.
    """

    def __init__(self, network: Network, feeds: Mapping[str, Numbers]) -> None:
        graph, guards = flatten(network.to_onnx(), network.part(feeds, 0, 1))
        super().__init__(graph, network.parameters, guards)
        axes = {entry.name: entry.batch_axis for entry in network.inputs}
        if any(axis is not None for axis in axes.values()):
            axes = {name: axis for name, axis in axes.items() if axis is not None}
        self._axes = {name: axis for name, axis in axes.items() if name in self.input_names}
        self._constants |= {name: torch.tensor(feeds[name]) for name in self.input_names if name not in axes}
        self.input_names = tuple(self._axes)
        examples = [torch.tensor(values) for values in self.in_front(feeds).arrays.values()]
        with torch.no_grad():
            self._output_axes = self._found_output_axes(examples)

    @property
    def together(self) -> bool:
        """True if inputs run together."""
        return self._output_axes is not None

    def in_front(self, feeds: Mapping[str, Numbers]) -> Inputs:
        """Return inputs of the network with their own axis in front, in the order that `forward` takes them."""
        total = max(1 if axis is None else feeds[name].shape[axis] for name, axis in self._axes.items())
        arrays = []
        for name, axis in self._axes.items():
            values = feeds[name][None] if axis is None else np.moveaxis(feeds[name], axis, 0)
            arrays.append(values if len(values) == total else np.repeat(values, total, axis=0))
        return Inputs.of(tuple(arrays))

    def forward(self, *tensors: Tensor) -> Tensor | dict[str, Tensor]:  # type: ignore[override]
        """Run inputs.

        Parameters
        ----------
        *tensors : Tensor [inputs, ...]
            One for each name in `input_names`.

        Returns
        -------
        Tensor or dict of str to Tensor, [inputs, ...]
            The output, or the outputs by name if there are several.

        Raises
        ------
        InputError
            If the number of tensors or their first axes differ from what is expected.
        """
        expected = ", ".join(self.input_names)
        if len(tensors) != len(self.input_names):
            raise InputError(f"the network's inputs are {expected}; found {len(tensors)} tensors; give one for each")
        counts = {len(tensor) for tensor in tensors}
        if len(counts) != 1 or 0 in counts:
            raise InputError(
                f"all tensors ({expected}) must have the same number of inputs on the first axis, at least 1; found "
                f"{', '.join(str(len(tensor)) for tensor in tensors)}"
            )
        if self._output_axes is None:
            singles = zip(*(tensor.split(1) for tensor in tensors), strict=True)  # type: ignore[no-untyped-call]
            parts = [[_as_one(output) for output in self._run(single)] for single in singles]
            outputs = [torch.cat(of_output) for of_output in zip(*parts, strict=True)]
        else:
            outputs = _apart(self._run(tensors), self._output_axes, counts.pop())
        return outputs[0] if len(outputs) == 1 else dict(zip(self.output_names, outputs, strict=True))

    def _run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Run the graph once, and return its outputs as it has them."""
        axes = self._axes.values()
        entering = [
            each[0] if axis is None else each.movedim(0, axis) for each, axis in zip(tensors, axes, strict=True)
        ]
        found = super().forward(*entering)
        return [found] if isinstance(found, Tensor) else list(found.values())

    def _found_output_axes(self, tensors: list[Tensor]) -> list[int] | None:
        """Return the axis of each output that holds the inputs; None if inputs cannot run together."""
        number = next((k for k in range(1, len(tensors[0])) if any(not torch.equal(t[0], t[k]) for t in tensors)), None)
        if number is None or None in self._axes.values():
            return None
        pair = [[tensor[k : k + 1] for tensor in tensors] for k in (0, number)]
        alone = [self._run(each) for each in pair]
        try:
            both = self._run([torch.cat(of_input) for of_input in zip(*pair, strict=True)])
        except (InputError, RuntimeError, ValueError, IndexError):
            return None
        axes = []
        for single, double in zip(alone[0], both, strict=True):
            longer = [k for k, (a, b) in enumerate(zip(single.shape, double.shape, strict=False)) if a != b]
            if single.ndim != double.ndim or len(longer) != 1 or 2 * single.shape[longer[0]] != double.shape[longer[0]]:
                return None
            axes += longer
        first, second = (_apart(outputs, axes, 1) for outputs in alone)
        same = all(
            _close(found, torch.cat(expected))
            for found, *expected in zip(_apart(both, axes, 2), first, second, strict=True)
        )
        differ = any(not torch.equal(*each) for each in zip(first, second, strict=True))
        return axes if same and differ else None


def _as_one(output: Tensor) -> Tensor:
    """Return the output of one input with the axis of the inputs in front."""
    return output if output.shape[:1] == (1,) else output[None]


def _apart(outputs: Sequence[Tensor], axes: Sequence[int], count: int) -> list[Tensor]:
    """Return the outputs of inputs that ran together, [inputs, ...]."""
    parts = []
    for output, axis in zip(outputs, axes, strict=True):
        part = torch.unflatten(output, axis, (count, -1)).movedim(axis, 0)
        parts.append(part.squeeze(axis + 1))  # stays if an input has several places on this axis
    return parts


def _close(found: Tensor, expected: Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    return torch.allclose(found, expected, rtol=0, atol=_CLOSE * float(expected.abs().max()))
