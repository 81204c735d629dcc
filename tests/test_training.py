"""Fine-tuning of masked and shared weights, the pipeline, and the decoded network (PyTorch needed)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressedModel
from compress.deep_compression import CompressionConfig, compress, compressible_layers
from compress.fine_tuning import accuracy, mask_weight, share_parameters, train
from compress.one_shot import compress_parameters
from compress.pruning import magnitude_mask
from traces import InputError
from traces.torch_activations import record_activations


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


def test_momentum_cannot_revive_a_pruned_weight() -> None:
    network = two_layers()
    layer = network[0]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    images, labels = (torch.from_numpy(array) for array in drawn_classes())
    for _ in range(3):  # the momentum of every weight is moving
        loss_of(network, images, labels).backward()
        optimizer.step()
    mask = magnitude_mask(layer.weight.detach().numpy(), 0.25)
    mask_weight(layer, mask)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(network, images, labels).backward()
        optimizer.step()
        assert not layer.weight.detach().numpy()[~mask].any()
    assert layer.weight.detach().numpy()[mask].all()


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

    centroids = share_parameters(layer, codes, codebook, bias_codes)
    loss_of(network, images, labels).backward()
    assert centroids.grad is not None
    np.testing.assert_allclose(centroids.grad.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_training_moves_the_centroids_and_leaves_the_zero() -> None:
    network = two_layers()
    codes = np.arange(128).reshape(16, 8) % 4
    codebook = np.array([0, -0.5, 0.25, 0.5], dtype=np.float32)
    centroids = share_parameters(network[0], codes, codebook, None)
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
    with pytest.raises(InputError, match="the loss must stay a number; it was lost in epoch 1; lower learning_rate"):
        train(two_layers(), images, labels, epochs=1, learning_rate=0.01)


def test_a_compressed_network_keeps_its_accuracy_and_loads_into_a_module() -> None:
    images, labels = drawn_classes()
    network = two_layers()
    train(network, images, labels, epochs=20, learning_rate=0.01)
    before = accuracy(network, images, labels)
    originals = [parameter.detach().clone() for parameter in network.parameters()]
    config = CompressionConfig(density=0.3, layer_density={"2": 0.5}, weight_bits=3)
    epochs: list[None] = []
    model = compress(network, images, labels, config, lambda: epochs.append(None))
    assert len(epochs) == config.epochs
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
    model, _ = compress_parameters(
        {"0.weight": np.ones((16, 8)), "0.bias": np.ones(16), "2.weight": np.ones((3, 9))}, 0.5
    )
    network = two_layers()
    before = network[0].weight.detach().clone()
    with pytest.raises(InputError, match="layer '2' has a bias and the container holds none"):
        model.load_into(network)
    network[2] = torch.nn.Linear(16, 3, bias=False)
    with pytest.raises(InputError, match=r"'2.weight' has shape \[3, 16\]; the container holds \[3, 9\]"):
        model.load_into(network)
    with pytest.raises(InputError, match=r"the module has no parameter '0.weight'; it has weight"):
        model.load_into(torch.nn.Linear(8, 16, bias=False))
    assert torch.equal(network[0].weight, before)


def test_convolutions_are_unrolled_and_rolled_back() -> None:
    torch.manual_seed(0)
    network: Any = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    images = np.random.default_rng(0).normal(size=(40, 2, 3, 3)).astype(np.float32)
    labels = (images.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
    assert list(compressible_layers(network)) == ["0", "2"]
    model = compress(network, images, labels, CompressionConfig(density=0.5, pruning_epochs=1, sharing_epochs=1))
    assert model.layers[0].codes.shape == (4, 18)
    assert model.shapes == [(4, 2, 3, 3), (2, 4)]
    model.load_into(network)
    np.testing.assert_array_equal(network[0].weight.detach().numpy().reshape(4, 18), model.layers[0].weights())


def test_a_network_or_config_that_cannot_be_compressed_is_refused() -> None:
    images, labels = drawn_classes()
    with pytest.raises(InputError, match="no Linear or Conv2d layer to compress"):
        compress(torch.nn.ReLU(), images, labels)
    with pytest.raises(InputError, match=r"a layer alone has no name to be stored under; put it into a torch\.nn"):
        compress(torch.nn.Linear(8, 3), images, labels)
    normalised = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.BatchNorm1d(3))
    with pytest.raises(InputError, match=r"must belong to a Linear or Conv2d layer.*; found 1\.weight, 1\.bias, 1\.r"):
        compress(normalised, images, labels)
    with pytest.raises(
        InputError, match="layer_density names fc9, which the network does not have; its layers are 0, 2"
    ):
        compress(two_layers(), images, labels, CompressionConfig(layer_density={"fc9": 0.1}))
    for wrong, sentence in (
        ({"density": 0.0}, "density: the share of weights to keep must be above 0 and at most 1; found 0.0"),
        ({"layer_density": {"fc": 2.0}}, "fc: the share of weights to keep must be above 0"),
        ({"weight_bits": 9}, "weight_bits=9 must be 1 to 8"),
        ({"pruning_steps": 0}, "pruning_steps=0 must be at least 1"),
    ):
        with pytest.raises(InputError, match=sentence):
            CompressionConfig(**wrong)


def test_recorded_activations_are_what_enters_each_layer() -> None:
    network = two_layers()
    network.train()
    images = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    recorded = record_activations(network, images, ["0", "2"])
    np.testing.assert_array_equal(recorded["0"], images)
    with torch.no_grad():
        expected = torch.relu(network[0](torch.from_numpy(images))).numpy()
    np.testing.assert_array_equal(recorded["2"], expected)
    assert network.training
    assert not network[0]._forward_pre_hooks
    with pytest.raises(InputError, match="the network has no layer fc1; its layers are 0, 1, 2"):
        record_activations(network, images, ["fc1"])


def test_a_layer_that_is_never_called_is_refused() -> None:
    class Lazy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = torch.nn.Linear(2, 2)
            self.unused = torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    with pytest.raises(InputError, match="the network never called unused on these inputs"):
        record_activations(Lazy(), np.ones((1, 2), dtype=np.float32), ["used", "unused"])
