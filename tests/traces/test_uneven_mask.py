"""Masks drawn as uneven as given, and the measurement that finds what they were drawn with."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from traces import CompressedLayer, InputError, Unevenness, draw_layer, draw_uneven_layer, unevenness_of
from traces.arrays import Integers64
from traces.kept_shares import kept, slopes
from traces.unevenness import fullest_classes, typical_unevenness

HEADS = Unevenness(
    0.1, 0.12, block_rows=64, block_spread=0.3, row_kurtosis=2.0, dead_rows=0.2, dead_columns=0.1, dead_clustering=0.4
)
HEADS_ROW = dataclasses.replace(HEADS, fullest_classes=(1.1, 1.2, 1.3)).row()


def drawn(seed: int, unevenness: Unevenness, density: float = 0.1, rows: int = 1000, columns: int = 1500) -> Integers64:
    """Return the mask of a drawn layer, 0 or 1."""
    layer, _ = draw_uneven_layer("drawn", rows, columns, density, 0.4, seed, unevenness)
    mask: Integers64 = (layer.codes != 0).astype(np.int64)
    return mask


def measured(mask: Integers64) -> Unevenness:
    return unevenness_of(CompressedLayer("mask", mask.astype(np.uint8), np.array([0, 1], np.float32)))


@pytest.mark.parametrize("density", [0.04, 0.25])
@pytest.mark.parametrize("given", [Unevenness(0.2, 0.05), Unevenness(0.05, 0.2), Unevenness(0.12, 0.12)])
def test_the_measurement_finds_the_spreads_a_mask_was_drawn_with(given: Unevenness, density: float) -> None:
    found = [measured(drawn(seed, given, density)) for seed in range(3)]
    for name in ("row_spread", "column_spread"):
        assert np.mean([getattr(each, name) for each in found]) == pytest.approx(getattr(given, name), rel=0.1), name
    for each in found:
        assert max(each.dead_rows, each.dead_columns) < 0.003  # empty by chance, or nearly
        assert each.block_spread < 0.03
        assert each.row_kurtosis < 1


def test_the_measurement_finds_blocks_dead_rows_and_dead_columns() -> None:
    found = [measured(drawn(seed, HEADS, 0.15, 2048)) for seed in range(4)]
    assert {each.block_rows for each in found} == {64}
    for name, most in (("row_spread", 0.1), ("column_spread", 0.1), ("block_spread", 0.25), ("dead_clustering", 0.4)):
        assert np.mean([getattr(each, name) for each in found]) == pytest.approx(getattr(HEADS, name), rel=most), name
    for each in found:
        assert each.dead_rows == pytest.approx(0.2, abs=0.002)
        assert each.dead_columns == pytest.approx(0.1, abs=0.002)


def test_tails_are_found_heavier_where_they_were_drawn_heavier() -> None:
    found = [
        np.median([measured(drawn(seed, Unevenness(0.2, row_kurtosis=drawn_with))).row_kurtosis for seed in range(4)])
        for drawn_with in (0.0, 2.0, 20.0)
    ]
    assert found[0] < 0.3 < found[1] < 2 < found[2] < 20


def test_dead_rows_and_columns_are_drawn_exactly_and_in_blocks_if_clustered() -> None:
    mask = drawn(1, dataclasses.replace(HEADS, row_kurtosis=0.0), 0.2, 640)
    assert np.count_nonzero(mask.sum(axis=1) == 0) == 128
    assert np.count_nonzero(mask.sum(axis=0) == 0) == 150
    for clustering, least, most in ((0.0, 0.02, 0.09), (0.9, 0.25, 0.5)):
        unevenness = Unevenness(block_rows=64, dead_rows=0.3, dead_clustering=clustering)
        shares = [
            (drawn(seed, unevenness, 0.2, 640, 200).sum(axis=1) == 0).reshape(10, 64).mean(axis=1) for seed in range(6)
        ]
        assert least < np.std(shares) < most


def test_blocks_vary_together() -> None:
    sums = drawn(5, Unevenness(block_rows=50, block_spread=0.3)).sum(axis=1).reshape(20, 50)
    assert sums.mean(axis=1).std() > 3 * sums.std(axis=1).mean()


@pytest.mark.parametrize("wanted", [(1.1, 1.3, 1.8), (1.2, 1.5, 3.0)])
def test_the_fullest_classes_are_drawn_as_given(wanted: tuple[float, ...]) -> None:
    unevenness = Unevenness(0.15, 0.1, row_kurtosis=3.0, fullest_classes=wanted)
    free = dataclasses.replace(unevenness, fullest_classes=())

    def distance(given: Unevenness) -> float:
        counts = [drawn(seed, given, 0.1, 512, 300).sum(axis=1) for seed in range(4)]
        return float(np.mean([np.abs(np.array(fullest_classes(each)) / wanted - 1).sum() for each in counts]))

    assert distance(unevenness) < min(0.25, distance(free) / 2)
    counts = np.array([3, 0, 1, *[0] * 13, 4])  # rows 0 and 16 are in a class of 16, and in different ones of 64
    assert fullest_classes(counts) == pytest.approx((7 * 16 / 8, 4 * 64 / 8, 4 * 256 / 8))


def test_rows_and_columns_vary_as_the_model_says() -> None:
    mask = drawn(7, Unevenness(0.15, 0.1))
    density = mask.mean()
    rng = np.random.default_rng(1)  # the model, drawn in another way: weights, the largest of which are kept
    scales = np.exp(np.add.outer(0.15 * rng.standard_normal(3000), 0.1 * rng.standard_normal(300)))
    weights = np.abs(rng.standard_normal(scales.shape)) * scales
    other = weights >= np.quantile(weights, 1 - density)
    for axis in (0, 1):
        ours, theirs = (
            (each.mean(axis=axis).var() - density * (1 - density) / each.shape[axis]) / density**2
            for each in (mask, other)
        )
        assert ours == pytest.approx(theirs, rel=0.25)


def test_random_masks_are_found_even() -> None:
    even = draw_layer("random", 1000, 1500, 0.1, 0.4, 7)[0]
    for each in (unevenness_of(even), measured(drawn(7, Unevenness()))):
        assert max(each.row_spread, each.column_spread, each.block_spread) < 0.03
        assert each.dead_rows == each.dead_columns == 0
    sparse = measured(drawn(3, Unevenness(), 0.005, 500, 800))  # chance leaves one row in 55 empty, one column in 12
    assert max(sparse.dead_rows, sparse.dead_columns) < 0.02


def test_densities_are_exact_and_a_seed_draws_the_same_again() -> None:
    for unevenness in (Unevenness(0.3, 0.3), dataclasses.replace(HEADS, dead_rows=0.0, dead_columns=0.0)):
        for density, active in ((0.0, 0.0), (0.0371, 0.333), (1.0, 1.0)):
            layer, values = draw_uneven_layer("drawn", 301, 97, density, active, 5, unevenness)
            assert np.count_nonzero(layer.codes) == round(density * 301 * 97)
            assert np.count_nonzero(values) == round(active * 97)
    own = dataclasses.replace(HEADS, fullest_classes=(1.1, 1.3, 2.0))
    assert drawn(3, own, 0.15).sum() == round(0.15 * 1000 * 1500)
    same, again, other = (drawn(seed, own, 0.15) for seed in (3, 3, 4))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_layers_of_one_row_or_column_are_drawn_and_measured() -> None:
    for rows, columns in ((1, 1), (1, 300), (300, 1), (7, 3)):
        mask = drawn(2, Unevenness(0.2, 0.1, 64, 0.1, 1.0), 0.5, rows, columns)
        assert mask.sum() == round(0.5 * rows * columns)
        if 0 < mask.sum() < mask.size:
            again = drawn(2, measured(mask), float(mask.mean()), rows, columns)
            assert again.sum() == mask.sum()


@pytest.mark.parametrize("shape", [(20, 20), (1, 20), (20, 1), (1, 1), (256, 3)])
def test_full_and_empty_layers_are_even_as_rows_with_as_many_weights(shape: tuple[int, int]) -> None:
    rows = shape[0]
    even = tuple(-(-rows // classes) * classes / rows for classes in (16, 64, 256))
    for mask in (np.zeros(shape), np.ones(shape)):
        found = measured(mask.astype(np.int64))
        assert found == Unevenness(fullest_classes=even)
        assert Unevenness.of_row(found.row()) == found
        assert drawn(1, found, float(mask.mean()), *shape).tolist() == mask.tolist()


def test_torn_layers_are_drawn_again() -> None:
    diagonal = measured(np.eye(20, dtype=np.int64))
    assert diagonal.row_spread == diagonal.column_spread == 0
    torn = np.repeat(np.arange(20) % 2, 20).reshape(20, 20)  # rows are full or empty
    found = measured(torn)
    assert found.dead_rows == 0.5
    again = drawn(1, found, 0.5, 20, 20).sum(axis=1)
    assert sorted(set(again.tolist())) == [0, 20]


def test_what_cannot_be_drawn_is_refused_with_the_parameter() -> None:
    with pytest.raises(
        InputError, match=r"dead_rows=0.2 and dead_columns=0.1 must have at most 1,080,000 of 1,500,.*fewer dead rows"
    ):
        drawn(1, HEADS, 0.8)
    with pytest.raises(InputError, match=r"weight_density is a share of non-zeros and must be 0 to 1; found 1\.5"):
        drawn(1, Unevenness(), density=1.5)
    for wrong, sentence in (
        ({"row_spread": -0.1}, r"row_spread must be a finite number from 0 to 10\.0; found -0\.1"),
        ({"dead_rows": 1.5}, "dead_rows must be a finite number from 0 to 1"),
        ({"block_spread": 0.1}, "block_rows must be 1 or more .*; found 0; give block_rows, or leave the others at 0"),
        ({"block_rows": 10**30}, "block_rows must be a whole number from 0 to 2,147,483,647; found 1.*; unevenness_of"),
        ({"row_kurtosis": None}, r"row_kurtosis must be a finite number from 0 to 60\.0; found None; unevenness_of"),
        (
            {"fullest_classes": (1.0,)},
            r"fullest_classes must be a tuple with a value for each .*; found \(1\.0,\); unev",
        ),
        ({"fullest_classes": [1.0, 1.0, 1.0]}, r"fullest_classes must be a tuple .*; found \[1\.0, 1\.0, 1\.0\]; unev"),
        ({"fullest_classes": None}, "fullest_classes must be a tuple .*; found None; unevenness_of measures it"),
        (
            {"fullest_classes": (1.0, 0.5, 1.0)},
            r"fullest_classes\[1\] must be a finite number from 1 to 64; found 0\.5",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            Unevenness(**wrong)
    with pytest.raises(InputError, match=r"unevenness must be an Unevenness; found dict; measured_unevenness\(\)"):
        drawn(1, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="layer must be a CompressedLayer; found ndarray; layer_from_matrix makes one"):
        unevenness_of(np.eye(3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"fullest_classes must have a value for each of 16, 64, 256 .*; found \(\)"):
        Unevenness().row()
    with pytest.raises(InputError, match=r"a row of measured layers must have a number for each of block_r.*'no'"):
        Unevenness.of_row(HEADS_ROW | {"dead_rows": "no"})
    with pytest.raises(InputError, match="rows must be those of at least one measured layer; found none"):
        typical_unevenness([])


def test_the_smallest_kurtosis_is_drawn_as_none() -> None:
    smallest = Unevenness(0.2, row_kurtosis=1e-320)
    assert np.array_equal(drawn(1, smallest, rows=40), drawn(1, Unevenness(0.2), rows=40))


def test_shares_kept_are_those_of_normal_weights() -> None:
    weights = np.abs(np.random.default_rng(0).standard_normal(400_000))
    for logarithm in (-1.0, -0.3, 0.5, 2.0):
        share, near = kept(np.array([logarithm, logarithm + 0.01]))
        assert share == pytest.approx(np.mean(weights * np.exp(logarithm) > 1), abs=0.003)
        assert slopes(np.array([logarithm + 0.005]))[0] == pytest.approx((near - share) / 0.01, rel=0.01)


def test_the_largest_benchmark_layer_is_drawn_and_measured_in_seconds() -> None:
    begin = time.process_time()
    mask = draw_uneven_layer("VGG-6", 4096, 25088, 0.04, 0.18, 1, Unevenness(0.1, 0.1, fullest_classes=(1.1, 1.2, 1.4)))
    unevenness_of(mask[0])
    assert time.process_time() - begin < 30  # about 4 s
