"""What the bytes of a container are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """Bytes of one layer in the file, by what they are; with the range coder, gaps and codes are one, under `gaps`.

    parameters      weights and biases before pruning; `kept`, weights after it
    fillers         codes and gaps of entries that only bridge a gap
    header          names, shape, counts and choices; of these, `matrix_header` come with the matrix of codes
    entropy_bytes   what codes and gaps would take if each symbol cost the logarithm of its frequency, and nothing else
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
        """Bytes of the matrix of codes and of the codebook: what density and bits decide."""
        return self.codes + self.gaps + self.fillers + self.code_tables + self.codebook + self.matrix_header

    @property
    def above_entropy(self) -> float:
        """How far the coded entries are above what `entropy_bytes` says, as a share of it; below it, where negative."""
        coded = self.codes + self.gaps + self.fillers
        return coded / self.entropy_bytes - 1 if self.entropy_bytes else 0.0


@dataclass(frozen=True)
class SizeReport:
    """Bytes of a container.

    layers    of each layer's section
    tensors   of what is not compressed
    header    of the file's header and directory
    """

    layers: tuple[LayerSize, ...]
    tensors: int
    header: int

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(layer.total for layer in self.layers) + self.tensors + self.header
