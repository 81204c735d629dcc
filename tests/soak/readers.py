"""All readers whose files are damaged: `python -m tests.soak readers [NAME ...]`."""

from __future__ import annotations

from tests.soak.mutants import Reader


def readers() -> dict[str, Reader]:
    """Return all readers by name."""
    from tests.soak import compressed_files, layer_files

    found = [*compressed_files.READERS, *layer_files.READERS]
    return {reader.name: reader for reader in found}
