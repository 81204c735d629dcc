"""Spaces and samples: values, constraints, and the errors of invalid spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import LayerSettings
from designs import Constraints, Design, Range, Sampling, Space, sample
from sim import ArrayConfig, timed
from sim.cost.area import area_mm2
from traces import InputError

TOML = """
[hardware]
num_pes = [16, 64]
queue_slots = { low = 2, high = 32, factor = 2 }
line_bits = { low = 16, high = 64, step = 24 }
clock_mhz = { low = 400.0, high = 800.0 }
row_assignment = ["interleaved", "entries"]
memory_mode = "resident"

[compression]
density = { low = 0.05, high = 0.5, log = true }
[compression.layers.fc3]
weight_bits = [4, 5]

[constraints]
max_area_mm2 = 40.8
must_fit = true
"""


def test_a_space_is_the_same_in_python_and_in_toml(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(TOML)
    space = Space.load(tmp_path / "space.toml")
    same = Space(
        hardware={
            "num_pes": [16, 64],
            "queue_slots": Range(2, 32, factor=2),
            "line_bits": Range(16, 64, step=24),
            "clock_mhz": Range(400, 800),
            "row_assignment": ["interleaved", "entries"],
            "memory_mode": "resident",
        },
        compression={"density": Range(0.05, 0.5, log=True), "layers": {"fc3": {"weight_bits": [4, 5]}}},
        constraints=Constraints(max_area_mm2=40.8, must_fit=True),
    )
    assert space.to_dict() == same.to_dict() == Space.from_dict(space.to_dict()).to_dict()
    hardware = space.hardware_parameters()
    assert hardware["queue_slots"].values == (2, 4, 8, 16, 32)
    assert hardware["line_bits"].values == (16, 40, 64)
    assert hardware["index_bits"].values == (4,)
    assert list(space.compression_parameters(["fc1", "fc3"])) == ["fc1.density", "fc3.density", "fc3.weight_bits"]


def test_a_range_that_contains_zero_is_written_out_whole() -> None:
    assert Range(0, 1).values(whole=False) is None
    space = Space({"clock_mhz": Range(0.5, 2.0, step=0.5)})
    assert space.hardware_parameters()["clock_mhz"].values == (0.5, 1.0, 1.5, 2.0)


def test_designs_state_their_compression_layer_by_layer() -> None:
    space = Space.from_toml(TOML)
    chosen = sample(space, Sampling("sobol", 20, seed=3), layers=["fc1", "fc3"])
    assert len(set(chosen.designs)) == 20
    for design in chosen.designs:
        of_layer = dict(design.compression)
        assert isinstance(of_layer["fc1"], LayerSettings)
        assert 0.05 <= of_layer["fc1"].density <= 0.5
        assert of_layer["fc3"].weight_bits in (4, 5)
        assert design.array.memory_mode == "resident"
    assert chosen.must_fit
    assert chosen.origin["sampling"] == {"method": "sobol", "points": 20, "seed": 3}


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([8, 32, 64, 128]), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(2, 8), min_size=1, max_size=3, unique=True),
    st.floats(5, 60),
    st.booleans(),
)
def test_a_grid_is_exactly_the_combinations_that_hold_to_the_constraints(
    num_pes: list[int], index_bits: list[int], most_mm2: float, whole: bool
) -> None:
    lines = (8, 27, 64)
    space = Space(
        {"num_pes": num_pes, "index_bits": index_bits, "line_bits": lines},
        constraints=Constraints(max_area_mm2=most_mm2, whole_lines=whole),
    )
    expected = []
    for pes in num_pes:
        for line in lines:
            for bits in index_bits:  # the order of ArrayConfig's fields
                if line < 4 + bits or (whole and line % (4 + bits)):
                    continue
                array = ArrayConfig(num_pes=pes, line_bits=line, index_bits=bits)
                if area_mm2(array) <= most_mm2:
                    expected.append(Design(timed(array)))
    if expected:
        chosen = sample(space)
        assert list(chosen.designs) == expected
        assert len(expected) + sum(chosen.left_out.values()) == len(num_pes) * len(index_bits) * 3
    else:
        with pytest.raises(InputError, match="no combination of the space is feasible"):
            sample(space)


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_sample_is_the_same_every_time_and_another_for_another_seed(method: Any) -> None:
    space = Space({"num_pes": Range(1, 1024), "queue_slots": Range(2, 64), "clock_mhz": Range(100, 1000, log=True)})
    first = sample(space, Sampling(method, 50, seed=1)).designs
    assert first == sample(space, Sampling(method, 50, seed=1)).designs
    assert first[:20] == sample(space, Sampling(method, 20, seed=1)).designs
    assert first != sample(space, Sampling(method, 50, seed=2)).designs
    assert len({design.array.num_pes for design in first}) > 30


def test_a_sobol_sample_fills_the_space_evenly() -> None:
    space = Space({"num_pes": Range(1, 16), "queue_slots": Range(2, 17)})
    designs = sample(space, Sampling("sobol", 16)).designs
    assert len({(each.array.num_pes - 1) // 4 * 4 + (each.array.queue_slots - 2) // 4 for each in designs}) == 16


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[hardwear]\n", "the space: unknown: hardwear; valid names: hardware, compression, constraints"),
        ("[hardware]\nnum_pe = 4\n", "hardware: unknown: num_pe; valid names: num_pes, queue_slots"),
        ("[hardware]\nnum_pes = [4, 0]\n", "num_pes must be 1 to 65,536"),
        ("[hardware]\nnum_pes = []\n", r"num_pes must be one or more different values; found \(\)"),
        ("[hardware]\nnum_pes = [4, 4]\n", r"num_pes must be one or more different values; found \(4, 4\)"),
        ("[hardware]\nnum_pes = 4.5\n", "num_pes must be a whole number; found 4.5"),
        ("[hardware]\nline_bits = 1024\n", "line_bits must be at most 512, the widest port"),
        ("[hardware]\npointer_bytes = 16\n", "an SRAM must have 512 to 4,194,304 bytes"),
        ("[hardware]\nrow_assignment = 'best'\n", "row_assignment must be one of 'interleaved', 'entries', 'activity'"),
        ("[hardware]\nmemory_mode = { low = 1, high = 2 }\n", "memory_mode has names for values, so it takes no range"),
        ("[hardware]\nnum_pes = { low = 8 }\n", "num_pes: a range needs low and high; found {'low': 8}"),
        ("[hardware]\nnum_pes = { low = 8, high = 4 }\n", "num_pes: a range goes from low to high; found 8 to 4"),
        (
            "[hardware]\nnum_pes = { low = 1, high = 4, stp = 1 }\n",
            "num_pes: unknown: stp; valid names: low, high, step",
        ),
        ("[hardware]\nnum_pes = { low = 1, high = 9, step = 2, factor = 2 }\n", "a range has a step or a factor"),
        ("[hardware]\nnum_pes = { low = 1, high = 9, step = 0 }\n", "a range's step must be above 0; found 0"),
        ("[hardware]\nnum_pes = { low = 1, high = 9, factor = 1.5 }\n", "num_pes is a whole number; the range"),
        ("[hardware]\nnum_pes = { low = 1, high = 9, log = true }\n", "give its range a factor instead of log"),
        ("[hardware]\nclock_mhz = { low = 0.0, high = 9.0, log = true }\n", "log is for a range .* low is above 0"),
        ("[hardware]\nclock_mhz = { low = 'a', high = 9.0 }\n", "a range's low must be a finite number; found 'a'"),
        (
            "[compression]\ndensity = 1.5\n",
            "density: the share of weights to keep must be above 0 and at most 1; found 1.5",
        ),
        ("[compression]\nweight_bits = [4, 9]\n", "weight_bits=9 must be 1 to 8"),
        ("[compression.layers.fc]\nbits = 4\n", "compression.layers.fc: unknown: bits; valid names: density"),
        ("[compression.layers]\nfc = 4\n", "compression.layers.fc must be values by name; found 4"),
        ("[constraints]\nmax_area = 4\n", "constraints: unknown: max_area; valid names: max_area_mm2, must_fit"),
        ("[constraints]\nmax_area_mm2 = 0\n", "max_area_mm2 must be a finite number above 0; found 0"),
        ("[constraints]\nmust_fit = 1\n", "must_fit must be true or false; found 1"),
        (
            "[hardware]\nmemory_mode = ['resident', 'streamed']\n[constraints]\nmust_fit = true\n",
            "must_fit asks for layers that stay on the array; memory_mode='streamed' loads every layer",
        ),
        ("[hardware\n", "the space: must be TOML"),
    ],
)
def test_a_space_that_cannot_be_gets_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"space.toml: .*{sentence}"):
        Space.load(path)


def test_what_cannot_be_sampled_gets_a_sentence() -> None:
    tiny = Space({"num_pes": [64]}, constraints=Constraints(max_area_mm2=1.0))
    with pytest.raises(InputError, match=r"is feasible: area above 1 mm2 \(1\); widen a range or relax a constraint"):
        sample(tiny)
    with pytest.raises(InputError, match="points=2: the space gave only 1 different designs"):
        sample(Space(), Sampling("random", 2))
    with pytest.raises(InputError, match="clock_mhz is a continuous range, so there is no grid"):
        sample(Space({"clock_mhz": Range(1, 2)}))
    vast = Space({"num_pes": Range(1, 1024), "queue_slots": Range(2, 1024), "line_bits": Range(8, 512)})
    with pytest.raises(InputError, match="the grid has 529,013,760 combinations; at most 100,000,000 are possible"):
        sample(vast)
    with pytest.raises(InputError, match=r"compression\.layers names fc9, which the network does not have; it has fc1"):
        sample(Space(compression={"layers": {"fc9": {"density": 0.5}}}), layers=["fc1"])
    with pytest.raises(InputError, match="points and seed have no effect"):
        Sampling("grid", 5)
    with pytest.raises(InputError, match="points must be the number of designs to draw, 1 to 100,000,000; found None"):
        Sampling("sobol")
    with pytest.raises(InputError, match="method must be one of grid, random, sobol; found 'all'"):
        Sampling("all")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no such file"):
        Space.load("absent.toml")
