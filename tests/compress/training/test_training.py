"""Fine-tuning of masked and shared weights, the pipeline, and the decoded network (PyTorch needed)."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressedModel
from compress.compression import compress
from compress.config import CompressionConfig, LayerSettings
from compress.one_shot import compress_parameters
from compress.pruning import magnitude_mask
from compress.training.compressor import Compressor, Stage, sensitivity
from compress.training.distillation import distil
from compress.training.fine_tuning import accuracy, train
from compress.training.normalisation import fold_normalisation
from compress.training.parametrizations import mask_weight, share_parameters
from tests.conftest import PROJECT
from traces import InputError


def two_layers(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))


def drawn_classes(samples: int = 300) -> tuple[Any, Any]:
    stream = np.random.default_rng(0)
    labels = stream.integers(0, 3, samples)
    images = stream.normal(size=(samples, 8)).astype(np.float32)
    images[np.arange(samples), labels] += 3
    return images, labels


def loss_of(network: Any, images: Any, labels: Any) -> Any:
    return torch.nn.functional.cross_entropy(network(images), labels)


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.01),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
        lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.9),
    ],
    ids=["SGD", "Adam", "AdamW", "RMSprop"],
)
def test_momentum_cannot_revive_a_pruned_weight(make: Any) -> None:
    network = two_layers()
    layer = network[0]
    before = make(network.parameters())
    images, labels = (torch.from_numpy(array) for array in drawn_classes())

    def learn(optimizer: Any) -> None:
        optimizer.zero_grad()
        loss_of(network, images, labels).backward()
        optimizer.step()

    for _ in range(3):  # the momentum of every weight is moving
        learn(before)
    mask = magnitude_mask(layer.weight.detach().numpy(), 0.25)
    mask_weight([(layer, "weight")], mask)
    after = make(network.parameters())
    for optimizer in (before, after, before):
        kept = layer.weight.detach().clone()
        for _ in range(5):
            learn(optimizer)
            assert not layer.weight.detach().numpy()[~mask].any()
        assert (layer.weight != kept)[torch.from_numpy(mask)].all()  # it does train
    assert layer.weight.detach().numpy()[mask].all()
    narrower = magnitude_mask(layer.weight.detach().numpy(), 0.1)
    mask_weight([(layer, "weight")], narrower)
    learn(before)
    assert not layer.weight.detach().numpy()[~narrower].any()


def test_the_gradient_of_a_shared_weight_is_the_sum_over_its_places() -> None:
    network = two_layers()
    layer = network[0]
    codes = np.arange(128).reshape(16, 8) % 4
    bias_codes = np.arange(16) % 4
    codebook = np.array([0, -0.5, 0.25, 0.5], dtype=np.float32)
    images, labels = (torch.from_numpy(array) for array in drawn_classes())
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(codebook[codes]))
        layer.bias.copy_(torch.from_numpy(codebook[bias_codes]))
    loss_of(network, images, labels).backward()
    gradient, bias_gradient = layer.weight.grad.numpy(), layer.bias.grad.numpy()
    expected = [gradient[codes == k].sum() + bias_gradient[bias_codes == k].sum() for k in (1, 2, 3)]

    centroids = share_parameters([(layer, "weight")], (layer, "bias"), codes, codebook, bias_codes)[0].centroids
    loss_of(network, images, labels).backward()
    assert centroids.grad is not None
    np.testing.assert_allclose(centroids.grad.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_training_moves_the_centroids_and_leaves_the_zero() -> None:
    network = two_layers()
    codes = np.arange(128).reshape(16, 8) % 4
    codebook = np.array([0, -0.5, 0.25, 0.5], dtype=np.float32)
    centroids = share_parameters([(network[0], "weight")], None, codes, codebook, None)[0].centroids
    images, labels = drawn_classes()
    train(network, images, labels, epochs=2, learning_rate=0.01)
    weights = network[0].weight.detach().numpy()
    assert not weights[codes == 0].any()
    moved = centroids.detach().numpy()
    assert not np.allclose(moved, codebook[1:])
    for code in (1, 2, 3):
        assert (weights[codes == code] == moved[code - 1]).all()


def test_the_same_seed_trains_the_same_network() -> None:
    images, labels = drawn_classes()
    first, second = two_layers(), two_layers()
    for network in (first, second):
        train(network, images, labels, epochs=2, learning_rate=0.01, seed=3)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_that_diverges_says_so() -> None:
    images, labels = drawn_classes()
    images[0, 0] = np.nan
    with pytest.raises(InputError, match="the loss must stay finite; it did not in epoch 1; lower learning_rate"):
        train(two_layers(), images, labels, epochs=1, learning_rate=0.01)


@pytest.mark.parametrize("sharing", ["centroids", "joint"])
def test_a_compressed_network_keeps_its_accuracy_and_loads_into_a_module(sharing: Any) -> None:
    images, labels = drawn_classes()
    network = two_layers()
    train(network, images, labels, epochs=20, learning_rate=0.01)
    before = accuracy(network, images, labels)
    originals = [parameter.detach().clone() for parameter in network.parameters()]
    config = CompressionConfig(
        LayerSettings(density=0.3, weight_bits=3), layers={"2": {"density": 0.5}}, sharing=sharing
    )
    stages: list[Stage] = []

    def fine_tune(module: Any, stage: Stage) -> None:
        stages.append(stage)
        train(module, images, labels, epochs=10, learning_rate=1e-3)

    model = compress(network, config, fine_tune)
    assert stages == [*(Stage("pruning", number, 3) for number in (1, 2, 3)), Stage("sharing", 1, 1)]
    assert all(torch.equal(ours, old) for ours, old in zip(network.parameters(), originals, strict=True))
    assert [layer.name for layer in model.layers] == ["0", "2"]
    assert [layer.density for layer in model.layers] == pytest.approx([0.3, 0.5], abs=0.01)
    assert all(layer.weight_bits == 3 for layer in model.layers)

    fresh = two_layers(seed=9)
    weight = fresh[0].weight
    CompressedModel.from_bytes(model.to_bytes()).load_into(fresh)
    assert fresh[0].weight is weight  # in place
    assert accuracy(fresh, images, labels) >= before - 0.03
    for layer, module in zip(model.layers, (fresh[0], fresh[2]), strict=True):
        np.testing.assert_array_equal(module.weight.detach().numpy(), layer.weights())
        np.testing.assert_array_equal(module.bias.detach().numpy(), layer.bias_values())


def test_a_module_of_another_network_is_refused_unchanged() -> None:
    model, _ = compress_parameters({"0.weight": np.ones((16, 8)), "0.bias": np.ones(16), "2.weight": np.ones((3, 9))})
    network = two_layers()
    before = network[0].weight.detach().clone()
    with pytest.raises(InputError, match="layer '2' has a bias and the container holds none"):
        model.load_into(network)
    network[2] = torch.nn.Linear(16, 3, bias=False)
    with pytest.raises(InputError, match=r"'2.weight' has shape \[3, 16\]; the container holds \[3, 9\]"):
        model.load_into(network)
    with pytest.raises(InputError, match=r"the module has no parameter '0.weight'; it has weight"):
        model.load_into(torch.nn.Linear(8, 16, bias=False))
    more = torch.nn.Sequential(*two_layers(), torch.nn.BatchNorm1d(3))
    with pytest.raises(
        InputError, match=r"holds nothing for the module's 3.weight, 3.bias, 3.running_mean, 3.running_var: it belongs"
    ):
        compress(two_layers()).load_into(more)
    without = compress(torch.nn.ModuleDict({"lstm": torch.nn.LSTM(8, 8, bias=False)}))
    with pytest.raises(InputError, match=r"holds nothing for the module's lstm\.bias_ih_l0, lstm\.bias_hh_l0: it bel"):
        CompressedModel.from_bytes(without.to_bytes()).load_into(torch.nn.ModuleDict({"lstm": torch.nn.LSTM(8, 8)}))
    assert torch.equal(network[0].weight, before)


def test_convolutions_are_unrolled_and_rolled_back() -> None:
    torch.manual_seed(0)
    network: Any = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    model = compress(network, CompressionConfig(LayerSettings(density=0.5)))
    assert model.layers[0].codes.shape == (4, 18)
    assert model.shapes == ((4, 2, 3, 3), (2, 4))
    model.load_into(network)
    np.testing.assert_array_equal(network[0].weight.detach().numpy().reshape(4, 18), model.layers[0].weights())


class Everything(torch.nn.Module):
    """One of each: embedding tied to the output, convolution, recurrent layers, attention, normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 8)
        self.conv = torch.nn.Conv1d(8, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm1d(8)
        self.lstm = torch.nn.LSTM(8, 8, num_layers=2, batch_first=True)
        self.gru = torch.nn.GRU(8, 4, batch_first=True, bidirectional=True)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.output = torch.nn.Linear(8, 20)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Any) -> Any:
        found = self.embedding(tokens)
        found = self.norm(self.conv(found.transpose(1, 2))).transpose(1, 2)
        found = self.gru(self.lstm(found)[0])[0]
        return self.output(self.attention(found, found, found)[0])


def everything() -> Any:
    torch.manual_seed(1)
    return Everything()


@pytest.mark.parametrize("sharing", ["centroids", "joint"])
def test_every_kind_of_layer_is_compressed_trained_and_loaded(sharing: Any) -> None:
    network = everything()
    tokens = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(0))
    steps = []

    def fine_tune(module: Any, stage: Stage) -> None:
        optimizer = torch.optim.Adam([each for each in module.parameters() if each.requires_grad], lr=0.01)
        module.train()
        for _ in range(3):
            before = {name: values.detach().clone() for name, values in module.named_parameters()}
            loss = torch.nn.functional.cross_entropy(module(tokens).flatten(0, 1), tokens.flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            moved = [name for name, values in module.named_parameters() if not torch.equal(values, before[name])]
            assert any("lstm" in name for name in moved)
            steps.append(loss.item())
        module.eval()
        assert module.output.weight is module.embedding.weight or torch.equal(
            module.output.weight, module.embedding.weight
        )

    config = CompressionConfig(LayerSettings(density=0.5, weight_bits=3), pruning_steps=2, sharing=sharing)
    compressor = Compressor(network, config)
    while (stage := compressor.step()) is not None:
        fine_tune(network, stage)
    with torch.no_grad():
        network.eval()
        model = compressor.finalize()
        expected = network(tokens)
    names = [layer.name for layer in model.layers]
    assert names == [
        "embedding", "conv", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.weight_ih_l1", "lstm.weight_hh_l1",
        "gru.weight_ih_l0", "gru.weight_hh_l0", "gru.weight_ih_l0_reverse", "gru.weight_hh_l0_reverse",
        "attention.in_proj_weight", "attention.out_proj",
    ]  # fmt: skip
    assert model.weight_names[0] == ("embedding.weight", "output.weight")
    assert model.bias_names[0] == "output.bias"
    assert model.bias_names[2] == "lstm.bias_ih_l0"
    assert all(abs(layer.density - 0.5) < 0.05 for layer in model.layers)
    assert sorted(model.tensors) == ["norm.bias", "norm.running_mean", "norm.running_var", "norm.weight"]
    assert compressor.left_alone["norm.weight"] == "BatchNorm1d is not compressed"
    assert compressor.left_alone["norm.num_batches_tracked"].startswith("not stored")
    assert model.buffers == {"norm.running_mean", "norm.running_var"}
    fresh = everything()
    CompressedModel.from_bytes(model.to_bytes()).load_into(fresh)
    assert fresh.output.weight is fresh.embedding.weight
    with torch.no_grad():
        found = fresh.eval()(tokens)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_value_too_large_for_16_bits_is_refused() -> None:
    network = two_layers()
    torch.nn.init.constant_(network[2].weight, 70_000.0)
    with pytest.raises(InputError, match="values in 16 bits must be at most 65,504; found 70,000; use 32 bits"):
        compress(network, CompressionConfig(LayerSettings(codebook_bits=16)))


class Tied(torch.nn.Module):
    """Biases that are one parameter, and an embedding that is also a parameter of a module of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (torch.nn.Linear(8, 8) for _ in range(3))
        self.second.bias = self.first.bias
        self.embedding = torch.nn.Embedding(10, 4)
        self.decoder = torch.nn.Module()
        self.decoder.matrix = self.embedding.weight
        self.register_buffer("order", torch.randperm(6))
        self.register_buffer("shown", torch.rand(6) > 0.5)


@pytest.mark.parametrize("sharing", ["centroids", "joint"])
def test_what_is_tied_stays_tied_or_is_left_alone(sharing: Any) -> None:
    network = Tied()
    compressor = Compressor(network, CompressionConfig(LayerSettings(density=0.3, weight_bits=2), sharing=sharing))
    model = compressor.finalize()
    assert [layer.name for layer in model.layers] == ["first", "second", "third"]
    assert [layer.bias is None for layer in model.layers] == [True, True, False]
    assert compressor.left_alone == {
        "first.bias": "a bias that is tied",
        "second.bias": "a bias that is tied",
        "embedding.weight": "tied to decoder.matrix, which is not compressed",
        "decoder.matrix": "Module is not compressed",
        "order": "a buffer",
        "shown": "a buffer",
    }
    fresh = Tied()
    CompressedModel.from_bytes(model.to_bytes()).load_into(fresh)
    assert fresh.decoder.matrix is fresh.embedding.weight
    assert fresh.first.bias is fresh.second.bias
    assert torch.equal(fresh.embedding.weight, network.embedding.weight)
    assert torch.equal(fresh.first.bias, network.first.bias)
    assert torch.equal(fresh.third.bias, network.third.bias)
    buffers = dict(network.named_buffers())
    assert all(torch.equal(values, buffers[name]) for name, values in fresh.named_buffers())


def test_a_module_that_is_used_twice_is_stored_once() -> None:
    twice = torch.nn.Linear(8, 8)
    network: Any = torch.nn.Sequential(twice, torch.nn.ReLU(), twice)
    model = compress(network, CompressionConfig(LayerSettings(density=0.5)))
    assert [layer.name for layer in model.layers] == ["0"]
    model.load_into(network)
    assert network[0] is network[2]
    np.testing.assert_array_equal(network[2].weight.detach().numpy(), model.layers[0].weights())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_of_another_type_or_place_are_refused_and_loaded_into(dtype: torch.dtype) -> None:
    images, labels = drawn_classes()
    calls: list[Any] = [
        compress,
        Compressor,
        lambda network: sensitivity(network, lambda _: 0.0),
        lambda network: train(network, images, labels, 1, 1e-3),
        lambda network: accuracy(network, images, labels),
    ]
    for call in calls:
        with pytest.raises(
            InputError, match=rf"float32 on the CPU; found 0\.weight of {dtype} on cpu; call module\.fl"
        ):
            call(two_layers().to(dtype))
    with pytest.raises(InputError, match=r"found 0\.weight of torch\.float32 on meta; call"):
        compress(two_layers().to("meta"))
    model = compress(two_layers())
    network = two_layers(1).to(dtype)
    model.load_into(network)
    expected = torch.from_numpy(model.layers[0].weights().copy()).to(dtype)
    assert torch.equal(network[0].weight.detach(), expected)


@pytest.mark.parametrize("sharing", ["centroids", "joint"])
@pytest.mark.parametrize("weight_bits", [1, 8])
def test_a_layer_may_have_one_row_and_keep_one_weight(sharing: Any, weight_bits: int) -> None:
    network: Any = torch.nn.Sequential(torch.nn.Linear(70_000, 1), torch.nn.Linear(1, 1))
    model = compress(network, CompressionConfig(LayerSettings(1e-9, weight_bits), sharing=sharing))
    found = CompressedModel.from_bytes(model.to_bytes())
    assert [int(np.count_nonzero(layer.codes)) for layer in found.layers] == [1, 1]
    assert [layer.weight_bits for layer in found.layers] == [weight_bits, weight_bits]
    found.load_into(network)
    assert int(network[0].weight.count_nonzero()) == 1


def test_a_run_that_is_killed_goes_on_with_the_same_result(tmp_path: Path) -> None:
    images, labels = drawn_classes()
    network = two_layers()
    for sharing in ("centroids", "joint"):
        config = CompressionConfig(LayerSettings(density=0.3), pruning_steps=2, sharing=sharing)

        def fine_tune(module: Any, stage: Stage) -> None:
            train(module, images, labels, epochs=2, learning_rate=1e-3)

        whole = compress(network, config, fine_tune).to_bytes()
        for killed_in in range(3):
            state = tmp_path / f"{sharing}{killed_in}.npz"
            seen = 0

            def fine_tune_until(module: Any, stage: Stage, killed_in: int = killed_in) -> None:
                nonlocal seen
                if seen == killed_in:
                    raise KeyboardInterrupt
                seen += 1
                fine_tune(module, stage)

            with pytest.raises(KeyboardInterrupt):
                compress(network, config, fine_tune_until, state)
            assert state.exists() == (killed_in > 0)
            assert compress(network, config, fine_tune, state).to_bytes() == whole
        with pytest.raises(InputError, match="the state must be of the same config; found another config; begin anew"):
            compress(network, replace(config, seed=1), fine_tune, state)
        other = two_layers(seed=1)
        with pytest.raises(
            InputError, match=r"2\.npz: the state must be of the same network; found another network; begin"
        ):
            compress(other, config, fine_tune, state)
        wider = torch.nn.Sequential(torch.nn.Linear(8, 17), torch.nn.ReLU(), torch.nn.Linear(17, 3))
        with pytest.raises(InputError, match="the state must be of the same network"):
            compress(wider, config, fine_tune, state)
        state.write_bytes(state.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"2\.npz: must be a whole \.npy or \.npz file"):
            compress(network, config, fine_tune, state)


KILLED = """
import os, signal, sys
from pathlib import Path
from compress.config import CompressionConfig, LayerSettings
from compress.compression import compress
from tests.compress.training.test_training import drawn_classes, train, two_layers
from traces.files.npz import read_npz

images, labels = drawn_classes()
move = os.replace

def run(where, left, container):
    def reach(place):
        nonlocal left
        left -= place == where
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def fine_tune(module, stage):
        train(module, images, labels, 1, 1e-3)
        reach("training")
        train(module, images, labels, 1, 1e-3)

    def replace(source, target):
        reach("writing")
        move(source, target)

    os.replace = replace
    config = CompressionConfig(LayerSettings(density=0.3), pruning_steps=2, sharing="joint")
    compress(two_layers(), config, fine_tune, Path("state.npz")).save(container)

def end_of(*arguments):  # a process of its own, which need not import PyTorch again
    child = os.fork()
    if child == 0:
        try:
            run(*arguments)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

run("nowhere", 0, "whole.dc")  # here, so that all processes have the compiled kernels
Path("state.npz").unlink()
stages = []
for where, after in (("training", 1), ("writing", 0), ("writing", 1)):
    assert end_of(where, after, "killed.dc") == -signal.SIGKILL
    stages.append(int(read_npz("state.npz")["stages"]))
assert stages == [1, 1, 2], stages
assert not Path("killed.dc").exists()
assert end_of("nowhere", 0, "killed.dc") == 0
"""


def test_a_process_that_is_killed_while_it_trains_or_writes_loses_one_stage_at_most(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}  # threads do not outlive a fork
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed.dc").read_bytes() == (tmp_path / "whole.dc").read_bytes()


def test_pruning_everywhere_alike_shows_which_layer_is_sensitive() -> None:
    images, labels = drawn_classes()
    network = two_layers()
    train(network, images, labels, epochs=20, learning_rate=0.01)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    found = sensitivity(network, lambda module: accuracy(module, images, labels), (1.0, 0.05))
    assert list(found) == ["0", "2"]
    assert all(scan[1.0] == accuracy(network, images, labels) for scan in found.values())
    assert min(scan[0.05] for scan in found.values()) < 0.9
    assert all(torch.equal(ours, old) for ours, old in zip(network.parameters(), before, strict=True))


def test_folded_normalisation_computes_the_same() -> None:
    torch.manual_seed(0)
    network: Any = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4))
    images = torch.randn(30, 2, 6, 6) * 3 + 1
    for _ in range(5):
        network(images)
    network.eval()
    expected = network(images)
    fold_normalisation(network)
    assert not network[1].running_mean.any()
    np.testing.assert_allclose(network(images).detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_student_learns_what_its_teacher_puts_out() -> None:
    images, labels = drawn_classes()
    teacher, student = two_layers(1), two_layers(2)
    train(teacher, images, labels, epochs=20, learning_rate=0.01)
    inputs = torch.from_numpy(images)
    with torch.no_grad():
        outputs = teacher(inputs)
    before = float((student(inputs).argmax(1) == outputs.argmax(1)).float().mean())
    done: list[int] = []
    distil(student, lambda epoch: iter([(inputs, outputs)]), 200, 0.02, 2.0, after_epoch=lambda: done.append(1))
    assert len(done) == 200
    assert float((student(inputs).argmax(1) == outputs.argmax(1)).float().mean()) > max(0.9, before)
    with pytest.raises(InputError, match="the loss must stay finite; it did not in epoch 1"):
        distil(student, lambda epoch: iter([(inputs * np.nan, outputs)]), 1, 0.02, 2.0)


def test_a_network_or_config_that_cannot_be_compressed_is_refused() -> None:
    with pytest.raises(InputError, match="the network has nothing to compress: no Linear, Conv1d"):
        compress(torch.nn.ReLU())
    with pytest.raises(InputError, match="layers names fc9, which the network does not have; it has 0, 2"):
        compress(two_layers(), CompressionConfig(layers={"fc9": {"density": 0.1}}))
    with pytest.raises(InputError, match="types names Conv2d, which the network does not have; it has Linear"):
        compress(two_layers(), CompressionConfig(types={"Conv2d": {"density": 0.1}}))


def test_a_name_stands_before_a_type_and_a_type_before_everything() -> None:
    config = CompressionConfig(
        LayerSettings(density=0.4, weight_bits=5),
        types={"Linear": {"density": 0.3}},
        layers={"fc": {"density": 0.2, "index_bits": 4}},
    )
    assert (config.settings_of("fc", "Linear").density, config.settings_of("fc", "Linear").weight_bits) == (0.2, 5)
    assert config.settings_of("fc", "Linear").coding.index_bits == 4
    assert config.settings_of("fc2", "Linear").density == 0.3
    assert config.settings_of("conv", "Conv2d").density == 0.4
    assert CompressionConfig.from_json(config.to_json()) == config
    toml = """
        pruning_steps = 5
        [every]
        density = 0.2
        [types.Conv2d]
        weight_bits = 5
        [layers."fc.1"]
        scan_order = "columns"
    """
    found = CompressionConfig.from_toml(toml)
    assert (found.pruning_steps, found.every.density, found.types["Conv2d"]["weight_bits"]) == (5, 0.2, 5)
    assert found.settings_of("fc.1", "Linear").scan_order == "columns"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"every": {"density": 0.0}}, "every: density: the share of weights to keep must be above 0 and at most 1"),
        ({"layers": {"fc": {"density": 2.0}}}, "layers.fc: density: the share of weights to keep must be above 0"),
        ({"types": {"Linear": {"weight_bits": 9}}}, "types.Linear: weight_bits=9 must be 1 to 8"),
        ({"every": {"index_bits": 0}}, "every: index_bits must be a whole number from 1 to 8; found 0"),
        ({"every": {"codebook_bits": 8}}, "every: codebook_bits=8 must be 16 or 32"),
        ({"every": {"balanced_over": -1}}, "every: balanced_over=-1 must be 0 to 65,536 PEs"),
        ({"every": {"initialisation": "best"}}, "initialisation must be one of optimal, linear, density, random"),
        ({"every": {"sparsity": 0.9}}, "every: unknown option 'sparsity'; known are activation_threshold,"),
        ({"every": {"density": "much"}}, "every: density must be a finite number; found 'much'"),
        ({"every": {"density": True}}, "every: density must be a finite number; found True"),
        ({"every": {"density": float("nan")}}, "every: density must be a finite number; found nan"),
        ({"every": {"weight_bits": 3.5}}, "every: weight_bits must be a whole number; found 3.5"),
        ({"every": {"weight_bits": True}}, "every: weight_bits must be a whole number; found True"),
        ({"layers": {"fc": {"codebook_bits": "16"}}}, "layers.fc: codebook_bits must be a whole number; found '16'"),
        ({"every": {"balanced_over": 4.0}}, "every: balanced_over must be a whole number; found 4.0"),
        ({"every": {"num_pes": 2.5}}, "every: num_pes must be a whole number; found 2.5"),
        ({"every": {"index_bits": 4.0}}, "every: index_bits must be a whole number from 1 to 8; found 4.0"),
        ({"every": {"share_bias": "no"}}, "every: share_bias must be true or false; found 'no'"),
        ({"every": 3}, "every must be values by name; found 3"),
        ({"layers": {"fc": 3}}, "layers.fc must be values by name; found 3"),
        ({"types": 3}, "types must be values by name; found 3"),
        ({"layers": ["fc"]}, "layers must be values by name; found ['fc']"),
        ({"layers": {"fc": {3: 4}}}, "layers.fc must be values by name; found {3: 4}"),
        ({"steps": 3}, "the config: unknown option 'steps'; known are criterion, every, layers"),
        ({"criterion": "best"}, "criterion must be one of layer, global, lamp; found 'best'"),
        ({"sharing": "all"}, "sharing must be one of centroids, joint; found 'all'"),
        ({"pruning_steps": 0}, "pruning_steps=0 and reassign_every=4 must be at least 1"),
        ({"pruning_steps": 2.5}, "pruning_steps must be a whole number; found 2.5"),
        ({"seed": "3"}, "seed must be a whole number; found '3'"),
        ({"reassign_every": True}, "reassign_every must be a whole number; found True"),
        ({"tensor_bits": 8}, "tensor_bits=8 must be 16 or 32"),
        ({"seed": -1}, "seed=-1 must be 0 to 2**63 - 1"),
        ({"reassign_every": 8}, "reassign_every has no effect unless sharing='joint'; leave it out"),
        ({"every": {"num_pes": 32, "scan_order": "rows"}}, "every: num_pes has no effect unless the scan order can be"),
        ({"every": {"num_pes": 32, "coder": "range"}}, "every: num_pes has no effect unless the scan order can be"),
        ({"layers": {"fc": {"num_pes": 32, "scan_order": "columns"}}}, "layers.fc: num_pes has no effect unless the"),
        ({"criterion": "lamp", "layers": {"fc": {"density": 0.5}}}, "layers.fc: density and balanced_over have no"),
        ({"criterion": "lamp", "every": {"balanced_over": 4}}, "balanced_over has no effect with criterion='lamp'"),
    ],
    ids=str,
)  # fmt: skip
def test_a_config_that_cannot_be_gets_a_sentence(values: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        CompressionConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"types": {"Linear": {"weight_bits": 5}}, "layers": {"0": {"weight_bits": 3}, "2": {"weight_bits": 4}}},
            "types.Linear: weight_bits has no effect, since layers gives every Linear its own; leave it out",
        ),
        ({"types": {"Conv1d": {"share_bias": False}}}, "types.Conv1d: share_bias has no effect, since no Conv1d has a"),
        ({"layers": {"1": {"share_bias": False}}}, "layers.1: share_bias has no effect, since it has no bias; leave"),
        ({"tensor_bits": 16}, "tensor_bits has no effect, since no tensor is stored as it is; leave it out"),
    ],
    ids=str,
)
def test_an_option_that_changes_nothing_of_the_network_is_refused(values: Any, sentence: str) -> None:
    network: Any = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.Conv1d(4, 4, 1, bias=False), torch.nn.Linear(1, 2)
    )
    assert Compressor(network, CompressionConfig.from_dict({"every": {"share_bias": False}, "tensor_bits": 16}))
    with pytest.raises(InputError, match=re.escape(sentence)):
        compress(network, CompressionConfig.from_dict(values))


def test_a_config_is_the_same_after_json_toml_and_pickling() -> None:
    config = CompressionConfig(
        LayerSettings(density=1, weight_bits=5, codebook_bits=16, num_pes=32),
        types={"Linear": {"density": 1e-05}, "Conv2d": {}},
        layers={'a."b"\\.\x7f\n schön': {"scan_order": "columns", "share_bias": False}},
        sharing="joint",
        reassign_every=2,
        seed=2**63 - 1,
    )
    copies = [
        CompressionConfig.from_json(config.to_json()),
        CompressionConfig.from_toml(config.to_toml()),
        CompressionConfig.from_dict(config.to_dict()),
        pickle.loads(pickle.dumps(config)),
        copy.deepcopy(config),
    ]
    assert all(each == config and hash(each) == hash(config) for each in copies)
    assert CompressionConfig.from_toml(CompressionConfig().to_toml()) == CompressionConfig()
    open_again = CompressionConfig(LayerSettings(index_bits=4), layers={"fc": {"index_bits": None}})
    assert CompressionConfig.from_json(open_again.to_json()) == open_again
    with pytest.raises(InputError, match=r'layers."fc": TOML cannot say that index_bits is None; use JSON'):
        open_again.to_toml()


def test_a_config_of_another_form_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="the config: must be JSON: "):
        CompressionConfig.from_json("[" * 100_000)
    with pytest.raises(InputError, match="the config: an object must have each name once; found 'density' twice"):
        CompressionConfig.from_json('{"every": {"density": 0.1, "density": 0.2}}')
    with pytest.raises(InputError, match="every must be LayerSettings; found"):
        CompressionConfig({"density": 0.1})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the config: must be JSON: "):
        CompressionConfig.from_json("{")
    with pytest.raises(InputError, match="the config must be values by name; found 3"):
        CompressionConfig.from_json("3")
    with pytest.raises(InputError, match="the config: must be TOML: "):
        CompressionConfig.from_toml("= 3")


def modes(module: Any) -> list[bool]:
    return [part.training for part in module.modules()]


def test_whatever_trains_or_looks_at_a_network_leaves_each_mode_as_it_was() -> None:
    images, labels = drawn_classes()
    inputs = torch.from_numpy(images)
    config = CompressionConfig(LayerSettings(density=0.5), pruning_steps=1)
    calls: list[Any] = [
        lambda network: train(network, images, labels, epochs=1, learning_rate=1e-3),
        lambda network: accuracy(network, images, labels),
        lambda network: distil(network, lambda _: iter([(inputs, torch.zeros(300, 3))]), 1, 1e-3, 2.0),
        lambda network: compress(network, config),
        lambda network: sensitivity(network, lambda module: accuracy(module, images, labels), (0.5,)),
    ]
    for call in calls:
        network: Any = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
        network[1].eval()  # frozen, the rest trains
        means = network[1].running_mean.clone()
        hook = network[0].register_forward_pre_hook(lambda *_: None)
        call(network)
        assert modes(network) == [True, True, False, True]
        assert torch.equal(network[1].running_mean, means)
        assert dict(network[0]._forward_pre_hooks) == {hook.id: dict(network[0]._forward_pre_hooks)[hook.id]}
        network.eval()
        call(network)
        assert modes(network) == [False] * 4
    compressor = Compressor(network.train(), config)
    network[1].eval()
    while compressor.step() is not None:
        assert [part.training for part in network] == [True, False, True]
    assert modes(compressor.plain_module()) == [True, True, False, True]


@pytest.mark.parametrize("sharing", ["centroids", "joint"])
def test_frozen_layers_are_compressed_and_not_trained(sharing: Any) -> None:
    images, labels = drawn_classes()
    network = two_layers()
    network[0].requires_grad_(False)
    config = CompressionConfig(LayerSettings(density=0.5, weight_bits=3), pruning_steps=1, sharing=sharing)
    untrained = compress(network, config).decoded_parameters()

    def fine_tune(module: Any, stage: Stage) -> None:
        train(module, images, labels, epochs=2, learning_rate=0.01)

    trained = compress(network, config, fine_tune).decoded_parameters()
    for name in ("0.weight", "0.bias"):
        np.testing.assert_array_equal(trained[name], untrained[name])
    assert not np.array_equal(trained["2.weight"], untrained["2.weight"])
    assert not network[0].weight.requires_grad

    compressor = Compressor(network, config)
    while (stage := compressor.step()) is not None:
        fine_tune(network, stage)
    plain: Any = compressor.plain_module()
    assert {name: values.requires_grad for name, values in plain.named_parameters()} == {
        "0.weight": False,
        "0.bias": False,
        "2.weight": True,
        "2.bias": True,
    }
    with pytest.raises(
        InputError, match="training needs a parameter that is not frozen; found none; set requires_grad"
    ):
        train(two_layers().requires_grad_(False), images, labels, epochs=1, learning_rate=0.01)


def test_a_bias_that_trains_beside_a_frozen_weight_has_values_of_its_own() -> None:
    network = two_layers()
    network[0].weight.requires_grad_(False)
    compressor = Compressor(network)
    assert compressor.left_alone == {
        "0.bias": "one of weight and bias is frozen (requires_grad), so they cannot share trained values"
    }
    images, labels = drawn_classes()
    while compressor.step() is not None:
        before = network[0].weight.detach().clone()
        train(network, images, labels, epochs=1, learning_rate=0.01)
        assert torch.equal(network[0].weight, before)
    assert not np.array_equal(compressor.finalize().tensors["0.bias"], two_layers()[0].bias.detach())


@pytest.mark.parametrize("sharing", ["centroids", "joint"])
def test_a_compressor_hands_back_a_plain_network_of_what_it_stores(sharing: Any) -> None:
    network = everything()
    config = CompressionConfig(LayerSettings(0.5, codebook_bits=16), sharing=sharing, tensor_bits=16)
    compressor = Compressor(network, config)
    plain: Any = compressor.plain_module()
    assert sorted(plain.state_dict()) == sorted(everything().state_dict())
    assert [type(part) for part in plain.modules()] == [type(part) for part in everything().modules()]
    assert not any(part._forward_pre_hooks for part in plain.modules())
    decoded = CompressedModel.from_bytes(compressor.finalize().to_bytes()).decoded_parameters()
    for name, values in plain.named_parameters():
        np.testing.assert_array_equal(values.detach().numpy(), decoded[name])
    copy.deepcopy(plain)
    pickle.dumps(plain)


class WithState(torch.nn.Linear):
    """Layer with extra state, which counts its calls."""

    def __init__(self, inputs: int, outputs: int, more: object = None) -> None:
        super().__init__(inputs, outputs)
        self.calls, self.more = 0, more

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return super().forward(x) * (1 + self.calls / 1000)

    def get_extra_state(self) -> Any:
        return {"calls": self.calls, "more": self.more}

    def set_extra_state(self, state: Any) -> None:
        self.calls = state["calls"]


def test_extra_state_goes_through_a_state_file(tmp_path: Path) -> None:
    images, labels = drawn_classes()

    def build(more: object = None) -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(WithState(8, 8, more), torch.nn.ReLU(), torch.nn.Linear(8, 3))

    left = 1

    def fine_tune(module: Any, stage: Stage) -> None:
        nonlocal left
        if stage.last:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        train(module, images, labels, epochs=1, learning_rate=1e-2)

    config = CompressionConfig(LayerSettings(density=0.5), pruning_steps=2)
    expected = compress(build(torch.ones(2)), config, fine_tune).to_bytes()
    with pytest.raises(KeyboardInterrupt):
        compress(build(torch.ones(2)), config, fine_tune, tmp_path / "state.npz")
    left = 1
    network = build(torch.ones(2))
    assert compress(network, config, fine_tune, tmp_path / "state.npz").to_bytes() == expected
    assert Compressor(network, config).left_alone == {"0._extra_state": "not stored: extra state of its module"}
    with pytest.raises(InputError, match=r"found other extra state in 0: .*; compress without a state file"):
        compress(build(Path("x")), config, None, tmp_path / "other.npz")
    with pytest.raises(InputError, match="the state must be of the same layers; found another layers; begin anew"):
        compress(build(torch.ones(2)), config, None, tmp_path / "state.npz", leave=["2"])


def test_inputs_in_double_precision_train_like_others() -> None:
    images, labels = drawn_classes()
    networks = two_layers(), two_layers()
    for network, values in zip(networks, (images, images.astype(np.float64)), strict=True):
        train(network, values, labels, epochs=1, learning_rate=1e-2)
    assert torch.equal(networks[0][0].weight, networks[1][0].weight)
    assert accuracy(networks[0], images.astype(np.float64), labels) == accuracy(networks[0], images, labels)


def test_gradients_of_embeddings_may_be_sparse() -> None:
    network: Any = torch.nn.Sequential(torch.nn.EmbeddingBag(10, 4, sparse=True), torch.nn.Linear(4, 2))
    ids, labels = torch.randint(0, 10, (20, 5)), torch.randint(0, 2, (20,))
    compressor = Compressor(network, CompressionConfig(LayerSettings(density=0.5), pruning_steps=1))
    while compressor.step() is not None:
        network.zero_grad()
        loss_of(network, ids, labels).backward()
    assert network[0].parametrizations.weight[0].centroids.grad.abs().sum() > 0
