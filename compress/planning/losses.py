"""Losses: how far the outputs of a changed network are from the original's, for each input.

A loss is the mean over the inputs. Of outputs for several positions (tokens, pixels) it is the mean over them, and of
several outputs the mean over the outputs. The classes of outputs with four axes or more are along axis 1, otherwise
along the last. A loss may be a function of the user's, whose arrays are the outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np

from compress.class_scores import (
    are_probabilities,
    check_finite,
    check_form,
    check_labels,
    check_scores,
    find_state,
    find_unlike_scores,
    have_unit_length,
    name_form,
)
from compress.output_changes import (
    answers,
    classes_last,
    cosine_distances,
    divergences,
    log_softmax,
    mean_of_positions,
    relative_errors,
)
from traces import InputError, Inputs, Network
from traces.arrays import Floats, Floats32, Floats64, Integers64, Numbers
from traces.function_names import named_function
from traces.plain_values import sequence, text

if TYPE_CHECKING:
    import torch

KnownLoss = Literal["accuracy", "answers", "kl", "cosine", "relative-error"]
LOSSES: tuple[KnownLoss, ...] = get_args(KnownLoss)
AUTO, ACCURACY_DROP = "auto", "accuracy-drop"  # not known before labels and outputs are
LossFunction = Callable[[Any, Any], Any]
Outputs = Floats | Mapping[str, Floats]  # of a network; by name if there are several
_Values = TypeVar("_Values")

MEANINGS: Mapping[str, str] = {
    "accuracy": "share of right answers that is lost",
    "answers": "share of answers that change",
    "kl": "mean Kullback-Leibler divergence of the softmax outputs from the original's, in nats",
    "cosine": "mean of 1 - cosine of the angle between the outputs and the original's",
    "relative-error": "mean length of the outputs' change, relative to the outputs' length",
}
"""Losses in words."""
ASKED = "this loss was asked for"
_LEAST = float(np.finfo(np.float32).tiny)  # of a probability whose logarithm is taken
_ROUNDING = 1e-6
_REACH, _REACH_OF_ANSWERS = 0.8, 0.5  # of the loss of outputs that do not depend on the input
_NOISES, _FUNCTION_NOISES = 16, 4
_MOST_SAMPLED = 2**15  # class scores of many positions
_MOST_INPUTS = 256  # that a function is tried on
_SHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast")
_SINCE_NO_LABELS = "there are no labels, and"


def loss_name(loss: str | LossFunction) -> str:
    """Return the name of a loss, package.module:function for a function. Raises InputError if there is no such loss."""
    if not isinstance(loss, str):
        if not callable(loss):
            raise InputError(f"{_must()}; found {type(loss).__name__}")
        return f"{getattr(loss, '__module__', '?')}:{getattr(loss, '__qualname__', type(loss).__name__)}"
    name = loss.replace("_", "-") if ":" not in loss else loss
    if ":" not in name and name not in (AUTO, ACCURACY_DROP, *LOSSES):
        raise InputError(f"{_must()}; found {loss!r}")
    return name


def output_names(names: object) -> tuple[str, ...]:
    """Return names of outputs that are compared. Raises InputError if they are no list of different names."""
    given = tuple(text("outputs", name) for name in sequence("outputs", names))
    if len(set(given)) < len(given):
        raise InputError(f"outputs must be different names; found {', '.join(given)}; name each once")
    return given


def compared_outputs(outputs: Mapping[str, _Values], names: Sequence[str]) -> dict[str, _Values]:
    """Return the outputs of these names, or all if there are none. Raises InputError if a name is unknown."""
    unknown = [name for name in names if name not in outputs]
    if unknown:
        raise InputError(f"outputs must be some of the network's, {', '.join(outputs)}; found {', '.join(unknown)}")
    return {name: values for name, values in outputs.items() if not names or name in names}


@dataclass(frozen=True)
class Loss:
    """Loss of a changed network.

    Attributes
    ----------
    name : str
        accuracy, answers, kl, cosine, relative-error, or package.module:function.
    reason : str
        Reason why it was taken.
    logarithms : tuple of str
        Outputs that are probabilities: their logarithms are compared, which are class scores.
    function : callable or None
        Function of the original's outputs and the changed ones, arrays by name or the only array, that returns the
        loss of each input: float [inputs], not negative, 0 for outputs that are the same.
    outputs : tuple of str
        Names of the outputs that are compared; all if empty.
    """

    name: str = "kl"
    reason: str = ASKED
    logarithms: tuple[str, ...] = ()
    function: LossFunction | None = dataclasses.field(default=None, repr=False)
    outputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, loss: str | LossFunction | Loss, labelled: bool = False, outputs: Sequence[str] = ()) -> Loss:
        """Return the loss of this name, or of this function.

        Parameters
        ----------
        loss : str, callable or Loss
            A name other than "auto" (`choose_loss`), or a function.
        labelled : bool
            True if there are labels, which accuracy needs.
        outputs : sequence of str
            Names of the outputs that are compared, all by default; a Loss has its own.

        Raises
        ------
        InputError
            If there is no such loss, or it needs labels and there are none.
        """
        if isinstance(loss, Loss):
            return loss
        name = loss_name(loss)
        if name == AUTO:
            raise InputError(f"the loss auto follows from outputs; name one of {', '.join(LOSSES)}")
        if name == ACCURACY_DROP:
            name = "accuracy" if labelled else "answers"
        if name == "accuracy" and not labelled:
            raise InputError("the loss accuracy needs labels; found none; give labels, or take the loss answers")
        if ":" in name:
            function = named_function(name, 2) if isinstance(loss, str) else loss
            return cls(name, function=function, outputs=tuple(outputs))
        return cls(name, outputs=tuple(outputs))

    @property
    def scores(self) -> bool:
        """True if the outputs are class scores, whose mean over the classes does not count."""
        return self.name in ("accuracy", "answers", "kl")

    @property
    def of_answers(self) -> bool:
        """True if the loss is a share of answers."""
        return self.name in ("accuracy", "answers")

    @property
    def meaning(self) -> str:
        """The loss in words."""
        return MEANINGS.get(self.name, f"mean of {self.name}")

    @property
    def description(self) -> str:
        """The loss in words, and the reason why it was taken."""
        return f"{self.meaning}, since {self.reason}"

    # Values

    def read(self, outputs: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the outputs that are compared, of all outputs by name."""
        return {
            name: np.log(np.maximum(values, _LEAST)) if name in self.logarithms else values
            for name, values in compared_outputs(outputs, self.outputs).items()
        }

    def by_input(self, original: Outputs, changed: Outputs, labels: Numbers | None = None) -> Floats64:
        """Return the loss of each input, [inputs].

        Parameters
        ----------
        original, changed : float [inputs, ...], or Mapping[str, array]
            Outputs of the original network and of the changed one as `read` gives them; by name if there are several.
        labels : int [inputs] or [inputs, positions], or None
            Places of the right outputs, for accuracy.

        Raises
        ------
        InputError
            If a function does not return a loss for each input.
        """
        before, after = _by_name(original), _by_name(changed)
        if self.function is not None:
            return self._of_function(before, after)
        losses = [self._of_output(values, after[name], labels) for name, values in before.items()]
        return losses[0] if len(losses) == 1 else np.asarray(np.mean(losses, axis=0))

    def mean(self, original: Outputs, changed: Outputs, labels: Numbers | None = None) -> float:
        """Return the mean of `by_input`, which is compared with a bound."""
        return float(self.by_input(original, changed, labels).mean())

    def squares(self, original: Outputs, changed: Outputs) -> Floats64:
        """Return a measure of each input's change that is proportional to its square if it is small, [inputs]."""
        if self.scores:
            return Loss("kl").by_input(original, changed)
        if self.name == "cosine":
            return self.by_input(original, changed)
        return np.square(Loss("relative-error").by_input(original, changed))

    def _of_output(self, before: Floats, after: Floats, labels: Numbers | None) -> Floats64:
        if self.name == "kl":
            return divergences(before, after)
        if self.name == "relative-error":
            return relative_errors(before, after)
        if self.name == "cosine":
            return cosine_distances(before, after)
        answered, changed = answers(before), answers(after)
        if self.name == "answers":
            return mean_of_positions(answered != changed)
        assert labels is not None, "accuracy needs labels, which are checked before"
        return mean_of_positions(answered == labels) - mean_of_positions(changed == labels)

    def _of_function(self, before: Mapping[str, Floats], after: Mapping[str, Floats]) -> Floats64:
        assert self.function is not None
        given = [next(iter(each.values())) if len(each) == 1 else dict(each) for each in (before, after)]
        inputs = len(next(iter(before.values())))
        must = f"the loss {self.name} must return a number for each input, float [{inputs}], finite and not negative"
        returned = self.function(*given)
        try:
            values = np.asarray(returned)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"{must}; found {type(returned).__name__}, which is no array: {error}") from None
        if values.dtype.kind not in "fiub" or values.shape != (inputs,):
            raise InputError(f"{must}; found {values.dtype} {list(values.shape)}; leave out the mean over the inputs")
        losses = values.astype(np.float64)
        if not np.isfinite(losses).all():
            first = int(np.isfinite(losses).argmin())
            raise InputError(f"{must}; found {losses[first]} for input {first}")
        if losses.min(initial=0.0) < -_ROUNDING:
            raise InputError(f"{must}; found {losses.min():.3g} for input {int(losses.argmin())}")
        return np.asarray(np.maximum(losses, 0.0))

    # Checks

    def check_form(self, what: str, outputs: Any, inputs: int) -> None:
        """Raise InputError if the loss has no meaning for outputs of this shape and type.

        Parameters
        ----------
        what : str
            Name of the outputs in errors.
        outputs : array [inputs, ...]
            One output of a network.
        inputs : int
            Number of inputs.
        """
        if self.scores:
            check_form(what, outputs, inputs, positions=True)
            return
        if outputs.dtype.kind != "f":
            if self.function is not None:
                return
            raise InputError(
                f"{what} must be floating-point for the loss {self.name}; found {outputs.dtype}; leave them out"
            )
        along = 1 if outputs.ndim > 3 else -1
        if 0 in outputs.shape or (self.name == "cosine" and (outputs.ndim < 2 or outputs.shape[along] < 2)):
            raise InputError(
                f"{what} must be vectors [inputs, values] of two values or more for the loss cosine; found "
                f"{list(outputs.shape)}; take the loss relative-error"
            )

    def check_states(self, what: str, outputs: Mapping[str, Floats], inputs: Sequence[Sequence[int | None]]) -> None:
        """Raise InputError if one of several outputs is to be class scores, but looks like a state that is fed on.

        An output that is named in `self.outputs` is taken for class scores unless it has grown.

        Parameters
        ----------
        what : str
            Name of the outputs in errors.
        outputs : Mapping[str, array]
            All outputs of the original network, as it gives them, by name.
        inputs : sequence of sequence of int or None
            Shapes of floating-point inputs, as `find_state` takes them.
        """
        if not self.scores or len(outputs) == 1:
            return
        for name, values in compared_outputs(outputs, self.outputs).items():
            seen = find_state(values, inputs, grown=bool(self.outputs))
            if seen is not None:
                raise InputError(
                    f"{named_output(what, name, outputs)} must be class scores for the loss {self.name}; found "
                    f"{list(values.shape)}, {seen}, as of a state that is fed on; name the class scores alone in the "
                    f"tolerance's outputs, or wrap the network in a module that gives them alone"
                )

    def check(self, what: str, outputs: Mapping[str, Floats], differing: bool = True) -> Loss:
        """Return the loss with the names of outputs that are probabilities.

        Parameters
        ----------
        what : str
            Name of the outputs in errors.
        outputs : Mapping[str, array]
            Outputs of the original network that are compared, as it gives them, by name.
        differing : bool
            True if the inputs are not all the same.

        Raises
        ------
        InputError
            If the loss has no meaning for the outputs: they are not finite, the same for all inputs, all 0 or no class
            scores; or if a function loses something of outputs that are the same.
        """
        for name, values in outputs.items():
            named = named_output(what, name, outputs)
            self.check_form(named, values, len(values))
            if self.scores:
                check_scores(named, values, differing)
                continue
            check_finite(named, values)
            if self.function is None and not values.any():
                raise InputError(
                    f"{named} must not all be 0, as the loss {self.name} is relative to them; check its parameters"
                )
        if self.scores:
            found = tuple(name for name, values in outputs.items() if are_probabilities(values))
            return dataclasses.replace(self, logarithms=found)
        if differing:
            _check_varying(what, outputs)
        if self.function is not None:
            lost = self.by_input(outputs, outputs)
            if lost.max(initial=0.0) > _ROUNDING:
                raise InputError(
                    f"the loss {self.name} must be 0 for outputs that are the same; found {lost.max():.3g} for input "
                    f"{int(lost.argmax())}"
                )
        return self

    def check_labels(self, labels: Numbers, inputs: int, outputs: Mapping[str, Floats]) -> Integers64:
        """Return labels of this many inputs as int64.

        Parameters
        ----------
        labels : int [inputs] or [inputs, positions]
            Places of the right outputs.
        inputs : int
            Number of inputs.
        outputs : Mapping[str, array]
            Outputs of all or some of the inputs.

        Raises
        ------
        InputError
            If the labels do not fit the network's only output, or have no effect on the loss.
        """
        if not self.scores:
            raise InputError(f"labels have no effect on the loss {self.name}; leave them out, or take accuracy")
        return labels_of(labels, inputs, outputs)

    def check_reach(
        self, bound: float, original: Outputs, labels: Numbers | None = None, counts: Floats | None = None
    ) -> None:
        """Raise InputError if a network that says nothing about its inputs could keep a bound.

        The bound may be at most a share of the loss of outputs that are all 0, of the constant outputs that lose least,
        and of the original's outputs shuffled over the inputs. A network with random weights loses about as much. The
        share is 80 %; it is half for shares of answers, because random networks give some right answers by chance.

        Parameters
        ----------
        bound : float
            Bound on the loss.
        original : float [inputs, ...], or Mapping[str, array]
            Outputs of the original network as `read` gives them.
        labels : int [inputs] or [inputs, positions], or None
            Places of the right outputs, for accuracy.
        counts : float [inputs] or None
            Weight of each input in a mean; 1 each by default.
        """
        outputs = _by_name(original)
        inputs = len(next(iter(outputs.values())))
        counts = np.ones(inputs) if counts is None else np.asarray(counts)
        advice = "give a smaller bound, or leave out of the outputs what is the same for all inputs"
        if self.of_answers:
            advice = "give a smaller bound, or inputs of more classes"
        if self.name == "accuracy":
            right = [mean_of_positions(answers(each) == labels) for each in outputs.values()]
            right_share = float(np.mean(right * counts))
            advice = (
                f"{right_share:.3g} of the network's answers are as labelled; check that labels have "
                f"the order of the inputs and number the network's outputs from 0, or give a smaller bound"
            )
        share = _REACH_OF_ANSWERS if self.of_answers else _REACH
        for how, changed in self._blind(outputs, labels, counts):
            least = float(np.mean(counts * self.by_input(outputs, changed, labels)))
            if not bound <= share * least:
                raise InputError(
                    f"the bound on the loss {self.name} must be at most {share:.0%} of the loss of outputs that {how}, "
                    f"so that networks without knowledge break it; found {bound:g}, and that loss is {least:.3g}; "
                    f"{advice}"
                )

    def _blind(
        self, outputs: Mapping[str, Floats], labels: Numbers | None, counts: Floats
    ) -> Iterator[tuple[str, dict[str, Floats]]]:
        """Yield outputs that say nothing about their inputs, each with what they are."""
        if self.name != "accuracy":  # the best constant answer loses no more
            yield "are all 0", {name: np.zeros_like(values) for name, values in outputs.items()}
        inputs = len(counts)
        if inputs < 2:
            return
        yield (
            "are the same for all inputs",
            {name: self._best_constant(values, labels, counts) for name, values in outputs.items()},
        )
        order = np.random.default_rng(0).permutation(inputs)
        others = np.empty(inputs, dtype=np.int64)
        others[order] = np.roll(order, 1)  # no input keeps its outputs
        yield (
            "are shuffled over the inputs",
            {name: values[others] for name, values in outputs.items()},
        )

    def _best_constant(self, outputs: Floats, labels: Numbers | None, counts: Floats) -> Floats:
        """Return outputs that are the same for all inputs and lose as little as such outputs can, or nearly so."""
        if self.function is not None and outputs.dtype.kind != "f":
            return np.broadcast_to(outputs[:1], outputs.shape)
        if not self.scores:
            values = outputs.astype(np.float64)
            if self.name == "cosine":
                along = 1 if outputs.ndim > 3 else -1
                lengths = np.linalg.norm(values, axis=along, keepdims=True)
                values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
            mean = np.tensordot(counts / counts.sum(), values, axes=1)
            return np.broadcast_to(mean.astype(outputs.dtype), outputs.shape)
        rows = classes_last(outputs)
        if self.name == "kl":
            shares = np.exp(log_softmax(rows))
        else:
            best = answers(outputs) if self.name == "answers" else np.asarray(labels)
            shares = np.eye(rows.shape[-1], dtype=np.float32)[best]
        mean = np.log(np.maximum(np.tensordot(counts / counts.sum(), shares, axes=1), _LEAST))
        same = np.broadcast_to(mean.astype(outputs.dtype), rows.shape)
        return np.moveaxis(same, -1, 1) if outputs.ndim > 3 else same

    # Vectors for the analysis

    def vectors(
        self, outputs: Mapping[str, torch.Tensor], original: Mapping[str, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Return vectors whose squared change is what a bound is about, [inputs, ..., values] for each output.

        These are the class scores themselves; for a relative error or a function, outputs divided by their length; for
        a cosine, vectors of length 1. The mean over positions and outputs becomes a sum.

        Parameters
        ----------
        outputs : Mapping[str, tensor]
            Outputs by name, as the network gives them.
        original : Mapping[str, tensor] or None
            Outputs whose lengths the others are relative to; `outputs` by default.
        """
        import torch

        compared = compared_outputs(outputs, self.outputs)
        floats = {name: values for name, values in compared.items() if values.is_floating_point()}
        vectors = []
        for name, values in floats.items():
            along = 1 if values.dim() > 3 else -1
            if self.scores:
                values = values.clamp_min(_LEAST).log() if name in self.logarithms else values
                vectors.append(values.movedim(along, -1))
            elif self.name == "cosine":
                flat = torch.nn.functional.normalize(values, dim=along).movedim(along, -1)
                positions = flat[0, ..., 0].numel()
                vectors.append(flat / (len(floats) * positions) ** 0.5)
            else:
                flat = values.flatten(1) if values.dim() > 1 else values[:, None]
                before = flat if original is None else original[name].reshape(flat.shape)
                length = before.detach().norm(dim=1, keepdim=True)
                vectors.append(flat / torch.where(length > 0, length, 1.0) / len(floats) ** 0.5)
        return vectors

    def changes(self, outputs: Mapping[str, Floats], original: Mapping[str, Floats]) -> Floats:
        """Return the `vectors` of outputs without the mean over classes, [inputs, values], to be subtracted.

        Parameters
        ----------
        outputs, original : Mapping[str, array]
            Outputs as the network gives them, and those of the original network.
        """
        import torch

        tensors, before = ({name: torch.from_numpy(each[name]) for name in each} for each in (outputs, original))
        vectors = [each.numpy() for each in self.vectors(tensors, before)]
        if self.scores:
            vectors = [each - each.mean(axis=-1, keepdims=True) for each in vectors]
        return np.concatenate([each.reshape(len(each), -1) for each in vectors], axis=1)


def labels_of(labels: Numbers, inputs: int, outputs: Mapping[str, Floats]) -> Integers64:
    """Return labels of this many inputs as int64. Raises InputError if they do not fit the network's only output."""
    if len(outputs) > 1:
        raise InputError(
            f"labels are those of one output; found the outputs {', '.join(outputs)}; name one in outputs, wrap the "
            f"network in a module that gives one, or leave the labels out"
        )
    scores = next(iter(outputs.values()))
    check_form("the network's outputs", scores, len(scores), positions=True)
    scores = classes_last(scores)
    return check_labels("labels", labels, inputs, scores.shape[-1], scores.shape[1:-1])


def named_output(what: str, name: str, outputs: Mapping[str, Any]) -> str:
    """Return how an error calls one of the outputs."""
    return what if len(outputs) == 1 else f"{what}, {name!r},"


def choose_loss(
    inputs: Inputs, outputs: Mapping[str, Floats], labelled: bool = False, network: Network | None = None
) -> Loss:
    """Choose the loss that fits a network's outputs.

    Parameters
    ----------
    inputs : Inputs
        Inputs of the network.
    outputs : Mapping[str, array]
        Its outputs for these inputs that are compared, as it gives them, by name.
    labelled : bool
        True if there are labels.
    network : Network or None
        Graph of the network, if it is known.

    Raises
    ------
    InputError
        If the outputs may be class scores, a regression or embeddings, which look the same.
    """
    if labelled:
        return Loss("accuracy", "there are labels")
    if len(outputs) > 1:
        return Loss("relative-error", f"{_SINCE_NO_LABELS} the outputs are {', '.join(outputs)}")
    ((name, values),) = outputs.items()
    if values.dtype.kind != "f":
        raise InputError(
            f"the network's output must be floating-point for the loss auto; found {values.dtype}; leave it out, or "
            f"give a loss of your own, package.module:function"
        )
    check_finite("the network's outputs", values)
    if inputs.differ:
        _check_varying("the network's outputs", outputs)
    of_output = name_form(values)
    last = None if network is None else _last_operator(network, name)
    if values.ndim < 2 or classes_last(values).shape[-1] == 1:
        where = "input" if values.ndim < 2 or values[0].size == 1 else "position"
        return Loss("relative-error", f"{_SINCE_NO_LABELS} there is one number for each {where}")
    if last in ("Softmax", "LogSoftmax") or are_probabilities(values):
        seen = "the output is probabilities" if last is None else f"the output is that of {last}"
        found = (name,) if are_probabilities(values) else ()
        return Loss("kl", f"{_SINCE_NO_LABELS} {seen} of {of_output}", found)
    if values.max() <= 0 and np.abs(log_softmax(classes_last(values)) - classes_last(values)).max() <= 1e-3:
        return Loss("kl", f"{_SINCE_NO_LABELS} the output is logarithms of probabilities of {of_output}")
    if last in ("Sigmoid", "HardSigmoid") or (values.min() >= 0 and values.max() <= 1):
        seen = "all outputs are from 0 to 1" if last is None else f"the output is that of {last}"
        return Loss("relative-error", f"{_SINCE_NO_LABELS} {seen}, and they do not add up to 1")
    same = next((key for key, each in inputs.arrays.items() if each.shape == values.shape), None)
    if same is not None and inputs[same].dtype.kind == "f":
        return Loss("relative-error", f"{_SINCE_NO_LABELS} the output has the shape of an input, as no classes have")
    if have_unit_length(values):
        return Loss("cosine", f"{_SINCE_NO_LABELS} the outputs are vectors of length 1, as embeddings are")
    if _scores_tokens(inputs, values, network):
        return Loss("kl", f"{_SINCE_NO_LABELS} the output has a score of each token of the vocabulary")
    lacking = find_unlike_scores(values)
    if lacking is None:
        return Loss("answers", f"{_SINCE_NO_LABELS} the outputs are those of a trained classifier of {of_output}")
    raise InputError(
        f"the loss must be named for outputs {list(values.shape)}, because class scores, a regression and embeddings "
        f"look the same; found auto, and {lacking}; take answers or kl for class scores, relative-error for a "
        f"regression, cosine for embeddings, or give labels"
    )


def _last_operator(network: Network, output: str) -> str | None:
    """Return the operator that gives an output, behind those that only shape it; None if it is not known."""
    graph = network.graph.graph
    names = [each.name for each in graph.output]
    makers = {name: node for node in graph.node for name in node.output}
    if len(names) > 1 and output not in names:
        return None
    node = makers.get(output if output in names else names[0])
    while node is not None and node.op_type in _SHAPING:
        node = makers.get(node.input[0])
    return None if node is None else str(node.op_type)


def _scores_tokens(inputs: Inputs, outputs: Floats, network: Network | None) -> bool:
    """Return True if inputs are ids of tokens [inputs, tokens], and outputs [inputs, tokens, vocabulary]."""
    ids = [each for each in inputs.arrays.values() if each.dtype.kind in "iu" and each.shape == outputs.shape[:-1]]
    if outputs.ndim != 3 or not ids:
        return False
    if network is not None:
        return any(len(network.parameters[name]) == outputs.shape[-1] for name in network.lookups)
    largest = max(int(each.max()) for each in ids)
    return bool(outputs.shape[-1] // 2 <= largest < outputs.shape[-1])


@dataclass(frozen=True, eq=False)
class RandomChanges:
    """Outputs, and random directions in which they may change, from which losses of small changes are expected.

    Attributes
    ----------
    parts : list of ScoreSample
        Class scores of each output; empty for other outputs.
    outputs : Mapping[str, array]
        For a loss that is a function: outputs of some inputs.
    noise : sequence of Mapping[str, array]
        For a loss that is a function: random changes of these outputs by their length.
    """

    parts: list[ScoreSample]
    outputs: Mapping[str, Floats]
    noise: Sequence[Mapping[str, Floats]]

    @classmethod
    def of(
        cls, loss: Loss, outputs: Mapping[str, Floats], labels: Numbers | None, counts: Floats64, seed: int
    ) -> RandomChanges:
        """Return random changes of the outputs on a pool, as `Loss.read` gives them."""
        if loss.scores:
            return cls([ScoreSample.of(each, labels, counts, seed) for each in outputs.values()], {}, [])
        if loss.function is None:
            return cls([], {}, [])
        some = {name: values[:_MOST_INPUTS] for name, values in outputs.items()}
        draw = np.random.default_rng(seed)
        noise = [{name: _noise(values, draw) for name, values in some.items()} for _ in range(_FUNCTION_NOISES)]
        return cls([], some, noise)

    def expected(self, loss: Loss, change: float) -> float:
        """Return the expected loss if `Loss.vectors` change at random by this expected squared change."""
        if loss.name == "relative-error":
            return math.sqrt(change)
        if loss.name == "cosine":
            return change / 2  # two vectors of length 1 with the cosine c differ by the square 2 (1 - c)
        if loss.scores:
            deviation = math.sqrt(change / max(1, sum(part.freedom for part in self.parts)))
            return float(np.mean([part.expected(loss, deviation) for part in self.parts]))
        changed = [
            {name: values + math.sqrt(change) * noise[name] for name, values in self.outputs.items()}
            for noise in self.noise
        ]
        return float(np.mean([loss.by_input(self.outputs, each) for each in changed]))


@dataclass(frozen=True, eq=False)
class ScoreSample:
    """Class scores of one output, for the effect of random changes; of outputs with many positions, some of them.

    Attributes
    ----------
    scores : float [rows, classes]
        Scores of inputs, or of positions of inputs.
    labels : int64 [rows] or None
        Right classes.
    counts : float64 [rows]
        Weight of each row in a mean.
    noise : float32 [samples, rows, classes]
        Random directions in which the scores may change.
    freedom : int
        Number of values of one input that a softmax tells apart: classes - 1 for each position.
    """

    scores: Floats
    labels: Numbers | None
    counts: Floats64
    noise: Floats32
    freedom: int

    @classmethod
    def of(cls, outputs: Floats, labels: Numbers | None, counts: Floats64, seed: int) -> ScoreSample:
        """Return the sample of an output [inputs, classes] or with positions."""
        rows = classes_last(outputs)
        positions = math.prod(rows.shape[1:-1])
        rows = rows.reshape(-1, rows.shape[-1])
        labels = None if labels is None else labels.reshape(-1)
        counts = np.repeat(counts, positions)
        if outputs.ndim > 2 and rows.size > _MOST_SAMPLED:
            number = max(1, _MOST_SAMPLED // rows.shape[1])
            places = np.sort(np.random.default_rng(seed).choice(len(rows), min(number, len(rows)), replace=False))
            rows, counts = rows[places], counts[places]
            labels = None if labels is None else labels[places]
        noise = np.random.default_rng(seed).standard_normal((_NOISES, *rows.shape)).astype(np.float32)
        return cls(rows, labels, counts, noise, positions * (rows.shape[1] - 1))

    def expected(self, loss: Loss, deviation: float) -> float:
        """Return the expected loss if each score changes at random by this standard deviation."""
        changed = [loss.by_input(self.scores, self.scores + each, self.labels) for each in self.noise * deviation]
        return float(np.mean(self.counts * changed))


def _noise(values: Floats, draw: np.random.Generator) -> Floats:
    """Return a random change of outputs whose expected length is that of each input's outputs."""
    if values.dtype.kind != "f":
        return np.zeros_like(values)
    flat = values.reshape(len(values), -1)
    lengths = np.linalg.norm(flat.astype(np.float64), axis=1)
    scale = np.where(lengths > 0, lengths, 1.0)[:, None] / math.sqrt(flat.shape[1])
    noise: Floats = (draw.standard_normal(flat.shape) * scale).astype(values.dtype).reshape(values.shape)
    return noise


def _by_name(outputs: Outputs) -> Mapping[str, Floats]:
    return {"output": outputs} if isinstance(outputs, np.ndarray) else outputs


def _check_varying(what: str, outputs: Mapping[str, Floats]) -> None:
    """Raise InputError if all outputs are the same for all inputs."""
    if not any(_varies(values) for values in outputs.values()):
        raise InputError(
            f"{what} must differ from input to input; found the same, to rounding, for all "
            f"{len(next(iter(outputs.values()))):,} inputs; check that the network has its trained parameters, and the "
            f"scale of the inputs"
        )


def _varies(values: Floats) -> bool:
    """Return True if an output is not the same for all inputs, to rounding."""
    if values.dtype.kind != "f":
        return bool((values != values[:1]).any())
    return bool(np.ptp(values, axis=0).max() > _ROUNDING * np.abs(values).max())


def _must() -> str:
    return f"loss must be one of {AUTO}, {', '.join(LOSSES)}, or package.module:function"
