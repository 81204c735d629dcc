"""Screen about the front of a sweep or a co-design, read from its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from designs.codesigns.columns import FRONT_FILE, TRIALS_FILE, loss_of
from designs.codesigns.folder import read_study
from designs.codesigns.search import FIGURES, LOSSES
from designs.codesigns.storage import JOURNAL_FILE
from designs.screens.codesign import print_network, print_predicted, print_quality, print_verified
from designs.screens.sweep import print_sweep
from designs.sweeps.folder import SweepReader
from designs.sweeps.totals import Objective
from traces import InputError


def print_front(result: Path, objectives: Sequence[str], fitting: bool = False) -> None:
    """Print the Pareto-optimal designs of a sweep or a co-design.

    Parameters
    ----------
    result : Path
        Folder or file of a sweep, or folder of a co-design.
    objectives : sequence of str
        Costs to minimise.
    fitting : bool
        Exclude designs of a sweep whose SRAMs do not hold every layer.

    Raises
    ------
    InputError
        If there is no such result, an objective is unknown, or no design is left.
    """
    if result.is_dir() and any((result / name).exists() for name in (FRONT_FILE, TRIALS_FILE, JOURNAL_FILE)):
        if fitting:
            raise InputError("fitting applies to the front of a sweep; a co-design has must_fit in its space instead")
        unknown = sorted(set(objectives) - set(FIGURES))
        if unknown:
            known = ", ".join(FIGURES)
            raise InputError(f"objectives of a co-design must be among {known}; found {', '.join(unknown)}")
        study = read_study(result)
        settings = study.origin["settings"]
        figure, lost = loss_of(settings)
        other = sorted(set(objectives) & set(LOSSES) - {figure})
        if other:
            raise InputError(f"the loss of this co-design is {figure}, the {lost}; found {other[0]}; take {figure}")
        if study.front is None and not study.designs.num_rows:
            raise InputError(
                f"{result}: no design of {study.trials.num_rows:,} compressions keeps all bounds so far; run the same "
                f"co-design again to continue it, or relax the bounds"
            )
        print_network(settings)
        if study.front is not None:
            print_verified(study.front, objectives, study.objectives)
            print_quality(settings)
        else:
            print_predicted(study.designs, objectives, study.trials.num_rows)
        return
    unknown = sorted(set(objectives) - set(get_args(Objective)))
    if unknown:
        known = ", ".join(get_args(Objective))
        raise InputError(f"objectives of a sweep must be among {known}; found {', '.join(unknown)}")
    print_sweep(SweepReader(result), cast(Sequence[Objective], objectives), fitting)
