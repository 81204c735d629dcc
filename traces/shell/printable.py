"""Printed text without control characters, which names from files could use to write anywhere on a terminal."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_KEPT = "\n\t"
_CONTROLS = (range(0x20), range(0x7F, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000))
_ESCAPES = {
    code: chr(code).encode("unicode_escape").decode() for codes in _CONTROLS for code in codes if chr(code) not in _KEPT
}


def printable(text: str) -> str:
    r"""Return a text with its control characters as escapes such as \x1b; lines and tabs stay.

    Controls of the writing direction and halves of characters are escaped, too.
    """
    return text.translate(_ESCAPES)


class PrintableStream(io.TextIOBase):
    """Text stream that writes printable text to another one, `raw`, and is like it otherwise."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        self.raw.write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Flush the other stream."""
        self.raw.flush()

    def isatty(self) -> bool:
        """Return whether the other stream is a terminal."""
        return self.raw.isatty()

    def fileno(self) -> int:
        """Return the file number of the other stream."""
        return self.raw.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Leave the other stream open."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the other stream."""
        return self.raw.encoding


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream for text whose parts are printable already, such as tables in colour and progress bars."""
    return stream.raw if isinstance(stream, PrintableStream) else stream


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Write only printable text to standard output and standard error in this context."""
    with contextlib.ExitStack() as stack:
        for redirect, stream in (
            (contextlib.redirect_stdout, sys.stdout),
            (contextlib.redirect_stderr, sys.stderr),
        ):
            if not isinstance(stream, PrintableStream):
                stack.enter_context(redirect(PrintableStream(stream)))
        yield


def with_printable_output(function: Function) -> Function:
    """Return a command that writes only printable text, with the same parameters."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        with printable_output():
            return function(*arguments, **options)

    return wrapped  # type: ignore[return-value]
