"""Screen about the front of a sweep or a co-design, read from its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE, TRIAL_COLUMNS, TRIALS_FILE, loss_of
from designs.codesigns.search import FIGURES, LOSSES
from designs.results import read_results
from designs.screens.codesign import print_network, print_predicted, print_verified
from designs.screens.sweep import print_sweep
from designs.sweeps.sweep import read_sweep
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
    if result.is_dir() and any((result / name).exists() for name in (FRONT_FILE, TRIALS_FILE)):
        if fitting:
            raise InputError("fitting applies to the front of a sweep; a co-design has must_fit in its space instead")
        unknown = sorted(set(objectives) - set(FIGURES))
        if unknown:
            known = ", ".join(FIGURES)
            raise InputError(f"objectives of a co-design must be among {known}; found {', '.join(unknown)}")
        verified = (result / FRONT_FILE).exists()
        file, columns = (FRONT_FILE, FRONT_COLUMNS) if verified else (TRIALS_FILE, TRIAL_COLUMNS)
        table, origin = read_results(result / file, columns)
        figure, lost = loss_of(origin["settings"])
        other = sorted(set(objectives) & set(LOSSES) - {figure})
        if other:
            raise InputError(f"the loss of this co-design is {figure}, the {lost}; found {other[0]}; take {figure}")
        print_network(origin["settings"])
        if verified:
            print_verified(table, objectives, origin["settings"]["search"]["objectives"])
        else:
            print_predicted(table, objectives)
        return
    unknown = sorted(set(objectives) - set(get_args(Objective)))
    if unknown:
        known = ", ".join(get_args(Objective))
        raise InputError(f"objectives of a sweep must be among {known}; found {', '.join(unknown)}")
    print_sweep(read_sweep(result)[0], cast(Sequence[Objective], objectives), fitting)
