"""Parser of the text format of protocol buffers, as in Caffe's network descriptions; it needs no schema."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from traces.errors import InputError

Message = dict[str, list[Any]]  # values of each field: messages, text, numbers, booleans

DEEPEST = 100  # messages in messages

_MOST_DIGITS = 40  # characters of a number
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*+)++)
      | (?P<string>"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+')
      | (?P<number>[-+]?+(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][-+]?+[0-9]++)?+f?+(?![\w.]))
      | (?P<name>[A-Za-z_][\w.]*+)
      | (?P<mark>[{}:;,])""",
    re.VERBOSE | re.ASCII,
)

Token = tuple[str, str, int]  # kind, text and line


def parse_prototxt(text: str) -> Message:
    """Return the fields of the outermost message by name, each a list.

    Raises InputError, with the line, on text of another format, numbers of more than 40 characters or beyond the range
    of float64, and messages that are nested too deep. The time is linear in the length of the text.
    """
    parser = _Parser(text)
    message = parser.message(depth=0)
    if parser.next[0] != "end":
        raise InputError(f"line {parser.next[2]}: '}}' closes no message")
    return message


class _Parser:
    """Parser that looks one token ahead."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.next: Token = next(self.tokens)

    def take(self) -> Token:
        """Return the next token, and move on to that behind it; the last one stays."""
        taken, self.next = self.next, next(self.tokens, self.next)
        return taken

    def message(self, depth: int) -> Message:
        """Return the fields up to the end of the message, which stays the next token."""
        message: Message = {}
        while self.next[0] != "end" and self.next[1] != "}":
            kind, name, line = self.take()
            if name in (";", ","):
                continue
            if kind != "name":
                raise InputError(f"line {line}: a field must begin with its name; found {name[:40]!r}")
            message.setdefault(name, []).append(self.value(name, depth))
        return message

    def value(self, name: str, depth: int) -> Any:
        """Return the value of a field."""
        colon = self.next[1] == ":"
        if colon:
            self.take()
        kind, value, line = self.take()
        if kind == "end":
            raise InputError(f"line {line}: the text ends in the middle of field {name[:40]!r}")
        if value == "{":
            if depth == DEEPEST:
                raise InputError(f"line {line}: messages may be nested at most {DEEPEST} times")
            inner = self.message(depth + 1)
            if self.take()[0] == "end":
                raise InputError(f"line {line}: message {name[:40]!r} is never closed")
            return inner
        if not colon or kind == "mark":
            raise InputError(
                f"line {line}: field {name[:40]!r} must be followed by a value or a message; found {value[:40]!r}"
            )
        return _scalar(kind, value, line)


def _tokens(text: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            found = text[at : at + 20].splitlines()[0]
            raise InputError(f"line {line}: expected a field of a text-format message; found {found!r}")
        kind, content = str(token.lastgroup), token.group()
        if kind != "space":
            yield kind, content, line
        line += content.count("\n")
        at = token.end()
    yield "end", "", line


def _scalar(kind: str, value: str, line: int) -> Any:
    if kind == "string":
        return value[1:-1]
    if kind == "number":
        if len(value) > _MOST_DIGITS:
            raise InputError(
                f"line {line}: a number must have at most {_MOST_DIGITS} characters; found {len(value):,}, "
                f"{value[:20]}..."
            )
        plain = value.removesuffix("f")
        number = int(plain) if plain.lstrip("+-").isdigit() else float(plain)
        if not math.isfinite(number):
            raise InputError(f"line {line}: a number must be within the range of float64; found {value}")
        return number
    return {"true": True, "false": False}.get(value, value)
