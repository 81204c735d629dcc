"""Query by committee: choice of the few inputs that show whether a compressed network still answers as it did.

The committee consists of the original network, the network compressed on the inputs chosen so far, and networks whose
weights have moved at random within their tolerances. In each round, inputs are drawn in proportion to how much the
committee disagrees on them. The weight of each input makes means over the few equal, in expectation, to means over the
pool. (PyTorch needed.)

Source: Seung, Opper, Sompolinsky, "Query by committee", COLT 1992; vote entropy: Dagan and Engelson, "Committee-based
sampling", ICML 1995; divergence from the mean: McCallum and Nigam, "Employing EM and pool-based active learning",
ICML 1998; weights of draws from several distributions: Veach and Guibas, "Optimally combining sampling techniques",
SIGGRAPH 1995, the balance heuristic.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from compress.planning.outputs import class_scores, run_batches
from compress.planning.plan import Tolerance, log_softmax
from compress.planning.planner import make_planner
from traces import InputError
from traces.arrays import Floats, Floats64, Integers64
from traces.shell.progress import progress_bar

Disagreement = Literal["divergence", "votes"]
_DENSITIES, _WEIGHT_BITS = (1.0, 0.5, 0.25, 0.12), (2, 3, 4)  # of the compressed member, whose plan may be coarse


@dataclass(frozen=True, eq=False)
class ChosenInputs:
    """Inputs that stand for a pool.

    Attributes
    ----------
    places : int64 [inputs]
        Places in the pool, each once, in the order in which they were chosen.
    weights : float64 [inputs]
        Weight of each in a mean over them; their expected mean is 1.
    """

    places: Integers64
    weights: Floats64


def disagreement(outputs: Floats, measure: Disagreement = "divergence") -> Floats64:
    """Return how much a committee disagrees on each input, float64 [inputs], in nats.

    Parameters
    ----------
    outputs : float [members, inputs, classes]
        Class scores of each member.
    measure : "divergence" or "votes"
        "divergence" is the mean Kullback-Leibler divergence of the members' softmax outputs from their mean; "votes"
        is the entropy of the members' answers.
    """
    if measure not in get_args(Disagreement):
        raise InputError(f"measure must be one of {', '.join(get_args(Disagreement))}; found {measure!r}")
    members, inputs, classes = outputs.shape
    if measure == "votes":
        votes = np.zeros((inputs, classes))
        for answers in outputs.argmax(axis=2):
            votes[np.arange(inputs), answers] += 1 / members
        return np.asarray(-(votes * np.log(np.maximum(votes, 1e-300))).sum(axis=1))
    logarithms = log_softmax(outputs)
    mean = np.log(np.exp(logarithms).mean(axis=0) + 1e-300)
    return np.asarray((np.exp(logarithms) * (logarithms - mean)).sum(axis=2).mean(axis=0))


def choose_inputs(
    module: torch.nn.Module,
    pool: Floats,
    number: int,
    tolerance: Tolerance,
    *,
    rounds: int = 3,
    perturbed: int = 2,
    measure: Disagreement = "divergence",
    evaluation: Floats | None = None,
    seed: int = 0,
) -> ChosenInputs:
    """Choose at most `number` inputs of a pool by a committee; no labels are used.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is left as it is.
    pool : array [inputs, ...]
        Inputs to choose from.
    number : int
        Draws; even in the first round, in proportion to the disagreement in the others.
    tolerance : Tolerance
        Tolerance that the committee's compressed member is planned for.
    rounds : int
        Rounds of draws.
    perturbed : int
        Members whose weights move at random within their tolerances.
    measure : "divergence" or "votes"
        As `disagreement` takes it.
    evaluation : array [inputs, ...] or None
        Inputs that the plan is to be judged on later; none of them may be in the pool.
    seed : int
        Of everything drawn at random.

    Returns
    -------
    ChosenInputs
        Places in the pool, and weights.

    Raises
    ------
    InputError
        If the pool is too small, contains an input of the evaluation, or the outputs are no class scores.
    """
    if not 1 <= rounds <= number <= len(pool):
        raise InputError(
            f"number must be at least rounds and at most the inputs of the pool; found number={number}, "
            f"rounds={rounds} and a pool of {len(pool)} inputs"
        )
    if evaluation is not None:
        refuse_overlap(pool, evaluation)
    draw = np.random.default_rng(seed)
    draws = [(place + 1) * number // (rounds + 1) - place * number // (rounds + 1) for place in range(rounds)]
    draws[-1] = number - sum(draws[:-1])  # the last round knows most, and draws most
    expected = np.zeros(len(pool))  # how often each input is drawn, in the mean
    chosen: list[int] = []
    original = class_scores(copy.deepcopy(module).eval(), pool)
    with progress_bar("asking the committee", rounds - 1) as advance:
        for round_number, count in enumerate(draws):
            shares = np.full(len(pool), 1 / len(pool))
            if round_number:
                disputed = _disputed(module, pool, chosen, original, tolerance, perturbed, measure, seed, draw)
                total = float(disputed.sum())
                shares = 0.1 * shares + 0.9 * (disputed / total if total > 0 else shares)
                advance()
            expected += count * shares
            order = draw.permutation(len(pool))
            points = (np.arange(count) + draw.random()) / count
            drawn = np.searchsorted(np.cumsum(shares[order]), points * (1 - 1e-9))
            chosen += order[drawn].tolist()
    places, first, times = np.unique(chosen, return_index=True, return_counts=True)
    weights = times * len(places) / (len(pool) * expected[places])
    in_order = np.argsort(first)
    return ChosenInputs(places[in_order], weights[in_order])


def refuse_overlap(pool: Floats, evaluation: Floats) -> None:
    """Raise InputError if an input of the evaluation is in the pool."""
    known = {np.ascontiguousarray(each).tobytes() for each in pool}
    both = sum(np.ascontiguousarray(each).tobytes() in known for each in evaluation)
    if both:
        raise InputError(
            f"inputs of the evaluation must not be in the pool that the plan is made from; found {both:,} of "
            f"{len(evaluation):,} in it; take them out"
        )


def _disputed(
    module: torch.nn.Module,
    pool: Floats,
    chosen: list[int],
    original: Floats,
    tolerance: Tolerance,
    perturbed: int,
    measure: Disagreement,
    seed: int,
    draw: np.random.Generator,
) -> Floats64:
    """Return how much a committee that knows the inputs chosen so far disagrees on each input of the pool."""
    planner = make_planner(
        module, pool[np.unique(chosen)], densities=_DENSITIES, weight_bits=_WEIGHT_BITS, seed=seed, checked=True
    )
    answers = [original, run_batches(planner.changed(planner.compress(module, planner.plan(tolerance))), pool)]
    answers += [run_batches(each, pool) for each in planner.perturbed(tolerance, perturbed, draw)]
    return disagreement(np.stack(answers), measure)
