"""Files of decoded parameters: what is written is read again, buffers included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import read_parameters
from compress.weight_files.writing import write_parameters
from traces import InputError

PARAMETERS: dict[str, Any] = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "mask": np.array([[0, -np.inf], [0, 0]], dtype=np.float32),
    "count": np.array(7, dtype=np.int64),
    "flags": np.array([True, False]),
    "file": np.ones(2, dtype=np.float32),
}


@pytest.mark.parametrize("suffix", [".npz", ".NPZ", ".safetensors", ".pt"])
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip({".safetensors": "safetensors", ".pt": "torch"}.get(suffix, "numpy"))
    write_parameters(tmp_path / f"net{suffix}", PARAMETERS)
    found = read_parameters(tmp_path / f"net{suffix}")
    assert found.keys() == PARAMETERS.keys()
    for name, values in PARAMETERS.items():
        np.testing.assert_array_equal(found[name], values)
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)


def test_a_state_dict_is_loaded_by_pytorch_and_stays_tied(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    shared = np.ones((3, 4), dtype=np.float32)
    write_parameters(tmp_path / "net.pt", {"a.weight": shared, "b.weight": shared})
    found = torch.load(tmp_path / "net.pt", weights_only=True)
    assert found["a.weight"].data_ptr() == found["b.weight"].data_ptr()


@pytest.mark.parametrize("name", ["net.txt", "net", "net.pt.gz"])
def test_a_suffix_that_no_kind_has_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.npz, \.safetensors or \.pt; found '"):
        write_parameters(tmp_path / name, PARAMETERS)
    assert not list(tmp_path.iterdir())
