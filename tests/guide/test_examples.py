"""The scripts that people copy: each runs in an empty folder, and what it says of itself holds."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from compress import CompressedModel
from tests.conftest import PROJECT, real_file

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


def _story(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("onnxscript", reason="graphs need onnxscript: install the extra [onnx]")
    patch.delenv("CODESIGN_DATA", raising=False)
    patch.setattr(sys, "argv", ["decode_language_model.py", *arguments])
    return run("decode_language_model", folder, capsys, patch)


def test_a_network_without_training_writes_to_its_end_and_costs_prompt_and_written_tokens_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = _story(["--prompt", "Once"], tmp_path, capsys, monkeypatch)
    figures = {line[:36].strip(): line[36:].replace(",", "").split() for line in printed.splitlines()[-11:]}
    assert printed.splitlines()[0] == "a network without training"
    assert printed.splitlines()[3].startswith("Once")
    assert figures["mean of a token"] == [
        "prompt",
        "(6)",
        "written",
        "(57)",
    ]  # 64 in all, of which the last is not read
    assert figures["bytes of keys and values written"] == ["128", "128"]
    assert figures["bytes of keys and values read"] == ["0", f"{128 * sum(range(6, 63)) / 57:.0f}"]
    assert int(figures["cycles"][0]) < int(figures["cycles"][1])
    assert len(CompressedModel.load(tmp_path / "language_model.dc").layers) == 15


@pytest.mark.slow
def test_the_story_costs_what_the_guide_says(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_file(data, "models", "stories260k", "stories260K.bin")
    printed = _story(["--data", str(data)], tmp_path, capsys, monkeypatch)
    assert "there was a little girl named Lily" in printed
    page = (PROJECT / "guide" / "networks.md").read_text()
    assert printed.splitlines()[1].split(" bytes")[0] in page
    rows = re.findall(r"^\| ([^|]+) \| ([\d,.]+) \| ([\d,.]+) \|$", page, flags=re.MULTILINE)
    lines = {line[:36].strip(): line[36:].split() for line in printed.splitlines()}
    assert len(rows) == 8
    for name, *values in rows:
        assert lines[name] == values, name


def test_every_script_is_named_in_the_guide_or_the_readme() -> None:
    text = (PROJECT / "README.md").read_text() + "".join(page.read_text() for page in (PROJECT / "guide").glob("*.md"))
    for script in EXAMPLES.glob("*.py"):
        assert f"examples/{script.name}" in text, script.name
