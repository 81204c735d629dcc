"""Names of layers in narrow tables."""

from __future__ import annotations

import pytest

from sim.observe.screen import short_names


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["net/dense/MatMul/weights", "net/dense_1/MatMul/weights"], ["dense", "dense_1"]),
        (["model.layers.0.fc", "model.layers.1.fc"], ["0", "1"]),
        (["fc1", "fc2", "fc3"], ["fc1", "fc2", "fc3"]),
        (["a.b", "a.b.c"], ["b", "b.c"]),
        (["only.one"], ["only.one"]),
        (["w[0]", "w[1]"], ["w[0]", "w[1]"]),
        (["net/a/w", "net/b/c/w"], ["a", "b/c"]),
    ],
)
def test_parts_that_all_names_share_are_left_out(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short
