"""Layers in the format of the EIE authors' simulator: a directory of SRAM images.

    act.dat          float32 activations
    arithm.dat       float32 codebook
    ptr/ptr<k>.dat   uint32 offsets of PE k: begin of each column's entries, and end of the last column's
    spm/spm<k>.dat   uint32 pairs (code, gap) of PE k, column by column

All files are little endian, and k is 0, 1, ... PE k of N owns the rows k, k + N, ... In a column, an entry comes after
`gap` skipped rows of its PE. Code 0 is padding.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from traces.arrays import Floats32, Integers64, Numbers
from traces.errors import InputError
from traces.layer import CompressedLayer, check_size, checked_activations
from traces.plain_values import whole_number
from traces.reading_limit import check_array_bytes


@dataclass(frozen=True, eq=False)
class _Entries:
    """Entries of one PE without padding (row in the layer, column and code), and the number of columns."""

    rows: Integers64
    columns: Integers64
    codes: npt.NDArray[np.uint32]
    num_columns: int


def read_eie_directory(folder: str | os.PathLike[str], num_rows: int | None = None) -> tuple[CompressedLayer, Floats32]:
    """Read a layer and its input from a directory of the EIE authors' simulator.

    Parameters
    ----------
    folder : str or os.PathLike
        The directory; the layer gets its name.
    num_rows : int, optional
        Rows of the layer. By default the last row is the last one with an entry.

    Returns
    -------
    layer : CompressedLayer
        The layer. If the pointers have one column more than there are activations, the last column is the bias.
    activations : numpy.ndarray
        The input, float32 [columns].

    Raises
    ------
    InputError
        If a file is missing or cut off, the files do not match, an activation is not finite, or the layer would take
        more than the size of the files allows (`traces.reading_limit`).
    """
    num_rows = None if num_rows is None else whole_number("num_rows", num_rows, 1)
    folder = Path(folder)
    activations = _read(folder / "act.dat", "<f4").astype(np.float32)
    codebook = _read(folder / "arithm.dat", "<f4").astype(np.float32)
    num_pes, num_images = (len(list((folder / kind).glob(f"{kind}*.dat"))) for kind in ("ptr", "spm"))
    if not num_pes or num_pes != num_images:
        raise InputError(
            f"{folder}: must hold ptr/ptr<k>.dat and spm/spm<k>.dat for each PE k; found {num_pes} and {num_images}"
        )
    pes = [_entries(folder, pe, num_pes) for pe in range(num_pes)]
    num_columns = pes[0].num_columns
    if any(pe.num_columns != num_columns for pe in pes):
        raise InputError(
            f"{folder}: all PEs must have the same number of columns; found "
            f"{sorted({pe.num_columns for pe in pes})[:8]}"
        )
    if num_columns not in (activations.size, activations.size + 1) or not activations.size:
        raise InputError(
            f"{folder}: {num_columns:,} columns must have as many activations, or one less if the last column is "
            f"the bias; act.dat holds {activations.size:,}"
        )
    rows, columns, codes = (np.concatenate([getattr(pe, name) for pe in pes]) for name in ("rows", "columns", "codes"))
    if codes.max(initial=0) >= codebook.size:
        raise InputError(f"{folder}: arithm.dat holds {codebook.size} shared weights; found code {codes.max()}")
    needed = int(rows.max(initial=0)) + 1
    if num_rows is not None and num_rows < needed:
        raise InputError(
            f"{folder}: num_rows={num_rows} must be at least {needed:,}: an entry is in row {needed - 1:,}"
        )
    check_size(str(folder), num_rows or needed, num_columns)
    dtype = np.dtype(np.uint8 if codebook.size <= 256 else np.uint16)
    if num_rows is None:  # the files state the size
        check_array_bytes(folder, (needed, num_columns), dtype.itemsize, _folder_bytes(folder))
    dense = np.zeros((num_rows or needed, num_columns), dtype)
    dense[rows, columns] = codes
    bias = dense[:, -1].copy() if num_columns > activations.size else None
    length = 2 ** max(1, (codebook.size - 1).bit_length())
    name = folder.resolve().name
    codebook = np.pad(codebook, (0, length - codebook.size))
    layer = CompressedLayer(name, dense[:, : activations.size], codebook, bias)
    return layer, checked_activations(f"{folder}/act.dat", activations, layer.columns)


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.dat"))


def _entries(folder: Path, pe: int, num_pes: int) -> _Entries:
    pointers = _read(folder / "ptr" / f"ptr{pe}.dat", "<u4").astype(np.int64)
    pairs = _read(folder / "spm" / f"spm{pe}.dat", "<u4")
    if pairs.size % 2:
        raise InputError(f"{folder}/spm/spm{pe}.dat: must hold pairs (code, gap); it is cut off")
    codes, gaps = pairs.reshape(-1, 2).T
    steps = np.diff(pointers)
    if pointers.size < 2 or pointers[0] != 0 or (steps < 0).any() or pointers[-1] != codes.size:
        raise InputError(
            f"{folder}/ptr/ptr{pe}.dat: offsets must rise from 0 to the {codes.size:,} entries of spm{pe}.dat; found "
            f"{pointers.size:,} offsets, {pointers[:1].tolist()} to {pointers[-1:].tolist()}"
        )
    columns = np.repeat(np.arange(steps.size), steps)
    places = np.cumsum(gaps.astype(np.int64) + 1)  # of all columns, as if they were one
    before = np.concatenate([[0], places])[pointers[:-1]]
    own_rows = places - before[columns] - 1
    if own_rows.size and int(own_rows.max()) * num_pes + pe >= 2**31:
        raise InputError(
            f"{folder}/spm/spm{pe}.dat: rows must be below 2**31; a gap leads to row "
            f"{int(own_rows.max()) * num_pes + pe:,}"
        )
    rows = own_rows * num_pes + pe
    kept = codes != 0
    return _Entries(rows[kept], columns[kept], codes[kept], steps.size)


def _read(path: Path, dtype: str) -> Numbers:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; a directory of the EIE simulator holds it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) % 4:
        raise InputError(f"{path}: must hold values of 4 bytes; its {len(content):,} bytes are cut off")
    return np.frombuffer(content, dtype)
