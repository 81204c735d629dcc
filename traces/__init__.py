"""What runs: compressed layers, recorded activations, benchmark layers, readers of real data."""

from traces.errors import InputError
from traces.layer import CompressedLayer

__all__ = ["CompressedLayer", "InputError"]
