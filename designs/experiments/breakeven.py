"""Arrays of PEs beside dense arrays: the nine layers of the EIE paper, ResNet-20 and a Llama (PyTorch needed).

The networks are pruned by magnitude, without data, to densities that hardly change their answers. The Llama reads one
token of a text, as when it writes; a batch is that of so many texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress import CompressionConfig, LayerSettings, compress
from designs.breakeven import breakeven_rows
from designs.experiments.planning.networks import Data, MeasuredNetwork, network_makers
from designs.result_files import BREAKEVEN_COLUMNS, BREAKEVEN_FILE
from designs.results import provenance, table_of, write_results
from designs.stages import Stages
from designs.sweeps.workload import Workload
from designs.sweeps.workload_source import EIE, open_workload
from sim import ArrayConfig

BATCHES, DENSE_BITS = (1, 4, 16, 64), (8, 16)
#: Density, PEs, batches, and the tokens of an input, of each network; 0: whole inputs.
NETWORKS = {"resnet_20": (0.5, 16, (1, 16), 0), "stories": (0.9, 16, (1, 16), 1)}
_INPUTS, _WEIGHT_BITS = 8, 4
_CONTAINER = "network.dc"


def run_breakeven(folder: Path, data: Data) -> list[Path]:
    """Compare both kinds of arrays; write a result file for the nine layers and for each network whose data are there.

    Parameters
    ----------
    folder : Path
        Folder of the results. An interrupted run continues after its last finished network. A file that is
        damaged, or of other sources or data, is made anew.
    data : Data
        Folders of the networks and their inputs.

    Returns
    -------
    list of Path
        The folders of the result files.

    Raises
    ------
    InputError
        If the folder cannot be written, or another run writes to it.
    """
    makers = network_makers(data)
    names = [EIE, *(name for name in NETWORKS if name in makers)]
    for name in names:
        network = makers[name]() if name in NETWORKS else None
        _, num_pes, batches, _ = NETWORKS.get(name, (1.0, ArrayConfig.num_pes, BATCHES, 0))
        array = ArrayConfig(num_pes=num_pes, weight_bits=_WEIGHT_BITS)
        settings = {"workload": name, "array": vars(array), "batches": list(batches), "bits": list(DENSE_BITS)}
        origin = provenance(settings | ({} if network is None else {"network": network.origin}))
        step = partial(_compare, network, array, origin)
        with Stages(folder / name) as stages:
            stages.run(BREAKEVEN_FILE, origin, step)
    return [folder / name for name in names]


def _compare(network: MeasuredNetwork | None, array: ArrayConfig, origin: Mapping[str, Any], path: Path) -> None:
    """Write the result file of a network, or of the nine layers."""
    workload = open_workload([EIE]) if network is None else _workload(network, path.parent)
    settings = origin["settings"]
    rows = breakeven_rows(workload, array, settings["batches"], settings["bits"])
    write_results(path, table_of(BREAKEVEN_COLUMNS, rows), origin)


def _workload(network: MeasuredNetwork, folder: Path) -> Workload:
    """Compress a network without data, and record inputs of its layers."""
    density, _, _, tokens = NETWORKS[network.name]
    inputs = np.asarray(network.pool[:_INPUTS])
    inputs = inputs[:, :tokens] if tokens else inputs
    config = CompressionConfig(every=LayerSettings(density=density, weight_bits=_WEIGHT_BITS))
    folder.mkdir(parents=True, exist_ok=True)
    compress(network.network, config, inputs=inputs).save(folder / _CONTAINER)
    return open_workload([str(folder / _CONTAINER)], inputs=inputs, most=_INPUTS)
