"""Folders of co-designs under interruptions, crashes, damage and re-runs in any order.

A run ends in the tables of an undisturbed run, or in a sentence; a run that begins anew ends in the tables.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs import Search, Space, codesign
from designs.codesigns.columns import DESIGN_COLUMNS, DESIGNS_FILE, TRIAL_COLUMNS, TRIALS_FILE
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
from designs.codesigns.exhaustive import PARTS_FOLDER
from designs.codesigns.folder import read_study
from designs.codesigns.storage import JOURNAL_FILE
from designs.codesigns.verification import FRONT_FOLDER
from designs.results import read_results
from tests.designs.state_settings import state_settings
from tests.small_network import small_network
from traces import InputError

SPACE = Space({"num_pes": (1, 4), "queue_slots": (2, 8), "weight_bits": (2, 4), "clock_mhz": 400.0})
SEARCH = Search(("accuracy_loss", "latency_us", "area_mm2"), trials=4, verify=3, settled=0, exhaustive=True)
OF_ORDER = ("trial", "members", "hypervolume")
"""Columns of the trials that depend on their order, which a trial that was lost and made again changes."""
PLACES = {
    "trials": "designs.codesigns.loop._tried",
    "verification": "designs.codesigns.verification.Verification._measured",
    "record": "designs.codesigns.verification.write_checked",
    "container": "designs.codesigns.verification.copy_atomically",
    "ranges": "designs.codesigns.exhaustive.write_atomically",
    "front": "designs.codesigns.exhaustive.write_results",
    "tables": "designs.codesigns.verified_front.write_results",
    "first tables": "designs.codesigns.loop.write_results",
}
"""Functions before which a run stops."""


class Tables(NamedTuple):
    """Results of a finished co-design that can be compared."""

    front: list[dict[str, Any]]
    designs: list[dict[str, Any]]
    trials: list[str]


@functools.cache
def analysis() -> CompressionAnalysis:
    network = dataclasses.replace(small_network(), densities=(0.8, 0.4, 0.2), weight_bits=(2, 4))
    return analyse_compression(network)


def run(folder: Path, fresh: bool = False) -> Tables:
    front = codesign(analysis(), SPACE, SEARCH, folder, fresh=fresh).to_pylist()
    trials = read_results(folder / TRIALS_FILE, TRIAL_COLUMNS)[0].drop_columns(OF_ORDER).to_pylist()
    designs = read_results(folder / DESIGNS_FILE, DESIGN_COLUMNS)[0].to_pylist()
    return Tables(front, designs, sorted(map(json.dumps, trials)))


@functools.cache
def reference() -> Tables:
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder))


class Stopped(BaseException):
    """End of a process at some place."""


class StudyMachine(RuleBasedStateMachine):
    """Folder of one co-design, to which everything may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.folder = self.home / "study"

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    @initialize()
    def begin(self) -> None:
        self.run_to_the_end(fresh=False)

    @rule(fresh=st.sampled_from([False, False, False, True]))
    def run_to_the_end(self, fresh: bool) -> None:
        try:
            tables = run(self.folder, fresh)
        except InputError:
            assert not fresh
            return
        assert tables == reference()
        assert not list((self.folder / PARTS_FOLDER).glob("*.parquet"))

    @rule(
        place=st.sampled_from(sorted(PLACES)),
        after=st.integers(0, 3),
        fresh=st.booleans(),
        kind=st.sampled_from([Stopped, KeyboardInterrupt]),
    )
    def run_and_stop(self, place: str, after: int, fresh: bool, kind: type[BaseException]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            calls: list[None] = []
            usual = _function(PLACES[place])

            def stopped(*arguments: Any, **keywords: Any) -> Any:
                calls.append(None)
                if len(calls) > after:
                    raise kind
                return usual(*arguments, **keywords)

            patch.setattr(PLACES[place], stopped)
            try:
                tables = run(self.folder, fresh)
            except (Stopped, KeyboardInterrupt, InputError):
                self.read()
                return
        assert tables == reference()

    def read(self) -> None:
        try:
            study = read_study(self.folder)
        except InputError:
            return
        assert study.trials.num_rows <= SEARCH.trials

    @precondition(lambda self: self.files())
    @rule(
        place=st.integers(0, 99),
        other=st.integers(0, 99),
        at=st.floats(0, 1, exclude_max=True),
        damage=st.sampled_from(["remove", "cut", "flip", "digit", "replace", "empty", "stray"]),
    )
    def damage_a_file(self, place: int, other: int, at: float, damage: str) -> None:
        files = self.files()
        path = files[place % len(files)]
        content = path.read_bytes()
        if damage == "remove":
            path.unlink()
        elif damage == "replace":
            alike = [each for each in files if each.suffix == path.suffix]
            shutil.copyfile(path, self.home / "copy")
            shutil.copyfile(self.home / "copy", alike[other % len(alike)])
        elif damage == "stray":
            (path.parent / f".{path.name}.x.partial").write_bytes(content[: int(at * len(content))])
        else:
            path.write_bytes(_damaged(content, at, damage))
        self.read()

    @precondition(lambda self: (self.folder / JOURNAL_FILE).exists())
    @rule(
        line=st.integers(0, 99),
        at=st.floats(0, 1, exclude_max=True),
        damage=st.sampled_from(["remove", "twice", "digit", "cut", "empty"]),
    )
    def damage_a_line_of_the_journal(self, line: int, at: float, damage: str) -> None:
        path = self.folder / JOURNAL_FILE
        lines = path.read_bytes().splitlines(keepends=True)
        if not lines:
            return
        place = line % len(lines)
        changes: dict[str, Callable[[bytes], list[bytes]]] = {
            "remove": lambda _: [],
            "twice": lambda each: [each, each],
        }
        usual: Callable[[bytes], list[bytes]] = lambda each: [_damaged(each, at, damage)]  # noqa: E731
        lines[place : place + 1] = changes.get(damage, usual)(lines[place])
        path.write_bytes(b"".join(lines))
        self.read()

    def files(self) -> list[Path]:
        """Return the files of the study, but for its journal and its locks."""
        found = [*self.folder.glob("*.parquet"), *(self.folder / FRONT_FOLDER).glob("*")]
        return sorted(path for path in [*found, *(self.folder / PARTS_FOLDER).glob("*")] if path.name[0] != ".")


def _function(name: str) -> Callable[..., Any]:
    found: Any = None
    module, _, rest = name.rpartition(".")
    while True:
        try:
            found = __import__(module, fromlist=["x"])
            break
        except ModuleNotFoundError:
            module, _, inner = module.rpartition(".")
            rest = f"{inner}.{rest}"
    for each in rest.split("."):
        found = getattr(found, each)
    function: Callable[..., Any] = found
    return function


def _damaged(content: bytes, at: float, damage: str) -> bytes:
    """Return a content that is cut or emptied at a share of its length, or has another bit or digit there."""
    place = int(at * len(content))
    if damage == "empty":
        return b""
    if damage == "cut":
        return content[:place]
    if damage == "digit":
        place = next((each for each in range(place, len(content)) if chr(content[each]) in "0123456789"), -1)
        changed = b"" if place < 0 else str((content[place] - 47) % 10).encode()
        return content if place < 0 else content[:place] + changed + content[place + 1 :]
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] if content else content


def test_a_study_ends_in_its_tables_or_in_a_sentence() -> None:
    reference()
    run_state_machine_as_test(StudyMachine, settings=state_settings(examples=8, steps=6))


@pytest.mark.slow
def test_a_study_ends_in_its_tables_or_in_a_sentence_in_many_orders() -> None:
    run_state_machine_as_test(StudyMachine, settings=state_settings(examples=300, steps=20))
