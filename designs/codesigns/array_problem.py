"""Problem as the enumeration of all arrays needs it, and one that other processes can hold: no PyTorch, no network."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from compress.planning.plan import Candidate, Choice
from designs.codesigns.array_cost import ProductCall
from designs.codesigns.layer_counts import CountsGrid, LayerCounts
from designs.codesigns.loss_prediction import LossPrediction
from designs.codesigns.point import CodesignPoint
from designs.codesigns.proposals import CompressionSpace
from designs.codesigns.search import FIGURES, LOSSES, Figure, Search
from designs.space import Space
from sim import ArrayConfig
from sim.array_table import ArrayTable
from sim.config import Precision
from sim.cost.timing import timing
from traces import InputError


class ArrayProblem(Protocol):
    """Problem whose arrays can be enumerated for any compression.

    Attributes
    ----------
    space : Space
        Space of the arrays.
    search : Search
        Objectives and bounds.
    loss_figure : str
        Figure that is the loss.
    calls : tuple of ProductCall
        Calls of the products of compressed layers for one input, in order.
    live_words : int
        Largest number of activations of one input that are alive at once.
    """

    space: Space
    search: Search
    loss_figure: Figure
    calls: tuple[ProductCall, ...]
    live_words: int

    def layer_counts(self, name: str, choice: Choice, *grids: CountsGrid) -> LayerCounts:
        """Return the counts of a layer, compressed by a choice, on the arrays of some grids (`ArrayCost`)."""

    def compressed(self, choices: Mapping[str, Choice], precision: Precision) -> tuple[float, float]:
        """Return the predicted loss of a compression in the arithmetic of a precision, and the bytes of its file."""

    def loading_point(self, values: Mapping[str, Any], choices: Mapping[str, Choice]) -> CodesignPoint:
        """Return the design of an array that loads weights; raise InputError if it cannot be or run the network."""

    @property
    def figure_names(self) -> tuple[Figure, ...]:
        """Names of the figures of a design."""
        return tuple(name for name in FIGURES if name not in LOSSES or name == self.loss_figure)

    def excesses(self, figures: Mapping[str, Any], lacking: Any, array: ArrayConfig | ArrayTable) -> dict[str, Any]:
        """Return the relative violation of each bound and constraint; <= 0 if it is kept.

        Figures, `lacking` (the network does not fit whole) and `array` are those of one design, or columns of many.
        """
        excesses = {name: figures[name] / bound - 1 for name, bound in self.search.bounds.items()}
        excesses["clock_mhz"] = array.clock_mhz / timing(array).highest_clock_mhz - 1
        constraints = self.space.constraints
        if constraints.max_area_mm2 is not None:
            excesses["max_area_mm2"] = figures["area_mm2"] / constraints.max_area_mm2 - 1
        if constraints.must_fit:
            excesses["must_fit"] = lacking * 1.0
        if constraints.whole_lines:
            excesses["whole_lines"] = (array.line_bits % array.entry_bits > 0) * 1.0
        return excesses


@dataclass(frozen=True, eq=False)
class PortableProblem(ArrayProblem):
    """Problem of which everything that arrays need has been counted, so that other processes can enumerate them.

    Attributes
    ----------
    space, search, loss_figure, calls, live_words
        As in `ArrayProblem`. No array of the space loads weights.
    compressions : CompressionSpace
        The compressions that can be enumerated.
    predictions : mapping of str to LossPrediction
        Prediction of the loss in each precision of the space.
    other_bytes : float
        Bytes of the file besides the compressed layers.
    counts : mapping of (str, Choice, str) to LayerCounts
        Counts by layer, choice and precision.
    """

    space: Space
    search: Search
    loss_figure: Figure
    calls: tuple[ProductCall, ...]
    live_words: int
    compressions: CompressionSpace
    predictions: Mapping[Precision, LossPrediction]
    other_bytes: float
    counts: Mapping[tuple[str, Choice, Precision], LayerCounts]
    _candidates: dict[tuple[str, Choice], Candidate] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        space = self.compressions
        for name, of_layer in zip(space.names, space.candidates, strict=True):
            self._candidates.update({(name, each.choice): each for each in of_layer})

    def layer_counts(self, name: str, choice: Choice, *grids: CountsGrid) -> LayerCounts:
        """Return the counts of a layer on a part of what was counted.

        Raises
        ------
        InputError
            If some of it was not counted.
        """
        counts, grid = self.counts[name, choice, grids[0].precision], functools.reduce(operator.or_, grids)
        if not all(map(counts.knows, grids)):
            raise InputError(
                f"{name}: every broadcast that an array of the space can have must be counted before arrays are "
                f"enumerated elsewhere; found one of {max(grid.broadcast_cycles)} cycles with {choice}, which was not; "
                f"enumerate in one process (workers=1)"
            )
        return counts.part(grid)

    def compressed(self, choices: Mapping[str, Choice], precision: Precision) -> tuple[float, float]:
        """Return the predicted loss of a compression in the arithmetic of a precision, and the bytes of its file."""
        chosen = [self._candidates[name, choices[name]] for name in self.compressions.names]
        file_bytes = sum(each.costs["file_bytes"] for each in chosen) + self.other_bytes
        return self.predictions[precision].loss(sum(each.change for each in chosen)), file_bytes

    def loading_point(self, values: Mapping[str, Any], choices: Mapping[str, Choice]) -> CodesignPoint:
        """Raise RuntimeError: such an array is simulated, which takes the network."""
        raise RuntimeError(f"an array that loads weights cannot be costed without the network; found {dict(values)}")
