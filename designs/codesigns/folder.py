"""Reading the folder of a co-design, finished or not; PyTorch is not needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa

from designs.codesigns.columns import (
    DESIGN_COLUMNS,
    DESIGNS_FILE,
    FRONT_COLUMNS,
    FRONT_FILE,
    TRIAL_COLUMNS,
    TRIALS_FILE,
)
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.search import FIGURES
from designs.codesigns.storage import JOURNAL_FILE, open_storage
from designs.codesigns.trials import ORIGIN, StudyTrial, designs_table, read_trials, trials_table
from designs.results import Column, read_results, schema_of
from traces import InputError


@dataclass(frozen=True, eq=False)
class StudyResults:
    """Results of a study so far.

    Attributes
    ----------
    folder : Path
        Folder of the results.
    trials : pyarrow.Table
        TRIAL_COLUMNS, from the journal if there is one, so that the trials of a killed or running process count.
    designs : pyarrow.Table
        DESIGN_COLUMNS: the predicted front. It is corrected by what was measured if the study is finished.
    front : pyarrow.Table, optional
        FRONT_COLUMNS. None: no design is verified yet.
    layers : pyarrow.Table, optional
        LAYER_COLUMNS of the members of the front. None: no file has them.
    origin : dict
        Settings, versions and digest of the sources of the newest result file; without one, the journal's settings.
    """

    folder: Path
    trials: pa.Table
    designs: pa.Table
    front: pa.Table | None
    layers: pa.Table | None
    origin: dict[str, Any]

    @property
    def objectives(self) -> list[str]:
        """Names of the objectives."""
        return list(self.origin["settings"]["search"]["objectives"])


def read_study(folder: str | os.PathLike[str]) -> StudyResults:
    """Read the folder of a co-design, finished or not.

    Parameters
    ----------
    folder : path
        Folder of the results.

    Returns
    -------
    StudyResults
        Trials, front and layers so far.

    Raises
    ------
    InputError
        If there is no finished trial, or a file is damaged, of another kind or of another study than the others.
    """
    folder = Path(folder)
    origins: dict[str, dict[str, Any]] = {}

    def read(name: str, columns: Sequence[Column]) -> pa.Table | None:
        if not (folder / name).exists():
            return None
        table, origins[name] = read_results(folder / name, columns)
        return table

    trials, designs = read(TRIALS_FILE, TRIAL_COLUMNS), read(DESIGNS_FILE, DESIGN_COLUMNS)
    front = read(FRONT_FILE, FRONT_COLUMNS)
    layers = None if front is None else read(LAYERS_FILE, LAYER_COLUMNS)
    if front is not None:
        _check_together(folder, origins, front, designs, layers)
    _check_one_study(folder, origins)
    origin = next((origins[name] for name in (FRONT_FILE, DESIGNS_FILE, TRIALS_FILE) if name in origins), {})
    if (folder / JOURNAL_FILE).exists():
        finished, settings, sources = _of_journal(folder)
        _check_one_study(folder, {JOURNAL_FILE: {"settings": settings}, **origins} if settings else origins)
        origin = origin or {"settings": settings, "versions": {}, "sources": sources}
        if finished and (trials is None or trials.num_rows < len(finished)):
            trials = trials_table(finished, settings["search"]["objectives"])
            designs = designs_table(finished, settings["search"]["objectives"])
    if trials is None:
        raise InputError(
            f"{folder}: must hold a finished trial of a co-design, in {TRIALS_FILE} or {JOURNAL_FILE}; found none; "
            f"run a co-design first (designs.codesign, or python -m designs codesign)"
        )
    designs = schema_of(DESIGN_COLUMNS).empty_table() if designs is None else designs
    return StudyResults(folder, trials, designs, front, layers, origin)


_OF_STUDY = ("space", "network", "target")  # settings by which studies differ, with objectives and bounds


def _check_one_study(folder: Path, origins: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise InputError if the files of a folder, with their origins by name, are not of one study."""
    first: tuple[str, Any] | None = None
    for name, origin in origins.items():
        try:
            settings = origin["settings"]
            study = (
                [settings.get(key) for key in _OF_STUDY],
                *(settings["search"][key] for key in ("objectives", "bounds")),
            )
            if set(study[1]) - set(FIGURES):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(
                f"{folder / name}: must state the settings of its co-design; run the co-design again"
            ) from None
        first = first or (name, study)
        if study != first[1]:
            raise InputError(
                f"{folder / name}: must be of the same study as {first[0]} beside it; it is of another one; run the "
                f"co-design again, or restore the file"
            )


def _check_together(
    folder: Path, origins: Mapping[str, Any], front: pa.Table, designs: pa.Table | None, layers: pa.Table | None
) -> None:
    """Raise InputError if files that one run has written beside the front have not its members.

    A search that goes on writes its designs anew, and the front of before stays until it is finished.
    """
    members = set(front["digest"].to_pylist())
    if designs is not None and origins[DESIGNS_FILE] == origins[FRONT_FILE]:
        marked = zip(designs["digest"].to_pylist(), designs["verified"].to_pylist(), strict=True)
        if {digest for digest, verified in marked if verified} != members:
            raise _not_together(folder, DESIGNS_FILE)
    if layers is not None and set(layers["digest"].to_pylist()) != members:
        raise _not_together(folder, LAYERS_FILE)


def _not_together(folder: Path, name: str) -> InputError:
    return InputError(
        f"{folder / name}: must have the members of {FRONT_FILE} beside it; it has others; run the co-design again, or "
        f"restore the file"
    )


def _of_journal(folder: Path) -> tuple[list[StudyTrial], dict[str, Any], str]:
    """Return the finished trials, the settings and the sources of the study in the journal of a folder."""
    path = folder / JOURNAL_FILE
    try:
        storage = open_storage(folder)
        names = optuna.get_all_study_names(storage)
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        ours = [study for study in studies if ORIGIN in study.user_attrs]
        if len(ours) > 1:
            raise InputError(f"{path}: holds {len(ours)} studies, {', '.join(names)}; give each a folder of its own")
        if not ours:
            return [], {}, ""
        settings = dict(ours[0].user_attrs[ORIGIN])
        return read_trials(ours[0]), settings, str(settings.pop("sources", ""))
    except InputError:
        raise
    except Exception as error:  # Optuna may raise anything if a journal is damaged
        raise InputError(f"{path}: must be the study of a co-design; found: {error}") from error
