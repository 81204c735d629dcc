"""Sentences about the quality of a co-design, from the settings of its result files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from designs.codesigns.quality import NEAR

_COSTS = {"latency_us": "latency", "energy_nj": "energy"}
_LEAST_SHOWN = 0.0001  # smaller shares are stated as less than this


def quality_sentences(settings: Mapping[str, Any]) -> list[str]:
    """Return how good the predicted front is, and how certain the measured one, in at most two sentences.

    Parameters
    ----------
    settings : mapping
        Settings of the result files of a co-design. Without "quality" in them, or a value of it, nothing is said of it.

    Notes
    -----
    The figures are those of `designs.codesigns.quality`: with the true front, the regret; without it, growth and gap.
    """
    quality: Mapping[str, Any] = settings.get("quality") or {}
    regret = quality.get("regret")
    first = _regret(regret) if regret else _estimate(quality)
    unsettled = quality.get("unsettled")
    return [sentence for sentence in (first, _certainty(unsettled)) if sentence]


def _regret(regret: Mapping[str, Any]) -> str:
    return (
        f"Against the true front, {regret['members']:,} of {regret['designs']:,} designs of all "
        f"{regret['compressions']:,} compressions, the search reached {regret['hypervolume']:.2%} of the hypervolume, "
        f"found {regret['found']:.1%} of the members and matched {regret['matched']:.1%} within {NEAR:.0%} in all "
        f"costs; the worst miss is {regret['worst']:.2f} times a cost."
    )


def _estimate(quality: Mapping[str, Any]) -> str:
    parts = []
    if quality.get("growth") is not None:
        parts.append(f"the last quarter of the compressions added {_share(quality['growth'])} of the hypervolume")
    for name, gap in (quality.get("gap") or {}).items():
        parts.append(
            f"no compression with the same predicted change of the outputs has a {_COSTS.get(name, name)} that is more "
            f"than {gap['largest']:.2%} lower on an array of the front (mean {gap['mean']:.2%})"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _certainty(unsettled: float | None) -> str:
    if unsettled is None:
        return ""
    return (
        f"{_share(unsettled)} of the hypervolume of the front depends on where in their intervals the costs of "
        f"unmeasured designs lie."
    ).capitalize()


def _share(value: float) -> str:
    return f"less than {_LEAST_SHOWN:.2%}" if 0 < value < _LEAST_SHOWN else f"{value:.2%}"
