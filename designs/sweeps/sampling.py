"""Samples of a space: all designs of a grid, or designs drawn at random or from a Sobol sequence."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from designs.design import HARDWARE, Design
from designs.space import DERIVED, Parameter, Space, layer_settings
from designs.sweeps.design_rows import Compression, DesignRows
from sim.cost.timing import timed
from traces import InputError
from traces.arrays import Booleans, Integers64, Numbers
from traces.plain_values import whole_number

Method = Literal["grid", "random", "sobol"]
MOST_POINTS = 100_000_000
_FEWEST_DRAWS = 2**10  # at once
_MOST_DRAWS = 2**20
_COSTED_AT_ONCE = 2**15  # arrays; more do not fit the caches
_MOST_DRAWS_PER_POINT = 200
_MOST_STAGES = 64  # of the pipeline or a broadcast, as `ArrayConfig` allows
_MIXING_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd; 2**64 over the golden ratio


@dataclass(frozen=True)
class Sampling:
    """Method of taking designs from a space.

    Attributes
    ----------
    method : {"grid", "random", "sobol"}
        Every combination; independent draws; or a scrambled Sobol sequence, which fills the space evenly.
    points : int, optional
        Number of designs to draw. A grid takes all.
    seed : int
        Seed of the draws, or of the scrambling.

    Raises
    ------
    InputError
        If a value is out of its range, or has no effect.
    """

    method: Method = "grid"
    points: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"method must be one of {', '.join(get_args(Method))}; found {self.method!r}")
        if self.points is not None:
            object.__setattr__(self, "points", whole_number("points", self.points))
        object.__setattr__(self, "seed", whole_number("seed", self.seed, 0, 2**63 - 1))
        if self.method == "grid" and (self.points is not None or self.seed):
            raise InputError("a grid takes every combination; points and seed have no effect: leave them out")
        if self.method != "grid" and (self.points is None or not 1 <= self.points <= MOST_POINTS):
            raise InputError(f"points must be the number of designs to draw, 1 to {MOST_POINTS:,}; found {self.points}")


@dataclass(frozen=True)
class Sample:
    """Designs of a space, in order, and their origin.

    Attributes
    ----------
    designs : DesignRows
        The designs, each once, as a sequence of `Design`.
    left_out : dict of str to int
        Number of combinations that break a constraint, by the constraint.
    origin : dict
        Space and sampling as plain values.
    must_fit : bool
        A design on which a layer does not fit gets no figures.
    """

    designs: DesignRows
    left_out: dict[str, int] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    must_fit: bool = False

    @classmethod
    def of(cls, designs: Sequence[Design], origin: dict[str, Any]) -> Sample:
        """Return the sample of these designs.

        Parameters
        ----------
        designs : sequence of Design
            The designs.
        origin : dict
            Their origin as plain values.

        Raises
        ------
        InputError
            If a design is given twice, or there is none.
        """
        if not designs or len(set(designs)) < len(designs):
            fault = "a design twice" if designs else "none"
            raise InputError(f"a sweep needs one or more designs, each once; found {fault}")
        return cls(DesignRows.of(designs), origin=origin)


def sample(space: Space, sampling: Sampling | None = None, layers: Sequence[str] = ()) -> Sample:
    """Take designs from a space. The same arguments give the same designs on every machine.

    Parameters
    ----------
    space : Space
        The space.
    sampling : Sampling, optional
        Method of sampling. None: the whole grid.
    layers : sequence of str
        Names of the network's layers, if the space varies their compression.

    Returns
    -------
    Sample
        The designs, each once.

    Raises
    ------
    InputError
        If no design satisfies the constraints, or fewer than the requested number do.
    """
    sampling = sampling or Sampling()
    parameters = space.parameters(layers)
    wanted = sampling.points
    left_out: Counter[str] = Counter()
    found = _Found(space, parameters, wanted)
    for rows in _draws(parameters, sampling):
        reasons, places = found.refusals(rows)
        taken = np.flatnonzero(places < 0)
        if wanted is not None:
            taken = taken[found.are_new(rows[taken])][: wanted - len(found)]
        found.add(rows[taken])
        is_last = len(found) == wanted
        tried = places[: taken[-1] + 1] if is_last else places  # no draws after the last design
        left_out.update({reason: int(np.count_nonzero(tried == place)) for place, reason in enumerate(reasons)})
        if is_last:
            break
    left_out = +left_out
    if not len(found):
        listed = "; ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
        raise InputError(f"no combination of the space is feasible: {listed}; widen a range or relax a constraint")
    if wanted is not None and len(found) < wanted:
        raise InputError(
            f"points={wanted:,}: the space gave only {len(found):,} different designs; ask for fewer, take the grid, "
            f"or relax a constraint"
        )
    origin = {"space": space.to_dict(), "sampling": dataclasses.asdict(sampling)}
    return Sample(found.designs(), dict(left_out), origin, space.constraints.must_fit)


class _Found:
    """Designs that have been found so far, as rows.

    Parameters
    ----------
    space : Space
        The space.
    parameters : dict of str to Parameter
        Its parameters by name.
    wanted : int, optional
        Number of designs to find. None: as many as there are.
    """

    def __init__(self, space: Space, parameters: Mapping[str, Parameter], wanted: int | None) -> None:
        self._space = space
        self._parameters = parameters
        self._values = {
            name: np.array(each.values)
            for name, each in parameters.items()
            if name in HARDWARE and each.values is not None
        }
        drawn = _row_type(parameters)
        derived = [] if space.states_stages else [(name, np.uint8) for name in DERIVED]
        self._type = np.dtype([*drawn.descr, *derived] if drawn.names else derived)
        self._rows = np.empty(wanted or 0, self._type)
        self._further: list[Numbers] = []  # of a grid, whose number of designs is not known before
        self._number = 0
        self._seen = np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return self._number

    def refusals(self, rows: Numbers) -> tuple[list[str], Integers64]:
        """Return the constraints that draws break, and the place of the one that each draw breaks; -1 for none."""
        reasons: list[str] = []
        places: Integers64 = np.full(len(rows), -1)
        for begin in range(0, len(rows), _COSTED_AT_ONCE):
            arrays = DesignRows(rows[begin : begin + _COSTED_AT_ONCE], self._values).arrays
            for reason, refused in self._space.refusals(arrays).items():
                if reason not in reasons:
                    reasons.append(reason)
                places[begin : begin + _COSTED_AT_ONCE][refused] = reasons.index(reason)
        return reasons, places

    def are_new(self, rows: Numbers) -> Booleans:
        """Mark the draws that differ from all before them."""
        digests = _digests(rows)
        distinct, first = np.unique(digests, return_index=True)
        places = np.searchsorted(self._seen, distinct)
        known = np.append(self._seen, np.uint64(0))[places] == distinct
        known &= places < len(self._seen)
        self._seen = np.sort(np.concatenate([self._seen, distinct[~known]]), kind="stable")
        new = np.zeros(len(rows), dtype=np.bool_)
        new[first[~known]] = True
        return new

    def add(self, rows: Numbers) -> None:
        """Add draws; pipeline_cycles and broadcast_cycles follow from the clock unless the space states them."""
        whole = np.empty(len(rows), self._type)
        for name in rows.dtype.names or ():
            whole[name] = rows[name]
        if not self._space.states_stages:
            for begin in range(0, len(rows), _COSTED_AT_ONCE):
                arrays = DesignRows(rows[begin : begin + _COSTED_AT_ONCE], self._values).arrays
                stages = timed(arrays)
                too_deep = np.maximum(stages.pipeline_cycles, stages.broadcast_cycles) > _MOST_STAGES
                for place in np.flatnonzero(too_deep)[:1].tolist():
                    timed(arrays.array(place))  # raises InputError
                for name in DERIVED:
                    whole[name][begin : begin + _COSTED_AT_ONCE] = getattr(stages, name)
        if len(self._rows):
            self._rows[self._number : self._number + len(rows)] = whole
        else:
            self._further.append(whole)
        self._number += len(rows)

    def designs(self) -> DesignRows:
        """Return the designs."""
        rows = self._rows if len(self._rows) else np.concatenate(self._further)
        values = {name: each for name, each in self._values.items() if self._space.states_stages or name not in DERIVED}
        options = [name for name in self._parameters if name not in HARDWARE]
        if not options:
            return DesignRows(rows, values)
        places: dict[Compression, int] = {}
        of_rows = [places.setdefault(self._compression(options, row), len(places)) for row in rows]
        hardware = [(name, rows.dtype[name]) for name in rows.dtype.names or () if name not in options]
        packed = np.empty(len(rows), [*hardware, ("compression", np.uint32)])
        for name, _ in hardware:
            packed[name] = rows[name]
        packed["compression"] = of_rows
        return DesignRows(packed, values, tuple(places))

    def _compression(self, options: Sequence[str], row: Any) -> Compression:
        values = {}
        for name in options:
            each = self._parameters[name]
            place = row[name] if each.varies else 0
            values[name] = float(place) if each.values is None else each.values[int(place)]
        return layer_settings(values)


def _digests(rows: Numbers) -> Any:
    """Return a number for each row, uint64 [rows]: equal rows have equal ones.

    It is the row itself if that has at most 64 bits. Otherwise two of ten million different rows have one number with a
    probability of 3e-6, and the second one is not drawn.
    """
    fields = [(name, rows.dtype[name].itemsize * 8) for name in rows.dtype.names or ()]
    exact = sum(bits for _, bits in fields) <= 64
    digests = np.zeros(len(rows), np.uint64)
    for name, bits in fields:
        column = np.ascontiguousarray(rows[name])
        column = column.view(np.uint64) if column.dtype.kind == "f" else column.astype(np.uint64)
        if exact:
            digests = (digests << np.uint64(bits % 64)) | column
        else:
            digests = (digests ^ column) * _MIXING_FACTOR
            digests ^= digests >> np.uint64(32)
    return digests


def _row_type(parameters: Mapping[str, Parameter]) -> np.dtype[Any]:
    """Return the type of a draw: the place of the value of each parameter that varies, or the value in a range."""
    return np.dtype(
        [
            (name, np.dtype(np.float64) if each.values is None else np.min_scalar_type(len(each.values) - 1))
            for name, each in parameters.items()
            if each.varies
        ]
    )


def _draws(parameters: Mapping[str, Parameter], sampling: Sampling) -> Iterator[Numbers]:
    """Yield draws of the parameters, some at a time, as rows."""
    if sampling.method == "grid":
        yield from _grid(parameters)
        return
    assert sampling.points is not None
    row_type = _row_type(parameters)
    names = row_type.names or ()
    most = -(-(_MOST_DRAWS_PER_POINT * sampling.points + _FEWEST_DRAWS) // _FEWEST_DRAWS) * _FEWEST_DRAWS
    for units in _units(len(names), sampling, most):
        rows = np.empty(len(units), row_type)
        for axis, name in enumerate(names):
            rows[name] = _drawn(parameters[name], units[:, axis])
        yield rows


def _drawn(parameter: Parameter, units: Numbers) -> Numbers:
    """Return the places of the values at `units`, or the values of a continuous range: those of `Parameter.at`."""
    if parameter.values is not None:
        return np.minimum((units * len(parameter.values)).astype(np.int64), len(parameter.values) - 1)
    assert parameter.range is not None
    if parameter.range.log:  # one by one, since a power of NumPy may differ in the last bit from processor to processor
        return np.array([parameter.at(unit) for unit in units.tolist()])
    low, high = parameter.range.low, parameter.range.high
    return np.asarray(low + units * (high - low))


def _grid(parameters: Mapping[str, Parameter]) -> Iterator[Numbers]:
    for name, each in parameters.items():
        if each.values is None:
            raise InputError(f"{name} is a continuous range, so there is no grid; give it a step or a factor")
    row_type = _row_type(parameters)
    lengths = [len(parameters[name].values or ()) for name in row_type.names or ()]
    combinations = math.prod(lengths)
    if combinations > MOST_POINTS:
        raise InputError(
            f"the grid has {combinations:,} combinations; at most {MOST_POINTS:,} are possible; draw points instead"
        )
    for begin in range(0, combinations, _MOST_DRAWS):
        rest = np.arange(begin, min(begin + _MOST_DRAWS, combinations))
        rows = np.empty(len(rest), row_type)
        for name, length in zip(reversed(row_type.names or ()), reversed(lengths), strict=True):
            rest, rows[name] = np.divmod(rest, length)
        yield rows


def _units(dimensions: int, sampling: Sampling, most: int) -> Iterator[Numbers]:
    """Yield points of the unit cube, at most `most`, float64 [some, dimensions] at a time."""
    if not dimensions:
        yield np.zeros((1, 0))
        return
    stream = np.random.default_rng(sampling.seed)
    sequence: Any = None
    if sampling.method == "sobol":
        from scipy.stats import qmc

        sequence = qmc.Sobol(dimensions, scramble=True, rng=stream)
        most = min(most, int(sequence.maxn) // _FEWEST_DRAWS * _FEWEST_DRAWS)
    drawn = 0
    while drawn < most:
        number = min(max(drawn, _FEWEST_DRAWS), _MOST_DRAWS, most - drawn)
        yield stream.random((number, dimensions)) if sequence is None else sequence.random(number)
        drawn += number
