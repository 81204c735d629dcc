"""A plan beside a black-box search over the same choices, at the same loss on the same pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.container.model import CompressedModel
from compress.planning.plan import Choice
from designs.experiments.planning.measuring import Judge, compressed, planned, runs_over_pool, tolerance_of
from designs.experiments.planning.networks import MeasuredNetwork
from traces import InputError
from traces.files.checksums import checked_values, with_checksum
from traces.shell.progress import progress_bar

Row = dict[str, Any]
_RECORD = "record"  # of a trial, with its checksum


def search(network: MeasuredNetwork, journal: Path, trials: int, seed: int = 0) -> list[Row]:
    """Compare a plan with trials of Optuna's TPE over the same choices, at the plan's loss on the pool.

    Parameters
    ----------
    network : MeasuredNetwork
        Network.
    journal : Path
        File of the finished trials, from which an interrupted search resumes.
    trials : int
        Trials of the search.
    seed : int
        Seed of the plan and of the search.

    Raises
    ------
    InputError
        If the file cannot be read, or a trial in it was changed.
    """
    import optuna

    from designs.codesigns.storage import open_storage

    plan = planned(network, tolerance_of(network, network.search), seed=seed)
    pool = Judge(plan, network.pool)
    unseen = Judge(plan, network.unseen, network.labels)
    model = compressed(plan, plan)
    bound = pool.loss(model)

    def row(method: str, evaluations: float, model: CompressedModel | None) -> Row:
        found: Row = {"network": network.name, "loss": network.loss, "method": method, "evaluations": evaluations}
        found |= {"bound": bound, "size_bytes": -1, "pool_loss": -1.0, "unseen_loss": -1.0, "accuracy": -1.0}
        if model is not None:
            found |= {"size_bytes": model.size_bytes, "pool_loss": pool.loss(model), "unseen_loss": unseen.loss(model)}
            found |= {"accuracy": unseen.accuracies(model)[0]}
        return found

    rows = [row("planned", runs_over_pool(plan, plan, network.pool), model)]
    names = [layer.name for layer in plan.planner.layers]

    def candidate(values: Mapping[str, Any]) -> CompressedModel:
        choices = {name: Choice(values[f"{name} density"], values[f"{name} weight_bits"]) for name in names}
        return plan.planner.compress(plan.planned.module, choices)

    def objective(trial: optuna.Trial) -> float:
        for name in names:
            trial.suggest_categorical(f"{name} density", network.densities)
            trial.suggest_int(f"{name} weight_bits", min(network.weight_bits), max(network.weight_bits))
        tried = candidate(trial.params)
        loss = pool.loss(tried)
        trial.set_constraint("loss", loss - bound)
        trial.set_user_attr(_RECORD, with_checksum(_record(trial.params, tried.size_bytes, loss <= bound)))
        advance()
        return float(tried.size_bytes)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=open_storage(journal.parent, str(journal)),
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True),
        study_name=f"{network.name} {bound!r}",
        load_if_exists=True,
    )
    finest = {f"{name} density": max(network.densities) for name in names}
    study.enqueue_trial(
        finest | {f"{name} weight_bits": max(network.weight_bits) for name in names}, skip_if_exists=True
    )
    complete = (optuna.trial.TrialState.COMPLETE,)
    left = trials - len(study.get_trials(states=complete))
    with progress_bar(f"black-box search on {network.name}", max(left, 0)) as advance:
        if left > 0:
            study.optimize(objective, n_trials=left)
    best_size, best = -1, {}
    for number, trial in enumerate(study.get_trials(states=complete)):
        record = checked_values(trial.user_attrs.get(_RECORD))
        if record is None or record["params"] != trial.params or record["size_bytes"] != trial.value:
            raise InputError(
                f"{journal}: trial {trial.number} must be as it was written; remove the file to begin anew"
            )
        size = int(record["size_bytes"])
        if record["kept"] and (best_size < 0 or size < best_size):
            best_size, best = size, trial.params
        rows.append(row("black box", number + 1.0, None) | {"size_bytes": best_size})
    if best:
        rows[-1] = row("black box", rows[-1]["evaluations"], candidate(best))
    return rows


def _record(params: Mapping[str, Any], size_bytes: int, kept: bool) -> dict[str, Any]:
    return {"params": dict(params), "size_bytes": size_bytes, "kept": bool(kept)}
