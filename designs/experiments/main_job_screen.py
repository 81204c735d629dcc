"""Screen about the main job: the network, all designs, the Pareto-optimal ones, and the one to take."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from designs.experiments.main_job import MainJobResult, recommended, without_near_ties
from designs.near_ties import TOLERANCE
from designs.sweeps.totals import DesignPoint, front_of, network_totals
from sim.dense_comparison import dense_words
from traces.shell.command_line import console


def print_main_job(result: MainJobResult) -> None:
    """Print the network before and after compression, all designs, and the Pareto-optimal ones."""
    out = console()
    out.print(_network_table(result))
    out.print(
        f"On 64 PEs, layer by layer, the array gives the network's answer for {result.agreeing_inputs} of "
        f"{result.inputs} test images.\n"
    )
    points = network_totals(result.table)
    front = front_of(points, ("latency_us", "energy_nj", "area_mm2"))
    out.print(_grid_table(points, front, result.inputs))
    shown = without_near_ties(front, recommended(points))
    out.print(_front_table(shown))
    merged = len(front) - len(shown)
    if merged:
        print(
            f"{merged} more Pareto-optimal designs differ from one of these by at most {TOLERANCE:.0%} in every cost."
        )


def recommendation(result: MainJobResult) -> str:
    """Return one sentence that names the design to take and the reason."""
    points = network_totals(result.table)
    best = recommended(points)
    holding = " that hold every layer in their SRAMs" if best.fits and not all(point.fits for point in points) else ""
    return (
        f"Take {best.num_pes} PEs, {best.queue_slots} queue slots and {best.line_bits}-bit lines "
        f"({best.latency_us:.2f} us, {best.energy_nj:.1f} nJ per input, {best.area_mm2:.2f} mm2): of the designs"
        f"{holding} within {TOLERANCE:.0%} of the smallest energy-delay product, this one has the smallest area. "
        f"{best.limit_sentence}"
    )


def beside_dense(result: MainJobResult) -> str:
    """Return a sentence that compares the recommended design with the best dense array on the same silicon."""
    best = recommended(network_totals(result.table))
    return dense_words(result.shapes, best.design.array, best.latency_us, best.energy_nj, best.fits, alone=True)


def _network_table(result: MainJobResult) -> Table:
    table = Table(title=f"The network on {result.images}, before and after compression", title_justify="left")
    for heading in ("", "test accuracy", "bytes", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("fp32", f"{result.accuracy_before:.2%}", f"{result.bytes_before:,}", "1.0x")
    table.add_row(
        "container",
        f"{result.accuracy_after:.2%}",
        f"{result.bytes_after:,}",
        f"{result.model.compression_ratio:.1f}x",
    )
    return table


def _grid_table(points: Sequence[DesignPoint], front: Sequence[DesignPoint], inputs: int) -> Table:
    """Make a row for each PE count and queue; the line width changes energy and area alone."""
    widths = sorted({point.line_bits for point in points})
    table = Table(
        title=f"All designs: the whole network, mean of {inputs} inputs; energy per input for each width of a line, "
        "area for the narrowest\n(* Pareto-optimal in latency, energy and area)",
        title_justify="left",
    )
    for heading in ("PEs", "queue slots", f"mm2 ({widths[0]}-bit)", "cycles", "latency us", "efficiency"):
        table.add_column(heading, justify="right")
    for width in widths:
        table.add_column(f"nJ ({width}-bit)", justify="right")
    arrays: dict[tuple[int, int], dict[int, DesignPoint]] = {}
    for point in points:
        arrays.setdefault((point.num_pes, point.queue_slots), {})[point.line_bits] = point
    for by_width in arrays.values():
        narrowest = by_width[widths[0]]
        table.add_row(
            str(narrowest.num_pes),
            str(narrowest.queue_slots),
            f"{narrowest.area_mm2:.2f}",
            f"{narrowest.cycles:,.0f}",
            f"{narrowest.latency_us:.2f}",
            f"{narrowest.efficiency:.1%}",
            *(f"{by_width[width].energy_nj:.1f}{' *' if by_width[width] in front else '  '}" for width in widths),
        )
    return table


def _front_table(front: Sequence[DesignPoint]) -> Table:
    table = Table(title="Pareto-optimal designs, without near-ties", title_justify="left")
    for heading in ("PEs", "queue slots", "line bits", "cycles", "latency us", "efficiency", "nJ", "mm2"):
        table.add_column(heading, justify="right")
    for point in front:
        table.add_row(
            str(point.num_pes),
            str(point.queue_slots),
            str(point.line_bits),
            f"{point.cycles:,.0f}",
            f"{point.latency_us:.2f}",
            f"{point.efficiency:.1%}",
            f"{point.energy_nj:.1f}",
            f"{point.area_mm2:.2f}",
        )
    return table
