"""Masks as uneven as those of pruned layers, and the measurement that says how uneven these are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from designs.commands.experiment import unevenness
from designs.experiments.unevenness import active_columns_gain, measure_unevenness, regularities, unevenness_of
from sim import count
from tests.conftest import PROJECT, real_file
from traces import CompressedLayer, InputError
from traces.files.npz import read_layer_and_input
from traces.synthetic import draw_layer, draw_uneven_layer
from traces.unevenness import FIELDS, MEASURED_FILE, Unevenness, measured_unevenness, read_measured

CONTAINERS = PROJECT / "tests/containers"


def drawn(seed: int, unevenness: Unevenness, density: float = 0.1) -> CompressedLayer:
    return draw_uneven_layer("drawn", 1000, 1500, density, 0.4, seed, unevenness)[0]


@pytest.mark.parametrize("density", [0.04, 0.25])
@pytest.mark.parametrize("given", [Unevenness(0.2, 0.05), Unevenness(0.05, 0.2), Unevenness(0.12, 0.12)])
def test_the_measurement_finds_the_spreads_a_mask_was_drawn_with(given: Unevenness, density: float) -> None:
    found = [unevenness_of(drawn(seed, given, density)) for seed in range(3)]
    for name, value in vars(given).items():
        assert np.mean([getattr(each, name) for each in found]) == pytest.approx(value, rel=0.1), name


def test_rows_and_columns_vary_as_the_model_says() -> None:
    given = Unevenness(0.15, 0.1)
    mask = drawn(7, given).codes != 0
    density = mask.mean()
    rng = np.random.default_rng(1)  # the model, drawn in another way: thresholds for rates instead of weights
    rates = np.exp(np.add.outer(0.15 * rng.standard_normal(3000), 0.1 * rng.standard_normal(300)))
    weights = np.abs(rng.standard_normal(rates.shape)) * rates
    other = weights >= np.quantile(weights, 1 - density)
    for axis in (0, 1):
        ours, theirs = (
            (each.mean(axis=axis).var() - density * (1 - density) / each.shape[axis]) / density**2
            for each in (mask, other)
        )
        assert ours == pytest.approx(theirs, rel=0.25)
    even = draw_layer("random", 1000, 1500, 0.1, 0.4, 7)[0]
    assert max(vars(unevenness_of(even)).values()) < 0.03
    assert max(vars(unevenness_of(drawn(7, Unevenness(0, 0)))).values()) < 0.03


def test_densities_are_exact_and_a_seed_draws_the_same_again() -> None:
    for density, active in ((0.0, 0.0), (0.0371, 0.333), (1.0, 1.0)):
        layer, values = draw_uneven_layer("drawn", 301, 97, density, active, 5, Unevenness(0.3, 0.3))
        assert np.count_nonzero(layer.codes) == round(density * 301 * 97)
        assert np.count_nonzero(values) == round(active * 97)
    same, again, other = (drawn(seed, Unevenness(0.1, 0.1)) for seed in (3, 3, 4))
    assert np.array_equal(same.codes, again.codes)
    assert not np.array_equal(same.codes, other.codes)


def test_the_largest_weights_are_kept() -> None:
    steep = drawn(1, Unevenness(2.0, 0.0)).codes != 0
    kept = np.sort(steep.sum(axis=1))
    assert kept[-1] > 10 * kept[len(kept) // 2]  # scales of a factor of e squared decide, not chance


def test_what_is_taken_is_the_median_of_the_fully_connected_layers_measured() -> None:
    rows = [row for row in read_measured() if row["kind"] == "fully connected"]
    assert len(rows) >= 5
    assert measured_unevenness() == Unevenness(
        *(float(np.median([float(row[name]) for row in rows])) for name in ("row_spread", "column_spread"))
    )


def test_the_table_in_the_repository_is_what_the_measurement_gives(data: Path, tmp_path: Path) -> None:
    for parts in (("alex8", "alex8.npz"), ("squeezenet_deep_compression", "compressed_SqueezeNet.net")):
        real_file(data, *parts)
    measure_unevenness(data, CONTAINERS, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == MEASURED_FILE.read_text()


def test_a_mask_as_uneven_as_alex_8_takes_its_cycles_to_one_per_cent_and_a_random_one_fewer(data: Path) -> None:
    real, values = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    cycles = count(real, values).cycles

    def mean_cycles(unevenness: Unevenness) -> float:
        shape = (real.rows, real.columns, real.density, 0.4)
        layers = [draw_uneven_layer("drawn", *shape, seed, unevenness)[0] for seed in range(3)]
        return float(np.mean([count(layer, values).cycles for layer in layers]))

    assert mean_cycles(unevenness_of(real)) == pytest.approx(cycles, rel=0.01)
    assert mean_cycles(Unevenness(0, 0)) < 0.985 * cycles


def test_the_measured_spreads_do_not_go_with_density_and_alex_8_s_inputs_not_with_its_columns(data: Path) -> None:
    by_size = {(each.spread, each.size): each for each in regularities(read_measured())}
    assert len(by_size) == 6
    for spread in ("row_spread", "column_spread"):
        assert abs(by_size[spread, "density"].correlation) < 0.5
    layer, values = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    assert abs(active_columns_gain(layer, values)) < 0.01


def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODESIGN_DATA", raising=False)
    with pytest.raises(InputError, match=r"row_spread=-0.1 must be 0 \(even\) to 3"):
        Unevenness(-0.1, 0.1)
    with pytest.raises(InputError, match=r"weight_density is a share of non-zeros and must be 0 to 1; found 1\.5"):
        drawn(1, Unevenness(0.1, 0.1), density=1.5)
    with pytest.raises(InputError, match="are not part of this project; give their folder with --data DIR"):
        unevenness(out=tmp_path / "table.csv")
    table = tmp_path / "table.csv"
    with pytest.raises(InputError, match="must be a table of measured layers; reading it failed"):
        read_measured(table)
    for content in ("network,layer\nA,b\n", ",".join(FIELDS) + "\n", ",".join(FIELDS) + "\nA,b,c,1,1,0.1,-1,0\n"):
        table.write_text(content)
        with pytest.raises(InputError, match="must have the columns network, layer, kind"):
            read_measured(table)
    table.write_text(",".join(FIELDS) + "\nA,b,convolution,1,1,0.1,0.1,0.1\n")
    with pytest.raises(InputError, match="lists no fully connected layer"):
        measured_unevenness(table)


def test_counts_that_vary_less_than_chance_or_not_at_all_have_no_spread() -> None:
    for codes in (np.zeros((20, 20)), np.ones((20, 20)), np.eye(20)):
        layer = CompressedLayer("even", codes.astype(np.uint8), np.array([0, 1], np.float32))
        assert unevenness_of(layer) == Unevenness(0, 0)
    rows = np.repeat(np.arange(20) % 2, 20).reshape(20, 20)  # full and empty ones: more than any spread explains
    assert unevenness_of(CompressedLayer("torn", rows.astype(np.uint8), np.array([0, 1], np.float32))).row_spread == 3
