"""All tables and figures of EIE, and of Deep Compression as far as the data allow, as one folder of files.

summary.md                every table, what holds of the papers' statements, and what differs and why
*.csv                     each table with the numbers as they are
*.svg, *.png              each figure
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from compress import CompressedModel
from designs.experiments.benchmark import BENCHMARK_COLUMNS, BENCHMARK_FILE
from designs.experiments.eie_paper import LENETS, MASKS, QUEUE_DEPTHS, PaperSources
from designs.experiments.line_widths import LINE_WIDTH_COLUMNS, LINE_WIDTH_FILE
from designs.experiments.precision import PRECISION_COLUMNS, PRECISION_FILE
from designs.experiments.sharing import SHARING_COLUMNS, SHARING_FILE
from designs.experiments.unevenness import CONTAINERS, SQUEEZENET
from designs.results import Column, read_results
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
from reports.trends import Trend
from traces import CompressedLayer
from traces.eie_benchmark import REAL_LAYERS
from traces.files.atomic_file import write_atomically
from traces.files.deep_compression_net import read_net
from traces.files.npz import read_layer
from traces.unevenness import measured_unevenness

Row = dict[str, Any]
_STUDY = "python -m reports deep-compression --data DIR"


class PaperReport:
    """Tables, figures, tested statements, and what is absent, collected part by part; then written."""

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
        """Write everything beside the results; the summary comes last. Returns its path."""
        for table in self.tables:
            table.write_csv(self.results)
        for name, figure in self.figures.items():
            save_figure(figure, self.results / name)
        path = self.results / "summary.md"
        write_atomically(path, self.summary().encode())
        return path

    def summary(self) -> str:
        """All tables, as Markdown."""
        taken = measured_unevenness()
        said = [
            "# EIE and Deep Compression, ours beside the papers'\n",
            "Random masks keep each weight with one probability. Uneven masks have rows and columns of different "
            f"scales, spread (deviation of the logarithm) {taken.row_spread:.3f} over rows and "
            f"{taken.column_spread:.3f} over columns: the median of real pruned layers, none of it fitted to a time of "
            "the paper (`traces/mask_unevenness.csv`, `python -m designs unevenness`). Which inputs are active depends "
            "on the mask in neither. Real Alex-8 stands for the drawn one where it is there.\n",
        ]
        if self.absent:
            said.append("Not here:\n\n" + "".join(f"* {sentence}\n" for sentence in self.absent))
        return "\n".join([*said, *(table.markdown() for table in self.tables)])

    def _read(self, file: str | Path, columns: list[Column]) -> list[Row]:
        rows: list[Row] = read_results(self.results / file, columns)[0].to_pylist()
        return rows

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
            self.absent.append("EIE Fig 10: give MNIST with --data DIR, or install the extra 'train' for the digits")
        for number, stem in ((11, "speedup"), (12, "padding"), (13, "load_balance")):
            self.tables.append(eie_tables.scaling_table(pes, number))
            self.figures[f"figure_{number}_{stem}"] = eie_figures.draw_scaling(pes, number)
        for masks in MASKS:
            self.trends += trends.scaling_trends(pes[masks], masks)
        if not any(row["weights"] == "real" for row in rows):
            self.absent.append("the real Alex-8: give the folder that holds alex8/alex8.npz with --data DIR")
        self._deviations = deviations(rows, queues, pes, widths)

    def _deep_compression(self) -> None:
        """Its Figs 6 to 8 come from the study's curves, everything else from containers and what was simulated."""
        models = self._containers()
        for number, name in ((2, LENETS[0]), (3, LENETS[1])):
            if any(network == name for network, _ in models):
                self.tables.append(deep_compression_paper.layer_table(models, name, number))
        if not any(recipe == "as the paper" for _, recipe in models):
            self.absent.append(
                f"Deep Compression's Tables 2 and 3 with its own densities and bits, and its Figs 6 to 8: make them "
                f"with {_STUDY} (about an hour), then run this again with --studied FOLDER"
            )
        self._curves()
        self._sharing()
        layer, what = self._distributed(models)
        if layer is not None:
            self.tables.append(deep_compression_paper.distribution_table(layer, what))
            self.figures["deep_compression_figure_5"] = deep_compression_paper.draw_distributions(layer, what)
            self.trends += deep_compression_paper.distribution_trends(layer, what)
        storages = self._storages(models)
        if storages:
            self.tables.append(deep_compression_paper.storage_table(storages))
            self.figures["deep_compression_figure_11"] = deep_compression_paper.draw_storage(storages)
            self.trends += deep_compression_paper.storage_trends(storages)

    def _containers(self) -> dict[tuple[str, str], CompressedModel]:
        """By network and recipe: those that the project keeps, and the study's where they are."""
        found = {}
        for name in CONTAINERS:
            path = self.sources.containers / f"{name}.dc"
            if path.exists():
                found[name, "smallest, as kept"] = CompressedModel.load(path)
        if self.sources.studied.is_dir():
            from designs.experiments.deep_compression import (  # needs PyTorch, which made the study
                CONTAINER_COLUMNS,
                CONTAINERS_FILE,
            )

            path = self.sources.studied / CONTAINERS_FILE
            for row in read_results(path, CONTAINER_COLUMNS)[0].to_pylist() if path.exists() else []:
                if row["coder"] == "huffman":
                    model = CompressedModel.load(self.sources.studied / row["file"])
                    found[row["network"], row["recipe"]] = model
        if not found:
            self.absent.append(f"{self.sources.containers}: holds no container of {', '.join(CONTAINERS)}")
        return found

    def _curves(self) -> None:
        if self.sources.studied.is_dir():
            from designs.experiments.deep_compression import CURVE_COLUMNS, CURVES_FILE

            path = self.sources.studied / CURVES_FILE
            if path.exists():
                points = read_results(path, CURVE_COLUMNS)[0].to_pylist()
                self.figures |= {f"deep_compression_{name}": figure for name, figure in draw_curves(points).items()}
                self.trends += deep_compression_paper.curve_trends(points)

    def _sharing(self) -> None:
        if (self.results / SHARING_FILE).exists():
            rows = self._read(SHARING_FILE, SHARING_COLUMNS)
            self.tables.append(deep_compression_paper.bits_table(rows))
            self.trends += deep_compression_paper.bits_trends(rows)
        else:
            self.absent.append(
                "Deep Compression Table 6: needs PyTorch, and ResNet-20 with CIFAR-10 in --data DIR or the pruned "
                f"LeNet-5 of {_STUDY}"
            )

    def _distributed(self, models: Mapping[tuple[str, str], CompressedModel]) -> tuple[CompressedLayer | None, str]:
        """The layer of Fig 5: the paper's own, AlexNet's last one; else one of ours."""
        real = self.sources.real(REAL_LAYERS["Alex-8"])
        if real is not None:
            return read_layer(real)[0], "AlexNet's last layer (Alex-8)"
        for (network, recipe), model in models.items():
            return model.layers[0], f"{network}, {recipe}: {model.layers[0].name} (the paper's is AlexNet's last layer)"
        return None, ""

    def _storages(self, models: Mapping[tuple[str, str], CompressedModel]) -> dict[str, dict[str, int]]:
        found = {
            f"{network}, {recipe}": deep_compression_paper.storage_of(each)
            for (network, recipe), each in models.items()
        }
        net = self.sources.real(SQUEEZENET)
        if net is not None:
            found["SqueezeNet (its author's file)"] = deep_compression_paper.storage_of_net(read_net(net))
        return found
