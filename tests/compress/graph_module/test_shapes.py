from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.compress.graph_module.twins import (
    assert_as_in_onnx_runtime,
    assert_same,
    in_onnx_runtime,
    in_pytorch,
    model_of,
)
from traces import InputError
from traces.arrays import Numbers

DRAW = np.random.default_rng(2)
X = DRAW.normal(size=(2, 3, 4)).astype("f4")
IMAGE = DRAW.normal(size=(2, 8, 4, 6)).astype("f4")
ONE = DRAW.normal(size=(1, 3, 1, 2)).astype("f4")


def of(*values: int) -> Numbers:
    return np.array(values, "i8")


@pytest.mark.parametrize(
    ("operator", "inputs", "opset", "attributes"),
    [
        ("Identity", [X], 13, {}),
        ("Shape", [X], 13, {}),
        ("Shape", [X], 15, {"start": 1, "end": -1}),
        ("Shape", [X], 15, {"start": -2}),
        ("Size", [X], 13, {}),
        ("ConstantOfShape", [of(2, 3)], 9, {}),
        ("ConstantOfShape", [of()], 9, {}),
        ("ConstantOfShape", [of(0, 2)], 9, {}),
        ("Range", [np.array(1), np.array(8), np.array(3)], 11, {}),
        ("Range", [np.array(5), np.array(-2), np.array(-3)], 11, {}),
        ("Range", [np.array(5), np.array(2), np.array(3)], 11, {}),
        ("Range", [np.array(0, "f4"), np.array(1, "f4"), np.array(0.3, "f4")], 11, {}),
        ("EyeLike", [X[0]], 9, {}),
        ("EyeLike", [X[0]], 9, {"k": -1, "dtype": 7}),
        ("Reshape", [X, of(0, -1)], 7, {}),
        ("Reshape", [X, of(4, 0, -1)], 13, {}),
        ("Reshape", [X[:0], of(3, 0)], 14, {"allowzero": 1}),
        ("Reshape", [np.array(3, "f4"), of(1)], 14, {}),
        *(("Flatten", [X], 13, {"axis": axis}) for axis in (0, 1, 2, 3, -1)),
        ("Flatten", [X], 7, {}),
        ("Transpose", [X], 7, {}),
        ("Transpose", [X], 13, {"perm": [1, 2, 0]}),
        ("Squeeze", [ONE], 7, {}),
        ("Squeeze", [ONE], 11, {"axes": [-2]}),
        ("Squeeze", [ONE], 13, {}),
        ("Squeeze", [ONE, of(0, -2)], 13, {}),
        ("Unsqueeze", [X], 7, {"axes": [0, 3]}),
        ("Unsqueeze", [X], 11, {"axes": [-1]}),
        ("Unsqueeze", [X, of(-1, 0, 2)], 13, {}),
        ("Concat", [X, X[:, :1], X[:, 2:]], 7, {"axis": 1}),
        ("Concat", [X, X], 13, {"axis": -1}),
        ("Expand", [ONE[0], of(2, 1, 5, 1)], 8, {}),
        ("Tile", [X, of(2, 1, 3)], 7, {}),
        ("Trilu", [X], 14, {}),
        ("Trilu", [X, np.array(-1)], 14, {"upper": 0}),
        ("Trilu", [X, np.array(1)], 14, {}),
        ("DepthToSpace", [IMAGE], 7, {"blocksize": 2}),
        ("DepthToSpace", [IMAGE], 13, {"blocksize": 2, "mode": "CRD"}),
        ("SpaceToDepth", [IMAGE], 13, {"blocksize": 2}),
        ("Dropout", [X], 7, {"ratio": 0.3}),
        ("Dropout", [X, np.array(0.3, "f4")], 13, {}),
        ("Dropout", [X, np.array(0.3, "f4"), np.array(False)], 22, {}),
    ],
)
def test_shapes_as_in_onnx_runtime(
    operator: str, inputs: list[Numbers], opset: int, attributes: dict[str, Any]
) -> None:
    assert_as_in_onnx_runtime(operator, inputs, opset, **attributes)


@pytest.mark.parametrize(
    ("inputs", "opset", "outputs", "attributes"),
    [
        ([X], 7, 2, {"axis": 2}),
        ([X], 11, 2, {"axis": -2, "split": [1, 2]}),
        ([X], 13, 2, {}),
        ([X, of(1, 0, 3)], 13, 3, {"axis": 2}),
        ([X], 18, 2, {"axis": 1, "num_outputs": 2}),
        ([X], 18, 3, {"axis": -1, "num_outputs": 3}),
    ],
)
def test_splits(inputs: list[Numbers], opset: int, outputs: int, attributes: dict[str, Any]) -> None:
    assert_as_in_onnx_runtime("Split", inputs, opset, outputs, **attributes)


@pytest.mark.parametrize("step", [1, 2, -1, -2])
def test_slices_from_and_to_any_place(step: int) -> None:
    for start in (-99, -4, -2, 0, 1, 3, 99):
        for end in (-(2**63), -99, -4, -1, 0, 2, 4, 2**31 - 1, 2**63 - 1):
            assert_as_in_onnx_runtime("Slice", [X, of(start), of(end), of(-1), of(step)], 13)


def test_slices_by_attributes_and_of_several_axes() -> None:
    assert_as_in_onnx_runtime("Slice", [X], 9, starts=[1, -3], ends=[2, 99], axes=[1, 2])
    assert_as_in_onnx_runtime("Slice", [X], 9, starts=[0, 1], ends=[1, 3])
    assert_as_in_onnx_runtime("Slice", [X, of(1, 0), of(2, 2)], 10)
    assert_as_in_onnx_runtime("Slice", [X, of(1, 3), of(2, 0), of(0, 2), of(1, -1)], 11)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pads(mode: str) -> None:
    pads = [0, 1, 2, 0, 2, 3]
    assert_as_in_onnx_runtime("Pad", [X], 7, pads=pads, mode=mode)
    assert_as_in_onnx_runtime("Pad", [X, of(*pads)], 13, mode=mode)
    assert_as_in_onnx_runtime("Pad", [X, of(2, 1), None, of(-1)], 18, mode=mode)


def test_pads_of_a_value_that_cut_or_wrap() -> None:
    value = np.array(1.5, "f4")
    assert_as_in_onnx_runtime("Pad", [X], 10, pads=[0, 0, -1, 1, 0, 2], value=1.5)
    assert_as_in_onnx_runtime("Pad", [X, of(0, 0, -1, 1, 0, 2), value], 11)
    assert_as_in_onnx_runtime("Pad", [np.arange(3), of(1, 1), np.array(7)], 13)
    assert_as_in_onnx_runtime("Pad", [X, of(0, 1, 2, 0, 2, 3)], 19, mode="wrap")


@pytest.mark.parametrize(
    "attributes",
    [
        {"value": onnx.numpy_helper.from_array(X)},
        {"value": onnx.numpy_helper.from_array(np.array(3))},
        {"value_float": 1.5},
        {"value_floats": [1.5, 2.0]},
        {"value_int": 3},
        {"value_ints": [3, 4]},
    ],
)
def test_constants(attributes: dict[str, Any]) -> None:
    assert_as_in_onnx_runtime("Constant", [], 13, **attributes)


def test_sequences_of_parts() -> None:
    for keepdims, axis in ((1, 1), (0, 1)):
        nodes = [
            helper.make_node("SplitToSequence", ["x"], ["parts"], axis=axis, keepdims=keepdims),
            helper.make_node("SequenceLength", ["parts"], ["count"]),
            helper.make_node("SequenceAt", ["parts", "place"], ["part"]),
            helper.make_node("SequenceConstruct", ["part", "part"], ["twice"]),
            helper.make_node("ConcatFromSequence", ["twice"], ["y"], axis=0),
            helper.make_node("ConcatFromSequence", ["parts"], ["z"], axis=0, new_axis=1),
        ]
        inputs = {"x": X, "place": np.array(1)}
        model = model_of(nodes, inputs, ["count", "y", "z"], 13)
        assert_same(in_pytorch(model, inputs), in_onnx_runtime(model, inputs))


def test_dropout_in_training_mode_is_refused() -> None:
    inputs = {"x": X, "ratio": np.array(0.3, "f4"), "training": np.array(True)}
    model = model_of([helper.make_node("Dropout", [*inputs], ["y"])], inputs, ["y"], 13)
    with pytest.raises(InputError, match="training_mode must be false"):
        in_pytorch(model, inputs)
