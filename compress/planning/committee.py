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

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from compress.modules import check_parameters, plain_module
from compress.output_changes import classes_last, log_softmax, mean_of_positions
from compress.planning.analysis import Products
from compress.planning.losses import Loss
from compress.planning.outputs import read_outputs, run_outputs
from compress.planning.plan import Tolerance
from compress.planning.preparation import make_planner
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Floats, Floats64, Integers64, Numbers
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
    loss : Loss
        Loss of the tolerance; the outputs were checked for it on the whole pool.
    """

    places: Integers64
    weights: Floats64
    loss: Loss


def disagreement(outputs: Floats, measure: Disagreement = "divergence") -> Floats64:
    """Return how much a committee disagrees on each input, float64 [inputs], in nats.

    Parameters
    ----------
    outputs : float [members, inputs, classes] or [members, inputs, positions, classes]
        Class scores of each member; the disagreement is the mean over the positions.
    measure : "divergence" or "votes"
        "divergence" is the mean Kullback-Leibler divergence of the members' softmax outputs from their mean; "votes"
        is the entropy of the members' answers.
    """
    if measure not in get_args(Disagreement):
        raise InputError(f"measure must be one of {', '.join(get_args(Disagreement))}; found {measure!r}")
    if measure == "votes":
        answered = outputs.argmax(axis=-1)
        votes = np.stack([(answered == each).mean(axis=0) for each in range(outputs.shape[-1])], axis=-1)
        return mean_of_positions(-(votes * np.log(np.maximum(votes, 1e-300))).sum(axis=-1))
    logarithms = log_softmax(outputs)
    mean = np.log(np.exp(logarithms).mean(axis=0) + 1e-300)
    return mean_of_positions((np.exp(logarithms) * (logarithms - mean)).sum(axis=-1).mean(axis=0))


def choose_inputs(
    module: torch.nn.Module,
    pool: AnyInputs,
    number: int,
    tolerance: Tolerance,
    *,
    rounds: int = 3,
    perturbed: int = 2,
    measure: Disagreement | None = None,
    evaluation: AnyInputs | None = None,
    labels: Numbers | None = None,
    network: Network | None = None,
    seed: int = 0,
    leave: Sequence[str] = (),
    products: Products | None = None,
) -> ChosenInputs:
    """Choose at most `number` inputs of a pool by a committee.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is left as it is.
    pool : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Inputs to choose from, as `traces.Inputs.of` takes them.
    number : int
        Draws; even in the first round, in proportion to the disagreement in the others.
    tolerance : Tolerance
        Tolerance that the committee's compressed member is planned for.
    rounds : int
        Rounds of draws.
    perturbed : int
        Members whose weights move at random within their tolerances.
    measure : "divergence", "votes" or None
        As `disagreement` takes it, divergence by default. With a loss that is not of class scores, the disagreement is
        the mean squared change of the outputs from the members' mean, and this must be None.
    evaluation : inputs like the pool, or None
        Inputs that the plan is to be judged on later; none of them may be in the pool.
    labels : int [inputs] or [inputs, positions], or None
        Places of the right outputs, for the tolerance; the choice does not depend on them.
    network : Network or None
        Graph of the module, from which the loss "auto" may follow.
    seed : int
        Of everything drawn at random.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.module_layers`).

    Returns
    -------
    ChosenInputs
        Places in the pool, and weights.

    Raises
    ------
    InputError
        If the pool is too small, contains an input of the evaluation, or the tolerance has no meaning for the outputs.
    """
    pool = Inputs.of(pool)
    if not 1 <= rounds <= number <= len(pool):
        raise InputError(
            f"number must be at least rounds and at most the inputs of the pool; found number={number}, "
            f"rounds={rounds} and a pool of {len(pool)} inputs"
        )
    if evaluation is not None:
        refuse_overlap(pool, Inputs.of(evaluation))
    draw = np.random.default_rng(seed)
    draws = [(place + 1) * number // (rounds + 1) - place * number // (rounds + 1) for place in range(rounds)]
    draws[-1] = number - sum(draws[:-1])  # the last round knows most, and draws most
    expected = np.zeros(len(pool))  # how often each input is drawn, in the mean
    chosen: list[int] = []
    check_parameters(module)
    module = plain_module(module).eval()
    loss, original = read_outputs(
        module, pool, tolerance.loss, labels=labels, network=network, compared=tolerance.outputs
    )
    loss.check_reach(
        tolerance.bound, original, None if labels is None else loss.check_labels(labels, len(pool), original)
    )
    if measure is not None and not loss.scores:
        raise InputError(f"measure has no effect on the loss {loss.name}; found {measure!r}; leave it out")
    unlabelled = loss if loss.name != "accuracy" else dataclasses.replace(loss, name="answers")  # no labels are used
    goal = dataclasses.replace(tolerance, loss=unlabelled.function or unlabelled.name)

    def disputed() -> Floats64:
        places = np.unique(chosen) if len(set(chosen)) > 1 else draw.permutation(len(pool))[:2]
        seen = pool[places]  # all of them are analysed and measured: only the members' disagreement is used
        options: dict[str, Any] = {"densities": _DENSITIES, "weight_bits": _WEIGHT_BITS, "seed": seed}
        options |= {"evaluation": seen, "leave": leave, "products": products}
        planner = make_planner(module, seen, checked=unlabelled, **options)
        members = [planner.changed(planner.compress(module, planner.plan(goal)))]
        members += planner.perturbed(goal, perturbed, draw)
        outputs = [run_outputs(member, pool) for member in members]
        return _disagreement(loss, original, outputs, measure or "divergence")

    with progress_bar("asking the committee", rounds - 1) as advance:
        for round_number, count in enumerate(draws):
            shares = np.full(len(pool), 1 / len(pool))
            if round_number:
                by_input = disputed()
                total = float(by_input.sum())
                shares = 0.1 * shares + 0.9 * (by_input / total if total > 0 else shares)
                advance()
            expected += count * shares
            order = draw.permutation(len(pool))
            points = (np.arange(count) + draw.random()) / count
            drawn = np.searchsorted(np.cumsum(shares[order]), points * (1 - 1e-9))
            chosen += order[drawn].tolist()
    places, first, times = np.unique(chosen, return_index=True, return_counts=True)
    weights = times * len(places) / (len(pool) * expected[places])
    in_order = np.argsort(first)
    return ChosenInputs(places[in_order], weights[in_order], loss)


def refuse_overlap(pool: Inputs, evaluation: Inputs) -> None:
    """Raise InputError if an input of the evaluation is in the pool."""
    if pool.names != evaluation.names:
        raise InputError(
            f"the evaluation must have the inputs of the pool, {', '.join(pool.names)}; found "
            f"{', '.join(evaluation.names)}"
        )
    known = set(pool.fingerprints())
    both = sum(each in known for each in evaluation.fingerprints())
    if both:
        raise InputError(
            f"inputs of the evaluation must not be in the pool that the plan is made from; found {both:,} of "
            f"{len(evaluation):,} in it; take them out"
        )


def _disagreement(
    loss: Loss, original: Mapping[str, Floats], changed: Sequence[Mapping[str, Floats]], measure: Disagreement
) -> Floats64:
    """Return how much the original network and changed ones disagree on each input.

    Parameters
    ----------
    loss : Loss
        Loss of the outputs.
    original : Mapping[str, array]
        The original network's outputs as the loss reads them.
    changed : sequence of Mapping[str, array]
        Outputs of the changed networks as they give them.
    measure : "divergence" or "votes"
        Measure of class scores.
    """
    members = [original, *map(loss.read, changed)]
    if loss.scores:
        parts = [
            disagreement(np.stack([classes_last(outputs[name]) for outputs in members]), measure) for name in original
        ]
        return np.asarray(np.mean(parts, axis=0))
    vectors = np.stack([loss.changes(outputs, original) for outputs in members])
    return np.asarray(np.square(vectors - vectors.mean(axis=0)).sum(axis=-1).mean(axis=0), dtype=np.float64)
