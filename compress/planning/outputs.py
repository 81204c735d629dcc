"""Outputs of a network on inputs, batch by batch, checked for a loss (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from compress.class_scores import check_form, check_labels
from compress.container.loading import threshold_of
from compress.container.model import CompressedModel
from compress.container.weight_uses import uses_elsewhere
from compress.planning.frozen_module import freeze
from compress.planning.losses import (
    AUTO,
    Loss,
    LossFunction,
    choose_loss,
    compared_outputs,
    labels_of,
    named_output,
)
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Floats, Floats32, Numbers
from traces.torch_modules import evaluating, named_parts

_BATCH = 125
_WORTH_FREEZING = 250  # inputs; for fewer, making a frozen copy takes longer than it saves
_FEW = 2  # inputs that a frozen copy is checked on
_ONE_OUTPUT = "output"  # the name of an output that has none
_FLOATS = (torch.float32, torch.float64)


def run_batches(module: torch.nn.Module, inputs: AnyInputs, batch: int = _BATCH) -> Floats32:
    """Run a module without gradients and return its one output.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        At least one input, as `traces.Inputs.of` takes them.
    batch : int
        Largest number of inputs run at once.

    Returns
    -------
    float32 [inputs, ...]
        The output.

    Raises
    ------
    InputError
        As `run_outputs` does, or if the module gives several outputs.
    """
    parts = []
    for part in _batches(module, Inputs.of(inputs), batch):
        parts.append(_only(part))
    return np.concatenate(parts)


def run_outputs(module: torch.nn.Module, inputs: AnyInputs, batch: int = _BATCH) -> dict[str, Floats]:
    """Run a module without gradients and return all its outputs by name.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        At least one input, as `traces.Inputs.of` takes them.
    batch : int
        Largest number of inputs run at once.

    Returns
    -------
    dict of str to array [inputs, ...]
        "output" if the module gives a tensor; otherwise the keys of its mapping, or 0, 1, ... of its sequence.

    Raises
    ------
    InputError
        If there are no inputs, the module does not take them, or it gives anything but tensors with an output for each
        input.
    """
    return _joined(list(_batches(module, Inputs.of(inputs), batch)))


def compressed_outputs(model: CompressedModel, module: torch.nn.Module, inputs: AnyInputs) -> dict[str, Floats]:
    """Load a compressed model into a module, run it without gradients, and return all its outputs by name.

    Parameters
    ----------
    model : CompressedModel
        The model.
    module : torch.nn.Module
        The network that was compressed; changed in place.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        At least one input.

    Returns
    -------
    dict of str to array [inputs, ...]
        As `run_outputs` does.

    Raises
    ------
    InputError
        As `CompressedModel.load_into` and `run_outputs` do, or if the module uses a weight with an activation threshold
        outside of calls of its layer, where no threshold is applied.
    """
    model.load_into(module)
    hooked = [name for name, part in named_parts(module, every_name=True) if threshold_of(part)]
    if not hooked:
        return run_outputs(module, inputs)
    with uses_elsewhere(module, hooked) as elsewhere:
        outputs = run_outputs(module, inputs)
    for name, function in elsewhere.items():
        raise InputError(
            f"layer {name!r}: a module applies an activation threshold in calls of the layer only; found its weight "
            f"in {function}, outside of them; compress the network with inputs, so that the container has its graph, "
            f"and give the network of this graph"
        )
    return outputs


def read_outputs(
    module: torch.nn.Module,
    inputs: Inputs,
    loss: str | LossFunction | Loss,
    what: str = "the network's outputs",
    *,
    labels: Numbers | None = None,
    network: Network | None = None,
    compared: Sequence[str] = (),
) -> tuple[Loss, dict[str, Floats]]:
    """Run a module without gradients, check that a loss has a meaning for its outputs, and read them.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : Inputs
        At least one input.
    loss : str, callable or Loss
        The loss; "auto" for the one that fits labels and outputs (`choose_loss`).
    what : str
        Name of the outputs in errors.
    labels : int [inputs] or [inputs, positions], or None
        Places of the right outputs; checked, too.
    network : Network or None
        Graph of the module, if it is known.
    compared : sequence of str
        Names of the outputs that are compared, all by default; a Loss has its own.

    Returns
    -------
    loss : Loss
        The loss, with what is to be read of these outputs and of those of the compressed network.
    outputs : dict of str to array
        Outputs that the loss compares, by name.

    Raises
    ------
    InputError
        If the loss has no meaning for the outputs, one has an unknown name, or the labels do not fit; after one batch
        if their form shows it.
    """
    chosen = None if isinstance(loss, str) and loss == AUTO else Loss.of(loss, labels is not None, compared)
    compared = compared if chosen is None else chosen.outputs
    if labels is not None:
        labels = check_labels("labels", labels, len(inputs), positions=None)
    parts: list[dict[str, Floats]] = []
    for whole in _batches(module, inputs):
        part = compared_outputs(whole, compared)
        if not parts and labels is not None:
            labels_of(labels, len(inputs), part) if chosen is None else chosen.check_labels(labels, len(inputs), part)
        if chosen is not None:
            chosen.check_states(what, whole, float_shapes(inputs, network))
            for name, values in part.items():
                chosen.check_form(named_output(what, name, part), values, len(values))
        parts.append(part)
    outputs = _joined(parts)
    if chosen is None:
        chosen = replace(choose_loss(inputs, outputs, labels is not None, network), outputs=tuple(compared))
        chosen.check_states(what, whole, float_shapes(inputs, network))
    checked = chosen.check(what, outputs, inputs.differ)
    return checked, checked.read(outputs)


def float_shapes(inputs: Inputs, network: Network | None = None) -> list[tuple[int | None, ...]]:
    """Return the shapes of floating-point inputs without the axis of the inputs, for `find_state`.

    Parameters
    ----------
    inputs : Inputs
        Inputs of a network.
    network : Network or None
        Its graph, which may have further inputs that are the same for all.
    """
    shapes: list[tuple[int | None, ...]] = [
        values.shape[1:] for values in inputs.arrays.values() if values.dtype.kind == "f"
    ]
    for entry in () if network is None else network.inputs:
        if entry.dtype.kind == "f" and entry.batch_axis is None:  # an axis of length 1 in front is taken for the inputs
            shapes.append(entry.shape[1:] if entry.shape[:1] == (1,) else entry.shape)
    return shapes


def num_classes(module: torch.nn.Module, inputs: AnyInputs) -> int:
    """Count the classes that a module scores, on two inputs. Raises InputError if it gives no [inputs, classes]."""
    with evaluating(module):
        outputs = run_batches(module, Inputs.of(inputs)[:2])
    check_form("the network's outputs", outputs, len(outputs))
    return int(outputs.shape[1])


def float_type(module: torch.nn.Module) -> torch.dtype:
    """Return the type in which a module takes floating-point inputs. Raises InputError if it is a narrow one."""
    types = set()
    for name, values in (*module.named_parameters(), *module.named_buffers()):
        if values.is_floating_point():
            types.add(values.dtype)
            if values.dtype not in _FLOATS:
                kind = str(values.dtype).removeprefix("torch.")
                raise InputError(
                    f"the network's parameters must be float32; found {name} of {kind}; call module.float()"
                )
    return torch.float64 if types == {torch.float64} else torch.float32


def call(module: torch.nn.Module, inputs: Inputs, floats: torch.dtype) -> dict[str, torch.Tensor]:
    """Call a module on inputs and return its outputs by name.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    inputs : Inputs
        Its inputs, by order or by name. Integers and booleans are given as they are.
    floats : torch.dtype
        Type of floating-point inputs (`float_type`).

    Raises
    ------
    InputError
        If the module does not take the inputs, or gives anything but tensors with an output for each input.
    """
    tensors = {name: _tensor(values, floats) for name, values in inputs.arrays.items()}
    try:
        result = module(*tensors.values()) if inputs.positional else module(**tensors)
    except InputError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        integers = [name for name, values in inputs.arrays.items() if values.dtype.kind != "f"]
        remedy = "; if integers are images, give images.astype(np.float32), scaled as in training" if integers else ""
        raise InputError(
            f"the network must take the inputs ({', '.join(inputs.described())}); found {type(error).__name__}: "
            f"{' '.join(str(error).split())}{remedy}"
        ) from error
    outputs = _flat(result, "")
    for name, values in outputs.items():
        if values.shape[:1] != (len(inputs),):
            raise InputError(
                f"the network must give an output for each input, [inputs, ...]; found {list(values.shape)} "
                f"{'' if name == _ONE_OUTPUT else f'in output {name!r} '}for {len(inputs):,} inputs; wrap it in a "
                f"module that does"
            )
    return outputs


def _batches(module: torch.nn.Module, inputs: Inputs, batch: int = _BATCH) -> Iterator[dict[str, Floats]]:
    """Run a module, or a faster copy of it if there are many inputs, and yield the outputs of each batch."""
    if len(inputs) == 0:
        raise InputError("a network needs inputs to be measured on; found none")
    floats = float_type(module)
    if len(inputs) > _WORTH_FREEZING:
        few = inputs[:_FEW]
        module, batch = freeze(module, lambda copied: call(copied, few, floats), _FEW, batch)
    for begin in range(0, len(inputs), batch):
        with torch.no_grad():  # not inference mode: what a module keeps of a run may be needed for gradients later
            outputs = call(module, inputs[begin : begin + batch], floats)
        yield {
            name: (values.float() if values.dtype in (torch.float16, torch.bfloat16) else values).numpy()
            for name, values in outputs.items()
        }


def _joined(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
    """Return the outputs of all batches together."""
    kinds = {tuple((name, values.shape[1:]) for name, values in part.items()) for part in parts}
    if len(kinds) > 1:
        first, second = list(kinds)[:2]
        raise InputError(
            f"the network's outputs must have the same names and shapes for all inputs; found {dict(first)} and "
            f"{dict(second)}; give inputs of one kind"
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _only(outputs: dict[str, Floats]) -> Floats:
    if len(outputs) > 1:
        raise InputError(
            f"the network must give one tensor; found the outputs {', '.join(outputs)}; wrap it in a module that does"
        )
    return next(iter(outputs.values()))


def _tensor(values: Floats, floats: torch.dtype) -> torch.Tensor:
    """Return an array as a tensor; 16 and 32 bits without a sign become int64, which PyTorch calculates with."""
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64)
    tensor = torch.as_tensor(np.ascontiguousarray(values))
    return tensor.to(floats) if tensor.is_floating_point() else tensor


def _flat(result: object, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a network's result by name; nested ones as 1.0, and None is left out."""
    if isinstance(result, torch.Tensor):
        return {name or _ONE_OUTPUT: result.detach() if not result.requires_grad else result}
    if isinstance(result, Mapping):
        parts = [(str(key), value) for key, value in result.items()]
    elif isinstance(result, tuple | list):
        names = getattr(result, "_fields", range(len(result)))
        parts = [(str(key), value) for key, value in zip(names, result, strict=True)]
    else:
        raise InputError(
            f"the network must give a tensor, or a tuple or mapping of tensors; found {type(result).__name__}; wrap it "
            f"in a module that does"
        )
    flat = {}
    for key, value in parts:
        if value is not None:
            flat.update(_flat(value, f"{name}.{key}" if name else key))
    if not flat:
        raise InputError("the network must give at least one output; found none; wrap it in a module that does")
    return flat
