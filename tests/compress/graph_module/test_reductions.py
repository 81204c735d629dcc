import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime

X = np.random.default_rng(1).normal(size=(2, 3, 4)).astype("f4")
TIES = np.array([[1, 3, 3, 0], [2, 2, 1, 2]], "f4")
REDUCTIONS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_take_axes_as_attribute_and_later_as_input(reduction: str) -> None:
    operator, x = f"Reduce{reduction}", np.abs(X)
    by_input = 13 if reduction == "Sum" else 18
    assert_as_in_onnx_runtime(operator, [x], 7)
    assert_as_in_onnx_runtime(operator, [x], by_input - 1, axes=[-1, 0], keepdims=0)
    assert_as_in_onnx_runtime(operator, [x, np.array([1])], by_input)
    assert_as_in_onnx_runtime(operator, [x, np.array([-1, 0])], by_input, keepdims=0)
    assert_as_in_onnx_runtime(operator, [x], by_input, keepdims=0)


@pytest.mark.parametrize("reduction", ["Sum", "Max", "Min", "Prod"])
def test_integers_are_reduced_exactly(reduction: str) -> None:
    integers = np.array([[2**40, 3], [5, -7]])
    assert_as_in_onnx_runtime(f"Reduce{reduction}", [integers, np.array([1])], 18)


def test_no_axes_may_mean_no_reduction() -> None:
    assert_as_in_onnx_runtime("ReduceSum", [X, np.array([], "i8")], 13, noop_with_empty_axes=1)
    assert_as_in_onnx_runtime("ReduceMean", [X, np.array([], "i8")], 18, noop_with_empty_axes=1)
    assert_as_in_onnx_runtime("ReduceSum", [X, np.array([], "i8")], 13)


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
def test_index_of_the_extreme_with_ties(operator: str) -> None:
    assert_as_in_onnx_runtime(operator, [TIES], 7)
    assert_as_in_onnx_runtime(operator, [TIES], 11, axis=-1, keepdims=0)
    assert_as_in_onnx_runtime(operator, [TIES], 13, axis=1, select_last_index=1)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumulative_sums(exclusive: int, reverse: int) -> None:
    for x in (X, np.arange(6).reshape(2, 3)):
        assert_as_in_onnx_runtime("CumSum", [x, np.array(-1)], 14, exclusive=exclusive, reverse=reverse)


def test_largest_elements_with_ties_in_order() -> None:
    k = np.array([3])
    assert_as_in_onnx_runtime("TopK", [TIES], 9, outputs=2, k=2)
    assert_as_in_onnx_runtime("TopK", [TIES, k], 10, outputs=2)
    assert_as_in_onnx_runtime("TopK", [TIES, k], 11, outputs=2, largest=0)
    assert_as_in_onnx_runtime("TopK", [X, np.array([2])], 11, outputs=2, axis=1)
