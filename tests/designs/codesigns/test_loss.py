"""Measures of what a compressed network loses: chosen by labels and outputs, or asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from designs.codesigns.loss import choose_loss
from designs.codesigns.search import Search
from traces import InputError, Inputs
from traces.arrays import Floats

DRAW = np.random.default_rng(0)
IMAGES = Inputs.of(DRAW.normal(size=(40, 3, 8)).astype(np.float32))
SCORES = DRAW.normal(size=(40, 10)).astype(np.float32) * 3
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
EMBEDDINGS = SCORES / np.linalg.norm(SCORES, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("outputs", "labelled", "measure", "reason"),
    [
        ({"y": SCORES}, True, "accuracy", "there are labels"),
        ({"y": SCORES}, False, "answers", "there are no labels, and the outputs look like scores of 10 classes"),
        ({"y": PROBABILITIES}, False, "answers", "there are no labels, and the outputs look like scores of 10 classes"),
        ({"y": SCORES.reshape(4, 10, 10)}, False, "answers", "there are no labels, and the outputs look like scores"),
        ({"y": SCORES[:, 0]}, False, "relative_error", "there are no labels, and the outputs are no class scores"),
        ({"y": SCORES[:, :1]}, False, "relative_error", "there are no labels, and the outputs are no class scores"),
        ({"y": IMAGES["0"] + 1}, False, "relative_error", "there are no labels, and the output has the shape of an in"),
        ({"y": SCORES, "z": SCORES}, False, "relative_error", "there are no labels, and the outputs are y, z"),
        ({"y": EMBEDDINGS}, False, "cosine", "there are no labels, and the outputs are vectors of length 1"),
    ],
)
def test_labels_and_outputs_decide_what_is_measured(
    outputs: dict[str, Floats], labelled: bool, measure: str, reason: str
) -> None:
    loss = choose_loss("auto", labelled, IMAGES, outputs)
    assert loss.measure == measure
    assert loss.reason.startswith(reason)
    assert loss.figure == ("accuracy_loss" if measure in ("accuracy", "answers") else "output_error")


def test_a_measure_that_is_asked_for_is_taken_if_it_fits_the_labels() -> None:
    assert choose_loss("cosine", False, IMAGES, {"y": SCORES}).measure == "cosine"
    with pytest.raises(InputError, match="labels have no effect on the measure cosine; leave them out"):
        choose_loss("cosine", True, IMAGES, {"y": SCORES})
    with pytest.raises(InputError, match="measure accuracy needs labels; found none; give labels, or measure answers"):
        choose_loss("accuracy", False, IMAGES, {"y": SCORES})


def test_a_loss_bounds_what_it_measures() -> None:
    changed = {"y": SCORES + np.float32(0.01)}
    for measure, lost in (("answers", 0.0), ("cosine", 0.0), ("relative_error", 0.01 / 3)):
        used = choose_loss(measure, False, IMAGES, {"y": SCORES}).tolerance(1.0).measure({"y": SCORES}, changed, None)  # type: ignore[arg-type]
        assert used == pytest.approx(lost, rel=0.2, abs=1e-5)


def test_a_search_takes_the_loss_that_is_measured_unless_the_other_was_asked_for() -> None:
    assert Search().of_loss("output_error", "x").objectives == ("output_error", "latency_us", "energy_nj", "area_mm2")
    assert Search().of_loss("accuracy_loss", "x") == Search()
    asked: list[dict[str, Any]] = [
        {"bounds": {"accuracy_loss": 0.1}},
        {"objectives": ("latency_us", "accuracy_loss")},
    ]
    for settings in asked:
        with pytest.raises(
            InputError, match=r"accuracy_loss is not measured for this network, but output_error: x; bound and mini"
        ):
            Search(**settings).of_loss("output_error", "x")
