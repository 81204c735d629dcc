"""Published numbers of Sparseloop and MLPerf Tiny, with this project's numbers from the same data beside them.

Sources: Wu et al., "Sparseloop", MICRO 2022, its artifact, evaluation_setups/fig12_eyerissv2_pe_setup: cycles of the
model in ref_outputs/uniform_actual, of the processing element itself in scripts/ground_truth_cycles.yaml. Banbury et
al., "MLPerf Tiny Benchmark", NeurIPS Datasets and Benchmarks 2021, Table 1: targets of quality, and bytes of the
reference models in 8-bit integers; weights and multiply-accumulates are those of keras_model.py of each task in
https://github.com/mlcommons/tiny, by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.markdown import markdown

SPARSELOOP_CYCLES = {"L07": 1_702_141, "L21": 1_677_685}
ELEMENT_CYCLES = {"L07": 1_702_140, "L21": 1_677_684}
_COMMAND = "`python -m designs experiment outside --data DIR`"


@dataclass(frozen=True)
class TinyModel:
    """Published numbers of one network of MLPerf Tiny: weights, MACs of an input, bytes in 8-bit integers."""

    title: str
    weights: int
    macs: int
    int8_bytes: int
    accuracy: float | None = None  # of the published file, on all test images
    least_accuracy: float | None = None  # that the benchmark asks for


TINY_MODELS = {
    "resnet_8": TinyModel("ResNet-8", 77_360, 12_501_632, 96_000, 0.8719, 0.85),
    "ds_cnn": TinyModel("DS-CNN", 22_016, 2_656_768, 52_500),
    "autoencoder": TinyModel("autoencoder", 264_192, 264_192, 270_000),
}


@dataclass(frozen=True)
class Row:
    """One published number, as text, and this project's; `must_be_equal` if it is a count of the same thing."""

    who: str
    number: str
    theirs: str
    ours: str
    difference: str
    must_be_equal: bool = False


def outside_rows(sparseloop: Sequence[Mapping[str, Any]], mlperf_tiny: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return each published number with this project's.

    Parameters
    ----------
    sparseloop, mlperf_tiny : sequence of mapping
        Rows of the result files of the experiment.
    """
    return [row for each in sparseloop for row in _of_layer(each)] + [
        row for each in mlperf_tiny for row in _of_network(each, TINY_MODELS[each["network"]])
    ]


def rows_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    headings = ["who", "number", "theirs", "ours", "difference", "command"]
    return markdown(headings, [[row.who, row.number, row.theirs, row.ours, row.difference, _COMMAND] for row in rows])


def _of_layer(row: Mapping[str, Any]) -> list[Row]:
    name, num_pes = row["layer"], row["num_pes"]
    what = f"{name}, {num_pes} PE{'s' if num_pes > 1 else ''}"
    macs = f"{row['useful_macs']:,}"
    found = [
        _counted("Sparseloop", f"cycles less one, as useful MACs, {what}", SPARSELOOP_CYCLES[name] - 1, macs),
        _counted("Eyeriss v2 PE of its artifact", f"cycles, as useful MACs, {what}", ELEMENT_CYCLES[name], macs),
    ]
    if num_pes == 1:
        stated = SPARSELOOP_CYCLES[name]
        difference = f"{row['cycles'] / stated - 1:+.2%}"
        found.append(Row("Sparseloop", f"cycles, {what}", f"{stated:,}", f"{row['cycles']:,}", difference))
    return found


def _of_network(row: Mapping[str, Any], model: TinyModel) -> list[Row]:
    who = "MLPerf Tiny"
    found = [
        _counted(who, f"weights, {model.title}", model.weights, f"{row['weights']:,}"),
        _counted(who, f"MACs per input, {model.title}", model.macs, f"{row['macs']:,.0f}"),
    ]
    if model.accuracy is not None and row["accuracy"] >= 0:
        found += [
            _counted(who, f"top-1, {model.title}, ONNX Runtime", f"{model.accuracy:.2%}", f"{row['accuracy']:.2%}"),
            _of_plan(who, row, model, "container_accuracy", f"planned, {row['unseen']:,} images"),
            _of_plan(
                who,
                row,
                model,
                "array_accuracy",
                f"on the array, {row['images']:,} images, {row['array_differences']} other answers",
            ),
        ]
    size = row["container_bytes"]
    title = f"bytes, {model.title}, 8-bit integers there, planned here ({row['loss']} of at most {row['bound']:g})"
    ratio = f"{model.int8_bytes / size:.1f}x smaller"
    return [*found, Row(who, title, f"{model.int8_bytes:,}", f"{size:,}", ratio)]


def _of_plan(who: str, row: Mapping[str, Any], model: TinyModel, column: str, what: str) -> Row:
    assert model.least_accuracy is not None
    ours = row[column]
    difference = f"{100 * (ours - model.least_accuracy):+.2f} points"
    return Row(who, f"top-1, {model.title}, {what}", f"at least {model.least_accuracy:.0%}", f"{ours:.2%}", difference)


def _counted(who: str, number: str, theirs: int | str, ours: str) -> Row:
    stated = theirs if isinstance(theirs, str) else f"{theirs:,}"
    return Row(who, number, stated, ours, "0" if stated == ours else "differs", must_be_equal=True)
