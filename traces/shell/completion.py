"""Completion of `python -m PACKAGE ...` by the Tab key, through a script that a shell reads once.

tyro writes a shell function for each program. A shell cannot complete programs named `python -m PACKAGE`, so one
function for `python` reads the word after `-m` and calls the function of that package.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Literal

from traces.errors import InputError

Shell = Literal["bash", "zsh"]
PROGRAMS = ("sim", "compress", "designs", "reports")

_DISPATCH = """
_eie_codesign_python() {{
  if [[ "${{COMP_WORDS[1]}}" == -m && $COMP_CWORD -eq 2 ]]; then
    COMPREPLY=($(compgen -W "{programs}" -- "${{COMP_WORDS[2]}}"))
    return
  fi
  local name="${{COMP_WORDS[2]}}"
  if [[ "${{COMP_WORDS[1]}}" != -m || " {programs} " != *" $name "* ]]; then
    compopt -o filenames 2> /dev/null
    COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
    return
  fi
  COMP_WORDS=("python -m $name" "${{COMP_WORDS[@]:3}}")
  COMP_CWORD=$((COMP_CWORD - 2))
  "_tyro_python__m_$name"
}}
complete -F _eie_codesign_python python python3
"""


def completion_script(shell: Shell) -> str:
    """Return the script for a shell; raise InputError if a program does not start."""
    scripts = {}
    for name in PROGRAMS:
        command = [sys.executable, "-m", name, "--tyro-print-completion", "bash"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"python -m {name} cannot be completed, since it does not start: {done.stderr.strip()}")
        scripts[name] = done.stdout
    return _together(scripts, shell)


def _together(scripts: Mapping[str, str], shell: Shell) -> str:
    """Join the functions of all programs and the one that calls them; zsh reads those of bash."""
    functions = [re.split(r"^complete -F", script, maxsplit=1, flags=re.MULTILINE)[0] for script in scripts.values()]
    head = "autoload -U +X compinit bashcompinit\ncompinit\nbashcompinit\n" if shell == "zsh" else ""
    return head + "".join(functions) + _DISPATCH.format(programs=" ".join(scripts))
