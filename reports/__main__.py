"""Command line: `python -m reports [all | codesign | paper | ...]`, figures and tables of results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import tyro

from compress import CompressedModel
from compress.one_shot import read_parameters
from designs.experiments.benchmark import BENCHMARK_COLUMNS, BENCHMARK_FILE
from designs.experiments.line_widths import LINE_WIDTH_COLUMNS, LINE_WIDTH_FILE
from designs.results import RESULTS_FOLDER, read_results
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.folder import SWEEP_FILE
from designs.sweeps.totals import network_totals
from reports.eie.benchmark import alex8_markdown, benchmark_markdown, power_markdown
from reports.eie.line_widths import draw_line_widths, line_width_markdown
from reports.figures.sweep import draw_sweep, save_figure
from reports.figures.timeline import draw_timeline
from sim.observe.timeline_summary import read_timeline
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.files.images import load_idx_folder
from traces.shell.command_line import data_folder, run, run_commands


def report(results: Path = RESULTS_FOLDER) -> None:
    """Make the figures and tables of all results in a folder again, beside the result files.

    From each sweep: cycles and utilisation against PEs and queue slots (SVG and PNG). From the EIE benchmark:
    the Alex-8 table, power and area, and the table of all layers, paper and ours (Markdown); line reads and their
    energy against the width of a line (figure and Markdown). From each timeline: the layer over time (figure).

    For instance:

      python -m reports --results results

    Args:
        results: folder that holds NAME/sweep.parquet, eie_benchmark.parquet with line_widths.parquet, and
            *.timeline.npz, or a part of them
    """
    sweeps = sorted(results.glob(f"*/{SWEEP_FILE}")) + sorted(results.glob(SWEEP_FILE))
    benchmark = results / BENCHMARK_FILE
    timelines = sorted(results.glob("*.timeline.npz"))
    if not sweeps and not timelines and not benchmark.exists():
        raise InputError(
            f"{results}: holds no {SWEEP_FILE}, no {BENCHMARK_FILE} and no *.timeline.npz; make them with "
            f"python -m designs, python -m designs benchmark and python -m sim LAYER --timeline FILE.timeline.npz"
        )
    for path in sweeps:
        table, origin = read_results(path, SWEEP_COLUMNS)
        figure = draw_sweep(network_totals(table), origin["network"])
        for written in save_figure(figure, path.with_suffix("")):
            print(f"wrote {written}")
    for path in timelines:
        for written in save_figure(draw_timeline(read_timeline(path)), path.with_suffix("")):
            print(f"wrote {written}")
    if benchmark.exists():
        rows = read_results(benchmark, BENCHMARK_COLUMNS)[0].to_pylist()
        print()
        tables = {
            "alex8.md": alex8_markdown(rows),
            "power_and_area.md": power_markdown(rows),
            "eie_benchmark.md": benchmark_markdown(rows),
        }
        for name, content in tables.items():
            print(content)
            write_atomically(results / name, content.encode())
            print(f"wrote {results / name}\n")
        if not any(row["weights"] == "real" for row in rows):
            print(
                "The real Alex-8 layer was not simulated: its weights are not part of this project; give the folder "
                "that holds alex8/alex8.npz to python -m designs benchmark --data DIR."
            )
        widths = read_results(results / LINE_WIDTH_FILE, LINE_WIDTH_COLUMNS)[0].to_pylist()
        content = line_width_markdown(widths)
        print(content)
        write_atomically(results / "line_widths.md", content.encode())
        for written in save_figure(draw_line_widths(widths), results / "line_widths"):
            print(f"wrote {written}")
    else:
        print(f"No {benchmark}: make it with python -m designs benchmark for the Alex-8 table.")


def deep_compression(data: Path | None = None, out: Path = RESULTS_FOLDER / "deep_compression") -> None:
    """Train and compress LeNet-300-100 and LeNet-5 on MNIST, and show them beside Deep Compression's Tables 1 to 3.

    The curves of its Figs 6 to 8 come with them. Takes about an hour on two cores; a run that is cut off goes on
    where it stopped. PyTorch needed.

    For instance:

      python -m reports deep-compression --data MNIST

    Args:
        data: folder of MNIST's IDX files; default: $CODESIGN_DATA
        out: folder of the results
    """
    from designs.experiments.deep_compression import (
        CONTAINER_COLUMNS,
        CONTAINERS_FILE,
        CURVE_COLUMNS,
        CURVES_FILE,
        run_study,
    )
    from reports.deep_compression.networks import draw_curves, layers_markdown, networks_markdown

    folder = data_folder(data)
    if folder is None:
        raise InputError("the LeNets are trained on MNIST; give the folder of its IDX files with --data DIR")
    run_study(load_idx_folder(folder), out)
    containers = read_results(out / CONTAINERS_FILE, CONTAINER_COLUMNS)[0].to_pylist()
    parts = [networks_markdown(containers, out)]
    for row in containers:
        if row["coder"] != "huffman":  # codes and gaps are no parts of its own there
            continue
        parts.append(f"{row['network']}, {row['recipe']}\n")
        parts.append(layers_markdown(CompressedModel.load(out / row["file"]), row["network"]))
    content = "\n".join(parts)
    print(content)
    write_atomically(out / "tables.md", content.encode())
    print(f"wrote {out / 'tables.md'}")
    curves = read_results(out / CURVES_FILE, CURVE_COLUMNS)[0].to_pylist()
    for name, figure in draw_curves(curves).items():
        for written in save_figure(figure, out / name):
            print(f"wrote {written}")


def resnet(weights: tyro.conf.Positional[Path], data: Path, out: Path = RESULTS_FOLDER / "resnet") -> None:
    """Compress a trained ResNet-20 towards its own outputs on CIFAR-10's training images, whose labels it never sees.

    Takes about 20 minutes on two cores. PyTorch needed.

    For instance:

      python -m reports resnet resnet20.npz --data CIFAR10

    Args:
        weights: its state dict (.npz, .pt): conv1, bn1, layer1.0.conv1 ... linear
        data: folder of CIFAR-10 as IDX files, images [images, 3, 32, 32]
        out: folder of the results
    """
    from designs.experiments.resnet import accuracy_of, compress_resnet, load_resnet
    from reports.deep_compression.networks import accuracy_markdown

    images = load_idx_folder(data)
    network = load_resnet(read_parameters(weights))
    model = compress_resnet(network, images, out)
    before = accuracy_of(network, images)
    model.load_into(network)
    content = accuracy_markdown("ResNet-20", before, accuracy_of(network, images), model)
    print(content)
    write_atomically(out / "table.md", content.encode())
    print(f"wrote {out / 'table.md'}; the container is {out / 'compressed.dc'}")


def planning(
    data: Path | None = None,
    resnet: tuple[Path, Path] | None = None,
    out: Path = RESULTS_FOLDER / "planning",
) -> None:
    """Compare planned compression with other ways of choosing it, without retraining: LeNet-5, ResNet-20.

    Beside plans stand one density and width for all layers, a scan of each layer, tolerances of the weights alone, and
    a black-box search. Takes half an hour for LeNet-5 and about one more for ResNet-20, on two cores; a run that is cut
    off goes on where it stopped. PyTorch needed.

    For instance:

      python -m reports planning --data MNIST --resnet resnet20.npz CIFAR10

    Args:
        data: folder of MNIST's IDX files; default: $CODESIGN_DATA
        resnet: state dict of a trained ResNet-20, and the folder of CIFAR-10 as IDX files
        out: folder of the results
    """
    from designs.experiments.planning import COMMITTEE_COLUMNS, FILES, committee_files, run_study
    from designs.experiments.planning import lenet as study_lenet
    from designs.experiments.planning import resnet as study_resnet
    from designs.experiments.resnet import load_resnet
    from reports import planning as pages

    folder = data_folder(data)
    if folder is None:
        raise InputError("LeNet-5 is trained on MNIST; give the folder of its IDX files with --data DIR")
    networks = [study_lenet(load_idx_folder(folder), out)]
    if resnet is not None:
        networks.append(study_resnet(load_resnet(read_parameters(resnet[0])), load_idx_folder(resnet[1])))
    run_study(networks, out)
    results = {
        name: [
            row
            for studied in networks
            for row in read_results(out / studied.name / name / f"{name}.parquet", columns)[0].to_pylist()
        ]
        for name, columns in FILES.items()
    }
    committee = [row for path in committee_files(out) for row in read_results(path, COMMITTEE_COLUMNS)[0].to_pylist()]
    needed = {how: pages.inputs_needed(committee, how) for how in ("committee", "random")}
    content = "\n".join(
        [
            pages.sizes_markdown(results["curves"]),
            pages.search_markdown(results["search"]),
            pages.predictions_markdown(results["predictions"]),
            pages.budgets_markdown(results["budgets"]),
            pages.committee_markdown(committee),
            f"Inputs from which on the bound is kept, median of the seeds: {needed['committee']:g} chosen by the "
            f"committee, {needed['random']:g} chosen at random.\n",
        ]
    )
    print(content)
    write_atomically(out / "tables.md", content.encode())
    print(f"wrote {out / 'tables.md'}")
    for name, figure in pages.draw_planning({**results, "committee": committee}).items():
        for written in save_figure(figure, out / name):
            print(f"wrote {written}")


def paper(
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "paper",
    studied: Path = RESULTS_FOLDER / "deep_compression",
    containers: Path = Path("tests/containers"),
    workers: int = 1,
    fresh: bool = False,
) -> None:
    """All tables and figures of EIE, and of Deep Compression as far as the data allow, ours beside the papers'.

    Simulates what is not yet there, some minutes on two cores; a run that is cut off goes on where it stopped.
    Nothing is trained for it but a small network on scikit-learn's digits, where MNIST is absent. For instance:

      python -m reports paper --data DIR

    Args:
        data: folder that holds alex8, mnist, cifar10, models and squeezenet_deep_compression, or a part of them;
            default: $CODESIGN_DATA
        out: folder of the results: summary.md, a CSV file for each table, an SVG and a PNG file for each figure
        studied: folder of the results of python -m reports deep-compression, if they are there
        containers: folder of the project's own compressed networks
        workers: processes on this machine for the sweeps
        fresh: simulate everything again
    """
    from designs.experiments.eie_paper import PaperSources, run_paper
    from reports.paper import PaperReport

    sources = PaperSources(data_folder(data), containers, studied)
    run_paper(sources, out, workers, fresh)
    report = PaperReport(out, sources)
    print(report.summary())
    print(f"wrote {report.write()}, {len(report.tables)} CSV files and {len(report.figures)} figures beside it")


def rtl(data: Path | None = None, out: Path = RESULTS_FOLDER / "rtl") -> None:
    """Hold the array in SystemVerilog to the tick machine and the closed form, synthesize it, and plant faults in it.

    Takes a quarter of an hour on two cores. Verilator, Yosys and a C++ compiler needed: make rtl installs them. Ends
    with 1 if the machines disagree on anything, or a planted fault is not caught. For instance:

      python -m reports rtl --data DIR

    Args:
        data: folder that holds alex8/alex8.npz; default: $CODESIGN_DATA
        out: folder of the results
    """
    from designs.experiments.rtl import FILES, run_study
    from reports import rtl as pages

    run_study(out, data_folder(data))
    results = {name: read_results(out / f"{name}.parquet", columns)[0].to_pylist() for name, columns in FILES.items()}
    content = "\n".join(
        [
            pages.agreement_markdown(results["agreement"]),
            pages.speed_markdown(results["speed"]),
            pages.synthesis_markdown(results["synthesis"]),
            pages.mutations_markdown(results["mutations"]),
        ]
    )
    print(content)
    write_atomically(out / "tables.md", content.encode())
    print(f"wrote {out / 'tables.md'}")
    disagreeing = sum(row["disagreeing"] for row in results["agreement"])
    survived = sum(not row["caught"] for row in results["mutations"])
    if disagreeing or survived:
        sys.exit(f"the machines disagree on {disagreeing} layers, and {survived} planted faults were not caught")


def codesign(
    folder: tyro.conf.Positional[Path] = RESULTS_FOLDER / "codesign",
    out: Path | None = None,
    design: str | None = None,
) -> None:
    """Report a co-design, finished or not, as one HTML file that needs no network, with figures and tables beside it.

    The page shows the front, any two designs side by side, their layers, and what made them. A folder of the same name
    holds the same for papers: SVG, PNG, PDF and CSV. PyTorch is not needed. For instance:

      python -m reports codesign results/codesign

      python -m reports codesign results/codesign --design 1e91b8b3 --out pages/watch.html

    Args:
        folder: folder of the results of python -m designs codesign
        out: the page; default: report.html in that folder
        design: beginning of the digest of the design that is looked at first; default: a balanced one of the front
    """
    from reports.codesign.report import write_codesign_report

    written = write_codesign_report(folder, out, design)
    print(
        f"wrote {written[0]} ({written[0].stat().st_size / 1e6:.1f} MB), and {len(written) - 1} figures and tables in"
    )
    print(f"      {written[0].with_suffix('')}")


def main() -> None:
    commands: dict[str, Callable[..., None]] = {
        "all": report,
        "deep-compression": deep_compression,
        "resnet": resnet,
        "planning": planning,
        "codesign": codesign,
        "paper": paper,
        "rtl": rtl,
    }
    run_commands(
        "python -m reports",
        "Figures and tables of results. Without a command: all.",
        commands,
        default="all",
    )


if __name__ == "__main__":
    run(main)
