"""A network on the array: matrix products on the array, what lies between them off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.batch import PER_INPUT, BatchResult, CountsPerInput, PerInput, simulate_batch
from sim.config import ArrayConfig
from sim.memory import shortfalls
from sim.packing import PackedLayer, pack
from traces import CompressedLayer, InputError
from traces.network import INPUT, LayerStep, Network

CHUNK_BYTES = 2**27  # of the vectors and outputs of one layer at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCosts(CountsPerInput):
    """What one layer of a network costs, input by input: the sums over an input's vectors.

    rows      of the weights, all groups together
    vectors   of one input: output positions times groups; 1 for a fully connected layer
    biases    broadcasts of one input that are the bias column
    """

    name: str
    rows: int
    columns: int
    vectors: int
    biases: int

    @property
    def activation_density(self) -> float:
        """Non-zero values over all values of the vectors, as measured; a bias column does not count."""
        broadcasts = int(self.broadcasts.sum()) - self.biases * self.cycles.size
        return broadcasts / (self.columns * self.vectors * self.cycles.size)


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """What a network costs and gives, input by input.

    layers   the costs of each layer, in order
    output   float32 [inputs, ...], of the last step
    """

    config: ArrayConfig
    layers: list[LayerCosts]
    output: npt.NDArray[np.float32]

    @property
    def cycles(self) -> PerInput:
        """All layers one after the other, int64 [inputs]."""
        total: PerInput = np.sum([layer.cycles for layer in self.layers], axis=0)
        return total

    @property
    def latency_us(self) -> npt.NDArray[np.float64]:
        """float64 [inputs]"""
        return self.cycles / self.config.clock_mhz

    @property
    def energy_pj(self) -> npt.NDArray[np.float64]:
        """float64 [inputs], preset `eie-45nm`"""
        total: npt.NDArray[np.float64] = np.sum([layer.energy_pj for layer in self.layers], axis=0)
        return total

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
    """Run inputs through a network, each layer taking what the steps before it put out.

    network      a `traces.network.Network`, or fully connected layers, packed or not, a rectifier (ReLU) in between
    inputs       float32 [inputs, ...], each of the network's input shape
    after_input  called once for each input that is through

    A convolution is one matrix-vector product for each output position and group. A layer's own bias is added on the
    array, as `simulate` does. Pooling, concatenation and the bias of a step (`LayerStep.bias`) are computed off the
    array, in floating point, and cost nothing here. A fixed-point format is fitted to each layer and what enters it,
    chunk by chunk of the inputs. Raises InputError if the inputs do not fit, or a convolution does not stay on the
    array: its weights serve all positions.
    """
    config = config or ArrayConfig()
    network, packed = _packed_network(network, config)
    try:
        given = np.asarray(inputs)
    except ValueError as error:
        raise InputError(f"network {network.name!r}: all inputs must be of one shape; they are ragged") from error
    if given.shape[1:] != network.input_shape or not len(given) or given.dtype.kind not in "fiub":
        raise InputError(
            f"network {network.name!r}: inputs must be real numbers [inputs, "
            f"{', '.join(map(str, network.input_shape))}], at least one input; found {given.dtype} {list(given.shape)}"
        )
    chunk = _inputs_at_once(network)
    outputs, costs = [], []
    for begin in range(0, len(given), chunk):
        part = given[begin : begin + chunk]
        output, layer_costs = _run(network, packed, part, config)
        outputs.append(output)
        costs.append(layer_costs)
        for _ in range(len(part)):
            after_input()
    layers = []
    for step, *of_chunks in zip(packed, *costs, strict=True):
        groups = packed[step]
        layer = groups[0].layer
        layers.append(
            LayerCosts(
                config=config,
                name=step,
                rows=layer.rows * len(groups),
                columns=layer.columns,
                vectors=of_chunks[0]["vectors"],
                biases=of_chunks[0]["vectors"] if layer.bias is not None else 0,
                stored_entries=sum(group.stored_entries for group in groups),
                padding_entries=sum(group.padding_entries for group in groups),
                shortfalls=shortfalls(groups[0], config) if config.memory_mode == "unlimited" else (),
                **{name: np.concatenate([each[name] for each in of_chunks]) for name in PER_INPUT},
            )
        )
    return NetworkResult(config, layers, np.concatenate(outputs))


def _packed_network(
    network: Network | Sequence[CompressedLayer | PackedLayer], config: ArrayConfig
) -> tuple[Network, dict[str, list[PackedLayer]]]:
    """The network, and its packed layers, group by group, by step."""
    if not isinstance(network, Network):
        try:
            layers = list(network)
        except TypeError:
            raise InputError(
                f"network must be a traces.network.Network or a list of layers; found {type(network).__name__}; of a "
                f"container, give its layers"
            ) from None
        plain = [layer.layer if isinstance(layer, PackedLayer) else layer for layer in layers]
        network = Network.of_layers("layers", plain)
        packed = {
            layer.name: [given if isinstance(given, PackedLayer) else pack(given, config)]
            for layer, given in zip(plain, layers, strict=True)
        }
    else:
        steps = [step for step in network.steps if isinstance(step, LayerStep)]
        packed = {step.name: [pack(layer, config) for layer in step.group_layers()] for step in steps}
    if not packed:
        raise InputError(f"network {network.name!r} has no layer to run on the array")
    return network, packed


def _inputs_at_once(network: Network) -> int:
    """So many inputs that no layer's vectors and outputs take more than CHUNK_BYTES, but at least one."""
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
    network: Network, packed: dict[str, list[PackedLayer]], inputs: npt.NDArray[Any], config: ArrayConfig
) -> tuple[npt.NDArray[np.float32], list[dict[str, Any]]]:
    """The last step's output, and the sums of each layer."""
    last_use = {source: number for number, step in enumerate(network.steps) for source in step.sources}
    outputs: dict[str, npt.NDArray[Any]] = {INPUT: inputs}
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
    """Sums over groups and positions, [inputs] each."""
    return {
        name: np.sum([getattr(batch, name).reshape(inputs, -1).sum(axis=1) for batch in batches], axis=0)
        for name in PER_INPUT
    }


def _check_stays(step: LayerStep, groups: Sequence[PackedLayer], positions: int, config: ArrayConfig) -> None:
    """Raise InputError if a layer that is multiplied many times would be loaded each time."""
    if positions == 1 or config.memory_mode in ("unlimited", "resident"):
        return
    lacking = [each for group in groups for each in shortfalls(group, config)]
    if config.memory_mode == "streamed" or lacking:
        what = f"does not fit: {lacking[0]}" if lacking else "would be streamed"
        raise InputError(
            f"convolution {step.name!r} {what}; its weights serve {positions:,} positions and must stay on the array; "
            f"enlarge what is too small, use more PEs, or run it with memory_mode='unlimited'"
        )
