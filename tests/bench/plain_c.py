"""The recurrence of the engine in plain C, `recurrence.c`, compiled for this processor."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig
from sim.engine import Run


def timing_in_plain_c(run: Run, array: ArrayConfig, folder: Path) -> Callable[[], int]:
    """Return a function that computes the last active edge of a run; without a C compiler the test is skipped.

    The array must have 64 PEs, or a multiple, and broadcast in one cycle, and its lags must fit a byte.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is not here")
    library = folder / "recurrence.so"
    source = Path(__file__).with_name("recurrence.c")
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", library, source], check=True)
    last_active_edge: Any = ctypes.CDLL(str(library)).last_active_edge
    last_active_edge.restype = ctypes.c_long
    packed, broadcasts, depth = run.packed, run.columns.size, array.queue_depth
    assert packed.entry_lanes.shape[1] == packed.num_pes
    images: list[Any] = [packed.entry_lanes, run.columns, run.bubbles]
    state: list[Any] = [
        packed.stored_per_pe,
        np.empty(packed.num_pes, np.int64),
        np.empty(depth + broadcasts, np.int32),
    ]
    blocked = ctypes.c_long()
    arguments = [
        *(ctypes.c_void_p(each.ctypes.data) for each in images),
        *map(ctypes.c_long, (run.trailing_bubbles, broadcasts, packed.num_pes, depth)),
        *(ctypes.c_void_p(each.ctypes.data) for each in state),
        ctypes.byref(blocked),
    ]

    def compute(keep: Any = (images, state)) -> int:
        return int(last_active_edge(*arguments))

    return compute
