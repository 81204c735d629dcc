"""Any network as a PyTorch module from one tensor for each input to one row of outputs (PyTorch and onnx needed)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from compress.graph_module import GraphModule
from compress.graph_module.module import Observer
from traces import InputError
from traces.graph.network import Network
from traces.graph.surgery import flatten

_CLOSE = 1e-4  # of the largest output, between inputs that run together and alone


class NetworkModule(torch.nn.Module):
    """Network of any kind, from tensors whose first axis holds the inputs to one tensor [inputs, features].

    It runs the module that the network was exported from, or else its graph. Modules, parameters and state have the
    names that they have there. Inputs run together if the first inputs show that their outputs are then the same as
    alone. They run one by one otherwise.

    Parameters
    ----------
    network : Network
        The network.
    inputs : array, tuple of arrays, or dict of arrays
        Inputs as `Network.bind` takes them. They give the inputs that are the same for all, and decide the branches of
        the graph. At least two that differ are needed to run inputs together.
    probabilities : {"log"}, optional
        If "log", and the only output is that of a softmax or log-softmax over the last axis for the first input, the
        module returns logarithms of probabilities.

    Attributes
    ----------
    inner : torch.nn.Module
        Module that runs: the original one, or a `GraphModule`.
    inputs : tuple of str
        Names of the inputs, one for each tensor of `forward`. The axis that holds the inputs is the first one here,
        wherever the network has it. If the network has no such axis, each tensor has it in front of the others.
    together : bool
        True if inputs run together.
    log_probabilities : bool
        True if the module returns logarithms of probabilities.

    Raises
    ------
    InputError
        If the inputs do not fit, or the graph has an operator that is not executed.
    """

    def __init__(self, network: Network, inputs: Any, *, probabilities: Literal["log"] | None = None) -> None:
        super().__init__()
        feeds = network.bind(inputs)
        batched = {entry.name: entry.batch_axis for entry in network.inputs if entry.batch_axis is not None}
        self._axes: dict[str, int | None] = {**batched} or dict.fromkeys(entry.name for entry in network.inputs)
        self.inputs = tuple(self._axes)
        self._constants = {name: torch.tensor(value) for name, value in feeds.items() if name not in self._axes}
        self.inner = _inner(network, feeds)
        self._by_name = isinstance(self.inner, GraphModule) or _takes_names(self.inner, list(feeds))
        self._order = tuple(feeds)
        self.log_probabilities = False
        total = network.num_inputs(feeds)
        examples = [
            torch.tensor(feeds[name])[None]
            if axis is None
            else torch.tensor(feeds[name]).movedim(axis, 0).expand(total, *[-1] * (feeds[name].ndim - 1))
            for name, axis in self._axes.items()
        ]
        with _in_evaluation(self.inner), torch.no_grad():
            if probabilities == "log":
                self.log_probabilities = self._gives_probabilities([tensor[:1] for tensor in examples])
            self._output_axes = self._found_output_axes(examples)

    @property
    def together(self) -> bool:
        """True if inputs run together."""
        return self._output_axes is not None

    def forward(self, *tensors: Tensor) -> Tensor:
        """Run inputs.

        Parameters
        ----------
        *tensors : Tensor [inputs, ...]
            One for each name in `inputs`.

        Returns
        -------
        Tensor [inputs, features]
            All outputs of each input, flat, one after the other. Integers become floating-point numbers.

        Raises
        ------
        InputError
            If the number of tensors or their first axes differ from what is expected.
        """
        expected = ", ".join(self.inputs)
        if len(tensors) != len(self.inputs):
            raise InputError(f"the network's inputs are {expected}; found {len(tensors)} tensors; give one for each")
        counts = {len(tensor) for tensor in tensors}
        if len(counts) != 1 or 0 in counts:
            raise InputError(
                f"all tensors ({expected}) must have the same number of inputs on the first axis, at least 1; found "
                f"{', '.join(str(len(tensor)) for tensor in tensors)}"
            )
        if self._output_axes is None:
            singles = zip(*(tensor.split(1) for tensor in tensors), strict=True)  # type: ignore[no-untyped-call]
            rows = torch.cat([self._alone(single) for single in singles])
        else:
            rows = self._rows(self._outputs(tensors), self._output_axes, counts.pop())
        return rows

    @contextlib.contextmanager
    def observing(self, callback: Observer) -> Iterator[None]:
        """Call back for each product of a weight, as `GraphModule.observing` does; only for networks without a module.

        Parameters
        ----------
        callback : callable
            As `GraphModule.observing` takes it.
        """
        if not isinstance(self.inner, GraphModule):
            raise InputError("the network must be a graph; found a module; use hooks of its layers")
        with self.inner.observing(callback):
            yield

    # Modules, parameters and state under the names of the inner module

    def named_modules(
        self, memo: set[torch.nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, torch.nn.Module]]:
        """Return the modules of the inner module under their names there; see `torch.nn.Module`."""
        yield from self.inner.named_modules(memo, prefix, remove_duplicate)

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """Return the state of the inner module; see `torch.nn.Module`."""
        return self.inner.state_dict(*arguments, **keywords)

    def load_state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """Load the state of the inner module; see `torch.nn.Module`."""
        return self.inner.load_state_dict(*arguments, **keywords)

    def get_submodule(self, target: str) -> torch.nn.Module:
        """Return a module of the inner module; see `torch.nn.Module`."""
        return self.inner.get_submodule(target)

    def _outputs(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Run the inner module once, and return its outputs, or the logarithms of its probabilities."""
        if not self.log_probabilities:
            return self._run(tensors)
        with _LastSoftmax() as softmax:
            (output,) = self._run(tensors)
        if not softmax.gave(output):
            raise InputError("the output must come from a softmax as for the first input; found another operation")
        return [softmax.logarithms()]

    def _gives_probabilities(self, tensors: Sequence[Tensor]) -> bool:
        with _LastSoftmax() as softmax:
            outputs = self._run(tensors)
        return len(outputs) == 1 and softmax.gave(outputs[0])

    def _run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        named = dict(self._constants)
        for (name, axis), tensor in zip(self._axes.items(), tensors, strict=True):
            named[name] = tensor[0] if axis is None else tensor.movedim(0, axis)
        outputs = self.inner(**named) if self._by_name else self.inner(*(named[name] for name in self._order))
        return list(_leaves(outputs))

    def _alone(self, tensors: Sequence[Tensor]) -> Tensor:
        return _joined([output.reshape(1, -1) for output in self._outputs(tensors)])

    def _rows(self, outputs: list[Tensor], axes: list[int], count: int) -> Tensor:
        """Return the outputs of inputs that ran together as one row each."""
        return _joined(
            [
                torch.unflatten(output, axis, (count, -1)).movedim(axis, 0).reshape(count, -1)
                for output, axis in zip(outputs, axes, strict=True)
            ]
        )

    def _found_output_axes(self, tensors: list[Tensor]) -> list[int] | None:
        """Return the axis of each output that holds the inputs; None if inputs cannot run together."""
        number = next((k for k in range(1, len(tensors[0])) if any(not torch.equal(t[0], t[k]) for t in tensors)), None)
        if number is None or None in self._axes.values():
            return None
        first, second = ([tensor[k : k + 1] for tensor in tensors] for k in (0, number))
        alone, other = self._outputs(first), self._alone(second)
        try:
            both = self._outputs([torch.cat(pair) for pair in zip(first, second, strict=True)])
        except (InputError, RuntimeError, ValueError, IndexError):
            return None
        axes = []
        for single, double in itertools.zip_longest(alone, both):
            found = [k for k in range(single.ndim) if single.shape[k] * 2 == double.shape[k : k + 1].numel()]
            longer = [k for k, (a, b) in enumerate(zip(single.shape, double.shape, strict=False)) if a != b]
            if single.ndim != double.ndim or found != longer or len(longer) != 1:
                return None
            axes += longer
        rows = self._rows(both, axes, 2)
        expected = torch.cat([_joined([output.reshape(1, -1) for output in alone]), other])
        limit = _CLOSE * float(expected.abs().max())
        same = torch.allclose(rows, expected, rtol=0, atol=limit) and not torch.equal(expected[0], expected[1])
        return axes if same else None


def _inner(network: Network, feeds: Mapping[str, Any]) -> torch.nn.Module:
    if network.module is not None:
        return network.module
    graph, guards = flatten(network.to_onnx(), network.part(feeds, 0, 1))
    return GraphModule(graph, network.parameters, guards)


def _takes_names(module: torch.nn.Module, names: list[str]) -> bool:
    """Return True if a module's forward takes these names as keywords."""
    parameters = signature(module.forward).parameters.values()
    positional = {
        each.name for each in parameters if each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    return positional.issuperset(names)


def _leaves(outputs: Any) -> Iterator[Tensor]:
    """Return the tensors of nested outputs, in order."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (Mapping, tuple, list)):
        for each in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _leaves(each)
    elif outputs is not None:
        raise InputError(
            f"the network must give tensors; found {type(outputs).__name__}; wrap it in a module that does"
        )


def _joined(parts: list[Tensor]) -> Tensor:
    """Return parts [inputs, features] beside each other, in one floating-point type."""
    dtype = next((part.dtype for part in parts if part.is_floating_point()), torch.float32)
    return torch.cat([part.to(dtype) for part in parts], 1)


@contextlib.contextmanager
def _in_evaluation(module: torch.nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while; each part has its own mode again afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class _LastSoftmax(TorchFunctionMode):
    """Record of the last softmax that runs in the context, to have its logarithms without loss."""

    def __init__(self) -> None:
        super().__init__()
        self._call: tuple[Tensor, Tensor, int, bool] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in ("softmax", "log_softmax") and isinstance(output, Tensor):
            scores = args[0] if args else kwargs["input"]
            axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if isinstance(axis, int):
                self._call = output, scores, axis, name == "log_softmax"
        return output

    def gave(self, output: Tensor) -> bool:
        """Return True if the last softmax gave this tensor, over its last axis."""
        return self._call is not None and self._call[0] is output and self._call[2] % output.ndim == output.ndim - 1

    def logarithms(self) -> Tensor:
        """Return the logarithms of the probabilities."""
        assert self._call is not None
        output, scores, axis, logarithmic = self._call
        return output if logarithmic else torch.log_softmax(scores, axis, dtype=output.dtype)
