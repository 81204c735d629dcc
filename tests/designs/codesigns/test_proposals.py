"""Compressions to choose from: their properties on random candidates, and all combinations as the measure."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from compress.planning.plan import Candidate, Choice
from designs.codesigns import proposals
from designs.codesigns.proposals import COSTS, CompressionSpace, Rows
from designs.hypervolume import CostBox, dominated_share
from traces import InputError
from traces.arrays import Floats64

WIDTHS = (2, 3, 4, 5)


def random_space(
    seed: int,
    layers: int = 3,
    densities: int = 9,
    share: float = 0.3,
    widths: tuple[int, ...] = WIDTHS,
    narrow_codes_matter: bool = True,
) -> CompressionSpace:
    """Return a space of random candidates whose largest change is this share of the largest of all."""
    stream = np.random.default_rng(seed)
    candidates = []
    for _ in range(layers):
        size, sensitivity = 10 ** stream.uniform(2, 4), 10 ** stream.uniform(-4, -1)
        of_layer = []
        for density in np.geomspace(0.03, 1, densities).tolist():
            macs = 20 * size * density * stream.uniform(0.9, 1.1)
            for bits in WIDTHS:
                change = sensitivity * (3 * (1 - density) ** 2 + 4.0 ** (1 - bits)) * stream.lognormal(0, 0.2)
                file_bytes = size * density * (bits + 2) / 8 * stream.uniform(0.97, 1.03) + 2.0 ** (bits + 1)
                costs = {"file_bytes": file_bytes, "macs": macs, "entries": float(round(size * density))}
                of_layer.append(Candidate(Choice(density, bits), change, costs | {"code_bits": float(bits)}))
        candidates.append([of_layer[place] for place in stream.permutation(len(of_layer))[: len(of_layer) - 3]])
    most = share * sum(max(each.change for each in of_layer) for of_layer in candidates)
    names = tuple(f"layer {number}" for number in range(layers))
    return CompressionSpace(names, candidates, widths, most, narrow_codes_matter)


def combinations(space: CompressionSpace) -> Rows:
    """Return all combinations of candidates within the widths and the largest change."""
    rows = np.array(list(product(*(range(len(of_layer)) for of_layer in space.candidates))), dtype=np.int16)
    codes = [[each.choice.weight_bits for each in of_layer] for of_layer in space.candidates]
    narrow = np.all([np.array(of_layer)[rows[:, n]] <= space.widths[-1] for n, of_layer in enumerate(codes)], axis=0)
    rows = rows[narrow]
    return rows[space.within(rows)]


def axes(space: CompressionSpace, rows: Rows) -> Floats64:
    """Return change, costs and width of compressions, [compressions, axes]."""
    costs = [space.costs_of(rows, name) for name in COSTS]
    return np.stack([space.changes_of(rows), *costs, space.widths_of(rows)], axis=1)


def largest(space: CompressionSpace, rows: Rows) -> Floats64:
    entries: Floats64 = space.costs["entries"][np.arange(len(space.names)), rows].max(axis=1)
    return entries


def test_a_compression_has_the_sums_of_its_layers_and_the_width_of_the_widest() -> None:
    space = random_space(0, widths=(3, 5))
    rows = combinations(space)[::97]
    for row in rows:
        chosen = [of_layer[place] for of_layer, place in zip(space.candidates, row, strict=True)]
        assert space.changes_of(row)[0] == pytest.approx(sum(each.change for each in chosen))
        for name in COSTS:
            assert space.costs_of(row, name)[0] == pytest.approx(sum(each.costs[name] for each in chosen))
        assert space.choices(row) == dict(zip(space.names, (each.choice for each in chosen), strict=True))
        widest = max(each.choice.weight_bits for each in chosen)
        assert space.widths_of(row)[0] == (3 if widest <= 3 else 5)


@pytest.mark.parametrize("seed", range(4))
def test_corners_are_the_best_of_all_combinations(seed: int) -> None:
    space = random_space(seed)
    every, corners = combinations(space), space.corners()
    assert space.within(corners).all()
    assert len(np.unique(corners, axis=0)) == len(corners)
    best, found = axes(space, every).min(axis=0), axes(space, corners)
    assert found.min(axis=0) == pytest.approx(best)
    assert largest(space, corners).min() == largest(space, every).min()
    assert found[0, 0] == pytest.approx(best[0])


@pytest.mark.parametrize("enumerated", [2**17, 0], ids=["small", "large"])
@pytest.mark.parametrize("narrow_codes_matter", [True, False])
def test_proposals_are_distinct_keep_the_bound_and_begin_with_the_corners(
    enumerated: int, narrow_codes_matter: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "_MOST_ENUMERATED", enumerated)
    monkeypatch.setattr(proposals, "_POOL", 512)
    space = random_space(1, layers=4, narrow_codes_matter=narrow_codes_matter)
    rows = space.proposals(150, seed=3)
    assert rows.shape == (150, 4)
    assert rows.dtype == np.int16
    assert space.within(rows).all()
    assert len(np.unique(rows, axis=0)) == 150
    corners = space.corners()
    assert np.array_equal(rows[: len(corners)], corners)
    assert np.array_equal(rows, space.proposals(150, seed=3))
    assert np.array_equal(rows[:40], space.proposals(40, seed=3))
    assert set(space.widths_of(rows).tolist()) == set(space.widths_of(np.concatenate(list(space.all_compressions()))))


@pytest.mark.parametrize("widths", [(5,), WIDTHS])
@pytest.mark.parametrize("enumerated", [2**17, 0], ids=["small", "large"])
@pytest.mark.parametrize("seed", range(4))
def test_96_proposals_reach_99_percent_of_the_hypervolume_of_all_combinations(
    seed: int, enumerated: int, widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "_MOST_ENUMERATED", enumerated)
    monkeypatch.setattr(proposals, "_POOL", 1024)
    space = random_space(seed, widths=widths)
    rows = space.proposals(96, seed)
    of_all, found = (axes(space, each)[:, :3] for each in (combinations(space), rows))
    box = CostBox.around(["accuracy_loss", "file_bytes", "latency_us"], of_all)  # bytes and work by their logarithms
    shares = [dominated_share(box, found[:number]) / dominated_share(box, of_all) for number in (24, 48, 96)]
    assert shares[0] > 0.88
    assert shares[1] > 0.96
    assert shares[2] > 0.99


def test_a_large_network_has_proposals_at_every_change_and_width() -> None:
    space = random_space(5, layers=20, densities=12)
    rows = space.proposals(400)
    assert len(np.unique(rows, axis=0)) == 400
    assert space.within(rows).all()
    changes = space.changes_of(rows)
    least = space.change.min(axis=1).sum()
    decades = np.histogram(np.log(changes), np.linspace(math.log(least), math.log(space.most_change), 5))[0]
    assert (decades > 0).all()
    quarters = np.histogram(changes, np.linspace(least, space.most_change, 5))[0]  # losses are compared by difference
    assert (quarters > 40).all()
    assert set(space.widths_of(rows).tolist()) == set(WIDTHS)
    on_hull = space.least_costs(space.costs["macs"], changes)
    assert (space.costs_of(rows, "macs") / on_hull).min() < 1.01  # some are as cheap as the relaxation, almost


def test_proposals_are_spread_by_the_loss_and_not_by_the_change() -> None:
    space = random_space(3)
    threshold = space.most_change / 2
    harmless = dataclasses.replace(space, losses=lambda changes: np.maximum(changes - threshold, 0.0))
    shares = [(each.changes_of(each.proposals(60)) >= threshold).mean() for each in (space, harmless)]
    assert shares[1] > shares[0]  # changes below it lose nothing, so that one of them is as good as another


@pytest.mark.parametrize("narrow_codes_matter", [True, False])
def test_all_compressions_hold_what_dominates_every_combination(narrow_codes_matter: bool) -> None:
    space = random_space(2, densities=5, narrow_codes_matter=narrow_codes_matter)
    every = axes(space, combinations(space))
    parts = list(space.all_compressions(at_once=10))
    rows = np.concatenate(parts)
    assert len(parts) > 2
    assert len(np.unique(rows, axis=0)) == len(rows)
    columns = [0, 1, 2, 3, 4] if narrow_codes_matter else [0, 2, 3, 4]
    found = axes(space, rows)[:, columns]
    for costs in every[:, columns]:
        assert (found <= costs * (1 + 1e-12)).all(axis=1).any()


def test_compressions_are_counted_and_read_at_any_place() -> None:
    space = random_space(3, share=0.05)
    number = space.num_compressions
    every = space.compressions(0, number)
    assert len(np.unique(every, axis=0)) == number == len(every)
    for begin, end in ((0, 1), (number // 3, number // 2), (number - 5, number), (7, 7)):
        assert np.array_equal(space.compressions(begin, end), every[begin:end])
    widths = space.widths_of(every)
    assert (np.diff(widths) >= 0).all()
    with pytest.raises(InputError, match="begin and end must be in order and within 0 to"):
        space.compressions(5, number + 1)


def test_places_beyond_64_bits_can_be_read() -> None:
    space = random_space(0, layers=20, densities=12)
    number = space.num_compressions
    assert number > 2**64
    rows = space.compressions(number - 3, number)
    assert len(np.unique(rows, axis=0)) == 3
    assert (rows[:, :-1] == rows[0, :-1]).all()  # the last layer changes first


@pytest.mark.parametrize("narrow_codes_matter", [True, False])
def test_neighbours_differ_by_one_step_of_one_layer(narrow_codes_matter: bool) -> None:
    space = random_space(4, narrow_codes_matter=narrow_codes_matter)
    reached = 0
    for row in space.proposals(40)[::4]:
        rows = space.neighbours(row)
        assert space.within(rows).all()
        assert ((rows != row).sum(axis=1) == 1).all()
        assert len(np.unique(rows, axis=0)) == len(rows)
        reached += len(rows)
        for other in rows:
            layer = int((other != row).argmax())
            before, after = (space.candidates[layer][each[layer]] for each in (row, other))
            others = [each for each in space.candidates[layer] if each is not before and each is not after]
            width = space.widths_of(other)[0]
            same_bits = before.choice.weight_bits == after.choice.weight_bits
            between = [
                each
                for each in others
                if min(before.choice.density, after.choice.density)
                < each.choice.density
                < max(before.choice.density, after.choice.density)
                and each.choice.weight_bits == before.choice.weight_bits
            ]
            nearest_density = same_bits and not between
            one_bit = before.choice.density == after.choice.density
            low, high = sorted((before.change, after.change))
            next_change = not any(
                low < each.change < high and space._useful[width][layer, space.candidates[layer].index(each)]
                for each in others
            )
            assert nearest_density or one_bit or next_change
    assert reached > 20


@pytest.mark.parametrize("width", [None, 3])
def test_the_relaxation_bounds_any_additive_cost_from_below(width: int | None) -> None:
    space = random_space(6, densities=5)
    costs = np.random.default_rng(6).random(space.change.shape) * space.costs["macs"]
    rows = combinations(space)
    rows = rows[space.widths_of(rows) <= (width or 9)]
    values = costs[np.arange(3), rows].sum(axis=1)
    changes = space.changes_of(rows)
    limits = np.geomspace(changes.min(), space.most_change, 7)
    bounds = space.least_costs(costs, limits, width)
    allowed = [np.flatnonzero(of_layer <= (width or 9)) for of_layer in space.bits]
    one_each = sparse.block_diag([np.ones((1, len(of_layer))) for of_layer in allowed])
    cost, change = (
        np.concatenate([of_layer[places] for of_layer, places in zip(table, allowed, strict=True)])
        for table in (costs, space.change)
    )
    for limit, bound in zip(limits, bounds, strict=True):
        assert bound <= values[changes <= limit * (1 + 1e-12)].min() * (1 + 1e-9)
        exact = linprog(cost, [change], [limit * (1 + 1e-12)], one_each, np.ones(3))
        assert bound == pytest.approx(exact.fun, rel=1e-6)
    assert (np.diff(bounds) <= 0).all()
    assert any(high < low for low, high in pairwise(bounds))


def test_a_network_with_few_compressions_gets_all_of_them() -> None:
    space = random_space(0, layers=1, densities=4)
    every = np.concatenate(list(space.all_compressions()))
    rows = space.proposals(1000)
    assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in every.tolist()}


def test_layers_without_effect_or_cost_are_no_obstacle() -> None:
    free = [
        Candidate(Choice(density, 4), change, {"file_bytes": 10 * density, "macs": 0.0, "entries": 0.0})
        for density, change in ((1.0, 0.0), (0.5, 0.0), (0.25, 1.0))
    ]
    space = CompressionSpace(("a", "b"), [free, free], (4, 8), 2.0)
    for row in space.proposals(20):
        assert space.within(row).all()
    assert space.costs_of(space.corners(), "file_bytes").min() == 5.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"most_change": 1e-9}, r"most_change and widths must leave at least one compression; found 1e-09, less than"),
        ({"widths": (1,)}, r"found widths \(1,\), of which none holds codes of every layer; allow a larger change or"),
        ({"widths": ()}, "widths must hold one or more widths of a code; found none"),
        ({"names": ("a",)}, r"found \[33, 33, 33\] candidates for 1 names"),
    ],
)
def test_impossible_spaces_are_refused(changed: dict[str, Any], message: str) -> None:
    space = random_space(0)
    fields = {name: getattr(space, name) for name in ("names", "candidates", "widths", "most_change")}
    with pytest.raises(InputError, match=message):
        CompressionSpace(**(fields | changed))


def test_proposals_need_no_pytorch() -> None:
    code = "import sys, designs.codesigns.proposals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
