"""Compression of single layers by a plan's choices, with errors made good as the analysis allows (PyTorch needed)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compress.config import LayerSettings
from compress.container.layer_coding import CodingChoice, ScannedGaps, matrix_bytes, used_rows_and_columns
from compress.planning.analysis import Analysis
from compress.planning.compensation import (
    Spread,
    codebooks,
    error_spread,
    least_curvature,
    pruned_weights,
    shared_codes,
    stored_codebook,
)
from compress.planning.plan import Choice
from compress.pruning import MagnitudeThreshold, magnitude_mask, magnitude_thresholds, mask_above
from compress.row_classes import group_of_rows, row_classes
from traces import CompressedLayer
from traces.arrays import Booleans, Floats, Floats32, Integers, Integers64
from traces.graph.runtime import processors

_KEPT_SPREAD_BYTES = 2**28
_KEPT_CODES_BYTES = 2**26
_CLASS_BITS = 4  # of a code, for which rows are assigned to codebooks
_WEIGHTS_IN_THREADS = 2**22  # of a smaller layer, rows are not shared among threads


@dataclass(frozen=True, eq=False)
class TriedLayer:
    """One layer, compressed by one choice; of a large layer some rows, which stand for all.

    Attributes
    ----------
    density : float
        Share of the weights that are kept.
    weight_bits : int
        Bits of a code.
    layer : CompressedLayer
        The rows, compressed.
    rows : int64 [sampled]
        Places of the rows in the layer, `LayerAnalysis.rows`.
    whole : bool
        True if these are all rows; the layer then is what `LayerCompressor.compress` returns.
    file_bytes : float
        Bytes of the whole layer in a plan's file, estimated if these are not all rows.
    """

    density: float
    weight_bits: int
    layer: CompressedLayer
    rows: Integers64
    whole: bool
    file_bytes: float

    @property
    def weights(self) -> Floats32:
        """Weights of the rows, float32 [sampled, columns]."""
        return self.layer.weights()


@dataclass(frozen=True, eq=False)
class LayerCompressor:
    """Compresses the layers of an analysed network one at a time.

    Attributes
    ----------
    analysis : Analysis
        Of the network.
    curvatures : list of float [rows, columns]
        For each layer, `LayerAnalysis.curvatures`.
    codebooks : LayerSettings
        Settings of the codebooks of a layer: `codebooks`, `num_pes` and `codebook_groups`.
    compact : bool
        True if the file leaves out empty rows and columns.
    """

    analysis: Analysis
    curvatures: list[Floats]
    codebooks: LayerSettings = field(default_factory=LayerSettings)
    compact: bool = False
    _spreads: dict[int, Spread] = field(default_factory=dict, repr=False)
    _latest: dict[tuple[int, float, int], CompressedLayer] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, analysis: Analysis, codebooks: LayerSettings | None = None, compact: bool = False) -> LayerCompressor:
        """Return the compressor of an analysed network."""
        return cls(analysis, [layer.curvatures for layer in analysis.layers], codebooks or LayerSettings(), compact)

    @property
    def origin(self) -> dict[str, Any]:
        """Settings that a compressed layer depends on besides analysis and choice; empty for one codebook each."""
        number = self.codebooks.num_codebooks
        origin: dict[str, Any] = {"codebooks": [self.codebooks.num_pes, number]} if number > 1 else {}
        return origin | ({"compact": True} if self.compact else {})

    @property
    def coding(self) -> CodingChoice:
        """Way in which the layers are written."""
        return CodingChoice(leaves_out_empty=self.compact)

    def compress(self, number: int, choice: Choice) -> CompressedLayer:
        """Return the layer of this number, compressed by the choice.

        Besides the weights, it takes about six bytes for each of them. The latest layers are kept, those of `tried`
        among them: most plans have some in common.
        """
        layer = self._latest.pop((number, choice.density, choice.weight_bits), None)
        layer = self._kept(number, choice, self._compressed(number, choice) if layer is None else layer)
        return layer if not choice.activation_threshold else with_threshold(layer, choice.activation_threshold)

    def _kept(self, number: int, choice: Choice, layer: CompressedLayer) -> CompressedLayer:
        """Return a layer that is kept as the latest one."""
        self._latest[number, choice.density, choice.weight_bits] = layer
        kept_bytes = sum(each.codes.nbytes for each in self._latest.values())
        while kept_bytes > _KEPT_CODES_BYTES and len(self._latest) > 1:
            kept_bytes -= self._latest.pop(next(iter(self._latest))).codes.nbytes
        return layer

    def _compressed(self, number: int, choice: Choice) -> CompressedLayer:
        layer, spread, curvatures = self.analysis.layers[number], self._spread(number), self.curvatures[number]
        groups = self._groups(number)
        threads = processors() if layer.weights.size >= _WEIGHTS_IN_THREADS else 1
        with ThreadPoolExecutor(threads) as pool:
            executor = pool if threads > 1 else None
            kept = magnitude_mask(layer.weights, choice.density)
            pruned = pruned_weights(layer.weights, kept, spread, executor, groups)
            classes = self._classes(pruned, kept, curvatures, group_of_rows(len(layer.weights), layer.groups))
            (shared,) = codebooks(pruned, kept, curvatures, [choice.weight_bits], classes)
            del pruned
            codes = shared_codes(layer.weights, kept, spread, shared, executor, groups, classes)
        return _layer(layer.name, codes, stored_codebook(shared), classes)

    def tried(self, number: int, densities: Sequence[float], weight_bits: Sequence[int]) -> Iterator[TriedLayer]:
        """Compress the layer of this number by all choices of density and bits.

        Of a large layer (`LayerAnalysis.rows`) a random sample of rows is compressed. Weights are pruned by the
        threshold of the whole layer; shared weights are those of the sample.

        Parameters
        ----------
        number : int
            Of the layer.
        densities, weight_bits : sequence of float, sequence of int
            Choices.

        Yields
        ------
        TriedLayer
            For each density, the layers of all bits, in this order.
        """
        layer, spread = self.analysis.layers[number], self._spread(number)
        whole = len(layer.rows) == len(layer.weights)
        weights = layer.weights if whole else layer.weights[layer.rows]
        curvatures = self.curvatures[number] if whole else self.curvatures[number][layer.rows]
        groups = self._groups(number)
        groups = groups if whole or groups is None else groups[layer.rows]
        of_groups = group_of_rows(len(layer.weights), layer.groups)[layer.rows]
        share = len(layer.rows) / len(layer.weights)

        def of_density(density: float, threshold: MagnitudeThreshold) -> list[TriedLayer]:
            kept = mask_above(layer.weights, threshold)
            kept = kept if whole else kept[layer.rows]
            pruned = pruned_weights(weights, kept, spread, groups=groups)
            used = used_rows_and_columns(kept) if self.compact else None
            places = np.ix_(*used) if used is not None else ...
            bytes_of_used = 0 if used is None else sum((each.size + 7) // 8 for each in used)
            gaps = ScannedGaps.of(kept[places], self.coding)
            tried = []
            classes = self._classes(pruned, kept, curvatures, of_groups)
            of_bits = codebooks(pruned, kept, curvatures, weight_bits, classes)
            for bits, shared in zip(weight_bits, of_bits, strict=True):
                codes = shared_codes(weights, kept, spread, shared, groups=groups, classes=classes)
                made = _layer(layer.name, codes, stored_codebook(shared), classes)
                of_matrix = matrix_bytes(made.codes[places], bits, gaps) + bytes_of_used
                file_bytes = of_matrix / share + _codebook_bytes(made, len(layer.weights))
                tried.append(TriedLayer(density, bits, made, layer.rows, whole, file_bytes))
            return tried

        thresholds = magnitude_thresholds(layer.weights, densities)
        threads = processors()
        with ThreadPoolExecutor(threads) as pool:
            over = pool.map if threads > 1 else map
            for begin in range(0, len(densities), threads):  # a few at once, so that few layers wait to be taken
                at_once = slice(begin, begin + threads)
                for of_choices in over(of_density, densities[at_once], thresholds[at_once]):
                    for each in of_choices if whole else ():
                        self._kept(number, Choice(each.density, each.weight_bits), each.layer)
                    yield from of_choices

    def _classes(self, pruned: Floats32, kept: Booleans, curvatures: Floats, groups: Integers64) -> Integers | None:
        """Return the class of each row that has a codebook of its own, the same for all bits of a code."""
        number = self.codebooks.num_codebooks
        if number == 1 or len(pruned) == 1:
            return None
        importances = curvatures + least_curvature(curvatures)
        num_pes = self.codebooks.num_pes
        classes = row_classes(pruned, kept, num_pes, number, _CLASS_BITS, importances, groups=groups)
        return classes.astype(np.uint16)

    def _groups(self, number: int) -> Integers64 | None:
        """Return the group of each row of a layer; None if its input vectors are those of all rows."""
        layer = self.analysis.layers[number]
        return None if layer.moment is None else layer.moment.group_of_rows(len(layer.weights))

    def _spread(self, number: int) -> Spread | None:
        """Return how an error of one weight is made good by others; it is kept if it is small."""
        moment = self.analysis.layers[number].moment
        if moment is None:
            return None
        if number not in self._spreads:
            spread = error_spread(moment)
            if _spread_bytes([*self._spreads.values(), spread]) > _KEPT_SPREAD_BYTES:
                self._spreads.clear()
            if _spread_bytes([spread]) > _KEPT_SPREAD_BYTES:
                return spread
            self._spreads[number] = spread
        return self._spreads[number]


def with_threshold(layer: CompressedLayer, threshold: float) -> CompressedLayer:
    """Return a layer with another activation threshold."""
    return dataclasses.replace(layer, activation_threshold=threshold)


def layer_file_bytes(layer: CompressedLayer) -> float:
    """Return the bytes of a layer in a plan's file: its coded matrix, and its codebook but entry 0 in fp16."""
    return float(matrix_bytes(layer.codes, layer.weight_bits) + _codebook_bytes(layer, layer.rows))


def _codebook_bytes(layer: CompressedLayer, rows: int) -> int:
    """Return the bytes of the codebooks, and of the number of each row's if there are several."""
    shared = 2 * layer.num_codebooks * (2**layer.weight_bits - 1)
    of_rows = (rows * (layer.num_codebooks - 1).bit_length() + 7) // 8
    return int(shared + of_rows)


def _layer(name: str, codes: Integers, codebook: Floats32, classes: Integers | None) -> CompressedLayer:
    codes.flags.writeable = False  # so that it is not copied
    return CompressedLayer(name, codes, codebook, row_codebooks=classes)


def _spread_bytes(spreads: Sequence[Spread]) -> int:
    return sum(block.nbytes for spread in spreads for block in spread)
