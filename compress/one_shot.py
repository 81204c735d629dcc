"""Compression of given weights in one step, without data: prune and share once, no fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from compress.config import CompressionConfig
from compress.container.bytes_io import MOST_DIMENSIONS
from compress.container.model import CompressedModel
from compress.container.tensor_coding import checked_tensor
from compress.layer_stages import (
    FREE_BIAS,
    TABLE,
    in_bits,
    layer_classes,
    pruning_masks,
    share_layer,
    thresholds_of,
)
from compress.weight_files.parameters import NamedParameters, Role, is_matrix, plain_array, transposed_convolution
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement
from traces.arrays import Numbers

BUFFER_NAMES = ("running_mean", "running_var", "num_batches_tracked")  # of batch normalisation
_WEIGHT = re.compile(
    r"(?:(?P<path>.+)[./])?(?P<last>weight|weight_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?|(?:in|q|k|v)_proj_weight"
    r"|(?:recurrent_|depthwise_|pointwise_)?kernel(?::0)?|embeddings(?::0)?)"
)
_COMPUTED = re.compile(r"(^|\.)parametrizations\.|(^|[._])weight_(g|v|orig|mask)$")


@dataclass(eq=False)
class _Layer:
    """Layer to compress: its name, names, part in a product and kind of its weight, name of the bias that it shares."""

    name: str
    names: list[str]
    arrangement: Arrangement
    kind: str
    groups: int
    bias: str | None


def compress_parameters(
    parameters: Mapping[str, Numbers], config: CompressionConfig | None = None, *, leave: Sequence[str] = ()
) -> tuple[CompressedModel, dict[str, str]]:
    """Compress all weights among some parameters, with their biases, in one step.

    A weight is a floating-point array of two dimensions or more that is named as PyTorch or Keras name weights
    (NAME.weight, weight_ih_l0, in_proj_weight, kernel), or that enters a product in the graph of an ONNX file. Names
    whose arrays share their memory are one tied weight.

    Parameters
    ----------
    parameters : Mapping[str, array]
        Parameters by name.
    config : CompressionConfig or None
        Settings of the layers.
    leave : sequence of str
        Names of layers or parameters to store as they are; shell patterns such as "head.*" are possible.

    Returns
    -------
    model : CompressedModel
        The compressed model. Rows of a layer's matrix are outputs, as far as names and shapes tell them.
    left_alone : dict of str to str
        For each parameter that is stored as it is, or that is not among the model's parameters and tensors at all,
        the reason.

    Raises
    ------
    InputError
        If nothing can be compressed, a weight is not finite, `leave` names nothing, or the config names an unknown
        layer or has settings of types or of fine-tuning, which have no effect here.
    """
    config = config or CompressionConfig()
    given = _checked(parameters)
    _check_config(config, has_kinds=given.roles is not None)
    roles, reasons = _roles(given)
    layers = _layers(given, roles, reasons, leave)
    if not layers:
        found = "; ".join(f"{name} ({reason})" for name, reason in [*reasons.items()][:3]) or "no parameter"
        raise InputError(
            f"there must be a weight to compress: floating-point numbers of two dimensions or more, named NAME.weight "
            f"or multiplied in an ONNX graph; found {found}"
        )
    settings = [config.settings_of(layer.name, layer.kind) for layer in layers]
    biased = {layer.name for layer in layers if layer.bias is not None}
    for layer, of_layer in zip(layers, settings, strict=True):
        if layer.bias is not None and not of_layer.share_bias:
            reasons[layer.bias] = FREE_BIAS
            layer.bias = None
    taken = {name for layer in layers for name in (*layer.names, layer.bias)}
    tensors = _tensors(given, [name for name in given if name not in taken], reasons, config)
    has_tensors = any(values.dtype.kind == "f" for values in tensors.values())
    kinds = {layer.name: layer.kind for layer in layers}
    config.check_effect(kinds, biased, has_tensors)
    tables = {layer.name for layer in layers if all(roles[name].kind == TABLE for name in layer.names if name in roles)}
    thresholds = thresholds_of(config, kinds, tables)
    if config.seed and all(of_layer.initialisation != "random" for of_layer in settings):
        raise InputError("seed has no effect unless the initialisation of a layer is random; leave it out")
    compressed = []
    matrices = [layer.arrangement.matrix(given[layer.names[0]]) for layer in layers]
    masks = pruning_masks(matrices, settings, config)
    for layer, matrix, mask, of_layer in zip(layers, matrices, masks, settings, strict=True):
        bias = None if layer.bias is None else given[layer.bias]
        classes = layer_classes(matrix, mask, of_layer, layer.groups)
        codes, codebook, bias_codes = share_layer(matrix, mask, bias, of_layer, config.seed, classes)
        codes.flags.writeable = False  # so that the layer takes them without a copy
        threshold = thresholds[layer.name]
        compressed.append(
            CompressedLayer(
                layer.name, codes, codebook, bias_codes, row_codebooks=classes, activation_threshold=threshold
            )
        )
    shapes = [given[layer.names[0]].shape for layer in layers]
    model = CompressedModel(
        compressed,
        shapes,
        weight_names=[layer.names for layer in layers],
        bias_names=[layer.bias or _bias_name(layer.names[0]) for layer in layers],
        arrangements=[layer.arrangement for layer in layers],
        tensors=tensors,
        buffers=[name for name in tensors if name in given.buffers or _is_buffer(name, tensors[name])],
        coding=[of_layer.coding for of_layer in settings],
    )
    return model, {name: reason for name, reason in reasons.items() if name not in taken}


def _checked(parameters: Mapping[str, Numbers]) -> NamedParameters:
    """Return arrays of real numbers in this machine's order of bytes; one array for all names that share memory."""
    given = parameters if isinstance(parameters, NamedParameters) else NamedParameters({})
    values: dict[str, Numbers] = {}
    left_out = dict(given.left_out)
    known: dict[Any, Numbers] = {}
    for name, array in parameters.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"parameter {name!r} must be an array; found {type(array).__name__}")
        found = plain_array(name, array)
        if isinstance(found, str):
            left_out[name] = found
            continue
        memory = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        if memory not in known or not array.size:
            wide = found.dtype.kind == "f" and found.dtype.itemsize > 4
            dtype = (np.float64 if wide else np.float32) if found.dtype.kind == "f" else found.dtype.newbyteorder("=")
            known[memory] = found.astype(dtype, copy=False)
        values[name] = known[memory]
    return NamedParameters(values, left_out, given.notes, given.roles, sorted(given.buffers & set(values)))


def _roles(given: NamedParameters) -> tuple[dict[str, Role], dict[str, str]]:
    """Return the role of each weight, and the reason for each other parameter to be left alone."""
    roles: dict[str, Role] = {}
    reasons = dict(given.left_out)
    for name, values in given.items():
        named = _WEIGHT.fullmatch(name)
        if values.dtype.kind != "f":
            reasons[name] = f"{values.dtype} values, no weights"
        elif values.ndim < 2:
            reasons[name] = "fewer than two dimensions: no weight matrix or kernel"
        elif not is_matrix(values) or values.ndim > MOST_DIMENSIONS:
            reasons[name] = f"shape {list(values.shape)}: empty, or of more than {MOST_DIMENSIONS} dimensions"
        elif name in given.buffers:
            reasons[name] = "a buffer"
        elif given.roles is not None and name in given.roles:
            roles[name] = given.roles[name]
        elif given.roles is not None:
            reasons[name] = "no weight of a product in the graph"
        elif _COMPUTED.search(name):
            reasons[name] = "part of a computed weight; make it plain first (remove_parametrizations, prune.remove)"
        elif named is None:
            reasons[name] = "not named as a weight is, like NAME.weight"
        else:
            role = _role_by_shape(name, named["last"], values, given.get(_bias_name(name)))
            if isinstance(role, str):
                reasons[name] = role
            else:
                roles[name] = role
    if given.roles is None:
        _turn_squares(roles, given)
    return roles, reasons


def _role_by_shape(name: str, last: str, weight: Numbers, bias: Numbers | None) -> Role | str:
    """Return the role of a weight by its name and by the length of its bias, or why it has none."""
    shape, axes = weight.shape, tuple(range(weight.ndim))
    if last.startswith("depthwise_kernel"):  # Keras: [*places, in, multiplier]
        rows_first = Arrangement(shape, (*axes[-2:], *axes[:-2]), 2)
    elif "kernel" in last:  # Keras: [*places, in, out]
        rows_first = Arrangement(shape, (*axes[::-1][:2], *axes[:-2]), 1)
    else:
        rows_first = Arrangement.identity(shape)
    if bias is None:
        return Role(rows_first, None)
    if bias.ndim == 1 and bias.dtype.kind == "f":
        if bias.size == rows_first.rows:
            return Role(rows_first, _bias_name(name))
        if "kernel" in last and weight.ndim > 2 and bias.size == shape[-2]:  # transposed: [*places, out, in]
            return Role(Arrangement(shape, (axes[-2], *axes[:-2], axes[-1]), weight.ndim - 1), None)
        if weight.ndim == 2 and bias.size == shape[1]:  # GPT-2's: [in, out]
            return Role(_swapped(shape), _bias_name(name))
        groups, rest = divmod(bias.size, shape[1])
        if "kernel" not in last and weight.ndim > 2 and groups and not rest and not shape[0] % groups:
            return Role(transposed_convolution(shape, groups), None, groups=groups)
    return f"shape {list(shape)}, while its bias has {list(bias.shape)}: not one value for each output"


def _turn_squares(roles: dict[str, Role], given: NamedParameters) -> None:
    """Arrange square weights as weights of the same module name are, where those are [in, out]."""
    square = [name for name in roles if given[name].ndim == 2 and len(set(given[name].shape)) == 1 and roles[name].bias]
    turned = {_module(name): roles[name].arrangement.axes == (1, 0) for name in roles if name not in square}
    for name in square:
        if turned.get(_module(name), False):
            roles[name] = Role(_swapped(given[name].shape), roles[name].bias)


def _layers(
    given: NamedParameters, roles: dict[str, Role], reasons: dict[str, str], leave: Sequence[str]
) -> list[_Layer]:
    """Return the weights to compress, tied ones once; the reasons get those of what `leave` and ties leave alone."""
    if isinstance(leave, str):
        raise InputError(f"leave must be a sequence of names; found the text {leave!r}; give [{leave!r}]")
    same: dict[int, list[str]] = {}
    for name, values in given.items():
        same.setdefault(id(values), []).append(name)
    unmatched = {
        pattern for pattern in leave if not any(_matches(name, [pattern]) for name in (*given, *given.left_out))
    }
    layers: dict[int, _Layer] = {}
    biases: dict[str, str] = {}
    for name, role in roles.items():
        values = given[name]
        names = same[id(values)]
        layer_name = _layer_name(name)
        unmatched -= {pattern for pattern in unmatched if _matches(layer_name, [pattern])}
        if id(values) not in layers:
            if layer_name in {layer.name for layer in layers.values()}:
                layer_name = name
            layers[id(values)] = _Layer(layer_name, names, role.arrangement, role.kind, role.groups, None)
        layer = layers[id(values)]
        bias = role.bias if role.bias in given else None
        if bias is None or given[bias].shape != (layer.arrangement.rows,) or given[bias].dtype.kind != "f":
            continue
        if len(same[id(given[bias])]) > 1 or bias in biases:
            reasons[bias] = "a bias that is tied"
        elif layer.bias is not None:
            reasons[bias] = "its layer's codebook serves another bias"
        elif _matches(bias, leave):
            reasons[bias] = _ASKED
        else:
            layer.bias = biases[bias] = bias
    if unmatched:
        shown = ", ".join(list(given)[:8]) + (", ..." if len(given) > 8 else "")
        raise InputError(f"leave names {', '.join(sorted(unmatched))}, which there is not; the parameters are {shown}")
    compressed = []
    for layer in layers.values():
        if any(_matches(name, leave) for name in (layer.name, *map(_layer_name, layer.names), *layer.names)):
            reasons |= dict.fromkeys([*layer.names, *([layer.bias] if layer.bias else [])], _ASKED)
            continue
        for name in (layer.names[0], *([layer.bias] if layer.bias else [])):
            values = given[name]
            if not values.size:
                continue
            with np.errstate(over="ignore"):
                extremes = np.array([values.min(), values.max()]).astype(np.float32)
            if not np.isfinite(extremes).all():
                raise InputError(
                    f"parameter {name!r} must be finite as float32; found values from {values.min():g} to "
                    f"{values.max():g} (has the training diverged?); scale it, or leave it out with leave"
                )
        compressed.append(layer)
    return compressed


_ASKED = "left as asked"


def _tensors(
    given: NamedParameters, names: Sequence[str], reasons: dict[str, str], config: CompressionConfig
) -> dict[str, Numbers]:
    """Return the tensors that are stored as they are; the reasons get those of what a container cannot hold."""
    tensors = {}
    for name in names:
        values = given[name]
        try:
            if values.dtype == np.float64:
                with np.errstate(over="ignore"):
                    narrow = values.astype(np.float32)
                values = narrow if np.isfinite(narrow).sum() == np.isfinite(values).sum() else values
            tensors[name] = in_bits(checked_tensor(name, values), config.tensor_bits)
        except InputError as error:
            if config.tensor_bits == 16 and "16 bits" in str(error):
                raise InputError(f"tensor {name!r}: {error}") from error
            reasons[name] = f"not stored: {error}"
            continue
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            reasons[name] += "; not finite"
    return tensors


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _layer_name(weight: str) -> str:
    """Return the name of the layer of a weight: of its module, or its own where a module has several."""
    named = _WEIGHT.fullmatch(weight)
    plain = named is not None and named["last"].removesuffix(":0") in ("weight", "kernel", "embeddings")
    return (named["path"] or weight) if named is not None and plain else weight


def _module(weight: str) -> str:
    """Return the last part of the name of a weight's module: c_proj of h.0.attn.c_proj.weight."""
    return re.split(r"[./]", weight)[-2] if re.search(r"[./]", weight) else ""


def _bias_name(weight: str) -> str:
    """Return the name of the bias of a weight: fc.bias of fc.weight, bias_ih_l0 of weight_ih_l0."""
    named = _WEIGHT.fullmatch(weight)
    if named is None:
        return f"{weight}.bias"
    last = named["last"]
    return weight[: len(weight) - len(last)] + last.replace("weight", "bias").replace("kernel", "bias")


def _swapped(shape: tuple[int, ...]) -> Arrangement:
    return Arrangement(shape, (1, 0), 1)


def _is_buffer(name: str, values: Numbers) -> bool:
    """Return True if a tensor is no parameter, by its name, type or values."""
    is_float = values.dtype.kind == "f"
    return name.rpartition(".")[2] in BUFFER_NAMES or not is_float or not np.isfinite(values).all()


def _check_config(config: CompressionConfig, has_kinds: bool) -> None:
    default = CompressionConfig()
    for name in ("pruning_steps", "sharing") if has_kinds else ("types", "pruning_steps", "sharing"):
        if getattr(config, name) != getattr(default, name):
            raise InputError(
                f"{name} has no effect where weights are compressed in one step, without their network; leave it out"
            )
