"""Cells of the experiment "rtl": what is skipped, and the flip-flop of a library that maps nothing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from designs.experiments import rtl
from designs.result_files import RTL_COLUMNS
from designs.results import table_of
from sim.rtl.mapping import ASAP7

FLIP_FLOP = """
library (seven) {
  time_unit : "1ps"; voltage_unit : "1V"; leakage_power_unit : "1pW"; capacitive_load_unit (1,ff); nom_voltage : 0.9;
  cell (DFFHQx4_ASAP7_75t_R) {
    area : 0.5; cell_leakage_power : 2000;
    ff (IQ, IQN) { clocked_on : "CLK"; next_state : "D"; }
    pin (CLK) { direction : input; capacitance : 1.0; }
    pin (D) { direction : input; capacitance : 1.0; }
    pin (Q) { direction : output; function : "IQ"; }
  }
}
"""


@pytest.mark.parametrize("given", [False, True])
def test_cells_without_a_library_are_skipped_with_a_sentence(
    tmp_path: Path, given: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rtl._cells(tmp_path if given else None)
    assert rows == []
    assert "liberty/sky130hd_tt.lib.gz was not found in the folder of data" in capsys.readouterr().out
    assert table_of(RTL_COLUMNS["cells"], rows).num_rows == 0


def test_a_library_without_an_inverter_gives_its_flip_flop_alone(tmp_path: Path) -> None:
    (tmp_path / "liberty").mkdir()
    (tmp_path / "liberty" / ASAP7[0].file).write_bytes(gzip.compress(FLIP_FLOP.encode()))
    (row,) = rtl._cells(tmp_path)
    assert (row["block"], row["library"], row["flip_flops"]) == ("flip_flop", "asap7 slow", 1)
    assert row["area_45nm_um2"] == pytest.approx(0.5 * 17)
    assert row["leakage_nw"] == pytest.approx(2.0)
    assert row["clock_pj"] == pytest.approx(0.9**2 / 1e3)
    assert row["clock_45nm_pj"] == pytest.approx(row["clock_pj"] * 45 / 7)
    assert row["path_ns"] == row["event_pj"] == -1
