"""Command line of the soak: `python -m tests.soak readers [NAME ...] [--mutants N] [--seed N]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.soak.mutants import MOST_MIB, MOST_SECONDS, run_mutants
from tests.soak.readers import readers


def main() -> int:
    """Damage files, and print how the mutants ended; return 1 if one ended otherwise than it may."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("part", choices=["readers"])
    parser.add_argument("names", nargs="*", help="readers; by default all")
    parser.add_argument("--mutants", type=int, default=100_000, help="mutants for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/soak"), help="folder of the results")
    given = parser.parse_args()
    known = readers()
    faults = 0
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or known:
        ends = run_mutants(known[name], given.mutants, given.seed)
        record = {"mutants": given.mutants, "seed": given.seed, **vars(ends), "counts": dict(ends.counts)}
        (given.out / f"{name}.json").write_text(json.dumps(record, indent=1))
        counts = ", ".join(f"{end} {number:,}" for end, number in sorted(ends.counts.items()))
        print(
            f"{name}: {counts}; most {ends.most_seconds:.2f} s of {MOST_SECONDS}, "
            f"{ends.most_mib:,.0f} MiB of {MOST_MIB}"
        )
        for fault in ends.faults:
            print(f"  {fault}")
        faults += len(ends.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
