"""Files that are complete or absent: what killed writers leave is removed, what living ones write is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from traces.files.atomic_file import PARTIAL_SUFFIX, atomic_file, write_atomically

KILLED = """
import os, signal, sys
from traces.files.atomic_file import atomic_file
with atomic_file(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(f".*{PARTIAL_SUFFIX}"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks of the system that end with a process")
def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "a[b]*.dc"
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=PROJECT, check=False)
        assert ended.returncode == -signal.SIGKILL
        assert len(unfinished(tmp_path)) == 1
    write_atomically(tmp_path / "another", b"whole")
    assert len(unfinished(tmp_path)) == 1
    write_atomically(path, b"whole")
    assert not unfinished(tmp_path)
    assert path.read_bytes() == b"whole"


def test_what_another_writer_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as first:
        first.write_bytes(b"first")
        write_atomically(path, b"second")
        assert first.read_bytes() == b"first"
    assert path.read_bytes() == b"first"
    assert not unfinished(tmp_path)


def test_many_writers_of_one_file_do_not_take_each_other_s_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 1000 for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: write_atomically(path, content), contents))
    assert path.read_bytes() in contents
    assert not unfinished(tmp_path)
