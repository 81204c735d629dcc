"""Schedule of a network on one array: what stays in its SRAMs, and what moving weights and activations takes.

Weights. The sparse-matrix SRAM and the pointer banks of each PE hold the lines and pointers of all layers that stay,
one after the other. If some do not fit, `memory_mode` decides. `unlimited` runs the network as if all did. `resident`
refuses it. In `passes`, one region of the SRAMs is kept free for the layers that are loaded, one at a time, each
before it runs. In `streamed`, the region holds two of them that run one after the other, so that one is loaded while
the other, and what stays, runs:

    load_end[k]  = max( load_end[k-1], run_end[k-2] ) + load_cycles[k]
    run_begin[k] = max( load_end[k], the end of the call before )

`k` numbers the visits of loaded layers; calls of one such layer with no other loaded layer between them are one visit.
If two neighbours do not fit together, `run_end[k-1]` stands for `run_end[k-2]`. Each input begins with an empty region,
and its first load begins with it. A layer that exceeds the SRAMs alone runs in blocks (`sim.memory`), and then nothing
stays.

The layers that stay are chosen greedily, the one with the most bytes to reload first, as long as the rest of the SRAMs
holds the region that the others need. This is not always the choice with the fewest bytes.

Feature maps. The activations of one input that are alive at once (`traces.graph.execution`) are spread over the
activation SRAMs of the PEs. In `passes` and `streamed`, those that do not fit are written to DRAM and read again once.

Port. The vectors of a call enter the PEs, and its outputs leave them, through a port of `port_bits`, while the array
computes. The first row of inputs comes before, and the outputs of the last vector come after:

    call_cycles = max( cycles of the array, port_cycles ) + fill_cycles + drain_cycles

Switch. When another layer begins, the codebook of each of its groups is written through the port, and
`LAYER_REGISTERS` registers are set, one a cycle. The PEs that share a codebook take it at once; several codebooks are
written one after the other.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from sim.config import ArrayConfig
from sim.memory import (
    Image,
    Shortfall,
    activation_words_per_pe,
    buffers_of,
    image_of,
    transfer_cycles,
    weight_capacity,
    weight_shortfalls,
)
from sim.packing import PackedLayer
from traces import InputError
from traces.arrays import Floats64, Numbers

Residency = Literal["resident", "passes", "streamed"]
LAYER_REGISTERS = 5  # rows, columns, bias, and the first line and pointer; ours, since the paper states none


@dataclass(frozen=True)
class ScheduledLayer:
    """Layer of a network, as the schedule needs it.

    Attributes
    ----------
    name : str
        Name of the layer.
    rows, columns, groups : int
        Rows and columns of one group, and number of groups.
    image : Image
        Room that the weights of all groups take, the sum over groups.
    codebook_writes : int
        Codebooks that a switch writes through the port, of all groups; 0 stands for one for each group.
    """

    name: str
    rows: int
    columns: int
    groups: int
    image: Image
    codebook_writes: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "codebook_writes", self.codebook_writes or self.groups)

    @classmethod
    def of_groups(cls, name: str, groups: Sequence[PackedLayer], config: ArrayConfig) -> ScheduledLayer:
        """Return the layer of some packed groups."""
        image = sum_of_images([image_of(group, config) for group in groups])
        writes = sum(group.layer.num_codebooks for group in groups)
        return cls(name, groups[0].layer.rows, groups[0].layer.columns, len(groups), image, writes)

    def fits(self, config: ArrayConfig) -> bool:
        """Return True if the weights of all groups fit the SRAMs together."""
        return not weight_shortfalls(self.image, config)

    def running_array(self, config: ArrayConfig) -> ArrayConfig:
        """Return the array on which the layer alone is simulated: what the schedule pays for is free there.

        A layer that exceeds the SRAMs is cut into blocks there, as `memory_mode` says.
        """
        if config.memory_mode in ("passes", "streamed") and not self.fits(config):
            return config
        return dataclasses.replace(config, memory_mode="unlimited")


class Call(NamedTuple):
    """Call of a layer: number of the layer, and vectors that each of its groups is multiplied with."""

    layer: int
    vectors: float


@dataclass(frozen=True)
class ScheduledNetwork:
    """Network, as the schedule needs it.

    Attributes
    ----------
    name : str
        Name of the network.
    layers : tuple of ScheduledLayer
        Its layers on the array.
    calls : tuple of Call
        Calls of the layers for one input, in order.
    live_words : int
        Largest number of activations of one input that are alive at once.
    fullest_layer : int
        Number of the layer that runs then.
    """

    name: str
    layers: tuple[ScheduledLayer, ...]
    calls: tuple[Call, ...]
    live_words: int
    fullest_layer: int

    @cached_property
    def image(self) -> Image:
        """Room that all weights take together."""
        return sum_of_images([layer.image for layer in self.layers])


def network_shortfalls(network: ScheduledNetwork, config: ArrayConfig) -> tuple[Shortfall, ...]:
    """Return the capacities of a PE that the whole network exceeds; none if it fits.

    Parameters
    ----------
    network : ScheduledNetwork
        The network.
    config : ArrayConfig
        The array.
    """
    feature_maps = Shortfall(
        "activation SRAM of a PE",
        "activations alive at once",
        -(-network.live_words // config.num_pes),
        activation_words_per_pe(config),
    )
    exceeded = feature_maps.needed > feature_maps.available
    return weight_shortfalls(network.image, config) + ((feature_maps,) if exceeded else ())


def residencies(network: ScheduledNetwork, config: ArrayConfig) -> tuple[Residency, ...]:
    """Return whether each layer stays in the SRAMs, is loaded before it runs, or while others run.

    Parameters
    ----------
    network : ScheduledNetwork
        The network.
    config : ArrayConfig
        The array.

    Raises
    ------
    InputError
        If the network does not fit and `config.memory_mode` is "resident", or a layer that does not fit alone serves
        several vectors of an input.
    """
    mode = config.memory_mode
    if mode == "resident":
        lacking = network_shortfalls(network, config)
        if lacking:
            raise InputError(
                f"network {network.name!r} does not fit whole: {'; '.join(map(str, lacking))}; enlarge what is too "
                f"small, use more PEs, or run it with memory_mode='passes' or 'streamed'"
            )
    if mode in ("unlimited", "resident") or not weight_shortfalls(network.image, config):
        return tuple("resident" for _ in network.layers)
    for number, layer in enumerate(network.layers):
        check_alone(layer, sum(call.vectors for call in network.calls if call.layer == number), config)
    kept = _kept(network, config)
    loaded: Residency = "passes" if mode == "passes" else "streamed"
    return tuple("resident" if number in kept else loaded for number in range(len(network.layers)))


def check_alone(layer: ScheduledLayer, vectors: float, config: ArrayConfig) -> None:
    """Raise InputError if a layer that does not fit the SRAMs alone has several groups or vectors of an input."""
    if config.memory_mode in ("passes", "streamed") and layer.groups * vectors > 1 and not layer.fits(config):
        raise InputError(
            f"layer {layer.name!r} does not fit: {weight_shortfalls(layer.image, config)[0]}; its weights serve "
            f"several vectors of an input and must be on the array together; enlarge what is too small, use more PEs, "
            f"or run it with memory_mode='unlimited'"
        )


def loads(network: ScheduledNetwork, residency: Sequence[Residency], config: ArrayConfig) -> Floats64:
    """Return how often each layer is loaded whole for one input, [layers]; 0 for a layer that runs in blocks.

    Parameters
    ----------
    network : ScheduledNetwork
        The network.
    residency : sequence of str
        Residency of each layer.
    config : ArrayConfig
        The array.
    """
    kept = {number for number, kind in enumerate(residency) if kind == "resident"}
    counts = np.zeros(len(network.layers))
    for layer, in_region in _visits(network, kept, config):
        if not in_region and network.layers[layer].fits(config):
            counts[layer] += 1
    return counts


def _visits(network: ScheduledNetwork, kept: set[int], config: ArrayConfig) -> list[tuple[int, bool]]:
    """Return the layer of each visit, and whether the region holds it already."""
    visits: list[tuple[int, bool]] = []
    for call in network.calls:
        if call.layer not in kept and not (visits and visits[-1][0] == call.layer):
            back = len(visits) >= 2 and visits[-2][0] == call.layer
            holds = config.memory_mode == "streamed" and back and _together(network, visits[-1][0], call.layer, config)
            visits.append((call.layer, holds))
    return visits


def _together(network: ScheduledNetwork, first: int, second: int, config: ArrayConfig) -> bool:
    """Return True if two layers fit the SRAMs at once."""
    return not weight_shortfalls(sum_of_images([network.layers[first].image, network.layers[second].image]), config)


def smallest_image(network: ScheduledNetwork, config: ArrayConfig) -> Image:
    """Return the room that a network needs in the SRAMs at least, as `memory_mode` runs it.

    That is all of it in modes `unlimited` and `resident`, the largest layer in `passes`, and the largest two layers
    that are called one after the other in `streamed`.

    Parameters
    ----------
    network : ScheduledNetwork
        The network.
    config : ArrayConfig
        The array; its capacities do not matter.
    """
    if config.memory_mode in ("unlimited", "resident"):
        return network.image
    return _region(network, set(), buffers_of(config))


def _region(network: ScheduledNetwork, kept: set[int], buffers: int) -> Image:
    """Return the room that the loaded layers need at once: that of one of them, or of two neighbours."""
    loaded = [call.layer for call in network.calls if call.layer not in kept]
    order = [number for number, _ in itertools.groupby(loaded)]
    places = range(max(1, len(order) - buffers + 1))
    sums = [
        sum_of_images([network.layers[number].image for number in order[place : place + buffers]]) for place in places
    ]
    return Image(*(max(each[kind] for each in sums) for kind in range(len(Image._fields))))


def _kept(network: ScheduledNetwork, config: ArrayConfig) -> set[int]:
    """Return the layers that stay, chosen greedily: first the one with the most bytes to reload."""
    if not all(layer.fits(config) for layer in network.layers):
        return set()
    visits = [layer for layer, _ in _visits(network, set(), config)]
    reloaded = [visits.count(number) * layer.image.num_bytes(config) for number, layer in enumerate(network.layers)]
    kept: set[int] = set()
    capacity = weight_capacity(config)
    for number in sorted(range(len(reloaded)), key=lambda each: -reloaded[each]):
        more = kept | {number}
        region = Image(*map(min, _region(network, more, buffers_of(config)), capacity))  # of a pair beyond it, all
        held = sum_of_images([region, *(network.layers[each].image for each in more)])
        if not weight_shortfalls(held, config):
            kept = more
    return kept


def sum_of_images(images: Sequence[Image]) -> Image:
    """Return the room of images together; each matrix begins with an even pointer if it is one of several."""
    if len(images) == 1:
        return images[0]
    return Image(
        sum(each.lines for each in images),
        sum(each.pointers + each.pointers % 2 for each in images),
        sum(each.entries for each in images),
        sum(each.all_lines for each in images),
        sum(each.all_pointers for each in images),
    )


@dataclass(frozen=True, eq=False)
class NetworkSchedule:
    """Times and transfers of each layer of a network; arrays are [layers, inputs], or [layers, 1] if all inputs agree.

    Attributes
    ----------
    residency : tuple of str
        Residency of each layer.
    input_words, output_words : numpy.ndarray
        Activations that enter and leave through the port.
    port_cycles : numpy.ndarray
        Cycles that they take on the port.
    port_wait_cycles : numpy.ndarray
        Cycles in which the array waits for the port, filling and draining included.
    switch_cycles : numpy.ndarray
        Cycles of switches to the layer.
    dram_wait_cycles : numpy.ndarray
        Cycles in which the array waits for weights or feature maps from or to DRAM.
    loads : numpy.ndarray
        Loads of the whole layer.
    spilled_words : numpy.ndarray
        Activations that are written to DRAM and read again.
    """

    residency: tuple[Residency, ...]
    input_words: Floats64
    output_words: Floats64
    port_cycles: Floats64
    port_wait_cycles: Floats64
    switch_cycles: Floats64
    dram_wait_cycles: Floats64
    loads: Floats64
    spilled_words: Floats64

    def counts(self, network: ScheduledNetwork, config: ArrayConfig) -> dict[str, Floats64]:
        """Return what the network adds to the counts of its layers, by name, [layers, inputs].

        Parameters
        ----------
        network : ScheduledNetwork
            The network.
        config : ArrayConfig
            The array.
        """
        images = [layer.image for layer in network.layers]

        def loaded(values: Sequence[int]) -> Floats64:
            return self.loads * np.array(values, dtype=np.float64)[:, np.newaxis]

        spill_bytes = self.spilled_words * (config.activation_bits // 8)
        added = {
            "port_words": self.input_words + self.output_words,
            "port_cycles": self.port_cycles,
            "port_wait_cycles": self.port_wait_cycles,
            "switch_cycles": self.switch_cycles,
            "dram_wait_cycles": self.dram_wait_cycles,
            "spill_bytes": spill_bytes,
            "dram_read_bytes": loaded([image.num_bytes(config) for image in images]) + spill_bytes,
            "dram_write_bytes": spill_bytes,
            "line_writes": loaded([image.all_lines for image in images]),
            "pointer_writes": loaded([image.all_pointers for image in images]),
            "activation_reads": self.input_words + self.spilled_words,
            "activation_writes": self.output_words + self.spilled_words,
        }
        return {name: np.broadcast_to(values, self.input_words.shape) for name, values in added.items()}


#: Names of the counts that only a layer of a network has.
SCHEDULED = (
    *("port_words", "port_cycles", "port_wait_cycles"),
    *("switch_cycles", "dram_wait_cycles", "spill_bytes"),
)


def port_cycles(words: float, config: ArrayConfig) -> int:
    """Return the cycles that some activations take on the port."""
    return math.ceil(words * config.activation_bits / config.port_bits)


def switch_cycles(layer: ScheduledLayer, config: ArrayConfig) -> int:
    """Return the cycles of a switch to a layer: those of the codebooks and the registers of all its groups."""
    return layer.codebook_writes * port_cycles(2**config.weight_bits, config) + layer.groups * LAYER_REGISTERS


def spilled_words(network: ScheduledNetwork, config: ArrayConfig) -> int:
    """Return the activations alive at once that the activation SRAMs do not hold; 0 if the mode does not spill."""
    if config.memory_mode not in ("passes", "streamed"):
        return 0
    return int(max(0, network.live_words - config.num_pes * activation_words_per_pe(config)))


def schedule_network(
    network: ScheduledNetwork, run_cycles: Sequence[Numbers], config: ArrayConfig, residency: Sequence[Residency]
) -> NetworkSchedule:
    """Schedule the calls of a network for one input after the other.

    Parameters
    ----------
    network : ScheduledNetwork
        The network.
    run_cycles : sequence of numpy.ndarray
        Cycles of the array in each call, [inputs] or [1].
    config : ArrayConfig
        The array.
    residency : sequence of str
        Residency of each layer, from `residencies`.

    Returns
    -------
    NetworkSchedule
        Times and transfers of each layer.
    """
    num_inputs = max((np.size(cycles) for cycles in run_cycles), default=1)
    times = {name: np.zeros((len(network.layers), num_inputs)) for name in _TIMES}
    region = _Region(network, residency, config)
    now = np.zeros(num_inputs)
    before: int | None = None
    for call, cycles in zip(network.calls, run_cycles, strict=True):
        number, layer = call.layer, network.layers[call.layer]
        begin = region.ready(number, now)
        switch = switch_cycles(layer, config) if number != before else 0
        entering, leaving = (call.vectors * layer.groups * length for length in (layer.columns, layer.rows))
        on_port = port_cycles(entering + leaving, config)
        edges = port_cycles(min(config.num_pes, layer.columns), config) + port_cycles(layer.rows, config)
        waiting = np.maximum(on_port - cycles, 0) + edges
        added = (entering, leaving, on_port, waiting, switch, begin - now)
        for name, value in zip(_TIMES, added, strict=True):
            times[name][number] += value
        now = begin + switch + cycles + waiting
        region.leave(number, now)
        before = number
    spilled = np.zeros((len(network.layers), 1))
    spilled[network.fullest_layer] = spilled_words(network, config)
    num_bytes = spilled_words(network, config) * config.activation_bits // 8
    times["dram_wait_cycles"][network.fullest_layer] += 2 * transfer_cycles(num_bytes, config)
    counts = loads(network, residency, config)[:, np.newaxis]
    return NetworkSchedule(residency=tuple(residency), loads=counts, spilled_words=spilled, **times)


_TIMES = (
    *("input_words", "output_words", "port_cycles"),
    *("port_wait_cycles", "switch_cycles", "dram_wait_cycles"),
)


class _Region:
    """Part of the SRAMs for the layers that are loaded; times are cycles since the input began, [inputs]."""

    def __init__(self, network: ScheduledNetwork, residency: Sequence[Residency], config: ArrayConfig) -> None:
        self._network, self._config = network, config
        self._kept = {number for number, kind in enumerate(residency) if kind == "resident"}
        self._visits = _visits(network, self._kept, config)
        self._ends: list[Floats64] = []  # of the visits so far
        self._load_end: Any = 0.0

    def ready(self, number: int, now: Floats64) -> Floats64:
        """Return the cycle from which a layer can run that is called in cycle `now`."""
        visit = len(self._ends)
        if number in self._kept or (visit and self._visits[visit - 1][0] == number):
            return now
        self._ends.append(now)
        layer = self._network.layers[number]
        if self._visits[visit][1] or not layer.fits(self._config):
            return now
        cycles = transfer_cycles(layer.image.num_bytes(self._config), self._config)
        if self._config.memory_mode == "passes":
            return now + cycles
        beside = visit > 0 and _together(self._network, self._visits[visit - 1][0], number, self._config)
        emptied = visit - 2 if beside else visit - 1
        self._load_end = np.maximum(self._load_end, self._ends[emptied] if emptied >= 0 else 0.0) + cycles
        return np.asarray(np.maximum(now, self._load_end), dtype=np.float64)

    def leave(self, number: int, now: Floats64) -> None:
        """Note that the array has run a layer."""
        if number not in self._kept:
            self._ends[-1] = now
