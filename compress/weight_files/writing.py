"""Writing of parameters to files that other tools read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from traces import InputError, write_npz
from traces.arrays import Numbers
from traces.files.atomic_file import atomic_file, write_atomically


def write_parameters(path: str | os.PathLike[str], parameters: Mapping[str, Numbers]) -> None:
    """Write parameters by name to a file, whole or not at all.

    Parameters
    ----------
    path : path
        The file, of the kind that its suffix names: .npz, .safetensors (package safetensors), or .pt, the state dict
        that torch.load reads (PyTorch needed).
    parameters : Mapping[str, array]
        Arrays by name.

    Raises
    ------
    InputError
        If the suffix is unknown, a package is missing, or `path` cannot be written.
    """
    suffix = Path(path).suffix.lower()
    arrays = {name: np.ascontiguousarray(values).reshape(values.shape) for name, values in parameters.items()}
    if suffix == ".npz":
        write_npz(path, arrays)
    elif suffix == ".safetensors":
        try:
            from safetensors.numpy import save
        except ImportError:
            raise InputError(
                f"{path}: writing needs the package safetensors; install the extra: "
                f"pip install 'eie-codesign[safetensors]'"
            ) from None
        write_atomically(path, save(arrays))
    elif suffix == ".pt":
        import torch

        tensors = {id(values): torch.from_numpy(arrays[name]) for name, values in parameters.items()}
        with atomic_file(path) as temporary:  # names of one array get one tensor, so that they stay tied
            torch.save({name: tensors[id(values)] for name, values in parameters.items()}, temporary)
    else:
        raise InputError(f"{path}: must end in .npz, .safetensors or .pt; found {suffix or 'no suffix'!r}")
