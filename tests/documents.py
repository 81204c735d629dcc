"""Examples of README and guide, run as a reader would run them: block after block in one empty folder.

    ```python      is run, in the names of the blocks before; what it prints is what `# prints:` says beside it
    ```sh          is run by bash
    ```output      is what the command before it prints; ... stands for any text
    ```toml        is TOML
    # name.py      as the first line makes any of them a file, which is written and not run

Sybil finds the blocks, since it runs each as a test of its own, with the line of the document, keeps their names from
block to block, and takes evaluators for any language; pytest-examples runs Python alone.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

PROJECT = Path(__file__).parent.parent
_FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
MOST_SECONDS = 300  # of a command, whatever the machine has to do besides
_SAME = doctest.OutputChecker()


def _written(example: Example) -> bool:
    """Write a block that names a file."""
    found = _FILE.match(example.parsed)
    if found is not None:
        Path(found[1]).write_text(example.parsed)
    return found is not None


def run_python(example: Example) -> str | None:
    """Run a block; return the difference if it prints anything but its comments say."""
    if _written(example):
        return None
    code = compile("\n" * (example.line + example.parsed.line_offset) + example.parsed, example.path, "exec")
    if "torch" in example.parsed and importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)  # several workers on few cores would wait for each other
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, example.namespace)
    said = re.findall(r"# prints: (.*)", example.parsed)
    found = printed.getvalue().splitlines()
    return None if found == said else f"prints {found}, not {said}"


def run_shell(example: Example) -> str | None:
    """Run a command; return its output if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "CODESIGN_DATA"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-euo", "pipefail", "-c", example.parsed]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    example.namespace["printed"] = done.stdout
    return f"ends with status {done.returncode}: {done.stdout}{done.stderr}" if done.returncode else None


def check_output(example: Example) -> str | None:
    """Return the difference if the command before printed anything else."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = example.namespace.pop("printed")
    if _SAME.check_output(example.parsed, found, flags):
        return None
    return _SAME.output_difference(doctest.Example("", example.parsed), found, flags)


def check_toml(example: Example) -> None:
    """Read the TOML, and write the file that it names."""
    tomllib.loads(example.parsed)
    _written(example)


def enter(namespace: dict[str, Any]) -> None:
    """Enter an empty folder for the files of one document."""
    namespace["__name__"] = "__main__"
    folder = tempfile.TemporaryDirectory()
    namespace["_folder"], namespace["_before"] = folder, os.getcwd()
    os.chdir(folder.name)
    sys.path.insert(0, folder.name)


def leave(namespace: dict[str, Any]) -> None:
    """Return to the folder from before, and remove the document's."""
    os.chdir(namespace["_before"])
    sys.path.remove(namespace["_folder"].name)
    namespace["_folder"].cleanup()


EXAMPLES = Sybil(
    parsers=[
        CodeBlockParser("python", run_python),
        CodeBlockParser("sh", run_shell),
        CodeBlockParser("output", check_output),
        CodeBlockParser("toml", check_toml),
        SkipParser(),
    ],
    path=str(PROJECT),
    patterns=["README.md", "guide/*.md"],
    setup=enter,
    teardown=leave,
)
