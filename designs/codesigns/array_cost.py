"""Costs of compressed layers of a network on any array, simulated on the vectors that enter them."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.networks import is_module, open_network
from compress.weight_files.network_parameters import computed_weights, network_products
from designs.codesigns.layer_counts import CountedLayer, CountsGrid, LayerCounts, LayerCountsStore
from designs.codesigns.product_runs import ProductMatrices, ProductRuns, RecordedVectors
from designs.design import Design, Packing
from designs.sweeps.evaluation import COUNTS, NETWORK_CYCLES, energies_pj, network_counts, network_of
from designs.sweeps.fitting import fitted_network
from designs.sweeps.recorded import LARGEST_ERROR
from sim import ArrayConfig, ProductShape
from sim.cost.area import area_mm2
from sim.cost.timing import clock_excess
from sim.network_schedule import network_shortfalls
from traces import CompressedLayer, InputError, Inputs, Network, NetworkLayer, StoredLayer, array_matrices
from traces.arrangement import Arrangement
from traces.arrays import Floats64, Numbers
from traces.graph.description import RECURRENT
from traces.graph.execution import execution
from traces.graph.layers import off_array, resolve

if TYPE_CHECKING:
    import torch

    from compress import CompressedModel
    from compress.modules import ModuleLayer

_RECORDED_BYTES = 2**28  # of all vectors together
_FEWEST_RECORDED = 1024
_KEPT_BYTES = 2**29  # of packed layers with their vectors
RECORDED_INPUTS = 8
_CYCLES = [COUNTS.index(name) for name in NETWORK_CYCLES]


@dataclass(frozen=True)
class ChosenLayer:
    """A compressed layer, and a key for its choice, which differs between compressions of the layer."""

    layer: CompressedLayer
    key: Hashable


@dataclass(frozen=True)
class ProductCall:
    """Call of a product of a compressed layer.

    Attributes
    ----------
    place : int
        Place among the calls of the network (`Execution.calls`).
    layer, product : str
        Names of the compressed layer and of the product.
    vectors : float
        Vectors of one group, mean per input.
    groups, rows, columns : int
        Groups, and rows and columns of one group.
    """

    place: int
    layer: str
    product: str
    vectors: float
    groups: int
    rows: int
    columns: int


@dataclass(frozen=True, eq=False)
class ArrayFigures:
    """Costs of a network on one design, mean per input; latency and energy are nan if a layer does not run.

    Attributes
    ----------
    design : Design
        The design, with fitted SRAMs if these were requested.
    latency_us, energy_nj, area_mm2 : float
        Latency and energy per input, and area.
    lacking : str
        Capacities that the network exceeds, or the reason why the array does not run it; empty if it fits whole.
    runs : mapping of str to tuple of ProductRuns
        The products of each compressed layer, in order; none if it is only looked up in, or never called.
    counts : array [layers, counts]
        COUNTS per input.
    errors : array [layers]
        Bound on the relative error of the mean cycles and energy of each layer, at a confidence level of 95 %: that of
        the counts that both follow from (`ProductRuns`).
    energies_pj : array [blocks, layers]
        Energy of each block per input, in pJ.
    """

    design: Design
    latency_us: float
    energy_nj: float
    area_mm2: float
    lacking: str
    runs: Mapping[str, tuple[ProductRuns, ...]]
    counts: Floats64
    errors: Floats64
    energies_pj: Floats64


class ArrayCost:
    """Latency, energy and SRAM of the compressed layers of a network on arrays; a `compress.planning.choices.Cost`.

    The vectors that enter each product of the network are recorded once. A compressed layer is one parameter of the
    network; its costs are those of all products that multiply it, such as the groups of a convolution, the steps of a
    recurrent layer, and all calls of a tied weight. They include what the network takes besides: port, switches, and
    loads of weights that do not stay (`sim.network_schedule`). A table of embeddings costs nothing on the array. A
    recurrent layer of which one matrix is left alone runs off the array, and costs nothing there.

    Parameters
    ----------
    network : torch.nn.Module, Network, CompressedModel, path or str
        The original network: a module, or what `Network.open` takes; or a compressed network with its graph.
    inputs : array, tuple of arrays, dict of arrays, or Inputs
        Inputs to record.
    array : ArrayConfig, optional
        Array of the costs that a plan asks for. A layer with wider codes or other gaps is simulated on the same array
        with these widths.
    largest_error : float
        Largest relative error of each layer's mean cycles and energy, at a confidence level of 95 %. A sample of its
        vectors is doubled until the error is smaller, once for each choice and packing (`ProductRuns`); 0 for all
        vectors.
    most_inputs : int
        Largest number of inputs to record, the first ones.
    layers : sequence of ModuleLayer, optional
        Compressed layers of the network, if they are not those that a plan of it has.
    counts : LayerCountsStore, optional
        Store of `layer_counts`; by default one in memory.

    Attributes
    ----------
    network : Network
        The network.
    off_array : dict of str to OffArray
        What is computed off the array for one input, by operator; products of weights left alone are part of it.

    Raises
    ------
    InputError
        If the network cannot be traced, none of its compressed layers is multiplied with activations, the array does
        not reach its clock, or it is in fixed point: a plan measures its loss in floating point.
    """

    def __init__(
        self,
        network: torch.nn.Module | Network | CompressedModel | str,
        inputs: Any,
        array: ArrayConfig | None = None,
        largest_error: float = LARGEST_ERROR,
        most_inputs: int = RECORDED_INPUTS,
        layers: Sequence[ModuleLayer] | None = None,
        counts: LayerCountsStore | None = None,
    ) -> None:
        self.array, self._largest_error = array or ArrayConfig(), largest_error
        self._store = LayerCountsStore() if counts is None else counts
        if self.array.precision != "float":
            raise InputError(
                f"a plan measures its loss in floating point, so the array of its costs must have precision='float'; "
                f"found {self.array.precision!r}; take designs.codesign or designs.fleet with this precision in the "
                f"space, which measure losses in the array's arithmetic"
            )
        excess = clock_excess(self.array)
        if excess:
            raise InputError(f"the array cannot be built: {excess}; lower the clock, or its lines and SRAMs")
        self.network, self._stored = _opened(network, inputs, most_inputs, layers)
        feeds = self.network.part(self.network.bind(inputs), 0, most_inputs)
        total = self.network.num_inputs(feeds)
        compressed = {name for stored in self._stored.values() for name in stored.names}
        first = self.network.part(feeds, 0, 1)
        flat = resolve(self.network, first, lambda layer: layer.weight in compressed)
        self.off_array = off_array(flat, first, 1)
        self._execution = execution(flat, first)
        self._multiplied = {layer.weight for layer in flat.layers}
        products: dict[str, list[NetworkLayer]] = defaultdict(list)
        for number in flat.on_array:
            products[flat.layers[number].weight].append(flat.layers[number])
        self._products = {
            name: [product for weight in stored.names for product in products[weight]]
            for name, stored in self._stored.items()
        }
        used = [product for of_layer in self._products.values() for product in of_layer]
        if not used:
            raise InputError(
                f"{self.network.name}: a layer that can be compressed must be multiplied with activations on the "
                f"array; found {', '.join(self._stored) or 'no weights'}, which are not"
            )
        vector_bytes = 4 * sum(product.groups * product.columns for product in used)
        recorded = self.network.record(feeds, max(_FEWEST_RECORDED, _RECORDED_BYTES // vector_bytes))
        self._recorded = {name: RecordedVectors(each.vectors, each.per_input, total) for name, each in recorded.items()}
        self._runs: OrderedDict[Hashable, tuple[ProductRuns, ...]] = OrderedDict()
        self._run_bytes: dict[Hashable, int] = {}

    def without_counts(self) -> ArrayCost:
        """Return the same costs with an empty store of counts in memory, so that all layers are counted again."""
        other = copy.copy(self)
        other._store = LayerCountsStore()
        other._runs, other._run_bytes = OrderedDict(), {}
        return other

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the compressed layers."""
        return tuple(self._stored)

    @property
    def dense_macs(self) -> float:
        """Multiply-accumulates of one input if no weight and no activation were zero."""
        return sum(
            product.rows * product.columns * self._recorded[product.name].per_input
            for of_layer in self._products.values()
            for product in of_layer
        )

    @property
    def shapes(self) -> list[ProductShape]:
        """Shapes for one input of the products of compressed layers, before any of their weights is left out."""
        calls = Counter(name for name, _ in self._execution.calls)
        return [
            ProductShape.of_layer(product, vectors, calls[product.name])
            for of_layer in self._products.values()
            for product in of_layer
            if (vectors := self._recorded[product.name].per_input)
        ]

    @property
    def live_words(self) -> int:
        """Largest number of activations of one input that are alive at once."""
        return self._execution.live_words

    @cached_property
    def calls(self) -> tuple[ProductCall, ...]:
        """Calls of the products of compressed layers for one input, in order."""
        layer_of = {product.name: name for name, of_layer in self._products.items() for product in of_layer}
        products = {product.name: product for of_layer in self._products.values() for product in of_layer}
        totals: Counter[str] = Counter()
        for name, vectors in self._execution.calls:
            totals[name] += vectors
        return tuple(
            ProductCall(
                place,
                layer_of[name],
                name,
                vectors * self._recorded[name].per_input / totals[name],
                products[name].groups,
                products[name].rows,
                products[name].columns,
            )
            for place, (name, vectors) in enumerate(self._execution.calls)
            if name in products
        )

    def shape(self, name: str) -> tuple[int, int]:
        """Return rows and columns of a layer as it is stored."""
        return self._stored[name].arrangement.rows, self._stored[name].arrangement.columns

    def products(self, name: str) -> tuple[str, ...]:
        """Return the names of the products of a layer, in the order of its runs."""
        return tuple(product.name for product in self._products[name])

    def network_layers(self, name: str) -> tuple[NetworkLayer, ...]:
        """Return the products of a layer as the graph has them, in the order of its runs."""
        return tuple(self._products[name])

    def kind(self, name: str) -> str:
        """Return the kinds of the products of a layer; "look-up", "off the array" or "not called" without any."""
        kinds = dict.fromkeys(product.kind for product in self._products[name])
        names = set(self._stored[name].names)
        kinds |= dict.fromkeys(["look-up"] if names & set(self.network.lookups) else [])
        return ", ".join(kinds) or ("off the array" if names & self._multiplied else "not called")

    def vectors_per_input(self, name: str) -> float:
        """Return the vectors that are multiplied with a layer for one input, in all groups, steps and calls."""
        return sum(product.groups * self._recorded[product.name].per_input for product in self._products[name])

    def __call__(self, layer: CompressedLayer, index_bits: int) -> dict[str, float]:
        """Return mean latency_us and energy_nj per input, and the sram_bytes_per_pe of the entries, of a layer.

        Port and switches are included, feature maps and loads of a layer that fits alone are not: they depend on the
        other layers.

        Parameters
        ----------
        layer : CompressedLayer
            A compressed layer of the network, by its name there.
        index_bits : int
            Bits of a gap on the array.

        Raises
        ------
        InputError
            If the network has no such layer, or the layer has another shape.
        """
        weight_bits = max(self.array.weight_bits, layer.weight_bits)
        array = replace(self.array, weight_bits=weight_bits, index_bits=index_bits)
        runs = {layer.name: self._packed(layer.name, layer, Design(array).packing)}
        products = self._by_product(runs)
        entries = max((run.fullest_pe_entries for run in products.values()), default=0)
        alone = replace(self._execution, live_words=0)
        counts = np.zeros((0, len(COUNTS)))
        if products:
            counts, _ = network_counts(network_of(layer.name, products, alone, array), list(products.values()), array)
        return {
            "latency_us": float(counts[:, _CYCLES].sum()) / array.clock_mhz,
            "energy_nj": float(energies_pj(array, counts).sum()) / 1e3,
            "sram_bytes_per_pe": entries * array.entry_bits / 8,
        }

    def work(self, layer: CompressedLayer) -> dict[str, float]:
        """Return the costs of a compressed layer that do not depend on the array: macs, entries and code_bits."""
        kept = layer.codes != 0
        macs = 0.0
        for product in self._products_of(layer):
            recorded = self._recorded[product.name]
            in_places = self._stored[layer.name].in_shape(kept).ravel()[product.places]
            activity = recorded.activity(product.activation_threshold)
            macs += float((in_places.sum(axis=1) * activity).sum()) * recorded.per_input
        return {"macs": macs, "entries": float(kept.sum()), "code_bits": float(layer.weight_bits)}

    def figures(self, layers: Mapping[str, ChosenLayer], design: Design, fit_srams: bool) -> ArrayFigures:
        """Return the costs of all layers on one design.

        The counts of a layer are kept, so that a design that differs in another layer, in SRAMs or in the clock costs
        little.

        Parameters
        ----------
        layers : mapping of str to ChosenLayer
            The compressed layers by name.
        design : Design
            The design.
        fit_srams : bool
            Give every PE the smallest SRAMs that hold the network (`designs.sweeps.fitting.fitted_network`).

        Raises
        ------
        InputError
            If an SRAM is outside the SRAM tables, or a layer is not the network's.
        """
        runs = {name: self._kept(name, chosen, design.packing) for name, chosen in layers.items()}
        products, name = self._by_product(runs), self.network.name
        if fit_srams:
            design = fitted_network(design, network_of(name, products, self._execution, design.array))
        array = design.array
        network = network_of(name, products, self._execution, array)
        exceeded = "; ".join(map(str, network_shortfalls(network, array)))
        counts, errors = np.full((len(runs), len(COUNTS)), np.nan), np.zeros(len(runs))
        try:
            of_products, _ = network_counts(network, list(products.values()), array)
        except InputError as error:  # the array does not run the network
            exceeded = str(error)
        else:
            alone = {each.name: each.running_array(array) for each in network.layers}
            begin = 0
            for number, (layer, of_layer) in enumerate(runs.items()):
                end = begin + len(of_layer)
                counts[number] = of_products[begin:end].sum(axis=0)
                names = self.products(layer)
                errors[number] = max(
                    (run.on(alone[product])[1] for product, run in zip(names, of_layer, strict=True)), default=0.0
                )
                begin = end
        self._trim(len(runs))
        energies = energies_pj(array, counts)
        latency_us = float(counts[:, _CYCLES].sum()) / array.clock_mhz
        energy_nj = float(energies.sum()) / 1e3
        return ArrayFigures(design, latency_us, energy_nj, area_mm2(array), exceeded, runs, counts, errors, energies)

    def layer_counts(self, name: str, chosen: ChosenLayer, *grids: CountsGrid) -> LayerCounts:
        """Return the counts of a compressed layer on all arrays of a grid, on which it stays in the SRAMs.

        Counts are kept in the store that was given, by the digest of what they depend on: which weights are zero, and
        the vectors that enter. A layer with another codebook and the same zeros, or a larger grid, counts only what is
        new.

        Parameters
        ----------
        name : str
            Name of the layer.
        chosen : ChosenLayer
            The compressed layer.
        *grids : CountsGrid
            Packings, queues, broadcasts and lines, of one precision; of several grids, the counts are those on the grid
            that holds all of them, where cycles and line reads of other arrays may be nan.

        Raises
        ------
        InputError
            If the layer is not the network's, or a file of the store cannot be written.
        """
        products = self._products_of(chosen.layer)
        stored = self._stored[name].stored(chosen.layer)
        numbers = {product.name: number for number, product in enumerate(products)}
        counted = CountedLayer(
            [
                (array_matrices(product, stored, self._bias_of(product)), self._recorded[product.name])
                for product in products
            ],
            [(call.place, numbers[call.product], call.vectors) for call in self.calls if call.layer == name],
            self._largest_error,
        )
        return self._store.counts(counted, *grids)

    def _by_product(self, runs: Mapping[str, Sequence[ProductRuns]]) -> dict[str, ProductRuns]:
        """Return the runs of each product of some layers, by the product's name."""
        return {
            product: run
            for layer, of_layer in runs.items()
            for product, run in zip(self.products(layer), of_layer, strict=True)
        }

    def _kept(self, name: str, chosen: ChosenLayer, packing: Packing) -> tuple[ProductRuns, ...]:
        key = (name, chosen.key, packing)
        if key not in self._runs:
            self._runs[key] = self._packed(name, chosen.layer, packing)
            self._run_bytes[key] = sum(run.num_bytes for run in self._runs[key])
        self._runs.move_to_end(key)
        return self._runs[key]

    def _trim(self, number: int) -> None:
        """Remove the runs used least recently while all together are too large; the last `number` ones stay.

        The size of those that were used last has changed with their samples.
        """
        for key in list(self._runs)[-number:]:
            self._run_bytes[key] = sum(run.num_bytes for run in self._runs[key])
        total = sum(self._run_bytes.values())
        while total > _KEPT_BYTES and len(self._runs) > number:
            key, _ = self._runs.popitem(last=False)
            total -= self._run_bytes.pop(key)

    def _packed(self, name: str, layer: CompressedLayer, packing: Packing) -> tuple[ProductRuns, ...]:
        """Return the products of a layer, packed."""
        runs = []
        for product in self._products_of(layer):
            stored = self._stored[name].stored(layer)
            matrices = array_matrices(product, stored, self._bias_of(product))
            products = ProductMatrices(matrices, self._recorded[product.name])
            runs.append(ProductRuns(products, packing, self._largest_error))
        return tuple(runs)

    def _bias_of(self, product: NetworkLayer) -> Numbers | None:
        if product.bias is None or product.bias_places is None:
            return None
        return np.asarray(self.network.parameters[product.bias]).ravel()[product.bias_places]

    def _products_of(self, layer: CompressedLayer) -> list[NetworkLayer]:
        """Return the products of a compressed layer, with its threshold of activations."""
        stored = self._stored.get(layer.name)
        if stored is None:
            raise InputError(f"{layer.name}: must be a layer of {self.network.name}, {', '.join(self._stored)}")
        expected = (stored.arrangement.rows, stored.arrangement.columns)
        if layer.codes.shape != expected:
            raise InputError(f"{layer.name}: codes must be {list(expected)}; found {list(layer.codes.shape)}")
        threshold = layer.activation_threshold
        recurrent = [product.name for product in self._products[layer.name] if product.kind in RECURRENT]
        if threshold and recurrent:
            raise InputError(
                f"{layer.name}: activation_threshold must be 0 for a recurrent layer; found {threshold:g} for "
                f"{recurrent[0]}; set it to 0"
            )
        return [
            replace(product, activation_threshold=max(product.activation_threshold, threshold))
            for product in self._products[layer.name]
        ]


@dataclass(frozen=True)
class _Stored:
    """Form in which a parameter is compressed."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    arrangement: Arrangement
    bias_name: str

    def stored(self, layer: CompressedLayer) -> StoredLayer:
        """Return a compression of the parameter."""
        return StoredLayer(layer, self.shape, self.arrangement, self.bias_name)

    def in_shape(self, matrix: Numbers) -> Numbers:
        """Return a matrix in the shape of the parameter."""
        return self.arrangement.parameter(matrix, self.shape)


def _opened(
    network: Any, inputs: Any, most_inputs: int, layers: Sequence[ModuleLayer] | None
) -> tuple[Network, dict[str, _Stored]]:
    """Return the network, and the form in which each of its layers is compressed."""
    if hasattr(network, "stored_layers"):
        forms = {
            each.layer.name: _Stored((name,), each.shape, each.arrangement, each.bias_name)
            for name, each in network.stored_layers.items()
        }
        return network.network, forms
    examples = Inputs.of(inputs)[:most_inputs] if is_module(network) else inputs
    network = open_network(network, examples)
    products = network_products(network)
    if network.module is not None and not computed_weights(network):
        from compress.modules import module_layers

        layers = module_layers(network.module, products=products)[0] if layers is None else layers
    if layers is not None:
        return network, {
            layer.name: _Stored(layer.names, tuple(layer.weight.shape), layer.arrangement, layer.bias_name)
            for layer in layers
        }
    forms = {}
    for name, (_, arrangement, _) in products.items():
        layer_name = name.removesuffix(".weight")
        forms[layer_name] = _Stored((name,), network.parameters[name].shape, arrangement, f"{layer_name}.bias")
    return network, forms
