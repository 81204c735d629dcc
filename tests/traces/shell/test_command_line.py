"""The commands as a user runs them: the main job, its figure, and sentences for everything that is wrong."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow.parquet as pq
import pytest

from compress import CompressedModel
from designs.experiments import main_job
from designs.experiments.main_job import MainJobSettings, build_network
from designs.results import read_results
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.totals import network_totals
from tests.commands import check_refusal, environment_with, run_command, start_command, words_of
from tests.conftest import PROJECT, real_file
from traces import CompressedNetwork, layer_from_matrix
from traces.files.images import load_digits
from traces.files.npz import read_npy, read_npz, write_npy, write_npz
from traces.shell.completion import PROGRAMS

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

SMALL_GRID = ["--num-pes", "1", "64", "--queue-slots", "2", "8", "--line-bits", "64", "128"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the main job on the digits and a small grid; return its folder and its output."""
    folder = tmp_path_factory.mktemp("codesign")
    done = run_command("designs", *SMALL_GRID, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_main_job_prints_accuracy_bytes_and_design_points(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    size = (folder / "results/digits/compressed.dc").stat().st_size
    assert f"{size:,}" in printed
    assert "202,440" in printed  # 4 bytes for each of the 50,610 parameters of 64-300-100-10
    assert "Pareto-optimal designs, without near-ties" in printed
    table = network_totals(read_results(folder / "results/digits/sweep.parquet", SWEEP_COLUMNS)[0])
    smallest = min(point.energy_delay_nj_us for point in table)
    close = [point for point in table if point.energy_delay_nj_us <= 1.02 * smallest]
    best = min(close, key=lambda point: point.area_mm2)
    last, dense = printed.splitlines()[-2:]
    assert re.match(r"Dense: +(sparse|dense) ", dense)
    assert last.startswith(f"Take {best.num_pes} PEs, {best.queue_slots} queue slots and {best.line_bits}-bit lines")
    assert f"{best.energy_nj:.1f} nJ per input" in last
    assert f"At least {best.limit_cycles:,.0f} of its {best.cycles:,.0f} cycles are needed (" in last
    assert "smallest energy-delay product" in last
    assert "gives the network's answer for 50 of 50 test images" in printed


def test_the_main_job_keeps_accuracy_and_says_so_in_the_result_file(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    table, origin = read_results(folder / "results/digits/sweep.parquet", SWEEP_COLUMNS)
    assert table.num_rows == 8 * 3
    network = origin["network"]
    assert network["accuracy_before"] > 0.95
    assert network["accuracy_after"] > network["accuracy_before"] - 0.02
    assert network["bytes_before"] / network["bytes_after"] > 20
    assert f"{network['accuracy_after']:.2%}" in printed
    assert origin["settings"]["seed"] == 0
    assert {"python", "numpy", "numba", "torch", "eie-codesign"} <= set(origin["versions"])


def test_the_accuracy_is_that_of_the_container_as_it_lies_on_the_disk(finished: tuple[Path, str]) -> None:
    from compress.training.fine_tuning import accuracy

    folder, _ = finished
    images = load_digits()
    network = build_network(images)
    CompressedModel.load(folder / "results/digits/compressed.dc").load_into(network)
    origin = read_results(folder / "results/digits/sweep.parquet", SWEEP_COLUMNS)[1]
    assert accuracy(network, images.test_images, images.test_labels) == origin["network"]["accuracy_after"]


def test_a_second_run_goes_on_from_the_finished_steps(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = (folder / "results/digits/trained.npz").stat().st_mtime_ns
    done = run_command("designs", "--num-pes", "4", "--queue-slots", "8", "--line-bits", "64", folder=folder)
    assert "trained.npz and compressed.dc kept from an earlier run" in done.stdout
    assert (folder / "results/digits/trained.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_cut_off_leaves_whole_files_and_goes_on(
    signal_sent: signal.Signals, finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results/digits"
    folder.mkdir(parents=True)
    for name in ("trained.npz", "stages.json"):  # as if the training had just ended
        shutil.copy(finished[0] / "results/digits" / name, folder)
    command = [sys.executable, "-m", "designs", "--num-pes", "8", "--queue-slots", "8", "--line-bits", "64"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment_with(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as job:
        while not (folder / ".lock").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        job.send_signal(signal_sent)
        _, said = job.communicate()
    # 130, or SIGINT's own status (a shell shows 130 for both) where Python was interrupted in the midst of an eval
    assert job.returncode in ((-9,) if signal_sent == signal.SIGKILL else (130, -2)), said
    assert signal_sent == signal.SIGKILL or "interrupted: finished steps are kept in " in said
    assert {path.name for path in folder.iterdir()} == {".lock", "trained.npz", "stages.json"}
    monkeypatch.setattr(main_job, "_recipe", lambda _: main_job._Recipe(40, 1, 64))  # the rest in less time
    done = run_command(*command[2:], folder=tmp_path)
    assert "trained.npz kept from an earlier run" in done.stdout, done.stderr


def test_the_report_draws_the_sweep_and_the_tables(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    done = run_command("designs", "experiment", "benchmark", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "Alex-6" in done.stdout
    done = run_command("reports", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "The real Alex-8 layer was not simulated" in done.stdout
    image = matplotlib.image.imread(folder / "results/digits/sweep.png")
    assert image.shape[0] > 400
    assert image.std() > 0.05  # not blank
    first = (folder / "results/digits/sweep.svg").read_bytes()
    run_command("reports", folder=folder)
    assert (folder / "results/digits/sweep.svg").read_bytes() == first
    rows = pq.read_table(folder / "results/eie_benchmark.parquet").to_pylist()
    table = (folder / "results/eie_benchmark.md").read_text()
    assert len(rows) == 9
    for row in rows:
        assert f"{row['cycles']:,}" in table
    assert "actual time (us), random weights" in (folder / "results/alex8.md").read_text()


def test_the_report_holds_the_real_alex8(data: Path, tmp_path: Path) -> None:
    real_file(data, "alex8", "alex8.npz")
    assert run_command("designs", "experiment", "benchmark", folder=tmp_path, data=data).returncode == 0
    printed = run_command("reports", folder=tmp_path).stdout
    assert "| actual time (us), real weights" in printed
    for figure in ("7,926", "453,748", "112,640", "100,900", "0.8945"):
        assert figure in printed
    power = (tmp_path / "results/power_and_area.md").read_text()
    assert "Alex-8, real weights" in power
    for row in ("| 64 PEs, W | 0.59 | 0.622 | +5.5% |", "| 64 PEs, mm2 | 40.8 | 44.27 | +8.5% |"):
        assert row in " ".join(power.split())


def test_a_container_is_shown_simulated_and_unpacked(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    container = folder / "results/digits/compressed.dc"
    shown = run_command("compress", "show", container, folder=folder).stdout
    assert f"{container.stat().st_size:,} bytes; the same parameters in fp32 take 202,440" in shown
    simulated = run_command("designs", "simulate", container, "--num-pes", 16, folder=folder)
    assert "Accuracy:   9" in simulated.stdout, simulated.stderr
    run_command("compress", "unpack", container, "weights.npz", folder=folder)
    layer = CompressedModel.load(container).layers[0]
    assert np.array_equal(read_npz(folder / "weights.npz")["fc1.weight"], layer.weights())
    write_npy(folder / "inputs.npy", np.ones((2, 64)))
    done = run_command("designs", "simulate", container, "--inputs", "inputs.npy", folder=folder)
    assert "mean of 2" in done.stdout
    assert "Accuracy" not in done.stdout


def test_weights_are_packed_and_what_is_left_alone_is_said(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    write_npz(
        tmp_path / "net.npz",
        {
            "state_dict.conv.weight": stream.normal(size=(4, 2, 3, 3)),
            "state_dict.fc.weight": stream.normal(size=(5, 4)),
            "state_dict.fc.bias": stream.normal(size=5),
            "state_dict.bn.weight": np.ones(4),
            "state_dict.bn.num_batches": np.array(3),
        },
    )
    done = run_command("compress", "pack", "net.npz", "net.dc", "--layer-density", "fc", "0.5", folder=tmp_path)
    assert "fewer than two dimensions: no weight matrix or kernel): bn.weight" in done.stdout, done.stderr
    assert "int64 values, no weights): bn.num_batches" in done.stdout
    model = CompressedModel.load(tmp_path / "net.dc")
    assert [layer.name for layer in model.layers] == ["conv", "fc"]
    assert model.layers[1].density == 0.5
    assert model.shapes[0] == (4, 2, 3, 3)


def test_a_checkpoint_is_packed_and_unpacked_and_what_was_chosen_is_said(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\ndef build():\n    torch.manual_seed(0)\n"
        "    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 6))\n"
        "    network.register_buffer('mask', torch.full((2,), -torch.inf))\n    return network\n"
    )
    done = run_command("compress", "pack", "mine:build", "built.dc", "--leave", "2", folder=tmp_path)
    assert "stored as they are (left as asked): 2.bias, 2.weight" in done.stdout, done.stderr
    assert "To measure it: python -m compress measure built.dc mine:build INPUTS" in done.stdout
    assert run_command("compress", "unpack", "built.dc", "built.pt", folder=tmp_path).returncode == 0
    state = torch.load(tmp_path / "built.pt", weights_only=True)
    assert torch.isinf(state["mask"]).all()
    assert "1.running_mean" in state
    torch.save({"ema": state, "model": {**state, "0._extra_state": {}}}, tmp_path / "net.ckpt")
    done = run_command("compress", "pack", "net.ckpt", "net.dc", folder=tmp_path)
    assert done.returncode == 2
    assert "key must name the state dict to read; found them at 'ema', 'model'; give key='ema'" in done.stderr
    done = run_command("compress", "pack", "net.ckpt", "net.dc", "--key", "model", folder=tmp_path)
    assert "left out (dict, no tensor): 0._extra_state" in done.stdout, done.stderr
    assert "measure net.dc NETWORK INPUTS --weights net.ckpt" in done.stdout
    for name, sentence in (
        ("net.onnx", "holds no graph, so that no ONNX file"),
        ("net.txt", "must end in .npz, .safe"),
    ):
        done = run_command("compress", "unpack", "net.dc", name, folder=tmp_path)
        assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / name).exists()


def test_rows_and_columns_without_effect_are_left_out_and_the_screen_says_so(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    weights[:, 2] = 0
    first = layer_from_matrix("a", np.random.default_rng(1).choice([-1, 0.5], (6, 5)))
    last = layer_from_matrix("b", np.sign(weights))
    graph = CompressedNetwork.of_layers([first, last]).network.graph_bytes()
    CompressedModel([first, last], graph=graph).save(tmp_path / "whole.dc")
    np.save(tmp_path / "inputs.npy", np.ones((3, 5), np.float32))
    done = run_command("compress", "compact", "whole.dc", "compact.dc", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [re.findall(r"[\w.]+", line) for line in done.stdout.splitlines()]
    assert ["a", "5", "x", "5", "1", "0", "25", "30"] in rows, done.stdout
    assert ["b", "4", "x", "5", "0", "1", "20", "20"] in rows, done.stdout
    done = run_command("designs", "simulate", "compact.dc", "--inputs", "inputs.npy", folder=tmp_path)
    assert "left out" in done.stdout, done.stderr
    assert re.search(r"5 x 5 +. +1, 0 ", done.stdout), done.stdout
    done = run_command("compress", "compact", "compact.dc", "again.dc", folder=tmp_path)
    assert (tmp_path / "again.dc").read_bytes() == (tmp_path / "compact.dc").read_bytes(), done.stderr


def test_a_container_is_as_large_as_its_settings_say_and_goes_to_safetensors_and_back(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    write_npz(tmp_path / "net.npz", {"fc.weight": weights, "fc.bias": weights[0, :40]})
    (tmp_path / "settings.toml").write_text("[every]\ndensity = 0.2\nindex_bits = 7\nscan_order = 'columns'\n")
    done = run_command("compress", "pack", "net.npz", "net.dc", "--config", "settings.toml", folder=tmp_path)
    size = (tmp_path / "net.dc").stat().st_size
    assert f"{size:,} bytes; the same parameters" in done.stdout, done.stderr
    model = CompressedModel.load(tmp_path / "net.dc")
    assert (model.coding[0].index_bits, model.coding[0].scan_order) == (7, "columns")
    assert model.to_bytes() == (tmp_path / "net.dc").read_bytes()
    assert model.size_report.total == size
    pytest.importorskip("safetensors")
    assert run_command("compress", "export", "net.dc", "net.safetensors", folder=tmp_path).returncode == 0
    assert run_command("compress", "import", "net.safetensors", "again.dc", folder=tmp_path).returncode == 0
    assert (CompressedModel.load(tmp_path / "again.dc").layers[0].codes == model.layers[0].codes).all()


def test_a_real_network_is_packed(data: Path, tmp_path: Path) -> None:
    weights = real_file(data, "models", "resnet20_cifar10.npz")
    assert run_command("compress", "pack", weights, "resnet.dc", folder=tmp_path).returncode == 0
    model = CompressedModel.load(tmp_path / "resnet.dc")
    assert len(model.layers) == 20
    assert model.compression_ratio > 10


def test_a_layer_file_is_simulated(data: Path, tmp_path: Path) -> None:
    alex8 = real_file(data, "alex8", "alex8.npz")
    done = run_command("sim", alex8, "--out", "out.npy", folder=tmp_path)
    for figure in ("7,926", "453,748", "112,640", "100,900", "0.8945", "9.908 us"):
        assert figure in done.stdout, done.stderr
    assert read_npy(tmp_path / "out.npy").shape == (1000,)
    done = run_command("sim", alex8, "--row-assignment", "entries", folder=tmp_path)
    assert "7,748" in done.stdout, done.stderr
    assert "A table of 10,000 bits restores the order" in done.stdout


def test_a_plain_matrix_is_simulated_with_its_memories_its_timeline_and_its_waveform(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    weights = np.round(stream.normal(size=(64, 100)), 1) * (stream.random((64, 100)) < 0.3)
    write_npy(tmp_path / "mine.npy", weights)
    write_npy(tmp_path / "input.npy", stream.normal(size=100))
    small = ["--num-pes", 4, "--weight-bits", 8, "--activations", "input.npy", "--sparse-matrix-bytes", 512]
    done = run_command("sim", "mine.npy", *small, folder=tmp_path)
    assert "Layer mine does not fit this array and was simulated as if it did. It exceeds:" in done.stdout, done.stderr
    assert "sparse-matrix SRAM of a PE" in done.stdout
    assert done.stderr == ""
    done = run_command("sim", "mine.npy", *small, "--memory-mode", "resident", folder=tmp_path)
    assert done.returncode == 2
    assert "sparse-matrix SRAM of a PE" in done.stderr
    done = run_command("sim", "mine.npy", *small, "--memory-mode", "passes", "--precision", "fixed-16", folder=tmp_path)
    for quantity in ("blocks", "DRAM read bytes", "waiting cycles", "overflows", "PE cycles, waiting", "energy, DRAM"):
        assert f"│ {quantity}" in done.stdout, done.stderr
    pictures = ["--timeline", "results/mine.timeline.npz", "--waveform", "mine.vcd"]
    done = run_command("sim", "mine.npy", *small[:6], *pictures, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "$enddefinitions" in (tmp_path / "mine.vcd").read_text()
    assert run_command("reports", folder=tmp_path).returncode == 0
    assert (tmp_path / "results/mine.timeline.svg").exists()


def test_a_whole_network_of_another_tool_is_simulated(data: Path, tmp_path: Path) -> None:
    net = real_file(data, "squeezenet_deep_compression", "compressed_SqueezeNet.net")
    images = np.random.default_rng(0).normal(size=(2, 3, 227, 227)).astype(np.float32)
    write_npy(tmp_path / "images.npy", images)
    images_and_bits = ["--activations", "images.npy", "--weight-bits", 8]
    done = run_command("sim", net, *images_and_bits, "--out", "out.npy", folder=tmp_path)
    for text in ("fire9/conv3x3_2", "conv_final", "mean of 2 inputs", "The whole network over 2 inputs"):
        assert text in done.stdout, done.stderr
    assert read_npy(tmp_path / "out.npy").shape == (2, 1000, 1, 1)
    done = run_command("sim", net, folder=tmp_path)
    assert "holds no input; give inputs of shape [3, 227, 227] with --activations FILE.npy" in done.stderr
    done = run_command("sim", net, *images_and_bits, "--row-assignment", "search", folder=tmp_path)
    assert "a network takes no --engine, --row-assignment, --timeline and --waveform; leave them out" in done.stderr


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["designs", "--nonsense"], "Unrecognized options: --nonsense"),
        (["designs", "nonsense"], "Unrecognized options: nonsense"),
        (["designs", "--num-pes", "0"], "error: num_pes must be 1 to 65,536: an array has at least one PE; found 0"),
        (["designs", "--queue-slots", "1"], "error: queue_slots must be 2 to 1,048,576"),
        (["designs", "--line-bits", "1024"], "error: line_bits must be at most 512, the widest port"),
        (["designs", "--weight-bits", "9"], "error: weight_bits=9 must be 1 to 8"),
        (["designs", "--index-bits", "0"], "error: index_bits must be 1 to 8"),
        (["designs", "--most", "0"], "error: most must be a whole number of at least 1; found 0"),
        (["designs", "--inputs", "5"], "error: --inputs has another name: --most"),
        (
            ["designs", "--layer-density", "0", "1", "1"],
            "layers.fc1: density: the share of weights to keep must be",
        ),
        (["designs", "--data", "absent"], "error: absent: must be a folder that holds IDX files"),
        (["designs", "--seed", "-1"], "error: seed must be a whole number from 0 to"),
        (["designs", "simulate", "absent.dc"], "error: absent.dc: there is no such container file"),
        (["designs", "simulate", "text.dc"], "error: text.dc: a container starts with"),
        (
            ["sim", "absent.net"],
            "error: absent.net: the shapes of its layers are in a Caffe description",
        ),
        (
            ["sim", "text.dc"],
            "error: text.dc: one layer comes from a layer file (.npz with codes and codebook), a matrix",
        ),
        (
            ["sim", "layer.npz", "--activations", "one.npy", "--waveform", "x"],
            "--waveform must name a file that ends in",
        ),
        (
            ["sim", "layer.npz", "--activations", "one.npy", "--timeline", "x.npz"],
            "--timeline must name a file that ends",
        ),
        (
            ["sim", "layer.npz", "--activations", "one.npy", "--memory-mode", "streamed", "--waveform", "x.vcd"],
            "loaded from DRAM; the state in each cycle",
        ),
        (["designs", "experiment", "benchmark", "--out", "/proc/none/x"], "error: /proc/none/x cannot be written"),
        (["designs", "experiment", "benchmark", "--data", "absent"], "error: absent: there is no such folder of data"),
        (["designs", "benchmark", "--out", "x"], "error: moved: run python -m designs experiment benchmark"),
        (["designs", "studies"], "error: moved: run python -m designs experiment eie-sweeps"),
        (["designs", "unevenness"], "error: moved: run python -m designs experiment unevenness"),
        (["designs", "compare", "--seeds", "2"], "error: moved: run python -m designs experiment compare"),
        (
            ["reports", "resnet", "weights.npz", "--data", "CIFAR10"],
            "moved: run python -m designs experiment resnet WEIGHTS --data DIR, then python -m reports resnet FOLDER",
        ),
        (
            ["reports", "rtl", "--data=DIR"],
            "moved: run python -m designs experiment rtl --data DIR, then python -m reports rtl FOLDER",
        ),
        (
            ["reports", "planning", "--data", "MNIST", "--resnet", "resnet20.npz", "CIFAR10"],
            "moved: run python -m designs experiment planning --data DIR, then python -m reports planning FOLDER",
        ),
        (
            ["reports", "paper", "--workers", "2"],
            "moved: run python -m designs experiment paper --data DIR, then python -m reports paper FOLDER",
        ),
        (
            ["reports", "deep-compression", "--data", "MNIST"],
            "moved: run python -m designs experiment deep-compression --data DIR, then python -m reports deep-compr",
        ),
        (["reports", "planning"], "make it with python -m designs experiment planning"),
        (["reports", "paper", "absent"], "make it with python -m designs experiment paper"),
        (["designs", "simulate", "text.dc", "--data", ".", "--inputs", "nan.npy"], "found both, nan.npy and ."),
        (
            ["designs", "simulate", "text.dc", "--activations", "nan.npy"],
            "--activations has another name: --inputs takes",
        ),
        (["designs", "sweep", "space.toml", "--activations=nan.npy"], "--activations has another name: --inputs takes"),
        (
            ["compress", "pack", "net.npz", "out.dc", "--config", "x.yaml"],
            "x.yaml: a config must be a .toml or a .json",
        ),
        (["compress", "pack", "net.npz", "out.dc", "--config", "absent.toml"], "absent.toml: there is no such file"),
        (["compress", "pack", "net.npz", "out.dc", "--config", "x.toml", "--density", "0.5"], "not both"),
        (["compress", "pack", "flat.npz", "out.dc", "--coder", "range", "--index-bits", "4"], "have no effect with"),
        (["compress", "pack", "bias.npz", "out.dc", "--leave", "f*"], "fc.weight (left as asked)"),
        (
            ["compress", "pack", "bias.npz", "out.dc", "--leave", "fd"],
            "error: leave names fd, which there is not; the p",
        ),
        (
            ["compress", "pack", "bias.npz", "out.dc", "--key", "ema"],
            "key has no effect, since only PyTorch checkpoints",
        ),
        (
            ["compress", "pack", "bias.npz", "bias.npz"],
            "error: bias.npz: the container would replace the weights; choo",
        ),
        (["compress", "pack", "mine:net", "out.dc"], "error: mine:net: the module cannot be imported"),
        (
            ["compress", "pack", "flat.npz", "out.dc", "--layer-density", "fc", "7"],
            "error: layers.fc: density: the share of weights",
        ),
        (["compress", "show", "text.dc"], "error: text.dc: a container starts with"),
        (["compress", "pack", "text.npz", "out.dc"], "error: text.npz: must be a file of weights; found text"),
        (["compress", "pack", "text.pt", "out.dc"], "error: text.pt: must be a file of weights; found text"),
        (["compress", "pack", "flat.npz", "out.dc"], "error: there must be a weight to compress: floating"),
        (["sim", "absent.npz"], "error: absent.npz: there is no such file"),
        (
            ["sim", "layer.npz", "--prototxt", "x"],
            "--prototxt describes a .net file, which layer.npz is not; leave it out",
        ),
        (["sim", "layer.npz"], "error: layer.npz: holds no recorded input (act); give one with --activations"),
        (["sim", "layer.npz", "--activations", "nan.npy"], "every activation must be a finite float32; found nan"),
        (["sim", "layer.npz", "--activations", "long.npy"], "has 2 columns, so activations must be [2]; found"),
        (["sim", "layer.npz", "--engine", "quick"], "invalid choice 'quick'"),
        (
            ["reports", "--results", "absent"],
            "absent: holds no sweep.parquet, no eie_benchmark.parquet and no *.timeline.npz",
        ),
        (["reports", "--results", "damaged"], "must be a whole Parquet file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_a_sentence_and_leaves_nothing_behind(command: list[str], sentence: str, tmp_path: Path) -> None:
    for name in ("text.dc", "text.npz", "text.pt"):
        (tmp_path / name).write_text("just some text, long enough to hold a header of any kind")
    write_npz(tmp_path / "flat.npz", {"bn.weight": np.ones(3)})
    write_npz(tmp_path / "bias.npz", {"fc.weight": np.ones((3, 2)), "fc.bias": np.array(["a", "b", "c"])})
    write_npz(tmp_path / "layer.npz", {"codes": np.eye(2, dtype=np.uint8), "codebook": np.array([0, 1.0])})
    write_npy(tmp_path / "nan.npy", np.array([np.nan, 1]))
    write_npy(tmp_path / "long.npy", np.ones(3))
    write_npy(tmp_path / "one.npy", np.ones(2))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/sweep.parquet").write_text("PAR1")
    check_refusal(sentence, *command, folder=tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "designs",
        "designs job",
        "designs experiment",
        "designs experiment benchmark",
        "designs simulate",
        "designs sweep",
        "designs front",
        "designs experiment eie-sweeps",
        "designs codesign",
        "designs fleet",
        "designs experiment compare",
        "compress",
        "compress pack",
        "sim",
        "reports",
    ],
)
def test_every_command_helps(command: str, tmp_path: Path) -> None:
    done = run_command(*command.split(), "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m {command}" in done.stdout


@pytest.mark.parametrize("program", [*PROGRAMS, "traces"])
def test_every_program_is_a_process_that_ends_with_a_status_and_a_sentence(program: str, tmp_path: Path) -> None:
    done = start_command(program, "--nonsense", folder=tmp_path)
    assert done.returncode == 2
    assert f"python -m {program}" in words_of(done)


@pytest.mark.parametrize(
    ("package", "arguments", "sentence"),
    [
        ("torch", [], "needs PyTorch, which is not installed; install the extra: pip install 'eie-codesign[train]'"),
        ("onnx", ["simulate", str(PROJECT / "tests/containers/lenet_300_100.dc")], "pip install 'eie-codesign[onnx]'"),
    ],
)
def test_a_command_says_which_extra_is_missing(
    package: str, arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    script = (
        f"import sys, runpy; sys.modules[{package!r}] = None; sys.argv = {['designs', *arguments]!r}\n"
        "runpy.run_module('designs', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr


@pytest.mark.slow
def test_the_main_job_runs_on_mnist(data: Path, tmp_path: Path) -> None:
    real_file(data, "mnist", "train-images-idx3-ubyte.gz")
    done = run_command("designs", "--data", data, *SMALL_GRID, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    network = read_results(tmp_path / "results/mnist/sweep.parquet", SWEEP_COLUMNS)[1]["network"]
    assert network["accuracy_after"] > 0.975
    assert network["bytes_before"] / network["bytes_after"] > 25


def test_settings_are_data() -> None:
    assert MainJobSettings() == MainJobSettings()
