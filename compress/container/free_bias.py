"""Names of biases, and layers with the biases that are stored among the other tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from traces import CompressedLayer
from traces.arrays import Numbers


def names_of_biases(weight_names: Sequence[str]) -> list[str]:
    """Return the names of these weights' biases: `fc.bias` for `fc.weight`, `bias_hh_l0` for `weight_hh_l0`."""
    split = [name.rpartition(".") for name in weight_names]
    return [f"{path}{dot}{last.replace('weight', 'bias')}" for path, dot, last in split if "weight" in last]


def with_free_bias(
    layer: CompressedLayer, weight_names: Sequence[str], tensors: Mapping[str, Numbers]
) -> CompressedLayer:
    """Return the layer with its free bias if the tensors hold exactly one; a tied weight may have several."""
    biases = [tensors[name] for name in names_of_biases(weight_names) if name in tensors]
    fits = len(biases) == 1 and biases[0].shape == (layer.rows,) and biases[0].dtype.kind == "f"
    if not fits or layer.bias is not None or layer.free_bias is not None:
        return layer
    return dataclasses.replace(layer, free_bias=biases[0])
