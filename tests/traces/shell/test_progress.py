"""Progress of long steps: lines where standard error is no terminal, a bar where it is one."""

from __future__ import annotations

import time

import pytest

from traces.shell.progress import Progress, progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock by the only item of a list, and return the list."""
    now = [100.0]
    monkeypatch.setattr("traces.shell.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_comes_every_ten_seconds_without_a_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    with progress_bar("training", 40) as advance:
        for _ in range(40):
            clock[0] += 2.5
            advance()
            lines.append(capsys.readouterr().err)
    shown = [number for number, line in enumerate(lines, start=1) if line]
    assert shown == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]
    assert lines[3] == "training: 4 of 40 steps, 0.4 per second; 90 s left\n"
    assert lines[39] == "training: 40 of 40 steps, 0.4 per second; 0 s left\n"


def test_a_line_comes_although_no_unit_is_finished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("traces.shell.progress.LINE_SECONDS", 0.1)
    with progress_bar("training", 3):
        time.sleep(1)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 10
    assert lines[0].startswith("training: 0 of 3 steps after ")


def test_a_short_step_prints_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("training", 3) as advance:
        for _ in range(3):
            clock[0] += 3
            advance()
    assert capsys.readouterr().err == ""


def test_an_interrupted_search_prints_a_last_line_and_a_step_does_not(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    search = Progress("sweep", "points", 100, done=50)
    clock[0] += 2
    search.advance(10)
    with pytest.raises(KeyboardInterrupt), search:
        stop()
    assert capsys.readouterr().err == "sweep stopped: 60 of 100 points, 5.0 per second; 8 s left\n"
    with pytest.raises(KeyboardInterrupt), progress_bar("training", 3):
        stop()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("training", 3) as advance:
        clock[0] += 60
        advance()
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "per second" not in shown
