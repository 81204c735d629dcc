"""Spaces of designs as data: the values of each parameter, and the constraints.

A space is made in Python, or read from a TOML file:

    [hardware]
    num_pes = [16, 32, 64]                               # a list of values
    queue_slots = { low = 2, high = 64, factor = 2 }     # 2, 4, 8 ... 64
    clock_mhz = { low = 400.0, high = 800.0 }            # any number of the range; log = true samples by ratio
    memory_mode = "resident"                             # one value; the paper's value if left out

    [compression]                                        # of every layer; [compression.layers.NAME] is for one layer
    density = { low = 0.05, high = 0.5, log = true }

    [constraints]
    max_area_mm2 = 40.8
    must_fit = true
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_origin, get_type_hints

import numpy as np

from compress import LayerSettings
from designs.design import ARRAY_FIELDS, HARDWARE, HARDWARE_TYPES, Design
from sim import ArrayConfig
from sim.array_table import ArrayTable
from sim.cost.area import area_mm2
from sim.cost.timing import timed, timing
from traces import InputError
from traces.arrays import Booleans
from traces.plain_values import mapping, number_as_given, parsed_toml, read_text, shown, true_or_false

COMPRESSION = ("density", "weight_bits", "index_bits")  # options of LayerSettings that a space varies
_TYPES = HARDWARE_TYPES | {name: get_type_hints(LayerSettings)[name] for name in COMPRESSION}
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class Range:
    """Range of numbers; `low` and `high` belong to it.

    Attributes
    ----------
    low, high : float
        Smallest and largest number.
    step : float, optional
        Difference between neighbouring numbers.
    factor : float, optional
        Ratio between neighbouring numbers.
    log : bool
        Sample a continuous range by its logarithm.

    Raises
    ------
    InputError
        If a value is invalid, or step, factor and log contradict each other.
    """

    low: float
    high: float
    step: float | None = None
    factor: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "step", "factor"):
            value = getattr(self, name)
            if value is not None or name in ("low", "high"):
                object.__setattr__(self, name, number_as_given(f"a range's {name}", value))
        object.__setattr__(self, "log", true_or_false("a range's log", self.log))
        if self.low > self.high:
            raise InputError(f"a range goes from low to high; found {self.low} to {self.high}; exchange them")
        if self.step is not None and self.factor is not None:
            raise InputError("a range has a step or a factor, not both")
        if self.step is not None and not self.step > 0:
            raise InputError(f"a range's step must be above 0; found {self.step}")
        if self.factor is not None and (not self.factor > 1 or self.low <= 0):
            raise InputError(f"a range's factor must be above 1, and low above 0; found {self.factor} and {self.low}")
        if self.log and (self.low <= 0 or self.step is not None or self.factor is not None):
            raise InputError("log is for a range without step and factor whose low is above 0")

    def values(self, whole: bool) -> tuple[float, ...] | None:
        """Return all numbers of the range, or None if it is continuous; a range of whole numbers has step 1."""
        step = 1 if whole and self.step is None and self.factor is None else self.step
        if step is None and self.factor is None:
            return None
        numbers: list[float] = []
        value: float = self.low
        limit = min(self.high + abs(self.high) * 1e-12, sys.float_info.max)
        while value <= limit and len(numbers) <= _MOST_VALUES:
            numbers.append(value)
            place = len(numbers)
            try:
                value = self.low + place * step if step is not None else self.low * (self.factor or 1) ** place
            except OverflowError:  # the next power is beyond all floats
                break
        if len(numbers) > _MOST_VALUES:
            raise InputError(f"a range may have at most {_MOST_VALUES:,} values; give a larger step or a factor")
        return tuple(numbers)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a space, varied or fixed.

    Attributes
    ----------
    name : str
        Name of the hardware parameter, or LAYER.OPTION.
    values : tuple, optional
        All values in order. None: the parameter is continuous.
    range : Range, optional
        The range that the values come from.
    """

    name: str
    values: tuple[Any, ...] | None
    range: Range | None = None

    @property
    def varies(self) -> bool:
        """True if there is more than one value."""
        return self.values is None or len(self.values) > 1

    def at(self, unit: float) -> Any:
        """Return the value at `unit`, 0 <= unit < 1; values share this interval evenly."""
        if self.values is not None:
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        assert self.range is not None
        low, high = self.range.low, self.range.high
        return low * (high / low) ** unit if self.range.log else low + unit * (high - low)


@dataclass(frozen=True)
class Constraints:
    """Constraints on every design of a space.

    Three more always hold: a line holds at least one entry, each SRAM has a size that the SRAM tables cover, and the
    clock is one that the array reaches (`sim.cost.timing`).

    Attributes
    ----------
    max_area_mm2 : float, optional
        Largest area of the array, in mm2.
    must_fit : bool
        Every layer must fit the SRAMs whole. A design on which a layer does not fit gets no figures.
    whole_lines : bool
        The line width must be a multiple of the entry width.

    Raises
    ------
    InputError
        If a value is invalid.
    """

    max_area_mm2: float | None = None
    must_fit: bool = False
    whole_lines: bool = False

    def __post_init__(self) -> None:
        if self.max_area_mm2 is not None:
            area = number_as_given("max_area_mm2", self.max_area_mm2, above=0)
            object.__setattr__(self, "max_area_mm2", area)
        for name in ("must_fit", "whole_lines"):
            object.__setattr__(self, name, true_or_false(name, getattr(self, name)))

    def refuses(self, array: ArrayConfig) -> str | None:
        """Return the constraint that an array breaks, as far as known without a network; None if it breaks none."""
        if self.whole_lines and array.line_bits % array.entry_bits:
            return _NO_WHOLE_LINE
        if self.max_area_mm2 is not None:
            try:
                area = area_mm2(array)
            except InputError:
                return _NO_SRAM
            if area > self.max_area_mm2:
                return _too_large(self.max_area_mm2)
        return None


_NO_SRAM = "an SRAM is too small for its port, or outside the SRAM tables"
_NO_WHOLE_LINE = "line_bits is no multiple of the entry width"
_NO_ENTRY = "a line does not hold one entry"
_TOO_FAST = "a clock above that of the array's SRAMs and logic"
_TOO_SHALLOW = "too few pipeline or broadcast cycles for the clock"
DERIVED = ("pipeline_cycles", "broadcast_cycles")
"""Hardware parameters that follow from the clock and the delays of an array if a space leaves them out."""


@dataclass(frozen=True)
class Space:
    """Values of each parameter by name, and the constraints.

    Attributes
    ----------
    hardware : mapping
        Fields of `sim.ArrayConfig` and row_assignment by name: each a value, a sequence of values or a `Range`. A
        parameter that is left out has the EIE paper's value.
    compression : mapping
        Options of `LayerSettings` by name, which each layer varies on its own. "layers" maps names of layers to
        options that override these.
    constraints : Constraints
        Constraints on every design.

    Raises
    ------
    InputError
        If a name or a value is invalid, or an option has no effect.
    """

    hardware: Mapping[str, Any] = field(default_factory=dict)
    compression: Mapping[str, Any] = field(default_factory=dict)
    constraints: Constraints = Constraints()

    def __post_init__(self) -> None:
        _check_names("hardware", self.hardware, HARDWARE)
        _check_names("compression", self.compression, (*COMPRESSION, "layers"))
        layers = self.compression.get("layers", {})
        _check_names("compression.layers", layers, None)
        if not isinstance(self.constraints, Constraints):
            raise InputError(f"constraints must be Constraints; found {shown(self.constraints)}")
        for name, options in layers.items():
            _check_names(f"compression.layers.{name}", options, COMPRESSION)
        object.__setattr__(self, "hardware", MappingProxyType(dict(self.hardware)))
        object.__setattr__(self, "compression", MappingProxyType(dict(self.compression)))
        own = self.hardware_parameters()
        if self.constraints.must_fit and "streamed" in own["memory_mode"].values:  # type: ignore[operator]
            raise InputError(
                "must_fit asks for layers that stay on the array; memory_mode='streamed' loads every layer; "
                "leave one of the two out"
            )
        for name, options in {
            "": {key: self.compression[key] for key in self.compression if key != "layers"},
            **layers,
        }.items():
            for option, given in options.items():
                _parameter(f"{name}.{option}" if name else option, option, given, _check_compression)

    def __reduce__(self) -> tuple[type[Space], tuple[Any, ...]]:
        return Space, (dict(self.hardware), dict(self.compression), self.constraints)  # read-only views have no copies

    def hardware_parameters(self) -> dict[str, Parameter]:
        """Return all hardware parameters by name, varied or not, in the order of HARDWARE."""
        defaults = Design(ArrayConfig()).hardware
        return {
            name: _parameter(name, name, self.hardware.get(name, defaults[name]), _check_hardware) for name in HARDWARE
        }

    def compression_parameters(self, layers: Sequence[str]) -> dict[str, Parameter]:
        """Return the parameters LAYER.OPTION of a network's layers; none if the space has no compression.

        Raises InputError if the space names a layer that the network does not have.
        """
        if not self.compression:
            return {}
        by_layer = self.compression.get("layers", {})
        unknown = sorted(set(by_layer) - set(layers))
        if unknown:
            raise InputError(
                f"compression.layers names {', '.join(unknown)}, which the network does not have; it has "
                f"{', '.join(layers)}"
            )
        every = {name: given for name, given in self.compression.items() if name != "layers"}
        return {
            f"{layer}.{option}": _parameter(f"{layer}.{option}", option, given, _check_compression)
            for layer in layers
            for option, given in {**every, **by_layer.get(layer, {})}.items()
        }

    def parameters(self, layers: Sequence[str] = ()) -> dict[str, Parameter]:
        """Return all parameters: of the hardware, then of the compression of these layers."""
        return self.hardware_parameters() | self.compression_parameters(layers)

    def design(self, values: Mapping[str, Any]) -> Design:
        """Return the design of these values, one for each parameter; raise InputError if the array is invalid.

        If the space leaves out pipeline_cycles and broadcast_cycles, both follow from the clock and the delays.
        """
        design = Design.from_hardware(values, layer_settings(values))
        return design if self.states_stages else dataclasses.replace(design, array=timed(design.array))

    @property
    def states_stages(self) -> bool:
        """True if the space gives pipeline_cycles or broadcast_cycles."""
        return any(name in self.hardware for name in DERIVED)

    def refuses(self, values: Mapping[str, Any]) -> str | None:
        """Return the constraint that the design of these values breaks, in a few words; None if it breaks none."""
        if values["line_bits"] < values["weight_bits"] + values["index_bits"]:
            return _NO_ENTRY
        array = ArrayConfig(**{name: values[name] for name in ARRAY_FIELDS})
        reason = self.constraints.refuses(array)
        if reason is not None:
            return reason
        try:
            found = timing(array)
        except InputError:
            return _NO_SRAM
        if array.clock_mhz > found.highest_clock_mhz:
            return _TOO_FAST
        stages = (found.pipeline_cycles, found.broadcast_cycles)
        if self.states_stages and any(values[name] < least for name, least in zip(DERIVED, stages, strict=True)):
            return _TOO_SHALLOW
        return None

    def refusals(self, arrays: ArrayTable) -> dict[str, Booleans]:
        """Return the arrays that each constraint refuses, bool [arrays]: the table's form of `refuses`.

        An array that breaks several constraints is among those of the first one.
        """
        limits = self.constraints
        found: dict[str, Booleans] = {_NO_ENTRY: arrays.line_bits < arrays.entry_bits}
        if limits.whole_lines:
            found[_NO_WHOLE_LINE] = arrays.line_bits % arrays.entry_bits != 0
        clock = timing(arrays)
        found[_NO_SRAM] = np.isnan(clock.highest_clock_mhz)
        if limits.max_area_mm2 is not None:
            found[_too_large(limits.max_area_mm2)] = area_mm2(arrays) > limits.max_area_mm2
        found[_TOO_FAST] = arrays.clock_mhz > clock.highest_clock_mhz
        if self.states_stages:
            too_few = arrays.pipeline_cycles < clock.pipeline_cycles
            found[_TOO_SHALLOW] = too_few | (arrays.broadcast_cycles < clock.broadcast_cycles)
        left: Booleans = np.ones(len(arrays), dtype=np.bool_)
        for reason, refused in found.items():
            found[reason] = refused & left
            left = left & ~found[reason]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` makes the same space."""
        plain: dict[str, Any] = {}
        for name in ("hardware", "compression"):
            given = {key: _plain(value) for key, value in getattr(self, name).items()}
            plain |= {name: given} if given else {}
        constraints = {
            name: value for name, value in vars(self.constraints).items() if value is not None and value is not False
        }
        return plain | ({"constraints": constraints} if constraints else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """Return the space of these plain values; raise InputError as the class does."""
        _check_names("the space", values, ("hardware", "compression", "constraints"))
        constraints = values.get("constraints", {})
        _check_names("constraints", constraints, tuple(field.name for field in dataclasses.fields(Constraints)))
        return cls(values.get("hardware", {}), values.get("compression", {}), Constraints(**constraints))

    @classmethod
    def from_toml(cls, text: str) -> Space:
        """Return the space of a TOML text; raise InputError as the class does."""
        return cls.from_dict(parsed_toml("the space", text))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Space:
        """Read a TOML file; raise InputError if it cannot be read or is no TOML, or as the class does."""
        try:
            return cls.from_toml(read_text(path))
        except InputError as error:
            if str(error).startswith(f"{path}: "):
                raise
            raise InputError(f"{path}: {error}") from error


def layer_settings(values: Mapping[str, Any]) -> tuple[tuple[str, LayerSettings], ...]:
    """Return the compression of each layer from values by LAYER.OPTION; other values are left out."""
    options: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        layer, dot, option = name.rpartition(".")
        if dot:
            options.setdefault(layer, {})[option] = value
    return tuple((layer, LayerSettings(**chosen)) for layer, chosen in options.items())


def _too_large(max_area_mm2: float) -> str:
    return f"area above {max_area_mm2:g} mm2"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Range):
        return {name: each for name, each in vars(value).items() if each is not None and each is not False}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _check_names(where: str, values: Any, known: Sequence[str] | None) -> None:
    mapping(where, values)
    unknown = sorted(set(values) - set(known)) if known is not None else []
    if unknown:
        raise InputError(f"{where}: unknown: {', '.join(unknown)}; valid names: {', '.join(known or ())}")


def _parameter(name: str, kind: str, given: Any, check: Any) -> Parameter:
    """Return a parameter of the values that a space gives, each checked; `kind` is its name without the layer."""
    if isinstance(given, Mapping):
        _check_names(name, given, tuple(field.name for field in dataclasses.fields(Range)))
        try:
            given = Range(**given)
        except TypeError:
            raise InputError(f"{name}: a range needs low and high; found {dict(given)}") from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    if isinstance(given, Range):
        return _in_range(name, kind, given, check)
    values = tuple(check(kind, value) for value in (given if isinstance(given, tuple | list) else (given,)))
    if not values or len(set(values)) < len(values):
        raise InputError(f"{name} must be one or more different values; found {shown(values)}")
    return Parameter(name, values)


def _in_range(name: str, kind: str, given: Range, check: Any) -> Parameter:
    if get_origin(_TYPES[kind]) is Literal or _TYPES[kind] is bool:
        raise InputError(f"{name} has names for values, so it takes no range; list the names")
    whole = _TYPES[kind] is not float
    if whole and given.log:
        raise InputError(f"{name} is a whole number; give its range a factor instead of log")
    values = given.values(whole)
    if values is None:
        for bound in (given.low, given.high):
            check(kind, bound)
        return Parameter(name, None, given)
    if whole and any(value != int(value) for value in values):
        raise InputError(f"{name} is a whole number; the range {_plain(given)} holds others")
    exact = tuple(int(value) if whole else value for value in values)
    return Parameter(name, tuple(check(kind, value) for value in exact), given)


def _check_hardware(name: str, value: Any) -> Any:
    """Return a value as `ArrayConfig` stores it; the other fields are chosen so that they allow any valid value."""
    if name == "row_assignment":
        return Design(ArrayConfig(), value).row_assignment
    roomy = {"line_bits": 512, "weight_bits": 1, "index_bits": 1}
    if name == "sparse_matrix_bytes":
        roomy["line_bits"] = 8
    array = ArrayConfig(**(roomy | {name: value}))
    area_mm2(array)  # raises InputError if an SRAM is outside the tables
    return getattr(array, name)


def _check_compression(name: str, value: Any) -> Any:
    return getattr(LayerSettings(**{name: value}), name)
