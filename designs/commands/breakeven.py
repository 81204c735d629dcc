"""Command that compares an array of PEs with a dense array on the same silicon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from designs.result_files import BREAKEVEN_COLUMNS, BREAKEVEN_FILE
from designs.results import RESULTS_FOLDER
from sim import ArrayConfig
from traces import InputError
from traces.shell.command_line import data_folder


def breakeven(
    array: Annotated[ArrayConfig, tyro.conf.arg(name="")],
    workload: tuple[str, ...] = ("eie",),
    batches: tuple[int, ...] = (1, 4, 16, 64),
    bits: tuple[int, ...] = (8, 16),
    data: Path | None = None,
    inputs: Path | None = None,
    most: int = 8,
    state: tuple[tuple[str, str], ...] = (),
    out: Path = RESULTS_FOLDER / "breakeven",
) -> None:
    """Find the density at which an array of PEs and a dense array on the same silicon are equal, layer by layer.

    The dense array has the same area, bits of SRAM, node, clock and DRAM, and computes with all weights.
    python -m reports breakeven draws the result.

    For instance:

      python -m designs breakeven

      python -m designs breakeven --workload network.dc --inputs inputs.npy --batches 1 16 --num-pes 16

    Args:
        array: array of PEs
        workload: eie (nine layers), names of such layers, a container (.dc), or layer files
        batches: numbers of inputs that come at once
        bits: widths of a dense weight, 8 or 16
        data: folder of images that enter a container, and of the real benchmark layers; default: $CODESIGN_DATA
        inputs: inputs of a container's network instead of images, .npy, or .npz with an array for each input
        most: most inputs of a container to record, for the shares of active inputs
        state: pairs of an input of a container's network that is its own earlier output, and that output; an input is
            then one step, and a batch so many sequences
        out: folder of the results
    """
    from designs.breakeven import breakeven_rows
    from designs.results import provenance, table_of, write_results
    from designs.screens.breakeven import print_breakeven
    from designs.sweeps.workload_source import open_workload

    if array.memory_mode != ArrayConfig.memory_mode:
        raise InputError("memory_mode has no effect here: weights that do not fit come from DRAM; leave it out")
    images = data if inputs is not None else data_folder(data)
    rows = breakeven_rows(open_workload(workload, images, inputs, most, dict(state)), array, batches, bits)
    print_breakeven(rows, array)
    settings = {"workload": list(workload), "array": vars(array), "batches": list(batches), "bits": list(bits)}
    file = out / BREAKEVEN_FILE
    write_results(file, table_of(BREAKEVEN_COLUMNS, rows), provenance(settings))
    print(f"Results are in {file}; python -m reports breakeven {out} draws them.")
