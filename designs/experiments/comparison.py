"""Search and space of the project's experiments on co-design."""

from __future__ import annotations

from designs.codesigns.search import Search
from designs.space import Range, Space

SEARCH = Search(bounds={"accuracy_loss": 0.05}, trials=300)
SPACE = Space(
    {
        "num_pes": Range(1, 256, factor=2),
        "queue_slots": Range(2, 64, factor=2),
        "line_bits": (16, 32, 64, 128, 256, 512),
        "weight_bits": (2, 3, 4, 5, 6),
        "index_bits": (2, 3, 4, 5, 6, 8),
        "clock_mhz": (200.0, 400.0, 800.0, 1000.0, 1200.0, 1600.0),
        "row_assignment": ("interleaved", "entries"),
    }
)
