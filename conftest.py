"""Set-up of a test session; examples of README and guide are tests, too."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

from tests.documents import EXAMPLES
from tests.made_once import SHARED

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes on few cores would wait for each other

pytest_collect_file = EXAMPLES.pytest()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that the processes of this session share; workers inherit its name."""
    if not hasattr(config, "workerinput"):
        os.environ[SHARED] = tempfile.mkdtemp(prefix="codesign-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder that the processes of this session shared."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(SHARED), ignore_errors=True)
