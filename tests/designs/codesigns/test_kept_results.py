"""Kept results of co-designs: what was changed is measured again or refused, and clocks and links do no harm."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel
from designs import Search, codesign, fleet
from designs.codesigns import loop, verification
from designs.codesigns.columns import DESIGN_COLUMNS, FRONT_COLUMNS
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
from designs.codesigns.fleet import Target
from designs.codesigns.folder import read_study
from designs.codesigns.layer_costs import LAYER_COLUMNS
from designs.codesigns.loop import finished_trials
from designs.codesigns.storage import JOURNAL_FILE, open_storage
from designs.codesigns.trials import ORIGIN
from designs.codesigns.verification import Verification
from designs.results import read_results, write_results
from tests.designs.codesigns.test_studies import SPACE
from tests.small_network import small_network
from tests.small_study import write_study
from traces import InputError

SMALL = Search(trials=4, verify=3, settled=0)


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network())


@pytest.fixture(scope="module")
def finished(analysis: CompressionAnalysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    codesign(analysis, SPACE, SMALL, folder)
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """Folder with a copy of a finished co-design."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the digests of the designs that are measured from now on, in a list that grows."""
    digests: list[str] = []
    usual = Verification._measured

    def counted(self: Verification, point: Any) -> Any:
        digests.append(point.digest)
        return usual(self, point)

    monkeypatch.setattr(Verification, "_measured", counted)
    return digests


def contents(folder: Path) -> dict[str, bytes]:
    """Content of the records and containers by name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "front").iterdir())}


def emptied(record: Path) -> None:
    record.with_suffix(".dc").write_bytes(b"")


def container_flipped(record: Path) -> None:
    content = bytearray(record.with_suffix(".dc").read_bytes())
    content[len(content) // 2] ^= 1
    record.with_suffix(".dc").write_bytes(content)


def container_of_another(record: Path) -> None:
    other = next(path for path in record.parent.glob("*.dc") if path.stem != record.stem)
    content = CompressedModel.load(other)  # whole, but another network
    record.with_suffix(".dc").write_bytes(content.to_bytes() + b"")
    if content.to_bytes() == record.with_suffix(".dc").read_bytes():
        emptied(record)


def number_edited(record: Path) -> None:
    values = json.loads(record.read_text())
    values["figures"]["energy_nj"] *= 0.5
    record.write_text(json.dumps(values, indent=1))


def cut(record: Path) -> None:
    record.write_bytes(record.read_bytes()[:-2])


def of_another_design(record: Path) -> None:
    other = next(path for path in sorted(record.parent.glob("*.json")) if path != record)
    shutil.copyfile(other, record)
    shutil.copyfile(other.with_suffix(".dc"), record.with_suffix(".dc"))


@pytest.mark.parametrize(
    "damage",
    [emptied, container_flipped, container_of_another, number_edited, cut, of_another_design, Path.unlink],
)
def test_a_design_whose_record_or_container_was_changed_is_measured_again(
    damage: Callable[[Path], None],
    analysis: CompressionAnalysis,
    finished: Path,
    study: Path,
    measured: list[str],
) -> None:
    record = sorted((study / "front").glob("*.json"))[0]
    damage(record)
    table = codesign(analysis, SPACE, SMALL, study)
    assert measured == [record.stem]
    assert contents(study) == contents(finished)
    assert table.to_pylist() == read_results(finished / "front.parquet", FRONT_COLUMNS)[0].to_pylist()
    measured.clear()
    codesign(analysis, SPACE, SMALL, study)
    assert not measured


def test_records_and_trials_of_other_sources_are_not_mixed_with_those_of_today(
    analysis: CompressionAnalysis,
    finished: Path,
    study: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An earlier version may have predicted and measured other costs."""
    for module in (loop, verification):
        monkeypatch.setattr(module, "sources_of_results", lambda: "0" * 16)
    with pytest.raises(InputError, match="holds another study, of which sources differ; give another folder, or fresh"):
        codesign(analysis, SPACE, SMALL, study)
    assert read_study(study).trials.num_rows == SMALL.trials
    (study / JOURNAL_FILE).unlink()
    codesign(analysis, SPACE, SMALL, study)
    assert sorted(measured) == sorted(path.stem for path in (finished / "front").glob("*.json"))


def test_records_of_another_problem_are_not_taken(analysis: CompressionAnalysis, study: Path) -> None:
    before = contents(study)
    (study / JOURNAL_FILE).unlink()
    codesign(analysis, SPACE, Search(trials=4, verify=3, settled=0, bounds={"area_mm2": 50.0}), study)
    excesses = [json.loads(path.read_text())["excesses"] for path in (study / "front").glob("*.json")]
    assert before != contents(study)
    assert any("area_mm2" in each for each in excesses)


@pytest.mark.parametrize(
    ("found", "put", "sentence"),
    [
        (r'"tried":(\d)', r'"tried":1\1', "trial 0 of study codesign must be as it was written; its checksum differs"),
        (r'"least":{"accuracy_loss":0', '"least":{"accuracy_loss":1', "trial 0 of study codesign must be as it was"),
        (r'"num_pes": ?\[1,2', '"num_pes":[1,3', "holds another study, of which space differ"),
        (r'"study_name"', '"study name"', "the study's storage cannot be opened: 'study_name'; restore it, or give"),
        (r'"op_code":4', '"op_code":99', "the study's storage cannot be opened: AssertionError|Should not reach"),
        (r"\n", "}\n", "the study's storage cannot be opened: Extra data"),
    ],
)
def test_a_journal_that_was_changed_is_refused_and_begun_anew_on_request(
    found: str, put: str, sentence: str, analysis: CompressionAnalysis, finished: Path, study: Path
) -> None:
    journal = study / JOURNAL_FILE
    changed, count = re.subn(found, put, journal.read_text(), count=1)
    assert count
    journal.write_text(changed)
    with pytest.raises(InputError, match=sentence):
        codesign(analysis, SPACE, SMALL, study)
    codesign(analysis, SPACE, SMALL, study, fresh=True)
    assert contents(study) == contents(finished)


def test_a_journal_that_lost_its_origin_is_refused(analysis: CompressionAnalysis, study: Path) -> None:
    journal = study / JOURNAL_FILE
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if f'"{ORIGIN}"' not in line))
    with pytest.raises(InputError, match="holds another study; give another folder, or fresh=True to begin anew"):
        codesign(analysis, SPACE, SMALL, study)


def test_trials_that_were_lost_or_doubled_are_made_again_and_counted_once(
    analysis: CompressionAnalysis, finished: Path, study: Path
) -> None:
    journal = study / JOURNAL_FILE
    lines = journal.read_text().splitlines(keepends=True)
    trials = [line for line in lines if '"compression"' in line]
    assert len(trials) == SMALL.trials
    lines.remove(trials[1])
    lines.insert(lines.index(trials[2]), trials[2])
    journal.write_text("".join(lines))
    table = codesign(analysis, SPACE, SMALL, study)
    assert read_study(study).trials.num_rows == SMALL.trials
    of_order = ["trial"]
    expected = read_results(finished / "front.parquet", FRONT_COLUMNS)[0]
    assert table.drop_columns(of_order).to_pylist() == expected.drop_columns(of_order).to_pylist()


def test_a_last_line_that_cannot_be_read_is_made_again(
    analysis: CompressionAnalysis, finished: Path, study: Path
) -> None:
    journal = study / JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    for end in (b"{\n", b"", b'"'):
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:40] + end)
        codesign(analysis, SPACE, SMALL, study)
        assert read_study(study).trials.num_rows == SMALL.trials
        assert contents(study) == contents(finished)


def test_a_file_that_is_no_journal_is_left_as_it_is(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    for text in ("dear diary", "dear diary\n", "one\ntwo\n", '{"a": 1}\n'):
        notes.write_text(text)
        for fresh in (False, True):
            with pytest.raises(
                InputError, match=r"notes\.txt: the study's storage cannot be opened: .*; restore it, or"
            ):
                codesign(analysis, SPACE, SMALL, tmp_path / "out", storage=str(notes), fresh=fresh)
        assert notes.read_text() == text


@pytest.mark.parametrize("year", ["1970", "2999"])
def test_dates_of_a_journal_do_not_matter(
    year: str, analysis: CompressionAnalysis, finished: Path, tmp_path: Path
) -> None:
    """Processes were killed on a machine with another clock; one of them had begun each compression that is left."""
    folder = tmp_path / "study"
    codesign(analysis, SPACE, Search(trials=2, verify=1), folder)
    journal = folder / JOURNAL_FILE
    changed, count = re.subn(r'"(datetime\w*)":"\d{4}', rf'"\1":"{year}', journal.read_text())
    assert count >= 2
    journal.write_text(changed)
    import optuna

    left = optuna.load_study(study_name="codesign", storage=open_storage(folder))
    expected = optuna.load_study(study_name="codesign", storage=open_storage(finished))
    for number, trial in enumerate(expected.trials):
        left.set_user_attr(f"begun by other-{number}", json.dumps(trial.user_attrs["compression"]["choices"]))
    for path in folder.rglob("*"):
        os.utime(path, (0, 0) if year == "1970" else (2**35, 2**35))
    begin = time.monotonic()
    table = codesign(analysis, SPACE, SMALL, folder)
    assert time.monotonic() - begin < 30
    assert table.to_pylist() == read_results(finished / "front.parquet", FRONT_COLUMNS)[0].to_pylist()


def test_a_clock_that_is_set_back_does_not_matter(
    analysis: CompressionAnalysis, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(2_000_000_000, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    codesign(analysis, SPACE, SMALL, tmp_path)
    assert contents(tmp_path) == contents(finished)


def test_a_journal_that_cannot_be_written_gets_a_sentence(
    analysis: CompressionAnalysis, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path.open

    def refused(self: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if self.name == JOURNAL_FILE and mode not in ("r", "rb"):
            raise PermissionError(13, "Permission denied")
        return usual(self, mode, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match="cannot be written: Permission denied; "):
        codesign(analysis, SPACE, Search(trials=6, verify=3, settled=0), study)
    assert read_study(study).trials.num_rows == SMALL.trials
    assert stat.S_ISREG((study / JOURNAL_FILE).stat().st_mode)


def test_no_link_leads_out_of_the_folder_of_a_co_design(
    analysis: CompressionAnalysis, study: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.json").write_text("kept")
    for name in ("front", "exhaustive", "front.parquet", JOURNAL_FILE, ".study.lock", "front/0123456789abcdef.json"):
        path = study / name
        if path.is_dir():
            shutil.move(path, tmp_path / "aside")
        path.unlink(missing_ok=True)
        path.symlink_to(outside if name in ("front", "exhaustive") else outside / "x.json")
        for fresh in (False, True):
            with pytest.raises(InputError, match=rf"{re.escape(name)}: a file of the results must lie in their folder"):
                codesign(analysis, SPACE, SMALL, study, fresh=fresh)
        path.unlink()
        if (tmp_path / "aside").exists():
            shutil.move(tmp_path / "aside", path)
    assert [path.name for path in outside.iterdir()] == ["x.json"]
    assert (outside / "x.json").read_text() == "kept"


def test_a_co_design_begun_anew_leaves_files_of_others(analysis: CompressionAnalysis, study: Path) -> None:
    (study / "front/notes.txt").write_text("mine")
    (study / "exhaustive").mkdir(exist_ok=True)
    (study / "exhaustive/mine.parquet").write_text("mine")
    stray = study / "front/0123456789abcdef.json"
    stray.write_text("{}")
    codesign(analysis, SPACE, SMALL, study, fresh=True)
    assert (study / "front/notes.txt").read_text() == "mine"
    assert (study / "exhaustive/mine.parquet").read_text() == "mine"
    assert not stray.exists()


def test_no_link_leads_out_of_the_folder_of_a_fleet(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "fleet"
    outside.mkdir()
    folder.mkdir()
    for name in ("front.parquet", "phone.dc"):
        (outside / name).write_text("kept")
    for name, target in (("phone", outside), ("phone.dc", outside / "phone.dc"), ("analysis", outside)):
        (folder / name).symlink_to(target)
        with pytest.raises(InputError, match=rf"fleet/{name}: a file of the results must lie in their folder"):
            fleet(analysis, (Target("phone"),), SPACE, Search(trials=1), folder, fresh=True)
        (folder / name).unlink()
    assert {path.name: path.read_text() for path in outside.iterdir()} == dict.fromkeys(
        ("front.parquet", "phone.dc"), "kept"
    )


def test_a_fleet_that_was_begun_anew_and_interrupted_has_no_earlier_trials(
    analysis: CompressionAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, search = (Target("first"), Target("second")), Search(trials=1)
    fleet(analysis, targets, SPACE, search, tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("designs.codesigns.fleet.run_study", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fleet(analysis, targets, SPACE, search, tmp_path, fresh=True)
    with pytest.raises(KeyError):  # there is no such study
        finished_trials(tmp_path / "second", name="second")


def test_files_of_another_study_beside_a_front_are_refused(tmp_path: Path) -> None:
    write_study(tmp_path / "a", name="a")
    write_study(tmp_path / "b", name="b")
    write_study(tmp_path / "more", designs=33, verified=7, name="a")
    for name in ("trials.parquet", "designs.parquet", "front.parquet", "layers.parquet"):
        mixed = Path(shutil.copytree(tmp_path / "a", tmp_path / f"mixed {name}"))
        read_study(mixed)
        shutil.copyfile(tmp_path / "b" / name, mixed / name)
        with pytest.raises(
            InputError, match=r"must be of the same study as .*parquet beside it; it is of another one; ru"
        ):
            read_study(mixed)
    mixed = Path(shutil.copytree(tmp_path / "a", tmp_path / "other members"))
    table, _ = read_results(mixed / "layers.parquet", LAYER_COLUMNS)
    write_results(mixed / "layers.parquet", table[2:], read_results(mixed / "layers.parquet", LAYER_COLUMNS)[1])
    with pytest.raises(
        InputError, match=r"layers.parquet: must have the members of front.parquet beside it; it has oth"
    ):
        read_study(mixed)
    mixed = Path(shutil.copytree(tmp_path / "a", tmp_path / "other designs"))
    table, origin = read_results(mixed / "designs.parquet", DESIGN_COLUMNS)
    write_results(mixed / "designs.parquet", table[1:], origin)
    with pytest.raises(
        InputError, match=r"designs.parquet: must have the members of front.parquet beside it; it has ot"
    ):
        read_study(mixed)


def test_objectives_that_are_none_name_no_files(tmp_path: Path) -> None:
    write_study(tmp_path)
    for name, columns in (("front.parquet", FRONT_COLUMNS), ("designs.parquet", DESIGN_COLUMNS)):
        table, origin = read_results(tmp_path / name, columns)
        origin["settings"]["search"]["objectives"] = ["../../latency_us"]
        write_results(tmp_path / name, table, origin)
    with pytest.raises(
        InputError, match=r"designs.parquet: must state the settings of its co-design; run the co-design"
    ):
        read_study(tmp_path)
