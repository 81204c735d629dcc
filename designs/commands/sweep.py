"""Commands about sweeps: run one, and print the Pareto-optimal designs of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from designs.codesigns.search import Figure
from designs.results import RESULTS_FOLDER
from designs.sweeps.sampling import Sampling
from designs.sweeps.totals import Objective
from traces.shell.command_line import data_folder, if_interrupted, same_command


def sweep(
    space: tyro.conf.Positional[Path],
    sampling: Annotated[Sampling, tyro.conf.arg(name="")],
    workload: tuple[str, ...] = ("eie",),
    data: Path | None = None,
    inputs: Path | None = None,
    most: int = 50,
    state: tuple[tuple[str, str], ...] = (),
    sampling_error: float | None = None,
    out: Path = RESULTS_FOLDER / "sweep",
    workers: int = 1,
    cluster: str | None = None,
    fresh: bool = False,
) -> None:
    """Simulate a workload on the arrays of a space; finished points are on the disk at once.

    The same command resumes an interrupted or killed sweep.

    For instance:

      python -m designs sweep space.toml --workload Alex-7 VGG-7 --workers 2

      python -m designs sweep space.toml --workload results/digits/compressed.dc --method sobol --points 1000

      python -m designs sweep space.toml --cluster tls://HOST:8786

    Args:
        space: TOML file of the space: values of each parameter, and constraints
        sampling: choice of the designs from the space
        workload: eie (nine layers), names of such layers, a container (.dc), or layer files
        data: folder of images that enter a container, and of the real benchmark layers; default: $CODESIGN_DATA
        inputs: inputs of a container's network instead of images, .npy, or .npz with an array for each input
        most: most inputs of a container to simulate
        state: pairs of an input of a container's network that is its own earlier output, and that output
        sampling_error: largest relative error of the cycles and energy of a container's layer because some of its
            vectors are taken for all, on the smallest and the largest array; 0 takes all; default: all up to 32,768,
            else 0.02
        out: folder of the results
        workers: processes on this machine, or of a local cluster
        cluster: local, for a Dask cluster on this machine, or the address of a Dask scheduler
        fresh: discard the results of earlier runs
    """
    from designs.screens.sweep import print_left_out, print_needs, print_sweep
    from designs.space import Space
    from designs.sweeps.dask_workers import Cluster
    from designs.sweeps.folder import SweepReader
    from designs.sweeps.sampling import sample
    from designs.sweeps.sweep import run_sweep
    from designs.sweeps.workload_source import open_workload

    designs = sample(Space.load(space), sampling)
    print_left_out(designs)
    crew = workers if cluster is None else Cluster(None if cluster == "local" else cluster, workers)
    images = data if inputs is not None else data_folder(data)
    num_pes = np.broadcast_to(designs.designs.column("num_pes"), len(designs.designs))
    fewest, most_pes = int(num_pes.argmin()), len(num_pes) - 1 - int(num_pes[::-1].argmax())
    arrays = tuple(dict.fromkeys(designs.designs[place].array for place in (fewest, most_pes)))
    opened = open_workload(workload, images, inputs, most, dict(state), sampling_error, arrays)
    print_needs(len(designs.designs), len(opened.layers))
    with if_interrupted(f"finished points are kept in {out}; {same_command(fresh)} continues the sweep"):
        file = run_sweep(opened, designs, None, out, crew, fresh)
    print_sweep(SweepReader(file), ("latency_us", "energy_nj", "area_mm2"))
    for name, taken in opened.sampled.items():
        print(
            f"Layer {name}: {taken['vectors']:,} of {taken['of']:,} vectors; this alters its mean cycles and energy "
            f"by {taken['error']:.1%} at most (confidence level 95 %)."
        )
    print(f"Results are in {file}.")


def front(
    result: tyro.conf.Positional[Path],
    objectives: tuple[Objective | Figure, ...] = ("latency_us", "energy_nj", "area_mm2"),
    fitting: bool = False,
) -> None:
    """Print the Pareto-optimal designs of a sweep or a co-design.

    An unfinished sweep gives those of its finished points; a co-design gives its verified designs as measured.

    For instance:

      python -m designs front results/sweep --objectives latency_us area_mm2

    Args:
        result: folder or file of a sweep, or folder of a co-design
        objectives: costs to minimise
        fitting: only designs of a sweep whose SRAMs hold every layer
    """
    from designs.screens.front import print_front

    print_front(result, objectives, fitting)
