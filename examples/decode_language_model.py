"""A story, written token by token by a compressed language model on an array.

    python examples/decode_language_model.py --data DIR
    python examples/decode_language_model.py --model stories260K.bin --tokenizer tok512.bin --prompt "Tom had a dog"
    python examples/decode_language_model.py --data DIR --plan 0.05

The array multiplies by the weights. Attention, normalisation and the look-up of tokens run elsewhere: keys and values
of earlier tokens are kept in DRAM, read for each token and counted. The prompt goes through the network in one step,
each written token in a step of its own. The embedding is stored once; it is looked up, and multiplied to score tokens.
The folder of data holds models/stories260k/; without it, the network is small and untrained, and so is its story.

--plan bounds the mean divergence of the scores, in nats, on texts that the network writes itself. Two networks are
planned within it, the smallest file, and the fewest multiply-accumulates with activation thresholds; their stories and
costs stand side by side.
"""

from __future__ import annotations

import argparse
import codecs
import itertools
import os
from pathlib import Path

import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, Tolerance, compress, plan
from designs.experiments.example_networks import LLAMA_STATE, Llama, LlamaShape, read_llama, step_network
from designs.experiments.planning.inputs import sampled_texts
from designs.experiments.tokenizer import BEGIN, Tokenizer, read_tokenizer
from sim import ArrayConfig, Decoding, NetworkSession
from traces import InputError

CONTAINER = Path("language_model.dc")
TEXTS, STEPS = 128, 48
#: Each figure of the table, with its name and decimals.
FIGURES = {
    "cycles": ("cycles", 0),
    "limit_cycles": ("least cycles", 0),
    "latency_us": ("us", 2),
    "energy_nj": ("nJ, array", 1),
    "limit_energy_nj": ("nJ, array, at least", 1),
    "broadcasts": ("activations broadcast", 0),
    "weight_read_bytes": ("bytes of weights from SRAM", 0),
    "weight_load_bytes": ("bytes of weights from DRAM", 0),
    "state_read_bytes": ("bytes of keys and values read", 0),
    "state_write_bytes": ("bytes of keys and values written", 0),
    "state_energy_nj": ("nJ, keys and values", 1),
    "off_array_macs": ("multiply-accumulates of attention", 0),
}


def untrained() -> tuple[Llama, Tokenizer]:
    """Return a small network without training, and a tokenizer of single bytes."""
    torch.manual_seed(0)
    pieces = (b"<unk>", b"<s>", b"</s>", *(bytes([byte]) for byte in range(256)))
    shape = LlamaShape(dim=32, hidden=48, layers=2, heads=4, kv_heads=2, vocabulary=len(pieces), longest=64)
    return Llama(shape).eval(), Tokenizer(pieces, (0.0,) * len(pieces))


def trained(model: Path, tokenizer: Path) -> tuple[Llama, Tokenizer]:
    llama = read_llama(model)
    return llama, read_tokenizer(tokenizer, llama.shape.vocabulary)


def write(decoding: Decoding, tokenizer: Tokenizer, most: int) -> None:
    """Print the prompt, and then each token as it comes, until the story ends or is interrupted."""
    characters, shown = codecs.getincrementaldecoder("utf-8")("replace"), 0

    def show() -> int:
        text = tokenizer.decode(decoding.tokens[1:])
        new = characters.decode(text[shown:])
        print("".join(each if each.isprintable() or each == "\n" else "?" for each in new), end="", flush=True)
        return len(text)

    shown = show()
    try:
        for token in itertools.islice(decoding, most):
            if token == BEGIN:  # of another story
                break
            shown = show()
    except KeyboardInterrupt:
        print(" (interrupted)", end="")
    print("\n")


def print_costs(decoding: Decoding) -> None:
    prompt, written = decoding.prompt, decoding.written
    print(f"{'mean of a token':<36}{f'prompt ({prompt.tokens})':>14}{f'written ({written.tokens})':>16}")
    means = [part.per_token if part.tokens else part for part in (prompt, written)]
    for name, (words, decimals) in FIGURES.items():
        values = [getattr(mean, name) for mean in means]
        print(f"{words:<36}{values[0]:>14,.{decimals}f}{values[1]:>16,.{decimals}f}")


def planned(llama: Llama, divergence: float) -> dict[str, CompressedModel]:
    """Plan the network of whole texts within a divergence, and return networks of single steps with its weights."""
    tolerance = Tolerance(divergence, "kl")
    texts = sampled_texts(llama, TEXTS, min(STEPS, llama.shape.longest))
    step = step_network(llama).graph_bytes()
    models = {}
    for name, thresholds in (("smallest", False), ("with thresholds", True)):
        made = plan(
            llama,
            texts,
            tolerance=tolerance,
            thresholds=thresholds,
            minimise="macs" if thresholds else "file_bytes",
        )
        words = f"a divergence of {made.measured:.4f}" + ("" if made.feasible else ", which does not keep the bound")
        models[name] = made.apply().with_graph(step)  # codes, biases and thresholds are those of the plan
        print(f"{name}: {models[name].size_bytes:,} bytes, {words}")
    return models


def story(llama: Llama, prompt: list[int], most: int) -> list[int]:
    """Return the tokens that the network writes before it is compressed."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(most):
            tokens.append(int(llama(torch.tensor([tokens]))[0, -1].argmax()))
            if tokens[-1] == BEGIN:
                break
    return tokens[len(prompt) :]


def print_side_by_side(decodings: dict[str, Decoding], original: list[int], prompt: int) -> None:
    print("".join([f"{'mean of a written token':<36}", *(f"{name:>18}" for name in decodings)]))
    pairs = [zip(each.tokens[prompt:], original, strict=False) for each in decodings.values()]
    begun = [len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], of_story))) for of_story in pairs]
    rows = {f"tokens as before, of {len(original)}": [f"{count}" for count in begun]}
    costs = [each.written.per_token if each.written.tokens else each.written for each in decodings.values()]
    for name in ("cycles", "latency_us", "energy_nj"):
        words, decimals = FIGURES[name]
        rows[words] = [f"{getattr(each, name):,.{decimals}f}" for each in costs]
    rows["share of activations broadcast"] = [f"{each.broadcasts / max(each.activations, 1):.1%}" for each in costs]
    for words, values in rows.items():
        print("".join([f"{words:<36}", *(f"{value:>18}" for value in values)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CODESIGN_DATA"), help="default: $CODESIGN_DATA")
    parser.add_argument("--model", type=Path, help="weights, in the form of tinyllamas")
    parser.add_argument("--tokenizer", type=Path, help="pieces of text, in the same form")
    parser.add_argument("--prompt", default="Once upon a time", help="beginning of the story")
    parser.add_argument("--most", type=int, default=100, help="most tokens to write")
    parser.add_argument("--plan", type=float, metavar="KL", help="largest divergence, in nats, of planned networks")
    given = parser.parse_args()
    if (given.model is None) != (given.tokenizer is None):
        parser.error("--model and --tokenizer belong together; give both, or neither")
    if given.model is None and given.data is not None:
        folder = Path(given.data) / "models" / "stories260k"
        if folder.exists():
            given.model, given.tokenizer = folder / "stories260K.bin", folder / "tok512.bin"
    if given.plan is not None and given.model is None:
        parser.error("--plan needs a trained network, whose texts it plans on; give --data, or --model and --tokenizer")
    llama, tokenizer = untrained() if given.model is None else trained(given.model, given.tokenizer)
    print("a network without training" if given.model is None else given.model)

    prompt, longest = tokenizer.encode(given.prompt), llama.shape.longest
    most = min(given.most, longest - len(prompt))
    if given.plan is None:
        config = CompressionConfig(every=LayerSettings(density=0.9, weight_bits=6))
        model = compress(step_network(llama), config)
        model.save(CONTAINER)
        print(f"{model.size_bytes:,} bytes, {model.compression_ratio:.1f}x smaller\n")
        session = NetworkSession(CONTAINER, ArrayConfig(weight_bits=6), state=LLAMA_STATE)
        decoding = Decoding(session, prompt, scores="logits", longest=longest)
        write(decoding, tokenizer, most)
        print_costs(decoding)
        return

    try:
        models = planned(llama, given.plan)
    except InputError as error:
        parser.error(f"--plan {given.plan:g}: {error}")
    bits = max(layer.weight_bits for model in models.values() for layer in model.layers)
    print(f"on an array with codes of {bits} bits")
    decodings = {}
    for name, model in models.items():
        print(f"\n{name}:")
        session = NetworkSession(model, ArrayConfig(weight_bits=bits), state=LLAMA_STATE)
        decodings[name] = Decoding(session, prompt, scores="logits", longest=longest)
        write(decodings[name], tokenizer, most)
    print_side_by_side(decodings, story(llama, prompt, most), len(prompt))


if __name__ == "__main__":
    main()
