"""Tables 1 to 3 and Figs 6 to 8 of Deep Compression, our results beside the paper's.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016. Its Figs 6 and 8 show AlexNet; ours show the LeNets.
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
from reports.read import container_of

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
    """Return Table 1: error and size of each network.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the containers, with CONTAINER_COLUMNS.
    folder : Path
        Folder of the containers.

    Notes
    -----
    The ratio is the fp32 bytes of the parameters over the bytes of the file.
    """
    cells = []
    for name, (before, after, original, compressed) in PAPER_NETWORKS.items():
        ratio = f"{original / compressed:.0f}x"
        cells.append([name, "the paper's", f"{before:.2%}", f"{after:.2%}", f"{compressed:,}", ratio])
        for row in rows:
            if row["network"] == name:
                model = CompressedModel.load(container_of(folder, row))
                ours = f"{row['recipe']}, {row['coder']}"
                error = f"{row['error_before']:.2%}", f"{row['error']:.2%}"
                cells.append([name, ours, *error, f"{model.size_bytes:,}", f"{model.compression_ratio:.1f}x"])
    return markdown(["network", "container", "error before", "error after", "bytes", "ratio"], cells)


def layers_markdown(model: CompressedModel, network: str) -> str:
    """Return Table 2 or 3: one container layer by layer.

    Parameters
    ----------
    model : CompressedModel
        The container.
    network : str
        Name of the network, a key of PAPER_LAYERS.

    Notes
    -----
    Bits of a code and of a gap are bytes of the file over kept weights. The last row includes biases and headers in
    ours, but not in the paper's. The last column is the excess of the coded size over the symbols' entropy.
    """
    headings = ["layer", "weights", "kept", "code bits", "gap bits", "size"]
    cells = []
    for name, parameters, own, above in layer_figures(model):
        cells.append(_layer_cells(name, parameters, own, PAPER_LAYERS[network][name]))
        cells[-1].append("" if above is None else f"{above:+.1%}")
    pairs = [f"{heading}, paper / ours" for heading in headings[2:]]
    return markdown([headings[0], headings[1], *pairs, "above entropy, ours"], cells)


def layer_figures(model: CompressedModel) -> list[tuple[str, int, list[float], float | None]]:
    """List, for each layer and the whole file ("all"), name, weights, the values of PAPER_LAYERS, and the excess."""
    report = model.size_report
    figures: list[tuple[str, int, list[float], float | None]] = []
    for size in report.layers:
        own = [size.kept / size.parameters, 8 * size.codes / size.kept, 8 * size.gaps / size.kept]
        figures.append((size.name, size.parameters, [*own, size.total / (4 * size.parameters)], size.above_entropy))
    kept = sum(size.kept for size in report.layers)
    codes, gaps = (sum(getattr(size, part) for size in report.layers) for part in ("codes", "gaps"))
    parameters = model.parameter_bytes // 4
    own = [kept / parameters, 8 * codes / kept, 8 * gaps / kept, model.size_bytes / model.parameter_bytes]
    coded, entropy_bytes = codes + gaps, sum(size.entropy_bytes for size in report.layers)
    coded += sum(size.fillers for size in report.layers)
    figures.append(("all", parameters, own, coded / entropy_bytes - 1 if entropy_bytes else None))
    return figures


def accuracy_markdown(network: str, before: float, after: float, model: CompressedModel) -> str:
    """Show accuracy and size of one of our networks."""
    cells = [network, f"{before:.2%}", f"{after:.2%}", f"{model.size_bytes:,}", f"{model.compression_ratio:.1f}x"]
    return markdown(["network", "accuracy before", "accuracy after", "bytes", "ratio"], [cells])


def _layer_cells(name: str, parameters: int, ours: Sequence[float], paper: Sequence[float]) -> list[str]:
    formats = ("{:.1%}", "{:.1f}", "{:.1f}", "{:.2%}")
    both = [f"{form.format(p)} / {form.format(o)}" for form, p, o in zip(formats, paper, ours, strict=True)]
    return [name, f"{parameters:,}", *both]


def draw_curves(rows: Sequence[Row]) -> dict[str, Figure]:
    """Draw Fig 6, error against size, and Figs 7 and 8, error against bits; return them by file name."""
    by_figure = {number: [row for row in rows if row["figure"] == number] for number in (6, 7, 8)}
    return {
        "fig6_pruning_and_sharing": _size_figure(by_figure[6]),
        "fig7_bits": _bits_figure(by_figure[7], "shared once, not tuned"),
        "fig8_initialisations": _bits_figure(by_figure[8], "pruned, shared once, not tuned"),
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
    axes.set_xlabel("container size / fp32 size")
    _finish(axes, "LeNet-300-100 on MNIST")
    return figure


def _bits_figure(rows: Sequence[Row], treatment: str) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    series = list(dict.fromkeys(row["series"] for row in rows))
    bases = list(dict.fromkeys(name.split(",")[0] for name in series))
    for name in series:
        points = sorted((row["weight_bits"], row["error"]) for row in rows if row["series"] == name)
        colour, marker = STYLES[bases.index(name.split(",")[0])]
        line = "--" if name.endswith("pruned") else "-"
        axes.plot(
            [x for x, _ in points], [y for _, y in points], color=colour, marker=marker, linestyle=line, label=name
        )
    axes.set_xlabel("bits of a shared weight")
    network = {"lenet_5": "LeNet-5", "lenet_300_100": "LeNet-300-100"}[rows[0]["network"]]
    _finish(axes, f"{network} on MNIST: {treatment}")
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
