"""Loading of compiled kernels into this process with llvmlite."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

ENTRY = "kernel_entry"  # symbol of the function that Python calls
ARRAY_CLASS = "kernel_array_class"  # symbol of the class numpy.ndarray
FREE_ARRAY = "NRT_MemInfo_call_dtor"  # symbol of the function that frees an array allocated by a kernel
_METH_FASTCALL = 0x0080  # of Python's C interface: arguments in a C array

_loaded: list[object] = []  # machine code, and what Python needs to call it, live as long as the process


class _MethodDefinition(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def load_kernel(payload: bytes) -> Callable[..., object]:
    """Return the function in compiled code.

    Parameters
    ----------
    payload : bytes
        1 if the code calls the runtime of Numba, otherwise 0; then an object file that defines `ENTRY`.

    Returns
    -------
    callable
        Function of positional arguments; it returns NotImplemented for arguments of other types than it was compiled
        for.

    Raises
    ------
    ValueError
        If the code is no object file with an entry.
    """
    if payload[0]:
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
    import llvmlite.binding as llvm

    machine_code = llvm.ObjectFileRef.from_data(payload[1:])
    if not machine_code._ptr:
        raise ValueError("a compiled kernel is no object file")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), prepare_llvm())
    engine.add_object_file(machine_code)
    engine.finalize_object()
    address = engine.get_function_address(ENTRY)
    if not address:
        raise ValueError("a compiled kernel has no entry")
    definition = _MethodDefinition(b"kernel", address, _METH_FASTCALL, None)
    _loaded.append((engine, definition))
    prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    make: Any = prototype(("PyCFunction_NewEx", ctypes.pythonapi))
    function: Callable[..., object] = make(ctypes.addressof(definition), None, None)
    return function


@cache
def processor() -> tuple[str, str, str]:
    """Return the platform, the name and the abilities of this processor, for which kernels are compiled."""
    import llvmlite.binding as llvm

    features: Any = llvm.get_host_cpu_features()
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), features.flatten()


@cache
def prepare_llvm() -> Any:
    """Initialise LLVM for this processor, and tell it of `ARRAY_CLASS`; return its target machine."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.add_symbol(ARRAY_CLASS, id(np.ndarray))
    if llvm.address_of_symbol(FREE_ARRAY) is None:  # Numba is not loaded, nor needed: nothing is allocated
        stop = ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value
        llvm.add_symbol(FREE_ARRAY, stop)
    return llvm.Target.from_default_triple().create_target_machine(jit=True)
