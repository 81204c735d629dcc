"""Outputs of a simulated network beside those of its original, and the loss between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from compress.planning.losses import AUTO, Loss, LossFunction, choose_loss
from traces import InputError, Inputs, Network
from traces.arrays import Floats
from traces.graph.layers import output_axes


def loss_between(
    inputs: Inputs,
    outputs: Mapping[str, Floats],
    loss: str | LossFunction = AUTO,
    labelled: bool = False,
    network: Network | None = None,
) -> Loss:
    """Return the loss that a network is judged by, checked on its outputs.

    Parameters
    ----------
    inputs : Inputs
        Inputs of the network.
    outputs : mapping of str to array
        Its outputs for these inputs, as it gives them, by name.
    loss : str or callable
        The loss, as `compress.Tolerance` takes it. By default it follows from labels, outputs and graph; class scores
        and probabilities lose answers.
    labelled : bool
        True if there are labels.
    network : Network, optional
        Graph of the network, if it is known.

    Raises
    ------
    InputError
        If the loss has no meaning for the outputs, or labels have no effect on it.
    """
    if loss == AUTO:
        chosen = choose_loss(inputs, outputs, labelled, network)
        taken = replace(chosen, name="answers") if chosen.name == "kl" else chosen
    else:
        taken = Loss.of(loss, labelled)
        if labelled and taken.name != "accuracy":
            raise InputError(f"labels have no effect on the loss {taken.name}; leave them out, or take accuracy")
    return taken.check("the network's outputs", outputs, inputs.differ)


def named_outputs(network: Network, output: Any, inputs: int, original: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return outputs of a graph as the original network gives them.

    Parameters
    ----------
    network : Network
        Network of the graph.
    output : array or mapping of str to array
        Its output, or its outputs by name.
    inputs : int
        Number of inputs.
    original : mapping of str to array [inputs, ...]
        Outputs of the original network on any inputs, in the order of the graph's.

    Returns
    -------
    dict of str to array [inputs, ...]
        The outputs by the original's names, with the inputs on the first axis.

    Raises
    ------
    InputError
        If number or shapes of the outputs differ from the original's.
    """
    given = output if isinstance(output, Mapping) else {network.outputs[0]: output}
    axes = output_axes(network)
    has_axis = any(entry.batch_axis is not None for entry in network.inputs)
    values = [_inputs_first(given[name], axes[name], inputs) if has_axis else given[name][None] for name in given]
    shapes = [each.shape[1:] for each in values]
    expected = [each.shape[1:] for each in original.values()]
    if shapes != expected:
        raise InputError(
            f"{network.name}: the graph must have the outputs of the original network, "
            f"{', '.join(f'{name} {list(each.shape[1:])}' for name, each in original.items())} for each input; found "
            f"{', '.join(f'{name} {list(shape)}' for name, shape in zip(given, shapes, strict=True))}; its loss in "
            f"fixed point cannot be measured, so take precision='float'"
        )
    return dict(zip(original, values, strict=True))


def _inputs_first(values: Floats, axis: int, inputs: int) -> Floats:
    """Return an output with the axis of the inputs in front; several places of one input stay an axis of their own."""
    part = np.moveaxis(values.reshape(*values.shape[:axis], inputs, -1, *values.shape[axis + 1 :]), axis, 0)
    return part.squeeze(axis + 1) if part.shape[axis + 1] == 1 else part
