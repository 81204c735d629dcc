"""Parameters of one array, checked when they are set and fixed from then on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar, get_args

from traces import InputError
from traces.plain_values import number, one_of, shown, whole_number

MemoryMode = Literal["unlimited", "resident", "passes", "streamed"]
BlockAxis = Literal["columns", "rows"]
NODES_NM = (22, 32, 45, 65)
Precision = Literal["float", "fixed-32", "fixed-16", "fixed-8"]

Whole = TypeVar("Whole")  # a whole number, or a column of them

SHORTEST_PIPELINE_CYCLES = 5  # an entry is looked up, decoded, multiplied, added and written, in a cycle each


def _described(unit: str, description: str, details: str = "") -> dict[str, str]:
    """Return a field's metadata; the documentation and the command line show the details, too."""
    return {"unit": unit, "description": description, "details": details}


def activation_bits_of(precision: str) -> int:
    """Return the bits of an activation in this precision; the paper's 16 also for floating point."""
    return 16 if precision == "float" else int(precision.removeprefix("fixed-"))


class DerivedParameters(Generic[Whole]):
    """Parameters that follow from those of one array, or of each array of a table (`sim.array_table`)."""

    @property
    def entry_bits(self: Any) -> Whole:
        """Bits of one stored entry, a code and a gap."""
        found: Whole = self.weight_bits + self.index_bits
        return found

    @property
    def entries_per_line(self: Any) -> Whole:
        """Whole entries in a line of the sparse-matrix SRAM; the bits left over are unused."""
        found: Whole = self.line_bits // self.entry_bits
        return found

    @property
    def max_gap(self: Any) -> Whole:
        """Rows that a padding entry advances by, one more than the longest gap of an entry."""
        found: Whole = 1 << self.index_bits
        return found

    @property
    def queue_depth(self: Any) -> Whole:
        """Columns that fit into an activation queue."""
        found: Whole = self.queue_slots - 1
        return found


MOST_PES = 65_536


@dataclass(frozen=True)
class ArrayConfig(DerivedParameters[int]):
    """Parameters of one array of processing elements (PEs); the defaults are the design point of the EIE paper.

    The metadata of each field hold its unit and its description. Use `dataclasses.replace` to get a changed array.

    Raises
    ------
    InputError
        If a value is out of its range or a line cannot hold one entry.

    Notes
    -----
    Source: Han et al., "EIE", ISCA 2016, section VI and Figs 8, 9 and 11. The paper has no DRAM behind the array.
    """

    num_pes: int = field(default=64, metadata=_described("PEs", "processing elements"))
    queue_slots: int = field(
        default=8,
        metadata=_described(
            "slots", "slots of the activation queue, which holds one column less", "this is the paper's FIFO depth"
        ),
    )
    line_bits: int = field(default=64, metadata=_described("bit", "width of a line of the sparse-matrix SRAM"))
    weight_bits: int = field(default=4, metadata=_described("bit", "code, the index of a shared weight"))
    index_bits: int = field(default=4, metadata=_described("bit", "gap, the PE's rows skipped before an entry"))
    clock_mhz: float = field(default=800.0, metadata=_described("MHz", "clock frequency"))
    pipeline_cycles: int = field(
        default=SHORTEST_PIPELINE_CYCLES,
        metadata=_described(
            "cycles",
            "depth of the pipeline, from an entry's address to the write of its sum",
            "an SRAM or a multiplier that takes longer than a cycle has more stages",
        ),
    )
    broadcast_cycles: int = field(
        default=1,
        metadata=_described(
            "cycles",
            "length of a broadcast, from the scan to the queues",
            "with more than one, the wires are pipelined and the scan counts credits for slots of the queues",
        ),
    )
    node_nm: int = field(
        default=45, metadata=_described("nm", "technology node of the whole array", "22, 32, 45 or 65")
    )
    sparse_matrix_bytes: int = field(default=128 * 1024, metadata=_described("bytes", "sparse-matrix SRAM of one PE"))
    pointer_bytes: int = field(
        default=32 * 1024, metadata=_described("bytes", "pointer SRAM of one PE, both banks together")
    )
    activation_bytes: int = field(
        default=2 * 1024,
        metadata=_described(
            "bytes",
            "activation SRAM of one PE",
            "it holds the PE's share of a layer's inputs and outputs, or a network's feature maps",
        ),
    )
    port_bits: int = field(
        default=64,
        metadata=_described("bit", "port through which activations of a network enter and leave the PEs"),
    )
    pointer_bits: int = field(
        default=16, metadata=_described("bit", "width of a pointer", "a pointer counts the entries of one PE")
    )
    dram_gb_per_s: float = field(
        default=12.8,
        metadata=_described(
            "GB/s", "bandwidth of the DRAM behind the array", "12.8 GB/s is one 64-bit channel of LPDDR3-1600"
        ),
    )
    memory_mode: MemoryMode = field(
        default="unlimited",
        metadata=_described(
            "",
            "what becomes of a layer or a network that does not fit",
            "unlimited simulates it as if it fitted, and says so; resident refuses it; passes runs a layer in blocks, "
            "one after the other, and loads the layers of a network that do not stay; streamed loads a block, or "
            "a layer of a network, while another one runs; it loads a single layer even if it fits",
        ),
    )
    block_axis: BlockAxis = field(
        default="columns", metadata=_described("", "whether such a layer is cut into blocks of columns or of rows")
    )
    precision: Precision = field(
        default="float",
        metadata=_described("", "arithmetic: floating point, or fixed point of so many bits", "see sim.fixed_point"),
    )

    def __post_init__(self) -> None:
        self._check_int("num_pes", 1, MOST_PES, "an array has at least one PE")
        self._check_int(
            "queue_slots",
            2,
            1_048_576,
            "one slot of the ring stays free to tell full from empty, so one slot holds nothing",
        )
        self._check_int("weight_bits", 1, 16, "a code must tell a pruned weight from a kept one")
        self._check_int("index_bits", 1, 8, "a gap must be able to skip a row, and is stored in at most a byte")
        self._check_int("line_bits", 1, 65_536, "a line holds at least one entry")
        if self.line_bits < self.entry_bits:
            raise InputError(
                f"line_bits={self.line_bits} must be at least weight_bits + index_bits = {self.entry_bits}, "
                f"so that a line holds a whole entry; widen the line or narrow the entry"
            )
        self._check_int("node_nm", 22, 65, "a technology node of the cost model")
        if self.node_nm not in NODES_NM:
            raise InputError(f"node_nm must be one of {', '.join(map(str, NODES_NM))}; found {self.node_nm}")
        self._check_number("clock_mhz", 1e-3, 1e6, "a frequency from 0.001 to 1,000,000 MHz")
        self._check_int(
            "pipeline_cycles",
            SHORTEST_PIPELINE_CYCLES,
            64,
            "an entry is looked up, decoded, multiplied, added and written in a cycle each",
        )
        self._check_int("broadcast_cycles", 1, 64, "a broadcast takes at least one cycle")
        self._check_number("dram_gb_per_s", 1e-3, 1e6, "a bandwidth from 0.001 to 1,000,000 GB/s")
        self._check_int("pointer_bits", 1, 32, "a pointer counts the entries of a PE")
        self._check_int("port_bits", 8, 65_536, "a port moves at least one of the narrowest activations in a cycle")
        for name in ("sparse_matrix_bytes", "pointer_bytes", "activation_bytes"):
            self._check_int(name, 1, 2**30, "an SRAM holds at least a byte and at most a GiB")
        for name, choices in (("memory_mode", MemoryMode), ("block_axis", BlockAxis), ("precision", Precision)):
            one_of(name, getattr(self, name), get_args(choices))

    def _check_number(self, name: str, lowest: float, highest: float, requirement: str) -> None:
        value = getattr(self, name)
        found = number(name, value)
        if not lowest <= found <= highest:
            raise InputError(f"{name} must be {requirement}; found {shown(value)}")
        object.__setattr__(self, name, found)

    def _check_int(self, name: str, lowest: int, highest: int, reason: str) -> None:
        value = getattr(self, name)
        found = whole_number(name, value)
        if not lowest <= found <= highest:
            raise InputError(f"{name} must be {lowest:,} to {highest:,}: {reason}; found {shown(value)}")
        object.__setattr__(self, name, found)

    @property
    def activation_bits(self) -> int:
        """Bits of an activation, a shared weight and an accumulator; the paper's 16 also for floating point."""
        return activation_bits_of(self.precision)


def _documented(config: type[ArrayConfig]) -> str:
    """Return the docstring of a class with an Attributes section from the metadata of its fields."""
    lines = [inspect.cleandoc(config.__doc__ or ""), "", "Attributes", "----------"]
    for each in fields(config):
        unit = f" [{each.metadata['unit']}]" if each.metadata["unit"] else ""
        details = f"; {each.metadata['details']}" if each.metadata["details"] else ""
        lines += [f"{each.name} : {each.type}", f"    {each.metadata['description']}{unit}{details}"]
    return "\n".join(lines)


ArrayConfig.__doc__ = _documented(ArrayConfig)  # editors, the reference and the command line show it
