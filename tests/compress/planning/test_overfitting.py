"""Notice of a pool that the network was trained on (PyTorch needed)."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress.planning.outputs import run_outputs
from compress.planning.overfitting import overfitting_note
from compress.training.fine_tuning import train
from traces.arrays import Floats32, Integers64
from traces.files.images import load_digits

TRAINED_ON = 300
REASON = "it may have been trained on the pool, or the evaluation's inputs are harder"
UNTESTED = "whether the network was trained on the pool is untested"


@pytest.fixture(scope="module")
def images() -> tuple[Floats32, Integers64]:
    digits = load_digits()
    return np.concatenate([digits.train_images, digits.test_images]), np.append(digits.train_labels, digits.test_labels)


@pytest.fixture(scope="module")
def scores(images: tuple[Floats32, Integers64]) -> Floats32:
    """Return scores of all images from a network that knows the first ones by heart."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    train(network, images[0][:TRAINED_ON], images[1][:TRAINED_ON], 80, 1e-2)
    return run_outputs(network, images[0])["output"]


def test_training_images_are_noticed(scores: Floats32) -> None:
    note = overfitting_note({"output": scores[:TRAINED_ON]}, {"output": scores[TRAINED_ON:]})
    assert note is not None
    assert note.startswith("the network is surer of the pool's inputs than of the evaluation's (0.99")
    assert note.endswith(f"standard errors of the entropy): {REASON}")


def test_labels_of_both_are_compared(scores: Floats32, images: tuple[Floats32, Integers64]) -> None:
    labels = images[1]
    note = overfitting_note(
        {"output": scores[:TRAINED_ON]},
        {"output": scores[TRAINED_ON:]},
        labels[:TRAINED_ON],
        labels[TRAINED_ON:],
    )
    assert note is not None
    assert "and is right more often on the pool's inputs than on the evaluation's (100.0% against 9" in note


def test_other_images_raise_no_alarm(scores: Floats32, images: tuple[Floats32, Integers64]) -> None:
    draw = np.random.default_rng(0)
    for _ in range(100):
        first, second = np.split(TRAINED_ON + draw.permutation(len(scores) - TRAINED_ON)[:1200], 2)
        pool, others = ({"output": scores[places]} for places in (first, second))
        assert overfitting_note(pool, others, images[1][first], images[1][second]) is None


def test_a_pool_that_the_network_knows_less_raises_no_alarm(scores: Floats32) -> None:
    assert overfitting_note({"output": scores[TRAINED_ON:]}, {"output": scores[:TRAINED_ON]}) is None


def test_without_other_inputs_nothing_is_known(scores: Floats32, images: tuple[Floats32, Integers64]) -> None:
    pool = {"output": scores[:TRAINED_ON]}
    note = overfitting_note(pool)
    assert note is not None
    assert note.startswith(f"{UNTESTED}; if it was,")
    assert "give evaluation inputs" in note
    labelled = overfitting_note(pool, labels=images[1][:TRAINED_ON])
    assert labelled is not None
    assert labelled.startswith(f"{UNTESTED} (100.0% of its answers on the pool are right; is it so elsewhere?)")


def test_outputs_that_are_no_scores_show_nothing() -> None:
    assert overfitting_note({}, {}) is None
    note = overfitting_note({})
    assert note is not None
    assert note.startswith(UNTESTED)


def test_positions_and_several_outputs_count_together() -> None:
    draw = np.random.default_rng(0)
    unsure = {"first": draw.normal(size=(80, 7, 5)), "second": draw.normal(size=(80, 6, 3, 3))}
    sure = {name: 5 * draw.normal(size=values.shape) for name, values in unsure.items()}
    assert overfitting_note(sure, unsure) is not None
    assert overfitting_note(unsure, sure) is None
    mixed = {"first": unsure["first"], "second": sure["second"]}
    assert overfitting_note(mixed, unsure) is not None


def test_two_inputs_each_prove_nothing() -> None:
    sure, unsure = np.tile([9.0, 0, 0], (2, 1)), np.zeros((2, 3))
    assert overfitting_note({"output": sure}, {"output": unsure}) is None
