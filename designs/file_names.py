"""Names that users choose and that become names of files and folders: none may lead out of the folder it is put in."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence

from traces import InputError

MOST_BYTES = 200  # of a name, so that with what is added to it, it stays within the 255 of most file systems
_SEPARATORS = '/\\:*?"<>|'  # of paths, drives and patterns, on any system
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # whatever folder they are looked for in


def file_name(what: str, name: object, remedy: str, reserved: Sequence[str] = ()) -> str:
    """Give back a name that is fit to be that of a file or a folder, on any system, inside the folder it is put in.

    what       is named, for the error
    remedy     what to do about a name that is refused
    reserved   names and patterns of names, in lower case, that the folder keeps for its own files

    Raises InputError if the name is not fit.
    """
    fault = _fault(name, reserved)
    if fault is not None:
        raise InputError(f"{what} must be fit for a file, so it {fault}; found {name!r}; {remedy}")
    return str(name)


def one_file(name: str) -> str:
    """Fold a name: names that some file system takes for one, as they differ by case or by accents, give the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _fault(name: object, reserved: Sequence[str]) -> str | None:
    """Say what a name must be and is not; None if it is fit."""
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
        return f"must not be {' or '.join(reserved)}, which are files of the folder's own"
    return None
