"""Names that `designs` exports, imported at their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import designs


def test_all_names_are_in_the_table_and_listed() -> None:
    assert sorted(name for names in designs._NAMES.values() for name in names) == sorted(designs.__all__)
    assert set(designs.__all__) <= set(dir(designs))
    with pytest.raises(AttributeError, match="module 'designs' has no attribute 'nothing'"):
        designs.nothing  # noqa: B018


def test_the_package_is_imported_without_its_libraries() -> None:
    program = "import designs, sys; print([name for name in ('torch', 'optuna', 'pyarrow') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


def test_the_function_and_the_sub_package_of_co_design_keep_their_names() -> None:
    pytest.importorskip("torch")
    from designs import codesign, codesigns

    assert callable(codesign)
    assert codesigns.__name__ == "designs.codesigns"
