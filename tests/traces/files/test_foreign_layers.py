"""Readers of what others write: matrices, directories of the EIE simulator, `.net` files of Deep Compression."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, pack, simulate, simulate_network
from tests.layers import Case, cases
from traces import CompressedLayer, InputError
from traces.files.deep_compression_net import read_net
from traces.files.eie_directory import read_eie_directory
from traces.files.layer_file import open_layer
from traces.files.matrix import layer_from_matrix
from traces.files.npz import write_layer, write_npy, write_npz
from traces.files.prototxt import parse_prototxt

WEIGHTS = np.array([[0, 1.5, 0], [-2, 0, 1.5]])


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csc_matrix, scipy.sparse.csr_array, scipy.sparse.coo_array])
@pytest.mark.parametrize("bias", [None, [0.25, 0]])
def test_a_matrix_becomes_a_layer_with_exactly_its_weights(form: Any, bias: Any) -> None:
    layer = layer_from_matrix("mine", form(WEIGHTS), bias)
    np.testing.assert_array_equal(layer.weights(), WEIGHTS)
    np.testing.assert_array_equal(layer.bias_values(), [0, 0] if bias is None else bias)
    assert (layer.weight_bits, layer.codes.dtype.name) == (2, "uint8")


def test_a_matrix_of_many_values_takes_wider_codes() -> None:
    weights = np.random.default_rng(0).normal(size=(100, 80)).astype(np.float32)
    layer = layer_from_matrix("many", weights)
    assert (layer.weight_bits, layer.codes.dtype.name) == (13, "uint16")
    np.testing.assert_array_equal(layer.weights(), weights)
    activations = np.linspace(-1, 1, 80, dtype=np.float32)
    output = simulate(layer, activations, ArrayConfig(num_pes=4, weight_bits=13)).output
    np.testing.assert_allclose(output, weights @ activations, rtol=1e-4, atol=1e-5)


def test_entries_that_are_stored_twice_are_added_up_and_stored_zeros_pruned() -> None:
    matrix = scipy.sparse.coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    layer = layer_from_matrix("twice", matrix)
    assert layer.weights().tolist() == [[0, 3], [0, 0]]
    assert np.count_nonzero(layer.codes) == 1


@pytest.mark.parametrize(
    ("weights", "bias", "sentence"),
    [
        (np.ones(3), None, "weights must be real numbers [rows, columns], at least one; found float64 [3]"),
        (np.ones((0, 3)), None, "at least one; found float64 [0, 3]"),
        (np.array([["a"]]), None, "weights must be real numbers [rows, columns], at least one; found <U1 [1, 1]"),
        (np.array([[1j]]), None, "found complex128 [1, 1]"),
        (np.array([[np.inf]]), None, "weights must be finite as float32; found inf at [0, 0]; correct or scale it"),
        (np.array([[1, 1e39]]), None, "weights must be finite as float32; found 1e+39 at [0, 1]"),
        (
            np.array([[1, 0], [0, -1e-60]]),
            None,
            "weights must be 0 or above 7.01e-46 in magnitude: smaller ones are 0 as float32; found -1e-60 at [1, 1]; "
            "set it to 0, which prunes it, or scale the weights",
        ),
        (np.array([[1.0]]), [1e-60], "bias must be 0 or above 7.01e-46 in magnitude"),
        (scipy.sparse.coo_array(([1, 1e-60], ([0, 1], [1, 2])), shape=(2, 3)), None, "found 1e-60 at [1, 2]; set it"),
        (WEIGHTS, [1], "bias must be [2], one value per row; found [1]"),
        (WEIGHTS, ["a", "b"], "bias must be real numbers; found <U1"),
        (
            np.arange(1, 2**16 + 1).reshape(256, 256),
            None,
            "a codebook holds at most 65,535 shared weights besides zero; found 65,536 different values",
        ),
        (
            scipy.sparse.coo_array(([1.0], ([0], [0])), shape=(2**20, 2**20)),
            None,
            "a layer may have at most 1,073,741,824 weights; found 1,048,576 x 1,048,576",
        ),
    ],
)
def test_what_is_no_matrix_gets_a_sentence(weights: Any, bias: Any, sentence: str) -> None:
    with pytest.raises(InputError, match="layer 'odd': .*" + re.escape(sentence)):
        layer_from_matrix("odd", weights, bias)


def test_a_zero_of_either_sign_is_a_pruned_weight() -> None:
    layer = layer_from_matrix("signs", np.array([[0.0, -0.0, 1.0]]), bias=[-0.0])
    assert layer.codes.tolist() == [[0, 0, 1]]
    assert not np.signbit(layer.weights()).any()
    assert not np.signbit(layer.bias_values()).any()
    sparse = scipy.sparse.coo_array(([-0.0, 1.0], ([0, 0], [1, 2])), shape=(1, 3))
    np.testing.assert_array_equal(layer_from_matrix("signs", sparse).codes, layer.codes)


def test_entries_at_one_place_are_added_without_overflow() -> None:
    matrix = scipy.sparse.coo_array((np.array([100, 100], dtype=np.int8), ([0, 0], [1, 1])), shape=(1, 2))
    assert layer_from_matrix("sum", matrix).weights().tolist() == [[0, 200]]


@pytest.mark.parametrize(
    ("field", "values"),
    [("indptr", [0, 3, 1, 3]), ("indices", [0, -1, 2]), ("indices", [0, 1, 2**31 - 1]), ("indices", [0, 1, 3])],
)
def test_a_sparse_matrix_of_inconsistent_indices_gets_a_sentence(field: str, values: Any, tmp_path: Path) -> None:
    whole = scipy.sparse.csr_array(np.eye(3))
    parts: dict[str, Any] = {
        "data": whole.data,
        "indices": whole.indices,
        "indptr": whole.indptr,
        field: np.array(values, np.int64),
    }
    write_npz(tmp_path / "odd.npz", {"format": np.array(b"csr"), "shape": np.array([3, 3]), **parts})
    with pytest.raises(InputError, match="odd"):
        open_layer(tmp_path / "odd.npz")
    setattr(whole, field, np.array(values))
    with pytest.raises(InputError, match="the indices of a sparse matrix must lie in its shape"):
        layer_from_matrix("odd", whole)


@pytest.mark.parametrize("shape", [(2**15, 2**14), (2**40, 2**40), (-1, 3), (0, 3)])
def test_a_sparse_matrix_of_a_huge_or_negative_shape_gets_a_sentence(shape: Any, tmp_path: Path) -> None:
    parts = {"data": np.ones(1), "row": np.zeros(1, int), "col": np.zeros(1, int)}
    write_npz(tmp_path / "odd.npz", {"format": np.array(b"coo"), "shape": np.array(shape), **parts})
    with pytest.raises(InputError, match=r"at most|whole numbers above 0"):
        open_layer(tmp_path / "odd.npz")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_matrices_of_every_format_are_read(form: str, tmp_path: Path) -> None:
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_array(WEIGHTS).asformat(form))
    np.testing.assert_array_equal(open_layer(tmp_path / "sparse.npz")[0].weights(), WEIGHTS)


def test_a_layer_is_opened_whatever_holds_it(tmp_path: Path) -> None:
    layer = layer_from_matrix("layer", WEIGHTS)
    write_layer(tmp_path / "layer.npz", layer, np.ones(3, dtype=np.float32))
    write_npy(tmp_path / "dense.npy", WEIGHTS)
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csc_matrix(WEIGHTS))
    write_eie_directory(tmp_path / "images", layer, np.ones(3, dtype=np.float32), ArrayConfig(num_pes=2))
    for name, recorded in (("layer.npz", True), ("dense.npy", False), ("sparse.npz", False), ("images", True)):
        found, activations = open_layer(tmp_path / name)
        assert found.name == Path(name).stem
        np.testing.assert_array_equal(found.weights(), WEIGHTS)
        assert (activations is not None) == recorded


def test_what_holds_no_layer_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "container.dc").write_bytes(b"DC")
    (tmp_path / "empty").mkdir()
    whole = tmp_path / "sparse.npz"
    scipy.sparse.save_npz(whole, scipy.sparse.csc_matrix(WEIGHTS))
    parts = dict(np.load(whole))
    np.savez(tmp_path / "odd.npz", **{**parts, "indptr": parts["indptr"][:-1]})
    np.savez(tmp_path / "other.npz", **{**parts, "format": np.array("nonsense")})
    cases = {
        "container.dc": "one layer comes from a layer file (.npz with codes and codebook), a matrix",
        "absent.npz": "there is no such file",
        "absent.npy": "there is no such file",
        "absent": "there is no such file",
        "empty": "act.dat: there is no such file; a directory of the EIE simulator holds it",
        "odd.npz": "odd.npz: must be a sparse matrix as scipy.sparse.save_npz writes it",
        "other.npz": "other.npz: must be a sparse matrix as scipy.sparse.save_npz writes it",
    }
    for name, sentence in cases.items():
        with pytest.raises(InputError, match=re.escape(sentence)):
            open_layer(tmp_path / name)


def write_eie_directory(folder: Path, layer: CompressedLayer, activations: Any, config: ArrayConfig) -> None:
    """Write the images of a packed layer in the form of the EIE authors' simulator."""
    packed = pack(layer, config)
    (folder / "ptr").mkdir(parents=True)
    (folder / "spm").mkdir()
    activations.astype("<f4").tofile(folder / "act.dat")
    layer.codebook.astype("<f4").tofile(folder / "arithm.dat")
    for pe in range(config.num_pes):
        packed.pointers[:, pe].astype("<u4").tofile(folder / "ptr" / f"ptr{pe}.dat")
        np.stack(packed.sparse_matrix_image(pe), axis=1).astype("<u4").tofile(folder / "spm" / f"spm{pe}.dat")


@settings(deadline=None, max_examples=60)
@given(cases())
def test_a_directory_of_the_eie_simulator_is_read_back(tmp_path_factory: Any, case: Case) -> None:
    layer, activations, config = case
    folder = tmp_path_factory.mktemp("images")
    write_eie_directory(folder / "drawn", layer, activations, config)
    found, recorded = read_eie_directory(folder / "drawn", layer.rows)
    np.testing.assert_array_equal(found.codes, layer.codes)
    np.testing.assert_array_equal(found.codebook, layer.codebook)
    np.testing.assert_array_equal(recorded, activations)
    assert (found.name, found.bias is None) == ("drawn", layer.bias is None)
    np.testing.assert_array_equal(found.bias_values(), layer.bias_values())


def test_a_damaged_directory_gets_a_sentence(tmp_path: Path) -> None:
    layer = CompressedLayer("layer", np.eye(4, dtype=np.uint8), np.arange(4, dtype=np.float32))
    whole = ArrayConfig(num_pes=2)
    pairs = np.array([[1, 0], [1, 0]], dtype="<u4")
    damages: dict[str, Any] = {
        "ptr/ptr1.dat": None,
        "spm/spm1.dat": None,
        "arithm.dat": None,
        "act.dat": b"",
        "act.dat ": np.ones(2, dtype="<f4").tobytes(),
        "ptr/ptr0.dat": b"\0" * 5,
        "ptr/ptr0.dat ": np.array([0, 1, 1, 2], dtype="<u4").tobytes(),
        "ptr/ptr0.dat  ": np.array([0, 1, 1, 2, 3], dtype="<u4").tobytes(),
        "ptr/ptr0.dat   ": np.array([0, 2, 1, 2, 2], dtype="<u4").tobytes(),
        "spm/spm0.dat": pairs.tobytes()[:12],
        "spm/spm0.dat ": np.array([[9, 0], [1, 1]], dtype="<u4").tobytes(),
        "spm/spm0.dat  ": np.array([[1, 0], [1, 2**31]], dtype="<u4").tobytes(),
        "spm/spm0.dat   ": np.array([[1, 0], [1, 2**29]], dtype="<u4").tobytes(),
    }
    sentences = [
        "must hold ptr/ptr<k>.dat and spm/spm<k>.dat for each PE k; found 1 and 2",
        "must hold ptr/ptr<k>.dat and spm/spm<k>.dat for each PE k; found 2 and 1",
        "arithm.dat: there is no such file",
        "act.dat holds 0",
        "4 columns must have as many activations, or one less if the last column is the bias; act.dat holds 2",
        "ptr0.dat: must hold values of 4 bytes; its 5 bytes are cut off",
        "all PEs must have the same number of columns; found [3, 4]",
        "ptr0.dat: offsets must rise from 0 to the 2 entries of spm0.dat; found 5 offsets, [0] to [3]",
        "ptr0.dat: offsets must rise from 0",
        "spm0.dat: must hold pairs (code, gap); it is cut off",
        "arithm.dat holds 4 shared weights; found code 9",
        "spm0.dat: rows must be below 2**31; a gap leads to row",
        "a layer may have at most 1,073,741,824 weights",
    ]
    for number, ((name, content), sentence) in enumerate(zip(damages.items(), sentences, strict=True)):
        folder = tmp_path / str(number)
        write_eie_directory(folder, layer, np.ones(4, dtype=np.float32), whole)
        path = folder / name.strip()
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(sentence)):
            read_eie_directory(folder)
    write_eie_directory(tmp_path / "whole", layer, np.ones(4, dtype=np.float32), whole)
    with pytest.raises(InputError, match="num_rows=3 must be at least 4: an entry is in row 3"):
        read_eie_directory(tmp_path / "whole", 3)
    assert read_eie_directory(tmp_path / "whole", 9)[0].rows == 9
    for num_rows in (0, -1, True, 4.0, "4"):
        with pytest.raises(InputError, match="num_rows must be a whole number of at least 1"):
            read_eie_directory(tmp_path / "whole", num_rows)  # type: ignore[arg-type]
    far = np.array([[1, 0], [1, 2**23]], dtype="<u4")
    (tmp_path / "whole/spm/spm0.dat").write_bytes(far.tobytes())
    np.array([0, 2, 2, 2, 2], dtype="<u4").tofile(tmp_path / "whole/ptr/ptr0.dat")
    with pytest.raises(InputError, match="may take at most 67,108,864 bytes in memory"):
        read_eie_directory(tmp_path / "whole")
    (tmp_path / "whole/act.dat").write_bytes(np.array([1, np.nan, 1, 1], dtype=np.float32).tobytes())
    with pytest.raises(InputError, match=r"may take at most|act\.dat must be finite"):
        read_eie_directory(tmp_path / "whole")


PROTOTXT = """
name: "small"   # a comment
input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
# of the convolution's 54 weights, code 7 at place 2, padding at 18, code 255 at 20; of the other's, code 1 at 4
NET = (
    struct.pack("<2I", 3, 1)
    + np.arange(256, dtype="<f4").tobytes()
    + np.array([0.5, -1, 2], dtype="<f4").tobytes()
    + bytes([7, 0, 255, 15 << 4 | 2, 1])
    + np.arange(16, dtype="<f4").tobytes()
    + np.array([3, 4], dtype="<f4").tobytes()
    + bytes([1, 4])
)


def net_file(folder: Path, net: bytes = NET, prototxt: str = PROTOTXT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "small.net").write_bytes(net)
    (folder / "small.prototxt").write_text(prototxt)
    return folder / "small.net"


def test_a_net_file_is_read_with_its_description(tmp_path: Path) -> None:
    found = read_net(net_file(tmp_path))
    network, (conv, last) = found.network, found.layers
    assert (network.name, network.inputs[0].shape) == ("small", (None, 2, 4, 4))
    flat = np.zeros(54, dtype=np.uint8)
    flat[[2, 20]] = 7, 255
    np.testing.assert_array_equal(conv.codes, flat.reshape(3, 18))
    np.testing.assert_array_equal(conv.weights(), flat.reshape(3, 18))
    assert conv.bias_values().tolist() == [0.5, -1, 2]
    assert last.codes.tolist() == [[0, 0, 0], [0, 1, 0]]
    shapes = {name: stored.shape for name, stored in found.stored_layers.items()}
    assert shapes == {"conv.weight": (3, 2, 3, 3), "fc.weight": (2, 3)}
    assert [(layer.name, layer.kind, layer.vectors_per_input) for layer in network.layers] == [
        ("conv", "Conv2d", 4),
        ("fc", "Linear", 1),
    ]
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    weights = flat.reshape(3, 18).astype(np.float64)
    positions = [(i, j) for i in (0, 2) for j in (0, 2)]
    vectors = np.stack([padded[:, :, i : i + 3, j : j + 3].reshape(3, 18) for i, j in positions])
    means = np.maximum(vectors @ weights.T + [0.5, -1, 2], 0).mean(axis=0)
    expected = means @ np.array([[0, 0, 0], [0, 1, 0]]).T + [3, 4]
    np.testing.assert_allclose(network.run(images)["fc"], expected, rtol=1e-5)
    result = simulate_network(found, images, ArrayConfig(num_pes=2, weight_bits=8))
    np.testing.assert_allclose(result.output, expected, rtol=1e-5)


def pooled_by_caffe(images: Any, kernel: Any, stride: Any, padding: Any, kind: str) -> Any:
    """Pool images as Caffe's pooling_layer.cpp does."""
    sizes = images.shape[2:]
    lengths = [
        -(-(size + 2 * pad - length) // step) + 1
        for size, length, step, pad in zip(sizes, kernel, stride, padding, strict=True)
    ]
    if any(padding):
        lengths = [
            length - ((length - 1) * step >= size + pad)
            for length, size, step, pad in zip(lengths, sizes, stride, padding, strict=True)
        ]
    result = np.empty((*images.shape[:2], *lengths))
    for place in np.ndindex(*lengths):
        begins = [at * step - pad for at, step, pad in zip(place, stride, padding, strict=True)]
        ends = [
            min(begin + length, size + pad)
            for begin, length, size, pad in zip(begins, kernel, sizes, padding, strict=True)
        ]
        area = np.prod([end - begin for begin, end in zip(begins, ends, strict=True)])
        window = tuple(
            slice(max(begin, 0), min(end, size)) for begin, end, size in zip(begins, ends, sizes, strict=True)
        )
        part = images[(slice(None), slice(None), *window)].astype(np.float64)
        result[(..., *place)] = part.max(axis=(2, 3)) if kind == "MAX" else part.sum(axis=(2, 3)) / area
    return result


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["MAX", "AVE"]),
    *[st.tuples(st.integers(low, high), st.integers(low, high)) for low, high in ((1, 9), (1, 4), (1, 4), (0, 3))],
)
def test_pooling_is_that_of_caffe(
    tmp_path_factory: Any, kind: str, sizes: Any, kernel: Any, stride: Any, padding: Any
) -> None:
    fits = all(pad < length <= size + 2 * pad for size, length, pad in zip(sizes, kernel, padding, strict=True))
    assume(fits)
    prototxt = f"""
        input: "data" input_dim: 1 input_dim: 2 input_dim: {sizes[0]} input_dim: {sizes[1]}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
                convolution_param {{ num_output: 2 kernel_size: 1 }} }}
        layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ pool: {kind}
                kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]}
                pad_h: {padding[0]} pad_w: {padding[1]} }} }}"""
    same = struct.pack("<I", 2) + np.arange(256, dtype="<f4").tobytes() + bytes(8) + bytes([1, 1, 2 << 4])
    path = net_file(tmp_path_factory.mktemp("pool"), same, prototxt)
    beyond = not any(padding) and any(
        -(-(size - length) // step) * step >= size for size, length, step in zip(sizes, kernel, stride, strict=True)
    )
    if beyond:
        with pytest.raises(InputError, match=r"layer 'pool': the last window of stride \d must begin in the image"):
            read_net(path)
        return
    network = read_net(path).network
    images = np.random.default_rng(3).normal(size=(2, 2, *sizes)).astype(np.float32)
    expected = pooled_by_caffe(images, kernel, stride, padding, kind)
    found = network.run(images)["pool"]
    assert [length.dim_value for length in network.graph.graph.output[0].type.tensor_type.shape.dim[1:]] == list(
        expected.shape[1:]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def replaced(old: str, new: str) -> str:
    assert old in PROTOTXT
    return PROTOTXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("net", "prototxt", "sentence"),
    [
        (NET[:6], PROTOTXT, "the file is cut off: the count of stored entries of each layer takes 8 bytes, 6 are left"),
        (NET[:500], PROTOTXT, "the file is cut off: the codebook of layer 'conv' takes 1,024 bytes, 492 are left"),
        (NET[:-1], PROTOTXT, "codes or gaps of the 1 entries of layer 'fc' takes 1 bytes, 0 are left"),
        (NET + b"\0", PROTOTXT, "1 bytes are left after the last layer of the description"),
        (b"\xff" * 8 + NET[8:], PROTOTXT, "the 4,294,967,295 entries of layer 'conv' takes 4,294,967,295 bytes"),
        (NET.replace(bytes([7, 0, 255, 242]), bytes([7, 0, 255, 82])), PROTOTXT, "must have gap 15"),
        (NET[:1032] + b"\xff" * 4 + NET[1036:], PROTOTXT, "layer 'conv': every bias must be finite"),
        (NET, replaced("num_output: 3", "num_output: 1"), "the file does not match the description"),
        (NET, replaced("kernel_size: 3 pad: 1", "kernel_size: 90000 pad: 90000"), "at most 1,073,741,824 weights"),
        (NET, replaced("kernel_size: 3", "kernel_size: 9"), "a kernel of 9 x 9 must fit the padded image"),
        (NET, replaced("pad: 1", "pad: x"), "pad must be one or two whole numbers from 0 to 1,073,741,824; found"),
        (NET, replaced("num_output: 3", ""), "layer 'conv' of the description needs one num_output, a whole number"),
        (NET, replaced('type: "ReLU"', 'type: "LRN"'), "layer 'relu' of the description is of type 'LRN'"),
        (NET, replaced('bottom: "conv" top: "pool"', 'bottom: "pool"'), "takes 'pool', which no earlier layer"),
        (NET, replaced("pool: AVE", "pool: STOCHASTIC"), "pool must be MAX or AVE; found ['STOCHASTIC']"),
        (NET, replaced("input_dim: 4", "input_dim: -4"), "must state input_dim, the inputs and their shape"),
        (NET, replaced('name: "conv"', ""), "every layer of the description needs one name; found []"),
        (NET, replaced("convolution_param {", "convolution_param: 3 other {"), "convolution_param of the description"),
        (NET, replaced('bottom: "data"', "bottom: 3"), "bottom of a layer of the description must be a name"),
        (NET, "layer: 5", "layer of the description must be a message, in braces; found [5]"),
        (NET, "", "the description has no Convolution and no InnerProduct layer"),
        (NET, PROTOTXT + "}", "'}' closes no message"),
        (NET, PROTOTXT + "layer {", "message 'layer' is never closed"),
        (NET, PROTOTXT + "name:", "the text ends in the middle of field 'name'"),
        (NET, PROTOTXT + "name 3", "field 'name' must be followed by a value or a message; found '3'"),
        (NET, PROTOTXT + "3", "line 12: a field must begin with its name; found '3'"),
        (NET, PROTOTXT + "\n\n%", "line 14: expected a field of a text-format message; found '%'"),
        (NET, "a {" * 5000, "line 1: messages may be nested at most 100 times"),
    ],
)  # fmt: skip
def test_a_damaged_net_file_gets_a_sentence(net: bytes, prototxt: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)) as error:
        read_net(net_file(tmp_path, net, prototxt))
    assert str(error.value).startswith(f"{tmp_path / 'small.net'}: ")


def test_files_that_are_missing_get_a_sentence(tmp_path: Path) -> None:
    path = net_file(tmp_path)
    with pytest.raises(InputError, match=r"absent.prototxt: there is no such file"):
        read_net(path, tmp_path / "absent.prototxt")
    (tmp_path / "second.prototxt").write_text(PROTOTXT)
    with pytest.raises(InputError, match=r"found 2 \.prototxt files beside it; give one as prototxt"):
        read_net(path)
    assert len(read_net(path, tmp_path / "second.prototxt").layers) == 2
    with pytest.raises(InputError, match=r"absent.net: there is no such file"):
        read_net(tmp_path / "absent.net", tmp_path / "second.prototxt")


@pytest.mark.parametrize(
    "text", ["9" * 40_000 + "x", "a: " + "9" * 400_000, "a: '" + "x\\\\" * 100_000, "a: " + "." * 40_000]
)
def test_a_description_is_refused_in_time_linear_in_its_length(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(InputError, match="line 1: "):
        parse_prototxt(text)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 41, "1" * 5000])
def test_a_number_beyond_its_range_gets_a_sentence(number: str) -> None:
    with pytest.raises(InputError, match="line 1: a number must"):
        parse_prototxt(f"a: {number}")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("num_output: 3", "num_output: true", "needs one num_output, a whole number from 1"),
        ("num_output: 3", "num_output: 3.0", "needs one num_output, a whole number from 1"),
        ("stride: 2", "stride: 0", "stride must be one or two whole numbers from 1"),
        ("stride: 2", "stride: true", "stride must be one or two whole numbers from 1"),
        ("pad: 1", "pad: -1", "pad must be one or two whole numbers from 0"),
        ("stride: 2", "group: 0", "needs one group, a whole number from 1"),
        ("stride: 2", "dilation: 2", "dilation must be 1; found [2], which is not handled"),
        ("stride: 2", "bias_term: false", "bias_term must be true; found [False], which is not handled"),
        ("global_pooling: true", "global_pooling: 1", "global_pooling must be false or true; found [1]"),
        ('top: "conv" }', 'top: "conv" relu_param { negative_slope: 0.1 } }', "negative_slope must be 0; found [0.1]"),
        ("input_dim: 4", "input_dim: true", "must state input_dim"),
        ("input_dim: 4", "input_dim: 9999999999999", "an input must have at most 1,073,741,824 values"),
        ("num_output: 3 kernel_size: 3", "num_output: 9000000 kernel_size: 3", "bytes in memory; it takes 810,000,000"),
    ],
)  # fmt: skip
def test_a_bad_value_of_a_description_gets_a_sentence(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_net(net_file(tmp_path, NET, replaced(old, new)))


def test_text_form_messages_are_parsed() -> None:
    text = """a: 1, b: -2.5e3f; c: 'it' c: "two" d { e: true f <: 3 }"""
    assert parse_prototxt(text.replace("<", "")) == {
        "a": [1],
        "b": [-2500.0],
        "c": ["it", "two"],
        "d": [{"e": [True], "f": [3]}],
    }
