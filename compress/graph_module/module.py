"""Module that runs a flat ONNX graph, node by node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import torch
from torch import Tensor

from compress.graph_module import (  # noqa: F401  their operators enter the table
    attention,
    elementwise,
    indexing,
    normalisation,
    pooling,
    products,
    quantisation,
    reductions,
    resizing,
    shapes,
)
from compress.graph_module.operator_table import (
    OLDEST_OPSET,
    Operator,
    find_operator,
    node_name,
    refusal,
    tensor_of,
)
from compress.graph_module.recurrent import previous_states
from traces import InputError
from traces.arrays import Numbers
from traces.graph.description import RECURRENT

Observer = Callable[[str | None, str, onnx.NodeProto, Tensor, Tensor], None]
Replacement = Callable[[str | None, onnx.NodeProto, Tensor], Tensor]
_PRODUCTS = ("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", *RECURRENT)


@dataclass(frozen=True, eq=False)
class _Call:
    """Node that is ready to run."""

    node: onnx.NodeProto
    operator: Operator
    arguments: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[tuple[int, str | None], ...]  # positions of inputs that are weights, and the parameters behind them
    finished: tuple[str, ...] = ()  # values that no later node reads

    def entering(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the inputs of the node; None for one that it leaves out."""
        return [values[name] if name else None for name in self.inputs]

    def run(self, inputs: list[Any]) -> list[Any]:
        """Return the outputs of the node."""
        try:
            results = self.operator.function(*inputs, **self.arguments)
        except (InputError, RuntimeError, IndexError, ValueError, TypeError) as error:
            found = ", ".join(str(list(each.shape)) if isinstance(each, Tensor) else "none" for each in inputs)
            raise InputError(
                f"node {node_name(self.node)!r} ({self.node.op_type}) cannot run on inputs of shapes {found}: {error}; "
                f"check the network's inputs and this node's attributes"
            ) from error
        outputs = [results] if isinstance(results, Tensor) else list(results)
        if len(outputs) < len(self.outputs):
            raise refusal(self.node, f"it names {len(self.outputs)} outputs and computes {len(outputs)}")
        return outputs


class _Namespace(torch.nn.Module):
    """Holder of the parameters whose names have a common start."""


class GraphModule(torch.nn.Module):
    """Network of a flat ONNX graph, run in PyTorch with derivatives.

    Parameters
    ----------
    graph : onnx.ModelProto
        Graph of opset 7 or later, without If, Loop and Scan. Functions of its own are inlined.
    parameters : mapping of str to array
        Values of the float initialisers that become parameters. Each has in `named_parameters` and `state_dict` exactly
        the initialiser's name. The graph may leave out their values. All other initialisers stay constants.
    guards : mapping of str to array, optional
        Values for which the graph was made flat. A run in which one differs is refused.

    Attributes
    ----------
    input_names, output_names : tuple of str
        Names, in the graph's order.
    activation_thresholds : dict of str to float
        For parameters that are weights of products, the magnitude up to which activations are zero there; at first
        none.

    Raises
    ------
    InputError
        If an operator, attribute, input or output of a node is not executed, with the node's name.

    Notes
    -----
    Each operator follows the specification of ONNX in the version of the graph's opset. Dropout and BatchNormalization
    run as in inference, in training mode too. Values of integers are computed as integers on the CPU. Derivatives pass
    straight through the rounding of QuantizeLinear.
    """

    def __init__(
        self, graph: onnx.ModelProto, parameters: Mapping[str, Numbers], guards: Mapping[str, Numbers] | None = None
    ) -> None:
        super().__init__()
        opset = _checked_opset(graph)
        if graph.functions:
            graph = onnx.inliner.inline_local_functions(graph)
        if graph.graph.sparse_initializer:
            raise InputError("initialisers must be dense; found sparse ones; make them dense")
        self._constants: dict[str, Tensor] = {
            each.name: tensor_of(each) for each in graph.graph.initializer if each.name not in parameters
        }
        given = {*parameters, *self._constants}
        self.input_names = tuple(each.name for each in graph.graph.input if each.name not in given)
        self.output_names = tuple(each.name for each in graph.graph.output)
        self._owners: dict[str, tuple[torch.nn.Module, str]] = {}
        for name, values in parameters.items():
            self._add_parameter(name, values)
        self._guards = {name: torch.tensor(values) for name, values in (guards or {}).items()}
        self._observers: list[Observer] = []
        self._replacements: list[Replacement] = []
        self.activation_thresholds: dict[str, float] = {}
        self._calls = self._prepared(
            graph.graph.node, opset, {name: np.size(values) for name, values in parameters.items()}
        )
        self._drop_unread()

    def forward(self, *tensors: Tensor, **named: Tensor) -> Tensor | dict[str, Tensor]:
        """Run the network.

        Parameters
        ----------
        *tensors, **named : Tensor
            Inputs in the graph's order, or by name.

        Returns
        -------
        Tensor or dict of str to Tensor
            The output, or the outputs by name if there are several.

        Raises
        ------
        InputError
            If an input is missing, unknown or given twice, or a node cannot run on what it gets.
        """
        values: dict[str, Any] = dict(self._constants)
        bound = self._bound(tensors, named)
        self._check_guards(bound)
        values.update(bound)
        for name, (owner, attribute) in self._owners.items():
            value = owner._parameters.get(attribute)
            values[name] = getattr(owner, attribute) if value is None else value  # it may have a parametrization
        for call in self._calls:
            inputs = call.entering(values)
            if self.activation_thresholds:
                self._apply_thresholds(call, inputs)
            if self._replacements:
                self._replace(call, inputs)
            results = call.run(inputs)
            if self._observers and call.weights:
                self._report(call, inputs, results)
            named_results = {name: result for name, result in zip(call.outputs, results, strict=False) if name}
            self._check_guards(named_results)
            values.update(named_results)
            for name in call.finished:
                del values[name]
        if len(self.output_names) == 1:
            output: Tensor = values[self.output_names[0]]
            return output
        return {name: values[name] for name in self.output_names}

    @contextlib.contextmanager
    def observing(self, callback: Observer) -> Iterator[None]:
        """Call back for each product of a weight with activations while the context lasts.

        Parameters
        ----------
        callback : callable
            Gets the parameter's name, the node's name, the node, the entering tensor and the weight tensor, for each
            run of Conv, ConvTranspose, Gemm, MatMul, Einsum, LSTM, GRU and RNN with one factor that derives from
            parameters and constants alone. The name is None if no parameter is behind it. Of several parameters, the
            largest is named. A recurrent node calls back for its input weights and for its recurrent weights; the
            hidden states [steps, directions, batch, hidden] enter these.

        Notes
        -----
        A GRU without `linear_before_reset` multiplies its recurrent weights with two different vectors; it calls back
        for its input weights only.
        """
        self._observers.append(callback)
        try:
            yield
        finally:
            self._observers.remove(callback)

    @contextlib.contextmanager
    def replacing(self, callback: Replacement) -> Iterator[None]:
        """Replace what enters each product of a weight with activations while the context lasts.

        Parameters
        ----------
        callback : callable
            Gets the parameter's name, the node and the entering tensor, as an observer does (`observing`), and returns
            the tensor that enters instead, of the same shape. Recurrent nodes are not among the products here.
        """
        self._replacements.append(callback)
        try:
            yield
        finally:
            self._replacements.remove(callback)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GraphModule:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._constants = {
            name: fn(value) if value.is_floating_point() else value for name, value in self._constants.items()
        }
        return self

    def _add_parameter(self, name: str, values: Numbers) -> None:
        """Register a parameter under its name; each dot leads into a submodule. Integers become a buffer."""
        if not name or name.startswith("."):
            raise InputError(f"a parameter's name must not start with a dot; found {name!r}; rename the initialiser")
        array = np.asarray(values)
        tensor = tensor_of(onnx.numpy_helper.from_array(array, name))
        *path, last = name.split(".")
        owner: torch.nn.Module = self
        for part in path:
            owner = owner._modules.setdefault(part, _Namespace())  # type: ignore[assignment]
        if array.dtype.kind not in "fV":  # bfloat16 is of kind V
            owner._buffers[last] = self._constants[name] = tensor
            return
        owner._parameters[last] = torch.nn.Parameter(tensor)  # without the checks for attributes' names
        self._owners[name] = (owner, last)

    def _prepared(self, nodes: Any, opset: int, sizes: dict[str, int]) -> list[_Call]:
        """Return the nodes that must run for each input; those that only have constants run here."""
        behind: dict[str, frozenset[str]] = {name: frozenset([name]) for name in self._owners}
        behind.update((name, frozenset()) for name in self._constants)
        known = {*self.input_names, *behind, ""}
        calls = []
        for node in nodes:
            unknown = [name for name in node.input if name not in known]
            if unknown:
                raise refusal(node, f"its input {unknown[0]} is the output of no earlier node")
            operator = find_operator(node, opset)
            inputs = list(node.input)
            while inputs and not inputs[-1]:
                inputs.pop()
            arguments = operator.prepared(node)
            weights = _weights(node, behind, sizes)
            call = _Call(node, operator, arguments, tuple(inputs), tuple(node.output), weights)
            known.update(node.output)
            if not all(name in behind for name in inputs if name):
                calls.append(call)
                continue
            parameters = frozenset().union(*(behind[name] for name in inputs if name))
            behind.update((name, parameters) for name in node.output if name)
            if parameters:
                calls.append(call)
            else:
                results = call.run(call.entering(self._constants))
                self._constants.update((name, each) for name, each in zip(call.outputs, results, strict=False) if name)
        missing = [name for name in self.output_names if name not in known]
        if missing:
            raise InputError(f"output {missing[0]} must be computed by a node; found none; remove it from the outputs")
        return calls

    def _drop_unread(self) -> None:
        """Note at each call which values are read last there, and drop constants that nobody reads."""
        read = set(self.output_names)
        calls = []
        for call in reversed(self._calls):
            finished = {name for name in (*call.inputs, *call.outputs) if name} - read
            read |= finished
            calls.append(replace(call, finished=tuple(finished)))
        self._calls = calls[::-1]
        self._constants = {name: value for name, value in self._constants.items() if name in read}

    def _bound(self, tensors: tuple[Tensor, ...], named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs by name."""
        expected = ", ".join(self.input_names)
        if len(tensors) > len(self.input_names):
            raise InputError(
                f"the network has {len(self.input_names)} inputs: {expected}; found {len(tensors)}; remove some"
            )
        bound = dict(zip(self.input_names, tensors, strict=False))
        for name, value in named.items():
            if name not in self.input_names or name in bound:
                reason = "given twice" if name in bound else "unknown"
                raise InputError(f"the network's inputs are {expected}; found {name}, which is {reason}; remove it")
            bound[name] = value
        missing = [name for name in self.input_names if name not in bound]
        if missing:
            raise InputError(f"the network's inputs are {expected}; found no {', '.join(missing)}; add it")
        return bound

    def _check_guards(self, values: Mapping[str, Any]) -> None:
        for name in self._guards.keys() & values.keys():
            if not torch.equal(values[name], self._guards[name]):
                raise InputError(
                    f"value {name!r}, which decides a branch or a number of iterations, must be "
                    f"{self._guards[name].tolist()} as when the graph was made flat; found {values[name].tolist()}; "
                    f"make the graph flat for these inputs"
                )

    def check_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Raise InputError unless these parameters take activation thresholds, or are tables of look-ups."""
        tables = {call.inputs[0] for call in self._calls if call.node.op_type == "Gather"}
        for name in thresholds:
            kinds = {call.node.op_type for call in self._calls for _, weight in call.weights if weight == name}
            if kinds & set(RECURRENT) or not (kinds or name in tables):
                found = ", ".join(sorted(kinds)) or "no product"
                raise InputError(
                    f"the activation threshold of {name!r} must be that of products other than recurrent ones; found "
                    f"{found}; leave it out"
                )

    def _apply_thresholds(self, call: _Call, inputs: list[Any]) -> None:
        """Set activations that enter a product to zero where its weight has a threshold that they do not exceed."""
        for position, parameter in call.weights:
            threshold = self.activation_thresholds.get(parameter or "", 0.0)
            if threshold:
                inputs[1 - position] = elementwise.shrink(inputs[1 - position], lambd=threshold)

    def _replace(self, call: _Call, inputs: list[Any]) -> None:
        for position, parameter in call.weights if call.node.op_type not in RECURRENT else ():
            for replace_input in self._replacements:
                inputs[1 - position] = replace_input(parameter, call.node, inputs[1 - position])

    def _report(self, call: _Call, inputs: list[Any], results: list[Any]) -> None:
        for position, parameter in call.weights:
            weight = inputs[position]
            if call.node.op_type not in RECURRENT:
                entering = inputs[1 - position]
            elif position == 1:
                entering = inputs[0]
            else:
                outputs = results[0].permute(1, 2, 0, 3) if call.arguments.get("layout") else results[0]
                initial = inputs[5] if len(inputs) > 5 else None
                if initial is not None and call.arguments.get("layout"):
                    initial = initial.transpose(0, 1)
                entering = previous_states(outputs, initial, call.arguments.get("direction", "forward"))
            for observer in self._observers:
                observer(parameter, node_name(call.node), call.node, entering, weight)


def _checked_opset(graph: onnx.ModelProto) -> int:
    versions = [each.version for each in graph.opset_import if each.domain in ("", "ai.onnx")]
    if not versions or versions[0] < OLDEST_OPSET:
        raise InputError(
            f"the graph's opset must be {OLDEST_OPSET} or later; found {versions[0] if versions else 'none'}; "
            f"convert it with onnx.version_converter"
        )
    return int(versions[0])


def _weights(
    node: onnx.NodeProto, behind: Mapping[str, frozenset[str]], sizes: Mapping[str, int]
) -> tuple[tuple[int, str | None], ...]:
    """Return the positions of the inputs that are weights, and the largest parameter behind each."""
    if node.op_type not in _PRODUCTS or len(node.input) < 2:
        return ()
    fixed = [name in behind for name in node.input]
    positions: list[int] = []
    if node.op_type in RECURRENT:
        both = node.op_type != "GRU" or any(each.name == "linear_before_reset" and each.i for each in node.attribute)
        positions = [position for position in ((1, 2) if both else (1,)) if fixed[position] and not fixed[0]]
    elif node.op_type != "Einsum" or len(node.input) == 2:
        positions = [position for position in (1, 0) if fixed[position] and not fixed[1 - position]]
    names = {
        position: sorted(behind[node.input[position]], key=lambda name: (-sizes[name], name)) for position in positions
    }
    return tuple((position, next(iter(found), None)) for position, found in names.items())
