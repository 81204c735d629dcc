"""A sweep folder after kills, removals, copies and damage in any order: the full table, or an InputError."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from designs import Space, Workload, read_sweep, sweep
from designs.results import results_file
from designs.sweeps.workers import Here
from tests.designs.state_settings import state_settings
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.synthetic import draw_layer

LAYERS = {name: draw_layer(name, 20, 16, 0.3, 0.5, seed) for seed, name in enumerate(("first", "second"))}
WORKLOAD = Workload.of_layers(
    "two layers",
    [layer for layer, _ in LAYERS.values()],
    {name: values[np.newaxis] for name, (_, values) in LAYERS.items()},
)
SPACE = Space({"num_pes": [1, 4], "index_bits": [3, 4], "queue_slots": [2, 4, 8], "line_bits": [32, 64]})
OTHER_SPACE = Space({"num_pes": [1, 4], "index_bits": [3, 4], "queue_slots": [2, 4, 8], "line_bits": [32, 128]})
POINTS = 24


class Killed(BaseException):
    """End of the process, as far as a test can have it."""


@cache
def reference() -> pa.Table:
    return sweep(WORKLOAD, SPACE)


@cache
def foreign_file() -> bytes:
    """Return the table of a sweep of as many points and the same layers."""
    with tempfile.TemporaryDirectory() as folder:
        sweep(WORKLOAD, OTHER_SPACE, folder=folder)
        return (Path(folder) / "sweep.parquet").read_bytes()


class Stopping(Here):
    """This process as a worker that is interrupted after some batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        object.__setattr__(self, "batches", batches)

    @contextlib.contextmanager
    def start(self, inputs: Any) -> Iterator[Any]:
        left = itertools.count(vars(self)["batches"], -1)
        with super().start(inputs) as crew:
            run = crew.next

            def next_batch() -> Any:
                if not next(left):
                    raise KeyboardInterrupt
                return run()

            crew.next = next_batch  # type: ignore[method-assign]
            yield crew


class SweepFolderStates(RuleBasedStateMachine):
    """Folder of one sweep, and what may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr("designs.sweeps.batches._FIRST_POINTS", 4)
        self.patches.setattr("designs.sweeps.batches._MOST_GROWTH", 1)
        self.folder = Path(tempfile.mkdtemp())

    def teardown(self) -> None:
        try:
            if self.may_be_of_others():
                shutil.rmtree(self.folder / "arrays")
                shutil.rmtree(self.folder / "merging")
            assert sweep(WORKLOAD, SPACE, folder=self.folder, fresh=True).equals(reference())
        finally:
            self.patches.undo()
            shutil.rmtree(self.folder)

    def parts(self) -> list[Path]:
        return sorted((self.folder / "parts").glob("[0-9]*.parquet"))

    def files(self) -> list[Path]:
        others = (self.folder / "sweep.parquet", self.folder / "sweep.json")
        return [*self.parts(), *(path for path in others if path.exists())]

    def may_be_of_others(self) -> bool:
        """Return whether the folder holds nothing that shows a sweep, and folders that one would replace."""
        return not self.files() and (self.folder / "arrays").exists()

    @rule(fresh=st.booleans())
    def run_to_the_end(self, fresh: bool) -> None:
        try:
            table = sweep(WORKLOAD, SPACE, folder=self.folder, fresh=fresh)
        except InputError:
            assert not fresh or self.may_be_of_others()
            return
        assert table.equals(reference())
        assert read_sweep(self.folder)[0].equals(reference())
        assert not self.parts()

    @rule(batches=st.integers(0, 5))
    def be_interrupted(self, batches: int) -> None:
        with contextlib.suppress(InputError, KeyboardInterrupt):
            sweep(WORKLOAD, SPACE, folder=self.folder, workers=Stopping(batches))

    @rule(batches=st.integers(0, 4), renamed=st.booleans())
    def be_killed_while_a_part_is_written(self, batches: int, renamed: bool) -> None:
        left = itertools.count(batches, -1)

        def write(path: Path, content: bytes) -> None:
            if path.suffix != ".parquet" or next(left):
                write_atomically(path, content)
                return
            path.parent.mkdir(exist_ok=True)
            if renamed:
                write_atomically(path, content)
            else:
                (path.parent / f".{path.name}.x.partial").write_bytes(content[: len(content) // 2])
            raise Killed

        self._die("designs.sweeps.folder.write_atomically", write)

    @rule(renamed=st.booleans())
    def be_killed_while_the_table_is_written(self, renamed: bool) -> None:
        @contextlib.contextmanager
        def write(path: Path, schema: pa.Schema, origin: Any) -> Iterator[Any]:
            if not renamed:
                (path.parent / ".sweep.parquet.x.partial").write_bytes(b"PAR1")
                raise Killed
            with results_file(path, schema, origin) as writer:
                yield writer
            raise Killed

        self._die("designs.sweeps.folder.results_file", write)

    def _die(self, name: str, replacement: Callable[..., Any]) -> None:
        with self.patches.context() as patches, contextlib.suppress(InputError, Killed):
            patches.setattr(name, replacement)
            sweep(WORKLOAD, SPACE, folder=self.folder)
        for left_behind in ("arrays", "merging"):
            (self.folder / left_behind).mkdir(exist_ok=True)
            (self.folder / left_behind / "0.arrow").write_bytes(b"left behind")

    @rule(number=st.integers(0, 50))
    def lose_a_file(self, number: int) -> None:
        if files := self.files():
            files[number % len(files)].unlink()

    @rule(number=st.integers(0, 50), name=st.integers(0, POINTS - 1))
    def get_a_part_twice(self, number: int, name: int) -> None:
        if parts := self.parts():
            content = parts[number % len(parts)].read_bytes()
            (self.folder / f"parts/{name:08d}-7.parquet").write_bytes(content)

    @rule(name=st.sampled_from(["parts/00000003.parquet", "parts/00000003-9.parquet", "sweep.parquet"]))
    def get_a_file_of_another_sweep(self, name: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True, parents=True)
        (self.folder / name).write_bytes(foreign_file())

    @rule(number=st.integers(0, 50), place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
    def be_damaged(self, number: int, place: float, bits: int) -> None:
        if files := self.files():
            path = files[number % len(files)]
            content = bytearray(path.read_bytes())
            if content:
                content[int(place * len(content))] ^= bits
                path.write_bytes(content)

    @rule(number=st.integers(0, 50), share=st.floats(0, 1))
    def be_cut_off(self, number: int, share: float) -> None:
        if files := self.files():
            path = files[number % len(files)]
            content = path.read_bytes()
            path.write_bytes(content[: int(share * len(content))])


def test_a_sweep_ends_in_its_table_or_in_a_sentence() -> None:
    run_state_machine_as_test(SweepFolderStates, settings=state_settings(examples=25, steps=12))


@pytest.mark.slow
def test_a_sweep_ends_in_its_table_or_in_a_sentence_in_many_orders() -> None:
    run_state_machine_as_test(SweepFolderStates, settings=state_settings(examples=1000, steps=12))
