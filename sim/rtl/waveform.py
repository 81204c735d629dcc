"""Waveforms of a layer on the array in SystemVerilog: values of signals in each cycle, from Verilator's VCD file."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.rtl.bench import Job, commands
from sim.rtl.model import build
from sim.rtl.parameters import RtlParameters
from traces import InputError

Bits = npt.NDArray[np.uint8]


class Waveform:
    """Values of signals at the end of each cycle.

    Parameters
    ----------
    text : str
        VCD file with one time step for each cycle.

    Attributes
    ----------
    cycles : int
        Number of cycles.
    """

    def __init__(self, text: str) -> None:
        head, _, body = text.partition("$enddefinitions")
        self._codes: dict[str, tuple[str, int]] = {}
        scopes: list[str] = []
        for line in head.splitlines():
            words = line.split()
            if words[:1] == ["$scope"]:
                scopes.append(words[2])
            elif words[:1] == ["$upscope"]:
                scopes.pop()
            elif words[:1] == ["$var"]:
                self._codes[".".join([*scopes, words[4]])] = (words[3], int(words[2]))
        self._changes: dict[str, list[tuple[int, str]]] = {}
        cycle = -1
        for line in body.splitlines()[1:]:
            if line.startswith("#"):
                cycle += 1
            elif line.startswith("b"):
                value, code = line[1:].split()
                self._changes.setdefault(code, []).append((cycle, value))
            elif line and line[0] in "01":
                self._changes.setdefault(line[1:], []).append((cycle, line[0]))
        self.cycles = cycle + 1

    def __contains__(self, path: str) -> bool:
        """Return True if a signal is known by its path, scopes and name with dots between them."""
        return path in self._codes

    def bits(self, path: str) -> Bits:
        """Return a signal's bits, the lowest first, uint8 [bits, cycles]."""
        code, width = self._codes[path]
        bits = np.zeros((width, self.cycles), dtype=np.uint8)
        changes = self._changes.get(code, [])
        for place, (cycle, value) in enumerate(changes):
            end = changes[place + 1][0] if place + 1 < len(changes) else self.cycles
            digits = np.frombuffer(value.zfill(width).encode(), dtype=np.uint8) - ord("0")
            bits[:, cycle:end] = digits[::-1, np.newaxis]
        return bits


def record(job: Job, config: ArrayConfig, scopes: Sequence[str]) -> Waveform:
    """Run a layer on the array in SystemVerilog; return the waveform of all signals in some scopes.

    Parameters
    ----------
    job : Job
        Packed layer and its operands.
    config : ArrayConfig
        The array, in fixed point.
    scopes : sequence of str
        Paths of instances, such as `TOP.array.pes[0]`.

    Returns
    -------
    Waveform
        Values at the end of each cycle, from the cycle after the first row was loaded until the array is idle.

    Raises
    ------
    InputError
        As `run_jobs` does.
    """
    parameters = RtlParameters.of(config)
    job.packed.check_fits(config)
    parameters.check_holds(job.packed, config)
    program = build(parameters, waveforms=True)
    with tempfile.TemporaryDirectory(prefix="rtl-") as name:
        file = Path(name) / "run.vcd"
        words = np.concatenate(list(commands(job, parameters, config, traced=False)))
        done = subprocess.run([program, file, *scopes], input=words.astype("<u4").tobytes(), capture_output=True)
        if done.returncode:
            raise InputError(f"{program} failed with exit status {done.returncode}; remove it to build it again")
        return Waveform(file.read_text())
