"""Command line `python -m sim LAYER`: one layer, or the layers of a `.net` file, on one array."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from sim import ArrayConfig, ProductShape, pack, simulate, simulate_network
from sim.array import Engine
from sim.observe.cycles import cycle_breakdown
from sim.observe.screen import print_layer, print_network, printed_warnings
from sim.observe.timeline import check_runs_at_once
from sim.row_assignment import RowAssignment, assign_rows
from traces import InputError
from traces.files.deep_compression_net import read_net
from traces.files.layer_file import open_layer
from traces.files.npz import read_npy, write_npy
from traces.shell.command_line import run
from traces.shell.printable import with_printable_output
from traces.shell.progress import progress_bar


def simulate_file(
    layer: tyro.conf.Positional[Path],
    array: Annotated[ArrayConfig, tyro.conf.arg(name="")],
    activations: Path | None = None,
    out: Path | None = None,
    engine: Engine = "closed-form",
    row_assignment: RowAssignment = "interleaved",
    timeline: Path | None = None,
    waveform: Path | None = None,
    prototxt: Path | None = None,
) -> None:
    """Simulate a layer on one array and print its cycles, counters and energy.

    For instance:

      python -m sim alex8.npz --num-pes 64 --queue-slots 8

      python -m sim weights.npy --activations input.npy --weight-bits 8 --memory-mode streamed

      python -m sim SqueezeNet.net --activations images.npy --weight-bits 8

    Args:
        layer: layer file (.npz with codes, codebook, optionally bias or free_bias, and one recorded input as act);
            plain weights (.npy, .npz of scipy.sparse.save_npz, .mtx, or a mask in .smtx); a directory of the EIE
            authors' simulator; or a whole network in a .net file of the author of Deep Compression
        array: the array to run it on
        activations: .npy file with the input, float [columns], instead of the layer's own; for a network, one or
            more inputs
        out: .npy file to write the output activations to, float32 [rows]
        engine: closed-form, or reference, the tick-by-tick machine, which gives the same result slowly
        row_assignment: assignment of the rows to PEs: interleaved as in the paper, balanced by stored entries,
            balanced by the activity of this input, or the latter improved by a search that simulates this input
        timeline: file NAME.timeline.npz to write the state of the array over time to; python -m reports draws it
        waveform: .vcd file to write every block's state after each clock edge to, for GTKWave and the like
        prototxt: Caffe's description of a .net file; by default the only one in its folder
    """
    for option, path, suffix in (("timeline", timeline, ".timeline.npz"), ("waveform", waveform, ".vcd")):
        if path is not None and not path.name.endswith(suffix):
            raise InputError(f"--{option} must name a file that ends in {suffix}; found {path}")
    if layer.suffix == ".net":
        if engine != "closed-form" or row_assignment != "interleaved" or timeline is not None or waveform is not None:
            raise InputError(
                f"{layer}: a network takes no --engine, --row-assignment, --timeline and --waveform; leave them out"
            )
        _simulate_net(layer, prototxt, array, activations, out)
    elif prototxt is not None:
        raise InputError(f"--prototxt describes a .net file, which {layer} is not; leave it out")
    else:
        _simulate_layer(layer, array, activations, out, engine, row_assignment, timeline, waveform)


def _simulate_layer(
    path: Path,
    array: ArrayConfig,
    activations: Path | None,
    out: Path | None,
    engine: Engine,
    row_assignment: RowAssignment,
    timeline: Path | None,
    waveform: Path | None,
) -> None:
    layer, recorded = open_layer(path)
    values = recorded if activations is None else read_npy(activations)
    if values is None:
        raise InputError(f"{path}: holds no recorded input (act); give one with --activations FILE.npy")
    packed = pack(layer, array, assign_rows(layer, row_assignment, array, values))
    if timeline is not None or waveform is not None:
        check_runs_at_once(packed, array)
    with printed_warnings():
        result = simulate(packed, values, array, engine)
    print_layer(layer.name, ProductShape(layer.rows, layer.columns), result, cycle_breakdown(packed, values, array))
    if packed.row_order_bits:
        print(f"A table of {packed.row_order_bits:,} bits restores the order of the outputs.")
    if out is not None:
        write_npy(out, result.output)
    if timeline is not None:
        from sim.observe.timeline_summary import timeline_summary, write_timeline

        write_timeline(timeline, timeline_summary(packed, values, array))
    if waveform is not None:
        from sim.observe.waveform import write_waveform

        write_waveform(waveform, packed, values, array)


def _simulate_net(
    path: Path, prototxt: Path | None, array: ArrayConfig, activations: Path | None, out: Path | None
) -> None:
    network = read_net(path, prototxt)
    shape = [length for length in network.network.inputs[0].shape[1:] if length is not None]
    if activations is None:
        raise InputError(f"{path}: holds no input; give inputs of shape {shape} with --activations FILE.npy")
    values = read_npy(activations)
    values = values[np.newaxis] if values.ndim == len(shape) else values
    with progress_bar("simulating inputs", len(values)) as advance, printed_warnings():
        result = simulate_network(network, values, array, after_input=advance)
    print_network(str(path), result)
    if out is not None:
        write_npy(out, result.output)


def main() -> None:
    """Run the command line."""
    tyro.cli(with_printable_output(simulate_file), prog="python -m sim", config=(tyro.conf.FlagCreatePairsOff,))


if __name__ == "__main__":
    run(main)
