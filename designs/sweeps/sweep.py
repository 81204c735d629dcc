"""A sweep: every layer of a compressed network on every design of a sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from designs.design import Design
from designs.results import provenance, read_results, read_results_bytes
from designs.space import Space
from designs.sweeps.batches import Batches, Finished, Source
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.folder import SWEEP_FILE, SweepFolder, check_whole, in_order, read_parts, whole_points
from designs.sweeps.progress import SweepProgress
from designs.sweeps.sampling import Sample, Sampling, sample
from designs.sweeps.totals import best_point
from designs.sweeps.workers import Here, Processes, Workers, finished_batches
from designs.sweeps.workload import Workload
from sim import ArrayConfig
from traces import InputError


def sweep(
    workload: Workload,
    space: Space | Sample | Sequence[Design],
    sampling: Sampling | None = None,
    folder: str | os.PathLike[str] | None = None,
    workers: int | Workers = 1,
    fresh: bool = False,
) -> pa.Table:
    """Simulate a network on every design of a sample: SWEEP_COLUMNS, a row for each design and layer, in order.

    workload   layers and what enters them
    space      what to sample; or a sample, or designs, as they are
    sampling   how to sample a space; all of it, if nothing is said
    folder     keeps every finished batch of points at once: the same call goes on where a killed one stopped, and
               gives the table of a finished one. None keeps nothing, and takes this process alone
    workers    processes on this machine, or `designs.sweeps.dask_workers.Cluster`; how many changes no row
    fresh      begin anew, whatever the folder holds

    The table is Arrow's: `.to_pandas()`, Polars and others take it as a data frame. A design that does not run a layer
    (`fits`, `lacking`) has rows without figures. Raises InputError if a design is there twice or cannot read the
    network's codes, the space varies its compression, or the folder holds another sweep or cannot be written, or loses
    points while it is written.
    """
    chosen = _sample(workload, space, sampling)
    crew = (Here() if workers == 1 else Processes(workers)) if isinstance(workers, int) else workers
    origin = sweep_origin(workload, chosen)
    if folder is None:
        if crew.apart:
            raise InputError("workers apart share arrays through files; give the sweep a folder")
        parts: list[pa.Table] = []
        source = Source(workload, None, chosen.must_fit, origin)
        _run(chosen.designs, in_order([]), crew, source, lambda each: parts.append(read_results_bytes(each.part)))
        table = whole_points(parts, origin)
        check_whole(table, origin, workload.name)
        return table
    with SweepFolder(Path(folder), origin, fresh) as kept:
        before = kept.finished()
        if before.num_rows < len(chosen.designs) * len(workload.layers):
            where: Path | Workload = kept.share(workload) if crew.apart else workload
            source = Source(where, kept.packed if crew.apart else None, chosen.must_fit, kept.origin)
            _run(chosen.designs, before, crew, source, lambda each: kept.keep(each.batch.numbers[0], each.part))
        return kept.finish()


def sweep_origin(workload: Workload, chosen: Sample) -> dict[str, Any]:
    """What makes a sweep: its settings with the sampling's seed, the versions, a digest of the sources."""
    settings = {
        "workload": {"name": workload.name, "digest": workload.digest, "layers": list(workload.layer_names)},
        "points": len(chosen.designs),
        "must_fit": chosen.must_fit,
        **chosen.origin,
    }
    return provenance(settings)


def read_sweep(path: str | os.PathLike[str]) -> tuple[pa.Table, dict[str, Any]]:
    """A sweep's rows and origin: from its file, or its folder, where it may be unfinished.

    Raises InputError if there is none, or it is damaged.
    """
    path = Path(path)
    if path.is_dir() and not (path / SWEEP_FILE).exists():
        table = read_parts(path / "parts")
        if not table.num_rows:
            raise InputError(f"{path}: holds no finished point of a sweep; make one with python -m designs sweep")
        first = next((path / "parts").glob("*.parquet"))
        return table, read_results(first, SWEEP_COLUMNS)[1]
    return read_results(path / SWEEP_FILE if path.is_dir() else path, SWEEP_COLUMNS)


def _sample(workload: Workload, space: Space | Sample | Sequence[Design], sampling: Sampling | None) -> Sample:
    if isinstance(space, Space):
        if space.compression:
            raise InputError(
                "a sweep runs one compressed network, so its space has no compression; leave it out, or search both "
                "together with codesign"
            )
        chosen = sample(space, sampling)
    elif sampling is not None:
        raise InputError("sampling has no effect on designs that are given one by one; leave it out")
    else:
        chosen = space if isinstance(space, Sample) else Sample(tuple(space), origin={"designs": _listed(space)})
    if not chosen.designs or len(set(chosen.designs)) < len(chosen.designs):
        found = "one twice" if chosen.designs else "none"
        raise InputError(f"every design point must be there once; found {found}")
    narrowest = min(chosen.designs, key=lambda design: design.array.weight_bits).array
    for each in workload.layers:
        if each.layer.weight_bits > narrowest.weight_bits:
            raise InputError(
                f"layer {each.layer.name!r} has codes of {each.layer.weight_bits} bits and a design reads weight_bits="
                f"{narrowest.weight_bits}; give every array weight_bits={each.layer.weight_bits} or more"
            )
    return chosen


def _listed(designs: Sequence[Design]) -> list[Any]:
    """What of each design is not the paper's."""
    paper = vars(ArrayConfig())
    return [
        {name: value for name, value in vars(each.array).items() if value != paper[name]}
        | ({"row_assignment": each.row_assignment} if each.row_assignment != "interleaved" else {})
        for each in designs
    ]


def _run(
    designs: Sequence[Design],
    before: pa.Table,
    workers: Workers,
    source: Source,
    keep: Callable[[Finished], object],
) -> None:
    """Have all designs done that are not among the rows `before`; each finished batch is kept before it counts."""
    done = frozenset(before["point"].to_pylist())
    with workers.start(source) as crew, SweepProgress(len(designs), len(done), best_point(before)) as progress:
        batches = Batches(designs, done, crew.workers)
        for finished in finished_batches(batches, crew, source.packed):
            keep(finished)
            progress.add(len(finished.batch.numbers), finished.best)
