"""Settings of a search: objectives, bounds, compressions to try and designs to verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from compress.planning.losses import Loss, loss_name
from designs.sweeps.recorded import LARGEST_ERROR
from traces import InputError
from traces.plain_values import mapping, number_as_given, one_of, sequence, true_or_false, whole_number

Figure = Literal["accuracy_loss", "output_error", "latency_us", "energy_nj", "area_mm2", "file_bytes"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
LOSSES: tuple[Figure, ...] = ("accuracy_loss", "output_error")
"""Figures of which a network has one: a share of answers, or any other change of its outputs."""
DRAWS = 200
"""Draws of the cost model's constants unless another number is given (`designs.codesigns.uncertainty`)."""


def figure_of(loss: Loss) -> Figure:
    """Return the figure of a design that is this loss: accuracy_loss or output_error."""
    return "accuracy_loss" if loss.of_answers else "output_error"


@dataclass(frozen=True)
class Search:
    """Settings of the search for designs.

    Attributes
    ----------
    objectives : tuple of str
        Figures to minimise: accuracy_loss or output_error, latency_us, energy_nj, area_mm2, file_bytes. The default
        takes the loss that is measured.
    bounds : mapping of str to float
        Upper bounds on figures; they need not be objectives.
    trials : int
        Compressions to try, all processes together; each with every array of the space.
    exhaustive : bool
        Try every compression besides, so that the front is the true one, and state how much of it the trials found.
    seed : int
        Seed of the choice of compressions, and of the analysis.
    fit_srams : bool
        Give every PE the smallest SRAMs that hold each compressed layer whole. False: the space gives the SRAMs.
    verify : int
        Largest number of members of the front to compress and measure.
    settled : float
        Share of the front's hypervolume that may hang on members that are not measured: fewer than `verify` members are
        measured if it is reached before; 0 to measure as many as `verify` says.
    loss : str
        What is lost, as `compress.Tolerance` takes it: accuracy and answers are accuracy_loss; kl, cosine,
        relative-error and package.module:function are output_error. auto: it follows from labels, outputs and graph.
    sampling_error : float
        Largest relative error of each layer's predicted cycles and energy because a sample of its vectors is simulated,
        at a confidence level of 95 %; 0 to simulate all recorded vectors.

    Raises
    ------
    InputError
        If a value is out of its range, or a name is unknown.
    """

    objectives: tuple[Figure, ...] = ("accuracy_loss", "latency_us", "energy_nj", "area_mm2")
    bounds: Mapping[str, float] = field(default_factory=dict)
    trials: int = 200
    exhaustive: bool = False
    seed: int = 0
    fit_srams: bool = True
    verify: int = 40
    settled: float = 0.05
    loss: str = "auto"
    sampling_error: float = LARGEST_ERROR

    def __post_init__(self) -> None:
        objectives = tuple(one_of("an objective", name, FIGURES) for name in sequence("objectives", self.objectives))
        if not objectives or len(set(objectives)) < len(objectives):
            raise InputError(
                f"objectives must be one or more of {', '.join(FIGURES)}, each once; found "
                f"{', '.join(objectives) or 'none'}"
            )
        bounds = {
            one_of("the figure of a bound", name, FIGURES): number_as_given(f"the bound of {name}", bound, above=0)
            for name, bound in mapping("bounds", self.bounds).items()
        }
        object.__setattr__(self, "objectives", objectives)
        object.__setattr__(self, "bounds", bounds)
        for name, least in (("trials", 1), ("verify", 1), ("seed", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least, 2**31 - 1))
        for name in ("exhaustive", "fit_srams"):
            object.__setattr__(self, name, true_or_false(name, getattr(self, name)))
        for name in ("settled", "sampling_error"):
            value = number_as_given(name, getattr(self, name))
            if not 0 <= value < 1:
                raise InputError(f"{name} must be a share, 0 to below 1; found {value}")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "loss", loss_name(self.loss))

    @property
    def most_loss(self) -> float | None:
        """Bound on the loss, if there is one."""
        return next((bound for name, bound in self.bounds.items() if name in LOSSES), None)

    def of_loss(self, figure: Figure, lost: str) -> Search:
        """Return the search with the figure of the loss that is measured.

        Parameters
        ----------
        figure : str
            accuracy_loss or output_error.
        lost : str
            Description of the loss, for the error.

        Raises
        ------
        InputError
            If the other figure has a bound, or is an objective that was asked for.
        """
        other = [name for name in LOSSES if name != figure]
        objectives: tuple[Figure, ...] = tuple(figure if name in other else name for name in self.objectives)
        asked = set(self.objectives) if self.objectives != Search.objectives else set()
        wrong = sorted((asked | set(self.bounds)) & set(other))
        if wrong:
            raise InputError(
                f"{wrong[0]} is not measured for this network, but {figure}: {lost}; bound and minimise {figure}, or "
                f"give another loss"
            )
        return replace(self, objectives=objectives)
