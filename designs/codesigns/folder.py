"""What the folder of a co-design holds, finished or not; PyTorch is not needed to look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa

from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE, TRIAL_COLUMNS, TRIALS_FILE
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.storage import JOURNAL_FILE, open_storage
from designs.codesigns.trials import ORIGIN, StudyTrial, read_trials, trials_table
from designs.results import read_results
from traces import InputError


@dataclass(frozen=True, eq=False)
class StudyResults:
    """What a study has found so far.

    trials    TRIAL_COLUMNS, of the journal where there is one, so that trials of a killed or a running process count
    front     FRONT_COLUMNS; None: nothing is verified yet
    layers    LAYER_COLUMNS, of the members of the front; None: no result file has them
    origin    settings, versions and digest of the sources of the newest result file; of a study without any, the
              settings that its journal has
    """

    folder: Path
    trials: pa.Table
    front: pa.Table | None
    layers: pa.Table | None
    origin: dict[str, Any]

    @property
    def objectives(self) -> list[str]:
        """What the study minimises."""
        return list(self.origin["settings"]["search"]["objectives"])


def read_study(folder: Path) -> StudyResults:
    """Read what is there. Raises InputError if that is no finished trial, or a file is damaged or of another kind."""
    origin: dict[str, Any] = {}
    trials = front = layers = None
    if (folder / TRIALS_FILE).exists():
        trials, origin = read_results(folder / TRIALS_FILE, TRIAL_COLUMNS)
    if (folder / FRONT_FILE).exists():
        front, origin = read_results(folder / FRONT_FILE, FRONT_COLUMNS)
    if front is not None and (folder / LAYERS_FILE).exists():
        layers, _ = read_results(folder / LAYERS_FILE, LAYER_COLUMNS)
    if (folder / JOURNAL_FILE).exists():
        kept, settings = _of_journal(folder)
        origin = origin or {"settings": settings, "versions": {}, "sources": ""}
        if kept:
            trials = trials_table(kept, settings["search"]["objectives"])
    if trials is None:
        raise InputError(
            f"{folder}: holds no trial of a co-design, neither {TRIALS_FILE} nor a {JOURNAL_FILE} with a finished one; "
            f"make it with python -m designs codesign SPACE.toml --out {folder}"
        )
    return StudyResults(folder, trials, front, layers, origin)


def _of_journal(folder: Path) -> tuple[list[StudyTrial], dict[str, Any]]:
    """Finished trials and settings of the study in the journal of a folder."""
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
    except Exception as error:  # whatever Optuna raises where a journal is damaged
        raise InputError(f"{path}: must be a study as python -m designs codesign keeps it; found: {error}") from error
