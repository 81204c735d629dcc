"""The scripts that people copy: each runs in an empty folder, and what it says of itself holds."""

from __future__ import annotations

import re
import runpy
import struct
import sys
from pathlib import Path
from typing import Any

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
    figures = {line[:36].strip(): line[36:].replace(",", "").split() for line in printed.splitlines()[-13:]}
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
    for place in (0, 1):
        assert 0 < int(figures["least cycles"][place]) <= int(figures["cycles"][place])
        assert 0 < float(figures["nJ, array, at least"][place]) < float(figures["nJ, array"][place])
    assert len(CompressedModel.load(tmp_path / "language_model.dc").layers) == 15


def _small_llama(folder: Path) -> list[str]:
    """Write a small language model whose texts differ, and a tokenizer of bytes; return the options that name them."""
    import torch

    from designs.experiments.example_networks import Llama, LlamaShape

    torch.manual_seed(0)
    shape = LlamaShape(dim=16, hidden=24, layers=1, heads=4, kv_heads=2, vocabulary=259, longest=24)
    llama = Llama(shape)
    layer: Any = llama.layers[0]
    with torch.no_grad():
        llama.embedding.weight *= 0.3
        layer.w2.weight *= 10  # beside the token that was read, so that it does not follow itself
    names = ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3")
    weights = [llama.embedding.weight, *(getattr(layer, name).weight for name in names), llama.norm.weight]
    sizes = (shape.dim, shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.vocabulary, shape.longest)
    values = b"".join(each.detach().numpy().astype("<f4").tobytes() for each in weights)
    (folder / "model.bin").write_bytes(struct.pack("<7i", *sizes) + values)
    pieces = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    tokens = b"".join(struct.pack("<fi", 0, len(piece)) + piece for piece in pieces)
    (folder / "tokens.bin").write_bytes(struct.pack("<i", 8) + tokens)
    return ["--model", str(folder / "model.bin"), "--tokenizer", str(folder / "tokens.bin")]


def test_plans_without_and_with_thresholds_write_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    options = [*_small_llama(tmp_path), "--prompt", "On", "--most", "8"]
    printed = _story([*options, "--plan", "0.1"], tmp_path, capsys, monkeypatch)
    found = re.findall(r"^(smallest|with thresholds): ([\d,]+) bytes, a divergence of 0\.(\d+)$", printed, re.MULTILINE)
    assert [name for name, *_ in found] == ["smallest", "with thresholds"]
    assert all(0 < int(divergence) <= 1000 for *_, divergence in found)
    figures = {line[:36].strip(): line[36:].replace(",", "").split() for line in printed.splitlines()[-5:]}
    (same,) = (values for name, values in figures.items() if name.startswith("tokens as before, of "))
    assert all(0 <= int(count) <= 8 for count in same)
    shares = [float(share[:-1]) for share in figures["share of activations broadcast"]]
    assert 0 < shares[1] < shares[0] <= 100
    assert float(figures["cycles"][1]) < float(figures["cycles"][0])
    assert float(figures["nJ, array"][1]) < float(figures["nJ, array"][0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--plan", "0.1"], "--plan needs a trained network, whose texts it plans on; give --data, or --model and"),
        (["--plan", "-1", "here"], "--plan -1: a tolerance's bound must be a finite number above 0; found -1"),
    ],
)
def test_a_plan_of_the_story_that_means_nothing_is_refused(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    given = [*arguments[:2], *(_small_llama(tmp_path) if arguments[2:] else [])]
    with pytest.raises(SystemExit):
        _story(given, tmp_path, capsys, monkeypatch)
    assert re.search(sentence, " ".join(capsys.readouterr().err.split()))


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
