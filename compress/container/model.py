"""The compressed model: what a container file holds, decoded.

The file has a header with a directory and checksums, a section for each layer and one for all other tensors;
`guide/container.md` describes its bytes.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from compress.container.free_bias import names_of_biases, with_free_bias
from compress.container.layer_coding import CodingChoice
from compress.container.reader import ContainerReader
from compress.container.sections import (
    LAYER,
    MOST_DIMENSIONS,
    MOST_NAME_BYTES,
    TENSORS,
    LayerParts,
    Section,
    Shape,
    encode_header,
    encode_layer,
    encode_tensors,
)
from compress.container.size_report import SizeReport
from traces import CompressedLayer, InputError
from traces.arrays import Floats32, Numbers
from traces.files.atomic_file import write_atomically
from traces.layer import MOST_WEIGHTS

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, Numbers]


class CompressedModel:
    """Compressed layers of a network, in order, and its other tensors. A model does not change.

    Parameters
    ----------
    layers : sequence of CompressedLayer
        The layers; a convolution is unrolled to [out, in * kernel_height * kernel_width].
    shapes : sequence of tuple of int or None
        Shape of each layer's weights in the network; [rows, columns] by default.
    weight_names : sequence of sequence of str or None
        Parameters that each layer's weights are, more than one if they are tied; NAME.weight by default.
    bias_names : sequence of str or None
        Parameter that each layer's bias is if it is in the codebook; NAME.bias by default.
    tensors : Mapping[str, array] or None
        Parameters and buffers that are not compressed: float32 or int64; stored as float16 if that changes no value.
        A bias among them is the `free_bias` of its layer if it is named like the weight: NAME.bias for NAME.weight,
        NAME.bias_ih_l0 for NAME.weight_ih_l0.
    buffers : sequence of str
        Names of tensors that are no parameters, like running means.
    coding : CodingChoice, sequence of CodingChoice or None
        How the layers are written, one choice for all or one for each; by default the smallest.

    Attributes
    ----------
    layers : list of CompressedLayer
        A new list each time.
    tensors : Mapping[str, array]
        By name, read-only.
    shapes, weight_names, bias_names, coding : tuple
        One entry for each layer.
    buffers : frozenset of str
        Names.

    Raises
    ------
    InputError
        If two layers have one name, a shape does not fit its layer, a value is not finite, or a layer has one free
        bias and the tensors another one for it.
    """

    shapes: tuple[Shape, ...]
    weight_names: tuple[tuple[str, ...], ...]
    bias_names: tuple[str, ...]
    coding: tuple[CodingChoice, ...]
    buffers: frozenset[str]
    _layers: tuple[CompressedLayer, ...]
    _tensors: dict[str, Numbers]

    def __init__(
        self,
        layers: Sequence[CompressedLayer],
        shapes: Sequence[Sequence[int]] | None = None,
        *,
        weight_names: Sequence[Sequence[str]] | None = None,
        bias_names: Sequence[str] | None = None,
        tensors: Tensors | None = None,
        buffers: Sequence[str] = (),
        coding: CodingChoice | Sequence[CodingChoice] | None = None,
    ) -> None:
        layers = list(layers)
        others = [type(layer).__name__ for layer in layers if not isinstance(layer, CompressedLayer)]
        if others:
            raise InputError(f"layers must be CompressedLayers; found {', '.join(others)}")
        names = [layer.name for layer in layers]
        if not names or len(set(names)) < len(names):
            raise InputError(f"a container holds at least one layer, each with a name of its own; found {names}")
        if coding is None or isinstance(coding, CodingChoice):
            coding = [coding or CodingChoice()] * len(names)
        by_layer = {
            "shapes": tuple(map(tuple, shapes)) if shapes is not None else tuple(layer.codes.shape for layer in layers),
            "weight_names": tuple(map(tuple, weight_names or [(f"{name}.weight",) for name in names])),
            "bias_names": tuple(bias_names or [f"{name}.bias" for name in names]),
            "coding": tuple(coding),
        }
        for what, values in by_layer.items():
            if len(values) != len(names):
                raise InputError(
                    f"there must be one of {what} for each layer; found {len(values)} for {len(names)} layers"
                )
        vars(self).update(by_layer, buffers=frozenset(buffers))
        for layer, shape in zip(layers, self.shapes, strict=True):
            _check_layer(layer, shape)
        if not all(self.weight_names) or isinstance(weight_names, str) or str in map(type, weight_names or ()):
            raise InputError(f"weight_names must be a list of names for each layer; found {weight_names!r}")
        stored = {name: _checked_tensor(name, values) for name, values in (tensors or {}).items()}
        _check_names([*(name for of_layer in self.weight_names for name in of_layer), *self.bias_names, *stored])
        with_biases = []
        for layer, of_layer in zip(layers, self.weight_names, strict=True):
            _store_free_bias(layer, of_layer, stored)
            with_biases.append(with_free_bias(layer, of_layer, stored))
        for tensor in stored.values():
            tensor.flags.writeable = False
        vars(self).update(_layers=tuple(with_biases), _tensors=stored)
        parameters = self._parameter_names() + list(stored)
        twice = sorted(name for name, count in Counter(parameters).items() if count > 1)
        if twice:
            raise InputError(f"every parameter must be stored once; found {', '.join(twice)} twice")
        unknown = sorted(self.buffers - set(stored))
        if unknown:
            raise InputError(f"buffers must be among the tensors; {', '.join(unknown)} are not")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a CompressedModel does not change; make a new one instead of setting {name}")

    @property
    def layers(self) -> list[CompressedLayer]:
        """The layers, in order, in a new list."""
        return list(self._layers)

    @property
    def tensors(self) -> Tensors:
        """Parameters and buffers that are not compressed, by name, read-only."""
        return MappingProxyType(self._tensors)

    @property
    def tensors_beside_layers(self) -> list[str]:
        """Names of the tensors that are no layer's free bias: normalisation, say, and buffers."""
        of_layers = {
            name
            for layer, weight_names in zip(self._layers, self.weight_names, strict=True)
            if layer.free_bias is not None
            for name in names_of_biases(weight_names)
        }
        return [name for name in self._tensors if name not in of_layers]

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the same parameters in fp32, nothing pruned; buffers do not count."""
        others = sum(values.size for name, values in self._tensors.items() if name not in self.buffers)
        return 4 * (sum(layer.num_parameters for layer in self._layers) + others)

    @property
    def size_bytes(self) -> int:
        """Bytes of the container file."""
        return len(self.to_bytes())

    @property
    def compression_ratio(self) -> float:
        """Bytes of the parameters in fp32, divided by the bytes of the file."""
        return self.parameter_bytes / self.size_bytes

    @property
    def size_report(self) -> SizeReport:
        """Bytes of the file by their use, layer by layer; they add up to `size_bytes`."""
        return self._encoded[1]

    def coded(self, coding: CodingChoice) -> CompressedModel:
        """Return the same model with all layers written by another coding choice."""
        return CompressedModel(
            self._layers,
            self.shapes,
            weight_names=self.weight_names,
            bias_names=self.bias_names,
            tensors=self._tensors,
            buffers=sorted(self.buffers),
            coding=coding,
        )

    def to_bytes(self) -> bytes:
        """Return the container as `save` writes it."""
        return self._encoded[0]

    @cached_property
    def _encoded(self) -> tuple[bytes, SizeReport]:
        sections = []
        sizes = []
        for parts in zip(self._layers, self.shapes, self.weight_names, self.bias_names, self.coding, strict=True):
            content, size = encode_layer(LayerParts(*parts))
            sections.append(Section(LAYER, parts[0].name, content))
            sizes.append(size)
        others = encode_tensors(self._tensors, self.buffers)
        if others:
            sections.append(Section(TENSORS, "", others))
        header = encode_header(sections)
        whole = header + b"".join(section.content for section in sections)
        return whole, SizeReport(tuple(sizes), tensors=len(others), header=len(header))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the container, whole or not at all. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CompressedModel:
        """Load a whole container; PyTorch is not needed. `ContainerReader` reads a part of one.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        InputError
            If the file is missing, is no container, is cut off, or a checksum does not match.
        """
        with ContainerReader(path) as reader:
            return _read_model(reader)

    @classmethod
    def from_bytes(cls, content: bytes, source: str = "container") -> CompressedModel:
        """Return the model of a container in memory; `source` is its name in errors."""
        return _read_model(ContainerReader.of_bytes(content, source))

    def decoded_parameters(self) -> dict[str, Floats32]:
        """Return new arrays of all parameters by name, weights decoded in the network's shapes; no buffers."""
        decoded: dict[str, Floats32] = {}
        for layer, shape, weight_names, bias_name in zip(
            self._layers, self.shapes, self.weight_names, self.bias_names, strict=True
        ):
            decoded |= dict.fromkeys(weight_names, layer.weights().reshape(shape))
            if layer.bias is not None:
                decoded[bias_name] = layer.bias_values()
        return decoded | {name: values.copy() for name, values in self._tensors.items() if name not in self.buffers}

    def load_into(self, module: torch.nn.Module) -> None:
        """Copy the decoded parameters and the buffers into those of the same names of a module.

        Parameters
        ----------
        module : torch.nn.Module
            The network that was compressed; changed in place.

        Raises
        ------
        InputError
            Before anything is changed, if a parameter is missing or of another shape, or the container has nothing for
            one of the module's.
        """
        import torch

        places = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
        values: dict[str, Numbers] = {**self.decoded_parameters(), **self._tensors}
        for layer, bias_name in zip(self._layers, self.bias_names, strict=True):
            if layer.bias is None and bias_name in places and bias_name not in values:
                raise InputError(
                    f"the module's layer {layer.name!r} has a bias and the container holds none for it; "
                    f"build the module without it"
                )
        for name, value in values.items():
            if name not in places:
                raise InputError(f"the module has no parameter {name!r}; it has {', '.join(places) or 'none'}")
            if tuple(places[name].shape) != value.shape:
                raise InputError(
                    f"the module's {name!r} has shape {list(places[name].shape)}; the container holds "
                    f"{list(value.shape)}: it belongs to another network"
                )
        given = {id(places[name]) for name in values}
        missing = [
            name
            for name, place in module.state_dict(keep_vars=True).items()
            if isinstance(place, torch.Tensor) and place.is_floating_point() and id(place) not in given
        ]
        if missing:
            raise InputError(
                f"the container holds nothing for the module's {', '.join(missing)}: it belongs to another network"
            )
        with torch.no_grad():
            for name, value in values.items():
                places[name].copy_(torch.from_numpy(np.array(value)))

    def _parameter_names(self) -> list[str]:
        names = [name for of_layer in self.weight_names for name in of_layer]
        biases = zip(self.bias_names, self._layers, strict=True)
        return names + [name for name, layer in biases if layer.bias is not None]


def _read_model(reader: ContainerReader) -> CompressedModel:
    parts = reader.layer_parts()
    tensors, buffers = reader.tensors()
    try:
        return CompressedModel(
            [each.layer for each in parts],
            [each.shape for each in parts],
            weight_names=[each.weight_names for each in parts],
            bias_names=[each.bias_name for each in parts],
            tensors=tensors,
            buffers=buffers,
            coding=[each.coding for each in parts],
        )
    except InputError as error:
        raise InputError(f"{reader.source}: the container is invalid: {error}") from error


def _store_free_bias(layer: CompressedLayer, weight_names: tuple[str, ...], tensors: dict[str, Numbers]) -> None:
    """Put a layer's free bias among the tensors, unless it is there."""
    if layer.free_bias is None:
        return
    possible = names_of_biases(weight_names)
    if not possible:
        raise InputError(
            f"layer {layer.name!r}: a free bias is stored by its weight's name, NAME.bias for NAME.weight; found "
            f"the weight {weight_names[0]!r}; give the layer without the bias, and the bias among the tensors"
        )
    stored = [name for name in possible if name in tensors]
    if not stored:
        tensors[possible[0]] = layer.free_bias
    elif len(stored) > 1 or not np.array_equal(layer.free_bias, tensors[stored[0]]):
        raise InputError(
            f"layer {layer.name!r}: its free bias must be the one that the tensors hold for it; they hold "
            f"{' and '.join(stored)}, of other values; leave the one or the other out"
        )


def _check_layer(layer: CompressedLayer, shape: Shape) -> None:
    if len(layer.name.encode()) > MOST_NAME_BYTES or layer.codes.size > MOST_WEIGHTS:
        raise InputError(
            f"layer {layer.name[:40]!r}: a container takes names of up to {MOST_NAME_BYTES:,} bytes and layers of up "
            f"to {MOST_WEIGHTS:,} weights; found {len(layer.name.encode()):,} and {layer.codes.size:,}"
        )
    if not all(isinstance(length, int | np.integer) for length in shape):
        raise InputError(f"layer {layer.name!r}: the weights' shape must be whole numbers; found {shape}")
    unrolled = (shape[0], math.prod(shape[1:])) if len(shape) >= 2 and min(shape) > 0 else None
    if unrolled != layer.codes.shape or len(shape) > MOST_DIMENSIONS:
        raise InputError(
            f"layer {layer.name!r}: the weights' shape must have 2 to {MOST_DIMENSIONS} dimensions and "
            f"unroll to {list(layer.codes.shape)}; found {list(shape)}"
        )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        try:
            fits = isinstance(name, str) and 1 <= len(name.encode()) <= MOST_NAME_BYTES
        except UnicodeEncodeError:  # half of a character
            fits = False
        if not fits:
            raise InputError(
                f"a parameter's name must be text of 1 to {MOST_NAME_BYTES:,} bytes in UTF-8; found {str(name)[:40]!r}"
            )


def _checked_tensor(name: str, values: Numbers) -> Numbers:
    """Return a new array, float32 or int64."""
    values = np.asarray(values)
    if values.ndim > MOST_DIMENSIONS:
        raise InputError(f"tensor {name!r} must have up to {MOST_DIMENSIONS} dimensions; found {values.ndim}")
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise InputError(f"tensor {name!r}: every value must be finite as float32")
        return narrow
    if values.dtype.kind in "iub":
        if values.size and int(values.max()) >= 2**63:
            raise InputError(f"tensor {name!r}: every value must be below 2**63; found {values.max():,}")
        return values.astype(np.int64)
    raise InputError(f"tensor {name!r} must be real numbers; found {values.dtype}")
