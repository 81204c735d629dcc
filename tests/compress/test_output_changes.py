"""Measures of changed outputs against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from compress.output_changes import answers, cosine_distances, divergences, relative_errors, same_beginnings, surprises

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


def test_a_beginning_ends_before_the_first_answer_that_differs() -> None:
    scores = np.eye(3)[np.array([[0, 1, 2, 0], [0, 1, 2, 0], [0, 1, 2, 0]])]
    changed = np.eye(3)[np.array([[0, 1, 2, 0], [0, 2, 2, 0], [1, 1, 2, 0]])]
    assert same_beginnings(scores, changed).tolist() == [4, 1, 0]


def test_the_perplexity_of_even_scores_is_the_number_of_classes() -> None:
    labels = np.array([[0, 4], [1, 2]])
    assert np.exp(surprises(np.zeros((2, 2, 5)), labels)) == pytest.approx([5, 5])
    certain = 50 * np.eye(5)[labels]
    assert np.exp(surprises(certain, labels)) == pytest.approx([1, 1])
