"""Analyses that are kept in a folder: interrupted, continued, shared (PyTorch needed)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import Tolerance
from compress.planning import analysis as analysis_module
from compress.planning import choices as choices_module
from compress.planning import planner as planner_module
from compress.planning.preparation import make_planner
from traces import CompressedLayer, InputError
from traces.files.npz import read_npz, write_npz

FEW: dict[str, Any] = {"densities": (1.0, 0.5, 0.2), "weight_bits": (2, 4)}


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5)).eval()


POOL = np.random.default_rng(0).normal(size=(80, 12)).astype(np.float32)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [(analysis_module, "_gradients", 17), (choices_module, "_tried", 1), (planner_module, "compressed_outputs", 1)],
)
def test_a_plan_that_was_interrupted_goes_on_where_it_stopped(
    module: Any, name: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned() -> Any:
        planner = make_planner(network(), POOL, loss="kl", folder=tmp_path, **FEW)
        return planner.plan(Tolerance(divergence=0.002))

    whole = make_planner(network(), POOL, loss="kl", **FEW).plan(Tolerance(divergence=0.002))
    monkeypatch.setattr(analysis_module, "_SECONDS_OF_A_PART", 0.0)
    usual, calls = getattr(module, name), []

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(name)
        if len(calls) > after and not finished:
            raise StoppedError
        return usual(*arguments, **keywords)

    finished = False
    monkeypatch.setattr(module, name, counted)
    with pytest.raises(StoppedError):
        planned()
    finished, before = True, len(calls)
    continued = planned()
    assert continued.choices == whole.choices
    assert continued.measured == pytest.approx(whole.measured, rel=1e-6)
    remaining = len(calls) - before
    calls.clear()
    assert planned().choices == whole.choices
    assert not calls, "nothing is computed again"
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != ".lock":
            path.unlink()
    planned()
    assert remaining < len(calls), "what was done before the interruption was done again"


def test_a_folder_keeps_analyses_of_several_networks_losses_and_inputs_apart(tmp_path: Path) -> None:
    tolerances = {"kl": Tolerance(divergence=0.002), "relative-error": Tolerance(relative_error=0.1)}
    for loss, tolerance in tolerances.items():
        alone = make_planner(network(), POOL, loss=loss, **FEW).plan(tolerance)
        for pool in (POOL, POOL[::-1].copy()):
            make_planner(network(), pool, loss=loss, folder=tmp_path, **FEW).plan(tolerance)
        again = make_planner(network(), POOL, loss=loss, folder=tmp_path, **FEW).plan(tolerance)
        assert again.choices == alone.choices
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_tells_networks_of_the_same_weights_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, last = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
    pool = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    for between in (torch.nn.ReLU(), torch.nn.GELU()):
        network = torch.nn.Sequential(first, between, last)
        make_planner(network, pool, loss="kl", folder=tmp_path, **FEW)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_refused_before_the_analysis(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="the analysis cannot be kept here"):
        make_planner(network(), POOL, loss="kl", folder=tmp_path / "taken", **FEW)


def edited(path: Path) -> None:
    """Change a number, and mend what holds the file together."""
    if path.suffix == ".json":
        path.write_text(re.sub(r"\d\.\d", "7.7", path.read_text(), count=1))
        return
    arrays = read_npz(path)
    name = next(name for name in arrays if arrays[name].dtype.kind == "f")
    write_npz(path, arrays | {name: arrays[name] * 2})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def of_another_place(path: Path) -> None:
    others = sorted(other for other in path.parent.glob(f"*{path.suffix}") if other != path and other.name != ORIGIN)
    shutil.copyfile(others[-1], path)


ORIGIN = "origin.json"


@pytest.mark.parametrize("damage", [edited, cut, of_another_place, Path.unlink])
@pytest.mark.parametrize("kind", ["pass_0001.npz", "choices_*/0001.json", "runs/*.npz"])
def test_a_file_that_was_changed_is_computed_again(
    kind: str, damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis_module, "_SECONDS_OF_A_PART", 0.0)

    class Costs:
        origin = "entries"

        def __call__(self, layer: CompressedLayer, _: int) -> dict[str, float]:
            return {"entries": float((layer.codes != 0).sum())}

    def planned() -> Any:
        planner = make_planner(network(), POOL, loss="kl", cost=Costs(), folder=tmp_path, **FEW)
        return planner.plan(Tolerance(divergence=0.002))

    whole = planned()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.suffix in (".npz", ".json")}
    path = sorted(tmp_path.glob(f"*/{kind}"))[0]
    damage(path)
    assert not path.exists() or path.read_bytes() != files[path]
    again = planned()
    assert (again.choices, again.measured) == (whole.choices, whole.measured)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.suffix in (".npz", ".json")}
    assert sorted(after) == sorted(files)
    assert _contents(after[path], path) == _contents(files[path], path)


def _contents(content: bytes, path: Path) -> Any:
    path.write_bytes(content)
    if path.suffix == ".json":
        return json.loads(content)
    return {name: values.tobytes() for name, values in read_npz(path).items()}
