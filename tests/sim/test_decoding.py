"""Decoding: tokens that are read back, the costs of prompt and written tokens, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, Decoding, NetworkSession, SequenceCosts
from tests.sim.decoders import PLACES, STATE, VOCABULARY, WIDTH, expected_logits, fixed_decoder, growing_decoder
from tests.traces.graph.graphs import compressed, drawn, model, node
from traces import InputError, Network

ARRAY = ArrayConfig(num_pes=4, weight_bits=8)
PROMPT = [3, 1]


def session(network: Network) -> NetworkSession:
    return NetworkSession(compressed(network), ARRAY, state=STATE)


def greedy(prompt: list[int], written: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(written):
        tokens.append(int(expected_logits(tokens)[-1].argmax()))
    return tokens


def test_a_sequence_reads_the_tokens_that_it_writes() -> None:
    decoding = Decoding(session(growing_decoder()), PROMPT, tokens_per_step=1)
    assert list(itertools.islice(decoding, 4)) == greedy(PROMPT, 4)[2:]
    assert decoding.tokens == greedy(PROMPT, 4)


def test_prompt_and_written_tokens_are_costed_apart() -> None:
    run = session(growing_decoder())
    decoding = Decoding(run, PROMPT, tokens_per_step=1)
    written = list(itertools.islice(decoding, 4))
    other = session(growing_decoder())
    steps = [other.step([[token]]) for token in [*PROMPT, *written[:3]]]
    for costs, part in ((decoding.prompt, steps[:2]), (decoding.written, steps[2:])):
        assert costs.tokens == costs.steps == len(part)
        assert costs.cycles == sum(int(step.cycles[0]) for step in part)
        assert costs.latency_us == pytest.approx(costs.cycles / ARRAY.clock_mhz)
        assert costs.energy_nj == pytest.approx(sum(float(step.energy_nj[0]) for step in part))
        assert costs.broadcasts == sum(int(layer.broadcasts[0]) for step in part for layer in step.layers)
        assert costs.activations == len(part) * 4 * WIDTH  # four products
        lines = sum(int(layer.line_reads[0]) for step in part for layer in step.layers)
        assert costs.weight_read_bytes == lines * ARRAY.line_bits / 8
        assert costs.weight_load_bytes == 0
    past = [0, 1, 2, 3, 4]
    per_place = 2 * WIDTH * 2  # keys and values of 16 bits
    assert decoding.prompt.state_read_bytes == sum(past[:2]) * per_place
    assert decoding.written.state_read_bytes == sum(past[2:]) * per_place
    assert decoding.written.state_write_bytes == 3 * per_place
    assert decoding.written.off_array_macs == sum(2 * WIDTH * (each + 1) for each in past[2:])
    mean = decoding.written.per_token
    assert (mean.tokens, mean.state_write_bytes) == (1, per_place)
    assert mean.cycles == decoding.written.cycles / 3


def test_costs_of_no_tokens_have_no_mean() -> None:
    decoding = Decoding(session(growing_decoder()), PROMPT, tokens_per_step=1)
    assert decoding.written == SequenceCosts()
    with pytest.raises(InputError, match="costs per token need at least one token that the network took"):
        _ = decoding.written.per_token


def test_a_cache_of_fixed_size_takes_positions_and_ends_where_it_is_full() -> None:
    decoding = Decoding(
        session(fixed_decoder()),
        PROMPT,
        inputs=lambda tokens, before: {"tokens": tokens, "position": [[[before]]]},
        longest=PLACES,
        tokens_per_step=1,
    )
    assert list(itertools.islice(decoding, 4)) == greedy(PROMPT, 4)[2:]
    with pytest.raises(InputError, match=r"must have at most longest=5 tokens, which the network takes; found 6"):
        next(decoding)
    assert decoding.written.tokens == PLACES - len(PROMPT)


def test_the_token_is_chosen_from_the_scores_after_the_last_one() -> None:
    seen = []

    def least(scores: Any) -> int:
        seen.append(scores)
        return int(scores.argmin())

    decoding = Decoding(session(growing_decoder()), [3], choose=least, scores="logits")
    assert next(decoding) == int(expected_logits([3])[-1].argmin())
    np.testing.assert_allclose(seen[0], expected_logits([3])[-1], rtol=1e-4, atol=1e-4)
    assert seen[0].shape == (VOCABULARY,)


def test_a_sequence_goes_on_after_an_interruption() -> None:
    def interrupted(scores: Any) -> int:
        if len(decoding.tokens) == 4 and not stops:
            stops.append(True)
            raise KeyboardInterrupt
        return int(scores.argmax())

    stops: list[bool] = []
    decoding = Decoding(session(growing_decoder()), PROMPT, choose=interrupted, tokens_per_step=1)
    written = [next(decoding), next(decoding)]
    with pytest.raises(KeyboardInterrupt):
        next(decoding)
    written += list(itertools.islice(decoding, 2))
    assert written == greedy(PROMPT, 4)[2:]
    assert (decoding.prompt.tokens, decoding.written.tokens) == (2, 3)


@pytest.mark.parametrize(
    ("prompt", "more", "sentence"),
    [
        ([], {}, "prompt must be whole numbers .tokens., at least one token"),
        ([[1]], {}, r"found int64 \[1, 1\]"),
        ([0.5], {}, "prompt must be whole numbers"),
        ([True], {}, "prompt must be whole numbers"),
        ([1, -1], {}, "prompt must be tokens of at least 0; found -1; check the tokenizer"),
        ([1], {"scores": "new_keys"}, "scores must name the output with the scores of tokens, of logits; found 'new_k"),
        ([1, 2, 3], {"longest": 2}, "at most longest=2 tokens, which the network takes; found 3"),
        ([1], {"tokens_per_step": 0}, "tokens_per_step must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_decoded_is_refused(prompt: Any, more: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Decoding(session(growing_decoder()), prompt, **more)


@pytest.mark.parametrize("token", [VOCABULARY, -1, 2.7, None, "1"])
def test_a_choice_that_is_no_token_is_refused_and_the_sequence_goes_on(token: Any) -> None:
    choices = [token, np.array(3)]
    decoding = Decoding(session(growing_decoder()), [1], choose=lambda _: choices.pop(0))
    with pytest.raises(InputError, match=f"choose must return a token, a whole number of 0 to 8; found {token!r}"):
        next(decoding)
    assert next(decoding) == 3
    assert decoding.tokens == [1, 3]


def test_a_prompt_out_of_the_vocabulary_is_refused_where_it_is_looked_up() -> None:
    run = session(growing_decoder())
    before = run.state
    with pytest.raises(InputError, match=r"idx=9 must be within the inclusive range"):
        next(Decoding(run, [VOCABULARY]))
    assert run.state is before


def test_a_prompt_as_long_as_the_cache_writes_one_token_and_a_longer_one_none() -> None:
    def decoding(prompt: list[int]) -> Decoding:
        inputs = lambda tokens, before: {"tokens": tokens, "position": [[[before]]]}  # noqa: E731
        return Decoding(session(fixed_decoder()), prompt, inputs=inputs, longest=PLACES, tokens_per_step=1)

    tokens = [3, 1, 8, 1, 0]
    full = decoding(tokens)
    assert next(full) == greedy(tokens, 1)[-1]
    for _ in range(2):
        with pytest.raises(InputError, match="at most longest=5 tokens, which the network takes; found 6"):
            next(full)
    with pytest.raises(InputError, match="found 6; write fewer tokens, or shorten the prompt"):
        decoding([*tokens, 2])


def test_a_session_begins_again_from_its_first_state() -> None:
    run = session(growing_decoder())
    first = run.state
    once = Decoding(run, PROMPT, tokens_per_step=1)
    written = list(itertools.islice(once, 4))
    run.state = first
    again = Decoding(run, PROMPT, tokens_per_step=1)
    assert list(itertools.islice(again, 4)) == written
    assert (again.prompt, again.written) == (once.prompt, once.written)
    following = Decoding(run, [0], tokens_per_step=1)  # it goes on behind the sequence before
    whole = [*PROMPT, *written[:3], 0]
    assert next(following) == int(expected_logits(whole)[-1].argmax())


def fixed_inputs(tokens: Any, before: int) -> dict[str, Any]:
    return {"tokens": tokens, "position": [[[before]]]}


def test_a_second_sequence_of_a_session_goes_on_at_its_position() -> None:
    run = session(fixed_decoder())
    first = Decoding(run, PROMPT, inputs=fixed_inputs, longest=PLACES, tokens_per_step=1)
    written = list(itertools.islice(first, 2))
    assert run.position == 3  # the last token that was written was not taken
    second = Decoding(run, [0], inputs=fixed_inputs, longest=PLACES, tokens_per_step=1)
    assert next(second) == greedy([*PROMPT, written[0], 0], 1)[-1]
    assert (run.position, second.prompt.tokens) == (4, 1)
    with pytest.raises(InputError, match=r"at most longest=5 .*; found 6, 4 of them in earlier sequences of the se"):
        Decoding(run, [0, 1], inputs=fixed_inputs, longest=PLACES)
    with pytest.raises(InputError, match="must be where this sequence left it, at position 3; found 4; decode one"):
        next(first)


def test_a_session_at_an_unknown_position_is_refused() -> None:
    run = session(growing_decoder())
    first = run.state
    run.step([[3]])
    with pytest.raises(InputError, match=r"session\.position must be the number of tokens .*; found None.*; set"):
        Decoding(run, [1])
    run.position = 1
    assert next(Decoding(run, [1])) == greedy([3, 1], 1)[-1]
    run.state = first
    assert run.position == 0
    with pytest.raises(InputError, match="position must be a whole number of at least 0; found -1"):
        run.position = -1


def _outputs(logits: Any) -> NetworkSession:
    """Return a session whose scores are those of a parameter, beside a product that counts steps."""
    nodes = [
        node("Cast", ["tokens"], ["x"], to=1),
        node("MatMul", ["x", "w"], ["p"]),
        node("Mul", ["p", "scale"], ["scaled"]),
        node("Add", ["scaled", "scores"], ["logits"]),
        node("Add", ["keys", "p"], ["new_keys"]),
    ]
    parameters = {"w": drawn(0, 1, 3, sparse=False), "scale": np.zeros(3, np.float32), "scores": logits}
    made = model(
        nodes, {"tokens": [1, 1], "keys": [1, 3]}, ("logits", "new_keys"), parameters, types={"tokens": np.int64}
    )
    network = Network.open(made)
    stored = compressed(Network(network.name, network.graph, {**network.parameters}))
    return NetworkSession(stored, ARRAY, state={"keys": "new_keys"})


def test_scores_that_are_not_finite_are_refused() -> None:
    masked = np.array([-np.inf, 1, 0], dtype=np.float32)
    assert next(Decoding(_outputs(masked), [1])) == 1  # a token that is ruled out
    for scores, found in (([np.nan, 1, 0], "nan"), ([np.inf, 1, 0], "inf"), ([-np.inf] * 3, "-inf")):
        decoding = Decoding(_outputs(np.array(scores, dtype=np.float32)), [1])
        with pytest.raises(
            InputError, match=f"the largest score of the next token, output 'logits', .* found {found} "
        ):
            next(decoding)
