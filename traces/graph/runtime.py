"""ONNX and ONNX Runtime, which are imported when a network is first used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from traces.arrays import Numbers
from traces.errors import InputError

if TYPE_CHECKING:
    import onnx


@cache
def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"networks need the packages onnx and onnxruntime; found none of the name {error.name}; install the extra: "
            f"pip install 'eie-codesign[onnx]'"
        ) from None
    onnxruntime.set_default_logger_severity(4)
    return onnx, onnxruntime


def processors() -> int:
    """Return the number of processors to use: those of this process, at most OMP_NUM_THREADS if that is set."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(asked)) if asked.isdecimal() and int(asked) > 0 else available


def check_packages() -> None:
    """Raise InputError unless the packages onnx and onnxruntime can be imported."""
    _packages()


@contextmanager
def graph_faults(name: str) -> Iterator[None]:
    """Raise InputError, with this name, in place of any error that a graph causes whose parts do not match.

    ONNX Runtime refuses most of such graphs, but a graph is also looked at without being run.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{name}: its values must fit into memory; give smaller inputs, or convert the file") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: its operations must have the inputs, attributes, types and shapes that ONNX defines; found some "
            f"that do not match ({type(error).__name__}: {reason})"
        ) from error


class Session:
    """Graph that is ready to run in ONNX Runtime.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph, with the values of its parameters.
    outputs : sequence of str, optional
        Names of the values to return; the graph's outputs by default.

    Raises
    ------
    InputError
        If ONNX Runtime cannot run the graph.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str] | None = None) -> None:
        onnx, onnxruntime = _packages()
        if outputs is not None:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            del copy.graph.output[:]
            copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
            model = copy
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = processors()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave processors
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime has an exception class for each status
            raise InputError(f"ONNX Runtime cannot run the network: {_reason(error)}") from None
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Numbers]) -> dict[str, Any]:
        """Run the graph and return its outputs by name. Raises InputError if the inputs do not fit."""
        try:
            values = self._session.run(None, {name: np.asarray(feeds[name], order="C") for name in self.inputs})
        except Exception as error:  # as above
            raise InputError(f"ONNX Runtime cannot run the network on these inputs: {_reason(error)}") from None
        return dict(zip(self.outputs, values, strict=True))


def _reason(error: Exception) -> str:
    """Return what ONNX Runtime says of the innermost node that failed."""
    text = " ".join(str(error).split())
    return text[max(0, text.rfind("Non-zero status code returned while running")) :][:400] or type(error).__name__
