"""Real networks through every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="modules need PyTorch: install the extra [train]")
pytest.importorskip("onnx", reason="graphs need onnx: install the extra [onnx]")

from designs.experiments import networks  # noqa: E402
from designs.experiments.example_networks import gru_tagger, vision_transformer  # noqa: E402
from designs.result_files import NETWORK_STEPS, NETWORKS_COLUMNS  # noqa: E402
from designs.results import read_results  # noqa: E402
from traces import InputError  # noqa: E402


def test_a_network_that_is_not_here_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"networks must be some of LSTM tagger, .* found Llama, absent"):
        networks.run_networks(tmp_path, tmp_path / "out", ("Llama", "absent"))
    assert not (tmp_path / "out").exists()


def test_a_step_that_fails_ends_with_its_own_sentence(tmp_path: Path) -> None:
    example = networks.Example("absent.onnx", np.ones((2, 3), dtype=np.float32), ("--divergence", "0.1"))
    with pytest.raises(InputError, match=r"net: step pack ended with 2: .*absent\.onnx"):
        networks._run("net", example, tmp_path / "net", 2)


def test_the_modules_give_scores_of_each_step_or_image() -> None:
    images = torch.rand(3, 8, 8)
    assert gru_tagger()(images).shape == (3, 8, 10)
    assert vision_transformer()(images).shape == (3, 10)


@pytest.mark.slow
def test_a_network_goes_through_every_command(tmp_path: Path) -> None:
    path = networks.run_networks(None, tmp_path / "out", ("GRU tagger",), trials=6)
    (row,) = read_results(path, NETWORKS_COLUMNS)[0].to_pylist()
    assert row["network"] == "GRU tagger"
    assert row["kinds"] == "GRU, Linear"
    assert row["vectors"] == 9 * 8
    assert row["largest_difference"] < 1e-5
    assert row["output_difference"] < 1e-5
    assert all(row[f"{step}_s"] > 0 for step in NETWORK_STEPS)
    before = path.stat().st_mtime_ns
    networks.run_networks(None, tmp_path / "out", ("GRU tagger",), trials=6)
    assert path.stat().st_mtime_ns >= before
