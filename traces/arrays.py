"""Types of arrays by their elements; the docstrings that use them state shapes and, where left open, widths."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]  # of any type
Floats = npt.NDArray[Any]  # floating point of any width
Integers = npt.NDArray[Any]  # integers of any width, signed or not
Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]
Integers32 = npt.NDArray[np.int32]
Integers64 = npt.NDArray[np.int64]
Unsigned64 = npt.NDArray[np.uint64]
Booleans = npt.NDArray[np.bool_]
