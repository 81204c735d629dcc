"""Plain values of JSON and TOML files and of settings: parsed and checked in one way, with one sentence for each error.

Every function raises InputError. Text, bools and fractions are refused, not converted.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from traces.errors import InputError

_MOST_SHOWN = 60  # characters of a value in an error
_DEEPEST_KEY = 32  # dots of a TOML key; tomllib takes time in proportion to their square
_LONG_KEY = re.compile(
    rf"(?<![\w-])(?:(?:[\w-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*\.[ \t]*){{{_DEEPEST_KEY},}}", flags=re.ASCII
)
_WRITTEN = re.compile(r"-?(?:[0-9]{1,400}(?:\.[0-9]{1,400})?(?:e[-+]?[0-9]{1,9})?|inf)", re.ASCII)
_WRITTEN_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file in UTF-8.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    InputError
        If it is missing, cannot be read or is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: other bytes than UTF-8, or a null byte in the path
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def parsed_json(source: str | os.PathLike[str], content: str | bytes, *, infinite: bool = False) -> Any:
    """Return the values of a JSON text.

    Parameters
    ----------
    source : path
        Name of the text, for errors.
    content : str or bytes
        The text; bytes in UTF-8.
    infinite : bool
        True if NaN and Infinity are possible, as Python writes them.

    Raises
    ------
    InputError
        If the text is no JSON, is nested too deep, gives a name of an object twice, or holds half a character, a whole
        number of thousands of digits, or a number that is not finite.
    """

    def not_finite(number: str) -> float:
        raise InputError(f"{os.fspath(source)}: every number must be finite; found {number[:_MOST_SHOWN]}")

    def finite(number: str) -> float:
        value = float(number)
        return value if math.isfinite(value) or infinite else not_finite(number)

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
            raise InputError(f"{os.fspath(source)}: an object must have each name once; found {shown(twice)} twice")
        return values

    try:
        text = content.decode() if isinstance(content, bytes) else content
        constants = None if infinite else not_finite
        values = json.loads(text, parse_float=finite, parse_constant=constants, object_pairs_hook=each_once)
        if _HALF_CHARACTER.search(text):
            json.dumps(values, ensure_ascii=False).encode()
    except InputError:
        raise
    except UnicodeEncodeError:
        raise InputError(f"{os.fspath(source)}: every text must be of whole characters; found half of one") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{os.fspath(source)}: must be JSON: {_reason(error)}") from None
    return values


def parsed_toml(source: str | os.PathLike[str], content: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Parameters
    ----------
    source : path
        Name of the text, for errors.
    content : str
        The text.

    Raises
    ------
    InputError
        If the text is no TOML, is nested too deep, has a key of more than 32 parts, or a whole number of thousands of
        digits.
    """
    if _LONG_KEY.search(content):
        raise InputError(f"{os.fspath(source)}: a key must have at most {_DEEPEST_KEY} parts; found one of more")
    try:
        return tomllib.loads(content)
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{os.fspath(source)}: must be TOML: {_reason(error)}") from None


def whole_number(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    value : object
        Must be an int or a NumPy integer; no bool, no text and no float.
    least, most : int or None
        Bounds, inclusive.

    Raises
    ------
    InputError
        If it is no whole number, or out of the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        _refuse(name, "a whole number", least, most, value)
    number = int(value)
    if (least is not None and number < least) or (most is not None and number > most):
        _refuse(name, "a whole number", least, most, value)
    return number


def number(
    name: str,
    value: object,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    infinite: bool = False,
) -> float:
    """Return a real number as float.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    value : object
        Must be an int, a float or a NumPy number; no bool and no text.
    least, most : float or None
        Bounds, inclusive.
    above : float or None
        Bound, exclusive.
    infinite : bool
        True if infinities are possible; NaN never is.

    Raises
    ------
    InputError
        If it is no number, not finite, or out of the bounds.
    """
    what = "a number" if infinite else "a finite number"
    if above is not None:
        what += f" above {above:,}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        _refuse(name, what, least, most, value)
    try:
        found = float(value)
    except OverflowError:  # an int of more than 308 digits
        found = math.nan
    outside = (least is not None and found < least) or (most is not None and found > most)
    if math.isnan(found) or (math.isinf(found) and not infinite) or outside or (above is not None and found <= above):
        _refuse(name, what, least, most, value)
    return found


def written_number(name: str, written: str) -> float:
    """Return a number that is written as text, such as `-1.5e-3` or `inf`.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    written : str
        The text.

    Raises
    ------
    InputError
        If it is not in decimal notation, or is NaN.
    """
    if not _WRITTEN.fullmatch(written):
        raise InputError(f"{name} must be numbers in decimal notation; found {shown(written)}")
    return float(written)


def written_whole_number(name: str, written: str, least: int = -(2**63)) -> int:
    """Return a whole number of 64 bits that is written as text.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    written : str
        The text.
    least : int
        Lower bound, inclusive.

    Raises
    ------
    InputError
        If it is no whole number in decimal digits, or out of bounds.
    """
    if not _WRITTEN_WHOLE.fullmatch(written):
        raise InputError(f"{name} must be whole numbers in decimal digits; found {shown(written)}")
    return whole_number(name, int(written), least, 2**63 - 1)


def bytes_of_variable(variable: str) -> int | None:
    """Return the number of bytes that an environment variable states; None if it is empty or not set.

    Raises InputError if it states no whole number above 0.
    """
    written = os.environ.get(variable, "")
    if not written:
        return None
    if not _WRITTEN_WHOLE.fullmatch(written) or int(written) < 1:
        raise InputError(f"{variable} must be a whole number of bytes, 1 or more; found {shown(written)}")
    return int(written)


def number_as_given(
    name: str, value: object, least: float | None = None, most: float | None = None, *, above: float | None = None
) -> int | float:
    """Return a finite number, an int if it is given as one. Raises InputError as `number` does."""
    found = number(name, value, least, most, above=above)
    return int(value) if isinstance(value, int | np.integer) else found


def true_or_false(name: str, value: object) -> bool:
    """Return a bool. Raises InputError if the value, the parameter `name`, is no bool."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be true or false; found {shown(value)}")
    return bool(value)


def text(name: str, value: object, *, empty: bool = False) -> str:
    """Return a text.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    value : object
        Must be text of whole characters.
    empty : bool
        True if it may be empty.

    Raises
    ------
    InputError
        If it is no text, or empty.
    """
    if not isinstance(value, str) or not (value or empty):
        raise InputError(f"{name} must be text{'' if empty else ', not empty'}; found {shown(value)}")
    if _HALF_CHARACTER.search(value) and any("\ud800" <= each <= "\udfff" for each in value):
        raise InputError(f"{name} must be text of whole characters; found {shown(value)}")
    return value


def one_of(name: str, value: object, choices: Iterable[str]) -> str:
    """Return a text that is among `choices`. Raises InputError, which names the parameter, if it is not."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}; found {shown(value)}")
    return value


def sequence(name: str, value: object, length: int | None = None) -> Sequence[Any]:
    """Return a list or a tuple.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    value : object
        Must be a list or a tuple.
    length : int or None
        Number of its values, if that is known.

    Raises
    ------
    InputError
        If it is no list or tuple, or of another length.
    """
    if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
        raise InputError(f"{name} must be a list{'' if length is None else f' of {length:,}'}; found {shown(value)}")
    return value


def mapping(
    name: str, value: object, needed: Iterable[str] | None = None, possible: Iterable[str] = ()
) -> Mapping[str, Any]:
    """Return values by name.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    value : object
        Must be a mapping whose names are text.
    needed, possible : iterable of str
        Names that there must be, and others that there may be; any names if `needed` is None.

    Raises
    ------
    InputError
        If it is no mapping, or a name is missing or unknown.
    """
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise InputError(f"{name} must be values by name; found {shown(value)}")
    if needed is None:
        return value
    must = list(needed)
    missing = [each for each in must if each not in value]
    if missing:
        raise InputError(f"{name} must have {', '.join(missing)}; found {shown(list(value))}")
    known = {*must, *possible}
    unknown = sorted(each for each in value if each not in known)
    if unknown:
        raise InputError(f"{name}: unknown option {shown(unknown[0])}; known are {', '.join(sorted(known))}")
    return value


def shown(value: object) -> str:
    """Return a value as an error shows it: at most 60 characters, whatever it is."""
    try:
        whole = repr(value[:_MOST_SHOWN] if isinstance(value, str | bytes | list | tuple) else value)
    except (ValueError, RecursionError):  # an int of thousands of digits, or lists that are nested too deep
        return f"a whole number of {value.bit_length():,} bits" if isinstance(value, int) else type(value).__name__
    whole = whole.encode("ascii", "backslashreplace").decode() if _HALF_CHARACTER.search(whole) else whole
    return whole if len(whole) <= _MOST_SHOWN else f"{whole[:_MOST_SHOWN]}..."


def _refuse(name: str, what: str, least: float | None, most: float | None, value: object) -> NoReturn:
    """Raise InputError for a number that is none or lies outside of its bounds."""
    bounds = ""
    if least is not None and most is not None:
        bounds = f" from {least:,} to {most:,}"
    elif least is not None:
        bounds = f" of at least {least:,}"
    elif most is not None:
        bounds = f" of at most {most:,}"
    raise InputError(f"{name} must be {what}{bounds}; found {shown(value)}")


def _reason(error: BaseException) -> str:
    """Return why a text cannot be parsed."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if "int_max_str_digits" in str(error) or "integer string conversion" in str(error):
        return "a whole number in it has too many digits"
    return str(error) or "it does not fit into memory"
