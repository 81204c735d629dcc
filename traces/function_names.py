"""Functions that are named as text, as command lines name them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from traces.errors import InputError


def named_function(name: str) -> Callable[..., Any]:
    """Return the function named `package.module:function`. Raises InputError if it cannot be called."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} must be package.module:function, like my_network:build")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(f"{name}: the module cannot be imported: {error}; run this where Python finds it") from error
    except AttributeError:
        raise InputError(f"{name}: the module has no {attribute}") from None
    if not callable(function):
        raise InputError(f"{name} must be a function or a class; found {type(function).__name__}")
    return function


def network_and_inputs(given: Any) -> tuple[Any, Any]:
    """Return the network that a named function gives, and the inputs that it gives with it, or None."""
    return given if isinstance(given, tuple) and len(given) == 2 else (given, None)
