"""The main job's recommendation and its front without near-ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from designs import Design, Workload, sweep
from designs.experiments.main_job import MainJobResult, recommended, without_near_ties
from designs.experiments.main_job_screen import beside_dense
from designs.sweeps.totals import DesignPoint, network_totals
from sim import ArrayConfig, ProductShape, compare_with_dense
from traces import draw_layer


def point(number: int, latency_us: float, energy_nj: float, area_mm2: float, fits: bool = True) -> DesignPoint:
    design = Design(ArrayConfig(num_pes=number))
    cycles = latency_us * 800
    limits = 0.75 * cycles, energy_nj / 4, "port"
    return DesignPoint(number, design, cycles, latency_us, 0.5, energy_nj, area_mm2, fits, *limits)


def test_the_smallest_array_within_two_percent_of_the_smallest_energy_delay_product_is_recommended() -> None:
    points = [point(1, 1.0, 100.0, 9.0), point(2, 1.0, 101.9, 4.0), point(3, 1.0, 102.1, 1.0), point(4, 5.0, 50.0, 1.0)]
    assert recommended(points).point == 2
    assert recommended(points[2:]).point == 3


def test_a_design_that_does_not_hold_or_run_every_layer_is_recommended_only_if_none_holds_them() -> None:
    small, large = point(1, 1.0, 10.0, 1.0, fits=False), point(2, 1.0, 50.0, 4.0)
    idle = point(3, float("nan"), float("nan"), 0.5, fits=False)
    assert recommended([small, large, idle]) is large
    assert recommended([small, idle]) is small


def test_the_recommended_design_is_compared_with_a_dense_array(tmp_path: Path) -> None:
    layer, activations = draw_layer("fc1", 100, 64, 0.2, 0.5, seed=1)
    workload = Workload.of_layers("digits", [layer], {"fc1": activations[np.newaxis]})
    array = ArrayConfig(num_pes=4)
    table = sweep(workload, [Design(array)])
    shapes = tuple(workload.shapes)
    assert shapes == (ProductShape(100, 64),)
    result = MainJobResult("digits", 1, 1, 1, 1, cast(Any, None), 1, 1, table, shapes, tmp_path, ())
    (best,) = network_totals(table)
    expected = compare_with_dense(shapes, array, best.latency_us, best.energy_nj, 16)
    assert beside_dense(result) == str(expected)


@pytest.mark.parametrize("preferred", [0, 1])
def test_near_ties_are_dropped_and_the_preferred_design_stays(preferred: int) -> None:
    front = [
        point(1, 1.00, 100.0, 4.0),
        point(2, 1.01, 99.0, 4.0),  # within 2 % of the first in every cost
        point(3, 1.00, 100.0, 3.9),  # 2.6 % less area
        point(4, 2.00, 50.0, 2.0),
    ]
    shown = without_near_ties(front, front[preferred])
    assert [each.point for each in shown] == [1 + preferred, 3, 4]
