"""Networks drawn at random, of layers of all kinds, beside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress import CompressionConfig, LayerSettings
from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import activations, checked, drawn, model, node, off_array_counts
from traces import InputError, Network
from traces.graph.description import RECURRENT


class Drawn:
    """Network that grows by one random layer at a time; its values are images or sequences [n, channels, length]."""

    def __init__(self, seed: int) -> None:
        self.stream = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.parameters: dict[str, Any] = {}
        self.channels, self.length = int(self.stream.integers(1, 5)), int(self.stream.integers(4, 9))
        self.shape: list[Any] = ["n", self.channels, self.length]
        self.current = "x"
        self.products = 0

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high."""
        return int(self.stream.integers(low, high + 1))

    def weight(self, *shape: int) -> str:
        """Return the name of a new parameter."""
        name = f"w{len(self.parameters)}"
        self.parameters[name] = drawn(self.whole(0, 999), *shape) / 2
        return name

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> None:
        """Add a node after the current one."""
        self.current = f"v{len(self.nodes)}"
        self.nodes.append(node(kind, inputs, [self.current], **attributes))

    def biased(self, operands: list[str], rows: int) -> list[str]:
        """Return operands, with a bias or without."""
        return [*operands, self.weight(rows)] if self.whole(0, 1) else operands

    def conv(self) -> None:
        groups = self.channels if self.whole(0, 2) == 0 else 1
        rows, kernel, dilation = groups * self.whole(1, 3), self.whole(1, 3), self.whole(1, 2)
        stride = self.whole(1, 2)
        pads = [self.whole(0, 2) + (kernel - 1) * dilation // 2 for _ in range(2)]
        operands = self.biased([self.current, self.weight(rows, self.channels // groups, kernel)], rows)
        self.add("Conv", operands, group=groups, dilations=[dilation], strides=[stride], pads=pads)
        self.length = (self.length + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1
        self.channels, self.products = rows, self.products + 1

    def transposed(self) -> None:
        rows, kernel, stride = self.whole(1, 3), self.whole(1, 3), self.whole(1, 2)
        operands = self.biased([self.current, self.weight(self.channels, rows, kernel)], rows)
        self.add("ConvTranspose", operands, strides=[stride])
        self.length = (self.length - 1) * stride + kernel
        self.channels, self.products = rows, self.products + 1

    def linear(self) -> None:  # on the last axis
        rows = self.whole(2, 6)
        self.add("MatMul", [self.current, self.weight(self.length, rows)])
        if self.whole(0, 1):
            operands = [self.current, self.weight(rows)]
            self.add("Add", operands if self.whole(0, 1) else operands[::-1])
            self.products += 1  # a bias on the array
        self.length, self.products = rows, self.products + 1

    def linear_on_the_left(self) -> None:
        rows = self.whole(2, 4)
        self.add("MatMul", [self.weight(rows, self.channels), self.current])
        self.channels, self.products = rows, self.products + 1

    def einsum(self) -> None:
        rows = self.whole(2, 4)
        self.add("Einsum", [self.current, self.weight(self.channels, self.length, rows)], equation="ncl,clo->nco")
        self.length, self.products = rows, self.products + 1

    def recurrent(self) -> None:
        kind, size = str(self.stream.choice(["LSTM", "GRU", "RNN"])), self.whole(2, 3)
        directions, gates = self.whole(1, 2), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
        before = self.length
        self.add("Transpose", [self.current], perm=[1, 0, 2])
        weights = [self.weight(directions, gates * size, columns) for columns in (before, size)]
        more: dict[str, Any] = {"linear_before_reset": self.whole(0, 1)} if kind == "GRU" else {}
        operands = self.biased([self.current, *weights], 1)
        if len(operands) > 3:
            self.parameters[operands[3]] = drawn(self.whole(0, 99), directions, 2 * gates * size)
        direction = "bidirectional" if directions == 2 else str(self.stream.choice(["forward", "reverse"]))
        self.add(kind, operands, hidden_size=size, direction=direction, **more)  # [channels, directions, n, size]
        self.add("Transpose", [self.current], perm=[2, 0, 1, 3])
        self.parameters[f"s{len(self.nodes)}"] = np.array([0, 0, directions * size])
        self.add("Reshape", [self.current, f"s{len(self.nodes)}"])
        self.length, self.products = directions * size, self.products + 1

    def pool(self) -> None:
        if self.length < 3:
            return
        kind = str(self.stream.choice(["MaxPool", "AveragePool"]))
        self.add(kind, [self.current], kernel_shape=[2], strides=[2])
        self.length = (self.length - 2) // 2 + 1

    def norm(self) -> None:
        if self.whole(0, 1):
            self.add("LayerNormalization", [self.current, self.weight(self.length)])
        else:
            names = [self.weight(self.channels) for _ in range(4)]
            self.parameters[names[3]] = np.abs(self.parameters[names[3]]) + 1
            self.add("BatchNormalization", [self.current, *names])

    def pointwise(self) -> None:
        self.add(str(self.stream.choice(["Relu", "Tanh", "Sigmoid", "Elu"])), [self.current])

    def residual(self) -> None:
        entering = self.current
        self.add("Conv", [self.current, self.weight(self.channels, self.channels, 3)], pads=[1, 1])
        self.products += 1
        self.pointwise()
        self.add(str(self.stream.choice(["Add", "Mul", "Sub"])), [self.current, entering])

    def squeeze(self) -> None:
        entering = self.current
        self.add("GlobalAveragePool", [self.current])
        self.add("Conv", self.biased([self.current, self.weight(self.channels, self.channels, 1)], self.channels))
        self.products += 1
        self.add("Sigmoid", [self.current])
        self.add("Mul", [entering, self.current])

    def attention(self) -> None:
        queries, keys = (f"{name}{len(self.nodes)}" for name in "qk")
        rows = self.whole(2, 4)
        for name in (queries, keys):
            self.nodes.append(node("MatMul", [self.current, self.weight(self.length, rows)], [name]))
            self.products += 1
        self.add("Transpose", [keys], perm=[0, 2, 1])
        self.add("MatMul", [queries, self.current])
        self.add("Softmax", [self.current], axis=-1)
        self.add("MatMul", [self.current, queries])
        self.length = rows

    def tied(self) -> None:
        name = self.weight(self.length, self.length)
        for _ in range(2):
            self.add("MatMul", [self.current, name])
            self.add("Tanh", [self.current])
        self.products += 2

    def made(self) -> Any:
        """Return the model."""
        if self.whole(0, 1):
            self.add("Flatten", [self.current])
            rows = self.whole(2, 5)
            weight = self.weight(rows, self.channels * self.length)
            self.add("Gemm", self.biased([self.current, weight], rows), transB=1)
            self.products += 1
        self.add("Identity", [self.current])
        self.nodes[-1].output[0] = "y"
        return model(self.nodes, {"x": self.shape}, parameters=self.parameters)


KINDS = (
    Drawn.conv,
    Drawn.transposed,
    Drawn.linear,
    Drawn.linear_on_the_left,
    Drawn.einsum,
    Drawn.recurrent,
    Drawn.pool,
    Drawn.norm,
    Drawn.pointwise,
    Drawn.residual,
    Drawn.squeeze,
    Drawn.attention,
    Drawn.tied,
)


def drawn_network(seed: int) -> tuple[Drawn, Any, int]:
    """Draw a network; return it, its model, and a number of inputs."""
    network = Drawn(seed)
    network.conv()
    for kind in network.stream.choice(len(KINDS), network.whole(3, 7)):
        if network.length > 24:
            break
        KINDS[kind](network)
    inputs = network.whole(1, 3)
    return network, network.made(), inputs


def check(seed: int) -> None:
    """Draw a network and compare its simulation with ONNX Runtime."""
    network, made, inputs = drawn_network(seed)
    feeds = {"x": activations(seed, inputs, *network.shape[1:])}
    found, _ = checked(made, feeds, num_pes=network.whole(1, 4), tolerance=5e-5)
    counted = sum(each.count for each in found.off_array.values())
    assert counted == off_array_counts(made, network.products, ["x"])


def check_with_thresholds(seed: int) -> None:
    """Draw a network, give some of its products thresholds, and compare its simulation with ONNX Runtime."""
    network, made, inputs = drawn_network(seed)
    feeds = {"x": activations(seed, inputs, *network.shape[1:])}
    plain = Network.open(made)
    able = [layer.weight for layer in plain.layers if layer.kind not in RECURRENT]
    chosen = {name: float(network.stream.choice([0.01, 0.1, 0.5, 1e9])) for name in able if network.whole(0, 1)}
    whole = plain.with_thresholds(chosen).to_onnx()
    found, result = checked(whole, feeds, num_pes=network.whole(1, 4), tolerance=5e-5)
    assert found.off_array == plain.off_array
    assert {layer.name: layer.activation_threshold for layer in result.layers} == {
        layer.name: np.float32(chosen.get(layer.weight, 0)) for layer in plain.layers
    }
    for layer in result.layers:
        assert layer.activation_threshold < 1e9 or not layer.broadcasts.sum() - layer.biases * len(layer.broadcasts)


@pytest.mark.parametrize("seed", range(300, 315))
def test_a_random_network_with_thresholds_is_that_of_onnx_runtime(seed: int) -> None:
    check_with_thresholds(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400, 500))
def test_another_random_network_with_thresholds_is_that_of_onnx_runtime(seed: int) -> None:
    check_with_thresholds(seed)


def check_with_codebooks(seed: int) -> bool:
    """Draw a network whose PEs have codebooks, and thresholds, and compare its simulation with ONNX Runtime.

    Return False if no layer has both, or rows of its products are not so many in each PE as its codebooks need.
    """
    network, made, inputs = drawn_network(seed)
    feeds = {"x": activations(seed, inputs, *network.shape[1:])}
    num_pes = network.whole(1, 4)
    from compress import compress

    sharing = LayerSettings(0.7, 3, share_bias=False, codebook_bits=16, codebooks="pe", num_pes=num_pes)
    shared = compress(made, CompressionConfig(sharing), inputs=feeds)
    able = {layer.weight for layer in shared.network.layers if layer.kind not in RECURRENT}
    chosen = {each.name: float(network.stream.choice([0, 0.1, 0.5])) for each in shared.layers if each.name in able}
    container = shared.with_thresholds(chosen)
    try:
        result = simulate_network(container, feeds, ArrayConfig(num_pes=num_pes, weight_bits=3))
    except InputError as error:
        if f"num_pes={num_pes} must suit its codebooks" not in str(error):
            raise
        return False
    assert max(result.output_difference, result.largest_difference) < 5e-5
    return any(layer.num_codebooks > 1 and layer.activation_threshold for layer in container.layers)


def test_random_networks_with_thresholds_and_codebooks_of_pes_are_those_of_onnx_runtime() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    assert sum(map(check_with_codebooks, range(600, 612))) >= 8


@pytest.mark.slow
def test_more_random_networks_with_thresholds_and_codebooks_of_pes_are_those_of_onnx_runtime() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    assert sum(map(check_with_codebooks, range(612, 700))) >= 60


@pytest.mark.parametrize("seed", range(25))
def test_a_random_network_is_that_of_onnx_runtime(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 250))
def test_another_random_network_is_that_of_onnx_runtime(seed: int) -> None:
    check(seed)
