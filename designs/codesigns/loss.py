"""Measures of what a compressed network loses: right answers, unchanged answers, or the outputs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from compress.class_scores import check_scores
from compress.output_changes import answers, classes_last
from compress.planning.plan import Bound, Tolerance
from traces import InputError, Inputs
from traces.arrays import Floats, Numbers

Measure = Literal["auto", "accuracy", "answers", "relative_error", "cosine"]
_UNIT_LENGTH = 1e-3
LOST = {
    "accuracy": "share of right answers that is lost",
    "answers": "share of answers that change",
    "relative_error": "mean length of the outputs' change, relative to the outputs' length",
    "cosine": "mean of 1 - cosine of the angle between the outputs and the original's",
}
"""Loss by measure, in words."""


@dataclass(frozen=True)
class Loss:
    """Measure of what a compressed network loses.

    Attributes
    ----------
    measure : {"accuracy", "answers", "relative_error", "cosine"}
        The measure.
    reason : str
        Reason why it is measured.
    """

    measure: str
    reason: str

    @property
    def figure(self) -> Literal["accuracy_loss", "output_error"]:
        """Figure of a design that is this loss: accuracy_loss or output_error."""
        return "accuracy_loss" if self.of_answers else "output_error"

    @property
    def of_answers(self) -> bool:
        """True if it is a share of answers."""
        return self.measure in ("accuracy", "answers")

    @property
    def kind(self) -> Bound:
        """Kind of a planner for this loss."""
        return "divergence" if self.of_answers else self.tolerance(1.0).kind

    def tolerance(self, bound: float) -> Tolerance:
        """Return a tolerance that bounds the loss."""
        return Tolerance(**{"accuracy_drop" if self.of_answers else self.measure: bound})

    @property
    def lost(self) -> str:
        """Loss and the reason why it is measured, in words."""
        return f"{LOST[self.measure]}, since {self.reason}"


def choose_loss(
    asked: Measure, labelled: bool, inputs: Inputs, outputs: Mapping[str, Floats], scores_differ: bool = True
) -> Loss:
    """Return the measure of a network's loss.

    Parameters
    ----------
    asked : str
        A measure, or "auto".
    labelled : bool
        True if there are labels.
    inputs : Inputs
        Inputs of the network.
    outputs : mapping of str to array
        Its outputs for these inputs, by name.
    scores_differ : bool
        True if the inputs are not all the same.

    Raises
    ------
    InputError
        If the measure does not fit the labels.
    """
    if asked not in get_args(Measure):
        raise InputError(f"measure must be one of {', '.join(get_args(Measure))}; found {asked!r}")
    if asked == "accuracy" and not labelled:
        raise InputError("measure accuracy needs labels; found none; give labels, or measure answers")
    if asked not in ("auto", "accuracy") and labelled:
        raise InputError(f"labels have no effect on the measure {asked}; leave them out, or measure accuracy")
    if asked != "auto":
        return Loss(asked, "this measure was asked for")
    if labelled:
        return Loss("accuracy", "there are labels")
    if len(outputs) > 1:
        return Loss("relative_error", f"there are no labels, and the outputs are {', '.join(outputs)}")
    (values,) = outputs.values()
    same = next((name for name, each in inputs.arrays.items() if each.shape == values.shape), None)
    if same is not None and values.dtype.kind == "f" and inputs[same].dtype.kind == "f":
        return Loss(
            "relative_error", "there are no labels, and the output has the shape of an input, as no classes have"
        )
    if _has_unit_length(values):
        return Loss("cosine", "there are no labels, and the outputs are vectors of length 1, as embeddings are")
    try:
        check_scores("the outputs", values, scores_differ)
    except InputError as error:
        return Loss("relative_error", f"there are no labels, and the outputs are no class scores ({_short(error)})")
    return Loss("answers", f"there are no labels, and the outputs look like scores of {_classes(values)} classes")


def share_right(outputs: Mapping[str, Floats], right: Numbers) -> float:
    """Return the share of answers that are as labelled, of the only output."""
    (values,) = outputs.values()
    return float(np.mean(answers(values) == right))


def _classes(values: Floats) -> int:
    return int(classes_last(values).shape[-1])


def _has_unit_length(values: Floats) -> bool:
    if values.ndim < 2 or values.dtype.kind != "f" or _classes(values) < 2 or values.min() >= 0:
        return False
    lengths = np.linalg.norm(classes_last(values).astype(np.float64), axis=-1)
    return bool(np.abs(lengths - 1).max() <= _UNIT_LENGTH)


def _short(error: Any) -> str:
    """Return the part of a sentence that says what was found."""
    return str(error).partition("; found ")[2].partition(";")[0] or str(error)
