"""Loops of the assignment of rows to classes."""

from __future__ import annotations

import numpy as np

from traces.arrays import Floats, Integers
from traces.kernel_cache import kernel


@kernel
def next_border(values: Floats, begin: int, end: int, border: float) -> int:
    """Return the place of the first value above `border` among ascending values from `begin` to `end`."""
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if values[middle] > border:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def fill_errors(begins: Integers, values: Floats, totals: Floats, shared: Floats, errors: Floats) -> None:
    """Fill in the squared error of each row with each codebook, every weight at the nearest shared weight.

    Parameters
    ----------
    begins, values, totals
        Of `compress.row_classes._SortedRows`.
    shared : float64 [classes, k]
        Shared weights, ascending.
    errors : float64 [rows, classes]
        Filled.
    """
    last = shared.shape[1] - 1
    for row in range(errors.shape[0]):
        begin, end = begins[row], begins[row + 1]
        for number in range(errors.shape[1]):
            error = 0.0
            place = begin
            for c in range(last + 1):
                stop = end
                if c < last:
                    stop = next_border(values, place, end, 0.5 * (shared[number, c] + shared[number, c + 1]))
                if stop > place:
                    mass = totals[stop + row, 0] - totals[place + row, 0]
                    first = totals[stop + row, 1] - totals[place + row, 1]
                    square = totals[stop + row, 2] - totals[place + row, 2]
                    value = shared[number, c]
                    error += square - 2.0 * value * first + value * value * mass
                place = stop
            errors[row, number] = max(error, 0.0)


@kernel
def move_centroids(begins: Integers, values: Floats, totals: Floats, classes: Integers, shared: Floats) -> None:
    """Move the shared weights of each class to the means of its rows' weights; one without weights stays.

    `classes` is int64 [rows]; the other parameters are those of `fill_errors`, and `shared` changes.
    """
    last = shared.shape[1] - 1
    mass, first = np.zeros(shared.shape), np.zeros(shared.shape)
    for row in range(classes.shape[0]):
        number, place, end = classes[row], begins[row], begins[row + 1]
        for c in range(last + 1):
            stop = end
            if c < last:
                stop = next_border(values, place, end, 0.5 * (shared[number, c] + shared[number, c + 1]))
            mass[number, c] += totals[stop + row, 0] - totals[place + row, 0]
            first[number, c] += totals[stop + row, 1] - totals[place + row, 1]
            place = stop
    for number in range(shared.shape[0]):
        for c in range(last + 1):
            if mass[number, c] > 0.0:
                shared[number, c] = first[number, c] / mass[number, c]


@kernel
def list_members(
    errors: Floats,
    loads: Integers,
    most: Integers,
    classes: Integers,
    held: Integers,
    begins: Integers,
    members: Integers,
) -> tuple[float, int]:
    """List the rows of each class in order; the first four parameters are those of `swap_rows`.

    Parameters
    ----------
    held : int64 [classes]
        Zeros; receives the load of each class.
    begins : int64 [classes + 1]
        Zeros; receives the first place of each class in `members`.
    members : int64 [rows]
        Receives the rows, class by class.

    Returns
    -------
    (float, int)
        Error of all rows, and what classes exceed their bounds by, summed.
    """
    rows, number = errors.shape
    total, excess = 0.0, 0
    for row in range(rows):
        held[classes[row]] += loads[row]
        begins[classes[row] + 1] += 1
        total += errors[row, classes[row]]
    for each in range(number):
        begins[each + 1] += begins[each]
        excess += max(0, held[each] - most[each])
    place = begins[:-1].copy()
    for row in range(rows):
        members[place[classes[row]]] = row
        place[classes[row]] += 1
    return total, excess


@kernel
def swap_rows(errors: Floats, loads: Integers, most: Integers, classes: Integers) -> int:
    """Swap rows of two classes as long as one row has less error elsewhere and both together gain.

    A swap that lowers what classes exceed their bounds by comes before all others, and none raises it.

    Parameters
    ----------
    errors : float64 [rows, classes]
        Error of each row in each class.
    loads : int64 [rows]
        Load of each row.
    most : int64 [classes]
        Bound on the load of each class.
    classes : int64 [rows]
        Class of each row; changed.

    Returns
    -------
    int
        What classes exceed their bounds by, summed.
    """
    rows, number = errors.shape
    held, begins = np.zeros(number, dtype=np.int64), np.zeros(number + 1, dtype=np.int64)
    members = np.empty(rows, dtype=np.int64)
    total, excess = list_members(errors, loads, most, classes, held, begins, members)
    place_of = np.empty(rows, dtype=np.int64)
    for at in range(rows):
        place_of[members[at]] = at
    least = 1e-12 * total
    sweeps, changed = 0, True
    while changed and sweeps < 100:
        changed = False
        sweeps += 1
        for row in range(rows):
            own = classes[row]
            own_excess = max(0, held[own] - most[own])
            best_gain, best_relief, best = least, 0, -1
            for other in range(number):
                gain_here = errors[row, own] - errors[row, other]
                other_excess = max(0, held[other] - most[other])
                may_relieve = own_excess > 0 or other_excess > 0
                if other == own or not (gain_here > 0.0 or may_relieve):
                    continue
                for at in range(begins[other], begins[other + 1]):
                    partner = members[at]
                    gain = gain_here + errors[partner, other] - errors[partner, own]
                    if not may_relieve and gain <= best_gain:
                        continue
                    moved = loads[row] - loads[partner]
                    after = max(0, held[own] - moved - most[own]) + max(0, held[other] + moved - most[other])
                    relief = own_excess + other_excess - after
                    if relief > best_relief or (relief == best_relief and gain > best_gain):
                        best_gain, best_relief, best = gain, relief, partner
            if best >= 0:
                other = classes[best]
                moved = loads[row] - loads[best]
                held[own] -= moved
                held[other] += moved
                excess -= best_relief
                here, there = place_of[row], place_of[best]
                members[here], members[there] = best, row
                place_of[row], place_of[best] = there, here
                classes[row], classes[best] = other, own
                changed = True
    return excess


@kernel
def split_pairs(errors: Floats, loads: Integers, most: Integers, classes: Integers) -> int:
    """Split the rows of two classes anew, pair of classes by pair, as long as that lowers the error.

    A split takes the rows that gain most by the first class, as many as it has; where loads exceed their bounds, with a
    price on a row's load that is found by bisection. The parameters and the result are those of `swap_rows`; this takes
    less time if classes have many rows.
    """
    rows, number = errors.shape
    held, begins = np.zeros(number, dtype=np.int64), np.zeros(number + 1, dtype=np.int64)
    members = np.empty(rows, dtype=np.int64)
    total, excess = list_members(errors, loads, most, classes, held, begins, members)
    least = 1e-9 * total
    sweeps, changed = 0, True
    while changed and sweeps < 4:
        changed = False
        sweeps += 1
        for first in range(number):
            for second in range(first + 1, number):
                size = begins[first + 1] - begins[first]
                here = np.concatenate(
                    (members[begins[first] : begins[first + 1]], members[begins[second] : begins[second + 1]])
                )
                costs, weights = np.empty(here.shape[0]), np.empty(here.shape[0])
                before = 0.0
                for i in range(here.shape[0]):
                    costs[i] = errors[here[i], first] - errors[here[i], second]
                    weights[i] = loads[here[i]]
                    before += costs[i] if i < size else 0.0
                both = held[first] + held[second]
                highest, lowest = most[first], both - most[second]
                order = np.argsort(costs, kind="mergesort")
                load = np.int64(weights[order[:size]].sum())
                if load > highest or load < lowest:
                    sign = 1.0 if load > highest else -1.0
                    low, high = 0.0, costs.max() - costs.min() + 1e-300
                    for _ in range(10):
                        price = 0.5 * (low + high)
                        order = np.argsort(costs + sign * price * weights, kind="mergesort")
                        load = np.int64(weights[order[:size]].sum())
                        if load > highest if sign > 0.0 else load < lowest:
                            low = price
                        else:
                            high = price
                    order = np.argsort(costs + sign * high * weights, kind="mergesort")
                    load = np.int64(weights[order[:size]].sum())
                after = costs[order[:size]].sum()
                excess_before = max(0, held[first] - most[first]) + max(0, held[second] - most[second])
                excess_after = max(0, load - most[first]) + max(0, both - load - most[second])
                gains = excess_after == excess_before and after < before - least
                if excess_after < excess_before or gains:
                    for i in range(here.shape[0]):
                        row = here[order[i]]
                        classes[row] = first if i < size else second
                        at = begins[first] + i if i < size else begins[second] + i - size
                        members[at] = row
                    held[first], held[second] = load, both - load
                    excess += excess_after - excess_before
                    changed = True
    return excess
