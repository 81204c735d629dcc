"""The network: a graph of operations with its parameters, whichever file or module it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from traces.arrays import Integers64, Numbers
from traces.errors import InputError
from traces.graph.description import NetworkInput, NetworkLayer, OffArray, Recorded
from traces.graph.runtime import check_packages, graph_faults

if TYPE_CHECKING:
    import onnx
    import torch

    from traces.graph.layers import FlatNetwork


class Network:
    """Graph of operations with named inputs and outputs, in which every product of a weight with activations is known.

    `Network.open` makes one. The graph is ONNX; the values of its parameters are apart from it, by name. What is not a
    product of a weight with activations runs in ONNX Runtime.

    Parameters
    ----------
    name : str
        Name in reports and errors.
    graph : onnx.ModelProto
        The graph without the values of its parameters.
    parameters : mapping of str to array
        Values of the parameters.
    module : torch.nn.Module, optional
        Module that the graph was exported from.
    example : inputs, optional
        Inputs from which the vectors per input are counted.

    Attributes
    ----------
    name, graph, parameters, module
        As given.
    kept : dict
        Results that are computed once, by name.
    tracing : (inputs, lengths) or None
        Inputs that the module was traced with, and the lengths that may change, if they were named.
    """

    def __init__(
        self,
        name: str,
        graph: onnx.ModelProto,
        parameters: Mapping[str, Numbers],
        module: torch.nn.Module | None = None,
        example: Any = None,
    ) -> None:
        check_packages()
        self.name, self.graph, self.module = name, graph, module
        self.parameters: dict[str, Numbers] = dict(parameters)
        self.kept: dict[str, Any] = {}
        self.tracing: tuple[Any, Mapping[str, Mapping[int, str]]] | None = None
        self._flat: FlatNetwork | None = None
        self._example = None if example is None else self.part(self.bind(example), 0, 1)

    @classmethod
    def open(cls, source: Any, inputs: Any = None, lengths: Mapping[str, Mapping[int, str]] | None = None) -> Network:
        """Open a network.

        Parameters
        ----------
        source : torch.nn.Module, path or str
            A module; an ONNX file; or package.module:function, which gives a module, or a module and inputs.
        inputs : array, tuple of arrays, or dict of arrays, optional
            Example inputs; the first axis of each array holds the inputs. A module needs them; an ONNX file needs them
            only if they decide what is computed.
        lengths : mapping of str to mapping of int to str, optional
            For a module, the axes whose length may change from call to call, each with a name, by input, such as
            `{"tokens": {1: "steps"}, "keys": {3: "past"}}`; by default the first axis of all inputs. Axes of one name
            have one length.

        Raises
        ------
        InputError
            If the network cannot be read or traced, or has a product that is not handled.
        """
        from traces.graph.intake import open_network

        return open_network(cls, source, inputs, lengths)

    @classmethod
    def from_bytes(cls, name: str, graph: bytes, parameters: Mapping[str, Numbers]) -> Network:
        """Return the network of a graph that `graph_bytes` gave, and of values of its parameters."""
        import onnx

        check_packages()
        model = onnx.ModelProto()
        try:
            model.ParseFromString(graph)
        except Exception as error:  # protobuf's own
            raise InputError(f"{name}: its graph is damaged: {error}") from None
        from traces.graph.surgery import free_names

        needed = free_names(model.graph)
        return cls(name, model, {key: values for key, values in parameters.items() if key in needed})

    def graph_bytes(self) -> bytes:
        """Return the graph without the values of its parameters, as `from_bytes` takes it."""
        content: bytes = self.graph.SerializeToString(deterministic=True)
        return content

    def to_onnx(self) -> onnx.ModelProto:
        """Return the whole network as an ONNX model."""
        from traces.graph.surgery import restored

        return restored(self.graph, self.parameters)

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Network:
        """Return the same network, in which products of some weights take only activations above a threshold.

        Parameters
        ----------
        thresholds : mapping of str to float
            Threshold by the name of the weight. Activations whose magnitude is at most this are zero in its products.

        Raises
        ------
        InputError
            If a weight has no product, or one that takes no threshold, or the graph is of an opset before 9.
        """
        from traces.graph.thresholds import with_thresholds

        with graph_faults(self.name):
            return with_thresholds(self, thresholds)

    @cached_property
    def multiplied_elsewhere(self) -> frozenset[str]:
        """Weights of a traced module's layers and tables that are multiplied outside of calls of their layers, too."""
        from traces.graph.surgery import ELSEWHERE

        text = next((each.value for each in self.graph.metadata_props if each.key == ELSEWHERE), "[]")
        return frozenset(json.loads(text))

    # Inputs

    @cached_property
    def inputs(self) -> tuple[NetworkInput, ...]:
        """Inputs of the network, in order."""
        from traces.graph.inputs import network_inputs

        with graph_faults(self.name):
            return network_inputs(self.graph)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(value.name for value in self.graph.graph.output)

    def bind(self, inputs: Any, state: Collection[str] = ()) -> dict[str, Numbers]:
        """Return inputs as arrays by name, of the types that the network takes.

        Parameters
        ----------
        inputs : array, tuple of arrays, or dict of arrays
            Inputs, in order or by name.
        state : collection of str, optional
            Names of inputs that are earlier outputs; they may be empty, as keys and values are before the first token.

        Raises
        ------
        InputError
            If there are too many or too few, or a shape or type does not fit.
        """
        from traces.graph.inputs import bound

        return bound(self.name, self.inputs, inputs, state)

    def num_inputs(self, feeds: Mapping[str, Numbers]) -> int:
        """Return the number of inputs in bound arrays."""
        from traces.graph.inputs import count_inputs

        return count_inputs(self.inputs, feeds)

    def part(self, feeds: Mapping[str, Numbers], begin: int, end: int) -> dict[str, Numbers]:
        """Return the inputs `begin` to `end` of bound arrays."""
        return self.at(feeds, range(begin, min(end, self.num_inputs(feeds))))

    def at(self, feeds: Mapping[str, Numbers], places: Sequence[int] | Integers64) -> dict[str, Numbers]:
        """Return the inputs at these places of bound arrays."""
        total = self.num_inputs(feeds)
        chosen = {}
        for entry in self.inputs:
            values = feeds[entry.name]
            if entry.batch_axis is not None and values.shape[entry.batch_axis] == total:
                values = np.take(values, places, axis=entry.batch_axis)
            chosen[entry.name] = values
        return chosen

    # Structure

    def flat(self, feeds: Mapping[str, Numbers] | None = None) -> FlatNetwork:
        """Return the network resolved for these inputs, or for the example."""
        from traces.graph.layers import resolve

        if self._flat is None or feeds is not None:
            self._flat = resolve(self, self.example if feeds is None else feeds)
        return self._flat

    @property
    def example(self) -> dict[str, Numbers]:
        """One bound input: the first that the network was opened with, or a random one."""
        if self._example is None:
            from traces.graph.inputs import drawn_feeds

            self._example = drawn_feeds(self.inputs)
        return self._example

    @cached_property
    def _traced(self) -> tuple[list[NetworkLayer], dict[str, OffArray]]:
        from traces.graph.layers import traced

        return traced(self, self.example)

    @property
    def layers(self) -> tuple[NetworkLayer, ...]:
        """Products of a weight with activations, in the order of their first call."""
        return tuple(self._traced[0])

    @property
    def off_array(self) -> dict[str, OffArray]:
        """Everything else that is computed for one input, by operator."""
        return dict(self._traced[1])

    @cached_property
    def _static(self) -> tuple[list[NetworkLayer], dict[str, int]]:
        from traces.graph.layers import static_layers

        return static_layers(self)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Thresholds in the graph by weight, of those whose products all have the same one, above 0."""
        found: dict[str, set[float]] = {}
        for layer in self._static[0]:
            found.setdefault(layer.weight, set()).add(layer.activation_threshold)
        return {name: max(values) for name, values in found.items() if len(values) == 1 and max(values) > 0}

    @cached_property
    def weights(self) -> dict[str, NetworkLayer | None]:
        """Parameters that are multiplied or looked up in any branch, each with its first layer; None for a table."""
        layers, lookups = self._static
        weights: dict[str, NetworkLayer | None] = {}
        for layer in layers:
            weights.setdefault(layer.weight, layer)
        return weights | {name: None for name in lookups if name not in weights}

    @cached_property
    def lookups(self) -> dict[str, int]:
        """Parameters that are tables (embeddings), and the number of look-ups in the graph."""
        return dict(self.flat().lookups)

    def run(self, inputs: Any) -> dict[str, Any]:
        """Run the whole network in ONNX Runtime, all inputs, and return its outputs by name."""
        from traces.graph.layers import run_whole

        return run_whole(self, self.bind(inputs))

    def record(
        self,
        inputs: Any,
        most: int | None = None,
        after_input: Callable[[], object] = lambda: None,
        state: Mapping[str, str] | None = None,
    ) -> dict[str, Recorded]:
        """Record the vectors that enter each layer.

        Parameters
        ----------
        inputs : array, tuple of arrays, or dict of arrays
            Inputs to run.
        most : int, optional
            Largest number of vectors to keep of each layer; all by default. They are evenly spaced.
        after_input : callable, optional
            Called after each input.
        state : mapping of str to str, optional
            For each input of the network that is its own earlier output, the name of that output, as in
            `sim.simulate_network`.

        Returns
        -------
        dict of str to Recorded
            Vectors by layer.
        """
        from traces.graph.layers import record

        return record(self, self.bind(inputs, state or ()), most, after_input, state)
