"""Measures of changed outputs against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from compress.output_changes import answers, cosine_distances, divergences, relative_errors

SHAPES = [(6, 5), (6, 7, 5), (6, 5, 3, 4), (6, 5, 2, 3, 2)]


def drawn(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    before = draw.normal(size=shape).astype(np.float32)
    return before, before + draw.normal(0, 0.3, shape).astype(np.float32)


def rows(outputs: np.ndarray) -> list[list[np.ndarray]]:
    """Return the class scores of each position of each input: their axis is 1, but the last one of three."""
    one = (
        outputs.reshape(len(outputs), -1, 5)
        if outputs.ndim == 3
        else outputs.reshape(len(outputs), 5, -1).swapaxes(1, 2)
    )
    return [list(positions) for positions in one]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_measures_of_positions_are_means_over_them(shape: tuple[int, ...]) -> None:
    before, after = drawn(shape)
    for number, (old, new) in enumerate(zip(rows(before), rows(after), strict=True)):
        kl, angle = [], []
        for one, other in zip(old, new, strict=True):
            p, q = (np.exp(each) / np.exp(each).sum() for each in (one, other))
            kl.append((p * np.log(p / q)).sum())
            angle.append(1 - one @ other / np.sqrt((one @ one) * (other @ other)))
        assert divergences(before, after)[number] == pytest.approx(np.mean(kl), rel=1e-5)
        assert cosine_distances(before, after)[number] == pytest.approx(np.mean(angle), rel=1e-4)
        relative = np.sqrt(np.square(after[number] - before[number]).sum() / np.square(before[number]).sum())
        assert relative_errors(before, after)[number] == pytest.approx(relative, rel=1e-5)
        assert answers(before)[number].ravel().tolist() == [each.argmax() for each in old]


def test_zeros_have_no_direction_and_no_length() -> None:
    before = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    after = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert cosine_distances(before, after).tolist() == [0, 0, 1, 1]
    assert relative_errors(before, after).tolist() == [0, 0, 1 / 2.5, 1]
    assert relative_errors(0 * before, after)[:2].tolist() == [np.inf, 0]
