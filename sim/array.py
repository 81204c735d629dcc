"""Entry points of the simulator: `simulate` runs a layer on one input, `count` counts its events without the output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.cost.timing import warn_of_clock
from sim.fixed_point import FixedPoint, Operands, operands
from sim.memory import Block, DoesNotFitWarning, Shortfall, blocks_of, schedule, shortfalls
from sim.packing import PackedLayer, pack
from sim.result import Counts, SimulationResult, counts_in_sequence
from traces import CompressedLayer, InputError
from traces.arrays import Floats32

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

    Parameters
    ----------
    layer : CompressedLayer or PackedLayer
        Layer to run. A layer that is already packed for this array (`pack`) saves the packing.
    activations : array_like
        Input, float32 [columns], finite.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.
    engine : {"closed-form", "reference"}
        "closed-form" is the fast engine; "reference" is the tick machine, which gives the same result slowly.
    number_format : FixedPoint, optional
        Format of an array in fixed point. By default it is fitted to this layer and this input.

    Returns
    -------
    SimulationResult
        Output, cycles, counters and energy.

    Raises
    ------
    InputError
        If layer or input are invalid, or `config.memory_mode` refuses a layer that does not fit.

    Warns
    -----
    DoesNotFitWarning
        If the layer does not fit and `config.memory_mode` is "unlimited".
    ClockWarning
        If SRAMs or logic of the array do not reach its clock (`sim.timing`).

    Notes
    -----
    In floating point, products and sums are float64, in the order in which the PEs compute them. The output is rounded
    to float32 at the end, and to infinity beyond its range. A bias that is stored as codes is one more column,
    the last one. A bias that is stored as floats (a free bias) is the initial value of the accumulators and costs
    nothing here.
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
            sums = accumulators[block.rows]
            overflows += run.accumulate(sums)
            accumulators[block.rows] = sums

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
    _warn_of(result.shortfalls, packed, config)
    return result


def count(
    layer: CompressedLayer | PackedLayer, activations: npt.ArrayLike, config: ArrayConfig | None = None
) -> Counts:
    """Count the events of one layer with one input, as `simulate` does, without computing the output.

    Parameters
    ----------
    layer : CompressedLayer or PackedLayer
        Layer to run.
    activations : array_like
        Input, float32 [columns], finite.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.

    Returns
    -------
    Counts
        Cycles, counters and energy.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config)
    counts = Counts(**_run_blocks(packed, numbers, config))
    _warn_of(counts.shortfalls, packed, config)
    return counts


def count_all(packed: PackedLayer, activations: npt.ArrayLike, configs: Sequence[ArrayConfig]) -> list[Counts]:
    """Count the events of one packed layer with one input on many arrays.

    Parameters
    ----------
    packed : PackedLayer
        Layer, packed for these arrays.
    activations : array_like
        Input, float32 [columns], finite.
    configs : sequence of ArrayConfig
        Arrays that the layer is packed for. They have one precision, since it decides which values are broadcast.

    Returns
    -------
    list of Counts
        Counts on each array. `Counts.shortfalls` lists the exceeded capacities; there are no warnings.

    Raises
    ------
    InputError
        If the arrays differ in precision or the layer was packed for another array.
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
    """Return the fields of `Counts`; call `use` with the run of each block, and keep the runs by block in `runs`."""
    from sim.engine import Run  # compiles on first use

    runs = {} if runs is None else runs
    blocks = blocks_of(packed, config)
    counts = []
    for block in blocks:
        key = id(block.packed)  # `packed` keeps it alive
        if key not in runs:
            runs[key] = Run(block.packed, block.operands(numbers))
        counts.append(runs[key].counts(config))
        use(runs[key], block)
    if len(blocks) == 1 and not blocks[0].load_bytes:  # the usual case; sweeps repeat only this one
        return {**vars(counts[0]), "shortfalls": shortfalls(packed, config)}
    times = schedule(blocks, [part.cycles for part in counts], config)
    return counts_in_sequence(packed, blocks, counts, times, config)


def _warn_of(lacking: Sequence[Shortfall], packed: PackedLayer, config: ArrayConfig) -> None:
    """Warn if a layer was simulated as if it fitted, or at a clock that the array does not reach."""
    warn_of_clock(config, stacklevel=4)
    if lacking:
        warnings.warn(
            f"layer {packed.layer.name!r} was simulated as if it fitted, but exceeds {'; '.join(map(str, lacking))}; "
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
    """Check the input of one run; return the packed layer and the operands of its arithmetic."""
    packed = packed_for(layer, config)
    return packed, operands(packed, checked_activations(packed.layer, activations), config, number_format)


def packed_for(layer: CompressedLayer | PackedLayer, config: ArrayConfig) -> PackedLayer:
    """Return a layer packed for `config`'s array; raise InputError if it was packed for another one."""
    if not isinstance(config, ArrayConfig):
        raise InputError(f"config must be an ArrayConfig; found {type(config).__name__}")
    if isinstance(layer, PackedLayer):
        layer.check_fits(config)
        return layer
    if isinstance(layer, CompressedLayer):
        return pack(layer, config)
    raise InputError(f"layer must be a CompressedLayer or a PackedLayer; found {type(layer).__name__}")


def checked_activations(layer: CompressedLayer, activations: npt.ArrayLike) -> Floats32:
    """Return one input of a layer as finite float32 [columns], or raise InputError."""
    name, columns = layer.name, layer.columns
    try:
        array = np.asarray(activations)
    except ValueError as error:
        raise InputError(f"layer {name!r}: activations must be one row of numbers; they are ragged") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"layer {name!r}: activations must be real numbers; found {array.dtype}")
    if array.shape != (columns,):
        raise InputError(
            f"layer {name!r} has {columns:,} columns, so activations must be [{columns}]; "
            f"found shape {list(array.shape)}"
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        column = int(np.argmin(finite))
        raise InputError(
            f"layer {name!r}: every activation must be a finite float32; found {array[column]} at column {column}"
        )
    return values
