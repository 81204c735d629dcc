"""Arrays of PEs beside dense arrays: an interrupted experiment continues, and takes only results that are its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs import Workload
from designs.breakeven import breakeven_rows
from designs.commands.experiment import EXPERIMENTS
from designs.experiments import breakeven
from designs.experiments.breakeven import run_breakeven
from designs.experiments.planning.networks import Data, MeasuredNetwork
from designs.result_files import BREAKEVEN_FILE
from designs.stages import Stages
from designs.sweeps.workload_source import EIE, open_workload
from tests.small_network import small_network
from traces import InputError, draw_layer
from traces.files.images import load_digits


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the workloads that are compared; they are small."""
    layer, inputs = draw_layer("small", 32, 24, 0.3, 0.4, 0)
    images = load_digits().test_images[:20]
    module = small_network().module
    measured = MeasuredNetwork("resnet_20", module, images, images, "kl", bounds=(0.1,), shown=(0.1,), search=0.1)
    names: list[str] = []

    def opened(paths: Any, **options: Any) -> Workload:
        if paths == [EIE]:
            return Workload.of_layers(EIE, [layer], {layer.name: inputs[None]})
        return open_workload(paths, **options)

    def rows(workload: Workload, *arguments: Any) -> Any:
        names.append(Path(workload.name).name)
        return breakeven_rows(workload, *arguments)

    monkeypatch.setattr(breakeven, "open_workload", opened)
    monkeypatch.setattr(breakeven, "breakeven_rows", rows)
    monkeypatch.setattr(breakeven, "network_makers", lambda _: {"resnet_20": lambda: measured})
    return names


def test_an_interrupted_comparison_continues_after_its_last_finished_network(
    compared: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(breakeven, "_workload", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_breakeven(tmp_path, Data(tmp_path))
    assert compared == ["eie"]
    folders = run_breakeven(tmp_path, Data(tmp_path))
    assert folders == [tmp_path / "eie", tmp_path / "resnet_20"]
    assert compared == ["eie", "network.dc"]
    run_breakeven(tmp_path, Data(tmp_path))
    assert compared == ["eie", "network.dc"]


@pytest.mark.parametrize("name", ["breakeven", "outside"])
def test_an_interrupted_experiment_says_how_to_go_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"designs.experiments.{name}.run_{name}", interrupted)
    sentence = f"finished parts are kept in {tmp_path}; the same command continues after them"
    with pytest.raises(KeyboardInterrupt, match=re.escape(sentence)):
        EXPERIMENTS[name](data=tmp_path, out=tmp_path)


def test_results_that_are_damaged_or_of_other_sources_are_made_anew(
    compared: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_breakeven(tmp_path, Data(tmp_path))
    file = tmp_path / "eie" / BREAKEVEN_FILE
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    compared.clear()
    run_breakeven(tmp_path, Data(tmp_path))
    assert compared == ["eie"]
    assert file.read_bytes() == whole
    monkeypatch.setattr(breakeven, "provenance", lambda settings: {"settings": settings, "sources": "0" * 16})
    run_breakeven(tmp_path, Data(tmp_path))
    assert compared == ["eie", "eie", "network.dc"]


def test_a_second_run_in_the_same_folder_is_refused(compared: list[str], tmp_path: Path) -> None:
    with (
        Stages(tmp_path / "eie"),
        pytest.raises(InputError, match=r"eie: another run writes to this folder; wait for it, or give another folder"),
    ):
        run_breakeven(tmp_path, Data(tmp_path))
    assert not compared
