"""Parameters of ONNX files: their names, values and parts in products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx", reason="needs the package onnx")

from compress import compress_parameters, read_parameters  # noqa: E402
from tests.conftest import real_file  # noqa: E402
from traces import InputError  # noqa: E402

STREAM = np.random.default_rng(0)


def saved(
    folder: Path, nodes: list[Any], values: dict[str, Any], name: str = "net.bin", rank: int = 2, **options: Any
) -> Path:
    """Write an ONNX file; names that nothing computes are its inputs, and all results are its outputs."""
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in values.items()]
    made = {each for entry in nodes for each in entry.output}
    used = [each for entry in nodes for each in entry.input if each not in made and each not in values]
    used += ["x"] if any(entry.op_type == "If" for entry in nodes) else []
    types = {"condition": onnx.TensorProto.BOOL, "tokens": onnx.TensorProto.INT64}
    inputs = [
        onnx.helper.make_tensor_value_info(
            each, types.get(each, onnx.TensorProto.FLOAT), [None] * {"condition": 0, "tokens": 1}.get(each, rank)
        )
        for each in dict.fromkeys(used)
    ]
    outputs = [output_of(each) for entry in nodes for each in entry.output if each]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.save(model, folder / name, **options)
    return folder / name


def output_of(name: str) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None])


def numbers(*shape: int) -> Any:
    return STREAM.normal(size=shape).astype(np.float32)


def node(operator: str, *inputs: str, output: str = "", **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, inputs, [output or f"{operator}_out"], **attributes)


@pytest.mark.parametrize(
    ("made", "shape", "rows"),
    [
        (node("Gemm", "x", "w", "b", transB=1), (6, 4), 6),
        (node("Gemm", "x", "w", "b"), (4, 6), 6),
        (node("MatMul", "x", "w"), (4, 6), 6),
        (node("MatMul", "w", "x"), (6, 4), 6),
        (node("MatMul", "x", "w"), (3, 4, 6), 18),
        (node("Conv", "x", "w", "b"), (6, 2, 3, 3), 6),
        (node("ConvTranspose", "x", "w", "b", group=2), (8, 3, 2, 2), 24),
        (node("LSTM", "x", "w", "r", hidden_size=3, direction="bidirectional"), (2, 12, 5), 24),
        (node("Gather", "w", "tokens"), (9, 4), 9),
        (node("Einsum", "x", "w", equation="ab,cb->ac"), (6, 4), 6),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else str(value),
)
def test_the_rows_of_a_weight_are_the_outputs_of_its_product(
    made: Any, shape: tuple[int, ...], rows: int, tmp_path: Path
) -> None:
    weight, bias = numbers(*shape), numbers(6)
    values = {"w": weight, "shift": numbers(2, 3)} | ({"b": bias} if "b" in made.input else {})
    values |= {"r": numbers(2, 12, 3)} if "r" in made.input else {}
    nodes = [made, node("Add", "more", "shift")]
    ranks = {"Conv": 4, "ConvTranspose": 4, "LSTM": 3}
    found = read_parameters(saved(tmp_path, nodes, values, rank=ranks.get(made.op_type, len(shape))))
    model, left_alone = compress_parameters(found)
    assert model.layers[0].codes.shape == (rows, weight.size // rows)
    assert model.weight_names[0] == ("w",)
    assert model.state()["w"].shape == shape
    has_bias = rows == 6 and "b" in made.input
    assert model.bias_names[0] == ("b" if has_bias else "w.bias")
    assert (model.layers[0].bias is not None) == has_bias
    assert left_alone["shift"] == "no weight of a product in the graph"


def test_a_weight_is_found_through_reshapes_and_in_branches(tmp_path: Path) -> None:
    branch = onnx.helper.make_graph([node("MatMul", "x", "inner", output="y")], "branch", [], [output_of("y")])
    nodes = [
        node("Transpose", "turned", output="t"), node("MatMul", "x", "t"),
        node("Slice", "cut", "a", "b", output="s"), node("Concat", "s", "s", output="c", axis=1),
        node("GRU", "x", "c", "r", hidden_size=1),
        node("If", "condition", then_branch=branch, else_branch=branch), node("Add", "x", "added"),
    ]  # fmt: skip
    values: dict[str, Any] = {name: numbers(4, 6) for name in ("turned", "inner", "added")}
    values |= {"cut": numbers(1, 4, 6), "a": np.array([0]), "b": np.array([1]), "r": numbers(1, 3, 1)}
    model, left_alone = compress_parameters(read_parameters(saved(tmp_path, nodes, values, rank=3)))
    assert {layer.name: layer.rows for layer in model.layers} == {"turned": 4, "cut": 4, "r": 3, "inner": 6}
    assert list(left_alone) == ["added"]


def test_values_in_a_file_of_their_own_are_read_and_missed(tmp_path: Path) -> None:
    weight = numbers(40, 50)
    path = saved(
        tmp_path,
        [node("MatMul", "x", "fc.weight")],
        {"fc.weight": weight},
        save_as_external_data=True,
        location="big.data",
    )
    assert (tmp_path / "big.data").stat().st_size >= weight.nbytes
    np.testing.assert_array_equal(read_parameters(path)["fc.weight"], weight)
    (tmp_path / "big.data").write_bytes(b"short")
    with pytest.raises(InputError, match=r"net\.bin: constant 'fc\.weight' must have 8,000 bytes in big\.data"):
        read_parameters(path)
    (tmp_path / "big.data").unlink()
    with pytest.raises(InputError, match=r"net\.bin: the external data 'big\.data' must be a file beside the model"):
        read_parameters(path)


def test_bfloat16_is_exact(tmp_path: Path) -> None:
    narrow = onnx.helper.make_tensor("w", onnx.TensorProto.BFLOAT16, [2, 2], [1.0, 0.5, -2.0, 3.0])
    entering = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.BFLOAT16, [None, 2])
    leaving = onnx.helper.make_tensor_value_info("MatMul_out", onnx.TensorProto.BFLOAT16, [None, 2])
    graph = onnx.helper.make_graph([node("MatMul", "x", "w")], "g", [entering], [leaving], [narrow])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "net.onnx")
    found = read_parameters(tmp_path / "net.onnx")
    assert found["w"].dtype == np.float32
    assert found["w"].tolist() == [[1.0, 0.5], [-2.0, 3.0]]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    content = saved(tmp_path, [node("MatMul", "x", "w")], {"w": numbers(4, 6)}).read_bytes()
    for length in range(1, len(content), 5):
        (tmp_path / "cut.onnx").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.onnx: "):
            read_parameters(tmp_path / "cut.onnx")


def test_an_unknown_type_and_a_name_that_is_no_text_are_refused(tmp_path: Path) -> None:
    content = saved(tmp_path, [node("MatMul", "x", "fc.w")], {"fc.w": numbers(4, 6)}).read_bytes()
    entry = content.rfind(b"fc.w")
    assert content[entry - 4 : entry - 2] == b"\x10\x01"  # the type, before the name
    (tmp_path / "net.onnx").write_bytes(content[: entry - 3] + b"\x7f" + content[entry - 2 :])
    with pytest.raises(InputError, match=r"net\.onnx: constant 'fc\.w' must have a type of numbers .*; found type 127"):
        read_parameters(tmp_path / "net.onnx")
    (tmp_path / "net.onnx").write_bytes(content[:entry] + b"\xff" + content[entry + 1 :])
    with pytest.raises(InputError, match=r"net\.onnx: must be an ONNX model: "):
        read_parameters(tmp_path / "net.onnx")


def test_every_product_of_a_real_network_is_found(data: Path) -> None:
    for name, number in (("mlperf_tiny/resnet8_cifar10", 10), ("silero_vad/silero_vad_16k_op15", 8)):
        model, left_alone = compress_parameters(read_parameters(real_file(data, "models", f"{name}.onnx")))
        assert len(model.layers) == number
        assert "no weight of a product in the graph" not in left_alone.values()
