"""Command line of the soak.

    python -m tests.soak readers [NAME ...] [--mutants N]      damaged files of each reader
    python -m tests.soak kills [JOB ...] [--rounds N]          jobs stopped by signals at random moments
    python -m tests.soak two-runs | full-disk | clock          two runs at once; no room; a clock that is set back
    python -m tests.soak table                                 the results of readers, in Markdown

The exit status is 1 if one of them ended otherwise than it may.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.soak.jobs import soak
from tests.soak.mutants import MOST_MIB, MOST_SECONDS, Ends, run_mutants
from tests.soak.readers import readers


def main() -> int:
    """Run a part of the soak, print how it ended, and write it to the folder of the results."""
    parser = argparse.ArgumentParser(
        "python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["readers", "kills", "two-runs", "full-disk", "clock", "table"])
    parser.add_argument("names", nargs="*", help="readers or jobs; by default all")
    parser.add_argument("--mutants", type=int, default=100_000, help="mutants for each reader")
    parser.add_argument("--rounds", type=int, default=100, help="disturbed jobs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/soak"), help="folder of the results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part == "readers":
        return _readers(given)
    if given.part == "table":
        _table(given.out)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        kept = given.out / f"{'-'.join([given.part, *given.names])}.json"
        outcome = soak(given.part, given.rounds, given.seed, given.names, Path(scratch), kept)
    print(f"{given.part}: {', '.join(f'{end} {number:,}' for end, number in sorted(outcome.counts.items()))}")
    for fault in outcome.faults:
        print(f"  {fault}")
    return 1 if outcome.faults else 0


def _readers(given: argparse.Namespace) -> int:
    known = readers()
    faults = 0
    for name in given.names or known:

        def keep(ends: Ends, path: Path = given.out / f"reader-{name}.json") -> None:
            path.write_text(json.dumps({"seed": given.seed, **vars(ends), "counts": dict(ends.counts)}, indent=1))

        ends = run_mutants(known[name], given.mutants, given.seed, keep)
        keep(ends)
        counts = ", ".join(f"{end} {number:,}" for end, number in sorted(ends.counts.items()))
        print(
            f"{name}: {counts}; most {ends.most_seconds:.2f} s of {MOST_SECONDS}, "
            f"{ends.most_mib:,.0f} MiB of {MOST_MIB}",
            flush=True,
        )
        for fault in ends.faults:
            print(f"  {fault}")
        faults += len(ends.faults)
    return 1 if faults else 0


def _table(folder: Path) -> None:
    """Print the results of readers as a table in Markdown."""
    print("| reader | mutants | read | refused | anything else | most seconds | most MiB |")
    print("| ------ | ------- | ---- | ------- | ------------- | ------------ | -------- |")
    for path in sorted(folder.glob("reader-*.json")):
        found = json.loads(path.read_text())
        counts = found["counts"]
        others = sum(count for end, count in counts.items() if end not in ("read", "refused"))
        print(
            f"| {path.stem.removeprefix('reader-')} | {sum(counts.values()):,} | {counts.get('read', 0):,} | "
            f"{counts.get('refused', 0):,} | {others} | {found['most_seconds']:.2f} | {found['most_mib']:.0f} |"
        )


if __name__ == "__main__":
    sys.exit(main())
