"""Mutated containers: each must be refused with a sentence, in bounded time and memory, or be the model unchanged.

    python -m tests.compress.container.fuzz_container [MUTATIONS]

Bytes are flipped, cut, lengthened and put in other places, and counts and lengths made huge; half of the mutations have
checksums that are right again, so that what lies behind them is tried, too. One of the three models needs version 3.
What is read must be the same when it is written and read again. 100,000 take some minutes.
"""

from __future__ import annotations

import resource
import sys
import time
import zlib
from collections import Counter

import numpy as np

from compress import CompressedModel
from compress.container.layer_coding import CodingChoice
from tests.compress.container.test_container import assert_same, container, drawn_model, network_model
from traces import InputError
from traces.shell.progress import progress_bar

HUGE = (b"\xff" * 4, b"\xff" * 8 + b"\x7f", b"\x80\x80\x80\x80\x04", b"\x7f", b"\x00", b"\xff\xff\x03")
Section = tuple[int, bytes, bytes]


def sections(model: CompressedModel) -> list[Section]:
    """Return kind, name and content of the sections of a container."""
    content, report = model.to_bytes(), model.size_report
    place = report.header
    found: list[Section] = []
    for layer in report.layers:
        found.append((1, layer.name.encode(), content[place : place + layer.total]))
        place += layer.total
    after = place + report.tensors
    found += [(kind, b"", part) for kind, part in ((2, content[place:after]), (3, content[after:])) if part]
    return found


def mutated(content: bytes, stream: np.random.Generator) -> bytes:
    """Return the bytes with one to three changes."""
    for _ in range(stream.integers(1, 4)):
        place, length = int(stream.integers(0, len(content) + 1)), int(stream.integers(1, 9))
        way = stream.integers(0, 6)
        if way == 0 and place < len(content):
            content = content[:place] + bytes([content[place] ^ 1 << int(stream.integers(8))]) + content[place + 1 :]
        elif way == 1:
            content = content[:place]
        elif way == 2:
            content = content[:place] + stream.bytes(length) + content[place:]
        elif way == 3:
            content = content[:place] + content[place + length :]
        elif way == 4:
            content = content[:place] + HUGE[stream.integers(len(HUGE))] + content[place + length :]
        else:
            begin = int(stream.integers(0, len(content) + 1))
            content = content[:place] + content[begin : begin + length] + content[place + length :]
    return content


def fuzz(mutations: int, seed: int = 0) -> Counter[str]:
    """Count how mutations end: refused, unchanged, or another valid model, which only right checksums allow."""
    stream = np.random.default_rng(seed)
    drawn = drawn_model()
    models = [drawn, drawn.coded(CodingChoice(coder="range")), network_model()]
    ends: Counter[str] = Counter()
    with progress_bar("mutating containers", mutations) as advance:
        for number in range(mutations):
            model = models[number // 2 % 3]
            version = model.to_bytes()[8]
            whole, parts = model.to_bytes(), sections(model)
            repaired = number % 2 == 1
            content = whole
            if repaired:
                chosen = int(stream.integers(len(parts)))
                kind, name, section = parts[chosen]
                content = container(
                    *parts[:chosen], (kind, name, mutated(section, stream)), *parts[chosen + 1 :], version=version
                )
            else:
                content = mutated(whole, stream)
            try:
                found = CompressedModel.from_bytes(content)
                if repaired:
                    assert_same(CompressedModel.from_bytes(found.to_bytes()), found)
                    ends["read, its checksums being right"] += 1
                elif content == whole or zlib.crc32(found.to_bytes()) == zlib.crc32(whole):
                    ends["unchanged"] += 1
                else:
                    raise AssertionError(f"mutation {number} of seed {seed} was read as another model")
            except InputError as error:
                if not str(error).startswith("container: "):
                    raise
                ends["refused"] += 1
            advance()
    return ends


if __name__ == "__main__":
    mutations = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    begin = time.perf_counter()
    ends = fuzz(mutations)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{mutations:,} mutations in {time.perf_counter() - begin:.0f} s, peak {peak_mib:,.0f} MiB:")
    for end, number in ends.most_common():
        print(f"  {end}: {number:,}")
