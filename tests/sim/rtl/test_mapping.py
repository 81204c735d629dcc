"""Mapping to cells: Liberty files are read right, gates compute what the SystemVerilog does, energies add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim import ArrayConfig, simulate
from sim.array import prepare
from sim.rtl import activity, mapping, scaling
from sim.rtl.bench import Job
from sim.rtl.cases import ARRAYS
from sim.rtl.liberty import CellLibrary, expression, parse_group
from sim.rtl.mapping import SKY130, Block, Technology, blocks_of, line_address, map_block, multiply_add, register_file
from sim.rtl.model import missing_program
from sim.rtl.waveform import Waveform, record
from tests.conftest import real_file
from traces import InputError
from traces.synthetic import draw_layer

needs_yosys = pytest.mark.skipif(
    missing_program("yosys") is not None, reason="needs yosys, which is missing: make rtl installs it"
)
needs_opensta = pytest.mark.skipif(
    missing_program("yosys", "sta") is not None, reason="needs yosys and OpenSTA: make rtl installs them"
)
needs_verilator = pytest.mark.skipif(
    missing_program("yosys", "verilator", "make", "g++") is not None,
    reason="needs yosys, verilator, make and g++: make rtl installs them",
)

# Capacitances in 1 fF, so that energies are in fJ at 2 V; delays in ns.
TABLE = 'index_1 ("0.1, 0.3"); index_2 ("1, 3"); values ("1, 3", "2, 4");'
AXES = 'index_1 ("0.01, 0.1, 1"); index_2 ("1, 10, 100");'
DELAYS = " ".join(
    f'{name} (t) {{ {AXES} values ("0.02, 0.1, 0.9", "0.03, 0.11, 0.92", "0.1, 0.2, 1.1"); }}'
    for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
)


def timing(pin: str, kind: str, sense: str = "negative_unate") -> str:
    return f'timing () {{ related_pin : "{pin}"; timing_type : {kind}; timing_sense : {sense}; {DELAYS} }}'


SMALL = f"""
/* a library {{ of four cells */
library (small) {{
  technology (cmos);
  delay_model : table_lookup;
  time_unit : "1ns";
  voltage_unit : "1V";
  current_unit : "1mA";
  pulling_resistance_unit : "1kohm";
  leakage_power_unit : "1pW";
  capacitive_load_unit (1, ff);
  nom_voltage : 2.0;
  nom_temperature : 25;
  nom_process : 1;
  default_wire_load : "short";
  wire_load ("short") {{
    capacitance : 0.5; resistance : 0; slope : 4;
    fanout_length (1, 2); fanout_length (2, 6);
  }}
  lu_table_template (t) {{
    variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    {AXES}
  }}
  power_lut_template (e) {{
    variable_1 : input_transition_time; variable_2 : total_output_net_capacitance;
    index_1 ("0.1, 0.3"); index_2 ("1, 3");
  }}
  cell (INV) {{
    area : 1.0;
    cell_leakage_power : 500;
    pin (A) {{ direction : input; capacitance : 1.0; }}
    pin (Y) {{ direction : output; function : "!A"; max_capacitance : 100; {timing("A", "combinational")}
      internal_power () {{ related_pin : "A"; rise_power (e) {{ {TABLE} }} fall_power (e) {{ {TABLE} }} }} }}
  }}
  cell (BUF) {{
    area : 1.5;
    pin (A) {{ direction : input; capacitance : 1.0; }}
    pin (Y) {{ direction : output; function : "A"; max_capacitance : 100;
      {timing("A", "combinational", "positive_unate")} }}
  }}
  cell ("NAND2") {{
    area : 2.0;
    leakage_power () {{ when : "A"; value : 10; }}
    leakage_power () {{ value : 30; }}
    pin (A) {{ direction : input; capacitance : 1.5; }}
    pin (B) {{ direction : input; capacitance : 1.5; }}
    pin (Y) {{ direction : output; function : "!(A*B)"; max_capacitance : 100;
      {timing("A", "combinational")} {timing("B", "combinational")} }}
  }}
  cell (DFF) {{
    area : 8.5;
    ff (IQ, IQN) {{ clocked_on : "C"; next_state : "D"; }}
    pin (C) {{ direction : input; clock : true; capacitance : 2.0;
      internal_power () {{ rise_power (e) {{ values ("3"); }} fall_power (e) {{ values ("5"); }} }} }}
    pin (D) {{ direction : input; capacitance : 1.0;
      timing () {{ related_pin : "C"; timing_type : setup_rising;
        rise_constraint (scalar) {{ values ("0.05"); }} fall_constraint (scalar) {{ values ("0.05"); }} }} }}
    pin (Q) {{ direction : output; function : "IQ"; max_capacitance : 100; {timing("C", "rising_edge", "non_unate")} }}
  }}
}}
"""
NAMES = Technology("small", "small.lib", 45.0, nand2="NAND2", inverter="INV", flip_flop="DFF", driver="INV")


@pytest.fixture
def small(tmp_path: Path) -> CellLibrary:
    (tmp_path / "small.lib").write_text(SMALL)
    return CellLibrary(tmp_path / "small.lib")


def test_a_library_is_read_with_its_units(small: CellLibrary) -> None:
    assert list(small.cell_texts) == ["INV", "BUF", "NAND2", "DFF"]
    assert (small.voltage_v, small.time_unit_ns, small.capacitance_ff) == (2.0, 1.0, 1.0)
    assert [small.cell(name).area_um2 for name in small.cell_texts] == [1.0, 1.5, 2.0, 8.5]
    assert [small.cell(name).leakage_nw for name in small.cell_texts] == pytest.approx([0.5, 0.0, 0.03, 0.0])
    assert small.cell("NAND2").input_ff == {"A": 1.5, "B": 1.5}
    assert (small.cell("DFF").clock, small.cell("DFF").next_state, small.cell("INV").clock) == ("C", "D", None)


def test_energies_are_interpolated_over_slew_and_load(small: CellLibrary) -> None:
    inverter = small.cell("INV")
    assert inverter.transition_fj("Y", 0.1, 2.0) == pytest.approx(2.0)
    assert inverter.transition_fj("Y", 0.2, 2.0) == pytest.approx(2.5)
    assert inverter.transition_fj("Y", 9.0, 9.0) == pytest.approx(4.0)  # the end of the table
    assert inverter.transition_fj("A", 0.1) == 0.0


def test_an_idle_flip_flop_costs_both_edges_of_its_clock_pin(small: CellLibrary) -> None:
    assert activity.flip_flop_clock_fj(small, "DFF") == pytest.approx(3 + 5 + 2.0 * 2.0**2)


def test_wires_grow_with_the_fanout(small: CellLibrary) -> None:
    assert [small.wire_ff(fanout) for fanout in (0, 1, 2, 4)] == [0.0, 1.0, 3.0, 7.0]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("!A", ("not", "A")),
        ("(A B)'", ("not", ("and", "A", "B"))),
        ("A&!B | C*D", ("or", ("and", "A", ("not", "B")), ("and", "C", "D"))),
        ("A+B^C", ("or", "A", ("xor", "B", "C"))),
    ],
)
def test_functions_are_parsed_in_libertys_order(function: str, expected: Any) -> None:
    assert expression(function) == expected


def test_damaged_files_and_unknown_cells_are_refused(small: CellLibrary, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a group of a Liberty file must end with a closing brace"):
        parse_group("library (x) { area : 1;")
    with pytest.raises(InputError, match=r"cell must be one of the library's 4 cells; found 'OR2'"):
        small.cell("OR2")
    (tmp_path / "empty.lib").write_text("library (x) { }")
    with pytest.raises(InputError, match="has none; give a Liberty file"):
        CellLibrary(tmp_path / "empty.lib")
    (tmp_path / "cut.lib").write_text(SMALL[: SMALL.index("cell_leakage_power")])
    with pytest.raises(InputError, match="a cell of a Liberty file must end with a closing brace"):
        CellLibrary(tmp_path / "cut.lib")


def test_scaling_is_one_at_the_target() -> None:
    assert scaling.energy_factor(45.0, 0.9) == 1.0
    assert scaling.energy_factor(90.0, 1.8) == pytest.approx(1 / 8)
    assert scaling.area_um2(10) == pytest.approx(7.98)
    assert scaling.path_ns(30.0, 3.0) == pytest.approx(0.162)


def evaluated(mapped: mapping.MappedBlock, library: CellLibrary, inputs: dict[str, list[int]]) -> dict[str, list[int]]:
    """Evaluate a block without flip-flops for all inputs, one after the other; return its outputs."""
    cycles = len(next(iter(inputs.values())))
    codes = {name: f"c{place}" for place, name in enumerate(inputs)}
    widths = {name: len(mapped.netlist["ports"][name]["bits"]) for name in inputs}
    head = "".join(f"$var wire {widths[name]} {code} {name} $end\n" for name, code in codes.items())
    steps = "".join(
        f"#{cycle}\n" + "".join(f"b{inputs[name][cycle]:b} {codes[name]}\n" for name in inputs)
        for cycle in range(cycles)
    )
    waveform = Waveform(f"$scope module top $end\n{head}$upscope $end\n$enddefinitions $end\n{steps}")
    values = activity.net_values(mapped, library, waveform, "top")
    outputs = {name: port["bits"] for name, port in mapped.netlist["ports"].items() if port["direction"] == "output"}
    return {
        name: [
            sum(
                (int(bit) if isinstance(bit, str) else values[bit] >> cycle & 1) << place
                for place, bit in enumerate(bits)
            )
            for cycle in range(cycles)
        ]
        for name, bits in outputs.items()
    }


@needs_yosys
@pytest.mark.parametrize("entries", [5, 7])
def test_the_gates_of_a_division_divide(small: CellLibrary, entries: int) -> None:
    mapped = map_block(line_address(entries, bits=8), small, NAMES, target_ns=2.0)
    outputs = evaluated(mapped, small, {"entry": list(range(256))})
    assert outputs["line"] == [entry // entries for entry in range(256)]
    assert outputs["place"] == [entry % entries for entry in range(256)]


@needs_yosys
def test_the_gates_of_a_multiplication_multiply_and_add(small: CellLibrary) -> None:
    mapped = map_block(multiply_add(4), small, NAMES, target_ns=2.0)
    pairs = [(a, b) for a in range(-8, 8) for b in range(-8, 8)]
    found = evaluated(
        mapped,
        small,
        {
            "weight": [a & 15 for a, _ in pairs],
            "activation": [b & 15 for _, b in pairs],
            "accumulator": [7] * len(pairs),
        },
    )
    assert found["sum"] == [(a * b + 7) & 255 for a, b in pairs]


@needs_yosys
def test_a_mapped_block_has_the_cells_of_its_registers(small: CellLibrary) -> None:
    file = map_block(register_file(4, 8), small, NAMES, target_ns=2.0)
    assert file.flip_flops == 4 * 8 + 8
    assert file.flip_flop_um2 == pytest.approx(file.flip_flops * 8.5)
    assert file.area_um2 == pytest.approx(
        file.flip_flop_um2 + sum(small.cell(kind).area_um2 for kind in kinds(file) if kind != "DFF")
    )
    assert file.nand2_equivalents == pytest.approx(file.area_um2 / 2.0)


def kinds(mapped: mapping.MappedBlock) -> list[str]:
    return [cell["type"] for cell in mapped.netlist["cells"].values()]


@needs_yosys
def test_a_queue_grows_by_its_slots_and_leaves_srams_out(small: CellLibrary) -> None:
    config = ArrayConfig(precision="fixed-16")
    bits = 14 + 16  # of a slot
    few, many = (
        map_block(block_of("activation_queue", replace(config, queue_slots=slots)), small, NAMES, 2.0)
        for slots in (4, 8)
    )
    assert (few.flip_flops, many.flip_flops) == (4 * bits + 4, 8 * bits + 6)
    read = map_block(block_of("pointer_read", config), small, NAMES, 2.0)
    assert read.flip_flops == 16 + 16 + 3
    assert len(read.netlist["ports"]["even_bank.word"]["bits"]) == 16


def block_of(name: str, config: ArrayConfig) -> Block:
    return next(block for block in blocks_of(config) if block.name == name)


@needs_opensta
def test_the_longest_path_has_its_gates_and_flip_flops(small: CellLibrary) -> None:
    mapped = map_block(register_file(2, 1), small, NAMES, target_ns=2.0)
    # a flip-flop and gates take at least 0.02 ns each, its setup 0.05 ns
    assert 0.1 < mapping.critical_path_ns(mapped, small) < 3
    # four inputs of 1 fF and their wire of 7 fF: a little more than the 10 fF of the tables' middle
    assert 0.1 < mapping.fanout_of_4_ns(small, NAMES) < 0.13


def test_opensta_that_is_missing_is_named(small: CellLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not mapping.can_time()
    with pytest.raises(InputError, match="sta was not found"):
        mapping.fanout_of_4_ns(small, NAMES)


@pytest.fixture(scope="module")
def run() -> tuple[Waveform, ArrayConfig, Any]:
    """Return a waveform of the array of one PE, the array, and the counts of the layer."""
    config = ARRAYS["one PE"]
    layer, activations = draw_layer("drawn", 20, 30, 0.4, 0.6, seed=3)
    waveform = record(Job(*prepare(layer, activations, config)), config, ["TOP.array"])
    return waveform, config, simulate(layer, activations, config)


@needs_verilator
@pytest.mark.parametrize("name", ["activation_queue", "pointer_read", "sparse_matrix_read", "arithmetic", "codebook"])
def test_gates_follow_the_waveform_of_the_systemverilog(run: Any, small: CellLibrary, name: str) -> None:
    waveform, config, counts = run
    assert waveform.cycles >= counts.cycles - 1
    path = {"codebook": "arithmetic.codebook"}.get(name, name)
    scope = f"TOP.array.pes[0].processing_element.{path}"
    mapped = map_block(block_of(name, config), small, NAMES, 2.0)
    found = activity.block_activity(mapped, small, waveform, scope)
    assert found.clock_pj == pytest.approx(mapped.flip_flops * waveform.cycles * 16e-3)
    assert 0 < found.net_toggles < 1
    assert found.switching_pj > 0


@needs_verilator
def test_a_gate_of_another_kind_is_noticed(run: Any, small: CellLibrary) -> None:
    waveform, config, _ = run
    mapped = map_block(block_of("pointer_read", config), small, NAMES, 2.0)
    wrong = next(cell for cell in mapped.netlist["cells"].values() if cell["type"] == "NAND2")
    wrong["connections"]["A"] = ["0"]
    with pytest.raises(ValueError, match="of pointer_read differs from the waveform"):
        activity.block_activity(mapped, small, waveform, "TOP.array.pes[0].processing_element.pointer_read")


@needs_opensta
def test_the_lnzd_unit_in_sky130_is_about_the_papers(data: Path) -> None:
    """Table II: 189 um2; a wrong area or factor would be off by more than the libraries differ."""
    library = CellLibrary(real_file(data, "liberty", SKY130.file))
    mapped = map_block(block_of("lnzd_unit", ArrayConfig(precision="fixed-16")), library, SKY130, 7.4)
    assert scaling.area_um2(mapped.nand2_equivalents) == pytest.approx(189, rel=0.25)
    assert 0.06 < mapping.fanout_of_4_ns(library, SKY130) < 0.12
    assert 0.3 < mapping.critical_path_ns(mapped, library) < 3
