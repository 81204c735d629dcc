from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from compress.planning.plan import Plan
from compress.planning.watch_report import WatchReport
from compress.planning.weight_tolerances import WeightTolerances
from tests.bad_values import BAD_JSON
from tests.soak.compressed_files import READERS
from traces import InputError

FORMS: dict[str, Any] = {"plan": Plan, "watch": WatchReport, "tolerances": WeightTolerances}
CONTENTS = {reader.name: reader.valid()[0].decode() for reader in READERS if reader.name in FORMS}
DESCRIPTIONS = {"units", "quantiles"}  # of tolerances, for other readers


def places(values: Any, kind: type | tuple[type, ...], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values of a kind in plain values."""
    if isinstance(values, kind) and not isinstance(values, bool):
        yield path
    elif isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            if key not in DESCRIPTIONS:
                yield from places(value, kind, (*path, key))


def replaced(name: str, path: tuple[Any, ...], value: Any) -> str:
    """Return the JSON of a valid content with one value replaced."""
    values = holder = json.loads(CONTENTS[name])
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("value", ["7", True, [7], {"a": 7}, float("nan")], ids=repr)
def test_what_is_no_number_is_refused_in_its_place(name: str, value: Any) -> None:
    for path in places(json.loads(CONTENTS[name]), (int, float)):
        with pytest.raises(InputError, match="JSON as"):
            FORMS[name].from_json(replaced(name, path, value))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("value", [7, True, None, ["a"], {"a": "b"}, "a\ud800"], ids=ascii)
def test_what_is_no_text_is_refused_in_its_place(name: str, value: Any) -> None:
    for path in places(json.loads(CONTENTS[name]), str):
        with pytest.raises(InputError, match="JSON as"):
            FORMS[name].from_json(replaced(name, path, value))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("content", [*BAD_JSON.values(), "[]", "7", "null", '"text"'], ids=[*BAD_JSON, *"abcd"])
def test_bad_json_is_refused(name: str, content: str) -> None:
    with pytest.raises(InputError, match="JSON as"):
        FORMS[name].from_json(content)
