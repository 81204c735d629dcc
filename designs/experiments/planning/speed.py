"""Time and memory of planning: ResNet-32, a sentence encoder of 22 million weights, and one wide layer."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress import Budget, Tolerance, plan
from compress.planning.outputs import run_outputs
from compress.weight_files.reading import read_parameters
from designs.experiments.planning.sentences import SentenceEncoder, SentenceTokens
from designs.experiments.resnet import ResNet20
from traces.arrays import Numbers

Row = dict[str, Any]
_BATCH, _REPLANS = 125, 5
_SPREAD = 4.0  # standard deviation of a class score
LARGE = ("sentence encoder", "linear 25088 x 4096")


def speed(images: Numbers, blocks: int = 5) -> list[Row]:
    """Measure planning a ResNet, 32 by default, in forward and backward passes over the pool, and planning again.

    The weights are random, since the time does not depend on training; the last layer makes scores as apart as
    those of a trained network.

    Parameters
    ----------
    images : float32 [images, 3072]
        Pool.
    blocks : int
        Blocks of each of the three stages.
    """
    torch.manual_seed(0)
    network = ResNet20(blocks)
    network.train()
    with torch.no_grad():
        for batch in torch.split(torch.from_numpy(images), _BATCH):
            network(batch)  # statistics of the normalisation
        network.eval()
        scores = network(torch.from_numpy(images[:_BATCH]))
        network.linear.weight *= _SPREAD / float(scores.std(dim=0).mean())
    passes = [_pass_seconds(network, images) for _ in range(3)]
    begin = time.perf_counter()
    found = plan(network, images, tolerance=Tolerance(0.03, "kl"), graph=False)
    planning = time.perf_counter() - begin
    begin = time.perf_counter()
    for number in range(_REPLANS):
        found.replan(Budget(file_bytes=(0.9 - 0.05 * number) * found.costs["file_bytes"]))
    again = (time.perf_counter() - begin) / _REPLANS
    passes += [_pass_seconds(network, images) for _ in range(2)]
    one = float(np.median(passes))
    weights = sum(values.numel() for values in network.parameters())
    times = {"one pass": one, "plan": planning, "plan again": again}
    return [
        {
            "what": what,
            "layers": 6 * blocks + 2,
            "weights": weights,
            "inputs": len(images),
            "seconds": seconds,
            "passes": seconds / one,
        }
        for what, seconds in times.items()
    ]


def _pass_seconds(network: torch.nn.Module, images: Numbers) -> float:
    begin = time.perf_counter()
    for batch in torch.split(torch.from_numpy(images), _BATCH):
        network.zero_grad(set_to_none=True)
        network(batch).square().sum().backward()
    network.zero_grad(set_to_none=True)
    return time.perf_counter() - begin


def large(name: str, model: Path | None = None, number: int = 256, width: int = 25_088) -> Row:
    """Plan one of LARGE in a process of its own, and return its time and its largest memory.

    Parameters
    ----------
    name : str
        One of LARGE.
    model : Path, optional
        Folder of all-MiniLM-L6-v2 (model.safetensors and tokenizer.json), which the sentence encoder needs.
    number : int
        Inputs of the sentence encoder.
    width : int
        Inputs of the wide layer.
    """
    make: Callable[..., Row] = _plan_encoder if name == LARGE[0] else _plan_layer
    arguments = (model, number) if name == LARGE[0] else (width,)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return {"name": name, **alone.submit(make, *arguments).result()}


def _plan_encoder(folder: Path, number: int) -> Row:
    tokens = SentenceTokens(folder / "tokenizer.json")
    inputs = tokens.sentences(3 * number)
    pool, unseen = ({name: values[part] for name, values in inputs.items()} for part in _parts(number))
    network = SentenceEncoder()
    network.load(read_parameters(folder / "model.safetensors"))
    return _measured(network.eval(), pool, unseen, Tolerance(0.02, "cosine"))


def _plan_layer(width: int) -> Row:
    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    inputs = np.maximum(draw.normal(size=(48, width)), 0).astype(np.float32)
    layer = torch.nn.Linear(width, 4096).eval()
    pool, unseen = (inputs[part] for part in _parts(16))
    return _measured(layer, pool, unseen, Tolerance(0.1, "relative-error"))


def _parts(number: int) -> tuple[slice, slice]:
    return slice(0, number), slice(number, None)


def _measured(network: torch.nn.Module, pool: Any, unseen: Any, tolerance: Tolerance) -> Row:
    start = _peak_mib()
    begin = time.perf_counter()
    found = plan(network, pool, tolerance=tolerance, graph=False)
    seconds = time.perf_counter() - begin
    peak = _peak_mib()
    model = found.apply(network)
    planner = found.planner
    loss = planner.loss_of(found.tolerance)
    modules, later = (planner.module, planner.changed(model)), found.planned.inputs(unseen)
    before, after = (loss.read(run_outputs(each, later)) for each in modules)
    weights = sum(values.numel() for values in network.parameters())
    return {
        "weights": weights,
        "inputs": len(next(iter(pool.values()))) if isinstance(pool, dict) else len(pool),
        "loss": loss.name,
        "bound": tolerance.bound,
        "limit": found.used,
        "level": -1.0 if found.confidence is None else found.confidence,
        "feasible": found.feasible,
        "unseen_loss": loss.mean(before, after),
        "size_bytes": model.size_bytes,
        "seconds": seconds,
        "start_mib": start,
        "peak_mib": peak,
    }


def _peak_mib() -> float:
    """Return the largest memory of this process so far; on Linux without that of the process which started it."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
