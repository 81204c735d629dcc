"""Trained networks for co-design, with the inputs that they are compressed and judged on (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from compress.class_scores import check_labels
from compress.planning.planner import DENSITIES, WEIGHT_BITS
from traces import InputError
from traces.arrays import Floats32, Numbers


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """Trained network with the inputs that it is compressed and judged on.

    Attributes
    ----------
    name : str
        Name of the network in results.
    module : torch.nn.Module
        The network; it is not changed.
    pool : array [inputs, ...]
        Inputs to compress it on: the first 256 are analysed, all are measured.
    labels : array of int [inputs], optional
        Index of the right output for each input of the pool. Without labels, the accuracy loss is the share of answers
        that change.
    evaluation, evaluation_labels : array, optional
        Inputs and labels that the front is verified on; by default the pool.
    test, test_labels : array, optional
        Inputs and labels for a reported accuracy; no choice depends on them.
    densities : sequence of float
        Densities to try for each layer.
    weight_bits : sequence of int
        Bits of a code to try for each layer.

    Raises
    ------
    InputError
        If labels are not whole numbers, one per input, or an array lacks its counterpart.
    """

    name: str
    module: torch.nn.Module
    pool: Floats32
    labels: Numbers | None = None
    evaluation: Floats32 | None = None
    evaluation_labels: Numbers | None = None
    test: Floats32 | None = None
    test_labels: Numbers | None = None
    densities: Sequence[float] = DENSITIES
    weight_bits: Sequence[int] = WEIGHT_BITS

    def __post_init__(self) -> None:
        self.check_labels()
        if self.test is not None and self.test_labels is None:
            raise InputError("accuracy on the test images needs their labels; give test_labels")
        if self.evaluation is not None and self.labels is not None and self.evaluation_labels is None:
            raise InputError("the pool has labels, so the evaluation needs its own; give evaluation_labels")

    def check_labels(self, classes: int | None = None) -> None:
        """Raise InputError unless all labels are whole numbers, one per input, and below `classes`, if given."""
        for what, inputs, labels in (
            ("pool", self.pool, self.labels),
            ("evaluation", self.evaluation, self.evaluation_labels),
            ("test", self.test, self.test_labels),
        ):
            if labels is not None and inputs is None:
                raise InputError(f"{what}: there must be inputs for the labels; found none for {len(labels):,} labels")
            if labels is not None and inputs is not None:
                check_labels(what, labels, len(inputs), classes)

    @property
    def judged_on(self) -> tuple[Floats32, Numbers | None]:
        """Inputs that designs are verified on, and their labels."""
        return (self.pool, self.labels) if self.evaluation is None else (self.evaluation, self.evaluation_labels)
