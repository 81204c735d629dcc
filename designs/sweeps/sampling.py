"""Which designs of a space to try: all of them, or so many drawn at random or in a Sobol sequence."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from designs.design import Design
from designs.space import Parameter, Space
from traces import InputError

Method = Literal["grid", "random", "sobol"]
MOST_POINTS = 10_000_000
_DRAWS_AT_ONCE = 1024
_MOST_DRAWS_PER_POINT = 200


@dataclass(frozen=True)
class Sampling:
    """How designs are taken from a space. Raises InputError if a value is out of its range, or has no effect."""

    method: Method = "grid"
    """every combination; independent draws; or a scrambled Sobol sequence, which fills the space evenly"""
    points: int | None = None
    """designs to draw; a grid takes all"""
    seed: int = 0
    """of the draws, or of the scrambling"""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"method must be one of {', '.join(get_args(Method))}; found {self.method!r}")
        if self.method == "grid" and (self.points is not None or self.seed):
            raise InputError("a grid takes every combination; points and seed have no effect: leave them out")
        if self.method != "grid" and (self.points is None or not 1 <= self.points <= MOST_POINTS):
            raise InputError(f"points must say how many designs to draw, 1 to {MOST_POINTS:,}; found {self.points}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed} must be 0 to 2**63 - 1")


@dataclass(frozen=True)
class Sample:
    """Designs in order, and what made them.

    left_out   how many combinations were no designs of the space, by reason
    origin     space and sampling as plain values
    must_fit   whether a design on which a layer does not fit gets no figures
    """

    designs: tuple[Design, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    must_fit: bool = False


def sample(space: Space, sampling: Sampling | None = None, layers: Sequence[str] = ()) -> Sample:
    """Take designs from a space; the same for the same arguments, everywhere.

    layers   names of the network's layers, where the space varies their compression

    Every design is there once. Raises InputError if none holds to the constraints, or fewer than asked for are found.
    """
    sampling = sampling or Sampling()
    parameters = space.parameters(layers)
    wanted = sampling.points
    left_out: Counter[str] = Counter()
    found: dict[Design, None] = {}
    for values in _candidates(parameters, sampling):
        reason = space.refuses(values)
        if reason is not None:
            left_out[reason] += 1
            continue
        found[space.design(values)] = None
        if len(found) == wanted:
            break
    if not found:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
        raise InputError(f"no combination of the space is a design: {reasons}; widen a range or relax a constraint")
    if wanted is not None and len(found) < wanted:
        raise InputError(
            f"only {len(found):,} different designs were found in the space, of {wanted:,} asked for; ask for fewer, "
            f"take the grid, or relax a constraint"
        )
    origin = {"space": space.to_dict(), "sampling": dataclasses.asdict(sampling)}
    return Sample(tuple(found), dict(left_out), origin, space.constraints.must_fit)


def _candidates(parameters: dict[str, Parameter], sampling: Sampling) -> Iterator[dict[str, Any]]:
    if sampling.method == "grid":
        yield from _grid(parameters)
        return
    assert sampling.points is not None
    varied = [name for name, each in parameters.items() if each.varies]
    fixed = {name: each.at(0) for name, each in parameters.items() if not each.varies}
    draws = 0
    for places in _places(len(varied), sampling):
        for row in places:
            yield fixed | {name: parameters[name].at(unit) for name, unit in zip(varied, row.tolist(), strict=True)}
        draws += len(places)
        if draws >= _MOST_DRAWS_PER_POINT * sampling.points + _DRAWS_AT_ONCE:
            return


def _grid(parameters: dict[str, Parameter]) -> Iterator[dict[str, Any]]:
    values = []
    for name, each in parameters.items():
        if each.values is None:
            raise InputError(f"{name} has any number between two bounds, so there is no grid: give a step or a factor")
        values.append(each.values)
    combinations = math.prod(map(len, values))
    if combinations > MOST_POINTS:
        raise InputError(
            f"the grid has {combinations:,} combinations; at most {MOST_POINTS:,} can be taken: draw points instead"
        )
    for combination in itertools.product(*values):
        yield dict(zip(parameters, combination, strict=True))


def _places(dimensions: int, sampling: Sampling) -> Iterator[Any]:
    """Places in the unit cube, float64 [some, dimensions], on and on."""
    if not dimensions:
        yield np.zeros((1, 0))
        return
    if sampling.method == "random":
        stream = np.random.default_rng(sampling.seed)
        while True:
            yield stream.random((_DRAWS_AT_ONCE, dimensions))
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(sampling.seed))
    while sequence.num_generated + _DRAWS_AT_ONCE <= sequence.maxn:
        yield sequence.random(_DRAWS_AT_ONCE)
