"""A field added to `ArrayConfig` reaches the space, the result files and the command line without further changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXTENDED = """
import dataclasses, sys
import sim, sim.array_table, sim.config

described = {"unit": "V", "description": "supply voltage", "details": ""}
field = ("supply_v", float, dataclasses.field(default=1.0, metadata=described))
mode = ("sleep_mode", bool, dataclasses.field(default=False, metadata=described))
extended = dataclasses.make_dataclass("ArrayConfig", [field, mode], bases=(sim.ArrayConfig,), frozen=True)
sim.ArrayConfig = sim.config.ArrayConfig = extended
sim.array_table._DEFAULTS |= {"supply_v": 1.0, "sleep_mode": False}  # made from the fields
"""
SWEPT = """
import numpy as np
from designs import Range, Space, Workload, network_totals, read_sweep, sweep
from traces.synthetic import draw_layer

layer, activations = draw_layer("one", 40, 30, 0.2, 0.5, seed=0)
workload = Workload.of_layers("one", [layer], {"one": activations[np.newaxis]})
space = Space({"num_pes": (2, 4), "supply_v": Range(0.8, 1.0, step=0.1), "sleep_mode": (False, True)})
sweep(workload, space, folder="results")
table, _ = read_sweep("results")
assert table.schema.field("supply_v").metadata == {b"unit": b"V", b"description": b"supply voltage"}
designs = [point.design.array for point in network_totals(table)]
print(sorted({(array.num_pes, round(array.supply_v, 1), array.sleep_mode) for array in designs}))
"""


def run(program: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", EXTENDED + program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_parameter_of_the_array_is_swept_and_kept(tmp_path: Path) -> None:
    printed = run(SWEPT, tmp_path)
    assert printed.count("(2, 0.8, False)") == printed.count("(4, 1.0, True)") == 1
    assert printed.count("(") == 12


def test_a_new_parameter_of_the_array_is_an_option(tmp_path: Path) -> None:
    program = "from designs.__main__ import main\nmain()"
    assert "--supply-v" in run(program, tmp_path, "simulate", "--help")
