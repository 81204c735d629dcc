"""Parameters of a network that can be compressed, and the reasons why others are left alone (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

from traces import InputError
from traces.arrangement import Arrangement
from traces.arrays import Floats32, Numbers
from traces.torch_modules import computed_tensors, independent_copy, named_parts, named_tensors

BUFFER = "a buffer"
NOT_STORED = "not stored: it counts training"
EXTRA_STATE = "not stored: extra state of its module"
ASKED = "left alone as asked"


@dataclass(frozen=True, eq=False)
class ModuleLayer:
    """Layer of a module: one weight that is compressed, and its bias.

    Attributes
    ----------
    name : str
        The module's name, followed by the parameter's if that is not `weight`.
    kind : str
        Type of the module: Linear, Conv2d, LSTM, ...; for a parameter of `products`, the kind given there.
    owners : tuple of (torch.nn.Module, str)
        Modules and attributes that hold the weight; more than one if it is tied.
    names : tuple of str
        Name of the parameter under each owner.
    arrangement : Arrangement
        Way from the weight to the matrix [rows, columns] that is stored, whose rows are outputs.
    bias : (torch.nn.Module, str) or None
        Module and attribute of the bias that is compressed with the weight.
    bias_name : str
        Name of the bias parameter.
    groups : int
        Groups of the product, each of rows that follow one another.
    """

    name: str
    kind: str
    owners: tuple[tuple[torch.nn.Module, str], ...]
    names: tuple[str, ...]
    arrangement: Arrangement
    bias: tuple[torch.nn.Module, str] | None
    bias_name: str
    groups: int

    @property
    def weight(self) -> torch.Tensor:
        """The weight as the forward pass sees it."""
        module, attribute = self.owners[0]
        weight: torch.Tensor = getattr(module, attribute)
        return weight

    @property
    def view(self) -> Floats32:
        """The weight as a matrix [rows, columns], whose rows are outputs; it may share the weight's memory."""
        return self.arrangement.matrix(self.weight.detach().numpy())

    @property
    def matrix(self) -> Floats32:
        """The weight as a new matrix [rows, columns], whose rows are outputs."""
        return self.view.copy()

    @property
    def bias_values(self) -> torch.Tensor | None:
        """The bias as the forward pass sees it, or None."""
        return None if self.bias is None else getattr(*self.bias)

    def in_shape(self, matrix: Numbers) -> Numbers:
        """Return a matrix [rows, columns] in the shape of the weight."""
        return self.arrangement.parameter(matrix, tuple(self.weight.shape))


_ONE_WEIGHT = {
    kind.__name__: kind
    for kind in (
        torch.nn.Linear,
        torch.nn.Conv1d,
        torch.nn.Conv2d,
        torch.nn.Conv3d,
        torch.nn.ConvTranspose1d,
        torch.nn.ConvTranspose2d,
        torch.nn.ConvTranspose3d,
        torch.nn.Embedding,
        torch.nn.EmbeddingBag,
    )
}
_SEVERAL_WEIGHTS = {
    kind.__name__: kind
    for kind in (
        torch.nn.LSTM,
        torch.nn.GRU,
        torch.nn.RNN,
        torch.nn.LSTMCell,
        torch.nn.GRUCell,
        torch.nn.RNNCell,
        torch.nn.MultiheadAttention,
    )
}
_KINDS: dict[str, type[torch.nn.Module]] = {**_ONE_WEIGHT, **_SEVERAL_WEIGHTS}
#: Kinds of products whose parameter is [..., in, out].
_INPUTS_FIRST = ("MatMul", "Conv1D")


@dataclass(frozen=True, eq=False)
class _Weight:
    """A weight under one of its names, with the name of the bias beside it."""

    path: str
    part: torch.nn.Module
    attribute: str
    bias: str | None
    kind: str
    arrangement: Arrangement
    groups: int

    @property
    def parameter(self) -> torch.nn.Parameter:
        parameter = self.part._parameters[self.attribute]
        assert parameter is not None
        return parameter


def module_layers(
    module: torch.nn.Module,
    *,
    leave: Sequence[str] = (),
    products: Mapping[str, str | tuple[str, Arrangement] | tuple[str, Arrangement, int]] | None = None,
) -> tuple[list[ModuleLayer], dict[str, str]]:
    """Return the weights to compress, in order, and for each other parameter or buffer the reason to leave it alone.

    A tied weight is one layer. A weight or bias that is tied to a parameter of another kind is left alone, because
    compression would untie them.

    Parameters
    ----------
    module : torch.nn.Module
        The network; its weights are parameters (`plain_module`).
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations, by name, with the kind of each. A kind alone stands for
        a parameter [out, ...], and for [..., in, out] if it is MatMul or Conv1D.

    Returns
    -------
    layers : list of ModuleLayer
        Weights of Linear, convolutions, transposed convolutions, embeddings, recurrent layers and cells, attention, and
        of `products`.
    left_alone : dict of str to str
        Reason for each other parameter, buffer and extra state.

    Raises
    ------
    InputError
        If there is no such weight, a weight is computed from other parameters, or a name in `leave` or `products` is
        unknown.
    """
    if isinstance(leave, str):
        raise InputError(f"leave must be a sequence of names of layers; found the text {leave!r}; write [{leave!r}]")
    places = _places(module)
    layers: dict[int, ModuleLayer] = {}
    taken: set[str] = set()
    reasons: dict[str, str] = {}
    weights = _weights(module, places, products or {}, reasons)
    for name, weight in weights.items():
        parameter = weight.parameter
        elsewhere = [place for place in places[id(parameter)] if place not in weights]
        if elsewhere or not parameter.numel():
            reasons[name] = f"tied to {elsewhere[0]}, which is not compressed" if elsewhere else "empty"
            continue
        layer = layers.get(id(parameter)) or _layer(name, weight)
        if name not in layer.names:
            owners = (*layer.owners, (weight.part, weight.attribute))
            layer = replace(layer, owners=owners, names=(*layer.names, name))
        layers[id(parameter)] = layer
        taken.add(name)
        bias = None if weight.bias is None else weight.part._parameters.get(weight.bias)
        if weight.bias is None or bias is None:
            continue
        bias_name = f"{weight.path}.{weight.bias}" if weight.path else weight.bias
        why = _free(parameter, bias, layer, len(places[id(bias)]))
        if why is not None:
            reasons[bias_name] = why
        else:
            taken.add(bias_name)
            layers[id(parameter)] = replace(layer, bias=(weight.part, weight.bias), bias_name=bias_name)
    found = _without(list(layers.values()), leave, taken, reasons)
    if not found:
        raise InputError(
            f"the network has nothing to compress: no {', '.join(_KINDS)}" + (" that is not in leave" if leave else "")
        )
    return found, _left_alone(module, taken, reasons)


def check_parameters(module: torch.nn.Module) -> None:
    """Raise InputError if a parameter or buffer is no plain tensor on the CPU, or of another float type than float32.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    """
    for name, values in named_tensors(module).items():
        if torch.nn.parameter.is_lazy(values):
            raise InputError(f"every parameter must have its shape; found {name} uninitialised; run the module once")
        if values.layout != torch.strided or values.is_quantized:
            kind = values.dtype if values.is_quantized else values.layout
            raise InputError(f"every parameter must be a plain tensor; found {name} of {kind}; make it dense float32")
        if values.device.type != "cpu" or (values.is_floating_point() and values.dtype != torch.float32):
            raise InputError(
                f"every parameter must be float32 on the CPU; found {name} of {values.dtype} on {values.device}; "
                f"call module.float().cpu()"
            )


def plain_module(module: torch.nn.Module) -> torch.nn.Module:
    """Return an independent copy of a network whose weights are all plain parameters.

    Weights that weight_norm, spectral_norm, prune or a parametrization computes become parameters of the computed
    values. This includes the masked and shared weights of `Compressor`. A wrapper such as DataParallel or torch.compile
    is taken off.

    Parameters
    ----------
    module : torch.nn.Module
        The network; it is left as it is.

    Returns
    -------
    torch.nn.Module
        The copy, in the same modes. Tied weights stay tied.

    Raises
    ------
    InputError
        If the network cannot be copied.
    """
    copied = independent_copy(module)
    make_plain(copied)
    return copied


def make_plain(module: torch.nn.Module) -> None:
    """Make all computed weights of a network plain parameters of the computed values, in place.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Afterwards an optimizer needs its new parameters.
    """
    made: dict[tuple[int, ...], list[torch.Tensor]] = {}
    removals = [(part, name, way) for _, part in named_parts(module) for name, way in computed_tensors(part).items()]
    values = {}
    for part, name, way in removals:
        if way not in _BY_HOOK:  # before any of them is removed, as tied ones have one original
            _steps(part, name).eval()
            with torch.no_grad():
                values[id(part), name] = getattr(part, name).detach().clone()
    for part, name, way in removals:
        if way in _BY_HOOK:
            sources, learns, computed = _remove_hook(part, name, way)
        else:
            steps = _steps(part, name)
            sources = [id(original) for _, original in steps.named_parameters(recurse=False)]
            learns = any(parameter.requires_grad for parameter in steps.parameters())
            part.__class__ = type(type(part).__name__, type(part).__bases__, dict(vars(type(part))))
            parametrize.remove_parametrizations(part, name, leave_parametrized=not steps.is_tensor)
            computed = values[id(part), name]
        if not sources:  # computed from buffers
            part._buffers[name] = computed
            continue
        known = made.setdefault(tuple(sources), [])
        parameter = next((each for each in known if torch.equal(each, computed)), None)
        if parameter is None:
            parameter = torch.nn.Parameter(computed, requires_grad=learns)
            known.append(parameter)
        if hasattr(part, name):
            delattr(part, name)
        setattr(part, name, parameter)
    for part in module.modules():
        if isinstance(part, torch.nn.RNNBase):
            for key in [key for key, hook in part._forward_pre_hooks.items() if hook is _fetch_weights]:
                del part._forward_pre_hooks[key]
            _fetch_weights(part, None)


def _steps(part: torch.nn.Module, name: str) -> parametrize.ParametrizationList:
    """Return the parametrizations of a tensor of a module."""
    steps = part.get_submodule(f"parametrizations.{name}")
    assert isinstance(steps, parametrize.ParametrizationList)
    return steps


def refresh_recurrent(module: torch.nn.Module) -> None:
    """Make recurrent layers fetch their weights before each forward pass; otherwise they keep a list of old ones.

    Parameters
    ----------
    module : torch.nn.Module
        The network, changed in place.
    """
    for part in module.modules():
        if isinstance(part, torch.nn.RNNBase):
            part.register_forward_pre_hook(_fetch_weights)


def _fetch_weights(part: torch.nn.Module, _: object) -> None:
    assert isinstance(part, torch.nn.RNNBase)
    part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]


_BY_HOOK = ("weight_norm", "spectral_norm", "prune")


def _remove_hook(part: torch.nn.Module, name: str, way: str) -> tuple[list[int], bool, torch.Tensor]:
    """Remove a hook that computes a weight; return the ids of its sources, if one of them learns, and the weight."""
    names = (f"{name}_g", f"{name}_v") if way == "weight_norm" else (f"{name}_orig",)
    sources = [source for source in (part._parameters.get(each) for each in names) if source is not None]
    if way == "weight_norm":
        remove_weight_norm(part, name)
    elif way == "spectral_norm":
        remove_spectral_norm(part, name)
    else:  # prune.remove would change the original, which may be tied
        keys = {key: hook for key, hook in part._forward_pre_hooks.items() if isinstance(hook, prune.BasePruningMethod)}
        key, method = next((key, hook) for key, hook in keys.items() if hook._tensor_name == name)
        with torch.no_grad():
            setattr(part, name, method.apply_mask(part))  # type: ignore[no-untyped-call]
        del part._forward_pre_hooks[key], part._parameters[f"{name}_orig"], part._buffers[f"{name}_mask"]
    computed = getattr(part, name).detach().clone()
    return [id(source) for source in sources], any(source.requires_grad for source in sources), computed


def _places(module: torch.nn.Module) -> dict[int, list[str]]:
    """Return all names of each parameter, by its id."""
    places: dict[int, list[str]] = {}
    for path, part in named_parts(module):
        for name, parameter in part._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append(f"{path}.{name}" if path else name)
    return places


def _weights(
    module: torch.nn.Module,
    places: Mapping[int, Sequence[str]],
    products: Mapping[str, str | tuple[str, Arrangement] | tuple[str, Arrangement, int]],
    reasons: dict[str, str],
) -> dict[str, _Weight]:
    """Return all weights by the names of their parameters; add to `reasons` why one of the products is none."""
    weights = {}
    owners = {}
    for path, part in named_parts(module):
        prefix = f"{path}." if path else ""
        computed = computed_tensors(part)
        if computed:
            name, way = next(iter(computed.items()))
            raise InputError(
                f"the layer {path or type(part).__name__}: its {name} is computed ({way}), so it is no parameter to "
                f"compress; call compress.plain_module(module), which makes it one"
            )
        owners.update({prefix + name: (path, part, name) for name in part._parameters})
        kind = _kind(part)
        for weight, bias in _weights_of(part, kind):
            parameter = part._parameters.get(weight)
            if parameter is not None:
                arrangement = _arrangement(part, kind, parameter)
                weights[prefix + weight] = _Weight(
                    path, part, weight, bias, kind, arrangement, int(getattr(part, "groups", 1))
                )
    names = {name: tied for tied in places.values() for name in tied}
    for name, product in products.items():
        if name not in names:
            raise InputError(f"products names {name}, which is no parameter; the network has {', '.join(names)}")
        kind = product if isinstance(product, str) else product[0]
        for each in names[name]:
            path, part, attribute = owners[each]
            parameter = part._parameters[attribute]
            if each in weights:
                continue
            if parameter is None or parameter.ndim < 2 or not parameter.numel():
                reasons[each] = "not a matrix"
                continue
            bias = attribute.replace("weight", "bias") if "weight" in attribute else None
            arrangement = _of_product(kind, parameter) if isinstance(product, str) else product[1]
            groups = product[2] if len(product) == 3 and not isinstance(product, str) else 1
            weights[each] = _Weight(path, part, attribute, bias, kind, arrangement, groups)
    return weights


def _kind(part: torch.nn.Module) -> str:
    """Return the type of module that a part is, also as a subclass, or an empty text."""
    return next((name for name, kind in _KINDS.items() if isinstance(part, kind)), "")


def _weights_of(part: torch.nn.Module, kind: str) -> list[tuple[str, str | None]]:
    """Return the names of the weights of one module, each with that of its bias."""
    if kind in _ONE_WEIGHT:
        return [("weight", "bias")]
    if isinstance(part, torch.nn.RNNBase):
        names = [name for name in part._flat_weights_names if name.startswith("weight_")]
        return [(name, None if "_hr_" in name else name.replace("weight_", "bias_")) for name in names]
    if kind == "MultiheadAttention":
        return [
            ("in_proj_weight", "in_proj_bias"),
            ("q_proj_weight", None),
            ("k_proj_weight", None),
            ("v_proj_weight", None),
        ]
    return [("weight_ih", "bias_ih"), ("weight_hh", "bias_hh")] if kind else []


def _arrangement(part: torch.nn.Module, kind: str, parameter: torch.Tensor) -> Arrangement:
    """Return the arrangement of a module's weight."""
    shape = tuple(parameter.shape)
    if not parameter.numel() or not kind.startswith("ConvTranspose"):
        return Arrangement.identity(tuple(max(1, length) for length in shape))
    groups = int(part.groups)  # type: ignore[arg-type]
    view = (groups, shape[0] // groups, *shape[1:])
    return Arrangement(view, (0, 2, *range(3, len(view)), 1), len(view) - 1)


def _of_product(kind: str, parameter: torch.Tensor) -> Arrangement:
    """Return the arrangement of a parameter of which only the kind of its product is known."""
    shape = tuple(parameter.shape)
    if kind not in _INPUTS_FIRST:
        return Arrangement.identity(shape)
    last = len(shape) - 1
    return Arrangement(shape, (*range(last - 1), last, last - 1), last)


def _layer(name: str, weight: _Weight) -> ModuleLayer:
    """Return the layer of a weight, without its bias."""
    layer_name = weight.path if weight.attribute == "weight" and weight.path else name
    bias = weight.bias or "bias"
    bias_name = f"{weight.path}.{bias}" if weight.path else bias
    if weight.bias is None:
        bias_name = f"{layer_name}.bias"
    owner = (weight.part, weight.attribute)
    return ModuleLayer(layer_name, weight.kind, (owner,), (name,), weight.arrangement, None, bias_name, weight.groups)


def _free(weight: torch.Tensor, bias: torch.Tensor, layer: ModuleLayer, places: int) -> str | None:
    """Return why a bias cannot be in its layer's codebook, or None if it can."""
    if places > 1:
        return "a bias that is tied"
    if layer.bias is not None:
        return "its layer's codebook serves another bias"
    if tuple(bias.shape) != (layer.arrangement.rows,):
        return f"its values are not one for each of the {layer.arrangement.rows} rows of the weight's matrix"
    if bias.requires_grad != weight.requires_grad:
        return "one of weight and bias is frozen (requires_grad), so they cannot share trained values"
    return None


def _without(
    layers: Sequence[ModuleLayer], leave: Sequence[str], taken: set[str], reasons: dict[str, str]
) -> list[ModuleLayer]:
    """Return the layers that are not to be left alone; move the parameters of the others from `taken` to `reasons`."""
    unknown = [pattern for pattern in leave if not any(fnmatchcase(layer.name, pattern) for layer in layers)]
    if unknown:
        raise InputError(
            f"leave names {', '.join(map(str, unknown))}, which the network does not have; it has "
            f"{', '.join(layer.name for layer in layers)}"
        )
    left = [layer for layer in layers if any(fnmatchcase(layer.name, pattern) for pattern in leave)]
    for layer in left:
        parameters = [*layer.names, layer.bias_name] if layer.bias is not None else layer.names
        taken.difference_update(parameters)
        reasons.update(dict.fromkeys(parameters, ASKED))
    return [layer for layer in layers if layer not in left]


def _left_alone(module: torch.nn.Module, taken: set[str], reasons: dict[str, str]) -> dict[str, str]:
    """Return why each parameter that is not taken, and each buffer, is left alone; `reasons` has the special ones."""
    left_alone = {}
    for path, part in named_parts(module):
        prefix = f"{path}." if path else ""
        if isinstance(part, torch.nn.Bilinear):
            why = "Bilinear multiplies two inputs with each other, so its weight is no matrix of a product"
        elif any(weight not in part._parameters for weight, _ in _weights_of(part, _kind(part))):
            why = "its layer computes its weight in a way that is unknown here"
        elif _kind(part):
            why = "neither a weight that is compressed nor the bias of one"
        else:
            why = f"{type(part).__name__} is not compressed"
        for name, parameter in part._parameters.items():
            if parameter is not None and prefix + name not in taken:
                left_alone[prefix + name] = reasons.get(prefix + name, why)
        for name, values in part._buffers.items():
            if values is not None and name not in part._non_persistent_buffers_set:
                left_alone[prefix + name] = NOT_STORED if name == "num_batches_tracked" else BUFFER
        if has_extra_state(part):
            left_alone[f"{prefix}_extra_state"] = EXTRA_STATE
    return left_alone


def has_extra_state(part: torch.nn.Module) -> bool:
    """Return True if a module keeps extra state in its state dict."""
    return type(part).get_extra_state is not torch.nn.Module.get_extra_state
