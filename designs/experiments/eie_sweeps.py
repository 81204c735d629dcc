"""Sweeps of the EIE paper over its nine layers, and a search for a better array of the same area.

    queue_slots   Fig 8: load balance against the depth of the queue
    line_bits     Fig 9: energy of line reads against the width of a line
    num_pes       Figs 11 to 13: speedup, padding and load balance against the number of PEs
    found         arrays of at most the area of the paper's array, with SRAMs no larger than the layers need

Both areas are those of the cost model. Arrays that do not reach the paper's clock are left out. VGG-6 needs more
pointers than the SRAM of the paper's array holds; it is simulated as if they fitted.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.design import Design
from designs.space import Constraints, Space
from designs.sweeps.fitting import fitted
from designs.sweeps.packings import packed_images
from designs.sweeps.sampling import Sample
from designs.sweeps.sweep import sweep
from designs.sweeps.workers import Workers
from designs.sweeps.workload import Workload
from sim import ArrayConfig, simulate
from sim.cost.area import area_mm2
from sim.cost.sram import MAX_PORT_BITS
from sim.cost.timing import clock_excess, timing
from sim.row_assignment import RowAssignment
from traces import InputError

PAPER = Design(ArrayConfig())
PAPER_MM2 = area_mm2(PAPER.array)  # 40.8 in Han et al., "EIE", ISCA 2016, section VI
WITHOUT_TIMING = Design(ArrayConfig(num_pes=88, queue_slots=64, line_bits=512, index_bits=6), "entries")
"""Array that this search found in version 1.0, whose costs had no clock limit, no divider and no energy of queues."""
SWEPT = {
    "queue_slots": Space({"queue_slots": (2, 4, 8, 16, 32, 64, 128, 256)}),
    "line_bits": Space({"line_bits": (32, 64, 128, 256, 512)}),
    "num_pes": Space({"num_pes": (1, 2, 4, 8, 16, 32, 64, 128, 256)}),
}
SEARCHED: dict[str, Sequence[Any]] = {
    "num_pes": (64, 80, 88, 96, 104, 112),
    "index_bits": (4, 5, 6),
    "row_assignment": ("interleaved", "entries"),
}
QUEUES, LINES = (8, 16, 32, 64), (64, 128, 256, 512)
ENTRIES_PER_LINE = (8, 16, 32, 64)  # powers of two need no divider
REFERENCE_WEIGHTS = 6_000_000  # most weights of a layer that the tick machine runs in seconds


@dataclass(frozen=True, eq=False)
class ParameterSweep:
    """Sweep of one parameter of the paper's array.

    Attributes
    ----------
    parameter : str
        Name of the parameter.
    table : pyarrow.Table
        Rows of the sweep, with SWEEP_COLUMNS.
    """

    parameter: str
    table: pa.Table


@dataclass(frozen=True, eq=False)
class FoundArray:
    """Array of at most the paper's area that stores the network in no more bits, and its gain.

    Attributes
    ----------
    design : Design
        Design of the smallest energy-delay product, as geometric mean over the layers.
    gain : float
        Energy-delay product of the paper's array over that of `design`.
    network_bits : (int, int)
        Stored entries times their bits, on the paper's array and on `design`.
    steps : tuple of (str, float)
        Changes from the paper's array to `design`, and the gain after each.
    by_layer : dict of str to (float, float)
        Energy-delay product in nJ us by layer, on the paper's array and on `design`.
    same_entries : Design
        Best design with the paper's entries of 4 + 4 bits.
    same_entries_gain : float
        Its gain.
    searched : int
        Number of arrays compared.
    too_fast : int
        Number of arrays left out because they do not reach the paper's clock.
    without_timing : Design
        WITHOUT_TIMING, with the SRAMs and stages that it needs.
    without_timing_gain : float
        Its gain.
    """

    design: Design
    gain: float
    network_bits: tuple[int, int]
    steps: tuple[tuple[str, float], ...]
    by_layer: dict[str, tuple[float, float]]
    same_entries: Design
    same_entries_gain: float
    searched: int
    too_fast: int
    without_timing: Design
    without_timing_gain: float


def run_eie_sweeps(
    workload: Workload, folder: Path, workers: int | Workers = 1, fresh: bool = False
) -> list[ParameterSweep]:
    """Sweep each of the paper's three parameters alone; each sweep has its own folder in `folder`.

    Parameters
    ----------
    workload : Workload
        Layers to simulate.
    folder : Path
        Folder of the results; an interrupted run resumes from it.
    workers : int or Workers
        Processes on this machine, or other workers.
    fresh : bool
        Discard earlier results.
    """
    return [
        ParameterSweep(name, sweep(workload, space, folder=folder / name, workers=workers, fresh=fresh))
        for name, space in SWEPT.items()
    ]


def find_array(workload: Workload, folder: Path, workers: int | Workers = 1, fresh: bool = False) -> FoundArray:
    """Search arrays of at most PAPER_MM2 that reach the paper's clock for the smallest energy-delay product.

    A first sweep finds the SRAM sizes that each PE count, gap width and row assignment needs, in whole KiB. A second
    sweep varies queues and lines with SRAMs of these sizes; the cycles of pipeline and broadcast follow from them. The
    parameters are those of `run_eie_sweeps`.
    """
    sizes = sweep(workload, Space(SEARCHED), folder=folder / "sizes", workers=workers, fresh=fresh)
    before = fitted(WITHOUT_TIMING, sizes)
    designs, limit, too_fast = [PAPER, before], Constraints(max_area_mm2=PAPER_MM2), 0
    for (pes, bits, rows), queue in itertools.product(itertools.product(*SEARCHED.values()), QUEUES):
        for line in _line_widths(PAPER.array.weight_bits + bits):
            array = ArrayConfig(num_pes=pes, queue_slots=queue, line_bits=line, index_bits=bits)
            design = fitted(Design(array, rows), sizes)
            if limit.refuses(design.array) is not None:
                continue
            if clock_excess(design.array):
                too_fast += 1
            elif design != before:
                designs.append(design)
    searched = {**SEARCHED, "queue_slots": QUEUES, "line_bits": LINES, "entries_per_line": ENTRIES_PER_LINE}
    chosen = Sample.of(designs, {"searched": searched})
    table = sweep(workload, chosen, folder=folder / "found", workers=workers, fresh=fresh)
    products = energy_delay_products(table)
    means = np.exp(np.log(products).mean(axis=1))
    entry_bits = np.array([design.array.entry_bits for design in designs])
    bits = table["stored_entries"].to_numpy().reshape(products.shape).sum(axis=1) * entry_bits
    allowed = table["fits"].to_numpy().reshape(products.shape).all(axis=1) & (bits <= bits[0])
    allowed[1] &= not clock_excess(before.array) and limit.refuses(before.array) is None
    gains = np.where(allowed, means[0] / means, 0.0)
    same = np.where(entry_bits == entry_bits[0], gains, 0.0)
    best, best_same = int(gains.argmax()), int(same.argmax())
    return FoundArray(
        design=designs[best],
        gain=float(gains[best]),
        network_bits=(int(bits[0]), int(bits[best])),
        steps=_steps(workload, sizes, designs[best]),
        by_layer={
            name: (float(before), float(after))
            for name, before, after in zip(workload.layer_names, products[0], products[best], strict=True)
        },
        same_entries=designs[best_same],
        same_entries_gain=float(same[best_same]),
        searched=len(designs) - 1,
        too_fast=too_fast,
        without_timing=before,
        without_timing_gain=float(means[0] / means[1]),
    )


def _line_widths(entry_bits: int) -> list[int]:
    """Return the widths of a line to try: LINES, and those of ENTRIES_PER_LINE up to the widest SRAM port."""
    exact = (entry_bits * entries for entries in ENTRIES_PER_LINE)
    return sorted({*LINES, *(bits for bits in exact if bits <= MAX_PORT_BITS)})


def energy_delay_products(table: pa.Table) -> Any:
    """Return energy times latency in nJ us, float64 [designs, layers]."""
    layers = len(set(table["layer"].to_pylist()))
    product = table["energy_pj"].to_numpy() / 1e3 * table["latency_us"].to_numpy()
    return product.reshape(-1, layers)


def _steps(workload: Workload, sizes: pa.Table, best: Design) -> tuple[tuple[str, float], ...]:
    """List the changes from the paper's array to the best one, with the gain after each."""
    array, rows = PAPER.array, PAPER.row_assignment
    steps: list[tuple[str, Design]] = [("the paper's array", PAPER)]

    def take(change: str, row_assignment: RowAssignment = rows, **changes: Any) -> None:
        nonlocal array, rows
        array, rows = dataclasses.replace(array, **changes), row_assignment
        design = fitted(Design(array, rows), sizes)
        reached = math.floor(timing(design.array).highest_clock_mhz)
        slower = f" (reaches {reached} MHz)" if clock_excess(design.array) else ""
        steps.append((change + slower, design))

    take("SRAMs as large as the layers need")
    take(f"lines of {best.array.line_bits} bits", line_bits=best.array.line_bits)
    take(f"{best.array.queue_slots} queue slots", queue_slots=best.array.queue_slots)
    take(f"gaps of {best.array.index_bits} bits", index_bits=best.array.index_bits)
    take(f"{best.array.num_pes} PEs", num_pes=best.array.num_pes)
    take(f"rows: {best.row_assignment}", best.row_assignment)
    different = list(dict.fromkeys(design for _, design in steps))
    products = energy_delay_products(sweep(workload, different))
    means = dict(zip(different, np.exp(np.log(products).mean(axis=1)), strict=True))
    return tuple((change, float(means[PAPER] / means[design])) for change, design in steps)


def verify(workload: Workload, design: Design) -> tuple[str, ...]:
    """Run the layers of at most REFERENCE_WEIGHTS weights on the tick machine; return their names.

    Raises
    ------
    InputError
        If cycles, a counter, the energy or the output differs from the closed form.
    """
    packed = packed_images(workload, design.packing)
    verified = []
    for (layer,), work in zip(packed, workload.layers, strict=True):
        if work.layer.codes.size > REFERENCE_WEIGHTS:
            continue
        ticked, closed = (
            simulate(layer, work.activations[0], design.array, engine) for engine in ("reference", "closed-form")
        )
        for name in ("cycles", "broadcasts", "useful_macs", "line_reads", "pointer_reads", "blocked_cycles", "energy"):
            if getattr(ticked, name) != getattr(closed, name):
                raise InputError(
                    f"layer {work.layer.name!r}: {name} is {getattr(ticked, name)} on the tick machine and "
                    f"{getattr(closed, name)} in closed form; this is a defect of the simulator"
                )
        if not np.array_equal(ticked.output, closed.output):
            raise InputError(f"layer {work.layer.name!r}: the tick machine's output differs from the closed form's")
        verified.append(work.layer.name)
    return tuple(verified)
