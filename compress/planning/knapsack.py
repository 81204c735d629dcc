"""Multiple-choice knapsack of a plan: one option per layer, solved exactly up to a small gap.

Few combinations are all tried. Otherwise a linear relaxation gives a bound and a first solution. If these are apart,
a dynamic programme goes from layer to layer. It keeps the partial solutions that no other one dominates and that may
still improve on the first solution. If they are too many, HiGHS solves the problem.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from compress.planning.relaxation import Relaxation
from traces.arrays import Floats, Floats64, Integers64
from traces.pareto import non_dominated

_GAP_OF_NEAREST = 5e-3
_GAP = 1e-3  # a solution may be worse than the best by this share
_SECONDS = 20.0
_INFEASIBLE = 2  # status of scipy.optimize.linprog
_ROUNDING = 1e-9  # of a bound, in sums of counts
_NOT_MIXED = 1e-9  # of a layer, a smaller part of an option counts as none
_TRIED_COMBINATIONS = 2**16
_MOST_STATES, _MOST_STATES_OF_SEVERAL = 2**17, 2**13  # partial solutions; with several bounds HiGHS is faster
_EXTENSIONS = 16  # by a layer, for each of these states
_STDOUT = 1  # file descriptor


def choose(
    objective: Sequence[Floats], totals: Mapping[str, tuple[Sequence[Floats], float]], gap: float = _GAP
) -> Integers64 | None:
    """Choose one option per layer, minimising the sum of the objective within all bounds.

    Parameters
    ----------
    objective : sequence of float [options]
        For each layer.
    totals : Mapping[str, (sequence of float [options], float)]
        By name: values of the options as in `objective`, and the upper bound on their sum over the layers.
    gap : float
        Share by which the solution may be worse than the best.

    Returns
    -------
    int64 [layers] or None
        Place of each layer's option; None if no options keep the bounds.

    Raises
    ------
    MemoryError, ValueError
        As scipy.optimize.milp does.
    """
    kept = [np.arange(len(of_layer)) for of_layer in objective]
    for counts, bound in totals.values():  # leave out options that exceed it even with the least of all other layers
        least = [float(np.min(counts[n][places], initial=math.inf)) for n, places in enumerate(kept)]
        room = bound + _ROUNDING * abs(bound) - sum(least)
        kept = [places[counts[n][places] - least[n] <= room] for n, places in enumerate(kept)]
        if any(len(places) == 0 for places in kept):
            return None
    binding = [
        (counts, bound)
        for counts, bound in totals.values()
        if sum(float(counts[n][places].max()) for n, places in enumerate(kept)) > bound
    ]
    for n, (of_layer, places) in enumerate(zip(objective, kept, strict=True)):
        kept[n] = places[_useful([of_layer[places], *(counts[n][places] for counts, _ in binding)])]
    if not binding:  # one option is left of each layer: the cheapest
        return np.concatenate(kept)
    knapsack = _Knapsack.of(
        [of_layer[places] for of_layer, places in zip(objective, kept, strict=True)],
        [([counts[n][places] for n, places in enumerate(kept)], bound) for counts, bound in binding],
    )
    found = knapsack.solved(gap)
    return None if found is None else np.array([places[at] for places, at in zip(kept, found, strict=True)])


def choose_nearest(
    sizes: Sequence[int], totals: Mapping[str, tuple[Sequence[Floats], float]], hard: Sequence[str]
) -> Integers64 | None:
    """Choose one option per layer, minimising the largest relative bound violation.

    Parameters
    ----------
    sizes : sequence of int
        Number of options of each layer.
    totals : Mapping[str, (sequence of float [options], float)]
        As `choose` takes them.
    hard : sequence of str
        Names of the totals that must keep their bounds.

    Returns
    -------
    int64 [layers] or None
        Place of each layer's option; None if no options keep the hard bounds.
    """
    over = [name for name in totals if name not in hard]
    if len(over) == 1:  # the violation is least where the sum is
        return choose(totals[over[0]][0], {name: totals[name] for name in hard}, _GAP_OF_NEAREST)
    zeros = [np.zeros(size) for size in sizes]
    rows = [(np.concatenate(list(counts)), bound) for name, (counts, bound) in totals.items() if name in hard]
    soft = []
    for name, (counts, bound) in totals.items():
        if name not in hard:
            scale = bound if bound > 0 else 1.0  # a bound of 0 or less has no relative violation: the sum decides
            soft.append((np.concatenate(list(counts)) / scale, bound / scale))
    return _solve(zeros, rows, slack=True, soft=soft)


def _useful(columns: Sequence[Floats]) -> Integers64:
    """Return the places of the options of a layer that no other option dominates, one of several equal ones."""
    return np.flatnonzero(non_dominated(np.stack(columns, axis=1), keep_equal=False))


@dataclass(frozen=True, eq=False)
class _Knapsack:
    """Options of all layers, with counts relative to their bounds.

    Attributes
    ----------
    costs : list of float [options]
        For each layer.
    counts : list of float [bounds, options]
        For each layer.
    bounds : float [bounds]
        Upper bounds on the sums of the counts, with room for rounding.
    """

    costs: list[Floats]
    counts: list[Floats64]
    bounds: Floats64

    @classmethod
    def of(cls, costs: list[Floats], rows: Sequence[tuple[Sequence[Floats], float]]) -> _Knapsack:
        """Return the knapsack of these costs, and of counts like them with the upper bounds on their sums."""
        scales = [max(abs(bound), 1e-300) for _, bound in rows]
        counts = [
            np.stack([of_layers[n] / scale for (of_layers, _), scale in zip(rows, scales, strict=True)])
            for n in range(len(costs))
        ]
        bounds = np.array([bound / scale + _ROUNDING for (_, bound), scale in zip(rows, scales, strict=True)])
        return cls(costs, counts, bounds)

    def solved(self, gap: float) -> Integers64 | None:
        """Return the options of least cost within the bounds, [layers]; None if no options keep them."""
        if math.prod(len(of_layer) for of_layer in self.costs) <= _TRIED_COMBINATIONS:
            return self._best_of_all()
        relaxed = self._relaxed()
        if relaxed is None:
            return None
        prices, rounded = relaxed
        best = self._improved(rounded)
        try:
            return self._merged(prices, best, gap)
        except _TooManyStatesError:
            return self._by_highs(prices, best, gap)

    def _best_of_all(self) -> Integers64 | None:
        """Try all combinations."""
        cost, counts = np.zeros(1), np.zeros((len(self.bounds), 1))
        for of_layer, of_options in zip(self.costs, self.counts, strict=True):
            cost = (cost[:, None] + of_layer).ravel()
            counts = (counts[:, :, None] + of_options[:, None]).reshape(len(counts), -1)
        allowed = np.flatnonzero((counts <= self.bounds[:, None]).all(axis=0))
        if not len(allowed):
            return None
        sizes = [len(of_layer) for of_layer in self.costs]
        return np.array(np.unravel_index(allowed[cost[allowed].argmin()], sizes))

    def _relaxed(self) -> tuple[Floats64, Integers64] | None:
        """Solve the linear relaxation, in which layers may mix options.

        Returns
        -------
        float64 [bounds]
            Cost that one more unit of each count saves.
        int64 [layers]
            Options near the solution of the relaxation, which may exceed bounds. None instead of both if not even
            mixed options keep the bounds.
        """
        if len(self.bounds) == 1:
            relaxation = Relaxation.of(self.costs, [of_options[0] for of_options in self.counts])
            limit = float(self.bounds[0])
            return np.array([relaxation.price(limit)]), relaxation.options(limit)
        sizes = [len(of_layer) for of_layer in self.costs]
        layer = np.repeat(np.arange(len(sizes)), sizes)
        one_each = sparse.csr_array((np.ones(layer.size), (layer, np.arange(layer.size))))
        flat, table = np.concatenate(self.costs), np.concatenate(self.counts, axis=1)
        size = max(float(np.abs(flat).max()), 1e-300)
        with _without_stdout():
            relaxed = linprog(flat / size, table, self.bounds, one_each, np.ones(len(sizes)), method="highs")
        if relaxed.x is None:
            if relaxed.status == _INFEASIBLE:
                return None
            return np.zeros(len(self.bounds)), np.array([int(of_layer.argmin()) for of_layer in self.costs])
        prices = -size * np.minimum(relaxed.ineqlin.marginals, 0.0)
        spent = np.where(relaxed.x > _NOT_MIXED, prices @ table, np.inf)
        return prices, np.array([int(each.argmin()) for each in np.split(spent, np.cumsum(sizes)[:-1])])

    def _improved(self, places: Integers64) -> Integers64 | None:
        """Change one layer at a time, until the bounds are kept, then while that lowers the cost within them.

        Returns None if the bounds cannot be kept so.
        """
        sizes = [len(of_layer) for of_layer in self.costs]
        layer = np.repeat(np.arange(len(sizes)), sizes)
        begins = np.cumsum([0, *sizes[:-1]])
        costs, counts = np.concatenate(self.costs), np.concatenate(self.counts, axis=1)
        places = places.copy()
        while True:
            chosen = begins + places
            room = self.bounds - counts[:, chosen].sum(axis=1)
            excess = np.maximum(counts - counts[:, chosen][:, layer] - room[:, None], 0.0).sum(axis=0)
            saved = costs[chosen][layer] - costs
            if (room < 0).any():
                gains = float(np.maximum(-room, 0.0).sum()) - excess
                gains = np.where(gains > 0, gains / np.maximum(-saved, 1e-12 * np.abs(costs).max() + 1e-300), 0.0)
            else:
                gains = np.where(excess > 0, 0.0, saved)
            option = int(gains.argmax())
            if gains[option] <= 0:
                return None if (room < 0).any() else places
            places[layer[option]] = option - begins[layer[option]]

    def _cost(self, places: Integers64) -> float:
        return sum(float(of_layer[place]) for of_layer, place in zip(self.costs, places, strict=True))

    def _merged(self, prices: Floats64, best: Integers64 | None, gap: float) -> Integers64 | None:
        """Go from layer to layer, keeping the partial solutions that may become better than the best one known.

        Parameters
        ----------
        prices : float64 [bounds]
            Prices of counts. Any give valid bounds on the cost of a whole solution; those of the relaxation give high
            ones.
        best : int64 [layers] or None
            Best solution known.
        gap : float
            Share by which the solution may be worse than the best: half of it for partial solutions that are dropped
            because they can improve on `best` by no more, half for costs that are compared in steps.

        Raises
        ------
        _TooManyStatesError
            If too many partial solutions remain.
        """
        lifted = [of_layer + prices @ of_options for of_layer, of_options in zip(self.costs, self.counts, strict=True)]
        zeros = np.zeros((1, len(self.bounds)))
        rest_lifted = np.cumsum([0.0, *(each.min() for each in reversed(lifted))])[::-1]
        rest_counts = np.cumsum([*zeros, *(each.min(axis=1) for each in reversed(self.counts))], axis=0)[::-1]
        floor = float(rest_lifted[0] - prices @ self.bounds)
        known = math.inf if best is None else self._cost(best)
        if best is not None and known - floor <= gap * abs(known):
            return best
        limit = math.inf if best is None else known - gap / 2 * abs(known)
        step = gap / 2 * max(floor, 0.0) / len(self.costs)
        most_states = _MOST_STATES if len(self.bounds) == 1 else _MOST_STATES_OF_SEVERAL
        cost, counts = np.zeros(1), zeros
        origins: list[tuple[Integers64, Integers64]] = []
        for number, raised in enumerate(lifted):
            able = np.flatnonzero(floor + raised - raised.min() <= limit)
            if cost.size * able.size > _EXTENSIONS * most_states:
                raise _TooManyStatesError
            of_layer, of_options = self.costs[number][able], self.counts[number][:, able]
            cost = (cost[:, None] + of_layer).ravel()
            counts = (counts[:, None] + of_options.T).reshape(-1, len(self.bounds))
            possible = cost + counts @ prices + (rest_lifted[number + 1] - prices @ self.bounds) <= limit
            possible &= (counts + rest_counts[number + 1] <= self.bounds).all(axis=1)
            left = np.flatnonzero(possible)
            if left.size > most_states:
                raise _TooManyStatesError
            levels = np.floor(cost[left] / step) if step > 0 else cost[left]
            left = left[non_dominated(np.column_stack([levels, counts[left]]), keep_equal=False)]
            cost, counts = cost[left], counts[left]
            origins.append((left // able.size, able[left % able.size]))
        if not cost.size or cost.min() >= known:
            return best
        state, places = int(cost.argmin()), []
        for states, options in reversed(origins):
            places.append(int(options[state]))
            state = int(states[state])
        return np.array(places[::-1])

    def _by_highs(self, prices: Floats64, best: Integers64 | None, gap: float) -> Integers64 | None:
        """Let HiGHS choose among the options that a solution may have that is better than the best one known."""
        lifted = [of_layer + prices @ of_options for of_layer, of_options in zip(self.costs, self.counts, strict=True)]
        floor = sum(float(each.min()) for each in lifted) - float(prices @ self.bounds)
        known = math.inf if best is None else self._cost(best)
        margin = _ROUNDING * max(float(np.abs(of_layer).max()) for of_layer in self.costs)
        able = [np.flatnonzero(floor + each - each.min() <= known + margin) for each in lifted]
        costs = [of_layer[places] for of_layer, places in zip(self.costs, able, strict=True)]
        rows = [
            (
                np.concatenate([of_options[n, places] for of_options, places in zip(self.counts, able, strict=True)]),
                bound,
            )
            for n, bound in enumerate(self.bounds.tolist())
        ]
        found = _solve(costs, rows, slack=False, gap=gap)
        if found is None:
            return best
        places = np.array([of_layer[at] for of_layer, at in zip(able, found, strict=True)])
        return best if best is not None and known < self._cost(places) else places


class _TooManyStatesError(Exception):
    """Error of a dynamic programme that keeps too many partial solutions."""


def _solve(
    objective: Sequence[Floats],
    rows: Sequence[tuple[Floats, float]],
    slack: bool,
    gap: float = _GAP,
    soft: Sequence[tuple[Floats, float]] = (),
) -> Integers64 | None:
    """Choose one option per layer by HiGHS: of least cost, or with `slack` of least violation of the soft bounds."""
    sizes = [len(of_layer) for of_layer in objective]
    total = sum(sizes)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = sparse.csr_array((np.ones(total), (layer, np.arange(total))), shape=(len(sizes), total + slack))
    constraints = [LinearConstraint(one_each, 1, 1)]
    upper = np.append(np.ones(total), [np.inf] * slack)
    for counts, bound in rows:
        scale = max(abs(bound), 1e-300)
        alone = counts <= max(bound, 0)  # others cannot be chosen; huge values disturb the solver
        upper[:total][~alone] = 0
        shares = np.append(np.where(alone, counts, 0) / scale, [0.0] * slack)
        constraints.append(LinearConstraint(shares[np.newaxis], -np.inf, bound / scale))
    for counts, bound in soft:
        constraints.append(LinearConstraint(np.append(counts, -1.0)[np.newaxis], -np.inf, bound))
    costs = np.append(np.concatenate(list(objective)), [1.0] * slack)
    with _without_stdout():
        result = milp(
            costs / max(float(np.abs(costs).max()), 1e-300),
            integrality=np.append(np.ones(total), [0.0] * slack),
            bounds=Bounds(0, upper),
            constraints=constraints,
            options={"mip_rel_gap": gap, "time_limit": _SECONDS},
        )
    if result.x is None:
        return None
    return np.array([int(result.x[a:b].argmax()) for a, b in itertools.pairwise(begins)])


_redirected = threading.Lock()


@contextlib.contextmanager
def _without_stdout() -> Iterator[None]:
    """Drop what C code prints to stdout meanwhile; HiGHS prints a line for each integer solution that it repairs.

    Lines of other threads are kept and written afterwards. A process without a stdout needs nothing.
    """
    c_library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    with _redirected, contextlib.ExitStack() as stack:
        try:
            stdout = os.dup(_STDOUT)
        except OSError:
            yield
            return
        stack.callback(os.close, stdout)
        written = stack.enter_context(tempfile.TemporaryFile())
        c_library.fflush(None)
        os.dup2(written.fileno(), _STDOUT)
        try:
            yield
        finally:
            c_library.fflush(None)
            os.dup2(stdout, _STDOUT)
            written.seek(0)
            for line in written:
                if not line.startswith(b"Highs"):
                    os.write(_STDOUT, line)
