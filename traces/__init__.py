"""Compressed layers, networks, benchmark layers and recorded inputs, and the readers of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traces.errors import InputError
from traces.lazy_names import lazy_names
from traces.reading_limit import reading_limit

if TYPE_CHECKING:
    from traces.eie_benchmark import EIE_BENCHMARK, BenchmarkLayer, benchmark_layer
    from traces.files.deep_compression_net import read_net
    from traces.files.eie_directory import read_eie_directory
    from traces.files.idx import read_idx
    from traces.files.images import ImageSet, load_digits, load_idx_folder, load_images
    from traces.files.layer_file import open_layer
    from traces.files.matrix import layer_from_matrix, read_matrix
    from traces.files.npz import read_layer, read_layer_and_input, read_npy, read_npz, write_layer, write_npy, write_npz
    from traces.graph.compressed import CompressedNetwork
    from traces.graph.description import NetworkInput, NetworkLayer, OffArray, Recorded
    from traces.graph.network import Network
    from traces.graph.stored import StoredLayer, array_matrices
    from traces.graph.units import Unit, UnitGroup, unit_groups
    from traces.inputs import AnyInputs, Inputs
    from traces.layer import CompressedLayer
    from traces.mask_measurement import unevenness_of
    from traces.synthetic import draw_layer, draw_uneven_layer
    from traces.torch_activations import record_activations
    from traces.unevenness import Unevenness, measured_unevenness

__all__ = [
    "EIE_BENCHMARK",
    "AnyInputs",
    "BenchmarkLayer",
    "CompressedLayer",
    "CompressedNetwork",
    "ImageSet",
    "InputError",
    "Inputs",
    "Network",
    "NetworkInput",
    "NetworkLayer",
    "OffArray",
    "Recorded",
    "StoredLayer",
    "Unevenness",
    "Unit",
    "UnitGroup",
    "array_matrices",
    "benchmark_layer",
    "draw_layer",
    "draw_uneven_layer",
    "layer_from_matrix",
    "load_digits",
    "load_idx_folder",
    "load_images",
    "measured_unevenness",
    "open_layer",
    "read_eie_directory",
    "read_idx",
    "read_layer",
    "read_layer_and_input",
    "read_matrix",
    "read_net",
    "read_npy",
    "read_npz",
    "reading_limit",
    "record_activations",
    "unevenness_of",
    "unit_groups",
    "write_layer",
    "write_npy",
    "write_npz",
]

_NAMES = {
    "traces.eie_benchmark": ("EIE_BENCHMARK", "BenchmarkLayer", "benchmark_layer"),
    "traces.files.deep_compression_net": ("read_net",),
    "traces.files.eie_directory": ("read_eie_directory",),
    "traces.files.idx": ("read_idx",),
    "traces.files.images": ("ImageSet", "load_digits", "load_idx_folder", "load_images"),
    "traces.files.layer_file": ("open_layer",),
    "traces.files.matrix": ("layer_from_matrix", "read_matrix"),
    "traces.files.npz": (
        "read_layer",
        "read_layer_and_input",
        "read_npy",
        "read_npz",
        "write_layer",
        "write_npy",
        "write_npz",
    ),
    "traces.graph.compressed": ("CompressedNetwork",),
    "traces.graph.description": ("NetworkInput", "NetworkLayer", "OffArray", "Recorded"),
    "traces.graph.network": ("Network",),
    "traces.graph.stored": ("StoredLayer", "array_matrices"),
    "traces.graph.units": ("Unit", "UnitGroup", "unit_groups"),
    "traces.inputs": ("AnyInputs", "Inputs"),
    "traces.layer": ("CompressedLayer",),
    "traces.mask_measurement": ("unevenness_of",),
    "traces.synthetic": ("draw_layer", "draw_uneven_layer"),
    "traces.torch_activations": ("record_activations",),
    "traces.unevenness": ("Unevenness", "measured_unevenness"),
}
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
