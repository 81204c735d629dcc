from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bad_values import (
    BAD_JSON,
    BAD_TOML,
    NO_LISTS,
    NO_NUMBERS,
    NO_OBJECTS,
    NO_TEXTS,
    NO_WHOLE_NUMBERS,
)
from traces import InputError
from traces.plain_values import (
    mapping,
    number,
    one_of,
    parsed_json,
    parsed_toml,
    read_text,
    sequence,
    shown,
    text,
    true_or_false,
    whole_number,
)


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_refused(content: str) -> None:
    with pytest.raises(InputError, match=r"^the file: "):
        parsed_json("the file", content)
    with pytest.raises(InputError, match=r"^the file: "):
        parsed_json("the file", content.encode())


@pytest.mark.parametrize("content", BAD_TOML.values(), ids=BAD_TOML)
def test_bad_toml_is_refused_at_once(content: str) -> None:
    begin = time.process_time()
    with pytest.raises(InputError, match=r"^the file: "):
        parsed_toml("the file", content)
    assert time.process_time() - begin < 1


def test_good_json_is_as_python_reads_it() -> None:
    values = {"a": [1, -0.0, 2.5, None, True, "\U0001f600", "\\ud800"], "b": {"c": {}}}
    for ascii_only in (True, False):
        content = json.dumps(values, ensure_ascii=ascii_only)
        assert json.dumps(parsed_json("the file", content)) == json.dumps(values)
    assert parsed_json("the file", "[Infinity, -1e999]", infinite=True) == [math.inf, -math.inf]


def test_other_bytes_than_utf8_are_no_json() -> None:
    with pytest.raises(InputError, match="must be JSON"):
        parsed_json("the file", b'{"a": "\xff"}')


def test_good_toml_is_read() -> None:
    content = "a.b.c = 1\n[d]\ne = [" + ", ".join(["0.1"] * 100) + "]\nf = '" + "." * 100 + "'\n"
    values = parsed_toml("the file", content)
    assert values == {"a": {"b": {"c": 1}}, "d": {"e": [0.1] * 100, "f": "." * 100}}


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff")
    for path, match in (
        (tmp_path / "none", "there is no such file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "latin", "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=match):
            read_text(path)


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS.values(), ids=NO_WHOLE_NUMBERS)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="rows must be a whole number"):
        whole_number("rows", value)


@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="share must be a finite number"):
        number("share", value)


def test_numbers_have_bounds() -> None:
    assert whole_number("rows", np.int64(3), 3, 3) == 3
    assert number("share", 1, 0, 1) == 1.0
    assert number("share", np.float32(0.5), above=0) == 0.5
    assert number("loss", math.inf, infinite=True) == math.inf
    for value in (-1, 4, 10**5000):
        with pytest.raises(InputError, match=r"rows must be a whole number from 0 to 3; found"):
            whole_number("rows", value, 0, 3)
    with pytest.raises(InputError, match=r"of at least 1; found 0"):
        whole_number("rows", 0, 1)
    with pytest.raises(InputError, match=r"of at most 1; found 1.5"):
        number("share", 1.5, most=1)
    with pytest.raises(InputError, match=r"a finite number above 0; found 0"):
        number("share", 0, above=0)
    with pytest.raises(InputError, match=r"loss must be a number; found nan"):
        number("loss", math.nan, infinite=True)


@pytest.mark.parametrize("value", NO_TEXTS.values(), ids=NO_TEXTS)
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="name must be"):
        text("name", value)
    with pytest.raises(InputError, match="name must be one of a, b"):
        one_of("name", value, "ab")


@pytest.mark.parametrize("value", NO_LISTS.values(), ids=NO_LISTS)
def test_what_is_no_list_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="layers must be a list"):
        sequence("layers", value)


@pytest.mark.parametrize("value", NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="budget must be values by name"):
        mapping("budget", value)
    if value is not True:
        with pytest.raises(InputError, match="share_bias must be true or false"):
            true_or_false("share_bias", value)


def test_names_of_an_object_are_known() -> None:
    assert mapping("budget", {"a": 1}, "a", "b") == {"a": 1}
    with pytest.raises(InputError, match="budget must have a; found"):
        mapping("budget", {"b": 1}, "a", "b")
    with pytest.raises(InputError, match="budget: unknown option 'c'; known are a, b"):
        mapping("budget", {"a": 1, "c": 1}, "a", "b")
    with pytest.raises(InputError, match="budget must be values by name"):
        mapping("budget", {1: 1})
    with pytest.raises(InputError, match="a list of 2; found"):
        sequence("edges", [1], 2)


def test_an_error_shows_any_value_in_a_few_characters() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (10**5000, "a" * 10**6, [0] * 10**6, deep, "\ud800", {"a": deep}, b"\0" * 1000):
        assert len(shown(value).encode()) < 80
