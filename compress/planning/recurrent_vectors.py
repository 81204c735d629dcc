"""Vectors that the weights of recurrent layers are multiplied with: inputs and earlier hidden states (PyTorch needed).

Source: the equations of torch.nn.LSTM, GRU and RNN. At step t a direction of a layer computes its gates from
`weight_ih @ x[t] + weight_hh @ h[t - 1]`, rows being gates; the reverse direction reads `h[t + 1]`. In a GRU the reset
gate scales `weight_hh @ h`, not h, so that this holds for it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

_LAYERS: tuple[type[torch.nn.RNNBase], ...] = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
_CELLS: tuple[type[torch.nn.RNNCellBase], ...] = (torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell)


def can_follow(part: torch.nn.Module) -> bool:
    """Return True if a module is a recurrent layer without projections, or a cell, that computes as PyTorch does."""
    kind = next((kind for kind in (*_LAYERS, *_CELLS) if isinstance(part, kind)), None)
    return kind is not None and type(part).forward is kind.forward and not getattr(part, "proj_size", 0)


@torch.no_grad()
def vectors_of_weights(
    part: torch.nn.Module, arguments: Sequence[Any], keywords: Mapping[str, Any], outputs: Any
) -> dict[str, torch.Tensor]:
    """Return what each weight of a recurrent layer or cell was multiplied with in a call.

    Parameters
    ----------
    part : torch.nn.Module
        A layer that `can_follow` accepts. Inner layers are run again, because their outputs are not visible.
    arguments, keywords : sequence, Mapping
        Arguments of the call.
    outputs : object
        Result of the call.

    Returns
    -------
    dict of str to tensor [..., columns]
        Vectors by the weight's attribute; empty for packed sequences, and for layers that drop values between them.
    """
    given = dict(zip(("input", "hx"), arguments, strict=False)) | dict(keywords)
    inputs, hidden = given.get("input"), given.get("hx")
    hidden, cells = (hidden, None) if hidden is None or isinstance(hidden, torch.Tensor) else hidden
    if not isinstance(inputs, torch.Tensor):
        return {}
    if isinstance(part, torch.nn.RNNCellBase):
        before = inputs.new_zeros(*inputs.shape[:-1], part.hidden_size) if hidden is None else hidden
        return {"weight_ih": inputs.detach(), "weight_hh": before.detach()}
    assert isinstance(part, torch.nn.RNNBase)
    if part.training and part.dropout and part.num_layers > 1:
        return {}
    last = outputs[0].detach()
    entering = _steps_first(part, inputs.detach())
    directions = 2 if part.bidirectional else 1
    if hidden is None:
        begin = entering.new_zeros(directions * part.num_layers, entering.shape[1], part.hidden_size)
    else:
        begin = hidden.detach() if inputs.dim() == 3 else hidden.detach()[:, None]
    cells = torch.zeros_like(begin) if cells is None else cells.detach().reshape(begin.shape)
    found = {}
    for layer in range(part.num_layers):
        of_layer = slice(layer * directions, (layer + 1) * directions)
        states = begin[of_layer].contiguous(), cells[of_layer].contiguous()
        if layer == part.num_layers - 1:
            leaving = _steps_first(part, last)
        else:
            alone = _layer_alone(part, layer)
            leaving = alone(entering, states if isinstance(part, torch.nn.LSTM) else states[0])[0]
        forward, *backward = torch.split(leaving, part.hidden_size, dim=2)
        found[f"weight_ih_l{layer}"] = entering
        found[f"weight_hh_l{layer}"] = torch.cat([states[0][:1], forward[:-1]])
        if backward:
            found[f"weight_ih_l{layer}_reverse"] = entering
            found[f"weight_hh_l{layer}_reverse"] = torch.cat([backward[0][1:], states[0][1:]])
        entering = leaving
    return found


def _steps_first(part: torch.nn.RNNBase, sequences: torch.Tensor) -> torch.Tensor:
    """Return sequences as [steps, inputs, columns]."""
    if sequences.dim() == 2:
        return sequences[:, None]
    return sequences.transpose(0, 1) if part.batch_first else sequences


def _layer_alone(part: torch.nn.RNNBase, layer: int) -> torch.nn.RNNBase:
    """Return one layer of a recurrent module as a module of its own, [steps, inputs, columns], with its parameters."""
    kind = next(kind for kind in _LAYERS if isinstance(part, kind))
    options: dict[str, Any] = {"nonlinearity": part.nonlinearity} if isinstance(part, torch.nn.RNN) else {}
    columns = getattr(part, f"weight_ih_l{layer}").shape[1]
    alone = kind(columns, part.hidden_size, bias=part.bias, bidirectional=part.bidirectional, device="meta", **options)
    for name in list(alone._parameters):
        values = getattr(part, name.replace("_l0", f"_l{layer}")).detach()
        setattr(alone, name, torch.nn.Parameter(values, requires_grad=False))
    return alone.train(part.training)
