"""Sentence encoder all-MiniLM-L6-v2, and sentences as its tokens (PyTorch needed)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch.nn import functional

from compress.networks import load_parameters
from traces.arrays import Integers64, Numbers

_WIDTH, _HIDDEN, _LAYERS, _HEADS, _VOCABULARY, _LONGEST = 384, 1536, 6, 12, 30_522, 512
_STEPS = 32
_SENTENCE = re.compile(r"[A-Z][\w ,;:'\"*().-]{25,240}[.]")


class _EncoderLayer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = torch.nn.Linear(_WIDTH, _WIDTH)
        self.key = torch.nn.Linear(_WIDTH, _WIDTH)
        self.value = torch.nn.Linear(_WIDTH, _WIDTH)
        self.attended = torch.nn.Linear(_WIDTH, _WIDTH)
        self.attended_norm = torch.nn.LayerNorm(_WIDTH, eps=1e-12)
        self.widened = torch.nn.Linear(_WIDTH, _HIDDEN)
        self.narrowed = torch.nn.Linear(_HIDDEN, _WIDTH)
        self.norm = torch.nn.LayerNorm(_WIDTH, eps=1e-12)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        heads = (len(x), -1, _HEADS, _WIDTH // _HEADS)
        query, key, value = (each(x).reshape(heads).transpose(1, 2) for each in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value, mask)
        x = self.attended_norm(x + self.attended(mixed.transpose(1, 2).reshape(x.shape)))
        output: torch.Tensor = self.norm(x + self.narrowed(functional.gelu(self.widened(x))))
        return output


class SentenceEncoder(torch.nn.Module):
    """Sentence encoder of 22.7 million weights: token ids and their mask [inputs, steps] to vectors of length 1.

    Source: Wang et al., "MiniLM", NeurIPS 2020; Reimers and Gurevych, "Sentence-BERT", EMNLP 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(_VOCABULARY, _WIDTH)
        self.positions = torch.nn.Embedding(_LONGEST, _WIDTH)
        self.kinds = torch.nn.Embedding(2, _WIDTH)
        self.norm = torch.nn.LayerNorm(_WIDTH, eps=1e-12)
        self.layers = torch.nn.ModuleList(_EncoderLayer() for _ in range(_LAYERS))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean of the last layer over the tokens that the mask leaves, with the length 1."""
        steps = torch.arange(ids.shape[1])
        x = self.norm(self.words(ids) + self.positions(steps) + self.kinds(torch.zeros_like(steps)))
        kept = mask.to(x.dtype)
        for layer in self.layers:
            x = layer(x, (1 - kept)[:, None, None] * torch.finfo(x.dtype).min)
        mean = (x * kept[:, :, None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
        return functional.normalize(mean, dim=-1)

    def load(self, parameters: Mapping[str, Numbers]) -> None:
        """Load parameters under the names that the published file has."""
        renamed = {_name(name): values for name, values in parameters.items() if _is_used(name)}
        load_parameters(self, renamed, "the parameters must be those of all-MiniLM-L6-v2")


_NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "kinds",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attended",
    "attention.output.LayerNorm": "attended_norm",
    "intermediate.dense": "widened",
    "output.dense": "narrowed",
    "output.LayerNorm": "norm",
}


def _is_used(name: str) -> bool:
    return not name.startswith("pooler") and not name.endswith("position_ids")


def _name(name: str) -> str:
    for published, own in _NAMES.items():
        name = name.replace(published, own)
    return name


class SentenceTokens:
    """WordPiece tokens of sentences. Source: Devlin et al., "BERT", NAACL 2019.

    Parameters
    ----------
    path : Path
        tokenizer.json, which holds the vocabulary.
    """

    def __init__(self, path: Path) -> None:
        self.vocabulary: dict[str, int] = json.loads(path.read_text())["model"]["vocab"]

    def ids(self, sentence: str) -> list[int]:
        """Return the token ids of a sentence, its begin and its end included."""
        pieces = [piece for word in re.findall(r"\w+|[^\w\s]", sentence.lower()) for piece in self._pieces(word)]
        return [self.vocabulary[piece] for piece in ("[CLS]", *pieces[: _STEPS - 2], "[SEP]")]

    def _pieces(self, word: str) -> list[str]:
        pieces, begin = [], 0
        while begin < len(word):
            prefix = "##" if begin else ""
            ends = range(len(word), begin, -1)
            end = next((each for each in ends if prefix + word[begin:each] in self.vocabulary), None)
            if end is None:
                return ["[UNK]"]
            pieces.append(prefix + word[begin:end])
            begin = end
        return pieces

    def sentences(self, number: int, seed: int = 0) -> dict[str, Integers64]:
        """Return different sentences of Python's language reference as token ids and their mask, [number, 32]."""
        text = " ".join(" ".join(topics[name].split()) for name in sorted(topics))
        found = {each for each in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text) if _SENTENCE.fullmatch(each)}
        order = np.random.default_rng(seed).permutation(sorted(found))[:number]
        ids = np.full((len(order), _STEPS), self.vocabulary["[PAD]"], dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sentence in enumerate(order):
            tokens = self.ids(str(sentence))
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return {"ids": ids, "mask": mask}
