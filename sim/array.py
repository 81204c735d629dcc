"""The only door to the machine: `simulate` one layer on one input, or `count` without the output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.fixed_point import FixedPoint, Operands, operands
from sim.memory import Block, DoesNotFitWarning, Shortfall, blocks_of, schedule
from sim.packing import PackedLayer, pack
from sim.result import Counts, SimulationResult, counts_in_sequence
from traces import CompressedLayer, InputError

if TYPE_CHECKING:
    from sim.engine import Run

Engine = Literal["closed-form", "reference"]


def simulate(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    engine: Engine = "closed-form",
    number_format: FixedPoint | None = None,
) -> SimulationResult:
    """Run one layer with one input on one array.

    layer        a compressed layer, or one already packed for this array (`pack`), which saves the packing
    activations  float32 [columns], finite
    config       the array; the EIE paper's design point if none is given
    engine       "closed-form", or "reference" for the tick-by-tick machine: the same result, slowly
    number_format   of an array in fixed point; if none is given, it is fitted to this layer and this input

    In floating point, products and sums are in float64, in the order in which the PEs see them, and the output is
    rounded to float32 at the end (to infinity, if float32 cannot hold it). A bias in the codebook is one more column,
    the last; a free bias is what the accumulators begin with, and costs nothing here.

    Raises InputError on input that no array could run. Warns (DoesNotFitWarning) of a layer that does not fit, unless
    `config` says how it is to be run then.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config, number_format)
    if engine == "reference":
        from sim.datapath import run_layer

        result = run_layer(packed, numbers, config)
    elif engine == "closed-form":
        accumulators = numbers.accumulators(packed.layer.rows)
        overflows = 0

        def accumulate(run: Run, block: Block) -> None:
            nonlocal overflows
            of_block = accumulators[block.rows]
            overflows += run.accumulate(of_block)
            accumulators[block.rows] = of_block

        counts = _run_blocks(packed, numbers, config, accumulate)
        fixed = numbers.number_format is not None
        result = SimulationResult(
            **counts,
            output=numbers.values(accumulators),
            number_format=numbers.number_format,
            output_codes=accumulators if fixed else None,
            overflows=overflows,
            saturated_activations=int(numbers.saturated_activations),
        )
    else:
        raise InputError(f"engine must be 'closed-form' or 'reference'; found {engine!r}")
    _warn_of(result.shortfalls, packed)
    return result


def count(
    layer: CompressedLayer | PackedLayer, activations: npt.ArrayLike, config: ArrayConfig | None = None
) -> Counts:
    """As `simulate`, without computing the output: what a sweep over arrays needs."""
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config)
    counts = Counts(**_run_blocks(packed, numbers, config))
    _warn_of(counts.shortfalls, packed)
    return counts


def count_all(packed: PackedLayer, activations: npt.ArrayLike, configs: Sequence[ArrayConfig]) -> list[Counts]:
    """As `count` for each of many arrays that share the SRAM images; what they share is worked out once.

    Gives no warnings; `Counts.shortfalls` says what an array lacks. Raises InputError if the arrays differ in
    precision, which decides what is broadcast.
    """
    if not configs:
        return []
    for config in configs[1:]:
        packed.check_fits(config)
        if config.precision != configs[0].precision:
            raise InputError(
                f"arrays counted together must have one precision; found {configs[0].precision!r} and "
                f"{config.precision!r}"
            )
    _, numbers = prepare(packed, activations, configs[0])
    runs: dict[int, Run] = {}
    return [Counts(**_run_blocks(packed, numbers, config, runs=runs)) for config in configs]


def _run_blocks(
    packed: PackedLayer,
    numbers: Operands,
    config: ArrayConfig,
    use: Callable[[Run, Block], None] = lambda run, block: None,
    runs: dict[int, Run] | None = None,
) -> dict[str, Any]:
    """The fields of `Counts`. `use` is called with each block's run, in order; `runs`, by block, are used again."""
    from sim.engine import Run  # compiles on first use

    runs = {} if runs is None else runs
    blocks = blocks_of(packed, config)
    counts = []
    for block in blocks:
        key = id(block.packed)  # which `packed` keeps alive
        if key not in runs:
            runs[key] = Run(block.packed, block.operands(numbers))
        counts.append(runs[key].counts(config))
        use(runs[key], block)
    times = schedule(blocks, [part.cycles for part in counts], config)
    return counts_in_sequence(packed, blocks, counts, times, config)


def _warn_of(lacking: Sequence[Shortfall], packed: PackedLayer) -> None:
    if lacking:
        warnings.warn(
            f"layer {packed.layer.name!r} was simulated as if it fitted, but lacks {'; '.join(map(str, lacking))}; "
            f"memory_mode='resident' refuses such a layer, 'passes' and 'streamed' run it in blocks that fit",
            DoesNotFitWarning,
            stacklevel=3,
        )


def prepare(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig,
    number_format: FixedPoint | None = None,
) -> tuple[PackedLayer, Operands]:
    """Check one run's input at the border: the packed layer, and the numbers its arithmetic works on."""
    packed = packed_for(layer, config)
    return packed, operands(packed.layer, checked_activations(packed.layer, activations), config, number_format)


def packed_for(layer: CompressedLayer | PackedLayer, config: ArrayConfig) -> PackedLayer:
    """A layer packed for `config`'s array. Raises InputError if it is none, or was packed for another array."""
    if not isinstance(config, ArrayConfig):
        raise InputError(f"config must be an ArrayConfig; found {type(config).__name__}")
    if isinstance(layer, PackedLayer):
        layer.check_fits(config)
        return layer
    if isinstance(layer, CompressedLayer):
        return pack(layer, config)
    raise InputError(f"layer must be a CompressedLayer or a PackedLayer; found {type(layer).__name__}")


def checked_activations(layer: CompressedLayer, activations: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """One input of a layer as finite float32 [columns]. Raises InputError if it is anything else."""
    name, columns = layer.name, layer.columns
    try:
        given = np.asarray(activations)
    except ValueError as error:
        raise InputError(f"layer {name!r}: activations must be one row of numbers; they are ragged") from error
    if given.dtype.kind not in "fiub":
        raise InputError(f"layer {name!r}: activations must be real numbers; found {given.dtype}")
    if given.shape != (columns,):
        raise InputError(
            f"layer {name!r} has {columns:,} columns, so activations must be [{columns}]; "
            f"found shape {list(given.shape)}"
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(given, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        column = int(np.argmin(finite))
        raise InputError(
            f"layer {name!r}: every activation must be a finite float32; found {given[column]} at column {column}"
        )
    return values
