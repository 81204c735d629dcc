"""Small decoders for tests: language models with keys and values of earlier tokens, and what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.traces.graph.graphs import drawn, model, node
from traces import Network

WIDTH, VOCABULARY, PLACES = 6, 9, 5
STATE = {"keys": "new_keys", "values": "new_values"}
WEIGHTS = {
    "table": drawn(0, VOCABULARY, WIDTH),
    "wq": drawn(1, WIDTH, WIDTH),
    "wk": drawn(2, WIDTH, WIDTH),
    "wv": drawn(3, WIDTH, WIDTH),
    "wo": drawn(4, WIDTH, VOCABULARY),
}


def _attention() -> list[Any]:
    return [
        node("Transpose", ["new_keys"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["queries", "turned"], ["scores"]),
        node("Softmax", ["masked"], ["shares"], axis=-1),
        node("MatMul", ["shares", "new_values"], ["mixed"]),
        node("MatMul", ["mixed", "wo"], ["logits"]),
    ]


def growing_decoder(batch: int | str = 1) -> Network:
    """Return a decoder whose keys and values [batch, past, WIDTH] grow; a step takes one token [batch, 1]."""
    nodes = [
        node("Gather", ["table", "tokens"], ["x"]),
        *(node("MatMul", ["x", f"w{name[0]}"], [name]) for name in ("queries", "k", "v")),
        node("Concat", ["keys", "k"], ["new_keys"], axis=1),
        node("Concat", ["values", "v"], ["new_values"], axis=1),
        *_attention()[:2],
        node("Identity", ["scores"], ["masked"]),
        *_attention()[2:],
    ]
    past: list[Any] = [batch, "past", WIDTH]
    inputs: dict[str, Any] = {"tokens": [batch, "steps"], "keys": past, "values": past}
    outputs = ("logits", "new_keys", "new_values")
    return Network.open(model(nodes, inputs, outputs, WEIGHTS, types={"tokens": np.int64}))


def fixed_decoder() -> Network:
    """Return a decoder whose keys and values [1, PLACES, WIDTH] are written at a position [1, 1, 1]."""
    mask = {"low": np.full((1, 1, 1), -1e9, dtype=np.float32), "none": np.array(0, dtype=np.float32)}
    places = {"places": np.arange(PLACES).reshape(1, 1, PLACES), "first": np.zeros((1, 1, 1), dtype=np.int64)}
    nodes = [
        node("Gather", ["table", "tokens"], ["x"]),
        *(node("MatMul", ["x", f"w{name[0]}"], [name]) for name in ("queries", "k", "v")),
        node("Concat", ["first", "position"], ["index"], axis=-1),
        node("ScatterND", ["keys", "index", "k"], ["new_keys"]),
        node("ScatterND", ["values", "index", "v"], ["new_values"]),
        *_attention()[:2],
        node("Greater", ["places", "position"], ["later"]),
        node("Where", ["later", "low", "none"], ["mask"]),
        node("Add", ["scores", "mask"], ["masked"]),
        *_attention()[2:],
    ]
    cache: list[Any] = [1, PLACES, WIDTH]
    inputs: dict[str, Any] = {"tokens": [1, 1], "position": [1, 1, 1], "keys": cache, "values": cache}
    types = {"tokens": np.int64, "position": np.int64}
    outputs = ("logits", "new_keys", "new_values")
    return Network.open(model(nodes, inputs, outputs, {**WEIGHTS, **mask, **places}, types=types))


def expected_logits(tokens: list[int]) -> Any:
    """Return the logits after each token, float64 [tokens, VOCABULARY]."""
    weights = {name: values.astype(np.float64) for name, values in WEIGHTS.items()}
    x = weights["table"][tokens]
    queries, keys, values = (x @ weights[name] for name in ("wq", "wk", "wv"))
    scores = np.where(np.tri(len(tokens)) > 0, queries @ keys.T, -np.inf)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed = (shares / shares.sum(axis=1, keepdims=True)) @ values
    return mixed @ weights["wo"]
