"""The space of designs as data: which values each parameter may take, and what must hold between them.

In Python, or as a TOML file:

    [hardware]
    num_pes = [16, 32, 64]                         # a set
    queue_slots = { low = 2, high = 64, factor = 2 }     # 2, 4, 8 ... 64
    clock_mhz = { low = 400.0, high = 800.0 }      # any number between; log = true spreads it by ratio
    memory_mode = "resident"                       # one value; what is left out is the paper's

    [compression]                                  # of every layer, each on its own; [compression.layers.NAME] of one
    density = { low = 0.05, high = 0.5, log = true }

    [constraints]
    max_area_mm2 = 40.8
    must_fit = true
"""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from designs.design import ARRAY_FIELDS, Design, LayerCompression
from sim import ArrayConfig
from sim.cost.area import area_mm2
from traces import InputError

HARDWARE = (*ARRAY_FIELDS, "row_assignment")
COMPRESSION = tuple(each.name for each in dataclasses.fields(LayerCompression))
_REAL = ("clock_mhz", "dram_gb_per_s", "density")
_NAMED = ("memory_mode", "block_axis", "precision", "row_assignment")
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    step     only those that are so far apart;   factor   only those, each so many times the one before
    log      numbers in between are spread by their ratio, not their difference

    Raises InputError if there is no such range.
    """

    low: float
    high: float
    step: float | None = None
    factor: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "step", "factor"):
            value = getattr(self, name)
            if (value is None and name in ("low", "high")) or isinstance(value, bool):
                raise InputError(f"a range's {name} must be a number; found {value!r}")
            if value is not None and (not isinstance(value, int | float) or not math.isfinite(value)):
                raise InputError(f"a range's {name} must be a number; found {value!r}")
        if not isinstance(self.log, bool):
            raise InputError(f"a range's log must be true or false; found {self.log!r}")
        if self.low > self.high:
            raise InputError(f"a range goes from low to high; found {self.low} to {self.high}: exchange them")
        if self.step is not None and self.factor is not None:
            raise InputError("a range has a step or a factor, not both")
        if self.step is not None and not self.step > 0:
            raise InputError(f"a range's step must be above 0; found {self.step}")
        if self.factor is not None and (not self.factor > 1 or self.low <= 0):
            raise InputError(f"a range's factor must be above 1, and low above 0; found {self.factor} and {self.low}")
        if self.log and (self.low <= 0 or self.step is not None or self.factor is not None):
            raise InputError("log is for a range without step and factor whose low is above 0")

    def values(self, whole: bool) -> tuple[float, ...] | None:
        """All numbers of the range, or None if it is continuous."""
        step = 1 if whole and self.step is None and self.factor is None else self.step
        if step is None and self.factor is None:
            return None
        found: list[float] = []
        value: float = self.low
        while value <= self.high * (1 + 1e-12) and len(found) <= _MOST_VALUES:
            found.append(value)
            value = self.low + len(found) * step if step is not None else self.low * (self.factor or 1) ** len(found)
        if len(found) > _MOST_VALUES:
            raise InputError(f"a range may have at most {_MOST_VALUES:,} values; give a larger step or a factor")
        return tuple(found)


@dataclass(frozen=True)
class Parameter:
    """One thing that a space varies, or holds: its values, in order, or the continuous range it may take."""

    name: str
    values: tuple[Any, ...] | None
    range: Range | None = None

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return self.values is None or len(self.values) > 1

    def at(self, unit: float) -> Any:
        """The value at a place from 0 to 1 (not included), all of them evenly spread."""
        if self.values is not None:
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        assert self.range is not None
        low, high = self.range.low, self.range.high
        return low * (high / low) ** unit if self.range.log else low + unit * (high - low)


@dataclass(frozen=True)
class Constraints:
    """What must hold in every design. Raises InputError if no design could hold to it.

    That a line holds a whole entry, and that each SRAM is one of those known, always must.
    """

    max_area_mm2: float | None = None
    """of the array, at 45 nm"""
    must_fit: bool = False
    """whether every layer must fit the SRAMs whole; a design where one does not gets no figures"""
    whole_lines: bool = False
    """whether a line must be a whole number of entries, nothing left over"""

    def __post_init__(self) -> None:
        area = self.max_area_mm2
        if area is not None and (isinstance(area, bool) or not isinstance(area, int | float) or not area > 0):
            raise InputError(f"max_area_mm2 must be a number above 0; found {area!r}")
        for name in ("must_fit", "whole_lines"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false; found {getattr(self, name)!r}")

    def refuses(self, array: ArrayConfig) -> str | None:
        """Why an array is not of the space, by what can be known without a network; None if it is."""
        if self.whole_lines and array.line_bits % array.entry_bits:
            return "line_bits is no whole number of entries"
        if self.max_area_mm2 is not None:
            try:
                area = area_mm2(array)
            except InputError:
                return _NO_SRAM
            if area > self.max_area_mm2:
                return f"area above {self.max_area_mm2:g} mm2"
        return None


_NO_SRAM = "an SRAM is too small for its port, or outside of the tables"
_NO_ENTRY = "a line does not hold one entry"


@dataclass(frozen=True)
class Space:
    """Values of each parameter by name, and the constraints between them.

    hardware     fields of `sim.ArrayConfig` and row_assignment: a value, a sequence of values or a `Range`; what is
                 left out is the paper's
    compression  options of `LayerCompression` for each layer on its own; under "layers", by layer, options that
                 stand before those

    Raises InputError if a name or a value does not exist, or an option has no effect.
    """

    hardware: Mapping[str, Any] = field(default_factory=dict)
    compression: Mapping[str, Any] = field(default_factory=dict)
    constraints: Constraints = Constraints()

    def __post_init__(self) -> None:
        _check_names("hardware", self.hardware, HARDWARE)
        _check_names("compression", self.compression, (*COMPRESSION, "layers"))
        layers = self.compression.get("layers", {})
        _check_names("compression.layers", layers, None)
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

    def hardware_parameters(self) -> dict[str, Parameter]:
        """Every field of the array and the row assignment, varied or not, in a fixed order."""
        defaults = {**vars(ArrayConfig()), "row_assignment": "interleaved"}
        return {
            name: _parameter(name, name, self.hardware.get(name, defaults[name]), _check_hardware) for name in HARDWARE
        }

    def compression_parameters(self, layers: Sequence[str]) -> dict[str, Parameter]:
        """Parameters named LAYER.OPTION for each of a network's layers; none if the space says nothing of compression.

        Raises InputError if the space names a layer that is not there.
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
        """All parameters: of the hardware, then of the compression of these layers."""
        return self.hardware_parameters() | self.compression_parameters(layers)

    def design(self, values: Mapping[str, Any]) -> Design:
        """The design of these values, one for each parameter. Raises InputError if there is no such array."""
        array = ArrayConfig(**{name: values[name] for name in ARRAY_FIELDS})
        options: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            layer, dot, option = name.rpartition(".")
            if dot:
                options.setdefault(layer, {})[option] = value
        compression = tuple((layer, LayerCompression(**of_layer)) for layer, of_layer in options.items())
        return Design(array, values["row_assignment"], compression)

    def refuses(self, values: Mapping[str, Any]) -> str | None:
        """Why the design of these values is not of the space, in a few words; None if it is."""
        if values["line_bits"] < values["weight_bits"] + values["index_bits"]:
            return _NO_ENTRY
        array = ArrayConfig(**{name: values[name] for name in ARRAY_FIELDS})
        reason = self.constraints.refuses(array)
        if reason is None and self.constraints.max_area_mm2 is None:
            try:
                area_mm2(array)
            except InputError:
                return _NO_SRAM
        return reason

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes the same space."""
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
        """A space from plain values. Raises InputError as the class does."""
        _check_names("the space", values, ("hardware", "compression", "constraints"))
        constraints = values.get("constraints", {})
        _check_names("constraints", constraints, tuple(each.name for each in dataclasses.fields(Constraints)))
        return cls(values.get("hardware", {}), values.get("compression", {}), Constraints(**constraints))

    @classmethod
    def from_toml(cls, text: str) -> Space:
        """A space from TOML text. Raises InputError as the class does."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"the space must be TOML: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Space:
        """Read a TOML file. Raises InputError if it is missing, of another kind, or as the class does."""
        try:
            return cls.from_toml(Path(path).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Range):
        return {name: each for name, each in vars(value).items() if each is not None and each is not False}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple | list) else value


def _check_names(where: str, values: Any, known: Sequence[str] | None) -> None:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be a table of names; found {values!r}")
    unknown = sorted(set(values) - set(known)) if known is not None else []
    if unknown:
        raise InputError(f"{where}: there is no {', '.join(unknown)}; there are {', '.join(known or ())}")


def _parameter(name: str, kind: str, given: Any, check: Any) -> Parameter:
    """A parameter from what a space says of it, each value checked."""
    if isinstance(given, Mapping):
        _check_names(name, given, tuple(each.name for each in dataclasses.fields(Range)))
        try:
            given = Range(**given)
        except TypeError:
            raise InputError(f"{name}: a range needs low and high; found {dict(given)}") from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    if isinstance(given, Range):
        return _in_range(name, kind, given, check)
    values = tuple(given) if isinstance(given, tuple | list) else (given,)
    if not values or len(set(values)) < len(values):
        raise InputError(f"{name} must be one or more different values; found {values}")
    return Parameter(name, tuple(check(kind, value) for value in values))


def _in_range(name: str, kind: str, given: Range, check: Any) -> Parameter:
    if kind in _NAMED:
        raise InputError(f"{name} is one of a few names, not a range; list them")
    whole = kind not in _REAL
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
    """The value as an array has it; every other field is such that any value of this one is possible with it."""
    if name == "row_assignment":
        return Design(ArrayConfig(), value).row_assignment
    roomy = {"line_bits": 512, "weight_bits": 1, "index_bits": 1}
    if name == "sparse_matrix_bytes":
        roomy["line_bits"] = 8
    array = ArrayConfig(**(roomy | {name: value}))
    area_mm2(array)  # that the SRAMs are known
    return getattr(array, name)


def _check_compression(name: str, value: Any) -> Any:
    return getattr(LayerCompression(**{name: value}), name)
