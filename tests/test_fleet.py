"""A fleet: one analysis, and a container and an array for each target."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel
from designs import Search, Space, fleet
from designs.compression_choices import CompressionChoices
from designs.fleets import FLEET_COLUMNS, Target, read_fleet
from designs.results import read_results
from tests.small_network import small_network
from tests.test_codesign import SPACE
from traces import InputError


@pytest.fixture(scope="module")
def choices() -> CompressionChoices:
    return CompressionChoices(small_network())


def test_each_target_gets_a_container_and_an_array_within_its_budget(
    choices: CompressionChoices, tmp_path: Path
) -> None:
    targets = (
        Target("small", max_area_mm2=0.4, max_num_pes=2, max_accuracy_loss=0.1, minimise="area_mm2"),
        Target("fast", max_latency_us=60.0, max_accuracy_loss=0.1, minimise="energy_nj"),
        Target("lean", max_file_bytes=2000.0, max_sram_bytes_per_pe=8192, minimise="latency_us"),
    )
    rows = fleet(choices, targets, SPACE, Search(trials=15), tmp_path).to_pylist()
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
    choices: CompressionChoices, tmp_path: Path
) -> None:
    (row,) = fleet(choices, (Target("tiny", max_file_bytes=10),), SPACE, Search(trials=4), tmp_path).to_pylist()
    assert not row["keeps_budget"]
    assert row["exceeds"].startswith("file_bytes by ")
    assert (tmp_path / row["container"]).exists()


def test_a_fleet_is_analysed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from designs import fleets

    analysed = []

    def counted(*arguments: object) -> CompressionChoices:
        analysed.append(arguments)
        return CompressionChoices(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fleets, "CompressionChoices", type("Counted", (), {"__new__": lambda _, *each: counted(*each)}))
    targets = tuple(Target(name, max_accuracy_loss=0.05) for name in ("a", "b", "c"))
    fleet(small_network(), targets, SPACE, Search(trials=2), tmp_path)
    assert len(analysed) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a fleet has a table for each target; found none"),
        ("a = 3", "a must be a table of a target's budget; found 3"),
        ("[a]\nmax_arae = 3", "a: there is no max_arae; there are max_accuracy_loss, max_latency_us"),
        ("[a]\nmax_area_mm2 = 0", "a: max_area_mm2 must be a number above 0; found 0"),
        ("[a]\nmax_area_mm2 = true", "a: max_area_mm2 must be a number above 0; found True"),
        (
            '[a]\nminimise = "speed"',
            "a: minimise must be one of accuracy_loss, latency_us, energy_nj, area_mm2, file_by",
        ),
        ("[a", "a fleet must be TOML: "),
        (None, "cannot be read: No such file or directory"),
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
    choices: CompressionChoices, tmp_path: Path
) -> None:
    target = Target("a")
    with pytest.raises(InputError, match="a fleet needs targets of different names; found a, a"):
        fleet(choices, (target, target), SPACE, None, tmp_path)
    with pytest.raises(InputError, match=r"a target's name is that of a folder; found 'a/b'"):
        fleet(choices, (Target("a/b"),), SPACE, None, tmp_path)
    with pytest.raises(
        InputError, match="each target of a fleet says its own bounds and what is least; leave them out"
    ):
        fleet(choices, (target,), SPACE, Search(bounds={"area_mm2": 1.0}), tmp_path)
    with pytest.raises(InputError, match="b: max_num_pes=2; the space has 4 PEs or more"):
        fleet(choices, (Target("b", max_num_pes=2),), Space({"num_pes": (4, 8)}), Search(trials=1), tmp_path)
