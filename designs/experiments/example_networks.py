"""Modules that the table of networks is made from: a language model, taggers and a vision transformer (PyTorch needed).

Each function without arguments gives a module, as package.module:function names it for the command line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from designs.experiments.resnet import ResNet20
from traces import InputError, Network
from traces.arrays import Integers64
from traces.files.images import load_digits

SIDE, PATCH, CLASSES = 8, 2, 10
_STEPS, _BATCH = 600, 64


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a Llama: width, hidden width, layers, heads, heads of keys and values, vocabulary, longest sequence."""

    dim: int = 64
    hidden: int = 172
    layers: int = 5
    heads: int = 8
    kv_heads: int = 4
    vocabulary: int = 512
    longest: int = 512


class _LlamaLayer(torch.nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        size = shape.dim // shape.heads
        self.shape, self.size = shape, size
        self.attention_norm = torch.nn.RMSNorm(shape.dim, eps=1e-5)
        self.wq = torch.nn.Linear(shape.dim, shape.dim, bias=False)
        self.wk = torch.nn.Linear(shape.dim, shape.kv_heads * size, bias=False)
        self.wv = torch.nn.Linear(shape.dim, shape.kv_heads * size, bias=False)
        self.wo = torch.nn.Linear(shape.dim, shape.dim, bias=False)
        self.ffn_norm = torch.nn.RMSNorm(shape.dim, eps=1e-5)
        self.w1 = torch.nn.Linear(shape.dim, shape.hidden, bias=False)
        self.w2 = torch.nn.Linear(shape.hidden, shape.dim, bias=False)
        self.w3 = torch.nn.Linear(shape.dim, shape.hidden, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        turn: torch.Tensor,
        mask: torch.Tensor,
        past: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        normal = self.attention_norm(x)
        steps, shape = x.shape[1], self.shape
        queries = _turned(self.wq(normal).reshape(-1, steps, shape.heads, self.size), turn)
        keys = _turned(self.wk(normal).reshape(-1, steps, shape.kv_heads, self.size), turn)
        values = self.wv(normal).reshape(-1, steps, shape.kv_heads, self.size)
        if past is not None:
            keys, values = (torch.cat(pair, dim=1) for pair in zip(past, (keys, values), strict=True))
        times = shape.heads // shape.kv_heads
        every_key, every_value = (each.repeat_interleave(times, dim=2).transpose(1, 2) for each in (keys, values))
        scores = queries.transpose(1, 2) @ every_key.transpose(2, 3) / self.size**0.5 + mask
        mixed = (scores.softmax(dim=-1) @ every_value).transpose(1, 2).reshape(-1, steps, shape.dim)
        x = x + self.wo(mixed)
        normal = self.ffn_norm(x)
        return x + self.w2(functional.silu(self.w1(normal)) * self.w3(normal)), keys, values


class Llama(torch.nn.Module):
    """Llama language model: token ids [inputs, steps] to logits [inputs, steps, vocabulary].

    The output weight is the embedding. Source: Touvron et al., "LLaMA", 2023; Su et al., "RoFormer", 2021.
    """

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = torch.nn.Embedding(shape.vocabulary, shape.dim)
        self.layers = torch.nn.ModuleList(_LlamaLayer(shape) for _ in range(shape.layers))
        self.norm = torch.nn.RMSNorm(shape.dim, eps=1e-5)
        self.output = torch.nn.Linear(shape.dim, shape.vocabulary, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next token after each token."""
        steps = tokens.shape[1]
        turn = self._turn(torch.arange(steps))
        mask = torch.full((steps, steps), float("-inf")).triu(1)
        x = self.embedding(tokens)
        for layer in self.layers:
            x, _, _ = layer(x, turn, mask)
        logits: torch.Tensor = self.output(self.norm(x))
        return logits

    def _turn(self, places: torch.Tensor) -> torch.Tensor:
        """Return cosine and sine of the angle of each pair of values, [2, places, size / 2]."""
        size = self.shape.dim // self.shape.heads
        frequencies = 10_000 ** (-torch.arange(0, size, 2) / size)
        angles = places[:, None] * frequencies
        return torch.stack([angles.cos(), angles.sin()])


class LlamaStep(Llama):
    """Llama language model that continues a sequence: it takes keys and values of the tokens before, and returns all.

    Token ids [1, steps] follow keys and values [layers, 1, past, kv_heads, size]. It has the parameters of a `Llama`.
    """

    def forward(  # type: ignore[override]
        self, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the logits of the next token after each token, and the keys and values of all tokens."""
        steps, past = tokens.shape[1], keys.shape[2]
        turn = self._turn(torch.arange(past, past + steps))
        mask = torch.full((steps, past + steps), float("-inf")).triu(1 + past)
        x = self.embedding(tokens)
        every_key, every_value = [], []
        for layer, *of_layer in zip(self.layers, keys, values, strict=True):
            x, new_keys, new_values = layer(x, turn, mask, of_layer)
            every_key.append(new_keys)
            every_value.append(new_values)
        logits = self.output(self.norm(x))
        return {"logits": logits, "new_keys": torch.stack(every_key), "new_values": torch.stack(every_value)}


#: State of a `LlamaStep`, as sessions take it: each input that is an earlier output.
LLAMA_STATE = {"keys": "new_keys", "values": "new_values"}


def step_network(network: Llama) -> Network:
    """Open the network of a Llama that continues a sequence of any length; it has the Llama's parameters."""
    shape = network.shape
    step = LlamaStep(shape)
    step.load_state_dict(network.state_dict())
    past = torch.randn(shape.layers, 1, 5, shape.kv_heads, shape.dim // shape.heads)
    inputs = {"tokens": torch.ones(1, 3, dtype=torch.int64), "keys": past, "values": past.clone()}
    lengths = {"tokens": {1: "steps"}, "keys": {2: "past"}, "values": {2: "past"}}
    return Network.open(step.eval(), inputs, lengths)


def _turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Turn pairs of values [inputs, steps, heads, size] by the angle of their step."""
    even, odd = x[..., ::2], x[..., 1::2]
    cos, sin = turn[0][:, None], turn[1][:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def read_llama(path: str | os.PathLike[str]) -> Llama:
    """Read a Llama of the form of tinyllamas: seven int32, then float32 weights.

    Raises InputError if the file is missing, or too short for the network that it states.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    sizes = np.frombuffer(content[:28].ljust(28, b"\0"), "<i4").tolist()
    if len(content) % 4 or min(sizes) < 1 or sizes[5] * sizes[0] > len(content) // 4:
        raise InputError(f"{path}: must hold seven sizes of at least 1, and the weights; found {len(content):,} bytes")
    shape = LlamaShape(*sizes)
    values = np.frombuffer(content, "<f4", offset=28)
    network = Llama(shape)
    if len(values) < sum(parameter.numel() for parameter in network.parameters()):
        raise InputError(f"{path}: the file must hold the weights of {shape}; it ends after {len(values):,}")
    layers = [layer for layer in network.layers if isinstance(layer, _LlamaLayer)]
    order = [network.embedding.weight]
    order += [layer.attention_norm.weight for layer in layers]
    for name in ("wq", "wk", "wv", "wo"):
        order += [getattr(layer, name).weight for layer in layers]
    order += [layer.ffn_norm.weight for layer in layers]
    for name in ("w1", "w2", "w3"):
        order += [getattr(layer, name).weight for layer in layers]
    order.append(network.norm.weight)
    begin = 0
    with torch.no_grad():
        for parameter in order:
            count = parameter.numel()
            parameter.copy_(torch.from_numpy(values[begin : begin + count].reshape(tuple(parameter.shape)).copy()))
            begin += count
    return network.eval()


class Tagger(torch.nn.Module):
    """Recurrent tagger: sequences [inputs, steps, columns] to class scores of each step [inputs, steps, classes]."""

    def __init__(self, kind: type[torch.nn.LSTM] | type[torch.nn.GRU]) -> None:
        super().__init__()
        self.recurrent = kind(SIDE, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.out = torch.nn.Linear(64, CLASSES)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return the class scores of each step."""
        scores: torch.Tensor = self.out(self.recurrent(sequences)[0])
        return scores


class VisionTransformer(torch.nn.Module):
    """Encoder of patches: images [inputs, 8, 8] to class scores [inputs, 10].

    Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.
    """

    def __init__(self) -> None:
        super().__init__()
        tokens, dim = (SIDE // PATCH) ** 2, 32
        self.patches = torch.nn.Conv2d(1, dim, PATCH, PATCH)
        self.positions = torch.nn.Parameter(torch.randn(1, tokens, dim) / 10)
        layer = torch.nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = torch.nn.LayerNorm(dim)
        self.head = torch.nn.Linear(dim, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        tokens = self.patches(images.unsqueeze(1)).flatten(2).transpose(1, 2) + self.positions
        scores: torch.Tensor = self.head(self.norm(self.encoder(tokens)).mean(dim=1))
        return scores


def lstm_tagger() -> torch.nn.Module:
    """Build an untrained LSTM tagger."""
    return Tagger(torch.nn.LSTM).eval()


def gru_tagger() -> torch.nn.Module:
    """Build an untrained GRU tagger."""
    return Tagger(torch.nn.GRU).eval()


def vision_transformer() -> torch.nn.Module:
    """Build an untrained vision transformer."""
    return VisionTransformer().eval()


def resnet_20() -> torch.nn.Module:
    """Build an untrained ResNet-20, for images [inputs, 3072] of CIFAR-10."""
    return ResNet20().eval()


def stories_llama() -> torch.nn.Module:
    """Build the Llama of 260,032 weights without its weights."""
    return Llama(LlamaShape()).eval()


def train_on_digits(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Train a network on rows or images of the handwritten digits, so that it scores each step or image.

    Parameters
    ----------
    network : torch.nn.Module
        Takes [inputs, 8, 8] and returns class scores in its last axis; it is changed.
    seed : int
        Seed of the order of the images.
    """
    digits = load_digits()
    images = torch.from_numpy(digits.train_images.reshape(-1, SIDE, SIDE))
    labels = torch.from_numpy(digits.train_labels.astype(np.int64))
    draw = torch.Generator().manual_seed(seed)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(_STEPS):
        chosen = torch.randint(len(images), (_BATCH,), generator=draw)
        scores = network(images[chosen])
        wanted = labels[chosen] if scores.ndim == 2 else labels[chosen, None].expand(scores.shape[:2])
        loss = functional.cross_entropy(scores.flatten(0, -2), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def written_tokens(network: torch.nn.Module, steps: int, first: int = 1) -> Integers64:
    """Return the tokens that a language model writes, the most likely one each time, int64 [steps]."""
    if steps < 1:
        raise InputError(f"steps must be at least 1; found {steps}")
    tokens = torch.tensor([[first]])
    with torch.no_grad():
        while tokens.shape[1] < steps:
            following = network(tokens)[:, -1].argmax(dim=-1, keepdim=True)
            tokens = torch.cat([tokens, following], dim=1)
    written: Integers64 = tokens[0].numpy()
    return written
