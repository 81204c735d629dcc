"""One design: an array, which PE owns which row, and how each layer is compressed; and the columns that state it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import pyarrow as pa

from designs.results import Column
from sim import ArrayConfig
from sim.cost.area import area_mm2
from traces import InputError

RowAssignment = Literal["interleaved", "entries", "activity", "search"]
ROW_ASSIGNMENTS: tuple[str, ...] = get_args(RowAssignment)


@dataclass(frozen=True)
class LayerCompression:
    """How one layer is compressed: share of weights kept, bits of a code and of a gap in the file."""

    density: float = 0.1
    weight_bits: int = 4
    index_bits: int | None = None  # what takes the fewest bytes

    def __post_init__(self) -> None:
        if isinstance(self.density, bool) or not isinstance(self.density, int | float) or not 0 < self.density <= 1:
            raise InputError(f"density must be a share of weights to keep, above 0 and up to 1; found {self.density!r}")
        for name, least in (("weight_bits", 1), ("index_bits", 1)):
            value = getattr(self, name)
            if value is None and name == "index_bits":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 8:
                raise InputError(f"{name} of a compressed layer must be a whole number of 1 to 8; found {value!r}")


@dataclass(frozen=True)
class Design:
    """One point of a space.

    array           the hardware
    row_assignment  which PE owns which row: interleaved (the paper's), balanced by stored entries, by recorded
                    activity, or found by search on recorded inputs with the paper's queue (`sim.row_assignment`)
    compression     of each layer by name; empty where the network is given as it is compressed
    """

    array: ArrayConfig
    row_assignment: RowAssignment = "interleaved"
    compression: tuple[tuple[str, LayerCompression], ...] = ()

    def __post_init__(self) -> None:
        if self.row_assignment not in ROW_ASSIGNMENTS:
            known = ", ".join(map(repr, ROW_ASSIGNMENTS))
            raise InputError(f"row_assignment must be one of {known}; found {self.row_assignment!r}")

    @property
    def packing(self) -> Packing:
        """What the packed matrices depend on."""
        return Packing(self.array.num_pes, self.array.index_bits, self.row_assignment)


class Packing(NamedTuple):
    """What the packed matrices of a network depend on: designs that agree in it share them."""

    num_pes: int
    index_bits: int
    row_assignment: RowAssignment


DESIGN_COLUMNS = [
    Column("num_pes", pa.int32(), "PEs", "processing elements"),
    Column("queue_slots", pa.int32(), "slots", "slots of the activation queue, which holds one column less"),
    Column("line_bits", pa.int32(), "bit", "width of a line of the sparse-matrix SRAM"),
    Column("weight_bits", pa.int32(), "bit", "code, the index of a shared weight"),
    Column("index_bits", pa.int32(), "bit", "gap, the PE's rows skipped before an entry"),
    Column("clock_mhz", pa.float64(), "MHz", "clock frequency"),
    Column("sparse_matrix_bytes", pa.int32(), "bytes", "sparse-matrix SRAM of one PE"),
    Column("pointer_bytes", pa.int32(), "bytes", "pointer SRAM of one PE, both banks together"),
    Column("activation_bytes", pa.int32(), "bytes", "activation SRAM of one PE"),
    Column("pointer_bits", pa.int32(), "bit", "width of a pointer"),
    Column("dram_gb_per_s", pa.float64(), "GB/s", "bandwidth of the DRAM behind the array"),
    Column("memory_mode", pa.string(), "", "what becomes of a layer that does not fit"),
    Column("block_axis", pa.string(), "", "whether such a layer is cut into blocks of columns or of rows"),
    Column("precision", pa.string(), "", "arithmetic: floating point, or fixed point of so many bits"),
    Column("row_assignment", pa.string(), "", "which PE owns which row"),
    Column("area_mm2", pa.float64(), "mm2", "area at 45 nm"),
]
ARRAY_FIELDS = tuple(field.name for field in dataclasses.fields(ArrayConfig))


def design_columns(designs: Iterable[Design]) -> dict[str, list[Any]]:
    """The columns that say which designs rows are about."""
    listed = list(designs)
    columns: dict[str, list[Any]] = {name: [getattr(each.array, name) for each in listed] for name in ARRAY_FIELDS}
    columns["row_assignment"] = [each.row_assignment for each in listed]
    columns["area_mm2"] = [area_mm2(each.array) for each in listed]
    return columns


def design_row(design: Design) -> dict[str, Any]:
    """The same for one row."""
    return {name: values[0] for name, values in design_columns([design]).items()}
