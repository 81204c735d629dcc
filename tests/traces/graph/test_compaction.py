"""Products without the rows and columns that hold no weights, on the array and off it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import CompressedModel, CompressionConfig, LayerSettings, compress, export_safetensors, import_safetensors
from sim import ArrayConfig, simulate_network
from tests.conftest import real_file
from tests.traces.graph.graphs import activations, compressed, drawn, model, node
from tests.traces.graph.test_liveness import pruned_network
from traces import Network

ARRAY = ArrayConfig(num_pes=3, weight_bits=8)


def two_layers() -> CompressedModel:
    """Return the model of two layers: row 2 of the first goes with column 2 of the second, and column 0 is empty."""
    first, second = drawn(1, 6, 5, sparse=False), drawn(2, 4, 6, sparse=False)
    first[:, 0], second[:, 2], second[1] = 0, 0, 0
    nodes = [
        node("Gemm", ["x", "a.weight", "a.bias"], ["a"], transB=1),
        node("Relu", ["a"], ["b"]),
        node("Gemm", ["b", "b.weight"], transB=1),
    ]
    parameters = {"a.weight": first, "a.bias": np.ones(6, np.float32), "b.weight": second}
    return compressed(Network.open(model(nodes, {"x": ("n", 5)}, parameters=parameters)))


def test_empty_columns_are_not_broadcast_and_need_no_pointers_and_outputs_are_the_same() -> None:
    whole = two_layers()
    compact = whole.compacted()
    given = np.abs(activations(0, 7, 5)) + 1
    before, after = (simulate_network(each, given, ARRAY) for each in (whole, compact))
    np.testing.assert_array_equal(after.output, before.output)
    assert [(each.rows, each.columns) for each in after.layers] == [(5, 4), (3, 5)]
    assert [each.left_out for each in after.layers] == [(1, 1), (1, 1)]
    assert [each.left_out for each in before.layers] == [(0, 0), (0, 0)]
    for layer, columns in zip(after.layers, (4, 5), strict=True):
        assert (layer.broadcasts <= columns).all()
        np.testing.assert_array_equal(layer.pointer_reads, ARRAY.num_pes * layer.broadcasts)
    np.testing.assert_array_equal(before.layers[0].broadcasts, 5)
    np.testing.assert_array_equal(after.layers[0].broadcasts, 4)
    assert (after.cycles < before.cycles).all()


def test_a_model_that_is_not_compacted_runs_as_ever() -> None:
    whole = two_layers()
    assert [(each.rows, each.columns) for each in whole.network.layers] == [(6, 5), (4, 6)]
    assert whole.compacted().shapes == whole.shapes


def test_a_compact_model_stays_compact_in_every_file(tmp_path: Path) -> None:
    compact = two_layers().compacted()
    compact.save(tmp_path / "compact.dc")
    export_safetensors(tmp_path / "compact.safetensors", compact)
    for read in (CompressedModel.load(tmp_path / "compact.dc"), import_safetensors(tmp_path / "compact.safetensors")):
        assert [(each.rows, each.columns) for each in read.network.layers] == [(5, 4), (3, 5)]
    again = compact.compacted()
    assert again.to_bytes() == compact.to_bytes()


def test_a_file_is_smaller_by_the_weights_that_change_no_output() -> None:
    whole = two_layers()
    assert np.count_nonzero(whole.layers[0].codes) - np.count_nonzero(whole.compacted().layers[0].codes) == 4
    assert whole.compacted().tensors["a.bias"][2] == 0
    assert whole.tensors["a.bias"][2] == 1


def test_groups_without_weights_go_and_columns_that_are_empty_in_all_others() -> None:
    weight = drawn(1, 6, 2, 3, sparse=False)  # three groups of two outputs of two inputs
    weight[2:4], weight[:, 0, 1] = 0, 0
    nodes = [node("Conv", ["x", "weight"], group=3, pads=[1, 1])]
    whole = compressed(Network.open(model(nodes, {"x": ("n", 6, 5)}, parameters={"weight": weight})))
    given = activations(0, 3, 6, 5)
    before, after = (simulate_network(each, given, ARRAY) for each in (whole, whole.compacted()))
    (layer,) = after.layers
    assert (layer.rows, layer.columns, layer.left_out) == (4, 5, (2, 1))
    np.testing.assert_array_equal(after.output, before.output)
    assert layer.vectors == 2 * 5


def test_a_layer_without_any_weights_keeps_one_row_and_one_column() -> None:
    nodes = [node("Gemm", ["x", "weight"], ["a"], transB=1), node("Sigmoid", ["a"], ["y"])]
    weight = drawn(1, 3, 4)
    weight[:] = 0
    whole = compressed(Network.open(model(nodes, {"x": ("n", 4)}, parameters={"weight": weight})))
    result = simulate_network(whole.compacted(), activations(0, 2, 4), ARRAY)
    assert (result.layers[0].rows, result.layers[0].columns) == (1, 1)
    np.testing.assert_array_equal(result.output, 0.5)


def test_a_network_with_branches_stays_as_it_is() -> None:
    whole = two_layers()
    network = whole.network
    from onnx import TensorProto, helper

    inner = helper.make_graph(
        [node("Identity", ["x"], ["z"])], "inner", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    )
    graph = network.to_onnx()
    graph.graph.node[-1].output[0] = "w"
    graph.graph.node.append(node("If", ["flag"], ["s"], then_branch=inner, else_branch=inner))
    graph.graph.node.append(node("ReduceMax", ["s"], ["m"], keepdims=0))
    graph.graph.node.append(node("Add", ["w", "m"]))
    graph.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    branched = compressed(Network.open(graph))
    compact = branched.compacted({"x": activations(0, 2, 5), "flag": np.array(True)})
    for layer, same in zip(branched.layers, compact.layers, strict=True):
        np.testing.assert_array_equal(layer.codes, same.codes)
    assert [(each.rows, each.columns) for each in compact.network.layers] == [(6, 5), (4, 6)]


def test_thresholds_of_activations_stay() -> None:
    whole = two_layers().with_thresholds({"a.weight": 0.5, "b.weight": 1.0})
    given = activations(0, 7, 5)
    compact = whole.compacted()
    before, after = (simulate_network(each, given, ARRAY) for each in (whole, compact))
    np.testing.assert_array_equal(after.output, before.output)
    assert [each.left_out for each in after.layers] == [(1, 1), (1, 1)]
    assert [each.activation_threshold for each in compact.layers] == [0.5, 1.0]
    assert compact.compacted().to_bytes() == compact.to_bytes()


def test_a_layer_of_several_codebooks_keeps_its_rows() -> None:
    whole = two_layers()
    first, last = whole.layers
    first = dataclasses.replace(
        first,
        codebook=np.stack([first.codebook, 2 * first.codebook, -first.codebook]),
        row_codebooks=np.arange(6, dtype=np.uint16) % 3,
    )
    several = CompressedModel(
        [first, last],
        weight_names=whole.weight_names,
        tensors=whole.tensors,
        graph=whole.graph,
        arrangements=whole.arrangements,
        shapes=whole.shapes,
    )
    given = np.abs(activations(0, 7, 5)) + 1
    before, after = (simulate_network(each, given, ARRAY) for each in (several, several.compacted()))
    np.testing.assert_array_equal(after.output, before.output)
    assert [each.left_out for each in after.layers] == [(0, 1), (1, 1)]


def test_arrays_in_fixed_point_give_the_same_without_empty_rows_and_columns() -> None:
    whole = two_layers()
    array = ArrayConfig(num_pes=3, weight_bits=8, precision="fixed-16")
    given = activations(0, 4, 5)
    before = simulate_network(whole, given, array)
    after = simulate_network(whole.compacted(), given, array, number_formats=before.number_formats)
    np.testing.assert_array_equal(after.output, before.output)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_network_gives_the_same_on_the_array(seed: int) -> None:
    network, whole = pruned_network(seed)
    compact = whole.compacted()
    given = activations(seed, 2, *network.shape[1:])
    before, after = (simulate_network(each, given, ARRAY) for each in (whole, compact))
    if np.isfinite(before.output).all():
        scale = np.abs(before.output).max() + 1e-30
        np.testing.assert_allclose(after.output / scale, before.output / scale, atol=1e-6)
    assert sum(each.broadcasts.sum() for each in after.layers) <= sum(each.broadcasts.sum() for each in before.layers)


# Real networks


@pytest.mark.parametrize(("density", "least"), [(0.1, 0.35), (0.3, 0.04)])
def test_a_pruned_keyword_spotter_gives_the_same_with_fewer_broadcasts(
    data: Path, density: float, least: float
) -> None:
    file = real_file(data, "models", "mlperf_tiny", "ds_cnn_keyword_spotting.onnx")
    whole = compress(file, CompressionConfig(LayerSettings(density=density)))
    same(whole, activations(0, 2, 49, 10, 1), least)


def test_a_pruned_resnet_20_gives_the_same_with_fewer_broadcasts(data: Path) -> None:
    pytest.importorskip("torch")
    from compress.weight_files.reading import read_parameters
    from designs.experiments.resnet import load_resnet

    network = load_resnet(read_parameters(real_file(data, "models", "resnet20_cifar10.npz")))
    given = activations(0, 1, 3, 32, 32)
    same(compress(network, CompressionConfig(LayerSettings(density=0.1)), inputs=given), given, 0.1)


def test_the_small_containers_give_the_same() -> None:
    from traces import CompressedNetwork

    layers = CompressedModel.load(Path(__file__).parents[2] / "containers" / "lenet_300_100.dc").layers
    network = CompressedNetwork.of_layers(layers).network
    whole = CompressedModel(layers, graph=network.graph_bytes())
    compact = same(whole, np.abs(activations(0, 3, 784)), 0.02)
    assert [layer.left_out[1] for layer in compact.network.layers] == [41, 14, 13]


def same(whole: CompressedModel, given: Any, least: float) -> CompressedModel:
    """Assert equal outputs and at least this share fewer broadcasts; return the compact model."""
    compact = whole.compacted()
    for expected, found in zip(whole.network.run(given).values(), compact.network.run(given).values(), strict=True):
        np.testing.assert_array_equal(found, expected)
    before, after = (simulate_network(each, given) for each in (whole, compact))
    np.testing.assert_array_equal(after.output, before.output)
    broadcasts = [sum(layer.broadcasts.sum() for layer in each.layers) for each in (before, after)]
    assert broadcasts[1] <= (1 - least) * broadcasts[0], broadcasts
    assert after.largest_difference < 1e-5
    assert compact.size_bytes <= whole.size_bytes + 20  # the mark
    return compact
