"""Published numbers of Sparseloop and MLPerf Tiny, with this project's numbers from the same data beside them.

Sources: Wu et al., "Sparseloop", MICRO 2022, its artifact, evaluation_setups/fig12_eyerissv2_pe_setup: cycles of the
model in ref_outputs/uniform_actual, of the processing element itself in scripts/ground_truth_cycles.yaml. Banbury et
al., "MLPerf Tiny Benchmark", NeurIPS Datasets and Benchmarks 2021 (arXiv:2106.07597), Table 1, version 0.5: targets
of quality, and sizes of the reference models as TensorFlow Lite files, in KB, here of 1,000 bytes; weights and
multiply-accumulates are those of keras_model.py of each task in https://github.com/mlcommons/tiny, by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.markdown import markdown

SPARSELOOP_CYCLES = {"L07": 1_702_141, "L21": 1_677_685}  # of its model: one more than of the element
ELEMENT_CYCLES = {"L07": 1_702_140, "L21": 1_677_684}
COMMAND = "`python -m designs experiment outside --data DIR`"
_TINY = "MLPerf Tiny"


@dataclass(frozen=True)
class TinyModel:
    """Published numbers of one network of MLPerf Tiny: weights, MACs of an input, bytes in TensorFlow Lite."""

    title: str
    weights: int
    macs: int
    file_bytes: int
    accuracy: float | None = None  # of the published file, on all test images
    least_accuracy: float | None = None  # that the benchmark asks for


TINY_MODELS = {
    "resnet_8": TinyModel("ResNet-8", 77_360, 12_501_632, 96_000, 0.8719, 0.85),
    "ds_cnn": TinyModel("DS-CNN", 22_016, 2_656_768, 52_500),
    "autoencoder": TinyModel("autoencoder", 264_192, 264_192, 270_000),
}


@dataclass(frozen=True)
class Row:
    """One published number, as text, and this project's; `is_wrong` if the same thing is counted and they differ."""

    who: str
    number: str
    theirs: str
    ours: str
    difference: str
    is_wrong: bool = False


def outside_rows(sparseloop: Sequence[Mapping[str, Any]], mlperf_tiny: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return each published number with this project's.

    Parameters
    ----------
    sparseloop, mlperf_tiny : sequence of mapping
        Rows of the result files of the experiment.
    """
    layers = dict.fromkeys(row["layer"] for row in sparseloop)
    found = [_of_layer([row for row in sparseloop if row["layer"] == layer]) for layer in layers]
    found += [_of_network(row, TINY_MODELS[row["network"]]) for row in mlperf_tiny]
    return [row for rows in found for row in rows]


def rows_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    headings = ["who", "number", "theirs", "ours", "difference", "command"]
    return markdown(headings, [[row.who, row.number, row.theirs, row.ours, row.difference, COMMAND] for row in rows])


def _of_layer(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the numbers of a layer, on arrays of several sizes."""
    name = rows[0]["layer"]
    by_macs: dict[int, list[str]] = {}
    for row in rows:
        by_macs.setdefault(row["useful_macs"], []).append(str(row["num_pes"]))
    stated = ELEMENT_CYCLES[name]
    is_wrong = by_macs.keys() != {stated}
    counted = [f"{macs:,} on {', '.join(pes)} PEs" for macs, pes in by_macs.items()]
    ours = "; ".join(counted) if is_wrong else f"{stated:,}"
    number, difference = f"{name}: useful MACs, one per cycle", "differs" if is_wrong else "0"
    found = [Row("Eyeriss v2 PE", number, f"{stated:,}", ours, difference, is_wrong)]
    for row in rows:
        if row["num_pes"] == 1:
            stated = SPARSELOOP_CYCLES[name]
            difference = f"{100 * (row['cycles'] / stated - 1):+.2f} %"
            number = f"{name}: cycles of one PE"
            found.append(Row("Sparseloop", number, f"{stated:,}", f"{row['cycles']:,}", difference))
    return found


def _of_network(row: Mapping[str, Any], model: TinyModel) -> list[Row]:
    found = [
        _counted(f"{model.title}: weights", f"{model.weights:,}", f"{row['weights']:,}"),
        _counted(f"{model.title}: MACs per input", f"{model.macs:,}", f"{row['macs']:,.0f}"),
    ]
    if model.accuracy is not None and row["accuracy"] >= 0:
        others = f"{row['array_differences']} answers other than ONNX Runtime's"
        found += [
            _counted(f"{model.title}: top-1, ONNX Runtime", _percent(model.accuracy), _percent(row["accuracy"])),
            _of_plan(model, row["container_accuracy"], f"planned, {row['unseen']:,} images"),
            _of_plan(model, row["array_accuracy"], f"the same on the array, {row['images']:,} images, {others}"),
        ]
    title = f"{model.title}: bytes in TensorFlow Lite; planned, {row['loss']} of at most {row['bound']:g}"
    size = row["container_bytes"]
    difference = f"{100 * (size / model.file_bytes - 1):+.0f} %"
    return [*found, Row(_TINY, title, f"{model.file_bytes:,}", f"{size:,}", difference)]


def _of_plan(model: TinyModel, accuracy: float, what: str) -> Row:
    assert model.least_accuracy is not None
    difference = f"{100 * (accuracy - model.least_accuracy):+.2f} points"
    least = f"at least {100 * model.least_accuracy:.0f} %"
    return Row(_TINY, f"{model.title}: top-1, {what}", least, _percent(accuracy), difference)


def _counted(number: str, theirs: str, ours: str) -> Row:
    is_wrong = theirs != ours
    return Row(_TINY, number, theirs, ours, "differs" if is_wrong else "0", is_wrong)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
