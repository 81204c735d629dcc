"""Parameters of the array in SystemVerilog, derived from an `ArrayConfig`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sim.config import ArrayConfig
from sim.cost.sram import POINTER_BANKS
from sim.memory import shortfalls
from sim.packing import PackedLayer
from traces import InputError

MOST_PES = 256
MOST_QUEUE_SLOTS = 1024
MOST_LINE_BITS = 4096


@dataclass(frozen=True)
class RtlParameters:
    """Parameters of `array.sv`, by their names in lower case; derived ones are properties."""

    num_pes: int
    queue_slots: int
    line_bits: int
    weight_bits: int
    index_bits: int
    activation_bits: int
    lines: int
    pointers_per_bank: int
    pointer_bits: int
    activations: int
    pipeline_cycles: int
    broadcast_cycles: int

    @classmethod
    def of(cls, config: ArrayConfig) -> RtlParameters:
        """Return the parameters of an array; each half of the activation SRAM is one register file.

        Raises InputError if the array is in floating point or too large to be built, or a memory holds nothing.
        """
        if config.precision == "float":
            raise InputError(
                "the array in SystemVerilog calculates in fixed point; found precision='float'; give it "
                "precision='fixed-16' (or 'fixed-32', 'fixed-8')"
            )
        for name, most in (("num_pes", MOST_PES), ("queue_slots", MOST_QUEUE_SLOTS), ("line_bits", MOST_LINE_BITS)):
            if getattr(config, name) > most:
                raise InputError(
                    f"the array in SystemVerilog is built with {name} of at most {most:,}; found "
                    f"{getattr(config, name):,}; simulate a larger one with another engine"
                )
        parameters = cls(
            num_pes=config.num_pes,
            queue_slots=config.queue_slots,
            line_bits=config.line_bits,
            weight_bits=config.weight_bits,
            index_bits=config.index_bits,
            activation_bits=config.activation_bits,
            lines=config.sparse_matrix_bytes * 8 // config.line_bits,
            pointers_per_bank=config.pointer_bytes // POINTER_BANKS * 8 // config.pointer_bits,
            pointer_bits=config.pointer_bits,
            activations=config.activation_bytes * 8 // config.activation_bits // 2,
            pipeline_cycles=config.pipeline_cycles,
            broadcast_cycles=config.broadcast_cycles,
        )
        for name, least in (("lines", 1), ("pointers_per_bank", 2), ("activations", 1)):
            if getattr(parameters, name) < least:
                raise InputError(
                    f"the array in SystemVerilog needs at least {least} {name.replace('_', ' ')} in a PE; found "
                    f"{getattr(parameters, name)}; enlarge sparse_matrix_bytes, pointer_bytes or activation_bytes"
                )
        return parameters

    @property
    def position_bits(self) -> int:
        """Bits of a position in the queue."""
        return (self.queue_slots - 1).bit_length()

    @property
    def column_bits(self) -> int:
        """Bits of a column's number, with a pointer for each."""
        return (2 * self.pointers_per_bank - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Bits of the number of an activation in a register file."""
        return max(1, (self.activations - 1).bit_length())

    @property
    def line_address_bits(self) -> int:
        """Bits of the address of a line."""
        return max(1, (self.lines - 1).bit_length())

    def definitions(self) -> dict[str, int]:
        """Return the parameters by their names in SystemVerilog."""
        return {field.name.upper(): getattr(self, field.name) for field in fields(self)}

    def check_holds(self, packed: PackedLayer, config: ArrayConfig) -> None:
        """Raise InputError if a layer does not fit the memories."""
        lacking = [str(shortfall) for shortfall in shortfalls(packed, config)]
        for values, count in (("inputs", packed.layer.columns), ("outputs", packed.layer.rows)):
            needed = -(-count // self.num_pes)
            if needed > self.activations:
                lacking.append(
                    f"a register file of a PE: {needed:,} {values} needed, {self.activations:,} available, which is "
                    f"half of the activation SRAM"
                )
        if lacking:
            raise InputError(
                f"layer {packed.layer.name!r} does not fit the array in SystemVerilog: {'; '.join(lacking)}; enlarge "
                f"what is too small, or use more PEs"
            )
