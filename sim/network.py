"""Simulation of a network: its matrix products run on the array, the steps between them off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.batch import PER_INPUT, BatchResult, CountsPerInput, simulate_batch
from sim.config import ArrayConfig
from sim.memory import shortfalls
from sim.packing import PackedLayer, pack
from traces import CompressedLayer, InputError
from traces.arrays import Floats32, Floats64, Integers64, Numbers
from traces.network import INPUT, LayerStep, Network

CHUNK_BYTES = 2**27  # of one layer's vectors and outputs at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCosts(CountsPerInput):
    """Counts of one layer of a network, summed over the vectors of each input.

    Attributes
    ----------
    name : str
        Name of the layer.
    rows : int
        Rows of the weights, all groups together.
    columns : int
        Columns of the weights.
    vectors : int
        Vectors of one input: output positions times groups, 1 for a fully connected layer.
    biases : int
        Broadcasts of one input that are the bias column.
    """

    name: str
    rows: int
    columns: int
    vectors: int
    biases: int

    @property
    def activation_density(self) -> float:
        """Measured share of non-zero values in the vectors, without bias columns."""
        broadcasts = int(self.broadcasts.sum()) - self.biases * self.cycles.size
        return broadcasts / (self.columns * self.vectors * self.cycles.size)


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """Counts and outputs of a network with many inputs.

    Attributes
    ----------
    config : ArrayConfig
        The array.
    layers : list of LayerCosts
        Counts of each layer, in order.
    output : numpy.ndarray
        Output of the last step, float32 [inputs, ...].
    """

    config: ArrayConfig
    layers: list[LayerCosts]
    output: Floats32

    @property
    def cycles(self) -> Integers64:
        """Cycles of all layers, one after the other, int64 [inputs]."""
        total: Integers64 = np.sum([layer.cycles for layer in self.layers], axis=0)
        return total

    @property
    def latency_us(self) -> Floats64:
        """Latency of each input, float64 [inputs]."""
        return self.cycles / self.config.clock_mhz

    @property
    def energy_pj(self) -> Floats64:
        """Energy of all layers with the preset `eie-45nm`, float64 [inputs]."""
        total: Floats64 = np.sum([layer.energy_pj for layer in self.layers], axis=0)
        return total

    @property
    def energy_nj(self) -> Floats64:
        """`energy_pj` in nJ, as reports show it."""
        return self.energy_pj / 1e3

    @property
    def efficiency(self) -> float:
        """Useful multiply-accumulates per PE and cycle, over all inputs."""
        macs = sum(int(layer.useful_macs.sum()) for layer in self.layers)
        return macs / (int(self.cycles.sum()) * self.config.num_pes)


def simulate_network(
    network: Network | Sequence[CompressedLayer | PackedLayer],
    inputs: npt.ArrayLike,
    config: ArrayConfig | None = None,
    after_input: Callable[[], object] = lambda: None,
) -> NetworkResult:
    """Run inputs through a network; each layer takes the outputs of the steps before it.

    Parameters
    ----------
    network : Network or sequence of layers
        A `traces.Network`, or fully connected layers, packed or not, with a rectifier (ReLU) between them.
    inputs : array_like
        Inputs, float32 [inputs, ...], each of the network's input shape.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.
    after_input : callable, optional
        Called once after each input.

    Returns
    -------
    NetworkResult
        Counts of each layer, and the outputs.

    Raises
    ------
    InputError
        If the inputs do not fit the network, or a convolution does not stay on the array: its weights serve all
        positions.

    Notes
    -----
    A convolution is one matrix-vector product for each output position and group. The array adds a layer's own bias, as
    in `simulate`. Pooling, concatenation and the bias of a step (`LayerStep.bias`) are computed off the array, in
    floating point, and cost nothing here. In fixed point, a format is fitted to each layer and its inputs, chunk by
    chunk of the network's inputs.
    """
    config = config or ArrayConfig()
    network, packed = _packed_network(network, config)
    try:
        array = np.asarray(inputs)
    except ValueError as error:
        raise InputError(f"network {network.name!r}: all inputs must be of one shape; they are ragged") from error
    if array.shape[1:] != network.input_shape or not len(array) or array.dtype.kind not in "fiub":
        raise InputError(
            f"network {network.name!r}: inputs must be real numbers [inputs, "
            f"{', '.join(map(str, network.input_shape))}], at least one input; found {array.dtype} {list(array.shape)}"
        )
    chunk = _inputs_at_once(network)
    outputs, costs = [], []
    for begin in range(0, len(array), chunk):
        part = array[begin : begin + chunk]
        output, layer_costs = _run(network, packed, part, config)
        outputs.append(output)
        costs.append(layer_costs)
        for _ in range(len(part)):
            after_input()
    layers = []
    for step, *chunks in zip(packed, *costs, strict=True):
        groups = packed[step]
        layer = groups[0].layer
        layers.append(
            LayerCosts(
                config=config,
                name=step,
                rows=layer.rows * len(groups),
                columns=layer.columns,
                vectors=chunks[0]["vectors"],
                biases=chunks[0]["vectors"] if layer.bias is not None else 0,
                stored_entries=sum(group.stored_entries for group in groups),
                padding_entries=sum(group.padding_entries for group in groups),
                shortfalls=shortfalls(groups[0], config) if config.memory_mode == "unlimited" else (),
                **{name: np.concatenate([part[name] for part in chunks]) for name in PER_INPUT},
            )
        )
    return NetworkResult(config, layers, np.concatenate(outputs))


def _packed_network(
    network: Network | Sequence[CompressedLayer | PackedLayer], config: ArrayConfig
) -> tuple[Network, dict[str, list[PackedLayer]]]:
    """Return the network, and by step its packed layers, one for each group."""
    if not isinstance(network, Network):
        try:
            layers = list(network)
        except TypeError:
            raise InputError(
                f"network must be a traces.Network or a list of layers; found {type(network).__name__}; for a "
                f"container, give its layers"
            ) from None
        plain = [layer.layer if isinstance(layer, PackedLayer) else layer for layer in layers]
        network = Network.of_layers("layers", plain)
        packed = {
            layer.name: [either if isinstance(either, PackedLayer) else pack(either, config)]
            for layer, either in zip(plain, layers, strict=True)
        }
    else:
        steps = [step for step in network.steps if isinstance(step, LayerStep)]
        packed = {step.name: [pack(layer, config) for layer in step.group_layers()] for step in steps}
    if not packed:
        raise InputError(f"network {network.name!r} has no layer to run on the array")
    return network, packed


def _inputs_at_once(network: Network) -> int:
    """Return the most inputs, at least one, with which no layer's vectors and outputs take more than CHUNK_BYTES."""
    largest = 1
    for step in network.steps:
        if isinstance(step, LayerStep):
            shape = network.output_shapes[step.name]
            groups = 1 if step.convolution is None else step.convolution.groups
            positions = int(np.prod(shape)) // step.layer.rows
            # float32 vectors; accumulators of 8 bytes, products and outputs of 4
            largest = max(largest, positions * (4 * groups * step.layer.columns + 16 * step.layer.rows))
    return max(1, CHUNK_BYTES // largest)


def _run(
    network: Network, packed: dict[str, list[PackedLayer]], inputs: Numbers, config: ArrayConfig
) -> tuple[Floats32, list[dict[str, Any]]]:
    """Return the last step's output, and the summed counts of each layer."""
    last_use = {source: number for number, step in enumerate(network.steps) for source in step.sources}
    outputs: dict[str, Numbers] = {INPUT: inputs}
    costs: list[dict[str, Any]] = []
    for number, step in enumerate(network.steps):
        entering = [outputs[source] for source in step.sources]
        if isinstance(step, LayerStep):
            vectors = step.vectors(entering[0])  # [groups, inputs, positions, columns]
            _check_stays(step, packed[step.name], vectors.shape[2], config)
            batches = [
                simulate_batch(group, part.reshape(-1, part.shape[-1]), config)
                for group, part in zip(packed[step.name], vectors, strict=True)
            ]
            products = np.stack([batch.output.reshape(*vectors.shape[1:3], -1) for batch in batches])
            outputs[step.name] = step.finish(products, network.output_shapes[step.name])
            costs.append({"vectors": vectors.shape[0] * vectors.shape[2], **_sums(batches, len(inputs))})
        else:
            outputs[step.name] = step.apply(*entering)
        for source in step.sources:
            if last_use[source] == number:
                del outputs[source]
    return outputs[network.steps[-1].name], costs


def _sums(batches: Sequence[BatchResult], inputs: int) -> dict[str, Any]:
    """Sum the counts over groups and positions, [inputs] each."""
    return {
        name: np.sum([getattr(batch, name).reshape(inputs, -1).sum(axis=1) for batch in batches], axis=0)
        for name in PER_INPUT
    }


def _check_stays(step: LayerStep, groups: Sequence[PackedLayer], positions: int, config: ArrayConfig) -> None:
    """Raise InputError if a layer that serves many positions would be loaded for each."""
    if positions == 1 or config.memory_mode in ("unlimited", "resident"):
        return
    lacking = [each for group in groups for each in shortfalls(group, config)]
    if config.memory_mode == "streamed" or lacking:
        reason = f"does not fit: {lacking[0]}" if lacking else "would be streamed"
        raise InputError(
            f"convolution {step.name!r} {reason}; its weights serve {positions:,} positions and must stay on the "
            f"array; enlarge what is too small, use more PEs, or run it with memory_mode='unlimited'"
        )
