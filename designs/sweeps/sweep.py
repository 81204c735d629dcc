"""Sweeps: simulation of every layer of a compressed network on every design (point) of a sample."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.design import Design
from designs.results import RESULTS_FOLDER, provenance, read_results_bytes
from designs.space import Space
from designs.sweeps.batches import Batches, Finished, SweepInputs
from designs.sweeps.design_rows import DesignRows
from designs.sweeps.folder import FinishedPoints, SweepFolder, SweepReader
from designs.sweeps.progress import SweepProgress
from designs.sweeps.rows import SweepExtent, in_order
from designs.sweeps.sampling import Sample, Sampling, sample
from designs.sweeps.workers import Workers, chosen_workers, finished_batches
from designs.sweeps.workload import Workload
from sim import ArrayConfig, ProductShape
from traces import InputError


def sweep(
    workload: Workload,
    space: Space | Sample | Sequence[Design],
    sampling: Sampling | None = None,
    folder: str | os.PathLike[str] | None = None,
    workers: int | Workers = 1,
    fresh: bool = False,
) -> pa.Table:
    """Simulate a network on every design of a sample.

    Parameters
    ----------
    workload : Workload
        The layers, and the activations that enter them.
    space : Space, Sample or sequence of Design
        The space to sample. A sample, or designs, are simulated as they are.
    sampling : Sampling, optional
        Method of sampling a space. None: the whole grid.
    folder : path, optional
        Folder of the results, in which every batch of points is saved when it is finished. The same call continues an
        interrupted sweep, and returns the table of a finished one. None: nothing is kept, and only this process works.
    workers : int or Workers
        Number of processes on this machine, or `designs.sweeps.dask_workers.Cluster`. The rows do not depend on it.
    fresh : bool
        True to remove what the folder holds and to begin anew.

    Returns
    -------
    pyarrow.Table
        SWEEP_COLUMNS: one row per design and layer, in order. If a design does not run a layer (columns `fits` and
        `lacking`), its rows have no figures. `table.to_pylist()` gives the rows as dicts; Polars and pandas, if
        installed, read the table, too.

    Raises
    ------
    InputError
        If a design occurs twice or cannot read the network's codes, if the space varies compression, or if the folder
        holds another sweep, cannot be written or loses points.
    """
    chosen = _sample(workload, space, sampling)
    crew = chosen_workers(workers)
    origin = sweep_origin(workload, chosen)
    if folder is None:
        if crew.apart:
            raise InputError("workers in other processes share arrays through files; give the sweep a folder")
        parts: list[pa.Table] = []
        extent = SweepExtent(origin)
        inputs = SweepInputs(workload, None, chosen.must_fit, origin)
        before = FinishedPoints(np.zeros(extent.points, dtype=np.bool_), None)
        _run(chosen.designs, before, crew, inputs, lambda batch: parts.append(read_results_bytes(batch.part)))
        table = pa.concat_tables(parts).combine_chunks()
        extent.check_whole(table.num_rows // extent.num_layers, workload.name)
        return in_order(table, extent.num_layers)
    return read_sweep(run_sweep(workload, chosen, None, folder, crew, fresh))[0]


def run_sweep(
    workload: Workload,
    space: Space | Sample | Sequence[Design],
    sampling: Sampling | None = None,
    folder: str | os.PathLike[str] = RESULTS_FOLDER / "sweep",
    workers: int | Workers = 1,
    fresh: bool = False,
) -> Path:
    """Simulate a network on every design of a sample, and leave the table in its file.

    Parameters
    ----------
    workload, space, sampling, folder, workers, fresh
        Those of `sweep`.

    Returns
    -------
    Path
        The file with the table that `sweep` would return. `SweepReader` reads it piece by piece.

    Raises
    ------
    InputError
        As `sweep` does.

    Notes
    -----
    The memory does not grow with the rows: it holds about 60 bytes for each design, one batch for each worker, and
    some hundred thousand rows at the end.
    """
    chosen = _sample(workload, space, sampling)
    crew = chosen_workers(workers)
    with SweepFolder(Path(folder), sweep_origin(workload, chosen), fresh) as results:
        before = results.finished()
        if not before.done.all():
            shared: Path | Workload = results.share(workload) if crew.apart else workload
            inputs = SweepInputs(shared, results.packed if crew.apart else None, chosen.must_fit, results.origin)
            _run(
                chosen.designs,
                before,
                crew,
                inputs,
                lambda batch: results.keep(int(batch.batch.numbers[0]), batch.part),
            )
        return results.finish()


def sweep_origin(workload: Workload, chosen: Sample) -> dict[str, Any]:
    """Return the origin of a sweep: workload, sampling, space, versions and a digest of the sources.

    The workload has the sampled vectors of its layers, of how many, and the bound on the error, if they are a sample.
    """
    of_workload: dict[str, Any] = {
        "name": workload.name,
        "digest": workload.digest,
        "layers": list(workload.layer_names),
        **plain_shapes(workload),
    }
    if workload.sampled:
        of_workload["sampled"] = workload.sampled
    settings = {
        "workload": of_workload,
        "points": len(chosen.designs),
        "must_fit": chosen.must_fit,
        **chosen.origin,
    }
    return provenance(settings)


def plain_shapes(workload: Workload) -> dict[str, Any]:
    """Return what `shapes_in` reads: the shapes for one input, and whether the layers are of one network."""
    return {
        "shapes": [dataclasses.asdict(shape) for shape in workload.shapes],
        "network": workload.execution is not None,
    }


def shapes_in(origin: Mapping[str, Any]) -> tuple[list[ProductShape], bool] | None:
    """Return the shapes of the layers for one input, and True if each layer has the array to itself.

    Returns None if the origin, of an earlier version, does not state them.
    """
    try:
        workload = origin["settings"]["workload"]
        return [ProductShape(**shape) for shape in workload["shapes"]], not workload["network"]
    except (KeyError, TypeError, InputError):
        return None


def read_sweep(path: str | os.PathLike[str]) -> tuple[pa.Table, dict[str, Any]]:
    """Read a finished or unfinished sweep.

    Parameters
    ----------
    path : path
        Folder of the sweep, which may be unfinished, or its file sweep.parquet.

    Returns
    -------
    table : pyarrow.Table
        SWEEP_COLUMNS, the rows of the finished points.
    origin : dict
        Settings, versions and digest of the sources.

    Raises
    ------
    InputError
        If there is no finished point, a file is damaged or of another sweep, points of a finished sweep are missing, or
        the rows would take more memory than their file may ask for (`traces.reading_limit`).
    """
    reader = SweepReader(path)
    return reader.table(), reader.origin


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
        chosen = space if isinstance(space, Sample) else Sample.of(space, {"designs": _listed(space)})
    narrowest = int(np.min(chosen.designs.column("weight_bits")))
    for each in workload.layers:
        if each.layer.weight_bits > narrowest:
            raise InputError(
                f"layer {each.layer.name!r} has codes of {each.layer.weight_bits} bits, and a design reads weight_bits="
                f"{narrowest}; give every array weight_bits={each.layer.weight_bits} or more"
            )
    return chosen


def _listed(designs: Sequence[Design]) -> list[Any]:
    """Return the hardware parameters of each design that differ from the paper's."""
    paper = Design(ArrayConfig()).hardware
    return [{name: value for name, value in each.hardware.items() if value != paper[name]} for each in designs]


def _run(
    designs: DesignRows,
    before: FinishedPoints,
    workers: Workers,
    inputs: SweepInputs,
    keep: Callable[[Finished], object],
) -> None:
    """Simulate all designs that are not finished; call `keep` with each batch before it counts as done."""
    done = int(np.count_nonzero(before.done))
    with workers.start(inputs) as crew, SweepProgress(len(designs), done, before.best) as progress:
        batches = Batches(designs, before.done, crew.workers, inputs.packed, SweepExtent(inputs.origin).num_layers)
        for finished in finished_batches(batches, crew):
            keep(finished)
            progress.add(len(finished.batch), finished.best)
