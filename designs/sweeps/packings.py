"""The packed matrices of a workload: one set for each PE count, width of a gap and row assignment.

Where there is a folder, a set is written to it once, and mapped from there by every process that needs it.
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
from sim.row_assignment import assign_rows
from traces import CompressedLayer


def packed_images(
    workload: Workload, packing: Packing, folder: Path | None = None, share: bool = False
) -> list[PackedLayer]:
    """One packed matrix for each layer.

    folder   where sets are shared by processes; None for this process alone
    share    whether other processes will need this set, too
    """
    if folder is None:
        return [_pack(each, packing) for each in workload.layers]
    place = _place(folder, packing)
    if not place.is_dir():
        images = [_pack(each, packing) for each in workload.layers]
        if not share or not _write(images, place):
            return images
    return [_mapped(each.layer, packing, place, number) for number, each in enumerate(workload.layers)]


def remove_packed(folder: Path, packing: Packing) -> None:
    """Remove a set that nobody will ask for again; who has mapped it keeps it."""
    shutil.rmtree(_place(folder, packing), ignore_errors=True)


def _place(folder: Path, packing: Packing) -> Path:
    return folder / f"{packing.num_pes}-{packing.index_bits}-{packing.row_assignment}"


def _pack(work: WorkloadLayer, packing: Packing) -> PackedLayer:
    layer = work.layer
    array = ArrayConfig(num_pes=packing.num_pes, index_bits=packing.index_bits, weight_bits=layer.weight_bits)
    return pack(layer, array, assign_rows(layer, packing.row_assignment, array, work.activations))


def _write(images: list[PackedLayer], place: Path) -> bool:
    """Whole or not at all: two processes that do this at once write the same, and the first one's stays.

    Returns False where the disk has no room; the set is then this process's own.
    """
    temporary: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=".partial-"))
        for number, packed in enumerate(images):
            for name, array in _arrays(packed).items():
                np.save(temporary / f"{number}.{name}.npy", array, allow_pickle=False)
        with contextlib.suppress(OSError):  # the other one was first
            os.rename(temporary, place)
        return place.is_dir()
    except OSError:
        return False
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _mapped(layer: CompressedLayer, packing: Packing, place: Path, number: int) -> PackedLayer:
    arrays = {path.name.split(".")[1]: mapped(path) for path in place.glob(f"{number}.*.npy")}
    return PackedLayer(layer, packing.num_pes, packing.index_bits, **arrays)


def _arrays(packed: PackedLayer) -> dict[str, npt.NDArray[Any]]:
    arrays = {name: getattr(packed, name) for name in ("pointers", "entry_counts", "padding_counts")}
    return arrays if packed.row_order is None else arrays | {"row_order": packed.row_order}
