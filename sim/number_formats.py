"""Fixed-point formats of a network: one for each product, fitted on calibration inputs and then held.

The network runs in floating point, one input after the other, and its products on the array, whose sums are the same
on every processor. The ranges of all vectors and outputs of a product, in all groups and calls, decide its format
(`sim.fixed_point.format_of_ranges`). So a format does not depend on how inputs are grouped, and later inputs may
saturate and overflow, as on a chip.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.config import MOST_PES, ArrayConfig
from sim.fixed_point import FixedPoint, Ranges, exact_outputs, format_of_ranges
from sim.network_source import compressed_network
from sim.packing import PackedLayer, pack
from traces import CompressedLayer, InputError
from traces.arrays import Floats, Numbers

if TYPE_CHECKING:
    from compress import CompressedModel
    from traces.graph.compressed import CompressedNetwork
    from traces.graph.layers import FlatNetwork
    from traces.graph.products import Part
    from traces.graph.stored import StoredLayer

NumberFormats = Mapping[str, FixedPoint]
"""Format of each product of a network, by the name of its layer."""


def fit_formats(
    network: CompressedModel | CompressedNetwork | str | os.PathLike[str] | Sequence[Any],
    calibration_inputs: Any,
    config: ArrayConfig,
    *,
    state: Mapping[str, str] | None = None,
    after_input: Callable[[], object] = lambda: None,
) -> dict[str, FixedPoint]:
    """Fit a fixed-point format to each product of a network, on calibration inputs.

    Parameters
    ----------
    network : CompressedModel, CompressedNetwork, path or sequence of layers
        The network, as `sim.simulate_network` takes it.
    calibration_inputs : array, tuple of arrays, or dict of arrays
        Inputs that the formats are to hold. A measured accuracy is that of new inputs only if these are others than the
        evaluated ones.
    config : ArrayConfig
        Array in fixed point; only its precision matters.
    state : mapping of str to str, optional
        As of `sim.simulate_network`: the inputs are then steps that follow one another.
    after_input : callable, optional
        Called after each input.

    Returns
    -------
    dict of str to FixedPoint
        The formats by layer. They have the bits of `config.precision` and no weight, activation or initial accumulator
        of the calibration inputs saturates.

    Raises
    ------
    InputError
        If the array computes in floating point, the inputs do not fit the network, or an activation is not finite.

    Notes
    -----
    Activations and outputs are those of the network in floating point, with products as `sim.simulate` computes them.
    What is computed off the array comes from ONNX Runtime, whose last digits depend on the processor. The spare bit of
    an accumulator is for partial sums and for errors of the layers before; the simulation counts what exceeds it.
    """
    if config.precision == "float":
        raise InputError("number formats are those of fixed point, but the array has precision='float'; give none")
    compressed, _ = compressed_network(network)
    feeds = compressed.network.bind(calibration_inputs, state or ())
    return formats_of_packed(compressed, feeds, config.activation_bits, _packed_for_some_array, {}, state, after_input)


def formats_of_packed(
    compressed: CompressedNetwork,
    feeds: Mapping[str, Numbers],
    bits: int,
    pack_matrix: Callable[[CompressedLayer], PackedLayer],
    packed: dict[str, list[PackedLayer]],
    state: Mapping[str, str] | None = None,
    after_input: Callable[[], object] = lambda: None,
) -> dict[str, FixedPoint]:
    """Fit formats as `fit_formats` does, with packed matrices of the layers; those that are missing are added.

    Parameters
    ----------
    compressed : CompressedNetwork
        The network.
    feeds : mapping of str to array
        Bound calibration inputs.
    bits : int
        Width of a code of the array.
    pack_matrix : callable
        Packs a matrix for some array, on which the formats do not depend.
    packed : dict of str to list of PackedLayer
        Packed matrices by layer, one for each group.
    state, after_input
        As of `fit_formats`.

    Returns
    -------
    dict of str to FixedPoint
        The formats by layer.
    """
    from traces.graph.layers import calls_by_input, resolve
    from traces.graph.stored import array_matrices

    ranges: dict[str, Ranges] = {}

    def resolved(given: Mapping[str, Numbers]) -> FlatNetwork:
        flat = resolve(compressed.network, given, lambda layer: layer.weight in compressed.stored_layers)
        for number in flat.on_array:
            layer = flat.layers[number]
            ranges.setdefault(layer.name, Ranges())
            if layer.name not in packed:
                stored = compressed.stored_layers[layer.weight]
                packed[layer.name] = [
                    pack_matrix(matrix) for matrix in array_matrices(layer, stored, flat.biases[number])
                ]
        return flat

    def multiplication(flat: FlatNetwork) -> Callable[[Part, Floats], Floats]:
        def multiply(part: Part, vectors: Floats) -> Floats:
            name = flat.layers[flat.layer_of_part[id(part)]].name
            entering = np.asarray(vectors, dtype=np.float32)
            if not np.isfinite(entering).all():
                raise InputError(
                    f"layer {name!r}: every activation of the calibration inputs must be finite; found "
                    f"{vectors[~np.isfinite(entering)][0]}; leave out the input that causes it"
                )
            outputs = [exact_outputs(group, of_group) for group, of_group in zip(packed[name], entering, strict=True)]
            return np.stack(outputs).astype(vectors.dtype, copy=False)

        return multiply

    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused, or takes the largest range
        for _, calls_by_layer in calls_by_input(compressed.network, feeds, resolved, state, multiplication):
            for name, calls in calls_by_layer.items():
                for vectors, outputs in calls:
                    ranges[name] |= Ranges.of(vectors, outputs)
            after_input()
    return {name: format_of_ranges([group.layer for group in packed[name]], of, bits) for name, of in ranges.items()}


def _packed_for_some_array(matrix: CompressedLayer) -> PackedLayer:
    """Return a matrix packed for one PE; rows of several codebooks have a PE each, since it has room for one."""
    num_pes = 1 if matrix.row_codebooks is None else min(matrix.rows, MOST_PES)
    return pack(matrix, ArrayConfig(num_pes=num_pes, weight_bits=16, index_bits=8))


def check_formats(formats: NumberFormats, config: ArrayConfig, stored: Mapping[str, StoredLayer]) -> None:
    """Raise InputError if formats are given for another arithmetic, or for a layer that the network does not have.

    Parameters
    ----------
    formats : mapping of str to FixedPoint
        The formats by layer.
    config : ArrayConfig
        The array.
    stored : mapping of str to StoredLayer
        Compressed parameters of the network. A parameter's parts have its name and a number in brackets.
    """
    if config.precision == "float":
        raise InputError("number_formats have no effect with precision='float'; give the array a fixed precision")
    known = {weight.removesuffix(".weight") or weight for weight in stored}
    for name, each in formats.items():
        if name not in known and name.rpartition("[")[0] not in known:
            raise InputError(
                f"number_formats must be those of the network's layers, {', '.join(sorted(known))}; found one for "
                f"{name!r}; fit them to this network"
            )
        if each.bits != config.activation_bits:
            raise InputError(
                f"the array has precision={config.precision!r}, so each of number_formats must have "
                f"{config.activation_bits} bits; found {each.bits} for layer {name!r}; fit them for this precision"
            )


def format_of(formats: NumberFormats, name: str) -> FixedPoint:
    """Return the format of a layer. Raises InputError if there is none."""
    if name not in formats:
        raise InputError(
            f"number_formats must have a format for each layer that runs on the array; found none for layer {name!r}; "
            f"fit them on calibration inputs that call it"
        )
    return formats[name]


def plain_formats(formats: NumberFormats) -> dict[str, dict[str, int]]:
    """Return formats as plain values, from which `formats_of_plain` makes the same ones."""
    return {name: asdict(each) for name, each in formats.items()}


def formats_of_plain(values: Mapping[str, Mapping[str, int]]) -> dict[str, FixedPoint]:
    """Return the formats of plain values."""
    return {name: FixedPoint(**each) for name, each in values.items()}
