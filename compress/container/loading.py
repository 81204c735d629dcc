"""Loading of decoded parameters and buffers into a PyTorch module."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from traces import InputError
from traces.arrays import Numbers

if TYPE_CHECKING:
    import torch

_WRAPPERS = re.compile(r"(?<![^.])(module|_orig_mod)\.")  # parts of names that DataParallel and torch.compile add


def copy_into(module: torch.nn.Module, state: Mapping[str, Numbers], without_bias: Mapping[str, str]) -> None:
    """Copy values into the parameters and buffers of a module, by name; wrappers like DataParallel do not count.

    `without_bias` has the layers without a bias, by the name that it would have. Raises InputError before anything is
    changed.
    """
    import torch

    named = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    places: dict[str, torch.Tensor] = {_plain(name): place for name, place in named.items()} | named
    held = {*state, *map(_plain, state)}
    for bias_name, layer in without_bias.items():
        if bias_name in places and bias_name not in held:
            raise InputError(
                f"the module's layer {layer!r} has a bias and the container holds none for it; "
                f"build the module without it"
            )
    taken: dict[int, tuple[str, Numbers]] = {}
    values: list[tuple[torch.Tensor, torch.Tensor]] = []
    for stated, value in state.items():
        name = stated if stated in places else _plain(stated)
        if name not in places:
            _refuse_computed(module, name)
            raise InputError(f"the module has no parameter {stated!r}; it has {', '.join(named) or 'none'}")
        place = places[name]
        if tuple(place.shape) != value.shape:
            raise InputError(
                f"the module's {name!r} has shape {list(place.shape)}; the container holds "
                f"{list(value.shape)}: it belongs to another network"
            )
        if place.device.type == "meta":
            raise InputError(f"the module's {name!r} has no memory; call module.to_empty(device='cpu') first")
        other, other_value = taken.setdefault(id(place), (stated, value))
        if not np.array_equal(value, other_value, equal_nan=value.dtype.kind == "f"):
            raise InputError(
                f"the module's {name!r} and {other!r} are one tensor, and the container holds different values for "
                f"them; untie them in the module"
            )
        given = torch.from_numpy(np.array(value))
        if not place.is_floating_point() and not torch.equal(given.to(place.dtype).to(given.dtype), given):
            raise InputError(f"the module's {name!r} is {place.dtype} and cannot hold the container's {value.dtype}")
        values.append((place, given))
    missing = [
        name
        for name in module.state_dict(keep_vars=True)
        if name in places and places[name].is_floating_point() and id(places[name]) not in taken
    ]
    if missing:
        raise InputError(
            f"the container holds nothing for the module's {', '.join(missing)}: it belongs to another network"
        )
    with torch.no_grad():
        for place, given in values:
            place.copy_(given)


def threshold_places(
    module: torch.nn.Module, thresholds: Mapping[str, float], elsewhere: Collection[str] = ()
) -> dict[str, float]:
    """Return the thresholds by the name of the submodule that multiplies the weight; tied layers have one threshold.

    A module that executes a graph, which has the attribute `activation_thresholds`, takes them by weight. Raises
    InputError if a weight belongs to no plain linear or convolutional layer, or is among those that are known to be
    multiplied elsewhere.
    """
    from torch import nn

    from traces.torch_modules import multiplies_as_called, named_parts, unwrapped

    inner: Any = unwrapped(module)
    if hasattr(inner, "activation_thresholds"):
        inner.check_thresholds(thresholds)
        return dict(thresholds)
    parts = dict(named_parts(module, every_name=True)) if thresholds else {}
    inside = {id(part.out_proj) for part in parts.values() if isinstance(part, nn.MultiheadAttention)}
    multiplied: dict[int, list[str]] = {}
    for name, layer in parts.items():
        if multiplies_as_called(layer) and id(layer) not in inside:
            multiplied.setdefault(id(layer.weight), []).append(name)
    places: dict[str, float] = {}
    tied: dict[str, float] = {}
    for stated, threshold in thresholds.items():
        path, _, attribute = _plain(stated).rpartition(".")
        part = parts.get(path)
        if stated in elsewhere:
            raise InputError(
                f"the module's {stated!r} has a product outside a call of its layer, where a module cannot apply its "
                f"activation threshold; run the container's own graph (`model.network`)"
            )
        if attribute == "weight" and part is not None:
            tied |= dict.fromkeys(multiplied.get(id(part._parameters.get("weight")), ()), threshold)
        if isinstance(part, nn.Embedding) and id(part.weight) in multiplied:  # a tied weight, which is looked up here
            continue
        if not multiplies_as_called(part) or attribute != "weight" or id(part) in inside:
            found = "no layer" if part is None else type(part).__name__
            raise InputError(
                f"the module's {stated!r}: an activation threshold must be that of a linear or convolutional layer of "
                f"torch.nn that is called; found {found}; run the container's own graph instead"
            )
        places[path] = threshold
    return tied | places


def set_thresholds(module: torch.nn.Module, places: Mapping[str, float]) -> None:
    """Have submodules set activations up to a threshold to zero, and no others."""
    from traces.torch_modules import named_parts, unwrapped

    inner: Any = unwrapped(module)
    if hasattr(inner, "activation_thresholds"):
        inner.activation_thresholds = dict(places)
        return
    for _, part in named_parts(module):
        for number, hook in list(part._forward_pre_hooks.items()):
            if isinstance(hook, _Threshold):
                del part._forward_pre_hooks[number]
                part._forward_pre_hooks_with_kwargs.pop(number, None)
    for name, part in named_parts(module, every_name=True):
        hooked = any(isinstance(hook, _Threshold) for hook in part._forward_pre_hooks.values())
        if name in places and not hooked:
            part.register_forward_pre_hook(_Threshold(places[name]), with_kwargs=True)


def threshold_of(part: torch.nn.Module) -> float:
    """Return the threshold of the activations that enter a layer, as `set_thresholds` set it; 0 without one."""
    hooks = part._forward_pre_hooks.values()
    return max((hook.threshold for hook in hooks if isinstance(hook, _Threshold)), default=0.0)


def thresholds_in(module: torch.nn.Module) -> dict[str, float]:
    """Return the thresholds of a module, as `set_thresholds` takes them."""
    from traces.torch_modules import named_parts, unwrapped

    inner: Any = unwrapped(module)
    if hasattr(inner, "activation_thresholds"):
        return dict(inner.activation_thresholds)
    return {name: threshold for name, part in named_parts(module) if (threshold := threshold_of(part))}


class _Threshold:
    """Hook that sets activations to zero before they enter a layer.

    Parameters
    ----------
    threshold : float
        Largest magnitude that is set to zero.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(
        self, part: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if arguments:
            return (self._kept(arguments[0]), *arguments[1:]), keywords
        return arguments, {**keywords, "input": self._kept(keywords["input"])}

    def _kept(self, activations: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn.functional import hardshrink

        if torch.compiler.is_exporting():  # hardshrink would become several operations
            shape, dtype = activations.shape, activations.dtype
            attributes: Any = {"lambd": self.threshold, "bias": 0.0}
            return torch.onnx.ops.symbolic("Shrink", (activations,), attributes, dtype=dtype, shape=shape, version=9)
        if activations.dtype.itemsize >= 4:
            return hardshrink(activations, self.threshold)
        return hardshrink(activations.float(), self.threshold).to(activations.dtype)  # compared in float32


def _refuse_computed(module: torch.nn.Module, name: str) -> None:
    """Raise InputError if a weight of this name is computed from other parameters."""
    from traces.torch_modules import computed_tensors, named_parts

    path, _, attribute = name.rpartition(".")
    part = dict(named_parts(module, every_name=True)).get(path)
    way = None if part is None else computed_tensors(part).get(attribute)
    if way is not None:
        raise InputError(
            f"the module's {name!r} must be a parameter; layer {path!r} computes it ({way}) from others; load into "
            f"compress.plain_module(module), where it is one"
        )


def _plain(name: str) -> str:
    """Return a name without the wrappers' parts."""
    return _WRAPPERS.sub("", name)
