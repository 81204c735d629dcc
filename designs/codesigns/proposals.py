"""Compressions to choose from: one candidate for each layer, without any array.

A compression is a row of places, one for each layer: an array int16 [layers] of places in the layer's candidates. Rows
of several compressions are an array int16 [compressions, layers].

Changes and costs of a compression are sums over its layers, so a weighted sum of costs and change is least where each
layer alone has its least. Most proposals are made so, for many weights and many limits on the change at once. The
rest of the limit is used up by changes of single layers, so that candidates off the convex hull are proposed, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from compress.planning.knapsack import choose
from compress.planning.plan import Candidate, Choice
from compress.planning.relaxation import Relaxation
from designs.hypervolume import greedy_order
from traces import InputError
from traces.arrays import Booleans, Floats, Floats64, Integers64, Numbers
from traces.pareto import non_dominated

Rows = npt.NDArray[np.int16]

COSTS = ("file_bytes", "macs", "entries")
"""Costs of a candidate that are weighed against each other."""
_ROUNDING = 1e-9  # of the largest change, in sums
_DRAWN_AT_ONCE = 256
_MOST_DRAWS = 40  # for each proposal that is asked for
_FRUITLESS_DRAWS = 1024  # without a new compression, after which no more are drawn
_POOL = 4096  # compressions that are put into an order
_MOST_ENUMERATED = 2**17  # compressions of a small space
_OF_WHICH_EVEN = 8
_BOX = 1.2  # the box begins at the best costs and ends beyond the worst, so that these count, too
_LEAST_CHANGE = 1e-8  # of the largest: where limits on the change begin if a compression changes nothing
_LEAST_SCALE = 1e-6  # of a cost, relative to the least one at the least change
_BISECTIONS = 28
_PRICES = (1e-9, 1e9)  # of a change by the whole limit, relative to the cost
_WITHOUT_LIMIT = 0.5  # share of draws without a limit on the entries of each layer
_STEPS_OF_ENTRIES = 64
_ENUMERATED_AT_ONCE = 2**16


@dataclass(frozen=True, eq=False)
class CompressionSpace:
    """All compressions of a network within a change of its outputs, with additive changes and costs.

    Attributes
    ----------
    names : tuple of str
        Names of the layers.
    candidates : sequence of sequence of Candidate [layers][candidates]
        The candidates of each layer, with the costs `COSTS`.
    widths : tuple of int
        Widths of a code, in bits, that an array may have. A compression is as wide as its widest layer needs.
    most_change : float
        Largest total change of the outputs (squared).
    narrow_codes_matter : bool
        True if bytes of the file are a cost. Otherwise a code that is narrower than the array's saves nothing.
    losses : callable, optional
        Function that returns the losses expected of total changes [compressions]; it must not decrease. None: the
        change itself is the loss.

    Raises
    ------
    InputError
        If there is no layer, no width, or no compression within `most_change`.
    """

    names: tuple[str, ...]
    candidates: Sequence[Sequence[Candidate]]
    widths: tuple[int, ...]
    most_change: float
    narrow_codes_matter: bool = True
    losses: Callable[[Floats64], Floats64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(sorted({int(width) for width in self.widths})))
        if not self.names or len(self.names) != len(self.candidates) or not all(self.candidates):
            raise InputError(
                f"a space of compressions needs candidates for each of one or more layers; found "
                f"{[len(of_layer) for of_layer in self.candidates]} candidates for {len(self.names)} names"
            )
        if not self.widths:
            raise InputError("widths must hold one or more widths of a code; found none")
        if not self._feasible_widths:
            least = min(float(self._least_changes(width).sum()) for width in self.widths)
            found = (
                f"{self.most_change:.6g}, less than the {least:.6g} of the compression that changes least"
                if math.isfinite(least)
                else f"widths {self.widths}, of which none holds codes of every layer"
            )
            raise InputError(
                f"most_change and widths must leave at least one compression; found {found}; allow a larger change or "
                f"wider codes"
            )

    # tables of candidates

    @cached_property
    def change(self) -> Floats64:
        """Squared changes of the outputs, [layers, most candidates]; infinite where a layer has fewer."""
        return self._table([[each.change for each in of_layer] for of_layer in self.candidates])

    @cached_property
    def costs(self) -> Mapping[str, Floats64]:
        """Costs by name, as `change`."""
        return {
            name: self._table([[each.costs[name] for each in of_layer] for of_layer in self.candidates])
            for name in COSTS
        }

    @cached_property
    def bits(self) -> Floats64:
        """Bits of a code, as `change`."""
        return self._table([[each.choice.weight_bits for each in of_layer] for of_layer in self.candidates])

    def _table(self, values: Sequence[Sequence[float]]) -> Floats64:
        table = np.full((len(values), max(map(len, values))), np.inf)
        for row, of_layer in zip(table, values, strict=True):
            row[: len(of_layer)] = of_layer
        return table

    def _least_changes(self, width: int) -> Floats64:
        least: Floats64 = np.where(self.bits <= width, self.change, np.inf).min(axis=1)
        return least

    @property
    def _limit(self) -> float:
        return self.most_change * (1 + _ROUNDING)

    @cached_property
    def _feasible_widths(self) -> tuple[int, ...]:
        return tuple(width for width in self.widths if self._least_changes(width).sum() <= self._limit)

    @property
    def _counted(self) -> tuple[str, ...]:
        """Names of the costs that differ between compressions of one width."""
        return COSTS if self.narrow_codes_matter else COSTS[1:]

    @cached_property
    def _useful(self) -> dict[int, Booleans]:
        """Useful candidates by width of the array, [layers, most candidates].

        They are narrow enough, can be part of a compression within the largest change, and no other one dominates
        them in change and costs. Of equal ones, the widest stays.
        """
        useful = {}
        for width in self._feasible_widths:
            least = self._least_changes(width)
            room = self._limit - least.sum() + least
            mask = (self.bits <= width) & (self.change <= room[:, None])
            for number, of_layer in enumerate(mask):
                places = np.flatnonzero(of_layer)
                places = places[np.argsort(-self.bits[number, places], kind="stable")]
                values = [self.change[number, places], *(self.costs[name][number, places] for name in self._counted)]
                of_layer[:] = False
                of_layer[places[non_dominated(np.stack(values, axis=1), keep_equal=False)]] = True
            useful[width] = mask
        return useful

    # what compressions are

    def choices(self, row: npt.ArrayLike) -> dict[str, Choice]:
        """Return the choice of each layer of a compression, by name."""
        places = np.asarray(row).tolist()
        return {name: of[at].choice for name, of, at in zip(self.names, self.candidates, places, strict=True)}

    def row(self, choices: Mapping[str, Choice]) -> Rows:
        """Return the places of the candidates of some choices, one for each layer, int16 [layers]."""
        pairs = zip(self.names, self.candidates, strict=True)
        places = [[each.choice for each in of].index(choices[name]) for name, of in pairs]
        return np.array(places, dtype=np.int16)

    def best_by_density(self, layer: int, width: int) -> list[int]:
        """Return the places of a layer's candidates that change least of their density and threshold of activations.

        Their codes are within a width.
        """
        best: dict[tuple[float, float], int] = {}
        for place, candidate in enumerate(self.candidates[layer]):
            key = candidate.choice.density, candidate.choice.activation_threshold
            if candidate.choice.weight_bits <= width and (
                key not in best or candidate.change < self.candidates[layer][best[key]].change
            ):
                best[key] = place
        return list(best.values())

    def changes_of(self, rows: npt.ArrayLike) -> Floats64:
        """Return the total change of compressions, [compressions]."""
        return self._sums(self.change, rows)

    def costs_of(self, rows: npt.ArrayLike, name: str) -> Floats64:
        """Return the total cost of compressions, [compressions]."""
        return self._sums(self.costs[name], rows)

    def widths_of(self, rows: npt.ArrayLike) -> Integers64:
        """Return the width of the narrowest array that holds each compression, in bits, [compressions]."""
        widest = self._of_layers(self.bits, rows).max(axis=1)
        widths: Integers64 = np.array(self.widths)[np.searchsorted(self.widths, widest)]
        return widths

    def within(self, rows: npt.ArrayLike) -> Booleans:
        """Mark the compressions within the largest change, [compressions]."""
        kept: Booleans = self.changes_of(rows) <= self._limit
        return kept

    def _of_layers(self, table: Floats64, rows: npt.ArrayLike) -> Floats64:
        places = np.asarray(rows, dtype=np.int64).reshape(-1, len(self.names))
        of_layers: Floats64 = table[np.arange(len(self.names)), places]
        return of_layers

    def _sums(self, table: Floats64, rows: npt.ArrayLike) -> Floats64:
        total: Floats64 = self._of_layers(table, rows).sum(axis=1)
        return total

    # proposals

    def corners(self) -> Rows:
        """Return compressions that are best in one respect, exactly, within the largest change.

        They have the least change, the smallest file (if bytes matter), fewest multiply-accumulates, fewest entries,
        the smallest largest layer, and the narrowest codes, each once.
        """
        widest, narrowest = self._feasible_widths[-1], self._feasible_widths[0]
        least_change = np.where(self._useful[widest], self.change, np.inf).argmin(axis=1)
        corners = [least_change, *(self._cheapest(name, self._useful[widest]) for name in self._counted)]
        corners.append(self._cheapest("macs", self._smallest_largest_layer(self._useful[widest])))
        corners.append(self._cheapest("macs", self._useful[narrowest]))
        return _distinct(np.array(corners, dtype=np.int16))

    def _cheapest(self, name: str, allowed: Booleans) -> Integers64:
        places = [np.flatnonzero(of_layer) for of_layer in allowed]
        costs, changes = (
            [of_layer[at] for of_layer, at in zip(table, places, strict=True)]
            for table in (self.costs[name], self.change)
        )
        chosen = choose(costs, {"change": (changes, self._limit)}, gap=0.0)
        assert chosen is not None, "the options of least change keep the limit"
        return np.array([of_layer[at] for of_layer, at in zip(places, chosen, strict=True)])

    def _smallest_largest_layer(self, allowed: Booleans) -> Booleans:
        """Return the candidates with at most as many entries as the largest layer has if that is as small as can be."""
        entries = np.where(allowed, self.costs["entries"], np.inf)
        sizes = np.unique(entries[np.isfinite(entries)])
        low, high = 0, len(sizes) - 1  # the largest size is enough
        while low < high:
            middle = (low + high) // 2
            change = np.where(entries <= sizes[middle], self.change, np.inf).min(axis=1).sum()
            low, high = (low, middle) if change <= self._limit else (middle + 1, high)
        small: Booleans = entries <= sizes[high]
        return small

    def proposals(self, number: int, seed: int = 0) -> Rows:
        """Return compressions to try, the most useful first.

        Parameters
        ----------
        number : int
            Most compressions that are returned.
        seed : int
            Seed of the sequence.

        Returns
        -------
        int16 [compressions, layers]
            Distinct compressions within the largest change: the corners, then those that dominate most besides the
            ones before them, in the space of the loss, the width of a code, and the logarithms of
            multiply-accumulates, of bits that an array stores and, if they matter, of bytes of the file. One in eight
            reduces the largest layer instead. Then the rest of the pool follows. All that exist may be fewer than
            `number`. Up to 4,096, a shorter sequence is the beginning of a longer one.

        Notes
        -----
        The pool has all compressions of a small space. Otherwise it has 4,096 with evenly spread widths of a code,
        limits on the change, weights of the costs and limits on the entries of each layer, and neighbours of these if
        there are fewer. Source of their sequence:
        the additive recurrence of Martin Roberts, "The unreasonable effectiveness of
        quasirandom sequences", 2018.
        """
        pool = self._pool(max(number, _POOL), seed)
        corners = self.corners()
        changes, width = self.changes_of(pool), self.widths_of(pool)
        loss = changes if self.losses is None else self.losses(changes)
        costs = {name: self.costs_of(pool, name) for name in self._counted}
        largest = self._of_layers(self.costs["entries"], pool).max(axis=1) * width
        logarithmic = [*(costs[name] for name in self._counted if name != "entries"), costs["entries"] * width]
        most = _order([loss, width], logarithmic, number)
        evenest = _order([loss], [costs["macs"], largest], number // _OF_WHICH_EVEN + 1)
        order = [int(at) for at in most]
        for turn, at in enumerate(evenest):
            order.insert((turn + 1) * _OF_WHICH_EVEN - 1, int(at))
        rows = list(dict.fromkeys(row.tobytes() for row in [*corners, *pool[order], *pool]))
        return np.frombuffer(b"".join(rows[:number]), dtype=np.int16).reshape(-1, len(self.names)).copy()

    def _pool(self, number: int, seed: int) -> Rows:
        """Return all compressions of a small space within the largest change, or else so many, spread evenly."""
        if self.num_compressions <= _MOST_ENUMERATED:
            return np.concatenate(list(self.all_compressions()))
        found: dict[bytes, None] = {}
        shift = np.random.default_rng(seed).random(_COORDINATES)
        fruitless, drawn = 0, 0
        while len(found) < number and fruitless < _FRUITLESS_DRAWS and drawn < _MOST_DRAWS * number:
            places = (shift + np.arange(drawn + 1, drawn + 1 + _DRAWN_AT_ONCE)[:, None] * _STEPS) % 1.0
            drawn += _DRAWN_AT_ONCE
            known, taken = len(found), self._drawn(places)
            found.update(dict.fromkeys(row.tobytes() for row in taken[self.within(taken)]))
            fruitless = fruitless + _DRAWN_AT_ONCE if len(found) == known else 0
        rows = list(found)
        for row in rows:  # which grows
            if len(rows) >= number:
                break
            new = dict.fromkeys(each.tobytes() for each in self.neighbours(np.frombuffer(row, dtype=np.int16)))
            rows += [each for each in new if each not in found]
            found.update(new)
        return np.frombuffer(b"".join(rows), dtype=np.int16).reshape(-1, len(self.names))

    def _drawn(self, places: Floats64) -> Rows:
        """Return compressions for places in the unit cube, [draws, `_COORDINATES`]."""
        rows = np.empty((len(places), len(self.names)), dtype=np.int16)
        turns = np.minimum((places[:, 0] * len(self._feasible_widths)).astype(np.int64), len(self._feasible_widths) - 1)
        for number, width in enumerate(self._feasible_widths):
            drawn = np.flatnonzero(turns == number)
            if len(drawn):
                rows[drawn] = self._drawn_at(width, places[drawn])
        return rows

    def _drawn_at(self, width: int, places: Floats64) -> Integers64:
        at_width = self._at_widths[width]
        low, high = at_width.change_range
        limits = low * (high / low) ** places[:, 1]
        weights = _weights(places[:, 2:4], len(self._counted))
        scaled = weights / at_width.least_costs(limits)
        strength = np.maximum(places[:, 4] - _WITHOUT_LIMIT, 0.0) / (1 - _WITHOUT_LIMIT)
        most_entries = np.where(strength > 0, at_width.most_entries(limits, 1 - strength), np.inf)
        return at_width.cheapest(scaled, limits, most_entries)

    @cached_property
    def _at_widths(self) -> dict[int, _AtWidth]:
        at_widths = {}
        for width, useful in self._useful.items():
            most = int(useful.sum(axis=1).max())
            order = np.argsort(~useful, axis=1, kind="stable")[:, :most]
            absent = ~np.take_along_axis(useful, order, axis=1)
            tables = [self.change, *(self.costs[name] for name in (*self._counted, "entries"))]
            taken = [np.where(absent, np.inf, np.take_along_axis(table, order, axis=1)) for table in tables]
            at_widths[width] = _AtWidth(order, taken[0], np.stack(taken[1:-1]), taken[-1], self.most_change)
        return at_widths

    # all of them, and those next to one

    @cached_property
    def _blocks(self) -> list[_Block]:
        """Blocks of compressions: by width, then by the first layer that needs it."""
        blocks = []
        narrower = 0
        for width, useful in self._useful.items():
            wide = useful & (self.bits > narrower)
            for first in range(len(self.names)):
                masks = [*(useful & ~wide)[:first], wide[first], *useful[first + 1 :]]
                block = _Block([np.flatnonzero(mask) for mask in masks])
                if block.number:
                    blocks.append(block)
            narrower = width
        return blocks

    @cached_property
    def enumerated(self) -> tuple[Integers64, ...]:
        """Places of each layer's candidates that some of `compressions` has, in order."""
        of_layers = zip(*(block.places for block in self._blocks), strict=True)
        return tuple(np.unique(np.concatenate(places)) for places in of_layers)

    def ladders(self, steps: int) -> Rows:
        """Return compressions of each width, from the most entries in every layer to the fewest, each once.

        Parameters
        ----------
        steps : int
            Most compressions of each width and first layer that needs it.

        Returns
        -------
        int16 [compressions, layers]
            The compressions. Some may exceed the largest change.
        """
        entries, rows = self.costs["entries"], []
        for block in self._blocks:
            by_entries = [at[np.argsort(-entries[layer, at], kind="stable")] for layer, at in enumerate(block.places)]
            shares = np.linspace(0, 1, steps)
            ranks = [np.round(shares * (len(at) - 1)).astype(np.int64) for at in by_entries]
            rows.append(np.stack([at[rank] for at, rank in zip(by_entries, ranks, strict=True)], axis=1))
        return _distinct(np.concatenate(rows).astype(np.int16))

    @property
    def num_compressions(self) -> int:
        """Exact number of the compressions that `compressions` counts."""
        return sum(block.number for block in self._blocks)

    def compressions(self, begin: int, end: int) -> Rows:
        """Return a part of all compressions that may be Pareto-optimal on some array, in a fixed order.

        Parameters
        ----------
        begin, end : int
            First place of the part, and the place behind it; 0 to `num_compressions`.

        Returns
        -------
        int16 [end - begin, layers]
            All combinations of candidates that no other candidate of their layer dominates in change and costs, once
            each, by width. Some may exceed the largest change (`within`).

        Raises
        ------
        InputError
            If there are no such places.
        """
        if not 0 <= begin <= end <= self.num_compressions:
            raise InputError(
                f"begin and end must be in order and within 0 to {self.num_compressions:,}; found {begin} and {end}"
            )
        parts = [np.empty((0, len(self.names)), dtype=np.int16)]
        offset = 0
        for block in self._blocks:
            low, high = max(begin - offset, 0), min(end - offset, block.number)
            if low < high:
                parts.append(block.rows(low, high))
            offset += block.number
        return np.concatenate(parts)

    def all_compressions(self, at_once: int = _ENUMERATED_AT_ONCE) -> Iterator[Rows]:
        """Return all compressions within the largest change, in parts of at most `at_once`."""
        for begin in range(0, self.num_compressions, at_once):
            rows = self.compressions(begin, min(begin + at_once, self.num_compressions))
            yield rows[self.within(rows)]

    def neighbours(self, row: npt.ArrayLike) -> Rows:
        """Return the compressions next to one that differ in one layer, within the largest change.

        A layer has the next larger or smaller density, width of codes or threshold of activations with the same others,
        or the Pareto-optimal candidate of next larger or smaller change. Candidates that another one dominates at the
        width of the resulting compression are left out.

        Parameters
        ----------
        row : array of int [layers]
            The compression.

        Returns
        -------
        int16 [neighbours, layers]
            The neighbours, by layer.
        """
        places = np.asarray(row, dtype=np.int16)
        width = int(self.widths_of(places)[0])
        found = []
        for layer, place in enumerate(places.tolist()):
            for other in sorted(self._steps(layer, place, width)):
                neighbour = places.copy()
                neighbour[layer] = other
                found.append(neighbour)
        rows = np.array(found, dtype=np.int16).reshape(-1, len(self.names))
        rows = rows[self.within(rows)]
        changed = (rows != places).argmax(axis=1)
        useful = [
            bool(self._useful[width][layer, each[layer]])
            for each, layer, width in zip(rows, changed, self.widths_of(rows).tolist(), strict=True)
        ]
        return rows[np.array(useful, dtype=np.bool_)]

    def _steps(self, layer: int, place: int, width: int) -> set[int]:
        density, threshold = self._densities[layer], self._thresholds[layer]
        bits, change = self.bits[layer], self.change[layer]
        allowed = bits <= self.widths[-1]
        useful = self._useful.get(width, np.zeros_like(self.bits, dtype=np.bool_))[layer]
        found: set[int] = set()
        for values, among in (
            (density, allowed & (bits == bits[place]) & (threshold == threshold[place])),
            (bits, allowed & (density == density[place]) & (threshold == threshold[place])),
            (threshold, allowed & (density == density[place]) & (bits == bits[place])),
            (change, useful),
        ):
            for beyond, nearest in ((values > values[place], np.argmin), (values < values[place], np.argmax)):
                places = np.flatnonzero(among & beyond)
                if len(places):
                    found.add(int(places[nearest(values[places])]))
        return found

    @cached_property
    def _densities(self) -> Floats64:
        return self._table([[each.choice.density for each in of_layer] for of_layer in self.candidates])

    @cached_property
    def _thresholds(self) -> Floats64:
        return self._table([[each.choice.activation_threshold for each in of_layer] for of_layer in self.candidates])

    def least_costs(self, costs: Floats, limits: Floats, width: int | None = None) -> Floats64:
        """Return lower bounds on an additive cost of any compression within limits on the total change.

        Parameters
        ----------
        costs : array of float [layers, most candidates]
            Cost of each candidate, as `change`.
        limits : array of float
            Limits on the total change.
        width : int or None
            Widest codes; by default, the widest of an array.

        Returns
        -------
        float64, of the shape of `limits`
            Exact least cost if layers may mix candidates (`Relaxation`); infinite where nothing keeps a limit.
        """
        allowed = self.bits <= (self.widths[-1] if width is None else width)
        return Relaxation.of(np.where(allowed, costs, np.inf), np.where(allowed, self.change, np.inf)).least_costs(
            limits
        )


@dataclass(frozen=True, eq=False)
class _Block:
    """Combinations of candidates, in the order of a mixed radix: the last layer changes first.

    Attributes
    ----------
    places : list of int64 [candidates]
        Places of each layer's candidates.
    """

    places: list[Integers64]

    @property
    def number(self) -> int:
        return math.prod(len(of_layer) for of_layer in self.places)

    def rows(self, begin: int, end: int) -> Rows:
        """Return the combinations from place `begin` to before `end`, int16 [combinations, layers]."""
        rows = np.empty((end - begin, len(self.places)), dtype=np.int16)
        fits = self.number <= np.iinfo(np.int64).max
        rest: Any = np.arange(begin, end, dtype=np.int64) if fits else np.array(range(begin, end), dtype=object)
        for layer in reversed(range(len(self.places))):
            rest, digit = rest // len(self.places[layer]), rest % len(self.places[layer])
            rows[:, layer] = self.places[layer][digit.astype(np.int64)]
        return rows


@dataclass(frozen=True, eq=False)
class _AtWidth:
    """Useful candidates at one width of the array.

    Attributes
    ----------
    places : int64 [layers, candidates]
        Places of the candidates.
    change : float64 [layers, candidates]
        Their changes; infinite where a layer has fewer candidates. The other tables are alike.
    costs : float64 [costs, layers, candidates]
        Their costs that are weighed.
    entries : float64 [layers, candidates]
        Their entries.
    most_change : float
        Largest total change.
    """

    places: Integers64
    change: Floats64
    costs: Floats64
    entries: Floats64
    most_change: float

    @cached_property
    def change_range(self) -> tuple[float, float]:
        """Least and largest limit on the total change that makes a difference; both positive."""
        fewest = np.where(np.isfinite(self.change), self.costs.sum(axis=0), np.inf).argmin(axis=1)
        cheapest = float(np.take_along_axis(self.change, fewest[:, None], axis=1).sum())
        largest = max(np.where(np.isfinite(self.change), self.change, -np.inf).max(axis=1).sum(), cheapest)
        high = min(self.most_change, largest) or 1.0
        low = min(max(float(self.change.min(axis=1).sum()), high * _LEAST_CHANGE), high)
        return low, high

    @cached_property
    def _relaxations(self) -> list[Relaxation]:
        return [Relaxation.of(costs, self.change) for costs in self.costs]

    def least_costs(self, limits: Floats64) -> Floats64:
        """Return about the least costs within limits on the change, to scale by, [limits, costs]; all positive."""
        scales = []
        for relaxation in self._relaxations:
            least = relaxation.least_costs(np.maximum(limits, relaxation.changes[0]))
            scales.append(np.maximum(least, _LEAST_SCALE * relaxation.costs[0] or 1.0))
        return np.stack(scales, axis=1)

    @cached_property
    def _changes_by_entries(self) -> tuple[Floats64, Floats64]:
        """Sizes of the largest layer, increasing, and the least total change with them."""
        fewest = max(float(self.entries.min(axis=1).max()), 1.0)
        most = max(float(self.entries[np.isfinite(self.entries)].max()), fewest)
        sizes = np.geomspace(fewest, most, _STEPS_OF_ENTRIES)
        changes = [
            np.where(self.entries <= size * (1 + _ROUNDING), self.change, np.inf).min(axis=1).sum() for size in sizes
        ]
        return sizes, np.array(changes)

    def most_entries(self, limits: Floats64, looseness: Floats64) -> Floats64:
        """Return limits on the entries of each layer, from the fewest that the change allows (0) to the most (1)."""
        sizes, changes = self._changes_by_entries
        first = np.minimum(np.searchsorted(-changes, -limits * (1 + _ROUNDING)), len(sizes) - 1)
        limited: Floats64 = sizes[first] * (sizes[-1] / sizes[first]) ** looseness
        return limited

    def cheapest(self, weights: Floats64, limits: Floats64, most_entries: Floats64) -> Integers64:
        """Return about the compressions of least cost within limits on the change and on each layer's entries.

        Parameters
        ----------
        weights : float64 [draws, costs]
            Weights of the costs.
        limits : float64 [draws]
            Limits on the total change.
        most_entries : float64 [draws]
            Limits on the entries of each layer.

        Returns
        -------
        int64 [draws, layers]
            Places of the candidates.
        """
        finite = np.where(np.isfinite(self.change), self.costs, 0.0)
        cost = np.tensordot(weights, finite, axes=1)
        small = self.entries <= most_entries[:, None, None] * (1 + _ROUNDING)
        cost[~small | ~np.isfinite(self.change)] = np.inf
        share = np.where(np.isfinite(self.change), self.change, 0.0) / limits[:, None, None]
        low, high = (np.full(len(limits), math.log(price)) for price in _PRICES)
        with np.errstate(invalid="ignore"):
            chosen = np.where(np.isfinite(cost), share, np.inf).argmin(axis=2)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            tried = (cost + np.exp(middle)[:, None, None] * share).argmin(axis=2)
            kept = _taken(share, tried).sum(axis=1) <= 1 + _ROUNDING
            chosen[kept] = tried[kept]
            high, low = np.where(kept, middle, high), np.where(kept, low, middle)
        return np.take_along_axis(self.places[None], _filled(cost, share, chosen)[..., None], axis=2)[..., 0]


def _filled(cost: Floats64, share: Floats64, chosen: Integers64) -> Integers64:
    """Change one layer at a time, as long as that lowers the cost and the shares of the limit sum up to at most 1.

    Parameters
    ----------
    cost, share : float64 [draws, layers, candidates]
        Cost and share of the limit on the change that each candidate has.
    chosen : int64 [draws, layers]
        The candidates.
    """
    chosen = chosen.copy()
    left = np.arange(len(chosen))
    while len(left):
        now = _taken(share[left], chosen[left])
        room = np.maximum(1 + _ROUNDING - now.sum(axis=1), 0.0)
        fits = share[left] - now[..., None] <= room[:, None, None]
        gains = np.where(fits, _taken(cost[left], chosen[left])[..., None] - cost[left], 0.0)
        best = gains.reshape(len(left), -1).argmax(axis=1)
        layer, place = np.divmod(best, cost.shape[2])
        better = gains[np.arange(len(left)), layer, place] > _ROUNDING
        left, layer, place = left[better], layer[better], place[better]
        chosen[left, layer] = place
    return chosen


def _taken(table: Floats64, places: Integers64) -> Floats64:
    """Return the values [draws, layers] of a table [draws, layers, candidates] at these candidates."""
    return np.take_along_axis(table, places[..., None], axis=2)[..., 0]


def _weights(places: Floats64, number: int) -> Floats64:
    """Return weights of costs [draws, number], which are positive and sum up to 1, for places [draws, 2]."""
    cuts = np.sort(places[:, : number - 1], axis=1)
    edges = np.concatenate([np.zeros((len(places), 1)), cuts, np.ones((len(places), 1))], axis=1)
    return np.diff(edges, axis=1)


def _distinct(rows: Rows) -> Rows:
    """Return the first of equal rows each, in order."""
    first = np.unique(rows, axis=0, return_index=True)[1]
    return rows[np.sort(first)]


def _order(linear: Sequence[Numbers], logarithmic: Sequence[Floats64], number: int) -> Integers64:
    """Return places of the compressions that add most hypervolume, by costs [pool] and logarithms of others [pool]."""
    positive = [np.maximum(each, np.where(each > 0, each, np.inf).min()) for each in logarithmic]
    costs = np.stack([*linear, *(np.log(np.where(np.isfinite(each), each, 1.0)) for each in positive)], axis=1)
    optimal = np.flatnonzero(non_dominated(costs, keep_equal=False))
    costs = costs[optimal]
    span = np.ptp(costs, axis=0)
    return optimal[greedy_order((costs - costs.min(axis=0)) / np.where(span > 0, span, 1.0) / _BOX, number)]


_COORDINATES = 5  # of a draw: width, change, two of the weights, entries of each layer


def _recurrence(dimensions: int) -> Floats64:
    """Return the steps of the additive recurrence in so many dimensions."""
    ratio = 2.0
    for _ in range(64):  # to the positive root of ratio ** (dimensions + 1) = ratio + 1
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    return ratio ** -np.arange(1.0, dimensions + 1)


_STEPS = _recurrence(_COORDINATES)
