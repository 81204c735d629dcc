"""Layers on which the array in SystemVerilog is compared with the other two machines: corner cases and random ones.

All run on seven small arrays, which are built once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.config import ArrayConfig
from sim.fixed_point import FixedPoint
from traces import CompressedLayer
from traces.arrays import Floats32, Integers64


@dataclass(frozen=True, eq=False)
class Case:
    """One layer with one input; without a number format, it is fitted to both."""

    name: str
    layer: CompressedLayer
    activations: Floats32
    number_format: FixedPoint | None = None


# The arrays cover: one PE, and one entry per line; the shortest queue, and a ring whose length is no power of two;
# lines with unused bits, as wide as a word of C++ and wider; all widths of numbers; codes of 1 to 9 bits, and gaps of
# 1 to 8 bits; a deeper pipeline, and broadcasts of several cycles with fewer slots than their way takes, and as many.
ONE_PE = ArrayConfig(num_pes=1, queue_slots=4, line_bits=8, weight_bits=4, index_bits=4, precision="fixed-16")
BYTES = ArrayConfig(num_pes=4, queue_slots=3, line_bits=10, weight_bits=2, index_bits=1, precision="fixed-8")
SEVEN_PES = ArrayConfig(num_pes=7, queue_slots=2, line_bits=64, weight_bits=4, index_bits=3, precision="fixed-16")
SIXTEEN_PES = ArrayConfig(num_pes=16, queue_slots=8, line_bits=64, weight_bits=1, index_bits=4, precision="fixed-16")
WIDE = ArrayConfig(
    num_pes=3, queue_slots=64, line_bits=70, weight_bits=9, index_bits=8, activation_bytes=8192, precision="fixed-32"
)
DEEPER = ArrayConfig(
    num_pes=4,
    queue_slots=3,
    line_bits=10,
    weight_bits=2,
    index_bits=1,
    precision="fixed-8",
    pipeline_cycles=7,
    broadcast_cycles=3,
)
DISTANT = ArrayConfig(
    num_pes=2, queue_slots=19, line_bits=32, precision="fixed-16", pipeline_cycles=6, broadcast_cycles=9
)
ARRAYS = {
    "one PE": ONE_PE,
    "bytes": BYTES,
    "seven PEs": SEVEN_PES,
    "sixteen PEs": SIXTEEN_PES,
    "wide": WIDE,
    "deeper": DEEPER,
    "distant": DISTANT,
}


def layer_of(config: ArrayConfig, codes: Any, bias: Any = None) -> CompressedLayer:
    """Return a layer of these codes: code c is the weight c, and the upper half of the codes are -1, -2, ..."""
    count = 2**config.weight_bits
    codebook = np.arange(count, dtype=np.float32)
    if count > 2:
        codebook[count // 2 :] = -np.arange(1, count // 2 + 1)
    dtype = np.uint8 if config.weight_bits <= 8 else np.uint16
    return CompressedLayer(
        "case", np.array(codes, dtype=dtype), codebook, None if bias is None else np.array(bias, dtype=dtype)
    )


def random_cases(config: ArrayConfig, count: int, seed: int) -> list[Case]:
    """Draw small layers for one array, with few rows, empty columns, no activations and narrow formats among them."""
    stream, thresholds = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    cases = []
    for number in range(count):
        rows, columns = int(stream.integers(1, 12 * config.num_pes + 4)), int(stream.integers(1, 30))
        codes = stream.integers(1, 2**config.weight_bits, size=(rows, columns))
        codes[stream.random((rows, columns)) >= stream.choice([0.0, 0.02, 0.1, 0.4, 0.9, 1.0])] = 0
        if stream.random() < 0.3:
            codes[:, stream.integers(columns)] = 0
        dtype = np.uint8 if config.weight_bits <= 8 else np.uint16
        codebook = stream.normal(size=2**config.weight_bits).astype(np.float32)
        codebook[0] = 0
        bias = stream.integers(0, 2**config.weight_bits, size=rows).astype(dtype) if stream.random() < 0.5 else None
        activations = stream.normal(size=columns).astype(np.float32)
        activations[stream.random(columns) >= stream.choice([0.0, 0.1, 0.5, 0.9, 1.0])] = 0
        bits = config.activation_bits
        # with many fraction bits sums saturate, with few ones products lose most of their digits
        weight_bits, input_bits = stream.integers(bits // 2, bits - 2, size=2).tolist()
        shift = int(stream.integers(0, bits))
        number_format = None
        if stream.random() < 0.5:
            number_format = FixedPoint(bits, weight_bits, input_bits, weight_bits + input_bits - shift)
        threshold = float(thresholds.choice([0.0, 0.0, 0.5, 1.0, 3.0]) * abs(thresholds.normal()))
        layer = CompressedLayer("random", codes.astype(dtype), codebook, bias, activation_threshold=threshold)
        if number % 3 == 2:
            layer = _with_own_codebooks(layer, config, np.random.default_rng([seed, number]))
        cases.append(Case(f"random {number}", layer, activations, number_format))
    return cases


def _with_own_codebooks(
    layer: CompressedLayer, config: ArrayConfig, stream: np.random.Generator | None = None
) -> CompressedLayer:
    """Return a layer in which each PE has a codebook of its own: multiples of the layer's, or random ones."""
    number = min(config.num_pes, layer.rows)
    numbers = np.arange(layer.rows) % number
    codebooks = layer.codebook * np.arange(1, number + 1, dtype=np.float32)[:, np.newaxis]
    if stream is not None:
        numbers = stream.permutation(numbers)
        codebooks = stream.normal(size=codebooks.shape).astype(np.float32) * (layer.codebook != 0)
    return dataclasses.replace(layer, codebook=codebooks, row_codebooks=numbers.astype(np.uint16))


def corner_cases() -> dict[str, list[Case]]:
    """Return cases in which machines could disagree, by the name of their array; each is named after its subject."""
    return {
        "one PE": list(_one_pe()),
        "bytes": list(_bytes()),
        "seven PEs": list(_seven_pes()),
        "sixteen PEs": list(_sixteen_pes()),
        "wide": list(_wide()),
        "deeper": list(_deeper()),
        "distant": list(_distant()),
    }


def _case(
    name: str,
    config: ArrayConfig,
    codes: Any,
    activations: Sequence[float],
    bias: Any = None,
    number_format: FixedPoint | None = None,
    threshold: float = 0.0,
) -> Case:
    layer = dataclasses.replace(layer_of(config, codes, bias), activation_threshold=threshold)
    return Case(name, layer, np.array(activations, dtype=np.float32), number_format)


def _order(rows: Iterable[int], num_rows: int) -> Integers64:
    """Return codes in which column j has one entry, in the j-th of the given rows."""
    places = list(rows)
    codes = np.zeros((num_rows, len(places)), dtype=np.int64)
    codes[places, np.arange(len(places))] = 1 + np.arange(len(places)) % 6
    return codes


def _one_pe() -> Iterable[Case]:
    array = ONE_PE
    ones = [1.0] * 8
    yield _case("back to back on one accumulator", array, _order([0] * 8, 1), [1, 2, 3, 4, 5, 6, 7, 8])
    yield _case("on one accumulator every second time", array, _order([0, 1] * 4, 2), [1, 2, 3, 4, 5, 6, 7, 8])
    yield _case("on one accumulator every third time", array, _order([0, 1, 2] * 3, 3), [*range(1, 10)])
    yield _case("on one accumulator every fourth time", array, _order([0, 1, 2, 3] * 3, 4), [*range(1, 13)])
    yield _case("on one accumulator, twice, and then another one", array, _order([1, 1, 0, 0, 1, 0, 0, 1], 2), ones)
    last_and_first = [[0, 0, 3], [0, 0, 0], [2, 5, 1]]
    yield _case(
        "the last entry of a column and the first of the next on one accumulator", array, last_and_first, [1, 2, 3]
    )
    yield _case("a column of one entry", array, [[1, 0, 2], [1, 3, 2], [1, 0, 2]], [1, 1, 1])
    yield _case("one weight and one activation", array, [[1]], [1])
    yield _case("no weight at all", array, [[0, 0], [0, 0]], [1, 2])
    yield _case("no activation at all", array, [[1, 2, 3]], [0, 0, 0])
    yield _case("no activation at all, but a bias", array, [[1, 2, 3]], [0, 0, 0], bias=[5])
    yield _case("columns without entries between others", array, [[1, 0, 0, 2, 0, 3], [1, 0, 0, 2, 0, 0]], [1] * 6)
    yield _case("full queue, a pop in the same cycle", array, np.ones((3, 10)), [*range(1, 11)])
    yield _case("queue full and empty in turns", array, [[1, 0] * 8] * 4, [1.0] * 16)
    gap = np.zeros((70, 2), dtype=np.int64)
    gap[[0, 69], 0] = gap[64, 1] = 1
    yield _case("padding in lines of its own", array, gap, [2, 3])
    yield _case("leading gap of 15 needs no padding, of 16 does", array, np.eye(40, dtype=np.int64)[:, 14:18], [1] * 4)
    narrow = FixedPoint(16, 0, 0, 0)
    big = [30000.0, 30000, -30000, -30000, -30000, -30000, 30000, 1]
    yield _case("saturation at both ends, and back", array, [[1] * 8], big, number_format=narrow)
    most = [32767.0, -32767, -32768, 32767, 1]
    yield _case("sums that just reach either end", array, [[1] * 5], most, number_format=narrow)
    beyond = [32767.0, 1, -32768, -32767, -1]
    yield _case("sums one beyond either end", array, [[1] * 5], beyond, number_format=narrow)
    ties = FixedPoint(16, 0, 1, 0)
    halves = [0.5, 1.5, -0.5, -1.5, 2.5, -2.5, 0.5, -0.5]
    yield _case("ties round upwards", array, np.eye(8, dtype=np.int64), halves, number_format=ties)
    yield _case("a shift by 62 bits", array, [[7, 8]], [3.0, -3.0], number_format=FixedPoint(16, 12, 12, -38))
    yield _case("a shift by 16 bits", array, [[7, 8, 6]], [3.0, 3.0, -2.9], number_format=FixedPoint(16, 12, 13, 9))
    unbiased = FixedPoint(16, 8, -2, 6)
    yield _case("a bias whose activation rounds to zero", array, [[1]], [0], bias=[7], number_format=unbiased)
    yield _case("an activation that rounds to zero", array, [[1, 1]], [0.25, 64], number_format=unbiased)
    about = [3.0, -3, 4, -4, 2, -2, 0, 5]
    yield _case("magnitudes at the threshold and beside it", array, [[1] * 8], about, [3], narrow, 3.0)
    yield _case("a threshold between two codes", array, [[1] * 8], about, [3], narrow, 3.5)
    yield _case("a threshold that leaves the bias alone", array, [[1] * 3], [1, -2, 3], [3], narrow, 5.0)
    yield _case("a threshold that leaves nothing", array, [[1] * 3], [1, -2, 3], None, narrow, 5.0)
    ends = [-32768.0, 32767, -32767, 32766]
    yield _case("a threshold below the largest magnitude", array, [[1] * 4], ends, None, narrow, 32767.0)
    yield _case("a threshold of the largest magnitude", array, [[1] * 4], ends, None, narrow, 32768.0)
    yield _case("a threshold beyond all codes", array, [[1] * 4], ends, [3], narrow, 1e30)


def _bytes() -> Iterable[Case]:
    array = BYTES
    stalled = np.zeros((24, 9), dtype=np.int64)
    stalled[0::4] = 1  # PE 0 alone
    yield _case("a full queue in one PE stalls all", array, stalled, [1.0] * 9)
    in_turns = np.zeros((24, 12), dtype=np.int64)
    for column in range(12):
        in_turns[column % 4 :: 4, column] = 1
    yield _case("PEs that are full in turns", array, in_turns, [1.0] * 12)
    yield _case("two entries in every column", array, np.ones((8, 12)), [1.0] * 12)
    across = np.zeros((40, 3), dtype=np.int64)
    across[[0, 4, 20], 0] = 1  # entries, padding and entry run over the three entries of a line
    across[36, 1:] = 2
    yield _case("padding across a line", array, across, [1, 2, 3])
    yield _case("the last row is left by its end", array, np.ones((4, 8)), [0, 0, 0, 0, 0, 0, 0, 1])
    yield _case("the last row need not be left", array, np.ones((4, 8)), [0, 0, 0, 1, 0, 1, 0, 0])
    yield _case("the last row holds two", array, np.ones((4, 8)), [1, 0, 0, 0, 1, 0, 1, 0])
    yield _case("the last row is zeros", array, np.ones((4, 12)), [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    yield _case("the last row is zeros, then a bias", array, np.ones((4, 6)), [1, 0, 1, 1, 0, 0], bias=[1, 2, 3, 1])
    yield _case("the last row is short and full, then a bias", array, np.ones((4, 6)), [1] * 6, bias=[1, 2, 3, 1])
    yield _case("rows of zeros before the first", array, np.ones((4, 14)), [0] * 13 + [1])
    yield _case("every second lane", array, np.ones((4, 16)), [1, 0] * 8)
    small = [1.0, 2, -2, 1, 1, -1, 2, 1, 1, 1, -1, 1, 2, 1, 1, 1]
    whole = FixedPoint(8, 0, 0, 0)
    yield _case("rows with values up to the threshold", array, np.ones((4, 16)), small, [1] * 4, whole, 1.0)
    yield _case("fewer rows than PEs", array, [[1, 2, 3]], [1, 1, 1])
    yield _case("a product of two lowest", array, [[2, 3]], [-128, 127], number_format=FixedPoint(8, 6, 0, 0))
    yield _case(
        "products that none of the sums holds", array, [[1, 2, 3, 1]], [127, 127, -128, 5], None, FixedPoint(8, 3, 0, 3)
    )
    yield _case("no shift", array, [[1, 2, 3, 1]] * 5, [3, -5, 7, 1], number_format=FixedPoint(8, 2, 1, 3))
    swings = [100.0, 100, 100, 100, -100, -100]
    yield _case("overflows in a row", array, np.ones((4, 6)), swings, [1] * 4, FixedPoint(8, 0, 0, 0))
    same = _case("one codebook for all PEs", array, [[1, 2]] * 8, [2, 5], [1] * 8, FixedPoint(8, 0, 0, 0))
    own = dataclasses.replace(same, name="a codebook for each PE", layer=_with_own_codebooks(same.layer, array))
    yield from (same, own, dataclasses.replace(same, name="one codebook again"))


def _seven_pes() -> Iterable[Case]:
    array = SEVEN_PES
    yield _case("columns that are no multiple of the PEs", array, np.ones((15, 24)), [1.0] * 24, bias=[3] * 15)
    yield _case("a line kept from column to column", array, np.ones((7, 20)), [1.0] * 20)
    yield _case("a line kept over columns that were not broadcast", array, np.ones((7, 20)), [1, 0, 0, 0, 1] * 4)
    first_again = np.ones((14, 12))
    yield _case("lines in which a column ends at the line's end", array, np.ones((63, 6)), [1.0] * 6)
    yield _case("the layer before left the same line in the register", array, first_again, [1] + [0] * 11)
    yield _case("and so did this one, with other entries", array, 2 * first_again, [1] + [0] * 11)
    odd = np.zeros((21, 10), dtype=np.int64)
    odd[:, 1::2] = 1
    yield _case("entries in odd columns alone", array, odd, [1.0] * 10)
    yield _case("entries in even columns alone", array, 1 - odd, [1.0] * 10)
    sizes = [*np.linspace(-1, 1, 24)]
    yield _case("a threshold of fitted activations", array, np.ones((15, 24)), sizes, [3] * 15, None, 0.5)


def _sixteen_pes() -> Iterable[Case]:
    array = SIXTEEN_PES
    yield _case("as many rows as PEs", array, np.eye(16, dtype=np.int64), [*range(1, 17)])
    yield _case("the queue goes round many times", array, np.ones((16, 60)), [*range(1, 61)])
    busy = np.zeros((160, 20), dtype=np.int64)
    busy[5::16] = 1
    yield _case("one PE has all the entries", array, busy, [1.0] * 20)
    yield _case("negative activations", array, np.ones((33, 18)), [-1.0, 0.5] * 9)
    sparse = np.zeros((300, 3), dtype=np.int64)
    sparse[[0, 299], :] = 1
    yield _case("a gap of all rows but two", array, sparse, [1, 1, 1])


def _wide() -> Iterable[Case]:
    array = WIDE
    left_over = np.zeros((60, 31), dtype=np.int64)
    left_over[0::3, 0] = 1  # 20 cycles of PE 0, in which 30 columns without entries queue up
    yield _case("columns without entries left in the queue at the end", array, left_over, [1.0] * 31)
    yield _case("as many columns as the longest queue holds", array, np.ones((90, 64)), [1.0] * 64)
    long_gap = np.zeros((2400, 2), dtype=np.int64)
    long_gap[[0, 1, 769, 770, 1541, 2399], :] = 300
    yield _case("gaps of 255, 256 and more", array, long_gap, [1, -0.5])
    codes = np.arange(1, 513).reshape(32, 16) % 512
    yield _case("every code", array, codes, [*range(-8, 8)])
    largest = FixedPoint(32, 20, 27, 5)
    thirds = [1 / 3, -1 / 3, 0.33333331, 0.33333337]
    fine = FixedPoint(32, 10, 30, 20)
    yield _case("a threshold of 30 bits", array, [[1] * 4], thirds, None, fine, 1 / 3)
    yield _case("products of 63 bits", array, [[255, 511, 256]], [15.9, -16, 15.9], number_format=largest)
    yield _case(
        "a shift by 62 of products of 63 bits", array, [[255, 511]], [15.9, -16], None, FixedPoint(32, 23, 27, -12)
    )


def _deeper() -> Iterable[Case]:
    array = DEEPER
    yield _case("every credit on its way, no column in a queue", array, np.ones((1, 9)), [1.0] * 9)
    yield _case("back to back on one accumulator, deeper", array, np.ones((5, 8)), [1, 2, 3, 4, 5, 6, 7, 8])
    in_turns = np.zeros((24, 12), dtype=np.int64)
    for column in range(12):
        in_turns[column % 4 :: 4, column] = 1
    yield _case("credits of PEs that come back in turns", array, in_turns, [1.0] * 12)
    stalled = np.zeros((24, 9), dtype=np.int64)
    stalled[0::4] = 1
    yield _case("credits of one PE stall all", array, stalled, [1.0] * 9)
    padded = np.zeros((40, 3), dtype=np.int64)
    padded[[0, 4, 20], 0] = padded[36, 1:] = 2
    yield _case("padding in a deeper pipeline", array, padded, [1, 2, 3])
    yield _case("no activation on a long way", array, [[1, 2, 3]], [0, 0, 0])
    yield _case("a bias alone on a long way", array, [[1, 2, 3]], [0, 0, 0], bias=[3])
    yield _case("zeros before and after on a long way", array, np.ones((4, 14)), [0] * 5 + [1, 1] + [0] * 7)
    yield _case("rows left while credits come back", array, np.ones((4, 16)), [1, 0] * 8)


def _distant() -> Iterable[Case]:
    array = DISTANT
    yield _case("as many slots as the way takes", array, [[1] * 60], [1.0] * 60)
    yield _case("fewer slots than busy PEs take", array, np.ones((6, 60)), [1.0] * 60)
    empty_at_the_end = np.zeros((2, 30), dtype=np.int64)
    empty_at_the_end[:, 0] = 1
    yield _case("columns without entries on their way at the end", array, empty_at_the_end, [1.0] * 30)
    yield _case("an entry on its way when all PEs are idle", array, [[1], [2]], [1])
    late = np.zeros((2, 40), dtype=np.int64)
    late[:, 39] = 3
    yield _case("the last column alone has entries", array, late, [1.0] + [0] * 38 + [1.0])
    yield _case("trailing zeros longer than the way", array, np.ones((2, 60)), [1.0] + [0] * 59)
    uneven = np.zeros((12, 2), dtype=np.int64)
    uneven[1::2, 0] = 1
    yield _case("a last credit that comes back after the last write", array, uneven, [1, 1])
