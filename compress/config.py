"""How a network is compressed, as data: for all layers, for those of a type, and for those of a name."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from compress.container.layer_coding import Coder, CodingChoice, check_whole
from compress.pruning import check_density
from compress.relative_index import ScanOrder
from compress.weight_sharing import Initialisation
from traces import InputError

Criterion = Literal["layer", "global", "lamp"]
Sharing = Literal["centroids", "joint"]
Overrides = Mapping[str, Mapping[str, Any]]
_NO_INTERLEAVING = "num_pes has no effect unless the scan order can be interleaved; leave it out"


@dataclass(frozen=True)
class LayerSettings:
    """How one layer is compressed. Raises InputError if a value is out of its range."""

    density: float = 0.1
    """share of weights to keep; of the whole network, where the criterion looks at all layers together"""
    weight_bits: int = 4
    """bits of a code, 1 to 8"""
    share_bias: bool = True
    """the bias is looked up in the codebook of its layer; if not, it stays free and is stored as it is"""
    initialisation: Initialisation = "optimal"
    """of the shared weights, see `compress.weight_sharing`"""
    balanced_over: int = 0
    """PEs that all keep equally many weights (to one), rows interleaved; 0: not balanced"""
    codebook_bits: int = 32
    """of a shared weight in the file: 32, or 16, to which it is then rounded"""
    index_bits: int | None = None
    """bits of a gap in the file, 1 to 8; None: what takes the fewest bytes"""
    scan_order: ScanOrder | None = None
    """in which the file has the weights; None: what takes the fewest bytes"""
    num_pes: int = 64
    """of the interleaved order"""
    coder: Coder = "huffman"
    """of the file; "range" needs the package constriction"""

    def __post_init__(self) -> None:
        if isinstance(self.density, bool) or not isinstance(self.density, int | float):
            raise InputError(f"density must be a number; found {self.density!r}")
        for name in ("weight_bits", "codebook_bits", "balanced_over"):
            check_whole(name, getattr(self, name))
        if not isinstance(self.share_bias, bool):
            raise InputError(f"share_bias must be true or false; found {self.share_bias!r}")
        check_density("density", self.density)
        if not 1 <= self.weight_bits <= 8:
            raise InputError(f"weight_bits={self.weight_bits} must be 1 to 8")
        if self.initialisation not in get_args(Initialisation):
            known = ", ".join(get_args(Initialisation))
            raise InputError(f"initialisation must be one of {known}; found {self.initialisation!r}")
        if self.codebook_bits not in (16, 32):
            raise InputError(f"codebook_bits={self.codebook_bits} must be 16 or 32")
        if not 0 <= self.balanced_over <= 65_536:
            raise InputError(f"balanced_over={self.balanced_over} must be 0 to 65,536 PEs")
        _ = self.coding

    @property
    def coding(self) -> CodingChoice:
        """How the layer is written."""
        return CodingChoice(self.index_bits, self.scan_order, self.num_pes, self.coder)


@dataclass(frozen=True)
class CompressionConfig:
    """How a network is compressed: `layers` stands before `types`, `types` before `every`.

    Raises InputError if a value is out of its range, an option is unknown, or one has no effect.
    """

    every: LayerSettings = LayerSettings()
    """of all layers"""
    types: Overrides = field(default_factory=dict)
    """options of `LayerSettings` by the type of module: {"Conv2d": {"density": 0.5}}"""
    layers: Overrides = field(default_factory=dict)
    """options of `LayerSettings` by the name of the layer: {"fc3": {"weight_bits": 5}}"""
    criterion: Criterion = "layer"
    """which weights are pruned: the smallest of each layer, of all layers together ("global"), or of all layers after
    dividing each squared weight by the sum of those in its layer that are as large or larger ("lamp": Lee et al.,
    "Layer-adaptive sparsity", ICLR 2021)"""
    pruning_steps: int = 3
    """stages of gradual pruning, from 1 on: the share of weights to keep falls like a cubic"""
    sharing: Sharing = "centroids"
    """what is trained once weights are shared: the centroids, by summed gradients; or the weights, of which the nearest
    centroid is taken again and again, gradients passing straight through ("joint")"""
    reassign_every: int = 4
    """forward passes between two assignments to new centroids, where sharing is joint"""
    tensor_bits: int = 32
    """of the other tensors in the file: 32, or 16, to which they are then rounded"""
    seed: int = 0
    """of random initialisation, and of PyTorch at the start of each stage"""

    def __post_init__(self) -> None:
        for name, choices in (("criterion", Criterion), ("sharing", Sharing)):
            if getattr(self, name) not in get_args(choices):
                known = ", ".join(get_args(choices))
                raise InputError(f"{name} must be one of {known}; found {getattr(self, name)!r}")
        for name in ("pruning_steps", "reassign_every", "tensor_bits", "seed"):
            check_whole(name, getattr(self, name))
        if not isinstance(self.every, LayerSettings):
            raise InputError(f"every must be LayerSettings; found {self.every!r}")
        if self.pruning_steps < 1 or self.reassign_every < 1:
            raise InputError(
                f"pruning_steps={self.pruning_steps} and reassign_every={self.reassign_every} must be at least 1"
            )
        if self.tensor_bits not in (16, 32):
            raise InputError(f"tensor_bits={self.tensor_bits} must be 16 or 32")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed} must be 0 to 2**63 - 1")
        if self.sharing == "centroids" and self.reassign_every != 4:
            raise InputError("reassign_every has no effect unless sharing='joint'; leave it out")
        for where in ("types", "layers"):
            if not isinstance(getattr(self, where), Mapping):
                raise InputError(f"{where} must be options by name; found {getattr(self, where)!r}")
            for name, options in getattr(self, where).items():
                settings = _settings(f"{where}.{name}", self.every, options)
                if "num_pes" in options and not settings.coding.can_interleave:
                    raise InputError(f"{where}.{name}: {_NO_INTERLEAVING}")
                if self.criterion != "layer" and {"density", "balanced_over"} & set(options):
                    raise InputError(
                        f"{where}.{name}: density and balanced_over have no effect with criterion={self.criterion!r}, "
                        f"which looks at all layers together; leave them out"
                    )
            frozen = {name: MappingProxyType(dict(options)) for name, options in getattr(self, where).items()}
            object.__setattr__(self, where, MappingProxyType(frozen))
        ways = {"scan_order", "coder"}
        others = [options for where in (self.types, self.layers) for options in where.values() if ways & set(options)]
        if self.every.num_pes != LayerSettings.num_pes and not self.every.coding.can_interleave and not others:
            raise InputError(f"every: {_NO_INTERLEAVING}")
        if self.criterion != "layer" and self.every.balanced_over:
            raise InputError(f"balanced_over has no effect with criterion={self.criterion!r}; leave it out")

    def settings_of(self, name: str, kind: str) -> LayerSettings:
        """The settings of the layer of this name, whose module is of this type."""
        of_type = _settings(f"types.{kind}", self.every, self.types.get(kind, {}))
        return _settings(f"layers.{name}", of_type, self.layers.get(name, {}))

    def __hash__(self) -> int:
        return hash((self.every, self.criterion, self.pruning_steps, self.sharing, self.tensor_bits, self.seed))

    def __reduce__(self) -> tuple[Any, ...]:
        return CompressionConfig.from_dict, (self.to_dict(),)  # a view of a mapping cannot be pickled or copied

    def check_effect(self, kinds: Mapping[str, str], biased: Set[str], has_tensors: bool) -> None:
        """Raise InputError if an override is of no layer, or an option changes nothing of this network.

        kinds        the type of each layer, by its name; `biased`, the layers whose bias can be in their codebook
        has_tensors  whether there are floating-point numbers that are stored as they are
        """
        for where, known in (("layers", set(kinds)), ("types", set(kinds.values()))):
            unknown = sorted(set(getattr(self, where)) - known)
            if unknown:
                raise InputError(
                    f"{where} names {', '.join(unknown)}, which the network does not have; it has "
                    f"{', '.join(sorted(known))}"
                )
        for kind, options in self.types.items():
            of_kind = [name for name in kinds if kinds[name] == kind]
            for option in options:
                if all(option in self.layers.get(name, {}) for name in of_kind):
                    raise InputError(
                        f"types.{kind}: {option} has no effect, since layers gives every {kind} its own; leave it out"
                    )
            if "share_bias" in options and not biased & set(of_kind):
                raise InputError(f"types.{kind}: share_bias has no effect, since no {kind} has a bias; leave it out")
        for name, options in self.layers.items():
            if "share_bias" in options and name not in biased:
                raise InputError(f"layers.{name}: share_bias has no effect, since it has no bias; leave it out")
        if self.tensor_bits != 32 and not has_tensors:
            raise InputError("tensor_bits has no effect, since no tensor is stored as it is; leave it out")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes the same config."""
        found = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        found["every"] = dataclasses.asdict(self.every)
        for where in ("types", "layers"):
            found[where] = {name: dict(options) for name, options in found[where].items()}
        return found

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_toml(self) -> str:
        """As TOML text. Raises InputError if an override sets an option to None, for which TOML has no word."""
        values = self.to_dict()
        every = {name: value for name, value in values.pop("every").items() if value is not None}
        tables = {"every": every}
        for where in ("types", "layers"):
            tables |= {f"{where}.{_toml(name)}": options for name, options in values.pop(where).items()}
        lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
        for heading, options in tables.items():
            unsaid = [name for name, value in options.items() if value is None]
            if unsaid:
                raise InputError(f"{heading}: TOML cannot say that {unsaid[0]} is None; use JSON")
            lines += ["", f"[{heading}]", *(f"{name} = {_toml(value)}" for name, value in options.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CompressionConfig:
        """Read a .toml or .json file. Raises InputError if it is missing, of another kind, or as the class does."""
        path = Path(path)
        if path.suffix not in (".toml", ".json"):
            raise InputError(f"{path}: a config is a .toml or a .json file")
        try:
            content = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        try:
            return cls.from_toml(content) if path.suffix == ".toml" else cls.from_json(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CompressionConfig:
        """A config from plain values; what is left out has its default. Raises InputError as the class does."""
        known = [each.name for each in dataclasses.fields(cls)]
        _check_keys("the config", values, known)
        every = values.get("every", {})
        if not isinstance(every, Mapping):
            raise InputError(f"every must be options of a layer; found {every!r}")
        return cls(**{**values, "every": _settings("every", LayerSettings(), every)})

    @classmethod
    def from_json(cls, text: str) -> CompressionConfig:
        """A config from JSON text."""
        try:
            return cls.from_dict(json.loads(text, object_pairs_hook=_each_once))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"the config must be JSON: {error}") from error

    @classmethod
    def from_toml(cls, text: str) -> CompressionConfig:
        """A config from TOML text."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"the config must be TOML: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises InputError if it gives a name twice."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the config must give each option once; found {', '.join(twice)} twice")
    return dict(pairs)


def _settings(where: str, before: LayerSettings, options: Any) -> LayerSettings:
    if not isinstance(options, Mapping):
        raise InputError(f"{where} must be options of a layer; found {options!r}")
    _check_keys(where, options, [each.name for each in dataclasses.fields(LayerSettings)])
    try:
        return dataclasses.replace(before, **options)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_keys(where: str, values: Any, known: list[str]) -> None:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be options by name; found {values!r}")
    unknown = sorted(str(name) for name in set(values) - set(known))
    if unknown:
        raise InputError(f"{where}: there is no option {', '.join(unknown)}; there are {', '.join(known)}")


def _toml(value: Any) -> str:
    """A value that is JSON's as TOML's: the same but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
