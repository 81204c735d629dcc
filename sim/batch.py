"""Simulation of one layer with many inputs; counts are arrays over inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sim.array import packed_for
from sim.batch_counts import BlockCounts, CountsByName
from sim.config import ArrayConfig
from sim.cost.energy import DEFAULT_PRESET, Energy, Transfers, block_energies
from sim.entropy_limits import ByteLimit, EnergyLimit, byte_limit, energy_limit
from sim.fixed_point import FixedPoint, Operands, fitted_format, operands, sums_of_products
from sim.limits import Limit, array_limits, limit_of
from sim.memory import Block, Shortfall, blocks_of, memory_counts, schedule
from sim.packing import PackedLayer
from sim.weight_entropy import WeightEntropy
from traces import CompressedLayer, InputError
from traces.arrays import Floats32, Floats64, Integers64

PART_BYTES = 2**27  # of the operands and sums of inputs that run together
_OF_BLOCKS = (  # the same for each input
    *("dram_read_bytes", "dram_write_bytes", "line_writes", "pointer_writes"),
    *("activation_reads", "activation_writes"),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class CountsPerInput:
    """Counts of one layer with many inputs on one array; the arrays are int64 [inputs].

    Attributes
    ----------
    config : ArrayConfig
        The array.
    stored_entries, padding_entries : int
        Entries of the packed layer, and padding among them.
    stored_lines, stored_pointers : int
        Lines and pointers that the weights take in the SRAMs of all PEs.
    entropy : WeightEntropy
        Bits of an ideal code of the weights (`sim.weight_entropy`).
    shortfalls : tuple of Shortfall
        Capacities that the layer exceeds, if it was simulated as if it fitted.
    cycles : numpy.ndarray
        Cycles of each input.
    broadcasts : numpy.ndarray
        Columns sent to the PEs: non-zero activations, and the bias.
    bubble_cycles, blocked_cycles, waiting_cycles : numpy.ndarray
        Cycles in which the scan left a row, a full queue held the broadcast up, or no block ran.
    processed_entries, processed_padding : numpy.ndarray
        Entries that the PEs go through, padding included, and padding among them.
    line_reads : numpy.ndarray
        Lines read from the sparse-matrix SRAMs.
    scan_limit_cycles, pe_limit_cycles, array_limit_cycles : numpy.ndarray
        Cycles that each input takes at least: for its broadcasts, for the entries of the most loaded PE, and for the
        larger one in each run of a block (`sim.limits`).
    dram_read_bytes, dram_write_bytes : numpy.ndarray
        Traffic from and to DRAM.
    line_writes, pointer_writes : numpy.ndarray
        Lines and pointers that loads write into the SRAMs of all PEs.
    activation_reads, activation_writes : numpy.ndarray
        Activations that are read from the activation SRAMs to leave the PEs, and that are written into them.
    overflows, saturated_activations : numpy.ndarray
        Additions that overflowed, and activations too large for the fixed-point format.
    """

    config: ArrayConfig
    stored_entries: int
    padding_entries: int
    stored_lines: int
    stored_pointers: int
    entropy: WeightEntropy
    shortfalls: tuple[Shortfall, ...]
    cycles: Integers64
    broadcasts: Integers64
    bubble_cycles: Integers64
    blocked_cycles: Integers64
    waiting_cycles: Integers64
    processed_entries: Integers64
    processed_padding: Integers64
    line_reads: Integers64
    scan_limit_cycles: Integers64
    pe_limit_cycles: Integers64
    array_limit_cycles: Integers64
    dram_read_bytes: Integers64
    dram_write_bytes: Integers64
    line_writes: Integers64
    pointer_writes: Integers64
    activation_reads: Integers64
    activation_writes: Integers64
    overflows: Integers64
    saturated_activations: Integers64

    @property
    def useful_macs(self) -> Integers64:
        """Multiply-accumulates that are not padding, int64 [inputs]."""
        return self.processed_entries - self.processed_padding

    @property
    def pointer_reads(self) -> Integers64:
        """Pointer pairs (begin and end of a column) that all PEs read, int64 [inputs]."""
        return self.config.num_pes * self.broadcasts

    @property
    def latency_us(self) -> Floats64:
        """Latency of each input, float64 [inputs]."""
        return self.occupied_cycles / self.config.clock_mhz

    @property
    def occupied_cycles(self) -> Integers64:
        """Cycles for which the layer occupies the array, int64 [inputs]."""
        return self.cycles

    @property
    def transfers(self) -> Transfers:
        """Accesses of the SRAMs by what moves weights and activations, arrays [inputs]."""
        return Transfers(self.line_writes, self.pointer_writes, self.activation_reads, self.activation_writes)

    @property
    def limit(self) -> Limit:
        """Least cycles that these inputs take, all together, what sets them, and where the measured ones go."""
        return limit_of(self)

    @property
    def energy_limit(self) -> EnergyLimit:
        """Least energy of these inputs together with the preset `eie`, and where the rest goes."""
        total = Energy(**{name: float(values.sum()) for name, values in self.energies_with().items()})
        return energy_limit(float(self.useful_macs.sum()), self.entropy, self.config, total)

    @property
    def byte_limit(self) -> ByteLimit:
        """Least bytes of the weights in the SRAMs, and where the rest goes."""
        return byte_limit(self)

    def energies_with(self, preset: str = DEFAULT_PRESET) -> dict[str, Floats64]:
        """Return the energy in pJ by block, float64 [inputs] for each field of `sim.Energy`.

        Raises InputError if there is no such preset or an SRAM is outside the tables.
        """
        energies = block_energies(
            self.config,
            self.occupied_cycles,
            self.pointer_reads,
            self.line_reads,
            self.processed_entries,
            self.useful_macs,
            self.dram_read_bytes + self.dram_write_bytes,
            preset,
            transfers=self.transfers,
        )
        return {name: np.asarray(values, dtype=np.float64) for name, values in energies.items()}

    @property
    def energy_pj(self) -> Floats64:
        """Energy of all blocks with the preset `eie`, float64 [inputs]."""
        energy: Floats64 = np.sum(list(self.energies_with().values()), axis=0)
        return energy

    @property
    def energy_nj(self) -> Floats64:
        """`energy_pj` in nJ, as reports show it."""
        return self.energy_pj / 1e3

    @property
    def mean_energy(self) -> Energy:
        """Energy by block, mean over inputs."""
        return Energy(**{name: float(values.mean()) for name, values in self.energies_with().items()})


PER_INPUT = tuple(field.name for field in fields(CountsPerInput) if field.type == "Integers64")


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchResult(CountsPerInput):
    """Counts and outputs of one layer with many inputs.

    Attributes
    ----------
    blocks : int
        Parts in which the layer was run, for each input.
    number_format : FixedPoint or None
        Fixed-point format of the layer; None for floating point.
    output : numpy.ndarray
        Outputs, float32 [inputs, rows].
    """

    blocks: int
    number_format: FixedPoint | None
    output: Floats32


_Joined = TypeVar("_Joined", "BatchResult", "BatchOutputs")


def simulate_batch(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_format: FixedPoint | None = None,
) -> BatchResult:
    """Run one layer with many inputs, one after the other, each as `simulate` does.

    Parameters
    ----------
    layer : CompressedLayer or PackedLayer
        Layer to run.
    activations : array_like
        Inputs, float32 [inputs, columns], finite; at least one.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.
    number_format : FixedPoint, optional
        Format of an array in fixed point. By default it is fitted to the layer and all inputs.

    Returns
    -------
    BatchResult
        Counts and outputs. `BatchResult.shortfalls` lists the exceeded capacities; there are no warnings.

    Raises
    ------
    InputError
        If the inputs do not fit the layer, or the memories of the array refuse it.
    """
    config = config or ArrayConfig()
    packed = packed_for(layer, config)
    parts, number_format = _parts(packed, checked_inputs(packed.layer, activations), config, number_format)
    results = [_simulated(packed, part, config, number_format) for part in parts]
    return results[0] if len(results) == 1 else _joined(results, (*PER_INPUT, "output"))


def _simulated(
    packed: PackedLayer, inputs: Floats32, config: ArrayConfig, number_format: FixedPoint | None
) -> BatchResult:
    """Run inputs that fit into memory together."""
    run = BatchRun(packed, inputs, config, number_format)
    computed = _computed(packed, run.operands, config)
    return BatchResult(
        **vars(run.counts(config)) | {"overflows": computed.overflows},
        blocks=len(blocks_of(packed, config)),
        number_format=run.operands.number_format,
        output=computed.output,
    )


def _parts(
    packed: PackedLayer, inputs: Floats32, config: ArrayConfig, number_format: FixedPoint | None
) -> tuple[list[Floats32], FixedPoint | None]:
    """Split inputs into parts of about `PART_BYTES`, and fit the format that they share."""
    fixed = config.precision != "float"
    bytes_per_input = (24 if fixed else 0) * packed.layer.columns + 28 * packed.layer.rows
    step = max(1, PART_BYTES // bytes_per_input)
    if len(inputs) <= step:
        return [inputs], number_format
    if fixed and number_format is None:
        number_format = fitted_format(packed, inputs, config.activation_bits)
    return [inputs[begin : begin + step] for begin in range(0, len(inputs), step)], number_format


def _joined(results: Sequence[_Joined], names: Sequence[str]) -> _Joined:
    """Return the results of several parts as one; `names` are the arrays [inputs, ...]."""
    joined: dict[str, Any] = {name: np.concatenate([getattr(result, name) for result in results]) for name in names}
    return replace(results[0], **joined)


@dataclass(frozen=True, eq=False)
class BatchOutputs:
    """Outputs of one layer with many inputs.

    Attributes
    ----------
    output : numpy.ndarray
        Outputs, float32 [inputs, rows].
    overflows, saturated_activations : numpy.ndarray
        Additions that overflowed, and activations too large for the fixed-point format, int64 [inputs].
    """

    output: Floats32
    overflows: Integers64
    saturated_activations: Integers64


def compute_batch(
    packed: PackedLayer, activations: npt.ArrayLike, config: ArrayConfig, number_format: FixedPoint | None = None
) -> BatchOutputs:
    """Return the outputs of `simulate_batch` alone, without any timing."""
    parts, number_format = _parts(packed, checked_inputs(packed.layer, activations), config, number_format)
    results = [_computed(packed, operands(packed, part, config, number_format), config) for part in parts]
    return results[0] if len(results) == 1 else _joined(results, [field.name for field in fields(BatchOutputs)])


def _computed(packed: PackedLayer, numbers: Operands, config: ArrayConfig) -> BatchOutputs:
    """Multiply and add all inputs, block by block."""
    blocks = [(block.packed, block.columns, block.rows) for block in blocks_of(packed, config)]
    outputs, overflows = sums_of_products(numbers, packed.layer.rows, blocks)
    return BatchOutputs(outputs, overflows, numbers.saturated_activations)


class BatchRun:
    """One packed layer with many inputs, to be counted on every array that its SRAM images fit.

    The timing for each queue and length of a broadcast, and the line reads for each line, are computed once, so that a
    further array costs next to nothing; `whole` computes those of many arrays at once. The memory grows with inputs x
    (timings + lines). `sim.engine.Run` is the same for one input.

    Parameters
    ----------
    packed : PackedLayer
        Layer to run.
    activations : array_like
        Inputs, float32 [inputs, columns], finite; at least one.
    config : ArrayConfig
        Array whose precision decides which values are broadcast.
    number_format : FixedPoint, optional
        Format of an array in fixed point. By default it is fitted to the layer and all inputs.

    Raises
    ------
    InputError
        If the inputs do not fit the layer.
    """

    def __init__(
        self,
        packed: PackedLayer,
        activations: npt.ArrayLike,
        config: ArrayConfig,
        number_format: FixedPoint | None = None,
    ) -> None:
        packed.check_fits(config)
        self.packed = packed
        self.precision = config.precision
        inputs = checked_inputs(packed.layer, activations)
        self.operands = operands(packed, inputs, config, number_format)
        self._blocks: dict[int, BlockCounts] = {}

    def counts(self, config: ArrayConfig) -> CountsPerInput:
        """Count every input on one array, in blocks if its memories are too small.

        Overflows are not counted and are 0. Raises InputError if the layer was packed for another array, the array has
        another precision, or its memories refuse the layer.
        """
        packed = self.packed
        packed.check_fits(config)
        if config.precision != self.precision:
            raise InputError(
                f"arrays counted together must have one precision; found {self.precision!r} and {config.precision!r}"
            )
        blocks = blocks_of(packed, config)
        by_block = [self._of_block(block, config) for block in blocks]
        times = schedule(blocks, [part["cycles"] for part in by_block], config)
        fields = memory_counts(packed, blocks, config)
        fields |= (
            {name: sum(part[name] for part in by_block) for name in by_block[0]} if len(blocks) > 1 else by_block[0]
        )
        none = np.zeros(times.cycles.size, dtype=np.int64)
        fields |= {name: none + fields[name] if fields[name] else none for name in _OF_BLOCKS}
        return CountsPerInput(
            **fields | {"cycles": times.cycles},
            waiting_cycles=times.waiting_cycles,
            overflows=none,
            saturated_activations=self.operands.saturated_activations,
        )

    def whole(self, timings: Sequence[tuple[int, int]], lines: Sequence[int]) -> WholeCounts:
        """Count every input on several arrays that run the layer in one block; what is missing is counted in one pass.

        Parameters
        ----------
        timings : sequence of (int, int)
            `queue_slots` and `broadcast_cycles` of the arrays.
        lines : sequence of int
            Entries of a line of the arrays.

        Returns
        -------
        WholeCounts
            Counts of each timing and of each line.
        """
        block = self._block(Block(self.packed, slice(None), slice(None)))
        pairs = [(queue_slots - 1, broadcast_cycles) for queue_slots, broadcast_cycles in timings]
        block.count(pairs, lines)
        timed = [block.timing(*pair) for pair in pairs]
        reads = [block.line_reads[entries_per_line] for entries_per_line in lines]
        none = np.zeros((0, len(self.operands.activations)), dtype=np.int64)
        return WholeCounts(
            broadcasts=block.counts["broadcasts"],
            bubble_cycles=block.counts["bubble_cycles"],
            most_loaded_entries=block.counts["most_loaded_entries"],
            processed_entries=block.counts["processed_entries"],
            processed_padding=block.counts["processed_padding"],
            cycles_without_pipeline=1 + np.stack([each["last_active_edge"] for each in timed]) if timed else none,
            blocked_cycles=np.stack([each["blocked_cycles"] for each in timed]) if timed else none,
            line_reads=np.stack(reads) if reads else none,
        )

    def _of_block(self, block: Block, config: ArrayConfig) -> CountsByName:
        """Return cycles and counters of one block, int64 [inputs] each."""
        counted, pair = self._block(block), (config.queue_depth, config.broadcast_cycles)
        counted.count([pair], [config.entries_per_line])
        counts = {**counted.counts, **counted.timing(*pair), "line_reads": counted.line_reads[config.entries_per_line]}
        counts["cycles"] = 1 + counts.pop("last_active_edge") + config.pipeline_cycles
        most_loaded = counts.pop("most_loaded_entries")
        return counts | array_limits(counts["broadcasts"], counts["bubble_cycles"], most_loaded, config.pipeline_cycles)

    def _block(self, block: Block) -> BlockCounts:
        key = id(block.packed)  # `packed` keeps it alive
        if key not in self._blocks:
            self._blocks[key] = BlockCounts(block.packed, block.columns, self.operands)
        return self._blocks[key]


@dataclass(frozen=True, eq=False, kw_only=True)
class WholeCounts:
    """Counts of a layer with many inputs on arrays that run it in one block, all int64.

    Attributes
    ----------
    broadcasts, bubble_cycles, processed_entries, processed_padding : numpy.ndarray
        As in `CountsPerInput`, the same on all these arrays, [inputs].
    most_loaded_entries : numpy.ndarray
        Entries of the PE that goes through most, padding included, [inputs].
    cycles_without_pipeline : numpy.ndarray
        Cycles of each timing, without the `pipeline_cycles` that an array adds, [timings, inputs].
    blocked_cycles : numpy.ndarray
        Cycles in which a full queue held the broadcast up, [timings, inputs].
    line_reads : numpy.ndarray
        Lines read by arrays of each line, [lines, inputs].
    """

    broadcasts: Integers64
    bubble_cycles: Integers64
    most_loaded_entries: Integers64
    processed_entries: Integers64
    processed_padding: Integers64
    cycles_without_pipeline: Integers64
    blocked_cycles: Integers64
    line_reads: Integers64


def checked_inputs(layer: CompressedLayer, activations: npt.ArrayLike) -> Floats32:
    """Return inputs of a layer as finite float32 [inputs, columns], or raise InputError."""
    try:
        array = np.asarray(activations)
    except ValueError as error:
        raise InputError(f"layer {layer.name!r}: all inputs must be of one length; they are ragged") from error
    if array.ndim != 2 or not len(array) or array.shape[1] != layer.columns or array.dtype.kind not in "fiub":
        raise InputError(
            f"layer {layer.name!r}: activations must be real numbers [inputs, {layer.columns}], at least one input; "
            f"found {array.dtype} {list(array.shape)}"
        )
    with np.errstate(over="ignore"):
        values = np.asarray(array, dtype=np.float32)
    if not values.T.flags.c_contiguous:  # inputs may lie side by side
        values = np.ascontiguousarray(values)
    if not np.isfinite(values).all():
        number, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"layer {layer.name!r}: every activation must be a finite float32; found {array[number, column]} at column "
            f"{column} of input {number}"
        )
    return values
