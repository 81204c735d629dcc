"""Functions that are named as text, as command lines name them: code of the user's own, which is run."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from traces.errors import InputError
from traces.plain_values import shown

_FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def named_function(name: str, arguments: int = 0) -> Callable[..., Any]:
    """Return the function or class named `package.module:function`; importing its module runs it.

    Parameters
    ----------
    name : str
        The name.
    arguments : int
        Number of positional arguments that it is called with; it must take as many.

    Raises
    ------
    InputError
        If the module cannot be imported, or has no such function or class written in Python that takes the arguments.

    Notes
    -----
    Modules of Python's standard library are refused before they are imported, and their functions wherever they are
    named: no network and no loss is among them, but functions that run commands and delete files are.
    """
    if not isinstance(name, str) or not _FORM.fullmatch(name):
        raise InputError(f"{shown(name)} must be package.module:function, like my_network:build")
    module_name, _, attribute = name.partition(":")
    _check_own(name, module_name)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"{name}: the module cannot be imported: {error}; run this where Python finds it") from error
    if not hasattr(module, attribute):
        raise InputError(f"{name}: the module has no {attribute}; name a function or a class that it has")
    function: Callable[..., Any] = getattr(module, attribute)
    if not (inspect.isfunction(inspect.unwrap(function)) or inspect.isclass(function)):
        raise InputError(
            f"{name} must be a function or a class that is written in Python; found {type(function).__name__}; wrap it "
            f"in a function"
        )
    _check_own(name, getattr(inspect.unwrap(function), "__module__", None) or "")
    if not _takes(function, arguments):
        raise InputError(
            f"{name} must take {arguments or 'no'} arguments; found {attribute}{_parameters(function)}; wrap it in a "
            f"function that does"
        )
    return function


def _check_own(name: str, module: str) -> None:
    """Raise InputError if a module belongs to the standard library."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(
            f"{name} must be a function of your own or of an installed package; found one of Python's module {module}; "
            f"if that is a file of yours, rename it"
        )


def _takes(function: Callable[..., Any], arguments: int) -> bool:
    """Return whether a function can be called with so many positional arguments."""
    try:
        inspect.signature(function).bind(*range(arguments))
    except (TypeError, ValueError):  # ValueError: a class that does not state its parameters
        return False
    return True


def _parameters(function: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "(...)"


def network_and_inputs(given: Any) -> tuple[Any, Any]:
    """Return the network that a named function gives, and the inputs that it gives with it, or None."""
    return given if isinstance(given, tuple) and len(given) == 2 else (given, None)
