"""Decoding of a sequence on the array: a prompt, and then token after token, each costed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Self

import numpy as np

from sim.network import NetworkResult
from sim.network_session import NetworkSession
from traces import InputError
from traces.arrays import Floats64, Integers64, Numbers
from traces.plain_values import whole_number


@dataclass(frozen=True)
class SequenceCosts:
    """Costs of some tokens of a sequence, all of them together; `per_token` has the means.

    Attributes
    ----------
    tokens, steps : float
        Tokens that the network took, and steps in which it took them.
    cycles, latency_us : float
        Cycles of the array, with loads of weights, port and switches, and their time.
    limit_cycles : float
        Least cycles that the steps take (`sim.limits`).
    energy_nj : float
        Energy of the array, with loads of weights.
    limit_energy_nj : float
        Least energy that the steps take there (`sim.entropy_limits`).
    broadcasts : float
        Activations that are broadcast.
    weight_read_bytes : float
        Bytes of weights that are read from the sparse-matrix SRAMs.
    weight_load_bytes : float
        Bytes of weights that are loaded from DRAM because they do not stay in the SRAMs.
    state_read_bytes, state_write_bytes : float
        Bytes of the state that are read from and written to DRAM: keys and values.
    state_energy_nj : float
        Energy of these transfers.
    off_array_macs : float
        Multiply-accumulates off the array: those of attention.
    activations : float
        Activations that enter products on the array, bias columns included, whether they are broadcast or not.
    """

    tokens: float = 0
    steps: float = 0
    cycles: float = 0
    latency_us: float = 0
    limit_cycles: float = 0
    energy_nj: float = 0
    limit_energy_nj: float = 0
    broadcasts: float = 0
    weight_read_bytes: float = 0
    weight_load_bytes: float = 0
    state_read_bytes: float = 0
    state_write_bytes: float = 0
    state_energy_nj: float = 0
    off_array_macs: float = 0
    activations: float = 0

    @classmethod
    def of_step(cls, result: NetworkResult, tokens: int) -> Self:
        """Return the costs of one step of a session in which the network takes this number of tokens."""
        line_bytes = result.config.line_bits / 8
        state = result.state_costs
        return cls(
            tokens=tokens,
            steps=1,
            cycles=int(result.cycles.sum()),
            latency_us=float(result.latency_us.sum()),
            limit_cycles=result.limit.limit_cycles,
            energy_nj=float(result.energy_nj.sum()),
            limit_energy_nj=result.energy_limit.limit_pj / 1e3,
            broadcasts=sum(int(layer.broadcasts.sum()) for layer in result.layers),
            weight_read_bytes=sum(int(layer.line_reads.sum()) for layer in result.layers) * line_bytes,
            weight_load_bytes=sum(int(layer.load_bytes.sum()) for layer in result.layers),
            state_read_bytes=0 if state is None else int(state.read_bytes.sum()),
            state_write_bytes=0 if state is None else int(state.write_bytes.sum()),
            state_energy_nj=0 if state is None else float(state.energy_pj.sum()) / 1e3,
            off_array_macs=sum(each.macs for each in result.off_array.values()),
            activations=sum(layer.columns * layer.vectors + layer.biases for layer in result.layers),
        )

    def __add__(self, other: SequenceCosts) -> SequenceCosts:
        return SequenceCosts(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def per_token(self) -> SequenceCosts:
        """Mean costs of a token. Raises InputError if there are no tokens."""
        if not self.tokens:
            raise InputError("costs per token need at least one token that the network took; found none")
        return SequenceCosts(*(value / self.tokens for value in astuple(self)))


def most_likely(scores: Floats64) -> int:
    """Return the token of the largest score, the first one of several.

    Parameters
    ----------
    scores : numpy.ndarray
        Scores of the tokens, float64 [tokens].
    """
    return int(scores.argmax())


class Decoding(Iterator[int]):
    """Sequence that a language model continues on the array; an iterator over the tokens that it writes.

    The first token that is asked for runs the prompt; each further one runs the token before it. The
    iterator does not end.

    Parameters
    ----------
    session : NetworkSession
        The network, with the state before the prompt. A sequence continues where the one before left the session: its
        tokens are counted from `session.position`.
    prompt : array of int [tokens]
        Tokens to begin with, at least one.
    inputs : callable, optional
        Takes tokens, int64 [1, steps], and the number of tokens before them, those of earlier sequences included, and
        returns the inputs of the step as `NetworkSession.step` takes them. By default the tokens are the only input.
    scores : str, optional
        Output that holds the scores of the next token, [..., steps, vocabulary], or [..., vocabulary] after the last
        step; by default the only one that is no state.
    choose : callable, optional
        Takes the scores, float64 [vocabulary], and returns the token; by default the most likely one.
    longest : int, optional
        Most tokens that the network takes, those of earlier sequences included, such as the places of a cache of fixed
        size.
    tokens_per_step : int, optional
        Most tokens of the prompt in one step; by default all of them.

    Attributes
    ----------
    tokens : list of int
        The prompt, and the tokens that were written.
    prompt, written : SequenceCosts
        Costs so far of the tokens of the prompt, and of written tokens that the network took. The last token that was
        written is not among them, since no further one was asked for.

    Raises
    ------
    InputError
        If the prompt is empty, longer than `longest` or has negative tokens, the network has no such output, or the
        position of the session is unknown. Iterating raises it if the sequence reaches `longest`, the session was used
        by others in between, the largest score is not finite, `choose` returns no token, or a step is refused, as for a
        token out of the vocabulary.
    """

    def __init__(
        self,
        session: NetworkSession,
        prompt: Any,
        *,
        inputs: Callable[[Integers64, int], Any] = lambda tokens, _: tokens,
        scores: str | None = None,
        choose: Callable[[Floats64], int] = most_likely,
        longest: int | None = None,
        tokens_per_step: int | None = None,
    ) -> None:
        given = np.asarray(prompt)
        if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu":
            raise InputError(
                f"prompt must be whole numbers [tokens], at least one token, such as that of the beginning; found "
                f"{given.dtype} {list(given.shape)}"
            )
        if given.min() < 0:  # a look-up would count it from the end
            raise InputError(f"prompt must be tokens of at least 0; found {given.min()}; check the tokenizer")
        if session.position is None:
            raise InputError(
                "session.position must be the number of tokens that led to the session's state; found None, after "
                "steps or a state that no Decoding counted; set it, or set session.state to the first state"
            )
        self._session, self._inputs, self._choose = session, inputs, choose
        self._before = session.position
        self._scores = _scores_output(session, scores)
        self._longest = None if longest is None else whole_number("longest", longest, 1)
        self._per_step = given.size if tokens_per_step is None else whole_number("tokens_per_step", tokens_per_step, 1)
        self.tokens: list[int] = [int(token) for token in given]
        self._prompt_tokens, self._taken = len(self.tokens), 0
        self.prompt, self.written = SequenceCosts(), SequenceCosts()
        self._last: Numbers = np.zeros(0)  # output with the scores of the last step
        self._check_longest()

    def __next__(self) -> int:
        self._check_longest()
        while self._taken < len(self.tokens):
            end = min(self._taken + self._per_step, self._prompt_tokens) if self._in_prompt else len(self.tokens)
            self._step(end)
        scores = self._checked(self._last)
        token = _token(self._choose(scores), len(scores))
        self.tokens.append(token)
        return token

    @property
    def _in_prompt(self) -> bool:
        return self._taken < self._prompt_tokens

    def _check_longest(self) -> None:
        tokens = self._before + len(self.tokens)
        if self._longest is not None and tokens > self._longest:
            earlier = f", {self._before:,} of them in earlier sequences of the session" if self._before else ""
            raise InputError(
                f"the sequence must have at most longest={self._longest:,} tokens, which the network takes; found "
                f"{tokens:,}{earlier}; write fewer tokens, or shorten the prompt"
            )

    def _step(self, end: int) -> None:
        """Run the tokens up to one place."""
        begin = self._taken
        if self._session.position != self._before + begin:
            raise InputError(
                f"the session must be where this sequence left it, at position {self._before + begin:,}; found "
                f"{self._session.position}; decode one sequence after the other, or in sessions of their own"
            )
        tokens = np.array([self.tokens[begin:end]], dtype=np.int64)
        result = self._session.step(self._inputs(tokens, self._before + begin))
        self._session.position = self._before + end
        costs = SequenceCosts.of_step(result, end - begin)
        if self._in_prompt:
            self.prompt += costs
        else:
            self.written += costs
        self._taken = end
        outputs = result.output if isinstance(result.output, Mapping) else {self._scores: result.output}
        self._last = np.asarray(outputs[self._scores])

    def _checked(self, scores: Numbers) -> Floats64:
        """Return the scores of the next token, float64 [vocabulary]."""
        if scores.ndim < 1 or scores.shape[-1] < 2:
            raise InputError(
                f"output {self._scores!r} must hold scores of tokens on its last axis; found {list(scores.shape)}"
            )
        last: Floats64 = scores.reshape(-1, scores.shape[-1])[-1].astype(np.float64)
        if not np.isfinite(last.max()):  # NaN, too
            raise InputError(
                f"the largest score of the next token, output {self._scores!r}, must be finite; found {last.max()} "
                f"after {self._before + self._taken:,} tokens; check the weights and the first state"
            )
        return last


def _token(chosen: Any, vocabulary: int) -> int:
    """Return the token that was chosen. Raises InputError if it is no place of a score."""
    try:
        token = operator.index(chosen)  # of integers of any kind
    except TypeError:
        token = -1
    if not 0 <= token < vocabulary:
        raise InputError(f"choose must return a token, a whole number of 0 to {vocabulary - 1}; found {chosen!r:.60}")
    return token


def _scores_output(session: NetworkSession, scores: str | None) -> str:
    names = session.outputs
    if scores is None and len(names) == 1:
        return names[0]
    if scores not in names:
        found = "none" if scores is None else repr(scores)
        raise InputError(f"scores must name the output with the scores of tokens, of {', '.join(names)}; found {found}")
    return scores
