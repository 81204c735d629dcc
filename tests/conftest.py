"""Where tests find real data, and the main job's results that several tests look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data: $CODESIGN_DATA, or shared/data beside the checkout."""
    candidates = [os.environ.get("CODESIGN_DATA"), PROJECT.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    pytest.skip("needs real data, which this project does not ship: set CODESIGN_DATA to its folder")


def real_file(data: Path, *parts: str) -> Path:
    """A file of the data folder; skips the test where it is absent."""
    path = data.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the data folder has no {'/'.join(parts)}")
    return path
