"""Samples of a space: all designs of a grid, or designs drawn at random or from a Sobol sequence."""

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
        if self.method == "grid" and (self.points is not None or self.seed):
            raise InputError("a grid takes every combination; points and seed have no effect: leave them out")
        if self.method != "grid" and (self.points is None or not 1 <= self.points <= MOST_POINTS):
            raise InputError(f"points must be the number of designs to draw, 1 to {MOST_POINTS:,}; found {self.points}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed} must be 0 to 2**63 - 1")


@dataclass(frozen=True)
class Sample:
    """Designs of a space, in order, and their origin.

    Attributes
    ----------
    designs : tuple of Design
        The designs, each once.
    left_out : dict of str to int
        Number of combinations that break a constraint, by the constraint.
    origin : dict
        Space and sampling as plain values.
    must_fit : bool
        A design on which a layer does not fit gets no figures.
    """

    designs: tuple[Design, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    must_fit: bool = False


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
    designs: dict[Design, None] = {}
    for values in _candidates(parameters, sampling):
        reason = space.refuses(values)
        if reason is not None:
            left_out[reason] += 1
            continue
        designs[space.design(values)] = None
        if len(designs) == wanted:
            break
    if not designs:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
        raise InputError(f"no combination of the space is feasible: {reasons}; widen a range or relax a constraint")
    if wanted is not None and len(designs) < wanted:
        raise InputError(
            f"points={wanted:,}: the space gave only {len(designs):,} different designs; ask for fewer, take the grid, "
            f"or relax a constraint"
        )
    origin = {"space": space.to_dict(), "sampling": dataclasses.asdict(sampling)}
    return Sample(tuple(designs), dict(left_out), origin, space.constraints.must_fit)


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
            raise InputError(f"{name} is a continuous range, so there is no grid; give it a step or a factor")
        values.append(each.values)
    combinations = math.prod(map(len, values))
    if combinations > MOST_POINTS:
        raise InputError(
            f"the grid has {combinations:,} combinations; at most {MOST_POINTS:,} are possible; draw points instead"
        )
    for combination in itertools.product(*values):
        yield dict(zip(parameters, combination, strict=True))


def _places(dimensions: int, sampling: Sampling) -> Iterator[Any]:
    """Yield points of the unit cube without end, float64 [some, dimensions] at a time."""
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
