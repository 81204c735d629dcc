"""Tokenizer of small Llamas: pieces of text with scores, of which the best-scored pairs are joined."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from traces import InputError

BEGIN = 1  # the token before a text, and after it
_FIRST_BYTE = 3  # the token of byte 0; those of all other bytes follow


@dataclass(frozen=True)
class Tokenizer:
    """Pieces of text by token, with the scores by which pieces are joined.

    Attributes
    ----------
    pieces : tuple of bytes
        Piece of each token.
    scores : tuple of float
        Score of each token.

    Notes
    -----
    Tokens 0 to 2 are unknown, beginning and end; the next 256 are single bytes. Source: Kudo, Richardson,
    "SentencePiece", 2018, with byte-pair encoding of Sennrich et al., 2016.
    """

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, with that of the beginning in front."""
        known = {piece: token for token, piece in enumerate(self.pieces)}
        tokens = [known[b" "]] if text and b" " in known else []
        for character in text:
            piece = character.encode()
            tokens += [known[piece]] if piece in known else [_FIRST_BYTE + byte for byte in piece]
        while True:
            pairs = [
                (self.scores[joined], -place, joined)
                for place in range(len(tokens) - 1)
                if (joined := known.get(self.pieces[tokens[place]] + self.pieces[tokens[place + 1]])) is not None
            ]
            if not pairs:
                return [BEGIN, *tokens]
            _, place, joined = max(pairs)
            tokens[-place : 2 - place] = [joined]

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the text of tokens that follow the beginning, whose first space is left out."""
        return b"".join(map(self.piece, tokens)).removeprefix(b" ")

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for."""
        byte = token - _FIRST_BYTE
        return bytes([byte]) if 0 <= byte < 256 else self.pieces[token]


def read_tokenizer(path: str | os.PathLike[str], vocabulary: int) -> Tokenizer:
    """Read a tokenizer of the form of tinyllamas: length of the longest piece; score, length and bytes of each.

    Parameters
    ----------
    path : path
        The file: int32, then float32, int32 and bytes for each token, little-endian.
    vocabulary : int
        Number of tokens, that of the network.

    Raises
    ------
    InputError
        If the file is missing, or holds another number of tokens.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    pieces, scores = [], []
    place = 4
    for _ in range(vocabulary):
        if place + 8 > len(content):
            break
        score, length = struct.unpack_from("<fi", content, place)
        place += 8 + max(0, length)
        pieces.append(content[place - length : place])
        scores.append(score)
    if place != len(content) or len(pieces) < vocabulary or vocabulary < _FIRST_BYTE + 256:
        raise InputError(
            f"{path}: a tokenizer must hold a score, a length and bytes for each of {vocabulary:,} tokens, 256 bytes "
            f"among them; found {len(pieces):,} tokens in {len(content):,} bytes; give the file of this network"
        )
    return Tokenizer(tuple(pieces), tuple(scores))
