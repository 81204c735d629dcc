"""Command line: `python -m designs [job | benchmark | simulate | sweep | codesign | fleet | compare | front | ...]`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from designs.codesigns.search import Figure, Search
from designs.design import RowAssignment
from designs.experiments.benchmark import BENCHMARK_FILE, benchmark_sources, run_benchmark
from designs.experiments.grid import Grid
from designs.experiments.main_job import MainJobSettings
from designs.results import RESULTS_FOLDER
from designs.sweeps.sampling import Sampling
from designs.sweeps.totals import Objective
from sim import ArrayConfig
from traces import InputError
from traces.files.npz import read_layer_and_input
from traces.shell.command_line import data_folder, run, run_commands
from traces.unevenness import MEASURED_FILE, measured_unevenness


def job(
    settings: Annotated[MainJobSettings, tyro.conf.arg(name="")],
    grid: Annotated[Grid, tyro.conf.arg(name="")],
    data: Path | None = None,
    out: Path | None = None,
    fresh: bool = False,
) -> None:
    """Train a network on handwritten digits, compress it, simulate it on a grid of arrays.

    This is what runs without a command.

    For instance:

      python -m designs

      python -m designs --data DIR --num-pes 16 64 --queue-slots 8

    Args:
        settings: what to train and how far to compress it
        grid: the arrays to simulate
        data: folder of IDX files (MNIST); default: $CODESIGN_DATA, else the digits of scikit-learn
        out: folder of the results; default: results/NAME OF THE IMAGES
        fresh: do all steps again, also those that an earlier run has finished
    """
    from designs.experiments.main_job import run_main_job
    from designs.screens.tables import print_main_job

    begin = time.perf_counter()
    result = run_main_job(data_folder(data), settings, grid, out, fresh)
    print_main_job(result)
    kept = f", {' and '.join(result.kept_files)} kept from an earlier run" if result.kept_files else ""
    print(f"Results are in {result.folder} ({time.perf_counter() - begin:.0f} s{kept}).")


def benchmark(data: Path | None = None, out: Path = RESULTS_FOLDER / BENCHMARK_FILE) -> None:
    """Simulate the nine layers of the EIE paper on the paper's array.

    Beside the result file come the line reads for each width of a line, and Alex-8 over time, both for figures.

    For instance:

      python -m designs benchmark --data DIR

    Args:
        data: folder that holds alex8/alex8.npz, the real Alex-8; default: $CODESIGN_DATA
        out: the result file
    """
    from designs.experiments.line_widths import LINE_WIDTH_FILE, run_line_widths
    from designs.screens.tables import print_benchmark
    from sim.observe.timeline_summary import timeline_summary, write_timeline

    data = data_folder(data)
    print_benchmark(run_benchmark(out, data))
    run_line_widths(out.with_name(LINE_WIDTH_FILE), data)
    draw = {name: draw for name, _, draw in benchmark_sources(data)}["Alex-8"]  # the real one, if it is there
    write_timeline(out.with_name("alex8.timeline.npz"), timeline_summary(*draw()))
    print(f"Results are in {out}, {LINE_WIDTH_FILE} and alex8.timeline.npz beside it.")


def simulate(
    container: tyro.conf.Positional[Path],
    array: Annotated[ArrayConfig, tyro.conf.arg(name="")],
    data: Path | None = None,
    activations: Path | None = None,
    inputs: int = 50,
    row_assignment: RowAssignment = "interleaved",
) -> None:
    """Simulate a whole compressed network on one array: how fast, how much energy, what holds it up, what to try next.

    Its layers are fully connected and run one after the other, ReLU in between.

    For instance:

      python -m designs simulate results/digits/compressed.dc --num-pes 16

      python -m designs simulate network.dc --activations inputs.npy --row-assignment entries

    Args:
        container: the compressed network, as python -m compress or the main job writes it
        array: the array to run it on
        data: folder of IDX files whose test images are the inputs; default: $CODESIGN_DATA, else the digits
        activations: .npy file of inputs, float [inputs, columns] or [columns], instead of images
        inputs: how many inputs to simulate at most
        row_assignment: which PE owns which row: interleaved (paper), or balanced, see python -m sim --help
    """
    from designs.screens.network_run import print_network_run
    from designs.sweeps.advice import advise
    from designs.sweeps.network_run import run_container

    images = data if activations is not None else data_folder(data)
    run = run_container(container, array, images, activations, inputs, row_assignment)
    print_network_run(run, advise(run))


def sweep(
    space: tyro.conf.Positional[Path],
    sampling: Annotated[Sampling, tyro.conf.arg(name="")],
    workload: tuple[str, ...] = ("eie",),
    data: Path | None = None,
    activations: Path | None = None,
    inputs: int = 50,
    out: Path = RESULTS_FOLDER / "sweep",
    workers: int = 1,
    cluster: str | None = None,
    fresh: bool = False,
) -> None:
    """Simulate a workload on the arrays of a space, every finished point on the disk at once.

    A sweep that was interrupted or killed goes on where it stopped when it is called again.

    For instance:

      python -m designs sweep space.toml --workload Alex-7 VGG-7 --workers 2

      python -m designs sweep space.toml --workload results/digits/compressed.dc --method sobol --points 1000

      python -m designs sweep space.toml --cluster tcp://HOST:8786

    Args:
        space: TOML file of the space: which values each parameter may take, and the constraints
        sampling: which designs of the space to take
        workload: eie (nine layers), or names of such layers, a container (.dc), or layer files
        data: folder of images that enter a container, and of the real benchmark layers; default: $CODESIGN_DATA
        activations: .npy file of a container's inputs, instead of images
        inputs: how many inputs of a container to take at most
        out: folder of the results
        workers: processes on this machine; of a local cluster, too
        cluster: local, for a Dask cluster on this machine, or the address of a Dask scheduler
        fresh: begin anew, whatever the folder of the results holds
    """
    from designs.screens.tables import print_left_out, print_sweep
    from designs.space import Space
    from designs.sweeps.dask_workers import Cluster
    from designs.sweeps.sampling import sample
    from designs.sweeps.sweep import sweep as run_sweep
    from designs.sweeps.workload_source import open_workload

    chosen = sample(Space.load(space), sampling)
    print_left_out(chosen)
    crew = workers if cluster is None else Cluster(None if cluster == "local" else cluster, workers)
    images = data if activations is not None else data_folder(data)
    table = run_sweep(open_workload(workload, images, activations, inputs), chosen, None, out, crew, fresh)
    print_sweep(table, ("latency_us", "energy_nj", "area_mm2"))
    print(f"Results are in {out / 'sweep.parquet'}.")


def codesign(
    space: tyro.conf.Positional[Path],
    search: Annotated[Search, tyro.conf.arg(name="")],
    network: str = "main",
    data: Path | None = None,
    weights: Path | None = None,
    out: Path = RESULTS_FOLDER / "codesign",
    storage: str | None = None,
    name: str = "codesign",
    fine_tune: int = 0,
    fresh: bool = False,
) -> None:
    """Search a network's compression and the array that runs it together; verify the front. PyTorch needed.

    The same command goes on where an interrupted or killed one stopped; called in several shells, or on several
    machines with one --storage, it works on one study.

    For instance:

      python -m designs codesign space.toml

      python -m designs codesign space.toml --network lenet_5 --data MNIST --bounds accuracy_loss 0.02 area_mm2 4

    Args:
        space: TOML file of the space of arrays; with a table [compression], of each layer's density and bits, too
        search: objectives, bounds, trials
        network: main (the main job's, trained), lenet_5, resnet_20, or MODULE:FUNCTION that gives a TrainedNetwork
        data: folder of its images; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: its state dict, .npz or .pt
        out: folder of the results
        storage: URL of the study's storage, or a journal file; default: a journal file in the folder of the results
        name: of the study in its storage
        fine_tune: epochs on unlabelled images for each design that is verified, after pruning and after sharing
        fresh: begin anew, whatever folder and storage hold
    """
    from designs.codesigns.loop import codesign as search_together
    from designs.codesigns.verification import Distillation
    from designs.commands.networks import open_network
    from designs.screens.tables import print_verified
    from designs.space import Space

    begin = time.perf_counter()
    chosen = Space.load(space)
    trained = open_network(network, data_folder(data), weights)
    tuning = Distillation(trained, fine_tune, search.seed) if fine_tune else None
    table = search_together(trained, chosen, search, out, storage, name, tuning, fresh)
    print_verified(table, search.objectives)
    took = time.perf_counter() - begin
    print(f"Results are in {out} ({took:.0f} s); python -m reports codesign {out} makes a page of them.")


def fleet(
    targets: tyro.conf.Positional[Path],
    space: tyro.conf.Positional[Path],
    network: str = "main",
    data: Path | None = None,
    weights: Path | None = None,
    trials: int = 150,
    seed: int = 0,
    out: Path = RESULTS_FOLDER / "fleet",
    fine_tune: int = 0,
    fresh: bool = False,
) -> None:
    """One compressed network and one array for each target of a fleet, from one analysis. PyTorch needed.

    For instance:

      python -m designs fleet fleet.toml space.toml --network lenet_5 --data MNIST

    Args:
        targets: TOML file with a table for each target: max_area_mm2, max_latency_us, ..., minimise
        space: TOML file of the space of arrays
        network: as of codesign
        data: folder of its images; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: its state dict, .npz or .pt
        trials: designs to try for each target
        seed: of the search
        out: folder of the results
        fine_tune: epochs on unlabelled images for each design that is verified, after pruning and after sharing
        fresh: begin anew, whatever the folder of the results holds
    """
    from designs.codesigns.fleet import fleet as for_each_target
    from designs.codesigns.fleet import read_fleet
    from designs.codesigns.verification import Distillation
    from designs.commands.networks import open_network
    from designs.screens.tables import print_fleet
    from designs.space import Space

    listed, chosen = read_fleet(targets), Space.load(space)
    trained = open_network(network, data_folder(data), weights)
    tuning = Distillation(trained, fine_tune, seed) if fine_tune else None
    table = for_each_target(trained, listed, chosen, Search(trials=trials, seed=seed), out, tuning, fresh)
    print_fleet(table)
    print(f"Results are in {out}.")


def compare(
    network: str = "lenet_5",
    data: Path | None = None,
    weights: Path | None = None,
    seeds: int = 5,
    trials: int = 300,
    out: Path = RESULTS_FOLDER / "comparison",
) -> None:
    """Search compression and array together, and one after the other, with as many evaluations. PyTorch needed.

    Finished trials are kept; the same command goes on where it was interrupted.

    For instance:

      python -m designs compare --network lenet_5 --data MNIST --seeds 2 --trials 100

    Args:
        network: as of codesign
        data: folder of its images; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: its state dict, .npz or .pt
        seeds: runs of each way
        trials: designs that each run tries
        out: folder of the results
    """
    from designs.codesigns.comparison import SEARCH
    from designs.codesigns.comparison import compare as run_comparison
    from designs.codesigns.loop import analysed
    from designs.commands.networks import open_network
    from designs.file_names import file_name
    from designs.screens.tables import print_comparison

    search = dataclasses.replace(SEARCH, trials=trials)
    trained = open_network(network, data_folder(data), weights)
    name = file_name("the network's name", network.replace(":", "."), "give its function another name")
    choices = analysed(trained, search)
    print_comparison(run_comparison(choices, out / name, range(seeds), search=search))
    print(f"Results are in {out}.")


def front(
    result: tyro.conf.Positional[Path],
    objectives: tuple[Objective | Figure, ...] = ("latency_us", "energy_nj", "area_mm2"),
    fitting: bool = False,
) -> None:
    """Print the designs of a sweep or a co-design that no other one beats.

    Of an unfinished sweep, of the points that it has; of a co-design, of its verified designs, as measured.

    For instance:

      python -m designs front results/sweep --objectives latency_us area_mm2

    Args:
        result: folder or file of a sweep, or folder of a co-design
        objectives: what designs are judged by, less is better
        fitting: of a sweep, only designs whose SRAMs hold every layer whole
    """
    from designs.screens.tables import print_front

    print_front(result, objectives, fitting)


def studies(
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "eie_studies",
    workers: int = 1,
    fresh: bool = False,
) -> None:
    """Sweep what the EIE paper studies, on its nine layers; then search an array that beats the paper's.

    Queue depth (Fig 8), width of a line (Fig 9), PE count (Figs 11 to 13). The array found is of at most the paper's
    area, at the paper's clock, and holds the network in no more bits; the tick machine verifies it where it can.

    For instance:

      python -m designs studies --workers 2

    Args:
        data: folder that holds alex8/alex8.npz, the real Alex-8, instead of the random one; default: $CODESIGN_DATA
        out: folder of the results
        workers: processes on this machine
        fresh: begin anew, whatever the folder of the results holds
    """
    from designs.experiments.eie_studies import find_array, run_studies, verify
    from designs.screens.tables import print_found, print_study
    from designs.sweeps.workload_source import EIE, open_workload

    workload = open_workload([EIE], data_folder(data))
    for study in run_studies(workload, out, workers, fresh):
        print_study(study)
    found = find_array(workload, out, workers, fresh)
    print_found(found, verify(workload, found.design))
    print(f"Results are in {out}.")


def unevenness(
    data: Path | None = None, containers: Path = Path("tests/containers"), out: Path = MEASURED_FILE
) -> None:
    """Measure how uneven the masks of really pruned layers are: Alex-8, SqueezeNet, the project's own networks.

    Uneven masks of the benchmark layers are drawn with what this finds; a second table says how near masks that are
    drawn with a layer's own unevenness come to its cycles. For instance:

      python -m designs unevenness --data DIR

    Args:
        data: folder that holds alex8 and squeezenet_deep_compression; default: $CODESIGN_DATA
        containers: folder of the project's own compressed networks
        out: the table, CSV
    """
    from designs.experiments.unevenness import active_columns_gain, check_unevenness, measure_unevenness
    from designs.screens.tables import print_mask_checks, print_unevenness
    from traces.eie_benchmark import REAL_LAYERS

    folder = data_folder(data)
    if folder is None:
        raise InputError(
            "the masks of Alex-8 and SqueezeNet are not part of this project; give their folder, --data DIR"
        )
    print_unevenness(measure_unevenness(folder, containers, out), measured_unevenness(out))
    print_mask_checks(check_unevenness(folder, containers))
    gain = active_columns_gain(*read_layer_and_input(folder / REAL_LAYERS["Alex-8"]))
    print(f"Columns of Alex-8's active inputs are {gain:+.1%} denser than all: which are active is drawn by itself.")
    print(f"The table is in {out}.")


def main() -> None:
    commands: dict[str, Callable[..., None]] = {
        "job": job,
        "benchmark": benchmark,
        "simulate": simulate,
        "sweep": sweep,
        "codesign": codesign,
        "fleet": fleet,
        "compare": compare,
        "front": front,
        "studies": studies,
        "unevenness": unevenness,
    }
    run_commands(
        "python -m designs",
        "Co-design of a model and an array. Without a command: job, the main one.",
        commands,
        default="job",
    )


if __name__ == "__main__":
    run(main)
