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

from traces.arrays import Floats32, Numbers
from traces.convolution import Convolution
from traces.errors import InputError
from traces.files.prototxt import Message, parse_prototxt
from traces.layer import CompressedLayer, check_size
from traces.network import INPUT, ConcatenateStep, LayerStep, Network, PoolStep, Shape, Step

MAX_GAP = 15


def read_net(path: str | os.PathLike[str], prototxt: str | os.PathLike[str] | None = None) -> Network:
    """Read a `.net` file.

    Parameters
    ----------
    path : str or os.PathLike
        The `.net` file.
    prototxt : str or os.PathLike, optional
        Caffe's description of the network. By default it is the only one in the same folder.

    Returns
    -------
    Network
        Convolutions of 8-bit codes, and fully connected layers of 4-bit codes. A bias is a `LayerStep.bias`.

    Raises
    ------
    InputError
        If a file is missing, cut off or too long, or the two do not match.

    Notes
    -----
    Dropout and a last softmax are left out: the first has no effect in inference, the second does not change the order
    of the outputs.
    """
    path = Path(path)
    description = _read(_description_beside(path) if prototxt is None else Path(prototxt)).decode("utf-8", "replace")
    try:
        blobs = _Blobs(_read(path))
        message = parse_prototxt(description)
        network = _Builder(message, blobs).network(path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
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
    """Builder of a network: it visits Caffe's layers and takes the blobs of those with weights."""

    def __init__(self, description: Message, blobs: _Blobs) -> None:
        self.description = description
        self.blobs = blobs
        self.steps: list[Step] = []
        self.tops: dict[str, str] = {}  # last step that wrote each of Caffe's blobs
        self.shapes: dict[str, Shape] = {}

    def network(self, name: str) -> Network:
        """Build the network."""
        caffe_layers = _messages(self.description, "layer")
        weighted = [layer for layer in caffe_layers if _text(layer, "type") in ("Convolution", "InnerProduct")]
        if not weighted:
            raise InputError("the description has no Convolution and no InnerProduct layer")
        counts = self.blobs.take("<u4", len(weighted), "the count of stored entries of each layer")
        self.blobs.entry_counts = counts.tolist()
        shape = self._input_shape()
        self.tops[str(self.description.get("input", ["data"])[0])] = INPUT
        self.shapes[INPUT] = shape
        for layer in caffe_layers:
            self._add(layer)
        return Network(name, shape, tuple(self.steps))

    def _input_shape(self) -> Shape:
        dims = self.description.get("input_dim") or [
            size for shape in _messages(self.description, "input_shape") for size in shape.get("dim", [])
        ]
        if len(dims) < 2 or not all(isinstance(size, int) and size > 0 for size in dims):
            raise InputError(f"the description must state input_dim, the inputs and their shape; found {dims}")
        return tuple(dims[1:])

    def _add(self, caffe: Message) -> None:
        kind, name = _text(caffe, "type"), _text(caffe, "name")
        sources = []
        for bottom in _texts(caffe, "bottom"):
            if bottom not in self.tops:
                raise InputError(f"layer {name!r} of the description takes {bottom!r}, which no earlier layer puts out")
            sources.append(self.tops[bottom])
        if kind in ("Dropout", "Softmax", "Data", "Input"):
            for top in _texts(caffe, "top"):
                self.tops[top] = sources[0] if sources else INPUT
            return
        if not sources:
            raise InputError(f"layer {name!r} of the description must have an input (bottom); found none")
        step: Step
        if kind == "ReLU":
            last = self.steps[-1] if self.steps else None
            if not isinstance(last, LayerStep) or last.name != sources[0] or last.rectified:
                raise InputError(f"layer {name!r}: a ReLU must follow the layer it rectifies")
            self.steps[-1] = LayerStep(last.layer, last.source, last.convolution, last.bias, rectified=True)
            for top in _texts(caffe, "top"):
                self.tops[top] = last.name
            return
        if kind == "Convolution":
            step = self._weighted(name, sources[0], _convolution(caffe, name), _part(caffe, "convolution_param"))
        elif kind == "InnerProduct":
            step = self._weighted(name, sources[0], None, _part(caffe, "inner_product_param"))
        elif kind == "Pooling":
            step = _pooling(name, sources[0], _part(caffe, "pooling_param"))
        elif kind == "Concat":
            step = ConcatenateStep(name, tuple(sources))
        else:
            raise InputError(f"layer {name!r} of the description is of type {kind!r}, which is not supported")
        try:
            self.shapes[name] = step.output_shape(*(self.shapes[source] for source in sources))
        except InputError as error:
            raise InputError(f"layer {name!r} of the description: {error}") from None
        self.steps.append(step)
        for top in _texts(caffe, "top"):
            self.tops[top] = name

    def _weighted(self, name: str, source: str, convolution: Convolution | None, part: Message) -> LayerStep:
        outputs = _number(part, "num_output", name)
        shape = self.shapes[source]
        columns = math.prod(shape)
        if convolution is not None:
            columns = shape[0] // convolution.groups * math.prod(convolution.kernel)
        layer, bias = self._blobs_of(name, outputs, columns, 256 if convolution else 16)
        return LayerStep(layer, source, convolution, bias)

    def _blobs_of(self, name: str, rows: int, columns: int, shared: int) -> tuple[CompressedLayer, Floats32]:
        blobs = self.blobs
        count = blobs.entry_counts.pop(0)
        codebook = blobs.take("<f4", shared, f"the codebook of layer {name!r}").astype(np.float32)
        bias = blobs.take("<f4", rows, f"the bias of layer {name!r}").astype(np.float32)
        content = f"codes or gaps of the {count:,} entries of layer {name!r}"
        codes = blobs.take("u1", count, content) if shared == 256 else blobs.half_bytes(count, content)
        gaps = blobs.half_bytes(count, content)
        positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
        check_size(name, rows, columns)
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
        return CompressedLayer(name, dense.reshape(rows, columns), codebook), bias


def _convolution(caffe: Message, name: str) -> Convolution:
    part = _part(caffe, "convolution_param")
    try:
        return Convolution(
            kernel=_pair(part, "kernel", name, None),
            stride=_pair(part, "stride", name, 1),
            padding=_pair(part, "pad", name, 0),
            groups=_number(part, "group", name) if "group" in part else 1,
        )
    except InputError as error:
        raise InputError(f"layer {name!r} of the description: {error}") from None


def _pooling(name: str, source: str, part: Message) -> PoolStep:
    kinds: dict[str, Any] = {"MAX": "max", "AVE": "mean"}
    kind = str(part.get("pool", ["MAX"])[0])
    if kind not in kinds:
        raise InputError(f"layer {name!r} of the description must pool by MAX or AVE; found {kind!r}")
    if part.get("global_pooling", [False])[0]:
        return PoolStep(name, source, kinds[kind])
    kernel, stride = _pair(part, "kernel", name, None), _pair(part, "stride", name, 1)
    return PoolStep(name, source, kinds[kind], kernel, stride, _pair(part, "pad", name, 0))


def _part(caffe: Message, field: str) -> Message:
    return _messages(caffe, field)[0] if field in caffe else {}


def _messages(message: Message, field: str) -> list[Message]:
    values = message.get(field, [])
    if not all(isinstance(value, dict) for value in values):
        raise InputError(f"{field} of the description must be a message, in braces; found {values}")
    return values


def _texts(caffe: Message, field: str) -> list[str]:
    values = caffe.get(field, [])
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"{field} of a layer of the description must be a name in quotation marks; found {values}")
    return values


def _text(caffe: Message, field: str) -> str:
    values = caffe.get(field, [])
    if len(values) != 1 or not isinstance(values[0], str):
        raise InputError(f"every layer of the description needs one {field}; found {values}")
    return values[0]


def _number(part: Message, field: str, name: str) -> int:
    values = part.get(field, [])
    if len(values) != 1 or not isinstance(values[0], int) or values[0] < 1:
        raise InputError(f"layer {name!r} of the description needs one {field}, a whole number; found {values}")
    return values[0]


def _pair(part: Message, field: str, name: str, otherwise: int | None) -> tuple[int, int]:
    """Return height and width of `kernel_size`, `stride` or `pad`, stated once, twice, or as `_h` and `_w`."""
    both = part.get("kernel_size" if field == "kernel" else field, [])
    sides = part.get(f"{field}_h", []) + part.get(f"{field}_w", [])
    values = sides or (both * 2 if len(both) == 1 else both)
    if not values and otherwise is not None:
        return otherwise, otherwise
    if len(values) != 2 or not all(isinstance(value, int) for value in values):
        raise InputError(f"layer {name!r} of the description: {field} must be one or two whole numbers; found {values}")
    return values[0], values[1]
