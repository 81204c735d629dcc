"""Compilation of a kernel to an object file with Numba: the loops, and a function that Python calls them by.

A process that finds its kernels compiled imports neither this module nor Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numba.core.cgutils
import numba.core.compiler
import numpy as np
from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from traces.kernel_arguments import ArgumentType, ArrayType
from traces.kernel_loader import ARRAY_CLASS, ENTRY, FREE_ARRAY, prepare_llvm

OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


_RUNTIME = ("NRT_", "numba")  # how the names of functions begin that only Numba provides: those that allocate arrays

_HEAD = object.__basicsize__  # bytes of PyObject_HEAD
_POINTER = np.dtype(np.intp).itemsize
# Fields of NumPy's PyArrayObject and PyArray_Descr, which are part of its binary interface.
_DATA, _NDIM, _SHAPE, _STRIDES, _DESCR, _FLAGS = (_HEAD + place * _POINTER for place in (0, 1, 2, 3, 5, 6))
_DESCR_BYTE_ORDER, _DESCR_NUMBER = _HEAD + _POINTER + 2, _HEAD + _POINTER + 4
_C_CONTIGUOUS, _ALIGNED = 0x0001, 0x0100

cgutils: Any = numba.core.cgutils
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def callable_by_kernels(function: Callable[..., object]) -> Any:
    """Return the Numba function by which other kernels call this one."""
    _load_lazy_names(function)
    return njit(**OPTIONS)(function)


def compile_kernel(function: Callable[..., object], arguments: Sequence[ArgumentType]) -> tuple[bytes, bool]:
    """Compile a kernel for arguments of given types.

    Parameters
    ----------
    function : callable
        Function in the part of Python that Numba compiles.
    arguments : sequence of ArgumentType
        Types of its arguments.

    Returns
    -------
    content : bytes
        Object file, which defines `ENTRY`.
    needs_numba : bool
        Whether the code calls the runtime of Numba, since it allocates arrays.
    """
    _load_lazy_names(function)
    with global_compiler_lock:
        return _compile_kernel(function, arguments)


def _compile_kernel(function: Callable[..., object], arguments: Sequence[ArgumentType]) -> tuple[bytes, bool]:
    prepare_llvm()
    compiler: Any = numba.core.compiler
    target: Any = cpu_target
    typing_context, target_context = target.typing_context, target.target_context
    typing_context.refresh()
    target_context.refresh()
    flags = compiler.Flags()
    target.options.parse_as_flags(flags, {"nopython": True, **OPTIONS})
    flags.no_compile = True  # the entry is added first
    types_of_arguments = tuple(map(_numba_type, arguments))
    result = compiler.compile_extra(typing_context, target_context, function, types_of_arguments, None, flags, {})
    returned = result.fndesc.restype
    parts: Any = getattr(returned, "types", [returned])
    if not all(isinstance(part, types.Number | types.Boolean | types.NoneType) for part in parts):
        raise TypeError(f"kernel {function.__name__} must return numbers, a tuple of them or None; found {returned}")
    library = result.library
    module = library.create_ir_module(f"{function.__name__}_entry")
    _write_entry(module, result, arguments, function.__name__)
    library.add_ir_module(module)
    library.finalize()
    final = library._final_module
    needed = {each.name for each in final.functions if each.is_declaration}
    return library._get_compiled_object(), any(name.startswith(_RUNTIME) for name in needed - {FREE_ARRAY})


def _load_lazy_names(function: Callable[..., object]) -> None:
    """Import what a kernel uses of modules with lazy names: Numba finds only what is there when it begins."""
    used = function.__code__.co_names
    for module in (function.__globals__.get(name) for name in used):
        if isinstance(module, ModuleType):
            for name in used:
                getattr(module, name, None)


def _numba_type(argument: ArgumentType) -> Any:
    if isinstance(argument, ArrayType):
        numbers = from_dtype(np.dtype(argument.dtype))
        return types.Array(numbers, argument.ndim, argument.layout, aligned=argument.aligned)
    return {"int": types.int64, "float": types.float64, "bool": types.boolean}[argument]


def _write_entry(module: Any, result: Any, arguments: Sequence[ArgumentType], name: str) -> None:
    """Write the function of Python's C interface (METH_FASTCALL) that unpacks the arguments and calls the loops."""
    context, descriptor = result.target_context, result.fndesc
    pointer = context.get_argument_type(types.pyobject)
    signature = ir.FunctionType(pointer, [pointer, pointer.as_pointer(), context.get_value_type(types.intp)])
    entry = ir.Function(module, signature, name=ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    _, given, number = entry.args
    python = context.get_python_api(builder)

    other = entry.append_basic_block("other")
    with builder.goto_block(other):
        not_these = _outer(module, "_Py_NotImplementedStruct", pointer)
        python.incref(not_these)
        builder.ret(not_these)

    def go_on_if(condition: Any) -> None:
        following = builder.append_basic_block("following")
        builder.cbranch(condition, following, other)
        builder.position_at_end(following)

    def field(place: Any, offset: int, kind: Any) -> Any:
        return builder.load(cgutils.pointer_add(builder, place, offset, kind.as_pointer()))

    go_on_if(builder.icmp_signed("==", number, ir.Constant(number.type, len(arguments))))
    array_class = _outer(module, ARRAY_CLASS, pointer)
    objects = [builder.load(builder.gep(given, [_INT32(place)])) for place in range(len(arguments))]
    for item, argument in zip(objects, arguments, strict=True):
        kind = field(item, _HEAD - _POINTER, pointer)  # ob_type
        if argument == "bool":
            go_on_if(builder.icmp_unsigned("==", kind, _outer(module, "PyBool_Type", pointer)))
        elif argument == "int":
            go_on_if(builder.icmp_unsigned("==", kind, _outer(module, "PyLong_Type", pointer)))
        elif argument == "float":
            go_on_if(builder.icmp_unsigned("==", kind, _outer(module, "PyFloat_Type", pointer)))
        else:
            assert isinstance(argument, ArrayType)
            go_on_if(builder.icmp_unsigned("==", kind, array_class))
            go_on_if(builder.icmp_signed("==", field(item, _NDIM, _INT32), _INT32(argument.ndim)))
            description = field(item, _DESCR, pointer)
            number_of_type = np.dtype(argument.dtype).num
            go_on_if(builder.icmp_signed("==", field(description, _DESCR_NUMBER, _INT32), _INT32(number_of_type)))
            order = field(description, _DESCR_BYTE_ORDER, ir.IntType(8))
            go_on_if(builder.icmp_signed("==", order, ir.IntType(8)(ord(np.dtype(argument.dtype).byteorder))))
            wanted = _ALIGNED * argument.aligned | _C_CONTIGUOUS * (argument.layout == "C")
            flags = builder.and_(field(item, _FLAGS, _INT32), _INT32(_ALIGNED | _C_CONTIGUOUS))
            go_on_if(builder.icmp_signed("==", flags, _INT32(wanted)))

    values = []
    for item, argument, of_numba in zip(objects, arguments, descriptor.argtypes, strict=True):
        if isinstance(argument, ArrayType):
            values.append(_array(context, builder, field, item, of_numba))
        elif argument == "bool":
            true = _outer(module, "_Py_TrueStruct", pointer)
            values.append(builder.icmp_unsigned("==", item, true))
        elif argument == "float":
            values.append(python.float_as_double(item))
        else:
            value = python.long_as_longlong(item)
            with (
                builder.if_then(builder.icmp_signed("==", value, _INT64(-1)), likely=False),
                builder.if_then(python.c_api_error(), likely=False),  # beyond 64 bits
            ):
                builder.ret(python.get_null_object())
            values.append(value)

    loops = context.declare_function(module, descriptor)
    thread = python.save_thread()
    status, value = context.call_conv.call_function(
        builder, loops, descriptor.restype, descriptor.argtypes, values, attrs=("noinline",)
    )
    python.restore_thread(thread)
    with builder.if_then(status.is_ok, likely=True):
        builder.ret(python.from_native_return(descriptor.restype, value, None))
    python.err_set_string("PyExc_RuntimeError", f"kernel {name} read out of range, or found no memory left")
    builder.ret(python.get_null_object())


def _outer(module: Any, name: str, pointer: Any) -> Any:
    """Return the address of something that is defined elsewhere, as a pointer to an object of Python."""
    if name not in module.globals:
        ir.GlobalVariable(module, pointer.pointee, name)
    return module.globals[name]


def _array(context: Any, builder: Any, field: Callable[[Any, int, Any], Any], item: Any, of_numba: Any) -> Any:
    """Return Numba's form of an array; the caller of the kernel keeps the memory, so it has no owner here."""
    length = context.get_value_type(types.intp)
    array = context.make_array(of_numba)(context, builder)
    item_bytes = context.get_abi_sizeof(context.get_data_type(of_numba.dtype))
    shape, strides = (field(item, offset, length.as_pointer()) for offset in (_SHAPE, _STRIDES))
    extents = [builder.load(builder.gep(shape, [_INT32(axis)])) for axis in range(of_numba.ndim)]
    steps = [builder.load(builder.gep(strides, [_INT32(axis)])) for axis in range(of_numba.ndim)]
    size = ir.Constant(length, 1)
    for extent in extents:
        size = builder.mul(size, extent)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    array.nitems = size
    array.itemsize = ir.Constant(length, item_bytes)
    array.data = field(item, _DATA, array.data.type)
    array.shape = cgutils.pack_array(builder, extents)
    array.strides = cgutils.pack_array(builder, steps)
    return array._getvalue()
