"""Table of real networks that went through every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.markdown import markdown


def networks_markdown(rows: Sequence[Mapping[str, Any]], steps: Sequence[str]) -> str:
    """Return the tables of the networks as Markdown: what they are, and what each command took.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the result file of the experiment.
    steps : sequence of str
        Names of the commands.
    """
    figures = [
        [
            row["network"],
            f"{row['weights']:,}",
            f"{row['products']} ({row['kinds']})",
            f"{row['vectors']:,.0f}",
            f"{row['off_array_operations']:,}",
            f"{row['off_array_macs']:,}",
            f"{row['cycles']:,.0f}",
            f"{row['energy_pj'] / 1e3:,.1f}",
            f"{row['largest_difference']:.1e}",
            f"{row['output_difference']:.1e}",
            f"{row['compression_ratio']:.1f}x",
            f"{row['graph_bytes']:,}",
        ]
        for row in rows
    ]
    headings = [
        "network",
        "weights",
        "products",
        "vectors per input",
        "operations off the array",
        "MACs among them",
        "cycles per input",
        "nJ per input",
        "difference of products",
        "of outputs",
        "plan",
        "bytes of the graph",
    ]
    seconds = [[row["network"], f"{row['inputs']:,}", *(f"{row[f'{step}_s']:,.0f}" for step in steps)] for row in rows]
    return "\n".join(
        [
            "### Real networks on the array, as planned\n",
            markdown(headings, figures),
            "\n### Seconds of each command\n",
            markdown(["network", "inputs simulated", *steps], seconds),
        ]
    )
