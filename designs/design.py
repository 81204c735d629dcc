"""Design points: the array, the row assignment and the compression of each layer, and the columns that state them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pyarrow as pa

from compress import LayerSettings
from designs.results import Column
from sim import ArrayConfig
from sim.cost.area import area_mm2
from sim.row_assignment import RowAssignment
from traces import InputError

ROW_ASSIGNMENTS: tuple[str, ...] = get_args(RowAssignment)
ARRAY_FIELDS = tuple(field.name for field in dataclasses.fields(ArrayConfig))
HARDWARE = (*ARRAY_FIELDS, "row_assignment")
"""Names of a design's hardware parameters: the fields of `ArrayConfig`, then row_assignment."""
HARDWARE_TYPES: dict[str, Any] = {**get_type_hints(ArrayConfig), "row_assignment": RowAssignment}
"""Type of each hardware parameter: int, float, bool or a Literal."""
_SPELT = {
    "pes": "PEs",
    "mhz": "MHz",
    "nj": "nJ",
    "dram": "DRAM",
    "sram": "SRAM",
    "srams": "SRAMs",
    "eie-codesign": "this project",
}


def words(name: str) -> str:
    """Return the name of a parameter or a figure in words."""
    return " ".join(_SPELT.get(word, word) for word in name.replace("gb_per_s", "GB/s").split("_"))


@dataclass(frozen=True)
class Design:
    """One point of a space.

    Attributes
    ----------
    array : ArrayConfig
        The hardware.
    row_assignment : {"interleaved", "entries", "activity", "search"}
        Assignment of the matrix rows to PEs (`sim.row_assignment`): interleaved as in the EIE paper, balanced by
        stored entries, balanced by recorded activity, or searched on recorded inputs with the paper's queue.
    compression : tuple of (str, LayerSettings)
        Compression of each layer by name. Empty if the network comes compressed.

    Raises
    ------
    InputError
        If there is no such row assignment.
    """

    array: ArrayConfig
    row_assignment: RowAssignment = "interleaved"
    compression: tuple[tuple[str, LayerSettings], ...] = ()

    def __post_init__(self) -> None:
        if self.row_assignment not in ROW_ASSIGNMENTS:
            known = ", ".join(map(repr, ROW_ASSIGNMENTS))
            raise InputError(f"row_assignment must be one of {known}; found {self.row_assignment!r}")

    @classmethod
    def from_hardware(
        cls, values: Mapping[str, Any], compression: tuple[tuple[str, LayerSettings], ...] = ()
    ) -> Design:
        """Return the design of these hardware parameters; `values` may hold more than HARDWARE names."""
        array = ArrayConfig(**{name: values[name] for name in ARRAY_FIELDS})
        return cls(array, values["row_assignment"], compression)

    @property
    def hardware(self) -> dict[str, Any]:
        """Values of the hardware parameters by name, in the order of HARDWARE."""
        return {name: getattr(self.array, name) for name in ARRAY_FIELDS} | {"row_assignment": self.row_assignment}

    @property
    def packing(self) -> Packing:
        """Parameters that the packed matrices depend on."""
        return Packing(self.array.num_pes, self.array.index_bits, self.row_assignment)


class Packing(NamedTuple):
    """Parameters that the packed matrices of a network depend on; designs of equal packing share the matrices."""

    num_pes: int
    index_bits: int
    row_assignment: RowAssignment


def _array_columns() -> list[Column]:
    """Return a column for each field of `ArrayConfig`, with unit and description from the field's metadata."""
    return [
        Column(
            field.name,
            _arrow_type(HARDWARE_TYPES[field.name]),
            field.metadata["unit"],
            field.metadata["description"],
        )
        for field in dataclasses.fields(ArrayConfig)
    ]


def _arrow_type(field_type: Any) -> pa.DataType:
    if get_origin(field_type) is Literal:
        return pa.string()
    return {int: pa.int32(), float: pa.float64(), bool: pa.bool_()}[field_type]


HARDWARE_COLUMNS = [
    *_array_columns(),
    Column("row_assignment", pa.string(), "", "assignment of the matrix rows to PEs"),
]
DESIGN_COLUMNS = [*HARDWARE_COLUMNS, Column("area_mm2", pa.float64(), "mm2", "area")]


def design_row(design: Design) -> dict[str, Any]:
    """Return the values of DESIGN_COLUMNS by name for one design."""
    return {**design.hardware, "area_mm2": area_mm2(design.array)}
