"""Table of the operators that are executed, by name and version of the operator set.

An operator is a function. Its positional parameters are the inputs in the order of ONNX; an input that a node leaves
out is None. Its keyword-only parameters are the attributes with their defaults. A node with another input or attribute
is refused. The keyword `output_count` is no attribute: it is the number of outputs that the node names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import onnx
import torch

from traces import InputError

NEWEST_VERSION = 24  # of an operator's definition; later ones are refused
OLDEST_OPSET = 7  # before it, broadcasts were attributes
_OUTPUT_COUNT = "output_count"

Function = Callable[..., Any]
_Function = TypeVar("_Function", bound=Function)


@dataclass(frozen=True, eq=False)
class Operator:
    """Operator that is executed, from one version of the operator set on.

    Attributes
    ----------
    name : str
        In ONNX.
    since : int
        First version of the operator set with this meaning.
    function : callable
        From inputs and attributes to the output or a sequence of outputs.
    outputs : int or None
        Largest number of outputs; None if there is no limit.
    choices : dict of tuples
        Values of attributes that are executed, where not all are.
    """

    name: str
    since: int
    function: Function
    outputs: int | None
    choices: dict[str, tuple[Any, ...]]

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_version, (self.name, self.since)

    def prepared(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Return the keyword arguments for a node; raise InputError if it has an input or attribute too many."""
        parameters = inspect.signature(self.function).parameters.values()
        variadic = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        positions = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
        keywords = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
        for position, name in enumerate(node.input):
            if name and position >= positions and not variadic:
                raise refusal(node, f"input {position} ({name}) is not executed")
        for position, name in enumerate(node.output):
            if name and self.outputs is not None and position >= self.outputs:
                raise refusal(node, f"output {position} ({name}) is not computed")
        arguments: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.name not in keywords - {_OUTPUT_COUNT}:
                raise refusal(node, f"attribute {attribute.name} is not executed")
            value = attribute_value(attribute)
            allowed = self.choices.get(attribute.name)
            if allowed is not None and (tuple(value) if isinstance(value, list) else value) not in allowed:
                known = ", ".join(map(str, allowed))
                raise refusal(node, f"attribute {attribute.name} must be one of {known}; found {value}")
            arguments[attribute.name] = value
        if _OUTPUT_COUNT in keywords:
            arguments[_OUTPUT_COUNT] = len(node.output)
        return arguments


_TABLE: dict[str, dict[int, Operator]] = {}


def operator(
    *names: str, since: int = 1, outputs: int | None = 1, **choices: tuple[Any, ...]
) -> Callable[[_Function], _Function]:
    """Return a decorator that enters a function into the table under these names; see `Operator`."""

    def enter(function: _Function) -> _Function:
        for name in names:
            _TABLE.setdefault(name, {})[since] = Operator(name, since, function, outputs, choices)
        return function

    return enter


def find_operator(node: onnx.NodeProto, opset: int) -> Operator:
    """Return the operator of a node in a version of the operator set; raise InputError if it is not executed."""
    versions = _TABLE.get(node.op_type, {}) if node.domain in ("", "ai.onnx") else {}
    known = [version for version in versions if version <= opset]
    if not known:
        raise refusal(node, f"this operator of domain {node.domain or 'ai.onnx'!r}, opset {opset}, is not executed")
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        schema = None
    if schema is None:
        raise refusal(node, f"opset {opset} has no such operator")
    if schema.since_version > NEWEST_VERSION:
        raise refusal(node, f"its definition of opset {schema.since_version} is newer than opset {NEWEST_VERSION}")
    return versions[max(known)]


def node_name(node: onnx.NodeProto) -> str:
    """Return the node's name, or its first output's name if it has none."""
    return node.name or next(iter(node.output), "")


def refusal(node: onnx.NodeProto, reason: str) -> InputError:
    """Return the error that refuses a node."""
    return InputError(
        f"node {node_name(node)!r} ({node.op_type}) cannot run in PyTorch: {reason}; "
        f"replace it in the graph by operators that are executed"
    )


def attribute_value(attribute: onnx.AttributeProto) -> Any:
    """Return the value of an attribute: a number, text, list or tensor."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [each.decode() for each in value]
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    return tensor_of(value) if isinstance(value, onnx.TensorProto) else value


def tensor_of(proto: onnx.TensorProto) -> torch.Tensor:
    """Return the values of an ONNX tensor; raise InputError if PyTorch has no such type."""
    if proto.data_type not in TYPES:
        kind = onnx.TensorProto.DataType.Name(proto.data_type)
        raise InputError(f"tensor {proto.name!r} must have a type of PyTorch; found {kind}; convert it")
    array = onnx.numpy_helper.to_array(proto)
    if proto.data_type == onnx.TensorProto.BFLOAT16:
        array = array.astype("float32")  # exact
    return torch.tensor(array).to(TYPES[proto.data_type])


def integers(values: torch.Tensor) -> list[int]:
    """Return the integers of a tensor with at most one axis."""
    return [int(each) for each in values.reshape(-1).tolist()]


def _of_version(name: str, since: int) -> Operator:
    return _TABLE[name][since]


TYPES: dict[int, torch.dtype] = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.UINT16: torch.uint16,
    onnx.TensorProto.UINT32: torch.uint32,
    onnx.TensorProto.UINT64: torch.uint64,
    onnx.TensorProto.BOOL: torch.bool,
}
