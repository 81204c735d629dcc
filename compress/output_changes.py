"""Measures of how far a network's outputs have changed, for each input.

Outputs are class scores or vectors [inputs, classes], [inputs, positions, classes], or [inputs, classes, height, width]
and so on, as PyTorch's losses take them; a measure of several positions is their mean.
"""

from __future__ import annotations

import numpy as np

from traces.arrays import Booleans, Floats, Floats64, Integers64


def classes_last(outputs: Floats) -> Floats:
    """Return outputs with the axis of the classes last: it is axis 1 if there are four axes or more."""
    return np.moveaxis(outputs, 1, -1) if outputs.ndim > 3 else outputs


def log_softmax(outputs: Floats) -> Floats64:
    """Return the logarithms of softmax over the last axis."""
    shifted = outputs.astype(np.float64) - outputs.max(axis=-1, keepdims=True)
    logarithms: Floats64 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithms


def entropies(outputs: Floats) -> Floats64:
    """Return the mean entropy of the softmax outputs of each input, in nats, [inputs].

    Parameters
    ----------
    outputs : float [inputs, classes] or with positions
        Class scores.
    """
    logarithms = log_softmax(classes_last(outputs))
    return mean_of_positions(-(np.exp(logarithms) * logarithms).sum(axis=-1))


def divergences(original: Floats, changed: Floats) -> Floats64:
    """Return the Kullback-Leibler divergence of the softmax outputs from the original's, in nats, [inputs].

    Parameters
    ----------
    original, changed : float [inputs, classes] or with positions
        Class scores.
    """
    before, after = log_softmax(classes_last(original)), log_softmax(classes_last(changed))
    return mean_of_positions((np.exp(before) * (before - after)).sum(axis=-1))


def answers(outputs: Floats) -> Integers64:
    """Return the places of the largest class scores, [inputs] or [inputs, positions]."""
    return np.asarray(classes_last(outputs).argmax(axis=-1))


def same_beginnings(original: Floats, changed: Floats) -> Floats64:
    """Return the number of positions before the first answer that differs, [inputs]; all if none does.

    Parameters
    ----------
    original, changed : float [inputs, positions, classes]
        Class scores of positions in order, such as tokens.
    """
    same = answers(original) == answers(changed)
    return np.asarray(np.logical_and.accumulate(same, axis=1).sum(axis=1), dtype=np.float64)


def surprises(outputs: Floats, labels: Integers64) -> Floats64:
    """Return the mean of -log of the softmax outputs of the labels, in nats, [inputs]; its exponent is the perplexity.

    Parameters
    ----------
    outputs : float [inputs, classes] or with positions
        Class scores.
    labels : int64 [inputs] or with positions
        Right classes.
    """
    logarithms = log_softmax(classes_last(outputs))
    return mean_of_positions(-np.take_along_axis(logarithms, labels[..., np.newaxis], axis=-1)[..., 0])


def relative_errors(original: Floats, changed: Floats) -> Floats64:
    """Return the length of the outputs' change, relative to the length of the original's outputs, [inputs].

    The length is the L2 norm of all outputs of an input together. An input whose outputs are all 0 has none; the mean
    length over all inputs takes its place.

    Parameters
    ----------
    original, changed : float [inputs, ...]
        Outputs of any shape.
    """
    lengths, changes = _lengths(original), _lengths(changed.astype(np.float64) - original)
    lengths = np.where(lengths > 0, lengths, lengths.mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(changes == 0, 0.0, changes / lengths))


def cosine_distances(original: Floats, changed: Floats) -> Floats64:
    """Return 1 - cosine of the angle between the outputs and the original's, [inputs].

    A vector of zeros is at a distance of 1 from any other vector, and of 0 from itself.

    Parameters
    ----------
    original, changed : float [inputs, values] or with positions
        Vectors, along the axis that class scores have.
    """
    before, after = (classes_last(each).astype(np.float64) for each in (original, changed))
    lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    products = (before * after).sum(axis=-1)
    distances = 1 - np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    both_zero = ~(before.any(axis=-1) | after.any(axis=-1))
    return mean_of_positions(np.where(both_zero, 0.0, np.maximum(distances, 0.0)))


def mean_of_positions(values: Floats | Booleans) -> Floats64:
    """Return the mean of the values of each input, [inputs], of values [inputs] or [inputs, positions]."""
    flat = values if values.ndim == 1 else values.reshape(len(values), -1).mean(axis=1)
    return np.asarray(flat, dtype=np.float64)


def _lengths(outputs: Floats) -> Floats64:
    return np.asarray(np.linalg.norm(outputs.reshape(len(outputs), -1).astype(np.float64), axis=1))
