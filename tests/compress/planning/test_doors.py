"""Faults of inputs, labels and outputs are found at every door before any work, in a sentence (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressionConfig, LayerSettings, Tolerance, compress, make_planner, measure, plan, watch
from compress.planning.outputs import run_outputs
from designs import TrainedNetwork
from designs.codesigns.compressions import analyse_compression
from traces import InputError

TOKENS = np.random.default_rng(0).normal(size=(40, 40, 6)).astype(np.float32)  # as many positions as inputs


def tokens_network(end: Callable[[Any], Any] = lambda scores: scores) -> torch.nn.Module:
    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Linear(6, 24), torch.nn.Linear(24, 4)

        def forward(self, tokens: torch.Tensor) -> Any:
            return end(self.last(torch.relu(self.first(tokens))))

    torch.manual_seed(0)
    return Tokens().eval()


def doors(module: Any, inputs: Any, labels: Any, loss: str) -> dict[str, Callable[[], object]]:
    """Return every call that takes a network, inputs and labels."""
    model = compress(tokens_network(), CompressionConfig(LayerSettings(density=0.5), pruning_steps=1))
    found: dict[str, Callable[[], object]] = {
        "plan": lambda: plan(module, inputs, tolerance=0.001, loss=loss, labels=labels),
        "planner": lambda: make_planner(module, inputs, labels, loss=loss),
        "watch": lambda: watch(module, model, inputs, Tolerance(0.001, loss), labels=labels),
    }
    if labels is not None:
        found["measure"] = lambda: measure(model, module, inputs, labels)
        found["co-design"] = lambda: analyse_compression(TrainedNetwork("tokens", module, inputs, labels))
    return found


@pytest.fixture
def no_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.planning.preparation.analyse", None)  # calling it would fail


ANSWERS = run_outputs(tokens_network(), TOKENS)["output"].argmax(axis=2)


@pytest.mark.usefixtures("no_analysis")
@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (ANSWERS[..., None], r"found a column, shape \[40, 40, 1\]"),
        (np.eye(4)[ANSWERS], r"if they are one-hot, give labels\.argmax\(axis=2\)"),
        (ANSWERS[:, 0], r"found shape \[40\]; give one label for each position"),
        (ANSWERS[:, :-1], r"found shape \[40, 39\]"),
        (ANSWERS[:-1], "found 39 for 40 inputs"),
        (ANSWERS.astype(str), "found text, like"),
        (ANSWERS > 1, "found booleans"),
        (ANSWERS + 0.5, "targets of a regression are no classes"),
        (ANSWERS - 1, "found -1; give every position a class"),
        (ANSWERS + 1, "they seem to begin at 1: subtract 1"),
    ],
)
def test_labels_that_do_not_fit_positions_are_refused(labels: Any, sentence: str) -> None:
    for name, call in doors(tokens_network(), TOKENS, labels, "accuracy").items():
        with pytest.raises(InputError, match=sentence):
            print(name, call())


@pytest.mark.usefixtures("no_analysis")
@pytest.mark.parametrize(
    ("end", "loss", "sentence"),
    [
        (lambda scores: scores[:, 0, 0], "kl", "one number each, whose softmax is always 1"),
        (lambda scores: scores[:, 0, :1], "answers", "one number each, whose softmax is always 1"),
        (lambda scores: scores[:, 0, :1], "cosine", "take the loss relative-error"),
        (lambda scores: scores.sigmoid(), "kl", "look like probabilities that do not add up to 1"),
        (lambda scores: torch.nn.functional.normalize(scores, dim=2), "kl", "found embeddings"),
        (lambda scores: 0 * scores + 1, "relative-error", "must differ from input to input"),
        (lambda scores: 0 * scores + 1, "auto", "must differ from input to input"),
        (lambda scores: scores / 0, "auto", "must be finite; found NaN or infinity"),
        (lambda scores: scores.argmax(dim=2), "auto", "must be floating-point for the loss auto; found int64"),
        (lambda scores: scores, "auto", "the loss must be named for outputs"),
    ],
)
def test_outputs_that_do_not_fit_a_loss_are_refused(end: Callable[[Any], Any], loss: str, sentence: str) -> None:
    for name, call in doors(tokens_network(end), TOKENS, None, loss).items():
        with pytest.raises(InputError, match=sentence):
            print(name, call())


@pytest.mark.usefixtures("no_analysis")
def test_inputs_of_another_type_are_refused() -> None:
    for module, inputs, sentence in (
        (tokens_network().bfloat16(), TOKENS, r"call module\.float\(\)"),
        (tokens_network(), (TOKENS * 20 + 128).clip(0, 255).astype(np.uint8), r"give images\.astype\(np\.float32\)"),
    ):
        for name, call in doors(module, inputs, None, "kl").items():
            with pytest.raises(InputError, match=sentence):
                print(name, call())
