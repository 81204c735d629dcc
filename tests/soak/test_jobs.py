"""Jobs that are disturbed: a few of those of `python -m tests.soak`, which disturbs many."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.soak.jobs import JOBS, soak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs signals, mounts and a clock of Linux"),
]


@pytest.mark.parametrize("disturbance", ["kills", "two-runs", "full-disk", "clock"])
def test_disturbed_jobs_end_in_the_results_of_undisturbed_ones(disturbance: str, tmp_path: Path) -> None:
    if disturbance == "clock" and shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    outcome = soak(disturbance, len(JOBS), 0, (), tmp_path, tmp_path / "outcome.json")
    assert not outcome.faults
    assert outcome.counts["same results"] == len(JOBS) or outcome.counts["no file system could be mounted"]
