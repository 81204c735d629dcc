"""Deviations of our results from the EIE paper, and of the paper from itself, computed from the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.eie import published as paper
from reports.eie.tables import (
    balance,
    best_widths,
    entries_us,
    geometric_mean,
    implied_cpu_watts,
    mean_absolute_difference,
    power_and_area,
    speedups,
    with_real,
)
from reports.paper_table import PaperTable
from traces.eie_benchmark import EIE_BENCHMARK

Row = Mapping[str, Any]


def deviations(
    rows: Sequence[Row], queues: Mapping[str, Sequence[Row]], pes: Mapping[str, Sequence[Row]], widths: Sequence[Row]
) -> PaperTable:
    """Return the table of deviations and their reasons.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the benchmark.
    queues, pes : mapping of str to rows
        Rows of the sweeps over queue slots and over PEs, by kind of masks.
    widths : sequence of dict
        Rows of the line widths.
    """
    cells = [*_paper_with_itself(), *_work(rows), *_machine(rows, queues, pes, widths)]
    return PaperTable(
        "deviations",
        "Deviations and their reasons",
        [("topic", ""), ("paper", ""), ("ours, or recomputed", ""), ("reason", "")],
        cells,
    )


def _paper_with_itself() -> list[list[str]]:
    """List the paper's numbers that disagree with each other."""
    actual = [layer.paper_actual_us for layer in EIE_BENCHMARK.values()]
    recomputed = speedups(actual)
    differing = [
        f"{layer} {bar}x beside {own:.1f}x"
        for layer, bar, own in zip(paper.LAYERS, paper.SPEEDUPS, recomputed, strict=True)
        if round(own) != bar
    ]
    cpu = implied_cpu_watts()
    tenths = [layer for layer, watt in zip(paper.LAYERS, cpu, strict=True) if abs(10 * watt - round(10 * watt)) < 0.06]
    alexnet = 1e6 / sum(actual[:3])
    _, _, _, frames_64 = paper.PLATFORMS["EIE, 64 PEs, 45 nm"]
    clock_256, _, _, frames_256 = paper.PLATFORMS["EIE, 256 PEs, 28 nm"]
    per_clock = frames_256 / frames_64 / (float(clock_256 or 0) / 800)
    same = EIE_BENCHMARK["VGG-6"].paper_theoretical_us == EIE_BENCHMARK["Alex-6"].paper_theoretical_us
    slower = (
        geometric_mean([layer.paper_actual_us / layer.paper_theoretical_us for layer in EIE_BENCHMARK.values()]) - 1
    )
    others = [
        f"{geometric_mean(speedups(actual, platform)):.1f}x over the {platform} (paper {mean}x)"
        for platform, mean in paper.SPEEDUP_MEANS.items()
        if platform != "CPU"
    ]
    cells = [
        [
            "mean of Fig 6",
            f"{paper.SPEEDUP_MEANS['CPU']}x",
            f"{geometric_mean(recomputed):.0f}x from Table IV, {geometric_mean(paper.SPEEDUPS):.0f}x from Fig 6's "
            f"bars; from Table IV {', '.join(others)}",
            f"these bars do not follow from Table IV: {'; '.join(differing)}",
        ],
        [
            "power in Fig 7",
            "energy efficiency layer by layer",
            f"with {paper.FIG_7_WATT:.3f} W in every layer, the CPU takes {min(cpu):.1f} to {max(cpu):.1f} W, whole "
            f"tenths in {len(tenths)} of {len(cpu)} layers ({', '.join(tenths)})",
            "the figure assumes the same power of EIE in every layer",
        ],
        [
            "AlexNet per second",
            f"{paper.ALEXNET_FRAMES_PER_S:,.0f}",
            f"{alexnet:,.0f} from Table IV's actual times",
            "the three layers run one after the other; the time between them is not counted",
        ],
        [
            "256 PEs over 64",
            f"{paper.SCALING_256_OVER_64}x (section VIII)",
            f"{per_clock:.2f}x per clock cycle from Table V",
            "Table V's frames per second and clocks do not give the number in the text",
        ],
        [
            "actual over theoretical time",
            "about 10 % more",
            f"{slower:.0%} more in the geometric mean of Table IV",
            "small layers such as NT-We wait most",
        ],
    ]
    if same:
        cells.append(
            [
                "theoretical time of VGG-6",
                f"{EIE_BENCHMARK['VGG-6'].paper_theoretical_us} us",
                "the same number as Alex-6",
                "its size and densities give less work (see below)",
            ]
        )
    return cells


def _work(rows: Sequence[Row]) -> list[list[str]]:
    """Split the differences from Table IV into work and waiting."""
    uneven = with_real(rows, "uneven")
    cells = []
    padded = [entries_us(row) / row["paper_theoretical_us"] - 1 for row in uneven.values()]
    plain = [row["theoretical_us"] / row["paper_theoretical_us"] - 1 for row in uneven.values()]
    with_padding, without = (sum(map(abs, each)) / len(each) for each in (padded, plain))
    cells.append(
        [
            "work in the theoretical time",
            "workload over peak throughput",
            f"with padding, ours differs by {with_padding:.1%} on average, without padding by {without:.1%}",
            "the paper's workload includes padding, so theoretical over actual time is not the share of useful work",
        ]
    )
    for layer in paper.LAYERS:
        row = uneven[layer]
        theirs = EIE_BENCHMARK[layer]
        difference = row["latency_us"] / theirs.paper_actual_us - 1
        if abs(difference) < 0.03:
            continue
        work = entries_us(row) / theirs.paper_theoretical_us - 1
        waiting = (row["latency_us"] / entries_us(row)) / (theirs.paper_actual_us / theirs.paper_theoretical_us) - 1
        rounding = 0.005 / theirs.weight_density
        reason = f"a density rounded to {theirs.weight_density:.0%} may differ by {rounding:.0%} of the weights"
        if abs(work) > rounding + 0.02:
            reason = f"more than the rounding of the density explains ({rounding:.0%} of the weights)"
        cells.append(
            [
                f"{layer}, uneven masks",
                f"{theirs.paper_actual_us} us",
                f"{row['latency_us']:.2f} us ({difference:+.1%}): {work:+.1%} from work, {waiting:+.1%} from waiting",
                reason,
            ]
        )
    for masks in ("random", "uneven"):
        of_kind = with_real(rows, masks)
        batched = {
            layer: row | {"latency_us": row["cycles_in_batches"] / row["clock_mhz"]} for layer, row in of_kind.items()
        }
        changes = {name: batched[name]["latency_us"] / row["latency_us"] - 1 for name, row in of_kind.items()}
        longer = [f"{name} {change:+.1%}" for name, change in changes.items() if abs(change) >= 0.0005]
        cells.append(
            [
                f"inputs longer than 4K, {masks} masks",
                "in batches of 4K (section IV)",
                f"without batches; batches change the time of {', '.join(longer) or 'no layer'}; with them, the mean "
                f"absolute difference is {mean_absolute_difference(batched):.1%}, without them "
                f"{mean_absolute_difference(of_kind):.1%}",
                "the authors' simulator runs a layer without batches, and so does ours",
            ]
        )
    return cells


def _machine(
    rows: Sequence[Row], queues: Mapping[str, Sequence[Row]], pes: Mapping[str, Sequence[Row]], widths: Sequence[Row]
) -> list[list[str]]:
    """List the deviations in queue, lines, energy and PEs."""
    alex8 = with_real(rows, "random")["Alex-8"]
    at = {row["queue_slots"]: row for row in queues["random"] if row["layer"] == "Alex-8"}
    changes = {}
    for masks, of_masks in queues.items():
        eight = {row["layer"]: row["cycles"] for row in of_masks if row["queue_slots"] == 8}
        nine = {row["layer"]: row["cycles"] for row in of_masks if row["queue_slots"] == 9}
        changes[masks] = geometric_mean([nine[layer] / eight[layer] for layer in eight]) - 1
    held = ", ".join(f"{change:+.1%} with {masks} masks" for masks, change in changes.items())
    steady = {(row["layer"], row["weights"]): row for row in widths if row["line_bits"] == 64}
    chosen = [steady.get((layer, "real"), steady[layer, "random"]) for layer in paper.LAYERS]
    a_line = [row["entries"] / row["reads_kept"] for row in chosen]
    own = chosen[paper.LAYERS.index("Alex-8")]
    powers = {layer: row["energy_pj"] * 1e-6 / row["latency_us"] for layer, row in with_real(rows, "uneven").items()}
    least, most = min(powers, key=powers.__getitem__), max(powers, key=powers.__getitem__)
    scaled = []
    for masks, of_masks in pes.items():
        of_layer = {row["num_pes"]: row["cycles"] for row in of_masks if row["layer"] == "Alex-7"}
        scaled.append(f"{of_layer[64] / of_layer[256]:.2f}x with {masks} masks")
    even = {row["layer"]: balance(row) for row in queues["random"] if row["queue_slots"] == 8}
    cells = [
        [
            f"{row[0]}, Table II",
            f"{row[1]:.3f} mW, {row[4]:,} um2",
            f"{row[2]:.3f} mW ({row[3]:+.1%}), {row[5]:,.0f} um2 ({row[6]:+.1%})",
            "CACTI's SRAM numbers, not adjusted",
        ]
        for row in power_and_area(rows).rows
        if row[0].endswith("read") and max(abs(row[3]), abs(row[6])) >= 0.02
    ]
    if alex8["weights"] == "real":
        active, published = alex8["active_inputs"] / alex8["columns"], EIE_BENCHMARK["Alex-8"].activation_density
        cells.append(
            [
                "active inputs of Alex-8",
                f"{published:.1%} (Table III)",
                f"{active:.1%} in the recorded input, which takes Table IV's time",
                "Table III has means, Table IV the time of one input; other layers may differ, too",
            ]
        )
    return [
        *cells,
        [
            "queue depth of Fig 8",
            "FIFO depth 8",
            f"a ring of 8 slots holds 7 columns: {at[8]['cycles']:,.0f} cycles on Alex-8 ({alex8['weights']}); a ring "
            f"that holds 8: {at[9]['cycles']:,.0f}; all layers {held}",
            "a ring keeps one slot free, so labels may differ by one; depth 1 cannot mean a ring of one slot",
        ],
        [
            "entries per line in steady state",
            f"{paper.STEADY_STATE_ENTRIES}, one read every 8 cycles (section VI)",
            f"{own['entries'] / own['reads_kept']:.1f} on Alex-8 ({own['weights']}); {min(a_line):.1f} to "
            f"{max(a_line):.1f}, mean {sum(a_line) / len(a_line):.1f}, over the layers",
            "columns begin and end within lines, and columns of idle inputs are skipped",
        ],
        [
            "best line of Fig 9",
            "64 bits",
            "; ".join(f"{best} bits: {rule}" for rule, best in best_widths(widths).items()),
            "the paper does not state when a line is read again; the machine keeps the line that it read last",
        ],
        [
            "power by layer",
            f"{paper.FIG_7_WATT:.2f} W in every layer",
            f"{powers[least]:.3f} W ({least}) to {powers[most]:.3f} W ({most})",
            "energy depends on the work of each layer; Table II shows Alex-8 alone",
        ],
        [
            "256 PEs over 64, Alex-7",
            f"{paper.SCALING_256_OVER_64}x",
            "; ".join(scaled),
            "fewer entries of a column in each PE have a worse load balance",
        ],
        [
            "NT-We in Fig 8",
            "11 % of weights (text), 10 % (Table III)",
            f"10 % is used: load balance {even['NT-We']:.1%}",
            "each PE has about one entry of a column",
        ],
    ]
