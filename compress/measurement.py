"""Measurement of how far a container's network is from its original, in floating point (PyTorch needed)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from compress.class_scores import are_probabilities, check_finite, check_labels, check_scores, find_state
from compress.container.model import CompressedModel
from compress.modules import plain_module
from compress.networks import PlannedNetwork
from compress.output_changes import (
    answers,
    cosine_distances,
    divergences,
    mean_of_positions,
    relative_errors,
    same_beginnings,
    surprises,
)
from compress.planning.losses import compared_outputs, labels_of, output_names
from compress.planning.outputs import compressed_outputs, float_shapes, run_outputs
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Floats, Numbers


@dataclass(frozen=True)
class MeasuredOutput:
    """Difference of one output of a container's network from the original's.

    Attributes
    ----------
    relative_error : float or None
        Mean over the inputs of the length (L2 norm) of the output's change, relative to the length of the original's
        output; None if the output is of integers.
    worst_relative_error : float or None
        The largest of them.
    worst_input : int or None
        Place of the input that has it.
    cosine : float or None
        Mean cosine of the angle between the output and the original's, over inputs and positions; None if the output is
        no vector of two floating-point values or more.
    changed_answers : float or None
        Share of answers (places of the largest class score, or integers) that differ from the original's; None if the
        output is neither class scores, nor probabilities, nor integers. A state is none: one of several outputs that
        has the shape of an input, or is longer.
    accuracy, original_accuracy : float or None
        Share of answers of the container's network and of the original that are as labelled; None without labels.
    divergence : float or None
        Mean Kullback-Leibler divergence of the softmax outputs, over inputs and positions, in nats; None if the output
        is no class scores.
    same_beginning : float or None
        Mean number of positions before the first answer that differs, of outputs [inputs, positions, classes]. If the
        inputs are texts that the original wrote greedily, the container's network begins its own texts so.
    perplexity, original_perplexity : float or None
        Exponent of the mean of -log of the labels' softmax outputs, such as the next tokens; None without labels.
    """

    relative_error: float | None
    worst_relative_error: float | None
    worst_input: int | None
    cosine: float | None
    changed_answers: float | None
    accuracy: float | None = None
    original_accuracy: float | None = None
    divergence: float | None = None
    same_beginning: float | None = None
    perplexity: float | None = None
    original_perplexity: float | None = None


@dataclass(frozen=True)
class Measurement:
    """Difference of a container's network from its original on some inputs.

    Attributes
    ----------
    inputs : int
        Number of inputs.
    outputs : Mapping[str, MeasuredOutput]
        Difference of each output by name; the name is "output" if there is only one.
    """

    inputs: int
    outputs: Mapping[str, MeasuredOutput]


def measure(
    model: CompressedModel,
    network: torch.nn.Module | Network | str | os.PathLike[str],
    inputs: AnyInputs,
    labels: Numbers | None = None,
    outputs: Sequence[str] = (),
) -> Measurement:
    """Measure how far a container's network is from its original, both in floating point.

    Parameters
    ----------
    model : CompressedModel
        The container.
    network : torch.nn.Module, Network, path or str
        The original network: a module, an opened network, an ONNX file, or package.module:function. It is left as it
        is.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Inputs of the network.
    labels : int [inputs] or [inputs, positions], or None
        Places of the right outputs, for the accuracy of one output of class scores or probabilities.
    outputs : sequence of str
        Names of the outputs to measure; all by default.

    Returns
    -------
    Measurement
        Relative errors, cosines, changed answers and accuracy of each output.

    Raises
    ------
    InputError
        If the container belongs to another network, the network does not take the inputs, its outputs are not finite,
        it has no output of such a name, or the labels do not fit.
    """
    names = output_names(outputs)
    planned = PlannedNetwork.beside(model, network, inputs)
    inputs = planned.inputs(inputs)
    if labels is not None:
        labels = check_labels("labels", labels, len(inputs), positions=None)
    every, changed = _outputs(model, planned.module, inputs)
    before, after = compared_outputs(every, names), compared_outputs(changed, names)
    for what, found in (("the original's outputs", before), ("the compressed network's outputs", after)):
        for values in found.values():
            check_finite(what, values)
    if labels is not None:
        labels = labels_of(labels, len(inputs), before)
        check_scores("the original's outputs", next(iter(before.values())), differing=False)
    shapes = float_shapes(inputs, planned.network) if len(every) > 1 else []
    measured = {}
    for name, values in before.items():
        state = labels is None and find_state(values, shapes) is not None
        measured[name] = _measured(values, after[name], labels, scores=not state and _are_scores(values))
    return Measurement(len(inputs), measured)


def _outputs(
    model: CompressedModel, network: torch.nn.Module, inputs: Inputs
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the outputs of the original network and of the one with the container's weights."""
    after = compressed_outputs(model, plain_module(network).eval(), inputs)
    return run_outputs(plain_module(network).eval(), inputs), after


def _measured(before: Floats, after: Floats, labels: Numbers | None, *, scores: bool) -> MeasuredOutput:
    if before.dtype.kind != "f":
        return MeasuredOutput(None, None, None, None, float((before != after).mean()))
    errors = relative_errors(before, after)
    worst = int(errors.argmax())
    values = 1 if before.ndim < 2 else before.shape[1 if before.ndim > 3 else -1]
    cosine = 1 - float(cosine_distances(before, after).mean()) if values > 1 else None
    measured = MeasuredOutput(
        float(errors.mean()),
        float(errors[worst]),
        worst,
        cosine,
        float(mean_of_positions(answers(before) != answers(after)).mean()) if scores else None,
    )
    if not scores:
        return measured
    read, changed = _scores(before), _scores(after)
    measured = replace(
        measured,
        divergence=float(divergences(read, changed).mean()),
        same_beginning=float(same_beginnings(read, changed).mean()) if before.ndim == 3 else None,
    )
    if labels is None:
        return measured
    return replace(
        measured,
        accuracy=float(mean_of_positions(answers(after) == labels).mean()),
        original_accuracy=float(mean_of_positions(answers(before) == labels).mean()),
        perplexity=float(np.exp(surprises(changed, labels).mean())),
        original_perplexity=float(np.exp(surprises(read, labels).mean())),
    )


def _scores(outputs: Floats) -> Floats:
    """Return class scores, which the logarithms of probabilities are."""
    return np.log(np.maximum(outputs, np.finfo(np.float32).tiny)) if are_probabilities(outputs) else outputs


def _are_scores(outputs: Floats) -> bool:
    """Return True if outputs are class scores or probabilities, as far as their values show."""
    try:
        check_scores("", outputs, differing=False)
    except InputError:
        return False
    return True
