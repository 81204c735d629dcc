"""Instructions of LLVM behind `traces.kernel_lanes`, as functions that Numba compiles into kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.extending import intrinsic, models, register_model

from traces.kernel_lanes import LANES

_NEVER_ZERO = ir.IntType(1)(1)  # tells LLVM that a mask has a bit


class _Vector(types.Type):
    """Type of a vector in Numba."""

    def __init__(self, number: Any) -> None:
        self.number = number
        super().__init__(name=f"Vector({number})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: _Vector) -> None:
        super().__init__(manager, vector, _vector_of(vector.number.bitwidth))  # type: ignore[no-untyped-call]


def _instruction(function: Callable[..., Any]) -> Any:
    """Let kernels call a function that returns its signature and the generator of its instructions."""
    return intrinsic(function)


def _vector_of(bits: int) -> Any:
    return ir.VectorType(ir.IntType(bits), LANES)


def _emitted(emit: Callable[..., Any]) -> Callable[..., Any]:
    """Return Numba's generator of a function from one that emits instructions of LLVM."""
    return lambda context, builder, signature, arguments: emit(builder, *arguments)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of LLVM whose name ends with the type of its first argument."""
    vector = arguments[0].type
    function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
        builder.module,
        ir.FunctionType(result, [each.type for each in arguments]),
        f"llvm.{name}.v{LANES}i{vector.element.width}",
    )
    return builder.call(function, arguments)


def _spread(builder: Any, number: Any) -> Any:
    vector = _vector_of(number.type.width)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(_vector_of(32), [0] * LANES))


def _address(context: Any, builder: Any, array: Any, arguments: Any, bits: int) -> Any:
    data = context.make_array(array)(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), _vector_of(bits).as_pointer())


def _check_contiguous(array: Any) -> None:
    if array.layout != "C":
        raise TypingError(f"vectors are loaded from and stored into contiguous arrays; found {array}")


@_instruction
def load(_: Any, array: Any, place: Any) -> Any:
    """Load 64 numbers of a contiguous array, from a place on that counts all of its numbers, uint64."""
    _check_contiguous(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, array, arguments, array.dtype.bitwidth), align=1)

    return _Vector(array.dtype)(array, types.uint64), generate


@_instruction
def store(_: Any, array: Any, place: Any, vector: Any) -> Any:
    """Store a vector into a contiguous array, from a place on that counts all of its numbers, uint64."""
    _check_contiguous(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, array, arguments, array.dtype.bitwidth), align=1)
        return context.get_dummy_value()

    return types.none(array, types.uint64, vector), generate


@_instruction
def spread(_: Any, number: Any) -> Any:
    """Return a vector that has a number in each lane."""
    return _Vector(number)(number), _emitted(_spread)


@_instruction
def convert(_: Any, vector: Any, number: Any) -> Any:
    """Return a vector with lanes of the type of a number; what does not fit a narrower type loses its highest bits."""

    def emit(builder: Any, lanes: Any, number: Any) -> Any:
        bits, of_number = lanes.type.element.width, number.type.width
        if bits == of_number:
            return lanes
        return (builder.zext if bits < of_number else builder.trunc)(lanes, _vector_of(of_number))

    return _Vector(number)(vector, number), _emitted(emit)


@_instruction
def add(_: Any, left: Any, right: Any) -> Any:
    """Add two vectors; a sum that does not fit its type wraps around."""
    return left(left, right), _emitted(lambda builder, left, right: builder.add(left, right))


@_instruction
def subtract(_: Any, left: Any, right: Any) -> Any:
    """Subtract two vectors; a negative difference wraps around."""
    return left(left, right), _emitted(lambda builder, left, right: builder.sub(left, right))


@_instruction
def subtract_to_zero(_: Any, left: Any, right: Any) -> Any:
    """Subtract two vectors; a negative difference is 0."""
    return left(left, right), _emitted(lambda builder, *both: _call(builder, "usub.sat", both[0].type, *both))


@_instruction
def larger(_: Any, left: Any, right: Any) -> Any:
    """Return the larger number of each lane."""
    return left(left, right), _emitted(lambda builder, *both: _call(builder, "umax", both[0].type, *both))


@_instruction
def multiply(_: Any, vector: Any, number: Any) -> Any:
    """Multiply each lane by a number."""
    return vector(vector, number), _emitted(lambda builder, lanes, by: builder.mul(lanes, _spread(builder, by)))


@_instruction
def shift_right(_: Any, vector: Any, number: Any) -> Any:
    """Shift each lane to the right by a number of bits, which is smaller than the bits of a lane."""
    return vector(vector, number), _emitted(lambda builder, lanes, by: builder.lshr(lanes, _spread(builder, by)))


@_instruction
def largest(_: Any, vector: Any) -> Any:
    """Return the largest number of a vector."""
    return vector.number(vector), _emitted(
        lambda builder, lanes: _call(builder, "vector.reduce.umax", lanes.type.element, lanes)
    )


@_instruction
def total(_: Any, vector: Any) -> Any:
    """Return the sum of all lanes; one that does not fit their type wraps around."""
    return vector.number(vector), _emitted(
        lambda builder, lanes: _call(builder, "vector.reduce.add", lanes.type.element, lanes)
    )


@_instruction
def equal(_: Any, left: Any, right: Any) -> Any:
    """Return the mask of the lanes in which two vectors are equal."""
    return types.uint64(left, right), _emitted(
        lambda builder, left, right: builder.bitcast(builder.icmp_unsigned("==", left, right), ir.IntType(64))
    )


@_instruction
def choose(_: Any, mask: Any, chosen: Any, other: Any) -> Any:
    """Return the lanes of one vector where a mask has ones, and of another one elsewhere."""

    def emit(builder: Any, mask: Any, chosen: Any, other: Any) -> Any:
        return builder.select(builder.bitcast(mask, ir.VectorType(ir.IntType(1), LANES)), chosen, other)

    return chosen(types.uint64, chosen, other), _emitted(emit)


@_instruction
def lowest(_: Any, mask: Any) -> Any:
    """Return the place of the lowest bit that is set in a mask; one must be."""
    return types.uint64(types.uint64), _emitted(lambda builder, mask: builder.cttz(mask, _NEVER_ZERO))


@_instruction
def count_ones(_: Any, mask: Any) -> Any:
    """Return the number of bits that are set in a mask."""
    return types.uint64(types.uint64), _emitted(lambda builder, mask: builder.ctpop(mask))


@_instruction
def leading_zeros(_: Any, mask: Any) -> Any:
    """Return the number of zeros above the highest bit that is set in a mask; one must be."""
    return types.uint64(types.uint64), _emitted(lambda builder, mask: builder.ctlz(mask, _NEVER_ZERO))


@_instruction
def interleave_low(_: Any, left: Any, right: Any) -> Any:
    """Return the lower halves of two vectors, lane by lane in turn."""
    return left(left, right), _emitted(lambda builder, left, right: _interleave(builder, left, right, 0))


@_instruction
def interleave_high(_: Any, left: Any, right: Any) -> Any:
    """Return the upper halves of two vectors, lane by lane in turn."""
    return left(left, right), _emitted(lambda builder, left, right: _interleave(builder, left, right, LANES // 2))


def _interleave(builder: Any, left: Any, right: Any, begin: int) -> Any:
    places = [begin + lane // 2 + (LANES if lane % 2 else 0) for lane in range(LANES)]
    return builder.shuffle_vector(left, right, ir.Constant(_vector_of(32), places))
