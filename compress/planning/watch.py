"""Watching a deployed container: does it still answer as the original does, on later inputs? (PyTorch needed.)

What the tolerance allows is compared with what new inputs use up, with its confidence interval: the bound is kept or
broken only where the whole interval says so. Drift is told from the inputs' own order: whether what they use up, or how
sure the original is of its answers, has moved from the first half of them to the second, or from what it was when the
plan was made.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from compress.class_scores import check_finite, check_labels
from compress.container.model import CompressedModel
from compress.planning.outputs import class_scores, run_batches
from compress.planning.plan import Plan, Tolerance, log_softmax
from traces import InputError

Floats = npt.NDArray[Any]
Verdict = Literal["kept", "broken", "undecided"]
LEVEL = 0.95
_UNLIKELY = 3.0  # standard errors
_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A mean, and the interval that holds it with `LEVEL` confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class WatchReport:
    """What new inputs say of a container.

    inputs        how many there were
    tolerance     that was to be kept
    used          what of it is used up
    disagreement  share of the inputs that are answered otherwise than by the original
    divergence    mean divergence of the outputs, in nats
    drift         by what was looked at, how far the second half of the inputs lies from the first (or the inputs
                  from the plan), in standard errors of the difference: beyond 3 is hardly chance
    """

    inputs: int
    tolerance: Tolerance
    used: Interval
    disagreement: Interval
    divergence: Interval
    drift: dict[str, float]

    @property
    def verdict(self) -> Verdict:
        """Whether the bound is kept: undecided as long as it lies within the interval."""
        if self.used.high <= self.tolerance.bound:
            return "kept"
        return "broken" if self.used.low > self.tolerance.bound else "undecided"

    @property
    def drifting(self) -> list[str]:
        """What has moved by more than chance would explain."""
        return [name for name, errors in self.drift.items() if abs(errors) > _UNLIKELY]


def watch(
    original: torch.nn.Module,
    model: CompressedModel,
    inputs: Floats,
    tolerance: Tolerance,
    *,
    labels: npt.NDArray[Any] | None = None,
    plan: Plan | None = None,
) -> WatchReport:
    """Compare a container with the original network on inputs [inputs, ...] that came later, in their order.

    labels     of the inputs, where the tolerance is an accuracy drop and they are known: whole numbers [inputs]
    plan       that the container was made by: what it measured is what drift is told from

    Raises InputError if there are fewer than two inputs, the original's outputs are no class scores
    (`compress.class_scores`), the labels are not theirs, or the container does not belong to the network.
    """
    if len(inputs) < 2:
        raise InputError(f"watching needs at least two inputs; found {len(inputs)}")
    if labels is not None:
        labels = check_labels("labels", labels, len(inputs))
    before = class_scores(original.eval(), inputs, "the original's outputs")
    if labels is not None:
        labels = check_labels("labels", labels, len(inputs), before.shape[1])
    tolerance.check_reach(before, labels)
    after = run_batches(_loaded(original, model), inputs)
    check_finite("the compressed network's outputs", after)
    used = tolerance.used_by_input(before, after, labels)
    changed = np.asarray(before.argmax(axis=-1) != after.argmax(axis=-1), dtype=np.float64)
    divergence = Tolerance(divergence=1).used_by_input(before, after, None)
    logarithms = log_softmax(before)
    entropy = -(np.exp(logarithms) * logarithms).sum(axis=-1)
    halves = {"used": used, "entropy of the original's outputs": entropy}
    drift = {f"{name}, second half from first": _apart(*np.array_split(each, 2)) for name, each in halves.items()}
    if plan is not None and plan.measured is not None and plan.standard_error is not None:
        error = math.hypot(plan.standard_error, tolerance.standard_error(used))
        drift["used, from the plan"] = (float(used.mean()) - plan.measured) / error
    share = tolerance.divergence is None and labels is None
    return WatchReport(
        len(inputs),
        tolerance,
        share_interval(used) if share else mean_interval(used),
        share_interval(changed),
        mean_interval(divergence),
        drift,
    )


def share_interval(happened: Floats) -> Interval:
    """Of the share of ones among zeros and ones (Wilson, "Probable inference", 1927)."""
    count, mean = len(happened), float(happened.mean())
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
    return Interval(mean, middle - reach, middle + reach)


def mean_interval(values: Floats) -> Interval:
    """Of the mean of values whose distribution may be lopsided: bootstrapped, percentile-t with few resamples.

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
    """Difference of two means in its standard errors; infinite where neither varies and they differ."""
    error = math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    apart = float(second.mean() - first.mean())
    if error == 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / error


def _loaded(module: torch.nn.Module, model: CompressedModel) -> torch.nn.Module:
    deployed = copy.deepcopy(module)
    model.load_into(deployed)
    return deployed.eval()
