"""Networks on the array: convolutions, pooling and whole SqueezeNet, against PyTorch."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, pack, simulate, simulate_network
from sim.network import NetworkResult
from tests.conftest import real_file
from traces import CompressedLayer, InputError
from traces.convolution import Convolution
from traces.files.deep_compression_net import read_net
from traces.network import INPUT, ConcatenateStep, LayerStep, Network, PoolStep

torch = pytest.importorskip("torch", reason="the reference is PyTorch: install the extra [train]")
functional = torch.nn.functional


def drawn_layer(name: str, rows: int, columns: int, seed: int = 0) -> CompressedLayer:
    stream = np.random.default_rng(seed)
    codes = stream.integers(0, 16, (rows, columns)).astype(np.uint8)
    codes[stream.random((rows, columns)) < 0.6] = 0
    codebook = np.concatenate([[0], stream.normal(size=15)]).astype(np.float32)
    return CompressedLayer(name, codes, codebook, stream.integers(0, 16, rows).astype(np.uint8))


def convolve(step: LayerStep, images: Any) -> Any:
    """Return PyTorch's output of a convolution step."""
    convolution = step.convolution
    assert convolution is not None
    channels = images.shape[1] // convolution.groups
    weight = torch.from_numpy(step.layer.weights()).reshape(-1, channels, *convolution.kernel)
    bias = step.layer.bias_values() if step.bias is None else step.layer.bias_values() + step.bias
    output = functional.conv2d(
        images,
        weight,
        torch.from_numpy(np.asarray(bias, dtype=np.float32)),
        convolution.stride,
        convolution.padding,
        groups=convolution.groups,
    )
    return functional.relu(output) if step.rectified else output


@pytest.mark.parametrize(
    "convolution",
    [
        Convolution(),
        Convolution(kernel=(3, 3), padding=(1, 1)),
        Convolution(kernel=(3, 2), stride=(2, 1), padding=(0, 1)),
        Convolution(kernel=(1, 5), stride=(1, 3), padding=(0, 2), groups=2),
        Convolution(kernel=(3, 3), stride=(2, 2), padding=(1, 1), groups=4),
    ],
    ids=str,
)
@pytest.mark.parametrize("rectified", [False, True])
def test_a_convolution_is_that_of_pytorch(convolution: Convolution, rectified: bool) -> None:
    columns = 4 // convolution.groups * math.prod(convolution.kernel)
    bias = np.linspace(-1, 1, 8, dtype=np.float32)
    step = LayerStep(drawn_layer("conv", 8, columns), INPUT, convolution, bias, rectified)
    images = np.random.default_rng(1).normal(size=(3, 4, 7, 9)).astype(np.float32)
    images[images < 0.3] = 0
    result = simulate_network(Network("one", (4, 7, 9), (step,)), images, ArrayConfig(num_pes=4))
    expected = convolve(step, torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(result.output, expected, rtol=1e-5, atol=1e-5)


def test_a_convolution_costs_what_its_vectors_cost_one_by_one() -> None:
    array = ArrayConfig(num_pes=4, queue_slots=3)
    convolution = Convolution(kernel=(3, 3), padding=(1, 1), groups=2)
    step = LayerStep(drawn_layer("conv", 6, 18), INPUT, convolution)
    images = np.random.default_rng(2).normal(size=(2, 4, 5, 5)).astype(np.float32)
    images[images < 0] = 0
    (costs,) = simulate_network(Network("one", (4, 5, 5), (step,)), images, array).layers
    assert (costs.vectors, costs.biases, costs.rows, costs.columns) == (50, 50, 6, 18)
    vectors = step.vectors(images)
    groups = [pack(layer, array) for layer in step.group_layers()]
    singles = [
        [simulate(group, vector, array) for group, of in zip(groups, vectors[:, i], strict=True) for vector in of]
        for i in range(2)
    ]
    names = "cycles broadcasts bubble_cycles blocked_cycles useful_macs pointer_reads line_reads"
    for name in names.split():
        assert getattr(costs, name).tolist() == [sum(getattr(one, name) for one in ones) for ones in singles], name
    energies = [sum(one.energy.total_pj for one in ones) for ones in singles]
    np.testing.assert_allclose(costs.energy_pj, energies)
    assert costs.activation_density == pytest.approx((vectors != 0).mean())


@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((7, 7), 3, 2, 0), ((8, 6), 3, 2, 0), ((6, 9), 2, 2, 1), ((5, 5), 3, 2, 1), ((4, 4), 2, 3, 0), ((6, 6), 3, 3, 1)],
)
def test_pooling_is_that_of_caffe(kind: Any, size: Any, kernel: int, stride: int, padding: int) -> None:
    images = np.random.default_rng(3).normal(size=(2, 3, *size)).astype(np.float32)
    step = PoolStep("pool", INPUT, kind, (kernel, kernel), (stride, stride), (padding, padding))
    options: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": True}
    pool = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    expected = pool(torch.from_numpy(images), kernel, **options).numpy()
    found = step.apply(images)
    assert found.shape[1:] == step.output_shape((3, *size))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_pooling_over_the_whole_image() -> None:
    images = np.random.default_rng(4).normal(size=(2, 3, 5, 4)).astype(np.float32)
    assert PoolStep("pool", INPUT, "max").apply(images).tolist() == images.max(axis=(2, 3), keepdims=True).tolist()
    mean = PoolStep("pool", INPUT, "mean").apply(images)
    np.testing.assert_allclose(mean, images.mean(axis=(2, 3), keepdims=True), rtol=1e-5, atol=1e-6)


def small_network() -> Network:
    """Return a network: a convolution, two branches that are concatenated, pooling, a fully connected layer."""
    steps = (
        LayerStep(drawn_layer("first", 4, 27), INPUT, Convolution(kernel=(3, 3)), rectified=True),
        LayerStep(drawn_layer("left", 3, 4, 1), "first", Convolution(), rectified=True),
        LayerStep(drawn_layer("right", 5, 36, 2), "first", Convolution((3, 3), padding=(1, 1)), rectified=True),
        ConcatenateStep("both", ("left", "right")),
        PoolStep("pool", "both", "max", (2, 2), (2, 2)),
        LayerStep(drawn_layer("last", 10, 72, 3), "pool"),
    )
    return Network("small", (3, 8, 8), steps)


def small_images(inputs: int) -> Any:
    return np.random.default_rng(5).normal(size=(inputs, 3, 8, 8)).astype(np.float32)


def test_a_network_of_branches_is_that_of_pytorch() -> None:
    network, images = small_network(), small_images(4)
    assert network.output_shapes["pool"] == (8, 3, 3)
    result = simulate_network(network, images, ArrayConfig(num_pes=4))
    first, left, right = (network.steps[number] for number in range(3))
    assert isinstance(first, LayerStep)
    assert isinstance(left, LayerStep)
    assert isinstance(right, LayerStep)
    between = convolve(first, torch.from_numpy(images))
    pooled = functional.max_pool2d(torch.cat([convolve(left, between), convolve(right, between)], dim=1), 2)
    last = network.layers[-1]
    expected = pooled.reshape(4, -1).numpy() @ last.weights().T + last.bias_values()
    np.testing.assert_allclose(result.output, expected, rtol=1e-5, atol=1e-5)


def test_each_input_costs_what_it_costs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, array = small_network(), small_images(5), ArrayConfig(num_pes=4)
    done = []
    whole = simulate_network(network, images, array, lambda: done.append(1))
    assert len(done) == 5
    singles = [simulate_network(network, image[np.newaxis], array) for image in images]
    monkeypatch.setattr("sim.network.CHUNK_BYTES", 50_000)  # less than three inputs
    in_chunks = simulate_network(network, images, array)
    for other in (NetworkResult(array, [], np.concatenate([one.output for one in singles])), in_chunks):
        np.testing.assert_array_equal(whole.output, other.output)
    np.testing.assert_array_equal(whole.cycles, [int(one.cycles[0]) for one in singles])
    np.testing.assert_array_equal(whole.cycles, in_chunks.cycles)
    np.testing.assert_allclose(whole.energy_pj, [float(one.energy_pj[0]) for one in singles])
    assert len(set(whole.cycles.tolist())) > 1
    np.testing.assert_array_equal(whole.latency_us, whole.cycles / array.clock_mhz)
    assert whole.efficiency == pytest.approx(
        sum(layer.useful_macs.sum() for layer in whole.layers) / whole.cycles.sum() / 4
    )


def test_fixed_point_runs_through_a_network() -> None:
    network, images = small_network(), small_images(3)
    exact = simulate_network(network, images, ArrayConfig(num_pes=4)).output
    errors = []
    for precision in ("fixed-32", "fixed-16", "fixed-8"):
        array = ArrayConfig(num_pes=4, precision=precision)
        found = simulate_network(network, images, array).output
        errors.append(float(np.abs(found - exact).max() / np.abs(exact).max()))
    assert 0 < errors[0] < 1e-6 < errors[1] < 1e-3 < errors[2] < 0.3


def test_a_convolution_that_does_not_stay_on_the_array_is_refused() -> None:
    network, images = small_network(), small_images(1)
    small = ArrayConfig(num_pes=1, memory_mode="passes", sparse_matrix_bytes=32)
    with pytest.raises(InputError, match=r"convolution 'first' does not fit: .*; its weights serve 36 positions"):
        simulate_network(network, images, small)
    with pytest.raises(InputError, match="convolution 'first' would be streamed; its weights serve 36 positions"):
        simulate_network(network, images, ArrayConfig(num_pes=4, memory_mode="streamed"))
    lacking = simulate_network(network, images, replace(small, memory_mode="unlimited")).layers[0].shortfalls
    assert "sparse" in str(lacking[0])
    layers = [drawn_layer("first", 8, 30), drawn_layer("last", 6, 8)]
    passes = ArrayConfig(num_pes=2, memory_mode="passes", sparse_matrix_bytes=32)
    for_each = simulate_network(layers, np.ones((2, 30)), passes)
    assert (for_each.layers[0].waiting_cycles > 0).all()
    np.testing.assert_array_equal(
        for_each.output, simulate_network(layers, np.ones((2, 30)), ArrayConfig(num_pes=2)).output
    )


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([], "network 'odd' must have at least one step"),
        ([PoolStep(INPUT, INPUT, "max")], "every step needs a name of its own; found 'input' twice"),
        ([PoolStep("pool", "absent", "max")], "sources must be 'input' or earlier steps; found absent"),
        ([ConcatenateStep("all", ())], "sources must be 'input' or earlier steps; found none"),
        ([PoolStep("pool", INPUT, "max", (9, 9))], "step 'pool': a window of 9 with padding 0 does not fit an image"),
        (
            [LayerStep(drawn_layer("conv", 4, 10), INPUT, Convolution((3, 3)))],
            "step 'conv': 3 channels in 1 group(s) and a kernel of 3 x 3 need 27 columns; found 10",
        ),
        ([LayerStep(drawn_layer("fc", 4, 10))], "step 'fc': an input of shape [3, 8, 8] needs 192 columns; found 10"),
        (
            [LayerStep(drawn_layer("conv", 4, 3), INPUT, Convolution(groups=2))],
            "step 'conv': groups must divide channels and rows; found 2 groups, 3 channels, 4 rows",
        ),
        (
            [LayerStep(drawn_layer("conv", 4, 243), INPUT, Convolution((9, 9)))],
            "a kernel of 9 x 9 must fit the padded image; found an image of 8 x 8 with padding 0, 0",
        ),
        (
            [LayerStep(drawn_layer("fc", 4, 192), bias=np.ones(3, dtype=np.float32))],
            "step 'fc': bias must be [4], one value per row; found [3]",
        ),
        (
            [LayerStep(drawn_layer("fc", 4, 192)), PoolStep("pool", "fc", "max")],
            "step 'pool': the input of a pooling must be [channels, height, width]; found [4]",
        ),
        (
            [PoolStep("pool", INPUT, "max"), ConcatenateStep("both", (INPUT, "pool"))],
            "step 'both': the images must have one size; found [3, 8, 8], [3, 1, 1]",
        ),
    ],
)
def test_steps_that_do_not_fit_get_a_sentence(steps: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Network("odd", (3, 8, 8), tuple(steps))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (
            np.ones((2, 3, 8)),
            "network 'small': inputs must be real numbers [inputs, 3, 8, 8], at least one input; found",
        ),
        (np.ones((0, 3, 8, 8)), "at least one input; found float64 [0, 3, 8, 8]"),
        ([[1, 2], [3]], "network 'small': all inputs must be of one shape; they are ragged"),
        (np.full((1, 3, 8, 8), np.nan), "layer 'first': every activation must be a finite float32; found nan"),
    ],
)
def test_inputs_that_do_not_fit_get_a_sentence(inputs: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        simulate_network(small_network(), inputs, ArrayConfig(num_pes=4))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kernel": 3}, "kernel of a convolution must be a pair of whole numbers (height, width), 1 or more; found 3"),
        ({"stride": (0, 1)}, "stride of a convolution must be a pair of whole numbers (height, width), 1 or more"),
        ({"padding": (1, -1)}, "padding of a convolution must be a pair of whole numbers (height, width), 0 or more"),
        ({"groups": 1.5}, "groups of a convolution must be a whole number, 1 or more; found 1.5"),
    ],
)
def test_an_odd_convolution_gets_a_sentence(options: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Convolution(**options)


def torch_forward(network: Network, images: Any) -> Any:
    """Compute a dense forward pass of the decoded weights."""
    outputs = {INPUT: torch.from_numpy(images)}
    for step in network.steps:
        entering = [outputs[source] for source in step.sources]
        if isinstance(step, LayerStep):
            outputs[step.name] = convolve(step, entering[0])
        elif isinstance(step, ConcatenateStep):
            outputs[step.name] = torch.cat(entering, dim=1)
        elif step.kernel is None:
            outputs[step.name] = functional.adaptive_avg_pool2d(entering[0], 1)
        else:
            assert step.kind == "max"
            outputs[step.name] = functional.max_pool2d(entering[0], step.kernel, step.stride, ceil_mode=True)
    return outputs[network.steps[-1].name].numpy()


def test_the_compressed_squeezenet_runs_as_in_pytorch(data: Any) -> None:
    """Compare all 26 layers of Song Han's file, in the array's order of additions, with a dense forward pass."""
    network = read_net(real_file(data, "squeezenet_deep_compression", "compressed_SqueezeNet.net"))
    assert (len(network.layers), network.input_shape) == (26, (3, 227, 227))
    images = (60 * np.random.default_rng(6).normal(size=(1, 3, 227, 227))).astype(np.float32)
    result = simulate_network(network, images, ArrayConfig(weight_bits=8))
    with torch.no_grad():
        expected = torch_forward(network, images)
    assert result.output.shape == expected.shape == (1, 1000, 1, 1)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(result.output, expected, rtol=1e-4, atol=1e-4)
    assert result.output.argmax() == expected.argmax()
    densities = {layer.name: layer.activation_density for layer in result.layers}
    assert densities["conv1"] == 1
    assert 0 < densities["conv_final"] < 0.3
