"""Statements of the page about trust: no file that is data runs code, and the tests that it names are there."""

from __future__ import annotations

import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import CompressedModel, Tolerance
from compress.planning.plan import Budget, Plan
from designs import Space
from designs.codesigns.fleet import read_fleet
from tests.commands import run_command
from tests.conftest import PROJECT
from traces import InputError, Network
from traces.files.layer_file import open_layer
from traces.files.npz import read_npy

torch = pytest.importorskip("torch")
PAGE = (PROJECT / "guide" / "trust.md").read_text()


class Run:
    """Object whose pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def npy(path: Path, run: Run) -> None:
    np.save(path, np.array([run], dtype=object), allow_pickle=True)


def npz(path: Path, run: Run) -> None:
    npy(path.with_suffix(".npy"), run)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("weights.npy", "codes.npy", "codebook.npy", "network.npy"):
            archive.write(path.with_suffix(".npy"), name)


def pickled(path: Path, run: Run) -> None:
    path.write_bytes(pickle.dumps(run))


def checkpoint(path: Path, run: Run) -> None:
    torch.save({"weight": run}, path)


SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".dc", ".onnx", ".json", ".toml", ".safetensors", ".h5", ".mtx", ".smtx")
READERS: dict[str, Callable[[Path], object]] = {
    "layer": open_layer,
    "array": read_npy,
    "container": CompressedModel.load,
    "network": lambda path: Network.open(str(path)),
    "plan": Plan.load,
    "space": Space.load,
    "fleet": read_fleet,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("write", [npy, npz, pickled, checkpoint])
def test_no_reader_runs_a_pickle(reader: str, suffix: str, write: Callable[[Path, Run], None], tmp_path: Path) -> None:
    write(tmp_path / "written", Run(tmp_path / "ran"))
    written = next(path for path in tmp_path.iterdir() if path.is_file() and path.name.startswith("written"))
    path = written.rename(tmp_path / f"file{suffix}")
    with pytest.raises(InputError):
        READERS[reader](path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [each for each in SUFFIXES if each not in (".dc", ".json", ".toml")])
@pytest.mark.parametrize("write", [npy, npz, pickled, checkpoint])
def test_packing_weights_runs_no_pickle(suffix: str, write: Callable[[Path, Run], None], tmp_path: Path) -> None:
    write(tmp_path / "written", Run(tmp_path / "ran"))
    written = next(path for path in tmp_path.iterdir() if path.is_file() and path.name.startswith("written"))
    written.rename(tmp_path / f"file{suffix}")
    done = run_command("compress", "pack", f"file{suffix}", "out.dc", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "ran").exists()


def test_a_function_that_a_plan_names_is_not_imported_unless_the_command_names_it(tmp_path: Path) -> None:
    (tmp_path / "of_a_stranger.py").write_text("import os\nos.mkdir('ran')\ndef loss(before, after):\n    return 0\n")
    plan = Plan({}, Tolerance(0.1, "of_a_stranger:loss"), Budget(), 0.0, 0.0, {})
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json").tolerance.name == "of_a_stranger:loss"
    np.save(tmp_path / "inputs.npy", np.ones((4, 3), np.float32))
    command = ("compress", "watch", "absent.dc", "absent.onnx", "inputs.npy", "--plan", "plan.json")
    done = run_command(*command, folder=tmp_path)
    assert done.returncode == 2
    assert "if you know it, say --loss of_a_stranger:loss, too" in done.stderr
    done = run_command(*command, "--loss", "kl", folder=tmp_path)
    assert "its loss is of_a_stranger:loss; found --loss kl, too" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert "of_a_stranger" not in sys.modules
    done = run_command(*command, "--loss", "of_a_stranger:loss", folder=tmp_path)
    assert "absent" in done.stderr


def test_the_tests_that_the_page_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", PAGE)
    assert len(named) > 10
    assert [path for path in named if not (PROJECT / path).exists()] == []
