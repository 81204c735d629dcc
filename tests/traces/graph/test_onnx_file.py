"""Reader of ONNX files: what they state, what their graphs compute, and where their data lies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.traces.graph.graphs import body, drawn, model, node, value
from traces import InputError, Network, reading_limit


def opened(folder: Path, made: Any) -> Network:
    path = folder / "network.onnx"
    for output in made.graph.output:  # files state the axes of their outputs
        output.type.tensor_type.shape.SetInParent()
    path.write_bytes(made.SerializeToString())
    return Network.open(path)


def dense(**parameters: Any) -> Any:
    """Return one product, [n, 3] times w, of weights that may be computed from others."""
    return model([node("MatMul", ["x", "w"])], {"x": ["n", 3]}, parameters={"w": drawn(0, 3, 2), **parameters})


def refused(folder: Path, made: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)) as error:
        opened(folder, made).layers  # noqa: B018 (the layers are found when they are asked for)
    assert str(error.value).startswith(str(folder / "network.onnx"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dims": [3, 3]}, "constant 'w' of shape [3, 3] must have 36 bytes; found 24"),
        ({"dims": [2**40, 2**40]}, "constant 'w' must have fewer than 2**62 values"),
        ({"dims": [-3, -2]}, "constant 'w' must have at most 64 axes of length 0 or more; found [-3, -2]"),
        ({"data_type": 77}, "constant 'w' must have a type of numbers that ONNX knows; found type 77"),
        ({"raw_data": None}, "constant 'w' of shape [3, 2] must have 6 numbers; found 0"),
    ],
)
def test_a_constant_whose_data_does_not_fit_is_refused(changes: Any, sentence: str, tmp_path: Path) -> None:
    made = dense()
    tensor = made.graph.initializer[0]
    for field, changed in changes.items():
        tensor.ClearField(field)
        if changed is not None:
            getattr(tensor, field).extend(changed) if field == "dims" else setattr(tensor, field, changed)
    refused(tmp_path, made, sentence)


def with_external_data(location: str, **numbers: str) -> Any:
    made = dense()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **numbers}.items():
        tensor.external_data.add(key=key, value=text)
    return made


def test_external_data_is_read_from_the_folder_of_the_model_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    weights = drawn(0, 3, 2)
    for place in (tmp_path / "outside", folder / "data"):
        place.write_bytes(bytes(8) + weights.tobytes())
    network = opened(folder, with_external_data("data", offset="8", length="24"))
    np.testing.assert_array_equal(network.parameters["w"], weights)
    (folder / "link").symlink_to(tmp_path / "outside")
    for location in ("../outside", str(tmp_path / "outside"), "link", "", "a/../../outside"):
        refused(folder, with_external_data(location, offset="8"), "external data must lie in the folder of the model")
    for numbers, sentence in (
        ({"offset": "9"}, "must have 24 bytes in data; found 24 from 9 of 32"),
        ({"length": "8"}, "must have 24 bytes in data; found 8 from 0"),
        ({"offset": "9" * 5000}, "offset of external data must be a whole number"),
        ({"offset": "-8"}, "offset of external data must be a whole number; found '-8'"),
    ):
        refused(folder, with_external_data("data", **numbers), sentence)


def test_what_a_graph_computes_may_take_what_its_files_together_allow(tmp_path: Path) -> None:
    weights = drawn(0, 1500, 1500)
    made = model(
        [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"])], {"x": ["n", 1500]}, parameters={"w": weights}
    )
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="data")
    (tmp_path / "data").write_bytes(weights.tobytes())
    (layer,) = opened(tmp_path, made).layers
    assert (layer.rows, layer.columns) == (1500, 1500)


LONG = np.array([2**15, 2**15])


@pytest.mark.parametrize(
    ("nodes", "parameters"),
    [
        ([node("ConstantOfShape", ["long"], ["w"])], {"long": LONG}),
        ([node("Expand", ["one", "long"], ["w"])], {"one": np.ones((1, 1), dtype=np.float32), "long": LONG}),
        ([node("Tile", ["one", "long"], ["w"])], {"one": np.ones((1, 1), dtype=np.float32), "long": LONG}),
    ],
)
def test_a_constant_that_a_small_file_computes_may_not_be_huge(nodes: Any, parameters: Any, tmp_path: Path) -> None:
    made = model([*nodes, node("MatMul", ["x", "w"])], {"x": ["n", 2**15]}, parameters=parameters)
    refused(tmp_path, made, "may take at most 67,108,864 bytes in memory; it takes 4,294,967,296")


def test_the_limit_is_that_of_the_context(tmp_path: Path) -> None:
    made = model(
        [node("ConstantOfShape", ["shape"], ["w"]), node("MatMul", ["x", "w"])],
        {"x": ["n", 30]},
        parameters={"shape": np.array([30, 40])},
    )
    assert opened(tmp_path, made).layers[0].rows == 40
    with reading_limit(40_000):
        refused(tmp_path, made, "may take at most 40,000 bytes in memory; it takes 43,")


def test_functions_that_call_each_other_without_end_are_refused(tmp_path: Path) -> None:
    made = dense()
    made.opset_import.append(helper.make_opsetid("own", 1))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for number in range(40):  # each calls the next one twice
        called = [
            node(f"f{number + 1}", ["a"], ["b"], domain="own"),
            node(f"f{number + 1}", ["b"], ["c"], domain="own"),
        ]
        made.functions.append(helper.make_function("own", f"f{number}", ["a"], ["c"], called, opsets))
    made.functions.append(helper.make_function("own", "f40", ["a"], ["c"], [node("Neg", ["a"], ["c"])], opsets))
    made.graph.node.insert(0, node("f0", ["x"], ["z"], domain="own"))
    refused(tmp_path, made, "may take at most 67,108,864 bytes in memory")


@pytest.mark.parametrize("trips", [np.int64(2**62), np.array([2**62])])
def test_a_loop_without_end_is_refused(trips: Any, tmp_path: Path) -> None:
    inner = body(
        [node("MatMul", ["state", "w"], ["next"]), node("Identity", ["goes_on"], ["still"])],
        [value("number", [], np.int64), value("goes_on", [], bool), value("state", [None, None])],
        [value("still", [], bool), value("next", [None, None])],
    )
    made = model(
        [node("Loop", ["trips", "yes", "x"], body=inner)],
        {"x": ["n", 3]},
        parameters={"w": drawn(0, 3, 3), "trips": trips, "yes": np.array(True)},
    )
    with pytest.raises(InputError, match=r"Loop \(y\) must have at most 10,000 iterations; found 10,001"):
        opened(tmp_path, made).layers  # noqa: B018 (as above)


def test_a_loop_of_an_operator_set_without_bounds_is_refused(tmp_path: Path) -> None:
    inner = body(
        [node("Identity", ["state"], ["next"]), node("Identity", ["goes_on"], ["still"])],
        [value("number", [], np.int64), value("goes_on", [], bool), value("state", [None, None])],
        [value("still", [], bool), value("next", [None, None])],
    )
    made = model(
        [node("MatMul", ["x", "w"], ["z"]), node("Loop", ["trips", "yes", "z"], body=inner)],
        {"x": ["n", 3]},
        parameters={"w": drawn(0, 3, 3), "trips": np.int64(2**62), "yes": np.array(True)},
    )
    made.opset_import[0].version = 8
    with pytest.raises(InputError, match="a Loop needs operator set 9 or later"):
        opened(tmp_path, made).flat({"x": drawn(1, 2, 3)})


def test_parts_that_do_not_match_are_refused_with_a_sentence(tmp_path: Path) -> None:
    made = model([node("Einsum", ["x", "w"], equation="")], {"x": ["n", 3]}, parameters={"w": drawn(0, 3, 2)})
    for equation, sentence in (
        (b"bi,ij-\x80", "attribute 'equation' of Einsum must be UTF-8"),
        ("bi,ij-\u00e9".encode(), "the equation of an Einsum must be letters, commas, dots, spaces and ->"),
        (b"bi,ij-", "the equation of an Einsum must be letters"),
        (b"b,jk->bk", "sums weights alone, which is not handled"),
    ):
        made.graph.node[0].attribute[0].s = equation
        with pytest.raises(InputError, match=re.escape(sentence)):
            opened(tmp_path, made).layers  # noqa: B018 (as above)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(InputError, match="must be an ONNX model"):
        Network.open(tmp_path / "network.onnx")
    text = numpy_helper.from_array(np.array(["a", "b"], dtype=object), "text")
    assert isinstance(text, onnx.TensorProto)
    text.string_data.append(b"c")
    made = dense()
    made.graph.initializer.append(text)
    refused(tmp_path, made, "constant 'text' must have 2 texts; found 3")
