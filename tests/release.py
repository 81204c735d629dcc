"""The release: a wheel, installed into fresh environments and used from an empty folder (`make release`).

    python -m tests.release

For each Python found that the wheel takes, with the newest versions of what it needs; for the oldest Python also with
the lowest versions that pyproject.toml allows. Each environment installs the wheel from `dist/` and does what a
newcomer does: a layer, the benchmark of the EIE paper, figures and tables, a container; with PyTorch, the main job.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tests.conftest import PROJECT
from traces.shell.command_line import run

CONTAINER = PROJECT / "tests/containers/lenet_300_100.dc"
_MAKE_INPUTS = """
import numpy as np
draw = np.random.default_rng(0)
np.save("weights.npy", draw.integers(-3, 4, (40, 60)) * (draw.random((40, 60)) < 0.2))
np.save("input.npy", draw.random(60))
np.save("images.npy", draw.random((5, 784)) * (draw.random((5, 784)) < 0.2))
"""
SMOKE = (
    ["-c", _MAKE_INPUTS],
    ["-m", "sim", "weights.npy", "--activations", "input.npy", "--num-pes", "8"],
    ["-m", "sim", "weights.npy", "--activations", "input.npy", "--num-pes", "4", "--engine", "reference"],
    ["-m", "designs", "simulate", "network.dc", "--inputs", "images.npy"],
    ["-m", "compress", "show", "network.dc"],
    ["-m", "designs", "experiment", "benchmark"],
    ["-m", "reports"],
)
MAIN_JOB = ["-m", "designs", "--num-pes", "16", "--queue-slots", "8"]

Torch = Literal["none", "here", "all"]


@dataclass(frozen=True)
class Environment:
    """A Python, with the newest or the lowest versions of what the wheel needs."""

    python: Path
    version: tuple[int, int]
    lowest: bool = False

    @property
    def name(self) -> str:
        return f"Python {self.version[0]}.{self.version[1]}, {'lowest' if self.lowest else 'newest'} versions"


def pythons() -> dict[tuple[int, int], Path]:
    """Return one Python of each minor version that the wheel takes: this one, those on the path and of pyenv."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    found = [Path(place) for name in names if (place := shutil.which(name))]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [Path(sys.executable), *sorted(root.glob("versions/3.*/bin/python")), *found]
    question = "import sys; print(sys.version_info[0], sys.version_info[1])"
    versions: dict[tuple[int, int], Path] = {}
    for python in found:
        asked = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            major, minor = map(int, asked.stdout.split())
            if (major, minor) >= (3, 11):
                versions.setdefault((major, minor), python)
    return dict(sorted(versions.items()))


def lowest_versions() -> str:
    """Return constraints that hold each dependency to the lowest version that pyproject.toml names."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return "".join(re.sub(r">=(\S+)$", r"==\1.*", each) + "\n" for each in project["dependencies"])


def build(folder: Path) -> Path:
    """Build the wheel from a source distribution, as `python -m build` does."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, PROJECT], check=True, stdout=subprocess.DEVNULL)
    return max(folder.glob("eie_codesign-*.whl"), key=lambda path: path.stat().st_mtime)


def check(environment: Environment, wheel: Path, torch: bool) -> str:
    """Install and use the wheel; return the versions of its dependencies. Raises CalledProcessError if a step fails."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        subprocess.run([environment.python, "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv/bin/python"
        (folder / "lowest.txt").write_text(lowest_versions() if environment.lowest else "")
        extra = "[train,onnx]" if torch else "[onnx]"
        pip: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--constraint",
            folder / "lowest.txt",
            f"{wheel}{extra}",
        ]
        if torch:
            pip += ["--constraint", PROJECT / "constraints.txt"]
        subprocess.run(pip, check=True, capture_output=True, text=True)
        empty = folder / "empty"
        empty.mkdir()
        shutil.copy(CONTAINER, empty / "network.dc")
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CODESIGN_DATA")}
        for step in [*SMOKE, *([MAIN_JOB] if torch else [])]:
            subprocess.run([python, *step], cwd=empty, env=variables, check=True, capture_output=True, text=True)
        question = "import numpy, numba; print(f'numpy {numpy.__version__}, numba {numba.__version__}')"
        return subprocess.run([python, "-c", question], capture_output=True, text=True, check=True).stdout.strip()


def release(torch: Torch = "here", python: tuple[str, ...] = ()) -> None:
    """Build the wheel into dist/, and try it in a fresh environment of each Python found.

    For instance:

      python -m tests.release --torch none --python 3.12 3.13

    Args:
        torch: also with PyTorch, and then the main job: nowhere, with this Python, or with all
        python: only these versions; default: all that are found
    """
    wheel = build(PROJECT / "dist")
    print(f"built {wheel.name}, {wheel.stat().st_size:,} bytes")
    found = {
        version: path for version, path in pythons().items() if not python or ".".join(map(str, version)) in python
    }
    environments = [Environment(path, version) for version, path in found.items()]
    if environments:
        environments.append(Environment(environments[0].python, environments[0].version, lowest=True))
    failed = 0
    for environment in environments:
        here = environment.version == sys.version_info[:2] and not environment.lowest
        with_torch = torch == "all" or (torch == "here" and here)
        begin = time.perf_counter()
        try:
            versions = check(environment, wheel, with_torch)
            said = f"works ({versions}{', PyTorch' if with_torch else ''})"
        except subprocess.CalledProcessError as error:
            failed += 1
            said = f"fails: {error.cmd}\n{error.stdout or ''}{error.stderr or ''}"
        print(f"{environment.name}: {said}, {time.perf_counter() - begin:.0f} s", flush=True)
    if failed or not environments:
        sys.exit(f"{failed} of {len(environments)} environments failed")


if __name__ == "__main__":
    run(lambda: tyro.cli(release, prog="python -m tests.release"))
