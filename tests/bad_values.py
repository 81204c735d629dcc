"""Table of bad values: what a file or a caller may give in the place of a number, a text or a list."""

from __future__ import annotations

import math
from typing import Any

NO_WHOLE_NUMBERS: dict[str, Any] = {
    "half": 2.5,
    "whole float": 2.0,
    "true": True,
    "false": False,
    "text": "7",
    "empty text": "",
    "none": None,
    "list": [7],
    "object": {"7": 7},
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
}
"""Values that are no whole number."""
NO_NUMBERS: dict[str, Any] = {
    name: value for name, value in NO_WHOLE_NUMBERS.items() if name not in ("half", "whole float")
} | {"an int beyond float": 10**400}
"""Values that are no finite number."""
NO_TEXTS: dict[str, Any] = {
    "number": 7,
    "true": True,
    "none": None,
    "list": ["a"],
    "object": {"a": "b"},
    "half a character": "a\ud800",
}
"""Values that are no text of whole characters."""
NO_LISTS: dict[str, Any] = {"number": 7, "text": "abc", "none": None, "true": True, "object": {"a": 1}}
"""Values that are no list."""
NO_OBJECTS: dict[str, Any] = {"number": 7, "text": "abc", "none": None, "true": True, "list": [1], "NaN": math.nan}
"""Values that are no values by name."""
BAD_JSON: dict[str, str] = {
    "empty": "",
    "cut off": '{"a": ',
    "digits": '{"a": ' + "9" * 5000 + "}",
    "depth": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "beyond float": '{"a": 1e400}',
    "a name twice": '{"a": 1, "a": 1}',
    "half a character": r'{"a": "\ud800"}',
    "half a character in a name": r'{"\udfff": 1}',
    "comment": '{"a": 1} // one',
    "single quotes": "{'a': 1}",
    "other digits": '{"a": \u0661}',
    "null byte": '{"a": "\x00"}',
}
"""Texts that are no JSON, or hold what no file of this project holds."""
BAD_TOML: dict[str, str] = {
    "cut off": "a = ",
    "digits": "a = " + "9" * 5000,
    "depth": "a = " + "[" * 100_000,
    "deep tables": "a = " + "{a = " * 100_000,
    "key of many parts": ".".join("a" * 40_000) + " = 1",
    "table of many parts": "[" + ".".join("a" * 40_000) + "]",
    "quoted key of many parts": " . ".join(['"a"'] * 40_000) + " = 1",
    "a name twice": "a = 1\na = 1",
    "half a character": r'a = "\ud800"',
    "other digits": "a = \u0661",
    "null byte": 'a = "\x00"',
}
"""Texts that are no TOML, or hold what no file of this project holds."""
