"""The sweep's commands as a user runs them, and what is shown while a sweep goes on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from designs import Design, Workload, network_totals, sweep
from designs.commands.sweep import sweep as sweep_command
from designs.sweeps.progress import SweepProgress
from designs.sweeps.sampling import Sampling
from sim import ArrayConfig
from tests.commands import check_refusal, run_command
from traces.files.npz import write_npz
from traces.synthetic import draw_layer

SPACE = "[hardware]\nnum_pes = [2, 4]\nqueue_slots = [2, 8]\nline_bits = [8, 4]\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweep", "absent.toml"], "error: absent.toml: there is no such file"),
        (["sweep", "wrong.toml"], "error: wrong.toml: hardware: unknown: pes; valid names: num_pes, queue_slots"),
        (["sweep", "space.toml", "--method", "sobol"], "error: points must be the number of designs to draw"),
        (["sweep", "space.toml", "--points", "5"], "error: a grid takes every combination; points and seed have no"),
        (["sweep", "space.toml", "--workload", "absent"], "error: absent: there is no such layer file, and the EIE"),
        (["sweep", "space.toml", "--workload", "silent.npz"], "error: silent.npz: a sweep needs a recorded input"),
        (
            ["sweep", "space.toml", "--workload", "NT-We", "--workers", "0"],
            "error: workers must be a whole number from 1 to",
        ),
        (["front", "absent"], "error: absent: there is no such result file; make it with python -m designs"),
        (["front", ".", "--objectives", "speed"], "invalid choice 'speed'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_a_sentence_and_leaves_nothing_behind(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "wrong.toml").write_text("[hardware]\npes = 4\n")
    write_npz(tmp_path / "silent.npz", {"codes": np.eye(2, dtype=np.uint8), "codebook": np.array([0, 1.0])})
    check_refusal(sentence, "designs", *arguments, folder=tmp_path)


def test_a_sweep_of_a_layer_file_prints_its_front_and_what_is_left_out(tmp_path: Path) -> None:
    layer, values = draw_layer("mine", 30, 20, 0.3, 0.5, seed=0)
    arrays = {"codes": layer.codes, "codebook": layer.codebook, "act": values}
    write_npz(tmp_path / "mine.npz", arrays)
    (tmp_path / "space.toml").write_text(SPACE)
    done = run_command("designs", "sweep", "space.toml", "--workload", "mine.npz", "--out", "out", folder=tmp_path)
    assert "4 combinations are left out: a line does not hold one entry." in done.stdout, done.stderr
    assert "4 designs, of which 4 run every layer." in done.stdout
    assert (tmp_path / "out/sweep.parquet").exists()
    again = run_command("designs", "front", "out", folder=tmp_path)
    assert again.stdout.splitlines() == done.stdout.splitlines()[1:-1]


def test_progress_states_points_rate_the_best_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, values = draw_layer("layer", 30, 20, 0.3, 0.5, seed=0)
    workload = Workload.of_layers("x", [layer], {"layer": values[None]})
    points = network_totals(sweep(workload, [Design(ArrayConfig(num_pes=pes)) for pes in (1, 4)]))
    best = min(points, key=lambda point: point.energy_delay_nj_us)
    now = [100.0]
    monkeypatch.setattr("traces.shell.progress.time.monotonic", lambda: now[0])
    with SweepProgress(1000, done=200, best=None) as progress:
        now[0] += 5
        progress.add(100, points[0])
        assert capsys.readouterr().err == ""  # not so often
        now[0] += 5
        progress.add(100, points[1])
    assert capsys.readouterr().err == (
        f"sweep: 400 of 1,000 points, 20 per second; best {best.energy_delay_nj_us:,.4g} nJ us: point {best.point}, "
        f"{best.num_pes} PEs, 8 slots, 64-bit lines; 30 s left\n"
    )


@pytest.mark.parametrize(
    ("fresh", "command"), [(False, "the same command"), (True, "the same command without --fresh")]
)
def test_an_interrupted_sweep_says_what_is_kept_and_how_to_go_on(
    fresh: bool, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --fresh, the same command would discard what is kept."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("designs.sweeps.sweep.run_sweep", interrupted)
    space = tmp_path / "space.toml"
    space.write_text("[hardware]\nnum_pes = [1, 2]\n")
    sentence = f"finished points are kept in {tmp_path}; {command} continues the sweep"
    with pytest.raises(KeyboardInterrupt, match=f"^{re.escape(sentence)}$"):
        sweep_command(space, Sampling(), ("NT-We",), out=tmp_path, fresh=fresh)
