"""Comparison of a deployed container with the original network on later inputs (PyTorch needed).

The use of the tolerance by new inputs has a confidence interval; the bound is kept or broken only if the whole interval
says so. Drift is a change of the use, or of the entropy of the original's softmax outputs, from the first half of the
inputs to the second, or of the use since the plan was made.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import torch

from compress.class_scores import check_finite, check_labels
from compress.container.model import CompressedModel
from compress.modules import plain_module
from compress.networks import PlannedNetwork
from compress.output_changes import classes_last, log_softmax, mean_of_positions
from compress.planning.outputs import check_labels_of, read_outputs
from compress.planning.plan import Plan, Tolerance
from traces import AnyInputs, InputError, Network
from traces.arrays import Floats, Numbers

Verdict = Literal["kept", "broken", "undecided"]
LEVEL = 0.95
_UNLIKELY = 3.0  # standard errors
_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """Mean and its confidence interval at the confidence level `LEVEL`.

    Attributes
    ----------
    mean, low, high : float
        The mean, and the ends of the interval.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class WatchReport:
    """Result of watching a container on new inputs.

    Attributes
    ----------
    inputs : int
        Number of inputs.
    tolerance : Tolerance
        Bound on the outputs.
    used : Interval
        Use of the tolerance.
    disagreement : Interval or None
        Share of the answers that differ from the original's; None if the bound is not on class scores.
    divergence : Interval or None
        Mean divergence of the outputs, in nats; None if the bound is not on class scores.
    drift : dict of str to float
        By quantity: difference of the second half of the inputs from the first, or of the inputs from the plan, in
        standard errors. Chance hardly explains more than 3.
    """

    inputs: int
    tolerance: Tolerance
    used: Interval
    disagreement: Interval | None
    divergence: Interval | None
    drift: dict[str, float]

    @property
    def verdict(self) -> Verdict:
        """Verdict on the bound: "kept", "broken", or "undecided" if it lies within the interval."""
        if self.used.high <= self.tolerance.bound:
            return "kept"
        return "broken" if self.used.low > self.tolerance.bound else "undecided"

    @property
    def drifting(self) -> list[str]:
        """Quantities whose drift chance hardly explains."""
        return [name for name, errors in self.drift.items() if abs(errors) > _UNLIKELY]


def watch(
    original: torch.nn.Module | Network | str | os.PathLike[str],
    model: CompressedModel,
    inputs: AnyInputs,
    tolerance: Tolerance,
    *,
    labels: Numbers | None = None,
    plan: Plan | None = None,
) -> WatchReport:
    """Compare a container with the original network on later inputs.

    Parameters
    ----------
    original : torch.nn.Module, Network, path or str
        The network that was compressed: a module, an opened network, an ONNX file, or package.module:function. It is
        left as it is.
    model : CompressedModel
        The deployed container.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Later inputs, in the order in which they came.
    tolerance : Tolerance
        Bound on the outputs.
    labels : int [inputs] or [inputs, positions], or None
        Places of the right outputs, if the tolerance is an accuracy drop and they are known.
    plan : Plan or None
        The container's plan; drift from its measurement is reported, too.

    Returns
    -------
    WatchReport
        Intervals, verdict and drift.

    Raises
    ------
    InputError
        If there are fewer than two inputs, the tolerance has no meaning for the original's outputs, the labels do not
        fit, or the container belongs to another network.
    """
    planned = PlannedNetwork.beside(model, original, inputs)
    inputs = planned.inputs(inputs)
    if len(inputs) < 2:
        raise InputError(f"watching needs at least two inputs; found {len(inputs)}")
    if labels is not None:
        labels = check_labels("labels", labels, len(inputs), positions=None)
    network = plain_module(planned.module).eval()
    reader, before = read_outputs(network, inputs, tolerance.kind, "the original's outputs")
    if labels is not None:
        labels = check_labels_of(labels, len(inputs), before, tolerance.kind)
    tolerance.check_reach(before, labels)
    model.load_into(network)
    after = reader.run(network, inputs)
    for values in after.values():
        check_finite("the compressed network's outputs", values)
    used = tolerance.used_by_input(before, after, labels)
    halves = {"used": used}
    changed = divergence = None
    if reader.scores:
        changed = Tolerance(accuracy_drop=1).used_by_input(before, after, None)
        divergence = Tolerance(divergence=1).used_by_input(before, after, None)
        halves["entropy of the original's outputs"] = np.mean([_entropy(each) for each in before.values()], axis=0)
    drift = {f"{name}, second half from first": _apart(*np.array_split(values, 2)) for name, values in halves.items()}
    if plan is not None and plan.measured is not None and plan.standard_error is not None:
        error = math.hypot(plan.standard_error, tolerance.standard_error(used))
        drift["used, from the plan"] = (float(used.mean()) - plan.measured) / error
    return WatchReport(
        len(inputs),
        tolerance,
        _interval(used, tolerance.kind == "accuracy_drop" and labels is None),
        None if changed is None else _interval(changed, True),
        None if divergence is None else mean_interval(divergence),
        drift,
    )


def share_interval(happened: Floats) -> Interval:
    """Return the interval of the share of ones among zeros and ones (Wilson, "Probable inference", 1927)."""
    count, mean = len(happened), float(happened.mean())
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
    return Interval(mean, middle - reach, middle + reach)


def mean_interval(values: Floats) -> Interval:
    """Return the interval of the mean of values whose distribution may be skewed, by the bootstrap-t.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 12.5.
    """
    count, mean = len(values), float(values.mean())
    error = float(values.std()) / math.sqrt(count)
    if error == 0:
        return Interval(mean, mean, mean)
    draw = np.random.default_rng(0)
    ratios = []
    for _ in range(_RESAMPLES):
        again = values[draw.integers(0, count, count)]
        spread = float(again.std()) / math.sqrt(count)
        if spread > 0:
            ratios.append((float(again.mean()) - mean) / spread)
    low, high = np.quantile(ratios, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(mean, mean - float(high) * error, mean - float(low) * error)


def _apart(first: Floats, second: Floats) -> float:
    """Return the difference of two means in standard errors; infinite if neither varies and they differ."""
    error = math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    apart = float(second.mean() - first.mean())
    if error == 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / error


def _interval(values: Floats, shares: bool) -> Interval:
    """Return the interval of values; of shares that are all 0 or 1, that of a share."""
    return share_interval(values) if shares and np.isin(values, (0, 1)).all() else mean_interval(values)


def _entropy(scores: Floats) -> Floats:
    """Return the mean entropy of the softmax outputs of each input, in nats."""
    logarithms = log_softmax(classes_last(scores))
    return mean_of_positions(-(np.exp(logarithms) * logarithms).sum(axis=-1))
