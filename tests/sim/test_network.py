"""Networks on the array: convolutions, pooling and whole SqueezeNet, against PyTorch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sim.network as simulated
from sim import ArrayConfig, DoesNotFitWarning, pack, simulate, simulate_batch, simulate_network
from sim.cost.constants import CONSTANTS
from sim.cost.sram import activation_sram, pointer_bank_sram, sparse_matrix_sram
from sim.network import HOST_ADDITION_PJ, HOST_MULTIPLICATION_PJ
from sim.network_schedule import LAYER_REGISTERS
from tests.conftest import real_file
from tests.traces.graph.graphs import compressed, drawn, matrix_of, model, node
from tests.traces.graph.test_execution import lenet_5
from traces import CompressedLayer, CompressedNetwork, InputError, Network
from traces.files.deep_compression_net import read_net
from traces.graph.stored import array_matrices

torch = pytest.importorskip("torch", reason="the reference is PyTorch: install the extra [train]")
functional = torch.nn.functional
ARRAY = ArrayConfig(num_pes=4, weight_bits=8)


def drawn_layer(name: str, rows: int, columns: int, seed: int = 0) -> CompressedLayer:
    stream = np.random.default_rng(seed)
    codes = stream.integers(0, 16, (rows, columns)).astype(np.uint8)
    codes[stream.random((rows, columns)) < 0.6] = 0
    codebook = np.concatenate([[0], stream.normal(size=15)]).astype(np.float32)
    return CompressedLayer(name, codes, codebook, stream.integers(0, 16, rows).astype(np.uint8))


def images_of(*shape: int, seed: int = 1) -> Any:
    images = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return np.where(images < 0.3, 0, images).astype(np.float32)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel": (1, 1)},
    {"kernel": (3, 3), "padding": (1, 1)},
    {"kernel": (3, 2), "stride": (2, 1), "padding": (0, 1)},
    {"kernel": (1, 5), "stride": (1, 3), "padding": (0, 2), "groups": 2},
    {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "groups": 4},
    {"kernel": (3, 2), "dilation": (2, 3), "padding": (2, 0), "groups": 2},
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("rectified", [False, True])
def test_a_convolution_is_that_of_pytorch(case: dict[str, Any], rectified: bool) -> None:
    groups, padding = case.get("groups", 1), case.get("padding", (0, 0))
    stride, dilation = case.get("stride", (1, 1)), case.get("dilation", (1, 1))
    parameters = {"w": drawn(0, 8, 4 // groups, *case["kernel"]), "b": np.linspace(-1, 1, 8, dtype=np.float32)}
    nodes = [
        node(
            "Conv", ["x", "w", "b"], ["c"], group=groups, strides=stride, dilations=dilation, pads=[*padding, *padding]
        ),
        node("Relu" if rectified else "Identity", ["c"]),
    ]
    network = Network.open(model(nodes, {"x": ["n", 4, 7, 9]}, parameters=parameters))
    images = images_of(3, 4, 7, 9)
    result = simulate_network(compressed(network), images, ARRAY)
    expected = functional.conv2d(
        torch.from_numpy(images),
        *(torch.from_numpy(parameters[name]) for name in ("w", "b")),
        stride,
        padding,
        dilation,
        groups,
    )
    expected = functional.relu(expected) if rectified else expected
    np.testing.assert_allclose(result.output, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert result.largest_difference < 1e-6
    assert result.output_difference < 1e-6


def test_a_convolution_costs_what_its_vectors_cost_one_by_one() -> None:
    array = ArrayConfig(num_pes=4, queue_slots=3, weight_bits=8)
    parameters = {"w": drawn(2, 6, 2, 3, 3), "b": drawn(3, 6)}
    made = model([node("Conv", ["x", "w", "b"], group=2, pads=[1] * 4)], {"x": ["n", 4, 5, 5]}, parameters=parameters)
    network = Network.open(made)
    container, images = compressed(network), images_of(2, 4, 5, 5)
    (costs,) = simulate_network(container, images, array).layers
    assert (costs.vectors, costs.biases, costs.rows, costs.columns) == (50, 0, 6, 18)
    (layer,) = network.layers
    matrices = array_matrices(layer, container.stored_layers["w"], parameters["b"].reshape(2, 3))
    np.testing.assert_array_equal(np.stack([matrix.weights() for matrix in matrices]), matrix_of(network))
    recorded = network.record(images)["w"]
    assert recorded.per_input == 25
    vectors = recorded.vectors.reshape(2, 2, 25, 18)  # [groups, inputs, positions, columns]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    np.testing.assert_array_equal(vectors[1, 0, 7], padded[0, 2:, 1:4, 2:5].ravel())
    groups = [pack(matrix, array) for matrix in matrices]
    singles = [
        [simulate(group, vector, array) for group, of in zip(groups, vectors[:, i], strict=True) for vector in of]
        for i in range(2)
    ]
    names = "cycles broadcasts bubble_cycles blocked_cycles useful_macs pointer_reads line_reads"
    for name in names.split():
        assert getattr(costs, name).tolist() == [sum(getattr(one, name) for one in ones) for ones in singles], name
    sram, energies = activation_sram(array), costs.energies_with()
    # 2 groups of 25 vectors of 18 inputs and 3 outputs, 4 words in a cycle of the port
    assert costs.port_words.tolist() == [50 * 21] * 2
    assert costs.port_cycles.tolist() == [-(-50 * 21 // 4)] * 2
    assert costs.switch_cycles.tolist() == [2 * (256 // 4 + LAYER_REGISTERS)] * 2
    assert costs.port_wait_cycles.tolist() == [max(0, 263 - int(cycles)) + 1 + 1 for cycles in costs.cycles]
    np.testing.assert_allclose(energies["port_pj"], 50 * (18 * sram.read_pj + 3 * sram.write_pj))
    longer = costs.network_cycles / costs.cycles  # in which the array scans, leaks and has a clock
    for name, values in energies.items():
        expected = np.array([sum(getattr(one.energy, name) for one in ones) for ones in singles])
        if name != "port_pj":
            np.testing.assert_allclose(
                values, expected * (longer if name in ("scan_pj", "clock_pj", "leakage_pj") else 1)
            )
    assert costs.activation_density == pytest.approx((vectors != 0).mean())


@pytest.mark.parametrize("precision", ["float", "fixed-16", "fixed-8"])
def test_thresholds_of_a_network_are_those_of_its_layers_on_the_array(precision: Any) -> None:
    array = replace(ARRAY, precision=precision)
    parameters = {"w": drawn(2, 6, 2, 3, 3) / 4, "v": drawn(3, 5, 6 * 25) / 8, "b": drawn(4, 5)}
    nodes = [node("Conv", ["x", "w"], ["c"], group=2, pads=[1] * 4), node("Tanh", ["c"], ["t"])]
    nodes += [node("Flatten", ["t"], ["f"]), node("Gemm", ["f", "v", "b"], transB=1)]
    network = Network.open(model(nodes, {"x": ["n", 4, 5, 5]}, parameters=parameters))
    thresholds = {"w": 0.4, "v": 0.25}
    container, images = compressed(network), images_of(3, 4, 5, 5)
    opened = container.network.with_thresholds(thresholds)
    given = CompressedNetwork(opened, container.stored_layers)
    found = simulate_network(given, images, array)
    assert [layer.activation_threshold for layer in found.layers] == [np.float32(0.4), np.float32(0.25)]
    recorded = opened.record(images)
    for costs, (layer, matrices) in zip(found.layers, given.array_layers(opened.bind(images)), strict=True):
        assert all(matrix.activation_threshold == np.float32(thresholds[layer.weight]) for matrix in matrices)
        counts = [
            simulate_batch(matrix, vectors, array, costs.number_format)
            for matrix, vectors in zip(matrices, recorded[layer.name].vectors, strict=True)
        ]
        if precision == "float" or layer.name == "w":  # the last one gets the array's own outputs
            assert sum(each.broadcasts.sum() for each in counts) == costs.broadcasts.sum()
            assert sum(each.cycles.sum() for each in counts) == costs.cycles.sum()
        assert costs.activation_density < 0.9
    if precision == "float":
        assert found.largest_difference < 1e-6
        assert found.output_difference < 1e-6
    plain = simulate_network(container, images, array)
    assert all(a.broadcasts.sum() < b.broadcasts.sum() for a, b in zip(found.layers, plain.layers, strict=True))


def branches() -> CompressedNetwork:
    """Return a network: a convolution, two branches that are concatenated, pooling, a fully connected layer."""
    nodes = [
        node("Conv", ["x", "first", "b1"], ["c1"]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "left", "b2"], ["c2"]),
        node("Relu", ["c2"], ["r2"]),
        node("Conv", ["r1", "right", "b3"], ["c3"], pads=[1] * 4),
        node("Relu", ["c3"], ["r3"]),
        node("Concat", ["r2", "r3"], ["both"], axis=1),
        node("MaxPool", ["both"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["pool"], ["flat"]),
        node("Gemm", ["flat", "last", "b4"], transB=1),
    ]
    shapes = {"first": (4, 3, 3, 3), "left": (3, 4, 1, 1), "right": (5, 4, 3, 3), "last": (10, 72)}
    parameters = {name: drawn(k, *shape) for k, (name, shape) in enumerate(shapes.items())}
    parameters |= {f"b{k + 1}": drawn(9 + k, shape[0]) for k, shape in enumerate(shapes.values())}
    container = compressed(Network.open(model(nodes, {"x": ["n", 3, 8, 8]}, parameters=parameters)))
    return CompressedNetwork(container.network, container.stored_layers)


def small_images(inputs: int) -> Any:
    return np.random.default_rng(5).normal(size=(inputs, 3, 8, 8)).astype(np.float32)


def test_a_network_of_branches_is_that_of_pytorch() -> None:
    network, images = branches(), small_images(4)
    result = simulate_network(network, images, ARRAY)
    values = {name: torch.from_numpy(np.array(value)) for name, value in network.network.parameters.items()}
    first = functional.relu(functional.conv2d(torch.from_numpy(images), values["first"], values["b1"]))
    left = functional.relu(functional.conv2d(first, values["left"], values["b2"]))
    right = functional.relu(functional.conv2d(first, values["right"], values["b3"], padding=1))
    pooled = functional.max_pool2d(torch.cat([left, right], dim=1), 2)
    expected = functional.linear(pooled.flatten(1), values["last"], values["b4"]).numpy()
    np.testing.assert_allclose(result.output, expected, rtol=1e-5, atol=1e-5)
    assert [(layer.name, layer.vectors) for layer in result.layers] == [
        ("first", 36),
        ("left", 36),
        ("right", 36),
        ("last", 1),
    ]
    entries = {name: (each.count, each.elements) for name, each in result.off_array.items()}
    assert entries == {"Concat": (1, 288), "Flatten": (1, 72), "MaxPool": (1, 72), "Relu": (3, 432)}


def test_each_input_costs_what_it_costs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = branches(), small_images(5)
    done: list[int] = []
    whole = simulate_network(network, images, ARRAY, after_input=lambda: done.append(1))
    assert len(done) == 5
    singles = [simulate_network(network, image[np.newaxis], ARRAY) for image in images]
    sizes: list[int] = []
    chunk = simulated._Run.chunk

    def counted(self: Any, feeds: Any, count: int) -> Any:
        sizes.append(count)
        return chunk(self, feeds, count)

    monkeypatch.setattr(simulated._Run, "chunk", counted)
    monkeypatch.setattr("sim.network.CHUNK_BYTES", 20_000)  # less than three inputs
    in_chunks = simulate_network(network, images, ARRAY)
    assert sizes == [2, 2, 1]
    for other in (np.concatenate([one.output for one in singles]), in_chunks.output):
        np.testing.assert_allclose(whole.output, other, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(whole.cycles, [int(one.cycles[0]) for one in singles])
    np.testing.assert_array_equal(whole.cycles, in_chunks.cycles)
    np.testing.assert_allclose(whole.energy_pj, [float(one.energy_pj[0]) for one in singles])
    assert len(set(whole.cycles.tolist())) > 1
    np.testing.assert_array_equal(whole.latency_us, whole.cycles / ARRAY.clock_mhz)
    assert whole.efficiency == pytest.approx(
        sum(layer.useful_macs.sum() for layer in whole.layers) / whole.cycles.sum() / 4
    )


def test_fixed_point_runs_through_a_network() -> None:
    network, images = branches(), small_images(3)
    exact = simulate_network(network, images, ARRAY)
    errors, differences = [], []
    for precision in ("fixed-32", "fixed-16", "fixed-8"):
        found = simulate_network(network, images, replace(ARRAY, precision=precision))
        errors.append(float(np.abs(found.output - exact.output).max() / np.abs(exact.output).max()))
        assert found.output_difference == pytest.approx(errors[-1], rel=0.01, abs=1e-6)
        differences.append(found.largest_difference)
    assert 0 < errors[0] < 1e-6 < errors[1] < 1e-3 < errors[2] < 0.3
    assert exact.largest_difference < 1e-6 < differences[1] < differences[2]


def test_a_weight_that_serves_several_vectors_must_stay_on_the_array() -> None:
    network, images = branches(), small_images(1)
    small = replace(ARRAY, num_pes=1, memory_mode="passes", sparse_matrix_bytes=32)
    with pytest.raises(InputError, match=r"layer 'first' does not fit: .*; its weights serve several vectors of an in"):
        simulate_network(network, images, small)
    whole = simulate_network(network, images, replace(ARRAY, memory_mode="streamed"))
    assert whole.cycles.tolist() == simulate_network(network, images, ARRAY).cycles.tolist()
    assert {layer.residency for layer in whole.layers} == {"resident"}
    lacking = simulate_network(network, images, replace(small, memory_mode="unlimited")).layers[0].shortfalls
    assert "sparse" in str(lacking[0])
    layers = [drawn_layer("first", 8, 30), drawn_layer("last", 6, 8)]
    passes = ArrayConfig(num_pes=2, memory_mode="passes", sparse_matrix_bytes=32)
    for_each = simulate_network(layers, np.ones((2, 30)), passes)
    assert (for_each.layers[0].waiting_cycles > 0).all()
    np.testing.assert_array_equal(
        for_each.output, simulate_network(layers, np.ones((2, 30)), ArrayConfig(num_pes=2)).output
    )


def test_the_port_of_lenet_5_moves_its_unrolled_vectors_and_outputs() -> None:
    nodes, parameters = lenet_5()
    container = compressed(Network.open(model(nodes, {"x": ["n", 1, 28, 28]}, parameters=parameters)))
    array = ArrayConfig(num_pes=64, weight_bits=8)
    result = simulate_network(container, np.ones((2, 1, 28, 28), dtype=np.float32), array)
    entering = [576 * 25, 64 * 500, 800, 500]  # 47,700 words
    leaving = [576 * 20, 64 * 50, 500, 10]
    assert [int(layer.activation_reads[1]) for layer in result.layers] == entering
    assert [int(layer.activation_writes[1]) for layer in result.layers] == leaving
    assert sum(int(layer.port_words[0]) for layer in result.layers) == 47_700 + 15_230
    assert (result.live_words, result.spilled_words, result.shortfalls) == (12_304, 0, ())
    for layer, words in zip(result.layers, np.add(entering, leaving), strict=True):
        edges = -(-min(64, layer.columns) // 4) - (-layer.rows // 4)
        assert layer.port_wait_cycles.tolist() == [max(0, -(-int(words) // 4) - each) + edges for each in layer.cycles]
    np.testing.assert_array_equal(result.cycles, sum(layer.network_cycles for layer in result.layers))
    narrow = simulate_network(container, np.ones((1, 1, 28, 28)), replace(array, port_bits=16))
    assert narrow.layers[0].port_cycles.tolist() == [576 * 45]
    assert narrow.layers[0].cycles[0] == result.layers[0].cycles[0]


def test_weights_that_do_not_fit_together_are_loaded_for_each_input_and_paid() -> None:
    layers = [drawn_layer("first", 28, 60), drawn_layer("second", 28, 28), drawn_layer("last", 12, 28)]
    array = ArrayConfig(num_pes=2, sparse_matrix_bytes=512, memory_mode="passes")
    inputs = images_of(3, 60)
    with pytest.warns(
        DoesNotFitWarning, match="network 'layers' was simulated as if it fitted, but exceeds sparse-matr"
    ):
        ideal = simulate_network(layers, inputs, replace(array, memory_mode="unlimited"))
    assert [str(each) for each in ideal.shortfalls] == [
        "sparse-matrix SRAM of a PE: 72 lines needed, 64 available, 8 (12%) too many"
    ]
    assert [layer.shortfalls for layer in ideal.layers] == [()] * 3
    with pytest.raises(InputError, match="network 'layers' does not fit whole: sparse-matrix SRAM of a PE: 72 lines"):
        simulate_network(layers, inputs, replace(array, memory_mode="resident"))
    passes = simulate_network(layers, inputs, array)
    assert [layer.residency for layer in passes.layers] == ["resident", "passes", "passes"]
    np.testing.assert_array_equal(passes.output, ideal.output)
    for layer, before, matrix in zip(passes.layers, ideal.layers, layers, strict=True):
        packed = pack(matrix, array)
        lines, pointers = int((-(-packed.stored_per_pe // 8)).sum()), 2 * len(packed.pointers)
        num_bytes = 8 * lines + 2 * pointers
        energies, earlier = layer.energies_with(), before.energies_with()
        np.testing.assert_array_equal(layer.cycles, before.cycles)
        if layer.residency == "resident":
            assert not layer.load_bytes.any()
            np.testing.assert_array_equal(layer.network_cycles, before.network_cycles)
            continue
        assert layer.load_bytes.tolist() == [num_bytes] * 3
        assert (layer.network_cycles - before.network_cycles).tolist() == [-(-num_bytes // 16)] * 3  # 16 bytes a cycle
        standby_pj = layer.network_cycles * (1e3 / array.clock_mhz) * CONSTANTS["dram_standby_mw"].value
        np.testing.assert_allclose(energies["dram_pj"], num_bytes * 160 + standby_pj)
        line, pointer = sparse_matrix_sram(array).write_pj, pointer_bank_sram(array).write_pj
        np.testing.assert_allclose(energies["sram_write_pj"], lines * line + pointers * pointer)
        np.testing.assert_allclose(energies["port_pj"], earlier["port_pj"])
    streamed = simulate_network(layers, inputs, replace(array, memory_mode="streamed"))
    assert [layer.residency for layer in streamed.layers] == ["streamed"] * 3
    first, second, last = streamed.layers
    assert (first.dram_wait_cycles == 56).all()  # 888 bytes
    assert (second.dram_wait_cycles == 0).all()  # 456 bytes, while the first layer runs
    assert sum(int(layer.load_bytes[0]) for layer in (first, second, last)) == 888 + 456 + 272


def test_what_is_off_the_array_is_costed_on_lanes_of_a_host() -> None:
    network, images = branches(), small_images(2)
    assert simulate_network(network, images, ARRAY).host is None
    host = simulate_network(network, images, ARRAY, host_lanes=4).host
    assert host is not None
    values = 288 + 72 + 72 + 432
    assert host.cycles == values / 4
    assert host.energy_pj == pytest.approx(values * HOST_ADDITION_PJ)
    alone = CompressedNetwork(network.network, {"last": network.stored_layers["last"]})
    result = simulate_network(alone, images, ARRAY, host_lanes=4)
    assert [layer.name for layer in result.layers] == ["last"]
    assert result.off_array["Conv"] == (3, 36 * 12, 36 * (4 * 27 + 3 * 4 + 5 * 36))
    assert result.host is not None
    macs = result.off_array["Conv"].macs
    assert result.host.energy_pj - host.energy_pj == pytest.approx(
        macs * (HOST_ADDITION_PJ + HOST_MULTIPLICATION_PJ) + 36 * 12 * HOST_ADDITION_PJ
    )
    np.testing.assert_allclose(result.output, simulate_network(network, images, ARRAY).output, rtol=1e-5, atol=1e-5)
    for lanes in (0, 1.5, True):
        with pytest.raises(InputError, match="host_lanes must be a whole number of at least 1; found"):
            simulate_network(network, images, ARRAY, host_lanes=lanes)  # type: ignore[arg-type]


def test_a_state_goes_from_one_step_to_the_next() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("MatMul", ["h", "r"], ["q"]),
        node("Add", ["p", "q"], ["s"]),
        node("Tanh", ["s"], ["new"]),
        node("MatMul", ["new", "v"], ["y"]),
    ]
    weights = {"w": drawn(0, 4, 5), "r": drawn(1, 5, 5) / 4, "v": drawn(2, 5, 3)}
    network = Network.open(model(nodes, {"x": ["n", 4], "h": ["n", 5]}, ("y", "new"), weights))
    x, state = images_of(6, 4), images_of(1, 5, seed=2)
    result = simulate_network(compressed(network), {"x": x, "h": state}, ARRAY, state={"h": "new"})
    outputs = []
    current = state.astype(np.float64)
    for step in x:
        current = np.tanh(step @ weights["w"] + current @ weights["r"])
        outputs.append((current @ weights["v"])[0])
    np.testing.assert_allclose(result.output["y"], outputs, rtol=1e-4, atol=1e-4)
    assert result.cycles.shape == (6,)
    for state_names in ({"h": "absent"}, {"absent": "new"}):
        with pytest.raises(InputError, match="state must name an input and the output that it is, of x, h and y, new"):
            simulate_network(compressed(network), {"x": x, "h": state}, ARRAY, state=state_names)
    of_each_step = {"x": x, "h": images_of(6, 5, seed=2)}
    sentence = r"state 'h' must be its value before the first step, of length 1 on axis 0; found \[6, 5\]"
    for action in (
        lambda: simulate_network(compressed(network), of_each_step, ARRAY, state={"h": "new"}),
        lambda: network.record(of_each_step, state={"h": "new"}),
    ):
        with pytest.raises(InputError, match=sentence):
            action()


def test_layers_may_be_packed_beforehand() -> None:
    network, images = branches(), small_images(2)
    (layer,) = [each for each in network.network.layers if each.name == "right"]
    (matrix,) = array_matrices(layer, network.stored_layers["right"], network.network.parameters["b3"].reshape(1, -1))
    order = np.random.default_rng(0).permutation(5)
    packed = pack(matrix, ARRAY, order)
    plain, reordered = (simulate_network(network, images, ARRAY, packed=given) for given in (None, {"right": [packed]}))
    np.testing.assert_allclose(plain.output, reordered.output, rtol=1e-6, atol=1e-6)
    layers = [drawn_layer("first", 8, 30), drawn_layer("last", 6, 8)]
    array = ArrayConfig(num_pes=2)
    np.testing.assert_array_equal(
        simulate_network([pack(each, array) for each in layers], np.ones((2, 30)), array).output,
        simulate_network(layers, np.ones((2, 30)), array).output,
    )


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([], "network 'layers' must have at least one layer"),
        ([drawn_layer("a", 4, 4)] * 2, "every layer needs a name of its own; found a, a"),
        ([drawn_layer("a", 4, 4), drawn_layer("b", 4, 5)], "layer 'b' must have 4 columns, the rows of 'a'; found 5"),
        ([1], "network must be a list of CompressedLayers or PackedLayers; found int"),
        (3, "network must be a CompressedModel, the path of a container, or a list of layers; found int; compress"),
        (torch.nn.Linear(2, 2), "found Linear; compress a module or an ONNX file first"),
        ("absent.dc", "absent.dc"),
    ],
)
def test_what_is_no_network_gets_a_sentence(layers: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        simulate_network(layers, np.ones((1, 4)), ARRAY)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (np.ones((2, 3, 8)), "input 'x' must be float32 [any, 3, 8, 8]; found float64 [2, 3, 8]"),
        (np.ones((0, 3, 8, 8)), "at least one value; found float64 [0, 3, 8, 8]"),
        ([[1, 2], [3]], "input 'x' must be one array; its parts differ in shape"),
        (np.full((1, 3, 8, 8), np.nan), "input 'x' must be finite; found NaN or infinity"),
    ],
)
def test_inputs_that_do_not_fit_get_a_sentence(inputs: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        simulate_network(branches(), inputs, ARRAY)


def test_a_container_without_a_graph_gets_a_sentence() -> None:
    from compress import CompressedModel

    with pytest.raises(InputError, match="the container must hold the network's graph; it holds none; compress"):
        simulate_network(CompressedModel([drawn_layer("fc", 4, 4)]), np.ones((1, 4)), ARRAY)


def squeezenet(values: Any, images: Any) -> Any:
    """Compute SqueezeNet 1.0 with PyTorch, as its paper describes it."""

    def conv(name: str, entering: Any, **options: Any) -> Any:
        weight, bias = (torch.from_numpy(np.array(values[f"{name}.{kind}"])) for kind in ("weight", "bias"))
        return functional.relu(functional.conv2d(entering, weight, bias, **options))

    def fire(number: int, entering: Any) -> Any:
        squeezed = conv(f"fire{number}/conv1x1_1", entering)
        expanded = conv(f"fire{number}/conv1x1_2", squeezed), conv(f"fire{number}/conv3x3_2", squeezed, padding=1)
        return torch.cat(expanded, dim=1)

    def pool(entering: Any) -> Any:
        return functional.max_pool2d(entering, 3, 2, ceil_mode=True)

    current = pool(conv("conv1", images, stride=2))
    for number in range(2, 10):
        current = fire(number, current)
        if number in (4, 8):
            current = pool(current)
    return functional.adaptive_avg_pool2d(conv("conv_final", current, padding=1), 1)


def test_the_compressed_squeezenet_runs_as_in_pytorch(data: Any) -> None:
    """Compare all 26 layers of Song Han's file, in the array's order of additions, with a dense forward pass."""
    found = read_net(real_file(data, "squeezenet_deep_compression", "compressed_SqueezeNet.net"))
    assert (len(found.layers), found.network.inputs[0].shape) == (26, (None, 3, 227, 227))
    images = (60 * np.random.default_rng(6).normal(size=(1, 3, 227, 227))).astype(np.float32)
    result = simulate_network(found, images, ArrayConfig(weight_bits=8))
    with torch.no_grad():
        expected = squeezenet(found.network.parameters, torch.from_numpy(images)).numpy()
    assert result.output.shape == expected.shape == (1, 1000, 1, 1)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(result.output, expected, rtol=1e-4, atol=1e-4)
    assert result.output.argmax() == expected.argmax()
    assert result.largest_difference < 1e-5
    densities = {layer.name: layer.activation_density for layer in result.layers}
    assert densities["conv1"] == 1
    assert 0 < densities["conv_final"] < 0.3
