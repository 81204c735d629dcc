"""Numbers that users give: every door refuses what is no number of its kind, and takes NumPy's integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from designs import Constraints, Range, Search, Space, sweep
from designs.codesigns.fleet import Target
from designs.codesigns.loop import codesign
from designs.codesigns.uncertainty import number_of_draws
from designs.experiments.main_job import MainJobSettings
from designs.sweeps.workers import Processes
from sim import ArrayConfig, FixedPoint, drawn_constants, rows_balanced_by_entries, rows_found_by_search
from tests.bad_values import NO_NUMBERS, NO_WHOLE_NUMBERS
from tests.designs.sweeps.test_folder import SPACE, WORKLOAD
from traces import InputError, reading_limit
from traces.synthetic import draw_layer

LAYER, VALUES = draw_layer("small", 6, 5, 0.5, 0.5, 0)
ARRAYS = dataclasses.fields(ArrayConfig)
Door = Callable[[Any], object]


def limited(value: Any) -> None:
    with reading_limit(value):
        pass


WHOLE: dict[str, tuple[Door, int]] = {
    **{f"ArrayConfig.{each.name}": (lambda value, name=each.name: ArrayConfig(**{name: value}), each.default)  # type: ignore[misc]
       for each in ARRAYS if type(each.default) is int},
    **{f"Space.{each.name}": (lambda value, name=each.name: Space({name: value}), each.default)  # type: ignore[misc]
       for each in ARRAYS if type(each.default) is int},
    "Space, in a list": (lambda value: Space({"num_pes": [value, 8]}), 16),
    "Space.compression": (lambda value: Space(compression={"weight_bits": value}), 4),
    "Search.trials": (lambda value: Search(trials=value), 3),
    "Search.verify": (lambda value: Search(verify=value), 3),
    "Search.seed": (lambda value: Search(seed=value), 3),
    "Target.max_num_pes": (lambda value: Target("chip", max_num_pes=value), 3),
    "reading_limit": (limited, 2**40),
    "Job.seed": (lambda value: MainJobSettings(seed=value), 3),
    "Processes": (lambda value: Processes(value), 3),
    "sweep(workers=)": (lambda value: sweep(WORKLOAD, SPACE, workers=value), 1),
    "uncertain": (number_of_draws, 3),
    "FixedPoint.bits": (lambda value: FixedPoint(value, 4, 4, 4), 8),
    "FixedPoint.weight_fraction_bits": (lambda value: FixedPoint(8, value, 4, 4), 3),
    "FixedPoint.activation_fraction_bits": (lambda value: FixedPoint(8, 4, value, 4), 3),
    "FixedPoint.accumulator_fraction_bits": (lambda value: FixedPoint(8, 4, 4, value), 3),
    "drawn_constants(number)": (lambda value: list(drawn_constants(value)), 1),
    "drawn_constants(seed)": (lambda value: list(drawn_constants(1, value)), 1),
    "draw_layer(rows)": (lambda value: draw_layer("x", value, 5, 0.5, 0.5, 0), 3),
    "draw_layer(columns)": (lambda value: draw_layer("x", 5, value, 0.5, 0.5, 0), 3),
    "draw_layer(seed)": (lambda value: draw_layer("x", 5, 5, 0.5, 0.5, value), 3),
    "rows_balanced_by_entries": (lambda value: rows_balanced_by_entries(LAYER, value), 2),
    "rows_found_by_search(num_trials)": (
        lambda value: rows_found_by_search(LAYER, VALUES, ArrayConfig(num_pes=2), num_trials=value),
        3,
    ),
    "rows_found_by_search(seed)": (
        lambda value: rows_found_by_search(LAYER, VALUES, ArrayConfig(num_pes=2), num_trials=3, seed=value),
        3,
    ),
}  # fmt: skip
NUMBERS: dict[str, tuple[Door, float]] = {
    **{f"ArrayConfig.{each.name}": (lambda value, name=each.name: ArrayConfig(**{name: value}), each.default)  # type: ignore[misc]
       for each in ARRAYS if type(each.default) is float},
    **{f"Space.{each.name}": (lambda value, name=each.name: Space({name: value}), each.default)  # type: ignore[misc]
       for each in ARRAYS if type(each.default) is float},
    "Space.density": (lambda value: Space(compression={"density": value}), 0.5),
    "Search.bounds": (lambda value: Search(bounds={"area_mm2": value}), 0.5),
    "Search.settled": (lambda value: Search(settled=value), 0.5),
    "Search.sampling_error": (lambda value: Search(sampling_error=value), 0.5),
    **{f"Target.{each.name}": (lambda value, name=each.name: Target("chip", **{name: value}), 2.5)  # type: ignore[misc]
       for each in dataclasses.fields(Target) if each.name.startswith("max_") and each.name != "max_num_pes"},
    "Constraints.max_area_mm2": (lambda value: Constraints(max_area_mm2=value), 0.5),
    "Range.low": (lambda value: Range(value, 9.0), 2.5),
    "Range.high": (lambda value: Range(1.0, value), 2.5),
    "Range.step": (lambda value: Range(1.0, 9.0, step=value), 2.5),
    "Range.factor": (lambda value: Range(1.0, 9.0, factor=value), 2.5),
    "draw_layer(weight_density)": (lambda value: draw_layer("x", 5, 5, value, 0.5, 0), 0.25),
    "draw_layer(activation_density)": (lambda value: draw_layer("x", 5, 5, 0.5, value, 0), 0.25),
}  # fmt: skip
OPTIONAL = {
    *(f"Target.{each.name}" for each in dataclasses.fields(Target)),
    "Constraints.max_area_mm2",
    "Range.step",
    "Range.factor",
}
"""Doors at which None is no number, and says so."""
UNBOUNDED = ("Target.max_num_pes", "rows_found_by_search(seed)", "drawn_constants(seed)")
"""Doors that take a whole number of any size: a bound, and seeds."""
ARRAYS_OF_ONE = {"an array of one number": np.array([4]), "an array without axes": np.array(4), "complex": 4j}
SPACES = ("list", "object")
"""Values that a space takes for lists and ranges."""


def refused(door: Door, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        door(value)
    assert "must" in str(caught.value) or "range" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", [*NO_WHOLE_NUMBERS, *ARRAYS_OF_ONE, "an int of 5,000 digits", "a negative one"])
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_no_whole_number_is_refused(name: str, kind: str) -> None:
    bad = {**NO_WHOLE_NUMBERS, **ARRAYS_OF_ONE, "an int of 5,000 digits": 10**5000, "a negative one": -(10**9)}
    if (kind == "none" and name in OPTIONAL) or (kind in SPACES and name.startswith("Space")):
        return
    if kind == "an int of 5,000 digits" and name in UNBOUNDED:
        return
    refused(WHOLE[name][0], bad[kind])


@pytest.mark.parametrize("kind", [*NO_NUMBERS, *ARRAYS_OF_ONE, "a negative one"])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_finite_number_is_refused(name: str, kind: str) -> None:
    bad = {**NO_NUMBERS, **ARRAYS_OF_ONE, "a negative one": -1e9}
    if (kind == "none" and name in OPTIONAL) or (kind in SPACES and name.startswith("Space")):
        return
    if kind == "a negative one" and name == "Range.low":
        return
    refused(NUMBERS[name][0], bad[kind])


@pytest.mark.parametrize("name", WHOLE)
def test_integers_of_numpy_are_whole_numbers(name: str) -> None:
    door, value = WHOLE[name]
    door(value)
    made = door(np.int64(value))
    if dataclasses.is_dataclass(made) and not name.startswith("Space"):
        kept = getattr(made, name.partition(".")[2], value)
        assert type(kept) is int


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_numpy_are_numbers(name: str) -> None:
    door, value = NUMBERS[name]
    door(value)
    made = door(np.float64(value))
    if dataclasses.is_dataclass(made):
        assert type(getattr(made, name.partition(".")[2], value)) in (float, dict)


@pytest.mark.parametrize("value", [value for name, value in NO_WHOLE_NUMBERS.items() if name != "none"])
def test_a_co_design_checks_its_draws_before_anything_else(value: Any) -> None:
    with pytest.raises(InputError, match="uncertain must be a whole number of draws"):
        codesign(None, None, uncertain=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["memory_mode", "block_axis", "precision"])
@pytest.mark.parametrize("value", [None, 1, True, "RESIDENT", ["resident"], np.array(["resident"]), np.array(["rows"])])
def test_what_is_no_name_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be one of"):
        ArrayConfig(**{name: value})


@pytest.mark.parametrize("name", ["exhaustive", "fit_srams"])
@pytest.mark.parametrize("value", [None, 1, 0, "true", [True], np.array([True])])
def test_what_is_not_true_or_false_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be true or false"):
        Search(**{name: value})


@pytest.mark.parametrize("value", ["area_mm2", 3, None, {"area_mm2"}, ["speed"], [["area_mm2"]], [], ["area_mm2"] * 2])
def test_objectives_are_names_of_figures(value: Any) -> None:
    with pytest.raises(InputError, match="objective"):
        Search(objectives=value)


@pytest.mark.parametrize("value", [None, 3, "area_mm2", {"speed": 1}, {3: 4}, [("area_mm2", 1)]])
def test_bounds_are_numbers_by_figure(value: Any) -> None:
    with pytest.raises(InputError, match="bound"):
        Search(bounds=value)


@pytest.mark.parametrize("value", [None, 3, [1], {3: 4}, {"num_pes": {"low": 1}}, {"num_pes": {3: 4}}, {"num_pes": []}])
def test_a_space_is_a_table_of_names(value: Any) -> None:
    with pytest.raises(InputError):
        Space(value)


def test_ranges_end_where_floats_end() -> None:
    assert Range(1.0, 1e308, factor=1e300).values(False) == (1.0, 1e300)
    assert Range(-4, -1, step=1).values(True) == (-4, -3, -2, -1)
    assert Range(1e308, 1.7976931348623157e308, step=1e308).values(False) == (1e308,)
