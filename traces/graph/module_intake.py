"""Export of a PyTorch module with example inputs to a graph (PyTorch and onnxscript needed)."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import ModelProto

from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.description import RECURRENT
from traces.graph.products import find_products
from traces.graph.resolve import FixedValues
from traces.graph.runtime import Session
from traces.graph.surgery import WHOLE, restored
from traces.torch_modules import independent_copy, multiplies_as_called, named_parts, named_tensors

if TYPE_CHECKING:
    from traces.graph.network import Network

_BATCH = "inputs"  # name of the axis that holds the inputs
_CLOSE = 1e-3  # of the largest output, between a module and its graph


Lengths = Mapping[str, Mapping[int, str]]
"""Names of the lengths that may change, by input and axis."""


def exported(
    name: str, module: Any, inputs: Any, lengths: Lengths | None = None
) -> tuple[ModelProto, frozenset[str], dict[str, Numbers]]:
    """Export a module, in evaluation mode; the module is left as it is.

    Parameters
    ----------
    name : str
        Name of the network in errors.
    module : torch.nn.Module
        The network.
    inputs : array, tuple of arrays, or dict of arrays
        Example inputs; the first axis of each array holds the inputs.
    lengths : mapping of str to mapping of int to str, optional
        Names of the lengths that may change, by input and axis; by default that of the first axes.

    Returns
    -------
    model : onnx.ModelProto
        The graph; parameters have their names in the state dict.
    names : frozenset of str
        Names of parameters and buffers.
    example : dict of str to array
        The example inputs by the names of the graph's inputs.

    Raises
    ------
    InputError
        If there are no inputs, the module is no module, or it cannot be traced.
    """
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{name}: a network must be a torch.nn.Module; found {type(module).__name__}")
    if inputs is None:
        raise InputError(f"{name}: a module needs example inputs, from which it is traced; give inputs")
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise InputError(
            f"{name}: tracing a module needs the package onnxscript; install the extra: "
            f"pip install 'eie-codesign[onnx]'"
        ) from None
    module = _with_plain_projections(independent_copy(module)).eval()
    arguments, keywords = _tensors(name, inputs)
    _check_types(name, module)
    batch = _batch(arguments, keywords)
    example_outputs = _run(name, module, arguments, keywords)
    if not flat_outputs(example_outputs):
        raise InputError(f"{name}: a module's outputs must be tensors; found {type(example_outputs).__name__}")
    outputs = _output_names(example_outputs)
    models = []
    if lengths is not None:
        shapes = _shapes(name, module, arguments, keywords, lengths)
        model = _export(name, module, arguments, keywords, outputs, shapes)
        _check_lengths(name, model, lengths)
        models.append((model, "lengths"))
    elif batch and _independent(module, arguments, keywords, batch, example_outputs):
        twice = [_doubled(value) if batch == 1 else value for value in arguments]
        twice_named = {key: _doubled(value) if batch == 1 else value for key, value in keywords.items()}
        every: Any = {0: _BATCH}
        every = dict.fromkeys(keywords, every) if keywords else tuple(every for _ in arguments)
        with contextlib.suppress(InputError):
            models.append((_export(name, module, twice, twice_named, outputs, every), "each"))
        if not models:
            first = [value[:1] for value in arguments]
            first_named = {key: value[:1] for key, value in keywords.items()}
            models.append((_export(name, module, first, first_named, outputs), "single"))
    else:
        models.append((_export(name, module, arguments, keywords, outputs), "whole"))
    model, mode = models[0]
    if mode == "whole":
        model.metadata_props.add(key=WHOLE, value="1")
    names = [value.name for value in model.graph.input]
    values = [*arguments, *keywords.values()]
    if len(names) != len(values):
        raise InputError(f"{name}: the graph takes {', '.join(names) or 'no inputs'}; {len(values)} inputs were given")
    example = {key: value.numpy() for key, value in zip(names, values, strict=True)}
    _check_outputs(name, model, example, example_outputs, mode)
    return model, frozenset(module.state_dict(keep_vars=True)), example


def multiplied_elsewhere(network: Network, module: Any, scopes: Mapping[str, str]) -> list[str]:
    """Return the weights of layers and tables that are multiplied outside of calls of their layers, too.

    Parameters
    ----------
    network : Network
        The network of the module.
    module : torch.nn.Module
        The module.
    scopes : mapping of str to str
        Name of the submodule that computes each value of the graph.

    Returns
    -------
    list of str
        Names of weights, in order; those of other modules than linear and convolutional layers and tables are left out.
    """
    parts = dict(named_parts(module, every_name=True))
    tensors = named_tensors(module, every_name=True)
    flat = restored(network.graph, network.parameters)
    fixed = FixedValues(flat, network.parameters.keys(), network.kept["origins"])
    products = [product for product in find_products(flat, fixed) if product.node.op_type not in RECURRENT]
    origins = fixed.origins([part.operand for product in products for part in product.parts])
    found = set()
    for product in products:
        layer = parts.get(scopes.get(product.node.output[0], ""))
        for origin in (origins[part.operand] for part in product.parts):
            for name in () if origin is None else origin.parameters:
                owner = parts.get(name.rpartition(".")[0])
                known = isinstance(owner, torch.nn.Embedding) or multiplies_as_called(owner)
                own = multiplies_as_called(layer) and layer._parameters["weight"] is tensors.get(name)
                if known and not own:
                    found.add(name)
    return sorted(found)


class _ProjectedLSTM(torch.nn.Module):
    """LSTM with a projection, step by step, because ONNX has no operator for it; parameters keep their names."""

    def __init__(self, original: torch.nn.LSTM) -> None:
        super().__init__()
        for name, parameter in original.named_parameters():
            self.register_parameter(name, parameter)
        self.batch_first, self.num_layers = original.batch_first, original.num_layers
        self.directions = 2 if original.bidirectional else 1
        self.hidden_size, self.proj_size, self.bias = original.hidden_size, original.proj_size, original.bias

    def forward(
        self, input: torch.Tensor, hx: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Run sequences as torch.nn.LSTM does."""
        alone = input.dim() == 2
        sequence = input.unsqueeze(1) if alone else input.transpose(0, 1) if self.batch_first else input
        inputs, count = sequence.shape[1], self.num_layers * self.directions
        if hx is None:
            hidden = [sequence.new_zeros(inputs, self.proj_size) for _ in range(count)]
            cell = [sequence.new_zeros(inputs, self.hidden_size) for _ in range(count)]
        else:
            hidden, cell = (list(state.unsqueeze(1) if alone else state) for state in hx)
        for layer in range(self.num_layers):
            leaving = []
            for direction in range(self.directions):
                place, suffix = layer * self.directions + direction, f"l{layer}{'_reverse' if direction else ''}"
                steps = list(sequence.unbind(0))
                outputs = []
                for step in reversed(steps) if direction else steps:
                    hidden[place], cell[place] = self._step(suffix, step, hidden[place], cell[place])
                    outputs.append(hidden[place])
                leaving.append(torch.stack(outputs[::-1] if direction else outputs))
            sequence = torch.cat(leaving, dim=-1)
        outputs_whole = sequence.squeeze(1) if alone else sequence.transpose(0, 1) if self.batch_first else sequence
        states = torch.stack(hidden), torch.stack(cell)
        return outputs_whole, (states[0].squeeze(1), states[1].squeeze(1)) if alone else states

    def _step(
        self, suffix: str, entering: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        def times(kind: str, vectors: torch.Tensor) -> torch.Tensor:
            bias = getattr(self, f"bias_{kind}_{suffix}") if self.bias else None
            return torch.nn.functional.linear(vectors, getattr(self, f"weight_{kind}_{suffix}"), bias)

        i, f, g, o = (times("ih", entering) + times("hh", hidden)).chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        projected = torch.nn.functional.linear(o.sigmoid() * cell.tanh(), getattr(self, f"weight_hr_{suffix}"))
        return projected, cell


def _with_plain_projections(module: torch.nn.Module) -> torch.nn.Module:
    """Replace each LSTM that has a projection by one that is traced step by step."""
    if isinstance(module, torch.nn.LSTM) and module.proj_size:
        return _ProjectedLSTM(module)
    for name, child in module.named_children():
        setattr(module, name, _with_plain_projections(child))
    return module


def _tensors(name: str, inputs: Any) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    def tensor(value: Any) -> torch.Tensor:
        if isinstance(value, torch.Tensor):
            return value.detach().cpu()
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise InputError(f"{name}: inputs must be arrays of numbers; found {array.dtype}")
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return torch.from_numpy(np.asarray(array, order="C"))

    if isinstance(inputs, Mapping):
        return [], {key: tensor(value) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return [tensor(value) for value in inputs], {}
    return [tensor(inputs)], {}


def _check_types(name: str, module: torch.nn.Module) -> None:
    for key, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, torch.Tensor) and (
            value.device.type != "cpu" or (value.is_floating_point() and value.dtype != torch.float32)
        ):
            raise InputError(
                f"{name}: every parameter must be float32 on the CPU; found {key} of {value.dtype} on {value.device}; "
                f"call module.float().cpu()"
            )


def _batch(arguments: list[torch.Tensor], keywords: Mapping[str, torch.Tensor]) -> int:
    """Return the number of inputs, the length of all first axes; 0 if the first axes differ."""
    lengths = {value.shape[0] if value.ndim else 0 for value in [*arguments, *keywords.values()]}
    return lengths.pop() if len(lengths) == 1 else 0


def _run(
    name: str, module: torch.nn.Module, arguments: list[torch.Tensor], keywords: Mapping[str, torch.Tensor]
) -> Any:
    try:
        with torch.no_grad():
            return module(*(value.clone() for value in arguments), **{k: v.clone() for k, v in keywords.items()})
    except Exception as error:  # whatever the module raises
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{name}: the module cannot run on these inputs: {type(error).__name__}: {reason}") from error


def _independent(
    module: torch.nn.Module,
    arguments: list[torch.Tensor],
    keywords: Mapping[str, torch.Tensor],
    batch: int,
    outputs: Any,
) -> bool:
    """Return True if the first axis holds inputs that the module treats one by one.

    The first and the last input are run alone; a single input is run twice at once.
    """
    if batch == 1:
        arguments, keywords, batch = [_doubled(v) for v in arguments], {k: _doubled(v) for k, v in keywords.items()}, 2
        together = _outputs(module, arguments, keywords)
    else:
        together = flat_outputs(outputs)
    if together is None or any(many.shape[:1] != (batch,) for many in together):
        return False
    for place in (0, batch - 1):
        part = slice(place, place + 1)
        alone = _outputs(module, [v[part] for v in arguments], {k: v[part] for k, v in keywords.items()})
        if alone is None or len(alone) != len(together):
            return False
        if not all(_close(many[part], one) for many, one in zip(together, alone, strict=True)):
            return False
    return True


def _outputs(
    module: torch.nn.Module, arguments: list[torch.Tensor], keywords: Mapping[str, torch.Tensor]
) -> list[torch.Tensor] | None:
    try:
        return flat_outputs(_run("", module, arguments, keywords))
    except InputError:
        return None


def _doubled(value: torch.Tensor) -> torch.Tensor:
    return torch.cat([value, value])


def flat_outputs(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors of a module's outputs, in order."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        return [tensor for value in outputs.values() for tensor in flat_outputs(value)]
    if isinstance(outputs, tuple | list):
        return [tensor for value in outputs for tensor in flat_outputs(value)]
    return []


def _output_names(outputs: Any) -> list[str] | None:
    """Return the names of outputs that a module gives by name, or None."""
    if not isinstance(outputs, Mapping) or not all(isinstance(value, torch.Tensor) for value in outputs.values()):
        return None
    return [str(name) for name in outputs]


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.shape != second.shape:
        return False
    wanted, given = second.double(), first.double()
    finite = wanted.isfinite()
    if not torch.equal(finite, given.isfinite()):
        return False
    wanted, given = wanted[finite], given[finite]
    return not wanted.numel() or bool((given - wanted).abs().max() <= _CLOSE * max(float(wanted.abs().max()), 1e-12))


def _shapes(
    name: str,
    module: torch.nn.Module,
    arguments: list[torch.Tensor],
    keywords: Mapping[str, torch.Tensor],
    lengths: Lengths,
) -> Any:
    """Return the lengths that may change as the exporter takes them, in the order of the inputs or by name."""
    names = list(keywords) or list(inspect.signature(module.forward).parameters)[: len(arguments)]
    tensors = dict(zip(names, [*arguments, *keywords.values()], strict=False))
    for key, axes in lengths.items():
        if key not in tensors or not all(0 <= axis < tensors[key].ndim for axis in axes):
            raise InputError(
                f"{name}: lengths must name inputs, {', '.join(names)}, and axes of them; found {key}: {dict(axes)}"
            )
    shapes = {key: dict(lengths.get(key, {})) for key in names}
    return shapes if keywords else tuple(shapes.values())


def _check_lengths(name: str, model: ModelProto, lengths: Lengths) -> None:
    """Raise InputError if the graph holds for one length only that may change."""
    for value in model.graph.input:
        for axis in lengths.get(value.name, {}):
            length = value.type.tensor_type.shape.dim[axis]
            if not length.dim_param:
                raise InputError(
                    f"{name}: axis {axis} of input {value.name!r} must be of any length, as lengths says; the traced "
                    f"graph takes {length.dim_value} only; trace it with another length, or leave it out of lengths"
                )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints and warns about what it does inside."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _export(
    name: str,
    module: torch.nn.Module,
    arguments: list[torch.Tensor],
    keywords: Mapping[str, torch.Tensor],
    outputs: list[str] | None,
    shapes: Any = None,
) -> ModelProto:
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(arguments),
                kwargs=dict(keywords),
                dynamo=True,
                optimize=False,
                verbose=False,
                dynamic_shapes=shapes,
                output_names=outputs,
            )
            return _simplified(program)
    except Exception as error:  # the exporter, and all that it calls
        raise InputError(f"{name}: the module cannot be traced: {_trace_reason(error)}") from None


def _simplified(program: Any) -> ModelProto:
    """Return the exported graph with constants folded; parameters keep their names and values."""
    import onnx_ir
    from onnxscript import optimizer

    model = program.model
    graph = model.graph
    parameters = list(graph.initializers.values())
    values = {value.name: value.const_value for value in parameters}
    for value in parameters:  # an input is not folded
        value.const_value = None
        del graph.initializers[value.name]
        graph.inputs.append(value)
    optimizer.optimize(model)
    for value in [value for value in list(graph.inputs) if value.name in values]:
        graph.inputs.remove(value)
        if value.uses() or value.is_graph_output():
            value.const_value = values[value.name]
            graph.register_initializer(value)
    proto: ModelProto = onnx_ir.to_proto(model)
    return proto


def _trace_reason(error: BaseException) -> str:
    """Return the operation that stopped the exporter, and the line that called it."""
    causes = [error]
    while causes[-1].__cause__ is not None or causes[-1].__context__ is not None:
        following = causes[-1].__cause__ or causes[-1].__context__
        if following is None or following in causes:
            break
        causes.append(following)
    deepest = causes[-1]
    text = " ".join(str(deepest).split())
    line = ""
    trace = deepest.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/torch/" not in code.co_filename and "onnx" not in code.co_filename and code.co_name == "forward":
            line = f" (line {trace.tb_lineno} of {code.co_filename})"
        trace = trace.tb_next
    return f"{type(deepest).__name__}: {text[:400]}{line}"


def _check_outputs(name: str, model: ModelProto, example: Mapping[str, Numbers], outputs: Any, mode: str) -> None:
    """Raise InputError unless the graph computes what the module does."""
    if mode == "single":
        example = {key: value[:1] for key, value in example.items()}
    results = list(Session(model).run(example).values())
    expected = flat_outputs(outputs)
    if len(results) != len(expected):
        raise InputError(f"{name}: the graph has {len(results)} outputs and the module {len(expected)}")
    for result, wanted in zip(results, expected, strict=True):
        wanted = wanted[:1] if mode == "single" else wanted
        if not _close(torch.from_numpy(np.array(result)), wanted):
            raise InputError(
                f"{name}: the traced graph computes other outputs than the module; the module depends on values in a "
                f"way that a graph cannot hold"
            )
