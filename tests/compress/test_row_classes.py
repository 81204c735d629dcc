"""Row classes: sizes, balance, and how near the assignment comes to exact solvers and to lower bounds."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, milp

from compress import CompressedModel, CompressionConfig, Compressor, LayerSettings, compress
from compress.planning.analysis import analyse
from compress.planning.layer_compression import LayerCompressor
from compress.planning.plan import Choice
from compress.pruning import magnitude_mask
from compress.row_classes import class_sizes, group_of_rows, priced_assignment, row_classes
from compress.row_classes_kernels import fill_errors, split_pairs, swap_rows
from compress.weight_sharing import share_weights
from designs import Design, Workload, sweep
from sim import ArrayConfig, simulate_network
from traces import InputError, Network

Array = np.ndarray[Any, np.dtype[Any]]


def drawn_rows(seed: int, rows: int, columns: int, density: float = 0.5) -> tuple[Array, Array]:
    """Return weights whose rows have scales of their own, and the mask of the largest ones."""
    stream = np.random.default_rng(seed)
    scales = np.exp(stream.normal(size=(rows, 1)) * 0.5)
    weights = (stream.normal(size=(rows, columns)) * scales).astype(np.float32)
    return weights, magnitude_mask(weights, density)


def shared_error(weights: Array, kept: Array, classes: Array, weight_bits: int, importances: Any = None) -> float:
    """Return the squared error after optimal sharing of each class by itself, the naive way."""
    total = 0.0
    for number in np.unique(classes):
        rows = classes == number
        of_class = None if importances is None else importances[rows]
        codes, codebook, _ = share_weights(weights[rows], kept[rows], weight_bits, importances=of_class)
        errors = (weights[rows] - codebook[codes].astype(np.float64)) ** 2 * (1 if of_class is None else of_class)
        total += float(errors[kept[rows]].sum())
    return total


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_classes_have_the_rows_of_their_pes(seed: int, rows: int, num_pes: int, number: int, bits: int) -> None:
    number = min(number, num_pes)
    weights, kept = drawn_rows(seed, rows, 9)
    classes = row_classes(weights, kept, num_pes, number, bits)
    sizes = np.zeros(number, dtype=int)
    for row in range(rows):
        sizes[row % num_pes % number] += 1
    assert np.bincount(classes, minlength=number).tolist() == sizes.tolist()
    assert class_sizes(rows, num_pes, number).tolist() == sizes[sizes > 0].tolist()
    np.testing.assert_array_equal(classes, row_classes(weights, kept, num_pes, number, bits))


@pytest.mark.parametrize("importance", [False, True])
def test_classes_share_with_less_error_than_interleaved_rows_and_no_pe_has_much_more_load(importance: bool) -> None:
    for seed in range(4):
        weights, kept = drawn_rows(seed, 96, 40, 0.4)
        importances: Any = np.random.default_rng(seed).random(weights.shape) + 0.1 if importance else None
        classes = row_classes(weights, kept, 16, 16, 3, importances)
        interleaved = shared_error(weights, kept, np.arange(96) % 16, 3, importances)
        assert shared_error(weights, kept, classes, 3, importances) < 0.85 * interleaved
        assert np.bincount(classes, kept.sum(axis=1)).max() <= 1.1 * kept.sum() / 16
        tight = row_classes(weights, kept, 16, 16, 3, importances, slack=0.03)
        assert np.bincount(tight, kept.sum(axis=1)).max() <= 1.03 * kept.sum() / 16


def test_a_row_that_no_pe_can_balance_sets_the_bound() -> None:
    weights = np.ones((4, 8), dtype=np.float32)
    kept = np.zeros((4, 8), dtype=np.bool_)
    kept[0] = True  # one row has all the load
    kept[1, 0] = True
    classes = row_classes(weights, kept, 2, 2, 2, slack=0.0)
    assert np.bincount(classes, kept.sum(axis=1)).max() == 8  # and not 9


def test_rows_for_fewer_pes_than_there_are_have_codebooks_of_their_own() -> None:
    weights, kept = drawn_rows(0, 5, 9)
    assert row_classes(weights, kept, 8, 8, 2).tolist() == [0, 1, 2, 3, 4]
    assert row_classes(weights, kept, 8, 1, 2).tolist() == [0] * 5


def assignment_problem(seed: int, rows: int, number: int) -> tuple[Array, Array, Array, float]:
    """Return the error of each row with each codebook, loads, an allowed start, and its largest load."""
    weights, kept = drawn_rows(seed, rows, 20, 0.4)
    start = np.arange(rows) % number
    codebooks = [share_weights(weights[start == each], kept[start == each], 2)[1][1:] for each in range(number)]
    shared = np.stack(codebooks).astype(np.float64)
    begins, values, totals = sorted_rows(weights, kept)
    errors = np.empty((rows, number))
    fill_errors(begins, values, totals, shared, errors)
    loads = kept.sum(axis=1)
    return errors, loads, start, float(np.bincount(start, loads).max())


def sorted_rows(weights: Array, kept: Array) -> tuple[Array, Array, Array]:
    begins, values, totals = [0], [], []
    for row, mask in zip(weights.astype(np.float64), kept, strict=True):
        of_row = sorted(row[mask])
        values += of_row
        begins.append(begins[-1] + len(of_row))
        totals.append([0.0, 0.0, 0.0])
        for value in of_row:
            before = totals[-1]
            totals.append([before[0] + 1, before[1] + value, before[2] + value**2])
    return np.array(begins), np.array(values), np.array(totals)


def exact_error(errors: Array, sizes: Array, loads: Array, most: float) -> float:
    """Return the least error of any assignment within the bound on loads, by a mixed-integer program."""
    rows, number = errors.shape
    one_class = np.kron(np.eye(rows), np.ones(number))
    of_size = np.kron(np.ones(rows), np.eye(number))
    of_load = np.kron(loads, np.eye(number))
    constraints = [
        LinearConstraint(one_class, 1, 1),
        LinearConstraint(of_size, sizes, sizes),
        LinearConstraint(of_load, 0, most),
    ]
    found = milp(errors.ravel(), constraints=constraints, integrality=np.ones(errors.size), bounds=Bounds(0, 1))
    assert found.status == 0
    return float(found.fun)


def test_errors_of_rows_are_those_of_the_nearest_shared_weights() -> None:
    weights, kept = drawn_rows(3, 12, 30)
    shared = np.sort(np.random.default_rng(0).normal(size=(4, 5)), axis=1)
    errors = np.empty((12, 4))
    fill_errors(*sorted_rows(weights, kept), shared, errors)
    for row in range(12):
        for number in range(4):
            distances = np.abs(weights[row, kept[row], np.newaxis].astype(np.float64) - shared[number])
            assert errors[row, number] == pytest.approx((distances.min(axis=1) ** 2).sum(), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_swaps_come_close_to_the_hungarian_method_and_to_the_exact_program(seed: int) -> None:
    rows, number = 36, 6
    errors, loads, start, most = assignment_problem(seed, rows, number)
    sizes = np.bincount(start)

    def swapped(bound: float) -> Array:
        classes = start.copy()
        assert swap_rows(errors, loads, np.full(number, int(bound)), classes) == 0
        assert np.bincount(classes).tolist() == sizes.tolist()
        return classes

    free = swapped(float(loads.sum()))
    slots = np.repeat(np.arange(number), sizes)
    assigned = linear_sum_assignment(errors[:, slots])
    least = errors[:, slots][assigned].sum()
    before = errors[np.arange(rows), start].sum()
    after = errors[np.arange(rows), free].sum()
    assert least <= after + 1e-9
    assert after - least <= 0.1 * (before - least)

    bounded = priced_assignment(errors, loads, np.full(number, int(most)), start)
    assert np.bincount(bounded).tolist() == sizes.tolist()
    assert errors[np.arange(rows), bounded].sum() <= errors[np.arange(rows), swapped(most)].sum()
    assert np.bincount(bounded, loads).max() <= most
    least_bounded = exact_error(errors, sizes, loads, most)
    after = errors[np.arange(rows), bounded].sum()
    assert least <= least_bounded + 1e-9 <= after + 2e-9
    assert after - least_bounded <= 0.1 * (before - least_bounded)


@pytest.mark.parametrize("seed", range(3))
def test_no_class_shares_with_less_error_than_its_rows_alone(seed: int) -> None:
    weights, kept = drawn_rows(seed, 30, 40)
    of_rows = shared_error(weights, kept, np.arange(30), 3)
    classes = row_classes(weights, kept, 10, 10, 3)
    one = shared_error(weights, kept, np.zeros(30), 3)
    assert of_rows <= shared_error(weights, kept, classes, 3) < one


@pytest.mark.parametrize("bounded", [False, True])
def test_pairs_of_classes_are_split_to_less_error_within_the_bounds(bounded: bool) -> None:
    rows, number = 600, 8
    errors, loads, start, most = assignment_problem(7, rows, number)
    sizes = np.bincount(start)
    bound = int(most if bounded else loads.sum())
    classes = start.copy()
    assert split_pairs(errors, loads, np.full(number, bound), classes) == 0
    assert np.bincount(classes).tolist() == sizes.tolist()
    assert np.bincount(classes, loads).max() <= bound
    slots = np.repeat(np.arange(number), sizes)
    least = errors[:, slots][linear_sum_assignment(errors[:, slots])].sum()
    before, after = (errors[np.arange(rows), each].sum() for each in (start, classes))
    assert least <= after + 1e-9
    assert after - least <= (0.5 if bounded else 0.05) * (before - least)


def test_a_large_layer_is_assigned_within_its_bound() -> None:
    weights, kept = drawn_rows(0, 1030, 12)
    classes = row_classes(weights, kept, 16, 16, 3)
    assert np.bincount(classes).tolist() == [65] * 6 + [64] * 10
    assert np.bincount(classes, kept.sum(axis=1)).max() <= 1.1 * kept.sum() / 16 * 65 / 64
    interleaved = shared_error(weights, kept, np.arange(1030) % 16, 3)
    assert shared_error(weights, kept, classes, 3) < 0.7 * interleaved


def test_loads_that_exceed_the_bound_are_relieved_first() -> None:
    errors = np.array([[0.0, 9.0], [0.0, 8.0], [9.0, 0.0], [8.0, 0.0]])
    for assign in (swap_rows, split_pairs):
        loads, classes = np.array([5, 5, 1, 1]), np.array([0, 0, 1, 1])
        assert assign(errors, loads, np.array([6, 6]), classes) == 0
        assert np.bincount(classes, loads).tolist() == [6, 6]


@pytest.mark.parametrize(
    ("number", "slack", "sentence"),
    [(9, 0.1, "codebooks must be 1 to num_pes=8; found 9"), (4, -1.0, "slack must be at least 0; found -1.0")],
)
def test_classes_that_cannot_be_are_refused(number: int, slack: float, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        row_classes(*drawn_rows(0, 9, 9), 8, number, 2, slack=slack)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = torch.nn.Conv2d(2, 13, 3)
        self.second = torch.nn.Linear(13 * 16, 21)
        self.last = torch.nn.Linear(21, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(images)).flatten(1)
        outputs: torch.Tensor = self.last(torch.relu(self.second(hidden)))
        return outputs


IMAGES = np.random.default_rng(0).normal(size=(3, 2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("share_bias", [True, False])
@pytest.mark.parametrize("own", [{"codebooks": "pe"}, {"codebooks": "group", "codebook_groups": 3}])
def test_a_network_with_several_codebooks_has_less_error_and_runs_on_its_array(
    own: Any, share_bias: bool, tmp_path: Any
) -> None:
    network, array = Net(), ArrayConfig(num_pes=8, weight_bits=2)
    every = LayerSettings(0.5, 2, share_bias, codebook_bits=16)
    one = compress(network, CompressionConfig(every), inputs=IMAGES)
    several = LayerSettings(0.5, 2, share_bias, codebook_bits=16, num_pes=8, **own)
    model = compress(network, CompressionConfig(several), inputs=IMAGES)
    number = 8 if own["codebooks"] == "pe" else 3
    assert [layer.num_codebooks for layer in model.layers] == [number, number, min(5, number)]
    dense_weights = [values for name, values in network.state_dict().items() if name.endswith("weight")]
    for shared, plain, weight in zip(model.layers, one.layers, dense_weights, strict=True):
        np.testing.assert_array_equal(shared.codes != 0, plain.codes != 0)
        dense = weight.numpy().reshape(shared.codes.shape)
        error = [float((np.square(layer.weights() - dense)[plain.codes != 0]).sum()) for layer in (shared, plain)]
        assert error[0] < error[1]
    path = tmp_path / "own.dc"
    model.save(path)
    loaded = CompressedModel.load(path)
    assert loaded.size_bytes == path.stat().st_size
    result = simulate_network(loaded, IMAGES, array)
    assert result.largest_difference < 1e-5
    decoded = copy.deepcopy(network)
    loaded.load_into(decoded)
    with torch.no_grad():
        expected = decoded(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(result.output, expected, rtol=1e-4, atol=1e-5)
    if own["codebooks"] == "pe":
        with pytest.raises(InputError, match="num_pes=5 must suit its codebooks"):
            simulate_network(loaded, IMAGES, ArrayConfig(num_pes=5, weight_bits=2))


def test_groups_of_a_convolution_have_the_codebooks_of_their_rows() -> None:
    torch.manual_seed(2)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, groups=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Flatten()
    )
    images = np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)
    settings = LayerSettings(0.7, 3, codebook_bits=16, codebooks="pe", num_pes=8)
    model = compress(network, CompressionConfig(settings), inputs=images)
    assert [layer.num_codebooks for layer in model.layers] == [8, 8]
    array = ArrayConfig(num_pes=8, weight_bits=3)
    result = simulate_network(model, images, array)
    assert [layer.num_codebooks for layer in result.layers] == [8, 8]  # of 2 groups with 4 rows, of 8 with one
    assert result.largest_difference < 1e-5
    model.load_into(network)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(result.output, expected, rtol=1e-4, atol=1e-5)
    fixed = simulate_network(model, images, dataclasses.replace(array, precision="fixed-16"))
    np.testing.assert_allclose(fixed.output, expected, atol=1e-2)
    workload = Workload.of_network(model, images)
    table = sweep(workload, [Design(array), Design(array, "entries")]).to_pylist()
    by_layer = {layer.name: layer for layer in result.layers}
    for row in table[:2]:
        assert row["cycles"] == by_layer[row["layer"]].cycles.mean()
        assert row["switch_cycles"] == by_layer[row["layer"]].switch_cycles.mean()


def test_centroids_of_each_class_are_trained_and_stored() -> None:
    network = Net()
    compressor = Compressor(network, CompressionConfig(LayerSettings(0.5, 2, codebooks="pe", num_pes=4)))
    while compressor.step() is not None:
        pass
    images, target = torch.from_numpy(IMAGES), torch.tensor([0, 1, 2])
    before = compressor.finalize()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert sorted(tuple(parameter.shape) for parameter in trained) == [(4, 3)] * 3
    optimiser = torch.optim.SGD(trained, lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), target).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    after = compressor.finalize()
    for old, new in zip(before.layers, after.layers, strict=True):
        np.testing.assert_array_equal(old.codes, new.codes)
        np.testing.assert_array_equal(old.row_codebooks, new.row_codebooks)
        assert (old.codebook[:, 1:] != new.codebook[:, 1:]).any(axis=1).all()  # each class has learnt
    with torch.no_grad():
        np.testing.assert_array_equal(compressor.plain_module()(images).numpy(), network(images).numpy())


@pytest.mark.parametrize(
    ("settings_of", "config_of", "sentence"),
    [
        ({"codebooks": "row"}, {}, "codebooks must be one of layer, pe, group; found 'row'"),
        ({"codebook_groups": 2}, {}, "codebook_groups=2 has no effect unless codebooks='group'; set it to 0"),
        ({"codebooks": "group"}, {}, "codebook_groups must be 1 to num_pes=64 with codebooks='group'; found 0"),
        ({"codebooks": "pe", "balanced_over": 64}, {}, "balanced_over=64 must be 0 with codebooks='pe'"),
        ({"codebooks": "pe"}, {"sharing": "joint"}, "sharing must be 'centroids' for a layer whose rows have several"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings_of: Any, config_of: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Compressor(Net(), CompressionConfig(LayerSettings(**settings_of), **config_of))


def test_the_pes_of_codebooks_need_no_interleaved_file() -> None:
    own = {"codebooks": "pe", "num_pes": 4, "scan_order": "rows"}
    assert CompressionConfig.from_dict({"every": own}).every.num_codebooks == 4
    assert CompressionConfig.from_dict({"layers": {"fc": own}}).settings_of("fc", "Linear").num_codebooks == 4


@pytest.mark.parametrize(("groups", "rows", "num_pes", "number"), [(2, 16, 4, 4), (3, 21, 4, 4), (2, 18, 8, 3)])
def test_classes_of_a_grouped_product_suit_the_array_in_each_group(
    groups: int, rows: int, num_pes: int, number: int
) -> None:
    weights, kept = drawn_rows(0, rows, 12)
    of_rows = group_of_rows(rows, groups)
    classes = row_classes(weights, kept, num_pes, number, 2, groups=of_rows)
    for group in range(groups):
        sizes = np.bincount(classes[of_rows == group])
        np.testing.assert_array_equal(sizes, class_sizes(rows // groups, num_pes, number))
    whole = row_classes(weights, kept, rows, number, 2)  # each row of a group has a PE of its own
    np.testing.assert_array_equal(row_classes(weights, kept, rows, number, 2, groups=of_rows), whole)


@pytest.mark.parametrize("codebooks", ["pe", "group"])
@pytest.mark.parametrize("given", ["module", "graph"])
def test_grouped_products_with_codebooks_of_pes_run_on_their_array(codebooks: Any, given: str) -> None:
    class Grouped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv1d(4, 22, 3, groups=2)
            self.second = torch.nn.ConvTranspose1d(22, 12, 2, groups=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.second(torch.relu(self.first(x)))
            return outputs.mean(dim=2)

    torch.manual_seed(0)
    inputs = np.random.default_rng(0).normal(size=(16, 4, 8)).astype(np.float32)
    settings = LayerSettings(0.7, 3, codebooks=codebooks, num_pes=4, codebook_groups=2 if codebooks == "group" else 0)
    network = Network.open(Grouped().eval(), inputs)
    if given == "graph":
        model = compress(Network.open(network.to_onnx()), CompressionConfig(settings))
    else:
        model = compress(Grouped().eval(), CompressionConfig(settings), inputs=inputs)
    assert [layer.num_codebooks for layer in model.layers] == [settings.num_codebooks] * 2
    analysis = analyse(Grouped().eval(), inputs)
    for number, layer in enumerate(model.layers):
        planned = LayerCompressor.of(analysis, settings).compress(number, Choice(0.7, 3))
        assert planned.row_codebooks is not None
        assert layer.row_codebooks is not None
        for rows in np.split(np.arange(layer.rows), 2):
            sizes = np.bincount(planned.row_codebooks[rows])
            np.testing.assert_array_equal(sizes, np.bincount(layer.row_codebooks[rows]))
    run = simulate_network(model, inputs[:2], ArrayConfig(num_pes=4))
    assert run.largest_difference < 1e-5
