"""Vectors of recurrent weights beside a run of the equations, step by step (PyTorch needed)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress.modules import module_layers
from compress.planning.compensation import error_spread, pruned_weights
from compress.planning.moments import Moments
from compress.pruning import magnitude_mask

KINDS = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
CELLS: dict[Any, Any] = {
    torch.nn.LSTM: torch.nn.LSTMCell,
    torch.nn.GRU: torch.nn.GRUCell,
    torch.nn.RNN: torch.nn.RNNCell,
}


def step_by_step(part: Any, steps: torch.Tensor, states: Any) -> tuple[dict[str, list[torch.Tensor]], torch.Tensor]:
    """Return the vectors of each weight of steps [steps, inputs, columns], by cells, and the outputs."""
    kind = next(kind for kind in KINDS if isinstance(part, kind))
    vectors: dict[str, list[torch.Tensor]] = {}
    for layer in range(part.num_layers):
        ways = []
        for way, suffix in enumerate(("", "_reverse")[: 1 + part.bidirectional]):
            options = {"nonlinearity": part.nonlinearity} if kind is torch.nn.RNN else {}
            cell = CELLS[kind](steps.shape[-1], part.hidden_size, bias=part.bias, **options)
            for name in list(cell._parameters):
                if part.bias or "weight" in name:
                    setattr(cell, name, getattr(part, f"{name}_l{layer}{suffix}"))
            place = layer * (1 + part.bidirectional) + way
            state = [each[place] for each in states]
            outputs = []
            for step in steps.flip(0) if suffix else steps:
                vectors.setdefault(f"weight_ih_l{layer}{suffix}", []).append(step)
                vectors.setdefault(f"weight_hh_l{layer}{suffix}", []).append(state[0])
                after = cell(step, tuple(state) if kind is torch.nn.LSTM else state[0])
                state = list(after) if kind is torch.nn.LSTM else [after]
                outputs.append(state[0])
            ways.append(torch.stack(outputs[::-1] if suffix else outputs))
        steps = torch.cat(ways, -1)
    return vectors, steps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_the_vectors_are_those_of_a_run_step_by_step(kind: Any, seed: int) -> None:
    draw = np.random.default_rng(seed)
    torch.manual_seed(seed)
    layers, both, first, bias, given, batched = int(draw.integers(1, 4)), *(bool(draw.integers(2)) for _ in range(5))
    options = {"nonlinearity": "relu"} if kind is torch.nn.RNN and seed % 2 else {}
    part = kind(4, 3, layers, bias=bias, batch_first=first, bidirectional=both, dropout=0.5 * (layers > 1), **options)
    part.eval()
    steps = torch.randn(int(draw.integers(1, 6)), 2 if batched else 1, 4)
    number = 2 if kind is torch.nn.LSTM else 1
    states = [torch.randn(layers * (1 + both), steps.shape[1], 3) * given for _ in range(number)]
    entering = steps.transpose(0, 1) if first and batched else steps if batched else steps[:, 0]
    begin = tuple(states if batched else [each[:, 0] for each in states])
    arguments = (entering, begin if kind is torch.nn.LSTM else begin[0]) if given else (entering,)
    found = module_layers(part)[0]
    moments = Moments(part, found)
    drawn = torch.get_rng_state()
    with moments:
        outputs = part(*arguments)[0].detach()
    assert torch.equal(drawn, torch.get_rng_state())
    assert not part._forward_hooks
    with torch.no_grad():
        vectors, model = step_by_step(part, steps, states)
    outputs = outputs.transpose(0, 1) if first and batched else outputs if batched else outputs[:, None]
    assert torch.allclose(outputs, model, atol=1e-5)
    assert {layer.owners[0][1] for layer in found} == set(vectors)
    for number, layer in enumerate(found):
        moment = moments.of(number)
        stacked = torch.cat(vectors[layer.owners[0][1]]).double().numpy()
        assert moment is not None
        assert (moment.positions, moment.columns) == (len(stacked), layer.matrix.shape[1])
        assert moment.sums[0] == pytest.approx(stacked.T @ stacked, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", CELLS.values())
@pytest.mark.parametrize("given", [True, False])
def test_cells_have_vectors_too(kind: Any, given: bool) -> None:
    torch.manual_seed(0)
    cell, inputs, hidden = kind(4, 3), torch.randn(5, 4), torch.randn(5, 3)
    moments = Moments(cell, module_layers(cell)[0])
    with moments:
        cell(inputs, hx=((hidden, hidden) if kind is torch.nn.LSTMCell else hidden) if given else None)
    for number, vectors in enumerate((inputs, hidden * given)):
        moment = moments.of(number)
        assert moment is not None
        assert moment.positions == 5
        assert moment.sums[0] == pytest.approx((vectors.T @ vectors).double().numpy(), rel=1e-4, abs=1e-6)


class OwnForward(torch.nn.LSTM):
    """A recurrent layer that computes something of its own."""

    def forward(self, inputs: torch.Tensor) -> Any:  # type: ignore[override]
        return super().forward(inputs * 2)


def test_what_cannot_be_followed_has_no_moment() -> None:
    sequences = torch.randn(5, 2, 4)
    packed = torch.nn.utils.rnn.pack_padded_sequence(sequences, [5, 3])
    dropping = torch.nn.GRU(4, 3, 2, dropout=0.5)
    for part, entering in (
        (torch.nn.LSTM(4, 3, proj_size=2), sequences),
        (torch.nn.GRU(4, 3), packed),
        (OwnForward(4, 3), sequences),
        (dropping.train(), sequences),
    ):
        moments = Moments(part, module_layers(part)[0])
        with moments, torch.no_grad():
            part(entering)
        assert set(moments.taken()[0]) == {None}


def test_an_error_of_a_recurrent_weight_is_compensated_on_its_own_vectors() -> None:
    torch.manual_seed(0)
    part, steps = torch.nn.LSTM(6, 8, 2), torch.randn(30, 20, 1) + torch.randn(30, 20, 6) / 2
    found = module_layers(part)[0]
    moments = Moments(part, found)
    with moments, torch.no_grad():
        part(steps)
        vectors, _ = step_by_step(part, steps, torch.zeros(2, 2, 20, 8))
    for number, layer in enumerate(found):
        moment, stacked = moments.of(number), torch.cat(vectors[layer.owners[0][1]]).numpy()
        assert moment is not None
        kept = magnitude_mask(layer.matrix, 0.5)
        lost = [
            np.square(stacked @ (pruned_weights(layer.matrix, kept, spread) - layer.matrix).T).mean()
            for spread in (error_spread(moment), None)
        ]
        assert lost[0] < 0.9 * lost[1]
