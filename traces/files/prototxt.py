"""Parser of the text format of protocol buffers, as in Caffe's network descriptions; it needs no schema."""

from __future__ import annotations

import re
from typing import Any

from traces.errors import InputError

Message = dict[str, list[Any]]  # values of each field: messages, text, numbers, booleans

DEEPEST = 100  # messages in messages

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?f?(?![\w.]))
      | (?P<name>[A-Za-z_][\w.]*)
      | (?P<mark>[{}:;,])""",
    re.VERBOSE,
)


def parse_prototxt(text: str) -> Message:
    """Return the fields of the outermost message by name, each a list.

    Raises InputError, with the line, on text of another format.
    """
    tokens: list[tuple[str, str, int]] = []
    at, line = 0, 1
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            raise InputError(
                f"line {line}: expected a field of a text-format message; found {text[at : at + 20].splitlines()[0]!r}"
            )
        if token.lastgroup != "space":
            tokens.append((token.lastgroup or "", token.group(), line))
        line += token.group().count("\n")
        at = token.end()
    message, rest = _message(tokens, 0, line, depth=0)
    if rest < len(tokens):
        raise InputError(f"line {tokens[rest][2]}: '}}' closes no message")
    return message


def _message(tokens: list[tuple[str, str, int]], at: int, last_line: int, depth: int) -> tuple[Message, int]:
    """Return the fields from token `at` on, and the token that ends the message."""
    if depth > DEEPEST:
        raise InputError(f"line {tokens[at - 1][2]}: messages may be nested at most {DEEPEST} times")
    message: Message = {}
    while at < len(tokens) and tokens[at][1] != "}":
        kind, name, line = tokens[at]
        if name in (";", ","):
            at += 1
            continue
        if kind != "name":
            raise InputError(f"line {line}: a field must begin with its name; found {name!r}")
        at += 1
        colon = at < len(tokens) and tokens[at][1] == ":"
        at += colon
        if at == len(tokens):
            raise InputError(f"line {last_line}: the text ends in the middle of field {name!r}")
        kind, value, line = tokens[at]
        if value == "{":
            inner, at = _message(tokens, at + 1, last_line, depth + 1)
            if at == len(tokens):
                raise InputError(f"line {line}: message {name!r} is never closed")
            message.setdefault(name, []).append(inner)
        elif colon and kind != "mark":
            message.setdefault(name, []).append(_scalar(kind, value))
        else:
            raise InputError(f"line {line}: field {name!r} must be followed by a value or a message; found {value!r}")
        at += 1
    return message, at


def _scalar(kind: str, value: str) -> Any:
    if kind == "string":
        return value[1:-1]
    if kind == "number":
        plain = value.removesuffix("f")
        return int(plain) if re.fullmatch(r"[-+]?\d+", plain) else float(plain)
    return {"true": True, "false": False}.get(value, value)
