"""Settings for the compression of a network, as data: for all layers, for layers of a type, for named layers."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from compress.container.layer_coding import Coder, CodingChoice
from compress.pruning import check_density
from compress.relative_index import ScanOrder
from compress.weight_sharing import Initialisation
from traces import InputError
from traces.plain_values import mapping, number, parsed_json, parsed_toml, read_text, shown, true_or_false, whole_number

Criterion = Literal["layer", "global", "lamp"]
Sharing = Literal["centroids", "joint"]
Codebooks = Literal["layer", "pe", "group"]
Overrides = Mapping[str, Mapping[str, Any]]
_MOST_THRESHOLD = 3.4028235e38  # of float32
_NO_INTERLEAVING = (
    "num_pes has no effect unless the scan order can be interleaved or codebooks is 'pe' or 'group'; leave it out"
)


@dataclass(frozen=True)
class LayerSettings:
    """Settings for the compression of one layer.

    Attributes
    ----------
    density : float
        Share of weights to keep; of the whole network if the criterion compares all layers.
    weight_bits : int
        Bits of a code, 1 to 8.
    share_bias : bool
        If true, the bias is looked up in the layer's codebook; if false, it is stored as it is.
    initialisation : str
        Of the shared weights: "optimal", "linear", "density" or "random" (`compress.weight_sharing`).
    balanced_over : int
        PEs that all keep equally many weights, plus or minus one, rows interleaved; 0 for no balance.
    codebook_bits : int
        Bits of a shared weight in the file: 32, or 16, to which it is rounded.
    index_bits : int or None
        Bits of a gap in the file, 1 to 8; None for the fewest bytes.
    scan_order : str or None
        Order of the weights in the file: "rows", "columns" or "interleaved"; None for the fewest bytes.
    num_pes : int
        PEs of the interleaved order, and of the array whose PEs have codebooks of their own.
    coder : str
        Entropy coder of the file: "huffman", or "range", which needs the package constriction for writing.
    activation_threshold : float
        Activations whose magnitude is at most this count as zero in products of the weights; 0 for none.
    codebooks : str
        Codebooks of the layer: one ("layer"), one for the rows of each PE ("pe"), or one for the rows of each group of
        PEs ("group"). Similar rows are assigned to one codebook (`compress.row_classes`).
    codebook_groups : int
        Groups of PEs if `codebooks` is "group", 1 to `num_pes`; otherwise 0.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    density: float = 0.1
    weight_bits: int = 4
    share_bias: bool = True
    initialisation: Initialisation = "optimal"
    balanced_over: int = 0
    codebook_bits: int = 32
    index_bits: int | None = None
    scan_order: ScanOrder | None = None
    num_pes: int = 64
    coder: Coder = "huffman"
    activation_threshold: float = 0.0
    codebooks: Codebooks = "layer"
    codebook_groups: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "density", number("density", self.density))
        threshold = number("activation_threshold", self.activation_threshold, 0, _MOST_THRESHOLD)
        object.__setattr__(self, "activation_threshold", threshold)
        for name in ("weight_bits", "codebook_bits", "balanced_over", "codebook_groups"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        true_or_false("share_bias", self.share_bias)
        check_density("density", self.density)
        if not 1 <= self.weight_bits <= 8:
            raise InputError(f"weight_bits={shown(self.weight_bits)} must be 1 to 8")
        if self.initialisation not in get_args(Initialisation):
            known = ", ".join(get_args(Initialisation))
            raise InputError(f"initialisation must be one of {known}; found {shown(self.initialisation)}")
        if self.codebook_bits not in (16, 32):
            raise InputError(f"codebook_bits={shown(self.codebook_bits)} must be 16 or 32")
        if not 0 <= self.balanced_over <= 65_536:
            raise InputError(f"balanced_over={shown(self.balanced_over)} must be 0 to 65,536 PEs")
        _ = self.coding
        if self.codebooks not in get_args(Codebooks):
            raise InputError(
                f"codebooks must be one of {', '.join(get_args(Codebooks))}; found {shown(self.codebooks)}"
            )
        if self.codebooks != "group" and self.codebook_groups:
            raise InputError(
                f"codebook_groups={self.codebook_groups:,} has no effect unless codebooks='group'; set it to 0"
            )
        if self.codebooks == "group" and not 1 <= self.codebook_groups <= self.num_pes:
            raise InputError(
                f"codebook_groups must be 1 to num_pes={self.num_pes:,} with codebooks='group'; found "
                f"{self.codebook_groups:,}"
            )
        if self.codebooks != "layer" and self.balanced_over:
            raise InputError(
                f"balanced_over={self.balanced_over} must be 0 with codebooks={self.codebooks!r}, which assigns rows "
                f"to PEs and balances them itself; leave it out"
            )

    @property
    def num_codebooks(self) -> int:
        """Codebooks of a layer with rows for all PEs."""
        return {"layer": 1, "pe": self.num_pes, "group": self.codebook_groups}[self.codebooks]

    @property
    def coding(self) -> CodingChoice:
        """Options for writing the layer in the file."""
        return CodingChoice(self.index_bits, self.scan_order, self.num_pes, self.coder)


@dataclass(frozen=True)
class CompressionConfig:
    """Settings for the compression of a network: `layers` overrides `types`, which overrides `every`.

    Attributes
    ----------
    every : LayerSettings
        Settings of all layers.
    types : Mapping[str, Mapping[str, Any]]
        Options of `LayerSettings` by the type of module: {"Conv2d": {"density": 0.5}}.
    layers : Mapping[str, Mapping[str, Any]]
        Options of `LayerSettings` by the name of the layer: {"fc3": {"weight_bits": 5}}.
    criterion : str
        Weights that are pruned: the smallest of each layer ("layer"), of all layers together ("global"), or of all
        layers after each squared weight is divided by the sum of those in its layer that are as large or larger
        ("lamp": Lee et al., "Layer-adaptive sparsity", ICLR 2021).
    pruning_steps : int
        Stages of gradual pruning, at least 1; the density falls along a cubic.
    sharing : str
        What is trained after sharing: the centroids, by summed gradients ("centroids"); or the weights, which are
        assigned to new centroids again and again, gradients passing straight through ("joint").
    reassign_every : int
        Forward passes between two assignments to new centroids if sharing is joint.
    tensor_bits : int
        Bits of the other tensors in the file: 32, or 16, to which they are rounded.
    seed : int
        Of random initialisation, and of PyTorch at the start of each stage.

    Raises
    ------
    InputError
        If a value is out of its range, or an option is unknown or has no effect.
    """

    every: LayerSettings = LayerSettings()
    types: Overrides = field(default_factory=dict)
    layers: Overrides = field(default_factory=dict)
    criterion: Criterion = "layer"
    pruning_steps: int = 3
    sharing: Sharing = "centroids"
    reassign_every: int = 4
    tensor_bits: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("criterion", Criterion), ("sharing", Sharing)):
            if getattr(self, name) not in get_args(choices):
                known = ", ".join(get_args(choices))
                raise InputError(f"{name} must be one of {known}; found {shown(getattr(self, name))}")
        for name in ("pruning_steps", "reassign_every", "tensor_bits", "seed"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        if not isinstance(self.every, LayerSettings):
            raise InputError(f"every must be LayerSettings; found {shown(self.every)}")
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
            mapping(where, getattr(self, where))
            for name, options in getattr(self, where).items():
                settings = _settings(f"{where}.{name}", self.every, options)
                if "num_pes" in options and not settings.coding.can_interleave and settings.codebooks == "layer":
                    raise InputError(f"{where}.{name}: {_NO_INTERLEAVING}")
                if self.criterion != "layer" and {"density", "balanced_over"} & set(options):
                    raise InputError(
                        f"{where}.{name}: density and balanced_over have no effect with criterion={self.criterion!r}, "
                        f"which compares all layers; leave them out"
                    )
            frozen = {name: MappingProxyType(dict(options)) for name, options in getattr(self, where).items()}
            object.__setattr__(self, where, MappingProxyType(frozen))
        ways = {"scan_order", "coder", "codebooks"}
        others = [options for where in (self.types, self.layers) for options in where.values() if ways & set(options)]
        unused = not self.every.coding.can_interleave and self.every.codebooks == "layer"
        if self.every.num_pes != LayerSettings.num_pes and unused and not others:
            raise InputError(f"every: {_NO_INTERLEAVING}")
        if self.criterion != "layer" and self.every.balanced_over:
            raise InputError(f"balanced_over has no effect with criterion={self.criterion!r}; leave it out")

    def settings_of(self, name: str, kind: str) -> LayerSettings:
        """Return the settings of the layer of this name, whose module is of type `kind`."""
        of_type = _settings(f"types.{kind}", self.every, self.types.get(kind, {}))
        return _settings(f"layers.{name}", of_type, self.layers.get(name, {}))

    def __hash__(self) -> int:
        return hash((self.every, self.criterion, self.pruning_steps, self.sharing, self.tensor_bits, self.seed))

    def __reduce__(self) -> tuple[Any, ...]:
        return CompressionConfig.from_dict, (self.to_dict(),)  # a view of a mapping cannot be pickled or copied

    def check_effect(self, kinds: Mapping[str, str], biased: Set[str], has_tensors: bool) -> None:
        """Raise InputError if an override names no layer of this network, or an option has no effect on it.

        Parameters
        ----------
        kinds : Mapping[str, str]
            Type of each layer, by its name.
        biased : set of str
            Layers whose bias can be in their codebook.
        has_tensors : bool
            True if floating-point tensors are stored as they are.
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
        """Return plain values, from which `from_dict` makes the same config."""
        values = {option.name: getattr(self, option.name) for option in dataclasses.fields(self)}
        values["every"] = dataclasses.asdict(self.every)
        for where in ("types", "layers"):
            values[where] = {name: dict(options) for name, options in values[where].items()}
        return values

    def to_json(self) -> str:
        """Return the config as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_toml(self) -> str:
        """Return the config as TOML text. Raises InputError if an override is None, which TOML cannot state."""
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
        """Load a .toml or .json file. Raises InputError if it is missing, of another kind, or as the class does."""
        path = Path(path)
        if path.suffix not in (".toml", ".json"):
            raise InputError(f"{path}: a config must be a .toml or a .json file")
        content = read_text(path)
        try:
            return cls.from_toml(content) if path.suffix == ".toml" else cls.from_json(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CompressionConfig:
        """Return the config of plain values; missing options have their defaults."""
        known = [each.name for each in dataclasses.fields(cls)]
        _check_keys("the config", values, known)
        every = mapping("every", values.get("every", {}))
        return cls(**{**values, "every": _settings("every", LayerSettings(), every)})

    @classmethod
    def from_json(cls, text: str) -> CompressionConfig:
        """Return the config of JSON text."""
        return cls.from_dict(parsed_json("the config", text))

    @classmethod
    def from_toml(cls, text: str) -> CompressionConfig:
        """Return the config of TOML text."""
        return cls.from_dict(parsed_toml("the config", text))


def _settings(where: str, before: LayerSettings, options: Any) -> LayerSettings:
    """Return settings with these options replaced. Raises InputError, which names `where`, if one is invalid."""
    _check_keys(where, options, [each.name for each in dataclasses.fields(LayerSettings)])
    try:
        return dataclasses.replace(before, **options)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_keys(where: str, values: Any, known: list[str]) -> None:
    mapping(where, values, needed=(), possible=known)


def _toml(value: Any) -> str:
    """Return a value in TOML's notation, which is JSON's but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
