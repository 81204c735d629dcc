"""Checks of class scores, whose divergence after a softmax is measured, and of their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.output_changes import classes_last, log_softmax
from traces import InputError
from traces.arrays import Floats, Integers64

_SUMS_TO_ONE, _UNIT_LENGTH = 1e-4, 1e-3  # how far sums of probabilities and lengths of embeddings may be from 1
_NO_VARIATION = 1e-6  # of the largest output: rounding alone
_SCORES = "must be class scores, floats [inputs, classes], as before a softmax"
_OTHER_LOSSES = "; take the loss relative-error, or cosine for embeddings, which need no class scores"
_SURE, _MARGIN, _MOST_ALIKE = 0.7, 1.5, 0.95  # of a trained classifier: mean probability, gap of scores, answers
_CLASSES, _GAPS = (3, 4, 5, 10, 64, 1000), (2.07, 1.11, 0.85, 0.54, 0.29, 0.22)  # median gap of normal variables


def check_form(what: str, outputs: Any, inputs: int, positions: bool = False) -> None:
    """Raise InputError unless outputs are an array or a tensor [inputs, classes] with at least two classes.

    Parameters
    ----------
    what : str
        Name of the outputs in errors.
    outputs : array or tensor
        Outputs of a network.
    inputs : int
        Number of inputs.
    positions : bool
        True where a tolerance is measured: class scores for each position are allowed, too, [inputs, positions,
        classes] or [inputs, classes, height, width], and errors name the losses of outputs that are no class scores.
    """
    instead = _OTHER_LOSSES if positions else ""
    if not hasattr(outputs, "shape"):
        raise InputError(f"{what} {_SCORES}; found {type(outputs).__name__}; give one tensor alone")
    shape, dtype = list(outputs.shape), str(outputs.dtype).removeprefix("torch.")
    classes = 1 if len(shape) < 2 else shape[1 if len(shape) > 3 else -1]
    if len(shape) < 2 or (classes == 1 and (positions or len(shape) == 2)):
        raise InputError(
            f"{what} {_SCORES}; found {shape} for {inputs:,} inputs, one number each, whose softmax is always 1; for "
            f"the logit x of one class, give the scores [0, x] of two; outputs of a regression are no class "
            f"scores{instead}"
        )
    if len(shape) > 2 and not positions:
        raise InputError(
            f"{what} {_SCORES}; found {shape} for {inputs:,} inputs; wrap the network in a module that gives one row "
            f"of scores for each input"
        )
    if shape[0] != inputs or classes < 2 or 0 in shape:
        raise InputError(
            f"{what} {_SCORES}; found {shape} for {inputs:,} inputs; the first axis must be that of the inputs"
        )
    if "float" not in dtype:
        raise InputError(f"{what} {_SCORES}; found {dtype}; give the scores themselves, not the answers{instead}")


def check_scores(what: str, outputs: Floats, differing: bool = True) -> None:
    """Raise InputError unless outputs are class scores or probabilities, as far as their values show.

    Logarithms of probabilities are class scores: softmax gives the probabilities back. Outputs of a regression, and
    embeddings whose lengths differ, look like class scores.

    Parameters
    ----------
    what : str
        Name of the outputs in errors.
    outputs : float [inputs, classes] or with positions
        Outputs of a network.
    differing : bool
        True if the inputs of these outputs are not all the same.
    """
    check_form(what, outputs, len(outputs), positions=True)
    check_finite(what, outputs)
    scores = classes_last(outputs).astype(np.float64)
    centred = scores - scores.mean(axis=-1, keepdims=True)
    if np.ptp(centred, axis=0).max() <= _NO_VARIATION * np.abs(scores).max() and differing:
        raise InputError(
            f"{what} must differ from input to input, as a softmax sees them; found the same, to rounding, for all "
            f"{len(outputs):,} inputs; check that the network has its trained parameters, and the scale of the inputs"
        )
    if are_probabilities(outputs):
        return
    if scores.min() >= 0 and scores.max() <= 1:
        raise InputError(
            f"{what} {_SCORES}; found only values from {scores.min():.3g} to {scores.max():.3g}, which look like "
            f"probabilities that do not add up to 1; leave the sigmoid out of the network; if they are class scores "
            f"nevertheless, subtract 1 from all of them, which does not change a softmax{_OTHER_LOSSES}"
        )
    if have_unit_length(outputs):
        raise InputError(
            f"{what} {_SCORES}; found embeddings: those of each input have a length (L2 norm) of 1; put the layer that "
            f"makes class scores of them behind them{_OTHER_LOSSES}"
        )


def are_probabilities(outputs: Floats) -> bool:
    """Return True if no output is negative and those of each input, or of each of its positions, add up to 1."""
    values = classes_last(outputs)
    return bool(values.min() >= 0 and np.abs(values.sum(axis=-1, dtype=np.float64) - 1).max() <= _SUMS_TO_ONE)


def have_unit_length(outputs: Floats) -> bool:
    """Return True if the vectors of outputs all have an L2 norm of 1."""
    if outputs.ndim < 2 or classes_last(outputs).shape[-1] < 2:
        return False
    lengths = np.linalg.norm(classes_last(outputs).astype(np.float64), axis=-1)
    return bool(np.abs(lengths - 1).max() <= _UNIT_LENGTH)


def find_unlike_scores(outputs: Floats) -> str | None:
    """Return in what outputs are not those of a trained classifier, or None if they are in nothing.

    A classifier that was trained is mostly sure of its answer, its score stands out from those of all other classes,
    and it does not give the same answer to almost all inputs. Outputs of a regression, embeddings and class scores of
    an untrained network lack one of these.

    Parameters
    ----------
    outputs : float [inputs, classes] or with positions
        Outputs of a network.
    """
    rows = classes_last(outputs).astype(np.float64)
    rows = rows.reshape(-1, rows.shape[-1])
    classes = rows.shape[1]
    probabilities = np.exp(log_softmax(rows))
    sure = float(probabilities.max(axis=1).mean())
    if sure < _SURE:
        return f"a softmax of them is sure of its answer by {sure:.0%} in the mean, a trained classifier's by more"
    counts: Integers64 = np.bincount(rows.argmax(axis=1), minlength=classes)
    if counts.max() > _MOST_ALIKE * len(rows):
        return f"{counts.max() / len(rows):.0%} of the answers would be the same"
    if 2 * np.count_nonzero(counts) < min(classes, math.sqrt(len(rows))):
        return f"only {np.count_nonzero(counts)} of {classes} answers would be given"
    in_order = np.sort(rows, axis=1)
    if classes == 2:
        first, second = (rows - rows.mean(axis=0)).T
        alike = float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-30))
        return None if alike < -0.5 else "the two outputs do not fall and rise against each other, as scores do"
    gaps = (in_order[:, -1] - in_order[:, -2]) / np.maximum(in_order[:, :-1].std(axis=1), 1e-30)
    by_chance = float(np.interp(math.log(classes), np.log(_CLASSES), _GAPS))
    if float(np.median(gaps)) < _MARGIN * by_chance:
        return "the largest output does not stand out from the others"
    return None


def find_state(outputs: Floats, inputs: Sequence[Sequence[int | None]], grown: bool = False) -> str | None:
    """Return in what outputs are like a state that is fed on as an input, or None if they are in nothing.

    A state has the shape of a floating-point input, or is longer than it on one axis that is not that of the classes.

    Parameters
    ----------
    outputs : float [inputs, ...]
        One of the outputs of a network.
    inputs : sequence of sequence of int or None
        Shapes of floating-point inputs without the axis of the inputs; None where any length fits.
    grown : bool
        True to find only a state that is longer.
    """
    found, classes = outputs.shape[1:], 0 if outputs.ndim > 3 else outputs.ndim - 2
    for shape in inputs:
        longer = [axis for axis, (old, new) in enumerate(zip(shape, found, strict=False)) if old != new]
        if len(shape) != len(found) or not found or found[classes] != shape[classes]:
            continue
        if not longer and not grown:
            return "the shape of an input"
        if len(longer) == 1 and (shape[longer[0]] or 0) < found[longer[0]]:
            return "the shape of an input with more places"
    return None


def name_form(outputs: Floats) -> str:
    """Return the number of classes of outputs, in words."""
    return f"{classes_last(outputs).shape[-1]:,} classes"


def check_finite(what: str, outputs: Floats) -> None:
    """Raise InputError if an output is NaN or infinite."""
    wrong = ~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{what} must be finite; found NaN or infinity for {int(wrong.sum()):,} of {len(outputs):,} inputs, the "
            f"first of them number {int(wrong.argmax())}; check its parameters and these inputs"
        )


def check_labels(
    what: str, labels: Any, inputs: int, classes: int | None = None, positions: Sequence[int] | None = ()
) -> Integers64:
    """Return labels as int64. Raises InputError unless they are whole numbers, each the place of an output.

    Parameters
    ----------
    what : str
        Name of the labels in errors.
    labels : array [inputs] or [inputs, positions]
        Labels of any integer or floating-point type.
    inputs : int
        Number of inputs.
    classes : int or None
        Number of the network's outputs, if known.
    positions : sequence of int or None
        Axes of the positions that the network classifies in each input; none by default. None if they are not known
        yet.

    Returns
    -------
    int64 [inputs] or [inputs, positions]
        The labels.
    """
    where = "" if not positions else "".join(f", {length}" for length in positions)
    each = "for each position" if positions else "for each input"
    must = f"{what} must be whole numbers [inputs{where}], {each} the place of its class among the outputs, from 0 on"
    try:
        values = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{must}; found {type(labels).__name__}, which is no array: {error}") from None
    shape, axes = f"shape {list(values.shape)}", None if positions is None else 1 + len(positions)
    if values.ndim == 0 or (axes is not None and values.ndim != axes):
        if axes is not None and values.ndim == axes + 1 and values.shape[-1] == 1:
            column = "".join([":, "] * axes)
            raise InputError(f"{must}; found a column, {shape}; give its numbers alone, labels[{column}0]")
        if axes is not None and values.ndim == axes + 1:
            raise InputError(f"{must}; found {shape}; if they are one-hot, give labels.argmax(axis={axes})")
        raise InputError(f"{must}; found {shape}; give one label {each}")
    if len(values) != inputs:
        raise InputError(f"{what}: there must be a label for each input; found {len(values):,} for {inputs:,} inputs")
    if positions and values.shape[1:] != tuple(positions):
        raise InputError(f"{must}; found {shape}; give one label {each}")
    if values.dtype.kind not in "iuf":
        kind = {"b": "booleans", "U": "text", "S": "text", "T": "text"}.get(values.dtype.kind, str(values.dtype))
        example = f", like {values.flat[0]!s:.20}" if values.size else ""
        raise InputError(
            f"{must}; found {kind}{example}; number the classes in the order of the network's outputs, as int64"
        )
    if values.dtype.kind == "f":
        broken = ~np.isfinite(values) | (values != np.trunc(values))
        if broken.any():
            raise InputError(
                f"{must}; found {values[broken][0]:.6g} ({values.dtype}); targets of a regression are no classes"
            )
    if values.size and values.min() < 0:
        remedy = "give every position a class" if values.ndim > 1 else "leave inputs without a label out"
        raise InputError(f"{must}; found {values.min():.20g}; {remedy}")
    if classes is not None and values.size and values.max() >= classes:
        begin = "; they seem to begin at 1: subtract 1" if values.min() >= 1 and values.max() == classes else ""
        raise InputError(
            f"{must}, to {classes - 1} for the network's {classes} outputs; found {values.max():.20g}"
            f"{begin or '; check that they are of this network'}"
        )
    return values.astype(np.int64)
