"""Settings of a search: the loss and its figure."""

from __future__ import annotations

from typing import Any

import pytest

from compress.planning.losses import Loss
from designs.codesigns.search import Search, figure_of
from traces import InputError


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


def test_losses_are_named_as_tolerances_name_them() -> None:
    assert Search(loss="relative_error").loss == "relative-error"
    assert Search(loss="my_losses:mine").loss == "my_losses:mine"
    with pytest.raises(InputError, match=r"loss must be one of auto, accuracy, .*; found 'mse'"):
        Search(loss="mse")
    figures = [figure_of(Loss(name)) for name in ("accuracy", "answers", "kl", "cosine", "my_losses:mine")]
    assert figures == ["accuracy_loss", "accuracy_loss", "output_error", "output_error", "output_error"]
