"""Settings of a search: objectives, bounds, trials and sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from traces import InputError

Figure = Literal["accuracy_loss", "latency_us", "energy_nj", "area_mm2", "file_bytes"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
Sampler = Literal["tpe", "nsga2", "nsga3"]


@dataclass(frozen=True)
class Search:
    """Settings of the search for designs.

    Attributes
    ----------
    objectives : tuple of str
        Figures to minimise: accuracy_loss, latency_us, energy_nj, area_mm2, file_bytes.
    bounds : mapping of str to float
        Upper bounds on figures; they need not be objectives.
    trials : int
        Designs to try, all processes together.
    sampler : {"tpe", "nsga2", "nsga3"}
        Sampler of Optuna: tpe for a few hundred trials; nsga2 and nsga3, which take less time per trial, for thousands.
    seed : int
        Seed of the sampler and of the analysis.
    fit_srams : bool
        Give every PE the smallest SRAMs that hold each compressed layer whole. False: the space gives the SRAMs.
    verify : int
        Largest number of members of the front to compress and measure.

    Raises
    ------
    InputError
        If a value is out of its range, or a name is unknown.
    """

    objectives: tuple[Figure, ...] = ("accuracy_loss", "latency_us", "energy_nj", "area_mm2")
    bounds: Mapping[str, float] = field(default_factory=dict)
    trials: int = 300
    sampler: Sampler = "tpe"
    seed: int = 0
    fit_srams: bool = True
    verify: int = 40

    def __post_init__(self) -> None:
        objectives = tuple(self.objectives)
        if not objectives or len(set(objectives)) < len(objectives) or set(objectives) - set(FIGURES):
            raise InputError(
                f"objectives must be one or more of {', '.join(FIGURES)}, each once; found "
                f"{', '.join(map(str, objectives)) or 'none'}"
            )
        for name, bound in self.bounds.items():
            if name not in FIGURES:
                raise InputError(f"bounds: there is no {name}; there are {', '.join(FIGURES)}")
            if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < math.inf:
                raise InputError(f"the bound of {name} must be a number above 0; found {bound!r}")
        if self.sampler not in get_args(Sampler):
            raise InputError(f"sampler must be one of {', '.join(get_args(Sampler))}; found {self.sampler!r}")
        for name, least in (("trials", 1), ("verify", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
                raise InputError(f"{name} must be a whole number of at least {least}; found {value!r}")
        object.__setattr__(self, "objectives", objectives)
        object.__setattr__(self, "bounds", dict(self.bounds))
