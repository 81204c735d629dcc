"""The EIE paper's own studies of its design, as sweeps over its nine layers; and an array that beats the paper's.

    queue_slots   Fig 8: load balance against the depth of the queue
    line_bits     Fig 9: energy of line reads against the width of a line
    num_pes       Figs 11 to 13: speedup, padding and load balance against the number of PEs
    found         arrays of at most the paper's area, with SRAMs no larger than the layers need

The paper's array is taken as the paper runs it: VGG-6 has more pointers than it holds, and is run as if it did not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.design import Design, RowAssignment
from designs.space import Constraints, Space
from designs.sweeps.fitting import fitted
from designs.sweeps.packings import packed_images
from designs.sweeps.sampling import Sample
from designs.sweeps.sweep import sweep
from designs.sweeps.workers import Workers
from designs.sweeps.workload import Workload
from sim import ArrayConfig, simulate
from traces import InputError

PAPER_MM2 = 40.8  # Han et al., "EIE", ISCA 2016, section VI
PAPER = Design(ArrayConfig())
STUDIES = {
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
REFERENCE_WEIGHTS = 6_000_000  # of a layer that the tick machine runs in seconds


@dataclass(frozen=True, eq=False)
class Study:
    """A study's table (SWEEP_COLUMNS), and what it varies."""

    name: str
    table: pa.Table


@dataclass(frozen=True, eq=False)
class FoundArray:
    """An array of at most the paper's area that stores the network in no more bits, and what it gains.

    design         the one of the least energy-delay product, geometric mean over the layers
    gain           how many times less that is than the paper's array's
    network_bits   entries, padding included, times their bits: the paper's array, and `design`
    steps          what was changed, one thing after the other, and the gain after each
    by_layer       energy-delay product in nJ us by layer: the paper's array, and `design`
    same_entries, same_entries_gain   the best of those with the paper's entries of 4 + 4 bits
    searched       how many arrays were compared
    """

    design: Design
    gain: float
    network_bits: tuple[int, int]
    steps: tuple[tuple[str, float], ...]
    by_layer: dict[str, tuple[float, float]]
    same_entries: Design
    same_entries_gain: float
    searched: int


def run_studies(workload: Workload, folder: Path, workers: int | Workers = 1, fresh: bool = False) -> list[Study]:
    """Sweep the paper's three parameters, each alone; results are kept in a folder for each."""
    return [
        Study(name, sweep(workload, space, folder=folder / name, workers=workers, fresh=fresh))
        for name, space in STUDIES.items()
    ]


def find_array(workload: Workload, folder: Path, workers: int | Workers = 1, fresh: bool = False) -> FoundArray:
    """Search arrays of at most PAPER_MM2 at the paper's clock for the least energy-delay product.

    First, each PE count, gap width and row assignment says how much its fullest PE holds; then queues and lines are
    tried, with SRAMs that hold just that, in whole KiB. Rows balanced by entries know nothing of the inputs.
    """
    sizes = sweep(workload, Space(SEARCHED), folder=folder / "sizes", workers=workers, fresh=fresh)
    designs, limit = [PAPER], Constraints(max_area_mm2=PAPER_MM2)
    for (pes, bits, rows), (queue, line) in itertools.product(
        itertools.product(*SEARCHED.values()), itertools.product(QUEUES, LINES)
    ):
        array = ArrayConfig(num_pes=pes, queue_slots=queue, line_bits=line, index_bits=bits)
        design = fitted(Design(array, rows), sizes)
        if limit.refuses(design.array) is None:
            designs.append(design)
    chosen = Sample(tuple(designs), origin={"searched": {**SEARCHED, "queue_slots": QUEUES, "line_bits": LINES}})
    table = sweep(workload, chosen, folder=folder / "found", workers=workers, fresh=fresh)
    products = energy_delay_products(table)
    means = np.exp(np.log(products).mean(axis=1))
    entry_bits = np.array([design.array.entry_bits for design in designs])
    bits = table["stored_entries"].to_numpy().reshape(products.shape).sum(axis=1) * entry_bits
    allowed = table["fits"].to_numpy().reshape(products.shape).all(axis=1) & (bits <= bits[0])
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
    )


def energy_delay_products(table: pa.Table) -> Any:
    """Energy times latency in nJ us, float64 [designs, layers]."""
    layers = len(set(table["layer"].to_pylist()))
    product = table["energy_pj"].to_numpy() / 1e3 * table["latency_us"].to_numpy()
    return product.reshape(-1, layers)


def _steps(workload: Workload, sizes: pa.Table, found: Design) -> tuple[tuple[str, float], ...]:
    """From the paper's array to the found one, one thing after the other."""
    array, rows = PAPER.array, PAPER.row_assignment
    taken: list[tuple[str, Design]] = [("the paper's array", PAPER)]

    def take(what: str, row_assignment: RowAssignment = rows, **changes: Any) -> None:
        nonlocal array, rows
        array, rows = dataclasses.replace(array, **changes), row_assignment
        taken.append((what, fitted(Design(array, rows), sizes)))

    take("SRAMs as large as the layers need")
    take(f"lines of {found.array.line_bits} bits", line_bits=found.array.line_bits)
    take(f"{found.array.queue_slots} queue slots", queue_slots=found.array.queue_slots)
    take(f"gaps of {found.array.index_bits} bits", index_bits=found.array.index_bits)
    take(f"{found.array.num_pes} PEs", num_pes=found.array.num_pes)
    take(f"rows: {found.row_assignment}", found.row_assignment)
    different = list(dict.fromkeys(design for _, design in taken))
    products = energy_delay_products(sweep(workload, different))
    means = dict(zip(different, np.exp(np.log(products).mean(axis=1)), strict=True))
    return tuple((what, float(means[PAPER] / means[design])) for what, design in taken)


def verify(workload: Workload, design: Design) -> tuple[str, ...]:
    """Run the layers that are small enough on the tick machine; their names.

    Raises InputError if cycles, a counter, the energy or the output differs from the closed form.
    """
    packed = packed_images(workload, design.packing)
    verified = []
    for layer, work in zip(packed, workload.layers, strict=True):
        if work.layer.codes.size > REFERENCE_WEIGHTS:
            continue
        ticked, closed = (
            simulate(layer, work.activations[0], design.array, engine) for engine in ("reference", "closed-form")
        )
        for name in ("cycles", "broadcasts", "useful_macs", "line_reads", "pointer_reads", "blocked_cycles", "energy"):
            if getattr(ticked, name) != getattr(closed, name):
                raise InputError(
                    f"layer {work.layer.name!r}: {name} is {getattr(ticked, name)} on the tick machine and "
                    f"{getattr(closed, name)} in closed form; this is a mistake of the simulator"
                )
        if not np.array_equal(ticked.output, closed.output):
            raise InputError(f"layer {work.layer.name!r}: the tick machine's output differs from the closed form's")
        verified.append(work.layer.name)
    return tuple(verified)
