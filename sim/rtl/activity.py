"""Switching energy of mapped blocks: gates evaluated over a waveform, cycle by cycle, with a library's energies.

The waveform gives a block's inputs and flip-flops in each cycle. Every other net follows from them, for all cycles at
once: a net is an integer with one bit for each cycle. Each flip-flop must take in the next cycle what its gates compute
in this one, and each output must be as traced; otherwise gates and SystemVerilog differ.

Gates have no delay here, so that glitches are not counted. Multipliers have many of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.rtl.liberty import CellLibrary, expression
from sim.rtl.mapping import MappedBlock
from sim.rtl.waveform import Bits, Waveform

SLEW_NS = 0.1  # input transition time at which internal energies are taken
OUTPUT_FF = 5.0  # load of each output of a block, as ABC is told


@dataclass(frozen=True)
class BlockActivity:
    """Activity of a block over a waveform, and its energy in the library's technology.

    Attributes
    ----------
    cycles : int
        Cycles of the waveform.
    flip_flop_toggles, net_toggles : float
        Mean changes of a flip-flop, and of any net, in a cycle.
    switching_pj, clock_pj : float
        Energy of all cycles in pJ: of nets that change, and of the clock pins of flip-flops, which are never gated.
    """

    cycles: int
    flip_flop_toggles: float
    net_toggles: float
    switching_pj: float
    clock_pj: float


def flip_flop_clock_fj(library: CellLibrary, flip_flop: str) -> float:
    """Return the energy in fJ of a cycle of a flip-flop whose data do not change: its clock pin, both edges."""
    cell = library.cell(flip_flop)
    assert cell.clock is not None
    slew = SLEW_NS / library.time_unit_ns
    return 2 * cell.transition_fj(cell.clock, slew) + cell.input_ff[cell.clock] * library.voltage_v**2


def block_activity(mapped: MappedBlock, library: CellLibrary, waveform: Waveform, scope: str) -> BlockActivity:
    """Evaluate a block's gates over the waveform of its instance.

    Parameters
    ----------
    mapped : MappedBlock
        The block.
    library : CellLibrary
        Its cells.
    waveform : Waveform
        Values of the block's ports and registers.
    scope : str
        Path of the instance.

    Returns
    -------
    BlockActivity
        Toggles and energies.

    Raises
    ------
    ValueError
        If a flip-flop or an output differs from the waveform.
    """
    values = net_values(mapped, library, waveform, scope)
    cells = [(library.cell(cell["type"]), cell["connections"]) for cell in mapped.netlist["cells"].values()]
    loads_ff: dict[int, float] = defaultdict(float)
    fanouts: dict[int, int] = defaultdict(int)
    for cell, connections in cells:
        for pin, capacitance_ff in cell.input_ff.items():
            (bit,) = connections[pin]
            loads_ff[bit] += capacitance_ff
            fanouts[bit] += 1
    for port in mapped.netlist["ports"].values():
        for bit in port["bits"] if port["direction"] == "output" else ():
            loads_ff[bit] += OUTPUT_FF
            fanouts[bit] += 1
    ones = (1 << (waveform.cycles - 1)) - 1
    toggles = {bit: ((value ^ value >> 1) & ones).bit_count() for bit, value in values.items()}
    slew, square_v = SLEW_NS / library.time_unit_ns, library.voltage_v**2
    switching_fj = clock_fj = 0.0
    flip_flop_toggles = []
    for bit, count in toggles.items():
        switching_fj += count * 0.5 * (loads_ff[bit] + library.wire_ff(fanouts[bit])) * square_v
    for cell, connections in cells:
        for pin in (*cell.input_ff, *cell.functions):
            (bit,) = connections.get(pin, (None,))
            if pin == cell.clock:
                clock_fj += waveform.cycles * flip_flop_clock_fj(library, cell.name)
            elif bit in toggles:
                load_ff = loads_ff[bit] + library.wire_ff(fanouts[bit]) if pin in cell.functions else 0.0
                switching_fj += toggles[bit] * cell.transition_fj(pin, slew, load_ff)
                if cell.clock and pin in cell.functions:
                    flip_flop_toggles.append(toggles[bit])
    return BlockActivity(
        cycles=waveform.cycles,
        flip_flop_toggles=float(np.mean(flip_flop_toggles)) / waveform.cycles if flip_flop_toggles else 0.0,
        net_toggles=float(np.mean(list(toggles.values()))) / waveform.cycles,
        switching_pj=switching_fj / 1e3,
        clock_pj=clock_fj / 1e3,
    )


def net_values(mapped: MappedBlock, library: CellLibrary, waveform: Waveform, scope: str) -> dict[int, int]:
    """Return the value of each net but the clock: bit t of the integer is its value in cycle t.

    Raises ValueError as `block_activity` does.
    """
    netlist = mapped.netlist
    everything = (1 << waveform.cycles) - 1
    traced = _Traced(waveform, scope, netlist)
    clock = netlist["ports"].get("clock", {"bits": [None]})["bits"][0]
    values: dict[Any, int] = {"0": 0, "1": everything, "x": 0}
    for name, port in netlist["ports"].items():
        if port["direction"] == "input" and name != "clock":
            for place, bit in enumerate(port["bits"]):
                values[bit] = traced.value(name, place)
    gates: list[tuple[Any, dict[str, Any], Any]] = []
    flip_flops: list[tuple[Any, dict[str, Any], int]] = []
    for instance in netlist["cells"].values():
        cell, connections = library.cell(instance["type"]), instance["connections"]
        if cell.clock:
            ((bit,),) = (connections[pin] for pin in cell.functions if pin in connections)
            values[bit] = traced.value_of_net(bit)
            assert cell.next_state is not None
            flip_flops.append((expression(cell.next_state), connections, bit))
        else:
            gates += [
                (expression(function), connections, connections[pin][0])
                for pin, function in cell.functions.items()
                if pin in connections
            ]
    while gates:
        waiting = []
        for function, connections, bit in gates:
            try:
                values[bit] = _evaluate(function, connections, values, everything)
            except KeyError:
                waiting.append((function, connections, bit))
        if len(waiting) == len(gates):
            raise ValueError(f"block {mapped.block.name} has a loop of gates")
        gates = waiting
    after_first = everything >> 1
    for function, connections, bit in flip_flops:
        if (_evaluate(function, connections, values, everything) ^ values[bit] >> 1) & after_first:
            raise ValueError(f"a flip-flop of {mapped.block.name} differs from the waveform: {traced.names[bit][0]}")
    for name, port in netlist["ports"].items():
        for place, bit in enumerate(port["bits"] if port["direction"] == "output" else ()):
            if bit != clock and traced.has(name) and traced.value(name, place) != values[bit]:
                raise ValueError(f"an output of {mapped.block.name} differs from the waveform: {name}[{place}]")
    return {bit: value for bit, value in values.items() if isinstance(bit, int)}


class _Traced:
    """Values of a block's nets by their names in the netlist."""

    def __init__(self, waveform: Waveform, scope: str, netlist: dict[str, Any]) -> None:
        self.waveform = waveform
        self.scope = scope
        self.names: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for name, net in netlist["netnames"].items():
            for place, bit in enumerate(net["bits"]):
                self.names[bit].append((name, place))
        self._bits: dict[str, Bits] = {}

    def has(self, name: str) -> bool:
        """Return True if the waveform has a signal."""
        return f"{self.scope}.{name}" in self.waveform

    def value(self, name: str, place: int) -> int:
        """Return one bit of a signal over all cycles."""
        if name not in self._bits:
            self._bits[name] = self.waveform.bits(f"{self.scope}.{name}")
        return int.from_bytes(np.packbits(self._bits[name][place], bitorder="little").tobytes(), "little")

    def value_of_net(self, bit: int) -> int:
        """Return the value of the net of a register. Raises ValueError if none of its names was traced."""
        for name, place in self.names[bit]:
            if self.has(name):
                return self.value(name, place)
        raise ValueError(f"a flip-flop must have a name that is traced; found {self.names[bit]}")


def _evaluate(function: Any, connections: dict[str, Any], values: dict[Any, int], everything: int) -> int:
    """Return the value of a function; raises KeyError if a net of it has none yet."""
    if isinstance(function, str):
        if function in "01":
            return everything if function == "1" else 0
        return values[connections[function][0]]
    operator, *operands = function
    found = [_evaluate(operand, connections, values, everything) for operand in operands]
    if operator == "not":
        return found[0] ^ everything
    if operator == "and":
        return found[0] & found[1]
    return found[0] | found[1] if operator == "or" else found[0] ^ found[1]
