"""Readers of containers, exports, checkpoints, plans and settings, with mutations that know their structure."""

from __future__ import annotations

from tests.soak.mutants import Reader

READERS: list[Reader] = []
