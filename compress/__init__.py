"""Deep Compression: pruning, weight sharing, entropy coding, and plans of how far each layer may be compressed.

PyTorch is imported when a name that needs it is first used. Containers are read, written and decoded without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from traces.lazy_names import lazy_names

if TYPE_CHECKING:
    from compress.compression import compress
    from compress.config import CompressionConfig, LayerSettings
    from compress.container.layer_coding import CodingChoice
    from compress.container.model import CompressedModel
    from compress.container.reader import ContainerReader
    from compress.container.safetensors_file import export_safetensors, import_safetensors
    from compress.measurement import MeasuredOutput, Measurement, measure
    from compress.modules import plain_module
    from compress.one_shot import compress_parameters
    from compress.planning.analysis import analyse
    from compress.planning.committee import choose_inputs
    from compress.planning.outputs import run_batches, run_outputs
    from compress.planning.pipeline import ApplicablePlan, plan
    from compress.planning.plan import Budget, Plan, Tolerance
    from compress.planning.planner import Planner
    from compress.planning.preparation import make_planner
    from compress.planning.watch import watch
    from compress.planning.watch_report import WatchReport
    from compress.training.compressor import Compressor, Stage, sensitivity
    from compress.training.distillation import distil
    from compress.training.fine_tuning import accuracy, train
    from compress.training.normalisation import fold_normalisation
    from compress.weight_files.reading import read_parameters

__all__ = [
    "ApplicablePlan",
    "Budget",
    "CodingChoice",
    "CompressedModel",
    "CompressionConfig",
    "Compressor",
    "ContainerReader",
    "LayerSettings",
    "MeasuredOutput",
    "Measurement",
    "Plan",
    "Planner",
    "Stage",
    "Tolerance",
    "WatchReport",
    "accuracy",
    "analyse",
    "choose_inputs",
    "compress",
    "compress_parameters",
    "distil",
    "export_safetensors",
    "fold_normalisation",
    "import_safetensors",
    "make_planner",
    "measure",
    "plain_module",
    "plan",
    "read_parameters",
    "run_batches",
    "run_outputs",
    "sensitivity",
    "train",
    "watch",
]

_NAMES = {
    "compress.compression": ("compress",),
    "compress.config": ("CompressionConfig", "LayerSettings"),
    "compress.container.layer_coding": ("CodingChoice",),
    "compress.container.model": ("CompressedModel",),
    "compress.container.reader": ("ContainerReader",),
    "compress.container.safetensors_file": ("export_safetensors", "import_safetensors"),
    "compress.measurement": ("MeasuredOutput", "Measurement", "measure"),
    "compress.modules": ("plain_module",),
    "compress.one_shot": ("compress_parameters",),
    "compress.planning.analysis": ("analyse",),
    "compress.planning.committee": ("choose_inputs",),
    "compress.planning.outputs": ("run_batches", "run_outputs"),
    "compress.planning.pipeline": ("ApplicablePlan", "plan"),
    "compress.planning.plan": ("Budget", "Plan", "Tolerance"),
    "compress.planning.planner": ("Planner",),
    "compress.planning.preparation": ("make_planner",),
    "compress.planning.watch": ("watch",),
    "compress.planning.watch_report": ("WatchReport",),
    "compress.training.compressor": ("Compressor", "Stage", "sensitivity"),
    "compress.training.distillation": ("distil",),
    "compress.training.fine_tuning": ("accuracy", "train"),
    "compress.training.normalisation": ("fold_normalisation",),
    "compress.weight_files.reading": ("read_parameters",),
}
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
