"""Other tensors of a model as bytes: parameters that are not compressed, and buffers; see `guide/container.md`."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np

from compress.container.bytes_io import MOST_DIMENSIONS, MOST_NAME_BYTES, ByteReader, MakeRoom, inflate, varint
from traces import InputError
from traces.arrays import Floats32, Numbers
from traces.layer import MOST_WEIGHTS

_FORMS = (
    ("float32", "<f4"),
    ("float32", "<f2"),
    ("float32", "<f4"),  # one value for all
    ("int64", "<i8"),
    ("float32", "<u2"),  # the upper halves of the values: bfloat16
    ("float64", "<f8"),
    ("bool", "|u1"),
    ("int8", "|i1"),
    ("int16", "<i2"),
    ("int32", "<i4"),
    ("uint8", "|u1"),
    ("uint16", "<u2"),
    ("uint32", "<u4"),
    ("uint64", "<u8"),
)  # by the number of the form: the type of a tensor, and the type of its values in the file
_FLOAT32, _FLOAT16, _CONSTANT, _INT64, _BFLOAT16, _, _BOOL = range(7)
_TENSOR_BYTES = 256  # of a decoded tensor beside its name and its values
_DEFLATED, _BUFFER = 64, 128  # added to the form


def checked_tensor(name: str, values: Numbers) -> Numbers:
    """Return a new array of a type that a container has; float64 becomes float32 if that changes no value.

    Raises InputError if the values are no real numbers of up to 64 bits, or have too many dimensions.
    """
    values = np.asarray(values)
    if values.ndim > MOST_DIMENSIONS:
        raise InputError(f"tensor {name!r} must have up to {MOST_DIMENSIONS} dimensions; found {values.ndim}")
    if values.dtype.kind not in "fiub" or values.dtype.itemsize > 8:
        raise InputError(f"tensor {name!r} must be real numbers of up to 64 bits; found {values.dtype}")
    if values.dtype.kind != "f":
        return values.astype(values.dtype.name)
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
        if values.dtype.itemsize <= 4:
            return narrow
        wide = values.astype(np.float64)
        same = np.array_equal(narrow.astype(np.float64).view(np.uint64), wide.view(np.uint64))
    return narrow if same else wide


def fit_version_2(tensors: Mapping[str, Numbers]) -> bool:
    """Return True if version 2 of the format can hold the tensors: int64, and finite float32."""
    return all(
        values.dtype == np.int64 or (values.dtype == np.float32 and bool(np.isfinite(values).all()))
        for values in tensors.values()
    )


def encode_tensors(tensors: Mapping[str, Numbers], buffers: frozenset[str], version: int) -> bytes:
    """Return the section of the other tensors; empty if there are none."""
    if not tensors:
        return b""
    parts = [varint(len(tensors))]
    before = b""
    for name, values in tensors.items():
        encoded = name.encode()
        common = next((i for i, (a, b) in enumerate(zip(before, encoded, strict=False)) if a != b), None)
        common = min(len(before), len(encoded)) if common is None else common
        before = encoded
        form, stored = _encode_values(values, version)
        parts.append(varint(common) + varint(len(encoded) - common) + encoded[common:])
        parts.append(bytes([form | (_BUFFER if name in buffers else 0), values.ndim]))
        parts += [varint(length) for length in values.shape]
        parts.append(stored)
    return b"".join(parts)


def _encode_values(values: Numbers, version: int) -> tuple[int, bytes]:
    """Return the form that takes the fewest bytes, and the bytes."""
    form = next(number for number, (dtype, _) in enumerate(_FORMS) if dtype == values.dtype)
    if form == _FLOAT32:
        bits = values.view(np.uint32)
        if bits.size and (bits == bits.flat[0]).all():
            form, values = _CONSTANT, values.ravel()[:1]
        elif fits_float16(values):
            form = _FLOAT16
        elif version > 2 and not (bits & 0xFFFF).any():
            form, values = _BFLOAT16, bits >> 16
    stored = values.astype(_FORMS[form][1]).tobytes()
    if version > 2:
        deflated = zlib.compress(stored, 9)
        deflated = varint(len(deflated)) + deflated
        if len(deflated) < len(stored):
            return form | _DEFLATED, deflated
    return form, stored


def decode_tensors(content: bytes, version: int, make_room: MakeRoom) -> tuple[dict[str, Numbers], list[str]]:
    """Read the section of the other tensors: tensors by name, and the names of buffers.

    Raises ValueError if the section is invalid, and what `make_room` raises.
    """
    reader = ByteReader(content)
    tensors: dict[str, Numbers] = {}
    buffers = []
    before = b""
    num_values = 0
    for _ in range(reader.varint()):
        common = reader.varint()
        before = before[:common] + reader.take(reader.varint())
        if not common <= len(before) <= MOST_NAME_BYTES:
            raise ValueError(f"a name of {len(before):,} bytes")
        name = before.decode()
        (flags,) = reader.take(1)
        form = flags & 63
        shape = reader.shape()
        num_values += math.prod(shape)
        known = form < len(_FORMS) if version > 2 else flags & 127 <= _INT64
        if not known or num_values > MOST_WEIGHTS or name in tensors:
            raise ValueError(f"tensor {name!r} of form {flags & 127} and shape {list(shape)}")
        make_room(_TENSOR_BYTES + len(before) + math.prod(shape) * np.dtype(_FORMS[form][0]).itemsize)
        try:
            tensors[name] = _decode_values(reader, form, bool(flags & _DEFLATED), shape)
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from error
        if flags & _BUFFER:
            buffers.append(name)
    reader.check_end()
    if version == 2 and not fit_version_2(tensors):
        raise ValueError("every value must be finite in version 2")
    return tensors, buffers


def _decode_values(reader: ByteReader, form: int, deflated: bool, shape: tuple[int, ...]) -> Numbers:
    dtype, stored = _FORMS[form]
    num_bytes = (1 if form == _CONSTANT else math.prod(shape)) * np.dtype(stored).itemsize
    content = inflate(reader.take(reader.varint()), num_bytes) if deflated else reader.take(num_bytes)
    values = np.frombuffer(content, dtype=stored)
    if form == _CONSTANT:
        return np.full(shape, values[0].astype(np.float32))
    if form == _BOOL and values.size and values.max() > 1:
        raise ValueError(f"a bool must be 0 or 1; found {values.max()}")
    if form == _BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return values.astype(dtype).reshape(shape)


def fits_float16(values: Floats32) -> bool:
    """Return True if float16 changes no bit of the values."""
    with np.errstate(over="ignore", invalid="ignore"):
        again = values.astype(np.float16).astype(np.float32)
    return np.array_equal(again.view(np.uint32), values.view(np.uint32))
