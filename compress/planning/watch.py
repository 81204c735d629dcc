"""Comparison of a deployed container with the original network on later inputs (PyTorch needed).

The mean loss of new inputs has a confidence interval; the bound is kept or broken only if the whole interval says so.
Drift is a change of the loss or of the original's outputs from the first half of the inputs to the second, or of the
loss since the plan was made; and a change of the inputs themselves (`compress.planning.drift`).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping

import numpy as np
import torch

from compress.class_scores import check_finite
from compress.container.model import CompressedModel
from compress.modules import plain_module
from compress.networks import PlannedNetwork
from compress.output_changes import entropies
from compress.planning.confidence import interval
from compress.planning.drift import compare_halves
from compress.planning.losses import AUTO, Loss, LossFunction
from compress.planning.outputs import compressed_outputs, read_outputs
from compress.planning.plan import Plan, Tolerance
from compress.planning.watch_report import LEVEL, WatchReport
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Floats, Floats64, Numbers


def watch(
    original: torch.nn.Module | Network | str | os.PathLike[str],
    model: CompressedModel,
    inputs: AnyInputs,
    tolerance: Tolerance | float,
    *,
    loss: str | LossFunction = AUTO,
    labels: Numbers | None = None,
    plan: Plan | None = None,
) -> WatchReport:
    """Compare a container with the original network on later inputs.

    Parameters
    ----------
    original : torch.nn.Module, Network, path or str
        The network that was compressed: a module, an opened network, an ONNX file, or package.module:function. It is
        left as it is.
    model : CompressedModel
        The deployed container.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Later inputs, in the order in which they came.
    tolerance : Tolerance or float
        Bound on the loss; a number bounds `loss`.
    loss : str or callable
        Loss that a number bounds, as `plan` takes it.
    labels : int [inputs] or [inputs, positions], or None
        Places of the right outputs, for the loss accuracy.
    plan : Plan or None
        The container's plan; drift from its measurement and from its inputs is reported, too.

    Returns
    -------
    WatchReport
        Intervals, verdict and drift.

    Raises
    ------
    InputError
        If there are fewer than two inputs, the tolerance has no meaning for the original's outputs or no network could
        break it, the labels do not fit, or the container belongs to another network.
    """
    tolerance = Tolerance.of(tolerance, loss)
    planned = PlannedNetwork.beside(model, original, inputs)
    inputs = planned.inputs(inputs)
    if len(inputs) < 2:
        raise InputError(f"watching needs at least two inputs; found {len(inputs)}")
    network = plain_module(planned.module).eval()
    named, before = read_outputs(
        network,
        inputs,
        tolerance.loss,
        "the original's outputs",
        labels=labels,
        network=planned.network,
        compared=tolerance.outputs,
    )
    tolerance = dataclasses.replace(tolerance, loss=named.function or named.name)
    if labels is not None:
        labels = named.check_labels(labels, len(inputs), before)
    named.check_reach(tolerance.bound, before, labels)
    after = named.read(compressed_outputs(model, network, inputs))
    for values in after.values():
        check_finite("the compressed network's outputs", values)
    used = named.by_input(before, after, labels)
    halves = {"used": used, **_states(named, before)}
    drift = {f"{name}, second half from first": _apart(*np.array_split(values, 2)) for name, values in halves.items()}
    report = WatchReport(
        tolerance,
        named.reason,
        used,
        interval(used, LEVEL, shares=named.of_answers),
        {
            name: interval(Loss(name).by_input(before, after), LEVEL, shares=name == "answers")
            for name in _other_losses(named, before)
        },
        drift,
        from_first_half=tuple(compare_halves(inputs)),
    )
    return report if plan is None else _beside_plan(report, named, plan, inputs)


def _beside_plan(report: WatchReport, loss: Loss, plan: Plan, inputs: Inputs) -> WatchReport:
    """Return the report with the drift from the plan, its layers and its measurement."""
    drift, planned = dict(report.drift), {}
    alike = plan.tolerance.name == report.tolerance.name
    if alike and plan.measured is not None and plan.standard_error is not None:
        error = math.hypot(plan.standard_error, float(report.losses.std()) / math.sqrt(report.inputs))
        drift["used, from the plan"] = _in_errors(report.used.mean - plan.measured, error)
        planned = {"measured": plan.measured, "used": plan.used}
    compared = () if plan.input_summary is None else tuple(plan.input_summary.compare(inputs))
    return dataclasses.replace(report, drift=drift, planned=planned, from_plan=compared, layers=plan.rows)


def _other_losses(loss: Loss, outputs: Mapping[str, Floats]) -> list[str]:
    """Return the losses, besides the one that is bounded, that have a meaning for these outputs as well."""
    if loss.scores:
        return [name for name in ("answers", "kl") if name != loss.name]
    floating = all(values.dtype.kind == "f" for values in outputs.values())
    return ["relative-error"] if floating and loss.name != "relative-error" else []


def _states(loss: Loss, outputs: Mapping[str, Floats]) -> dict[str, Floats64]:
    """Return for each input what may show a drift of the original's outputs."""
    if loss.scores:
        return {"entropy of the original's outputs": np.mean([entropies(each) for each in outputs.values()], axis=0)}
    floating = [values.reshape(len(values), -1).astype(np.float64) for values in outputs.values()
                if values.dtype.kind == "f"]  # fmt: skip
    lengths = [np.linalg.norm(values, axis=1) for values in floating]
    return {"length of the original's outputs": np.mean(lengths, axis=0)} if lengths else {}


def _apart(first: Floats, second: Floats) -> float:
    """Return the difference of two means in standard errors; infinite if neither varies and they differ."""
    if min(len(first), len(second)) < 2:
        return 0.0  # one input says nothing about how much they vary
    error = math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    return _in_errors(float(second.mean() - first.mean()), error)


def _in_errors(apart: float, error: float) -> float:
    """Return a difference in standard errors; infinite if there is one and the error is 0."""
    if error == 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / error
