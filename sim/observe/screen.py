"""Tables on the screen: a simulated layer, and a simulated network."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from sim.config import ArrayConfig
from sim.cost.timing import ClockWarning, clock_excess, timing
from sim.dense_array import ProductShape
from sim.dense_comparison import dense_words
from sim.entropy_limits import STORED_PARTS, ByteLimit, EnergyLimit
from sim.limits import BINDING, STEPS, Limit
from sim.memory import DoesNotFitWarning, Shortfall
from sim.network import NetworkResult
from sim.observe.cycles import CYCLE_CLASSES, CycleBreakdown
from sim.result import SimulationResult
from traces import InputError
from traces.shell.command_line import console

_NEARLY = 0.9  # of the limit, from which what does not bind is named, too
_SHOWN_SHARE = 0.005  # of the cycles


@contextlib.contextmanager
def printed_warnings() -> Iterator[None]:
    """Leave out the warnings of shortfalls and of the clock, which a screen prints at its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoesNotFitWarning)
        warnings.simplefilter("ignore", ClockWarning)
        yield


def print_shortfalls(name: str, shortfalls: Sequence[Shortfall]) -> None:
    """Print the capacities that a layer exceeds which was simulated as if it fitted."""
    if shortfalls:
        print(f"Layer {name} does not fit this array and was simulated as if it did. It exceeds:")
        for shortfall in shortfalls:
            print(f"  {shortfall}")
        print("  (--memory-mode resident refuses such a layer, passes and streamed run it in blocks that fit)")


def print_clock(array: ArrayConfig) -> None:
    """Print the highest clock of an array that does not reach its own, and the stages that its delays lack."""
    try:
        excess, found = clock_excess(array), timing(array)
    except InputError:  # SRAMs outside the tables
        return
    if excess:
        print(f"This array cannot be built: {excess}.")
    for name in ("pipeline_cycles", "broadcast_cycles"):
        given, needed = getattr(array, name), getattr(found, name)
        if given < needed:
            print(f"This array needs {name}={needed} at this clock; it was simulated with {given}.")


def print_network_dense(result: NetworkResult) -> None:
    """Print whether the best dense array on the same silicon wins on a network; a state in DRAM costs both the same."""
    fits = not (result.shortfalls or any(layer.shortfalls for layer in result.layers))
    latency_us, energy_nj = float(result.latency_us.mean()), float(result.energy_nj.mean())
    words = dense_words(result.shapes, result.config, latency_us, energy_nj, fits)
    if result.spilled_words and not words.startswith("not compared"):
        words += " Activations that pass through DRAM are charged to the PEs alone."
    print(f"Dense:      {words}")


def print_network_memories(result: NetworkResult) -> None:
    """Print what a network takes besides the runs of the array, which weights stay, and the feature maps.

    Parameters
    ----------
    result : NetworkResult
        The simulated network.
    """
    array = result.config
    total = float(result.cycles.mean())
    parts = {
        "array": "cycles",
        "port": "port_wait_cycles",
        "switches": "switch_cycles",
        "DRAM between runs": "dram_wait_cycles",
    }
    means = {words: sum(float(getattr(layer, name).mean()) for layer in result.layers) for words, name in parts.items()}
    shares = ", ".join(f"{words} {cycles:,.0f} ({cycles / total:.0%})" for words, cycles in means.items() if cycles)
    words = sum(float(layer.port_words.mean()) for layer in result.layers)
    print(f"Cycles:     {shares}; {words:,.0f} activations cross the port of {array.port_bits} bits")
    loaded = [layer for layer in result.layers if layer.load_bytes.any()]
    names = ", ".join(short_names([layer.name for layer in loaded])) if loaded else ""
    num_bytes = sum(float(layer.load_bytes.mean()) for layer in loaded)
    weights = f"{names} are loaded for each input, {num_bytes:,.0f} bytes" if loaded else "all weights stay"
    spilled = f", {result.spilled_words:,} of them through DRAM" if result.spilled_words else ""
    print(
        f"SRAMs:      {weights}; {result.live_words:,} activations are alive at once, "
        f"{-(-result.live_words // array.num_pes):,} for each PE{spilled}; {byte_limit_words(result.byte_limit)}"
    )
    if result.state_costs is not None:
        state = result.state_costs
        print(
            f"State:      {state.read_bytes.mean():,.0f} bytes are read from DRAM and {state.write_bytes.mean():,.0f} "
            f"written for each step, {state.energy_pj.mean() / 1e3:,.1f} nJ beside the array's"
        )
    if result.shortfalls:
        print("The network does not fit this array whole and was simulated as if it did. It exceeds:")
        for shortfall in result.shortfalls:
            print(f"  {shortfall}")
        print("  (--memory-mode resident refuses such a network, passes and streamed load what does not stay)")


def limit_words(limit: Limit, inputs: int) -> str:
    """Return the least cycles per input, what sets them, and the share of each step from useful work to all cycles.

    Parameters
    ----------
    limit : Limit
        The limit of all inputs together.
    inputs : int
        Number of inputs.
    """
    nearly = [
        f"{BINDING[name]} ({limit.bounds[name] / limit.limit_cycles:.0%} of the limit)"
        for name in BINDING
        if name != limit.binds and limit.bounds[name] >= _NEARLY * limit.limit_cycles
    ]
    steps = ", ".join(f"{STEPS[name]} {share:.0%}" for name, share in limit.shares.items() if share >= _SHOWN_SHARE)
    return (
        f"at least {limit.limit_cycles / inputs:,.0f} of {limit.cycles / inputs:,.0f} cycles are needed "
        f"({limit.share:.1%}), limited by: {', then '.join([BINDING[limit.binds], *nearly])}; shares of all cycles: "
        f"{steps}"
    )


def energy_limit_words(limit: EnergyLimit, inputs: int) -> str:
    """Return the least energy per input, the shares of its parts in all energy, and the largest part of the rest.

    Parameters
    ----------
    limit : EnergyLimit
        The limit of all inputs together.
    inputs : int
        Number of inputs.
    """
    total = limit.total_pj or 1.0
    return (
        f"at least {limit.limit_pj / inputs / 1e3:,.1f} of {limit.total_pj / inputs / 1e3:,.1f} nJ are needed "
        f"({limit.share:.0%}: arithmetic {limit.arithmetic_pj / total:.0%}, weights in an ideal code "
        f"{limit.weight_pj / total:.0%}); largest part of the rest: {energy_words(limit.binds)}"
    )


def byte_limit_words(limit: ByteLimit) -> str:
    """Return the bytes that weights need and take, the shares of their parts, and the largest part of the rest."""
    total = limit.stored_bytes or 1.0
    codes, positions = (limit.parts[name] / total for name in ("codes", "positions"))
    return (
        f"at least {limit.limit_bytes:,.0f} of {limit.stored_bytes:,.0f} bytes of weights and pointers are needed "
        f"({limit.share:.0%}: codes {codes:.0%}, positions {positions:.0%}); largest part of the rest: "
        f"{STORED_PARTS[limit.binds]}"
    )


def energy_words(name: str) -> str:
    """Return a field of `sim.Energy` in words."""
    return name.removesuffix("_pj").replace("_", " ").replace("dram", "DRAM").replace("sram", "SRAM")


def print_layer(name: str, shape: ProductShape, result: SimulationResult, breakdown: CycleBreakdown) -> None:
    """Print counts, derived figures, the classes of the PEs' cycles, energy, and the comparison with a dense array."""
    from rich.table import Table

    array = result.config
    table = Table(title=f"{name} on {array.num_pes} PEs, {array.queue_slots} queue slots, {array.line_bits}-bit lines")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    counts = "cycles broadcasts bubble_cycles blocked_cycles waiting_cycles useful_macs stored_entries padding_entries"
    dram = "blocks dram_read_bytes dram_write_bytes" if array.memory_mode in ("passes", "streamed") else ""
    fixed_point = "overflows saturated_activations" if result.number_format is not None else ""
    for field in f"{counts} pointer_reads line_reads {dram} {fixed_point}".split():
        table.add_row(field.replace("_", " ").replace("dram", "DRAM"), f"{getattr(result, field):,}")
    table.add_row("efficiency", f"{result.efficiency:.4f}")
    table.add_row("latency", f"{result.latency_us:.3f} us")
    table.add_section()
    for kind in CYCLE_CLASSES:
        share = getattr(breakdown, kind).sum() / (result.cycles * array.num_pes)
        table.add_row(f"PE cycles, {kind.replace('_', ' ')}", f"{share:.1%}")
    if result.blocked_cycles:
        worst = int(breakdown.blocked_by.argmax())
        table.add_row("broadcast blocked most by", f"PE {worst}: {breakdown.blocked_by[worst]:,} cycles")
    table.add_section()
    for block in fields(result.energy):
        energy_nj = getattr(result.energy, block.name) / 1e3
        table.add_row(f"energy, {energy_words(block.name)}", f"{energy_nj:,.2f} nJ")
    table.add_row("energy, total", f"{result.energy.total_pj / 1e3:,.2f} nJ")
    console().print(table)
    print(f"Limit:      {limit_words(result.limit, inputs=1)}")
    print(f"Energy:     {energy_limit_words(result.energy_limit, inputs=1)}")
    print(f"SRAMs:      {byte_limit_words(result.byte_limit)}")
    words = dense_words([shape], array, result.latency_us, result.energy.total_nj, not result.shortfalls, alone=True)
    print(f"Dense:      {words}")
    print_shortfalls(name, result.shortfalls)
    print_clock(array)


def short_names(names: Sequence[str]) -> list[str]:
    """Return the names without the parts, between slashes or dots, that all begin or end with; for narrow tables."""
    parts = [re.split(r"(?<=[/.])", name) for name in names]
    if len(names) > 1:
        for place in (0, -1):
            while len({each[place] for each in parts}) == 1 and min(map(len, parts)) > 1:
                parts = [each[1:] if place == 0 else each[:-1] for each in parts]
    return ["".join(each).rstrip("/.") for each in parts]


def print_network(title: str, result: NetworkResult) -> None:
    """Print shape, cycles, efficiency and energy of each layer and the network, and the spread over the inputs."""
    from rich.table import Table

    array, inputs = result.config, result.cycles.size
    table = Table(
        title=f"{title}\nmean of {inputs} inputs on {array.num_pes} PEs, {array.queue_slots} queue slots, "
        f"{array.line_bits}-bit lines, {array.clock_mhz:g} MHz",
        title_justify="left",
    )
    table.add_column("layer")
    has_thresholds = any(layer.activation_threshold for layer in result.layers)
    headings = (
        "rows x columns",
        "entries",
        "padding",
        *(("threshold", "broadcast") if has_thresholds else ("non-zero",)),
        "cycles",
        "of array",
        "latency us",
        "efficiency",
        "nJ",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for layer, name in zip(result.layers, short_names([each.name for each in result.layers]), strict=True):
        table.add_row(
            name,
            f"{layer.rows} x {layer.columns}",
            f"{layer.stored_entries:,}",
            f"{layer.padding_entries:,}",
            *((f"{layer.activation_threshold:.3g}",) if has_thresholds else ()),
            f"{layer.activation_density:.1%}",
            f"{layer.network_cycles.mean():,.0f}",
            f"{layer.cycles.mean():,.0f}",
            f"{layer.latency_us.mean():,.2f}",
            f"{layer.useful_macs.sum() / (layer.cycles.sum() * array.num_pes):.1%}",
            f"{layer.energy_nj.mean():,.1f}",
        )
    table.add_section()
    table.add_row(
        "network",
        "",
        f"{sum(layer.stored_entries for layer in result.layers):,}",
        f"{sum(layer.padding_entries for layer in result.layers):,}",
        *(("", "") if has_thresholds else ("",)),
        f"{result.cycles.mean():,.0f}",
        f"{sum(layer.cycles.mean() for layer in result.layers):,.0f}",
        f"{result.latency_us.mean():,.2f}",
        f"{result.efficiency:.1%}",
        f"{result.energy_nj.mean():,.1f}",
    )
    console().print(table)
    spread = Table(title=f"The whole network over {inputs} inputs", title_justify="left")
    spread.add_column("")
    for heading in ("least", "5 %", "median", "95 %", "most"):
        spread.add_column(heading, justify="right")
    for name, values in (("latency us", result.latency_us), ("energy nJ", result.energy_nj)):
        spread.add_row(name, *(f"{value:,.2f}" for value in np.percentile(values, (0, 5, 50, 95, 100))))
    console().print(spread)
    print_network_dense(result)
    print(f"Limit:      {limit_words(result.limit, inputs)}")
    print(f"Energy:     {energy_limit_words(result.energy_limit, inputs)}")
    print_network_memories(result)
    print_outputs(result)
    print_clock(result.config)


def print_outputs(result: NetworkResult) -> None:
    """Print the differences from ONNX Runtime's outputs, what is computed off the array, and its costs if asked for."""
    worst = max(result.layers, key=lambda layer: layer.largest_difference)
    print(
        f"Outputs:    every product is within {result.largest_difference:.1e} of ONNX Runtime's on the same weights "
        f"and activations, {worst.name} differs most; the network's outputs are within {result.output_difference:.1e}"
    )
    if result.number_formats:
        formats = [
            f"{name} {each.weight_fraction_bits}, {each.activation_fraction_bits}, {each.accumulator_fraction_bits}"
            for name, each in result.number_formats.items()
        ]
        print(
            f"Arithmetic: {result.config.precision}, with {result.overflows.mean():,.1f} overflows and "
            f"{result.saturated_activations.mean():,.1f} saturated activations per input; bits behind the point of "
            f"weights, activations and sums: {'; '.join(formats)}"
        )
    operators = [
        f"{each.count:,} {name} ({each.elements:,} values{f', {each.macs:,} MACs' if each.macs else ''})"
        for name, each in result.off_array.items()
    ]
    print(f"Off array:  {', '.join(operators) or 'nothing'}; per input")
    if result.host is not None:
        print(
            f"Host:       {result.host.cycles:,.0f} cycles and {result.host.energy_pj / 1e3:,.1f} nJ per input for "
            f"what is off the array"
        )
