"""Roots of traces and sim: every name is there, and what is slow to import is loaded on first use."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

SLOW = ("torch", "numba", "scipy", "sklearn", "rich", "vcd", "platformdirs")


@pytest.mark.parametrize("package", ["traces", "sim"])
def test_every_exported_name_is_listed_and_found(package: str) -> None:
    root = importlib.import_module(package)
    assert set(root.__all__) <= set(dir(root))
    for name in root.__all__:
        if name != "record_activations" or importlib.util.find_spec("torch"):
            assert getattr(root, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'unknown'"):
        _ = root.unknown


@pytest.mark.parametrize("package", ["traces", "sim"])
def test_a_root_loads_nothing_that_is_slow(package: str) -> None:
    script = f"import sys, {package}; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
