"""Analysis of a network on a few inputs: the effect of every weight on the outputs, from which plans are made.

A *probe* is the derivative, by all weights, of the outputs of a few inputs along random directions. Its product with a
change of weights is the effect of that change on the outputs along those directions, to first order. The mean square
over the probes is the expected squared change of the outputs, with the effects of layers on one another included. This
is the Gauss-Newton form under a random projection; its blocks need not be independent. Divergences of softmax outputs
cannot replace it: if the network is sure of its answers, their curvature is almost zero and does not predict changes
that are not small.

The directions of the inputs of one probe are independent, so that the products of two inputs' effects cancel in the
mean. The number of probes is therefore free: time is linear in inputs, memory in weights. (PyTorch needed.)
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress.modules import ModuleLayer, module_layers
from compress.planning.activation_bins import ActivationBins, BinnedInputs
from compress.planning.analysis_folder import AnalysisFolder
from compress.planning.losses import Loss
from compress.planning.moments import BlockMoment, Moments
from compress.planning.outputs import call, float_type
from compress.planning.product_inputs import replacing_inputs
from traces import AnyInputs, InputError, Inputs
from traces.arrangement import Arrangement
from traces.arrays import Floats, Floats32, Floats64, Integers64, Numbers
from traces.shell.progress import progress_bar
from traces.torch_modules import evaluating

#: Parameters that are multiplied with activations by name, with the kind of each product (`module_layers`).
Products = Mapping[str, str | tuple[str, Arrangement] | tuple[str, Arrangement, int]]

MOST_PROBES, FEWEST_PROBES = 64, 8
SAMPLED_WEIGHTS = 2**22  # of a larger layer, probes hold some rows
_PROBE_BYTES = 2**30
_LARGEST_FLOAT16 = 1e4
_NO_DERIVATIVE = 1e-30  # a smaller one has no effect, and no scale in 32 bits
_SECONDS_OF_A_PART = 20.0  # between two parts that are written; a shorter pass is soon repeated


@dataclass(frozen=True, eq=False)
class LayerAnalysis:
    """Analysis of one weight of the network.

    Attributes
    ----------
    name : str
        Of the layer.
    weights : float32 [rows, columns]
        Matrix whose rows are outputs (`ModuleLayer.matrix`).
    shape : tuple of int
        Of the weights in the network.
    rows : int64 [sampled]
        Rows that the probes hold: all, or a random sample of a layer of more than `SAMPLED_WEIGHTS` weights.
    probes : float16 [probes, sampled * columns]
        Derivatives of the outputs along random directions, divided by `scales`.
    scales : float64 [probes]
        Factors of the probes, such that the mean square over the probes is that of one input.
    curvatures : float32 [rows, columns]
        Expected squared change of the outputs per squared change of a weight.
    moment : BlockMoment or None
        Of the vectors that the weight is multiplied with; None if they are unknown (an embedding, attention, a
        transposed convolution; `Moments`).
    activations : ActivationBins or None
        Of the activations that enter its products; None if thresholds are not analysed, or none enters
        (`replacing_inputs`).
    vectors : float
        Vectors that the rows of the weight are multiplied with, mean per input; 0 if they are unknown.
    groups : int
        Groups of the product, each of rows that follow one another.
    """

    name: str
    weights: Floats32
    shape: tuple[int, ...]
    rows: Integers64
    probes: Floats
    scales: Floats64
    curvatures: Floats32
    moment: BlockMoment | None
    activations: ActivationBins | None = None
    vectors: float = 0.0
    groups: int = 1

    def effects(self, weights: Floats) -> Floats64:
        """Return the change of the outputs along each probe if the rows of the probes become these, [..., probes].

        Parameters
        ----------
        weights : float [..., sampled, columns]
            New weights of `rows`, or several sets of them. The effects of a sample stand for those of all rows.
        """
        changes = np.asarray(weights - self.weights[self.rows], dtype=np.float32)
        flat = changes.reshape(-1, self.probes.shape[1])
        parts = np.array_split(self.probes, max(1, len(self.probes) // 8))
        effects = np.concatenate([flat @ part.astype(np.float32).T for part in parts], axis=1).astype(np.float64)
        effects *= self.scales * (len(self.weights) / len(self.rows)) ** 0.5
        return effects.reshape(*changes.shape[:-2], len(self.probes))


@dataclass(frozen=True, eq=False)
class Analysis:
    """Analysis of all weights of a network.

    Attributes
    ----------
    layers : list of LayerAnalysis
        One for each weight.
    """

    layers: list[LayerAnalysis]

    def predicted_change(self, weights: Mapping[str, Floats]) -> float:
        """Return the expected squared change of the outputs if layers, by name, have these weights [rows, columns]."""
        known = {layer.name: layer for layer in self.layers}
        unknown = sorted(set(weights) - set(known))
        if unknown:
            raise InputError(f"the network has no layers {', '.join(unknown)}; it has {', '.join(known)}")
        effects = sum(known[name].effects(values[known[name].rows]) for name, values in weights.items())
        return float(np.mean(np.square(effects))) if weights else 0.0


def analyse(
    module: torch.nn.Module,
    inputs: AnyInputs,
    seed: int = 0,
    *,
    loss: Loss | None = None,
    leave: Sequence[str] = (),
    products: Products | None = None,
    folder: AnalysisFolder | None = None,
    copy_weights: bool = True,
    thresholds: bool = False,
) -> Analysis:
    """Analyse a network on inputs, with one pass forward and one back over them.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network, whose weights are parameters (`compress.plain_module`); it is left as it is.
    inputs : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        At least one input, as `traces.Inputs.of` takes them.
    seed : int
        Of the random directions, and of the rows of large layers.
    loss : Loss or None
        What of the outputs counts; by default, they are class scores.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.module_layers`).
    folder : AnalysisFolder or None
        Folder that keeps a pass of more than a few seconds, part by part; what it has is not computed again.
    copy_weights : bool
        False if the module's weights stay as they are as long as the analysis is used.
    thresholds : bool
        True to analyse thresholds of activations, too.

    Returns
    -------
    Analysis
        Of all weights that can be compressed.

    Raises
    ------
    InputError
        If there are no inputs, the network does not take them, or outputs or derivatives are not finite.
    """
    inputs, loss = Inputs.of(inputs), loss or Loss()
    layers = module_layers(module, leave=leave, products=products)[0]
    if len(inputs) == 0:
        raise InputError("an analysis needs inputs; found none")
    matrices = [layer.matrix if copy_weights else layer.view for layer in layers]
    rows = [sampled_rows(len(matrix), matrix.shape[1], seed) for matrix in matrices]
    held = sum(len(kept) * matrix.shape[1] for kept, matrix in zip(rows, matrices, strict=True))
    passed = _run(module, inputs, layers, rows, probe_groups(len(inputs), held), loss, seed, folder, thresholds)
    analysed = []
    for number, (layer, matrix) in enumerate(zip(layers, matrices, strict=True)):
        squares = passed.squares[number]
        assert squares is not None
        if not np.isfinite(squares).all():
            raise InputError(
                f"the outputs' derivatives must be finite; found NaN or infinity in those by the weights of "
                f"{layer.name}; look for roots, norms and quotients of 0 behind it"
            )
        probes, scales = np.concatenate(passed.probes[number]), np.concatenate(passed.scales[number])
        passed.probes[number], passed.squares[number] = [], None
        of_input = (len(probes) / len(inputs)) ** 0.5
        scales *= of_input
        squares /= np.float32(len(inputs))
        shape = tuple(layer.weight.shape)
        moment = passed.moments[number]
        bins = None if passed.inputs is None else passed.inputs.of(number, of_input)
        analysed.append(
            LayerAnalysis(
                layer.name,
                matrix,
                shape,
                rows[number],
                probes,
                scales,
                squares,
                moment,
                bins if bins is not None and bins.counts.any() else None,
                float(passed.vectors[number]) / len(inputs),
                layer.groups,
            )
        )
    return Analysis(analysed)


class _Pass:
    """Sums of a pass over inputs, probe by probe.

    Attributes
    ----------
    done : int
        Probes so far, those of earlier parts included.
    probes, scales : list of list of array
        For each layer, the probes and their factors, part by part.
    squares : list of float32 [rows * columns] or None
        For each layer, the sum of the squared derivatives.
    moments : list of BlockMoment or None
        For each layer, the sum over its input vectors.
    vectors : int64 [layers]
        Number of these vectors.
    inputs : BinnedInputs or None
        What entered the products; None if thresholds are not analysed.
    """

    def __init__(self, layers: int, done: int = 0, inputs: BinnedInputs | None = None) -> None:
        self.done, self.inputs = done, inputs
        self.vectors = np.zeros(layers, dtype=np.int64)
        self.probes: list[list[Floats]] = [[] for _ in range(layers)]
        self.scales: list[list[Floats64]] = [[] for _ in range(layers)]
        self.squares: list[Floats32 | None] = [None] * layers
        self.moments: list[BlockMoment | None] = [None] * layers

    def add_probe(self, gradients: Sequence[Floats32], rows: Sequence[Integers64]) -> None:
        """Add the derivatives of the outputs of a few inputs by all weights, one matrix for each layer; they change."""
        for number, (gradient, kept) in enumerate(zip(gradients, rows, strict=True)):
            held = gradient if len(kept) == len(gradient) else gradient[kept]
            largest = float(np.abs(held).max(initial=0.0))
            scale = largest / _LARGEST_FLOAT16 if np.isfinite(largest) and largest > _NO_DERIVATIVE else 1.0
            self.probes[number].append((held / np.float32(scale)).astype(np.float16).reshape(1, -1))
            self.scales[number].append(np.array([scale]))
            squares = np.square(gradient, out=gradient)  # the gradient is not needed any more
            before = self.squares[number]
            self.squares[number] = squares if before is None else np.add(before, squares, out=before)
        self.done += 1

    def arrays(self) -> dict[str, Numbers]:
        """Return everything by name, as a part of a folder holds it."""
        arrays: dict[str, Numbers] = {"done": np.array(self.done)}
        for number, squares in enumerate(self.squares):
            assert squares is not None
            arrays[f"probes_{number}"] = np.concatenate(self.probes[number])
            arrays[f"scales_{number}"] = np.concatenate(self.scales[number])
            arrays[f"squares_{number}"] = squares
            moment = self.moments[number]
            if moment is not None:
                arrays |= {f"{name}_{number}": values for name, values in moment.arrays().items()}
        return arrays if self.inputs is None else arrays | self.inputs.arrays() | {"vectors": self.vectors}

    def add_part(self, arrays: Mapping[str, Numbers]) -> None:
        """Add what `arrays` returned of another pass."""
        self.done = int(arrays["done"])
        for number, squares in enumerate(self.squares):
            self.probes[number].append(arrays[f"probes_{number}"])
            self.scales[number].append(arrays[f"scales_{number}"])
            more = arrays[f"squares_{number}"]
            self.squares[number] = more if squares is None else squares + more
            moment = BlockMoment.of_arrays(arrays, number)
            before = self.moments[number]
            self.moments[number] = moment if before is None or moment is None else before + moment
        if self.inputs is not None:
            self.inputs.add_part(arrays)
            self.vectors += arrays["vectors"]


def _run(
    module: torch.nn.Module,
    inputs: Inputs,
    layers: Sequence[ModuleLayer],
    rows: Sequence[Integers64],
    begins: Sequence[int],
    loss: Loss,
    seed: int,
    folder: AnalysisFolder | None,
    thresholds: bool,
) -> _Pass:
    """Run the probes that the folder lacks, and return the sums of all."""
    entering = BinnedInputs(layers) if thresholds else None
    total, parts = _Pass(len(layers), 0, BinnedInputs(layers) if thresholds else None), 0
    for part in [] if folder is None else folder.parts():
        total.add_part(part)
        parts += 1
    weights = [layer.weight for layer in layers]
    frozen = [weight for weight in weights if not weight.requires_grad]
    floats = float_type(module)
    moments = Moments(module, layers, len(begins) - 1, seed)
    fresh = _Pass(len(layers), total.done, entering)
    written = time.monotonic()

    def keep() -> _Pass:
        nonlocal parts
        fresh.moments, fresh.vectors = moments.taken()
        part = fresh.arrays()
        if folder is not None and (total.done or time.monotonic() - written > _SECONDS_OF_A_PART):
            folder.write_part(parts, part)
            parts += 1
        total.add_part(part)
        return _Pass(len(layers), total.done, entering)

    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with (
            evaluating(module),
            moments,
            contextlib.nullcontext() if entering is None else replacing_inputs(module, layers, entering.enter),
            torch.enable_grad(),
            progress_bar("analysing inputs", len(begins) - 1) as step,
        ):
            for probe, (begin, end) in enumerate(itertools.pairwise(begins)):
                if probe >= fresh.done:
                    vectors = loss.vectors(_finite(call(module, inputs[begin:end], floats)))
                    directions = probe_directions(vectors, loss, seed, probe)
                    fresh.add_probe(_gradients(vectors, directions, layers, weights, entering), rows)
                    if folder is not None and time.monotonic() - written > _SECONDS_OF_A_PART:
                        fresh, written = keep(), time.monotonic()
                step()
        if fresh.done > total.done:
            keep()
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
    return total


def probe_directions(vectors: Sequence[torch.Tensor], loss: Loss, seed: int, probe: int) -> list[torch.Tensor]:
    """Return the random directions of a probe, shaped like `vectors`; their sum over classes is 0 for class scores."""
    draw = torch.Generator().manual_seed(seed * 1_000_003 + probe)
    along = [torch.randn(each.shape, generator=draw) for each in vectors]
    if loss.scores:
        along = [each - each.mean(dim=-1, keepdim=True) for each in along]  # softmax ignores the mean
    return along


def _gradients(
    vectors: Sequence[torch.Tensor],
    directions: Sequence[torch.Tensor],
    layers: Sequence[ModuleLayer],
    weights: Sequence[torch.Tensor],
    entering: BinnedInputs | None,
) -> list[Floats32]:
    """Return the derivatives of the outputs along the directions by all weights, as matrices.

    Those by what entered the products are added to `entering`.
    """
    total = torch.stack([(each * along).sum() for each, along in zip(vectors, directions, strict=True)]).sum()
    if not total.requires_grad:
        raise InputError("the outputs must have derivatives by the weights; found none; do not detach them")
    tensors = [] if entering is None else entering.tensors
    gradients = torch.autograd.grad(total, [*weights, *tensors], allow_unused=True)
    if entering is not None:
        entering.add(gradients[len(weights) :])
    found: list[Floats32] = []
    seen: set[int] = set()
    for layer, gradient in zip(layers, gradients[: len(layers)], strict=True):
        if gradient is None:
            gradient = torch.zeros_like(layer.weight)
        if gradient.data_ptr() in seen:  # weights that are added may share theirs
            gradient = gradient.clone()
        seen.add(gradient.data_ptr())
        found.append(np.array(layer.arrangement.matrix(gradient.numpy()), dtype=np.float32, order="C", copy=None))
    return found


def probe_groups(inputs: int, weights: int) -> list[int]:
    """Return the begin of each probe's inputs, and the end of the last, for weights that the probes hold."""
    most = min(MOST_PROBES, max(FEWEST_PROBES, _PROBE_BYTES // (2 * max(1, weights))))
    return [inputs * place // min(inputs, most) for place in range(min(inputs, most) + 1)]


def sampled_rows(rows: int, columns: int, seed: int) -> Integers64:
    """Return the rows of a layer that probes hold, ascending: all, or a random sample of a large layer."""
    if rows * columns <= SAMPLED_WEIGHTS:
        return np.arange(rows)
    number = min(rows, max(16, SAMPLED_WEIGHTS // columns))
    return np.sort(np.random.default_rng(seed).choice(rows, number, replace=False))


def _finite(outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not all(bool(values.isfinite().all()) for values in outputs.values()):
        raise InputError("the network's outputs must be finite; found NaN or infinity; check its parameters and inputs")
    return outputs
