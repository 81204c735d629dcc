"""Sweeps on disk and by several processes: the table is the same after kills, interrupts and full disks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from designs import Constraints, Design, Space, Workload, network_totals, read_sweep, sweep
from designs.design import Packing
from designs.results import read_results, read_results_bytes, results_bytes, write_results
from designs.sweeps.batches import Batch, Batches, Finished
from designs.sweeps.design_rows import DesignRows
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.packings import packed_images
from designs.sweeps.workers import Crew, Here, finished_batches
from designs.sweeps.workload import mapped
from designs.sweeps.workload_source import open_workload
from sim import ArrayConfig, DoesNotFitWarning, simulate
from tests.commands import environment_with
from traces import CompressedLayer, InputError
from traces.files.atomic_file import write_atomically
from traces.synthetic import draw_layer

LAYER, INPUT = draw_layer("layer", 200, 150, 0.2, 0.5, seed=1)
WORKLOAD = Workload.of_layers("one layer", [LAYER], {"layer": INPUT[np.newaxis]})
SPACE = Space(
    {
        "num_pes": [1, 4, 16],
        "queue_slots": [2, 8],
        "line_bits": [32, 64],
        "index_bits": [3, 4],
        "row_assignment": ["interleaved", "entries", "activity"],
    }
)
POINTS = 72
ON_DISK = """
[hardware]
num_pes = { low = 1, high = 40 }
queue_slots = { low = 2, high = 17 }
row_assignment = ["interleaved", "activity"]
"""
ON_DISK_POINTS = 40 * 16 * 2


@dataclass(frozen=True)
class Counting(Here):
    """Worker in this process that records its points and stops after a number of batches."""

    seen: tuple[list[int], ...] = ()
    stop_after: int = 10**9

    @contextlib.contextmanager
    def start(self, inputs: Any) -> Iterator[Crew[Any, Any]]:
        outer = self
        batches = 0
        with super().start(inputs) as crew:

            class Watched:
                workers = capacity = 1

                def submit(self, batch: Batch) -> None:
                    crew.submit(batch)

                def next(self) -> list[tuple[Batch, Finished | None]]:
                    nonlocal batches
                    if batches == outer.stop_after:
                        raise KeyboardInterrupt
                    batches += 1
                    through = crew.next()
                    outer.seen[0].extend(through[0][0].numbers)
                    return through

            yield Watched()


def counting(stop_after: int = 10**9) -> Counting:
    return Counting(seen=([],), stop_after=stop_after)


def test_a_sweep_is_the_same_table_and_file_on_one_and_on_two_workers_and_in_memory(tmp_path: Path) -> None:
    in_memory = sweep(WORKLOAD, SPACE)
    assert in_memory["point"].to_pylist() == list(range(POINTS))
    for number, workers in (("one", 1), ("two", 2)):
        assert sweep(WORKLOAD, SPACE, folder=tmp_path / number, workers=workers).equals(in_memory)
        assert {path.name for path in (tmp_path / number).iterdir()} == {".lock", "sweep.json", "sweep.parquet"}
    assert (tmp_path / "one/sweep.parquet").read_bytes() == (tmp_path / "two/sweep.parquet").read_bytes()


def test_a_result_says_what_made_it(tmp_path: Path) -> None:
    sweep(WORKLOAD, SPACE, folder=tmp_path)
    origin = read_results(tmp_path / "sweep.parquet", SWEEP_COLUMNS)[1]
    settings = origin["settings"]
    assert settings["space"] == SPACE.to_dict()
    assert settings["sampling"] == {"method": "grid", "points": None, "seed": 0}
    shape = {"rows": 200, "columns": 150, "vectors": 1, "groups": 1, "window_reuse": 1.0, "runs": 1}
    of_workload = {"name": "one layer", "digest": WORKLOAD.digest, "layers": ["layer"]}
    assert settings["workload"] == of_workload | {"shapes": [shape], "network": False}
    assert {"python", "numpy", "numba", "eie-codesign"} <= set(origin["versions"])


def test_an_interrupted_sweep_goes_on_without_repeating_or_losing_a_point(tmp_path: Path) -> None:
    first, second = counting(stop_after=1), counting()
    with pytest.raises(KeyboardInterrupt):
        sweep(WORKLOAD, SPACE, folder=tmp_path, workers=first)
    partial, origin = read_sweep(tmp_path)
    assert set(partial["point"].to_pylist()) == set(first.seen[0])
    assert origin["settings"]["space"] == SPACE.to_dict()
    assert 0 < len(network_totals(partial)) < POINTS
    table = sweep(WORKLOAD, SPACE, folder=tmp_path, workers=second)
    assert sorted(first.seen[0] + second.seen[0]) == list(range(POINTS))
    assert table.equals(sweep(WORKLOAD, SPACE))
    third = counting()
    assert sweep(WORKLOAD, SPACE, folder=tmp_path, workers=third).equals(table)
    assert third.seen[0] == []
    assert sweep(WORKLOAD, SPACE, folder=tmp_path, workers=third, fresh=True).equals(table)
    assert len(third.seen[0]) == POINTS


def test_a_folder_of_another_sweep_is_not_touched(tmp_path: Path) -> None:
    sweep(WORKLOAD, SPACE, folder=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"holds another sweep, of which settings differ; give another folder"):
        sweep(WORKLOAD, [Design(ArrayConfig())], folder=tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match="holds another sweep; give another folder, or fresh=True"):
        sweep(WORKLOAD, SPACE, folder=tmp_path)
    (tmp_path / "sweep.json").unlink()
    with pytest.raises(InputError, match=r"holds results without the sweep\.json that states their origin"):
        sweep(WORKLOAD, SPACE, folder=tmp_path)
    assert (tmp_path / "sweep.parquet").read_bytes() == before[tmp_path / "sweep.parquet"]


def test_a_damaged_part_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep(WORKLOAD, SPACE, folder=tmp_path, workers=counting(stop_after=1))
    part = next((tmp_path / "parts").iterdir())
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(InputError, match="remove that file, and its points are simulated again"):
        sweep(WORKLOAD, SPACE, folder=tmp_path)
    part.unlink()
    assert sweep(WORKLOAD, SPACE, folder=tmp_path).equals(sweep(WORKLOAD, SPACE))


TWO_LAYERS = Workload.of_layers(
    "two layers",
    [LAYER, draw_layer("another", 100, 80, 0.2, 0.5, seed=2)[0]],
    {"layer": INPUT[np.newaxis], "another": draw_layer("another", 100, 80, 0.2, 0.5, seed=2)[1][np.newaxis]},
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an undisturbed sweep of two layers."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep(TWO_LAYERS, SPACE, folder=folder)
    return folder / "sweep.parquet"


def begun(folder: Path) -> Path:
    """Return the only part of a sweep of two layers that was interrupted after its first batch."""
    with pytest.raises(KeyboardInterrupt):
        sweep(TWO_LAYERS, SPACE, folder=folder, workers=counting(stop_after=1))
    (part,) = (folder / "parts").iterdir()
    return part


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Change the rows of a result file; return its new table."""
    table, origin = read_results(path, SWEEP_COLUMNS)
    write_results(path, change(table), origin)
    return read_results(path, SWEEP_COLUMNS)[0]


def points_of(table: pa.Table) -> set[int]:
    return set(table["point"].to_pylist())


def test_a_part_that_is_removed_while_a_sweep_runs_is_missed_and_done_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: set[int] = set()

    def write_and_lose_the_first(path: Path, content: bytes) -> None:
        write_atomically(path, content)
        if path.suffix == ".parquet" and not removed:
            removed.update(points_of(read_results(path, SWEEP_COLUMNS)[0]))
            path.unlink()

    monkeypatch.setattr("designs.sweeps.folder.write_atomically", write_and_lose_the_first)
    with pytest.raises(InputError) as found:
        sweep(TWO_LAYERS, SPACE, folder=tmp_path)
    sentence = f"must have all of its 72 points; {len(removed)} are missing, .*; run the same sweep again"
    assert re.search(sentence, str(found.value))
    assert not (tmp_path / "sweep.parquet").exists()
    again = counting()
    table = sweep(TWO_LAYERS, SPACE, folder=tmp_path, workers=again)
    assert set(again.seen[0]) == removed
    assert table["point"].to_pylist() == [point for point in range(POINTS) for _ in TWO_LAYERS.layers]
    assert (tmp_path / "sweep.parquet").read_bytes() == undisturbed.read_bytes()
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("begin", [0, 30, 71])
def test_the_table_of_a_finished_sweep_that_lacks_points_is_made_whole(
    begin: int, undisturbed: Path, tmp_path: Path
) -> None:
    sweep(TWO_LAYERS, SPACE, folder=tmp_path)
    missing = set(range(begin, min(begin + 10, POINTS)))
    first_row = 2 * begin + 1  # so that of the first one, one layer is left
    rewrite(
        tmp_path / "sweep.parquet", lambda rows: pa.concat_tables([rows[:first_row], rows[2 * (max(missing) + 1) :]])
    )
    again = counting()
    table = sweep(TWO_LAYERS, SPACE, folder=tmp_path, workers=again)
    assert set(again.seen[0]) == missing
    assert len(again.seen[0]) == len(missing)
    assert table.equals(read_results(undisturbed, SWEEP_COLUMNS)[0])
    assert (tmp_path / "sweep.parquet").read_bytes() == undisturbed.read_bytes()


def test_points_that_are_there_twice_are_in_its_table_once(undisturbed: Path, tmp_path: Path) -> None:
    expected = read_results(undisturbed, SWEEP_COLUMNS)[0]
    sweep(TWO_LAYERS, SPACE, folder=tmp_path / "finished")

    def doubled(rows: pa.Table) -> pa.Table:
        return pa.concat_tables([rows[4:6], rows, rows[:3]])

    assert rewrite(tmp_path / "finished/sweep.parquet", doubled).num_rows == 2 * POINTS + 5
    assert sweep(TWO_LAYERS, SPACE, folder=tmp_path / "finished").equals(expected)
    assert (tmp_path / "finished/sweep.parquet").read_bytes() == undisturbed.read_bytes()

    shutil.copyfile(begun(tmp_path / "begun"), tmp_path / "begun/parts/00000071.parquet")
    partial, _ = read_sweep(tmp_path / "begun")
    assert partial.num_rows == 2 * len(points_of(partial))
    assert sweep(TWO_LAYERS, SPACE, folder=tmp_path / "begun").equals(expected)
    assert (tmp_path / "begun/sweep.parquet").read_bytes() == undisturbed.read_bytes()


def test_different_rows_for_one_point_are_an_error_that_names_both_files(tmp_path: Path) -> None:
    part = begun(tmp_path)
    other = part.with_name("00000071.parquet")
    shutil.copyfile(part, other)

    def edited(rows: pa.Table) -> pa.Table:
        cycles = rows["cycles"].to_numpy().copy()
        cycles[3] += 1
        return rows.set_column(rows.schema.get_field_index("cycles"), rows.schema.field("cycles"), pa.array(cycles))

    rows = rewrite(other, edited)
    point, layer = rows["point"][3], rows["layer"][3]
    sentence = f"{part.name} and .*{other.name} must have the same rows for point {point}, layer {layer}; found differ"
    for use in (lambda: sweep(TWO_LAYERS, SPACE, folder=tmp_path), lambda: read_sweep(tmp_path)):
        with pytest.raises(InputError, match=sentence):
            use()


@pytest.mark.parametrize("changed", ["point", "layer"])
def test_rows_that_are_not_of_the_sweep_are_an_error(changed: str, tmp_path: Path) -> None:
    part = begun(tmp_path)
    wrong = {"point": pa.array([POINTS, POINTS]), "layer": pa.array(["strange", "another"])}[changed]

    def with_strange_rows(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index(changed)
        return pa.concat_tables([rows, rows[:2].set_column(place, rows.schema.field(changed), wrong)])

    rewrite(part, with_strange_rows)
    sentence = f"{part.name} holds rows of points or layers that are not of its sweep; remove that file"
    with pytest.raises(InputError, match=sentence):
        sweep(TWO_LAYERS, SPACE, folder=tmp_path)


def test_files_of_another_sweep_are_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other"
    begun(other)
    sweep(WORKLOAD, SPACE, folder=tmp_path / "foreign")
    shutil.copyfile(tmp_path / "foreign/sweep.parquet", other / "parts/00000071.parquet")
    sentence = "00000071.parquet is of another sweep than its folder, of which settings differ; remove that file"
    for use in (lambda: sweep(TWO_LAYERS, SPACE, folder=other), lambda: read_sweep(other)):
        with pytest.raises(InputError, match=sentence):
            use()
    (other / "parts/00000071.parquet").unlink()
    sweep(TWO_LAYERS, SPACE, folder=other)
    shutil.copyfile(tmp_path / "foreign/sweep.parquet", other / "sweep.parquet")
    for use in (lambda: sweep(TWO_LAYERS, SPACE, folder=other), lambda: read_sweep(other)):
        with pytest.raises(InputError, match=r"sweep\.parquet is of another sweep than its folder"):
            use()


def test_rows_that_are_removed_from_the_table_of_a_finished_sweep_are_missed(tmp_path: Path) -> None:
    sweep(TWO_LAYERS, SPACE, folder=tmp_path)
    rewrite(tmp_path / "sweep.parquet", lambda rows: rows[4:])
    for path in (tmp_path, tmp_path / "sweep.parquet"):
        with pytest.raises(InputError, match="must have all of its 72 points; 2 are missing"):
            read_sweep(path)


def test_a_table_that_another_program_wrote_again_is_refused(tmp_path: Path) -> None:
    sweep(TWO_LAYERS, SPACE, folder=tmp_path)
    table = pq.read_table(tmp_path / "sweep.parquet")
    pq.write_table(table, tmp_path / "sweep.parquet")
    for use in (lambda: sweep(TWO_LAYERS, SPACE, folder=tmp_path), lambda: read_sweep(tmp_path)):
        with pytest.raises(InputError, match="must have the checksum in its footer; this file was edited or damaged"):
            use()


def test_a_workload_that_is_written_in_part_says_that_the_disk_may_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_in_part(*_: object, **__: object) -> None:
        raise OSError("4096 requested and 20 written")  # NumPy's words

    monkeypatch.setattr(np, "save", written_in_part)
    with pytest.raises(
        InputError, match=r"cannot be written: the disk may be full: 4096 .*; give another folder, or make"
    ):
        WORKLOAD.write(tmp_path / "workload")


def test_a_table_whose_origin_was_edited_is_refused(tmp_path: Path) -> None:
    sweep(TWO_LAYERS, SPACE, folder=tmp_path)
    path = tmp_path / "sweep.parquet"
    content = path.read_bytes()
    place = content.rindex(b'"must_fit": false')
    path.write_bytes(content[:place] + b'"must_fit": true ' + content[place + 17 :])
    with pytest.raises(InputError, match="must have the checksum in its footer; this file was edited or damaged"):
        read_sweep(path)


@pytest.mark.parametrize("name", ["arrays", "merging"])
def test_a_folder_of_something_else_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    kept = tmp_path / name / "mine"
    kept.parent.mkdir()
    kept.write_text("mine")
    for fresh in (False, True):
        with pytest.raises(InputError, match=f"holds {name}, which a sweep would replace, and no sweep"):
            sweep(TWO_LAYERS, SPACE, folder=tmp_path, fresh=fresh)
    assert kept.read_text() == "mine"


def test_a_part_that_lacks_a_layer_of_its_first_point_costs_no_other_point(undisturbed: Path, tmp_path: Path) -> None:
    part = begun(tmp_path)
    lacking = int(part.stem)
    before = points_of(rewrite(part, lambda rows: rows[1:]))
    assert {lacking} < before
    again = counting()
    sweep(TWO_LAYERS, SPACE, folder=tmp_path, workers=again)
    assert set(again.seen[0]) == set(range(POINTS)) - before | {lacking}
    assert (tmp_path / "sweep.parquet").read_bytes() == undisturbed.read_bytes()


def test_a_sweep_killed_after_its_table_was_written_is_finished(undisturbed: Path, tmp_path: Path) -> None:
    part = begun(tmp_path)
    content = part.read_bytes()
    sweep(TWO_LAYERS, SPACE, folder=tmp_path)
    write_atomically(part, content)
    again = counting()
    sweep(TWO_LAYERS, SPACE, folder=tmp_path, workers=again)
    assert not again.seen[0]
    assert not (tmp_path / "parts").exists()
    assert (tmp_path / "sweep.parquet").read_bytes() == undisturbed.read_bytes()


def test_a_sweep_in_memory_counts_its_points() -> None:
    class Losing(Here):
        @contextlib.contextmanager
        def start(self, inputs: Any) -> Iterator[Crew[Any, Any]]:
            with super().start(inputs) as crew:

                class Shortened:
                    workers = capacity = 1

                    def submit(self, batch: Batch) -> None:
                        crew.submit(batch)

                    def next(self) -> list[tuple[Batch, Finished | None]]:
                        ((batch, finished),) = crew.next()
                        assert finished is not None
                        part = results_bytes(read_results_bytes(finished.part)[1:], inputs.origin)
                        return [(batch, dataclasses.replace(finished, part=part))]

                yield Shortened()

    with pytest.raises(
        InputError, match=r"two layers: a finished sweep must have all of its 72 points; [0-9]+ are missi"
    ):
        sweep(TWO_LAYERS, SPACE, workers=Losing())


def test_a_disk_that_fills_up_loses_no_finished_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write_until_full(path: Path, content: bytes) -> None:
        if path.suffix == ".parquet":
            if len(written) == 1:
                raise InputError(f"{path} cannot be written: No space left on device; choose another place")
            written.append(path)
        write_atomically(path, content)

    monkeypatch.setattr("designs.sweeps.folder.write_atomically", write_until_full)
    sentence = "No space left on device.* finished before are kept; make room and run the same sweep again"
    with pytest.raises(InputError, match=sentence):
        sweep(WORKLOAD, SPACE, folder=tmp_path)
    kept = read_sweep(tmp_path)[0]
    assert set((tmp_path / "parts").iterdir()) == set(written)
    monkeypatch.undo()
    table = sweep(WORKLOAD, SPACE, folder=tmp_path)
    assert table.equals(sweep(WORKLOAD, SPACE))
    of_kept = table.filter(pa.compute.is_in(table["point"], kept["point"].combine_chunks()))
    assert of_kept.equals(kept)


def test_a_disk_that_is_really_full_loses_no_finished_point(tmp_path: Path) -> None:
    many = Space({**SPACE.hardware, "clock_mhz": [float(clock) for clock in range(100, 500, 10)]})
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with pytest.raises(InputError, match="No space left on device"):
            sweep(WORKLOAD, many, folder=disk / "sweep")
        kept = read_sweep(disk / "sweep")[0]
        assert 0 < kept.num_rows < 40 * POINTS
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        again = counting()
        table = sweep(WORKLOAD, many, folder=disk / "sweep", workers=again)
        assert not set(again.seen[0]) & set(kept["point"].to_pylist())
        assert table.equals(sweep(WORKLOAD, many))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def children_of(pid: int) -> list[int]:
    """Return the process ids of the workers that this process started; they have threads of their own."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes()
            if int(fields[1]) == pid and b"spawn_main" in command:
                found.append(int(status.parent.name))
    return found


def start_sweep(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    (tmp_path / "space.toml").write_text(ON_DISK)
    return subprocess.Popen(
        [sys.executable, "-m", "designs", "sweep", "space.toml", "--workload", "NT-LSTM", "--out", "out", *arguments],
        cwd=tmp_path,
        env=environment_with(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def wait_for_parts(tmp_path: Path, job: subprocess.Popen[str], number: int) -> set[str]:
    """Wait for this number of parts; return their names."""
    while job.poll() is None:
        parts = {path.name for path in (tmp_path / "out/parts").glob("[0-9]*.parquet")}
        if len(parts) >= number:
            return parts
        time.sleep(0.01)
    raise AssertionError(f"the sweep ended before it had {number} parts: {job.communicate()}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of an undisturbed sweep."""
    folder = tmp_path_factory.mktemp("whole")
    said = start_sweep(folder).communicate()
    assert "1,280 designs, of which 1,280 run every layer" in said[0], said
    return (folder / "out/sweep.parquet").read_bytes()


def test_a_worker_that_is_killed_costs_nothing_but_time(whole: bytes, tmp_path: Path) -> None:
    with start_sweep(tmp_path, "--workers", "2") as job:
        wait_for_parts(tmp_path, job, 2)
        os.kill(children_of(job.pid)[0], signal.SIGKILL)
        said = job.communicate()
    assert job.returncode == 0, said
    assert (tmp_path / "out/sweep.parquet").read_bytes() == whole


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_killed_or_interrupted_goes_on(
    signal_sent: signal.Signals, whole: bytes, tmp_path: Path
) -> None:
    with start_sweep(tmp_path, "--workers", "2") as job:
        kept = wait_for_parts(tmp_path, job, 2)
        workers = children_of(job.pid)
        job.send_signal(signal_sent)
        _, said = job.communicate()
    assert job.returncode in ((-9,) if signal_sent == signal.SIGKILL else (130, -2)), said
    assert signal_sent == signal.SIGKILL or f"of {ON_DISK_POINTS:,} points" in said
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    table, _ = read_sweep(tmp_path / "out")
    done = set(table["point"].to_pylist())
    assert {int(name.removesuffix(".parquet")) for name in kept} <= done
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").glob("[0-9]*.parquet")}
    with start_sweep(tmp_path, "--workers", "2") as again:
        wait_for_parts(tmp_path, again, len(times) + 1)
        assert all(path.stat().st_mtime_ns == before for path, before in times.items())
        said_again = again.communicate()
    assert again.returncode == 0, said_again
    assert (tmp_path / "out/sweep.parquet").read_bytes() == whole


class Fatal:
    """Crew whose worker dies at a certain point."""

    workers, capacity = 2, 4

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.waiting: list[Batch] = []
        self.most_with_fatal = 0

    def submit(self, batch: Batch) -> None:
        self.waiting.append(batch)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        batches, self.waiting = self.waiting, []
        dies = any(self.fatal in batch.numbers for batch in batches)  # and takes with it what others were given
        return [(batch, None if dies else Finished(batch, b"", None, 1e-3, 0.0)) for batch in batches]


def test_a_point_that_kills_its_worker_each_time_is_named_and_costs_no_other_point() -> None:
    points = [Design(ArrayConfig(queue_slots=slots)) for slots in range(2, 102)]
    batches = Batches(DesignRows.of(points), np.zeros(len(points), dtype=np.bool_), 2)
    done: list[int] = []
    crew = Fatal(37)
    sentence = r"point 37 .*queue_slots=39.* killed its worker 3 times.*finished batches are kept"

    def run_all() -> None:
        for finished in finished_batches(batches, crew):
            done.extend(finished.batch.numbers)

    with pytest.raises(InputError, match=sentence):
        run_all()
    assert 37 not in done
    assert len(done) == len(set(done))
    assert len(done) > 16


def batches_of(chosen: list[Design], point_seconds: float, packing_seconds: float, workers: int = 2) -> list[Batch]:
    """Return all batches, handed out in turn, for these times per point and per packing."""
    done = np.isin(np.arange(len(chosen)), [0, 4])
    batches = Batches(DesignRows.of(chosen), done, workers)
    seen = []
    through: list[Packing] = []
    while batches:
        batch = batches.next()
        seen.append(batch)
        packings = len(batch.by_packing)
        seconds = len(batch.numbers) * point_seconds
        through += batches.learn(Finished(batch, b"", None, seconds, packings * packing_seconds))
        assert [chosen[number] for number in batch.numbers] == list(batch.designs)
    assert sorted(number for batch in seen for number in batch.numbers) == sorted(set(range(len(chosen))) - {0, 4})
    assert set(through) == {design.packing for number, design in enumerate(chosen) if number not in (0, 4)}
    assert len(through) == len(set(through))
    return seen


def test_batches_take_about_half_a_second_and_hold_every_point_once() -> None:
    chosen = [Design(ArrayConfig(num_pes=pes, queue_slots=slots)) for slots in range(2, 502) for pes in (1, 2, 3)]
    long = batches_of(chosen, point_seconds=0.01, packing_seconds=0.2)
    assert all(len(batch.by_packing) == 1 and batch.share for batch in long)
    assert 45 <= sorted(len(batch.numbers) for batch in long)[len(long) // 2] <= 51


def test_packings_of_few_points_go_into_one_batch_that_shares_nothing() -> None:
    chosen = [Design(ArrayConfig(num_pes=pes)) for pes in range(1, 101)]
    quick = batches_of(chosen, point_seconds=0.001, packing_seconds=0.05)
    assert len(quick) < 25
    assert max(len(batch.by_packing) for batch in quick) in (8, 9)
    assert not any(batch.share for batch in quick)
    many = batches_of(chosen, point_seconds=0.001, packing_seconds=0.05, workers=500)  # batches of 5 s
    assert max(len(batch.by_packing) for batch in many) > 40
    slow = batches_of(chosen, point_seconds=0.001, packing_seconds=2.0)
    assert all(len(batch.numbers) == 1 for batch in slow)


def owners_of(array: npt.NDArray[Any]) -> Iterator[Any]:
    """Return the object that owns an array's memory."""
    owner: Any = array
    while owner is not None:
        yield owner
        owner = getattr(owner, "base", None)


def test_workers_map_arrays_and_copy_none_of_them(tmp_path: Path) -> None:
    WORKLOAD.write(tmp_path / "workload")
    opened = Workload.open(tmp_path / "workload")
    design = Design(ArrayConfig(num_pes=4), "entries")
    ((packed,),) = packed_images(opened, design.packing, tmp_path / "packed", share=True)
    ((again,),) = packed_images(opened, design.packing, tmp_path / "packed")
    ((own,),) = packed_images(WORKLOAD, design.packing)
    codes = opened.layers[0].layer.codes
    for array in (codes, opened.layers[0].activations, packed.entry_lanes, again.entry_lanes, again.padding_lanes):
        assert any(isinstance(owner, np.memmap) for owner in owners_of(array))
        assert not array.flags.writeable
    for name in ("pointers", "entry_counts", "padding_counts", "row_order"):
        assert np.array_equal(getattr(again, name), getattr(own, name))
    assert np.array_equal(codes, LAYER.codes)
    assert opened.digest == WORKLOAD.digest
    assert mapped(tmp_path / "workload/0.codes.npy").shape == (200, 150)


def test_a_workload_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold a complete workload"):
        Workload.open(tmp_path)
    with pytest.raises(InputError, match="must have layers of different names; found"):
        Workload("twice", WORKLOAD.layers * 2)


def test_a_design_on_which_a_layer_does_not_fit_gets_no_figures_and_says_why() -> None:
    space = {"sparse_matrix_bytes": [512, 8192], "num_pes": 1, "line_bits": 32, "memory_mode": ["unlimited", "passes"]}
    free = sweep(WORKLOAD, Space(space)).to_pylist()
    strict = sweep(WORKLOAD, Space(space, constraints=Constraints(must_fit=True))).to_pylist()
    for row, held in zip(free, strict, strict=True):
        array = ArrayConfig(
            num_pes=1, line_bits=32, sparse_matrix_bytes=row["sparse_matrix_bytes"], memory_mode=row["memory_mode"]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DoesNotFitWarning)  # what `fits` says
            expected = simulate(LAYER, INPUT, array)
        assert row["cycles"] == expected.cycles
        assert row["energy_pj"] == pytest.approx(expected.energy.total_pj)
        assert row["dram_bytes"] == expected.dram_read_bytes + expected.dram_write_bytes
        assert row["waiting_cycles"] == expected.waiting_cycles
        fits = row["sparse_matrix_bytes"] == 8192
        assert row["fits"] == held["fits"] == fits
        assert np.isnan(held["cycles"]) == (not fits)
        assert fits or "sparse-matrix SRAM of a PE" in held["lacking"]


def test_a_layer_that_cannot_be_cut_into_blocks_gets_no_figures_and_says_why() -> None:
    wide, values = draw_layer("wide", 400, 300, 0.5, 0.5, seed=4)
    workload = Workload.of_layers("wide", [wide], {"wide": values[np.newaxis]})
    cannot = Space({"memory_mode": "passes", "num_pes": 1, "activation_bytes": 512})
    (row,) = sweep(workload, cannot).to_pylist()
    assert np.isnan(row["cycles"])
    assert np.isnan(row["energy_pj"])
    assert "cannot be cut into blocks of columns that fit" in row["lacking"]


def test_what_a_sweep_cannot_do_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a sweep runs one compressed network, so its space has no compression"):
        sweep(WORKLOAD, Space(compression={"density": 0.5}))
    with pytest.raises(InputError, match="has codes of 4 bits, and a design reads weight_bits=2; give every array"):
        sweep(WORKLOAD, Space({"weight_bits": [2, 4]}))
    with pytest.raises(InputError, match="workers in other processes share arrays through files; give the sweep"):
        sweep(WORKLOAD, SPACE, workers=2)
    with pytest.raises(InputError, match="workers must be a whole number from 1 to 1,024; found 0"):
        sweep(WORKLOAD, SPACE, workers=0, folder=tmp_path)
    with pytest.raises(InputError, match="holds no finished point of a sweep; make one with python -m designs sweep"):
        read_sweep(tmp_path)
    with pytest.raises(InputError, match="there is no such layer file, and the EIE benchmark has Alex-6, "):
        open_workload(["absent.npz"])
    with pytest.raises(InputError, match="a workload is eie, layers of it, layer files, or one container"):
        open_workload(["eie"], inputs=tmp_path)


def test_workloads_come_by_name(tmp_path: Path) -> None:
    assert open_workload(["NT-We", "NT-LSTM"]).layer_names == ("NT-We", "NT-LSTM")
    layer = CompressedLayer("NT-We", LAYER.codes, LAYER.codebook)
    assert Workload.of_layers("x", [layer], {"NT-We": INPUT[np.newaxis]}).digest != WORKLOAD.digest


def test_the_front_of_a_result_is_printed(tmp_path: Path) -> None:
    sweep(WORKLOAD, SPACE, folder=tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "designs", "front", "out", "--objectives", "latency_us"],
        cwd=tmp_path,
        env=environment_with(),
        capture_output=True,
        text=True,
        check=False,
    )
    points = network_totals(read_sweep(tmp_path / "out")[0])
    fastest = min(point.latency_us for point in points)
    assert "72 designs, of which 72 run every layer." in done.stdout, done.stderr
    lines = [line for line in done.stdout.splitlines() if f" {fastest:.2f} " in line]
    assert len(lines) == sum(point.latency_us == fastest for point in points)
