"""Counts of a layer on a whole space: equal to the costs of each array alone, and kept by what they depend on."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
pytest.importorskip("onnx", reason="needs onnx: install the extra 'onnx'")

import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, compress
from designs import ArrayCost, Design
from designs.codesigns import layer_counts, product_runs
from designs.codesigns.array_cost import ArrayFigures, ChosenLayer
from designs.codesigns.layer_counts import CountsGrid, LayerCounts, LayerCountsStore
from designs.codesigns.product_runs import ProductRuns
from designs.design import Packing
from designs.sweeps.evaluation import COUNTS
from sim import ArrayConfig
from sim.config import Precision
from sim.memory import Image
from tests.layers import with_codebooks
from traces import CompressedLayer, InputError
from traces.arrays import Numbers
from traces.files.npz import read_npz, write_npz

PACKINGS = (
    *(Packing(num_pes, 4, "interleaved") for num_pes in (1, 3, 16)),
    *(Packing(4, index_bits, "entries") for index_bits in (2, 3)),
    *(Packing(3, 2, assignment) for assignment in ("activity", "search")),
)
GRID = CountsGrid(PACKINGS, (2, 8, 64), (1, 3), (1, 4, 7))


class Mixed(torch.nn.Module):
    """Convolution with groups, one that is called twice, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = torch.nn.Conv2d(4, 6, 3, groups=2), torch.nn.Conv2d(6, 6, 3, padding=1)
        self.last, self.unused = torch.nn.Linear(6 * 16, 5), torch.nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.twice(torch.relu(self.first(images))))
        return self.last(torch.relu(self.twice(features)).flatten(1))  # type: ignore[no-any-return]


def drawn(*shape: int) -> Numbers:
    values: Numbers = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32).clip(-0.3)
    return values


def compressed(module: torch.nn.Module, inputs: Numbers, share_bias: bool) -> CompressedModel:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.5)
    settings = LayerSettings(density=0.4, weight_bits=3, share_bias=share_bias)
    return compress(module.eval(), CompressionConfig(every=settings), inputs=inputs)


NETWORKS = {
    "mixed": (Mixed(), drawn(4, 6, 6)),
    "recurrent": (torch.nn.Sequential(torch.nn.GRU(5, 6, batch_first=True)), drawn(7, 5)),
}


def arrays_of(grid: CountsGrid, number: int) -> list[Design]:
    """Return designs drawn from a grid, with different pipelines and clocks."""
    rng, designs = np.random.default_rng(1), []
    for _ in range(number):
        packing = grid.packings[rng.integers(len(grid.packings))]
        array = ArrayConfig(
            num_pes=packing.num_pes,
            index_bits=packing.index_bits,
            weight_bits=4,
            queue_slots=int(rng.choice(grid.queue_slots)),
            broadcast_cycles=int(rng.choice(grid.broadcast_cycles)),
            pipeline_cycles=int(rng.integers(5, 9)),
            precision=grid.precision,
            pointer_bits=int(rng.integers(12, 20)),
        )
        entries = int(rng.choice(grid.entries_per_line))
        designs.append(Design(replace(array, line_bits=entries * array.entry_bits), packing.row_assignment))
    return designs


def places(grid: CountsGrid, design: Design) -> tuple[int, int, int, int]:
    array = design.array
    return (
        grid.packings.index(design.packing),
        grid.queue_slots.index(array.queue_slots),
        grid.broadcast_cycles.index(array.broadcast_cycles),
        grid.entries_per_line.index(array.entries_per_line),
    )


def check(counts: LayerCounts, figures: ArrayFigures, name: str) -> None:
    """Compare the counts of a layer with those of a design that was evaluated alone."""
    packing, queue, broadcast, line = places(counts.grid, figures.design)
    found = dict(zip(COUNTS, figures.counts[list(figures.runs).index(name)], strict=True))
    cycles = counts.base_cycles[packing, queue, broadcast]
    cycles = cycles + counts.pipelined[:, np.newaxis] * figures.design.array.pipeline_cycles
    assert cycles.sum(axis=0).mean() == pytest.approx(found["cycles"], rel=1e-12)
    for count in ("pointer_reads", "processed_entries", "useful_macs"):
        assert getattr(counts, count)[packing] == pytest.approx(found[count], rel=1e-12), count
    assert counts.line_reads[packing, line] == pytest.approx(found["line_reads"], rel=1e-12)
    assert counts.errors[packing] == figures.errors[list(figures.runs).index(name)]
    for product, runs in enumerate(figures.runs[name]):
        image = Image(
            int(counts.lines[packing, line, product]),
            int(counts.pointers[packing, product]),
            int(counts.entries[packing, product]),
            int(counts.all_lines[packing, line, product]),
            int(counts.all_pointers[packing, product]),
        )
        assert image == runs.scheduled(name, figures.design.array).image


@pytest.mark.parametrize("precision", ["float", "fixed-8"])
@pytest.mark.parametrize("largest_error", [0.0, 0.05])
@pytest.mark.parametrize("share_bias", [False, True])
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_counts_are_those_of_each_array_alone(
    kind: str, share_bias: bool, largest_error: float, precision: Precision
) -> None:
    module, inputs = NETWORKS[kind]
    model = compressed(module, inputs, share_bias)
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    cost = ArrayCost(model, inputs, largest_error=largest_error)
    grid = replace(GRID, precision=precision)
    counts = {name: cost.layer_counts(name, chosen, grid) for name, chosen in layers.items()}
    calls = np.concatenate([each.call_places for each in counts.values()])
    assert sorted(calls) == list(range(len(calls)))
    for design in arrays_of(grid, 12):
        figures = cost.figures(layers, design, fit_srams=False)
        for name, each in counts.items():
            check(each, figures, name)


@pytest.mark.parametrize("largest_error", [0.0, 0.05])
def test_counts_of_a_layer_follow_its_threshold(largest_error: float) -> None:
    module, inputs = NETWORKS["mixed"]
    model = compressed(module, inputs, share_bias=True)
    cost = ArrayCost(model, inputs, largest_error=largest_error)
    pointer_reads = []
    for threshold in (0.0, 0.3, 1.0):
        layers = {
            layer.name: ChosenLayer(replace(layer, activation_threshold=threshold), int(100 * threshold))
            for layer in model.layers
            if layer.name != "unused"
        }
        counts = {name: cost.layer_counts(name, chosen, GRID) for name, chosen in layers.items()}
        for design in arrays_of(GRID, 6):
            figures = cost.figures(layers, design, fit_srams=False)
            for name, each in counts.items():
                check(each, figures, name)
        pointer_reads.append(sum(float(each.pointer_reads[0]) for each in counts.values()))
    assert pointer_reads[0] > 1.1 * pointer_reads[1] > 1.2 * pointer_reads[2]


def test_a_layer_with_several_codebooks_is_refused_with_its_remedy() -> None:
    module, inputs = NETWORKS["mixed"]
    model = compressed(module, inputs, share_bias=False)
    layer = next(layer for layer in model.layers if layer.name == "twice")
    own = with_codebooks(layer, 3, 4, np.random.default_rng(0))
    cost = ArrayCost(model, inputs)
    with pytest.raises(
        InputError,
        match=r"^layer 'twice[^']*': codebooks must be 'layer', since a co-design counts arrays of any number of PEs; "
        r"found 3 codebooks; compress it with codebooks='layer'$",
    ):
        cost.layer_counts("twice", ChosenLayer(own, 0), GRID)


def test_cycles_of_each_call_and_input_are_whole_and_exact() -> None:
    module, inputs = NETWORKS["mixed"]
    model = compressed(module, inputs, share_bias=True)
    cost = ArrayCost(model, inputs, largest_error=0)
    layer = next(layer for layer in model.layers if layer.name == "twice")
    counts = cost.layer_counts("twice", ChosenLayer(layer, 0), GRID)
    assert counts.base_cycles.shape == (len(PACKINGS), 3, 2, 2, 3)  # two calls, three inputs
    assert counts.pipelined.tolist() == [16, 16]
    for design in arrays_of(GRID, 6):
        (run,) = cost.figures({"twice": ChosenLayer(layer, 0)}, design, fit_srams=False).runs["twice"]
        packing, queue, broadcast, _ = places(GRID, design)
        expected = run.counted(design.array, [16, 16]).call_cycles
        assert (counts.base_cycles[packing, queue, broadcast] + 16 * design.array.pipeline_cycles == expected).all()


@cache
def linear_cost() -> ArrayCost:
    torch.manual_seed(0)
    return ArrayCost(torch.nn.Sequential(torch.nn.Linear(12, 9)).eval(), drawn(12), largest_error=0)


def linear(folder: Path | None, most_bytes: int = layer_counts.MOST_BYTES) -> tuple[ArrayCost, ChosenLayer]:
    cost = copy.copy(linear_cost())  # as another process has it: with another store
    cost._store = LayerCountsStore(folder, most_bytes)
    codes = np.random.default_rng(3).integers(0, 3, (9, 12)).astype(np.uint8)
    return cost, ChosenLayer(CompressedLayer("0", codes, np.arange(4, dtype=np.float32)), 0)


def equal(first: LayerCounts, second: LayerCounts) -> bool:
    return first.grid == second.grid and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in layer_counts._ARRAYS
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of (timings, lines) that are counted from now on."""
    calls: list[Any] = []
    whole = ProductRuns.whole

    def noting(runs: Any, precision: Any, timings: Any, lines: Any, vectors: Any) -> Any:
        calls.append((list(timings), list(lines)))
        return whole(runs, precision, timings, lines, vectors)

    monkeypatch.setattr(ProductRuns, "whole", noting)
    return calls


def test_another_codebook_with_the_same_zeros_is_not_counted_again(counted: list[Any]) -> None:
    cost, chosen = linear(None)
    first = cost.layer_counts("0", chosen, GRID)
    assert len(counted) == len(PACKINGS)
    codes = np.where(chosen.layer.codes, 5, 0).astype(np.uint8)
    other = CompressedLayer("0", codes, np.linspace(0, 1, 8, dtype=np.float32))
    assert equal(cost.layer_counts("0", ChosenLayer(other, 1), GRID), first)
    assert len(counted) == len(PACKINGS)
    codes[0, 0] = 0 if codes[0, 0] else 1
    another = cost.layer_counts("0", ChosenLayer(replace(other, codes=codes), 2), GRID)
    assert len(counted) == 2 * len(PACKINGS)
    assert not equal(another, first)


def test_a_larger_grid_counts_only_what_is_new(counted: list[Any]) -> None:
    cost, chosen = linear(None)
    cost.layer_counts("0", chosen, GRID)
    counted.clear()
    larger = replace(GRID, broadcast_cycles=(1, 2, 3), entries_per_line=(8, 4))
    found = cost.layer_counts("0", chosen, larger)
    assert counted == [([(2, 2), (8, 2), (64, 2)], [8])] * len(PACKINGS)
    alone, _ = linear(None)
    assert equal(found, alone.layer_counts("0", chosen, larger))
    counted.clear()
    part = replace(GRID, packings=PACKINGS[1:3], queue_slots=(64,))
    assert equal(cost.layer_counts("0", chosen, part), cost.layer_counts("0", chosen, GRID).part(part))
    assert not counted
    with pytest.raises(
        InputError, match="precision of the grid must be counted, float; found fixed-8; count the layer"
    ):
        found.part(replace(found.grid, precision="fixed-8"))
    with pytest.raises(InputError, match=r"queue_slots of the grid must be counted, \(2, 8, 64\); found \(2, 5\)"):
        found.part(replace(GRID, queue_slots=(2, 5)))


def test_of_several_grids_only_their_arrays_are_counted(counted: list[Any]) -> None:
    cost, chosen = linear(None)
    grids = replace(GRID, packings=PACKINGS[:3], entries_per_line=(4,)), replace(GRID, packings=PACKINGS[3:4])
    found = cost.layer_counts("0", chosen, *grids)
    assert [lines for _, lines in counted] == [[4]] * 3 + [[1, 4, 7]]
    assert found.grid == replace(GRID, packings=PACKINGS[:4], entries_per_line=(4, 1, 7))
    assert [found.knows(grid) for grid in (*grids, found.grid)] == [True, True, False]
    alone, _ = linear(None)
    whole = alone.layer_counts("0", chosen, GRID)
    for grid in grids:
        assert equal(found.part(grid), whole.part(grid))


def test_vectors_are_sampled_once_for_each_packing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cost, chosen = linear(tmp_path)
    first = replace(GRID, queue_slots=(8,), entries_per_line=())
    few = cost.layer_counts("0", chosen, first)
    assert few.sampled.min() >= 1

    def fail(*_: Any) -> None:
        raise AssertionError("the sample is known")

    with monkeypatch.context() as patch:
        patch.setattr(product_runs, "sampled", fail)
        again, _ = linear(tmp_path)
        found = [each.layer_counts("0", chosen, GRID) for each in (cost, again)]
    alone, _ = linear(None)
    for each in found:
        assert equal(each, alone.layer_counts("0", chosen, GRID))


def test_counts_are_found_in_the_folder_by_another_process(tmp_path: Path, counted: list[Any]) -> None:
    cost, chosen = linear(tmp_path)
    first = cost.layer_counts("0", chosen, GRID)
    counted.clear()
    other, _ = linear(tmp_path)
    assert equal(other.layer_counts("0", chosen, GRID), first)
    assert not counted
    larger = replace(GRID, queue_slots=(16, 2))
    further = other.layer_counts("0", chosen, larger)  # the file now holds more than the first one has in memory
    counted.clear()
    assert equal(cost.layer_counts("0", chosen, larger), further)
    assert not counted


@pytest.mark.parametrize("damage", ["truncated", "flipped", "renamed", "altered"])
def test_a_damaged_file_is_counted_again(damage: str, tmp_path: Path, counted: list[Any]) -> None:
    cost, chosen = linear(tmp_path)
    first = cost.layer_counts("0", chosen, GRID)
    (path,) = tmp_path.glob("*.npz")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    elif damage == "renamed":  # the file of another layer
        cost.layer_counts("0", ChosenLayer(replace(chosen.layer, codes=chosen.layer.codes ^ 1), 1), GRID)
        (other,) = set(tmp_path.glob("*.npz")) - {path}
        other.replace(path)
    else:  # whole, but with another count
        arrays = read_npz(path)
        arrays["line_reads"] = arrays["line_reads"] + 1
        write_npz(path, arrays)
    counted.clear()
    other_cost, _ = linear(tmp_path)
    assert equal(other_cost.layer_counts("0", chosen, GRID), first)
    assert len(counted) == len(PACKINGS)
    counted.clear()
    again, _ = linear(tmp_path)  # and the file is whole again
    assert equal(again.layer_counts("0", chosen, GRID), first)
    assert not counted


def test_counts_used_least_recently_leave_a_full_memory(counted: list[Any]) -> None:
    cost, chosen = linear(None, most_bytes=1)
    other = ChosenLayer(replace(chosen.layer, codes=chosen.layer.codes ^ 1), 1)
    for each, number in ((chosen, 1), (chosen, 1), (other, 2), (chosen, 3)):
        cost.layer_counts("0", each, GRID)
        assert len(counted) == number * len(PACKINGS)


def test_values_that_no_array_has_are_refused() -> None:
    with pytest.raises(InputError, match="queue_slots must be 2 to 1,048,576"):
        replace(GRID, queue_slots=(1,))
    with pytest.raises(InputError, match="entries_per_line must be 1 to 32,768, whole entries of a line; found 0"):
        replace(GRID, entries_per_line=(0,))
