"""One screen about a network on an array: how fast, how much energy, what holds it up, what to try next."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from rich.table import Table

from designs.sweeps.advice import Advice
from designs.sweeps.network_run import NetworkRun
from sim import Energy
from sim.network import NetworkResult
from sim.observe.cycles import CYCLE_CLASSES
from sim.observe.screen import print_shortfalls
from traces.shell.command_line import console

_SHOWN_CHANGES = 10
_WORTH_A_TRY = 1.02  # in energy x delay
_MUCH_BLOCKED = 0.5  # of the share of starved cycles


def print_network_run(run: NetworkRun, advice: Advice) -> None:
    """Latency, energy and answers; each layer; the bottleneck; changes of the array, as simulated."""
    result, array = run.result, run.result.config
    inputs = len(result.output)
    rows = "" if run.row_assignment == "interleaved" else f", rows balanced by {run.row_assignment}"
    print(
        f"{run.container} on {array.num_pes} PEs, {array.queue_slots} queue slots, {array.line_bits}-bit lines, "
        f"{array.clock_mhz:g} MHz{rows}; mean of {inputs} inputs, {run.inputs_from}\n"
    )
    low, high = np.percentile(result.latency_us, (5, 95))
    latency_us = result.latency_us.mean()
    print(
        f"How fast:   {latency_us:,.2f} us an input, {low:,.2f} to {high:,.2f} for nine in ten; "
        f"{result.cycles.mean():,.0f} cycles; {1e6 / latency_us:,.0f} inputs a second"
    )
    print(f"How much:   {result.energy_pj.mean() / 1e3:,.1f} nJ an input ({_energy_shares(result)})")
    print(f"            {advice.area_mm2:,.2f} mm2, {result.energy_pj.mean() / latency_us / 1e6:.3f} W")
    if run.accuracy is not None:
        print(f"Right answers on these inputs: {run.accuracy:.1%}.")
    print()
    console().print(_layers(result, advice))
    print(f"\nBottleneck: {_bottleneck(result, advice)}\n")
    console().print(_changes(advice))
    print(_advice(advice))
    for layer in result.layers:
        print_shortfalls(layer.name, layer.shortfalls)


def _energy_shares(result: NetworkResult) -> str:
    """The blocks that take most energy."""
    by_block = {
        field.name: sum(float(getattr(layer.mean_energy, field.name)) for layer in result.layers)
        for field in fields(Energy)
    }
    total = sum(by_block.values())
    largest = sorted(by_block, key=lambda name: -by_block[name])[:4]
    return ", ".join(
        f"{name.removesuffix('_pj').replace('_', ' ').replace('dram', 'DRAM')} {by_block[name] / total:.0%}"
        for name in largest
        if by_block[name] > 0
    )


def _layers(result: NetworkResult, advice: Advice) -> Table:
    table = Table(title="Layer by layer, and what the PEs do in these cycles", title_justify="left")
    table.add_column("layer")
    headings = ("rows x columns", "entries", "non-zero", "cycles", "time", "nJ", *CYCLE_CLASSES)
    for heading in headings:
        if heading != "waiting" or advice.total["waiting"]:
            table.add_column(heading.replace("_", " "), justify="right")
    classes = [name for name in CYCLE_CLASSES if name != "waiting" or advice.total["waiting"]]
    cycles = result.cycles.mean()
    for layer in result.layers:
        table.add_row(
            layer.name,
            f"{layer.rows} x {layer.columns}",
            f"{layer.stored_entries:,}",
            f"{layer.activation_density:.0%}",
            f"{layer.cycles.mean():,.0f}",
            f"{layer.cycles.mean() / cycles:.0%}",
            f"{layer.energy_pj.mean() / 1e3:,.1f}",
            *(f"{advice.layers[layer.name][name]:.0%}" for name in classes),
        )
    table.add_section()
    table.add_row(
        "network",
        "",
        f"{sum(layer.stored_entries for layer in result.layers):,}",
        "",
        f"{cycles:,.0f}",
        "",
        f"{result.energy_pj.mean() / 1e3:,.1f}",
        *(f"{advice.total[name]:.0%}" for name in classes),
    )
    return table


def _bottleneck(result: NetworkResult, advice: Advice) -> str:
    """The class of cycles that takes most from computing, and what it comes from."""
    array = result.config
    taken = sum(float((layer.broadcasts * array.num_pes).sum()) for layer in result.layers)
    entries_a_column = sum(float(layer.processed_entries.sum()) for layer in result.layers) / taken
    few = f"a broadcast column has {entries_a_column:.2f} entries for each of {array.num_pes} PEs"
    shares = advice.total
    if advice.bottleneck == "starved" and advice.blocked_share < _MUCH_BLOCKED * shares["starved"]:
        why = f"the PEs have no column to work on: at most one column a cycle is broadcast, and {few}"
    else:
        why = {
            "padding": f"the PEs go through padding: gaps of {array.index_bits} bits are too short for columns as "
            f"sparse as these on {array.num_pes} PEs",
            "empty_columns": f"the PEs take columns that hold no entry of theirs: {few}",
            "starved": f"the PEs have no column to work on, while one full queue holds the broadcast up "
            f"({advice.blocked_share:.0%} of all cycles): the work is uneven",
            "drained": "the PEs are done and wait for the one that ends last: the work is uneven, or the layers short",
            "waiting": f"the PEs wait for DRAM ({array.dram_gb_per_s:g} GB/s)",
        }[advice.bottleneck]
    return f"{shares[advice.bottleneck]:.0%} of the PEs' cycles, {why}. They compute in {shares['computing']:.0%}."


def _changes(advice: Advice) -> Table:
    table = Table(title="One change at a time, simulated on the same inputs", title_justify="left")
    table.add_column("change")
    for heading in ("latency us", "", "nJ", "", "mm2", "", "gain in energy x delay"):
        table.add_column(heading, justify="right")
    for change in advice.changes[:_SHOWN_CHANGES] + advice.changes[_SHOWN_CHANGES:][-1:]:
        if change.parameter == "together":
            table.add_section()
        table.add_row(
            change.what,
            f"{change.point.latency_us:,.2f}",
            f"{1 / change.speedup - 1:+.1%}",
            f"{change.point.energy_nj:,.1f}",
            f"{1 / change.energy_gain - 1:+.1%}",
            f"{change.point.area_mm2:,.2f}",
            f"{change.area_ratio - 1:+.1%}",
            f"{change.energy_delay_gain:.2f}x",
        )
    return table


def _advice(advice: Advice) -> str:
    """What to try next."""
    worthy = [each for each in advice.changes if each.energy_delay_gain >= _WORTH_A_TRY]
    if not worthy:
        return (
            "Try next:   none of these changes gains anything worth its while; try a smaller network, or another clock."
        )
    best = max(worthy, key=lambda change: change.energy_delay_gain)
    fastest = max(advice.changes, key=lambda change: change.speedup)
    words = (
        f"Try next:   {best.what}: {best.energy_delay_gain:.2f} times less energy x delay, at "
        f"{best.area_ratio - 1:+.1%} of the area."
    )
    if fastest.what != best.what and fastest.speedup > best.speedup:
        words += (
            f"\n            For latency alone, {fastest.what}: {fastest.speedup:.2f} times as fast, at "
            f"{fastest.area_ratio - 1:+.1%} of the area."
        )
    return words
