"""Comparison of co-design with searching compression first and the array second."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs import Range, Search, Space  # noqa: E402
from designs.codesigns.comparison import COMPARISON_COLUMNS, COMPARISON_FILE, compare, smallest_files  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.results import read_results  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402

SPACE = Space({"num_pes": Range(1, 8, factor=2), "weight_bits": (2, 3, 4), "queue_slots": (2, 8)})
SEARCH = Search(bounds={"accuracy_loss": 0.1}, trials=24)


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network())


def test_each_way_enumerates_all_arrays_for_its_compressions(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    table = compare(analysis, SPACE, SEARCH, tmp_path, seeds=range(2), step_loss=0.02)
    rows = table.to_pylist()
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, seed) for seed in range(2) for method in ("co-design", "two steps", "front first")
    ]
    for row in rows:
        assert row["designs"] == 8 * row["compressions"]
        assert 0 < row["hypervolume"] <= 1
    together, two_steps, front_first = rows[:3]
    assert two_steps["compressions"] == 1
    assert front_first["compressions"] == len(smallest_files(analysis, 0.1)) > 1
    assert together["compressions"] == 24
    assert together["hypervolume"] > front_first["hypervolume"] > two_steps["hypervolume"]
    assert rows[4]["hypervolume"] == two_steps["hypervolume"]  # no seed changes it
    assert read_results(tmp_path / COMPARISON_FILE, COMPARISON_COLUMNS)[0].to_pylist() == rows
    assert compare(analysis, SPACE, SEARCH, tmp_path, seeds=range(2), step_loss=0.02).to_pylist() == rows


def test_a_bound_that_no_file_keeps_is_refused(analysis: CompressionAnalysis) -> None:
    with pytest.raises(InputError, match="accuracy_loss must be at most -1, which no compression reaches"):
        smallest_files(analysis, -1)
