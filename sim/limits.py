"""Distance to the limit: the least cycles that a run can take, what sets them, and where the measured ones go.

Each resource of the array does one thing a cycle, so that a run has at least as many cycles as one of them has work.
Of a run of one input in one block (`sim.memory`),

    start       = 1 + pipeline_cycles                   the first row is loaded, and the last entry is written
    scan_limit  = start + broadcasts + bubble_cycles    the scan sends one column, or leaves a row, in each cycle
    pe_limit    = start + most_loaded_entries           a PE takes one entry, padding included, in each cycle
    array_limit = max(scan_limit, pe_limit)

Blocks, groups, vectors and layers run one after the other, so their limits add up. Besides, a layer that is loaded
takes at least as long as the DRAM takes for its bytes, and a layer of a network as long as the port takes for its
activations; each switch to a layer comes on top. Three figures that never exceed `pe_limit` show what it is made of:
useful multiply-accumulates over PEs, entries over PEs, and lines over PEs (a line that is read serves an entry).

A limit is of this layer as it is packed, with these inputs. Other rows for each PE, other gaps and other numbers of PEs
have other limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from sim.array_table import ArrayOrTable
from sim.config import ArrayConfig
from sim.cost.energy import event_energies
from sim.memory import bytes_per_cycle

#: What can set the limit, by name, in words.
BINDING = MappingProxyType({"pe": "most loaded PE", "scan": "broadcasts", "port": "port", "dram": "DRAM"})
#: Steps from useful work to the measured cycles, by name, in words.
STEPS = MappingProxyType(
    {
        "useful": "useful work",
        "padding": "padding",
        "imbalance": "imbalance",
        "scan": "scan",
        "start": "start",
        "queues": "queues",
        "waiting": "DRAM",
        "port": "port",
        "switches": "switches",
    }
)


def array_limits(broadcasts: Any, bubble_cycles: Any, most_loaded_entries: Any, pipeline_cycles: int) -> dict[str, Any]:
    """Return the limits of a run in one block, by the names of the fields of `sim.Counts`.

    Parameters
    ----------
    broadcasts, bubble_cycles, most_loaded_entries : int or int64 [inputs]
        Columns that are broadcast, cycles in which the scan leaves a row, and entries of the PE that goes through most.
    pipeline_cycles : int
        Depth of the pipeline.

    Returns
    -------
    dict of str to int or int64 [inputs]
        scan_limit_cycles, pe_limit_cycles and array_limit_cycles.
    """
    start = 1 + pipeline_cycles
    scan, pe = start + broadcasts + bubble_cycles, start + most_loaded_entries
    larger = max(scan, pe) if isinstance(scan, int) else scan + (pe > scan) * (pe - scan)
    return {"scan_limit_cycles": scan, "pe_limit_cycles": pe, "array_limit_cycles": larger}


@dataclass(frozen=True)
class Limit:
    """Least cycles of some runs, and where their measured cycles go; all runs together.

    Attributes
    ----------
    num_pes : int
        PEs of the array.
    cycles : int
        Measured cycles.
    limit_cycles : int
        Cycles that they take at least.
    binds : str
        What sets the limit: a key of `BINDING`. Of several runs, what sets the largest part of it.
    bounds : mapping of str to int
        Least cycles that each resource alone would take: those of `BINDING`, and useful multiply-accumulates, entries
        and lines over PEs as "useful", "entries" and "lines".
    pe_cycles : mapping of str to int
        Measured cycles of all PEs together by the keys of `STEPS`; they add up to `num_pes * cycles`.
    """

    num_pes: int
    cycles: int
    limit_cycles: int
    binds: str
    bounds: Mapping[str, int]
    pe_cycles: Mapping[str, int]

    @property
    def share(self) -> float:
        """Limit over measured cycles, at most 1; 1 without cycles."""
        return self.limit_cycles / self.cycles if self.cycles else 1.0

    @property
    def shares(self) -> dict[str, float]:
        """Share of each step in the measured cycles, by the keys of `STEPS`."""
        total = self.num_pes * self.cycles
        return {name: cycles / total if total else 0.0 for name, cycles in self.pe_cycles.items()}


def limit_of(counts: Any) -> Limit:
    """Return the limit of one layer, of all its inputs together.

    Parameters
    ----------
    counts : Counts, CountsPerInput or LayerCosts
        Its counts. Those of a layer of a network leave the DRAM out, which may load its weights while another layer
        runs; `NetworkResult.limit` has it.
    """
    config, of_network = counts.config, hasattr(counts, "network_cycles")
    switches, port, port_wait, dram_wait = (
        _sum(getattr(counts, name)) if of_network else 0
        for name in ("switch_cycles", "port_cycles", "port_wait_cycles", "dram_wait_cycles")
    )
    pes = config.num_pes
    names = (
        "cycles",
        "waiting_cycles",
        "broadcasts",
        "bubble_cycles",
        "useful_macs",
        "processed_entries",
        "line_reads",
    )
    cycles, waiting, broadcasts, bubbles, useful, entries, lines = (_sum(getattr(counts, name)) for name in names)
    limits = ("scan_limit_cycles", "pe_limit_cycles", "array_limit_cycles")
    scan, pe, array = (_sum(getattr(counts, name)) for name in limits)
    start = scan - broadcasts - bubbles
    loaded = 0 if of_network else dram_cycles([counts], config)
    bounds = {"pe": pe + switches, "scan": scan + switches, "port": port + switches if port else 0, "dram": loaded}
    limit = max(array + switches, bounds["port"], loaded)
    shown = {"useful": useful, "entries": entries, "lines": lines}
    bounds |= {name: start + switches - (-count // pes) for name, count in shown.items()}
    return Limit(
        num_pes=pes,
        cycles=cycles + switches + port_wait + dram_wait,
        limit_cycles=limit,
        binds=max(BINDING, key=lambda name: bounds[name]),
        bounds=bounds,
        pe_cycles={
            "useful": useful,
            "padding": entries - useful,
            "imbalance": pes * (pe - start) - entries,
            "scan": pes * (array - pe),
            "start": pes * start,
            "queues": pes * (cycles - waiting - array),
            "waiting": pes * (waiting + dram_wait),
            "port": pes * port_wait,
            "switches": pes * switches,
        },
    )


def limit_energy_pj(useful_macs: Any, array: ArrayOrTable) -> Any:
    """Return the energy of useful work alone, with the preset `eie`: each weight is read once, in full lines.

    Parameters
    ----------
    useful_macs : int, float or array
        Multiply-accumulates that are not padding.
    array : ArrayConfig or ArrayTable
        The array, or a table of arrays.

    Notes
    -----
    Each takes decoding, multiplication, addition, the accumulator and its share of a line. Padding, columns, clock,
    leakage and DRAM are left out, so that no run takes less.
    """
    event = event_energies(array)
    return useful_macs * (event.entry_pj + event.accumulator_pj + event.line_read_pj / array.entries_per_line)


def dram_cycles(layers: Sequence[Any], config: ArrayConfig) -> int:
    """Return the whole cycles in which the DRAM moves the bytes of layers, `Counts` or the like, for all inputs."""
    num_bytes = sum(_sum(counts.dram_read_bytes) + _sum(counts.dram_write_bytes) for counts in layers)
    return int(num_bytes / bytes_per_cycle(config))


def sum_of_limits(limits: Sequence[Limit], loaded_cycles: int = 0) -> Limit:
    """Return the limit of layers that run one after the other on one array.

    Parameters
    ----------
    limits : sequence of Limit
        Limits of the layers, at least one.
    loaded_cycles : int
        Cycles that the DRAM takes for the bytes of all of them, if it moves those of a layer while another one runs.
    """
    parts = {name: sum(limit.limit_cycles for limit in limits if limit.binds == name) for name in BINDING}
    bounds = {name: sum(limit.bounds[name] for limit in limits) for name in limits[0].bounds}
    bounds["dram"] += loaded_cycles
    of_layers = sum(parts.values())
    return Limit(
        num_pes=limits[0].num_pes,
        cycles=sum(limit.cycles for limit in limits),
        limit_cycles=max(of_layers, loaded_cycles),
        binds="dram" if loaded_cycles > of_layers else max(parts, key=lambda name: parts[name]),
        bounds=bounds,
        pe_cycles={name: sum(limit.pe_cycles[name] for limit in limits) for name in STEPS},
    )


def _sum(values: Any) -> int:
    """Return the sum over all inputs as a whole number of any size."""
    return int(np.sum(values))
