"""Recorded inputs of layers, however the network and its layers are called (PyTorch needed)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from traces import InputError
from traces.torch_activations import record_activations

INPUTS = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)


def two_layers() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))


class Called(torch.nn.Module):
    """Network whose forward is given."""

    def __init__(self, forward: Any, **layers: torch.nn.Module) -> None:
        super().__init__()
        self.called = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.called(self, *arguments, **keywords)


def test_recorded_activations_are_what_enters_each_layer() -> None:
    network = two_layers()
    recorded = record_activations(network, INPUTS, ["0", "2"])
    np.testing.assert_array_equal(recorded["0"], INPUTS)
    with torch.no_grad():
        expected = torch.relu(network[0](torch.from_numpy(INPUTS))).numpy()
    np.testing.assert_array_equal(recorded["2"], expected)
    with pytest.raises(InputError, match="the network has no layer fc1; its layers are 0, 1, 2"):
        record_activations(network, INPUTS, ["fc1"])


def test_modes_and_hooks_are_left_as_they_were() -> None:
    network = torch.nn.Sequential(two_layers(), torch.nn.BatchNorm1d(3)).train()
    network[1].eval()
    seen: list[int] = []
    network[0].register_forward_pre_hook(lambda *_: seen.append(1))
    modes = [part.training for part in network.modules()]
    means = network[1].running_mean.clone()  # type: ignore[operator]
    record_activations(network, INPUTS, ["0.0", "0"])
    assert [part.training for part in network.modules()] == modes == [True] * 5 + [False]
    assert torch.equal(network[1].running_mean, means)  # type: ignore[arg-type]
    assert seen == [1]
    assert [len(part._forward_pre_hooks) for part in network.modules()] == [0, 1, 0, 0, 0, 0]


def test_a_layer_that_is_never_called_is_refused_or_left_out() -> None:
    lazy = Called(lambda self, x: self.used(x), used=torch.nn.Linear(8, 2), unused=torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="the network never called unused on these inputs"):
        record_activations(lazy, INPUTS, ["used", "unused"])
    assert list(record_activations(lazy, INPUTS, ["used", "unused"], all_called=False)) == ["used"]


def test_layers_called_by_keyword_are_recorded_like_others() -> None:
    def forward(self: Any, x: Any) -> Any:
        attended = self.attention(key=x[:, None] + 1, value=x[:, None] + 2, query=x[:, None])[0]
        return self.out(input=self.lstm(hx=None, input=attended)[0])

    network = Called(
        forward,
        attention=torch.nn.MultiheadAttention(8, 2, batch_first=True),
        lstm=torch.nn.LSTM(8, 6, batch_first=True),
        out=torch.nn.Linear(6, 2),
    )
    recorded = record_activations(network, INPUTS, ["attention", "lstm", "out"])
    np.testing.assert_array_equal(recorded["attention"], INPUTS[:, None])  # the query, though not given first
    assert recorded["lstm"].shape == (5, 1, 8)
    assert recorded["out"].shape == (5, 1, 6)


def test_token_ids_stay_integers() -> None:
    network = torch.nn.Sequential(torch.nn.Embedding(30, 12), torch.nn.Flatten(), torch.nn.Linear(84, 4))
    ids = np.random.default_rng(0).integers(0, 30, (6, 7))
    for kind in (np.int64, np.int32):
        recorded = record_activations(network, ids.astype(kind), ["0", "2"])
        np.testing.assert_array_equal(recorded["0"], ids)
        assert recorded["0"].dtype == kind
        assert (str(recorded["2"].dtype), recorded["2"].shape) == ("float32", (6, 84))


def test_several_inputs_are_given_in_order_or_by_keyword() -> None:
    network = Called(lambda self, a, *, mask=None, b=None: self.out(a * mask), out=torch.nn.Linear(8, 2))
    mask = INPUTS > 0
    expected = INPUTS * mask
    by_name = record_activations(network, {"mask": mask, "a": INPUTS}, ["out"])
    np.testing.assert_array_equal(by_name["out"], expected)
    in_order = Called(lambda self, a, mask: self.out(a * mask), out=torch.nn.Linear(8, 2))
    np.testing.assert_array_equal(record_activations(in_order, (INPUTS, mask), ["out"])["out"], expected)


def test_calls_of_one_layer_follow_one_another() -> None:
    def forward(self: Any, x: Any) -> Any:
        for _ in range(3):
            x = self.cell(x)
        return x

    cell = torch.nn.Linear(8, 8)
    recorded = record_activations(Called(forward, cell=cell), INPUTS, ["cell"])["cell"]
    assert recorded.shape == (15, 8)
    np.testing.assert_array_equal(recorded[:5], INPUTS)
    with torch.no_grad():
        np.testing.assert_allclose(recorded[10:], cell(cell(torch.from_numpy(INPUTS))), rtol=1e-5, atol=1e-6)


def test_calls_of_several_shapes_and_inputs_that_are_no_tensor_are_refused() -> None:
    shapes = Called(lambda self, x: self.act(x), act=torch.nn.ReLU())
    shapes.called = lambda self, x: (self.act(x), self.act(x[:, :3]))
    with pytest.raises(InputError, match=r"all calls of layer act must have one shape .*; found \[5, 3\] and \[5, 8\]"):
        record_activations(shapes, INPUTS, ["act"])
    packed: Any = Called(
        lambda self, x: self.lstm(torch.nn.utils.rnn.pack_padded_sequence(x[:, None], [1] * 5, batch_first=True)),
        lstm=torch.nn.LSTM(8, 4, batch_first=True),
    )
    with pytest.raises(InputError, match="first input of layer lstm must be a tensor to be recorded; found PackedSequ"):
        record_activations(packed, INPUTS, ["lstm"])
    assert not packed.lstm._forward_pre_hooks
    with pytest.raises(InputError, match="inputs must hold floating-point numbers, integers or booleans; found text"):
        record_activations(two_layers(), np.array(["a"]), ["0"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_type_is_recorded_as_float32(dtype: torch.dtype) -> None:
    recorded = record_activations(two_layers().to(dtype), INPUTS.astype(np.float64), ["0", "2"])
    assert {values.dtype for values in recorded.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(recorded["0"], INPUTS, rtol=1e-2)


def test_names_of_layers_are_those_without_wrappers() -> None:
    network = two_layers()
    wrappers: list[Any] = [torch.nn.DataParallel(network), torch.compile(network, backend="eager")]
    for wrapped in wrappers:
        recorded = record_activations(wrapped, INPUTS, ["2"])
        np.testing.assert_array_equal(recorded["2"], record_activations(network, INPUTS, ["2"])["2"])
