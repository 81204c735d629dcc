"""Small layers that Hypothesis draws, odd shapes first."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sim import ArrayConfig
from traces import CompressedLayer

Case = tuple[CompressedLayer, Any, ArrayConfig]


@st.composite
def cases(draw: st.DrawFn, several_codebooks: bool = False) -> Case:
    """Draw a layer, an input and an array: 1 PE, more PEs than rows, empty columns, all-zero input, short queues.

    Every second layer has a threshold of its activations, which may exceed them all. With `several_codebooks`, some
    layers have a codebook for each PE or each group of PEs.
    """
    num_pes = draw(st.sampled_from([1, 2, 3, 4, 7, 16]))
    rows = draw(st.integers(1, 40))
    columns = draw(st.integers(1, 24))
    index_bits = draw(st.integers(1, 8))
    weight_bits = draw(st.sampled_from([1, 2, 4, 8, 9]))
    weight_density = draw(st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0]))
    activation_density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    stream = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.uint8 if weight_bits <= 8 else np.uint16
    codes = stream.integers(1, 2**weight_bits, size=(rows, columns)).astype(dtype)
    codes[stream.random((rows, columns)) >= weight_density] = 0
    if draw(st.booleans()):
        codes[:, stream.integers(0, columns)] = 0
    bias = stream.integers(0, 2**weight_bits, size=rows).astype(dtype) if draw(st.booleans()) else None
    codebook = stream.normal(size=2**weight_bits).astype(np.float32)
    codebook[0] = 0
    activations = stream.normal(size=columns).astype(np.float32)
    activations[stream.random(columns) >= activation_density] = 0
    threshold = draw(st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.5, 9.0]))
    entry_bits = weight_bits + index_bits
    config = ArrayConfig(
        num_pes=num_pes,
        queue_slots=draw(st.sampled_from([2, 3, 4, 8, 64])),
        line_bits=entry_bits * draw(st.integers(1, 9)) + draw(st.integers(0, entry_bits - 1)),
        weight_bits=weight_bits,
        index_bits=index_bits,
        pipeline_cycles=draw(st.sampled_from([5, 5, 6, 8, 64])),
        broadcast_cycles=draw(st.sampled_from([1, 1, 2, 3, 4, 11])),
    )
    layer = CompressedLayer("drawn", codes, codebook, bias, activation_threshold=threshold)
    number = draw(st.sampled_from([1, 2, 3, 16])) if several_codebooks else 1
    return with_codebooks(layer, number, num_pes, stream), activations, config


def with_codebooks(layer: CompressedLayer, number: int, num_pes: int, stream: np.random.Generator) -> CompressedLayer:
    """Return a layer with up to `number` codebooks that can be allotted to the PEs, its rows in any order."""
    number = min(number, num_pes, layer.rows)
    numbers = np.empty(layer.rows, dtype=np.uint16)
    numbers[stream.permutation(layer.rows)] = np.arange(layer.rows) % num_pes % number
    codebook = stream.normal(size=(number, 2**layer.weight_bits)).astype(np.float32)
    codebook[:, 0] = 0
    return dataclasses.replace(layer, codebook=codebook, row_codebooks=numbers)
