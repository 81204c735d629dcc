"""Cell libraries in the Liberty format: area, leakage, functions, capacitances and switching energies of cells."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from traces import InputError
from traces.arrays import Floats64

_CELL = re.compile(r'^[ \t]*cell[ \t]*\([ \t]*"?([\w.$]+)"?[ \t]*\)[ \t\n]*\{', re.MULTILINE)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}();:]|[^\s{}();:",]+', re.DOTALL)
_UNIT = re.compile(r"([\d.eE+-]+)\s*([a-zA-Z]*)")
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}


@dataclass(eq=False)
class Group:
    """Group of a Liberty file: `kind (arguments) { attributes and groups }`.

    Attributes
    ----------
    kind : str
        Word before the parentheses.
    arguments : list of str
        Words within the parentheses.
    attributes : dict
        Values of simple and of complex attributes by name: for each time that the name stands there, a list of str.
    groups : list of Group
        Groups inside.
    """

    kind: str
    arguments: list[str]
    attributes: dict[str, list[list[str]]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def all(self, kind: str) -> list[Group]:
        """Return the groups of one kind."""
        return [group for group in self.groups if group.kind == kind]

    def text(self, name: str, default: str = "") -> str:
        """Return a simple attribute."""
        return self.attributes.get(name, [[default]])[0][0]

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a simple attribute as a number."""
        return float(self.text(name, str(default)))


def parse_group(text: str) -> Group:
    """Parse one group, comments included; its text begins with its kind.

    Raises InputError if the text ends within the group.
    """
    tokens = iter(_TOKEN.findall(re.sub(r"/\*.*?\*/|\\\n", " ", text, flags=re.DOTALL)))
    try:
        kind = next(tokens)
        return _body(Group(kind, _arguments(tokens)), tokens)
    except StopIteration:
        raise InputError(
            f"a group of a Liberty file must end with a closing brace; found the end of the text after "
            f"{text[:40]!r}; give a whole file"
        ) from None


def _arguments(tokens: Iterator[str]) -> list[str]:
    """Return the words within parentheses, the opening brace after them included in what is consumed."""
    words: list[str] = []
    for token in tokens:
        if token == "{":
            return words
        if token not in "();":
            words.append(token.strip('"'))
    raise StopIteration


def _body(group: Group, tokens: Iterator[str]) -> Group:
    """Read attributes and groups up to the closing brace."""
    while (name := next(tokens)) != "}":
        if name == ";":
            continue
        after = next(tokens)
        if after == ":":
            group.attributes.setdefault(name, []).append([next(tokens).strip('"')])
            continue
        words = []
        while (token := next(tokens)) != ")":
            words.append(token.strip('"'))
        after = next(tokens)
        if after == "{":
            group.groups.append(_body(Group(name, words), tokens))
            continue
        group.attributes.setdefault(name, []).append(words)
        if after == "}":
            return group
    return group


@dataclass(frozen=True, eq=False)
class EnergyTable:
    """Energy of one transition in fJ over input transition time and load.

    Attributes
    ----------
    slews, loads_ff : numpy.ndarray
        Input transition times in the unit of the library and loads in fF, each ascending; one zero if the energy does
        not depend on it.
    energies_fj : numpy.ndarray
        Energies, float64 [slews, loads].
    """

    slews: Floats64
    loads_ff: Floats64
    energies_fj: Floats64

    def at(self, slew: float, load_ff: float) -> float:
        """Return the energy in fJ, linearly interpolated; the nearest end of the table outside of it."""
        by_slew = [float(np.interp(load_ff, self.loads_ff, row)) for row in self.energies_fj]
        return float(np.interp(slew, self.slews, by_slew))


@dataclass(frozen=True, eq=False)
class Cell:
    """Cell of a library.

    Attributes
    ----------
    name : str
        Name of the cell.
    area_um2, leakage_nw : float
        Area in um2 and leakage in nW, the mean over its states.
    input_ff : dict
        Capacitance of each input in fF.
    functions : dict
        Function of each output in Liberty's notation; of a flip-flop, its state variable.
    clock, next_state : str or None
        Clock pin and function of the next state; None if the cell is no flip-flop.
    energies : dict
        Tables of rising and of falling transitions of each pin.
    """

    name: str
    area_um2: float
    leakage_nw: float
    input_ff: dict[str, float]
    functions: dict[str, str]
    clock: str | None
    next_state: str | None
    energies: dict[str, tuple[list[EnergyTable], list[EnergyTable]]]

    def transition_fj(self, pin: str, slew: float, load_ff: float = 0.0) -> float:
        """Return the internal energy of one transition of a pin in fJ: the mean of rising and falling ones."""
        means = [
            np.mean([table.at(slew, load_ff) for table in tables]) for tables in self.energies.get(pin, ()) if tables
        ]
        return float(np.mean(means)) if means else 0.0


class CellLibrary:
    """Cell library in a Liberty file, parsed cell by cell when a cell is asked for.

    Parameters
    ----------
    path : Path
        Liberty file; gzip if its name ends with `.gz`.

    Attributes
    ----------
    cell_texts : dict
        Text of each cell by name.
    header : str
        Text before the first cell.

    Raises
    ------
    InputError
        If the file has no cells.
    """

    def __init__(self, path: Path) -> None:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        starts = list(_CELL.finditer(text))
        if not starts:
            raise InputError(f"a cell library must have groups 'cell (NAME)'; {path} has none; give a Liberty file")
        self.header = text[: starts[0].start()]
        self.cell_texts = {
            match.group(1): _to_closing_brace(text[match.start() : end])
            for match, end in zip(starts, [*(match.start() for match in starts[1:]), len(text)], strict=True)
        }
        self._cells: dict[str, Cell] = {}

    @cached_property
    def library(self) -> Group:
        """Library without its cells."""
        return parse_group(self.header + "}")

    @cached_property
    def capacitance_ff(self) -> float:
        """Unit of capacitance in fF."""
        ((number, unit),) = self.library.attributes["capacitive_load_unit"]
        return float(number) * _PREFIXES[unit.lower().removesuffix("f")] * 1e15

    @cached_property
    def leakage_unit_nw(self) -> float:
        """Unit of leakage in nW."""
        return self._unit("leakage_power_unit", "1nW") * 1e9

    @cached_property
    def time_unit_ns(self) -> float:
        """Unit of time in ns."""
        return self._unit("time_unit", "1ns") * 1e9

    @cached_property
    def voltage_v(self) -> float:
        """Supply voltage in V."""
        if "nom_voltage" in self.library.attributes:
            return self.library.number("nom_voltage")
        return self.library.all("operating_conditions")[0].number("voltage")

    def cell(self, name: str) -> Cell:
        """Return a cell. Raises InputError if there is none of this name."""
        if name not in self.cell_texts:
            raise InputError(f"cell must be one of the library's {len(self.cell_texts)} cells; found {name!r}")
        if name not in self._cells:
            self._cells[name] = self._cell_of(parse_group(self.cell_texts[name]))
        return self._cells[name]

    def wire_ff(self, fanout: int) -> float:
        """Return the capacitance of a net's wire in fF by the library's default wire load; 0 if it has none."""
        wanted = self.library.text("default_wire_load")
        model = next((group for group in self.library.all("wire_load") if group.arguments == [wanted]), None)
        if model is None or fanout == 0:
            return 0.0
        lengths = {int(number): float(length) for number, length in model.attributes["fanout_length"]}
        longest = max(lengths)
        length = lengths[min(fanout, longest)] + max(0, fanout - longest) * model.number("slope")
        return length * model.number("capacitance") * self.capacitance_ff

    def reduced(self, names: Iterable[str]) -> str:
        """Return a Liberty file of the cells of these names alone."""
        return self.header + "".join(self.cell_texts[name] for name in names) + "}\n"

    def _unit(self, name: str, default: str) -> float:
        match = _UNIT.match(self.library.text(name, default))
        assert match is not None
        return float(match.group(1)) * _PREFIXES[match.group(2)[:-1]]

    def _cell_of(self, group: Group) -> Cell:
        flip_flops = group.all("ff")
        pins = {pin.arguments[0]: pin for pin in group.all("pin")}
        return Cell(
            name=group.arguments[0],
            area_um2=group.number("area"),
            leakage_nw=self.leakage_unit_nw * _leakage(group),
            input_ff={
                name: pin.number("capacitance") * self.capacitance_ff
                for name, pin in pins.items()
                if pin.text("direction") == "input"
            },
            functions={name: pin.text("function") for name, pin in pins.items() if pin.text("function")},
            clock=flip_flops[0].text("clocked_on") if flip_flops else None,
            next_state=flip_flops[0].text("next_state") if flip_flops else None,
            energies={name: self._energies(pin) for name, pin in pins.items()},
        )

    def _energies(self, pin: Group) -> tuple[list[EnergyTable], list[EnergyTable]]:
        """Return the tables of rising and of falling transitions; supplies other than the first one are left out."""
        powers = pin.all("internal_power")
        first = powers[0].text("related_pg_pin") if powers else ""
        powers = [power for power in powers if power.text("related_pg_pin") == first]
        rising = [self._table(table) for power in powers for table in power.all("rise_power")]
        return rising, [self._table(table) for power in powers for table in power.all("fall_power")]

    def _table(self, table: Group) -> EnergyTable:
        """Return a table; its unit of energy is the unit of capacitance times the square of that of voltage."""
        slews, loads, values = (
            _numbers(" ".join(table.attributes.get(name, [["0"]])[0])) for name in ("index_1", "index_2", "values")
        )
        energies = np.array(values).reshape(len(slews), len(loads)) * self.capacitance_ff
        return EnergyTable(np.array(slews), np.array(loads) * self.capacitance_ff, energies)


def _leakage(group: Group) -> float:
    """Return a cell's mean leakage in the library's unit."""
    if "cell_leakage_power" in group.attributes:
        return group.number("cell_leakage_power")
    states = [state.number("value") for state in group.all("leakage_power") if "when" not in state.attributes]
    every = states or [state.number("value") for state in group.all("leakage_power")]
    return max(every, default=0.0)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.replace(",", " ").split()]


def _to_closing_brace(text: str) -> str:
    """Return a group's text up to its closing brace."""
    depth = 0
    for match in re.finditer(r"[{}]", text):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return text[: match.end()] + "\n"
    raise InputError(f"a cell of a Liberty file must end with a closing brace; found none after {text[:40]!r}")


def expression(function: str) -> Any:
    """Parse a Liberty function; return it as nested tuples ('not', a), ('and', a, b), ('or', a, b), ('xor', a, b).

    A pin is its name. `!` and `'` negate, `*`, `&` or a blank is and, `^` is xor, `+` or `|` is or.
    """
    tokens = re.findall(r"[\w\[\]]+|[!'*&^+|()]", function)
    place = 0

    def peek() -> str:
        return tokens[place] if place < len(tokens) else ""

    def take() -> str:
        nonlocal place
        place += 1
        return str(tokens[place - 1])

    def factor() -> Any:
        token = take()
        if token == "!":
            return ("not", factor())
        if token == "(":
            found = alternatives()
            take()
        else:
            found = token
        while peek() == "'":
            take()
            found = ("not", found)
        return found

    def conjunction() -> Any:
        found = exclusive()
        while peek() and peek() not in "+|)":
            if peek() in "*&":
                take()
            found = ("and", found, exclusive())
        return found

    def exclusive() -> Any:
        found = factor()
        while peek() == "^":
            take()
            found = ("xor", found, factor())
        return found

    def alternatives() -> Any:
        found = conjunction()
        while peek() in ("+", "|"):
            take()
            found = ("or", found, conjunction())
        return found

    return alternatives()
