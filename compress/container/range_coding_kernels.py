"""Loops of range coding: the statistics that predict the non-zeros of a matrix, and the decoder.

The decoder reads what constriction's `RangeEncoder` writes (words of 32 bits, a state of 64, probabilities of 24 bits).
"""

from __future__ import annotations

import numpy as np

from traces.arrays import Booleans, Floats64, Integers, Integers64
from traces.kernel_cache import kernel

ONE = 2**16  # probabilities of non-zeros are whole numbers over this
SMALLEST = 1 / ONE  # a symbol that was never seen is still possible
LARGEST = 0.98
PASSES = 4  # over a row: every eighth column, and those in the middle between the columns of earlier passes
CONTEXTS = 12  # 4 ratios of a row's non-zeros to the expected, times 0 to 2 neighbours that are non-zero
PRECISION_BITS = 24
LOWER, RANGE, POINT, PLACE = 0, 1, 2, 3  # places in a decoder's state; PLACE is that of the next word
_DOUBT = 2 * ONE  # counted as seen and as expected at the start
_WORD = np.uint64(32)
_TOTAL = np.uint64(2**PRECISION_BITS)
_PRECISION = np.uint64(PRECISION_BITS)


@kernel
def start(words: Integers, state: Integers) -> None:
    """Fill in the state of a decoder, uint64 [4], before the first of its words, uint32."""
    state[LOWER] = np.uint64(0)
    state[RANGE] = ~np.uint64(0)
    state[POINT] = np.uint64(0)
    state[PLACE] = np.uint64(0)
    _take_word(words, state)
    _take_word(words, state)


@kernel
def _take_word(words: Integers, state: Integers) -> None:
    """Take one more word into the point; zeros follow the last one."""
    place = state[PLACE]
    state[POINT] <<= _WORD
    if place < np.uint64(words.shape[0]):
        state[POINT] |= np.uint64(words[place])
        state[PLACE] = place + np.uint64(1)


@kernel
def _renew(words: Integers, state: Integers) -> None:
    """Take a word if the range has become too small."""
    if state[RANGE] >> _WORD == np.uint64(0):
        state[LOWER] <<= _WORD
        state[RANGE] <<= _WORD
        _take_word(words, state)


@kernel
def is_at_end(words: Integers, state: Integers) -> bool:
    """Return True if all words are taken, and the point lies where the end of an encoder leaves it."""
    if state[PLACE] < np.uint64(words.shape[0]):
        return False
    untouched = state[RANGE] == ~np.uint64(0)
    return bool(untouched or state[POINT] - state[LOWER] < np.uint64(2**33 - 1))


@kernel
def _parts_of_zero(probability: float) -> np.uint64:
    """Return the parts of the range that 0 has if 1 has this probability; each has one part at least."""
    return np.uint64((1 - probability) * (2.0**PRECISION_BITS - 2)) + np.uint64(1)


@kernel
def decode_flags(words: Integers, state: Integers, share: float, flags: Booleans) -> bool:
    """Decode bits that are 1 with one probability, `share`; return False if no encoder writes the words."""
    zeros = _parts_of_zero(share)
    for place in range(flags.shape[0]):
        scale = state[RANGE] >> _PRECISION
        begin = scale * zeros
        offset = state[POINT] - state[LOWER]
        if offset // scale >= _TOTAL:
            return False
        flags[place] = offset >= begin
        if flags[place]:
            state[LOWER] += begin
            state[RANGE] = scale * (_TOTAL - zeros)
        else:
            state[RANGE] = begin
        _renew(words, state)
    return True


@kernel
def decode_codes(words: Integers, state: Integers, begins: Integers, codes: Integers) -> bool:
    """Decode the codes of the non-zeros of a flat matrix, row after row; return False if no encoder writes the words.

    Parameters
    ----------
    words, state
        The decoder.
    begins : uint64 [codes + 1]
        Place in the 2**24 parts of the range where each code begins, from code 1 on, and 2**24.
    codes : uint8 or uint16 [n]
        Changed where it is not 0.
    """
    for place in range(codes.shape[0]):
        if codes[place] == 0:
            continue
        scale = state[RANGE] >> _PRECISION
        quantile = (state[POINT] - state[LOWER]) // scale
        if quantile >= _TOTAL:
            return False
        low, high = 0, begins.shape[0] - 1
        while high - low > 1:
            middle = (low + high) // 2
            if begins[middle] <= quantile:
                low = middle
            else:
                high = middle
        codes[place] = low + 1
        state[LOWER] += scale * begins[low]
        state[RANGE] = scale * (begins[low + 1] - begins[low])
        _renew(words, state)
    return True


@kernel
def predict_rows(
    first_row: int,
    prior: int,
    weight_of_prior: float,
    in_column: Integers64,
    seen: Integers64,
    expected: Integers64,
    rows: Integers,
    flags: Booleans,
    words: Integers,
    state: Integers,
    most_kept: int,
    bits: Integers,
    probabilities: Floats64,
) -> int:
    """Predict the non-zeros of rows that are not empty, one row after the other, each from those before.

    Decode them if `bits` is empty; else fill in the bits and probabilities that an encoder needs.

    Parameters
    ----------
    first_row : int
        Rows that are not empty before these.
    prior : int
        Rows of which the prior makes up.
    weight_of_prior : float
        Prior times density.
    in_column : int64 [columns]
        Non-zeros in each column of the rows before. Raised.
    seen, expected : int64 [PASSES, CONTEXTS]
        Non-zeros by context, and their expected number times ONE. Raised.
    rows : uint8 or uint16 [rows, columns]
        Rows of the matrix; decoding writes 1 for a non-zero into zeros.
    flags : bool [rows]
        True for the rows that are not empty; the others are skipped.
    words, state
        Of the decoder.
    most_kept : int
        Non-zeros at which decoding ends, because there are too many.
    bits : int32 [rows that are not empty * columns]
        Filled, in the order of coding; empty for decoding.
    probabilities : float64 [as bits]
        Filled; empty for decoding.

    Returns
    -------
    int
        Number of non-zeros, or -1 if no encoder writes the words.
    """
    decoding = bits.shape[0] == 0
    columns = rows.shape[1]
    lower, width, point, next_word = state[LOWER], state[RANGE], state[POINT], state[PLACE]
    num_words = np.uint64(words.shape[0])
    bases = np.empty(columns, dtype=np.float64)
    whole = np.empty(columns, dtype=np.int64)
    raised = np.empty(CONTEXTS, dtype=np.float64)
    newly_seen = np.empty(CONTEXTS, dtype=np.int64)
    newly_expected = np.empty(CONTEXTS, dtype=np.int64)
    kept = 0
    place = 0
    num_before = first_row + prior
    for i in range(rows.shape[0]):
        if not flags[i]:
            continue
        row = rows[i]
        for column in range(columns):
            base = (in_column[column] + weight_of_prior) / num_before
            bases[column] = min(max(base, SMALLEST), 1 - SMALLEST)
            whole[column] = int(bases[column] * ONE)
        in_row = expected_in_row = 0
        for number in range(PASSES):
            distance = 8 >> number if number else 0
            busy = 0
            if number:
                ratio = (in_row * ONE + ONE // 2) / (expected_in_row + ONE // 2)
                busy = 3 * (int(ratio >= 0.4) + int(ratio >= 0.9) + int(ratio >= 1.8))
            for context in range(CONTEXTS):
                raised[context] = (seen[number, context] * ONE + _DOUBT) / (expected[number, context] + _DOUBT)
                newly_seen[context] = newly_expected[context] = 0
            for column in range(distance, columns, 2 * distance if number else 8):
                context = busy
                if number:
                    context += int(row[column - distance] != 0)
                    if column + distance < columns:
                        context += int(row[column + distance] != 0)
                scaled = np.floor(min(max(bases[column] * raised[context], SMALLEST), LARGEST) * ONE)
                bit = 0
                if decoding:
                    scale = width >> _PRECISION
                    zeros = _parts_of_zero(scaled / ONE)
                    begin = scale * zeros
                    if point - lower < begin:
                        width = begin
                    else:
                        if (point - lower) // scale >= _TOTAL:
                            return -1
                        bit = 1
                        row[column] = 1
                        lower += begin
                        width = scale * (_TOTAL - zeros)
                    if width >> _WORD == np.uint64(0):
                        lower <<= _WORD
                        width <<= _WORD
                        point <<= _WORD
                        if next_word < num_words:
                            point |= np.uint64(words[next_word])
                            next_word += np.uint64(1)
                else:
                    bit = int(row[column] != 0)
                    bits[place] = bit
                    probabilities[place] = scaled / ONE
                    place += 1
                newly_seen[context] += bit
                newly_expected[context] += whole[column]
                in_row += bit
                expected_in_row += whole[column]
            for context in range(CONTEXTS):
                seen[number, context] += newly_seen[context]
                expected[number, context] += newly_expected[context]
        num_before += 1
        for column in range(columns):
            in_column[column] += int(row[column] != 0)
        kept += in_row
        if decoding and kept > most_kept:
            break
    state[LOWER], state[RANGE], state[POINT], state[PLACE] = lower, width, point, next_word
    return kept
