"""Preparation of plans: inputs are split, the network is analysed, choices are tried (PyTorch needed)."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from compress.config import Codebooks, LayerSettings
from compress.container.loading import threshold_places, thresholds_in
from compress.container.weight_uses import uses_elsewhere
from compress.modules import ModuleLayer
from compress.planning.analysis import SAMPLED_WEIGHTS, Analysis, Products, analyse
from compress.planning.analysis_folder import AnalysisFolder, digest_of_arrays, digest_of_inputs
from compress.planning.calibration import Calibration
from compress.planning.choices import WEIGHT_BITS, Cost, cut_shares, tried_choices, usual_densities
from compress.planning.estimate import estimate_planning
from compress.planning.frozen_module import has_images
from compress.planning.layer_compression import LayerCompressor, layer_file_bytes
from compress.planning.losses import AUTO, Loss, LossFunction, RandomChanges
from compress.planning.outputs import read_outputs, run_outputs
from compress.planning.overfitting import overfitting_note
from compress.planning.plan import Candidate
from compress.planning.planner import Planner, PlanningHistory, assembled, folded, layers_without_biases
from traces import AnyInputs, CompressedLayer, InputError, Inputs, Network
from traces.arrays import Floats, Integers64, Numbers
from traces.shell.progress import say
from traces.torch_modules import named_tensors

MOST_ANALYSED = 256
"""Most inputs that are analysed by default; the others are measured."""
_WORTH_SAYING_S = 10.0
_SOME_INPUTS = 4  # on which networks are told apart


def make_planner(
    module: torch.nn.Module,
    pool: AnyInputs,
    labels: Numbers | None = None,
    *,
    loss: str | LossFunction | Loss = AUTO,
    bound: float | None = None,
    compared: Sequence[str] = (),
    checked: Loss | None = None,
    weights: Floats | None = None,
    analysed: Sequence[int] | None = None,
    evaluation: AnyInputs | None = None,
    evaluation_labels: Numbers | None = None,
    cost: Cost | None = None,
    densities: Sequence[float] | None = None,
    weight_bits: Sequence[int] = WEIGHT_BITS,
    index_bits: Sequence[int] = (4,),
    seed: int = 0,
    leave: Sequence[str] = (),
    products: Products | None = None,
    network: Network | None = None,
    folder: str | os.PathLike[str] | None = None,
    thresholds: bool | Sequence[float] = False,
    codebooks: Codebooks = "layer",
    num_pes: int | None = None,
    codebook_groups: int = 0,
    original: torch.nn.Module | None = None,
) -> Planner:
    """Analyse a network, try all choices on each layer alone, and return the planner.

    The inputs are split: some are analysed, plans are measured on the others. A measurement on inputs that were
    analysed would show too small a loss, because layers are compressed so that the outputs on these change least.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is left as it is.
    pool : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Inputs to plan on, as `traces.Inputs.of` takes them; at least two.
    labels : int [inputs] or [inputs, positions], or None
        Right class of each input of the pool, or of its positions: the place of its output.
    loss : str, callable or Loss
        What tolerances bound (`compress.planning.losses`); by default it follows from labels, inputs and outputs. A
        planner for class scores plans for each of the losses accuracy, answers and kl.
    bound : float or None
        Bound of a plan to come; checked before the analysis.
    compared : sequence of str
        Names of the outputs that `loss` compares; all by default.
    checked : Loss or None
        Loss that was checked with its bound on a larger pool that includes this one, instead of `loss`.
    weights : float [inputs] or None
        Weight of each input of the pool in a mean over it, if it was not drawn evenly (`choose_inputs`); 1 each by
        default.
    analysed : sequence of int or None
        Places in the pool of the inputs that are analysed; by default a random half, at most `MOST_ANALYSED`.
    evaluation : inputs like the pool, or None
        Inputs that the network has never seen, to measure plans on; by default the part of the pool that is not
        analysed.
    evaluation_labels : int [inputs] or [inputs, positions], or None
        Labels of the evaluation, if the pool has labels.
    cost : Cost or None
        Costs of a compressed layer on an array: latency_us, energy_nj, sram_bytes_per_pe, or some of them. Its
        attribute `origin`, if it has one, tells it from others in the folder; without it, choices are not kept.
    densities : sequence of float or None
        Densities to choose from for each layer; `usual_densities` by default.
    weight_bits : sequence of int
        Bits of a code to choose from for each layer.
    index_bits : sequence of int
        Bits of a gap on the array, to choose from; without a cost function, only the first is used.
    seed : int
        Seed of all random draws.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.module_layers`).
    network : Network or None
        Graph of the module with its normalisation folded, which compressed models are to carry.
    folder : path or None
        Folder that keeps analyses and runs; what it has of the same network, inputs and loss is not computed again.
    thresholds : bool or sequence of float
        True to also choose an activation threshold for each layer, which cuts one of `CUT_SHARES` of the activations;
        or other shares to choose from. Layers that take no threshold have none.
    codebooks : {"layer", "pe", "group"}
        Codebooks of each layer, as in `LayerSettings`: one, one for each PE, or one for each group of PEs.
    num_pes : int or None
        PEs of the array, with codebooks "pe" and "group", 64 by default.
    codebook_groups : int
        Groups of PEs, with codebooks "group".
    original : torch.nn.Module or None
        The network whose outputs plans are compared with, if `module` is that network without some of its units; by
        default `module` itself.

    Returns
    -------
    Planner
        The analysed network.

    Raises
    ------
    InputError
        If the loss has no meaning for the outputs or cannot be known, a network without any knowledge could keep the
        bound, or the inputs, labels or weights do not fit. These checks come before the analysis. After it,
        if thresholds are to be chosen and no layer takes one.
    """
    if codebooks == "layer" and num_pes is not None:
        raise InputError(f"num_pes={num_pes} has no effect unless codebooks is 'pe' or 'group'; leave it out")
    pes = LayerSettings.num_pes if num_pes is None else num_pes
    own = LayerSettings(codebooks=codebooks, num_pes=pes, codebook_groups=codebook_groups)
    pool = Inputs.of(pool)
    shares = cut_shares(thresholds)
    module = folded(module)
    counts = np.ones(len(pool)) if weights is None else np.asarray(weights, dtype=np.float64)
    if counts.shape != (len(pool),) or not (counts >= 0).all():
        raise InputError(f"weights must be [{len(pool)}] and not negative; found {list(counts.shape)}")
    if evaluation_labels is not None and evaluation is None:
        raise InputError("evaluation_labels are those of the evaluation; found none; give evaluation, too")
    seen, others = _split(len(pool), analysed, seed, evaluation is not None)
    module = _laid_out(module, pool)
    layers, left_alone = layers_without_biases(module, leave, products)
    densities = usual_densities(len(layers)) if densities is None else densities
    beside = module if original is None else _laid_out(folded(original), pool)
    if checked is None:
        taken, outputs = read_outputs(beside, pool, loss, labels=labels, network=network, compared=compared)
    else:
        taken, outputs = checked, checked.read(run_outputs(beside, pool))
    labels = None if labels is None else taken.check_labels(labels, len(pool), outputs)
    scores, right = (outputs, labels) if taken.scores else ({}, None)
    if evaluation is not None:
        measured = Inputs.of(evaluation)
        counts = np.ones(len(measured))
        if checked is None:
            outputs, labels = _evaluated(beside, measured, taken, evaluation_labels)
        else:
            outputs, labels = taken.read(run_outputs(beside, measured)), None
        note = overfitting_note(scores, outputs, right, labels) if taken.scores else None
    else:
        note = overfitting_note(scores, None, right)
        measured, counts = pool[others], counts[others]
        outputs = {name: values[others] for name, values in outputs.items()}
        labels = None if labels is None else labels[others]
    if bound is not None and checked is None:
        taken.check_reach(bound, outputs, labels, counts)
    analysed_inputs = pool[seen]
    kept = (
        None
        if folder is None
        else AnalysisFolder(
            folder, _origin(module, original, layers, analysed_inputs, taken, seed, leave, bool(shares))
        )
    )
    estimate = estimate_planning(module, layers, analysed_inputs, len(measured), len(densities) * len(weight_bits))
    if estimate.seconds > _WORTH_SAYING_S:
        say(str(estimate))
    with contextlib.nullcontext() if kept is None else kept.locked():
        analysis = analyse(
            module,
            analysed_inputs,
            seed,
            loss=taken,
            leave=leave,
            products=products,
            folder=kept,
            copy_weights=False,
            thresholds=bool(shares),
        )
        if shares:
            analysis = _where_allowed(analysis, module, layers, network, analysed_inputs)
        notes = [*([] if note is None else [note]), *_idle_notes(analysis, taken)]
        compressor = LayerCompressor.of(analysis, own, compact=original is not None)
        candidates = tried_choices(compressor, densities, weight_bits, index_bits, cost, kept, shares)
    return Planner(
        module,
        layers,
        left_alone,
        measured,
        counts,
        taken,
        outputs,
        labels,
        analysed_inputs,
        compressor,
        RandomChanges.of(taken, outputs, labels, counts, seed),
        candidates,
        _other_bytes(module, layers, left_alone, network, compressor, candidates),
        PlanningHistory(Calibration(len(layers)), {}),
        tuple(leave),
        products,
        network,
        kept,
        tuple(notes),
        checked is not None,
        others if evaluation is None else None,
    )


def _split(inputs: int, analysed: Sequence[int] | None, seed: int, evaluated: bool) -> tuple[Integers64, Integers64]:
    """Return the places of the inputs that are analysed, and of the others, which plans may be measured on."""
    if inputs < 2 and not evaluated:
        raise InputError(
            f"a plan needs at least two inputs, one to analyse and one to measure on; found {inputs}; give more inputs"
        )
    if analysed is None:
        order = np.random.default_rng(seed).permutation(inputs)
        number = min(MOST_ANALYSED, inputs if evaluated else inputs // 2)
        return np.sort(order[:number]), np.sort(order[number:])
    seen = np.asarray(analysed)
    others = np.setdiff1d(np.arange(inputs), seen)
    if not len(others) and not evaluated:
        raise InputError(
            f"analysed must leave inputs that plans are measured on; found all {inputs:,} of the pool; give fewer "
            f"places, or an evaluation"
        )
    return seen, others


def _evaluated(
    module: torch.nn.Module, evaluation: Inputs, loss: Loss, labels: Numbers | None
) -> tuple[dict[str, Floats], Numbers | None]:
    """Return the outputs for the evaluation as the loss reads them, and its labels, both checked."""
    if loss.name == "accuracy" and labels is None:
        raise InputError(
            "the loss accuracy needs labels of the evaluation, too; found none; give evaluation_labels, or take the "
            "loss answers"
        )
    _, outputs = read_outputs(module, evaluation, loss, "the network's outputs for the evaluation", labels=labels)
    return outputs, None if labels is None else loss.check_labels(labels, len(evaluation), outputs)


def _idle_notes(analysis: Analysis, loss: Loss) -> list[str]:
    """Return a sentence about the layers that change none of the named outputs, if there are some."""
    idle = [layer.name for layer in analysis.layers if not layer.curvatures.any()] if loss.outputs else []
    if not idle:
        return []
    return [
        f"{', '.join(idle)} changed none of the compared outputs, {', '.join(loss.outputs)}, and may be compressed to "
        f"nothing; compare further outputs, or leave these layers alone"
    ]


def _where_allowed(
    analysis: Analysis, module: torch.nn.Module, layers: Sequence[ModuleLayer], network: Network | None, inputs: Inputs
) -> Analysis:
    """Return the analysis without activations of layers that take no threshold. Raises InputError if none takes one."""
    analysed, reason = [], "found no linear layer or convolution that is called"
    elsewhere = _multiplied_elsewhere(module, layers, inputs) if network is None else network.multiplied_elsewhere
    for layer, of_layer in zip(layers, analysis.layers, strict=True):
        if of_layer.activations is not None:
            try:
                outside = layer.names if elsewhere & {*layer.names} else ()
                threshold_places(module, dict.fromkeys(layer.names, 1.0), outside)
                if network is not None:
                    network.with_thresholds(dict.fromkeys(layer.names, 1.0))
            except InputError as error:
                of_layer, reason = dataclasses.replace(of_layer, activations=None), str(error)
        analysed.append(of_layer)
    if all(each.activations is None for each in analysed):
        raise InputError(f"thresholds need a layer that takes one: {reason}")
    return Analysis(analysed)


def _multiplied_elsewhere(module: torch.nn.Module, layers: Sequence[ModuleLayer], inputs: Inputs) -> frozenset[str]:
    """Return the weights that a module without a known graph uses outside of calls of their layers on these inputs."""
    names_of: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        with contextlib.suppress(InputError):
            names_of |= dict.fromkeys(threshold_places(module, dict.fromkeys(layer.names, 1.0)), layer.names)
    with uses_elsewhere(module, names_of) as elsewhere:
        run_outputs(module, inputs)
    return frozenset(name for part in elsewhere for name in names_of[part])


def _origin(
    module: torch.nn.Module,
    original: torch.nn.Module | None,
    layers: Sequence[ModuleLayer],
    inputs: Inputs,
    loss: Loss,
    seed: int,
    leave: Sequence[str],
    thresholds: bool,
) -> dict[str, Any]:
    """Return everything that an analysis and its runs depend on, for its folder."""
    origin: dict[str, Any] = {"thresholds": True} if thresholds else {}
    if own := thresholds_in(module):
        origin["own_thresholds"] = own
    if original is not None:
        origin["original"] = _digest(original)
    if loss.outputs:
        origin["compared"] = sorted(loss.outputs)
    return origin | {
        "network": _digest(module),
        "sizes": _sizes(module, inputs),
        "layers": [layer.name for layer in layers],
        "inputs": digest_of_inputs(inputs),
        "outputs": "class scores" if loss.scores else loss.name,
        "logarithms": list(loss.logarithms),
        "seed": seed,
        "leave": list(leave),
    }


def _sizes(module: torch.nn.Module, inputs: Inputs) -> dict[str, str]:
    """Return the mean magnitude of each output for some inputs: networks of the same weights may compute differently.

    Four digits hardly depend on the number of threads.
    """
    outputs = run_outputs(module, inputs[:_SOME_INPUTS])
    return {name: f"{np.abs(values.astype(np.float64)).mean():.4g}" for name, values in sorted(outputs.items())}


def _digest(module: torch.nn.Module) -> str:
    return digest_of_arrays({name: values.detach().numpy() for name, values in named_tensors(module).items()})


def _laid_out(module: torch.nn.Module, pool: Inputs) -> torch.nn.Module:
    """Return the module with the channels of its images last, which convolves faster, if it runs like that."""
    if not has_images(module) or not len(pool):
        return module
    faster: torch.nn.Module = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        run_outputs(faster, pool[:1])
    except InputError:  # it views images as vectors
        return module
    return faster


def _other_bytes(
    module: torch.nn.Module,
    layers: Sequence[ModuleLayer],
    left_alone: Mapping[str, str],
    network: Network | None,
    compressor: LayerCompressor,
    candidates: Sequence[Sequence[Candidate]],
) -> float:
    """Return the bytes of the file that belong to no layer's matrix; of a large network, to a few bytes."""
    if sum(layer.weights.size for layer in compressor.analysis.layers) <= SAMPLED_WEIGHTS:
        compressed = [compressor.compress(number, of_layer[0].choice) for number, of_layer in enumerate(candidates)]
    else:  # all weights pruned: quickly coded
        codebook = np.zeros(4, np.float32)
        compressed = [CompressedLayer(layer.name, np.zeros(layer.view.shape, np.uint8), codebook) for layer in layers]
    whole = assembled(module, layers, left_alone, compressed, network)
    return float(whole.size_bytes - sum(map(layer_file_bytes, compressed)))
