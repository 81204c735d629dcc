"""Packed matrices of a workload: one set per packing, that is PE count, gap width and row assignment.

In a shared folder, a set is written once and mapped by every process that needs it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from designs.design import Packing
from designs.sweeps.workload import Workload, WorkloadLayer, mapped
from sim import ArrayConfig, PackedLayer, pack
from sim.codebook_allotment import allotted_rows
from sim.row_assignment import assign_rows
from traces import InputError


def packed_images(
    workload: Workload, packing: Packing, folder: Path | None = None, share: bool = False
) -> list[list[PackedLayer]]:
    """Return the packed matrix of each group of each layer.

    Parameters
    ----------
    workload : Workload
        The layers; their activations serve the row assignments "activity" and "search".
    packing : Packing
        PE count, gap width and row assignment.
    folder : Path, optional
        Folder of the sets that processes share. None: this process packs for itself.
    share : bool
        Write the set to the folder, because other processes need it, too.
    """
    if folder is None:
        return [_pack(each, packing) for each in workload.layers]
    set_folder = _set_folder(folder, packing)
    if not set_folder.is_dir():
        images = [_pack(each, packing) for each in workload.layers]
        if not share or not _write(images, set_folder):
            return images
    return [_mapped(each, packing, set_folder, number) for number, each in enumerate(workload.layers)]


def unsuited_layers(workload: Workload, num_pes: int) -> list[str]:
    """Return for each layer why its codebooks cannot be allotted to the PEs of an array; an empty text if they can.

    Parameters
    ----------
    workload : Workload
        The layers.
    num_pes : int
        PEs of the array.
    """
    reasons = []
    for each in workload.layers:
        reason = ""
        try:
            for matrix in each.matrices:
                if matrix.row_codebooks is not None:
                    allotted_rows(matrix, num_pes)
        except InputError as error:
            reason = str(error)
        reasons.append(reason)
    return reasons


def remove_packed(folder: Path, packing: Packing) -> None:
    """Remove a set that no further point needs; a process that has mapped it keeps it."""
    shutil.rmtree(_set_folder(folder, packing), ignore_errors=True)


def _set_folder(folder: Path, packing: Packing) -> Path:
    return folder / f"{packing.num_pes}-{packing.index_bits}-{packing.row_assignment}"


def _pack(work: WorkloadLayer, packing: Packing) -> list[PackedLayer]:
    array = ArrayConfig(num_pes=packing.num_pes, index_bits=packing.index_bits, weight_bits=work.layer.weight_bits)
    return [
        pack(matrix, array, assign_rows(matrix, packing.row_assignment, array, work.group_activations(group)))
        for group, matrix in enumerate(work.matrices)
    ]


def _write(images: list[list[PackedLayer]], set_folder: Path) -> bool:
    """Write a set, whole or not at all; return False if the disk has no room.

    Two processes may write the same set at once; the first one to finish wins.
    """
    temporary: Path | None = None
    try:
        set_folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=set_folder.parent, prefix=".partial-"))
        for number, groups in enumerate(images):
            for name, array in _arrays(groups).items():
                np.save(temporary / f"{number}.{name}.npy", array, allow_pickle=False)
        with contextlib.suppress(OSError):  # another process was first
            os.rename(temporary, set_folder)
        return set_folder.is_dir()
    except OSError:
        return False
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _mapped(work: WorkloadLayer, packing: Packing, set_folder: Path, number: int) -> list[PackedLayer]:
    arrays = {path.name.split(".")[1]: mapped(path) for path in set_folder.glob(f"{number}.*.npy")}
    return [
        PackedLayer(
            matrix, packing.num_pes, packing.index_bits, **{name: values[group] for name, values in arrays.items()}
        )
        for group, matrix in enumerate(work.matrices)
    ]


def _arrays(groups: list[PackedLayer]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of all groups, [groups, ...] each."""
    arrays = {name: np.stack([getattr(packed, name) for packed in groups]) for name in ("entry_lanes", "padding_lanes")}
    orders = [packed.row_order for packed in groups]
    if any(order is not None for order in orders):  # of a group with several codebooks, perhaps, and not of another one
        as_it_is = np.arange(groups[0].layer.rows)
        arrays["row_order"] = np.stack([as_it_is if order is None else order for order in orders])
    return arrays
