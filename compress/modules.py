"""Which of a network's parameters can be compressed, and why the others are left alone (PyTorch needed)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from traces import InputError

BUFFER = "a buffer"
NOT_STORED = "not stored: whole numbers, which count training"


@dataclass(frozen=True, eq=False)
class WeightUnit:
    """One weight that is compressed, and its bias.

    name     of the layer: the module's, or the module's and the parameter's where it has several weights
    kind     the module's type: Linear, Conv2d, LSTM, ...
    owners   modules and attributes that hold the weight; more than one where it is tied
    names    the parameter's name under each owner
    bias     module and attribute of the bias, or None; `bias_name`, its parameter's name
    """

    name: str
    kind: str
    owners: tuple[tuple[torch.nn.Module, str], ...]
    names: tuple[str, ...]
    bias: tuple[torch.nn.Module, str] | None
    bias_name: str

    @property
    def weight(self) -> torch.Tensor:
        """As the forward pass sees it."""
        module, attribute = self.owners[0]
        weight: torch.Tensor = getattr(module, attribute)
        return weight

    @property
    def bias_values(self) -> torch.Tensor | None:
        """As the forward pass sees it, or None."""
        return None if self.bias is None else getattr(*self.bias)


_ONE_WEIGHT = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Embedding)
_SEVERAL_WEIGHTS = (torch.nn.RNNBase, torch.nn.MultiheadAttention)


def weight_units(module: torch.nn.Module) -> tuple[list[WeightUnit], dict[str, str]]:
    """The weights to compress, in order, and for each other parameter or buffer the reason why not.

    Weights of Linear, Conv1d, Conv2d, Embedding, LSTM, GRU, RNN and MultiheadAttention; a tied weight is one unit.
    Raises InputError if there is none, or the module is itself one layer, which has no name.
    """
    found: dict[int, WeightUnit] = {}
    taken: set[str] = set()
    for path, part in module.named_modules():
        for weight, bias in _weights_of(part):
            parameter = part._parameters.get(weight)
            if parameter is None:
                continue
            if not path:
                raise InputError("a layer alone has no name to be stored under; put it into a torch.nn.Sequential")
            has_bias = bias is not None and part._parameters.get(bias) is not None
            name, bias_name = f"{path}.{weight}", f"{path}.{bias}"
            unit = found.get(id(parameter))
            taken |= {name, bias_name} if has_bias and (unit is None or unit.bias is None) else {name}
            if unit is None:
                layer = path if weight == "weight" else name
                own_bias = (part, str(bias)) if has_bias else None
                found[id(parameter)] = WeightUnit(
                    layer, type(part).__name__, ((part, weight),), (name,), own_bias, bias_name
                )
                continue
            found[id(parameter)] = WeightUnit(
                unit.name,
                unit.kind,
                (*unit.owners, (part, weight)),
                (*unit.names, name),
                unit.bias if unit.bias is not None else ((part, str(bias)) if has_bias else None),
                unit.bias_name if unit.bias is not None else bias_name,
            )
    if not found:
        raise InputError(
            "the network has nothing to compress: no Linear, Conv1d, Conv2d, Embedding, LSTM, GRU or MultiheadAttention"
        )
    return list(found.values()), _left_alone(module, taken)


def _weights_of(part: torch.nn.Module) -> list[tuple[str, str | None]]:
    """Names of the weights of one module, each with that of its bias."""
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


def _left_alone(module: torch.nn.Module, taken: set[str]) -> dict[str, str]:
    reasons = {}
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        supported = isinstance(part, _ONE_WEIGHT + _SEVERAL_WEIGHTS)
        why = "its layer's codebook serves another bias" if supported else f"{type(part).__name__} is not compressed"
        for name, parameter in part._parameters.items():
            if parameter is not None and prefix + name not in taken:
                reasons[prefix + name] = why
        for name, values in part._buffers.items():
            if values is not None and name not in part._non_persistent_buffers_set:
                reasons[prefix + name] = BUFFER if values.is_floating_point() else NOT_STORED
    return reasons
