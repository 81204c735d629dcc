"""Notice of a pool that the network was trained on.

A compressed network changes less on inputs that the original was trained on, so that a bound that holds on them may not
hold elsewhere. The network is then surer of its answers there, and more of them are right, than on inputs that it has
never seen. Both are compared in standard errors. Harder inputs look the same: the first half of MNIST's test images is
harder than the second.

Without inputs that the network has never seen nothing shows it. Accuracy beside mean sureness, and the effect of
shifted, mirrored and noisy copies of the inputs, were tried on ResNet-20, ResNet-8 and LeNet-5: no threshold separates
training images from other images on all of them. Relative to the entropy of its outputs, a network that was trained on
shifted images is steadier there than an honest one, and one that was not is less steady.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from compress.output_changes import answers, classes_last, entropies, log_softmax, mean_of_positions
from traces.arrays import Floats, Floats64, Numbers

_UNLIKELY = 3.0  # standard errors


def overfitting_note(
    pool: Mapping[str, Floats],
    evaluation: Mapping[str, Floats] | None = None,
    labels: Numbers | None = None,
    evaluation_labels: Numbers | None = None,
) -> str | None:
    """Return a sentence for the user if the network may have been trained on the pool, otherwise None.

    Parameters
    ----------
    pool : Mapping[str, float [inputs, classes] or with positions]
        Class scores of the original network on the pool, by name of the output; empty if its outputs are none.
    evaluation : Mapping[str, array] or None
        Class scores on inputs that the network has never seen. Without them the sentence says that it is unknown
        whether the network was trained on the pool.
    labels, evaluation_labels : int [inputs] or [inputs, positions], or None
        Right classes of a network with one output.
    """
    if evaluation is None:
        known = ""
        if labels is not None and len(pool) == 1:
            known = f" ({_right(pool, labels).mean():.1%} of its answers on the pool are right; is it so elsewhere?)"
        return (
            f"whether the network was trained on the pool is untested{known}; if it was, the loss on other inputs can "
            f"be several times as large; give evaluation inputs that it has never seen"
        )
    found = []
    if pool:
        apart = _apart(_entropies(evaluation), _entropies(pool))
        if apart > _UNLIKELY:
            sure, elsewhere = (f"{_sureness(each):.3f}" for each in (pool, evaluation))
            found.append(
                f"is surer of the pool's inputs than of the evaluation's ({sure} against {elsewhere}, "
                f"{apart:.0f} standard errors of the entropy)"
            )
    if labels is not None and evaluation_labels is not None and len(pool) == 1:
        right, unseen = _right(pool, labels), _right(evaluation, evaluation_labels)
        apart = _apart(right, unseen)
        if apart > _UNLIKELY:
            found.append(
                f"is right more often on the pool's inputs than on the evaluation's ({right.mean():.1%} against "
                f"{unseen.mean():.1%}, {apart:.0f} standard errors)"
            )
    if not found:
        return None
    reason = "it may have been trained on the pool, or the evaluation's inputs are harder"
    return f"the network {', and '.join(found)}: {reason}"


def _entropies(outputs: Mapping[str, Floats]) -> Floats64:
    """Return the mean entropy of the softmax outputs of each input, in nats, [inputs]."""
    return np.asarray(np.mean([entropies(each) for each in outputs.values()], axis=0))


def _sureness(outputs: Mapping[str, Floats]) -> float:
    """Return the mean of the largest softmax output."""
    return float(np.mean([np.exp(log_softmax(classes_last(each)).max(axis=-1)).mean() for each in outputs.values()]))


def _right(outputs: Mapping[str, Floats], labels: Numbers) -> Floats64:
    """Return the share of right answers of each input, [inputs]."""
    return mean_of_positions(answers(next(iter(outputs.values()))) == labels)


def _apart(higher: Floats64, lower: Floats64) -> float:
    """Return the difference of two means in standard errors.

    Half an input at the mean of the others is added to each spread, so that few inputs without a spread show nothing.
    """
    difference = float(higher.mean() - lower.mean())
    variance = sum((each.var() + difference**2 / 2 / len(each)) / len(each) for each in (higher, lower))
    return difference / math.sqrt(variance) if variance else 0.0
