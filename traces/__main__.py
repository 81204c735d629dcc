"""Command line: `python -m traces completion`."""

from __future__ import annotations

from traces.shell.command_line import run, run_commands
from traces.shell.completion import Shell, completion_script


def completion(shell: Shell = "bash") -> None:
    """Print a script that makes the Tab key complete commands, options and their values.

    Source it in a shell, or in ~/.bashrc for all shells.

    For instance:

      source <(python -m traces completion)

      source <(python -m traces completion --shell zsh)

    Args:
        shell: bash or zsh; zsh reads the same script with a different head
    """
    print(completion_script(shell))


def main() -> None:
    """Run the command line."""
    run_commands(
        "python -m traces",
        "Completion of the other packages' programs by the Tab key.",
        {"completion": completion},
    )


if __name__ == "__main__":
    run(main)
