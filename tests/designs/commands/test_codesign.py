"""The commands of co-design as a user runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE
from designs.results import read_results
from tests.commands import check_refusal, environment_with, run_command
from tests.designs.codesigns.test_studies import finished_trials

SPACE = "[hardware]\nnum_pes = [2, 4]\nqueue_slots = [2, 8]\nline_bits = [16, 64]\n"
SMALL = ["--network", "tests.small_network:small_network"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["codesign", "absent.toml"], "error: absent.toml: there is no such file"),
        (["codesign", "space.toml"], "error: results/digits/trained.npz: there is no trained network; make it with"),
        (
            ["codesign", "space.toml", "--network", "x"],
            "error: network must be one of main, lenet_5, resnet_20, resnet_8, an",
        ),
        (
            ["codesign", "space.toml", "--network", "x.onnx"],
            "error: x.onnx needs inputs that it is compressed and",
        ),
        (["codesign", "space.toml", *SMALL, "--inputs", "x.npy"], "error: tests.small_network:small_network gives a n"),
        (["codesign", "space.toml", "--inputs", "x.npy"], "error: main has images of its own, so inputs have no effe"),
        (["codesign", "space.toml", "--network", "x:y"], "error: x:y: the module cannot be imported: No module"),
        (
            ["codesign", "space.toml", "--network", "tests.small_network:no_network"],
            "error: tests.small_network:no_network must give a torch.nn.Module, or a designs.TrainedNetwork; found int",
        ),
        (["codesign", "space.toml", "--network", "lenet_5"], "error: lenet_5 needs the folder of its images; give it"),
        (
            ["codesign", "space.toml", "--trials", "0"],
            "error: trials must be a whole number from 1 to 2,147",
        ),
        (
            ["codesign", "space.toml", "--uncertain", "-1"],
            "error: uncertain must be a whole number of draws of the cost model's constants, such as 200, or 0 for no",
        ),
        (
            ["codesign", "space.toml", "--bounds", "speed", "1"],
            "error: the figure of a bound must be one of accuracy_lo",
        ),
        (["fleet", "space.toml", "space.toml"], "error: space.toml: hardware: unknown: line_bits, num_pes, queue_s"),
        (["fleet", "fleet.toml", "space.toml"], "error: results/digits/trained.npz: there is no trained network"),
        (
            ["fleet", "fleet.toml", "space.toml", *SMALL, "--leave", "fc3"],
            "error: leave names fc3, which the network do",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_a_sentence_and_leaves_nothing_behind(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "fleet.toml").write_text("[watch]\nmax_area_mm2 = 2.0\n")
    check_refusal(sentence, "designs", *arguments, folder=tmp_path)


def test_a_trained_network_that_was_changed_is_not_compressed(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "results/digits").mkdir(parents=True)
    (tmp_path / "results/digits/trained.npz").write_bytes(b"trained elsewhere")
    sentence = "error: results/digits/trained.npz: must be as the main job wrote it; its checksum differs; run python"
    check_refusal(sentence, "designs", "codesign", "space.toml", folder=tmp_path)


def test_a_codesign_prints_its_verified_front_and_so_does_front(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    arguments = ["--trials", "6", "--verify", "3", "--out", "out"]
    done = run_command("designs", "codesign", "space.toml", *SMALL, *arguments, folder=tmp_path)
    assert "3 designs were compressed and measured, of which 3 are feasible; " in done.stdout, done.stderr
    assert "As measured, and as predicted" in done.stdout
    objectives = ["--objectives", "accuracy_loss", "latency_us", "energy_nj", "area_mm2"]
    again = run_command("designs", "front", "out", *objectives, folder=tmp_path)
    assert again.stdout.splitlines() == done.stdout.splitlines()[:-1]
    assert "front share" not in done.stdout
    drawn = run_command("designs", "codesign", "space.toml", *SMALL, *arguments, "--uncertain", folder=tmp_path)
    assert "With uncertain constants of energy, area and clock, " in drawn.stdout, drawn.stderr
    assert "front share" in drawn.stdout
    assert read_results(tmp_path / "out" / FRONT_FILE, FRONT_COLUMNS)[1]["settings"]["uncertain"] == 200
    again = run_command("designs", "front", "out", *objectives, folder=tmp_path)
    assert again.stdout.splitlines() == drawn.stdout.splitlines()[:-1]
    others = run_command("designs", "front", "out", "--objectives", "latency_us", folder=tmp_path)
    assert "As measured, and as predicted" in others.stdout
    assert "front share" not in others.stdout  # the shares are those of the search's objectives
    wrong = run_command("designs", "front", "out", "--objectives", "energy_delay_nj_us", folder=tmp_path)
    assert (
        "error: objectives of a co-design must be among accuracy_loss, output_error, latency_us, energy_nj, area_mm2, "
        in wrong.stderr
    )
    wrong = run_command("designs", "front", "out", "--fitting", folder=tmp_path)
    assert "error: fitting applies to the front of a sweep; a co-design has must_fit in its space" in wrong.stderr


def test_a_fleet_prints_a_row_a_target(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "fleet.toml").write_text("[watch]\nmax_area_mm2 = 2.0\n[phone]\nmax_latency_us = 1e-3\n")
    done = run_command(
        "designs", "fleet", "fleet.toml", "space.toml", *SMALL, "--trials", "3", "--out", "out", folder=tmp_path
    )
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("│")}
    assert "kept" in rows["watch"], done.stderr
    assert "exceeds latency_us by" in rows["phone"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.dc")) == ["phone.dc", "watch.dc"]


def test_ways_of_searching_are_compared(tmp_path: Path) -> None:
    command = ["designs", "experiment", "compare", *SMALL, "--seeds", "2", "--trials", "15", "--out", "out"]
    done = run_command(*command, folder=tmp_path)
    assert "small: dominated share of the costs" in done.stdout, done.stderr
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows] == ["0", "1", "co-design", "two steps", "front first"]
    assert [row[2].strip() for row in rows[2:4]] == ["15", "1"]
    for row in rows[:2]:
        together, apart, gain = float(row[2]), float(row[3]), float(row[4].strip(" %"))
        assert gain == pytest.approx(100 * (together / apart - 1), abs=0.5)
    assert run_command(*command, folder=tmp_path).stdout == done.stdout


def test_ctrl_c_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    command = [sys.executable, "-m", "designs", "codesign", "space.toml", *SMALL, "--out", "out", "--verify", "2"]
    process = subprocess.Popen(
        [*command, "--trials", "400"],
        cwd=tmp_path,
        env=environment_with(),
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 120
    while len(finished_trials(tmp_path / "out")) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "co-design stopped: " in said
    done = len(finished_trials(tmp_path / "out"))
    shown = run_command("designs", "front", "out", "--objectives", "latency_us", "accuracy_loss", folder=tmp_path)
    words = f"The study is not finished; the predicted front of {done} compressions has "
    assert words in shown.stdout, shown.stderr
    again = run_command(*command[2:], "--trials", done + 2, folder=tmp_path)
    assert "2 designs were compressed and measured" in again.stdout, again.stderr
    assert len(finished_trials(tmp_path / "out")) == done + 2
