"""Exhaustive co-design: the true front, whatever the workers, kills and damaged files."""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

torch = pytest.importorskip("torch")

from designs import Search, Space  # noqa: E402
from designs.codesigns.columns import DESIGN_COLUMNS  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.codesigns.design_table import DesignTable  # noqa: E402
from designs.codesigns.enumeration import Enumeration  # noqa: E402
from designs.codesigns.exhaustive import (  # noqa: E402
    EXHAUSTIVE_FILE,
    CompressionRange,
    FinishedRange,
    RangeInputs,
    Ranges,
    TrueFront,
    exhaustive_front,
    portable_problem,
)
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.search import Figure  # noqa: E402
from designs.results import read_results, write_results  # noqa: E402
from designs.sweeps.dask_workers import Cluster  # noqa: E402
from designs.sweeps.workers import Workers  # noqa: E402
from tests.commands import environment_with  # noqa: E402
from tests.made_once import made_once  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402
from traces.files.atomic_file import write_atomically  # noqa: E402
from traces.files.checksums import file_checksum  # noqa: E402
from traces.pareto import non_dominated  # noqa: E402

HARDWARE = {
    "num_pes": (4, 64, 1024),
    "queue_slots": (2, 8),
    "line_bits": (32, 64),
    "weight_bits": (2, 3, 4),
    "index_bits": 4,
    "clock_mhz": (400, 1600),
}
ARRAYS = 24
OBJECTIVES: tuple[Figure, ...] = ("accuracy_loss", "latency_us", "energy_nj", "file_bytes")


@functools.cache
def analysis() -> CompressionAnalysis:
    torch.set_num_threads(1)
    kept = made_once("exhaustive_analysis", lambda folder: analyse_compression(small_network(), folder=folder))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        return analyse_compression(small_network(), folder=folder)


@functools.cache
def problem(**hardware: Any) -> CodesignProblem:
    return CodesignProblem(analysis(), Space(HARDWARE | hardware), Search(OBJECTIVES, {"accuracy_loss": 0.2}))


def content(front: TrueFront) -> list[Any]:
    """Return all that a front has."""
    return [
        front.compressions,
        front.designs,
        [(trial.number, trial.choices, trial.designs.to_dict(), trial.least) for trial in front.trials],
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    exhaustive_front(problem(), folder)
    return folder


def parts_in(folder: Path) -> list[Path]:
    return sorted((folder / "exhaustive").glob("[0-9]*.parquet"))


def test_the_front_is_that_of_a_plain_loop_over_all_designs(undisturbed: Path) -> None:
    whole = problem()
    space = whole.compressions
    numbers, tables = [], []
    for number in range(space.num_compressions):
        row = space.compressions(number, number + 1)[0]
        if space.within(row).all():
            tables.append(whole.enumeration(space.choices(row)).designs)
            numbers.append(np.full(len(tables[-1]), number))
    designs, of = DesignTable.joined(tables), np.concatenate(numbers)
    members = non_dominated(designs.costs(OBJECTIVES), keep_equal=False)
    found = exhaustive_front(whole, undisturbed)
    assert 100 < found.members == members.sum() < len(designs)
    assert (found.compressions, found.designs) == (len(tables), len(tables) * ARRAYS)
    assert [trial.number for trial in found.trials] == np.unique(of[members]).tolist()
    joined = DesignTable.joined([trial.designs for trial in found.trials])
    for expected, values in ((designs.hardware, joined.hardware), (designs.figures, joined.figures)):
        for name in values:
            assert np.array_equal(np.asarray(expected[name])[members], values[name]), name
    for trial in found.trials:
        assert trial.choices == space.choices(space.compressions(trial.number, trial.number + 1)[0])
        point = trial.point(0)
        again = whole.predict(point.design, point.choices)
        assert again.feasible
        assert all(again.figures[name] == pytest.approx(value, rel=1e-12) for name, value in point.figures.items())


def test_two_processes_give_the_file_of_one(undisturbed: Path, tmp_path: Path) -> None:
    two = exhaustive_front(problem(), tmp_path, workers=2)
    assert content(two) == content(exhaustive_front(problem(), undisturbed))
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()
    assert not parts_in(tmp_path)


def test_a_cluster_gives_the_file_of_one_process(undisturbed: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs Dask: install the extra 'cluster'")
    exhaustive_front(problem(), tmp_path, workers=Cluster(number=2))
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


def test_a_finished_enumeration_is_read_and_a_damaged_or_foreign_one_is_not(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    result = tmp_path / EXHAUSTIVE_FILE
    before = result.stat().st_mtime_ns, result.read_bytes()
    assert content(exhaustive_front(problem(), tmp_path)) == content(exhaustive_front(problem(), undisturbed))
    assert result.stat().st_mtime_ns == before[0]
    result.write_bytes(before[1][:-100])
    exhaustive_front(problem(), tmp_path)
    assert result.read_bytes() == before[1]
    fewer = exhaustive_front(problem(clock_mhz=400), tmp_path)
    assert fewer.designs == exhaustive_front(problem(), undisturbed).designs // 2
    table, origin = read_results(result, DESIGN_COLUMNS)
    write_results(result, table[1:], origin)
    assert content(exhaustive_front(problem(clock_mhz=400), tmp_path)) == content(fewer)


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, after: int = 2) -> list[Path]:
    """Interrupt an enumeration when it has some parts; return them."""
    written: list[Path] = []

    def write_and_stop(path: Path, part: bytes) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        write_atomically(path, part)
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr("designs.codesigns.exhaustive.write_atomically", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            exhaustive_front(problem(), folder)
    assert parts_in(folder) == sorted(written)
    return sorted(written)


def enumerated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Finish an enumeration; return the numbers of the compressions that were enumerated for that, in order."""
    seen: list[int] = []
    run = RangeInputs.run

    def watched(inputs: RangeInputs, batch: CompressionRange) -> FinishedRange:
        seen.extend(range(batch.begin, batch.end))
        return run(inputs, batch)

    with monkeypatch.context() as patch:
        patch.setattr(RangeInputs, "run", watched)
        exhaustive_front(problem(), folder)
    return seen


def test_an_interrupted_enumeration_goes_on_and_repeats_nothing(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = interrupted(tmp_path, monkeypatch)
    assert "exhaustive stopped: " in capsys.readouterr().err
    done = {number for path in (first, second) for number in range_of(path)}
    seen = enumerated(tmp_path, monkeypatch)
    assert sorted([*seen, *done]) == list(range(problem().compressions.num_compressions))
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


def range_of(part: Path) -> range:
    begin, end, _ = part.stem.split("-")
    return range(int(begin), int(end))


def renamed(path: Path) -> Path:
    """Give a part the name that its content asks for."""
    begin, end, _ = path.stem.split("-")
    return path.rename(path.with_name(f"{begin}-{end}-{file_checksum(path)[:16]}.parquet"))


def foreign(path: Path) -> None:
    table, origin = _read(path)
    write_results(path, table, origin | {"sources": "others"})
    renamed(path)


def edited(path: Path) -> None:
    table, origin = _read(path)
    place = table.schema.get_field_index("latency_us")
    write_results(path, table.set_column(place, table.field(place), pc.multiply(table["latency_us"], 0.5)), origin)


def of_another_range(path: Path) -> None:
    table, origin = _read(path)
    write_results(path, table, origin | {"range": origin["range"] | {"begin": 1}})
    renamed(path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    part = bytearray(path.read_bytes())
    part[len(part) // 4] ^= 1
    path.write_bytes(part)


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    from designs.codesigns.exhaustive import _PART_COLUMNS

    return read_results(path, _PART_COLUMNS, empty=True)


@pytest.mark.parametrize("damage", [foreign, edited, of_another_range, cut_off, flipped, Path.unlink])
def test_a_part_that_is_damaged_or_foreign_is_enumerated_again(
    damage: Any, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = interrupted(tmp_path, monkeypatch)
    damage(first)
    assert set(range_of(first)) <= set(enumerated(tmp_path, monkeypatch))
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


def test_of_parts_that_overlap_one_counts(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = interrupted(tmp_path, monkeypatch)
    table, origin = _read(first)
    overlapping = first.with_name(f"{1:012d}-{9:012d}-.parquet")
    write_results(overlapping, table[:0], origin | {"range": origin["range"] | {"begin": 1, "end": 9}})
    renamed(overlapping)
    seen = enumerated(tmp_path, monkeypatch)
    assert not {1, 9} & set(seen)
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


def test_a_part_that_is_removed_while_an_enumeration_runs_is_missed_and_done_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []

    def write_and_lose_the_first(path: Path, part: bytes) -> None:
        write_atomically(path, part)
        if not removed:
            removed.append(path)
            path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr("designs.codesigns.exhaustive.write_atomically", write_and_lose_the_first)
        with pytest.raises(InputError, match=r"must have all of its [0-9,]+ compressions; 16 are missing, .* run the"):
            exhaustive_front(problem(), tmp_path)
    assert enumerated(tmp_path, monkeypatch) == list(range(16))
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


def test_a_disk_that_fills_up_loses_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, part: bytes) -> None:
        raise InputError(f"{path} cannot be written: No space left on device; choose another place")

    monkeypatch.setattr("designs.codesigns.exhaustive.write_atomically", full)
    with pytest.raises(InputError, match=r"No space left on device.* enumerated before are kept; make room and run"):
        exhaustive_front(problem(), tmp_path)


def test_a_worker_that_is_killed_costs_nothing_but_time(undisturbed: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one_that_works() -> None:
        until = time.monotonic() + 60
        while not killed and time.monotonic() < until:
            workers = multiprocessing.active_children()
            if parts_in(tmp_path) and workers:
                killed.append(workers[0].pid or 0)
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.002)

    killer = threading.Thread(target=kill_one_that_works)
    killer.start()
    exhaustive_front(problem(), tmp_path, workers=2)
    killer.join()
    assert killed
    assert (tmp_path / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


RUN = """
import sys
from pathlib import Path
from designs.codesigns.exhaustive import exhaustive_front
from tests.designs.codesigns.test_exhaustive import problem
if __name__ == "__main__":
    exhaustive_front(problem(), Path(sys.argv[1]), workers=2)
"""


def test_an_enumeration_that_is_killed_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "run.py", tmp_path / "out"
    script.write_text(RUN)
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, str(script), str(folder)], cwd=root, env=environment_with()) as job:
        while job.poll() is None and len(parts_in(folder)) < 2:
            time.sleep(0.002)
        job.kill()
    kept = {path: path.stat().st_mtime_ns for path in parts_in(folder)}
    assert job.returncode == -signal.SIGKILL
    assert len(kept) >= 2
    done = {number for path in kept for number in range_of(path)}
    with pytest.MonkeyPatch.context() as patch:
        assert not done & set(enumerated(folder, patch))
    assert (folder / EXHAUSTIVE_FILE).read_bytes() == (undisturbed / EXHAUSTIVE_FILE).read_bytes()


def test_a_portable_problem_has_the_same_designs_in_a_process_without_pytorch(tmp_path: Path) -> None:
    whole = problem(num_pes=(4, 4096), line_bits=(64, 512), clock_mhz=(400, 1000))
    portable = portable_problem(whole)
    assert whole.enumeration.long_broadcasts
    rows = whole.compressions.compressions(0, whole.compressions.num_compressions)[::17]
    for row in rows:
        choices = whole.compressions.choices(row)
        expected, found = whole.enumeration(choices), Enumeration(portable)(choices)
        assert found.designs.to_dict() == expected.designs.to_dict()
        assert (found.tried, found.nearest is None) == (expected.tried, expected.nearest is None)
    lacking = dataclasses.replace(
        portable,
        counts={
            key: each.part(dataclasses.replace(each.grid, broadcast_cycles=each.grid.broadcast_cycles[:1]))
            for key, each in portable.counts.items()
        },
    )
    choices = whole.compressions.choices(whole.compressions.ladders(1)[0])
    with pytest.raises(InputError, match=r"every broadcast that an array of the space can have must be counted .* fou"):
        Enumeration(lacking)(choices)
    (tmp_path / "inputs").write_bytes(pickle.dumps(RangeInputs(portable, {})))
    script = (
        "import json, pickle, sys; from pathlib import Path\n"
        "inputs = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "from designs.codesigns.exhaustive import CompressionRange\n"
        "print(json.dumps([inputs.run(CompressionRange(0, 5)).designs, 'torch' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "inputs")], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [RangeInputs(whole, {}).run(CompressionRange(0, 5)).designs, False]


def test_spaces_that_are_too_large_or_need_the_network_get_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two: Sequence[int | Workers] = (2, Cluster(number=2))
    for workers in two:
        with pytest.raises(InputError, match=r"workers must be 1 for arrays that load weights, memory_mode passes: ea"):
            exhaustive_front(problem(memory_mode=("resident", "passes")), tmp_path, workers)
    monkeypatch.setattr("designs.codesigns.exhaustive.MOST_DESIGNS", 1000)
    sentence = (
        r"at most 1,000 designs to be enumerated; found [0-9.e+]+: [0-9.e+]+ compressions with 24 arrays each, which "
        r"take [0-9.e-]+ hours on one worker at a measured [0-9,]+ designs a second; give fewer densities"
    )
    with pytest.raises(InputError, match=sentence):
        exhaustive_front(problem(), tmp_path)
    monkeypatch.setattr("designs.codesigns.exhaustive._MOST_COUNTED", 10)
    with pytest.raises(InputError, match=r"found up to [0-9.e+]+: "):
        exhaustive_front(problem(), tmp_path)
    assert not (tmp_path / EXHAUSTIVE_FILE).exists()


def test_arrays_that_load_weights_are_enumerated_in_this_process(tmp_path: Path) -> None:
    few = {"num_pes": (4, 64), "queue_slots": 8, "line_bits": 64, "weight_bits": 3, "clock_mhz": 400}
    found = exhaustive_front(problem(**few, memory_mode="passes"), tmp_path)
    assert found.designs == 2 * found.compressions
    assert {mode for trial in found.trials for mode in trial.designs.hardware["memory_mode"]} == {"passes"}


def test_a_bound_that_no_design_keeps_gives_an_empty_front(tmp_path: Path) -> None:
    impossible = CodesignProblem(
        analysis(), Space(HARDWARE), Search(OBJECTIVES, {"accuracy_loss": 0.2, "area_mm2": 1e-6})
    )
    first = exhaustive_front(impossible, tmp_path)
    assert (first.members, first.designs) == (0, first.compressions * ARRAYS)
    assert content(exhaustive_front(impossible, tmp_path)) == content(first)
    with pytest.raises(InputError, match=r"must have designs; found 3 and 0 members; relax the bounds"):
        first.regret(OBJECTIVES, np.ones((3, 4)))


def test_regret_is_zero_for_the_front_itself_and_grows_as_it_gets_worse(undisturbed: Path) -> None:
    true = exhaustive_front(problem(), undisturbed)
    costs = np.concatenate([trial.designs.costs(OBJECTIVES) for trial in true.trials])
    itself = true.regret(OBJECTIVES, costs)
    assert itself == {
        **{"hypervolume": 1.0, "found": 1.0, "matched": 1.0, "worst": 1.0},
        **{"compressions": true.compressions, "designs": true.designs, "members": len(costs)},
    }
    worse = true.regret(OBJECTIVES, costs * 1.5)
    assert worse["hypervolume"] < 1
    assert worse["found"] == 0
    assert worse["worst"] == pytest.approx(1.5, rel=0.2)


def all_ranges(gaps: list[tuple[int, int]], seconds: float, workers: int) -> list[CompressionRange]:
    """Return all ranges, handed out in turn, if one compression takes so long."""
    ranges, seen = Ranges(gaps, workers), []
    while ranges:
        seen.append(ranges.next())
        ranges.learn(FinishedRange(seen[-1], b"", 0, len(seen[-1]) * seconds))
    return seen


def test_ranges_take_about_as_long_as_batches_of_a_sweep_and_fill_the_gaps() -> None:
    gaps = [(3, 700), (800, 20_000)]
    seen = all_ranges(gaps, 0.004, 1)
    numbers = [number for each in seen for number in range(each.begin, each.end)]
    assert numbers == [number for gap in gaps for number in range(*gap)]
    assert [len(each) for each in seen[:3]] == [16, 125, 125]
    assert all(len(each) <= 125 for each in seen)
    assert max(map(len, all_ranges([(0, 10**7)], 0.004, 1000))) == 10 / 0.004 // 1
    assert max(map(len, all_ranges([(0, 10**5)], 0.004, 1000))) == 125  # so that each worker has some
    assert all(len(each) == 1 for each in all_ranges([(0, 50)], 2.0, 1)[1:][8:])
    assert CompressionRange(3, 5).single() == [CompressionRange(3, 4), CompressionRange(4, 5)]
