"""Pipeline of Deep Compression: prune and share, fine-tuning after each stage, then code (PyTorch needed).

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, Fig 1.
"""

from __future__ import annotations

import io
import os
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from compress.config import CompressionConfig, LayerSettings
from compress.container.layer_coding import CodingChoice
from compress.container.loading import threshold_of
from compress.container.model import CompressedModel
from compress.layer_stages import (
    FREE_BIAS,
    TABLE,
    in_bits,
    layer_classes,
    pruning_masks,
    share_layer,
    thresholds_of,
)
from compress.modules import (
    BUFFER,
    EXTRA_STATE,
    NOT_STORED,
    ModuleLayer,
    check_parameters,
    has_extra_state,
    make_plain,
    module_layers,
    plain_module,
    refresh_recurrent,
)
from compress.pruning import magnitude_mask
from compress.training.parametrizations import (
    Assignment,
    SharedWeight,
    StraightThrough,
    mask_weight,
    share_parameters,
    straight_through,
)
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement
from traces.arrays import Floats32, Integers, Numbers
from traces.files.checksums import arrays_with_checksum, checked_arrays
from traces.files.npz import read_npz, write_npz
from traces.torch_modules import named_parts, named_tensors

Train = Callable[[torch.nn.Module, "Stage"], object]


@dataclass(frozen=True)
class Stage:
    """Stage of compression, after which a network is fine-tuned.

    Attributes
    ----------
    kind : "pruning" or "sharing"
        Sharing is the last stage.
    number, of : int
        Number of the stage, from 1 on, and stages of its kind.
    """

    kind: str
    number: int
    of: int

    @property
    def last(self) -> bool:
        """True if no other stage follows."""
        return self.kind == "sharing"


class Compressor:
    """Compressor of a module, in place and stage by stage; the module can be trained between the stages.

        compressor = Compressor(module, config)
        while (stage := compressor.step()) is not None:
            ...  # train the module: with a new optimizer, since sharing replaces parameters
        model = compressor.finalize()

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is changed. Computed weights (weight_norm, prune, parametrizations) become parameters
        first. Modes and frozen parameters stay as they are.
    config : CompressionConfig or None
        Settings of the layers and stages.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.module_layers`).

    Attributes
    ----------
    module, config
        As given.
    layers : list of ModuleLayer
        Weights that are compressed.
    settings : list of LayerSettings
        Of each layer.
    left_alone : dict of str to str
        For each other parameter or buffer, the reason why it is not compressed.

    Raises
    ------
    InputError
        If the module has nothing to compress, `leave` or the config names an unknown layer, or the config has settings
        without effect.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        config: CompressionConfig | None = None,
        *,
        leave: Sequence[str] = (),
        products: Mapping[str, str | tuple[str, Arrangement] | tuple[str, Arrangement, int]] | None = None,
    ) -> None:
        self.module = module
        self.config = config or CompressionConfig()
        check_parameters(module)
        make_plain(module)
        tensors = named_tensors(module)
        self.layers, self.left_alone = module_layers(module, leave=leave, products=products)
        self.settings = [self.config.settings_of(layer.name, layer.kind) for layer in self.layers]
        biased = {layer.name for layer in self.layers if layer.bias is not None}
        for number, (layer, settings) in enumerate(zip(self.layers, self.settings, strict=True)):
            if not settings.share_bias:
                self.layers[number] = free_bias(layer, self.left_alone)
        own = [layer.name for layer, each in zip(self.layers, self.settings, strict=True) if each.num_codebooks > 1]
        if own and self.config.sharing == "joint":
            raise InputError(
                f"sharing must be 'centroids' for a layer whose rows have several codebooks; found 'joint' with "
                f"codebooks for {own[0]!r}; give it codebooks='layer' or leave sharing out"
            )
        has_tensors = any(tensors[name].is_floating_point() for name in self.left_alone if name in tensors)
        kinds = {layer.name: layer.kind for layer in self.layers}
        self.config.check_effect(kinds, biased, has_tensors)
        tables = {layer.name for layer in self.layers if _is_table(layer, products or {})}
        self._thresholds = thresholds_of(self.config, kinds, tables)
        self._stages_done = 0
        self._digest = f"{_digest(module):08x}"
        self._shared: list[StraightThrough | list[SharedWeight]] | None = None
        refresh_recurrent(module)

    @property
    def stages(self) -> int:
        """Number of all stages."""
        return self.config.pruning_steps + 1

    def step(self) -> Stage | None:
        """Go on to the next stage, prune further or share, and return it; None after the last.

        Raises
        ------
        InputError
            If the config has an activation threshold, which training would not see. One that `load_into` gave a layer
            is seen, and kept.
        """
        thresholds = [name for name, threshold in self._thresholds.items() if threshold]
        if thresholds:
            raise InputError(
                f"activation_threshold must be 0 where a network is trained, since its forward pass does not apply it; "
                f"found one of layer {thresholds[0]!r}; leave it out, or compress without training"
            )
        return self._next_stage()

    def _next_stage(self) -> Stage | None:
        """Go on to the next stage and return it."""
        number, steps = self._stages_done + 1, self.config.pruning_steps
        if number > self.stages:
            return None
        torch.manual_seed(self.config.seed + number)
        if number <= steps:
            self._prune(number)
            stage = Stage("pruning", number, steps)
        else:
            self._share()
            stage = Stage("sharing", 1, 1)
        self._stages_done = number
        return stage

    def finalize(self) -> CompressedModel:
        """Do the remaining stages and return the compressed model. The module keeps its last form."""
        while self._next_stage() is not None:
            pass
        assert self._shared is not None
        compressed = []
        for layer, settings, shared in zip(self.layers, self.settings, self._shared, strict=True):
            codes, codebook, bias_codes = _assignment(shared)
            codebook = in_bits(codebook, settings.codebook_bits)
            matrix, classes = layer.arrangement.matrix(codes), None
            if codebook.ndim == 2:
                classes = (matrix[:, 0] >> settings.weight_bits).astype(np.uint16)
            compressed.append(
                CompressedLayer(
                    layer.name,
                    _codes(matrix, settings.weight_bits),
                    codebook,
                    None if bias_codes is None else _codes(bias_codes, settings.weight_bits),
                    row_codebooks=classes,
                    activation_threshold=self._thresholds[layer.name],
                )
            )
        coding = [settings.coding for settings in self.settings]
        return assemble(self.module, self.layers, self.left_alone, compressed, self.config.tensor_bits, coding)

    def plain_module(self) -> torch.nn.Module:
        """Do the remaining stages and return an independent copy of the network with the decoded weights.

        Returns
        -------
        torch.nn.Module
            The copy, whose weights are plain parameters: those that `finalize` stores.
        """
        model = self.finalize()
        plain = plain_module(self.module)
        model.load_into(plain)
        return plain

    def _prune(self, number: int) -> None:
        weights = [layer.matrix for layer in self.layers]
        masks = list(pruning_masks(weights, self.settings, self.config, number, self.config.pruning_steps))
        for layer, mask in zip(self.layers, masks, strict=True):
            mask_weight(layer.owners, layer.in_shape(mask))

    def _share(self) -> None:
        self._shared = []
        for layer, settings in zip(self.layers, self.settings, strict=True):
            weights = _array(layer.weight)
            bias = None if layer.bias_values is None else _array(layer.bias_values)
            share = partial(share_layer, settings=settings, seed=self.config.seed)
            if settings.num_codebooks > 1:
                codes, codebook, bias_codes = _shared_by_class(layer, settings, self.config.seed)
                self._shared.append(share_parameters(layer.owners, layer.bias, codes, codebook, bias_codes))
                continue
            if self.config.sharing == "joint":
                every = self.config.reassign_every
                self._shared.append(straight_through(layer.owners, layer.bias, share, weights != 0, every))
                continue
            codes, codebook, bias_codes = share(weights, weights != 0, bias)
            self._shared.append(share_parameters(layer.owners, layer.bias, codes, codebook, bias_codes))

    def state(self) -> dict[str, Numbers]:
        """Return the state to resume from: the module's tensors and extra state, and the number of stages done.

        Raises
        ------
        InputError
            If extra state of the module cannot be stored without running code when it is read.
        """
        arrays = {f"module.{name}": values.detach().numpy() for name, values in named_tensors(self.module).items()}
        for name, part in named_parts(self.module):
            if has_extra_state(part):
                arrays[f"extra.{name}"] = _extra_state(name, part)
        return arrays | self._origin() | {"stages": np.array(self._stages_done)}

    def restore(self, state: dict[str, Numbers]) -> Stage | None:
        """Resume from a state and return its stage. Raises InputError if its config, layers or weights differ."""
        for what, expected in self._origin().items():
            if str(state.get(what)) != str(expected):
                raise InputError(f"the state must be of the same {what}; found another {what}; begin anew")
        stage = None
        for _ in range(int(state["stages"])):
            stage = self._next_stage()
        with torch.no_grad():
            for name, values in named_tensors(self.module).items():
                values.copy_(torch.from_numpy(state[f"module.{name}"]))
        for name, part in named_parts(self.module):
            if has_extra_state(part):
                content = io.BytesIO(state[f"extra.{name}"].tobytes())
                part.set_extra_state(torch.load(content, weights_only=True))
        return stage

    def _origin(self) -> dict[str, Numbers]:
        """Return what a state must have in common with this compressor, as texts."""
        names = "\n".join(layer.name for layer in self.layers)
        origin = {"config": self.config.to_json(), "network": self._digest, "layers": names}
        return {name: np.array(text) for name, text in origin.items()}


def _is_table(
    layer: ModuleLayer, products: Mapping[str, str | tuple[str, Arrangement] | tuple[str, Arrangement, int]]
) -> bool:
    """Return True if a weight is looked up and never multiplied."""
    kinds = [products.get(name, TABLE) for name in layer.names]
    looked_up = all(isinstance(owner, torch.nn.Embedding | torch.nn.EmbeddingBag) for owner, _ in layer.owners)
    return looked_up and all((kind if isinstance(kind, str) else kind[0]) == TABLE for kind in kinds)


def free_bias(layer: ModuleLayer, left_alone: dict[str, str]) -> ModuleLayer:
    """Return the layer without its bias; a bias that it had is added to `left_alone`."""
    if layer.bias is None:
        return layer
    left_alone[layer.bias_name] = FREE_BIAS
    return replace(layer, bias=None)


def assemble(
    module: torch.nn.Module,
    layers: Sequence[ModuleLayer],
    left_alone: Mapping[str, str],
    compressed: Sequence[CompressedLayer],
    tensor_bits: int,
    coding: CodingChoice | Sequence[CodingChoice] | None = None,
) -> CompressedModel:
    """Return a model of compressed layers, one for each layer of the module, and of the tensors left alone.

    A layer keeps the activation threshold that an earlier container gave it (`load_into`), if that is larger.
    """
    tensors = named_tensors(module)
    compressed = [
        replace(
            each,
            activation_threshold=max(each.activation_threshold, *(threshold_of(part) for part, _ in layer.owners)),
        )
        for each, layer in zip(compressed, layers, strict=True)
    ]
    others = [name for name, reason in left_alone.items() if reason not in (NOT_STORED, EXTRA_STATE)]
    return CompressedModel(
        compressed,
        [tuple(layer.weight.shape) for layer in layers],
        weight_names=[layer.names for layer in layers],
        bias_names=[layer.bias_name for layer in layers],
        arrangements=[layer.arrangement for layer in layers],
        tensors={name: in_bits(tensors[name].detach().numpy(), tensor_bits) for name in others},
        buffers=[name for name in others if left_alone[name] == BUFFER],
        coding=coding,
    )


def compress_module(
    module: torch.nn.Module,
    config: CompressionConfig | None = None,
    train: Train | None = None,
    state_file: str | os.PathLike[str] | None = None,
    *,
    leave: Sequence[str] = (),
    products: Mapping[str, str | tuple[str, Arrangement] | tuple[str, Arrangement, int]] | None = None,
) -> CompressedModel:
    """Compress a trained module; `module` itself is left as it is.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network. Weights that weight_norm, prune or a parametrization computes are compressed as computed.
    config : CompressionConfig or None
        Settings of the layers and stages.
    train : callable or None
        Called after each stage with a copy of the module and the stage, to fine-tune it; without it, nothing is
        fine-tuned.
    state_file : path or None
        An .npz file that is written after each stage. If it exists, the run resumes from it; the result is the same as
        without an interruption if `train` depends on nothing else.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them, like "head" and "encoder.*".
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.module_layers`).

    Returns
    -------
    CompressedModel
        The compressed model.

    Raises
    ------
    InputError
        If the module has nothing to compress, the config or `leave` names a layer that it does not have, the state is
        of another config or module or was changed, or there are both a training function and activation thresholds.
    """
    check_parameters(module)  # before it is copied
    compressor = Compressor(plain_module(module), config, leave=leave, products=products)
    state_file = None if state_file is None else Path(state_file)
    if state_file is not None and state_file.exists():
        try:
            state = checked_arrays(read_npz(state_file))
            if state is None:
                raise InputError("the state must be as it was written; its checksum differs; remove it to begin anew")
            compressor.restore(state)
        except InputError as error:
            raise InputError(f"{state_file}: {str(error).removeprefix(f'{state_file}: ')}") from error
    step = compressor._next_stage if train is None else compressor.step
    while (stage := step()) is not None:
        if train is not None:
            train(compressor.module, stage)
        if state_file is not None:
            write_npz(state_file, arrays_with_checksum(compressor.state()))
    return compressor.finalize()


def sensitivity(
    module: torch.nn.Module,
    evaluate: Callable[[torch.nn.Module], float],
    densities: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05),
) -> dict[str, dict[float, float]]:
    """Evaluate a module with one layer at a time pruned to each density.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is left as it is.
    evaluate : callable
        Called with each pruned copy; returns a number, like its accuracy.
    densities : tuple of float
        Shares of weights to keep.

    Returns
    -------
    dict of str to dict of float to float
        Result of `evaluate` by layer and density.

    Notes
    -----
    Source: Han et al., "Learning both weights and connections", NIPS 2015, section 3.
    """
    check_parameters(module)
    results: dict[str, dict[float, float]] = {}
    names = [layer.name for layer in module_layers(plain_module(module))[0]]
    for number, name in enumerate(names):
        results[name] = {}
        for density in densities:
            pruned = plain_module(module)
            layer = module_layers(pruned)[0][number]
            with torch.no_grad():
                layer.weight.mul_(torch.from_numpy(magnitude_mask(_array(layer.weight), density)))
            results[name][density] = evaluate(pruned)
    return results


def _extra_state(name: str, part: torch.nn.Module) -> Numbers:
    """Return the extra state of a module as bytes that can be read without running code."""
    content = io.BytesIO()
    try:
        torch.save(part.get_extra_state(), content)
        torch.load(io.BytesIO(content.getvalue()), weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(
            f"a state can hold extra state of numbers, text, tensors, and lists and dicts of them; found other extra "
            f"state in {name or 'the module'}: {str(error).splitlines()[0]}; compress without a state file"
        ) from error
    return np.frombuffer(content.getvalue(), dtype=np.uint8)


def _assignment(shared: StraightThrough | list[SharedWeight]) -> Assignment:
    """Return codes, codebook and codes of the bias of a layer whose weights are shared."""
    if isinstance(shared, StraightThrough):
        return shared.assign()
    codes, *bias_codes = (lookup.codes.numpy() for lookup in shared)
    centroids = _array(shared[0].centroids)
    codebook = np.concatenate([np.zeros_like(centroids[..., :1]), centroids], axis=-1)
    return codes, codebook, bias_codes[0] if bias_codes else None


def _codes(places: Integers, weight_bits: int) -> Integers:
    """Return the codes of places in codebooks that lie one after the other, uint8."""
    codes: Integers = places & (2**weight_bits - 1)
    return codes.astype(np.uint8)


def _shared_by_class(layer: ModuleLayer, settings: LayerSettings, seed: int) -> Assignment:
    """Return the places of the weights and of the bias in the codebooks of the row classes, and the codebooks."""
    matrix = layer.matrix
    bias = None if layer.bias_values is None else _array(layer.bias_values)
    classes = layer_classes(matrix, matrix != 0, settings, layer.groups)
    codes, codebook, bias_codes = share_layer(matrix, matrix != 0, bias, settings, seed, classes)
    if classes is None:
        return layer.in_shape(codes), codebook, bias_codes
    first = classes.astype(np.int64) << settings.weight_bits
    places = None if bias_codes is None else first + bias_codes
    return layer.in_shape(first[:, np.newaxis] + codes), codebook, places


def _digest(module: torch.nn.Module) -> int:
    """Return a checksum of all parameters and buffers."""
    checksum = 0
    for name, values in named_tensors(module).items():
        content = values.detach().contiguous().numpy().tobytes()
        checksum = zlib.crc32(content, zlib.crc32(name.encode(), checksum))
    return checksum


def _array(tensor: torch.Tensor) -> Floats32:
    return tensor.detach().numpy().copy()
