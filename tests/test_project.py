"""The project as it is shipped: its README runs, its wheel holds five packages and no other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PROJECT
from traces.command_line import PACKAGES, check_packages_belong_together
from traces.errors import InputError

README = (PROJECT / "README.md").read_text()


def test_the_lines_of_the_readme_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=tmp_path,
            env={"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        shown = re.findall(r"# prints: (.*)", block)
        assert shown
        assert done.stdout.splitlines() == shown


def test_the_settings_of_the_readme_pack_a_network() -> None:
    from compress.config import CompressionConfig
    from compress.one_shot import compress_parameters

    (block,) = re.findall(r"```toml\n(criterion.*?)```", README, flags=re.DOTALL)
    draw = np.random.default_rng(0)
    shapes = {"fc1.weight": (30, 20), "fc3.weight": (10, 30), "fc3.bias": (10,)}
    parameters = {name: draw.normal(size=shape) for name, shape in shapes.items()}
    model, left_alone = compress_parameters(parameters, CompressionConfig.from_toml(block))
    assert [layer.density for layer in model.layers] == [0.1, 0.5]
    assert list(left_alone) == ["fc3.bias"]


def test_the_space_and_the_fleet_of_the_readme_are_ones(tmp_path: Path) -> None:
    from designs import Space
    from designs.fleets import read_fleet

    (space,) = re.findall(r"```toml\n(\[hardware.*?)```", README, flags=re.DOTALL)
    assert Space.from_toml(space).parameters()["num_pes"].values == (32, 64, 128)
    (fleet,) = re.findall(r"```toml\n(\[watch.*?)```", README, flags=re.DOTALL)
    (tmp_path / "fleet.toml").write_text(fleet)
    assert [target.name for target in read_fleet(tmp_path / "fleet.toml")] == ["watch", "phone", "modem", "rack"]


def test_the_readme_names_the_commands_and_every_folder() -> None:
    for text in ("make codesign", "make test", "make check", *(f"`{package}/`" for package in PACKAGES)):
        assert text in README, text
    for path in re.findall(r"`((?:sim|traces|compress|designs|reports|tests)/[\w./]*)`", README):
        assert (PROJECT / path).exists(), path


def test_the_table_of_the_readme_is_the_one_the_command_makes(tmp_path: Path) -> None:
    from designs.benchmark import run_benchmark
    from reports.benchmark_table import benchmark_markdown

    rows = run_benchmark(tmp_path / "benchmark.parquet").to_pylist()
    shown = [line.split() for line in README.splitlines()]
    for line in benchmark_markdown(rows).splitlines()[2:]:
        assert line.split() in shown, line


def test_the_wheel_holds_the_five_packages_and_imports_from_an_empty_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(source)], check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("eie_codesign-*.whl")
    home = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home)
    packages = {path.name for path in home.iterdir() if not path.name.endswith(".dist-info")}
    assert packages == set(PACKAGES)
    assert all((home / package / "py.typed").exists() for package in PACKAGES)
    assert (home / "reports" / "page" / "codesign.js").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    script = "import traces, compress, sim, sim.datapath, designs, reports; print(sim.__file__, traces.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=empty, env={"PYTHONPATH": str(home)}, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(home / name / "__init__.py") for name in ("sim", "traces")], done.stderr


def test_packages_of_another_distribution_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages_belong_together()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "reports", raising=False)
    with pytest.raises(InputError, match=f"must come from one installation; found .*reports from {tmp_path}"):
        check_packages_belong_together()


def test_the_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    pinned = {line.split("==")[0].lower() for line in (PROJECT / "constraints.txt").read_text().splitlines()}
    assert {re.split(r"[<>=]", name)[0] for name in wanted} <= pinned
    assert "torch==2.13.0" in (PROJECT / "constraints.txt").read_text()
