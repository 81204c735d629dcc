"""The language model token by token: its cache, its tied embedding, and the text that it must write."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="modules need PyTorch: install the extra [train]")
pytest.importorskip("onnx", reason="graphs need onnx: install the extra [onnx]")

from compress import CompressedModel, CompressionConfig, LayerSettings, Tolerance, compress, measure, plan  # noqa: E402
from designs.experiments.example_networks import (  # noqa: E402
    LLAMA_STATE,
    Llama,
    LlamaShape,
    read_llama,
    step_network,
    written_tokens,
)
from designs.experiments.tokenizer import BEGIN, read_tokenizer  # noqa: E402
from designs.experiments.uncompressed import uncompressed  # noqa: E402
from sim import ArrayConfig, Decoding, NetworkSession, simulate_network  # noqa: E402
from tests.conftest import real_file  # noqa: E402
from traces import InputError, Network  # noqa: E402

SHAPE = LlamaShape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, vocabulary=300, longest=32)
PROMPT = [1, 290, 7, 33]


@pytest.fixture(scope="module")
def llama() -> Llama:
    torch.manual_seed(0)
    return Llama(SHAPE).eval()


@pytest.fixture(scope="module")
def step(llama: Llama) -> Network:
    return step_network(llama)


def session(model: CompressedModel, bits: int) -> NetworkSession:
    return NetworkSession(model, ArrayConfig(num_pes=4, weight_bits=bits), state=LLAMA_STATE)


def test_steps_give_the_logits_of_the_whole_sequence(llama: Llama, step: Network) -> None:
    tokens = torch.tensor([[1, 290, 7, 33, 0, 12]])
    with torch.no_grad():
        expected = llama(tokens).numpy()
    for parts in ((6,), (1, 1, 1, 1, 1, 1), (4, 1, 1), (2, 4)):
        run = session(uncompressed(step), 16)
        found, begin = [], 0
        for count in parts:
            found.append(run.step(tokens[:, begin : begin + count]).output["logits"])
            begin += count
        np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=1e-3, atol=1e-5)
        assert run.state["keys"].shape == (2, 1, 6, 2, 4)


def test_the_prompt_at_once_and_token_by_token_write_the_same(llama: Llama, step: Network) -> None:
    following = [
        Decoding(session(uncompressed(step), 16), PROMPT, scores="logits", tokens_per_step=most) for most in (4, 3, 1)
    ]
    written = [list(itertools.islice(decoding, 5)) for decoding in following]
    with torch.no_grad():
        tokens = list(PROMPT)
        for _ in range(5):
            tokens.append(int(llama(torch.tensor([tokens]))[0, -1].argmax()))
    assert written == [tokens[4:]] * 3
    assert [decoding.prompt.steps for decoding in following] == [1, 2, 4]
    per_place = 2 * 2 * 2 * 4 * 2  # layers, keys and values, heads, size, bytes
    assert [decoding.prompt.state_write_bytes for decoding in following] == [4 * per_place] * 3
    assert [decoding.prompt.state_read_bytes for decoding in following] == [0, 3 * per_place, 6 * per_place]
    costs = [decoding.written for decoding in following]
    assert costs[0] == costs[1] == costs[2]
    assert costs[0].state_read_bytes == (4 + 5 + 6 + 7) * per_place
    assert following[0].prompt.broadcasts == following[2].prompt.broadcasts
    assert following[0].prompt.cycles < following[2].prompt.cycles  # layers are switched once


def test_a_tied_embedding_is_stored_once_and_used_twice(llama: Llama, step: Network) -> None:
    tokens = np.array([PROMPT])
    config = CompressionConfig(LayerSettings(density=0.5, weight_bits=4))
    model = compress(llama, config, inputs=tokens)
    (names,) = [names for names in model.weight_names if "output.weight" in names]
    assert sorted(names) == ["embedding.weight", "output.weight"]
    untied = Llama(SHAPE).eval()
    untied.load_state_dict(llama.state_dict())
    untied.output.weight = torch.nn.Parameter(llama.output.weight.detach().clone())
    twice = compress(untied, config, inputs=tokens)
    of_layer = {layer.name: layer.total for layer in model.size_report.layers}["embedding"]
    assert of_layer > SHAPE.vocabulary * SHAPE.dim / 4  # bytes
    layers = [sum(layer.total for layer in each.size_report.layers) for each in (twice, model)]
    assert layers[0] - layers[1] == pytest.approx(of_layer, rel=0.05)

    stepping = model.with_graph(step.graph_bytes())
    assert step.lookups == {"output.weight": 1}
    decoded = Llama(SHAPE).eval()
    model.load_into(decoded)
    with torch.no_grad():
        expected = decoded(torch.from_numpy(tokens)).numpy()
    result = session(stepping, 4).step(tokens)
    np.testing.assert_allclose(result.output["logits"], expected, rtol=1e-3, atol=1e-5)
    on_array = [layer for layer in result.layers if layer.name == "output"]
    assert [(layer.rows, layer.columns) for layer in on_array] == [(SHAPE.vocabulary, SHAPE.dim)]
    assert result.off_array["Gather"].count >= 1


@pytest.mark.parametrize(
    ("kl", "choices"),
    [
        (0.5, {"thresholds": True, "minimise": "macs"}),
        (0.5, {"codebooks": "pe", "num_pes": 4}),
        (0.5, {"codebooks": "group", "num_pes": 4, "codebook_groups": 2}),
        (1.0, {"thresholds": True, "minimise": "macs", "structured": True}),
    ],
)
def test_a_plan_of_whole_sequences_is_decoded_with_its_thresholds(
    llama: Llama, step: Network, kl: float, choices: dict[str, Any]
) -> None:
    draw = np.random.default_rng(0)
    pool, tokens = draw.integers(0, 300, (16, 6)), draw.integers(0, 300, (1, 7))
    made = plan(llama, pool, tolerance=Tolerance(kl, "kl"), densities=(0.3, 0.7), weight_bits=(4,), **choices)
    model = made.apply()
    assert (made.removed is not None) == ("structured" in choices)
    for planned in (model, model.compacted()):
        decoded = Llama(SHAPE).eval()
        planned.load_into(decoded)
        with torch.no_grad():
            expected = decoded(torch.from_numpy(tokens))[0].numpy()
        stepping = planned.with_graph(step.graph_bytes())
        thresholds = {
            name: layer.activation_threshold
            for layer, names in zip(planned.layers, planned.weight_names, strict=True)
            for name in names
            if layer.activation_threshold and name in step.parameters
        }
        for each in (stepping, stepping.compacted(step.example)):
            run = session(each, 4)
            found = [run.step(tokens[:, place : place + 1]).output["logits"][0, 0] for place in range(7)]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
            assert each.network.thresholds == pytest.approx(thresholds)
        assert bool(thresholds) == ("thresholds" in choices)


COUNTS = ("broadcasts", "useful_macs", "line_reads", "pointer_reads", "cycles", "port_words")


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_steps_and_the_whole_sequence_count_the_same(llama: Llama, step: Network, threshold: float) -> None:
    tokens, array = np.random.default_rng(0).integers(0, 300, (1, 7)), ArrayConfig(num_pes=4, weight_bits=4)
    settings = LayerSettings(density=0.5, weight_bits=4, activation_threshold=threshold)
    model = compress(llama, CompressionConfig(settings), inputs=tokens)
    whole, stepping = simulate_network(model, tokens, array), model.with_graph(step.graph_bytes())
    limits = [layer.activation_threshold for layer in whole.layers]
    assert limits == pytest.approx([threshold] * len(limits))
    for parts in ((7,), (3, 4), (1,) * 7):
        run = session(stepping, 4)
        steps = [run.step(part) for part in np.split(tokens, np.cumsum(parts)[:-1], axis=1)]
        found = np.concatenate([each.output["logits"] for each in steps], axis=1)
        np.testing.assert_allclose(found, whole.output, atol=1e-5 * np.abs(whole.output).max())
        for place, layer in enumerate(whole.layers):
            of_steps = [each.layers[place] for each in steps]
            assert {each.name for each in of_steps} == {layer.name}
            assert {each.activation_threshold for each in of_steps} == {layer.activation_threshold}
            for name in COUNTS:
                assert sum(int(getattr(each, name).sum()) for each in of_steps) == int(getattr(layer, name).sum()), name


def test_a_graph_without_a_weight_that_has_a_threshold_is_refused(llama: Llama) -> None:
    settings = LayerSettings(weight_bits=4, activation_threshold=0.1)
    model = compress(llama, CompressionConfig(settings), inputs=np.array([PROMPT]))
    for layers, sentence in ((1, "activation_threshold of 'layers.1.wq' must be that of a weight"), (3, "'layers.2.")):
        other = step_network(Llama(dataclasses.replace(SHAPE, layers=layers)).eval())
        with pytest.raises(InputError, match=sentence):
            _ = session(model.with_graph(other.graph_bytes()), 4).step(np.array([[1]]))


def test_a_plan_of_single_steps_decodes_sequences_of_any_length(llama: Llama, step: Network) -> None:
    draw = np.random.default_rng(0)
    pool: dict[str, Any] = {"tokens": draw.integers(0, 300, (12, 3))}
    pool |= {name: draw.normal(size=(2, 1, 5, 2, 4)).astype(np.float32) for name in LLAMA_STATE}
    made = plan(step, pool, tolerance=0.2, densities=(0.5, 1.0), weight_bits=(4,))
    model = made.apply()
    decoded = Llama(SHAPE).eval()
    model.load_into(decoded)
    tokens = draw.integers(0, 300, (1, 9))
    with torch.no_grad():
        expected = decoded(torch.from_numpy(tokens))[0].numpy()
    run = session(model, 4)
    found = [run.step(tokens[:, place : place + 1]).output["logits"][0, 0] for place in range(9)]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    error = measure(model, step, pool).outputs["logits"].relative_error
    assert error is not None
    assert 0 < error < 0.3
    with pytest.raises(
        InputError, match=r"'new_keys', must be class scores for the loss kl; .* a state that is fed on"
    ):
        plan(step, pool, tolerance=Tolerance(0.2, "kl"))
    scores = plan(step, pool, tolerance=Tolerance(0.2, outputs=["logits"]), densities=(0.5, 1.0), weight_bits=(4,))
    assert (scores.tolerance.loss, scores.tolerance.outputs) == ("kl", ("logits",))
    outputs = measure(scores.apply(), step, pool).outputs
    assert (outputs["new_keys"].divergence, outputs["new_values"].changed_answers) == (None, None)
    assert outputs["logits"].divergence is not None
    assert 0 < outputs["logits"].divergence < 0.2
    each = {name: np.repeat(values, 12, axis=1) for name, values in pool.items() if name in LLAMA_STATE}
    with pytest.raises(InputError, match=r"input 'keys' must be float32 \[2, 1, any, 2, 4\]; found"):
        plan(step, pool | each, tolerance=0.2)


def test_the_language_model_writes_its_story(data: Path) -> None:
    stories = real_file(data, "models", "stories260k", "stories260K.bin")
    tokenizer = read_tokenizer(stories.with_name("tok512.bin"), 512)
    story = tokenizer.decode(written_tokens(read_llama(stories), 40)[1:].tolist())
    assert len(story) > 60
    assert stories.with_name("golden_text.txt").read_bytes().startswith(story)


@pytest.mark.parametrize(
    ("sizes", "more", "sentence"),
    [
        ([16, 24, 2, 4, 2, 300], 0, "must hold seven sizes of at least 1, and the weights; found 24 bytes"),
        ([], 0, "must hold seven sizes of at least 1, and the weights; found 0 bytes"),
        ([16, 24, 2, 4, 2, -300, 32], 40_000, "must hold seven sizes"),
        ([16, 24, 2, 4, 2, 300, 32], 5_000, "the file must hold the weights of LlamaShape.dim=16, .* after 5,000"),
    ],
)
def test_a_file_that_is_no_network_is_refused(sizes: list[int], more: int, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "llama.bin"
    path.write_bytes(np.array(sizes, dtype="<i4").tobytes() + bytes(4 * more))
    with pytest.raises(InputError, match=sentence):
        read_llama(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_llama(tmp_path / "absent.bin")


@pytest.mark.slow
def test_the_array_writes_the_golden_text_byte_for_byte(data: Path) -> None:
    stories = real_file(data, "models", "stories260k", "stories260K.bin")
    tokenizer = read_tokenizer(stories.with_name("tok512.bin"), 512)
    golden = stories.with_name("golden_text.txt").read_bytes()
    assert len(golden) == 464
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # codebooks of 16 bits are no array that can be built
        run = NetworkSession(
            uncompressed(step_network(read_llama(stories))), ArrayConfig(weight_bits=16), state=LLAMA_STATE
        )
        decoding = Decoding(run, [BEGIN], scores="logits")
        text = b""
        while len(text) < len(golden):
            next(decoding)
            text = tokenizer.decode(decoding.tokens[1:])
    assert text == golden
    assert decoding.written.state_read_bytes == sum(range(1, 200)) * 640
