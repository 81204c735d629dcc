"""Reading the folder of a co-design, finished or not; PyTorch is not needed."""

from __future__ import annotations

import os
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
from designs.codesigns.storage import JOURNAL_FILE, open_storage
from designs.codesigns.trials import ORIGIN, StudyTrial, designs_table, read_trials, trials_table
from designs.results import read_results, schema_of
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
        If there is no finished trial, or a file is damaged or of another kind.
    """
    folder = Path(folder)
    origin: dict[str, Any] = {}
    trials = designs = front = layers = None
    if (folder / TRIALS_FILE).exists():
        trials, origin = read_results(folder / TRIALS_FILE, TRIAL_COLUMNS)
    if (folder / DESIGNS_FILE).exists():
        designs, origin = read_results(folder / DESIGNS_FILE, DESIGN_COLUMNS)
    if (folder / FRONT_FILE).exists():
        front, origin = read_results(folder / FRONT_FILE, FRONT_COLUMNS)
    if front is not None and (folder / LAYERS_FILE).exists():
        layers, _ = read_results(folder / LAYERS_FILE, LAYER_COLUMNS)
    if (folder / JOURNAL_FILE).exists():
        finished, settings = _of_journal(folder)
        origin = origin or {"settings": settings, "versions": {}, "sources": ""}
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


def _of_journal(folder: Path) -> tuple[list[StudyTrial], dict[str, Any]]:
    """Return the finished trials and the settings of the study in the journal of a folder."""
    path = folder / JOURNAL_FILE
    try:
        storage = open_storage(folder)
        names = optuna.get_all_study_names(storage)
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        ours = [study for study in studies if ORIGIN in study.user_attrs]
        if len(ours) > 1:
            raise InputError(f"{path}: holds {len(ours)} studies, {', '.join(names)}; give each a folder of its own")
        return (read_trials(ours[0]), ours[0].user_attrs[ORIGIN]) if ours else ([], {})
    except InputError:
        raise
    except Exception as error:  # Optuna may raise anything if a journal is damaged
        raise InputError(f"{path}: must be the study of a co-design; found: {error}") from error
