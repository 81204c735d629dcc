"""The only door to the machine: `simulate` one layer on one input, or `count` without the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.packing import PackedLayer, pack
from sim.result import Counts, SimulationResult
from traces import CompressedLayer, InputError

Engine = Literal["closed-form", "reference"]


def simulate(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    engine: Engine = "closed-form",
) -> SimulationResult:
    """Run one layer with one input on one array.

    layer        a compressed layer, or one already packed for this array (`pack`), which saves the packing
    activations  float32 [columns], finite
    config       the array; the EIE paper's design point if none is given
    engine       "closed-form", or "reference" for the tick-by-tick machine: the same result, slowly

    Products and sums are in float64, in the order in which the PEs see them, and the output is rounded to
    float32 at the end (to infinity, if float32 cannot hold it). Raises InputError on input that no array could run.
    """
    config = config or ArrayConfig()
    packed, values = prepare(layer, activations, config)
    if engine == "reference":
        from sim.datapath import Array

        return Array(packed, values, config).run()
    if engine == "closed-form":
        from sim.engine import Run  # compiles on first use

        run = Run(packed, values)
        return SimulationResult(**vars(run.counts(config)), output=run.output())
    raise InputError(f"engine must be 'closed-form' or 'reference'; found {engine!r}")


def count(
    layer: CompressedLayer | PackedLayer, activations: npt.ArrayLike, config: ArrayConfig | None = None
) -> Counts:
    """As `simulate`, without computing the output: what a sweep over arrays needs."""
    config = config or ArrayConfig()
    packed, values = prepare(layer, activations, config)
    from sim.engine import Run

    return Run(packed, values).counts(config)


def count_all(packed: PackedLayer, activations: npt.ArrayLike, configs: Sequence[ArrayConfig]) -> list[Counts]:
    """As `count` for each of many arrays that share the SRAM images; what they share is worked out once."""
    from sim.engine import Run

    if not configs:
        return []
    for config in configs[1:]:
        packed.check_fits(config)
    run = Run(*prepare(packed, activations, configs[0]))
    return [run.counts(config) for config in configs]


def prepare(
    layer: CompressedLayer | PackedLayer, activations: npt.ArrayLike, config: ArrayConfig
) -> tuple[PackedLayer, npt.NDArray[np.float32]]:
    """Check one run's input at the border: the packed layer, and the activations as finite float32."""
    if not isinstance(config, ArrayConfig):
        raise InputError(f"config must be an ArrayConfig; found {type(config).__name__}")
    if isinstance(layer, PackedLayer):
        layer.check_fits(config)
        packed = layer
    elif isinstance(layer, CompressedLayer):
        packed = pack(layer, config)
    else:
        raise InputError(f"layer must be a CompressedLayer or a PackedLayer; found {type(layer).__name__}")
    return packed, checked_activations(packed.layer, activations)


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
