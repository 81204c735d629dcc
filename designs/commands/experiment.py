"""Commands that run the project's own experiments; each leaves result files that `python -m reports` reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from designs.result_files import BENCHMARK_FILE, LINE_WIDTH_FILE, TIMELINE_FILE, UNEVENNESS_FILE
from designs.results import RESULTS_FOLDER
from traces import InputError
from traces.plain_values import whole_number
from traces.shell.command_line import data_folder, if_interrupted, same_command
from traces.unevenness import MEASURED_FILE

if TYPE_CHECKING:
    from designs.codesigns.trained_network import TrainedNetwork


def benchmark(data: Path | None = None, out: Path = RESULTS_FOLDER / BENCHMARK_FILE) -> None:
    """Simulate the nine layers of the EIE paper on the paper's array.

    The line reads for each line width and the timeline of Alex-8 are written beside the result file, for figures.

    For instance:

      python -m designs experiment benchmark --data DIR

    Args:
        data: folder that holds alex8/alex8.npz, the real Alex-8; default: $CODESIGN_DATA
        out: result file
    """
    from designs.experiments.benchmark import benchmark_sources, run_benchmark
    from designs.experiments.line_widths import run_line_widths
    from designs.experiments.screens import print_benchmark
    from sim.observe.timeline_summary import timeline_summary, write_timeline

    data = data_folder(data)
    print_benchmark(run_benchmark(out, data))
    run_line_widths(out.with_name(LINE_WIDTH_FILE), data)
    draw = {name: draw for name, _, draw in benchmark_sources(data)}["Alex-8"]  # the real one comes last
    write_timeline(out.with_name(TIMELINE_FILE), timeline_summary(*draw()))
    print(f"Results are in {out}, {LINE_WIDTH_FILE} and {TIMELINE_FILE} beside it.")


def eie_sweeps(
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "eie_sweeps",
    workers: int = 1,
    fresh: bool = False,
) -> None:
    """Repeat the sweeps of the EIE paper on its nine layers, then search a better array of the same area.

    The sweeps vary queue depth (Fig 8), line width (Fig 9) and PE count (Figs 11 to 13). The array found has at most
    the area of the paper's array, reaches its clock, and stores the network in no more bits. The tick machine verifies
    it on small layers.

    For instance:

      python -m designs experiment eie-sweeps --workers 2

    Args:
        data: folder that holds alex8/alex8.npz, the real Alex-8, instead of the random one; default: $CODESIGN_DATA
        out: folder of the results
        workers: processes on this machine
        fresh: discard the results of earlier runs
    """
    from designs.experiments.eie_sweeps import find_array, run_eie_sweeps, verify
    from designs.experiments.screens import print_found, print_parameter_sweep
    from designs.sweeps.workload_source import EIE, open_workload

    workload = open_workload([EIE], data_folder(data))
    with _continues(out, fresh):
        for sweep in run_eie_sweeps(workload, out, workers, fresh):
            print_parameter_sweep(sweep)
        found = find_array(workload, out, workers, fresh)
    print_found(found, verify(workload, found.design))
    print(f"Results are in {out}.")


def unevenness(
    data: Path | None = None,
    containers: Path = Path("tests/containers"),
    table: Path = MEASURED_FILE,
    out: Path = RESULTS_FOLDER / "unevenness",
    draws: int = 4,
) -> None:
    """Measure the unevenness of the masks of pruned layers, and compare drawn masks with them.

    The layers are Alex-8, those of SqueezeNet and of the project's own networks, and the masks of the Deep Learning
    Matrix Collection. The cycles of each are compared with those of masks drawn with the layer's own unevenness, and
    with one predicted from other networks. Takes about five minutes on one core.

    For instance:

      python -m designs experiment unevenness --data DIR

    Args:
        data: folder that holds alex8, squeezenet_deep_compression and dlmc; default: $CODESIGN_DATA
        containers: folder of the project's own compressed networks
        table: table of the measured layers to write, CSV; the benchmark's uneven masks are drawn with it
        out: folder of the results of the comparison
        draws: masks to draw for each layer and form of the model
    """
    from designs.experiments.screens import print_unevenness
    from designs.experiments.unevenness import active_columns_gain, check_unevenness, measure_unevenness
    from traces.eie_benchmark import REAL_LAYERS
    from traces.files.npz import read_layer_and_input
    from traces.unevenness import measured_unevenness

    folder = _required_data(data, "the masks of pruned layers are not part of this project; give their folder")
    whole_number("draws", draws, 2)
    rows = measure_unevenness(folder, containers, table)
    print_unevenness(rows, measured_unevenness(table))
    gain = active_columns_gain(*read_layer_and_input(folder / REAL_LAYERS["Alex-8"]))
    print(f"The columns of Alex-8's active inputs are {gain:+.1%} denser than all columns.")
    print(f"The table is in {table}.")
    out.mkdir(parents=True, exist_ok=True)
    with _continues(out):
        check_unevenness(folder, containers, rows, out / UNEVENNESS_FILE, draws)
    _say_next("unevenness", out)


def compare(
    network: str = "lenet_5",
    data: Path | None = None,
    weights: Path | None = None,
    seeds: int = 5,
    trials: int = 200,
    out: Path = RESULTS_FOLDER / "comparison",
) -> None:
    """Compare co-design with searching compression first and the array second, each with all arrays. PyTorch needed.

    The same command resumes an interrupted comparison.

    For instance:

      python -m designs experiment compare --network lenet_5 --data MNIST --seeds 2 --trials 100

    Args:
        network: main, lenet_5, resnet_20, resnet_8 or MODULE:FUNCTION, see python -m designs codesign --help
        data: folder of its images; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: its state dict, .npz or .pt
        seeds: number of co-designs
        trials: compressions that each co-design tries, each with all arrays of the space
        out: folder of the results
    """
    from designs.codesigns.comparison import compare as run_comparison
    from designs.commands.networks import open_network
    from designs.experiments.comparison import SEARCH, SPACE
    from designs.file_names import file_name
    from designs.screens.comparison import print_comparison

    whole_number("seeds", seeds, 1)
    search = dataclasses.replace(SEARCH, trials=trials)
    trained = open_network(network, data_folder(data), weights)
    name = file_name("the network's name", network.replace(":", "."), "give its function another name")
    with _continues(out):
        compared = run_comparison(trained, SPACE, search, out / name, range(seeds))
    print_comparison(compared)
    print(f"Results are in {out}.")


def deep_compression(data: Path | None = None, out: Path = RESULTS_FOLDER / "deep_compression") -> None:
    """Train and compress LeNet-300-100 and LeNet-5 on MNIST as in Deep Compression, and as far as possible.

    The points of the paper's Figs 6 to 8 are measured, too. Takes about an hour on two cores; the same command resumes
    an interrupted run. PyTorch needed.

    For instance:

      python -m designs experiment deep-compression --data MNIST

    Args:
        data: folder of MNIST's IDX files; default: $CODESIGN_DATA
        out: folder of the results
    """
    from designs.experiments.deep_compression import run_deep_compression
    from traces.files.images import load_idx_folder

    folder = _required_data(data, "the LeNets are trained on MNIST; give the folder of its IDX files")
    with _continues(out):
        run_deep_compression(load_idx_folder(folder), out)
    _say_next("deep-compression", out)


def resnet(weights: tyro.conf.Positional[Path], data: Path, out: Path = RESULTS_FOLDER / "resnet") -> None:
    """Compress a trained ResNet-20 towards its own outputs on CIFAR-10's training images, without labels.

    Takes about 20 minutes on two cores. PyTorch needed.

    For instance:

      python -m designs experiment resnet resnet20.npz --data CIFAR10

    Args:
        weights: its state dict (.npz, .pt): conv1, bn1, layer1.0.conv1 ... linear
        data: folder of CIFAR-10 as IDX files, images [images, 3, 32, 32]
        out: folder of the results
    """
    from compress.weight_files.reading import read_parameters
    from designs.experiments.resnet import run_resnet
    from traces.files.images import load_idx_folder

    images = load_idx_folder(data)
    run_resnet(read_parameters(weights), images, out)
    _say_next("resnet", out)


def planning(
    networks: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
    data: Path | None = None,
    sentence_encoder: Path | None = None,
    out: Path = RESULTS_FOLDER / "planning",
    quick: bool = False,
) -> None:
    """Compare planned compression with other methods, without retraining, on networks of several kinds.

    Parts: curves (bytes at a loss), coverage (plans on drawn pools, measured on unseen inputs), search (black box),
    predictions, budgets, committee (few inputs), thresholds (of activations), structured (plans that may remove
    neurons, channels and heads), compaction (of pruned networks), speed and large (time and memory). All take some
    hours on two cores; the same command resumes an interrupted run, and single parts can run apart. PyTorch
    needed.

    For instance:

      python -m designs experiment planning --data DIR

      python -m designs experiment planning --data DIR --networks lenet_5 ds_cnn --parts curves search

    Args:
        networks: lenet_5, lenet_5_own (pools of its training images), lenet_300_100, embedding, lstm_tagger,
            autoencoder, anomaly_score, ds_cnn, resnet_8, resnet_20, stories; and, timed, resnet_32, sentence_encoder,
            wide_layer; default: all whose data are here
        parts: parts to run; default: all
        data: folder that holds mnist, cifar10 and models, or a part of them; default: $CODESIGN_DATA
        sentence_encoder: folder of all-MiniLM-L6-v2, with model.safetensors and tokenizer.json
        out: folder of the results
        quick: few plans, settings and inputs, to try the commands; give another folder
    """
    from designs.experiments.planning.experiment import QUICK, run_planning
    from designs.experiments.planning.networks import Data

    folder = _required_data(data, "the networks and their inputs are not part of this project; give their folder")
    effort = QUICK if quick else None
    with _continues(out):
        for sentence in run_planning(Data.of(folder, out), networks, parts, sentence_encoder, effort):
            print(sentence)
    _say_next("planning", out)


def pe_codebooks(
    networks: tuple[str, ...] = (), data: Path | None = None, out: Path = RESULTS_FOLDER / "pe_codebooks"
) -> None:
    """Compare a codebook for each PE with one for each layer: error, loss, bytes and cycles at equal bits of a code.

    The rows that share a codebook are compared with exact assignments, too. Takes about ten minutes on two cores; the
    same command resumes an interrupted run. PyTorch needed.

    For instance:

      python -m designs experiment pe-codebooks --data DIR --networks stories

    Args:
        networks: stories, resnet_20, lenet_300_100; default: all whose data are here
        data: folder that holds mnist, cifar10 and models, or a part of them; default: $CODESIGN_DATA
        out: folder of the results
    """
    from designs.experiments.pe_codebooks import run_pe_codebooks
    from designs.experiments.planning.networks import Data

    folder = _required_data(data, "the networks and their inputs are not part of this project; give their folder")
    with _continues(out):
        run_pe_codebooks(Data.of(folder, out), networks)
    _say_next("pe-codebooks", out)


def breakeven(data: Path | None = None, out: Path = RESULTS_FOLDER / "breakeven") -> None:
    """Compare arrays of PEs with dense arrays on the same silicon: nine layers, ResNet-20 and a Llama.

    Takes some minutes; the same command continues an interrupted run after its last finished network. PyTorch needed.

    For instance:

      python -m designs experiment breakeven --data DIR

    Args:
        data: folder that holds cifar10 and models, or a part of them; default: $CODESIGN_DATA
        out: folder of the results
    """
    from designs.experiments.breakeven import run_breakeven
    from designs.experiments.planning.networks import Data

    with _continues(out):
        folders = run_breakeven(out, Data.of(data_folder(data), out))
    for folder in folders:
        print(f"Results are in {folder}; python -m reports breakeven {folder} draws them.")


def paper(
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "paper",
    deep_compression: Path = RESULTS_FOLDER / "deep_compression",
    containers: Path = Path("tests/containers"),
    workers: int = 1,
    fresh: bool = False,
) -> None:
    """Simulate everything that the tables and figures of the EIE paper need, and Deep Compression's Table 6.

    Takes some minutes on two cores; the same command resumes an interrupted run. Without MNIST it trains a small
    network on scikit-learn's digits.

    For instance:

      python -m designs experiment paper --data DIR

    Args:
        data: folder that holds alex8, mnist, cifar10, models and squeezenet_deep_compression, or a part of them;
            default: $CODESIGN_DATA
        out: folder of the results
        deep_compression: folder of the results of python -m designs experiment deep-compression, if available
        containers: folder of the project's own compressed networks
        workers: processes on this machine for the sweeps
        fresh: discard the results of earlier runs
    """
    from designs.experiments.eie_paper import run_paper
    from designs.paper_sources import PaperSources

    with _continues(out, fresh):
        run_paper(PaperSources(data_folder(data), containers, deep_compression), out, workers, fresh)
    _say_next("paper", out)


def rtl(data: Path | None = None, out: Path = RESULTS_FOLDER / "rtl") -> None:
    """Compare the array in SystemVerilog with the other two machines, synthesize it, and plant faults in it.

    Takes about twenty minutes on two cores. Verilator, Yosys and a C++ compiler needed: make rtl installs them, and
    OpenSTA, without which paths are those of ABC. Blocks are mapped to the cell libraries in the folder of data.

    For instance:

      python -m designs experiment rtl --data DIR

    Args:
        data: folder that holds alex8/alex8.npz and liberty/sky130hd_tt.lib.gz; default: $CODESIGN_DATA
        out: folder of the results
    """
    from designs.experiments.rtl import run_rtl

    run_rtl(out, data_folder(data))
    _say_next("rtl", out)


def networks(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "networks",
    trials: int = 60,
) -> None:
    """Take real networks through every command: pack, measure, plan, simulate, codesign, and the co-design's report.

    Takes about an hour on two cores; the same command goes on after the last finished network. PyTorch needed.

    For instance:

      python -m designs experiment networks --data DIR

      python -m designs experiment networks "LSTM tagger" --trials 10

    Args:
        names: networks to run; default: all whose data are here
        data: folder that holds models, cifar10 and squeezenet_deep_compression; default: $CODESIGN_DATA
        out: folder of the results; each network has a folder of its own, with what each command printed
        trials: compressions that each co-design tries, each with all arrays of the space
    """
    from designs.experiments.networks import run_networks

    with _continues(out):
        run_networks(data_folder(data), out, names, trials)
    _say_next("networks", out)


def space_ends(
    networks: tuple[str, ...] = (),
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "space_ends",
    seeds: int = 5,
    trials: int = 300,
    moved: int = 20,
    before: Path | None = None,
) -> None:
    """Search arrays for networks, and show where the fronts lie in the space, and what stops each parameter.

    Takes some hours on two cores; the same command resumes an interrupted run. PyTorch needed.

    For instance:

      python -m designs experiment space-ends --data DIR --networks lenet_5 --seeds 2 --trials 100

    Args:
        networks: lenet_5, resnet_20, resnet_8; default: all of them
        data: folder that holds mnist, cifar10 and models, or those of the networks; default: $CODESIGN_DATA
        out: folder of the results
        seeds: number of searches of each network
        trials: compressions to try in each search, each with all arrays of the space
        moved: most members of each front whose parameters are moved by one value
        before: folder with NETWORK/SEED/trials.parquet of version 1.0 or earlier, in the same space; these fronts are
            predicted again
    """
    from designs.commands.networks import open_network
    from designs.experiments.comparison import SEARCH
    from designs.experiments.space_ends import run_space_ends

    folder = _required_data(data, "the networks and their images are not part of this project; give their folder")
    models = folder / "models"
    opened: dict[str, Callable[[], TrainedNetwork]] = {
        "lenet_5": functools.partial(open_network, "lenet_5", folder / "mnist"),
        "resnet_20": functools.partial(open_network, "resnet_20", folder / "cifar10", models / "resnet20_cifar10.npz"),
        "resnet_8": functools.partial(
            open_network, "resnet_8", folder / "cifar10", models / "mlperf_tiny" / "resnet8_cifar10.onnx"
        ),
    }
    whole_number("seeds", seeds, 1)
    search = dataclasses.replace(SEARCH, trials=trials)
    unknown = sorted(set(networks) - set(opened))
    if unknown:
        raise InputError(f"networks must be some of {', '.join(opened)}; found {', '.join(unknown)}")
    chosen: dict[str, Callable[[], TrainedNetwork]] = {name: opened[name] for name in networks or opened}
    with _continues(out):
        for sentence in run_space_ends(chosen, out, range(seeds), search, earlier=before, moved=moved):
            print(sentence)
    _say_next("space-ends", out)


def search_quality(
    networks: tuple[str, ...] = (),
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "search_quality",
    seeds: int = 5,
) -> None:
    """Enumerate stated spaces of networks, and show how far searches are from their true fronts.

    Takes about an hour on one core; the same command resumes an interrupted run. The networks of digits and
    lenet_300_100 are those of the main job, on scikit-learn's digits and on MNIST. PyTorch needed.

    For instance:

      python -m designs experiment search-quality --data DIR --networks digits --seeds 2

    Args:
        networks: digits, lenet_300_100, lenet_5, resnet_20; default: all of them
        data: folder that holds mnist, cifar10 and models, or those of the networks; default: $CODESIGN_DATA; digits
            needs none
        out: folder of the results
        seeds: number of runs of each search
    """
    from designs.experiments.search_quality import STATED, run_search_quality

    unknown = sorted(set(networks) - set(STATED))
    if unknown:
        raise InputError(f"networks must be some of {', '.join(STATED)}; found {', '.join(unknown)}")
    names = networks or tuple(STATED)
    folder = data_folder(data)
    if folder is None and set(names) != {"digits"}:
        folder = _required_data(data, "all networks but digits need their images; give their folder")
    whole_number("seeds", seeds, 1)
    opened = {name: functools.partial(_stated_network, name, folder) for name in names}
    with _continues(out):
        run_search_quality(opened, out, range(seeds))
    _say_next("search-quality", out)


def _continues(out: Path, fresh: bool = False) -> AbstractContextManager[None]:
    """Say, if an experiment is interrupted, what is kept and how to go on."""
    return if_interrupted(f"finished parts are kept in {out}; {same_command(fresh)} continues after them")


def _stated_network(name: str, data: Path | None) -> TrainedNetwork:
    """Open a network of the experiment on searches."""
    from designs.commands.networks import open_network

    if name == "digits" or data is None:
        return open_network("main")
    if name == "resnet_20":
        return open_network(name, data / "cifar10", data / "models" / "resnet20_cifar10.npz")
    return open_network("main" if name == "lenet_300_100" else name, data / "mnist")


def outside(
    data: Path | None = None,
    out: Path = RESULTS_FOLDER / "outside",
    most_images: int = 10_000,
) -> None:
    """Compute numbers that others published, from the same data: Sparseloop's cycles, MLPerf Tiny's networks.

    Takes about ten minutes on two cores; the same command resumes an interrupted run. MLPerf Tiny needs PyTorch.

    For instance:

      python -m designs experiment outside --data DIR

    Args:
        data: folder that holds mobilenet_masks, models and cifar10, or a part of them; default: $CODESIGN_DATA
        out: folder of the results
        most_images: images of CIFAR-10's test set to run on the array, at most
    """
    from designs.experiments.outside import run_outside

    folder = _required_data(data, "the masks and networks are not part of this project; give their folder")
    with _continues(out):
        run_outside(out, folder, whole_number("most_images", most_images, 1))
    _say_next("outside", out)


EXPERIMENTS: dict[str, Callable[..., None]] = {
    "benchmark": benchmark,
    "eie-sweeps": eie_sweeps,
    "unevenness": unevenness,
    "compare": compare,
    "deep-compression": deep_compression,
    "resnet": resnet,
    "planning": planning,
    "pe-codebooks": pe_codebooks,
    "breakeven": breakeven,
    "paper": paper,
    "rtl": rtl,
    "networks": networks,
    "space-ends": space_ends,
    "search-quality": search_quality,
    "outside": outside,
}


def _required_data(data: Path | None, demand: str) -> Path:
    folder = data_folder(data)
    if folder is None:
        raise InputError(f"{demand} with --data DIR")
    return folder


def _say_next(name: str, folder: Path) -> None:
    print(f"Results are in {folder}; python -m reports {name} {folder} makes tables and figures of them.")
