"""Checkpoints that torch.save wrote: the state dict among what else they hold, as arrays (PyTorch needed)."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from compress.weight_files.parameters import NamedParameters, plain_array, unwrapped
from traces import InputError
from traces.arrays import Numbers
from traces.layer import MOST_WEIGHTS
from traces.reading_limit import check_decoded_bytes

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
_DEEPEST = 5
_HARMLESS = (argparse.Namespace, np.dtype, *(type(np.dtype(each)) for each in ("f2", "f4", "f8", "i4", "i8", "?")))


def read_checkpoint(path: str | os.PathLike[str], key: str | None = None) -> NamedParameters:
    """Read the parameters of a checkpoint without running code from it.

    Parameters
    ----------
    path : path
        File that torch.save wrote.
    key : str or None
        Path to the state dict in the checkpoint, such as "model.ema"; "" for its top level. If None, the checkpoint
        must be a state dict, or hold one alone under one of `USUAL_KEYS`.

    Returns
    -------
    NamedParameters
        Parameters by name. Names of one tied tensor share their array.

    Raises
    ------
    InputError
        If the file is damaged, needs code to be run, or the state dict to take is unknown.
    """
    loaded = _load(path)
    found, taken = _state_dict(path, loaded, key)
    others = [name for name in found if not isinstance(name, str)]
    if others:
        raise InputError(
            f"{path}: must be a state dict, names to tensors; found a name that is no text: {type(others[0]).__name__}"
        )
    file_bytes = os.path.getsize(path)
    values, left_out = _arrays(found, lambda num_bytes: check_decoded_bytes(path, num_bytes, file_bytes))
    notes = [] if not taken or key is not None else [f"The state dict is the checkpoint's {taken!r}."]
    lightning = isinstance(loaded, Mapping) and "pytorch-lightning_version" in loaded
    return unwrapped(NamedParameters(values, left_out, notes), ("model.",) if lightning else ())


def state_of(module: torch.nn.Module) -> NamedParameters:
    """Return the parameters and buffers of a module by name.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    NamedParameters
        As its state dict has them. Names of one tied parameter share their array.
    """
    values, left_out = _arrays(module.state_dict())
    names = [name for name, _ in module.named_buffers(remove_duplicate=False) if name in values]
    return NamedParameters(values, left_out, buffers=names)


def _load(path: str | os.PathLike[str]) -> Any:
    allowed: Any = contextlib.nullcontext()
    if hasattr(torch.serialization, "safe_globals"):  # since PyTorch 2.5
        scalar = (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar")  # as NumPy 1 and 2 name it
        allowed = torch.serialization.safe_globals([*_HARMLESS, scalar[0], scalar])  # type: ignore[list-item]
    try:
        with allowed:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        objects = re.search(r"(?:GLOBAL|[Ff]unction|[Cc]lass) '?([\w.]+\.\w+)", str(error))
        if objects:
            raise InputError(
                f"{path}: must hold tensors only; found a pickled {objects[1]}, which needs code to be run; load it "
                f"where you trust it and write torch.save(module.state_dict(), FILE)"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: must be a whole file of torch.save; reading it failed: {reason}") from error


def _state_dict(path: str | os.PathLike[str], loaded: Any, key: str | None) -> tuple[Mapping[str, Any], str]:
    """Return the state dict to read, and its path in the checkpoint."""
    candidates = dict(_candidates(loaded))
    if not candidates and isinstance(loaded, Mapping) and any(isinstance(v, torch.Tensor) for v in loaded.values()):
        candidates = {"": loaded}
    listed = ", ".join(repr(each) if each else "'' (the top level)" for each in candidates)
    if key is not None:
        chosen = _at(loaded, key)
        if not isinstance(chosen, Mapping) or not any(isinstance(value, torch.Tensor) for value in chosen.values()):
            raise InputError(
                f"{path}: key must lead to a state dict; found {key!r}; the state dicts are at {listed or 'no key'}"
            )
        return chosen, key
    if not candidates:
        keys = ", ".join(map(repr, list(loaded)[:5])) if isinstance(loaded, Mapping) else ""
        shown = f"a dict of {keys or 'nothing'}" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise InputError(
            f"{path}: must hold a state dict, names to tensors; found {shown}; write "
            f"torch.save(module.state_dict(), FILE)"
        )
    ((taken, chosen), *more) = candidates.items()
    if more or (taken and taken.rpartition(".")[2] not in USUAL_KEYS):
        raise InputError(
            f"{path}: key must name the state dict to read; found them at {listed}; give key={taken!r}, for example"
        )
    return chosen, taken


def _candidates(loaded: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the mappings of a checkpoint that hold a tensor of two dimensions or more, by their path."""
    waiting, seen = deque([("", loaded, 0)]), set()
    while waiting:
        place, value, depth = waiting.popleft()
        if not isinstance(value, Mapping) or id(value) in seen or not all(isinstance(name, str) for name in value):
            continue
        seen.add(id(value))
        if any(isinstance(each, torch.Tensor) and each.dim() >= 2 for each in value.values()):
            yield place, value
        if depth < _DEEPEST:
            prefix = f"{place}." if place else ""
            inner = [name for name in value if not name.endswith("_extra_state")]
            waiting += [(prefix + name, value[name], depth + 1) for name in inner]


def _at(loaded: Any, key: str) -> Any:
    """Return what lies at a dotted path, the names on which may have dots themselves; None if nothing does."""
    if not key:
        return loaded
    if not isinstance(loaded, Mapping):
        return None
    if key in loaded:
        return loaded[key]
    heads = [name for name in loaded if isinstance(name, str) and key.startswith(f"{name}.")]
    inner = (_at(loaded[name], key[len(name) + 1 :]) for name in heads)
    return next((each for each in inner if each is not None), None)


def _arrays(
    state: Mapping[str, Any], check_bytes: Callable[[int], None] | None = None
) -> tuple[dict[str, Numbers], dict[str, str]]:
    """Return the tensors as arrays, tied ones as one array, and reasons for what is left out.

    `check_bytes` is called with the bytes of all arrays, before each one is made: strides may repeat the values of a
    small storage.
    """
    num_bytes = 0
    arrays: dict[str, Numbers] = {}
    left_out: dict[str, str] = {}
    known: dict[Any, Numbers] = {}
    for name, value in state.items():
        reason = _unreadable(value)
        if reason is not None:
            left_out[name] = reason
            continue
        if value.numel() > MOST_WEIGHTS:
            raise InputError(f"parameter {name!r} must hold at most {MOST_WEIGHTS:,} values; found {value.numel():,}")
        storage = value.untyped_storage().data_ptr() or id(value)
        memory = (storage, value.storage_offset(), value.dtype, tuple(value.shape), value.stride())
        if memory not in known:
            num_bytes += value.numel() * max(4 if value.is_floating_point() else 1, value.element_size())
            if check_bytes is not None:
                check_bytes(num_bytes)
            known[memory] = _array(value)
        found = plain_array(name, known[memory])
        if isinstance(found, str):
            left_out[name] = found
        else:
            arrays[name] = found
    return arrays, left_out


def _array(tensor: torch.Tensor) -> Numbers:
    tensor = tensor.detach().cpu()
    native = (torch.float16, torch.float32, torch.float64)
    return (tensor.float() if tensor.is_floating_point() and tensor.dtype not in native else tensor).numpy()


def _unreadable(value: Any) -> str | None:
    """Return why a value of a state dict has no array of numbers, or None if it has."""
    if not isinstance(value, torch.Tensor):
        return f"{type(value).__name__}, no tensor"
    if value.is_quantized:
        return "a quantised tensor; give the network before it was quantised"
    if value.layout != torch.strided or value.is_nested:
        return "a sparse or nested tensor; give it as a dense one (to_dense)"
    if value.device.type == "meta":
        return "a tensor without values (device meta)"
    if value.is_complex():
        return f"{str(value.dtype).removeprefix('torch.')} values, which are no real numbers"
    try:
        _array(torch.empty(1, dtype=value.dtype))
    except (TypeError, RuntimeError):
        return f"{str(value.dtype).removeprefix('torch.')} values, which NumPy has not"
    return None
