"""Shares of draws on the front, and designs that cannot be told apart, of invented designs and constants."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from designs.codesigns.point import CodesignPoint
from designs.codesigns.uncertainty import Standing, VerifiedDesign, drawn_figures, number_of_draws, standings
from designs.design import Design
from designs.sweeps.evaluation import COUNTS
from sim import ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.constants import NOMINAL, Constants, drawn_constants
from sim.cost.timing import timing
from traces import InputError

ARRAY = ArrayConfig(num_pes=4, clock_mhz=200.0)  # slow enough for every draw
ALL = ("accuracy_loss", "latency_us", "energy_nj", "area_mm2")


def design(
    array: ArrayConfig = ARRAY,
    loss: float = 0.01,
    latency_us: float = 10.0,
    interval: tuple[float, float] | None = None,
    **counts: float,
) -> VerifiedDesign:
    """Return a design of one layer with these counts; all others are 0."""
    of_layer = np.array([[counts.get(name, 0.0) for name in COUNTS]])
    figures = {"accuracy_loss": loss, "latency_us": latency_us, **drawn_figures(array, of_layer, NOMINAL)}
    return VerifiedDesign(CodesignPoint(Design(array), {}, figures, {}), of_layer, interval or (loss, loss))


def unbounded(figures: Mapping[str, float], lacking: bool, array: ArrayConfig) -> dict[str, float]:
    return {}


def found(designs: list[VerifiedDesign], objectives: tuple[str, ...], *constants: Constants) -> list[Standing]:
    return standings(designs, objectives, unbounded, constants)


def test_a_design_that_is_dominated_by_far_is_never_on_the_front() -> None:
    good = design(cycles=8e3, processed_entries=1e4)
    bad = design(dataclasses.replace(ARRAY, num_pes=16), 0.2, 30.0, cycles=24e3, processed_entries=3e4)
    drawn = list(drawn_constants(20))
    assert found([bad, good], ALL, *drawn) == [Standing(0.0, 0), Standing(1.0, 1)]


def test_two_equal_designs_are_one() -> None:
    equal = [design(cycles=8e3, line_reads=1e3) for _ in range(2)]
    assert found(equal, ALL, *drawn_constants(10)) == [Standing(1.0, 0), Standing(1.0, 0)]


def test_shares_and_standing_in_three_draws_of_two_constants_by_hand() -> None:
    # 1,000 bytes of DRAM take 160 nJ; 200,000 entries take 159 nJ: 0.125 pJ to decode, 0.62 to multiply, 0.05 to add.
    loading, multiplying = design(dram_bytes=1000), design(processed_entries=200_000)
    assert loading.point.figures["energy_nj"] == pytest.approx(160)
    assert multiplying.point.figures["energy_nj"] == pytest.approx(159)
    draws = NOMINAL, Constants({"dram_pj_per_byte": 80.0}), Constants({"multiply_pj": 0.31})
    assert found([loading, multiplying], ("energy_nj",), *draws) == [Standing(1 / 3, 1), Standing(2 / 3, 1)]
    only_loads = found([loading, multiplying], ("energy_nj",), draws[1])
    assert only_loads == [Standing(1.0, 0), Standing(0.0, 1)]  # 80 against 159 nJ in each draw


def test_draws_are_shared_by_all_designs() -> None:
    # Whatever an SRAM takes, more of the same SRAM takes more: the difference has one sign, though each cost scatters.
    few, many = design(line_reads=100), design(line_reads=104)
    drawn = list(drawn_constants(50))
    assert found([many, few], ("energy_nj",), *drawn) == [Standing(0.0, 0), Standing(1.0, 1)]


def test_a_clock_that_a_draw_does_not_allow_is_infeasible_in_it() -> None:
    highest = timing(ARRAY).highest_clock_mhz
    fastest = dataclasses.replace(ARRAY, clock_mhz=0.99 * highest)
    designs = [design(fastest, latency_us=5.0, cycles=8e3), design(latency_us=10.0, cycles=8e3)]
    shares = found(designs, ("latency_us",), NOMINAL, Constants({"sram_time": 1.05}))
    assert shares == [Standing(0.5, 0), Standing(0.5, 1)]


def test_a_bound_is_kept_or_broken_in_each_draw_and_a_design_that_breaks_it_always_stands_alone() -> None:
    small, large = design(), design(dataclasses.replace(ARRAY, num_pes=8))
    bound = 1.05 * area_mm2(ARRAY)

    def bounded(figures: Mapping[str, float], lacking: bool, array: ArrayConfig) -> dict[str, float]:
        return {"area_mm2": figures["area_mm2"] / bound - 1}

    draws = NOMINAL, Constants({"sram_area": 1.2})
    assert standings([small, large], ("latency_us",), bounded, draws) == [Standing(0.5, 0), Standing(0.0, 1)]


@pytest.mark.parametrize(("upper", "same"), [(0.03, 0), (0.015, 1)])
def test_losses_whose_intervals_overlap_tell_no_designs_apart(upper: float, same: int) -> None:
    designs = [design(loss=0.01, interval=(0.005, upper)), design(loss=0.05, interval=(0.02, 0.09))]
    assert found(designs, ("accuracy_loss",), NOMINAL)[1].same_as == same


def test_latencies_within_two_percent_tell_no_designs_apart() -> None:
    designs = [design(latency_us=10.0), design(latency_us=10.1), design(latency_us=10.3)]
    assert [each.same_as for each in found(designs, ("latency_us",), *drawn_constants(5))] == [0, 0, 2]


def test_a_design_without_figures_is_on_no_front() -> None:
    unknown = design()
    lacking = dataclasses.replace(unknown, counts=np.full_like(unknown.counts, np.nan))
    assert found([lacking, unknown], ("energy_nj",), *drawn_constants(3)) == [Standing(0.0, 0), Standing(1.0, 1)]


@pytest.mark.parametrize("uncertain", [-1, 2.0, True, "200"])
def test_what_is_no_number_of_draws_is_refused(uncertain: Any) -> None:
    with pytest.raises(
        InputError,
        match=f"uncertain must be a whole number of draws of .*, at most 1,000,000; found {uncertain!r}",
    ):
        number_of_draws(uncertain)


@pytest.mark.slow
def test_forty_designs_and_two_hundred_draws_take_seconds() -> None:
    arrays = [dataclasses.replace(ARRAY, num_pes=1 + place) for place in range(40)]
    designs = [design(array, cycles=8e3, processed_entries=1e4) for array in arrays]
    begin = time.process_time()
    assert len(found(designs, ALL, *drawn_constants(200))) == 40
    assert time.process_time() - begin < 20
