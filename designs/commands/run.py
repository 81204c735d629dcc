"""Commands that run a network: the main job, and the simulation of a container."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro

from designs.experiments.grid import Grid
from designs.experiments.main_job import MainJobSettings
from sim import ArrayConfig
from sim.row_assignment import RowAssignment
from traces import InputError
from traces.shell.command_line import data_folder, if_interrupted, same_command


def job(
    settings: Annotated[MainJobSettings, tyro.conf.arg(name="")],
    grid: Annotated[Grid, tyro.conf.arg(name="")],
    data: Path | None = None,
    out: Path | None = None,
    fresh: bool = False,
) -> None:
    """Train a network on handwritten digits, compress it, simulate it on a grid of arrays, recommend one array.

    This is the default command.

    For instance:

      python -m designs

      python -m designs --data DIR --num-pes 16 64 --queue-slots 8

    Args:
        settings: training and compression
        grid: arrays to simulate
        data: folder of IDX files (MNIST); default: $CODESIGN_DATA, else the digits of scikit-learn
        out: folder of the results; default: results/NAME OF THE IMAGES
        fresh: discard the results of earlier runs
    """
    from designs.experiments.main_job import run_main_job
    from designs.experiments.main_job_screen import beside_dense, print_main_job, recommendation

    begin = time.perf_counter()
    folder = "the folder of the results" if out is None else str(out)
    with if_interrupted(f"finished steps are kept in {folder}; {same_command(fresh)} continues"):
        result = run_main_job(data_folder(data), settings, grid, out, fresh)
    print_main_job(result)
    kept = f", {' and '.join(result.kept_files)} kept from an earlier run" if result.kept_files else ""
    print(f"Results are in {result.folder} ({time.perf_counter() - begin:.0f} s{kept}).")
    print(recommendation(result))
    print(f"Dense:      {beside_dense(result)}")


def simulate(
    container: tyro.conf.Positional[Path],
    array: Annotated[ArrayConfig, tyro.conf.arg(name="")],
    inputs: Path | None = None,
    data: Path | None = None,
    most: int = 50,
    labels: Path | None = None,
    state: tuple[tuple[str, str], ...] = (),
    host_lanes: int | None = None,
    row_assignment: RowAssignment = "interleaved",
    sampling_error: float | None = None,
    calibration: Path | None = None,
    original: str | None = None,
    weights: Path | None = None,
    loss: str = "auto",
) -> None:
    """Simulate a compressed network on one array: latency, energy, bottleneck, and changes of the array to try.

    Products of weights with activations run on the array, everything else in ONNX Runtime. Without a graph in the
    container, its layers must be fully connected and run one after the other, with ReLU in between.

    For instance:

      python -m designs simulate results/digits/compressed.dc --num-pes 16

      python -m designs simulate network.dc --inputs inputs.npz --labels labels.npy --row-assignment entries

      python -m designs simulate lstm.dc --inputs steps.npz --state h h_next c c_next

      python -m designs simulate network.dc --inputs x.npy --labels y.npy --original network.onnx --precision fixed-16
      --calibration others.npy

    Args:
        container: compressed network, a file of python -m compress or of the main job
        array: array to run it on
        inputs: inputs of the network, .npy, or .npz with an array for each input; the first axis holds the inputs
        data: folder of IDX files whose test images are the inputs; default: $CODESIGN_DATA, else the digits
        most: most inputs to simulate
        labels: .npy file of the inputs' labels, int [inputs] or [inputs, positions], for the accuracy
        state: pairs of an input that is its own earlier output, and that output; the inputs are then steps in order,
            and the state begins with zeros, or with what the .npz file holds for it
        host_lanes: lanes of a vector unit on which the operations off the array are costed
        row_assignment: assignment of rows to PEs: interleaved (paper), or balanced, see python -m sim --help
        sampling_error: largest relative error of a layer's cycles and energy because changes of the array are simulated
            on some of its vectors; 0 takes all; default: all up to 32,768, else 0.02
        calibration: file of inputs that the number formats of a fixed precision are fitted to; default: the simulated
            inputs, whose accuracy is then that of inputs with known ranges
        original: original network, an ONNX file or MODULE:FUNCTION: the loss from it is measured in the array's
            arithmetic. PyTorch needed.
        weights: file of the original's parameters, loaded into the module that its function gives
        loss: what is lost: accuracy, answers, kl, cosine, relative-error or MODULE:FUNCTION; default: it follows from
            labels, outputs and graph, as in python -m designs codesign
    """
    if original is None and (weights is not None or loss != "auto"):
        given = "--weights" if weights is not None else "--loss"
        raise InputError(f"{given} belongs to the original network; give it with --original, or leave {given} out")
    from designs.screens.network_run import print_network_run
    from designs.sweeps.advice import advise
    from designs.sweeps.network_run import run_container
    from designs.sweeps.original import Original
    from sim.observe.screen import printed_warnings

    images = data if inputs is not None else data_folder(data)
    with printed_warnings():
        run = run_container(
            container,
            array,
            inputs,
            images,
            most,
            row_assignment,
            labels=labels,
            state=dict(state),
            host_lanes=host_lanes,
            sampling_error=sampling_error,
            calibration=calibration,
            original=None if original is None else Original(original, weights, loss),
        )
    print_network_run(run, advise(run))
