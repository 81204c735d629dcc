"""Tokenizer: text to tokens and back, and files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from designs.experiments.tokenizer import Tokenizer, read_tokenizer
from tests.conftest import real_file
from traces import InputError

SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
PIECES = [*SPECIAL, b" ", b"a", b"b", b"n", b"an", b" b", b"na", b"ana", b" ban"]
SCORES = [0.0] * 263 + [-1.0, -2.0, -3.0, -4.0, -5.0]


def written(path: Path, pieces: list[bytes]) -> Path:
    parts = [struct.pack("<fi", score, len(piece)) + piece for piece, score in zip(pieces, SCORES, strict=True)]
    path.write_bytes(struct.pack("<i", 8) + b"".join(parts))
    return path


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return read_tokenizer(written(tmp_path / "tokens.bin", PIECES), len(PIECES))


def test_the_pair_of_the_best_score_is_joined_first(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("banana")  # both an, the b with its space, then what these make
    assert tokens[0] == 1
    assert [PIECES[token] for token in tokens[1:]] == [b" ban", b"ana"]
    assert tokenizer.decode(tokens[1:]) == b"banana"


def test_a_character_without_a_piece_is_its_bytes(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("b\u00e9\n")
    assert [PIECES[token] for token in tokens[1:]] == [b" b", b"<0xC3>", b"<0xA9>", b"<0x0A>"]
    assert tokenizer.decode(tokens[1:]).decode() == "b\u00e9\n"


def test_a_text_of_nothing_is_its_beginning(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == [1]
    assert tokenizer.decode([]) == b""


@pytest.mark.parametrize("change", [b"", b"\0", None])
def test_a_file_of_other_tokens_is_refused(change: bytes | None, tmp_path: Path) -> None:
    path = written(tmp_path / "tokens.bin", PIECES)
    content = path.read_bytes()
    path.write_bytes(content[:-1] if change == b"" else content + (change or b""))
    with pytest.raises(InputError, match="a tokenizer must hold a score, a length and bytes for each of"):
        read_tokenizer(path, len(PIECES) + (change is None))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.bin: cannot be read: No such file"):
        read_tokenizer(tmp_path / "absent.bin", 512)


def test_the_tokenizer_of_stories_gives_its_text_back(data: Path) -> None:
    tokenizer = read_tokenizer(real_file(data, "models", "stories260k", "tok512.bin"), 512)
    text = real_file(data, "models", "stories260k", "golden_text.txt").read_text()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens[1:]).decode() == text
    assert len(tokens) < len(text) / 2
    assert tokens[:5] == [1, 403, 407, 261, 378]
