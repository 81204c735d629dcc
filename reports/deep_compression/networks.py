"""Tables 1 to 3 and Figs 6 to 8 of Deep Compression, ours beside the paper's.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016. Its Figs 6 and 8 are of AlexNet; ours are of the LeNets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

from compress import CompressedModel
from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]

# Table 1: error before and after, bytes before and after
PAPER_NETWORKS = {
    "lenet_300_100": (0.0164, 0.0158, 1_070_000, 27_000),
    "lenet_5": (0.0080, 0.0074, 1_720_000, 44_000),
}
# Tables 2 and 3: kept, bits of a weight and of an index after Huffman coding, compressed over original size
PAPER_LAYERS = {
    "lenet_300_100": {
        "fc1": (0.08, 4.4, 3.7, 0.0232),
        "fc2": (0.09, 4.4, 4.3, 0.0304),
        "fc3": (0.26, 4.3, 3.2, 0.1270),
        "all": (0.08, 5.1, 3.7, 0.0249),
    },
    "lenet_5": {
        "conv1": (0.66, 7.2, 1.5, 0.6745),
        "conv2": (0.12, 7.2, 3.9, 0.0528),
        "fc1": (0.08, 4.5, 4.5, 0.0245),
        "fc2": (0.19, 5.2, 3.7, 0.0613),
        "all": (0.08, 4.1, 4.4, 0.0255),
    },
}


def networks_markdown(rows: Sequence[Row], folder: Path) -> str:
    """Table 1: error and size of each network; ratios are bytes of the file over fp32 bytes of the same parameters."""
    cells = []
    for name, (before, after, original, compressed) in PAPER_NETWORKS.items():
        ratio = f"{original / compressed:.0f}x"
        cells.append([name, "the paper's", f"{before:.2%}", f"{after:.2%}", f"{compressed:,}", ratio])
        for row in rows:
            if row["network"] == name:
                model = CompressedModel.load(folder / row["file"])
                ours = f"{row['recipe']}, {row['coder']}"
                error = f"{row['error_before']:.2%}", f"{row['error']:.2%}"
                cells.append([name, ours, *error, f"{model.size_bytes:,}", f"{model.compression_ratio:.1f}x"])
    return markdown(["network", "container", "error before", "error after", "bytes", "ratio"], cells)


def layers_markdown(model: CompressedModel, network: str) -> str:
    """Tables 2 and 3: one container layer by layer; bits of a code and of a gap are bytes of the file over entries.

    The last line is of the whole file, with biases and headers; of the layers the paper's, without. How far Huffman
    coding is above the entropy of the same symbols is the last column.
    """
    headings = ["layer", "weights", "kept", "code bits", "gap bits", "size"]
    cells = []
    for name, parameters, own, above in layer_figures(model):
        cells.append(_layer_cells(name, parameters, own, PAPER_LAYERS[network][name]))
        cells[-1].append("" if above is None else f"{above:+.1%}")
    both = [f"{each}, paper / ours" for each in headings[2:]]
    return markdown([headings[0], headings[1], *both, "above entropy, ours"], cells)


def layer_figures(model: CompressedModel) -> list[tuple[str, int, list[float], float | None]]:
    """Of each layer, and of the whole file ("all"): name, weights, what PAPER_LAYERS has, and how far above entropy."""
    report = model.size_report
    found: list[tuple[str, int, list[float], float | None]] = []
    for size in report.layers:
        own = [size.kept / size.parameters, 8 * size.codes / size.kept, 8 * size.gaps / size.kept]
        found.append((size.name, size.parameters, [*own, size.total / (4 * size.parameters)], size.above_entropy))
    kept = sum(size.kept for size in report.layers)
    codes, gaps = (sum(getattr(size, what) for size in report.layers) for what in ("codes", "gaps"))
    parameters = model.parameter_bytes // 4
    own = [kept / parameters, 8 * codes / kept, 8 * gaps / kept, model.size_bytes / model.parameter_bytes]
    coded, entropy_bytes = codes + gaps, sum(size.entropy_bytes for size in report.layers)
    coded += sum(size.fillers for size in report.layers)
    found.append(("all", parameters, own, coded / entropy_bytes - 1 if entropy_bytes else None))
    return found


def accuracy_markdown(network: str, before: float, after: float, model: CompressedModel) -> str:
    """One network of ours: accuracy and size."""
    cells = [network, f"{before:.2%}", f"{after:.2%}", f"{model.size_bytes:,}", f"{model.compression_ratio:.1f}x"]
    return markdown(["network", "accuracy before", "accuracy after", "bytes", "ratio"], [cells])


def _layer_cells(name: str, parameters: int, ours: Sequence[float], paper: Sequence[float]) -> list[str]:
    formats = ("{:.1%}", "{:.1f}", "{:.1f}", "{:.2%}")
    both = [f"{form.format(p)} / {form.format(o)}" for form, p, o in zip(formats, paper, ours, strict=True)]
    return [name, f"{parameters:,}", *both]


def draw_curves(rows: Sequence[Row]) -> dict[str, Figure]:
    """A figure by file name for each figure of the paper: error against size (6) and against bits (7, 8)."""
    of_figure = {number: [row for row in rows if row["figure"] == number] for number in (6, 7, 8)}
    return {
        "fig6_pruning_and_sharing": _size_figure(of_figure[6]),
        "fig7_bits": _bits_figure(of_figure[7], "shared once, not tuned"),
        "fig8_initialisations": _bits_figure(of_figure[8], "pruned, shared once, not tuned"),
    }


def _size_figure(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    fp32_bytes = 4 * 266_610
    for number, series in enumerate(dict.fromkeys(row["series"] for row in rows)):
        points = sorted((row["size_bytes"] / fp32_bytes, row["error"]) for row in rows if row["series"] == series)
        colour, marker = STYLES[number]
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=marker, label=series)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.set_xlabel("bytes of the container over fp32 bytes")
    _finish(axes, "LeNet-300-100 on MNIST")
    return figure


def _bits_figure(rows: Sequence[Row], how: str) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    series = list(dict.fromkeys(row["series"] for row in rows))
    bases = list(dict.fromkeys(each.split(",")[0] for each in series))
    for each in series:
        points = sorted((row["weight_bits"], row["error"]) for row in rows if row["series"] == each)
        colour, marker = STYLES[bases.index(each.split(",")[0])]
        line = "--" if each.endswith("pruned") else "-"
        axes.plot(
            [x for x, _ in points], [y for _, y in points], color=colour, marker=marker, linestyle=line, label=each
        )
    axes.set_xlabel("bits of a shared weight")
    network = {"lenet_5": "LeNet-5", "lenet_300_100": "LeNet-300-100"}[rows[0]["network"]]
    _finish(axes, f"{network} on MNIST: {how}")
    return figure


def _finish(axes: Axes, title: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.set_ylabel("error on the test images")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend()
