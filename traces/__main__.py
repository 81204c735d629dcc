"""Command line: `python -m traces completion`."""

from __future__ import annotations

from traces.shell.command_line import run, run_commands
from traces.shell.completion import Shell, completion_script


def completion(shell: Shell = "bash") -> None:
    """Print a script that lets the Tab key complete commands, options and their values.

    In this shell, and, as a line of ~/.bashrc, in all to come.

    For instance:

      source <(python -m traces completion)

      source <(python -m traces completion --shell zsh)

    Args:
        shell: bash, or zsh, which reads the same script in its own way
    """
    print(completion_script(shell))


def main() -> None:
    run_commands(
        "python -m traces",
        "The other packages' programs, completed by the Tab key.",
        {"completion": completion},
    )


if __name__ == "__main__":
    run(main)
