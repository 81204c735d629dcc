"""Networks in the format of the author of Deep Compression: a `.net` file beside Caffe's description (`.prototxt`).

The `.net` file is little endian. It begins with one uint32 for each layer, the number of its stored entries. Then it
has for each layer, in the order of the description:

* the codebook, float32 [256] for a convolution and [16] for any other layer;
* the bias, float32 [outputs];
* the codes of the entries: a byte each, or, with 16 shared weights, half a byte each, low half first;
* the gaps of the entries: half a byte each, low half first.

Each entry of the flattened weight [out, in, height, width] comes after a gap of zeros. Code 0 with gap 15 is padding.
Source: github.com/songhan/SqueezeNet-Deep-Compression.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.arrangement import Arrangement
from traces.arrays import Numbers
from traces.errors import InputError
from traces.files.prototxt import Message, parse_prototxt
from traces.graph.compressed import CompressedNetwork
from traces.graph.network import Network
from traces.graph.runtime import check_packages
from traces.graph.stored import StoredLayer
from traces.layer import MOST_WEIGHTS, CompressedLayer, check_size
from traces.reading_limit import check_decoded_bytes

MAX_GAP = 15
_INPUT = "input"
_MOST_AXES = 8
_BYTES_PER_WEIGHT = 5  # a code and a decoded weight
_OPERATOR_SET = 19  # the first in which the mean of a clipped window is that of Caffe

Shape = tuple[int, ...]


def read_net(path: str | os.PathLike[str], prototxt: str | os.PathLike[str] | None = None) -> CompressedNetwork:
    """Read a `.net` file.

    Parameters
    ----------
    path : str or os.PathLike
        The `.net` file.
    prototxt : str or os.PathLike, optional
        Caffe's description of the network. By default it is the only one in the same folder.

    Returns
    -------
    CompressedNetwork
        Convolutions of 8-bit codes, and fully connected layers of 4-bit codes, each with a free bias.

    Raises
    ------
    InputError
        If a file is missing, cut off or too long, the two do not match, or the package onnx is missing.

    Notes
    -----
    Dropout and a last softmax are left out: the first has no effect in inference, the second does not change the order
    of the outputs.
    """
    check_packages()
    path = Path(path)
    description = _read(_description_beside(path) if prototxt is None else Path(prototxt))
    try:
        blobs = _Blobs(_read(path))
        message = parse_prototxt(description.decode("utf-8", "replace"))
        network = _Builder(path, message, blobs, len(description) + len(blobs.content)).network(path.stem)
    except InputError as error:
        raise error if str(error).startswith(f"{path}: ") else InputError(f"{path}: {error}") from None
    if blobs.left:
        raise InputError(f"{path}: {blobs.left:,} bytes are left after the last layer of the description")
    return network


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _description_beside(path: Path) -> Path:
    paths = sorted(path.parent.glob("*.prototxt"))
    if len(paths) != 1:
        raise InputError(
            f"{path}: the shapes of its layers are in a Caffe description; found {len(paths)} .prototxt files beside "
            f"it; give one as prototxt"
        )
    return paths[0]


class _Blobs:
    """Bytes of a `.net` file, taken from the front."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.entry_counts: list[int] = []

    @property
    def left(self) -> int:
        """Bytes that have not been taken."""
        return len(self.content) - self.at

    def take(self, dtype: str, count: int, content: str) -> Numbers:
        """Return the next values; `content` names them in the error of a file that is cut off."""
        size = np.dtype(dtype).itemsize * count
        if size > self.left:
            raise InputError(f"the file is cut off: {content} takes {size:,} bytes, {self.left:,} are left")
        self.at += size
        return np.frombuffer(self.content, dtype, count, self.at - size)

    def half_bytes(self, count: int, content: str) -> npt.NDArray[np.uint8]:
        """Return the next values of half a byte each."""
        packed = self.take("u1", -(-count // 2), content)
        return np.stack([packed & 15, packed >> 4], axis=1).ravel()[:count]


class _Builder:
    """Builder of a graph: it visits Caffe's layers and takes the blobs of those with weights."""

    def __init__(self, path: Path, description: Message, blobs: _Blobs, file_bytes: int) -> None:
        self.path = path
        self.file_bytes = file_bytes
        self.decoded_bytes = 0  # of all layers so far
        self.description = description
        self.blobs = blobs
        self.nodes: list[Any] = []
        self.stored: dict[str, StoredLayer] = {}
        self.parameters: dict[str, Numbers] = {}
        self.tops: dict[str, str] = {}  # value that each of Caffe's blobs holds
        self.shapes: dict[str, Shape] = {}

    def network(self, name: str) -> CompressedNetwork:
        """Build the network."""
        from onnx import TensorProto, helper

        caffe_layers = _messages(self.description, "layer")
        weighted = [layer for layer in caffe_layers if _text(layer, "type") in ("Convolution", "InnerProduct")]
        if not weighted:
            raise InputError("the description has no Convolution and no InnerProduct layer")
        counts = self.blobs.take("<u4", len(weighted), "the count of stored entries of each layer")
        self.blobs.entry_counts = counts.tolist()
        shape = self._input_shape()
        self.tops[_text(self.description, "input") if "input" in self.description else "data"] = _INPUT
        if math.prod(shape) > MOST_WEIGHTS:
            raise InputError(f"an input must have at most {MOST_WEIGHTS:,} values; found {list(shape)}")
        self.shapes[_INPUT] = shape
        last = _INPUT
        for layer in caffe_layers:
            last = self._add(layer) or last
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, ["inputs", *shape])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["inputs", *self.shapes[last]])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPERATOR_SET)])
        model.ir_version = 8
        return CompressedNetwork(Network(name, model, self.parameters), self.stored)

    def _input_shape(self) -> Shape:
        dims = self.description.get("input_dim") or [
            size for shape in _messages(self.description, "input_shape") for size in shape.get("dim", [])
        ]
        if not 2 <= len(dims) <= _MOST_AXES or not all(_is_whole(size) and size > 0 for size in dims):
            raise InputError(
                f"the description must state input_dim, the inputs and their shape, 2 to {_MOST_AXES} whole numbers "
                f"above 0; found {_shown(dims)}"
            )
        return tuple(dims[1:])

    def _add(self, caffe: Message) -> str | None:
        """Add one of Caffe's layers; return the value that it puts out, or None if it computes nothing."""
        kind, name = _text(caffe, "type"), _text(caffe, "name")
        sources = []
        for bottom in _texts(caffe, "bottom"):
            if bottom not in self.tops:
                raise InputError(f"layer {name!r} of the description takes {bottom!r}, which no earlier layer puts out")
            sources.append(self.tops[bottom])
        if kind in ("Dropout", "Softmax", "Data", "Input"):
            for top in _texts(caffe, "top"):
                self.tops[top] = sources[0] if sources else _INPUT
            return None
        if not sources:
            raise InputError(f"layer {name!r} of the description must have an input (bottom); found none")
        if name in self.shapes:
            raise InputError(f"every layer of the description needs a name of its own; found {name!r} twice")
        shape = self.shapes[sources[0]]
        if kind == "ReLU":
            _stated(_part(caffe, "relu_param"), "negative_slope", [0], 0, name)
            self._node("Relu", sources, name)
        elif kind == "Convolution":
            shape = self._convolution(caffe, name, sources[0])
        elif kind == "InnerProduct":
            shape = self._inner_product(caffe, name, sources[0])
        elif kind == "Pooling":
            shape = self._pooling(caffe, name, sources[0])
        elif kind == "Concat":
            for field in ("axis", "concat_dim"):
                _stated(_part(caffe, "concat_param"), field, [1], 1, name)
            shapes = [self.shapes[source] for source in sources]
            if len({each[1:] for each in shapes}) != 1:
                found = ", ".join(str(list(each)) for each in shapes)
                raise InputError(f"layer {name!r} of the description: the images must have one size; found {found}")
            shape = (sum(each[0] for each in shapes), *shape[1:])
            self._node("Concat", sources, name, axis=1)
        else:
            raise InputError(f"layer {name!r} of the description is of type {kind!r}, which is not supported")
        if math.prod(shape) > MOST_WEIGHTS:
            raise InputError(
                f"layer {name!r} of the description must put out at most {MOST_WEIGHTS:,} values per input; found "
                f"{list(shape)}"
            )
        self.shapes[name] = shape
        for top in _texts(caffe, "top"):
            self.tops[top] = name
        return name

    def _node(self, kind: str, sources: list[str], name: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, sources, [name], name=name, **attributes))

    def _convolution(self, caffe: Message, name: str, source: str) -> Shape:
        part, shape = _part(caffe, "convolution_param"), self.shapes[source]
        rows = _number(part, "num_output", name)
        if len(shape) != 3:
            raise InputError(f"layer {name!r}: a convolution takes [channels, height, width]; found {list(shape)}")
        kernel, stride, padding = (
            _pair(part, "kernel", name, None),
            _pair(part, "stride", name, 1),
            _pair(part, "pad", name, 0),
        )
        groups = _number(part, "group", name) if "group" in part else 1
        for field in ("dilation", "axis"):
            _stated(part, field, [1], 1, name)
        _stated(part, "bias_term", [True], True, name)
        if shape[0] % groups or rows % groups:
            raise InputError(f"layer {name!r}: group {groups} must divide {shape[0]} channels and {rows} outputs")
        sizes = [
            (size + 2 * pad - length) // step + 1
            for size, length, step, pad in zip(shape[1:], kernel, stride, padding, strict=True)
        ]
        if min(sizes) < 1:
            raise InputError(
                f"layer {name!r}: a kernel of {kernel[0]} x {kernel[1]} must fit the padded image; found "
                f"{list(shape[1:])}"
            )
        self._take(name, (rows, shape[0] // groups, *kernel), 256)
        self._node(
            "Conv",
            [source, f"{name}.weight", f"{name}.bias"],
            name,
            kernel_shape=kernel,
            strides=stride,
            pads=[*padding, *padding],
            group=groups,
        )
        return (rows, *sizes)

    def _inner_product(self, caffe: Message, name: str, source: str) -> Shape:
        part = _part(caffe, "inner_product_param")
        rows, columns = _number(part, "num_output", name), math.prod(self.shapes[source])
        for field, only in (("axis", 1), ("bias_term", True), ("transpose", False)):
            _stated(part, field, [only], only, name)
        self._take(name, (rows, columns), 16)
        self._node("Flatten", [source], f"{name}/flat")
        self._node("Gemm", [f"{name}/flat", f"{name}.weight", f"{name}.bias"], name, transB=1)
        return (rows,)

    def _pooling(self, caffe: Message, name: str, source: str) -> Shape:
        part, shape = _part(caffe, "pooling_param"), self.shapes[source]
        kind = _stated(part, "pool", ["MAX", "AVE"], "MAX", name)
        _stated(part, "round_mode", ["CEIL"], "CEIL", name)
        if len(shape) != 3:
            raise InputError(f"layer {name!r}: a pooling takes [channels, height, width]; found {list(shape)}")
        if _stated(part, "global_pooling", [False, True], False, name):
            self._node("GlobalMaxPool" if kind == "MAX" else "GlobalAveragePool", [source], name)
            return (shape[0], 1, 1)
        kernel, stride, padding = (
            _pair(part, "kernel", name, None),
            _pair(part, "stride", name, 1),
            _pair(part, "pad", name, 0),
        )
        sizes = []
        for size, length, step, pad in zip(shape[1:], kernel, stride, padding, strict=True):
            if length < 1 or step < 1 or not 0 <= pad < length or size + 2 * pad < length:
                raise InputError(f"layer {name!r}: a window of {length} with pad {pad} must fit an image of {size}")
            windows = -(-(size + 2 * pad - length) // step) + 1
            if any(padding) and (windows - 1) * step >= size + pad:  # no window begins in the padding after the image
                windows -= 1
            if (windows - 1) * step >= size + pad:
                raise InputError(f"layer {name!r}: the last window of stride {step} must begin in the image of {size}")
            sizes.append(windows)
        more = {} if kind == "MAX" else {"count_include_pad": 1}
        self._node(
            "MaxPool" if kind == "MAX" else "AveragePool",
            [source],
            name,
            kernel_shape=kernel,
            strides=stride,
            pads=[*padding, *padding],
            ceil_mode=1,
            **more,
        )
        return (shape[0], *sizes)

    def _take(self, name: str, shape: Shape, shared: int) -> None:
        layer = self._blobs_of(name, shape[0], math.prod(shape[1:]), shared)
        self.stored[f"{name}.weight"] = StoredLayer(layer, shape, Arrangement.identity(shape), f"{name}.bias")
        self.parameters[f"{name}.weight"] = layer.weights().reshape(shape)
        self.parameters[f"{name}.bias"] = layer.bias_values()

    def _blobs_of(self, name: str, rows: int, columns: int, shared: int) -> CompressedLayer:
        blobs = self.blobs
        check_size(name, rows, columns)
        self.decoded_bytes += rows * columns * _BYTES_PER_WEIGHT
        check_decoded_bytes(self.path, self.decoded_bytes, self.file_bytes)
        count = blobs.entry_counts.pop(0)
        codebook = blobs.take("<f4", shared, f"the codebook of layer {name!r}").astype(np.float32)
        bias = blobs.take("<f4", rows, f"the bias of layer {name!r}").astype(np.float32)
        content = f"codes or gaps of the {count:,} entries of layer {name!r}"
        codes = blobs.take("u1", count, content) if shared == 256 else blobs.half_bytes(count, content)
        gaps = blobs.half_bytes(count, content)
        positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if count and positions[-1] >= rows * columns:
            raise InputError(
                f"layer {name!r} has {rows:,} x {columns:,} weights; an entry lies at {positions[-1]:,}: the file does "
                f"not match the description"
            )
        kept = codes != 0
        if (gaps[~kept] != MAX_GAP).any():
            raise InputError(f"layer {name!r}: an entry of code 0 is padding and must have gap {MAX_GAP}")
        if not np.isfinite(bias).all():
            raise InputError(f"layer {name!r}: every bias must be finite")
        codebook[0] = 0.0  # no kept weight refers to it
        dense = np.zeros(rows * columns, dtype=np.uint8)
        dense[positions[kept]] = codes[kept]
        return CompressedLayer(name, dense.reshape(rows, columns), codebook, free_bias=bias)


def _part(caffe: Message, field: str) -> Message:
    parts = _messages(caffe, field)
    if len(parts) > 1:
        raise InputError(f"a layer of the description must have one {field}; found {len(parts):,}")
    return parts[0] if parts else {}


def _messages(message: Message, field: str) -> list[Message]:
    values = message.get(field, [])
    if not all(isinstance(value, dict) for value in values):
        raise InputError(f"{field} of the description must be a message, in braces; found {_shown(values)}")
    return values


def _texts(caffe: Message, field: str) -> list[str]:
    values = caffe.get(field, [])
    if not all(isinstance(value, str) for value in values):
        raise InputError(
            f"{field} of a layer of the description must be a name in quotation marks; found {_shown(values)}"
        )
    return values


def _text(caffe: Message, field: str) -> str:
    values = caffe.get(field, [])
    if len(values) != 1 or not isinstance(values[0], str):
        raise InputError(f"every layer of the description needs one {field}; found {_shown(values)}")
    return values[0]


def _stated(part: Message, field: str, handled: list[Any], otherwise: Any, name: str) -> Any:
    """Return the value of a field that may have a few values, or the value of a layer that leaves it out."""
    values = part.get(field, [otherwise])
    if len(values) != 1 or not any(values[0] == each and _same_kind(values[0], each) for each in handled):
        raise InputError(
            f"layer {name!r} of the description: {field} must be {' or '.join(map(_in_prototxt, handled))}; found "
            f"{_shown(values)}, which is not handled"
        )
    return values[0]


def _same_kind(value: Any, handled: Any) -> bool:
    return isinstance(value, bool) == isinstance(handled, bool)


def _in_prototxt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(part: Message, field: str, name: str) -> int:
    values = part.get(field, [])
    if len(values) != 1 or not _is_whole(values[0]) or not 1 <= values[0] <= MOST_WEIGHTS:
        raise InputError(
            f"layer {name!r} of the description needs one {field}, a whole number from 1 to {MOST_WEIGHTS:,}; found "
            f"{_shown(values)}"
        )
    return int(values[0])


def _pair(part: Message, field: str, name: str, otherwise: int | None) -> tuple[int, int]:
    """Return height and width of `kernel_size`, `stride` or `pad`, stated once, twice, or as `_h` and `_w`."""
    both = part.get("kernel_size" if field == "kernel" else field, [])
    sides = part.get(f"{field}_h", []) + part.get(f"{field}_w", [])
    values = sides or (both * 2 if len(both) == 1 else both)
    if not values and otherwise is not None:
        return otherwise, otherwise
    least = 0 if field == "pad" else 1
    if len(values) != 2 or not all(_is_whole(value) and least <= value <= MOST_WEIGHTS for value in values):
        raise InputError(
            f"layer {name!r} of the description: {field} must be one or two whole numbers from {least} to "
            f"{MOST_WEIGHTS:,}; found {_shown(values)}"
        )
    return values[0], values[1]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(values: list[Any]) -> str:
    """Return the values as text of bounded length."""
    text = str(values[:8])
    return text if len(text) <= 100 and len(values) <= 8 else f"{text[:100]}..."
