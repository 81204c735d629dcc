"""Loading of decoded parameters and buffers into a PyTorch module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

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
