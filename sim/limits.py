"""Distance to the limit: the least cycles that a run can take, what sets them, and where the measured ones go.

Each resource of the array does one thing per cycle, so that a run has at least as many cycles as any of them has work.
For a run of one input in one block (`sim.memory`),

    start       = 1 + pipeline_cycles                   the first row is loaded, and the last entry is written
    scan_limit  = start + broadcasts + bubble_cycles    the scan sends one column, or leaves a row, in each cycle
    pe_limit    = start + most_loaded_entries           a PE takes one entry, padding included, in each cycle
    array_limit = max(scan_limit, pe_limit)

Blocks, groups, vectors, layers and inputs run one after the other, so their limits add up. Besides, a layer that is
loaded takes at least as long as the DRAM takes for its bytes, and a layer of a network as long as the port takes for
its activations; each switch to a layer comes on top. Three figures that never exceed `pe_limit` show what it is made
of: useful multiply-accumulates over PEs, entries over PEs, and lines over PEs (a line that is read serves an entry).

A limit is of this layer as it is packed, with these inputs. Other rows for each PE, other gaps and other numbers of PEs
have other limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sim.array_table import ArrayOrTable

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
    larger = max(scan, pe) if isinstance(scan, int) else np.maximum(scan, pe)
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


class LayerLimits(NamedTuple):
    """Limits of a layer; its values are numbers, or arrays of one shape.

    Attributes
    ----------
    cycles
        Least cycles.
    bounds : dict of str to number or array
        Least cycles that each resource of `BINDING` alone would take.
    binds
        What sets the limit: the place in `BINDING`.
    """

    cycles: Any
    bounds: dict[str, Any]
    binds: Any


def layer_limits(scan: Any, pe: Any, array: Any, switches: Any, port: Any, loaded: Any) -> LayerLimits:
    """Return the limits of a layer from what each resource has to do.

    Parameters
    ----------
    scan, pe, array : int or array
        scan_limit_cycles, pe_limit_cycles and array_limit_cycles of `sim.Counts`.
    switches, port : int or array
        Cycles of switches to the layer, and those of the port; 0 without a network.
    loaded : int or array
        Cycles that the DRAM takes for the bytes of the layer, if it does not load them while another layer runs.

    Returns
    -------
    LayerLimits
        The limits; their values have the shape of the arguments.
    """
    bounds = {
        "pe": pe + switches,
        "scan": scan + switches,
        "port": np.where(np.asarray(port) > 0, port + switches, 0),
        "dram": loaded + 0 * switches,
    }
    cycles = np.maximum(array + switches, np.maximum(bounds["port"], bounds["dram"]))
    return LayerLimits(cycles, bounds, np.argmax(np.stack([bounds[name] for name in BINDING]), axis=0))


def _limits_of(counts: Any) -> LayerLimits:
    """Return the limits of each input of a layer, int64 [inputs]."""
    of_network = hasattr(counts, "network_cycles")
    names = ("scan_limit_cycles", "pe_limit_cycles", "array_limit_cycles")
    scan, pe, array = (np.atleast_1d(getattr(counts, name)) for name in names)
    none = np.zeros_like(scan)
    switches, port = (counts.switch_cycles, counts.port_cycles) if of_network else (none, none)
    return layer_limits(scan, pe, array, switches, port, none if of_network else _loaded_cycles([counts]))


def limit_of(counts: Any) -> Limit:
    """Return the limit of one layer; inputs run one after the other, so that their limits add up.

    Parameters
    ----------
    counts : Counts, CountsPerInput or LayerCosts
        Its counts. Those of a layer of a network leave the DRAM out, which may load its weights while another layer
        runs; `limit_of_network` has it.

    Returns
    -------
    Limit
        The limit of all inputs together.
    """
    return _limit_of(counts, _limits_of(counts))


def _limit_of(counts: Any, found: LayerLimits) -> Limit:
    """Return the limit of one layer from the limits of each input."""
    of_network = hasattr(counts, "network_cycles")
    switches, port_wait, dram_wait = (
        _sum(getattr(counts, name)) if of_network else 0
        for name in ("switch_cycles", "port_wait_cycles", "dram_wait_cycles")
    )
    names = "cycles waiting_cycles broadcasts bubble_cycles useful_macs processed_entries line_reads scan_limit_cycles"
    names += " pe_limit_cycles array_limit_cycles"
    cycles, waiting, broadcasts, bubbles, useful, entries, lines, scan, pe, array = (
        _sum(getattr(counts, name)) for name in names.split()
    )
    pes, start = counts.config.num_pes, scan - broadcasts - bubbles
    bounds = {name: _sum(values) for name, values in found.bounds.items()}
    shown = {"useful": useful, "entries": entries, "lines": lines}
    bounds |= {name: start + switches - (-count // pes) for name, count in shown.items()}
    return Limit(
        num_pes=pes,
        cycles=cycles + switches + port_wait + dram_wait,
        limit_cycles=_sum(found.cycles),
        binds=_binding([found]),
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


def limit_of_network(layers: Sequence[Any]) -> Limit:
    """Return the limit of layers of a network, at least one, of which the DRAM loads one while another one runs.

    Parameters
    ----------
    layers : sequence of LayerCosts
        Counts of the layers.

    Returns
    -------
    Limit
        The limit of the network, all inputs together.
    """
    of_layers = [_limits_of(layer) for layer in layers]
    computed = np.sum([each.cycles for each in of_layers], axis=0)
    loaded = _loaded_cycles(layers)
    together = sum_of_limits([_limit_of(*each) for each in zip(layers, of_layers, strict=True)])
    slow = loaded > computed
    dram = LayerLimits(np.where(slow, loaded, 0), {}, np.full(loaded.shape, list(BINDING).index("dram")))
    others = [each._replace(cycles=np.where(slow, 0, each.cycles)) for each in of_layers]
    return replace(
        together,
        limit_cycles=_sum(np.maximum(computed, loaded)),
        binds=_binding([*others, dram]),
        bounds={**together.bounds, "dram": _sum(loaded)},
    )


def sum_of_limits(limits: Sequence[Limit]) -> Limit:
    """Return the limit of runs one after the other on one array, at least one."""
    parts = {name: sum(limit.limit_cycles for limit in limits if limit.binds == name) for name in BINDING}
    return Limit(
        num_pes=limits[0].num_pes,
        cycles=sum(limit.cycles for limit in limits),
        limit_cycles=sum(limit.limit_cycles for limit in limits),
        binds=max(parts, key=lambda name: parts[name]),
        bounds={name: sum(limit.bounds[name] for limit in limits) for name in limits[0].bounds},
        pe_cycles={name: sum(limit.pe_cycles[name] for limit in limits) for name in STEPS},
    )


def dram_cycles(num_bytes: Any, array: ArrayOrTable) -> Any:
    """Return the whole cycles in which the DRAM moves bytes, an array or a number; rounded down, as a limit must be.

    Transfers take whole cycles each, rounded up (`sim.memory`), so that rounding errors here never exceed them.
    """
    return np.floor(num_bytes / (array.dram_gb_per_s * 1e3 / array.clock_mhz))


def _loaded_cycles(layers: Sequence[Any]) -> Any:
    """Return the cycles in which the DRAM moves the bytes of layers together, float64 [inputs]."""
    num_bytes = sum(np.atleast_1d(layer.dram_read_bytes + layer.dram_write_bytes) for layer in layers)
    return dram_cycles(num_bytes, layers[0].config)


def _binding(limits: Sequence[LayerLimits]) -> str:
    """Return what sets the largest part of all limits together, a key of `BINDING`."""
    parts = [sum(_sum(each.cycles[each.binds == place]) for each in limits) for place in range(len(BINDING))]
    return list(BINDING)[int(np.argmax(parts))]


def _sum(values: Any) -> int:
    """Return the sum over all inputs as a whole number of any size."""
    return int(np.sum(values))
