"""Parameters of a network that can be compressed, and the reasons why others are left alone (PyTorch needed)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn.utils import parametrize

from traces import InputError

BUFFER = "a buffer"
NOT_STORED = "not stored: it counts training"


@dataclass(frozen=True, eq=False)
class WeightUnit:
    """One weight that is compressed, and its bias.

    Attributes
    ----------
    name : str
        Of the layer: the module's name, followed by the parameter's if the module has several weights.
    kind : str
        Type of the module: Linear, Conv2d, LSTM, ...
    owners : tuple of (torch.nn.Module, str)
        Modules and attributes that hold the weight; more than one if it is tied.
    names : tuple of str
        Name of the parameter under each owner.
    bias : (torch.nn.Module, str) or None
        Module and attribute of the bias.
    bias_name : str
        Name of the bias parameter.
    """

    name: str
    kind: str
    owners: tuple[tuple[torch.nn.Module, str], ...]
    names: tuple[str, ...]
    bias: tuple[torch.nn.Module, str] | None
    bias_name: str

    @property
    def weight(self) -> torch.Tensor:
        """The weight as the forward pass sees it."""
        module, attribute = self.owners[0]
        weight: torch.Tensor = getattr(module, attribute)
        return weight

    @property
    def bias_values(self) -> torch.Tensor | None:
        """The bias as the forward pass sees it, or None."""
        return None if self.bias is None else getattr(*self.bias)


_ONE_WEIGHT = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Embedding)
_SEVERAL_WEIGHTS = (torch.nn.RNNBase, torch.nn.MultiheadAttention)


def weight_units(module: torch.nn.Module) -> tuple[list[WeightUnit], dict[str, str]]:
    """Return the weights to compress, in order, and for each other parameter or buffer the reason to leave it alone.

    Weights of Linear, Conv1d, Conv2d, Embedding, LSTM, GRU, RNN and MultiheadAttention are compressed; a tied weight
    is one unit. A weight or bias that is tied to a parameter of another kind is left alone, because compression would
    untie them. Raises InputError if there is no such weight, or the module is itself one layer, which has no name.
    """
    places = _places(module)
    units: dict[int, WeightUnit] = {}
    taken: set[str] = set()
    reasons: dict[str, str] = {}
    weights = {
        f"{path}.{weight}": (path, part, weight, bias)
        for path, part in module.named_modules()
        for weight, bias in _weights_of(part)
        if part._parameters.get(weight) is not None
    }
    for name, (path, part, weight, bias) in weights.items():
        if not path:
            raise InputError("a layer alone has no name to be stored under; put it into a torch.nn.Sequential")
        parameter = part._parameters[weight]
        assert parameter is not None
        elsewhere = [place for place in places[id(parameter)] if place not in weights]
        if elsewhere or not parameter.numel():
            reasons[name] = f"tied to {elsewhere[0]}, which is not compressed" if elsewhere else "empty"
            continue
        layer = path if weight == "weight" else name
        bias_name = f"{path}.{bias}" if bias is not None else f"{layer}.bias"
        own_bias = None if bias is None or part._parameters.get(bias) is None else (part, bias)
        unit = units.get(id(parameter))
        if own_bias is not None and len(places[id(getattr(*own_bias))]) > 1:
            reasons[bias_name] = "a bias that is tied"
            own_bias = None
        elif own_bias is not None and unit is not None and unit.bias is not None:
            reasons[bias_name] = "its layer's codebook serves another bias"
            own_bias = None
        taken |= {name, bias_name} if own_bias is not None else {name}
        if unit is None:
            unit = WeightUnit(layer, type(part).__name__, ((part, weight),), (name,), own_bias, bias_name)
        else:
            unit = replace(unit, owners=(*unit.owners, (part, weight)), names=(*unit.names, name))
            if own_bias is not None:
                unit = replace(unit, bias=own_bias, bias_name=bias_name)
        units[id(parameter)] = unit
    if not units:
        raise InputError(
            "the network has nothing to compress: no Linear, Conv1d, Conv2d, Embedding, LSTM, GRU or MultiheadAttention"
        )
    return list(units.values()), _left_alone(module, taken, reasons)


def check_parameters(module: torch.nn.Module) -> None:
    """Raise InputError if a parameter or buffer is not on the CPU, or of another floating-point type than float32."""
    for name, values in module.state_dict(keep_vars=True).items():
        if isinstance(values, torch.Tensor) and (
            values.device.type != "cpu" or (values.is_floating_point() and values.dtype != torch.float32)
        ):
            raise InputError(
                f"every parameter must be float32 on the CPU; found {name} of {values.dtype} on {values.device}; "
                f"call module.float().cpu()"
            )


def _places(module: torch.nn.Module) -> dict[int, list[str]]:
    """Return all names of each parameter, by its id."""
    places: dict[int, list[str]] = {}
    for path, part in module.named_modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append(f"{path}.{name}" if path else name)
    return places


def _weights_of(part: torch.nn.Module) -> list[tuple[str, str | None]]:
    """Return the names of the weights of one module, each with that of its bias."""
    if isinstance(part, _ONE_WEIGHT):
        return [("weight", "bias")]
    if isinstance(part, torch.nn.RNNBase):
        return [
            (name, name.replace("weight_", "bias_")) if "_hr_" not in name else (name, None)
            for name in part._parameters
            if name.startswith("weight_")
        ]
    if isinstance(part, torch.nn.MultiheadAttention):
        return [
            ("in_proj_weight", "in_proj_bias"),
            ("q_proj_weight", None),
            ("k_proj_weight", None),
            ("v_proj_weight", None),
        ]
    return []


def _left_alone(module: torch.nn.Module, taken: set[str], reasons: dict[str, str]) -> dict[str, str]:
    """Return why each parameter that is not taken, and each buffer, is left alone; `reasons` has the special ones."""
    left_alone = {}
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(part, parametrize.ParametrizationList):
            why = "it has a parametrization; remove that to compress it"
        elif isinstance(part, _ONE_WEIGHT + _SEVERAL_WEIGHTS):
            why = "neither a weight that is compressed nor the bias of one"
        else:
            why = f"{type(part).__name__} is not compressed"
        for name, parameter in part._parameters.items():
            if parameter is not None and prefix + name not in taken:
                left_alone[prefix + name] = reasons.get(prefix + name, why)
        for name, values in part._buffers.items():
            if values is not None and name not in part._non_persistent_buffers_set:
                left_alone[prefix + name] = NOT_STORED if name == "num_batches_tracked" else BUFFER
    return left_alone
