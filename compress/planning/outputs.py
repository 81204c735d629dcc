"""Outputs of a network on inputs, batch by batch, and what of them is compared for a bound (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from compress.class_scores import are_probabilities, check_finite, check_form, check_labels, check_scores
from compress.output_changes import classes_last
from compress.planning.plan import Bound, Tolerance
from traces import AnyInputs, InputError, Inputs
from traces.arrays import Floats, Floats32, Integers64, Numbers
from traces.torch_modules import evaluating

_BATCH = 125
_ONE_OUTPUT = "output"  # the name of an output that has none
_LEAST = float(np.finfo(np.float32).tiny)  # of a probability whose logarithm is taken
_FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True)
class OutputReader:
    """Reader of a network's outputs, for bounds of one kind.

    Attributes
    ----------
    kind : str
        Name of a bound (`Tolerance.kind`); accuracy_drop and divergence read the same.
    logarithms : tuple of str
        Outputs that are probabilities: their logarithms are read, which are class scores.
    """

    kind: Bound = "divergence"
    logarithms: tuple[str, ...] = ()

    @property
    def scores(self) -> bool:
        """True if outputs are class scores, whose mean over the classes does not count."""
        return self.kind in ("accuracy_drop", "divergence")

    def check_kind(self, tolerance: Tolerance) -> None:
        """Raise InputError if the tolerance's bound is of another kind."""
        if OutputReader(tolerance.kind).scores != self.scores or (not self.scores and tolerance.kind != self.kind):
            raise InputError(
                f"the tolerance must be a bound of the kind that the network was analysed for, {self.kind}; found "
                f"{tolerance.kind}; make another planner, with kind={tolerance.kind!r}"
            )

    def read(self, outputs: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the outputs that a tolerance compares, of outputs by name."""
        return {
            name: np.log(np.maximum(values, _LEAST)) if name in self.logarithms else values
            for name, values in outputs.items()
        }

    def run(self, module: torch.nn.Module, inputs: AnyInputs) -> dict[str, Floats]:
        """Run a module as `run_outputs` does, and return the outputs that a tolerance compares."""
        return self.read(run_outputs(module, inputs))

    def vectors(
        self, outputs: Mapping[str, torch.Tensor], original: Mapping[str, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Return vectors whose squared change is what a bound is about, [inputs, ..., values] for each output.

        These are the class scores themselves; for a relative error, outputs divided by their length; for a cosine,
        vectors of length 1. The mean over positions and outputs becomes a sum.

        Parameters
        ----------
        outputs : Mapping[str, tensor]
            Outputs by name.
        original : Mapping[str, tensor] or None
            Outputs whose lengths the others are relative to; `outputs` by default.
        """
        vectors = []
        for name, values in outputs.items():
            along = 1 if values.dim() > 3 else -1
            if self.scores:
                values = values.clamp_min(_LEAST).log() if name in self.logarithms else values
                vectors.append(values.movedim(along, -1))
            elif self.kind == "relative_error":
                flat = values.flatten(1) if values.dim() > 1 else values[:, None]
                before = flat if original is None else original[name].reshape(flat.shape)
                length = before.detach().norm(dim=1, keepdim=True)
                vectors.append(flat / torch.where(length > 0, length, 1.0) / len(outputs) ** 0.5)
            else:
                flat = torch.nn.functional.normalize(values, dim=along).movedim(along, -1)
                positions = flat[0, ..., 0].numel()
                vectors.append(flat / (len(outputs) * positions) ** 0.5)
        return vectors

    def changes(self, outputs: Mapping[str, Floats], original: Mapping[str, Floats]) -> Floats:
        """Return the `vectors` of outputs without the mean over classes, [inputs, values], to be subtracted.

        Parameters
        ----------
        outputs, original : Mapping[str, array]
            Outputs as the network gives them, and those of the original network.
        """
        tensors, before = ({name: torch.from_numpy(each[name]) for name in each} for each in (outputs, original))
        vectors = [each.numpy() for each in self.vectors(tensors, before)]
        if self.scores:
            vectors = [each - each.mean(axis=-1, keepdims=True) for each in vectors]
        return np.concatenate([each.reshape(len(each), -1) for each in vectors], axis=1)


def check_labels_of(labels: Numbers, inputs: int, outputs: Mapping[str, Floats], kind: Bound) -> Integers64:
    """Return labels of this many inputs as int64, for a bound of this kind on outputs of all or some of the inputs.

    Raises InputError if the labels do not fit the network's only output, or have no effect on the bound.
    """
    if not OutputReader(kind).scores:
        raise InputError(f"labels have no effect on the bound {kind}; leave them out")
    if len(outputs) > 1:
        raise InputError(
            f"labels are those of one output; found the outputs {', '.join(outputs)}; wrap the network in a module "
            f"that gives one, or leave the labels out"
        )
    scores = next(iter(outputs.values()))
    check_form("the network's outputs", scores, len(scores), positions=True)
    scores = classes_last(scores)
    return check_labels("labels", labels, inputs, scores.shape[-1], scores.shape[1:-1])


def run_batches(module: torch.nn.Module, inputs: AnyInputs, batch: int = _BATCH) -> Floats32:
    """Run a module without gradients and return its one output.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        At least one input, as `traces.Inputs.of` takes them.
    batch : int
        Inputs run at once.

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
        Inputs run at once.

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


def read_outputs(
    module: torch.nn.Module, inputs: Inputs, kind: Bound, what: str = "the network's outputs"
) -> tuple[OutputReader, dict[str, Floats]]:
    """Run a module without gradients, check that a bound of this kind has a meaning for its outputs, and read them.

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : Inputs
        At least one input.
    kind : str
        Name of the bound (`Tolerance.kind`).
    what : str
        Name of the outputs in errors.

    Returns
    -------
    reader : OutputReader
        Reader of these outputs and of those of the compressed network.
    outputs : dict of str to array
        Outputs that a tolerance compares, by name.

    Raises
    ------
    InputError
        If the bound has no meaning for the outputs; after one batch if their form shows it.
    """
    parts = []
    scores = OutputReader(kind).scores
    for part in _batches(module, inputs):
        for name, values in part.items():
            if scores:
                check_form(_named(what, name, part), values, len(values), positions=True)
            else:
                _check_vectors(_named(what, name, part), values, kind)
        parts.append(part)
    outputs = _joined(parts)
    for name, values in outputs.items():
        named = _named(what, name, outputs)
        if scores:
            check_scores(named, values, inputs.differ)
            continue
        check_finite(named, values)
        if not values.any():
            raise InputError(f"{named} must not all be 0, as a {kind} is relative to them; check its parameters")
    logarithms = tuple(name for name, values in outputs.items() if scores and are_probabilities(values))
    reader = OutputReader(kind, logarithms)
    return reader, reader.read(outputs)


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
    """Run a module and yield the outputs of each batch."""
    if len(inputs) == 0:
        raise InputError("a network needs inputs to be measured on; found none")
    floats = float_type(module)
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


def _named(what: str, name: str, outputs: Mapping[str, Floats]) -> str:
    return what if len(outputs) == 1 else f"{what}, {name!r},"


def _check_vectors(what: str, outputs: Floats, kind: Bound) -> None:
    """Raise InputError unless outputs are floating-point numbers, and vectors for a cosine."""
    if outputs.dtype.kind != "f":
        raise InputError(f"{what} must be floating-point for the bound {kind}; found {outputs.dtype}; leave them out")
    along = 1 if outputs.ndim > 3 else -1
    if 0 in outputs.shape or (kind == "cosine" and (outputs.ndim < 2 or outputs.shape[along] < 2)):
        raise InputError(
            f"{what} must be vectors [inputs, values] of two values or more for the bound cosine; found "
            f"{list(outputs.shape)}; bound relative_error instead"
        )


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
