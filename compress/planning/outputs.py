"""Outputs of a network on inputs, batch by batch, without gradients (PyTorch needed)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch

from compress.class_scores import check_form, check_scores
from traces import InputError
from traces.arrays import Floats, Floats32


def run_batches(module: torch.nn.Module, inputs: Floats, batch: int = 125) -> Floats32:
    """Run a module without gradients and return its outputs [inputs, ...].

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : array [inputs, ...]
        At least one input.
    batch : int
        Inputs run at once.

    Returns
    -------
    float32 [inputs, ...]
        The outputs.

    Raises
    ------
    InputError
        If there are no inputs, or the module does not give one tensor with an output for each input.
    """
    return np.concatenate(list(_batches(module, inputs, batch)))


def class_scores(module: torch.nn.Module, inputs: Floats, what: str = "the network's outputs") -> Floats32:
    """Run a module without gradients and return its class scores [inputs, classes].

    Parameters
    ----------
    module : torch.nn.Module
        The network, in the mode in which it is to run.
    inputs : array [inputs, ...]
        At least one input.
    what : str
        Name of the outputs in errors.

    Raises
    ------
    InputError
        If the outputs are no class scores (`compress.class_scores`); after one batch if their form shows it.
    """
    parts = []
    for part in _batches(module, inputs):
        check_form(what, part, len(part))
        parts.append(part)
    scores = np.concatenate(parts)
    check_scores(what, scores, inputs)
    return scores


def num_classes(module: torch.nn.Module, inputs: Floats) -> int:
    """Count the classes that a module scores, on two inputs. Raises InputError if it gives no class scores."""
    outputs = run_batches(copy.deepcopy(module).eval(), inputs[:2])
    check_form("the network's outputs", outputs, len(outputs))
    return int(outputs.shape[1])


def _batches(module: torch.nn.Module, inputs: Floats, batch: int = 125) -> Iterator[Floats32]:
    """Run a module and yield the outputs of each batch."""
    if len(inputs) == 0:
        raise InputError("a network needs inputs to be measured on; found none")
    for begin in range(0, len(inputs), batch):
        entering = torch.as_tensor(inputs[begin : begin + batch])
        with torch.no_grad():  # not inference mode: what a module keeps of a run may be needed for gradients later
            outputs: object = module(entering)
        if not isinstance(outputs, torch.Tensor):
            raise InputError(
                f"the network must give one tensor; found {type(outputs).__name__}; wrap it in a module that does"
            )
        if outputs.shape[:1] != entering.shape[:1]:
            raise InputError(
                f"the network must give an output for each input, [inputs, ...]; found {list(outputs.shape)} for "
                f"{len(entering):,} inputs; wrap it in a module that does"
            )
        yield outputs.numpy()
