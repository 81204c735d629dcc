"""Tables of EIE's Tables II to V and of the numbers behind its Figs 6 to 13, our results beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from designs.paper_sources import MASKS
from reports.eie import published as paper
from reports.eie.benchmark import ONE_PE, PAPER_MM2, PAPER_WATT, leakage_share, module_powers
from reports.paper_table import DIFFERENCE, PERCENT, TIMES, PaperTable
from sim import ArrayConfig
from sim.cost import area
from sim.cost.energy import MULTIPLY_PJ
from sim.cost.sram import POINTER_BANKS, activation_sram, pointer_bank_sram, sparse_matrix_sram
from traces.eie_benchmark import EIE_BENCHMARK, BenchmarkLayer

Row = Mapping[str, Any]
_NEUTRAL = ("layer", "weights", "draw")


def by_layer(rows: Sequence[Row], weights: str) -> dict[str, dict[str, Any]]:
    """Return the benchmark's rows of one kind of weights by layer, as means over the draws.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the benchmark.
    weights : str
        Kind of weights: random, uneven or real.

    Returns
    -------
    dict of str to dict
        Mean of each column by layer; `draws` lists the latencies of the draws in us.
    """
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        if row["weights"] == weights:
            by_name.setdefault(row["layer"], []).append(row)
    means = {}
    for layer, draws in by_name.items():
        numbers = [name for name, value in draws[0].items() if isinstance(value, int | float) and name not in _NEUTRAL]
        means[layer] = {
            **draws[0],
            **{name: sum(row[name] for row in draws) / len(draws) for name in numbers},
            "draws": [row["latency_us"] for row in draws],
        }
    return means


def with_real(rows: Sequence[Row], weights: str) -> dict[str, dict[str, Any]]:
    """Return the same as `by_layer`, with real layers instead of drawn ones where available."""
    return by_layer(rows, weights) | by_layer(rows, "real")


def entries_us(row: Row) -> float:
    """Return the time of all processed entries, padding included, at one per PE and cycle."""
    return float(row["processed_entries"] / row["num_pes"] / row["clock_mhz"])


def mean_absolute_difference(rows: Mapping[str, Row], column: str = "latency_us") -> float:
    """Return the mean absolute difference of our times from Table IV's actual ones."""
    return float(sum(abs(row[column] / row["paper_actual_us"] - 1) for row in rows.values())) / len(rows)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def speedups(times_us: Sequence[float], platform: str = "CPU") -> list[float]:
    """Return the speedup of each layer over a platform's dense matrices without batching."""
    return [theirs / ours for theirs, ours in zip(paper.PLATFORM_TIMES_US[platform, 1, "dense"], times_us, strict=True)]


def times_of(rows: Mapping[str, Row], column: str = "latency_us") -> list[float]:
    """Return the times in the order of the paper's layers."""
    return [float(rows[layer][column]) for layer in paper.LAYERS]


def watts(row: Row) -> float:
    """Return the mean power of the whole array while the layer runs."""
    return float(row["energy_pj"] * 1e-6 / row["latency_us"])


def power_and_area(rows: Sequence[Row]) -> PaperTable:
    """Return Table II."""
    row = with_real(rows, "random")["Alex-8"]
    areas, array = area.module_areas_um2(ArrayConfig()), ArrayConfig()
    srams = [
        *(pointer_bank_sram(array) for _ in range(POINTER_BANKS)),
        sparse_matrix_sram(array),
        activation_sram(array),
    ]
    cells: list[list[Any]] = []
    for name, (theirs, mine) in module_powers(row).items():
        whole = name == ONE_PE
        um2 = area.pe_area_um2(array) if whole else areas[name]
        published = area.PAPER_PE_UM2 if whole else area.PAPER_UM2[name]
        cells.append([name, theirs, mine, mine / theirs - 1, published, um2, um2 / published - 1])
    memory = sum(sram.area_mm2 for sram in srams) * 1e6
    cells.append(["memory (area alone)", None, None, None, paper.MEMORY_UM2, memory, memory / paper.MEMORY_UM2 - 1])
    watt, mm2 = watts(row), row["area_mm2"]
    cells.append(["64 PEs", PAPER_WATT * 1e3, watt * 1e3, watt / PAPER_WATT - 1])
    cells[-1] += [PAPER_MM2 * 1e6, mm2 * 1e6, mm2 / PAPER_MM2 - 1]
    return PaperTable(
        "table_2_power_and_area",
        f"EIE Table II: power and area of one PE ({row['weights']} Alex-8)",
        [
            ("module", ""),
            ("mW, paper", "{:,.3f}"),
            ("mW, ours", "{:,.3f}"),
            ("mW, difference", DIFFERENCE),
            ("um2, paper", "{:,.0f}"),
            ("um2, ours", "{:,.0f}"),
            ("um2, difference", DIFFERENCE),
        ],
        cells,
        [
            "Three constants are calibrated to the paper's: the clock of a flip-flop, the area of a bit of a register "
            f"file, and that of multiplier and adder. Leakage is {leakage_share(row):.0%} of the power. A module has "
            "its own clock and leakage; one PE has its share of the wires of broadcast and clock, too."
        ],
    )


def benchmark_layers(rows: Sequence[Row]) -> PaperTable:
    """Return Table III."""
    cells: list[list[Any]] = []
    for layer, flop in zip(paper.LAYERS, paper.FLOP_PERCENT, strict=True):
        for weights in ("random", "uneven", "real"):
            row = by_layer(rows, weights).get(layer)
            if row is None:
                continue
            size = row["rows"] * row["columns"]
            theirs = _published(layer)
            density, active = row["kept_weights"] / size, row["active_inputs"] / row["columns"]
            work = row["layer_macs"] / size
            cells.append([layer, weights, row["columns"], row["rows"]])
            cells[-1] += [theirs.weight_density, density, theirs.activation_density, active]
            cells[-1] += [flop / 100, work, work - flop / 100]
    return PaperTable(
        "table_3_benchmark",
        "EIE Table III: the benchmark layers",
        [
            ("layer", ""),
            ("weights", ""),
            ("inputs", "{:,.0f}"),
            ("outputs", "{:,.0f}"),
            ("weights kept, paper", "{:.0%}"),
            ("weights kept, ours", PERCENT),
            ("inputs active, paper", PERCENT),
            ("inputs active, ours", PERCENT),
            ("FLOP, paper", "{:.0%}"),
            ("FLOP, ours", PERCENT),
            ("FLOP, difference", "{:+.2%}"),
        ],
        cells,
        ["Drawn masks have the paper's densities, which are rounded to whole percents."],
    )


def wall_clock(rows: Sequence[Row]) -> PaperTable:
    """Return Table IV's times of EIE."""
    kinds = {weights: by_layer(rows, weights) for weights in ("random", "uneven", "real")}
    cells: list[list[Any]] = []
    for layer in paper.LAYERS:
        for weights, of_kind in kinds.items():
            if layer not in of_kind:
                continue
            row = of_kind[layer]
            theirs, work = _published(layer), entries_us(row)
            cells.append([layer, weights, theirs.paper_theoretical_us, work, work / theirs.paper_theoretical_us - 1])
            cells[-1] += [theirs.paper_actual_us, row["latency_us"], row["latency_us"] / theirs.paper_actual_us - 1]
            cells[-1] += [min(row["draws"]), max(row["draws"])]
    notes = []
    for weights in MASKS:
        of_kind = with_real(rows, weights)
        real = ", ".join(layer for layer in of_kind if of_kind[layer]["weights"] == "real") or "no layer"
        notes.append(
            f"Mean absolute difference from the actual times, {weights} masks, {real} real: "
            f"{mean_absolute_difference(of_kind):.1%}; largest: "
            + max(
                paper.LAYERS, key=lambda name: abs(of_kind[name]["latency_us"] / _published(name).paper_actual_us - 1)
            )
            + "."
        )
    return PaperTable(
        "table_4_wall_clock",
        "EIE Table IV: times of EIE, us",
        [
            ("layer", ""),
            ("weights", ""),
            ("theoretical, paper", "{:.1f}"),
            ("theoretical, ours", "{:.2f}"),
            ("theoretical, difference", DIFFERENCE),
            ("actual, paper", "{:.1f}"),
            ("actual, ours", "{:.2f}"),
            ("actual, difference", DIFFERENCE),
            ("smallest draw", "{:.2f}"),
            ("largest draw", "{:.2f}"),
        ],
        cells,
        ["Our theoretical time counts all entries, padding included, at one per PE and cycle.", *notes],
    )


def platform_times(rows: Sequence[Row]) -> PaperTable:
    """Return Table IV's times of the other platforms, and their ratios to the paper's and our times of EIE."""
    actual = [_published(layer).paper_actual_us for layer in paper.LAYERS]
    ours = [times_of(with_real(rows, weights)) for weights in MASKS]
    cells: list[list[Any]] = []
    for (platform, batch, matrix), times in paper.PLATFORM_TIMES_US.items():
        over = [geometric_mean([a / b for a, b in zip(times, eie, strict=True)]) for eie in (actual, *ours)]
        cells.append([platform, batch, matrix, *times, *over, over[2] / over[0] - 1])
    return PaperTable(
        "table_4_platforms",
        "EIE Table IV: the paper's times of other platforms, us per input, and their ratio to EIE's",
        [
            ("platform", ""),
            ("batch", "{}"),
            ("matrix", ""),
            *((layer, "{:,.1f}") for layer in paper.LAYERS),
            ("over EIE, paper", TIMES),
            ("over EIE, ours, random", TIMES),
            ("over EIE, ours, uneven", TIMES),
            ("uneven, difference", DIFFERENCE),
        ],
        cells,
        ["Ratios are geometric means over the layers."],
    )


def platforms(rows: Sequence[Row], scaling: Mapping[str, Sequence[Row]]) -> PaperTable:
    """Return Table V: Alex-7 on several platforms.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the benchmark.
    scaling : mapping of str to rows
        Rows of the sweeps over PEs, by kind of masks.
    """
    headings = ("mm2", "W", "frames/s", "frames/s/mm2", "frames/J")
    cells: list[list[Any]] = []
    for name, (_, mm2, watt, frames) in paper.PLATFORMS.items():
        cells.append([name, "paper", mm2, watt, frames, mm2 and frames / mm2, frames / watt, None])
        if name.startswith("EIE, 64"):
            for weights in MASKS:
                row = by_layer(rows, weights)["Alex-7"]
                ours, power = 1e6 / row["latency_us"], watts(row)
                cells.append([name, f"ours, {weights}", row["area_mm2"], power, ours])
                cells[-1] += [ours / row["area_mm2"], ours / power, ours / frames - 1]
        if name.startswith("EIE, 256"):
            for weights in MASKS:
                cycles = next(x["cycles"] for x in scaling[weights] if x["layer"] == "Alex-7" and x["num_pes"] == 256)
                ours = paper.PLATFORMS[name][0] * 1e6 / cycles  # type: ignore[operator]
                cells.append([name, f"ours, {weights}", None, None, ours, None, None, ours / frames - 1])
    array = ArrayConfig()
    entries = array.sparse_matrix_bytes * 8 // array.entry_bits
    held = [
        f"{pes} PEs {entries * pes * 10 / 1e6:.0f} (paper {most / 1e6:.0f})"
        for pes, most in paper.MAX_PARAMETERS.items()
    ]
    return PaperTable(
        "table_5_platforms",
        "EIE Table V: Alex-7 on several platforms",
        [
            ("platform", ""),
            ("source", ""),
            *((heading, "{:,.2f}" if heading in ("mm2", "W") else "{:,.0f}") for heading in headings),
            ("frames/s, difference", DIFFERENCE),
        ],
        cells,
        [
            "Area and power at 28 nm are the paper's projection; our model has no 28 nm technology.",
            f"Parameters held at 10 % density, millions: {', '.join(held)}.",
        ],
    )


def speedup_table(rows: Sequence[Row]) -> PaperTable:
    """Return the numbers of Fig 6."""
    ours = {weights: speedups(times_of(with_real(rows, weights))) for weights in MASKS}
    cells: list[list[Any]] = []
    for number, layer in enumerate(paper.LAYERS):
        theirs = paper.SPEEDUPS[number]
        random, uneven = (ours[weights][number] for weights in MASKS)
        cells.append([layer, theirs, random, random / theirs - 1, uneven, uneven / theirs - 1])
    for platform, mean in paper.SPEEDUP_MEANS.items():
        random, uneven = (geometric_mean(speedups(times_of(with_real(rows, weights)), platform)) for weights in MASKS)
        cells.append([f"geometric mean, {platform}", mean, random, random / mean - 1, uneven, uneven / mean - 1])
    return PaperTable(
        "figure_6_speedup",
        "EIE Fig 6: speedup over the CPU, dense, without batching",
        [
            ("layer", ""),
            ("paper", "{:,.0f}x"),
            ("ours, random", "{:,.0f}x"),
            ("random, difference", DIFFERENCE),
            ("ours, uneven", "{:,.0f}x"),
            ("uneven, difference", DIFFERENCE),
        ],
        cells,
        ["Ours: the paper's times of the platforms over our times of EIE (with the real Alex-8 if available)."],
    )


def implied_cpu_watts() -> list[float]:
    """Return the CPU's power in each layer, if Fig 7 assumes FIG_7_WATT for EIE and Table IV's times."""
    return [
        gain * paper.FIG_7_WATT / faster
        for gain, faster in zip(
            paper.ENERGY_GAINS,
            speedups([_published(layer).paper_actual_us for layer in paper.LAYERS]),
            strict=True,
        )
    ]


def energy_table(rows: Sequence[Row]) -> PaperTable:
    """Return the numbers of Fig 7 with the paper's constant power, and with our power of each layer."""
    of_kind = with_real(rows, "uneven")
    cpu = implied_cpu_watts()
    cells: list[list[Any]] = []
    for number, layer in enumerate(paper.LAYERS):
        row = of_kind[layer]
        faster = paper.PLATFORM_TIMES_US["CPU", 1, "dense"][number] / row["latency_us"]
        flat, own = faster * cpu[number] / paper.FIG_7_WATT, faster * cpu[number] / watts(row)
        theirs = paper.ENERGY_GAINS[number]
        cells.append([layer, theirs, cpu[number], flat, flat / theirs - 1, watts(row), own, own / theirs - 1])
    means = [geometric_mean([row[column] for row in cells]) for column in (3, 6)]
    theirs = paper.ENERGY_GAIN_MEAN
    cells.append(["geometric mean", theirs, None, means[0], means[0] / theirs - 1, None])
    cells[-1] += [means[1], means[1] / theirs - 1]
    return PaperTable(
        "figure_7_energy",
        "EIE Fig 7: energy efficiency over the CPU, dense",
        [
            ("layer", ""),
            ("paper", "{:,.0f}x"),
            ("CPU, W, implied", "{:.2f}"),
            (f"ours at {paper.FIG_7_WATT:.3f} W", "{:,.0f}x"),
            ("at constant power, difference", DIFFERENCE),
            ("ours, W", "{:.3f}"),
            ("ours at our power", "{:,.0f}x"),
            ("at our power, difference", DIFFERENCE),
        ],
        cells,
        [
            "The paper does not print the CPU's power by layer. We use the power that Fig 7 implies with a constant "
            f"{paper.FIG_7_WATT:.3f} W for EIE (Table V: 73 W). Masks are uneven; Alex-8 is real if available."
        ],
    )


def queue_table(queues: Mapping[str, Sequence[Row]], depths: Sequence[int]) -> PaperTable:
    """Return the numbers of Fig 8, with depths as slots of the ring, and as the columns that it holds.

    Parameters
    ----------
    queues : mapping of str to rows
        Rows of the sweeps over queue slots, by kind of masks.
    depths : sequence of int
        Depths of Fig 8.
    """
    cells: list[list[Any]] = []
    for weights, rows in queues.items():
        for layer in paper.LAYERS:
            of_layer = {row["queue_slots"]: balance(row) for row in rows if row["layer"] == layer}
            for reading, add in (("slots of the ring", 0), ("columns held", 1)):
                cells.append([layer, weights, reading, *(of_layer.get(depth + add) for depth in depths)])
    return PaperTable(
        "figure_8_queue_depth",
        "EIE Fig 8: load balance against queue depth",
        [("layer", ""), ("weights", ""), ("depth counts", ""), *((str(depth), PERCENT) for depth in depths)],
        cells,
        ["A ring of one slot holds no column. The paper prints no numbers; its trends are tested above."],
    )


def scaling_table(scaled: Mapping[str, Sequence[Row]], figure: int) -> PaperTable:
    """Return the numbers of Fig 11, 12 or 13: speedup over one PE, share of real work, load balance.

    Parameters
    ----------
    scaled : mapping of str to rows
        Rows of the sweeps over PEs, by kind of masks.
    figure : int
        Number of the figure.
    """
    stem, title, form = {
        11: ("figure_11_speedup", "EIE Fig 11: speedup over one PE", TIMES),
        12: ("figure_12_padding", "EIE Fig 12: share of real work (the rest is padding)", PERCENT),
        13: ("figure_13_load_balance", "EIE Fig 13: load balance", PERCENT),
    }[figure]
    cells: list[list[Any]] = []
    columns = sorted({row["num_pes"] for row in next(iter(scaled.values()))})
    for weights, rows in scaled.items():
        for layer in paper.LAYERS:
            cells.append([layer, weights, *scaling(rows, layer, figure).values()])
    return PaperTable(
        stem,
        f"{title}, against PEs",
        [("layer", ""), ("weights", ""), *((str(pes), form) for pes in columns)],
        cells,
        ["The paper prints no numbers; its trends are tested above."],
    )


def scaling(rows: Sequence[Row], layer: str, figure: int) -> dict[int, float]:
    """Return the values of Fig 11, 12 or 13 for one layer, by number of PEs."""
    of_layer = sorted((row for row in rows if row["layer"] == layer), key=lambda row: row["num_pes"])
    first = of_layer[0]["cycles"] * of_layer[0]["num_pes"]
    value = {
        11: lambda row: first / row["cycles"],
        12: lambda row: row["useful_macs"] / row["processed_entries"],
        13: balance,
    }[figure]
    return {row["num_pes"]: value(row) for row in of_layer}


def balance(row: Row) -> float:
    """Return the processed entries per PE and cycle: one minus the share of cycles in which a PE is idle."""
    return float(row["processed_entries"] / (row["cycles"] * row["num_pes"]))


def width_table(rows: Sequence[Row]) -> PaperTable:
    """Return the numbers of Fig 9: line reads of AlexNet's layers, energy per read and in total, by rule."""
    cells: list[list[Any]] = []
    widths = sorted({row["line_bits"] for row in rows if row["line_bits"] >= 32})
    layers = {(row["layer"], row["weights"]) for row in rows if row["layer"].startswith("Alex")}
    layers -= {(layer, "random") for layer, weights in layers if weights == "real"}
    for rule, description in (
        ("reads_kept", "the last line is kept (the machine)"),
        ("reads_anew", "each column reads its lines anew"),
        ("reads_own_lines", "each column begins a line of its own"),
    ):
        for width in widths:
            of_width = [row for row in rows if row["line_bits"] == width and (row["layer"], row["weights"]) in layers]
            reads = sum(row[rule] for row in of_width)
            pj = of_width[0]["read_pj"]
            cells.append([description, width, reads, pj, reads * pj / 1e3])
    return PaperTable(
        "figure_9_line_width",
        "EIE Fig 9: SRAM reads and their energy against the line width, AlexNet's three layers",
        [("rule", ""), ("bits", "{}"), ("reads", "{:,}"), ("pJ per read", "{:.1f}"), ("nJ in total", "{:,.0f}")],
        cells,
        ["The paper prints no numbers; it finds 64 bits best. `python -m reports` shows all nine layers."],
    )


def best_widths(rows: Sequence[Row]) -> dict[str, int]:
    """Return the line width in bits that costs AlexNet's layers the least energy, by rule."""
    least: dict[str, tuple[float, int]] = {}
    for rule, bits, _, _, total_nj in width_table(rows).rows:
        least[rule] = min(least.get(rule, (math.inf, 0)), (total_nj, bits))
    return {rule: bits for rule, (_, bits) in least.items()}


def precision_table(rows: Sequence[Row]) -> PaperTable:
    """Return the numbers of Fig 10."""
    cells: list[list[Any]] = []
    exact = {row["network"]: row["accuracy"] for row in rows if row["precision"] == "float"}
    for row in rows:
        theirs = paper.ACCURACIES.get(row["precision"])
        lost = row["accuracy"] - exact[row["network"]]
        cells.append([row["network"], row["images"], row["precision"], theirs])
        cells[-1] += [theirs and theirs - paper.ACCURACIES["float"], row["accuracy"], lost]
    savings = {
        "32-bit fixed": MULTIPLY_PJ[32] / MULTIPLY_PJ[16],
        "32-bit float": paper.FLOAT_MULTIPLY_PJ / MULTIPLY_PJ[16],
    }
    ratios = "; ".join(
        f"{name} {value:.1f}x (paper {paper.MULTIPLIER_SAVINGS[name]}x)" for name, value in savings.items()
    )
    return PaperTable(
        "figure_10_precision",
        "EIE Fig 10: accuracy against the array's arithmetic",
        [
            ("network, ours", ""),
            ("images", "{:,}"),
            ("arithmetic", ""),
            ("AlexNet top-5, paper", PERCENT),
            ("change, paper", "{:+.1%}"),
            ("accuracy, ours", "{:.2%}"),
            ("change, ours", "{:+.2%}"),
        ],
        cells,
        [
            "AlexNet and ImageNet are not available here; the networks are ours. Each layer's number format is fitted "
            "to training images, so 8 bits lose less than with one format for all layers.",
            f"Energy of a multiplication over that of 16-bit fixed point: {ratios}. "
            "The first number is the paper's own.",
        ],
    )


def _published(layer: str) -> BenchmarkLayer:
    return EIE_BENCHMARK[layer]
