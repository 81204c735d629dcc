"""LSTM and GRU cells on the array: two matrix products a step; the gates' element-wise functions are off the array.

The weights are those of PyTorch's `LSTM` and `GRU`: `weight_ih` [gates * hidden, columns] and `weight_hh`
[gates * hidden, hidden], each with its bias, in the codebook or free of it, gates in the order i, f, g, o and r, z, n.
Source of the equations: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with the forget gate of Gers et
al., 2000; Cho et al., 2014, with the reset gate after the product, as PyTorch has it. Gates are evaluated in float64
(the paper's NT-LSTM counts the matrix products alone, too).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from sim.array import packed_for
from sim.batch import BatchResult, checked_inputs, simulate_batch
from sim.config import ArrayConfig
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError

Floats = npt.NDArray[Any]
Layer = CompressedLayer | PackedLayer
Step = Callable[[Floats, Floats, Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class RecurrentResult:
    """What a recurrent layer costs and gives; arrays are [sequences, steps, ...].

    hidden     float32 [sequences, steps, hidden], the hidden state after each step
    cell       float32 [sequences, hidden], the LSTM's cell state after the last step; zeros for a GRU
    cycles     int64 [sequences, steps], of both products
    energy_pj  float64 [sequences, steps], preset `eie-45nm`
    input_products    of `weight_ih` with all inputs, sequence by sequence
    hidden_products   of `weight_hh` with the hidden states of all sequences, for each step
    """

    hidden: npt.NDArray[np.float32]
    cell: npt.NDArray[np.float32]
    cycles: npt.NDArray[np.int64]
    energy_pj: npt.NDArray[np.float64]
    input_products: BatchResult
    hidden_products: list[BatchResult]


def simulate_lstm(
    weight_ih: Layer, weight_hh: Layer, inputs: npt.ArrayLike, config: ArrayConfig | None = None
) -> RecurrentResult:
    """Run sequences through an LSTM layer, from a state of zeros.

    inputs   float32 [sequences, steps, columns]. They and the hidden states are signed: what is not zero is broadcast.

    A fixed-point format is fitted to all inputs, and to the hidden states of each step. Raises InputError if the
    shapes do not go together, or as `simulate` does.
    """

    def step(from_input: Floats, from_hidden: Floats, _: Floats, cell: Floats) -> tuple[Floats, Floats]:
        i, f, g, o = np.split(from_input + from_hidden, 4, axis=1)
        cell = expit(f) * cell + expit(i) * np.tanh(g)
        return expit(o) * np.tanh(cell), cell

    return _run(weight_ih, weight_hh, inputs, config, 4, step)


def simulate_gru(
    weight_ih: Layer, weight_hh: Layer, inputs: npt.ArrayLike, config: ArrayConfig | None = None
) -> RecurrentResult:
    """Run sequences through a GRU layer, from a state of zeros; arguments and errors as of `simulate_lstm`."""

    def step(from_input: Floats, from_hidden: Floats, hidden: Floats, cell: Floats) -> tuple[Floats, Floats]:
        (r, z, n), (hidden_r, hidden_z, hidden_n) = (np.split(part, 3, axis=1) for part in (from_input, from_hidden))
        n = np.tanh(n + expit(r + hidden_r) * hidden_n)
        z = expit(z + hidden_z)
        return (1 - z) * n + z * hidden, cell

    return _run(weight_ih, weight_hh, inputs, config, 3, step)


def _run(
    weight_ih: Layer, weight_hh: Layer, inputs: npt.ArrayLike, config: ArrayConfig | None, gates: int, step: Step
) -> RecurrentResult:
    config = config or ArrayConfig()
    packed_ih, packed_hh = packed_for(weight_ih, config), packed_for(weight_hh, config)
    hidden_size = packed_hh.layer.columns
    for packed in (packed_ih, packed_hh):
        if packed.layer.rows != gates * hidden_size:
            raise InputError(
                f"layer {packed.layer.name!r} must have {gates} gates of {hidden_size:,} rows, since weight_hh has "
                f"{hidden_size:,} columns, the hidden state; found {packed.layer.rows:,} rows"
            )
    given = np.asarray(inputs)
    if given.ndim != 3 or 0 in given.shape or given.shape[2] != packed_ih.layer.columns:
        raise InputError(
            f"inputs must be [sequences, steps, {packed_ih.layer.columns}], at least one of each; "
            f"found {list(given.shape)}"
        )
    sequences, steps, columns = given.shape
    input_products = simulate_batch(packed_ih, checked_inputs(packed_ih.layer, given.reshape(-1, columns)), config)
    from_input = input_products.output.reshape(sequences, steps, -1).astype(np.float64)
    hidden, cell = np.zeros((2, sequences, hidden_size))
    hidden_products, states = [], []
    for number in range(steps):
        product = simulate_batch(packed_hh, hidden.astype(np.float32), config)
        hidden, cell = step(from_input[:, number], product.output.astype(np.float64), hidden, cell)
        hidden_products.append(product)
        states.append(hidden.astype(np.float32))
    hidden_cycles = np.stack([product.cycles for product in hidden_products], axis=1)
    hidden_pj = np.stack([product.energy_pj for product in hidden_products], axis=1)
    return RecurrentResult(
        hidden=np.stack(states, axis=1),
        cell=cell.astype(np.float32),
        cycles=input_products.cycles.reshape(sequences, steps) + hidden_cycles,
        energy_pj=input_products.energy_pj.reshape(sequences, steps) + hidden_pj,
        input_products=input_products,
        hidden_products=hidden_products,
    )
