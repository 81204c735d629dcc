"""Fleets: a container and an array for each target, from one analysis."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel
from designs import Search, Space, Workload, fleet
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
from designs.codesigns.fleet import FLEET_COLUMNS, Target, read_fleet
from designs.commands.networks import open_network
from designs.experiments.main_job import run_main_job
from designs.results import read_results
from designs.screens.codesign import print_fleet
from tests.designs.codesigns.test_studies import SPACE
from tests.small_network import small_network
from traces import InputError
from traces.files.atomic_file import copy_atomically
from traces.files.images import ImageSet


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network())


def test_each_target_gets_a_container_and_an_array_within_its_budget(
    analysis: CompressionAnalysis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = (
        Target("small", max_area_mm2=0.4, max_num_pes=2, max_accuracy_loss=0.1, minimise="area_mm2"),
        Target("fast", max_latency_us=60.0, max_accuracy_loss=0.1, minimise="energy_nj"),
        Target("lean", max_file_bytes=2000.0, max_sram_bytes_per_pe=8192, minimise="latency_us"),
    )
    table = fleet(analysis, targets, SPACE, Search(trials=15), tmp_path)
    print_fleet(table)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Dense: ")]
    assert [line.split()[1] for line in lines] == ["small:", "fast:", "lean:"]
    assert all(" MACs of 16 bits, " in line for line in lines)
    rows = table.to_pylist()
    assert [row["target"] for row in rows] == ["small", "fast", "lean"]
    for row, target in zip(rows, targets, strict=True):
        model = CompressedModel.load(tmp_path / row["container"])
        assert model.size_bytes == row["measured_file_bytes"]
        kept = all(row[f"measured_{name}"] <= bound for name, bound in target.bounds.items())
        if target.max_num_pes is not None:
            kept &= row["num_pes"] <= target.max_num_pes
        if target.max_sram_bytes_per_pe is not None:
            kept &= row["sram_bytes_per_pe"] <= target.max_sram_bytes_per_pe
        assert row["keeps_budget"] == kept == (not row["exceeds"])
    assert [row["keeps_budget"] for row in rows] == [True, True, True]
    assert read_results(tmp_path / "fleet.parquet", FLEET_COLUMNS)[0].to_pylist() == rows


def test_a_target_out_of_reach_gets_what_comes_nearest_and_what_it_exceeds(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    (row,) = fleet(analysis, (Target("tiny", max_file_bytes=10),), SPACE, Search(trials=4), tmp_path).to_pylist()
    assert not row["keeps_budget"]
    assert row["exceeds"].startswith("file_bytes by ")
    assert (tmp_path / row["container"]).exists()


def test_a_fleet_that_is_stopped_leaves_no_table_beside_other_containers(
    analysis: CompressionAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes() -> list[int]:
        rows = read_results(tmp_path / "fleet.parquet", FLEET_COLUMNS)[0].to_pylist()
        assert [(tmp_path / row["container"]).stat().st_size for row in rows] == [
            row["measured_file_bytes"] for row in rows
        ]
        return [row["measured_file_bytes"] for row in rows]

    names = ("a", "b")
    fleet(analysis, [Target(name, max_file_bytes=6000.0) for name in names], SPACE, Search(trials=3), tmp_path)
    before = sizes()
    copied: list[Path] = []
    smaller = [Target(name, max_file_bytes=2000.0, minimise="file_bytes") for name in names]

    def stopped(source: Path, path: Path) -> None:
        if copied:
            raise KeyboardInterrupt
        copied.append(path)
        copy_atomically(source, path)

    with monkeypatch.context() as patch:
        patch.setattr("designs.codesigns.fleet.copy_atomically", stopped)
        with pytest.raises(KeyboardInterrupt):
            fleet(analysis, smaller, SPACE, Search(trials=3), tmp_path, fresh=True)
    assert len(copied) == 1
    assert not (tmp_path / "fleet.parquet").exists()
    fleet(analysis, smaller, SPACE, Search(trials=3), tmp_path)
    assert max(sizes()) < min(before)


def test_a_fleet_is_analysed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from designs.codesigns import fleet as fleets

    analysed = []

    def counted(*arguments: object) -> CompressionAnalysis:
        analysed.append(arguments)
        return analyse_compression(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fleets, "analyse_compression", counted)
    targets = tuple(Target(name, max_accuracy_loss=0.05) for name in ("a", "b", "c"))
    fleet(small_network(), targets, SPACE, Search(trials=2), tmp_path)
    assert len(analysed) == 1


UNFIT = {
    "": "must be a text that is not empty; found ''; give the target another name",
    "..": "must neither begin nor end with a dot or a space; found '..'",
    ".": "must neither begin nor end with a dot or a space",
    ".hidden": "must neither begin nor end with a dot or a space",
    "a.": "must neither begin nor end with a dot or a space",
    "a ": "must neither begin nor end with a dot or a space",
    "../a": "must neither begin nor end with a dot or a space",
    "a/b": "must have none of / \\ : * ? \" < > | and no character that cannot be printed; found 'a/b'",
    "/etc/a": "must have none of /",
    "a\\b": "must have none of /",
    "C:": "must have none of /",
    "a\0b": "must have none of /",
    "a\nb": "must have none of /",
    "\ud800": "must have none of /",
    "a" * 201: "must have at most 200 bytes",
    "é" * 101: "must have at most 200 bytes",
    "nul": "must not be the name of a device",
    "CONIN$": "must not be the name of a device",
    "nul .txt": "must not be the name of a device",
    "lpt²": "must not be the name of a device",
    "COM1.x": "must not be the name of a device",
    "fleet.parquet": "must not be fleet.parquet or analysis or *.dc, which are files of the folder itself",
    "Fleet.Parquet": "must not be fleet.parquet or analysis or *.dc",
    "Analysis": "must not be fleet.parquet or analysis or *.dc",
    "a.DC": "must not be fleet.parquet or analysis or *.dc",
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_name_that_is_not_fit_for_a_file_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    sentence = re.escape(f"a target's name must be a valid file name: it {UNFIT[name]}")
    with pytest.raises(InputError, match=sentence):
        Target(name)
    if name.isprintable():
        (tmp_path / "fleet.toml").write_text(f"[{json.dumps(name)}]\nmax_area_mm2 = 1.0\n")
        with pytest.raises(InputError, match=rf"fleet\.toml: {sentence}"):
            read_fleet(tmp_path / "fleet.toml")


@pytest.mark.parametrize(
    "name", ["a", "é" * 100, "two words", "v1.2", "phone (2026), no. 3", "parquet", "console", "dc"]
)
def test_a_name_that_is_fit_for_a_file_is_taken(name: str) -> None:
    assert Target(name).name == name


@pytest.mark.parametrize("pair", [("a", "A"), ("straße", "STRASSE"), ("\u00e9", "e\u0301")])
def test_names_that_some_file_system_takes_for_one_are_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("".join(f'["{name}"]\nmax_area_mm2 = 1.0\n' for name in pair))
    with pytest.raises(InputError, match=r"fleet\.toml: a fleet needs targets of different names; found .*than case"):
        read_fleet(tmp_path / "fleet.toml")


def test_a_fleet_begun_anew_leaves_what_lies_beside_its_folder(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    beside = tmp_path / "front" / "kept.json"
    beside.parent.mkdir()
    for path in (beside, tmp_path / "front.parquet", tmp_path / "trials.parquet"):
        path.write_text("kept")
    (tmp_path / "fleet.toml").write_text('[".."]\nmax_area_mm2 = 1.0\n')
    with pytest.raises(InputError, match="a target's name must be a valid file name"):
        fleet(analysis, read_fleet(tmp_path / "fleet.toml"), SPACE, Search(trials=1), tmp_path / "fleet", fresh=True)
    assert {path.name for path in tmp_path.iterdir()} == {"front", "front.parquet", "trials.parquet", "fleet.toml"}
    assert beside.read_text() == "kept"


def test_names_of_image_folders_workers_and_arrays_lead_out_of_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    pixels = np.zeros((2, 4), dtype=np.float32)
    images = ImageSet("..", pixels, np.zeros(2, dtype=np.int64), pixels, np.zeros(2, dtype=np.int64))
    monkeypatch.setattr("designs.experiments.main_job.load_images", lambda _: images)
    with pytest.raises(
        InputError, match=r"images' folder must be a valid .*; found '\.\.'; give the folder of the results"
    ):
        run_main_job(Path(".."))
    monkeypatch.setattr("designs.commands.networks.load_images", lambda _: images)
    with pytest.raises(
        InputError, match=r"images' folder must be a valid .*; found '\.\.'; give the trained network with"
    ):
        open_network("main", Path(".."))
    assert not list(Path().iterdir())

    Path("workload.json").write_text('{"layers": [{"arrays": ["/../../x"]}]}')
    with pytest.raises(
        InputError,
        match=r"must hold a complete workload: an array's name must be a valid file name.*; write the workload ag",
    ):
        Workload.open(Path())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a fleet has a table for each target; found none"),
        ("a = 3", "a must be a table with a target's budget; found 3"),
        ("[a]\nmax_arae = 3", "a: unknown: max_arae; valid names: max_accuracy_loss, max_output_error"),
        ("[a]\nmax_area_mm2 = 0", "a: max_area_mm2 must be a finite number above 0; found 0"),
        ("[a]\nmax_area_mm2 = true", "a: max_area_mm2 must be a finite number above 0; found True"),
        (
            '[a]\nminimise = "speed"',
            "a: minimise must be one of accuracy_loss, output_error, latency_us, energy_nj, area_mm2, file_by",
        ),
        ("[a", "fleet.toml: must be TOML: "),
        (None, "there is no such file"),
    ],
)
def test_a_fleet_that_is_none_gets_a_sentence(text: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_fleet(path)


def test_a_fleet_as_a_file_is_one_in_python(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('[watch]\nmax_area_mm2 = 1.5\nmax_num_pes = 8\nminimise = "latency_us"\n')
    expected = Target("watch", max_area_mm2=1.5, max_num_pes=8, minimise="latency_us")
    assert read_fleet(tmp_path / "fleet.toml") == (expected,)


def test_targets_and_searches_that_contradict_each_other_are_refused(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    target = Target("a")
    with pytest.raises(InputError, match="a fleet needs targets of different names; found a, a"):
        fleet(analysis, (target, target), SPACE, None, tmp_path)
    with pytest.raises(InputError, match="a fleet needs targets of different names; found a, A; give each target a na"):
        fleet(analysis, (target, Target("A")), SPACE, None, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="the targets of a fleet have their own bounds and objectives; leave both out"):
        fleet(analysis, (target,), SPACE, Search(bounds={"area_mm2": 1.0}), tmp_path)
    with pytest.raises(InputError, match="b: max_num_pes=2 must be at least the space's fewest PEs, 4"):
        fleet(analysis, (Target("b", max_num_pes=2),), Space({"num_pes": (4, 8)}), Search(trials=1), tmp_path)
