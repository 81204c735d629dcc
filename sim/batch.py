"""Many inputs through one packed layer: what each of them costs, as arrays over inputs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.array import packed_for
from sim.config import ArrayConfig
from sim.cost.energy import DEFAULT_PRESET, Energy, block_energies
from sim.fixed_point import FixedPoint, Operands, operands
from sim.memory import Block, Shortfall, blocks_of, memory_counts, schedule
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError

PerInput = npt.NDArray[np.int64]
_Inputs = dict[str, PerInput]


@dataclass(frozen=True, eq=False, kw_only=True)
class CountsPerInput:
    """What a layer costs on one array, input by input: as `sim.Counts`, but int64 [inputs] each.

    processed_entries   padding included
    overflows, saturated_activations   as in `sim.SimulationResult`
    """

    config: ArrayConfig
    stored_entries: int
    padding_entries: int
    shortfalls: tuple[Shortfall, ...]
    cycles: PerInput
    broadcasts: PerInput
    bubble_cycles: PerInput
    blocked_cycles: PerInput
    waiting_cycles: PerInput
    processed_entries: PerInput
    processed_padding: PerInput
    line_reads: PerInput
    dram_read_bytes: PerInput
    dram_write_bytes: PerInput
    overflows: PerInput
    saturated_activations: PerInput

    @property
    def useful_macs(self) -> PerInput:
        """Multiply-accumulates that are not padding, int64 [inputs]."""
        return self.processed_entries - self.processed_padding

    @property
    def pointer_reads(self) -> PerInput:
        """Pairs, begin and end of a column, over all PEs, int64 [inputs]."""
        return self.config.num_pes * self.broadcasts

    @property
    def latency_us(self) -> npt.NDArray[np.float64]:
        """float64 [inputs]"""
        return self.cycles / self.config.clock_mhz

    def energies_with(self, preset: str = DEFAULT_PRESET) -> dict[str, npt.NDArray[np.float64]]:
        """Energy by block, float64 [inputs] in pJ by the name of a field of `sim.Energy`.

        Raises InputError if there is no such preset, or an SRAM is outside the tables.
        """
        energies = block_energies(
            self.config,
            self.cycles,
            self.pointer_reads,
            self.line_reads,
            self.processed_entries,
            self.useful_macs,
            self.dram_read_bytes + self.dram_write_bytes,
            preset,
        )
        return {name: np.asarray(values, dtype=np.float64) for name, values in energies.items()}

    @property
    def energy_pj(self) -> npt.NDArray[np.float64]:
        """Energy of all blocks of preset `eie-45nm`, float64 [inputs]."""
        energy: npt.NDArray[np.float64] = np.sum(list(self.energies_with().values()), axis=0)
        return energy

    @property
    def mean_energy(self) -> Energy:
        """Energy by block, the mean over inputs."""
        return Energy(**{name: float(values.mean()) for name, values in self.energies_with().items()})


PER_INPUT = tuple(field.name for field in fields(CountsPerInput) if field.type == "PerInput")


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchResult(CountsPerInput):
    """What many inputs through one layer cost, and their outputs, float32 [inputs, rows].

    blocks          parts in which the layer was run, for each input
    number_format   the fixed-point format of the layer; None for floating point
    """

    blocks: int
    number_format: FixedPoint | None
    output: npt.NDArray[np.float32]


def simulate_batch(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_format: FixedPoint | None = None,
) -> BatchResult:
    """Run one layer with many inputs, one after the other, each as `simulate` would.

    activations   float32 [inputs, columns], finite; at least one input

    A fixed-point format that is not given is fitted to the layer and all inputs. Raises InputError as `simulate`
    does; what an array lacks to hold the layer is in `BatchResult.shortfalls`.
    """
    config = config or ArrayConfig()
    run = BatchRun(packed_for(layer, config), activations, config, number_format)
    packed, numbers = run.packed, run.operands
    blocks = blocks_of(packed, config)
    accumulators = numbers.accumulators(len(numbers.activations), packed.layer.rows)
    overflows = np.zeros(len(accumulators), dtype=np.int64)
    for block in blocks:
        of_block = np.ascontiguousarray(accumulators[:, block.rows])
        overflows += _accumulate(block.packed, block.operands(numbers), of_block)
        accumulators[:, block.rows] = of_block
    return BatchResult(
        **vars(run.counts(config)) | {"overflows": overflows},
        blocks=len(blocks),
        number_format=numbers.number_format,
        output=numbers.values(accumulators),
    )


class BatchRun:
    """One packed layer with many inputs, on every array that its SRAM images fit; no outputs.

    As `sim.engine.Run` for one input: the timing for each queue and the line reads for each line are worked out once,
    so that a further array costs next to nothing. Memory grows with inputs x (queues + lines) asked for.

    packed        the layer
    activations   float32 [inputs, columns], finite; at least one input
    config        whose precision decides what is broadcast

    Raises InputError if the inputs do not fit the layer.
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
        self.operands = operands(packed.layer, inputs, config, number_format)
        self._padding: dict[int, npt.NDArray[np.int64]] = {}
        self._by_queue: dict[tuple[int, int], _Inputs] = {}
        self._by_line: dict[tuple[int, int], PerInput] = {}

    def counts(self, config: ArrayConfig) -> CountsPerInput:
        """What every input costs on one array, in blocks where its memories ask for that.

        Overflows are not looked for, and are 0. Raises InputError if the layer was packed for another array, the
        array's precision is another one, or its memories refuse the layer.
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
        fields |= {name: np.full(times.cycles.size, fields[name]) for name in ("dram_read_bytes", "dram_write_bytes")}
        return CountsPerInput(
            **fields | {"cycles": times.cycles},
            waiting_cycles=times.waiting_cycles,
            overflows=np.zeros_like(times.cycles),
            saturated_activations=self.operands.saturated_activations,
        )

    def _of_block(self, block: Block, config: ArrayConfig) -> _Inputs:
        """Cycles and counters of one block, int64 [inputs] each."""
        key = id(block.packed)  # which `packed` keeps alive
        depth = min(config.queue_depth, len(block.packed.entry_counts))
        queue, line = (key, depth), (key, config.entries_per_line)
        if queue not in self._by_queue or line not in self._by_line:
            found = self._count(block, depth, config.entries_per_line)
            self._by_line[line] = found.pop("line_reads")
            self._by_queue[queue] = found
        return {**self._by_queue[queue], "line_reads": self._by_line[line]}

    def _count(self, block: Block, depth: int, entries_per_line: int) -> _Inputs:
        from sim.engine import PIPELINE_CYCLES, lag_type
        from sim.engine_kernels import count_inputs

        packed, numbers = block.packed, block.operands(self.operands)
        if id(packed) not in self._padding:
            self._padding[id(packed)] = packed.padding_counts.sum(axis=1, dtype=np.int64)
        counts = np.zeros((len(numbers.activations), 7), dtype=np.int64)
        count_inputs(
            numbers.activations,
            packed.layer.bias is not None,
            numbers.one,
            packed.entry_counts,
            packed.pointers,
            self._padding[id(packed)],
            depth,
            np.zeros(packed.num_pes, dtype=lag_type(depth, packed.most_entries)),
            entries_per_line,
            counts,
        )
        names = "cycles broadcasts bubble_cycles blocked_cycles processed_entries processed_padding line_reads"
        by_name = {name: np.ascontiguousarray(values) for name, values in zip(names.split(), counts.T, strict=True)}
        by_name["cycles"] += 1 + PIPELINE_CYCLES
        return by_name


def checked_inputs(layer: CompressedLayer, activations: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Inputs of a layer as finite float32 [inputs, columns]. Raises InputError if they are anything else."""
    try:
        given = np.asarray(activations)
    except ValueError as error:
        raise InputError(f"layer {layer.name!r}: all inputs must be of one length; they are ragged") from error
    if given.ndim != 2 or not len(given) or given.shape[1] != layer.columns or given.dtype.kind not in "fiub":
        raise InputError(
            f"layer {layer.name!r}: activations must be real numbers [inputs, {layer.columns}], at least one input; "
            f"found {given.dtype} {list(given.shape)}"
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(given, dtype=np.float32)
    if not np.isfinite(values).all():
        number, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"layer {layer.name!r}: every activation must be a finite float32; found {given[number, column]} at column "
            f"{column} of input {number}"
        )
    return values


def _accumulate(packed: PackedLayer, numbers: Operands, accumulators: npt.NDArray[Any]) -> PerInput:
    """Add every product of every input to its accumulator [inputs, rows of the block]; overflows, int64 [inputs]."""
    from sim import engine_kernels

    overflows = np.zeros(len(accumulators), dtype=np.int64)
    inputs = (numbers.activations, packed.layer.bias is not None)
    entries = (packed.codes, packed.output_rows, packed.column_begin, numbers.codebook)
    number = numbers.number_format
    if number is None:
        engine_kernels.accumulate_inputs(*inputs, numbers.one, *entries, accumulators)
    else:
        limits = (number.shift, number.lowest, number.highest)
        one = int(numbers.one)
        engine_kernels.accumulate_codes_of_inputs(*inputs, one, *entries, *limits, accumulators, overflows)
    return overflows
