"""Correction of predictions by what was measured of similar designs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from designs.codesigns.correction import Correction

NOWHERE = np.zeros((5, 0))


def test_without_a_measured_design_predictions_stay() -> None:
    correction = Correction.of(np.zeros((0, 1)), np.zeros(0), np.zeros(0))
    predicted = np.array([0.5, 2.0])
    assert correction(np.zeros((2, 1)), predicted).tolist() == predicted.tolist()
    lower, upper = correction.interval(predicted, 2.0)
    assert (lower.tolist(), upper.tolist()) == ([0.25, 1.0], [1.0, 4.0])


def test_a_ratio_that_all_designs_share_is_taken_over_but_for_the_weight_of_the_prior() -> None:
    predicted = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    correction = Correction.of(NOWHERE, predicted, 1.2 * predicted)
    corrected = correction(np.zeros((1, 0)), np.array([10.0]))
    assert corrected[0] == pytest.approx(10 * 1.2 ** (5 / 6))
    lower, upper = correction.interval(corrected, 9.0)
    left = 1.2 ** (1 - 4 / 5)  # what the others do not explain
    assert (lower[0], upper[0]) == (pytest.approx(corrected[0] / left), pytest.approx(corrected[0] * left))


def test_similar_designs_are_corrected_and_others_are_not() -> None:
    places = np.array([[0.0], [0.1], [8.0]])
    correction = Correction.of(places, np.full(3, 0.01), np.array([0.03, 0.03, 0.01]))
    near, far = correction(np.array([[0.05], [8.0]]), np.full(2, 0.01))
    assert near > 0.018
    assert far == pytest.approx(0.01)


def test_a_loss_of_nothing_is_compared_with_its_damping() -> None:
    correction = Correction.of(NOWHERE[:2], np.array([0.0, 0.02]), np.array([-0.001, 0.04]), damping=0.005)
    corrected = correction(NOWHERE[:2], np.array([0.0, 0.02]))
    assert np.isfinite(corrected).all()
    assert 0 <= corrected[0] < corrected[1] < 0.04


def test_what_was_not_measured_teaches_nothing() -> None:
    correction = Correction.of(NOWHERE[:2], np.ones(2), np.array([math.nan, math.inf]))
    assert correction(NOWHERE, np.ones(5)).tolist() == [1.0] * 5
