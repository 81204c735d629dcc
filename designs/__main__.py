"""Command line: `python -m designs [job | simulate | sweep | codesign | fleet | front | breakeven | experiment]`."""

from __future__ import annotations

from traces.shell.command_line import CommandGroup, run, run_commands

_MOVED = {
    "benchmark": "benchmark",
    "studies": "eie-sweeps",
    "unevenness": "unevenness",
    "compare": "compare",
}

_RENAMED = {"--activations": "--inputs takes the file, and --most the largest number of inputs"}


def main() -> None:
    """Run the command that the arguments name."""
    # imported here, so that `run` handles an interrupt during these slow imports, too
    from designs.commands.breakeven import breakeven
    from designs.commands.codesign import codesign, fleet
    from designs.commands.experiment import EXPERIMENTS
    from designs.commands.run import job, simulate
    from designs.commands.sweep import front, sweep

    run_commands(
        "python -m designs",
        "Co-design of a model and an array. Without a command: job, the main one.",
        {
            "job": job,
            "simulate": simulate,
            "sweep": sweep,
            "codesign": codesign,
            "fleet": fleet,
            "front": front,
            "breakeven": breakeven,
            "experiment": CommandGroup("Run one of the project's own experiments.", EXPERIMENTS),
        },
        default="job",
        moved={old: f"run python -m designs experiment {new}" for old, new in _MOVED.items()},
        renamed={"simulate": _RENAMED, "sweep": _RENAMED, "job": {"--inputs": "--most"}},
    )


if __name__ == "__main__":
    run(main)
