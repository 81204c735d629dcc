"""Folders of the project and of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real data: $CODESIGN_DATA, or shared/data beside the checkout."""
    candidates = [os.environ.get("CODESIGN_DATA"), PROJECT.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    pytest.skip("needs real data, which this project does not ship: set CODESIGN_DATA to its folder")


def real_file(data: Path, *parts: str) -> Path:
    """Return a file of the data folder; skip the test if it is absent."""
    path = data.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the data folder has no {'/'.join(parts)}")
    return path
