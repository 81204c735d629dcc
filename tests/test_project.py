"""The project as it is shipped: its README runs, its wheel holds five packages and no other."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import compress.__main__
from tests.conftest import PROJECT
from traces.errors import InputError
from traces.shell.command_line import PACKAGES, check_packages_belong_together

README = (PROJECT / "README.md").read_text()
RESULTS = (PROJECT / "guide/results.md").read_text()


def test_the_readme_names_the_commands_and_every_folder() -> None:
    for text in ("make codesign", "make test", "make check", *(f"`{package}/`" for package in PACKAGES)):
        assert text in README, text
    for path in re.findall(r"`((?:sim|traces|compress|designs|reports|tests)/[\w./]*)`", README):
        assert (PROJECT / path).exists(), path


def test_the_readme_names_every_command_of_compress() -> None:
    commands = re.findall(r'^        "([a-z]+)": \w+,$', inspect.getsource(compress.__main__.main), flags=re.MULTILINE)
    lines = "".join(re.findall(r"^    python -m compress (.*)$", README, flags=re.MULTILINE))
    assert len(commands) == 9
    assert [name for name in commands if not re.search(rf"\b{name}\b", lines)] == []


def test_the_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_the_table_of_the_guide_is_the_one_the_command_makes(tmp_path: Path) -> None:
    from designs.experiments.benchmark import run_benchmark
    from reports.eie.benchmark import benchmark_markdown

    rows = run_benchmark(tmp_path / "benchmark.parquet").to_pylist()
    shown = [line.split() for line in RESULTS.splitlines()]
    for line in benchmark_markdown(rows).splitlines()[2:]:
        assert line.split() in shown, line


def test_the_wheel_holds_every_file_of_the_five_packages_and_imports_from_an_empty_folder(tmp_path: Path) -> None:
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
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=source, capture_output=True, text=True, check=True)
    assert [name for name in tracked.stdout.splitlines() if not (home / name).exists()] == []
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


def test_the_main_job_installs_no_tool_of_the_tests() -> None:
    rules = (PROJECT / "Makefile").read_text()
    assert re.search(r"^codesign: \$\(INSTALLED\)$", rules, re.MULTILINE)
    installs = re.findall(r"^\$\((\w+)\): .*\n(?:\t.*\n)*?\t.*pip install .*'\.\[(.*)\]'$", rules, re.MULTILINE)
    assert dict(installs) == {"INSTALLED": "train,onnx", "ALL_INSTALLED": "train,onnx,dev"}


def test_the_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    pinned = {line.split("==")[0].lower() for line in (PROJECT / "constraints.txt").read_text().splitlines()}
    assert {re.split(r"[<>=\[]", name)[0] for name in wanted} - {"eie-codesign"} <= pinned  # an extra may hold another
    assert "torch==2.13.0" in (PROJECT / "constraints.txt").read_text()
