"""Query by committee: the few inputs that show whether a compressed network still answers as it did (PyTorch needed).

The committee is the original network, the network as it was compressed on the inputs chosen so far, and networks whose
weights have moved at random within their tolerances. Inputs on which they disagree most are added, round by round.

Source: Seung, Opper, Sompolinsky, "Query by committee", COLT 1992; vote entropy: Dagan and Engelson, "Committee-based
sampling", ICML 1995; divergence from the mean: McCallum and Nigam, "Employing EM and pool-based active learning",
ICML 1998.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from compress.modules import weight_units
from compress.planning import Planner, Tolerance, log_softmax, run_batches
from compress.tolerances import second_order_tolerances
from traces import InputError
from traces.progress import progress_bar

Floats = npt.NDArray[Any]
Disagreement = Literal["divergence", "votes"]
_DENSITIES, _WEIGHT_BITS = (1.0, 0.5, 0.25), (3, 5)  # for the committee's compressed member, a coarse plan will do


def disagreement(outputs: Floats, measure: Disagreement = "divergence") -> npt.NDArray[np.float64]:
    """How much a committee disagrees on each input, from outputs [members, inputs, classes].

    measure   "divergence": mean Kullback-Leibler divergence of the members' softmax outputs from their mean, in nats;
              "votes": entropy of the members' answers, in nats
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
    rounds: int = 4,
    perturbed: int = 3,
    measure: Disagreement = "divergence",
    evaluation: Floats | None = None,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """Places in the pool of the inputs that a committee chose, in the order in which it chose them; no labels are used.

    number      of inputs to choose; the first round's are random, the others' those with the most disagreement
    tolerance   that the committee's compressed member is planned for
    perturbed   networks whose weights move at random within their tolerances
    evaluation  inputs that the plan is to be judged on later: none of them may be in the pool

    Raises InputError if the pool is too small, or an input of the evaluation is in it.
    """
    if not 1 <= rounds <= number <= len(pool):
        raise InputError(
            f"number must be at least one for each round and at most the pool; found {number}, {rounds} rounds and a "
            f"pool of {len(pool)}"
        )
    if evaluation is not None:
        refuse_overlap(pool, evaluation)
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(pool))[: number // rounds].tolist()
    original = run_batches(copy.deepcopy(module).eval(), pool)
    with progress_bar("asking the committee", rounds - 1) as advance:
        for left in range(rounds - 1, 0, -1):
            planner = Planner(module, pool[chosen], densities=_DENSITIES, weight_bits=_WEIGHT_BITS, seed=seed)
            answers = [original, run_batches(planner.changed(planner.plan(tolerance).apply(module)), pool)]
            answers += [run_batches(each, pool) for each in _perturbed(planner, tolerance, perturbed, draw)]
            disputed = disagreement(np.stack(answers), measure)
            disputed[chosen] = -np.inf
            chosen += np.argsort(-disputed, kind="stable")[: (number - len(chosen)) // left].tolist()
            advance()
    return np.array(chosen)


def refuse_overlap(pool: Floats, evaluation: Floats) -> None:
    """Raise InputError if an input is in both."""
    known = {np.ascontiguousarray(each).tobytes() for each in pool}
    both = sum(np.ascontiguousarray(each).tobytes() in known for each in evaluation)
    if both:
        raise InputError(
            f"inputs that a plan is judged on must not be in the pool that it is made from; {both:,} of "
            f"{len(evaluation):,} are; take them out"
        )


def _perturbed(planner: Planner, tolerance: Tolerance, number: int, draw: np.random.Generator) -> list[torch.nn.Module]:
    units = planner.analysis.units
    curvatures = np.concatenate([unit.curvatures.ravel() for unit in units])
    every = np.concatenate([unit.weights.ravel() for unit in units])
    largest = float(np.sqrt(np.square(every).mean())) / 4  # a few inputs say nothing of many weights
    bound = planner.change_of(tolerance, tolerance.bound)
    tolerances = second_order_tolerances(
        curvatures, 3 * bound, largest
    )  # of what is even in [-1, 1], the square is 1/3
    found = []
    for _ in range(number):
        moved = copy.deepcopy(planner.module)
        at = 0
        with torch.no_grad():
            for unit in weight_units(moved)[0]:
                size = unit.weight.numel()
                steps = draw.uniform(-1, 1, size) * tolerances[at : at + size]
                unit.weight.add_(torch.from_numpy(steps.astype(np.float32)).reshape(unit.weight.shape))
                at += size
        found.append(moved)
    return found
