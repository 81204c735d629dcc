"""Inputs of a network: arrays with one common first axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from traces import InputError, Inputs, write_npy, write_npz

IMAGES = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
WORDS = np.arange(8).reshape(4, 2)


@pytest.mark.parametrize(
    ("values", "names", "positional"),
    [
        (IMAGES, ("0",), True),
        (IMAGES.tolist(), ("0",), True),
        ((IMAGES, WORDS), ("0", "1"), True),
        ([IMAGES, WORDS], ("0", "1"), True),
        ({"images": IMAGES, "words": WORDS}, ("images", "words"), False),
        (Inputs({"images": IMAGES}), ("images",), False),
    ],
)
def test_inputs_are_arrays_by_order_or_by_name(values: Any, names: tuple[str, ...], positional: bool) -> None:
    inputs = Inputs.of(values)
    assert (inputs.names, inputs.positional, len(inputs)) == (names, positional, 4)
    assert np.array_equal(inputs[names[0]], IMAGES)
    for some, places in ((inputs[1:3], [1, 2]), (inputs[np.array([3, 0])], [3, 0]), (inputs[[2]], [2])):
        assert isinstance(some, Inputs)
        assert (some.names, some.positional, len(some)) == (names, positional, len(places))
        assert all(np.array_equal(some[name], inputs[name][places]) for name in names)
    assert [len(one) for one in inputs] == [1] * 4


def test_inputs_are_read_from_files(tmp_path: Path) -> None:
    write_npy(tmp_path / "one.npy", IMAGES)
    write_npz(tmp_path / "named.npz", {"images": IMAGES, "words": WORDS})
    np.savez(tmp_path / "unnamed.npz", IMAGES, WORDS)
    one, named, unnamed = (Inputs.of(tmp_path / name) for name in ("one.npy", "named.npz", "unnamed.npz"))
    assert (one.names, one.positional) == (("0",), True)
    assert (named.names, named.positional) == (("images", "words"), False)
    assert unnamed.positional
    assert np.array_equal(unnamed[unnamed.names[1]], WORDS)
    np.savez(tmp_path / "wrong.npz", images=IMAGES, words=WORDS[:3])
    with pytest.raises(InputError, match=r"wrong.npz: all arrays .* found 4 for 'images', 3 for 'words'"):
        Inputs.of(tmp_path / "wrong.npz")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([[1.0, 2.0], [3.0]], "inputs must be of one shape; found arrays of several; pad or cut them"),
        (np.array([IMAGES, WORDS[:3]], dtype=object), "found objects; pad or cut arrays of several lengths to one"),
        ((IMAGES, WORDS[:3]), "all arrays of the inputs must have one first axis, .* found 4 for '0', 3 for '1'"),
        ({"images": IMAGES, "words": WORDS.astype(str)}, "input 'words' must hold floating-point .* found text"),
        (IMAGES + 1j, "found complex numbers"),
        (IMAGES.astype("datetime64[s]"), "found datetime64"),
        (3.0, "inputs must have a first axis, that of the inputs; found a single number"),
        (np.zeros((4, 0)), r"inputs must not be empty; found shape \[4, 0\]"),
        ((), "inputs must be at least one array; found none"),
        ({}, "inputs must be at least one array; found none"),
        ({0: IMAGES}, "inputs by name must have text as names; found 0"),
        (None, "found objects"),
    ],
)
def test_what_are_no_inputs_is_refused(values: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Inputs.of(values)
    with pytest.raises(InputError, match="one input is a slice of the inputs; found the place 2"):
        Inputs.of(IMAGES)[2]  # type: ignore[call-overload]


def test_bytes_in_another_order_are_turned_and_equal_inputs_are_found() -> None:
    swapped = Inputs.of(IMAGES.astype(">f8"))
    assert swapped["0"].dtype == np.float64
    assert swapped["0"].dtype.isnative
    assert swapped.fingerprints() == Inputs.of(IMAGES).fingerprints()
    assert len(set(Inputs.of((IMAGES * 0, WORDS)).fingerprints())) == 4
    assert Inputs.of((IMAGES * 0, WORDS)).differ
    assert not Inputs.of(IMAGES * 0).differ
