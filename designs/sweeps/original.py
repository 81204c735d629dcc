"""Loss of a simulated network from its original, in the arithmetic of the array (PyTorch needed)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from compress import CompressedModel
from compress.networks import PlannedNetwork, is_function, network_source
from compress.planning.confidence import Interval, interval
from compress.planning.losses import AUTO, Loss, LossFunction, labels_of
from designs.network_outputs import loss_between, named_outputs
from designs.sweeps.workload_source import ContainerInputs
from traces import AnyInputs, InputError, Network
from traces.arrays import Numbers

LOSS_LEVEL = 0.9
"""Confidence level of the interval of a loss."""


@dataclass(frozen=True, eq=False)
class Original:
    """Original network of a container.

    Attributes
    ----------
    network : torch.nn.Module, Network, path or str
        A module; an opened network; an ONNX file; or package.module:function.
    weights : path, optional
        File of parameters to load into the module that a function gives.
    loss : str or callable
        What is lost, as `compress.Tolerance` takes it; by default, it follows from labels, outputs and graph.
    """

    network: Any
    weights: str | os.PathLike[str] | None = None
    loss: str | LossFunction = AUTO


@dataclass(frozen=True)
class LossOnArray:
    """Loss of a simulated network from its original.

    Attributes
    ----------
    loss : Loss
        What is lost.
    of_inputs : Interval
        Mean over the inputs, and its interval for inputs to come at a confidence level of `LOSS_LEVEL`.
    """

    loss: Loss
    of_inputs: Interval


def loss_on_array(
    original: Original,
    container: str | os.PathLike[str],
    read: ContainerInputs,
    inputs: AnyInputs | None,
    output: Any,
    labels: Numbers | None,
) -> LossOnArray:
    """Return the loss of a simulated network from its original.

    Parameters
    ----------
    original : Original
        The original, which runs in floating point.
    container : path
        File of the compressed network.
    read : ContainerInputs
        The inputs that were simulated.
    inputs : array, tuple or mapping of arrays, path, Inputs, or None
        The same inputs as they were given; None for images.
    output : array, or mapping of str to array
        Output of the simulation, or its outputs by name.
    labels : int [inputs] or [inputs, positions], optional
        Labels of the inputs.

    Raises
    ------
    InputError
        If the original is another network, does not take the inputs, or has outputs for which the loss has no meaning.
    """
    from compress.planning.outputs import run_outputs

    network = read.network.network
    one_array = len(network.inputs) == 1 and network.inputs[0].batch_axis == 0
    values = next(iter(read.feeds.values())) if one_array or inputs is None else inputs
    source = original.network
    if original.weights is not None or is_function(source):
        source = network_source(source, original.weights)[0]
    elif isinstance(source, str | os.PathLike):
        source = Network.open(source)
    planned = PlannedNetwork.beside(CompressedModel.load(container), source, values)
    given = planned.inputs(values)[: read.count]
    outputs = run_outputs(planned.module.eval(), given)
    loss = loss_between(given, outputs, original.loss, labels is not None, network)
    if labels is not None:
        labels = labels_of(labels, len(given), outputs)
    changed = named_outputs(network, output, read.count, outputs)
    losses = loss.by_input(loss.read(outputs), loss.read(changed), labels)
    return LossOnArray(loss, interval(losses, LOSS_LEVEL, shares=loss.of_answers))


def check_original(original: Original | None, state: Any) -> None:
    """Raise InputError if an original is given for a network whose state is fed on."""
    if original is not None and state:
        raise InputError(
            "the original takes each input alone, so that state cannot be fed on; leave out the original, or the state"
        )
