"""Layers compressed alone: all choices at once, sweeps over rows, large layers by a sample (PyTorch needed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import LayerSettings, plan
from compress.planning import analysis as analysis_module
from compress.planning import compensation, moments
from compress.planning.analysis import Analysis, analyse
from compress.planning.compensation import codebooks, error_spread, pruned_weights, shared_codes, stored_codebook
from compress.planning.layer_compression import LayerCompressor, layer_file_bytes
from compress.planning.moments import BlockMoment
from compress.planning.plan import Choice
from compress.pruning import magnitude_mask
from compress.weight_sharing import optimal_centroids
from traces import InputError
from traces.arrays import Booleans, Floats, Floats32, Floats64

DENSITIES, WEIGHT_BITS = (1.0, 0.4, 0.1), (2, 4, 5)


def analysed(seed: int = 0) -> Analysis:
    """Return the analysis of a convolution, a layer without a moment and a linear layer."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 24, 3),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(24, 20, 3, padding=2),
        torch.nn.Flatten(),
        torch.nn.Linear(20 * 9, 40),
    )
    return analyse(module, np.random.default_rng(seed).normal(size=(6, 3, 7, 7)).astype(np.float32))


def swept(weights: Floats, kept: Booleans, spread: list[Floats64], shared: Floats64 | None) -> Floats64:
    """Return rows after a sweep, weight by weight: the readable model of the kernel."""
    moved = weights.astype(np.float64)
    for row, row_kept in zip(moved, kept, strict=True):
        first = 0
        for block in spread:
            part = row[first : first + len(block)]
            for j in range(len(block)):
                before = part[j]
                part[j] = 0 if not row_kept[first + j] else before
                if row_kept[first + j] and shared is not None:
                    part[j] = shared[np.abs(shared - before).argmin()]
                part[j + 1 :] -= (before - part[j]) / block[j, j] * block[j, j + 1 :]
            first += len(block)
    return moved


@pytest.mark.parametrize(("rows", "columns", "block"), [(3, 7, 1024), (21, 70, 1024), (13, 333, 150), (5, 600, 1024)])
def test_a_sweep_moves_weight_after_weight(
    rows: int, columns: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "MOST_COLUMNS", block)
    monkeypatch.setattr(compensation, "_WEIGHTS_AT_ONCE", 16 * columns)
    stream = np.random.default_rng(columns)
    inputs = stream.normal(size=(900, 1)) + stream.normal(size=(900, columns))
    spread = error_spread(BlockMoment.of_vectors(inputs))
    assert len(spread) == -(-columns // block)
    weights = stream.normal(size=(rows, columns)).astype(np.float32)
    kept = magnitude_mask(weights, 0.4)
    pruned = pruned_weights(weights, kept, spread)
    assert np.allclose(pruned, swept(weights, kept, spread, None), atol=1e-5)
    (shared,) = codebooks(pruned, kept, np.ones_like(weights), [3])
    codebook = stored_codebook(shared)
    codes = shared_codes(weights, kept, spread, shared)
    model = swept(weights, kept, spread, np.unique(codebook[1:]).astype(np.float64))
    assert np.array_equal(codebook[codes], model)
    assert np.array_equal(codes != 0, kept)


def test_all_choices_at_once_are_those_made_one_by_one() -> None:
    compressor = LayerCompressor.of(analysed())
    alone = LayerCompressor.of(compressor.analysis)  # which keeps none of the other's layers
    assert [layer.moment is None for layer in compressor.analysis.layers] == [False, True, False]
    for number, layer in enumerate(compressor.analysis.layers):
        tried = list(compressor.tried(number, DENSITIES, WEIGHT_BITS))
        assert [(each.density, each.weight_bits) for each in tried] == [
            (density, bits) for density in DENSITIES for bits in WEIGHT_BITS
        ]
        for each in tried:
            compressed = alone.compress(number, Choice(each.density, each.weight_bits))
            assert compressor.compress(number, Choice(each.density, each.weight_bits)) is each.layer
            assert each.whole
            assert np.array_equal(each.layer.codes, compressed.codes)
            assert np.array_equal(each.layer.codebook, compressed.codebook)
            assert np.array_equal(each.weights, compressed.weights())
            assert each.file_bytes == layer_file_bytes(compressed)
            assert np.array_equal(compressed.codes != 0, magnitude_mask(layer.weights, each.density))


def test_a_large_layer_is_tried_on_a_sample_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis_module, "SAMPLED_WEIGHTS", 3000)
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).normal(size=(8, 100)).astype(np.float32)
    compressor = LayerCompressor.of(analyse(torch.nn.Linear(100, 400), inputs))
    (layer,) = compressor.analysis.layers
    assert layer.rows.size == 30
    for tried in compressor.tried(0, DENSITIES, WEIGHT_BITS):
        compressed = compressor.compress(0, Choice(tried.density, tried.weight_bits))
        assert not tried.whole
        assert tried.weights.shape == (30, 100)
        assert np.array_equal(tried.layer.codes != 0, (compressed.codes != 0)[layer.rows])
        assert tried.file_bytes == pytest.approx(layer_file_bytes(compressed), rel=0.25)
        lost = [
            np.square(each - layer.weights[layer.rows]).mean()
            for each in (tried.weights, compressed.weights()[layer.rows])
        ]
        assert lost[0] == pytest.approx(lost[1], rel=0.2)


def test_the_rows_of_a_layer_in_threads_are_those_without(monkeypatch: pytest.MonkeyPatch) -> None:
    compressor = LayerCompressor.of(analysed())
    alone = [LayerCompressor.of(compressor.analysis).compress(number, Choice(0.3, 4)) for number in range(3)]
    monkeypatch.setattr("compress.planning.layer_compression._WEIGHTS_IN_THREADS", 1)
    monkeypatch.setattr("compress.planning.layer_compression.processors", lambda: 3)
    monkeypatch.setattr(compensation, "_WEIGHTS_AT_ONCE", 100)
    for number, expected in enumerate(alone):
        compressed = compressor.compress(number, Choice(0.3, 4))
        assert np.array_equal(compressed.codes, expected.codes)
        assert np.array_equal(compressed.codebook, expected.codebook)
        for tried in compressor.tried(number, (0.3,), (4,)):
            assert np.array_equal(tried.layer.codes, expected.codes)


def test_weights_that_are_not_finite_are_refused() -> None:
    weights: Floats32 = np.array([[1.0, np.nan]], dtype=np.float32)
    with pytest.raises(InputError, match="weights to share must be finite; found NaN or infinity"):
        codebooks(weights, np.ones((1, 2), bool), np.ones((1, 2)), [2])
    assert codebooks(weights, np.zeros((1, 2), bool), np.ones((1, 2)), [2])[0].tolist() == [0, 0, 0]


def grouped(groups: int = 4, out: int = 32) -> tuple[torch.nn.Conv1d, Floats32]:
    torch.manual_seed(1)
    inputs = np.random.default_rng(1).normal(size=(6, 8, 40)).cumsum(axis=2).astype(np.float32)
    return torch.nn.Conv1d(8, out, 5, groups=groups), inputs


@pytest.mark.parametrize("block", [1024, 6])
def test_the_rows_of_a_group_are_swept_with_its_own_spread(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "MOST_COLUMNS", block)
    monkeypatch.setattr(compensation, "_WEIGHTS_AT_ONCE", 100)  # blocks of 10 rows, which cut groups of 8
    module, inputs = grouped()
    compressor = LayerCompressor.of(analyse(torch.nn.Sequential(module), inputs))
    (layer,) = compressor.analysis.layers
    assert layer.moment is not None
    assert layer.moment.groups == 4
    patches = np.lib.stride_tricks.sliding_window_view(inputs, 5, axis=2).astype(np.float64)
    compressed = compressor.compress(0, Choice(0.4, 3))
    kept = magnitude_mask(layer.weights, 0.4)
    shared = np.unique(compressed.codebook[1:]).astype(np.float64)
    spread = error_spread(layer.moment)
    for group in range(4):
        rows, blocks = slice(8 * group, 8 * group + 8), len(spread) // 4
        model = swept(layer.weights[rows], kept[rows], spread[blocks * group : blocks * group + blocks], shared)
        assert np.allclose(compressed.weights()[rows], model, atol=1e-6)
        vectors = patches[:, 2 * group : 2 * group + 2].transpose(0, 2, 1, 3).reshape(-1, 10)
        alone = error_spread(BlockMoment.of_vectors(vectors))
        for found, expected in zip(spread[blocks * group : blocks * group + blocks], alone, strict=True):
            assert np.allclose(found, expected, rtol=1e-2, atol=1e-3 * np.abs(expected).max())
        lost = [
            np.square(vectors @ (pruned - layer.weights[rows]).T).mean()
            for pruned in (
                pruned_weights(layer.weights, kept, spread, groups=layer.moment.group_of_rows(32))[rows],
                pruned_weights(layer.weights, kept, None)[rows],
            )
        ]
        assert lost[0] < 0.9 * lost[1]


def test_a_sample_of_rows_of_groups_is_swept_with_their_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis_module, "SAMPLED_WEIGHTS", 200)
    module, inputs = grouped(groups=8, out=64)
    compressor = LayerCompressor.of(analyse(torch.nn.Sequential(module), inputs))
    (layer,) = compressor.analysis.layers
    assert layer.moment is not None
    assert len(layer.rows) == 40
    groups = layer.moment.group_of_rows(64)
    spread = error_spread(layer.moment)
    for tried in compressor.tried(0, (0.4,), (3,)):
        kept = magnitude_mask(layer.weights, 0.4)
        shared = np.unique(tried.layer.codebook[1:]).astype(np.float64)
        assert groups is not None
        for row, place, weights in zip(range(40), layer.rows, tried.weights, strict=True):
            of_row = layer.weights[place][None], kept[place][None]
            model = swept(*of_row, [spread[groups[place]]], shared)
            assert np.allclose(weights, model[0], atol=1e-6), row


def test_each_class_of_rows_is_shared_as_if_it_were_a_layer_alone() -> None:
    stream = np.random.default_rng(0)
    spread = error_spread(BlockMoment.of_vectors(stream.normal(size=(900, 20))))
    weights = (stream.normal(size=(24, 20)) * np.exp(stream.normal(size=(24, 1)))).astype(np.float32)
    kept, curvatures, classes = magnitude_mask(weights, 0.5), stream.random((24, 20)), np.arange(24) * 7 % 3
    curvatures *= 1 / curvatures.mean()
    pruned = pruned_weights(weights, kept, spread)
    found = codebooks(pruned, kept, curvatures, [2, 3], classes)
    assert [shared.shape for shared in found] == [(3, 3), (3, 7)]
    assert stored_codebook(found[1]).shape == (3, 8)
    codes = shared_codes(weights, kept, spread, found[1], classes=classes)
    for number in range(3):
        rows = classes == number
        alone = optimal_centroids(pruned[rows], kept[rows], curvatures[rows], 1e-3, [3, 7])
        for shared, of_class in zip(found, alone, strict=True):
            np.testing.assert_array_equal(shared[number], of_class)
        np.testing.assert_array_equal(codes[rows], shared_codes(weights[rows], kept[rows], spread, found[1][number]))


@pytest.mark.parametrize("own", [{"codebooks": "pe"}, {"codebooks": "group", "codebook_groups": 3}])
def test_choices_with_a_codebook_for_each_pe_change_the_outputs_less(own: dict[str, Any]) -> None:
    settings = LayerSettings(num_pes=8, **own)
    one = LayerCompressor.of(analysed())
    several, alone = (LayerCompressor.of(one.analysis, settings) for _ in range(2))
    assert several.origin != one.origin == {}
    for number, layer in enumerate(one.analysis.layers):
        changes = []
        every = (compressor.tried(number, (1.0, 0.4), (2, 4)) for compressor in (one, several))
        for plain, tried in zip(*every, strict=True):
            compressed = alone.compress(number, Choice(tried.density, tried.weight_bits))
            assert compressed.num_codebooks == min(settings.num_codebooks, compressed.rows)
            np.testing.assert_array_equal(compressed.weights(), tried.weights)
            np.testing.assert_array_equal(compressed.row_codebooks, tried.layer.row_codebooks)
            assert tried.file_bytes == layer_file_bytes(compressed) > plain.file_bytes
            changes.append([np.square(layer.effects(each.weights[np.newaxis])).mean() for each in (tried, plain)])
        ratio = np.prod([with_several / with_one for with_several, with_one in changes])
        assert ratio < 1 or own["codebooks"] == "group"  # rows drawn alike gain nothing in three groups


def test_plans_with_other_codebooks_share_a_folder_and_no_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)).eval()
    pool = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)

    def planned(folder: Path, **own: Any) -> Any:
        choices: dict[str, Any] = {"densities": (1.0, 0.6), "weight_bits": (3, 5)}
        return plan(module, pool, tolerance=0.1, loss="relative-error", analysis=folder, **choices, **own)

    one, own = planned(tmp_path / "both"), planned(tmp_path / "both", codebooks="pe", num_pes=5)
    fresh = planned(tmp_path / "own", codebooks="pe", num_pes=5)
    assert own.choices == fresh.choices
    assert (own.measured, own.costs) == (fresh.measured, fresh.costs)
    assert one.measured != own.measured
    assert [layer.num_codebooks for layer in own.apply().layers] == [5, 4]
    assert own.apply().size_bytes == own.costs["file_bytes"]
    with pytest.raises(InputError, match="num_pes=5 has no effect unless codebooks is 'pe' or 'group'"):
        planned(tmp_path / "refused", num_pes=5)
