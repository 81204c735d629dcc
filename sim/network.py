"""Simulation of a network: its products of weights with activations run on the array, everything else off it."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim.batch import PER_INPUT, BatchOutputs, BatchResult, CountsPerInput, compute_batch, simulate_batch
from sim.config import ArrayConfig
from sim.cost.constants import NOMINAL
from sim.cost.timing import warn_of_clock
from sim.dense_array import ProductShape
from sim.entropy_limits import ByteLimit, EnergyLimit, sum_of_byte_limits, sum_of_energy_limits
from sim.fixed_point import FixedPoint
from sim.limits import Limit, limit_of_network
from sim.memory import DoesNotFitWarning, Shortfall, weight_shortfalls
from sim.network_schedule import (
    SCHEDULED,
    Call,
    Residency,
    ScheduledLayer,
    ScheduledNetwork,
    check_alone,
    network_shortfalls,
    residencies,
    schedule_network,
    spilled_words,
)
from sim.network_source import compressed_network
from sim.number_formats import NumberFormats, check_formats, format_of, formats_of_packed
from sim.packing import PackedLayer, pack
from sim.weight_entropy import WeightEntropy
from traces import CompressedLayer, InputError
from traces.arrays import Floats, Floats64, Integers64, Numbers
from traces.graph.runtime import processors
from traces.plain_values import whole_number

if TYPE_CHECKING:
    from compress import CompressedModel
    from traces import Network, NetworkLayer, OffArray
    from traces.graph.compressed import CompressedNetwork
    from traces.graph.layers import FlatNetwork
    from traces.graph.products import Part, Product
    from traces.graph.stored import StoredLayer

CHUNK_BYTES = 2**26  # of one layer's vectors and outputs at a time
_SCHEDULE_BYTES = 256  # of an input and layer, while a chunk is scheduled
_OUTPUT_COUNTS = ("overflows", "saturated_activations")
_LEAST_SHARED = 2**16  # values of a batch that is worth several threads
#: Energy of 32-bit floating-point operations at 45 nm, in pJ. Source: Horowitz, ISSCC 2014, as in Table I of EIE.
HOST_ADDITION_PJ, HOST_MULTIPLICATION_PJ = 0.9, 3.7


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCosts(CountsPerInput):
    """Counts of one layer of a network, summed over the vectors of each input.

    Attributes
    ----------
    name, kind : str
        Name and kind of the layer.
    rows : int
        Rows of the weights, all groups together.
    columns : int
        Columns of the weights.
    vectors : float
        Vectors of one input in all calls of the layer, mean: output positions times groups, steps of a sequence.
    biases : float
        Broadcasts of one input that are the bias column, mean.
    largest_difference : float
        Largest difference of an output from what ONNX Runtime computes from the same activations and decoded weights,
        over all inputs, relative to the largest output.
    residency : {"resident", "passes", "streamed"}
        Whether the weights stay in the SRAMs, are loaded before the layer runs, or are loaded while others run.
    port_words, port_cycles : numpy.ndarray
        Activations that cross the port, and the cycles that they take there.
    port_wait_cycles : numpy.ndarray
        Cycles in which the array waits for the port, filling and draining included.
    switch_cycles : numpy.ndarray
        Cycles of switches to the layer.
    dram_wait_cycles : numpy.ndarray
        Cycles in which the array waits for weights or feature maps between runs.
    spill_bytes : numpy.ndarray
        Bytes of feature maps that are written to DRAM and read again.
    number_format : FixedPoint or None
        Format of its weights, activations and accumulators; None for floating point.
    num_codebooks : int
        Codebooks of all groups, which a switch to the layer writes.
    left_out : (int, int)
        Rows, and columns, without weights that a compact network leaves out; they are not among `rows` and `columns`.
    activation_threshold : float
        Magnitude up to which activations are not broadcast.

    Notes
    -----
    `cycles` are those of the array. The layer occupies it for `network_cycles`, which energy and the network's latency
    are for (`sim.network_schedule`).
    """

    name: str
    kind: str
    rows: int
    columns: int
    vectors: float
    biases: float
    largest_difference: float
    residency: Residency
    port_words: Integers64
    port_cycles: Integers64
    port_wait_cycles: Integers64
    switch_cycles: Integers64
    dram_wait_cycles: Integers64
    spill_bytes: Integers64
    number_format: FixedPoint | None = None
    left_out: tuple[int, int] = (0, 0)
    num_codebooks: int = 1
    activation_threshold: float = 0.0

    @property
    def load_bytes(self) -> Integers64:
        """Bytes of weights that are loaded from DRAM, [inputs]."""
        return self.dram_read_bytes - self.spill_bytes

    @property
    def network_cycles(self) -> Integers64:
        """Cycles for which the layer occupies the array: those of the array, of waiting and of switches, [inputs]."""
        return self.cycles + self.port_wait_cycles + self.switch_cycles + self.dram_wait_cycles

    @property
    def occupied_cycles(self) -> Integers64:
        """`network_cycles`: latency and energy are those in the network."""
        return self.network_cycles

    @property
    def activation_density(self) -> float:
        """Measured share of the vectors' values that are broadcast, without bias columns; nan without vectors."""
        inputs = self.cycles.size
        vectors = self.columns * self.vectors * inputs
        return float((self.broadcasts.sum() - self.biases * inputs) / vectors) if vectors else math.nan


@dataclass(frozen=True)
class HostCosts:
    """Costs of what is computed off the array, on a vector unit that is not the array's.

    Attributes
    ----------
    cycles : float
        Cycles per input: one value or multiply-accumulate for each lane and cycle.
    energy_pj : float
        Energy per input of the operations alone, in 32-bit floating point; memories are not counted.
    """

    cycles: float
    energy_pj: float


@dataclass(frozen=True, eq=False)
class StateCosts:
    """Costs of a state that is kept in DRAM between steps, such as keys and values of earlier tokens.

    Attributes
    ----------
    read_bytes : numpy.ndarray
        Bytes of the state that enters each step, each read once, int64 [steps].
    write_bytes : numpy.ndarray
        Bytes of the state that the step appends or changes, int64 [steps].
    energy_pj : numpy.ndarray
        Energy of these transfers, float64 [steps].
    """

    read_bytes: Integers64
    write_bytes: Integers64
    energy_pj: Floats64

    @classmethod
    def of_words(cls, read: Sequence[int], written: Sequence[int], config: ArrayConfig) -> StateCosts:
        """Return the costs of the numbers of values of each step, each as wide as an activation of the array."""
        read_bytes, write_bytes = (
            np.array(words, dtype=np.int64) * config.activation_bits // 8 for words in (read, written)
        )
        energy_pj: Floats64 = (read_bytes + write_bytes) * np.float64(NOMINAL.dram_pj_per_byte)
        return cls(read_bytes, write_bytes, energy_pj)


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """Counts and outputs of a network with many inputs.

    Attributes
    ----------
    config : ArrayConfig
        The array.
    layers : list of LayerCosts
        Counts of each layer, in the order of their first call.
    output : numpy.ndarray or dict of str to numpy.ndarray
        Output [inputs, ...]; by name if there are several. Of an output whose shape changes from step to step, that of
        the last step.
    output_difference : float
        Largest difference of an output of the network from that of ONNX Runtime on the decoded weights, relative to the
        largest value of that output.
    off_array : dict of str to OffArray
        What is computed off the array for one input, by operator: operations, values, multiply-accumulates. With a
        state, the mean of all steps.
    host : HostCosts or None
        Costs of what is computed off the array, if lanes were given.
    live_words : int
        Largest number of activations of one input that are alive at once.
    spilled_words : int
        Activations among them that are written to DRAM and read again.
    shortfalls : tuple of Shortfall
        Capacities of a PE that the whole network exceeds, if it was simulated as if it fitted.
    state_costs : StateCosts or None
        Costs of the state that is fed on, if there is one.
    shapes : tuple of ProductShape
        Shapes of the layers for one input, mean, with the rows and columns that a compact network leaves out.
    """

    config: ArrayConfig
    layers: list[LayerCosts]
    output: Any
    output_difference: float = 0.0
    off_array: Mapping[str, OffArray] = field(default_factory=dict)
    host: HostCosts | None = None
    live_words: int = 0
    spilled_words: int = 0
    shortfalls: tuple[Shortfall, ...] = ()
    state_costs: StateCosts | None = None
    shapes: tuple[ProductShape, ...] = ()

    @property
    def largest_difference(self) -> float:
        """Largest difference of all layers: see `LayerCosts.largest_difference`."""
        return max(layer.largest_difference for layer in self.layers)

    @property
    def number_formats(self) -> dict[str, FixedPoint]:
        """Format of each layer by name, as `simulate_network` takes them; empty for floating point."""
        return {layer.name: layer.number_format for layer in self.layers if layer.number_format is not None}

    @property
    def overflows(self) -> Integers64:
        """Additions of all layers that overflowed, int64 [inputs]."""
        total: Integers64 = np.sum([layer.overflows for layer in self.layers], axis=0)
        return total

    @property
    def saturated_activations(self) -> Integers64:
        """Activations of all layers that were too large for the layer's format, int64 [inputs]."""
        total: Integers64 = np.sum([layer.saturated_activations for layer in self.layers], axis=0)
        return total

    @property
    def cycles(self) -> Integers64:
        """Cycles of all layers, one after the other, with port, switches and loads, int64 [inputs]."""
        total: Integers64 = np.sum([layer.network_cycles for layer in self.layers], axis=0)
        return total

    @property
    def latency_us(self) -> Floats64:
        """Latency of each input, float64 [inputs]."""
        return self.cycles / self.config.clock_mhz

    @property
    def energy_pj(self) -> Floats64:
        """Energy of all layers with the preset `eie`, float64 [inputs]."""
        total: Floats64 = np.sum([layer.energy_pj for layer in self.layers], axis=0)
        return total

    @property
    def energy_nj(self) -> Floats64:
        """`energy_pj` in nJ, as reports show it."""
        return self.energy_pj / 1e3

    @property
    def limit(self) -> Limit:
        """Least cycles of all layers and inputs together, what sets them, and where the measured ones go."""
        return limit_of_network(self.layers)

    @property
    def energy_limit(self) -> EnergyLimit:
        """Least energy of all layers and inputs together with the preset `eie`, and where the rest goes."""
        return sum_of_energy_limits([layer.energy_limit for layer in self.layers])

    @property
    def byte_limit(self) -> ByteLimit:
        """Least bytes of the weights of all layers in the SRAMs, and where the rest goes."""
        return sum_of_byte_limits([layer.byte_limit for layer in self.layers])

    @property
    def efficiency(self) -> float:
        """Useful multiply-accumulates per PE and cycle, over all inputs."""
        macs = sum(int(layer.useful_macs.sum()) for layer in self.layers)
        return macs / (int(self.cycles.sum()) * self.config.num_pes)


@dataclass(frozen=True, eq=False)
class NetworkOutputs:
    """Outputs of a network in an array's arithmetic.

    Attributes
    ----------
    output : numpy.ndarray or dict of str to numpy.ndarray
        Output [inputs, ...]; by name if there are several.
    overflows, saturated_activations : numpy.ndarray
        Additions of all layers that overflowed, and activations too large for the layer's format, int64 [inputs].
    """

    output: Any
    overflows: Integers64
    saturated_activations: Integers64


def simulate_network(
    network: CompressedModel | CompressedNetwork | str | os.PathLike[str] | Sequence[CompressedLayer | PackedLayer],
    inputs: Any,
    config: ArrayConfig | None = None,
    *,
    state: Mapping[str, str] | None = None,
    host_lanes: int | None = None,
    packed: Mapping[str, Sequence[PackedLayer]] | None = None,
    number_formats: NumberFormats | None = None,
    after_input: Callable[[], object] = lambda: None,
) -> NetworkResult:
    """Run inputs through a compressed network whose weights are multiplied on an array.

    Parameters
    ----------
    network : CompressedModel, CompressedNetwork, path or sequence of layers
        A compressed network with its graph, or the container file of one; or fully connected layers, packed or not,
        with a rectifier (ReLU) between them.
    inputs : array, tuple of arrays, or dict of arrays
        Inputs, in order or by name; the first axis of each holds the inputs.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point, with codes as wide as the network's.
    state : mapping of str to str, optional
        For each input of the network that is its own earlier output, the name of that output. The inputs are then steps
        that follow one another; the given value enters the first step. It may be empty, and grow with each step.
    host_lanes : int, optional
        Lanes of a vector unit on which the operations off the array are costed; not costed by default.
    packed : mapping of str to sequence of PackedLayer, optional
        Packed matrices of some layers by name, one for each group.
    number_formats : mapping of str to FixedPoint, optional
        Format of each layer by name, of an array in fixed point: those of `sim.fit_formats`. By default they are fitted
        on these inputs, all of them, before the run. The measured accuracy is then that of inputs whose ranges were
        known beforehand.
    after_input : callable, optional
        Called once after each input.

    Returns
    -------
    NetworkResult
        Counts of each layer, and the outputs.

    Raises
    ------
    InputError
        If the inputs do not fit the network, the container has no graph, the network does not fit the SRAMs and
        `config.memory_mode` refuses it, weights that serve several vectors do not fit alone, or `number_formats` are of
        another arithmetic or lack a layer.

    Warns
    -----
    DoesNotFitWarning
        If the network does not fit the SRAMs whole and `config.memory_mode` is "unlimited".
    ClockWarning
        If SRAMs or logic of the array do not reach its clock (`sim.timing`).

    Notes
    -----
    Each vector that a weight is multiplied with is one run of the array: a position of a convolution, a step of a
    sequence, a token. Cycles and energy include what the network takes besides (`sim.network_schedule`): loading
    weights that do not stay, feature maps that do not fit, the port, and switches between layers. The array adds a
    layer's bias, as in `simulate`. All other operations, and products whose weights are not compressed, run in ONNX
    Runtime in floating point. The outputs of every product are compared with those of ONNX Runtime on the same decoded
    weights and activations. In fixed point, each layer has one format, and the array's results go on to the next
    layer. At most `CHUNK_BYTES` of one layer's vectors and outputs are in memory at a time, but at least those of one
    input.
    """
    compressed, given = compressed_network(network)
    config = config or wide_enough(ArrayConfig(), compressed)
    warn_of_clock(config, stacklevel=3)
    opened = compressed.network
    feeds = opened.bind(inputs, state or ())
    run = _Run(opened, compressed.stored_layers, {**given, **(packed or {})}, config, number_formats)
    result = run.result(run.all_inputs(feeds, state, after_input), host_lanes)
    warn_of_shortfalls(opened.name, result.shortfalls, stacklevel=3)
    return result


def warn_of_shortfalls(name: str, lacking: Sequence[Shortfall], stacklevel: int) -> None:
    """Warn that a network was simulated as if it fitted, if there are capacities that it exceeds."""
    if lacking:
        warnings.warn(
            f"network {name!r} was simulated as if it fitted, but exceeds {'; '.join(map(str, lacking))}; "
            f"memory_mode='resident' refuses such a network, 'passes' and 'streamed' load what does not stay",
            DoesNotFitWarning,
            stacklevel=stacklevel,
        )


def compute_network(
    network: CompressedModel | CompressedNetwork | str | os.PathLike[str] | Sequence[CompressedLayer | PackedLayer],
    inputs: Any,
    config: ArrayConfig,
    *,
    number_formats: NumberFormats | None = None,
    after_input: Callable[[], object] = lambda: None,
) -> NetworkOutputs:
    """Return the outputs of `simulate_network` alone, for the accuracy on many inputs in less time.

    Parameters
    ----------
    network, inputs, config, number_formats, after_input
        Those of `simulate_network`.

    Returns
    -------
    NetworkOutputs
        The same outputs, bit by bit; nothing is counted or compared.

    Raises
    ------
    InputError
        As `simulate_network` does.
    """
    compressed, given = compressed_network(network)
    feeds = compressed.network.bind(inputs)
    run = _Run(compressed.network, compressed.stored_layers, given, config, number_formats, counted=False)
    output = run.all_inputs(feeds, None, after_input)
    return NetworkOutputs(output, run.total("overflows"), run.total("saturated_activations"))


def wide_enough(config: ArrayConfig, network: CompressedNetwork) -> ArrayConfig:
    """Return the array with codes as wide as the widest of the network, if its own are narrower."""
    widest = max((layer.weight_bits for layer in network.layers), default=0)
    return replace(config, weight_bits=widest) if widest > config.weight_bits else config


class _Chunk(NamedTuple):
    """Counts of some inputs by layer, and each call: the layer, vectors of each group, and cycles int64 [inputs]."""

    inputs: int
    counts: dict[str, dict[str, Any]]
    calls: list[tuple[str, int, Integers64]]


class _Step(NamedTuple):
    """Costs of a step besides its products: values of the state, feature maps, and operations off the array."""

    read_words: int
    written_words: int
    live_words: int
    fullest: str
    off_array: Mapping[str, OffArray]


class _Run:
    """Simulation in progress: packed layers, and the counts of all inputs so far."""

    def __init__(
        self,
        network: Network,
        stored: Mapping[str, StoredLayer],
        packed: Mapping[str, Sequence[PackedLayer]],
        config: ArrayConfig,
        number_formats: NumberFormats | None = None,
        counted: bool = True,
    ) -> None:
        if number_formats is not None:
            check_formats(number_formats, config, stored)
        self._network, self._stored, self._config = network, stored, config
        self._formats, self._counted = number_formats, counted
        self._packed: dict[str, list[PackedLayer]] = {name: list(groups) for name, groups in packed.items()}
        self._flat: FlatNetwork | None = None
        self._layers: dict[str, NetworkLayer] = {}
        self._scheduled: dict[str, ScheduledLayer] = {}
        self._chunks: list[_Chunk] = []
        self._steps: list[_Step] = []  # one for each chunk, if there is a state
        self._differences: dict[str, Difference] = {}
        self.of_outputs: dict[str, Difference] = {}
        self._first: Mapping[str, Numbers] | None = None

    def all_inputs(
        self, feeds: Mapping[str, Numbers], state: Mapping[str, str] | None, after_input: Callable[[], object]
    ) -> Any:
        """Run all inputs, and return the output, or the outputs by name if there are several."""
        opened = self._network
        if self._formats is None and self._config.precision != "float":
            from traces.graph.compressed import CompressedNetwork

            compressed = CompressedNetwork(opened, self._stored)
            self._formats = formats_of_packed(
                compressed, feeds, self._config.activation_bits, partial(pack, config=self._config), self._packed, state
            )
        total = opened.num_inputs(feeds)
        parts: list[dict[str, Any]] = []
        last: set[str] = set()  # outputs that are no arrays of steps: scalars, and those whose shapes change
        if state:
            from traces.graph.inputs import first_state

            current = first_state(opened, feeds, state)
            feeds = {name: values for name, values in feeds.items() if name not in state}
            for place in range(total):
                one = opened.part({**feeds, **current}, place, place + 1)
                outputs, current = self.step(one | current, state)
                if parts:
                    last |= {
                        name
                        for name, value in outputs.items()
                        if np.ndim(value) == 0 or name not in parts[-1] or parts[-1][name].shape != value.shape
                    }
                    parts[-1] = {name: value for name, value in parts[-1].items() if name not in last}
                parts.append(outputs)
                after_input()
        else:
            size = self.inputs_at_once(feeds, total)
            for begin in range(0, total, size):
                count = min(size, total - begin)
                parts.append(self.chunk(opened.part(feeds, begin, begin + count), count))
                for _ in range(count):
                    after_input()
        outputs = _joined(opened, parts, last)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def step(self, feeds: Mapping[str, Numbers], state: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Numbers]]:
        """Run one step, and return its outputs and the state that enters the next one; its counts are kept."""
        from traces.graph.execution import feature_maps
        from traces.graph.inputs import next_state
        from traces.graph.layers import off_array

        outputs = self.chunk(feeds, 1)
        following = next_state(self._network, outputs, state)
        if self._counted:
            assert self._flat is not None
            words = [(feeds[name].size, _written_words(feeds[name], value)) for name, value in following.items()]
            read, written = (sum(each) for each in zip(*words, strict=True))
            maps = feature_maps(self._flat, feeds, state)
            self._steps.append(_Step(read, written, *maps, off_array(self._flat, feeds, 1)))
        return outputs, following

    def inputs_at_once(self, feeds: Mapping[str, Numbers], total: int) -> int:
        """Return how many inputs run at once: 1 unless each vector's input is known, and few enough for memory."""
        from traces.graph.layers import check_independent, chunked

        check_independent(self._network, feeds)
        self._first = self._network.part(feeds, 0, 1)
        flat = self._resolved(self._first)
        largest = _SCHEDULE_BYTES * len(self._layers)

        def measuring(part: Part, vectors: Floats) -> Floats:
            nonlocal largest
            groups = self._packed[flat.layers[flat.layer_of_part[id(part)]].name]
            products = np.zeros((*vectors.shape[:2], groups[0].layer.rows), dtype=vectors.dtype)
            # float32 vectors; accumulators of 8 bytes, products and outputs of 4
            largest = max(largest, 4 * vectors.size + 16 * products.size)
            return products

        if total == 1 or not chunked(self._network, feeds, flat, measuring):
            return 1
        return int(max(1, min(total, CHUNK_BYTES // max(1, largest))))  # no layers take nothing

    def chunk(self, feeds: Mapping[str, Numbers], count: int) -> dict[str, Any]:
        """Run a chunk of inputs and return the outputs by name; their counts are kept."""
        from traces.graph.program import GuardError

        self._first = self._first or self._network.part(feeds, 0, 1)
        try:
            return self._simulated(self._resolved(feeds), feeds, count)
        except GuardError:  # another branch, or another number of iterations
            self._flat = None
            return self._simulated(self._resolved(feeds), feeds, count)

    def _resolved(self, feeds: Mapping[str, Numbers]) -> FlatNetwork:
        if self._flat is None:
            from traces.graph.layers import resolve

            self._flat = resolve(self._network, feeds, lambda layer: layer.weight in self._stored)
            for number in self._flat.on_array:
                self._pack(self._flat, number)
            if self._layers and self._config.memory_mode == "resident":
                residencies(self.scheduled(), self._config)
        return self._flat

    def _pack(self, flat: FlatNetwork, number: int) -> None:
        from traces.graph.stored import array_matrices

        layer = flat.layers[number]
        before = self._layers.get(layer.name, layer)
        same = layer.bias == before.bias and layer.activation_threshold == before.activation_threshold
        if not same or not np.array_equal(layer.places, before.places):
            raise InputError(
                f"{self._network.name}: layer {layer.name!r} has other weights in another branch, which is not "
                f"handled; give inputs that take one branch"
            )
        self._layers[layer.name] = layer
        self._format_of(layer.name)  # is refused before anything is simulated
        if layer.name not in self._packed:
            matrices = array_matrices(layer, self._stored[layer.weight], flat.biases[number])
            self._packed[layer.name] = [pack(matrix, self._config) for matrix in matrices]
        groups = self._packed[layer.name]
        self._scheduled[layer.name] = ScheduledLayer.of_groups(layer.name, groups, self._config)

    def _simulated(self, flat: FlatNetwork, feeds: Mapping[str, Numbers], count: int) -> dict[str, Any]:
        counts: dict[str, dict[str, Any]] = {}
        calls: list[tuple[str, int, Integers64]] = []

        def multiply(part: Part, vectors: Floats) -> Floats:
            layer = flat.layers[flat.layer_of_part[id(part)]]
            several = 1 if vectors.shape[1] == count and layer.name not in counts else 2
            check_alone(self._scheduled[layer.name], several, self._config)
            batches = self._simulate_all(layer.name, vectors)
            sums = _sums([parts for parts, _ in batches], count)
            if self._counted:
                calls.append((layer.name, vectors.shape[1] // count, sums["cycles"]))
            sums["vectors"] = vectors.shape[0] * vectors.shape[1]
            before = counts.get(layer.name)
            counts[layer.name] = sums if before is None else {name: before[name] + sums[name] for name in sums}
            return _stacked([output for _, output in batches]).astype(vectors.dtype, copy=False)

        def compare(product: Product, entering: Sequence[Any], leaving: Sequence[Any]) -> None:
            expected = flat.program.framework_outputs(product, entering)
            difference = Difference()
            for value, wanted in zip(leaving, expected, strict=True):
                difference.add(value, wanted)
            for name in {flat.layers[flat.layer_of_part[id(part)]].name for part in product.parts}:
                self._differences.setdefault(name, Difference()).join(difference)

        outputs = flat.program.run(feeds, multiply, compare if self._counted else None)
        self._chunks.append(_Chunk(count, counts, calls))
        if self._counted:
            from traces.graph.layers import whole_session

            expected = whole_session(self._network).run(feeds)
            for name, value in outputs.items():
                self.of_outputs.setdefault(name, Difference()).add(value, expected[name])
        return outputs

    def _format_of(self, name: str) -> FixedPoint | None:
        return None if self._formats is None else format_of(self._formats, name)

    def _simulate_all(self, name: str, vectors: Floats) -> list[tuple[dict[str, Integers64], Floats]]:
        """Return the counts of all vectors by name, and the outputs, of each group; large batches use threads."""
        groups, number_format = self._packed[name], self._format_of(name)
        config = self._scheduled[name].running_array(self._config)
        shares = min(processors(), vectors.shape[1]) if vectors.size > _LEAST_SHARED else 1

        run_batch: Callable[..., BatchResult | BatchOutputs] = simulate_batch if self._counted else compute_batch
        names = PER_INPUT if self._counted else _OUTPUT_COUNTS

        def of_group(number: int) -> list[BatchResult | BatchOutputs]:
            parts = np.array_split(vectors[number], shares)
            return list(
                _threads().map(lambda part: run_batch(groups[number], part, config, number_format), parts)
                if shares > 1
                else [run_batch(groups[number], vectors[number], config, number_format)]
            )

        batches = [of_group(number) for number in range(len(groups))]
        return [
            (
                {name: _of_all([getattr(part, name) for part in parts]) for name in names},
                _of_all([part.output for part in parts]),
            )
            for parts in batches
        ]

    def off_array(self) -> Mapping[str, OffArray]:
        """Return what was computed off the array for one input of the first chunk, or the mean of all steps."""
        from traces.graph.layers import off_array

        if self._steps:
            return _mean([step.off_array for step in self._steps])
        assert self._flat is not None
        assert self._first is not None
        return off_array(self._flat, self._first, 1)

    def total(self, name: str) -> Integers64:
        """Return the sum of a count over all layers, int64 [inputs]."""
        sums = [
            sum((counts[name] for counts in chunk.counts.values()), start=np.zeros(chunk.inputs, dtype=np.int64))
            for chunk in self._chunks
        ]
        return np.concatenate(sums)

    def scheduled(self) -> ScheduledNetwork:
        """Return the network as its schedule needs it, with the calls of the first inputs once they have run."""
        from traces.graph.execution import feature_maps

        if not self._layers:
            raise InputError(f"network {self._network.name!r} has no compressed layer to run on the array")
        assert self._flat is not None
        assert self._first is not None
        names = list(self._layers)
        live_words, fullest = (
            max((step[2:4] for step in self._steps), key=lambda each: each[0])
            if self._steps
            else feature_maps(self._flat, self._first)
        )
        layers = tuple(self._scheduled[name] for name in names)
        calls = tuple(
            Call(names.index(name), vectors) for chunk in self._chunks[:1] for name, vectors, _ in chunk.calls
        )
        return ScheduledNetwork(self._network.name, layers, calls, live_words, names.index(fullest))

    def result(self, output: Any, host_lanes: int | None) -> NetworkResult:
        """Return the counts of all inputs so far, with their output, and free them."""
        config = self._config
        off_array = self.off_array()
        scheduled = self.scheduled()
        shapes = self.shapes()
        read, written = ([getattr(step, name) for step in self._steps] for name in ("read_words", "written_words"))
        result = NetworkResult(
            config=config,
            layers=self.costs(scheduled),
            output=output,
            output_difference=max((each.relative for each in self.of_outputs.values()), default=0.0),
            off_array=off_array,
            host=None if host_lanes is None else _host_costs(off_array, host_lanes),
            live_words=scheduled.live_words,
            spilled_words=spilled_words(scheduled, config),
            shortfalls=network_shortfalls(scheduled, config) if config.memory_mode == "unlimited" else (),
            state_costs=StateCosts.of_words(read, written, config) if self._steps else None,
            shapes=shapes,
        )
        self.clear()
        return result

    def clear(self) -> None:
        """Free the counts of all inputs so far."""
        for kept in (self._chunks, self._steps, self._differences, self.of_outputs):
            kept.clear()
        self._first = None

    def shapes(self) -> tuple[ProductShape, ...]:
        """Return the shapes of the layers that were called, for one input, mean."""
        inputs = sum(chunk.inputs for chunk in self._chunks)
        calls = Counter(name for chunk in self._chunks[:1] for name, _, _ in chunk.calls)
        vectors: Counter[str] = Counter()
        for chunk in self._chunks:
            vectors.update({name: counts["vectors"] for name, counts in chunk.counts.items()})
        return tuple(
            ProductShape.of_layer(layer, vectors[name] / layer.groups / inputs, calls[name])
            for name, layer in self._layers.items()
            if vectors[name]
        )

    def costs(self, network: ScheduledNetwork) -> list[LayerCosts]:
        """Return the counts of each layer over all inputs, and free them; call it once."""
        if not self._chunks:
            raise RuntimeError("the counts of this run were taken before")
        config, names = self._config, list(self._layers)
        residency = residencies(network, config)
        total = sum(chunk.inputs for chunk in self._chunks)
        per_input = [{key: np.zeros(total, dtype=np.int64) for key in (*PER_INPUT, *SCHEDULED)} for _ in names]
        all_vectors = dict.fromkeys(names, 0)
        begin = 0
        for place in range(len(self._chunks)):
            chunk = self._chunks.pop(0)  # many inputs and layers take much memory
            calls = tuple(Call(names.index(name), vectors) for name, vectors, _ in chunk.calls)
            cycles = [cycles for _, _, cycles in chunk.calls]
            of_chunk = replace(network, calls=calls)
            if self._steps:
                step = self._steps[place]
                of_chunk = replace(of_chunk, live_words=step.live_words, fullest_layer=names.index(step.fullest))
            times = schedule_network(of_chunk, cycles, config, residency)
            of_layers = times.counts(network, config)
            end = begin + chunk.inputs
            for number, name in enumerate(names):
                counted = chunk.counts.get(name, {})
                for key, values in per_input[number].items():
                    if key in of_layers:
                        values[begin:end] = of_layers[key][number] + counted.get(key, 0)
                    elif key in counted:
                        values[begin:end] = counted[key]
                all_vectors[name] += counted.get("vectors", 0)
            begin = end
        costs = []
        for number, (name, layer) in enumerate(self._layers.items()):
            groups, scheduled = self._packed[name], self._scheduled[name]
            vectors = all_vectors[name] / total
            costs.append(
                LayerCosts(
                    config=config,
                    name=name,
                    kind=layer.kind,
                    rows=layer.rows,
                    columns=layer.columns,
                    vectors=int(vectors) if vectors == int(vectors) else vectors,
                    biases=vectors if groups[0].layer.bias is not None else 0,
                    largest_difference=self._differences[name].relative if name in self._differences else 0.0,
                    number_format=self._format_of(name),
                    left_out=layer.left_out,
                    num_codebooks=scheduled.codebook_writes,
                    activation_threshold=layer.activation_threshold,
                    stored_entries=sum(group.stored_entries for group in groups),
                    padding_entries=sum(group.padding_entries for group in groups),
                    stored_lines=scheduled.image.all_lines,
                    stored_pointers=scheduled.image.all_pointers,
                    entropy=WeightEntropy(group.layer for group in groups),
                    shortfalls=weight_shortfalls(scheduled.image, config) if config.memory_mode == "unlimited" else (),
                    residency=residency[number],
                    **per_input[number],
                )
            )
        return costs


@dataclass(eq=False)
class Difference:
    """Largest difference of arrays from others, beside the largest value of these, over many runs."""

    largest: float = 0.0
    scale: float = 0.0

    @property
    def relative(self) -> float:
        """Largest difference, relative to the largest value; absolute if all values are 0."""
        return self.largest / self.scale if self.scale > 0 else self.largest

    def add(self, values: Any, expected: Any) -> None:
        """Take account of one array and the expected one; another shape counts as an infinite difference."""
        if np.shape(values) != np.shape(expected):
            self.largest = math.inf
            return
        if np.asarray(values).dtype == np.asarray(expected).dtype == np.float32:
            from sim.batch_kernels import compare

            first, second = np.ascontiguousarray(values).reshape(-1), np.ascontiguousarray(expected).reshape(-1)
            self.join(Difference(*compare(first, second)))
            return
        first, second = np.asarray(values, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.where(first == second, 0.0, np.abs(first - second))  # infinities may be equal
        finite = np.abs(second[np.isfinite(second)])
        self.join(Difference(float(difference.max(initial=0.0)), float(finite.max(initial=0.0))))

    def join(self, other: Difference) -> None:
        """Take account of what another one has seen."""
        self.largest = max(self.largest, math.inf if math.isnan(other.largest) else other.largest)
        self.scale = max(self.scale, other.scale)


def _of_all(parts: Sequence[Numbers]) -> Numbers:
    """Return the arrays of all parts of the inputs as one."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _stacked(outputs: Sequence[Floats]) -> Floats:
    """Return the outputs of all groups [groups, vectors, rows]; outputs of one row may lie side by side in memory."""
    if len(outputs) == 1:
        return outputs[0][np.newaxis]
    if all(output.T.flags.c_contiguous for output in outputs):
        return np.stack([output.T for output in outputs]).transpose(0, 2, 1)
    return np.stack(outputs)


def _written_words(before: Numbers, after: Numbers) -> int:
    """Return the values of a state that a step appends or changes; all of them if one of its lengths shrinks."""
    if any(now < then for now, then in zip(after.shape, before.shape, strict=True)):
        return after.size
    front = after[tuple(slice(length) for length in before.shape)]
    changed = np.ascontiguousarray(front).view(np.uint8) != np.ascontiguousarray(before).view(np.uint8)
    bytes_each = before.dtype.itemsize
    return after.size - before.size + int(changed.reshape(-1, bytes_each).any(axis=1).sum())


def _mean(steps: Sequence[Mapping[str, OffArray]]) -> dict[str, OffArray]:
    """Return the mean of what steps compute off the array, by operator."""
    from traces import OffArray

    names = sorted({name for step in steps for name in step})
    return {
        name: OffArray(*(round(sum(each) / len(steps)) for each in zip(*of_name, strict=True)))
        for name in names
        for of_name in [[step.get(name, OffArray(0, 0, 0)) for step in steps]]
    }


def _joined(network: Network, parts: list[dict[str, Any]], last: Collection[str]) -> dict[str, Any]:
    from traces.graph.layers import joined

    return joined(network, parts, last)


def _host_costs(off_array: Mapping[str, OffArray], lanes: int) -> HostCosts:
    lanes = whole_number("host_lanes", lanes, 1)
    values = sum(each.elements for each in off_array.values())
    macs = sum(each.macs for each in off_array.values())
    energy_pj = values * HOST_ADDITION_PJ + macs * (HOST_ADDITION_PJ + HOST_MULTIPLICATION_PJ)
    return HostCosts((values + macs) / lanes, energy_pj)


def _sums(counts: Sequence[Mapping[str, Integers64]], inputs: int) -> dict[str, Any]:
    """Sum the counts over groups and vectors, [inputs] each."""
    return {
        name: np.sum([of_group[name].reshape(inputs, -1).sum(axis=1) for of_group in counts], axis=0)
        for name in counts[0]
    }


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(processors())
