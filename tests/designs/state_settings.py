"""Settings of state machines over folders: the same orders of events in every run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def state_settings(examples: int, steps: int) -> settings:
    """Return the settings of so many orders of at most so many events."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
