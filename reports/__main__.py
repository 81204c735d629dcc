"""Command line: `python -m reports [all | codesign | paper | ...]`, figures and tables of results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from designs.result_files import (
    BENCHMARK_COLUMNS,
    BENCHMARK_FILE,
    CONTAINER_COLUMNS,
    CONTAINERS_FILE,
    CURVE_COLUMNS,
    CURVES_FILE,
    LINE_WIDTH_COLUMNS,
    LINE_WIDTH_FILE,
    OUTSIDE_COLUMNS,
    PE_CODEBOOKS_COLUMNS,
    PLANNING_COLUMNS,
    RESNET_COLUMNS,
    RESNET_CONTAINER,
    RESNET_FILE,
    RTL_COLUMNS,
    SEARCH_QUALITY_COLUMNS,
    SPACE_ENDS_COLUMNS,
    UNEVENNESS_COLUMNS,
    UNEVENNESS_FILE,
    outside_file,
    outside_files,
    pe_codebooks_files,
    planning_file,
    planning_files,
    search_quality_files,
    space_ends_files,
)
from designs.results import RESULTS_FOLDER, Column, read_results
from reports.read import Row, container_of, read_rows
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.shell.command_line import data_folder, run, run_commands

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Folder = tyro.conf.Positional[Path]


def report(results: Path = RESULTS_FOLDER) -> None:
    """Make the figures and tables of all results in a folder, beside the result files.

    Each sweep gives cycles and efficiency against PEs and queue slots (SVG and PNG). The EIE benchmark gives the Alex-8
    table, power and area, and the table of all layers beside the paper (Markdown), and line reads and their energy
    against the line width (figure and Markdown). Each timeline gives the layer over time (figure).

    For instance:

      python -m reports --results results

    Args:
        results: folder that holds NAME/sweep.parquet, eie_benchmark.parquet with line_widths.parquet, and
            *.timeline.npz, or a part of them
    """
    from designs.sweeps.evaluation import SWEEP_COLUMNS
    from designs.sweeps.folder import SWEEP_FILE
    from designs.sweeps.totals import network_totals
    from reports.figures.sweep import draw_sweep, sweep_title
    from reports.figures.timeline import draw_timeline
    from sim.observe.timeline_summary import read_timeline

    sweeps = sorted(results.glob(f"*/{SWEEP_FILE}")) + sorted(results.glob(SWEEP_FILE))
    benchmark = results / BENCHMARK_FILE
    timelines = sorted(results.glob("*.timeline.npz"))
    if not sweeps and not timelines and not benchmark.exists():
        raise InputError(
            f"{results}: holds no {SWEEP_FILE}, no {BENCHMARK_FILE} and no *.timeline.npz; make them with python -m "
            f"designs, python -m designs experiment benchmark and python -m sim LAYER --timeline FILE.timeline.npz"
        )
    for path in sweeps:
        table, origin = read_results(path, SWEEP_COLUMNS)
        points = network_totals(table)
        running = [point for point in points if point.runs]
        if running:
            _save(path.parent, {path.stem: draw_sweep(running, sweep_title(origin, len(points)))})
        else:
            print(f"{path}: none of its {len(points):,} designs runs every layer, so there is no figure.")
    for path in timelines:
        _save(path.parent, {path.stem: draw_timeline(read_timeline(path))})
    if benchmark.exists():
        _report_benchmark(results)
    else:
        print(f"No {benchmark}: make it with python -m designs experiment benchmark for the Alex-8 table.")


def _report_benchmark(results: Path) -> None:
    from reports.eie.benchmark import alex8_markdown, benchmark_markdown, power_markdown
    from reports.eie.line_widths import draw_line_widths, line_width_markdown

    rows = read_rows(results / BENCHMARK_FILE, BENCHMARK_COLUMNS, "benchmark")
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
            "that holds alex8/alex8.npz to python -m designs experiment benchmark --data DIR."
        )
    widths = read_rows(results / LINE_WIDTH_FILE, LINE_WIDTH_COLUMNS, "benchmark")
    content = line_width_markdown(widths)
    print(content)
    write_atomically(results / "line_widths.md", content.encode())
    _save(results, {"line_widths": draw_line_widths(widths)})


def deep_compression(folder: Folder = RESULTS_FOLDER / "deep_compression") -> None:
    """Show the LeNets of an experiment beside Deep Compression's Tables 1 to 3, and draw its Figs 6 to 8.

    For instance:

      python -m reports deep-compression results/deep_compression

    Args:
        folder: folder of the results of python -m designs experiment deep-compression
    """
    from compress import CompressedModel
    from reports.deep_compression.networks import draw_curves, layers_markdown, networks_markdown

    containers = read_rows(folder / CONTAINERS_FILE, CONTAINER_COLUMNS, "deep-compression")
    curves = read_rows(folder / CURVES_FILE, CURVE_COLUMNS, "deep-compression")
    parts = [networks_markdown(containers, folder)]
    for row in containers:
        if row["coder"] != "huffman":  # the range coder has no separate codes and gaps
            continue
        parts.append(f"{row['network']}, {row['recipe']}\n")
        parts.append(layers_markdown(CompressedModel.load(container_of(folder, row)), row["network"]))
    _write_tables(folder / "tables.md", *parts)
    _save(folder, draw_curves(curves))


def resnet(folder: Folder = RESULTS_FOLDER / "resnet") -> None:
    """Show accuracy and size of the compressed ResNet-20 of an experiment.

    For instance:

      python -m reports resnet results/resnet

    Args:
        folder: folder of the results of python -m designs experiment resnet
    """
    from compress import CompressedModel
    from reports.deep_compression.networks import accuracy_markdown

    (row,) = read_rows(folder / RESNET_FILE, RESNET_COLUMNS, "resnet")
    model = CompressedModel.load(folder / RESNET_CONTAINER)
    content = accuracy_markdown(row["network"], row["accuracy_before"], row["accuracy"], model)
    print(content)
    write_atomically(folder / "table.md", content.encode())
    print(f"wrote {folder / 'table.md'}; the container is {folder / RESNET_CONTAINER}")


def planning(folder: Folder = RESULTS_FOLDER / "planning") -> None:
    """Show planned compression beside the other methods of an experiment, as tables and figures.

    For instance:

      python -m reports planning results/planning

    Args:
        folder: folder of the results of python -m designs experiment planning
    """
    from reports.planning import committee, figures, structured, tables, thresholds

    results = _rows_by_part(folder, planning_files, PLANNING_COLUMNS, "planning")
    if not any(results.values()):  # says how to make them
        read_rows(planning_file(folder, "lenet_5", "curves"), PLANNING_COLUMNS["curves"], "planning")
    pages = {
        "curves": (tables.bytes_markdown, tables.sizes_markdown),
        "thresholds": (thresholds.fronts_markdown, thresholds.thresholds_markdown),
        "coverage": (tables.coverage_markdown, tables.levels_markdown),
        "search": (tables.search_markdown,),
        "predictions": (tables.predictions_markdown,),
        "budgets": (tables.budgets_markdown,),
        "committee": (committee.committee_markdown, committee.inputs_needed_markdown),
        "structured": (structured.structured_markdown,),
        "compaction": (structured.compaction_markdown,),
        "speed": (tables.speed_markdown,),
        "large": (tables.large_markdown,),
    }
    parts = [show(results[part]) for part, shown in pages.items() if results[part] for show in shown]
    _write_tables(folder / "tables.md", *parts)
    _save(folder, figures.draw_planning(results))


def pe_codebooks(folder: Folder = RESULTS_FOLDER / "pe_codebooks") -> None:
    """Show codebooks of PEs beside one for each layer, and row classes beside exact methods, as tables and a figure.

    For instance:

      python -m reports pe-codebooks results/pe_codebooks

    Args:
        folder: folder of the results of python -m designs experiment pe-codebooks
    """
    from reports import pe_codebooks as pages

    results = _rows_by_part(folder, pe_codebooks_files, PE_CODEBOOKS_COLUMNS, "pe-codebooks")
    if not results["codebooks"]:  # says how to make them
        read_rows(folder / "stories" / "codebooks.parquet", PE_CODEBOOKS_COLUMNS["codebooks"], "pe-codebooks")
    shown = [pages.divergences_markdown(results["codebooks"]), pages.codebooks_markdown(results["codebooks"])]
    if results["assignments"]:
        shown.append(pages.assignments_markdown(results["assignments"]))
    _write_tables(folder / "tables.md", *shown)
    _save(folder, {"pe_codebooks": pages.draw_codebooks(results["codebooks"])})


def paper(
    folder: Folder = RESULTS_FOLDER / "paper",
    data: Path | None = None,
    deep_compression: Path = RESULTS_FOLDER / "deep_compression",
    containers: Path = Path("tests/containers"),
) -> None:
    """Make all tables and figures of EIE, and those of Deep Compression that the data allow, beside the papers'.

    Writes summary.md, a CSV file for each table, and an SVG and a PNG file for each figure.

    For instance:

      python -m reports paper results/paper --data DIR

    Args:
        folder: folder of the results of python -m designs experiment paper
        data: folder that holds alex8 and squeezenet_deep_compression, or one of them; default: $CODESIGN_DATA
        deep_compression: folder of the results of python -m designs experiment deep-compression, if available
        containers: folder of the project's own compressed networks
    """
    from designs.paper_sources import PaperSources
    from reports.paper import PaperReport

    sources = PaperSources(data_folder(data), containers, deep_compression)
    report = PaperReport(folder, sources)
    print(report.summary())
    print(f"wrote {report.write()}, {len(report.tables)} CSV files and {len(report.figures)} figures beside it")


def rtl(folder: Folder = RESULTS_FOLDER / "rtl") -> None:
    """Show how the array in SystemVerilog compares with the other two machines, its cells, and its planted faults.

    Exits with 1 if the machines disagree on anything, or a planted fault was not caught.

    For instance:

      python -m reports rtl results/rtl

    Args:
        folder: folder of the results of python -m designs experiment rtl
    """
    from reports import rtl as pages

    results = {name: read_rows(folder / f"{name}.parquet", columns, "rtl") for name, columns in RTL_COLUMNS.items()}
    _write_tables(
        folder / "tables.md",
        pages.agreement_markdown(results["agreement"]),
        pages.speed_markdown(results["speed"]),
        pages.synthesis_markdown(results["synthesis"]),
        pages.cells_markdown(results["cells"]),
        pages.switching_markdown(results["cells"]),
        pages.mutations_markdown(results["mutations"]),
    )
    disagreeing = sum(row["disagreeing"] for row in results["agreement"])
    survived = sum(not row["caught"] for row in results["mutations"])
    if disagreeing or survived:
        sys.exit(f"the machines disagree on {disagreeing} layers, and {survived} planted faults were not caught")


def networks(folder: Folder = RESULTS_FOLDER / "networks") -> None:
    """Show the real networks that went through every command: products, operations off the array, cycles, seconds.

    For instance:

      python -m reports networks results/networks

    Args:
        folder: folder of the results of python -m designs experiment networks
    """
    from designs.result_files import NETWORK_STEPS, NETWORKS_COLUMNS, NETWORKS_FILE
    from reports.networks import networks_markdown

    rows = read_rows(folder / NETWORKS_FILE, NETWORKS_COLUMNS, "networks")
    _write_tables(folder / "tables.md", networks_markdown(rows, NETWORK_STEPS))


def space_ends(folder: Folder = RESULTS_FOLDER / "space_ends") -> None:
    """Show where the fronts of an experiment lie in the space, what stops each parameter, and earlier fronts again.

    For instance:

      python -m reports space-ends results/space_ends

    Args:
        folder: folder of the results of python -m designs experiment space-ends
    """
    from reports import space_ends as pages

    results = _rows_by_part(folder, space_ends_files, SPACE_ENDS_COLUMNS, "space-ends")
    if not results["shares"]:  # says how to make them
        read_rows(folder / "lenet_5" / "0" / "shares.parquet", SPACE_ENDS_COLUMNS["shares"], "space-ends")
    shows = {"shares": pages.shares_markdown, "moves": pages.moves_markdown, "earlier": pages.earlier_markdown}
    _write_tables(folder / "tables.md", *(show(results[part]) for part, show in shows.items() if results[part]))
    _save(folder, {"space_ends": pages.draw_shares(results["shares"])})


def breakeven(folder: Folder = RESULTS_FOLDER / "breakeven") -> None:
    """Show at which density an array of PEs and a dense array are equal, as a table and a figure.

    For instance:

      python -m reports breakeven results/breakeven

    Args:
        folder: folder of the results of python -m designs breakeven
    """
    from designs.result_files import BREAKEVEN_COLUMNS, BREAKEVEN_FILE
    from reports.breakeven import breakeven_markdown, draw_breakeven

    rows = read_rows(folder / BREAKEVEN_FILE, BREAKEVEN_COLUMNS, "breakeven", command="")
    _write_tables(folder / "tables.md", breakeven_markdown(rows))
    _save(folder, {"breakeven": draw_breakeven(rows)})


def search_quality(folder: Folder = RESULTS_FOLDER / "search_quality") -> None:
    """Show how far searches are from the true fronts of stated spaces, as tables and a figure.

    For instance:

      python -m reports search-quality results/search_quality

    Args:
        folder: folder of the results of python -m designs experiment search-quality
    """
    from reports import search_quality as pages

    columns = {part: of_part for part, of_part in SEARCH_QUALITY_COLUMNS.items() if part != "truth"}
    results = _rows_by_part(folder, search_quality_files, columns, "search-quality")
    if not results["searches"]:  # says how to make them
        read_rows(folder / "digits" / "space.parquet", SEARCH_QUALITY_COLUMNS["space"], "search-quality")
    _write_tables(
        folder / "tables.md", pages.spaces_markdown(results["space"]), pages.searches_markdown(results["searches"])
    )
    _save(folder, {"search_quality": pages.draw_regret(results["searches"])})


def outside(folder: Folder = RESULTS_FOLDER / "outside") -> None:
    """Show this project's numbers beside those that others published from the same data.

    Exits with 1 if a number that must be the published one, such as a count, is another one.

    For instance:

      python -m reports outside results/outside

    Args:
        folder: folder of the results of python -m designs experiment outside
    """
    from reports.outside import outside_rows, rows_markdown

    results = {
        part: [row for path in outside_files(folder, part) for row in read_rows(path, columns, "outside")]
        for part, columns in OUTSIDE_COLUMNS.items()
    }
    if not any(results.values()):  # says how to make them
        read_rows(outside_file(folder, "sparseloop"), OUTSIDE_COLUMNS["sparseloop"], "outside")
    rows = outside_rows(results["sparseloop"], results["mlperf_tiny"])
    _write_tables(folder / "tables.md", rows_markdown(rows))
    wrong = [f"{row.number} of {row.who}" for row in rows if row.is_wrong]
    if wrong:
        sys.exit(f"numbers that must be the published ones differ: {'; '.join(wrong)}")


def unevenness(folder: Folder = RESULTS_FOLDER / "unevenness") -> None:
    """Show how near the cycles of drawn masks are to those of pruned layers, by group, form of the model and layer.

    For instance:

      python -m reports unevenness results/unevenness

    Args:
        folder: folder of the results of python -m designs experiment unevenness
    """
    from reports import unevenness as pages

    rows = read_rows(folder / UNEVENNESS_FILE, UNEVENNESS_COLUMNS, "unevenness")
    shows = (pages.groups_markdown, pages.forms_markdown, pages.layers_markdown)
    _write_tables(folder / "tables.md", *(show(rows) for show in shows))


def codesign(
    folder: Folder = RESULTS_FOLDER / "codesign",
    out: Path | None = None,
    design: str | None = None,
) -> None:
    """Report a co-design, finished or not, as one HTML file that works offline, with figures and tables beside it.

    The page shows the front, any two designs side by side, their layers, and the settings of the search. A folder of
    the same name holds the same for papers: SVG, PNG, PDF and CSV. PyTorch is not needed.

    For instance:

      python -m reports codesign results/codesign

      python -m reports codesign results/codesign --design 1e91b8b3 --out pages/watch.html

    Args:
        folder: folder of the results of python -m designs codesign
        out: the page; default: report.html in that folder
        design: beginning of the digest of the design that is shown first; default: a balanced one of the front
    """
    from reports.codesign.report import write_codesign_report

    page, *others = write_codesign_report(folder, out, design)
    print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB), and {len(others)} figures and tables in")
    print(f"      {page.with_suffix('')}")


def watch(report: Folder, out: Path | None = None) -> None:
    """Show a watch of a deployed container as one HTML file that works offline.

    The page shows the verdict on the bound, the loss over time, drift of inputs and outputs, the inputs that lose most,
    and the plan. PyTorch is not needed.

    For instance:

      python -m reports watch small.watch.json

    Args:
        report: .watch.json file that python -m compress watch --out wrote, or a folder that holds some
        out: the page; default: beside the report, as NAME.watch.html
    """
    from reports.watch.page import write_watch_page

    for page in write_watch_page(report, out):
        print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")


def tolerances(file: Folder) -> None:
    """Show how far each weight of a network may move, as a table and a figure with a panel for each layer.

    The figure is written beside the file, as SVG and PNG.

    For instance:

      python -m reports tolerances small.tolerances.json

    Args:
        file: .tolerances.json file that python -m compress plan --tolerances wrote
    """
    from compress.planning.weight_tolerances import SUFFIX, WeightTolerances
    from reports.tolerances import draw_tolerances, tolerances_markdown

    result = WeightTolerances.load(file)
    stem = file.name.removesuffix(SUFFIX).removesuffix(".json")
    _write_tables(file.with_name(f"{stem}_tolerances.md"), tolerances_markdown(result))
    _save(file.parent, {f"{stem}_tolerances": draw_tolerances(result)})


def _rows_by_part(
    folder: Path,
    files_of: Callable[[Path, str], Sequence[Path]],
    columns: Mapping[str, Sequence[Column]],
    experiment: str,
) -> dict[str, list[Row]]:
    """Return the rows of each part of an experiment, of all its result files in a folder."""
    return {
        part: [row for path in files_of(folder, part) for row in read_rows(path, of_part, experiment)]
        for part, of_part in columns.items()
    }


def _write_tables(path: Path, *parts: str) -> None:
    """Print tables, and write them to one file."""
    content = "\n".join(parts)
    print(content)
    write_atomically(path, content.encode())
    print(f"wrote {path}")


def _save(folder: Path, figures: Mapping[str, Figure]) -> None:
    """Write each figure as SVG and PNG."""
    from reports.figures.sweep import save_figure

    for name, figure in figures.items():
        for path in save_figure(figure, folder / name):
            print(f"wrote {path}")


COMMANDS: dict[str, Callable[..., None]] = {
    "all": report,
    "deep-compression": deep_compression,
    "resnet": resnet,
    "planning": planning,
    "pe-codebooks": pe_codebooks,
    "codesign": codesign,
    "paper": paper,
    "rtl": rtl,
    "networks": networks,
    "space-ends": space_ends,
    "search-quality": search_quality,
    "outside": outside,
    "breakeven": breakeven,
    "unevenness": unevenness,
    "watch": watch,
    "tolerances": tolerances,
}
# Options of former commands, which trained or simulated themselves, with the experiment that has them now
_MOVED = {
    "deep-compression": ("--data DIR", ("--data", "--out")),
    "resnet": ("WEIGHTS --data DIR", ("--data", "--out")),
    "planning": ("--data DIR", ("--data", "--resnet", "--out")),
    "paper": ("--data DIR", ("--out", "--studied", "--workers", "--fresh")),
    "rtl": ("--data DIR", ("--data", "--out")),
}


def main() -> None:
    """Run the command that the arguments name."""
    name, *options = sys.argv[1:] or [""]
    if name in _MOVED:
        arguments, moved = _MOVED[name]
        if any(option.split("=")[0] in moved for option in options):
            raise InputError(
                f"moved: run python -m designs experiment {name} {arguments}, then python -m reports {name} FOLDER"
            )
    run_commands(
        "python -m reports",
        "Figures and tables of results. Without a command: all.",
        COMMANDS,
        default="all",
    )


if __name__ == "__main__":
    run(main)
