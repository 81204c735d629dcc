"""Confidence limits of a mean loss over inputs to come, from the losses of a sample that did not choose the plan.

Losses of 0 and 1 are shares; Jeffreys' prior gives their limits, which stay within 0 and 1 (Brown, Cai and DasGupta,
"Interval estimation for a binomial proportion", 2001). All others are skewed: a few inputs lose most. Their Student's t
is transformed by a cubic polynomial that takes its skewness away (Hall, "On the removal of skewness by transformation",
1992). A sample has less skewness than its distribution, since it often lacks the rare large losses, and may show no
spread at all. Two corrections are ours: half an input with the worst loss is added to spread and skewness, and the
skewness is multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv, stdtr, stdtrit

from traces import InputError
from traces.arrays import Floats, Floats64

_PSEUDO = 0.5  # inputs with the worst loss
_SKEWNESS = 1.2  # of the distribution, in that of a sample
_SYMMETRIC = 1e-6  # below it the transformation does nothing
_HIGHEST = math.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Interval:
    """Mean and its two-sided confidence interval.

    Attributes
    ----------
    mean, low, high : float
        The mean, and the ends of the interval.
    """

    mean: float
    low: float
    high: float


def upper_limit(values: Floats, level: float, counts: Floats | None = None, *, shares: bool = True) -> float:
    """Return the one-sided upper confidence limit of the mean over inputs to come.

    Parameters
    ----------
    values : float [inputs]
        Losses of at least two inputs, drawn at random and not used to choose what they measure.
    level : float
        Confidence level, between 0 and 1.
    counts : float [inputs] or None
        Weight of each input in the mean, 1 on average over the draws; 1 each by default.
    shares : bool
        True if losses are shares of answers or differences of them: the worst loss is 1 if all are -1, 0 and 1. False
        for divergences, errors and distances: the worst loss is the largest value, so that losses of 0 alone are
        certain.

    Raises
    ------
    InputError
        If there are fewer than two values, one is not finite, or the level is out of range.

    Notes
    -----
    The level is reached to within about 3 points from 60 inputs, or from 30 if the skewness is below 5. The limit is
    too low for fewer inputs of a more skewed loss: they rarely contain the losses that make the mean.
    """
    sample = _Sample.of(values, counts, shares)
    if not 0 < level < 1:
        raise InputError(f"the confidence level must be between 0 and 1; found {level}")
    if sample.shares:
        return 1.0 if sample.mean == 1 else float(betaincinv(*sample.beta, level))
    return sample.mean - sample.error * sample.untransformed(float(stdtrit(sample.number - 1, 1 - level)))


def level_of(values: Floats, bound: float, counts: Floats | None = None, *, shares: bool = True) -> float:
    """Return the largest confidence level, 0 to below 1, at which `upper_limit` is not above a bound.

    Parameters
    ----------
    values, counts, shares
        As `upper_limit` takes them.
    bound : float
        Bound on the mean.

    Raises
    ------
    InputError
        If there are fewer than two values, or one is not finite.
    """
    sample = _Sample.of(values, counts, shares)
    if sample.shares:
        level = float(bound >= 1) if sample.mean == 1 else float(betainc(*sample.beta, min(max(bound, 0.0), 1.0)))
    elif sample.error == 0:
        level = float(sample.mean <= bound)
    else:
        level = 1 - float(stdtr(sample.number - 1, sample.transformed((sample.mean - bound) / sample.error)))
    return min(level, _HIGHEST)


def interval(values: Floats, level: float, counts: Floats | None = None, *, shares: bool = True) -> Interval:
    """Return the mean and its two-sided confidence interval, whose ends are one-sided limits at (1 + level) / 2.

    Parameters and errors are those of `upper_limit`.
    """
    sample = _Sample.of(values, counts, shares)
    high = upper_limit(values, (1 + level) / 2, counts, shares=shares)
    if sample.shares:
        low = 0.0 if sample.mean == 0 else float(betaincinv(*sample.beta, (1 - level) / 2))
    else:
        low = -upper_limit(-np.asarray(values), (1 + level) / 2, counts, shares=shares)
    return Interval(sample.mean, low, high)


@dataclass(frozen=True)
class _Sample:
    """Moments of a sample of losses.

    Attributes
    ----------
    number : int
        Number of inputs.
    mean : float
        Mean of the values.
    error : float
        Standard error of the mean, with the worst loss.
    skewness : float
        Skewness of the distribution, divided by the square root of the number.
    shares : bool
        True if all values are 0 or 1, and of the same weight.
    """

    number: int
    mean: float
    error: float
    skewness: float
    shares: bool

    @classmethod
    def of(cls, values: Floats, counts: Floats | None, shares: bool) -> _Sample:
        losses: Floats64 = np.asarray(values, dtype=np.float64)
        worst = 1.0 if shares and np.isin(losses, (-1, 0, 1)).all() else -math.inf
        if counts is not None:
            worst *= float(np.max(counts, initial=0.0))
            losses = losses * counts
        number = len(losses)
        if number < 2:
            raise InputError(f"a confidence limit needs the losses of at least two inputs; found {number}")
        if not np.isfinite(losses).all():
            raise InputError("the losses of a confidence limit must be finite; check the outputs that they compare")
        worst = max(worst, float(losses.max()))
        mean = float(losses.mean())
        middle = mean + _PSEUDO * (worst - mean) / (number + _PSEUDO)

        def moment(power: int) -> float:
            total = ((losses - middle) ** power).sum() + _PSEUDO * (worst - middle) ** power
            return float(total) / (number + _PSEUDO)

        deviation = math.sqrt(moment(2))
        constant = deviation <= 1e-12 * abs(mean)
        return cls(
            number,
            mean,
            0.0 if constant else deviation / math.sqrt(number),
            0.0 if constant else _SKEWNESS * moment(3) / deviation**3 / math.sqrt(number),
            shares and counts is None and bool(np.isin(losses, (0, 1)).all()),
        )

    @property
    def beta(self) -> tuple[float, float]:
        """Parameters of the Beta distribution of a share, with Jeffreys' prior."""
        ones = self.number * self.mean
        return ones + 0.5, self.number - ones + 0.5

    def transformed(self, t: float) -> float:
        """Return Student's t without its skewness, which grows with `t` (Hall, 1992)."""
        skewness = self.skewness
        return t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6

    def untransformed(self, t: float) -> float:
        """Return the argument for which `transformed` is `t`."""
        if abs(self.skewness) < _SYMMETRIC:
            return t
        return 3 / self.skewness * (float(np.cbrt(1 + self.skewness * (t - self.skewness / 6))) - 1)
