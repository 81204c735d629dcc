"""Compression of single layers by a plan's choices, with errors made good as the analysis allows (PyTorch needed)."""

from __future__ import annotations

from dataclasses import dataclass, field

from compress.container.layer_coding import CodingChoice, encode_matrix
from compress.planning.analysis import Analysis
from compress.planning.compensation import error_spread, pruned_weights, shared_weights
from compress.planning.plan import Choice
from compress.pruning import magnitude_mask
from traces import CompressedLayer
from traces.arrays import Floats64


@dataclass(frozen=True, eq=False)
class LayerCompressor:
    """Compresses the layers of an analysed network one at a time.

    Attributes
    ----------
    analysis : Analysis
        Of the network.
    spreads : list of float64 [columns, columns] or None
        For each layer, how an error of one weight is made good by others (`error_spread`).
    curvatures : list of float64 [rows, columns]
        For each layer, `UnitAnalysis.curvatures`.
    """

    analysis: Analysis
    spreads: list[Floats64 | None]
    curvatures: list[Floats64]
    _latest_pruned: dict[tuple[int, float], Floats64] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, analysis: Analysis) -> LayerCompressor:
        """Return the compressor of an analysed network."""
        spreads = [
            None if unit.moment is None else error_spread(unit.moment, unit.positions) for unit in analysis.units
        ]
        return cls(analysis, spreads, [unit.curvatures for unit in analysis.units])

    def compress(self, number: int, choice: Choice) -> CompressedLayer:
        """Return the layer of this number, compressed by the choice."""
        unit, spread = self.analysis.units[number], self.spreads[number]
        kept = magnitude_mask(unit.weights, choice.density)
        key = (number, choice.density)
        if key not in self._latest_pruned:  # only the latest is worth its memory
            pruned = pruned_weights(unit.weights, kept, spread)
            self._latest_pruned.clear()
            self._latest_pruned[key] = pruned
        codes, codebook = shared_weights(
            unit.weights, kept, spread, choice.weight_bits, self.curvatures[number], self._latest_pruned[key]
        )
        return CompressedLayer(unit.name, codes, codebook)


def layer_file_bytes(layer: CompressedLayer) -> float:
    """Return the bytes of a layer in a plan's file: its coded matrix, and its codebook but entry 0 in fp16."""
    matrix = encode_matrix(layer.codes, layer.weight_bits, CodingChoice())
    return float(len(matrix.content) + 2 * (len(layer.codebook) - 1))
