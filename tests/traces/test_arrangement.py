"""Arrangements of parameters as matrices: the matrix gives the product, and the parameter comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import InputError
from traces.arrangement import Arrangement


@st.composite
def arrangements(draw: st.DrawFn) -> Arrangement:
    view = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    axes = draw(st.permutations(range(len(view))))
    return Arrangement(tuple(view), tuple(axes), draw(st.integers(1, len(view))))


@given(arrangements())
def test_a_parameter_comes_back_from_its_matrix(arrangement: Arrangement) -> None:
    values = np.arange(math.prod(arrangement.view), dtype=np.uint16)
    shape = (1, values.size, 1)
    matrix = arrangement.matrix(values.reshape(shape))
    assert matrix.shape == (arrangement.rows, arrangement.columns)
    assert matrix.dtype == np.uint16
    np.testing.assert_array_equal(arrangement.parameter(matrix, shape), values.reshape(shape))


@given(arrangements(), st.permutations(range(3)))
def test_is_identity_says_if_the_matrix_is_that_of_the_identity(arrangement: Arrangement, order: list[int]) -> None:
    values = np.arange(math.prod(arrangement.view))
    shapes: list[tuple[int, ...]] = [(values.size,), arrangement.view, (arrangement.rows, arrangement.columns)]
    for shape in shapes:
        parameter = values.reshape(shape)
        same = np.array_equal(arrangement.matrix(parameter), Arrangement.identity(shape).matrix(parameter))
        assert arrangement.is_identity(shape) == same
    assert not arrangement.is_identity(())
    assert not arrangement.is_identity((values.size + 1, 1))


def test_the_identity_has_the_first_axis_as_rows() -> None:
    assert Arrangement.identity((6, 2, 3)) == Arrangement((6, 2, 3), (0, 1, 2), 1)
    kernel = np.arange(36).reshape(6, 2, 3)
    np.testing.assert_array_equal(Arrangement.identity((6, 2, 3)).matrix(kernel), kernel.reshape(6, 6))


def test_a_weight_whose_rows_are_inputs_is_transposed() -> None:
    stream = np.random.default_rng(0)
    weight, inputs = stream.normal(size=(5, 3)), stream.normal(size=5)
    matrix = Arrangement((5, 3), (1, 0), 1).matrix(weight)
    np.testing.assert_allclose(matrix @ inputs, inputs @ weight)


def test_a_transposed_convolution_has_a_row_for_each_output_and_place_in_the_kernel() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    groups, inputs, outputs, kernel = 2, 3, 4, (2, 3)
    module = torch.nn.ConvTranspose2d(groups * inputs, groups * outputs, kernel, groups=groups, bias=False)
    weight = module.weight.detach().numpy()
    arrangement = Arrangement((groups, inputs, outputs, *kernel), (0, 2, 3, 4, 1), 4)
    pixel = np.random.default_rng(0).normal(size=groups * inputs).astype(np.float32)
    expected = module(torch.from_numpy(pixel).reshape(1, -1, 1, 1)).detach().numpy().ravel()
    by_group = arrangement.matrix(weight).reshape(groups, -1, inputs)
    found = np.concatenate(
        [of_group @ part for of_group, part in zip(by_group, pixel.reshape(groups, -1), strict=True)]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (((), (), 1), r"view must have 1 to 16 axes, each of 1 or more values; found \(\)"),
        (((2, 0), (0, 1), 1), r"view must have 1 to 16 axes, each of 1 or more values; found \(2, 0\)"),
        (((1,) * 17, range(17), 1), "view must have 1 to 16 axes"),
        (((2, 3), (0, 0), 1), r"axes must name each of the 2 axes of view once, from 0 on; found \(0, 0\)"),
        (((2, 3), (1,), 1), "axes must name each of the 2 axes"),
        (((2, 3), (0, 1), 0), "row_axes must be 1 to 2, the number of axes; found 0"),
        (((2, 3), (0, 1), 3), "row_axes must be 1 to 2, the number of axes; found 3"),
        (((2, 3), (0, 1), 1.0), "row_axes must be a whole number; found 1.0"),
        (((2, 3.0), (0, 1), 1), "view must be whole numbers"),
        (((2, 3), None, 1), "axes must be whole numbers, one for each axis; found None"),
    ],
)
def test_one_that_cannot_be_gets_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Arrangement(*given)


def test_values_that_do_not_fit_get_a_sentence() -> None:
    arrangement = Arrangement((2, 3), (1, 0), 1)
    with pytest.raises(InputError, match=r"must hold 6 values for the view \[2, 3\]; found 8, of shape \[2, 4\]"):
        arrangement.matrix(np.zeros((2, 4)))
    for matrix, shape in ((np.zeros((2, 3)), (2, 3)), (np.zeros((3, 2)), (7,))):
        with pytest.raises(InputError, match=r"the matrix must be \[3, 2\] and the parameter's shape must hold as"):
            arrangement.parameter(matrix, shape)
