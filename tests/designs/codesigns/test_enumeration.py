"""Enumeration of all arrays for one compression: equal to the model that costs one array at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress.planning.plan import Choice  # noqa: E402
from designs import Design, Range, Search, Space, TrainedNetwork  # noqa: E402
from designs.codesigns.array_grid import RANGE_VALUES, hardware_rows  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.codesigns.enumeration import Enumerated  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.design import HARDWARE  # noqa: E402
from designs.space import Constraints  # noqa: E402
from sim.config import Precision  # noqa: E402
from tests.array_places import places_of  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402
from traces.pareto import non_dominated  # noqa: E402

PRECISIONS: tuple[Precision, ...] = ("float", "fixed-16", "fixed-8")


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network(), precisions=PRECISIONS[1:])


class _Recurrent(torch.nn.Module):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.LSTM(8, 12, batch_first=True)
        self.last = torch.nn.Linear(12, 10)

    def forward(self, images: Any) -> Any:
        found = self.cell(images.unflatten(1, (8, 8)))[0]
        return self.last(found[:, -1])


@pytest.fixture(scope="module")
def recurrent() -> CompressionAnalysis:
    small = small_network()
    torch.manual_seed(0)
    module = _Recurrent().eval()
    return analyse_compression(
        TrainedNetwork("lstm", module, np.asarray(small.pool), densities=(0.8, 0.4), weight_bits=(3, 4)),
        loss="relative-error",
    )


def some_choices(problem: CodesignProblem, number: int) -> list[dict[str, Choice]]:
    rows = problem.compressions.proposals(12, seed=number)
    return [problem.compressions.choices(row) for row in rows[:: max(1, len(rows) // number)][:number]]


def check_equal(problem: CodesignProblem, choices: dict[str, Choice], most: int = 150) -> Enumerated:
    """Compare designs, refusals and figures with those of the model of one array."""
    enumeration = problem.enumeration
    width = enumeration.grid.width(max(each.weight_bits for each in choices.values()))
    found = enumeration(choices)
    by_place = {int(place): number for number, place in enumerate(found.places)}
    drawn = np.random.default_rng(0).permutation(len(enumeration.grid))[:most]
    (block,) = enumeration.grid.blocks(np.sort(drawn))
    rows = hardware_rows(block.columns | {"weight_bits": width}, np.arange(len(block)))
    for place, values in zip(block.places.tolist(), rows, strict=True):
        try:
            point = problem.predict(problem.design_of(values), choices)
        except InputError:
            assert place not in by_place
            continue
        assert point.feasible == (place in by_place), (values, point.excesses)
        if point.feasible:
            number = by_place[place]
            assert found.designs.design(number) == point.design
            figures = {name: float(each[number]) for name, each in found.designs.figures.items()}
            assert figures == {name: pytest.approx(value, rel=1e-11) for name, value in point.figures.items()}
    return found


SPACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fitted": (
        {
            "num_pes": (1, 3, 16, 64, 200),
            "queue_slots": (2, 8, 33),
            "line_bits": (8, 16, 40, 64, 512),
            "weight_bits": (2, 3, 4),
            "index_bits": (1, 3, 4, 8),
            "clock_mhz": (100.0, 800.0, 1400.0, 2500.0),
            "row_assignment": ("interleaved", "entries", "activity"),
        },
        {},
    ),
    "ports, nodes and precisions": (
        {
            "num_pes": (2, 8, 1024),
            "port_bits": (8, 64, 100),
            "node_nm": (22, 65),
            "precision": PRECISIONS,
            "clock_mhz": (800.0, 1600.0),
            "weight_bits": (4, 8),
        },
        {},
    ),
    "given SRAMs": (
        {
            "num_pes": (1, 4, 8),
            "line_bits": (32, 64),
            "sparse_matrix_bytes": (512, 1024, 65536),
            "activation_bytes": (512, 1024, 2048),
            "pointer_bytes": (1024, 32768),
            "memory_mode": ("unlimited", "resident"),
            "clock_mhz": (400.0, 900.0),
        },
        {"fit_srams": False},
    ),
    "given stages": (
        {
            "num_pes": (4, 64),
            "clock_mhz": (400.0, 800.0, 1000.0),
            "pipeline_cycles": (5, 6, 9),
            "broadcast_cycles": (1, 2, 4),
            "weight_bits": (4,),
        },
        {"fit_srams": False},
    ),
    "loads": (
        {"num_pes": (1, 4), "memory_mode": ("unlimited", "passes", "streamed"), "clock_mhz": (400.0, 800.0)},
        {},
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_enumerated_designs_cost_what_each_array_alone_costs(name: str, analysis: CompressionAnalysis) -> None:
    hardware, options = SPACES[name]
    problem = CodesignProblem(analysis, Space(hardware), Search(**options))
    kept = [len(check_equal(problem, choices).designs) for choices in some_choices(problem, 3)]
    assert sum(kept) > 20
    assert name == "loads" or min(kept) < len(problem.enumeration.grid)  # some arrays cannot be built


def test_recurrent_layers_of_several_calls_are_enumerated_exactly(recurrent: CompressionAnalysis) -> None:
    space = Space({"num_pes": (1, 4, 64), "queue_slots": (2, 8), "clock_mhz": (400.0, 1500.0), "port_bits": (8, 64)})
    problem = CodesignProblem(recurrent, space, Search(objectives=("output_error", "latency_us", "energy_nj")))
    for choices in some_choices(problem, 2):
        check_equal(problem, choices)


def test_bounds_and_constraints_leave_out_what_breaks_them(analysis: CompressionAnalysis) -> None:
    space = Space(
        {"num_pes": (1, 4, 16), "line_bits": (16, 30, 64), "index_bits": (3, 4), "weight_bits": (2, 3, 4)},
        constraints=Constraints(max_area_mm2=0.3, whole_lines=True),
    )
    problem = CodesignProblem(analysis, space, Search(bounds={"latency_us": 60.0, "file_bytes": 3000.0}))
    found = [check_equal(problem, choices) for choices in some_choices(problem, 4)]
    assert any(len(each.designs) for each in found)
    for each in found:
        assert (each.designs.figures["area_mm2"] <= 0.3).all()
        assert (each.designs.figures["latency_us"] <= 60).all()


def test_a_part_of_the_arrays_gives_the_same_designs(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, Space(SPACES["fitted"][0]), Search())
    enumeration, choices = problem.enumeration, some_choices(problem, 1)[0]
    whole = enumeration(choices)
    some = whole.places[::7]
    part = enumeration(choices, some)
    assert part.places.tolist() == some.tolist()
    assert part.tried == len(some)
    assert part.designs.to_dict() == whole.designs.take(np.arange(len(whole.designs))[::7]).to_dict()
    assert places_of(enumeration.grid, part.designs.hardware).tolist() == some.tolist()


def test_the_front_of_a_compression_has_each_costs_once(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, Space({"num_pes": (2, 4), "queue_slots": (2, 8, 9)}), Search())
    found = problem.enumeration(some_choices(problem, 1)[0])
    objectives = problem.search.objectives
    front = found.front(objectives)
    costs = found.designs.costs(objectives)
    assert sorted(map(tuple, front.designs.costs(objectives))) == sorted(set(map(tuple, costs[non_dominated(costs)])))


def test_codes_are_as_wide_as_the_compression_needs(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, Space({"weight_bits": (2, 4, 6), "num_pes": (1, 2)}), Search())
    of_bits = {bits: problem.enumeration(dict.fromkeys(analysis.names, Choice(0.5, bits))) for bits in (2, 3, 4)}
    widths = {bits: set(found.designs.hardware["weight_bits"].tolist()) for bits, found in of_bits.items()}
    assert widths == {2: {2}, 3: {4}, 4: {4}}


def test_what_comes_nearest_is_known_if_no_design_keeps_the_bounds(analysis: CompressionAnalysis) -> None:
    space = Space({"num_pes": (1, 2, 64), "clock_mhz": (400.0, 800.0)})
    problem = CodesignProblem(analysis, space, Search(bounds={"latency_us": 1e-3}))
    choices = some_choices(problem, 1)[0]
    found = problem.enumeration(choices)
    assert not len(found.designs)
    assert found.nearest is not None
    points = [
        problem.predict(Design.from_hardware({**Design.from_hardware(_paper()).hardware, **values}), choices)
        for values in ({"num_pes": pes, "clock_mhz": mhz} for pes in (1, 2, 64) for mhz in (400.0, 800.0))
    ]
    built = [point for point in points if point.excesses["clock_mhz"] <= 0]
    best = min(built, key=lambda each: each.excesses["latency_us"])
    assert found.nearest.design == best.design
    assert found.nearest.excesses == {name: pytest.approx(excess) for name, excess in best.excesses.items()}


def _paper() -> dict[str, Any]:
    from sim import ArrayConfig

    return Design(ArrayConfig()).hardware


def test_no_array_that_can_be_built_is_said(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, Space({"clock_mhz": 9000.0}), Search())
    found = problem.enumeration(some_choices(problem, 1)[0])
    assert found.refused == "no array of the space can be built, or runs the network"


def test_a_continuous_range_has_evenly_spaced_values(analysis: CompressionAnalysis) -> None:
    space = Space({"clock_mhz": Range(200.0, 800.0), "dram_gb_per_s": Range(1.0, 16.0, log=True)})
    grid = CodesignProblem(analysis, space, Search()).enumeration.grid
    clocks, bandwidths = (np.array(grid.values[name]) for name in ("clock_mhz", "dram_gb_per_s"))
    assert len(clocks) == len(bandwidths) == RANGE_VALUES
    assert (clocks[0], clocks[-1], bandwidths[0], bandwidths[-1]) == (200, 800, 1, 16)
    assert np.diff(clocks) == pytest.approx(40)
    assert bandwidths[1:] / bandwidths[:-1] == pytest.approx(16 ** (1 / 15))
    assert set(grid.values) == set(HARDWARE)


def test_a_grid_of_too_many_arrays_is_refused(analysis: CompressionAnalysis) -> None:
    many = tuple(range(1, 300))
    space = Space({"num_pes": many, "queue_slots": many[1:], "port_bits": tuple(range(8, 1000))})
    with pytest.raises(
        InputError, match=r"the space has 88,\d{3},\d{3} arrays for each compression; at most 20,000,000"
    ):
        CodesignProblem(analysis, space, Search()).enumeration  # noqa: B018


def test_counts_of_layers_are_read_again_by_the_next_process(tmp_path: Path) -> None:
    space = Space({"num_pes": (1, 4), "clock_mhz": (400.0, 800.0)})
    found = []
    for _ in range(2):
        problem = CodesignProblem(analyse_compression(small_network(), folder=tmp_path), space, Search())
        found.append(problem.enumeration(some_choices(problem, 1)[0]).designs.to_dict())
        files = {path: path.stat().st_mtime_ns for path in (tmp_path / "counts").iterdir()}
        assert files
    assert found[0] == found[1]
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "counts").iterdir()}


def test_one_more_value_is_no_other_grid(analysis: CompressionAnalysis) -> None:
    small = Space({"num_pes": (1, 2, 4)})
    large = dataclasses.replace(small, hardware={"num_pes": (1, 2, 4, 8)})
    first, second = (CodesignProblem(analysis, space, Search()) for space in (small, large))
    choices = some_choices(first, 1)[0]
    few, more = first.enumeration(choices), second.enumeration(choices)
    assert more.designs.take(more.designs.hardware["num_pes"] < 8).to_dict() == few.designs.to_dict()
