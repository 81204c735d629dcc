"""Comparison of two checkouts: the same jobs in both must give the same containers, result tables and figures.

    python -m tests.same_results OTHER_CHECKOUT [--data DIR]

runs each job of JOBS in this checkout and in the other one, each in a folder of its own, and compares all files that
both leave: containers and layer files byte for byte, Parquet files by their columns and values, JSON without the digest
of the sources, Markdown by its numbers, figures by the curves in them. What is printed is shown where it differs.
Columns of times are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent.parent
RENAMED = {'"energy_uj"': '"energy_nj"'}  # since version 1.0
COMPARED = (".dc", ".csv", ".svg", ".md", ".json", ".npz", ".txt", ".vcd")
SKIPPED = ("stages.json", "versions.json")
SPACE = """
[hardware]
num_pes = [4, 16, 64]
queue_slots = {low = 2, high = 16, factor = 2}
line_bits = [32, 64, 128]
index_bits = [3, 4]
weight_bits = [2, 3, 4]
row_assignment = ["interleaved", "entries"]
"""
SWEPT = SPACE.replace("weight_bits = [2, 3, 4]", "weight_bits = [4]")
FLEET = """
[watch]
max_area_mm2 = 4.0
[phone]
max_latency_us = 200.0
minimise = "energy_nj"
"""
MAKE_LAYER = """
import numpy as np, torch
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
torch.save(network.state_dict(), "weights.pt")
np.save("inputs.npy", np.abs(np.random.default_rng(0).normal(size=(80, 64))).astype(np.float32))
from traces.synthetic import draw_layer
"""
NETWORK = """
import torch
def network():
    return torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
"""


@dataclass(frozen=True)
class Job:
    """One command, and its words in a checkout of version 1.0 where they differ."""

    words: tuple[str, ...]
    before: tuple[str, ...] = field(default=())


def _job(words: str, before: str = "") -> Job:
    return Job(tuple(words.split()), tuple(before.split()))


JOBS = (
    _job("make_layer.py"),
    _job("-m designs"),
    _job("-m designs experiment benchmark", "-m designs benchmark"),
    _job("-m reports"),
    _job("-m designs simulate results/digits/compressed.dc --num-pes 16"),
    _job("-m designs sweep swept.toml --workload Alex-8 --method sobol --points 60"),
    _job("-m designs sweep swept.toml --workload results/digits/compressed.dc --points 40 --method random --out swept"),
    _job("-m designs codesign space.toml --trials 40 --verify 6 --out codesign --bounds accuracy_loss 0.05"),
    _job("-m designs fleet fleet.toml space.toml --trials 20 --out fleet"),
    _job("-m compress pack weights.pt packed.dc"),
    _job("-m compress show packed.dc"),
    _job("-m compress plan mine:network inputs.npy planned.dc --weights weights.pt --divergence 0.01"),
    _job("-m designs simulate planned.dc --inputs inputs.npy --num-pes 4 --weight-bits 8"),
    _job("-m compress unpack packed.dc unpacked.npz"),
)


def run_jobs(checkout: Path, folder: Path, old: bool) -> Iterator[tuple[str, str]]:
    """Run all jobs of a checkout in a folder. Yields the words of each job and what it printed."""
    files = {"space.toml": SPACE, "swept.toml": SWEPT, "fleet.toml": FLEET, "make_layer.py": MAKE_LAYER}
    for name, text in (files | {"mine.py": NETWORK}).items():
        (folder / name).write_text(text)
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    environment.pop("CODESIGN_DATA", None)
    for job in JOBS:
        words = job.before if old and job.before else job.words
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode} in {checkout}:\n{done.stderr}")
        yield " ".join(job.words), re.sub(r"\d+(\.\d+)? s\b", "", done.stdout)


def different_files(one: Path, other: Path) -> list[str]:
    """Return the names of files that only one folder has, or that differ."""
    names = {
        str(path.relative_to(folder))
        for folder in (one, other)
        for path in folder.rglob("*")
        if path.suffix in (*COMPARED, ".parquet") and path.name not in SKIPPED and "packed" not in path.parts
    }
    return [name for name in sorted(names) if not _same(one / name, other / name)]


def _same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return False
    if one.suffix == ".parquet":
        return bool(_values(one).equals(_values(other)))
    if one.suffix in SHOWN:
        show = SHOWN[one.suffix]
        return bool(show(one.read_text()) == show(other.read_text()))
    return one.read_bytes() == other.read_bytes()


def _settings(text: str) -> Any:
    """Read JSON without what names the sources."""
    for before, now in RENAMED.items():
        text = text.replace(before, now)
    content = json.loads(text)
    for name in ("sources", "versions"):
        content.pop(name, None)
    return content


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,.]*", text)


def _curves(text: str) -> list[list[tuple[float, float]]]:
    """Read the data of a figure: each line or area inside the axes, scaled to its own extent."""
    curves = []
    for path in re.findall(r'<path d="([^"]*)" clip-path', text):
        points = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), dtype=np.float64)
        extent = np.ptp(points, axis=0)
        scaled = (points - points.min(axis=0)) / np.where(extent > 0, extent, 1)
        curves.append([(round(x, 3), round(y, 3)) for x, y in scaled.tolist()])
    return curves


SHOWN: dict[str, Callable[[str], Any]] = {".json": _settings, ".md": _numbers, ".svg": _curves}


def _values(path: Path) -> pa.Table:
    table = pq.read_table(path)
    kept = [name for name in table.column_names if "seconds" not in name]
    return (
        table.select(kept)
        .replace_schema_metadata(None)
        .cast(pa.schema([pa.field(n, table.schema.field(n).type) for n in kept]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="checkout to compare with")
    parser.add_argument("--kept", type=Path, help="folder that keeps what the other checkout gave, for the next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        mine, other = Path(temporary) / "this", options.kept or Path(temporary) / "other"
        mine.mkdir()
        if not (other / "printed").exists():
            other.mkdir(parents=True, exist_ok=True)
            printed = [f"$ {words}\n{text}" for words, text in run_jobs(options.other.resolve(), other, old=True)]
            (other / "printed").write_text("\n".join(printed))
        printed = [f"$ {words}\n{text}" for words, text in run_jobs(HERE, mine, old=False)]
        (mine / "printed").write_text("\n".join(printed))
        different = different_files(mine, other)
        for name in different:
            print(f"differs: {name}")
        lines = (mine / "printed").read_text().splitlines(), (other / "printed").read_text().splitlines()
        changed = [pair for pair in zip(*lines, strict=False) if pair[0] != pair[1]]
        for now, before in changed[:20]:
            print(f"printed before: {before}\nprinted now:    {now}")
        print(f"{len(JOBS)} jobs; {len(different)} files differ; {len(changed)} printed lines differ")
        sys.exit(bool(different))


if __name__ == "__main__":
    main()
