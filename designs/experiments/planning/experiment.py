"""Parts of the experiment on planning, each network and part with result files of its own, so that runs resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from designs.experiments.planning.committee import HOWS, NUMBERS, POOLS, plans_from_few
from designs.experiments.planning.coverage import POOL, coverage
from designs.experiments.planning.curves import curves
from designs.experiments.planning.networks import Data, MeasuredNetwork, network_makers
from designs.experiments.planning.networks import sentence_encoder as encoder_network
from designs.experiments.planning.predictions import budgets, predictions
from designs.experiments.planning.search import search
from designs.experiments.planning.speed import LARGE, large, speed
from designs.experiments.planning.structured import compaction, structured
from designs.experiments.planning.thresholds import thresholds
from designs.result_files import PLANNING_COLUMNS, planning_file
from designs.results import provenance, table_of, write_results
from designs.stages import Stages
from traces import InputError
from traces.files.images import load_idx_folder

Row = dict[str, Any]
PARTS = tuple(PLANNING_COLUMNS)
SPEED = "resnet_32"
_LARGE_NAMES = {"sentence_encoder": LARGE[0], "wide_layer": LARGE[1]}
_PREDICTED, _SEARCHED = ("lenet_5", "resnet_20"), ("lenet_5", "resnet_20", "ds_cnn", "lstm_tagger")
_CUT = ("lenet_5", "ds_cnn", "stories")
_STRUCTURED, _COMPACTED = ("lenet_300_100", "resnet_20", "stories"), ("ds_cnn", "resnet_20", "stories")
_STRUCTURED_ONLY = "lenet_300_100"
_LARGE_CUT = "sentence_encoder"
_DRAWS = {"lenet_5": 30, "lenet_5_own": 15, "embedding": 60, "lstm_tagger": 60, "autoencoder": 30, "anomaly_score": 20}
_DRAWS |= {"ds_cnn": 40, "resnet_8": 20, "resnet_20": 6, "stories": 0, "lenet_300_100": 0}
_DRAWS_AT_ONCE = 10


@dataclass(frozen=True)
class Effort:
    """Number of runs of each part.

    Attributes
    ----------
    trials, random_plans : int
        Trials of the black-box search, and random plans.
    draws : Mapping[str, int]
        Pools to draw, by network.
    pool : int
        Inputs of a drawn pool.
    committee_numbers : tuple of int
        Numbers of chosen inputs.
    committee_seeds : int
        Plans for each of them.
    speed_inputs, blocks : int
        Inputs of the timed plan, and blocks of each stage of its ResNet.
    large_inputs, width : int
        Inputs of the sentence encoder's plan, and of the wide layer.
    quick : bool
        True to shorten the methods' settings and the inputs of each network, too.
    """

    trials: int = 200
    random_plans: int = 200
    draws: Mapping[str, int] = field(default_factory=lambda: _DRAWS)
    pool: int = POOL
    committee_numbers: tuple[int, ...] = NUMBERS
    committee_seeds: int = 8
    speed_inputs: int = 1000
    blocks: int = 5
    large_inputs: int = 256
    width: int = 25_088
    quick: bool = False


QUICK = Effort(
    trials=3,
    random_plans=3,
    draws=dict.fromkeys(_DRAWS, 2),
    pool=64,
    committee_numbers=(16,),
    committee_seeds=1,
    speed_inputs=40,
    blocks=1,
    large_inputs=8,
    width=32,
    quick=True,
)


@dataclass(frozen=True)
class _Step:
    """One result file: its part, its name, its settings and what makes its rows."""

    part: str
    name: str
    settings: Mapping[str, Any]
    make: Callable[[], list[Row]]


def shortened(network: MeasuredNetwork) -> MeasuredNetwork:
    """Return a network with few settings and inputs, to try the experiment."""
    first = network.shown[1:2]
    return replace(
        network,
        bounds=first,
        with_thresholds=(),
        shown=first,
        number=min(network.number, 64),
        unseen=network.unseen[:200],
        labels=None if network.labels is None else network.labels[:200],
        densities=network.densities[::3],
        uniform=network.uniform[:1],
        widths=network.widths[-2:],
    )


def run_planning(
    data: Data,
    networks: Sequence[str] = (),
    parts: Sequence[str] = (),
    sentence_encoder: Path | None = None,
    effort: Effort | None = None,
) -> list[str]:
    """Run parts of the experiment on networks; an interrupted run resumes after its last finished result file.

    Parameters
    ----------
    data : Data
        Folders of the data and of the results.
    networks : sequence of str
        Names of networks, and of what is timed: resnet_32, sentence_encoder, wide_layer; all by default.
    parts : sequence of str
        Keys of PLANNING_COLUMNS; all by default.
    sentence_encoder : Path, optional
        Folder of all-MiniLM-L6-v2.
    effort : Effort, optional
        Number of runs of each part.

    Returns
    -------
    list of str
        Sentences about what was left out, and why.

    Raises
    ------
    InputError
        If a name is unknown, or its data are absent.
    """
    effort = effort or Effort()
    makers = network_makers(data)
    known = (*makers, SPEED, *_LARGE_NAMES)
    for what, names, allowed in (("networks", networks, known), ("parts", parts, PARTS)):
        unknown = sorted(set(names) - set(allowed))
        if unknown:
            raise InputError(
                f"{what} must be some of {', '.join(allowed)}{', whose data are here' if what == 'networks' else ''}; "
                f"found {', '.join(unknown)}"
            )
    left_out = [f"{name} is left out: its data are not in the folder" for name in _DRAWS if name not in makers]
    for name in networks or known:
        wanted = [part for part in _parts_of(name, effort) if not parts or part in parts]
        if not wanted:
            continue
        if name == "sentence_encoder" and sentence_encoder is None:
            left_out.append(f"{name} is left out: give the folder of all-MiniLM-L6-v2")
            continue
        if name == SPEED:
            _run(name, _speed_step(data, effort), data.folder)
        elif name in _LARGE_NAMES:
            if "large" in wanted:
                _run(name, _large_step(name, sentence_encoder, effort), data.folder)
            if "thresholds" in wanted and sentence_encoder is not None:
                run_network(encoder_network(sentence_encoder), ("thresholds",), data.folder, effort)
        else:
            network = shortened(makers[name]()) if effort.quick else makers[name]()
            run_network(network, wanted, data.folder, effort)
    return left_out


def run_network(network: MeasuredNetwork, parts: Sequence[str], folder: Path, effort: Effort) -> None:
    """Run parts of the experiment on one network, and leave their result files in a folder."""
    for part in parts:
        for step in _steps(network, part, folder, effort):
            _run(network.name, step, folder)


def _parts_of(name: str, effort: Effort) -> list[str]:
    """Return the parts that a network takes part in."""
    if name in _LARGE_NAMES or name == SPEED:
        parts = ["large" if name in _LARGE_NAMES else "speed"]
        return [*parts, "thresholds"] if name == _LARGE_CUT and not effort.quick else parts
    if name == _STRUCTURED_ONLY:
        return ["structured"]
    parts = ["predictions", "budgets"] if name in _PREDICTED else []
    parts += ["curves"] if name != "lenet_5_own" else []
    parts += ["structured"] if name in _STRUCTURED else []
    parts += ["compaction"] if name in _COMPACTED else []
    parts += ["thresholds"] if name in _CUT else []
    parts += ["search"] if name in _SEARCHED else []
    parts += ["coverage"] if effort.draws[name] else []
    return [*parts, "committee"] if name == "lenet_5" else parts


def _steps(network: MeasuredNetwork, part: str, folder: Path, effort: Effort) -> Iterator[_Step]:
    """Yield the result files of one part of a network."""
    origin = network.origin | {"seed": 0}
    bounds = {"bounds": network.bounds, "shown": network.shown, "uniform": network.uniform, "widths": network.widths}
    one = {"bound": network.search}
    if part == "curves":
        yield _Step(part, part, origin | bounds, partial(curves, network))
    elif part == "thresholds":
        settings = origin | {"bounds": network.with_thresholds or network.bounds, "widths": network.widths}
        yield _Step(part, part, settings, partial(thresholds, network))
    elif part == "structured":
        analyses = planning_file(folder, network.name, part).with_name("analyses")
        for minimise, bound in (
            *(("file_bytes", bound) for bound in network.shown[-2:]),
            ("latency_us", network.search),
        ):
            settings = origin | {"minimise": minimise, "bound": bound}
            make = partial(structured, network, minimise, bound, analyses)
            yield _Step(part, f"{minimise}_{bound:g}", settings, make)
    elif part == "compaction":
        yield _Step(part, part, origin, partial(compaction, network))
    elif part == "predictions":
        settings = origin | one | {"plans": effort.random_plans}
        yield _Step(part, part, settings, partial(predictions, network, effort.random_plans))
    elif part == "budgets":
        yield _Step(part, part, origin | one, partial(budgets, network))
    elif part == "search":
        journal = planning_file(folder, network.name, part).with_name("trials.journal")
        settings = origin | one | {"trials": effort.trials}
        yield _Step(part, part, settings, partial(search, network, journal, effort.trials))
    elif part == "coverage":
        for evaluation in (False, True) if network.own else (False,):
            for first in range(0, effort.draws[network.name], _DRAWS_AT_ONCE):
                seeds = range(first, min(first + _DRAWS_AT_ONCE, effort.draws[network.name]))
                name = f"{'evaluation' if evaluation else 'pool'}_{first}"
                settings = origin | one | {"seeds": list(seeds), "pool": effort.pool, "evaluation": evaluation}
                yield _Step(part, name, settings, partial(coverage, network, seeds, evaluation, effort.pool))
    else:
        seeds = range(effort.committee_seeds)
        for pool in POOLS:
            for number in effort.committee_numbers:
                for how in HOWS:
                    settings = origin | one | {"pool": pool, "number": number, "how": how, "seeds": list(seeds)}
                    name = f"{pool.replace(' ', '_')}_{number}_{how}"
                    yield _Step(part, name, settings, partial(plans_from_few, network, pool, how, number, seeds))


def _speed_step(data: Data, effort: Effort) -> _Step:
    """Return the step that times plans; the pool is of CIFAR-10 if it is here, otherwise random."""
    images = np.random.default_rng(0).random((effort.speed_inputs, 3072), dtype=np.float32)
    if data.cifar10 is not None and data.cifar10.exists():
        images = load_idx_folder(data.cifar10).train_images[: effort.speed_inputs]
    settings = {"inputs": effort.speed_inputs, "blocks": effort.blocks}
    return _Step("speed", "speed", settings, partial(speed, images, effort.blocks))


def _large_step(name: str, model: Path | None, effort: Effort) -> _Step:
    """Return the step that plans a large network."""
    settings = {"name": name, "inputs": effort.large_inputs, "width": effort.width}

    def make() -> list[Row]:
        return [large(_LARGE_NAMES[name], model, effort.large_inputs, effort.width)]

    return _Step("large", "large", settings, make)


def _run(network: str, step: _Step, folder: Path) -> None:
    path = planning_file(folder, network, step.part, step.name)
    with Stages(path.parent) as stages:

        def write(path: Path) -> None:
            rows = step.make()
            write_results(path, table_of(PLANNING_COLUMNS[step.part], rows), provenance(step.settings))

        stages.run(path.name, step.settings, write)
