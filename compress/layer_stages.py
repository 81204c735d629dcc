"""Pruning and sharing of layers by their settings, for compression in one step and stage by stage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set

import numpy as np

from compress.config import CompressionConfig, LayerSettings
from compress.pruning import balanced_mask, cubic_schedule, global_masks, magnitude_mask
from compress.row_classes import group_of_rows, row_classes
from compress.weight_sharing import nearest_codes, share_weights
from traces import InputError
from traces.arrays import Booleans, Floats32, Integers, Numbers
from traces.graph.description import RECURRENT

TABLE = "Embedding"
_RECURRENT_NAME = re.compile(r"(^|[./])weight_(ih|hh|hr)_l\d")
FREE_BIAS = "a bias that is not shared"


def pruning_masks(
    weights: Sequence[Numbers],
    settings: Sequence[LayerSettings],
    config: CompressionConfig,
    step: int = 1,
    steps: int = 1,
) -> Iterator[Booleans]:
    """Yield the mask of the weights that each layer keeps after a step of gradual pruning."""
    if config.criterion != "layer":
        yield from global_masks(weights, cubic_schedule(config.every.density, steps)[step - 1], config.criterion)
        return
    for values, of_layer in zip(weights, settings, strict=True):
        density = cubic_schedule(of_layer.density, steps)[step - 1]
        balanced = of_layer.balanced_over
        yield balanced_mask(values, density, balanced) if balanced else magnitude_mask(values, density)


def layer_classes(weights: Numbers, kept: Booleans, settings: LayerSettings, groups: int = 1) -> Integers | None:
    """Return the class of each row that has a codebook of its own, uint16 [rows]; None if the layer has one codebook.

    Parameters
    ----------
    weights : array [rows, columns]
        Weights of the layer.
    kept : bool [rows, columns]
        False where a weight is pruned.
    settings : LayerSettings
        Settings of the layer.
    groups : int
        Groups of the product, each of rows that follow one another.
    """
    if settings.num_codebooks == 1 or len(weights) == 1:
        return None
    of_rows = group_of_rows(len(weights), groups)
    classes = row_classes(weights, kept, settings.num_pes, settings.num_codebooks, settings.weight_bits, groups=of_rows)
    return classes.astype(np.uint16)


def share_layer(
    weights: Numbers,
    kept: Booleans,
    bias: Numbers | None,
    settings: LayerSettings,
    seed: int = 0,
    classes: Integers | None = None,
) -> tuple[Integers, Floats32, Integers | None]:
    """Return codes, codebook and codes of the bias (`share_weights`), the codebook in the precision of the file.

    With `classes` [rows] of `layer_classes`, weights are [rows, columns] and each class has a codebook: the codebooks
    are [classes, 2**weight_bits].
    """
    if classes is not None:
        codes = np.zeros(weights.shape, dtype=np.uint8)
        bias_codes = None if bias is None else np.zeros(bias.shape, dtype=np.uint8)
        codebooks = []
        for number in range(int(classes.max()) + 1):
            rows = np.flatnonzero(classes == number)
            biases = None if bias is None else bias[rows]
            codes[rows], codebook, of_biases = share_layer(weights[rows], kept[rows], biases, settings, seed)
            codebooks.append(codebook)
            if bias_codes is not None and of_biases is not None:
                bias_codes[rows] = of_biases
        return codes, np.stack(codebooks), bias_codes
    codes, codebook, bias_codes = share_weights(
        weights, kept, settings.weight_bits, bias, settings.initialisation, seed=seed
    )
    if settings.codebook_bits == 16:
        codebook = in_bits(codebook, 16)
        bias_codes = None if bias is None else nearest_codes(bias, codebook)
    return codes, codebook, bias_codes


def thresholds_of(config: CompressionConfig, kinds: Mapping[str, str], tables: Set[str]) -> dict[str, float]:
    """Return the activation threshold to store with each layer; a table of look-ups has none.

    Parameters
    ----------
    config : CompressionConfig
        Settings of the layers.
    kinds : Mapping[str, str]
        Type of each layer, by its name; empty if it is unknown.
    tables : set of str
        Layers that are looked up and never multiplied.

    Raises
    ------
    InputError
        If a recurrent layer is given a threshold, or a table by its type or name.
    """
    thresholds = {}
    for name, kind in kinds.items():
        threshold = config.settings_of(name, kind).activation_threshold
        if threshold and (kind in RECURRENT or _RECURRENT_NAME.search(name)):
            raise InputError(
                f"layer {name!r}: activation_threshold must be 0 for a recurrent layer, which has two inputs, a "
                f"sequence and a state; found {threshold:g}; set it to 0 in layers"
            )
        given = {**config.types.get(kind, {}), **config.layers.get(name, {})}
        if name in tables and given.get("activation_threshold"):
            raise InputError(f"layer {name!r}: activation_threshold has no effect on a table of look-ups; leave it out")
        thresholds[name] = 0.0 if name in tables else threshold
    return thresholds


def in_bits(values: Numbers, bits: int) -> Numbers:
    """Round floating-point values to 16 or 32 bits; return other values as they are.

    Raises InputError if a value is too large for 16 bits.
    """
    if bits == 32 or values.dtype.kind != "f":
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    if (np.isinf(narrow) & np.isfinite(values)).any():
        raise InputError(f"values in 16 bits must be at most 65,504; found {np.abs(values).max():,.0f}; use 32 bits")
    return narrow.astype(np.float32)
