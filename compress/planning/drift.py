"""Drift of a network's inputs: a small summary of the inputs of a plan, and a comparison of later inputs with it.

Each array of the inputs is described by a few quantities, each one number for each input: mean, spread and roughness of
floating-point numbers and their lengths along random directions; of integers (tokens, categories), random sums of their
histogram, the number of different values and the share of values that are frequent in the summary's inputs. Every
quantity is compared by the two-sample Kolmogorov-Smirnov test. Since quantities are numbers of whole inputs, values
inside one input may depend on each other.

The tests of all quantities together are corrected by Holm, "A simple sequentially rejective multiple test procedure",
1979, which is valid however they depend on each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from traces import InputError, Inputs
from traces.arrays import Floats64, Integers64, Numbers
from traces.plain_values import mapping, text, true_or_false, whole_number, written_number, written_whole_number

UNLIKELY = 0.01  # probability of a false alarm, for all quantities of a comparison together
_DIRECTIONS = 8
_CUTS = 20  # parts of a distribution
_KNOWN = 256  # frequent values that are kept
_EQUAL = 1e-6  # values of a quantity that differ by this share of its size are the same
_AT_ONCE = 2**22  # elements
_FREQUENT = "share of values frequent before"


@dataclass(frozen=True)
class Distribution:
    """Distribution of one quantity.

    Attributes
    ----------
    count : int
        Number of inputs.
    cuts : tuple of float
        Ascending values, between values that occurred.
    shares : tuple of float
        For each cut, share of the inputs below it; from 0 to 1.
    """

    count: int
    cuts: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: Floats64, size: float) -> Distribution:
        """Return the distribution of values [inputs], at about 20 cuts; `size` is that of the array's elements."""
        least = _EQUAL * (max(size, float(np.abs(values).max())) or 1.0)
        different, counts = np.unique(np.round(values / least), return_counts=True)
        middles = (different[:-1] + different[1:]) / 2
        cuts = np.concatenate([[different[0] - 0.5], middles, [different[-1] + 0.5]]) * least
        shares = np.concatenate([[0.0], np.cumsum(counts) / len(values)])
        places = np.unique([int(np.abs(shares - share).argmin()) for share in np.linspace(0, 1, _CUTS + 1)])
        return cls(len(values), *(tuple(float(f"{each:.9g}") for each in part[places]) for part in (cuts, shares)))

    def shares_of(self, values: Floats64) -> tuple[float, ...]:
        """Return for each cut the share of other values below it."""
        below = np.searchsorted(np.sort(values), self.cuts, side="right") / len(values)
        return tuple(float(f"{each:.9g}") for each in below)


@dataclass(frozen=True)
class ArraySummary:
    """Summary of one array of the inputs.

    Attributes
    ----------
    floating : bool
        True for floating-point numbers, False for integers and booleans.
    shape : tuple of int
        Shape of the values of one input.
    known : tuple of int
        Frequent values of integers, ascending.
    quantities : Mapping[str, Distribution]
        Distributions by quantity.
    """

    floating: bool
    shape: tuple[int, ...]
    known: tuple[int, ...]
    quantities: Mapping[str, Distribution]


@dataclass(frozen=True)
class InputDrift:
    """Comparison of one quantity of later inputs with the summary.

    Attributes
    ----------
    array : str
        Name of the array.
    quantity : str
        What is compared, such as mean or spread.
    probability : float
        Probability that chance alone makes a difference as large in any of the quantities.
    cuts : tuple of float
        Values of the quantity.
    before, now : tuple of float
        Share of the inputs below each cut: of the summary's, and of the later ones.
    """

    array: str
    quantity: str
    probability: float
    cuts: tuple[float, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def drifting(self) -> bool:
        """True if chance hardly explains the difference."""
        return self.probability < UNLIKELY

    @property
    def difference(self) -> float:
        """Largest difference of the shares."""
        return float(np.abs(np.subtract(self.before, self.now)).max())

    @property
    def medians(self) -> tuple[float, float]:
        """Median of the quantity before and now, as well as the cuts tell."""
        before, now = (float(np.interp(0.5, shares, self.cuts)) for shares in (self.before, self.now))
        return before, now


@dataclass(frozen=True)
class InputSummary:
    """Summary of inputs, of a few kilobytes, that later inputs are compared with.

    Attributes
    ----------
    inputs : int
        Number of inputs.
    seed : int
        Seed of the random directions and sums.
    arrays : Mapping[str, ArraySummary]
        Arrays by name.
    """

    inputs: int
    seed: int
    arrays: Mapping[str, ArraySummary]

    @classmethod
    def of(cls, inputs: Inputs, seed: int = 0) -> InputSummary:
        """Summarise inputs.

        Parameters
        ----------
        inputs : Inputs
            Inputs; values that are not finite count as 0, and their share is a quantity of its own.
        seed : int
            Seed of everything drawn at random.

        Raises
        ------
        InputError
            If there are no inputs.
        """
        if not len(inputs):
            raise InputError("a summary needs at least one input; found none")
        arrays = {name: _summary(values, seed) for name, values in inputs.arrays.items()}
        return cls(len(inputs), seed, arrays)

    def compare(self, inputs: Inputs) -> list[InputDrift]:
        """Compare later inputs with the summary.

        Parameters
        ----------
        inputs : Inputs
            Later inputs, with the same arrays by name, or as many by their order. Arrays of another shape, such as
            longer texts, are compared without the random directions.

        Returns
        -------
        list of InputDrift
            One for each quantity, the least probable first.

        Raises
        ------
        InputError
            If there are no inputs, or their arrays are others, or of other kinds of numbers.
        """
        if not len(inputs):
            raise InputError("a comparison needs at least one input; found none")
        names = list(self.arrays if set(self.arrays) == set(inputs.names) else inputs.names)
        kinds = {name: _KINDS[inputs[name].dtype.kind == "f"] for name in names}
        expected = {name: _KINDS[each.floating] for name, each in self.arrays.items()}
        if list(kinds.values()) != list(expected.values()):
            raise InputError(
                f"the inputs must be arrays like those of the summary, {_listed(expected)}; found {_listed(kinds)}"
            )
        tests = []
        for name, summary in zip(names, self.arrays.values(), strict=True):
            values = _quantities(inputs[name], self.seed, summary.known)
            for quantity, distribution in summary.quantities.items():
                if quantity in values and (summary.shape == inputs[name].shape[1:] or quantity not in _ALONG):
                    now = distribution.shares_of(values[quantity])
                    tests.append((name, quantity, distribution, now, len(inputs)))
        chances = [_chance(distribution, now, count) for _, _, distribution, now, count in tests]
        drifts = [
            InputDrift(name, quantity, chance, distribution.cuts, distribution.shares, now)
            for (name, quantity, distribution, now, _), chance in zip(tests, _corrected(chances), strict=True)
        ]
        return sorted(drifts, key=lambda drift: (drift.probability, -drift.difference))

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON; rows of numbers are text, which takes less space."""
        arrays = {
            name: {
                "floating": array.floating,
                "shape": _text(array.shape),
                "known": _text(array.known),
                "quantities": {
                    quantity: {"count": each.count, "cuts": _text(each.cuts), "shares": _text(each.shares)}
                    for quantity, each in array.quantities.items()
                },
            }
            for name, array in self.arrays.items()
        }
        return {"inputs": self.inputs, "seed": self.seed, "arrays": arrays}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> InputSummary:
        """Return the summary of the values that `to_json` gave. Raises InputError for any others."""
        try:
            plain = mapping("a summary", values, ("inputs", "seed", "arrays"))
            arrays = {name: _checked_array(each) for name, each in mapping("arrays", plain["arrays"]).items()}
            seed = whole_number("seed", plain["seed"], 0, 2**63 - 1)
            return InputSummary(whole_number("inputs", plain["inputs"], 1), seed, arrays)
        except InputError as error:
            raise InputError(
                f"a summary of inputs must be values as InputSummary.to_json gives them: {error}"
            ) from None


def _checked_array(plain: Any) -> ArraySummary:
    """Return the summary of an array; raise InputError if a value is of another kind or out of its range."""
    values = mapping("an array", plain, ("floating", "shape", "known", "quantities"))
    quantities = mapping("quantities", values["quantities"])
    return ArraySummary(
        true_or_false("floating", values["floating"]),
        tuple(written_whole_number("shape", each, 0) for each in text("shape", values["shape"], empty=True).split()),
        tuple(written_whole_number("known", each) for each in text("known", values["known"], empty=True).split()),
        {name: _checked_distribution(each) for name, each in quantities.items()},
    )


def _checked_distribution(plain: Any) -> Distribution:
    values = mapping("a distribution", plain, ("count", "cuts", "shares"))
    cuts, shares = (
        tuple(written_number(name, each) for each in text(name, values[name]).split()) for name in ("cuts", "shares")
    )
    if not len(cuts) == len(shares) > 0 or any(low > high for low, high in itertools.pairwise(cuts)):
        raise InputError(f"cuts must be ascending, with one of shares for each; found {len(cuts)} and {len(shares)}")
    return Distribution(whole_number("count", values["count"], 1), cuts, shares)


_KINDS = {True: "floating-point numbers", False: "integers"}
_ALONG = tuple(f"direction {number + 1}" for number in range(_DIRECTIONS))


def compare_halves(inputs: Inputs, seed: int = 0) -> list[InputDrift]:
    """Compare the second half of inputs with the first, as `InputSummary.compare` does.

    Parameters
    ----------
    inputs : Inputs
        At least two inputs, in the order in which they came.
    seed : int
        Seed of everything drawn at random.
    """
    middle = len(inputs) // 2
    return InputSummary.of(inputs[:middle], seed).compare(inputs[middle:])


def _summary(values: Numbers, seed: int) -> ArraySummary:
    floating = values.dtype.kind == "f"
    known: tuple[int, ...] = ()
    others = np.ones(len(values), dtype=np.bool_)
    if not floating and len(values) > 1:
        # frequent values are those of one half; how frequent they are is a question to the other half
        order = np.random.default_rng(seed).permutation(len(values))
        others[order[: len(values) // 2]] = False
        different, counts = np.unique(values[~others].astype(np.int64), return_counts=True)
        known = tuple(sorted(different[np.argsort(-counts, kind="stable")[:_KNOWN]].tolist()))
    size = _size(values) if floating else 1.0
    distributions = {
        quantity: Distribution.of(each[others] if quantity == _FREQUENT else each, size)
        for quantity, each in _quantities(values, seed, known).items()
    }
    return ArraySummary(floating, values.shape[1:], known, distributions)


def _quantities(values: Numbers, seed: int, known: Sequence[int]) -> dict[str, Floats64]:
    """Return the quantities of an array by name, [inputs] each."""
    if values.dtype.kind != "f":
        parts = [_of_integers(part.astype(np.int64), seed, known) for part in _blocks(values)]
    else:
        directions = np.random.default_rng(seed).standard_normal((max(1, values[0].size), _DIRECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        parts = [_of_floats(part.astype(np.float64), directions) for part in _blocks(values)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_floats(values: Floats64, directions: Floats64) -> dict[str, Floats64]:
    finite = np.isfinite(values)
    values = np.where(finite, values, 0.0)
    flat = values.reshape(len(values), -1)
    quantities = {"mean": flat.mean(axis=1), "not finite": 1 - finite.reshape(flat.shape).mean(axis=1)}
    if flat.shape[1] > 1:
        quantities["spread"] = flat.std(axis=1)
        if values.shape[-1] > 1:
            steps = np.abs(np.diff(values, axis=-1)).reshape(len(values), -1)
            quantities["roughness"] = np.square(np.sqrt(steps).mean(axis=1))  # roots show weak noise on even ground
        quantities |= dict(zip(_ALONG, (flat @ directions).T, strict=True))
    return quantities


def _of_integers(values: Integers64, seed: int, known: Sequence[int]) -> dict[str, Floats64]:
    flat = values.reshape(len(values), -1)
    different = 1 + np.count_nonzero(np.diff(np.sort(flat, axis=1), axis=1), axis=1)
    quantities = {
        _FREQUENT: np.isin(flat, known).mean(axis=1),
        "different values": different.astype(np.float64),
    }
    for number in range(_DIRECTIONS):
        quantities[f"sum of values {number + 1}"] = _weights(flat, seed * _DIRECTIONS + number).mean(axis=1)
    return quantities


def _weights(values: Integers64, seed: int) -> Floats64:
    """Return a random weight in [-1, 1] for each value, the same for equal values.

    Source: Steele et al., "Fast splittable pseudorandom number generators", 2014, the finaliser of SplitMix.
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed / np.float64(2**63) - 1)


def _blocks(values: Numbers) -> Iterator[Numbers]:
    rows = max(1, _AT_ONCE // max(1, values[0].size))
    return (values[begin : begin + rows] for begin in range(0, len(values), rows))


def _size(values: Numbers) -> float:
    """Return the root mean square of the finite elements of an array."""
    total = sum(
        float(np.square(np.where(np.isfinite(part), part, 0), dtype=np.float64).sum()) for part in _blocks(values)
    )
    return float(np.sqrt(total / values.size))


def _chance(distribution: Distribution, now: Sequence[float], count: int) -> float:
    """Return an upper bound on the probability of a difference as large, by the Kolmogorov-Smirnov test.

    The difference at the cuts is at most that at all values, so the test raises fewer false alarms than it may.
    """
    from scipy.stats import kstwo  # takes longer to import than all the rest

    difference = float(np.abs(np.subtract(distribution.shares, now)).max())
    together = distribution.count * count / (distribution.count + count)
    return float(kstwo.sf(difference, max(1, round(together))))


def _corrected(chances: Sequence[float]) -> list[float]:
    """Return the probabilities of several tests, corrected by Holm."""
    corrected = np.empty(len(chances))
    largest = 0.0
    for place, number in enumerate(np.argsort(chances)):
        largest = max(largest, min(1.0, (len(chances) - place) * chances[number]))
        corrected[number] = largest
    return [float(each) for each in corrected]


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{each:.9g}" if isinstance(each, float) else str(each) for each in values)


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
