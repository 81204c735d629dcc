"""Networks of any source, as compression takes them: a graph, or a PyTorch module with the inputs it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.config import CompressionConfig
from compress.container.model import CompressedModel
from compress.weight_files.network_parameters import Products, computed_weights, network_products
from compress.weight_files.reading import read_parameters
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Integers64, Numbers
from traces.function_names import named_function, network_and_inputs
from traces.graph.description import COMPUTED

if TYPE_CHECKING:
    import torch

_EXAMPLES = 8  # inputs that a module is traced with


def is_module(network: Any) -> bool:
    """Return True if this is a torch.nn.Module; PyTorch is not imported for the answer."""
    names = (f"{kind.__module__}.{kind.__name__}" for kind in type(network).__mro__)
    return "torch.nn.modules.module.Module" in names


def is_function(network: Any) -> bool:
    """Return True if this is package.module:function and no file."""
    return isinstance(network, str) and ":" in network and not os.path.exists(network)


def network_source(network: Any, weights: str | os.PathLike[str] | None = None) -> tuple[Any, Any]:
    """Return a module or an opened network, whichever source it has, and the inputs that come with it, or None.

    Parameters
    ----------
    network : torch.nn.Module, Network, path or str
        A module; an opened network; an ONNX file; or package.module:function, which gives a module, or a module and
        inputs.
    weights : path, optional
        File of parameters to load into the module that a function gives.

    Raises
    ------
    InputError
        If the network cannot be read, or the parameters are not those of the network.
    """
    if is_function(network):
        module, inputs = network_and_inputs(named_function(network)())
        if not is_module(module):
            raise InputError(f"{network} must give a torch.nn.Module; found {type(module).__name__}")
        if weights is not None:
            load_parameters(module, read_parameters(weights), f"{weights}: must hold the parameters of {network}")
        return module.eval(), inputs
    if weights is not None:
        raise InputError(f"weights are loaded into the module that a function gives; {network} has its own")
    if isinstance(network, Network):
        return (network if network.module is None else network.module), None
    return (network if is_module(network) else Network.open(network)), None


def load_parameters(module: torch.nn.Module, parameters: Mapping[str, Numbers], must: str) -> None:
    """Load parameters and buffers by name. Raises InputError, beginning with `must`, if names or shapes differ."""
    import torch

    try:
        module.load_state_dict({name: torch.from_numpy(np.asarray(values)) for name, values in parameters.items()})
    except RuntimeError as error:  # torch says which names are missing, unknown or of another shape
        raise InputError(f"{must}: {' '.join(str(error).split())}") from None


def open_network(
    network: Any, inputs: Any = None, weights: str | os.PathLike[str] | None = None, fold: bool = False
) -> Network:
    """Open a network, whichever source it has.

    Parameters
    ----------
    network, weights
        As `network_source` takes them.
    inputs : array, tuple of arrays, dict of arrays, or Inputs
        Example inputs, which a module needs.
    fold : bool
        True to fold the normalisation of a module into its layers. Lengths that an opened network leaves open stay
        open: it is traced again with the inputs that it was opened with.

    Returns
    -------
    Network
        The network. Its module, if there is one, is an independent copy in evaluation mode with plain parameters.

    Raises
    ------
    InputError
        If the network cannot be read or traced, or has a product that is not handled.
    """
    inputs = getattr(inputs, "given", inputs)
    if isinstance(network, Network) and (network.module is None or not fold):
        return network
    if isinstance(network, str | os.PathLike) and not is_function(network) and weights is None:
        return Network.open(network, inputs)
    source, given = network_source(network, weights)
    if isinstance(source, Network):
        return source
    from compress.modules import plain_module

    module = plain_module(source).eval()
    if fold:
        from compress.training.normalisation import fold_normalisation

        fold_normalisation(module)
    if isinstance(network, Network) and network.tracing is not None:
        opened = Network.open(module, *network.tracing)
    else:
        opened = Network.open(module, given if inputs is None else inputs)
    opened.name = network if isinstance(network, str) else type(source).__name__
    return opened


@dataclass(frozen=True, eq=False)
class PlannedNetwork:
    """Network as plans are made of it.

    Attributes
    ----------
    module : torch.nn.Module
        Module that is analysed and compressed.
    products : Mapping[str, (str, Arrangement)] or None
        Parameters that are multiplied or looked up; None if only the types of layers tell them.
    network : Network or None
        Graph of the module as plans have it, its normalisation folded.
    """

    module: torch.nn.Module
    products: Products | None
    network: Network | None

    @classmethod
    def of(
        cls, network: Any, pool: AnyInputs, weights: str | os.PathLike[str] | None = None, graph: bool = True
    ) -> PlannedNetwork:
        """Return any network as plans are made of it.

        Parameters
        ----------
        network, weights
            As `network_source` takes them.
        pool : inputs
            Inputs of the network.
        graph : bool
            False to leave a module untraced; its layers are then known by their types.
        """
        if isinstance(network, str | os.PathLike) and not is_function(network) and weights is None:
            source: Any = Network.open(network, given_inputs(pool))
        elif graph and isinstance(network, Network) and network.tracing is not None:
            opened = open_network(network, fold=True)  # the graph tells the axes of the inputs, and of open lengths
            source = Network(network.name, opened.graph, opened.parameters, None, opened.example)
        else:
            source, _ = network_source(network, weights)
        if not isinstance(source, Network):
            from compress.modules import check_parameters

            check_parameters(source)
            if not graph:
                return cls(source, None, None)
            opened = open_network(source, Inputs.of(pool)[:_EXAMPLES], fold=True)
            opened.name = network if isinstance(network, str) else type(source).__name__
            if not computed_weights(opened):
                return cls(source, network_products(opened), opened)
            source = Network(opened.name, opened.graph, opened.parameters)
        from compress.graph_outputs import GraphOutputs
        from traces.graph.layers import check_independent

        feeds = source.bind(given_inputs(pool))
        check_independent(source, feeds)
        return cls(GraphOutputs(source, feeds).eval(), network_products(source), source)

    @classmethod
    def beside(cls, model: CompressedModel, network: Any, inputs: AnyInputs) -> PlannedNetwork:
        """Return the original network of a compressed model; it is traced only if needed."""
        names = [name for of_layer in model.weight_names for name in of_layer]
        if model.thresholds_elsewhere:  # which a module cannot apply
            network = _graph_of_module(model, network, Inputs.of(inputs)[:_EXAMPLES])
        is_stepping = isinstance(network, Network) and network.tracing is not None  # its axes of inputs are the graph's
        return cls.of(network, inputs, graph=is_stepping or any(name.startswith(COMPUTED) for name in names))

    def inputs(self, values: AnyInputs) -> Inputs:
        """Return inputs as the module takes them: the first axis of each array holds the inputs."""
        from compress.graph_outputs import GraphOutputs

        if not isinstance(self.module, GraphOutputs) or self.network is None:
            return Inputs.of(values)
        return self.module.in_front(self.network.bind(given_inputs(values)))

    def graph_inputs(self, values: AnyInputs, places: Sequence[int] | Integers64) -> dict[str, Numbers]:
        """Return the inputs at these places as the graph takes them, by name; places beyond the last are left out."""
        from compress.graph_outputs import GraphOutputs

        assert self.network is not None
        if not isinstance(self.module, GraphOutputs):
            inputs = Inputs.of(values)
            return self.network.bind(inputs[[place for place in places if place < len(inputs)]])
        feeds = self.network.bind(given_inputs(values))
        total = self.network.num_inputs(feeds)
        return self.network.at(feeds, [place for place in places if place < total])


def _graph_of_module(model: CompressedModel, network: Any, inputs: Inputs) -> Network:
    """Return the graph of the module that a model was made of; its normalisation is folded if the model's is.

    It has the tensors of the module that the graph does not use, too, since the model holds them.
    """
    from traces.torch_modules import named_tensors

    held = model.state()
    opened = open_network(network, inputs)
    if not opened.parameters.keys() <= held.keys():
        opened = open_network(network, inputs, fold=True)
    tensors = {} if opened.module is None else named_tensors(opened.module, every_name=True)
    unused = {name: values.detach().numpy() for name, values in tensors.items() if name in held}
    return Network(opened.name, opened.graph, {**unused, **opened.parameters}, None, opened.example)


def given_inputs(values: AnyInputs) -> Any:
    """Return inputs as `Network.bind` takes them; arrays of an .npz file without names are taken by their order."""
    if not isinstance(values, str | os.PathLike):
        return getattr(values, "given", values)
    from traces.files.npz import read_npy, read_npz

    if not str(values).endswith(".npz"):
        return read_npy(values)
    arrays = read_npz(values)
    return tuple(arrays.values()) if list(arrays) == [f"arr_{number}" for number in range(len(arrays))] else arrays


def with_graph(model: CompressedModel, network: Network, config: CompressionConfig | None = None) -> CompressedModel:
    """Return a model with the graph of its network, and with the activation thresholds that the graph has.

    A layer that the graph does not call has the threshold 0. Raises InputError if the model lacks a parameter of the
    graph, the graph a product that takes a threshold, or the config names a layer with a threshold that the graph does
    not call.
    """
    held = {*model.decoded_parameters(), *model.tensors}
    missing = [name for name in network.parameters if name not in held]
    if missing:
        raise InputError(
            f"{network.name}: the model must hold the parameters of the graph; it lacks {', '.join(missing)}"
        )
    uncalled = {}
    for layer, names in zip(model.layers, model.weight_names, strict=True):
        if layer.activation_threshold and not any(name in network.parameters for name in names):
            if config is not None and "activation_threshold" in config.layers.get(layer.name, {}):
                raise InputError(
                    f"layer {layer.name!r}: activation_threshold has no effect, since the network does not call the "
                    f"layer; leave it out"
                )
            uncalled[layer.name] = 0.0
    model = model.with_thresholds(uncalled).with_graph(network.graph_bytes())
    if any(layer.activation_threshold for layer in model.layers):
        _ = model.network  # which refuses a threshold that no product takes
    return model
