"""Naive twins of the coders: the same formats, symbol by symbol and bit by bit, in plain Python."""

from __future__ import annotations


def relative_entries(codes: list[int], index_bits: int) -> list[tuple[int, int]]:
    """Return the entries (code, gap) of a vector of codes."""
    entries, zeros = [], 0
    for code in codes:
        if code:
            entries.append((code, zeros))
            zeros = 0
        elif zeros == 2**index_bits - 1:
            entries.append((0, zeros))  # padding; it takes the place of this zero
            zeros = 0
        else:
            zeros += 1
    while entries and entries[-1][0] == 0:
        entries.pop()  # zeros after the last non-zero are not stored
    return entries


def vector_of(entries: list[tuple[int, int]], length: int) -> list[int]:
    """Return the vector of codes that these entries stand for."""
    codes: list[int] = []
    for code, gap in entries:
        codes += [0] * gap + [code]
    return codes + [0] * (length - len(codes))


def code_words(lengths: list[int]) -> dict[int, str]:
    """Return the word of each symbol, counted up in the order of (length, symbol): RFC 1951, section 3.2.2."""
    words, next_word, bits = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        next_word <<= length - bits
        bits = length
        words[symbol] = format(next_word, f"0{bits}b")
        next_word += 1
    return words


def stream_of(symbols: list[int], lengths: list[int]) -> bytes:
    """Return one stream of words; the first bit is the lowest one of the first byte."""
    words = code_words(lengths)
    bits = "".join(words[symbol] for symbol in symbols)
    return bytes(int(bits[place : place + 8][::-1], 2) for place in range(0, len(bits), 8))


def symbols_of(stream: bytes, number: int, lengths: list[int]) -> list[int]:
    """Read symbols from one stream, bit by bit."""
    symbols_by_word = {word: symbol for symbol, word in code_words(lengths).items()}
    symbols: list[int] = []
    word = ""
    for place in range(8 * len(stream)):
        word += str(stream[place // 8] >> place % 8 & 1)
        if word in symbols_by_word and len(symbols) < number:
            symbols.append(symbols_by_word[word])
            word = ""
    return symbols


def huffman_content(symbols: list[int], lengths: list[int]) -> bytes:
    """Return 1 to 8 streams of about equal numbers of symbols, before them the bytes of each but the last."""
    number = min(8, max(1, len(symbols) // 2**14))
    run = -(-len(symbols) // number)
    streams = [stream_of(symbols[begin : begin + run], lengths) for begin in range(0, len(symbols), run)]
    sizes = b""
    for stream in streams[:-1]:
        size = len(stream)
        while size > 127:
            sizes += bytes([size % 128 + 128])
            size //= 128
        sizes += bytes([size])
    return sizes + b"".join(streams)
