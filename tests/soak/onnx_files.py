"""ONNX files and their damages: fields of the messages, and external data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.soak.mutants import BAD_TEXTS, changed_bytes

_INTEGERS = (
    -(2**63),
    -(2**31),
    -(2**16),
    -2,
    -1,
    0,
    1,
    2,
    3,
    7,
    8,
    255,
    2**16,
    2**31 - 1,
    2**31,
    2**40,
    2**60,
    2**63 - 1,
)
_FLOATS = (0.0, -0.0, 1.5, -1.0, 3e38, float("inf"), float("-inf"), float("nan"))
_OPERATORS = (
    "Add", "MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "Tile", "Expand", "ConstantOfShape", "Range",
    "Pad", "Resize", "Reshape", "Transpose", "Concat", "Gather", "If", "Loop", "Scan", "Einsum", "OneHot", "Slice",
    "CumSum", "Split", "Constant", "Identity", "Nothing", "SequenceAt", "Upsample", "MaxPool", "Where", "NonZero",
)  # fmt: skip
_LOCATIONS = ("../outside", "/etc/passwd", "mutant.onnx", "", ".", "absent", "a/../../outside", "\x00")


def _floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def onnx_files() -> list[bytes]:
    """Return valid files: products of many kinds, loops and branches, and constants that are computed."""
    draw = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return draw.normal(size=shape).astype(np.float32)

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, outputs, **attributes)

    def model(nodes: list[Any], shape: list[Any], parameters: dict[str, Any]) -> bytes:
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
            [numpy_helper.from_array(np.asarray(values), name) for name, values in parameters.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 8
        content: bytes = made.SerializeToString()
        return content

    def whole(*values: int) -> Any:
        return np.array(values, dtype=np.int64)

    dense = model(
        [
            node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
            node("Shrink", ["h"], ["r"], lambd=0.125, bias=0.0),
            node("MatMul", ["r", "w2"], ["m"]),
            node("Einsum", ["m", "w3"], ["y"], equation="bi,ij->bj"),
        ],
        ["n", 6],
        {"w1": weights(5, 6), "b1": weights(5), "w2": weights(5, 4), "w3": weights(4, 3)},
    )
    images = model(
        [
            node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], group=2),
            node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2]),
            node("ConvTranspose", ["p", "t"], ["u"], strides=[2, 2]),
            node("Resize", ["u", "", "scales"], ["s"], mode="nearest"),
            node("Flatten", ["s"], ["y"]),
        ],
        ["n", 2, 6, 6],
        {
            "w": weights(4, 1, 3, 3),
            "b": weights(4),
            "t": weights(4, 2, 2, 2),
            "scales": _floats(1, 1, 2, 2),
        },
    )
    recurrent = model(
        [
            node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
            node("LSTM", ["steps", "w", "r", "b"], ["all", "last"], hidden_size=3),
            node("Squeeze", ["last", "zero"], ["y"]),
        ],
        ["n", 4, 2],
        {"w": weights(1, 12, 2), "r": weights(1, 12, 3), "b": weights(1, 24), "zero": whole(0)},
    )
    computed = model(
        [
            node(
                "ConstantOfShape",
                ["shape"],
                ["zeros"],
                value=numpy_helper.from_array(_floats(0.5)),
            ),
            node("Add", ["zeros", "w"], ["shifted"]),
            node("Tile", ["shifted", "repeats"], ["tiled"]),
            node("Expand", ["bias", "wide"], ["spread"]),
            node("Reshape", ["x", "rows"], ["flat"]),
            node("MatMul", ["flat", "tiled"], ["m"]),
            node("Add", ["m", "spread"], ["y"]),
        ],
        ["n", 3],
        {
            "shape": whole(3, 2),
            "w": weights(3, 2),
            "repeats": whole(1, 2),
            "bias": weights(1),
            "wide": whole(1, 4),
            "rows": whole(-1, 3),
        },
    )
    body = helper.make_graph(
        [node("MatMul", ["state", "w"], ["next"]), node("Identity", ["goes_on"], ["still"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [None, None]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [None, None]),
        ],
    )
    branches = [
        helper.make_graph(
            [node(kind, ["looped"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])],
        )
        for kind, name in (("Neg", "negative"), ("Identity", "same"))
    ]
    looped = model(
        [
            node("Loop", ["trips", "yes", "x"], ["looped"], body=body),
            node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1]),
        ],
        ["n", 3],
        {"w": weights(3, 3), "trips": np.int64(3), "yes": np.array(True)},
    )
    return [dense, images, recurrent, computed, looped]


def changed_onnx(content: bytes, stream: np.random.Generator) -> bytes:
    """Return a file with one field of a message changed, or with data that it looks for elsewhere."""
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # a file that was damaged before
        return content
    messages = _messages(model)
    if stream.random() < 0.5:  # what is computed from: operations and values
        chosen = [each for each in messages if type(each).__name__ in ("TensorProto", "NodeProto", "AttributeProto")]
    else:
        chosen = messages
    if not chosen:
        return content
    message = chosen[int(stream.integers(len(chosen)))]
    try:
        if isinstance(message, TensorProto) and stream.random() < 0.15:
            _make_external(message, stream)
        else:
            _change(message, messages, stream)
        changed: bytes = model.SerializeToString()
    except (ValueError, TypeError):  # a value beyond the field's range, or text of half characters
        return content
    return changed


def _messages(message: Message) -> list[Message]:
    """Return a message and all messages inside."""
    found = [message]
    for place in found:
        for field, value in place.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                found += list(value) if _is_repeated(field) else [value]
    return found


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _change(message: Any, messages: list[Message], stream: np.random.Generator) -> None:
    set_fields = [field for field, _ in message.ListFields()]
    fields = set_fields if set_fields and stream.random() < 0.8 else list(message.DESCRIPTOR.fields)
    field = fields[int(stream.integers(len(fields)))]
    values = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        alike = [each for each in messages if each.DESCRIPTOR is field.message_type]
        other = type(alike[0])() if alike else None
        if other is not None:
            other.CopyFrom(alike[int(stream.integers(len(alike)))])
        if stream.random() < 0.3:
            message.ClearField(field.name)
        elif not _is_repeated(field):
            if other is not None:
                values.CopyFrom(other)
        elif len(values) and stream.random() < 0.5:
            del values[int(stream.integers(len(values)))]
        elif other is not None:
            values.append(other)
        return
    if not _is_repeated(field):
        if stream.random() < 0.15:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _value(field, values, messages, stream))
        return
    way = stream.random()
    if way < 0.2 and len(values):
        del values[int(stream.integers(len(values)))]
    elif way < 0.7 and len(values):
        place = int(stream.integers(len(values)))
        values[place] = _value(field, values[place], messages, stream)
    else:
        values.append(_value(field, values[0] if len(values) else None, messages, stream))


def _value(field: Any, value: Any, messages: list[Message], stream: np.random.Generator) -> Any:
    """Return another value of a field."""
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return _FLOATS[int(stream.integers(len(_FLOATS)))]
    if field.type == FieldDescriptor.TYPE_BYTES:
        return changed_bytes(bytes(value or b""), stream)
    if field.type == FieldDescriptor.TYPE_STRING:
        names = [
            name for each in messages if type(each).__name__ == "NodeProto" for name in [*each.input, *each.output]
        ]
        texts = _OPERATORS if field.name == "op_type" else names if stream.random() < 0.7 and names else BAD_TEXTS
        return texts[int(stream.integers(len(texts)))]
    if field.type == FieldDescriptor.TYPE_ENUM:
        return int(stream.integers(0, 30))
    near = int(value or 0) + int(stream.integers(-2, 3))
    return near if stream.random() < 0.3 else _INTEGERS[int(stream.integers(len(_INTEGERS)))]


def _make_external(tensor: TensorProto, stream: np.random.Generator) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    numbers = ("0", "1", "4096", "-1", "9" * 18, "9" * 30, "x", "", "1e3")
    for key, values in (("location", _LOCATIONS), ("offset", numbers), ("length", numbers)):
        if stream.random() < 0.7:
            tensor.external_data.add(key=key, value=values[int(stream.integers(len(values)))])
