"""Blocks of the array in SystemVerilog as cells of a library: area, flip-flops, leakage, critical path."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sim.config import ArrayConfig
from sim.rtl.liberty import CellLibrary
from sim.rtl.model import missing_program, require, sources
from sim.rtl.parameters import RtlParameters
from traces import InputError

# ABC's default script in Yosys takes minutes for a multiplier of 32 bits; its step `dch` alone keeps its effect (878
# instead of 3,293 um2 for a division by 7 in sky130). No `abc -fast`: see `synthesis`.
BLOCK_SCRIPT = (
    "opt; peepopt; opt_clean; alumacc; opt; memory -nordff -nomap; opt_clean; memory_map; "
    "opt -undriven -fine; techmap; opt; dfflibmap -liberty cells.lib; opt"
)
ABC_SCRIPT = "+strash;dc2;dch,-f;map;topo;buffer,-c;topo;upsize,-D,{target};dnsize,-D,{target};stime,-p"

# Parts that the array has inside of a block, alone.
PARTS = """
module line_address #(parameter int BITS = 16, parameter int ENTRIES = 7, parameter int PLACE_BITS = 3) (
    input logic [BITS-1:0] entry, output logic [BITS-1:0] line, output logic [PLACE_BITS-1:0] place);
  localparam logic [BITS-1:0] DIVISOR = BITS'(ENTRIES);
  assign line = entry / DIVISOR;
  assign place = PLACE_BITS'(entry % DIVISOR);
endmodule
module multiply_add #(parameter int BITS = 16) (
    input logic signed [BITS-1:0] weight, input logic signed [BITS-1:0] activation,
    input logic signed [2*BITS-1:0] accumulator, output logic signed [2*BITS-1:0] sum);
  assign sum = weight * activation + accumulator;
endmodule
"""


@dataclass(frozen=True)
class Technology:
    """Cell library and its names of the cells that synthesis must be told.

    Attributes
    ----------
    name : str
        Name of the library.
    file : str
        Name of its Liberty file.
    node_nm : float
        Technology node in nm.
    nand2, inverter : str
        Smallest NAND of two inputs, and smallest inverter.
    flip_flop : str
        Smallest flip-flop without reset.
    driver : str
        Cell that drives the inputs of a block.
    unused : str
        Pattern of the names of cells that synthesis does not use.
    maps : bool
        True if blocks can be mapped to its cells; otherwise its flip-flop alone is compared.
    """

    name: str
    file: str
    node_nm: float
    nand2: str
    inverter: str
    flip_flop: str
    driver: str
    unused: str = ""
    maps: bool = True


# Apache-2.0, SkyWater
SKY130 = Technology(
    name="sky130hd",
    file="sky130hd_tt.lib.gz",
    node_nm=130.0,
    nand2="sky130_fd_sc_hd__nand2_1",
    inverter="sky130_fd_sc_hd__inv_1",
    flip_flop="sky130_fd_sc_hd__dfxtp_1",
    driver="sky130_fd_sc_hd__inv_2",
    # latches, scan and enable flip-flops, delay, clock and tri-state cells, isolation, fillers, adders, large drives
    unused=r"[se]df|df(?!xtp)|lpflow|probe|dly|diode|decap|macro|clk|ebuf|einv|dlr|dlx|dlc|conb|bufbuf|bufinv|__fa|__ha"
    r"|maj|_(8|12|16)$",
)
# BSD-3-Clause, Arizona State University; of its cells these files have three, and no inverter
_ASAP7_SLOW = Technology(
    name="asap7 slow",
    file="asap7_small_ss.lib.gz",
    node_nm=7.0,
    nand2="",
    inverter="",
    flip_flop="DFFHQx4_ASAP7_75t_R",
    driver="",
    maps=False,
)
ASAP7 = (_ASAP7_SLOW, replace(_ASAP7_SLOW, name="asap7 fast", file="asap7_small_ff.lib.gz"))
TECHNOLOGIES = (SKY130, *ASAP7)


@dataclass(frozen=True)
class Block:
    """Module with values of its parameters.

    Attributes
    ----------
    name : str
        Name of the block.
    module : str
        Module of the array in SystemVerilog, or of `PARTS`.
    parameters : dict
        Values by the names in SystemVerilog.
    memories_as_flip_flops : bool
        True if its memories become flip-flops; otherwise they are left out, and their ports are ports of the block.
    """

    name: str
    module: str
    parameters: Mapping[str, int]
    memories_as_flip_flops: bool = False


@dataclass(frozen=True, eq=False)
class MappedBlock:
    """Block as cells of a library.

    Attributes
    ----------
    block : Block
        The block.
    technology : Technology
        The library's names.
    area_um2, flip_flop_um2 : float
        Area of all cells and of the flip-flops in um2, without wires between cells and without memories left out.
    num_cells, flip_flops : int
        Cells, and flip-flops among them.
    leakage_nw : float
        Leakage in nW.
    nand2_equivalents : float
        Area in units of the smallest NAND of two inputs.
    abc_path_ns : float
        Longest path between flip-flops and ports by ABC, in ns, without the delay and setup time of flip-flops.
    netlist : dict
        Module in Yosys' JSON format.
    verilog : str
        The same in Verilog.
    """

    block: Block
    technology: Technology
    area_um2: float
    flip_flop_um2: float
    num_cells: int
    flip_flops: int
    leakage_nw: float
    nand2_equivalents: float
    abc_path_ns: float
    netlist: dict[str, Any] = field(repr=False)
    verilog: str = field(repr=False)


def blocks_of(config: ArrayConfig) -> list[Block]:
    """Return the blocks of an array, their memories left out, and its codebook and LNZD unit.

    Raises InputError if the array cannot be built in SystemVerilog.
    """
    array = RtlParameters.of(config)
    widths = {name: getattr(array, name.lower()) for name in ("COLUMN_BITS", "ROW_BITS", "ACTIVATION_BITS")}
    column_bits, row_bits, activation_bits = ({name: bits} for name, bits in widths.items())
    pointer_bits = {"POINTER_BITS": array.pointer_bits}
    entry_bits = {"WEIGHT_BITS": array.weight_bits, "INDEX_BITS": array.index_bits}
    lines = {"LINES": array.lines, "LINE_BITS": array.line_bits, "LINE_ADDRESS_BITS": array.line_address_bits}
    slots = {"QUEUE_SLOTS": array.queue_slots, "POSITION_BITS": array.position_bits}
    banks = {"POINTERS_PER_BANK": array.pointers_per_bank}
    payload_bits = activation_bits["ACTIVATION_BITS"] + max(1, (array.num_pes - 1).bit_length())
    codebook = {
        "WORDS": 2**array.weight_bits,
        "WORD_BITS": array.activation_bits,
        "ADDRESS_BITS": array.weight_bits,
    }
    parameters: dict[str, dict[str, int]] = {
        "activation_queue": slots | column_bits | activation_bits,
        "pointer_read": banks | pointer_bits | column_bits | activation_bits,
        "sparse_matrix_read": lines | entry_bits | pointer_bits | activation_bits,
        "arithmetic": entry_bits | activation_bits | row_bits,
        "activation_write": {"ACTIVATIONS": array.activations} | activation_bits | row_bits,
        "lnzd_unit": {"PAYLOAD_BITS": payload_bits},
        "activation_scan": {"NUM_PES": array.num_pes} | column_bits | row_bits | activation_bits,
        "central_control": {},
    }
    blocks = [Block(name, name, found) for name, found in parameters.items()]
    return [*blocks, Block("codebook", "sram", codebook, memories_as_flip_flops=True)]


def line_address(entries_per_line: int, bits: int = 16) -> Block:
    """Return the division of an entry's address by the entries of a line, with its remainder."""
    place_bits = max(1, (entries_per_line - 1).bit_length())
    return Block("line_address", "line_address", {"BITS": bits, "ENTRIES": entries_per_line, "PLACE_BITS": place_bits})


def multiply_add(bits: int) -> Block:
    """Return the multiplication of two numbers of `bits`, and the addition of a number of twice as many bits."""
    return Block("multiply_add", "multiply_add", {"BITS": bits})


def register_file(words: int, word_bits: int) -> Block:
    """Return a memory of flip-flops with one write port and one registered read port."""
    parameters = {"WORDS": words, "WORD_BITS": word_bits, "ADDRESS_BITS": max(1, (words - 1).bit_length())}
    return Block("register_file", "sram", parameters, memories_as_flip_flops=True)


def map_block(block: Block, library: CellLibrary, technology: Technology, target_ns: float) -> MappedBlock:
    """Map a block to the cells of a library with Yosys and ABC.

    Parameters
    ----------
    block : Block
        Block to map.
    library : CellLibrary
        Cells.
    technology : Technology
        Names of the library's cells.
    target_ns : float
        Delay up to which ABC enlarges cells, in ns.

    Returns
    -------
    MappedBlock
        The block's cells.

    Raises
    ------
    InputError
        If Yosys is missing or fails.
    """
    require("yosys")
    with tempfile.TemporaryDirectory(prefix="rtl-") as name:
        folder = Path(name)
        files = {file: text for file, text in sources().items() if file.endswith(".sv")} | {"parts.sv": PARTS}
        for file, text in files.items():
            (folder / file).write_text(text)
        (folder / "cells.lib").write_text(library.reduced(usable_cells(library, technology)))
        (folder / "inputs").write_text(f"set_driving_cell {technology.driver}\nset_load 5\n")
        steps = [f"read_verilog -sv {' '.join(files)}"]
        if block.parameters:  # `hierarchy -chparam` fails on a recursive module
            settings = " ".join(f"-set {name} {value}" for name, value in block.parameters.items())
            steps += [f"chparam {settings} {block.module}"]
        steps += [f"hierarchy -top {block.module}", "proc"]
        if block.memories_as_flip_flops:
            steps += ["flatten"]
        else:
            steps += ["setattr -mod -set keep_hierarchy 1 *sram*", "flatten", "expose -evert t:*sram*", "delete *sram*"]
        abc = ABC_SCRIPT.format(target=round(target_ns * 1e3))
        steps += ["rename -top block", BLOCK_SCRIPT, f"abc -liberty cells.lib -constr inputs -script {abc}"]
        steps += ["opt_clean -purge", "write_json block.json", "write_verilog -noattr -noexpr block.v"]
        done = subprocess.run(["yosys", "-p", "; ".join(steps)], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
            raise InputError(f"block {block.name} could not be mapped to {technology.name}: yosys: {lines[-1]}")
        netlist = json.loads((folder / "block.json").read_text())["modules"]["block"]
        verilog = (folder / "block.v").read_text()
    paths = re.findall(r"Delay *= *([\d.]+) ps", done.stdout)
    cells = [library.cell(cell["type"]) for cell in netlist["cells"].values()]
    flip_flops = [cell for cell in cells if cell.clock]
    area_um2 = sum(cell.area_um2 for cell in cells)
    return MappedBlock(
        block=block,
        technology=technology,
        area_um2=area_um2,
        flip_flop_um2=sum(cell.area_um2 for cell in flip_flops),
        num_cells=len(cells),
        flip_flops=len(flip_flops),
        leakage_nw=sum(cell.leakage_nw for cell in cells),
        nand2_equivalents=area_um2 / library.cell(technology.nand2).area_um2,
        abc_path_ns=float(paths[-1]) / 1e3 if paths else 0.0,
        netlist=netlist,
        verilog=verilog,
    )


def usable_cells(library: CellLibrary, technology: Technology) -> list[str]:
    """Return the names of the cells that synthesis may use."""
    unused = re.compile(technology.unused or r"(?!)")
    return [name for name in library.cell_texts if not unused.search(name)]


def can_time() -> bool:
    """Return True if OpenSTA is installed."""
    return missing_program("sta") is None


def critical_path_ns(mapped: MappedBlock, library: CellLibrary) -> float:
    """Return the longest path by OpenSTA in ns: from a flip-flop or an input to a flip-flop or an output.

    Clock-to-output delay and setup time are included. Inputs arrive at the clock edge, outputs have the whole cycle,
    and memories take no time. Wires are not loaded. Raises InputError if OpenSTA is missing or fails.
    """
    names = {cell["type"] for cell in mapped.netlist["cells"].values()}
    clock = "[get_ports clock]" if "clock" in mapped.netlist["ports"] else ""
    return _longest_path_ns(mapped.verilog, library.reduced(sorted(names)), clock, library.time_unit_ns)


def fanout_of_4_ns(library: CellLibrary, technology: Technology) -> float:
    """Return the delay of an inverter that drives four like it, in ns by OpenSTA: the mean of rising and falling.

    Raises InputError if OpenSTA is missing or fails.
    """
    inverter = library.cell(technology.inverter)
    ((input_pin,), (output_pin,)) = (list(inverter.input_ff), list(inverter.functions))

    def chain_of(stages: int) -> str:
        instances = []
        for stage in range(stages):
            for load in range(4 if stage else 1):
                output = f"n{stage + 1}" if load == 0 else f"unused{stage}_{load}"
                pins = f".{input_pin}(n{stage}), .{output_pin}({output})"
                instances.append(f"{inverter.name} i{stage}_{load} ({pins});")
        ports = f"input n0; output n{stages};"
        return f"module block (n0, n{stages}); {ports}\n" + "\n".join(instances) + "\nendmodule\n"

    cells = library.reduced([inverter.name])
    short, long = (_longest_path_ns(chain_of(stages), cells, "", library.time_unit_ns) for stages in (4, 24))
    return (long - short) / 20


def _longest_path_ns(verilog: str, cells: str, clock: str, unit_ns: float) -> float:
    """Run OpenSTA; return the longest path in ns."""
    require("sta")
    script = f"""
read_liberty cells.lib
read_verilog block.v
link_design block
create_clock -name clk -period 1000 {clock}
set_input_delay 0 -clock clk [all_inputs]
set outputs {{}}
foreach port [all_outputs] {{
  if {{![string match *clock [get_property $port full_name]]}} {{ lappend outputs $port }}
}}
set_output_delay 0 -clock clk $outputs
report_checks -path_delay max -format full -digits 6
"""
    with tempfile.TemporaryDirectory(prefix="rtl-") as name:
        folder = Path(name)
        for file, text in {"cells.lib": cells, "block.v": verilog, "script.tcl": script}.items():
            (folder / file).write_text(text)
        done = subprocess.run(["sta", "-no_splash", "-exit", "script.tcl"], cwd=folder, capture_output=True, text=True)
    slack = re.search(r"(-?[\d.]+) +slack", done.stdout)
    if done.returncode or slack is None:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["nothing"]
        raise InputError(f"the longest path of a block could not be found: sta: {lines[-1]}")
    return (1000 - float(slack.group(1))) * unit_ns
