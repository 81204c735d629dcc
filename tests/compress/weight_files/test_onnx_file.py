"""Initialisers of ONNX files: their names, values and parts in products."""

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


def saved(folder: Path, nodes: list[Any], values: dict[str, Any], name: str = "net.bin", **options: Any) -> Path:
    """Write an ONNX file; its shapes are not checked."""
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in values.items()]
    graph = onnx.helper.make_graph(nodes, "g", [], [], tensors)
    onnx.save(onnx.helper.make_model(graph), folder / name, **options)
    return folder / name


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
        (node("LSTM", "x", "w", "r"), (2, 12, 5), 24),
        (node("Gather", "w", "tokens"), (9, 4), 9),
        (node("Einsum", "x", "w", equation="ab,cb->ac"), (6, 4), 6),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else str(value),
)
def test_the_rows_of_a_weight_are_the_outputs_of_its_product(
    made: Any, shape: tuple[int, ...], rows: int, tmp_path: Path
) -> None:
    weight, bias = numbers(*shape), numbers(6)
    found = read_parameters(saved(tmp_path, [made], {"w": weight, "b": bias, "shift": numbers(2, 3)}))
    model, left_alone = compress_parameters(found)
    assert model.layers[0].codes.shape == (rows, weight.size // rows)
    assert model.state()["w"].shape == shape
    has_bias = rows == 6 and "b" in made.input
    assert model.bias_names[0] == ("b" if has_bias else "w.bias")
    assert (model.layers[0].bias is not None) == has_bias
    assert left_alone["shift"] == "no weight of a product in the graph"


def test_a_weight_is_found_through_reshapes_and_in_branches(tmp_path: Path) -> None:
    branch = onnx.helper.make_graph([node("MatMul", "x", "inner")], "branch", [], [])
    nodes = [
        node("Transpose", "turned", output="t"), node("MatMul", "x", "t"),
        node("Slice", "cut", "a", "b", output="s"), node("Concat", "s", "s", output="c", axis=0),
        node("LSTM", "x", "c", "r"),
        node("If", "condition", then_branch=branch, else_branch=branch), node("Add", "x", "added"),
    ]  # fmt: skip
    values = {name: numbers(4, 6) for name in ("turned", "cut", "inner", "added")}
    model, left_alone = compress_parameters(read_parameters(saved(tmp_path, nodes, values)))
    assert [layer.name for layer in model.layers] == ["turned", "cut", "inner"]
    assert [layer.rows for layer in model.layers] == [4, 4, 6]
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
    with pytest.raises(InputError, match=r"net\.bin: must be a whole ONNX file beside its external data|is damaged"):
        read_parameters(path)
    (tmp_path / "big.data").unlink()
    with pytest.raises(InputError, match=r"net\.bin: must be a whole ONNX file beside its external data; found: "):
        read_parameters(path)


def test_half_precision_is_exact_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    narrow = onnx.helper.make_tensor("w", onnx.TensorProto.BFLOAT16, [2, 2], [1.0, 0.5, -2.0, 3.0])
    words = onnx.helper.make_tensor("words", onnx.TensorProto.STRING, [1], [b"a"])
    graph = onnx.helper.make_graph([node("MatMul", "x", "w")], "g", [], [], [narrow, words])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "net.onnx")
    found = read_parameters(tmp_path / "net.onnx")
    assert found["w"].dtype == np.float32
    assert found["w"].tolist() == [[1.0, 0.5], [-2.0, 3.0]]
    assert list(found.left_out) == ["words"]


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
    with pytest.raises(InputError, match=r"initialiser 'fc\.w' is damaged: 127"):
        read_parameters(tmp_path / "net.onnx")
    (tmp_path / "net.onnx").write_bytes(content[:entry] + b"\xff" + content[entry + 1 :])
    with pytest.raises(
        InputError, match=r"must be a whole ONNX file; found the name b'|must be a whole ONNX file beside"
    ):
        read_parameters(tmp_path / "net.onnx")


def test_every_product_of_a_real_network_is_found(data: Path) -> None:
    for name, number in (("mlperf_tiny/resnet8_cifar10", 10), ("silero_vad/silero_vad_16k_op15", 8)):
        model, left_alone = compress_parameters(read_parameters(real_file(data, "models", f"{name}.onnx")))
        assert len(model.layers) == number
        assert "no weight of a product in the graph" not in left_alone.values()
