"""Synthesis of the array in SystemVerilog with Yosys: cells of each block."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.config import ArrayConfig
from sim.cost.blocks import COLUMN_INDEX_BITS, num_lnzd_units
from sim.cost.sram import POINTER_BANKS
from sim.rtl.model import BENCH, TOP, Sources, require, sources
from sim.rtl.parameters import RtlParameters
from traces import InputError

# Memories stay as they are; the rest becomes gates of two inputs, inverters, multiplexers and flip-flops. No
# `abc -fast`: the gates that Yosys 0.23 makes with it compute wrong sums in Verilator 5.006, though not in Icarus 11.
SCRIPT = (
    "proc; opt; wreduce; peepopt; opt; alumacc; opt; memory -nomap; opt; techmap; opt; abc -g AND,OR,XOR,MUX; opt_clean"
)
PE_BLOCKS = ("activation_queue", "pointer_read", "sparse_matrix_read", "arithmetic", "activation_write")
SHARED_BLOCKS = ("activation_scan", "broadcast_wires", "central_control")


@dataclass(frozen=True)
class BlockCells:
    """Cells of one block, with all blocks inside it.

    Attributes
    ----------
    block : str
        Name of the block.
    gates : int
        Gates of two inputs, inverters and multiplexers of two.
    flip_flops : int
        Flip-flops.
    memory_bits : int
        Bits of its memories.
    assumed_bits : int or None
        Bits of memory that `sim.cost.area` assumes; None if it takes the area of the block from the paper.
    lnzd_units : int
        Leading non-zero detection units in it.
    """

    block: str
    gates: int
    flip_flops: int
    memory_bits: int
    assumed_bits: int | None
    lnzd_units: int


def synthesize(config: ArrayConfig) -> list[BlockCells]:
    """Synthesize an array; return the cells of each block, first those of one PE, then those that all PEs share.

    Without registers in the broadcast, there is no block `broadcast_wires`.

    Raises InputError if Yosys is missing or fails, or the array cannot be built in SystemVerilog.
    """
    modules = json.loads(_synthesized(RtlParameters.of(config), "write_json"))["modules"]
    by_block = {_block_of(module): module for module in modules}
    assumed = assumed_bits(config)
    rows = []
    for block in (*PE_BLOCKS, *SHARED_BLOCKS):
        if block == "broadcast_wires" and config.broadcast_cycles == 1:
            continue
        cells = _cells_in(by_block[block], modules)
        rows.append(
            BlockCells(
                block,
                gates=cells["gates"],
                flip_flops=cells["flip-flops"],
                memory_bits=cells["memory bits"],
                assumed_bits=assumed.get(block),
                lnzd_units=cells["lnzd units"],
            )
        )
    return rows


def netlist(config: ArrayConfig) -> Sources:
    """Synthesize an array; return its netlist and the bench, files for `sim.rtl.model.build`.

    Raises InputError as `synthesize` does.
    """
    gates = _synthesized(RtlParameters.of(config), "write_verilog -noattr")
    return {TOP: gates, BENCH: sources()[BENCH]}


def _synthesized(parameters: RtlParameters, write: str) -> str:
    """Return the file that Yosys writes."""
    require("yosys")
    with tempfile.TemporaryDirectory(prefix="rtl-") as name:
        folder = Path(name)
        files = [file for file in sources() if file.endswith(".sv")]
        for file in files:
            (folder / file).write_text(sources()[file])
        settings = " ".join(f"-chparam {name} {value}" for name, value in parameters.definitions().items())
        script = f"read_verilog -sv {' '.join(files)}; hierarchy -top array {settings}; {SCRIPT}; {write} written"
        done = subprocess.run(["yosys", "-q", "-p", script], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines() or ["nothing"]
            raise InputError(f"the array in SystemVerilog could not be synthesized: yosys: {lines[-1]}")
        return (folder / "written").read_text()


def assumed_bits(config: ArrayConfig) -> dict[str, int]:
    """Return the bits of memory in the blocks of one PE whose area depends on them (`sim.cost.area`)."""
    return {
        "activation_queue": config.queue_slots * (config.activation_bits + COLUMN_INDEX_BITS),
        "pointer_read": POINTER_BANKS * (config.pointer_bytes // POINTER_BANKS) * 8,
        "sparse_matrix_read": config.sparse_matrix_bytes * 8,
        "activation_write": config.activation_bytes * 8,
    }


def assumed_lnzd_units(config: ArrayConfig) -> int:
    """Return the leading non-zero detection units of the array, as `sim.cost.area` counts them."""
    return num_lnzd_units(config.num_pes)


def _block_of(module: str) -> str:
    """Return the name of a module's file; Yosys puts parameters before or after it."""
    parts = module.removeprefix("$paramod").split("\\")
    return parts[1] if len(parts) > 1 else module


def _cells_in(module: str, modules: Mapping[str, Any]) -> Counter[str]:
    """Count the cells of a module with all modules inside it."""
    cells: Counter[str] = Counter()
    for cell in modules[module]["cells"].values():
        kind = cell["type"]
        if kind in modules:
            cells += _cells_in(kind, modules)
            cells["lnzd units"] += _block_of(kind) == "lnzd_unit"
        elif kind.startswith("$mem"):
            size, width = (int(cell["parameters"][name], 2) for name in ("SIZE", "WIDTH"))
            cells["memory bits"] += size * width
        elif "DFF" in kind:
            cells["flip-flops"] += 1
        else:
            cells["gates"] += 1
    return cells
