"""Networks whose weights are compressed, other than those of a container."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from traces.arrangement import Arrangement
from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.description import Execution, NetworkLayer
from traces.graph.network import Network
from traces.graph.runtime import check_packages
from traces.graph.stored import StoredLayer, array_matrices
from traces.layer import CompressedLayer


@dataclass(frozen=True, eq=False)
class CompressedNetwork:
    """Network whose weights are compressed.

    Attributes
    ----------
    network : Network
        The network, with the decoded weights.
    stored_layers : Mapping[str, StoredLayer]
        Its compressed parameters by name.
    """

    network: Network
    stored_layers: Mapping[str, StoredLayer]

    @classmethod
    def of_layers(cls, layers: Sequence[CompressedLayer], name: str = "layers") -> CompressedNetwork:
        """Return the network of fully connected layers with a rectifier (ReLU) after each but the last.

        Raises
        ------
        InputError
            If there are no layers, two have one name, or one does not fit the layer before it.
        """
        if not layers:
            raise InputError(f"network {name!r} must have at least one layer")
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise InputError(f"network {name!r}: every layer needs a name of its own; found {', '.join(names)}")
        for before, after in pairwise(layers):
            if before.rows != after.columns:
                raise InputError(
                    f"network {name!r}: layer {after.name!r} must have {before.rows:,} columns, the rows of "
                    f"{before.name!r}; found {after.columns:,}"
                )
        check_packages()
        graph, parameters = _sequential(layers)
        stored = {
            f"{layer.name}.weight": StoredLayer(
                layer, layer.codes.shape, Arrangement.identity(layer.codes.shape), f"{layer.name}.bias"
            )
            for layer in layers
        }
        thresholds = {weight: entry.layer.activation_threshold for weight, entry in stored.items()}
        return cls(Network(name, graph, parameters).with_thresholds(thresholds), stored)

    @property
    def layers(self) -> list[CompressedLayer]:
        """The compressed layers, in order."""
        return [stored.layer for stored in self.stored_layers.values()]

    def array_layers(self, feeds: Mapping[str, Numbers]) -> list[tuple[NetworkLayer, list[CompressedLayer]]]:
        """Return each layer that runs on an array, in the order of its first call, with the matrix of each group.

        Parameters
        ----------
        feeds : mapping of str to numpy.ndarray
            Bound inputs, as `Network.bind` returns them.
        """
        from traces.graph.layers import resolve

        flat = resolve(self.network, feeds, lambda layer: layer.weight in self.stored_layers)
        layers = [(flat.layers[number], flat.biases[number]) for number in flat.on_array]
        return [(layer, array_matrices(layer, self.stored_layers[layer.weight], bias)) for layer, bias in layers]

    def execution(self, feeds: Mapping[str, Numbers], state: Collection[str] = ()) -> Execution:
        """Return the order in which the layers on an array are called for one input, and the feature maps.

        Parameters
        ----------
        feeds : mapping of str to numpy.ndarray
            One input, bound.
        state : collection of str, optional
            Inputs that are earlier outputs, which are no feature maps.
        """
        from traces.graph.execution import execution
        from traces.graph.layers import resolve

        flat = resolve(self.network, feeds, lambda layer: layer.weight in self.stored_layers)
        return execution(flat, feeds, state)


def _sequential(layers: Sequence[CompressedLayer]) -> tuple[Any, dict[str, Numbers]]:
    """Return the graph of fully connected layers with a ReLU after each but the last, and its parameters."""
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    parameters: dict[str, Numbers] = {}
    entering = "input"
    for number, layer in enumerate(layers):
        weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
        parameters[weight] = layer.weights()
        operands = [entering, weight]
        if layer.bias is not None or layer.free_bias is not None:
            parameters[bias] = layer.bias_values()
            operands.append(bias)
        product = f"{layer.name}/product"
        nodes.append(helper.make_node("Gemm", operands, [product], name=layer.name, transB=1))
        entering = product
        if number < len(layers) - 1:
            entering = f"{layer.name}/rectified"
            nodes.append(helper.make_node("Relu", [product], [entering]))
    nodes.append(helper.make_node("Identity", [entering], ["output"]))
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["inputs", layers[0].columns])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["inputs", layers[-1].rows])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model, parameters
