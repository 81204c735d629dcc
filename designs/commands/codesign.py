"""Commands about co-design: of one network and array, and of a fleet of targets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from designs.codesigns.search import DRAWS, Search, figure_of
from designs.results import RESULTS_FOLDER, read_results
from traces.shell.command_line import data_folder, if_interrupted, same_command


def _number_of_draws(words: list[str]) -> int:
    return int(words[0]) if words else DRAWS


_Draws = Annotated[
    int,
    PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[DRAWS]",
        instance_from_str=_number_of_draws,
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]


def codesign(
    space: tyro.conf.Positional[Path],
    search: Annotated[Search, tyro.conf.arg(name="")],
    network: str = "main",
    inputs: Path | None = None,
    labels: Path | None = None,
    evaluation: Path | None = None,
    evaluation_labels: Path | None = None,
    data: Path | None = None,
    weights: Path | None = None,
    leave: tuple[str, ...] = (),
    thresholds: bool = False,
    out: Path = RESULTS_FOLDER / "codesign",
    storage: str | None = None,
    name: str = "codesign",
    fine_tune: int = 0,
    fresh: bool = False,
    analysis: Path | None = None,
    uncertain: _Draws = 0,
    workers: int = 1,
    cluster: str | None = None,
) -> None:
    """Search a network's compression together with its array, and verify the front. PyTorch needed.

    The same command resumes an interrupted or killed search. Several shells, or several machines with one --storage,
    may work on the same study.

    For instance:

      python -m designs codesign space.toml

      python -m designs codesign space.toml --network net.onnx --inputs x.npy --labels y.npy --bounds accuracy_loss 0.02

      python -m designs codesign space.toml --network lenet_5 --data MNIST --bounds accuracy_loss 0.02 area_mm2 4

    Args:
        space: TOML file of the space of arrays; a table [compression] adds each layer's density and bits
        search: objectives, bounds, trials
        network: an ONNX file; MODULE:FUNCTION that gives a module, a module and inputs, or a TrainedNetwork; or main
            (the main job's, trained), lenet_5, resnet_20 or resnet_8
        inputs: .npy file of its inputs, [inputs, ...], or .npz file with an array for each input by name
        labels: .npy file of the inputs' labels, int [inputs] or [inputs, positions]; without them, answers that change
            are counted, or the error of the outputs is measured (--loss)
        evaluation: file of other inputs, on which the front is verified; default: the inputs
        evaluation_labels: .npy file of their labels
        data: folder of images of main, lenet_5 or a ResNet; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: state dict of the network, .npz or .pt
        leave: names or shell patterns of layers to leave alone; they run off the array
        thresholds: also try activation thresholds for each layer; activations up to it count as zero
        out: folder of the results
        storage: URL of the study's storage, or a journal file; default: a journal file in the folder of the results
        name: name of the study in its storage
        fine_tune: epochs on unlabelled images for each verified design, after pruning and after sharing
        fresh: discard the results of earlier runs and the study
        analysis: folder that keeps the analysis of the network, which plans and other searches share; default: analysis
            in the folder of the results
        uncertain: draw the constants of energy, area and clock this many times, and state how often each verified
            design is on the front, and which designs cannot be told apart; 200 draws if no number follows
        workers: processes on this machine, or of a local cluster, that an exhaustive search enumerates with
        cluster: local, for a Dask cluster on this machine, or the address of a Dask scheduler
    """
    from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE
    from designs.codesigns.loop import ANALYSIS_FOLDER, analysed
    from designs.codesigns.loop import codesign as search_together
    from designs.codesigns.problem import network_origin
    from designs.codesigns.uncertainty import number_of_draws
    from designs.codesigns.verification import Distillation
    from designs.commands.networks import InputFiles, open_network
    from designs.screens.codesign import print_network, print_quality, print_verified
    from designs.space import Space
    from designs.sweeps.dask_workers import Cluster

    begin = time.perf_counter()
    uncertain = number_of_draws(uncertain)
    crew = workers if cluster is None else Cluster(None if cluster == "local" else cluster, workers)
    arrays = Space.load(space)
    files = InputFiles(inputs, labels, evaluation, evaluation_labels)
    trained = open_network(network, data_folder(data), weights, files, leave, thresholds)
    tuning = Distillation(trained, fine_tune, search.seed) if fine_tune else None
    kept_in = out / ANALYSIS_FOLDER if analysis is None else analysis
    with if_interrupted(f"the analysis so far is kept in {kept_in}; the same command continues it"):
        network_analysis = analysed(trained, search, arrays, kept_in)
    print_network({"network": network_origin(network_analysis)})
    with if_interrupted(f"finished trials are kept in {out}; {same_command(fresh)} continues the search"):
        table = search_together(
            network_analysis, arrays, search, out, storage, name, tuning, fresh, uncertain=uncertain, workers=crew
        )
    loss = network_analysis.loss
    objectives = search.of_loss(figure_of(loss), loss.description).objectives
    print_verified(table, objectives, objectives)
    print_quality(read_results(out / FRONT_FILE, FRONT_COLUMNS)[1]["settings"])
    took = time.perf_counter() - begin
    print(f"Results are in {out} ({took:.0f} s); python -m reports codesign {out} makes a page of them.")


def fleet(
    targets: tyro.conf.Positional[Path],
    space: tyro.conf.Positional[Path],
    network: str = "main",
    inputs: Path | None = None,
    labels: Path | None = None,
    evaluation: Path | None = None,
    evaluation_labels: Path | None = None,
    loss: str = "auto",
    data: Path | None = None,
    weights: Path | None = None,
    leave: tuple[str, ...] = (),
    thresholds: bool = False,
    trials: int = 150,
    seed: int = 0,
    out: Path = RESULTS_FOLDER / "fleet",
    fine_tune: int = 0,
    fresh: bool = False,
    analysis: Path | None = None,
) -> None:
    """Find a compressed network and an array for each target of a fleet, from one analysis. PyTorch needed.

    For instance:

      python -m designs fleet fleet.toml space.toml --network lenet_5 --data MNIST

    Args:
        targets: TOML file with a table for each target: max_area_mm2, max_latency_us, ..., minimise
        space: TOML file of the space of arrays
        network: an ONNX file, MODULE:FUNCTION, main, lenet_5, resnet_20 or resnet_8, see python -m designs codesign
            --help
        inputs: file of its inputs, .npy or .npz
        labels: .npy file of their labels
        evaluation: file of other inputs, on which designs are verified; default: the inputs
        evaluation_labels: .npy file of their labels
        loss: what is lost, see python -m designs codesign --help
        data: folder of images of main, lenet_5 or a ResNet; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: state dict of the network, .npz or .pt
        leave: names or shell patterns of layers to leave alone; they run off the array
        thresholds: also try activation thresholds for each layer; activations up to it count as zero
        trials: compressions to try for each target, each with all arrays of the space
        seed: seed of the search
        out: folder of the results
        fine_tune: epochs on unlabelled images for each verified design, after pruning and after sharing
        fresh: discard the results of earlier runs
        analysis: folder that keeps the analysis of the network; default: analysis in the folder of the results
    """
    from designs.codesigns.fleet import FLEET_COLUMNS, FLEET_FILE, read_fleet
    from designs.codesigns.fleet import fleet as search_fleet
    from designs.codesigns.verification import Distillation
    from designs.commands.networks import InputFiles, open_network
    from designs.screens.codesign import print_fleet, print_network
    from designs.space import Space

    all_targets, arrays = read_fleet(targets), Space.load(space)
    files = InputFiles(inputs, labels, evaluation, evaluation_labels)
    trained = open_network(network, data_folder(data), weights, files, leave, thresholds)
    tuning = Distillation(trained, fine_tune, seed) if fine_tune else None
    search = Search(trials=trials, seed=seed, loss=loss)
    kept = f"the analysis and finished trials are kept in {out}"
    with if_interrupted(f"{kept}; {same_command(fresh)} continues the search"):
        table = search_fleet(trained, all_targets, arrays, search, out, tuning, fresh, analysis)
    print_network(read_results(out / FLEET_FILE, FLEET_COLUMNS)[1]["settings"])
    print_fleet(table)
    print(f"Results are in {out}.")
