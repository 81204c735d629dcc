"""Checks of names that become names of files or folders: chosen by users, or stated by files.

A name must not lead out of its folder. Every such name passes `file_name`, and every path that a file states passes
`path_within`.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from traces import InputError

MOST_BYTES = 200  # with a suffix it stays within the 255 bytes of most file systems
_SEPARATORS = '/\\:*?"<>|'  # of paths, drives and patterns, on any system
_DEVICES = re.compile(r"(con(in\$|out\$)?|prn|aux|nul|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)  # in every folder


def file_name(what: str, name: object, remedy: str, reserved: Sequence[str] = ()) -> str:
    """Return a name if it can name a file or a folder on any system without leading out of the parent folder.

    Parameters
    ----------
    what : str
        What is named, for the error.
    name : object
        The name.
    remedy : str
        What the user can do about a refused name, for the error.
    reserved : sequence of str
        Names and patterns of names, in lower case, of the folder's own files.

    Returns
    -------
    str
        The name, unchanged.

    Raises
    ------
    InputError
        If the name is not a text, is empty or too long, or has characters that some system refuses.
    """
    fault = _fault(name, reserved)
    if fault is not None:
        raise InputError(f"{what} must be a valid file name: it {fault}; found {name!r}; {remedy}")
    return str(name)


def path_within(folder: Path, what: str, path: object, remedy: str) -> Path:
    """Return the path of a file in a folder, or in folders within it, that a file states.

    Parameters
    ----------
    folder : Path
        The folder.
    what : str
        What the path is of, for the error.
    path : object
        Names of folders and of the file, separated by slashes.
    remedy : str
        What the user can do about a refused path, for the error.

    Raises
    ------
    InputError
        If one of the names is no valid file name, so that the path may lead out of the folder.
    """
    names = str(path).split("/")
    for name in names:
        file_name(what, name, remedy)
    return folder.joinpath(*names)


def one_file(name: str) -> str:
    """Return a name without case and accent forms; two names are one file on some systems if these are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _fault(name: object, reserved: Sequence[str]) -> str | None:
    """Return the requirement that a name breaks; None if it is valid."""
    if not isinstance(name, str) or not name:
        return "must be a text that is not empty"
    if name[0] in ". " or name[-1] in ". ":
        return "must neither begin nor end with a dot or a space"
    if not name.isprintable() or any(each in _SEPARATORS for each in name):
        return f"must have none of {' '.join(_SEPARATORS)} and no character that cannot be printed"
    if len(name.encode()) > MOST_BYTES:
        return f"must have at most {MOST_BYTES} bytes"
    if _DEVICES.fullmatch(name):
        return "must not be the name of a device"
    if any(fnmatch.fnmatchcase(one_file(name), pattern) for pattern in reserved):
        return f"must not be {' or '.join(reserved)}, which are files of the folder itself"
    return None
