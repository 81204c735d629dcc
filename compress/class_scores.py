"""What outputs must be so that a divergence after a softmax measures them, and what labels must be beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces import InputError

Floats = npt.NDArray[Any]
_SUMS_TO_ONE, _UNIT_LENGTH = 1e-4, 1e-3  # how far sums of probabilities and lengths of embeddings may be from 1
_NO_VARIATION = 1e-6  # of the largest output: rounding alone
_SCORES = "must be class scores, floats [inputs, classes], as before a softmax"


def check_form(what: str, outputs: Any, inputs: int) -> None:
    """Raise InputError unless outputs are an array or a tensor in the form of class scores: two or more for an input.

    what     the outputs, as the user knows them
    inputs   how many there were
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
    """Raise InputError unless outputs are class scores, as far as that can be told from them.

    what     the outputs, as the user knows them
    inputs   [inputs, ...] that the outputs are of

    Logarithms of probabilities are class scores: softmax gives the probabilities back. Outputs of a regression, and
    embeddings whose lengths differ, cannot be told from class scores.
    """
    check_form(what, outputs, len(inputs))
    check_finite(what, outputs)
    found = outputs.astype(np.float64)
    centred = found - found.mean(axis=1, keepdims=True)
    if np.ptp(centred, axis=0).max() <= _NO_VARIATION * np.abs(found).max() and (inputs != inputs[:1]).any():
        raise InputError(
            f"{what} must differ from input to input, as a softmax sees them; found the same, to rounding, for all "
            f"{len(inputs):,} inputs; check that the network has its trained parameters, and the scale of the inputs"
        )
    sums, lengths = found.sum(axis=1), np.sqrt(np.square(found).sum(axis=1))
    if found.min() >= 0 and np.abs(sums - 1).max() <= _SUMS_TO_ONE:
        raise InputError(
            f"{what} {_SCORES}; found probabilities: none is negative, and those of each input add up to 1; leave the "
            f"softmax out of the network, or end it in a log_softmax"
        )
    if found.min() >= 0 and found.max() <= 1:
        raise InputError(
            f"{what} {_SCORES}; found nothing but values from {found.min():.3g} to {found.max():.3g}, which look like "
            f"probabilities; leave the sigmoid or softmax out of the network; if they are class scores all the same, "
            f"subtract 1 from all of them, which no softmax sees"
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


def check_labels(what: str, labels: Any, inputs: int, classes: int | None = None) -> npt.NDArray[np.int64]:
    """Make labels int64 [inputs]. Raises InputError unless they are whole numbers, each the place of an output.

    what      the labels, as the user knows them
    inputs    how many there must be
    classes   outputs of the network, if they are known: each label is below
    """
    must = f"{what} must be whole numbers [inputs], for each input the place of its class among the outputs, from 0 on"
    try:
        found = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{must}; found {type(labels).__name__}, of which there is no array: {error}") from None
    if found.ndim != 1:
        shape = f"shape {list(found.shape)}"
        if found.ndim == 2 and found.shape[1] == 1:
            raise InputError(f"{must}; found a column, {shape}; give its numbers alone, labels[:, 0]")
        if found.ndim == 2:
            raise InputError(f"{must}; found {shape}; if they are one-hot, give labels.argmax(axis=1)")
        raise InputError(f"{must}; found {shape}; give one label for each input")
    if len(found) != inputs:
        raise InputError(f"{what}: there must be a label for each input; found {len(found):,} for {inputs:,} inputs")
    if found.dtype.kind not in "iuf":
        kind = {"b": "booleans", "U": "text", "S": "text", "T": "text"}.get(found.dtype.kind, str(found.dtype))
        example = f", like {found[0]!s:.20}" if inputs else ""
        raise InputError(
            f"{must}; found {kind}{example}; number the classes in the order of the network's outputs, as int64"
        )
    if found.dtype.kind == "f":
        broken = ~np.isfinite(found) | (found != np.trunc(found))
        if broken.any():
            raise InputError(
                f"{must}; found {found[broken][0]:.6g} ({found.dtype}); what a regression is to give is no class"
            )
    if len(found) and found.min() < 0:
        raise InputError(f"{must}; found {found.min():.20g}; leave inputs without a label out")
    if classes is not None and len(found) and found.max() >= classes:
        begin = "; they seem to begin at 1: subtract 1" if found.min() >= 1 and found.max() == classes else ""
        raise InputError(
            f"{must}, to {classes - 1} for the network's {classes} outputs; found {found.max():.20g}"
            f"{begin or '; check that they are of this network'}"
        )
    return found.astype(np.int64)
