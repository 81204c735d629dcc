"""Commands about co-design: of one network and array, and of a fleet of targets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro

from designs.codesigns.search import Search
from designs.results import RESULTS_FOLDER
from traces.shell.command_line import data_folder


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
    """Search a network's compression together with its array, and verify the front. PyTorch needed.

    The same command resumes an interrupted or killed search. Several shells, or several machines with one --storage,
    may work on the same study.

    For instance:

      python -m designs codesign space.toml

      python -m designs codesign space.toml --network lenet_5 --data MNIST --bounds accuracy_loss 0.02 area_mm2 4

    Args:
        space: TOML file of the space of arrays; a table [compression] adds each layer's density and bits
        search: objectives, bounds, trials
        network: main (the main job's, trained), lenet_5, resnet_20, or MODULE:FUNCTION that gives a TrainedNetwork
        data: folder of its images; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: its state dict, .npz or .pt
        out: folder of the results
        storage: URL of the study's storage, or a journal file; default: a journal file in the folder of the results
        name: name of the study in its storage
        fine_tune: epochs on unlabelled images for each verified design, after pruning and after sharing
        fresh: discard the results of earlier runs and the study
    """
    from designs.codesigns.loop import codesign as search_together
    from designs.codesigns.verification import Distillation
    from designs.commands.networks import open_network
    from designs.screens.codesign import print_verified
    from designs.space import Space

    begin = time.perf_counter()
    arrays = Space.load(space)
    trained = open_network(network, data_folder(data), weights)
    tuning = Distillation(trained, fine_tune, search.seed) if fine_tune else None
    table = search_together(trained, arrays, search, out, storage, name, tuning, fresh)
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
    """Find a compressed network and an array for each target of a fleet, from one analysis. PyTorch needed.

    For instance:

      python -m designs fleet fleet.toml space.toml --network lenet_5 --data MNIST

    Args:
        targets: TOML file with a table for each target: max_area_mm2, max_latency_us, ..., minimise
        space: TOML file of the space of arrays
        network: main, lenet_5, resnet_20 or MODULE:FUNCTION, see python -m designs codesign --help
        data: folder of its images; default: $CODESIGN_DATA, else the digits of scikit-learn
        weights: its state dict, .npz or .pt
        trials: designs to try for each target
        seed: seed of the search
        out: folder of the results
        fine_tune: epochs on unlabelled images for each verified design, after pruning and after sharing
        fresh: discard the results of earlier runs
    """
    from designs.codesigns.fleet import fleet as search_fleet
    from designs.codesigns.fleet import read_fleet
    from designs.codesigns.verification import Distillation
    from designs.commands.networks import open_network
    from designs.screens.codesign import print_fleet
    from designs.space import Space

    all_targets, arrays = read_fleet(targets), Space.load(space)
    trained = open_network(network, data_folder(data), weights)
    tuning = Distillation(trained, fine_tune, seed) if fine_tune else None
    table = search_fleet(trained, all_targets, arrays, Search(trials=trials, seed=seed), out, tuning, fresh)
    print_fleet(table)
    print(f"Results are in {out}.")
