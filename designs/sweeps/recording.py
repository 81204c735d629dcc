"""Recording of the vectors that enter the layers of a compressed network, all of them or a sample."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compress.networks import given_inputs
from designs.sweeps.evaluation import LayerRuns
from designs.sweeps.recorded import LARGEST_ERROR, VectorsByWork, sampled
from designs.sweeps.workload import WorkloadLayer
from sim import ArrayConfig, ProductShape, pack
from sim.network_source import compressed_network
from traces import AnyInputs, CompressedLayer, InputError, Network, Recorded
from traces.arrays import Floats, Floats32, Floats64, Integers64, Numbers
from traces.graph.description import Execution
from traces.plain_values import number

ALL_VECTORS = 2**15  # vectors of all layers and groups that are taken without a sample
ALL_BYTES = 2**28  # of these vectors; more are not in memory at once unless the error asks for them

_Layer = tuple[CompressedLayer, int]  # all rows, and the groups


def record_layers(
    network: Any,
    inputs: AnyInputs,
    state: Mapping[str, str] | None,
    sampling_error: float | None,
    arrays: Sequence[ArrayConfig],
    after_input: Callable[[], object],
) -> tuple[str, tuple[WorkloadLayer, ...], Execution]:
    """Return name, layers with the vectors that enter them, and execution of a network: see `Workload.of_network`."""
    if sampling_error is not None and not 0 <= number("sampling_error", sampling_error) < 1:
        raise InputError(f"sampling_error must be a share, 0 to below 1; found {sampling_error}")
    compressed, _ = compressed_network(network)
    opened = compressed.network
    feeds = opened.bind(given_inputs(inputs), state or ())
    total = opened.num_inputs(feeds)
    first = _first_step(opened, feeds, state)
    on_array = compressed.array_layers(first)
    layers = {layer.name: joined_groups(matrices) for layer, matrices in on_array}
    if not layers:
        raise InputError(f"network {opened.name!r} has no compressed layer to run on the array")
    once = opened.record(first, state=state)
    sizes = {name: (groups, total * once[name].per_input) for name, (_, groups) in layers.items()}
    vectors = sum(groups * number for groups, number in sizes.values())
    num_bytes = _num_bytes(layers, sizes, None)
    if sampling_error is None and vectors <= ALL_VECTORS and num_bytes <= ALL_BYTES:
        sampling_error = 0.0
    elif sampling_error is None:
        sampling_error = LARGEST_ERROR
    most = None
    if sampling_error and num_bytes > ALL_BYTES:
        most = int(max(number for _, number in sizes.values()))
        while most > 1 and _num_bytes(layers, sizes, most) > ALL_BYTES:
            most //= 2
    while True:
        recorded = opened.record(feeds, most, after_input, state)
        other = sorted(
            name
            for name, found in recorded.items()
            if found.per_input and (name not in once or not once[name].per_input)
        )
        if other:
            raise InputError(
                f"network {opened.name!r}: layer {other[0]!r} is called for some inputs, but not for the first "
                f"one; give inputs that take one branch"
            )
        taken = tuple(
            _taken(layer, groups, recorded[name], total, sampling_error, arrays or (ArrayConfig(),))
            for name, (layer, groups) in layers.items()
        )
        if most is None or all(work.sampling_error <= sampling_error for work in taken):
            execution = compressed.execution(first, state or ())
            calls = Counter(name for name, _ in execution.calls)
            shaped = tuple(
                dataclasses.replace(work, shape=ProductShape.of_layer(layer, work.vectors_per_input, calls[layer.name]))
                if work.vectors_per_input
                else work
                for work, (layer, _) in zip(taken, on_array, strict=True)
            )
            return opened.name, shaped, execution
        most *= 2


def _first_step(network: Network, feeds: Mapping[str, Numbers], state: Mapping[str, str] | None) -> dict[str, Numbers]:
    given = {name: feeds[name] for name in state or {}}
    return network.part(feeds, 0, 1) | given


def joined_groups(matrices: Sequence[CompressedLayer]) -> tuple[CompressedLayer, int]:
    """Return one layer with the rows of all groups, and the number of groups."""
    first = matrices[0]
    if len(matrices) == 1:
        return first, 1

    def joined(name: str) -> Any:
        return None if getattr(first, name) is None else np.concatenate([getattr(each, name) for each in matrices])

    numbers, codebook = None, first.codebook
    if any(each.row_codebooks is not None for each in matrices):
        begins = np.cumsum([0, *(each.num_codebooks for each in matrices)])
        numbers = np.concatenate(
            [
                begin + (0 if each.row_codebooks is None else each.row_codebooks) + np.zeros(each.rows, dtype=np.int64)
                for begin, each in zip(begins, matrices, strict=False)
            ]
        ).astype(np.uint16)
        codebook = np.concatenate([each.codebooks for each in matrices])
    biases = {"bias": joined("bias"), "free_bias": joined("free_bias")}
    return (
        dataclasses.replace(first, codes=joined("codes"), codebook=codebook, row_codebooks=numbers, **biases),
        len(matrices),
    )


def _num_bytes(layers: Mapping[str, _Layer], sizes: Mapping[str, tuple[int, float]], most: int | None) -> float:
    """Return the bytes of at most so many vectors of each group of each layer."""
    return sum(
        4 * layers[name][0].columns * groups * (number if most is None else min(number, most))
        for name, (groups, number) in sizes.items()
    )


def _taken(
    layer: CompressedLayer,
    groups: int,
    recorded: Recorded,
    inputs: int,
    sampling_error: float,
    arrays: Sequence[ArrayConfig],
) -> WorkloadLayer:
    """Return the layer with its recorded vectors, or with the sample of them that keeps the error."""
    vectors, per_input = recorded.vectors, _whole(recorded.per_input)
    every = WorkloadLayer(layer, _flat(vectors), per_input, groups, inputs)
    if not sampling_error or not per_input:
        return every
    runs = [_runs(every, array) for array in arrays]

    def costs(places: Integers64) -> Floats64:
        chosen = dataclasses.replace(every, activations=_flat(vectors[:, places]))
        found: list[Floats64] = []
        for groups_of, array in runs:
            counts = LayerRuns(groups_of, chosen).runs(array)
            found.append(np.sum([each.cycles for each in counts], axis=0))
            found.append(np.sum([each.energy_pj for each in counts], axis=0))
        return np.stack(found, axis=1)

    work = np.count_nonzero(layer.thresholded(vectors), axis=(0, 2))
    sample = sampled(VectorsByWork(work), costs, sampling_error, total=inputs * per_input)
    return dataclasses.replace(
        every, activations=_flat(vectors[:, np.sort(sample.places)]), sampling_error=sample.error
    )


def _runs(work: WorkloadLayer, array: ArrayConfig) -> tuple[list[Any], ArrayConfig]:
    """Return the packed groups, and an array that can run them: its memories do not matter to the error."""
    bits = max(array.weight_bits, work.layer.weight_bits)
    able = dataclasses.replace(array, memory_mode="unlimited", weight_bits=bits)
    return [pack(matrix, able) for matrix in work.matrices], able


def _flat(vectors: Floats) -> Floats32:
    """Return vectors [groups, vectors, columns] as one matrix, group by group."""
    return np.ascontiguousarray(vectors.reshape(-1, vectors.shape[2]), dtype=np.float32)


def _whole(number: float) -> float:
    """Return a whole number as int."""
    return int(number) if number == int(number) else number
