"""LSTM and GRU layers on the array, beside PyTorch's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, pack, simulate
from sim.fixed_point import fitted_format
from sim.recurrent import simulate_gru, simulate_lstm
from traces import CompressedLayer, InputError

torch = pytest.importorskip("torch")
SEQUENCES, STEPS, COLUMNS, HIDDEN = 3, 5, 12, 10
ARRAY = ArrayConfig(num_pes=4, weight_bits=8)


def shared(name: str, rows: int, columns: int, seed: int) -> CompressedLayer:
    stream = np.random.default_rng(seed)
    codes = stream.integers(0, 256, (rows, columns)).astype(np.uint8)
    codes[stream.random((rows, columns)) < 0.4] = 0
    codebook = stream.normal(scale=0.5, size=256).astype(np.float32)
    codebook[0] = 0
    return CompressedLayer(name, codes, codebook, stream.integers(0, 256, rows).astype(np.uint8))


@pytest.mark.parametrize(("kind", "gates", "run"), [("LSTM", 4, simulate_lstm), ("GRU", 3, simulate_gru)])
def test_a_recurrent_layer_is_pytorch_s_with_the_decoded_weights(kind: str, gates: int, run: Any) -> None:
    weight_ih, weight_hh = (shared(kind, gates * HIDDEN, columns, columns) for columns in (COLUMNS, HIDDEN))
    inputs = np.random.default_rng(1).normal(size=(SEQUENCES, STEPS, COLUMNS)).astype(np.float32)
    inputs[inputs < -1] = 0
    module = getattr(torch.nn, kind)(COLUMNS, HIDDEN, batch_first=True)
    with torch.no_grad():
        for suffix, layer in (("ih", weight_ih), ("hh", weight_hh)):
            getattr(module, f"weight_{suffix}_l0").copy_(torch.from_numpy(layer.weights()))
            getattr(module, f"bias_{suffix}_l0").copy_(torch.from_numpy(layer.bias_values()))
        expected, state = module(torch.from_numpy(inputs))
    result = run(weight_ih, weight_hh, inputs, ARRAY)
    np.testing.assert_allclose(result.hidden, expected.numpy(), atol=2e-6)
    if kind == "LSTM":
        np.testing.assert_allclose(result.cell, state[1][0].numpy(), atol=5e-6)
    assert (inputs < 0).any()
    assert (result.hidden < 0).any()  # signed states are broadcast as they are
    for sequence in range(SEQUENCES):
        for step in range(STEPS):
            before = result.hidden[sequence, step - 1] if step else np.zeros(HIDDEN)
            parts = simulate(weight_ih, inputs[sequence, step], ARRAY), simulate(weight_hh, before, ARRAY)
            assert result.cycles[sequence, step] == sum(part.cycles for part in parts)
            assert result.energy_pj[sequence, step] == pytest.approx(sum(part.energy.total_pj for part in parts))


def test_sixteen_bits_stay_close_to_floating_point() -> None:
    weight_ih, weight_hh = shared("ih", 40, COLUMNS, 1), shared("hh", 40, HIDDEN, 2)
    inputs = np.random.default_rng(1).normal(size=(2, 4, COLUMNS))
    exact = simulate_lstm(weight_ih, weight_hh, inputs, ARRAY)
    fixed = simulate_lstm(weight_ih, weight_hh, inputs, ArrayConfig(num_pes=4, weight_bits=8, precision="fixed-16"))
    assert 0 < np.abs(exact.hidden - fixed.hidden).max() < 0.01


def test_each_product_has_one_format_in_all_steps() -> None:
    weight_ih, weight_hh = shared("ih", 40, COLUMNS, 1), shared("hh", 40, HIDDEN, 2)
    inputs = np.random.default_rng(1).normal(size=(2, 6, COLUMNS)).astype(np.float32)
    inputs[:, 0] /= 100  # the first steps have a smaller range
    array = ArrayConfig(num_pes=4, weight_bits=8, precision="fixed-8")
    fitted = simulate_lstm(weight_ih, weight_hh, inputs, array)
    (hidden_format,) = {product.number_format for product in fitted.hidden_products}
    input_format = fitted.input_products.number_format
    assert input_format is not None
    assert hidden_format is not None
    assert input_format == fitted_format(pack(weight_ih, array), inputs.reshape(-1, COLUMNS), 8)
    given = simulate_lstm(weight_ih, weight_hh, inputs[:, :3], array, (input_format, hidden_format))
    np.testing.assert_array_equal(given.hidden, fitted.hidden[:, :3])
    with pytest.raises(InputError, match="so number_format must have 16 bits; found 8"):
        simulate_lstm(weight_ih, weight_hh, inputs, replace(array, precision="fixed-16"), (input_format, hidden_format))


def test_shapes_that_do_not_go_together_are_refused() -> None:
    weight_ih, weight_hh = shared("ih", 40, COLUMNS, 1), shared("hh", 40, HIDDEN, 2)
    with pytest.raises(InputError, match="layer 'ih' must have 3 gates of 10 rows, since weight_hh has 10 columns"):
        simulate_gru(weight_ih, weight_hh, np.zeros((1, 1, COLUMNS)), ARRAY)
    with pytest.raises(
        InputError, match=r"inputs must be \[sequences, steps, 12\], at least one of each; found \[1, 5"
    ):
        simulate_lstm(weight_ih, weight_hh, np.zeros((1, 5)), ARRAY)
