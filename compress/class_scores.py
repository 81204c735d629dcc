"""Checks of class scores, whose divergence after a softmax is measured, and of their labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from traces import InputError
from traces.arrays import Floats, Integers64

_SUMS_TO_ONE, _UNIT_LENGTH = 1e-4, 1e-3  # how far sums of probabilities and lengths of embeddings may be from 1
_NO_VARIATION = 1e-6  # of the largest output: rounding alone
_SCORES = "must be class scores, floats [inputs, classes], as before a softmax"


def check_form(what: str, outputs: Any, inputs: int) -> None:
    """Raise InputError unless outputs are an array or a tensor [inputs, classes] with at least two classes.

    Parameters
    ----------
    what : str
        Name of the outputs in errors.
    outputs : array or tensor
        Outputs of a network.
    inputs : int
        Number of inputs.
    """
    if not hasattr(outputs, "shape"):
        raise InputError(f"{what} {_SCORES}; found {type(outputs).__name__}; give one tensor alone")
    shape, dtype = list(outputs.shape), str(outputs.dtype).removeprefix("torch.")
    if len(shape) < 2 or shape[1:] == [1]:
        raise InputError(
            f"{what} {_SCORES}; found {shape} for {inputs:,} inputs, one number each, whose softmax is always 1; for "
            f"the logit x of one class, give the scores [0, x] of two; outputs of a regression are no class scores"
        )
    if len(shape) > 2:
        raise InputError(
            f"{what} {_SCORES}; found {shape} for {inputs:,} inputs; wrap the network in a module that gives one row "
            f"of scores for each input"
        )
    if shape[0] != inputs or shape[1] < 2:
        raise InputError(
            f"{what} {_SCORES}; found {shape} for {inputs:,} inputs; the first axis must be that of the inputs"
        )
    if "float" not in dtype:
        raise InputError(f"{what} {_SCORES}; found {dtype}; give the scores themselves, not the answers")


def check_scores(what: str, outputs: Floats, inputs: Floats) -> None:
    """Raise InputError unless outputs are class scores, as far as their values show.

    Logarithms of probabilities are class scores: softmax gives the probabilities back. Outputs of a regression, and
    embeddings whose lengths differ, look like class scores.

    Parameters
    ----------
    what : str
        Name of the outputs in errors.
    outputs : array
        Outputs of a network.
    inputs : array [inputs, ...]
        Inputs of these outputs.
    """
    check_form(what, outputs, len(inputs))
    check_finite(what, outputs)
    scores = outputs.astype(np.float64)
    centred = scores - scores.mean(axis=1, keepdims=True)
    if np.ptp(centred, axis=0).max() <= _NO_VARIATION * np.abs(scores).max() and (inputs != inputs[:1]).any():
        raise InputError(
            f"{what} must differ from input to input, as a softmax sees them; found the same, to rounding, for all "
            f"{len(inputs):,} inputs; check that the network has its trained parameters, and the scale of the inputs"
        )
    sums, lengths = scores.sum(axis=1), np.sqrt(np.square(scores).sum(axis=1))
    if scores.min() >= 0 and np.abs(sums - 1).max() <= _SUMS_TO_ONE:
        raise InputError(
            f"{what} {_SCORES}; found probabilities: none is negative, and those of each input add up to 1; leave the "
            f"softmax out of the network, or end it in a log_softmax"
        )
    if scores.min() >= 0 and scores.max() <= 1:
        raise InputError(
            f"{what} {_SCORES}; found only values from {scores.min():.3g} to {scores.max():.3g}, which look like "
            f"probabilities; leave the sigmoid or softmax out of the network; if they are class scores nevertheless, "
            f"subtract 1 from all of them, which does not change a softmax"
        )
    if np.abs(lengths - 1).max() <= _UNIT_LENGTH:
        raise InputError(
            f"{what} {_SCORES}; found embeddings: those of each input have a length (L2 norm) of 1; put the layer that "
            f"makes class scores of them behind them"
        )


def check_finite(what: str, outputs: Floats) -> None:
    """Raise InputError if an output is NaN or infinite."""
    wrong = ~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{what} must be finite; found NaN or infinity for {int(wrong.sum()):,} of {len(outputs):,} inputs, the "
            f"first of them number {int(wrong.argmax())}; check its parameters and these inputs"
        )


def check_labels(what: str, labels: Any, inputs: int, classes: int | None = None) -> Integers64:
    """Return labels as int64 [inputs]. Raises InputError unless they are whole numbers, each the place of an output.

    Parameters
    ----------
    what : str
        Name of the labels in errors.
    labels : array [inputs]
        Labels of any integer or floating-point type.
    inputs : int
        Number of inputs.
    classes : int or None
        Number of the network's outputs, if known.
    """
    must = f"{what} must be whole numbers [inputs], for each input the place of its class among the outputs, from 0 on"
    try:
        values = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{must}; found {type(labels).__name__}, which is no array: {error}") from None
    if values.ndim != 1:
        shape = f"shape {list(values.shape)}"
        if values.ndim == 2 and values.shape[1] == 1:
            raise InputError(f"{must}; found a column, {shape}; give its numbers alone, labels[:, 0]")
        if values.ndim == 2:
            raise InputError(f"{must}; found {shape}; if they are one-hot, give labels.argmax(axis=1)")
        raise InputError(f"{must}; found {shape}; give one label for each input")
    if len(values) != inputs:
        raise InputError(f"{what}: there must be a label for each input; found {len(values):,} for {inputs:,} inputs")
    if values.dtype.kind not in "iuf":
        kind = {"b": "booleans", "U": "text", "S": "text", "T": "text"}.get(values.dtype.kind, str(values.dtype))
        example = f", like {values[0]!s:.20}" if inputs else ""
        raise InputError(
            f"{must}; found {kind}{example}; number the classes in the order of the network's outputs, as int64"
        )
    if values.dtype.kind == "f":
        broken = ~np.isfinite(values) | (values != np.trunc(values))
        if broken.any():
            raise InputError(
                f"{must}; found {values[broken][0]:.6g} ({values.dtype}); targets of a regression are no classes"
            )
    if len(values) and values.min() < 0:
        raise InputError(f"{must}; found {values.min():.20g}; leave inputs without a label out")
    if classes is not None and len(values) and values.max() >= classes:
        begin = "; they seem to begin at 1: subtract 1" if values.min() >= 1 and values.max() == classes else ""
        raise InputError(
            f"{must}, to {classes - 1} for the network's {classes} outputs; found {values.max():.20g}"
            f"{begin or '; check that they are of this network'}"
        )
    return values.astype(np.int64)
