"""Inputs of a network: how many there are, which axis holds them, and whether given arrays fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, helper

from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.description import NetworkInput
from traces.graph.surgery import WHOLE

if TYPE_CHECKING:
    from onnx import ValueInfoProto

    from traces.graph.network import Network

_UNKNOWN = ""  # the name of a length that has none


def network_inputs(model: ModelProto) -> tuple[NetworkInput, ...]:
    """Return the inputs of a graph.

    The first axis of the first input holds the inputs. Another input has them on the axis whose length has the same
    name; on its first axis if that length has none.
    """
    lengths = [_lengths(value) for value in model.graph.input]
    symbol = next((axes[0] for axes in lengths if axes), None)
    is_whole = any(each.key == WHOLE for each in model.metadata_props)
    entries = []
    for value, axes in zip(model.graph.input, lengths, strict=True):
        axis: int | None = None
        if isinstance(symbol, str) and symbol and symbol in axes:
            axis = axes.index(symbol)
        elif axes and axes[0] in (1, _UNKNOWN) and (symbol == 1 or isinstance(symbol, str)):
            axis = 0
        axis = None if is_whole else axis
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        shape = tuple(length if isinstance(length, int) else None for length in axes)
        entries.append(NetworkInput(value.name, dtype, shape, axis, axis is not None and axes[axis] == 1))
    return tuple(entries)


def _lengths(value: ValueInfoProto) -> list[int | str]:
    kind = value.type
    if not kind.HasField("tensor_type"):
        raise InputError(f"input {value.name!r} must be a tensor; found {kind.WhichOneof('value')}")
    return [
        length.dim_value if length.HasField("dim_value") and length.dim_value > 0 else length.dim_param
        for length in kind.tensor_type.shape.dim
    ]


def bound(
    network: str, entries: Sequence[NetworkInput], inputs: Any, state: Collection[str] = ()
) -> dict[str, Numbers]:
    """Return inputs as arrays by name; those of the state may be empty. Raises InputError if they do not fit."""
    names = [entry.name for entry in entries]
    inputs = getattr(inputs, "given", inputs)  # those of traces.inputs.Inputs
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    elif isinstance(inputs, tuple) or (isinstance(inputs, list) and len(entries) > 1):
        if len(inputs) != len(names):
            raise InputError(f"{network}: there must be {len(names)} inputs, {', '.join(names)}; found {len(inputs)}")
        given = dict(zip(names, inputs, strict=True))
    elif len(names) == 1:
        given = {names[0]: inputs}
    else:
        raise InputError(
            f"{network}: there must be {len(names)} inputs, {', '.join(names)}; found one; give them by name"
        )
    unknown, missing = sorted(set(given) - set(names)), [name for name in names if name not in given]
    if unknown or missing:
        raise InputError(
            f"{network}: inputs must be {', '.join(names)}; "
            f"{'missing ' + ', '.join(missing) if missing else 'unknown ' + ', '.join(unknown)}"
        )
    feeds = {entry.name: _cast(network, entry, given[entry.name], entry.name in state) for entry in entries}
    total = count_inputs(entries, feeds)
    for entry in entries:
        if entry.batch_axis is not None and feeds[entry.name].shape[entry.batch_axis] not in (1, total):
            raise InputError(
                f"{network}: input {entry.name!r} must have {total:,} inputs on axis {entry.batch_axis}, as the first "
                f"one has, or 1; found {list(feeds[entry.name].shape)}"
            )
    return feeds


def _cast(network: str, entry: NetworkInput, values: Any, may_be_empty: bool) -> Numbers:
    try:
        array = np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{network}: input {entry.name!r} must be one array; its parts differ in shape") from error
    wanted = ", ".join("any" if length is None else str(length) for length in entry.shape)
    if array.ndim != len(entry.shape) or any(
        length is not None and length != found and not (entry.fixed_batch and axis == entry.batch_axis)
        for axis, (length, found) in enumerate(zip(entry.shape, array.shape, strict=True))
    ):
        raise InputError(
            f"{network}: input {entry.name!r} must be {entry.dtype} [{wanted}]; found {array.dtype} {list(array.shape)}"
        )
    kind, target = array.dtype.kind, entry.dtype.kind
    fits = kind in "fiub" if target in "fV" else kind in "iub" if target in "iu" else kind == target
    if not fits or (0 in array.shape and not may_be_empty):
        least = "" if may_be_empty else ", at least one value"
        raise InputError(
            f"{network}: input {entry.name!r} must be {entry.dtype} [{wanted}]{least}; found "
            f"{array.dtype} {list(array.shape)}"
        )
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array.astype(entry.dtype)) if array.ndim else array.astype(entry.dtype)
    if target in "iu" and array.size and not np.array_equal(cast, array):
        raise InputError(f"{network}: input {entry.name!r} must fit {entry.dtype}; found values beyond its range")
    if target == "f" and not np.isfinite(cast).all():
        raise InputError(f"{network}: input {entry.name!r} must be finite; found NaN or infinity")
    return cast


def count_inputs(entries: Sequence[NetworkInput], feeds: Mapping[str, Numbers]) -> int:
    """Return how many inputs bound arrays hold."""
    sizes = [feeds[entry.name].shape[entry.batch_axis] for entry in entries if entry.batch_axis is not None]
    return int(max(sizes, default=1))


def check_state(network: Network, state: Mapping[str, str]) -> None:
    """Raise InputError if a state names no input or no output."""
    names = [entry.name for entry in network.inputs]
    for name, output in state.items():
        if name not in names or output not in network.outputs:
            raise InputError(
                f"state must name an input and the output that it is, of {', '.join(names)} and "
                f"{', '.join(network.outputs)}; found {name}: {output}"
            )


def first_state(network: Network, feeds: Mapping[str, Numbers], state: Mapping[str, str] | None) -> dict[str, Numbers]:
    """Return the values of the state that enter the first step.

    Raises InputError if the state names no input or output, or there are values of several inputs.
    """
    check_state(network, state or {})
    entries = {entry.name: entry for entry in network.inputs}
    for name in state or {}:
        axis, shape = entries[name].batch_axis, feeds[name].shape
        if axis is not None and shape[axis] > 1:
            raise InputError(
                f"state {name!r} must be its value before the first step, of length 1 on axis {axis}; found "
                f"{list(shape)}"
            )
    return {name: feeds[name] for name in state or {}}


def next_state(network: Network, outputs: Mapping[str, Any], state: Mapping[str, str] | None) -> dict[str, Numbers]:
    """Return the values of the state that enter the next step.

    Raises InputError if an output is no array that its input takes.
    """
    entries = {entry.name: entry for entry in network.inputs}
    values = {name: np.asarray(outputs[output]) for name, output in (state or {}).items()}
    for name, value in values.items():
        entry = entries[name]
        lengths = [1 if axis == entry.batch_axis else length for axis, length in enumerate(entry.shape)]
        if (
            value.dtype != entry.dtype
            or value.ndim != len(lengths)
            or any(length not in (None, found) for length, found in zip(lengths, value.shape, strict=True))
        ):
            wanted = ", ".join("any" if length is None else str(length) for length in lengths)
            raise InputError(
                f"state {name!r} must be {entry.dtype} [{wanted}], as the input takes it; found {value.dtype} "
                f"{list(value.shape)} of output {(state or {})[name]!r}; name the output that it is"
            )
    return values


def state_before(network: Network, state: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Numbers]:
    """Return the values of the state that enter the first step: those that are given, and zeros for the others.

    A length that is not known is 0 in these. Raises InputError if the state names no input or output, or a given value
    does not fit or is none of the state.
    """
    check_state(network, state)
    unknown = sorted(set(given) - set(state))
    if unknown:
        raise InputError(f"first values must be those of the state, {', '.join(state)}; found {', '.join(unknown)}")
    values: dict[str, Numbers] = {}
    for entry in network.inputs:
        if entry.name in given:
            values[entry.name] = _cast(network.name, entry, given[entry.name], True)
        elif entry.name in state:
            lengths = [1 if axis == entry.batch_axis else length or 0 for axis, length in enumerate(entry.shape)]
            values[entry.name] = np.zeros(lengths, dtype=entry.dtype)
    return first_state(network, values, state)


def drawn_feeds(entries: Sequence[NetworkInput]) -> dict[str, Numbers]:
    """Return one input of random values, where the shape of each input is known but for the number of inputs."""
    draw = np.random.default_rng(0)
    feeds: dict[str, Numbers] = {}
    for entry in entries:
        unknown = [k for k, length in enumerate(entry.shape) if length is None and k != entry.batch_axis]
        if unknown:
            raise InputError(
                f"the length of axis {unknown[0]} of input {entry.name!r} is not known; open the network with inputs"
            )
        shape = tuple(1 if length is None else length for length in entry.shape)
        values = draw.standard_normal(shape) if entry.dtype.kind in "fV" else np.zeros(shape)
        feeds[entry.name] = np.asarray(values).astype(entry.dtype)
    return feeds
