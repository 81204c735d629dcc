"""Bytes of a container by their use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """Bytes of one layer in the file by their use; with the range coder, `gaps` has both gaps and codes.

    Attributes
    ----------
    name : str
        Of the layer.
    parameters, kept : int
        Weights and biases before pruning; weights after it.
    codes, gaps : int
        Bytes of the codes and gaps of entries that are no padding.
    fillers : int
        Bytes of the codes and gaps of padding entries.
    codebook, code_tables, bias : int
        Bytes of the shared weights, of the tables of the entropy code, and of the bias.
    header : int
        Bytes of names, shape, counts and choices.
    matrix_header : int
        Bytes of `header` that come with the matrix of codes.
    entropy_bytes : float
        Bytes of an ideal coder of codes and gaps, each symbol by its frequency alone: no Huffman code takes less. The
        range coder has other contexts and may take less.
    scan_order, index_bits, coder
        As chosen for the file.
    """

    name: str
    parameters: int
    kept: int
    codes: int
    gaps: int
    fillers: int
    codebook: int
    code_tables: int
    bias: int
    header: int
    matrix_header: int
    entropy_bytes: float
    scan_order: str
    index_bits: int
    coder: str

    @property
    def total(self) -> int:
        """Bytes of the layer's section."""
        return self.codes + self.gaps + self.fillers + self.codebook + self.code_tables + self.bias + self.header

    @property
    def matrix(self) -> int:
        """Bytes of the matrix of codes and of the codebook, which density and bits decide."""
        return self.codes + self.gaps + self.fillers + self.code_tables + self.codebook + self.matrix_header

    @property
    def above_entropy(self) -> float:
        """Excess of the coded entries over `entropy_bytes`, as a share of it; negative below it."""
        coded = self.codes + self.gaps + self.fillers
        return coded / self.entropy_bytes - 1 if self.entropy_bytes else 0.0


@dataclass(frozen=True)
class SizeReport:
    """Bytes of a container.

    Attributes
    ----------
    layers : tuple of LayerSize
        Of each layer's section.
    tensors : int
        Bytes of the other tensors.
    graph : int
        Bytes of the network's graph; 0 if the container has none.
    header : int
        Bytes of the file's header and directory.
    """

    layers: tuple[LayerSize, ...]
    tensors: int
    graph: int
    header: int

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(layer.total for layer in self.layers) + self.tensors + self.graph + self.header
