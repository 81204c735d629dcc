"""Functions that are named as text: those of the user alone, called as they expect."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bad_values import NO_TEXTS
from traces import InputError
from traces.function_names import named_function

MODULE = """
import functools
import os
from os import mkdir, system
from shutil import rmtree
from subprocess import run

def build(width=3):
    return width

def loss(before, after):
    return 0

@functools.lru_cache
def kept():
    return 1

class Network:
    pass

ready = Network()
partial = functools.partial(loss, 1)
system_by_another_name = os.system
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_names.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_for_names", raising=False)


def test_functions_and_classes_of_the_users_own_are_found() -> None:
    assert named_function("mine_for_names:build")() == 3
    assert named_function("mine_for_names:kept")() == 1
    assert named_function("mine_for_names:Network") is sys.modules["mine_for_names"].Network
    assert named_function("mine_for_names:loss", 2)(1, 2) == 0
    assert named_function("tests.traces.test_function_names:taking_any", 2)(1, 2) == 2


def taking_any(*arguments: Any) -> int:
    return len(arguments)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("os:system", "found one of Python's module os; if that is a file of yours, rename it"),
        ("os.path:exists", "found one of Python's module os.path"),
        ("subprocess:run", "found one of Python's module subprocess"),
        ("builtins:exec", "found one of Python's module builtins"),
        ("antigravity:geohash", "found one of Python's module antigravity"),
        ("mine_for_names:system", "must be a function or a class that is written in Python; found builtin"),
        ("mine_for_names:system_by_another_name", "written in Python; found builtin"),
        ("mine_for_names:mkdir", "written in Python; found builtin"),
        ("mine_for_names:os", "written in Python; found module"),
        ("mine_for_names:ready", "written in Python; found Network; wrap it in a function"),
        ("mine_for_names:partial", "written in Python; found partial"),
        ("mine_for_names:rmtree", "found one of Python's module shutil"),
        ("mine_for_names:run", "found one of Python's module subprocess"),
        ("mine_for_names:absent", "the module has no absent"),
        ("mine_for_names:loss", "must take no arguments; found loss(before, after); wrap it"),
        ("mine_for_names:build.width", "must be package.module:function"),
        ("mine_for_names:build()", "must be package.module:function"),
        ("mine_for_names:", "must be package.module:function"),
        (":build", "must be package.module:function"),
        ("../mine:build", "must be package.module:function"),
        ("mine_for_names:build\n", "must be package.module:function"),
        (".mine:build", "must be package.module:function"),
        ("a:b:c", "must be package.module:function"),
        ("absent_module:build", "the module cannot be imported"),
        *((value, "must be package.module:function") for value in NO_TEXTS.values()),
    ],
)
def test_what_is_no_function_of_the_users_own_is_refused(name: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        named_function(name)
    assert "antigravity" not in sys.modules


def test_a_loss_must_take_two_arguments() -> None:
    with pytest.raises(InputError, match=r"must take 2 arguments; found build\(width=3\)"):
        named_function("mine_for_names:build", 2)
