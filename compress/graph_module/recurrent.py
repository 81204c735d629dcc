"""Recurrent operators, with the gates in the order of ONNX, and the hidden states that enter their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import rnn

from compress.graph_module.operator_table import integers, operator
from traces import InputError

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # places of PyTorch's gates among those of ONNX
_DIRECTIONS = ("forward", "reverse", "bidirectional")


def _both_ways(*activations: str) -> tuple[tuple[str, ...], ...]:
    return activations, activations * 2


def previous_states(outputs: Tensor, initial: Tensor | None, direction: str) -> Tensor:
    """Return the hidden states that enter the recurrent weights.

    Parameters
    ----------
    outputs : Tensor [steps, directions, batch, hidden]
        The operator's hidden states.
    initial : Tensor [directions, batch, hidden] or None
        States before the first step; None stands for zeros.
    direction : str
        As in ONNX.

    Returns
    -------
    Tensor [steps, directions, batch, hidden]
    """
    first = torch.zeros_like(outputs[0]) if initial is None else initial
    ahead = torch.cat([first[None], outputs[:-1]])
    if direction == "forward":
        return ahead
    back = torch.cat([outputs[1:], first[None]])
    return back if direction == "reverse" else torch.stack([ahead[:, 0], back[:, 1]], 1)


def _in_torch_order(weights: Tensor, gates: tuple[int, ...]) -> Tensor:
    return torch.cat([weights.chunk(len(gates))[gate] for gate in gates])


def _run(
    kind: str,
    x: Tensor,
    weights: tuple[Tensor, Tensor],
    bias: Tensor | None,
    lengths: Tensor | None,
    states: list[Tensor | None],
    direction: str,
    layout: int,
    run: Callable[..., Any],
) -> tuple[Tensor, ...]:
    """Return the outputs of ONNX: all hidden states, and the last value of each state."""
    if layout:
        x = x.transpose(0, 1)
        states = [None if state is None else state.transpose(0, 1) for state in states]
    steps, batch = x.shape[:2]
    directions, _, hidden = weights[1].shape
    gates = _GATES[kind]
    flat = []
    for number in range(directions):
        flat += [_in_torch_order(weight[number], gates) for weight in weights]
        if bias is not None:
            flat += [_in_torch_order(half, gates) for half in bias[number].chunk(2)]
    initial = [x.new_zeros(directions, batch, hidden) if state is None else state for state in states]
    for state in initial:  # PyTorch's own kernels do not check it, and write beyond their memory
        if list(state.shape) != [directions, batch, hidden]:
            raise InputError(
                f"initial states of {kind} must have shape {[directions, batch, hidden]}; found {list(state.shape)}"
            )
    sizes = None
    if lengths is not None and integers(lengths) != [steps] * batch:
        if min(integers(lengths)) < 1:
            raise InputError(f"sequence lengths must be 1 or more; found {integers(lengths)}; leave out empty ones")
        packed = rnn.pack_padded_sequence(x, lengths.long(), enforce_sorted=False)
        assert packed.sorted_indices is not None
        assert packed.unsorted_indices is not None
        order, back, sizes = packed.sorted_indices, packed.unsorted_indices, packed.batch_sizes
        x, initial = packed.data, [state.index_select(1, order) for state in initial]
    if direction == "reverse":
        outputs, lasts = _reversed(run, x, initial, flat, bias is not None, sizes)
    else:
        outputs, lasts = run(x, initial, flat, bias is not None, direction == "bidirectional", sizes)
    if sizes is not None:
        lasts = tuple(last.index_select(1, back) for last in lasts)
        sequence = rnn.PackedSequence(outputs, sizes, order, back)
        outputs, _ = rnn.pad_packed_sequence(sequence, total_length=steps)
    outputs = outputs.reshape(steps, batch, directions, hidden)
    if layout:
        return outputs.transpose(0, 1), *(last.transpose(0, 1) for last in lasts)
    return outputs.transpose(1, 2), *lasts


def _reversed(
    run: Callable[..., Any], x: Tensor, initial: list[Tensor], flat: list[Tensor], biased: bool, sizes: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run backwards in time: as the second direction of two, whose first has the same weights and is dropped."""
    outputs, lasts = run(x, [torch.cat([state, state]) for state in initial], flat * 2, biased, True, sizes)
    return outputs.chunk(2, -1)[1], tuple(last[1:] for last in lasts)


def _fused(function: Callable[..., Any], one_state: bool) -> Callable[..., Any]:
    def run(
        x: Tensor, states: list[Tensor], flat: list[Tensor], biased: bool, both: bool, sizes: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        state = states[0] if one_state else states
        if sizes is None:
            outputs, *lasts = function(x, state, flat, biased, 1, 0.0, False, both, False)
        else:
            outputs, *lasts = function(x, sizes, state, flat, biased, 1, 0.0, False, both)
        return outputs, tuple(lasts)

    return run


@operator(
    "LSTM", outputs=3, direction=_DIRECTIONS, activations=_both_ways("Sigmoid", "Tanh", "Tanh"), input_forget=(0,)
)
def _lstm(
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    *,
    activations: list[str] | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    run = _fused(torch.lstm, False)
    return _run("LSTM", x, (weights, recurrent), bias, lengths, [hidden, cell], direction, layout, run)


@operator("GRU", outputs=2, direction=_DIRECTIONS, activations=_both_ways("Sigmoid", "Tanh"))
def _gru(
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    *,
    activations: list[str] | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Tensor, ...]:
    run = _fused(torch.gru, True) if linear_before_reset else _gru_with_reset_first
    return _run("GRU", x, (weights, recurrent), bias, lengths, [hidden], direction, layout, run)


def _gru_with_reset_first(
    x: Tensor, states: list[Tensor], flat: list[Tensor], biased: bool, both: bool, sizes: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run the recurrence of ONNX without `linear_before_reset`, which PyTorch has not."""
    if sizes is not None:
        raise InputError("sequence lengths must be equal if linear_before_reset is 0; run them one by one")
    each = 4 if biased else 2
    outputs, lasts = [], []
    for number in range(2 if both else 1):
        w, r, *biases = flat[number * each : (number + 1) * each]
        entering = x @ w.T + (biases[0] if biased else 0)
        r_gates, r_new = r[: -len(r) // 3 or None], r[-(len(r) // 3) :]
        b_gates, b_new = (biases[1][: len(r_gates)], biases[1][len(r_gates) :]) if biased else (0, 0)
        state, visited = states[0][number], []
        for step in entering.flip(0) if number else entering:
            reset, update = torch.sigmoid(step[:, : len(r_gates)] + state @ r_gates.T + b_gates).chunk(2, 1)
            new = torch.tanh(step[:, len(r_gates) :] + (reset * state) @ r_new.T + b_new)
            state = (1 - update) * new + update * state
            visited.append(state)
        outputs.append(torch.stack(visited[::-1] if number else visited))
        lasts.append(state)
    return torch.cat(outputs, -1), (torch.stack(lasts),)


@operator("RNN", outputs=2, direction=_DIRECTIONS, activations=(*_both_ways("Tanh"), *_both_ways("Relu")))
def _rnn(
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    *,
    activations: list[str] | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    run = _fused(torch.rnn_relu if activations and activations[0] == "Relu" else torch.rnn_tanh, True)
    return _run("RNN", x, (weights, recurrent), bias, lengths, [hidden], direction, layout, run)
