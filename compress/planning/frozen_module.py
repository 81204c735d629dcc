"""Frozen copies of convolutional modules, which compute the same up to rounding in less time (PyTorch needed)."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import fx

from traces.torch_modules import unwrapped

#: Runs a module on a few inputs and returns its outputs by name.
RunFew = Callable[[torch.nn.Module], Mapping[str, torch.Tensor]]

_MAP_BYTES = 6 * 2**20  # of the largest feature map of a batch; larger ones leave the caches
_FEWEST = 8  # inputs of a batch
_CLOSE = 1e-5  # largest relative difference of outputs that is due to rounding
_NORMALISATIONS: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    torch.nn.Conv1d: torch.nn.BatchNorm1d,
    torch.nn.Conv2d: torch.nn.BatchNorm2d,
    torch.nn.Conv3d: torch.nn.BatchNorm3d,
}


def freeze(module: torch.nn.Module, run_few: RunFew, few: int, batch: int) -> tuple[torch.nn.Module, int]:
    """Return a copy of a convolutional module that runs faster, and the inputs that it is to run at once.

    Channels of images come last in memory, and windows of a maximum are compared side by side if they do not overlap.
    Batch normalisation is folded into the convolution before it, where nothing else uses the convolution's output. The
    copy shares all other parameters with the module.

    Parameters
    ----------
    module : torch.nn.Module
        The network; it is left as it is.
    run_few : callable
        Runs a module on a few inputs. The copy must give the same outputs as the module up to rounding.
    few : int
        Number of these inputs.
    batch : int
        Largest number of inputs to run at once.

    Returns
    -------
    faster : torch.nn.Module
        The copy; the module itself if there is nothing to change, it is in training mode, normalises by the statistics
        of a batch, has hooks or a wrapper, or if the copy fails or computes something else.
    batch : int
        For a copy, as many inputs as keep the largest output of a submodule within 6 MiB, but at least 8.
    """
    if not _may_be_copied(module):
        return module, batch
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            pairs = _foldable(_copy(module))
            ways = [True] if has_images(module) else []
            ways += [False] if pairs else []
            if not ways:
                return module, batch
            reference = _copy(module)
            input_bytes = _watch_outputs(reference, few)
            expected = run_few(reference)
        except Exception:  # of any class: the module's own code is copied and run
            return module, batch
        for laid_out in ways:
            try:
                same = _same(run_few(_frozen(module, pairs, laid_out)), expected)
            except Exception:  # as above; of images that the module views as vectors, for instance
                continue
            if same:  # another copy is returned, since this one may keep something of its run
                return _frozen(module, pairs, laid_out), min(batch, max(_FEWEST, _MAP_BYTES // max(input_bytes)))
    return module, batch


def has_images(module: torch.nn.Module) -> bool:
    """Return True if a module has parameters for images, and so can have the channels of images last in memory."""
    axes = {values.dim() for values in (*module.parameters(), *module.buffers())}
    return 4 in axes and max(axes) == 4


def _may_be_copied(module: torch.nn.Module) -> bool:
    """Return True if a module has convolutions, treats each input alone, and runs only code of its own."""
    parts = list(module.modules())
    if not any(isinstance(part, torch.nn.modules.conv._ConvNd) for part in parts):
        return False
    return not any(
        part.training
        or (isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is None)
        or part._forward_hooks
        or part._forward_pre_hooks
        or isinstance(part, torch.jit.ScriptModule)
        or unwrapped(part) is not part
        for part in parts
    )


def _copy(module: torch.nn.Module, own_axes: int | None = None) -> torch.nn.Module:
    """Return a copy that shares the parameters of a module, except those of `own_axes` axes, but no buffers."""
    return copy.deepcopy(module, {id(values): values for values in module.parameters() if values.dim() != own_axes})


def _frozen(module: torch.nn.Module, pairs: Mapping[str, str], laid_out: bool) -> torch.nn.Module:
    """Return a copy with normalisations folded into the convolutions of these names, its channels last if asked."""
    copied = _copy(module, 4 if laid_out else None)
    for convolution, normalisation in pairs.items():
        _fold(copied.get_submodule(convolution), copied.get_submodule(normalisation))
        owner, _, name = normalisation.rpartition(".")
        copied.get_submodule(owner)._modules[name] = torch.nn.Identity()
    if not laid_out:
        return copied
    for name, part in list(copied.named_modules()):
        if name and _windows_lie_side_by_side(part):
            owner, _, last = name.rpartition(".")
            copied.get_submodule(owner)._modules[last] = _WindowMaximum(part)
    return copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _windows_lie_side_by_side(part: torch.nn.Module) -> bool:
    """Return True for a maximum over windows that neither overlap, nor leave gaps, nor reach over the edge."""
    if type(part) is not torch.nn.MaxPool2d or part.ceil_mode or part.return_indices:
        return False
    plain = _pair(part.padding) == (0, 0) and _pair(part.dilation) == (1, 1)
    return plain and _pair(part.kernel_size) == _pair(part.stride)


class _WindowMaximum(torch.nn.Module):
    """Maximum over windows side by side: of their rows, then of their columns; all channels of a place at once."""

    def __init__(self, part: torch.nn.MaxPool2d) -> None:
        super().__init__()
        self.window = _pair(part.kernel_size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for axis, length in zip((-2, -1), self.window, strict=True):
            whole = images.narrow(axis, 0, images.shape[axis] // length * length)
            windows = whole.unflatten(axis, (-1, length))  # type: ignore[no-untyped-call]
            images = functools.reduce(torch.maximum, windows.unbind(axis))
        return images


def _pair(values: int | tuple[int, ...]) -> tuple[int, ...]:
    return values if isinstance(values, tuple) else (values, values)


def _foldable(module: torch.nn.Module) -> dict[str, str]:
    """Return the name of the batch normalisation that alone uses a convolution's output, by the convolution's name.

    The graph of calls is traced without values, so that it is that of any inputs; a module whose calls depend on values
    cannot be traced, and has none. The module must not be used any more.
    """
    if not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        return {}
    try:
        nodes = list(fx.Tracer().trace(module).nodes)
    except Exception:  # of any class: the module's own code runs on proxies
        return {}
    called = {node: module.get_submodule(str(node.target)) for node in nodes if node.op == "call_module"}
    calls = Counter(id(part) for part in called.values())
    read = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}  # modules of tensors
    pairs = {}
    for node, part in called.items():
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before not in called:
            continue
        convolution, names = called[before], (str(before.target), str(node.target))
        fits = _NORMALISATIONS.get(type(convolution)) is type(part)
        if fits and len(before.users) == 1 and calls[id(convolution)] == calls[id(part)] == 1 and not read & {*names}:
            pairs[names[0]] = names[1]
    return pairs


def _fold(convolution: torch.nn.Module, normalisation: torch.nn.Module) -> None:
    """Replace weight and bias of a convolution by those that include the normalisation of its output."""
    assert isinstance(convolution, torch.nn.modules.conv._ConvNd)
    assert isinstance(normalisation, torch.nn.modules.batchnorm._BatchNorm)
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None
    assert variance is not None
    weight, bias = convolution.weight, convolution.bias
    scale, shift = torch.rsqrt(variance.double() + normalisation.eps), -mean.double()
    if bias is not None:
        shift = shift + bias
    if normalisation.weight is not None:
        scale = scale * normalisation.weight
    shift = shift * scale
    if normalisation.bias is not None:
        shift = shift + normalisation.bias
    scaled = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    convolution.weight = torch.nn.Parameter(scaled.to(weight.dtype), requires_grad=False)
    convolution.bias = torch.nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _watch_outputs(module: torch.nn.Module, inputs: int) -> list[int]:
    """Make a module note the bytes of its submodules' outputs for one input; return the list, of 1 at first."""
    found = [1]

    def note(part: torch.nn.Module, given: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            found.append(output.numel() * output.element_size() // inputs)

    for part in module.modules():
        part.register_forward_hook(note)
    return found


def _same(outputs: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> bool:
    """Return True if outputs differ by rounding alone."""
    if list(outputs) != list(expected):
        return False
    for name, values in expected.items():
        found = outputs[name]
        if found.shape != values.shape or found.dtype != values.dtype:
            return False
        if not values.is_floating_point():
            if not torch.equal(found, values):
                return False
        elif values.numel():
            largest = float(values[values.isfinite()].abs().max()) if values.isfinite().any() else 0.0
            if not torch.allclose(found, values, rtol=0.0, atol=_CLOSE * largest, equal_nan=True):
                return False
    return True
