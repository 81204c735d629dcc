"""Arrays of PEs beside dense arrays: the nine layers of the EIE paper, ResNet-20 and a Llama (PyTorch needed).

The networks are pruned by magnitude, without data, to densities that hardly change their answers. The Llama reads one
token of a text, as when it writes; a batch is that of so many texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress import CompressionConfig, LayerSettings, compress
from designs.breakeven import breakeven_rows
from designs.experiments.planning.networks import Data, network_makers
from designs.result_files import BREAKEVEN_COLUMNS, BREAKEVEN_FILE
from designs.results import provenance, table_of, write_results
from designs.sweeps.workload import Workload
from designs.sweeps.workload_source import EIE, open_workload
from sim import ArrayConfig
from traces.arrays import Numbers

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
        Folder of the results; a file that is there is kept.
    data : Data
        Folders of the networks and their inputs.

    Returns
    -------
    list of Path
        The folders of the result files.
    """
    makers = network_makers(data)
    folders = []
    batches: Sequence[int]
    for name in (EIE, *(name for name in NETWORKS if name in makers)):
        path = folder / name / BREAKEVEN_FILE
        folders.append(path.parent)
        if path.exists():
            continue
        if name == EIE:
            workload, array, batches = open_workload([EIE]), ArrayConfig(), BATCHES
        else:
            density, num_pes, batches, tokens = NETWORKS[name]
            array = ArrayConfig(num_pes=num_pes, weight_bits=_WEIGHT_BITS)
            network = makers[name]()
            inputs = np.asarray(network.pool[:_INPUTS])
            workload = _workload(network.network, inputs[:, :tokens] if tokens else inputs, density, path.parent)
        rows = breakeven_rows(workload, array, batches, DENSE_BITS)
        settings = {"workload": name, "array": vars(array), "batches": list(batches), "bits": list(DENSE_BITS)}
        write_results(path, table_of(BREAKEVEN_COLUMNS, rows), provenance(settings))
    return folders


def _workload(network: Any, inputs: Numbers, density: float, folder: Path) -> Workload:
    """Compress a network without data, and record inputs of its layers."""
    config = CompressionConfig(every=LayerSettings(density=density, weight_bits=_WEIGHT_BITS))
    folder.mkdir(parents=True, exist_ok=True)
    compress(network, config, inputs=inputs).save(folder / _CONTAINER)
    return open_workload([str(folder / _CONTAINER)], inputs=inputs, most=_INPUTS)
