"""Deep Compression's Tables 2, 3 and 6 and Figs 5 and 11, and its tested statements, for the report on papers.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from compress import CompressedModel
from compress.container.huffman import coded_bits
from compress.relative_index import encode_relative, skipped_zeros
from reports.deep_compression.networks import PAPER_LAYERS, layer_figures
from reports.figures.sweep import STYLES
from reports.paper_table import DIFFERENCE, PERCENT, PaperTable
from reports.trends import Trend
from traces import CompressedLayer, CompressedNetwork

Row = Mapping[str, Any]
# Table 6, AlexNet: bits of convolutions and of fully connected layers; added top-1 and top-5 error over 32 bits
PAPER_BITS = {(8, 5): (0.0000, -0.0003), (8, 4): (0.0001, 0.0000), (4, 2): (0.0199, 0.0260)}
FAR_GAP = 20  # section 4: gaps are rarely larger
GAP_BITS = 5
KINDS = ("weights", "indices", "codebooks", "other")


def layer_table(models: Mapping[tuple[str, str], CompressedModel], network: str, number: int) -> PaperTable:
    """Return Table 2 or 3.

    Parameters
    ----------
    models : mapping of (str, str) to CompressedModel
        Containers by network and recipe.
    network : str
        Name of the network.
    number : int
        Number of the table.
    """
    cells: list[list[Any]] = []
    for (name, recipe), model in models.items():
        if name != network:
            continue
        for layer, weights, ours, _ in layer_figures(model):
            theirs = PAPER_LAYERS[network][layer]
            cells.append([layer, weights, recipe])
            for mine, published in zip(ours, theirs, strict=True):
                cells[-1] += [published, mine]
            cells[-1].append(ours[-1] / theirs[-1] - 1)
    columns = [("layer", ""), ("weights", "{:,}"), ("container", "")]
    for quantity, form in (("kept", PERCENT), ("code bits", "{:.1f}"), ("gap bits", "{:.1f}"), ("size", "{:.2%}")):
        columns += [(f"{quantity}, paper", form), (f"{quantity}, ours", form)]
    return PaperTable(
        f"deep_compression_table_{number}_{network}",
        f"Deep Compression Table {number}: {network}",
        [*columns, ("size, difference", DIFFERENCE)],
        cells,
        ["Bits are bytes of the file over kept weights, after Huffman coding. The last row is the whole file."],
    )


def bits_table(rows: Sequence[Row]) -> PaperTable:
    """Return Table 6."""
    exact = {row["network"]: row["accuracy"] for row in rows if row["convolution_bits"] == 32}
    cells: list[list[Any]] = []
    for row in rows:
        bits = row["convolution_bits"], row["connected_bits"]
        top_1, top_5 = PAPER_BITS.get(bits, (None, None))
        error, more = 1 - row["accuracy"], exact[row["network"]] - row["accuracy"]
        cells.append([row["network"], *bits, top_1, top_5, error, more if top_1 is not None else None])
    return PaperTable(
        "deep_compression_table_6_bits",
        "Deep Compression Table 6: bits of shared weights against error",
        [
            ("network, ours", ""),
            ("convolution bits", "{}"),
            ("connected bits", "{}"),
            ("added top-1 error, paper", "{:+.2%}"),
            ("added top-5 error, paper", "{:+.2%}"),
            ("error, ours", "{:.2%}"),
            ("added error, ours", "{:+.2%}"),
        ],
        cells,
        ["The paper's network is AlexNet, tuned after sharing; ours are shared once and not tuned."],
    )


def bits_trends(rows: Sequence[Row]) -> list[Trend]:
    """Test Table 6."""
    trends = []
    for network in dict.fromkeys(row["network"] for row in rows):
        accuracy = {
            (row["convolution_bits"], row["connected_bits"]): row["accuracy"]
            for row in rows
            if row["network"] == network
        }
        more = {bits: accuracy[32, 32] - accuracy[bits] for bits in PAPER_BITS}
        trends.append(
            Trend(
                f"Deep Compression Table 6, {network}",
                "8/5 and 8/4 bits lose almost nothing (ours, not tuned: at most half a point), 4/2 bits clearly more",
                max(more[8, 5], more[8, 4]) <= 0.005 < more[4, 2],
                ", ".join(f"{bits[0]}/{bits[1]}: {lost:+.2%}" for bits, lost in more.items()),
            )
        )
    return trends


def draw_distributions(layer: CompressedLayer, name: str) -> Figure:
    """Draw Fig 5: the share of each shared weight and of each gap in the kept weights of a layer."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    weights, gaps = figure.subplots(1, 2)
    kept = np.bincount(layer.codes.ravel(), minlength=layer.codebook.size)[1:].astype(float)
    order = np.argsort(layer.codebook[1:])
    weights.bar(range(len(order)), kept[order] / kept.sum(), color=STYLES[0][0])
    weights.set_xticks(
        range(len(order)), [f"{value:.3f}" for value in layer.codebook[1:][order]], rotation=60, fontsize=8
    )
    weights.set_xlabel("shared weight")
    skipped = skipped_zeros(layer.codes.ravel())[1]
    counts = np.bincount(np.minimum(skipped, FAR_GAP + 10)) / len(skipped)
    gaps.bar(range(len(counts)), counts, color=STYLES[1][0])
    gaps.set_xlabel(f"zeros skipped ({FAR_GAP + 10}: or more)")
    for axes in (weights, gaps):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel("share of the kept weights")
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    figure.suptitle(f"Deep Compression Fig 5: shared weights and gaps of {name}", fontsize=11)
    return figure


def distribution_table(layer: CompressedLayer, name: str) -> PaperTable:
    """Return the bars of Fig 5: shared weights, then gaps."""
    kept = np.bincount(layer.codes.ravel(), minlength=layer.codebook.size)
    skipped = skipped_zeros(layer.codes.ravel())[1]
    counts = np.bincount(skipped)
    total = int(kept[1:].sum())
    order = np.argsort(layer.codebook[1:]) + 1
    cells: list[list[Any]] = [
        ["shared weight", float(layer.codebook[code]), int(kept[code]), kept[code] / total] for code in order
    ]
    cells += [["gap", gap, int(number), number / total] for gap, number in enumerate(counts[: FAR_GAP + 1])]
    far = int(counts[FAR_GAP + 1 :].sum())
    cells.append(["gap", f"above {FAR_GAP}", far, far / total])
    return PaperTable(
        "deep_compression_figure_5",
        f"Deep Compression Fig 5: shared weights and gaps of {name}",
        [("quantity", ""), ("value", "{:.4g}"), ("kept weights", "{:,}"), ("share", "{:.2%}")],
        cells,
    )


def distribution_trends(layer: CompressedLayer, name: str) -> list[Trend]:
    """Test Fig 5 and section 4."""
    kept = np.bincount(layer.codes.ravel(), minlength=layer.codebook.size)[1:]
    in_order = kept[np.argsort(layer.codebook[1:])]
    values = np.sort(layer.codebook[1:])
    below, above = in_order[values < 0], in_order[values > 0]
    inside = [bool(0 < part.argmax() < len(part) - 1) for part in (below, above)]
    far = float((skipped_zeros(layer.codes.ravel())[1] > FAR_GAP).mean())
    entry_codes, gaps = encode_relative(layer.codes.ravel(), GAP_BITS)
    plain = len(gaps) * (layer.weight_bits + GAP_BITS)
    saved = 1 - (coded_bits(np.bincount(entry_codes)) + coded_bits(np.bincount(gaps))) / plain
    source = f"Deep Compression Fig 5, {name}"
    peaks = [
        float(part_values[part.argmax()])
        for part, part_values in ((below, values[values < 0]), (above, values[values > 0]))
    ]
    return [
        Trend(
            source,
            "most weights lie around two peaks, one below and one above zero",
            all(inside),
            f"most frequent shared weights {peaks[0]:.4f} and {peaks[1]:.4f}",
        ),
        Trend(source, f"gaps are rarely larger than {FAR_GAP} (ours: under 5 %)", far < 0.05, f"{far:.2%} of the gaps"),
        Trend(
            source,
            "Huffman coding saves 20 % to 30 %",
            0.2 <= saved <= 0.3,
            f"{saved:.1%} of {layer.weight_bits} + {GAP_BITS} bits per entry",
        ),
    ]


def storage_of(model: CompressedModel) -> dict[str, int]:
    """Return the bytes of a container by KINDS."""
    report = model.size_report
    parts = {
        "weights": sum(layer.codes for layer in report.layers),
        "indices": sum(layer.gaps + layer.fillers for layer in report.layers),
        "codebooks": sum(layer.codebook for layer in report.layers),
    }
    return parts | {"other": report.total - sum(parts.values())}


def storage_of_net(network: CompressedNetwork) -> dict[str, int]:
    """Return the bytes of a `.net` file of Deep Compression's author by KINDS."""
    parts = dict.fromkeys(KINDS, 0)
    for layer in network.layers:
        entries = len(encode_relative(layer.codes.ravel(), 4)[0])
        parts["weights"] += -(-entries * layer.weight_bits // 8)
        parts["indices"] += -(-entries // 2)
        parts["codebooks"] += 4 * layer.codebook.size
        parts["other"] += 4 + 4 * layer.rows  # its count of entries, and the bias
    return parts


def storage_table(storages: Mapping[str, Mapping[str, int]]) -> PaperTable:
    """Return the numbers of Fig 11."""
    cells = [
        [name, *(parts[kind] for kind in KINDS), *(parts[kind] / sum(parts.values()) for kind in KINDS)]
        for name, parts in storages.items()
    ]
    return PaperTable(
        "deep_compression_figure_11",
        "Deep Compression Fig 11: contents of the containers",
        [("network", ""), *((f"{kind}, bytes", "{:,}") for kind in KINDS), *((kind, PERCENT) for kind in KINDS)],
        cells,
        ["Indices are gaps. Other: biases, code tables, headers, and uncompressed parameters."],
    )


def storage_trends(storages: Mapping[str, Mapping[str, int]]) -> list[Trend]:
    """Test Fig 11."""
    trends = []
    for name, parts in storages.items():
        both = parts["weights"] + parts["indices"]
        share, codebooks = parts["weights"] / both, parts["codebooks"] / sum(parts.values())
        trends.append(
            Trend(
                f"Deep Compression Fig 11, {name}",
                "weights and indices take about half each (40 % to 60 %), codebooks almost nothing (under 5 %)",
                0.4 <= share <= 0.6 and codebooks < 0.05,
                f"weights {share:.0%} of both, codebooks {codebooks:.1%} of all",
            )
        )
    return trends


def draw_storage(storages: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw Fig 11."""
    figure = Figure(figsize=(8, 0.9 + 0.55 * len(storages)), layout="constrained")
    axes = figure.subplots()
    names = list(storages)[::-1]
    left = np.zeros(len(names))
    for kind, (colour, _) in zip(KINDS, STYLES, strict=False):
        shares = np.array([storages[name][kind] / sum(storages[name].values()) for name in names])
        axes.barh(names, shares, left=left, color=colour, label=kind, edgecolor="white")
        left += shares
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(0, 1)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    axes.set_title("Deep Compression Fig 11: contents of the containers", fontsize=11)
    return figure


def curve_trends(points: Sequence[Row]) -> list[Trend]:
    """Test Figs 6 to 8 on the LeNets' curves, rows with CURVE_COLUMNS."""
    return [_combined(points), *_bits(points), _initialisation(points)]


def _combined(points: Sequence[Row]) -> Trend:
    """Test Fig 6: at the smallest sizes, both together lose less than each alone."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        if point["figure"] == 6:
            curves.setdefault(point["series"], []).append((point["size_bytes"], point["error"]))
    both = curves["pruning and sharing"]
    alone = [pair for series in ("pruning alone", "sharing alone") for pair in curves[series]]
    smallest = min(size for size, _ in alone)
    ours = min(error for size, error in both if size <= max(smallest, min(size for size, _ in both)))
    theirs = min(error for size, error in alone if size <= 1.2 * smallest)
    return Trend(
        "Deep Compression Fig 6, LeNet-300-100",
        "pruning and sharing together give a smaller size and less error than each alone",
        min(size for size, _ in both) < smallest and ours <= theirs,
        f"{ours:.2%} error in at most {smallest:,} bytes; each alone {theirs:.2%} at its smallest size",
    )


def _bits(points: Sequence[Row]) -> list[Trend]:
    """Test Fig 7, with the fewest bits whose error stays within half a point of that with 8 bits."""
    curves: dict[str, dict[int, float]] = {}
    for point in points:
        if point["figure"] == 7:
            curves.setdefault(point["series"], {})[point["weight_bits"]] = point["error"]
    least = {series: _least_bits(errors) for series, errors in curves.items()}
    pruned, dense = least["all layers, pruned"], least["all layers, dense"]
    convolutions, connected = least["convolutions, pruned"], least["fully connected, pruned"]
    return [
        Trend(
            "Deep Compression Fig 7, LeNet-5",
            "error begins to rise at the same number of bits, pruned or not (within one bit)",
            abs(pruned - dense) <= 1,
            f"within half a point from {pruned} bits if pruned, from {dense} bits if dense",
        ),
        Trend(
            "Deep Compression Fig 7, LeNet-5",
            "convolutions need at least as many bits as fully connected layers",
            convolutions >= connected,
            f"{convolutions} bits and {connected} bits",
        ),
    ]


def _least_bits(errors: Mapping[int, float]) -> int:
    least = 8
    for bits in sorted(errors, reverse=True):
        if errors[bits] > errors[8] + 0.005:
            break
        least = bits
    return least


def _initialisation(points: Sequence[Row]) -> Trend:
    """Test Fig 8."""
    curves: dict[str, dict[int, float]] = {}
    for point in points:
        if point["figure"] == 8:
            curves.setdefault(point["series"], {})[point["weight_bits"]] = point["error"]
    others = [series for series in ("density", "random") if series in curves]
    bits = [
        number
        for number in curves["linear"]
        if all(curves["linear"][number] <= curves[series][number] for series in others)
    ]
    return Trend(
        "Deep Compression Fig 8, LeNet-300-100",
        "of the paper's three initialisations, linear is best except at 3 bits",
        set(bits) >= set(curves["linear"]) - {3},
        f"linear is best or equal at {', '.join(map(str, sorted(bits))) or 'no'} bits; no network is tuned afterwards",
    )
