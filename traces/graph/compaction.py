"""Products without the rows and columns that hold no weights.

The activations of a column without weights change nothing, and a row without weights and bias is zero. A *compact*
network gathers the other activations before each product, and puts zeros into the places of such rows after it. Weights
that are named with the mark keep all their rows: those of several codebooks, each of which has PEs of its own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto

from traces.arrays import Floats, Numbers
from traces.graph.products import Multiply, Part, Product
from traces.graph.resolve import FixedValues
from traces.graph.surgery import COMPACT, subgraphs


def compacted(products: Sequence[Product], model: ModelProto, fixed: FixedValues) -> list[Product]:
    """Return the products of a graph, compact if it is marked so; those of one with If, Loop or Scan never are.

    Parameters
    ----------
    products : sequence of Product
        Products of the graph, flat.
    model : onnx.ModelProto
        The graph with its mark.
    fixed : FixedValues
        Values of the flat graph that no input changes.
    """
    mark = next((each.value for each in model.metadata_props if each.key == COMPACT), None)
    if mark is None or any(True for node in model.graph.node for _ in subgraphs(node)):
        return list(products)
    whole_rows = set(json.loads(mark))
    origins = fixed.origins([part.operand for product in products for part in product.parts])

    def keeps_rows(product: Product) -> bool:
        found = [origins[part.operand] for part in product.parts]
        return any(origin is not None and whole_rows & {*origin.parameters} for origin in found)

    return [compact_product(product, fixed, keeps_rows(product)) for product in products]


def compact_graph(graph: bytes, whole_rows: Sequence[str] = ()) -> bytes:
    """Return a graph, as `Network.graph_bytes` gives it, marked as compact.

    Parameters
    ----------
    graph : bytes
        The graph.
    whole_rows : sequence of str
        Weights that keep all their rows.
    """
    model = ModelProto()
    model.ParseFromString(graph)
    marked = not_compact(model)
    marked.metadata_props.add(key=COMPACT, value=json.dumps(sorted(whole_rows), separators=(",", ":")))
    content: bytes = marked.SerializeToString(deterministic=True)
    return content


def not_compact(model: ModelProto) -> ModelProto:
    """Return a copy of a graph whose products have all rows and columns."""
    copy = ModelProto()
    copy.CopyFrom(model)
    others = [each for each in model.metadata_props if each.key != COMPACT]
    del copy.metadata_props[:]
    copy.metadata_props.extend(others)
    return copy


def compact_product(product: Product, fixed: FixedValues, whole_rows: bool = False) -> Product:
    """Return a product without its rows and columns that hold no weights.

    Parameters
    ----------
    product : Product
        Any product; a recurrent one is returned as it is.
    fixed : FixedValues
        Values of the graph that no input changes.
    whole_rows : bool
        True to keep all rows.

    Returns
    -------
    Product
        The product of the smaller matrix, with the same inputs and outputs. Of several groups, those without weights
        go, and rows and columns that are empty in all others. At least one row and one column stay.
    """
    if len(product.parts) != 1:
        return product
    (part,) = product.parts
    weights = part.matrix(fixed.value(part.operand)).astype(np.float32) != 0
    rows = np.logical_or(weights.any(axis=2), whole_rows)
    for name in part.biases:
        rows = rows | (part.bias(fixed.value(name)).astype(np.float32) != 0)
    kept = _kept(rows.any(axis=1)), _kept(rows.any(axis=0)), _kept(weights.any(axis=(0, 1)))
    if tuple(map(len, kept)) == weights.shape:
        return product
    groups, _, columns = kept
    compact = dataclasses.replace(
        part,
        matrix=lambda w: part.matrix(w)[np.ix_(*kept)],
        bias=lambda b: part.bias(b)[np.ix_(*kept[:2])],
        left_out=(rows.size - len(groups) * len(kept[1]), weights.shape[2] - len(columns)),
    )
    num_rows = weights.shape[1]

    def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        def gathered(_: Part, vectors: Floats) -> Floats:
            # the values of neighbouring vectors lie side by side, as in an unrolled image
            taken = np.swapaxes(vectors, 1, 2)[np.ix_(groups, columns)].swapaxes(1, 2)
            found = multiply(compact, taken)
            products = np.zeros((*vectors.shape[:2], num_rows), dtype=found.dtype)
            products[np.ix_(groups, np.arange(vectors.shape[1]), kept[1])] = found
            return products

        return product.run(entering, gathered)

    return dataclasses.replace(product, parts=(compact,), run=run)


def _kept(used: Numbers) -> Numbers:
    """Return the places that are used; the first one if none is."""
    found = np.flatnonzero(used)
    return found if len(found) else np.zeros(1, dtype=np.int64)
