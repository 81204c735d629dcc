"""The scripts that people copy: each runs in an empty folder, and what it says of itself holds."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from compress import CompressedModel
from tests.conftest import PROJECT

EXAMPLES = PROJECT / "examples"


def run(name: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a script in this process, where PyTorch is already imported; return its output."""
    monkeypatch.chdir(folder)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "same", "layers"),
    [
        ("cnn", "same outputs as PyTorch: True", 4),
        ("transformer", "encoder.1.narrow", 14),
        ("lstm", "same hidden states as PyTorch: True", 3),
    ],
)
def test_a_network_is_compressed_and_keeps_its_accuracy_and_its_outputs(
    name: str,
    same: str,
    layers: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        printed = run(f"compress_{name}", tmp_path, capsys, monkeypatch)
    finally:
        torch.set_num_threads(threads)
    before, after = (float(share) for share in re.findall(r"([\d.]+)%", printed.splitlines()[0]))
    assert before > 93
    assert after > before - 4
    assert same in printed
    model = CompressedModel.load(tmp_path / f"{name}.dc")
    assert len(model.layers) == layers
    assert f"{model.size_bytes:,} bytes, {model.compression_ratio:.1f}x smaller" in printed
    assert model.compression_ratio > 6


def test_a_sweep_chooses_arrays_within_the_area(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run("sweep_arrays", tmp_path, capsys, monkeypatch)
    areas = [float(area) for area in re.findall(r"([\d.]+) mm2$", printed, flags=re.MULTILINE)]
    assert len(areas) == 3
    assert max(areas) <= 10
    assert areas[2] == min(areas)


def test_the_benchmark_checks_before_it_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run("benchmark_kernels", tmp_path, capsys, monkeypatch)
    assert len(re.findall(r"[\d.]+ ms$", printed, flags=re.MULTILINE)) == 7
    assert "times as fast as the tick machine" in printed


def test_every_script_is_named_in_the_guide_or_the_readme() -> None:
    text = (PROJECT / "README.md").read_text() + "".join(page.read_text() for page in (PROJECT / "guide").glob("*.md"))
    for script in EXAMPLES.glob("*.py"):
        assert f"examples/{script.name}" in text, script.name
