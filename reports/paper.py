"""All tables and figures of EIE, and those of Deep Compression that the data allow, as one folder of files.

summary.md                every table, the papers' statements tested on our results, and the deviations with reasons
*.csv                     each table with exact numbers
*.svg, *.png              each figure
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from compress import CompressedModel
from designs.paper_sources import CONTAINERS, LENETS, MASKS, QUEUE_DEPTHS, SQUEEZENET, PaperSources
from designs.result_files import (
    BENCHMARK_COLUMNS,
    BENCHMARK_FILE,
    CONTAINER_COLUMNS,
    CONTAINERS_FILE,
    CURVE_COLUMNS,
    CURVES_FILE,
    LINE_WIDTH_COLUMNS,
    LINE_WIDTH_FILE,
    PRECISION_COLUMNS,
    PRECISION_FILE,
    SHARING_COLUMNS,
    SHARING_FILE,
)
from designs.results import Column
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.folder import SWEEP_FILE
from reports import trends
from reports.deep_compression import paper as deep_compression_paper
from reports.deep_compression.networks import draw_curves
from reports.eie import figures as eie_figures
from reports.eie import tables as eie_tables
from reports.eie.deviations import deviations
from reports.figures.sweep import save_figure
from reports.paper_table import PaperTable
from reports.read import Row, container_of, read_rows
from reports.trends import Trend
from traces import CompressedLayer
from traces.eie_benchmark import REAL_LAYERS
from traces.files.atomic_file import write_atomically
from traces.files.deep_compression_net import read_net
from traces.files.npz import read_layer
from traces.unevenness import measured_unevenness

_EXPERIMENT = "python -m designs experiment deep-compression --data DIR"


class PaperReport:
    """Tables and figures of the papers, the tested statements, and the list of absent parts.

    Parameters
    ----------
    results : Path
        Folder of the results of the experiment "paper"; the report is written into it.
    sources : PaperSources
        Folders of real data, containers and the results of the experiment "deep-compression".

    Attributes
    ----------
    tables : list of PaperTable
        Tables in the order of the summary.
    figures : dict of str to Figure
        Figures by file name, without suffix.
    trends : list of Trend
        Statements of the papers, tested on our results.
    absent : list of str
        Parts that are absent, each with the way to get it.

    Raises
    ------
    InputError
        If a result file is missing or damaged.
    """

    def __init__(self, results: Path, sources: PaperSources) -> None:
        self.results = results
        self.sources = sources
        self.tables: list[PaperTable] = []
        self.figures: dict[str, Figure] = {}
        self.trends: list[Trend] = []
        self.absent: list[str] = []
        self._eie()
        self._deep_compression()
        self.tables.insert(0, trends.trends_table(self.trends))
        self.tables.insert(0, self._deviations)

    def write(self) -> Path:
        """Write all files into the folder of the results, the summary last; return the path of the summary."""
        for table in self.tables:
            table.write_csv(self.results)
        for name, figure in self.figures.items():
            save_figure(figure, self.results / name)
        path = self.results / "summary.md"
        write_atomically(path, self.summary().encode())
        return path

    def summary(self) -> str:
        """Return all tables as Markdown."""
        spreads = measured_unevenness()
        parts = [
            "# EIE and Deep Compression: our results beside the papers'\n",
            "Random masks keep each weight with the same probability. Uneven masks have rows and columns of different "
            f"scales. The spread of the scales (standard deviation of the logarithm) is {spreads.row_spread:.3f} over "
            f"rows and {spreads.column_spread:.3f} over columns, as is typical of fully connected layers that were "
            "pruned; nothing is fitted to any time of the paper (`traces/mask_unevenness.csv`, `python -m designs "
            "experiment unevenness`). Active "
            "inputs are drawn independently of the mask. The real Alex-8 replaces the drawn one if the data hold it.\n",
        ]
        if self.absent:
            parts.append("Absent parts:\n\n" + "".join(f"* {sentence}\n" for sentence in self.absent))
        return "\n".join([*parts, *(table.markdown() for table in self.tables)])

    def _read(self, file: str | Path, columns: list[Column]) -> list[Row]:
        return read_rows(self.results / file, columns, "paper")

    def _eie(self) -> None:
        rows = self._read(BENCHMARK_FILE, BENCHMARK_COLUMNS)
        widths = self._read(LINE_WIDTH_FILE, LINE_WIDTH_COLUMNS)
        queues, pes = (
            {masks: self._read(Path(masks) / name / SWEEP_FILE, SWEEP_COLUMNS) for masks in MASKS}
            for name in ("queue_slots", "num_pes")
        )
        energy, width = eie_tables.energy_table(rows), eie_tables.width_table(widths)
        self.tables += [
            eie_tables.power_and_area(rows),
            eie_tables.benchmark_layers(rows),
            eie_tables.wall_clock(rows),
            eie_tables.platform_times(rows),
            eie_tables.platforms(rows, pes),
            eie_tables.speedup_table(rows),
            energy,
            eie_tables.queue_table(queues, QUEUE_DEPTHS),
            width,
        ]
        self.figures |= {
            "table_4_wall_clock": eie_figures.draw_times(rows),
            "figure_6_speedup": eie_figures.draw_speedups(rows),
            "figure_7_energy": eie_figures.draw_energy(energy),
            "figure_8_queue_depth": eie_figures.draw_queues(queues, QUEUE_DEPTHS),
            "figure_9_line_width": eie_figures.draw_widths(width),
        }
        for masks in MASKS:
            self.trends += trends.queue_trends(queues[masks], masks)
        self.trends += trends.width_trends(width.rows)
        if (self.results / PRECISION_FILE).exists():
            precisions = self._read(PRECISION_FILE, PRECISION_COLUMNS)
            self.tables.append(eie_tables.precision_table(precisions))
            self.figures["figure_10_precision"] = eie_figures.draw_precision(precisions)
            self.trends += trends.precision_trends(precisions)
        else:
            self.absent.append(
                "EIE Fig 10: give MNIST to the experiment with --data DIR, or install the extra 'train' for the digits"
            )
        for number, stem in ((11, "speedup"), (12, "padding"), (13, "load_balance")):
            self.tables.append(eie_tables.scaling_table(pes, number))
            self.figures[f"figure_{number}_{stem}"] = eie_figures.draw_scaling(pes, number)
        for masks in MASKS:
            self.trends += trends.scaling_trends(pes[masks], masks)
        if not any(row["weights"] == "real" for row in rows):
            self.absent.append("the real Alex-8: give the folder of alex8/alex8.npz to the experiment with --data DIR")
        self._deviations = deviations(rows, queues, pes, widths)

    def _deep_compression(self) -> None:
        """Collect its tables and figures; Figs 6 to 8 come from the curves of the experiment on the LeNets."""
        models = self._containers()
        for number, name in ((2, LENETS[0]), (3, LENETS[1])):
            if any(network == name for network, _ in models):
                self.tables.append(deep_compression_paper.layer_table(models, name, number))
        if not any(recipe == "as the paper" for _, recipe in models):
            self.absent.append(
                f"Deep Compression's Tables 2 and 3 with its own densities and bits, and its Figs 6 to 8: make them "
                f"with {_EXPERIMENT} (about an hour), then run this again with --deep-compression FOLDER"
            )
        self._curves()
        self._sharing()
        layer, name = self._distributed(models)
        if layer is not None:
            self.tables.append(deep_compression_paper.distribution_table(layer, name))
            self.figures["deep_compression_figure_5"] = deep_compression_paper.draw_distributions(layer, name)
            self.trends += deep_compression_paper.distribution_trends(layer, name)
        storages = self._storages(models)
        if storages:
            self.tables.append(deep_compression_paper.storage_table(storages))
            self.figures["deep_compression_figure_11"] = deep_compression_paper.draw_storage(storages)
            self.trends += deep_compression_paper.storage_trends(storages)

    def _containers(self) -> dict[tuple[str, str], CompressedModel]:
        """Load the project's containers, and those of the experiment on the LeNets, by network and recipe."""
        models = {}
        for name in CONTAINERS:
            path = self.sources.containers / f"{name}.dc"
            if path.exists():
                models[name, "smallest, as kept"] = CompressedModel.load(path)
        folder = self.sources.deep_compression
        path = folder / CONTAINERS_FILE
        for row in read_rows(path, CONTAINER_COLUMNS, "deep-compression") if path.exists() else []:
            if row["coder"] == "huffman":
                models[row["network"], row["recipe"]] = CompressedModel.load(container_of(folder, row))
        if not models:
            self.absent.append(f"{self.sources.containers}: holds no container of {', '.join(CONTAINERS)}")
        return models

    def _curves(self) -> None:
        path = self.sources.deep_compression / CURVES_FILE
        if path.exists():
            points = read_rows(path, CURVE_COLUMNS, "deep-compression")
            self.figures |= {f"deep_compression_{name}": figure for name, figure in draw_curves(points).items()}
            self.trends += deep_compression_paper.curve_trends(points)

    def _sharing(self) -> None:
        if (self.results / SHARING_FILE).exists():
            rows = self._read(SHARING_FILE, SHARING_COLUMNS)
            self.tables.append(deep_compression_paper.bits_table(rows))
            self.trends += deep_compression_paper.bits_trends(rows)
        else:
            self.absent.append(
                "Deep Compression Table 6: the experiment needs PyTorch, and ResNet-20 with CIFAR-10 in --data DIR or "
                f"the pruned LeNet-5 of {_EXPERIMENT}"
            )

    def _distributed(self, models: Mapping[tuple[str, str], CompressedModel]) -> tuple[CompressedLayer | None, str]:
        """Return the layer of Fig 5, AlexNet's last layer as in the paper or else one of ours, and its name."""
        real = self.sources.real(REAL_LAYERS["Alex-8"])
        if real is not None:
            return read_layer(real)[0], "AlexNet's last layer (Alex-8)"
        for (network, recipe), model in models.items():
            return model.layers[0], f"{network}, {recipe}: {model.layers[0].name} (the paper's is AlexNet's last layer)"
        return None, ""

    def _storages(self, models: Mapping[tuple[str, str], CompressedModel]) -> dict[str, dict[str, int]]:
        storages = {
            f"{network}, {recipe}": deep_compression_paper.storage_of(model)
            for (network, recipe), model in models.items()
        }
        net = self.sources.real(SQUEEZENET)
        if net is not None:
            storages["SqueezeNet (its author's file)"] = deep_compression_paper.storage_of_net(read_net(net))
        return storages
