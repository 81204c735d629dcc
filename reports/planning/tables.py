"""Tables that compare planned compression with other methods, from the experiment "planning"."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from reports.markdown import markdown

Row = dict[str, Any]
DROPS = (0.005, 0.01, 0.03)
NETWORKS = {
    "lenet_5": "LeNet-5 on MNIST",
    "lenet_5_own": "LeNet-5 on MNIST, its own images",
    "lenet_300_100": "LeNet-300-100 on MNIST",
    "resnet_20": "ResNet-20 on CIFAR-10",
    "resnet_8": "ResNet-8 on CIFAR-10 (ONNX)",
    "ds_cnn": "DS-CNN, keywords (ONNX)",
    "autoencoder": "Autoencoder, machine sounds (ONNX)",
    "anomaly_score": "Autoencoder, its anomaly score (ONNX)",
    "lstm_tagger": "LSTM tagger of rows of digits",
    "stories": "Llama of 260,032 weights",
    "embedding": "Embedding of MNIST's digits",
    "sentence_encoder": "Sentence encoder, 22.6 M weights",
}
METHODS = {
    "planned": "planned",
    "scan": "scan of each layer",
    "uniform": "one density and width",
    "tolerances": "tolerances of weights alone",
}


def sizes_markdown(curves: Sequence[Row]) -> str:
    """Show the smallest container of each method for each loss of test accuracy in DROPS, without retraining.

    Parameters
    ----------
    curves : sequence of dict
        Rows of the part "curves".
    """
    cells = []
    for network in dict.fromkeys(row["network"] for row in curves if row["accuracy_before"] >= 0):
        for drop in DROPS:
            smallest = {}
            for method in METHODS:
                accurate = [
                    row
                    for row in curves
                    if row["network"] == network
                    and row["method"] == method
                    and row["accuracy"] >= row["accuracy_before"] - drop - 1e-9
                ]
                if accurate:
                    smallest[method] = min(accurate, key=lambda row: int(row["size_bytes"]))
            planned = smallest.get("planned", {}).get("size_bytes")
            sizes = []
            for method in METHODS:
                row = smallest.get(method)
                if row is None:
                    sizes.append("none")
                elif method == "planned" or planned is None:
                    sizes.append(f"{row['size_bytes']:,}")
                else:
                    sizes.append(f"{row['size_bytes']:,} (planned {planned / row['size_bytes'] - 1:+.0%})")
            cells.append([NETWORKS[network], f"{100 * drop:g} points", *sizes])
    return markdown(["network", "largest accuracy loss", *(f"{name}, bytes" for name in METHODS.values())], cells)


def bytes_markdown(curves: Sequence[Row]) -> str:
    """Show the containers of three methods at the same loss on the same pool, at three bounds of each network.

    The scan and the uniform settings are the smallest files whose loss on the pool is at most the plan's.

    Parameters
    ----------
    curves : sequence of dict
        Rows of the part "curves".
    """
    cells = []
    for network in dict.fromkeys(row["network"] for row in curves):
        own = [row for row in curves if row["network"] == network]
        for planned in (row for row in own if row["method"] == "planned" and row["shown"]):
            size, loss = planned["size_bytes"], planned["pool_loss"]
            scan, uniform = (smallest_within(own, method, loss) for method in ("scan", "uniform"))
            cells.append(
                [
                    NETWORKS[network],
                    _loss_name(planned["loss"]),
                    f"{planned['bound']:g}",
                    f"{loss:.4f}",
                    f"{planned['unseen_loss']:.4f}",
                    f"{size:,} ({planned['dense_bytes'] / size:.1f}x)",
                    _beside(size, scan),
                    "" if scan is None else f"{scan['unseen_loss']:.4f}",
                    _beside(size, uniform),
                ]
            )
    headings = ["network", "loss", "bound", "planned: loss on the pool", "on unseen inputs", "planned, bytes"]
    headings += ["scan of each layer, bytes", "its loss on unseen inputs", "one density and width, bytes"]
    return markdown(headings, cells)


def smallest_within(curves: Sequence[Row], method: str, loss: float) -> Row | None:
    """Return the row of a method's smallest file whose loss on the pool is at most this; None if there is none."""
    fitting = [row for row in curves if row["method"] == method and row["pool_loss"] <= loss]
    return min(fitting, key=lambda row: int(row["size_bytes"]), default=None)


def _beside(planned: int, row: Row | None) -> str:
    return "none" if row is None else f"{row['size_bytes']:,} (planned {planned / row['size_bytes'] - 1:+.0%})"


def _loss_name(loss: str) -> str:
    return loss.rpartition(":")[2]


def coverage_markdown(coverage: Sequence[Row]) -> str:
    """Show how often the stated limits hold on unseen inputs, and the bytes that the confidence level costs.

    Parameters
    ----------
    coverage : sequence of dict
        Rows of the part "coverage".
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in coverage:
        groups.setdefault((row["network"], row["inputs"]), []).append(row)
    cells = [[NETWORKS[network], _POOLS[inputs], *_coverage_cells(rows)] for (network, inputs), rows in groups.items()]
    certified = [row for row in coverage if row["inputs"] != "own"]
    if len(groups) > 1:
        cells.append(["all", "", *_coverage_cells(coverage)])
        if 0 < len(certified) < len(coverage):
            cells.append(["all", "without own training inputs alone", *_coverage_cells(certified)])
    headings = ["network", "pool", "plans", "limit holds", "bound holds if stated so", "unseen loss over limit, median"]
    return markdown([*headings, "bytes", "bytes at the level 50 %", "cost of the level"], cells)


_POOLS = {
    "others": "not trained on",
    "own": "own training inputs",
    "own, with evaluation": "own training inputs, others for evaluation",
}


def _coverage_cells(rows: Sequence[Row]) -> list[str]:
    holding = sum(row["unseen_loss"] <= row["limit"] for row in rows)
    feasible = [row for row in rows if row["feasible"]]
    kept = sum(row["unseen_loss"] <= row["bound"] for row in feasible)
    size, lower = (float(np.median([row[name] for row in rows])) for name in ("size_bytes", "lower_size_bytes"))
    cost = float(np.median([row["size_bytes"] / row["lower_size_bytes"] - 1 for row in rows]))
    return [
        str(len(rows)),
        f"{holding} ({holding / len(rows):.1%})",
        f"{kept} of {len(feasible)}",
        f"{np.median([row['unseen_loss'] / row['limit'] for row in rows]):.2f}",
        f"{size:,.0f}",
        f"{lower:,.0f}",
        f"{cost:+.1%}",
    ]


def levels_markdown(coverage: Sequence[Row]) -> str:
    """Show for ranges of the stated level how often the bound holds on unseen inputs.

    Parameters
    ----------
    coverage : sequence of dict
        Rows of the part "coverage".
    """
    cells = []
    for low, high in itertools.pairwise((0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0 + 1e-9)):
        rows = [row for row in coverage if low <= row["level"] < high]
        if rows:
            kept = sum(row["unseen_loss"] <= row["bound"] for row in rows)
            mean = float(np.mean([row["level"] for row in rows]))
            cells.append([f"{low:.0%} to {min(high, 1):.0%}", str(len(rows)), f"{mean:.1%}", f"{kept / len(rows):.1%}"])
    return markdown(["stated level", "plans", "mean stated level", "share whose bound holds"], cells)


def search_markdown(search: Sequence[Row]) -> str:
    """Show a plan and the black-box search over the same choices, at the same loss on the same pool."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in search):
        rows = [row for row in search if row["network"] == network]
        planned = next(row for row in rows if row["method"] == "planned")
        for method in ("planned", "black box"):
            last = [row for row in rows if row["method"] == method][-1]
            size = "none" if last["size_bytes"] < 0 else f"{last['size_bytes']:,}"
            if method != "planned" and last["size_bytes"] >= 0:
                size = _beside(planned["size_bytes"], last)
            unseen = "" if last["unseen_loss"] < 0 else f"{last['unseen_loss']:.4f}"
            accuracy = "" if last["accuracy"] < 0 else f"{last['accuracy']:.2%}"
            loss = f"{_loss_name(last['loss'])} {last['bound']:.4f}"
            cells.append([NETWORKS[network], method, loss, f"{last['evaluations']:.1f}", size, unseen, accuracy])
    headings = ["network", "method", "bound", "runs over the pool", "bytes", "unseen loss", "accuracy"]
    return markdown(headings, cells)


def predictions_markdown(predictions: Sequence[Row]) -> str:
    """Show the rank correlation between the analysis' predictions for random plans and the measurements."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in predictions):
        rows = [row for row in predictions if row["network"] == network]
        predicted, measured, changed = (
            [row[name] for row in rows] for name in ("predicted", "measured", "changed_answers")
        )
        correlations = [f"{spearmanr(predicted, values).statistic:.3f}" for values in (measured, changed)]
        cells.append([NETWORKS[network], str(len(rows)), *correlations])
    return markdown(["network", "random plans", "rank correlation with the loss", "with changed answers"], cells)


def budgets_markdown(budgets: Sequence[Row]) -> str:
    """Show a first plan, and plans for other budgets from the same analysis."""
    cells = []
    for row in budgets:
        first = next(other["seconds"] for other in budgets if other["network"] == row["network"])
        confidence = "" if row["confidence"] < 0 else f"{row['confidence']:.0%}"
        feasible = "yes" if row["feasible"] else f"no: {row['nearest'] or row['binding']}"
        cells.append(
            [
                NETWORKS[row["network"]],
                row["asked"],
                f"{row['seconds']:.2f} s (1/{first / row['seconds']:,.0f})",
                f"{row['measurements']:.1f}",
                f"{row['size_bytes']:,.0f}",
                f"{row['latency_us']:,.1f}",
                f"{row['energy_nj']:,.0f}",
                f"{row['used']:.4f} of {row['bound']:g}",
                confidence,
                row["binding"],
                feasible,
            ]
        )
    headings = ["network", "budget", "time", "runs", "bytes", "us", "nJ", "loss", "confidence level", "binding"]
    return markdown([*headings, "feasible"], cells)


def speed_markdown(speed: Sequence[Row]) -> str:
    """Show the time of planning in forward and backward passes over the pool, and that of planning again."""
    cells = []
    plan = next((row["seconds"] for row in speed if row["what"] == "plan"), 1.0)
    for row in speed:
        share = f"1/{plan / row['seconds']:,.0f}" if row["what"] == "plan again" else ""
        time = f"{row['seconds']:.3f} s"
        cells.append(
            [f"ResNet-{row['layers']}", f"{row['inputs']:,}", row["what"], time, f"{row['passes']:.2f}", share]
        )
    return markdown(["network", "inputs", "step", "time", "passes over the pool", "share of the plan"], cells)


def large_markdown(large: Sequence[Row]) -> str:
    """Show time and memory of planning large networks."""
    cells = [
        [
            row["name"],
            f"{row['weights']:,}",
            f"{row['inputs']:,}",
            f"{row['seconds']:.0f} s",
            f"{row['peak_mib'] / 1024:.2f} GiB ({row['start_mib'] / 1024:.2f} before)",
            f"{row['size_bytes']:,} ({4 * row['weights'] / row['size_bytes']:.1f}x)",
            f"{_loss_name(row['loss'])} {row['limit']:.4f} of {row['bound']:g}",
            f"{row['unseen_loss']:.4f}",
        ]
        for row in large
    ]
    headings = ["network", "weights", "inputs", "time", "largest memory", "bytes", "limit of the loss", "unseen loss"]
    return markdown(headings, cells)
