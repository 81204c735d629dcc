"""Screen about a network on an array: latency, energy, bottleneck, and changes to try."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from rich.table import Table

from designs.sweeps.advice import Advice
from designs.sweeps.network_run import FITTED_TO_SAME, NetworkRun
from designs.sweeps.original import LOSS_LEVEL
from sim import Energy
from sim.network import LayerCosts, NetworkResult
from sim.observe.cycles import CYCLE_CLASSES
from sim.observe.screen import (
    energy_limit_words,
    energy_words,
    limit_words,
    print_clock,
    print_network_dense,
    print_network_memories,
    print_outputs,
    short_names,
)
from traces.shell.command_line import console

_SHOWN_CHANGES = 10
_WORTH_A_TRY = 1.02  # gain in energy x delay
_MUCH_BLOCKED = 0.5  # share of the starved cycles


def print_network_run(run: NetworkRun, advice: Advice) -> None:
    """Print latency, energy and accuracy, each layer, the bottleneck, and simulated changes of the array.

    Parameters
    ----------
    run : NetworkRun
        The network on the array.
    advice : Advice
        Classes of its cycles, and changes of the array.
    """
    result, array = run.result, run.result.config
    rows = "" if run.row_assignment == "interleaved" else f", rows balanced by {run.row_assignment}"
    print(
        f"{run.container} on {array.num_pes} PEs, {array.queue_slots} queue slots, {array.line_bits}-bit lines, "
        f"{array.weight_bits}-bit codes, {array.clock_mhz:g} MHz{rows}; mean of {run.inputs} inputs, {run.inputs_from}"
    )
    if run.sequential:
        print("The container has no graph: its layers run one after the other, with ReLU in between.")
    print()
    low, high = np.percentile(result.latency_us, (5, 95))
    latency_us = result.latency_us.mean()
    print(
        f"Latency:    {latency_us:,.2f} us per input ({low:,.2f} to {high:,.2f} for nine in ten); "
        f"{result.cycles.mean():,.0f} cycles; {1e6 / latency_us:,.0f} inputs per second"
    )
    least = energy_limit_words(result.energy_limit, result.cycles.size)
    print(f"Energy:     {result.energy_nj.mean():,.1f} nJ per input ({_energy_shares(result)}); {least}")
    print(f"Area:       {advice.area_mm2:,.2f} mm2; power {result.energy_pj.mean() / latency_us / 1e6:.3f} W")
    print_network_dense(result)
    if run.accuracy is not None:
        print(f"Accuracy:   {run.accuracy:.1%} on these inputs")
    if run.lost is not None:
        lost = run.lost.of_inputs
        print(
            f"Loss:       {lost.mean:.4g} on these inputs in the array's arithmetic ({result.config.precision}), "
            f"{lost.low:.4g} to {lost.high:.4g} for inputs to come (confidence level {LOSS_LEVEL:.0%}): "
            f"{run.lost.loss.description}"
        )
    if run.formats_from:
        remedy = "; give others with --calibration, so that accuracy is that of new inputs"
        print(f"Formats:    fitted to {run.formats_from}{remedy if run.formats_from == FITTED_TO_SAME else ''}")
    print_network_memories(result)
    print_outputs(result)
    print()
    own_codebooks = any(group.layer.num_codebooks > 1 for groups in run.packed for group in groups)
    console().print(_layers(result, advice, own_codebooks))
    print(f"\nBottleneck: {_bottleneck(result, advice)}")
    print(f"Limit:      {limit_words(result.limit, result.cycles.size)}\n")
    console().print(_changes(advice))
    _print_sampled(run, advice)
    print(_advice(advice))
    print_clock(result.config)


def _print_sampled(run: NetworkRun, advice: Advice) -> None:
    """Print how many vectors the changes and the classes of cycles come from, if they do not come from all."""
    every = round(sum(each.groups * each.vectors_per_input * each.inputs for each in run.workload.layers))
    taken = sum(len(each.activations) for each in run.workload.layers)
    if run.workload.sampled:
        error = max(each.sampling_error for each in run.workload.layers)
        print(
            f"The changes are simulated on {taken:,} of {every:,} vectors; this alters mean cycles and energy of a "
            f"layer by {error:.1%} at most (confidence level 95 %)."
        )
    if advice.classified_vectors < every:
        print(f"The PEs' cycles without computation are divided into classes by {advice.classified_vectors:,} vectors.")


def _energy_shares(result: NetworkResult) -> str:
    """Return the blocks of the largest energy, with their shares."""
    by_block = {
        field.name: sum(float(getattr(layer.mean_energy, field.name)) for layer in result.layers)
        for field in fields(Energy)
    }
    total = sum(by_block.values())
    largest = sorted(by_block, key=lambda name: -by_block[name])[:4]
    return ", ".join(f"{energy_words(name)} {by_block[name] / total:.0%}" for name in largest if by_block[name] > 0)


def _layers(result: NetworkResult, advice: Advice, own_codebooks: bool) -> Table:
    several = any(layer.vectors != 1 for layer in result.layers)
    padding = (0, 0 if several else 1)  # room for the names of the layers
    table = Table(title="Layer by layer, with the PEs' cycles by class", title_justify="left", padding=padding)
    table.add_column("layer")
    vectors = ("vectors",) if several else ()
    compact = any(any(layer.left_out) for layer in result.layers)
    left_out = ("left out",) if compact else ()
    codebooks = ("codebooks", "bits of these") if own_codebooks else ()
    has_thresholds = any(layer.activation_threshold for layer in result.layers)
    active = ("threshold", "broadcast") if has_thresholds else ("non-zero",)
    headings = (
        "rows x columns",
        *left_out,
        *codebooks,
        *vectors,
        "entries",
        *active,
        "cycles",
        "waits",
        "nJ",
        "error",
        *CYCLE_CLASSES,
    )
    for heading in headings:
        if heading != "waiting" or advice.total["waiting"]:
            table.add_column(heading.replace("_", " "), justify="right")
    classes = [name for name in CYCLE_CLASSES if name != "waiting" or advice.total["waiting"]]
    cycles = result.cycles.mean()
    for layer, name in zip(result.layers, short_names([each.name for each in result.layers]), strict=True):
        table.add_row(
            name,
            f"{layer.rows} x {layer.columns}",
            *((f"{layer.left_out[0]}, {layer.left_out[1]}",) if compact else ()),
            *((f"{layer.num_codebooks:,}", f"{_codebook_bits(layer):,}") if own_codebooks else ()),
            *((f"{layer.vectors:,g}",) if several else ()),
            f"{layer.stored_entries:,}",
            *((f"{layer.activation_threshold:.3g}",) if has_thresholds else ()),
            f"{layer.activation_density:.0%}",
            f"{layer.network_cycles.mean():,.0f}",
            f"{(layer.network_cycles - layer.cycles).mean() / layer.network_cycles.mean():.0%}",
            f"{layer.energy_nj.mean():,.1f}",
            f"{layer.largest_difference:.0e}",
            *(f"{advice.layers[layer.name][kind]:.0%}" for kind in classes),
        )
    table.add_section()
    table.add_row(
        "network",
        "",
        *(("",) if compact else ()),
        *(("", f"{sum(map(_codebook_bits, result.layers)):,}") if own_codebooks else ()),
        *(("",) if several else ()),
        f"{sum(layer.stored_entries for layer in result.layers):,}",
        *(("", "") if has_thresholds else ("",)),
        f"{cycles:,.0f}",
        f"{1 - sum(layer.cycles.mean() for layer in result.layers) / cycles:.0%}",
        f"{result.energy_nj.mean():,.1f}",
        f"{result.output_difference:.0e}",
        *(f"{advice.total[name]:.0%}" for name in classes),
    )
    return table


def _codebook_bits(layer: LayerCosts) -> int:
    """Return the bits that a switch to a layer writes into codebooks."""
    words: int = 2**layer.config.weight_bits
    return layer.num_codebooks * words * layer.config.activation_bits


def _bottleneck(result: NetworkResult, advice: Advice) -> str:
    """Return the largest class of cycles without computation, and its cause."""
    array = result.config
    columns = sum(float((layer.broadcasts * array.num_pes).sum()) for layer in result.layers)
    entries_per_column = sum(float(layer.processed_entries.sum()) for layer in result.layers) / columns
    few = f"a broadcast column has {entries_per_column:.2f} entries for each of {array.num_pes} PEs"
    shares = advice.total
    if advice.bottleneck == "starved" and advice.blocked_share < _MUCH_BLOCKED * shares["starved"]:
        cause = f"the PEs have no column to process: at most one column per cycle is broadcast, and {few}"
    else:
        cause = {
            "padding": f"the PEs process padding: gaps of {array.index_bits} bits are too short for such sparse "
            f"columns on {array.num_pes} PEs",
            "empty_columns": f"the PEs take columns without entries of their own: {few}",
            "starved": f"the PEs have no column to process, while one full queue blocks the broadcast "
            f"({advice.blocked_share:.0%} of all cycles): the load is unbalanced",
            "drained": "the PEs have finished and wait for the last one: the load is unbalanced, or layers are short",
            "waiting": f"the PEs wait for blocks from DRAM ({array.dram_gb_per_s:g} GB/s)",
        }[advice.bottleneck]
    return f"{shares[advice.bottleneck]:.0%} of the PEs' cycles, {cause}. They compute in {shares['computing']:.0%}."


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
    """Return the change to try next."""
    worthwhile = [change for change in advice.changes if change.energy_delay_gain >= _WORTH_A_TRY]
    if not worthwhile:
        return "Try next:   none of these changes gains 2 % or more; try a smaller network, or another clock."
    best = max(worthwhile, key=lambda change: change.energy_delay_gain)
    fastest = max(advice.changes, key=lambda change: change.speedup)
    words = (
        f"Try next:   {best.what}: {best.energy_delay_gain:.2f} times less energy x delay, "
        f"{best.area_ratio - 1:+.1%} area."
    )
    if fastest.what != best.what and fastest.speedup > best.speedup:
        words += (
            f"\n            For latency alone, {fastest.what}: {fastest.speedup:.2f} times as fast, "
            f"{fastest.area_ratio - 1:+.1%} area."
        )
    return words
