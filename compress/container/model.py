"""Compressed model: the decoded content of a container file.

The file has a header with a directory and checksums, a section for each layer, one for all other tensors and one for
the network's graph; `guide/container.md` describes its bytes.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.container.bytes_io import MOST_DIMENSIONS, MOST_NAME_BYTES
from compress.container.free_bias import names_of_biases, with_free_bias
from compress.container.layer_coding import CodingChoice
from compress.container.loading import copy_into, set_thresholds, threshold_places
from compress.container.reader import ContainerReader
from compress.container.sections import (
    GRAPH,
    LAYER,
    MOST_GRAPH_BYTES,
    TENSORS,
    LayerParts,
    Section,
    Shape,
    encode_graph,
    encode_header,
    encode_layer,
    needs_version_4,
)
from compress.container.size_report import SizeReport
from compress.container.tensor_coding import checked_tensor, encode_tensors, fit_version_2
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement
from traces.arrays import Floats32, Numbers
from traces.files.atomic_file import write_atomically
from traces.graph.network import Network
from traces.graph.stored import StoredLayer
from traces.layer import MOST_WEIGHTS
from traces.plain_values import number

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, Numbers]


_BY_LAYER = "shapes", "weight_names", "bias_names", "coding", "arrangements"  # as LayerParts has them after the layer


class CompressedModel:
    """Compressed layers of a network, in order, its other tensors and its graph. A model does not change.

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
        Parameters and buffers that are not compressed: real numbers of up to 64 bits, finite or not. Floating-point
        values are float32, or float64 where float32 changes a value. A bias among them is the `free_bias` of its layer
        if it is named like the weight: NAME.bias for NAME.weight, NAME.bias_ih_l0 for NAME.weight_ih_l0.
    buffers : sequence of str
        Names of tensors that are no parameters, like running means.
    coding : CodingChoice, sequence of CodingChoice or None
        Way in which layers are written, one choice for all or one for each; by default the smallest.
    arrangements : sequence of (Arrangement or None) or None
        Way from each layer's weights, in their shape, to its matrix; None where the first axis makes the rows.
    graph : bytes or None
        The network's graph, 1 byte to 256 MiB; it is stored deflated.

    Attributes
    ----------
    layers : list of CompressedLayer
        A new list each time.
    tensors : Mapping[str, array]
        By name, read-only.
    shapes, weight_names, bias_names, coding, arrangements : tuple
        One entry for each layer.
    buffers : frozenset of str
        Names.
    graph : bytes or None
        As given.

    Raises
    ------
    InputError
        If two layers have one name, a shape or an arrangement does not fit its layer, a free bias is not finite, or a
        layer has one free bias and the tensors another one for it.
    """

    shapes: tuple[Shape, ...]
    weight_names: tuple[tuple[str, ...], ...]
    bias_names: tuple[str, ...]
    coding: tuple[CodingChoice, ...]
    arrangements: tuple[Arrangement | None, ...]
    graph: bytes | None
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
        arrangements: Sequence[Arrangement | None] | None = None,
        graph: bytes | None = None,
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
            "arrangements": tuple(arrangements or [None] * len(names)),
        }
        for what, values in by_layer.items():
            if len(values) != len(names):
                raise InputError(
                    f"there must be one of {what} for each layer; found {len(values)} for {len(names)} layers"
                )
        vars(self).update(by_layer, buffers=frozenset(buffers), graph=graph)
        for layer, shape, arrangement in zip(layers, self.shapes, self.arrangements, strict=True):
            _check_layer(layer, shape, arrangement)
        vars(self)["arrangements"] = tuple(
            None if arrangement is None or (len(shape) > 1 and arrangement.is_identity(shape)) else arrangement
            for arrangement, shape in zip(self.arrangements, self.shapes, strict=True)
        )
        if graph is not None and not (isinstance(graph, bytes) and 1 <= len(graph) <= MOST_GRAPH_BYTES):
            found = f"{len(graph):,} bytes" if isinstance(graph, bytes) else type(graph).__name__
            raise InputError(f"graph must be 1 to {MOST_GRAPH_BYTES:,} bytes; found {found}")
        if not all(self.weight_names) or isinstance(weight_names, str) or str in map(type, weight_names or ()):
            raise InputError(f"weight_names must be a list of names for each layer; found {weight_names!r}")
        stored = {name: checked_tensor(name, values) for name, values in (tensors or {}).items()}
        for what, sizes in (
            ("layers", [layer.codes.size for layer in layers]),
            ("other tensors", [values.size for values in stored.values()]),
        ):
            if sum(sizes) > MOST_WEIGHTS:
                raise InputError(f"a container takes {what} of up to {MOST_WEIGHTS:,} values; found {sum(sizes):,}")
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
        return self._changed(coding=coding)

    @property
    def stored_layers(self) -> dict[str, StoredLayer]:
        """Compressed parameters by name, each with its layer and the way to its matrix."""
        stored: dict[str, StoredLayer] = {}
        for layer, shape, weight_names, bias_name, arrangement in zip(
            self._layers, self.shapes, self.weight_names, self.bias_names, self.arrangements, strict=True
        ):
            entry = StoredLayer(layer, shape, arrangement or Arrangement.identity(shape), bias_name)
            stored |= dict.fromkeys(weight_names, entry)
        return stored

    @cached_property
    def network(self) -> Network:
        """Network of the model's graph, with the decoded parameters, and a Shrink for each activation threshold.

        Raises InputError if there is no graph, or a product takes no threshold.
        """
        if self.graph is None:
            raise InputError(
                "the container must hold the network's graph; it holds none; compress the network with its inputs, or "
                "an ONNX file"
            )
        network = self._without_thresholds
        for layer, names in zip(self._layers, self.weight_names, strict=True):
            if layer.activation_threshold and not any(name in network.parameters for name in names):
                raise InputError(
                    f"container: activation_threshold of {layer.name!r} must be that of a weight in the graph; the "
                    f"graph has no {' or '.join(names)}; give a graph that has, or the threshold 0"
                )
        return network.with_thresholds(self._thresholds)

    @property
    def _without_thresholds(self) -> Network:
        """Network of the graph alone, with the decoded parameters."""
        assert self.graph is not None
        return Network.from_bytes("container", self.graph, {**self.decoded_parameters(), **self._tensors})

    @cached_property
    def _own_thresholds(self) -> dict[str, float]:
        """Thresholds above 0 that the graph itself has before all products of a layer, by the name of the layer."""
        if self.graph is None or b"Shrink" not in self.graph:  # as its nodes name the operator
            return {}
        network, own = self._without_thresholds, {}
        for layer, names in zip(self._layers, self.weight_names, strict=True):
            found = {network.thresholds.get(name, 0.0) for name in names if network.weights.get(name) is not None}
            if len(found) == 1 and max(found) > 0:
                own[layer.name] = max(found)
        return own

    def with_graph(self, graph: bytes) -> CompressedModel:
        """Return the same model with a graph, as `Network.graph_bytes` gives it.

        It may be another graph of the same parameters, such as one that continues a sequence. Its products take the
        activation thresholds of the layers; a larger threshold that the graph itself has before all products of a layer
        (a Shrink) becomes that of the layer. It is not compact; `compacted` makes it so.
        """
        model = self._changed(graph=graph)
        stated = {layer.name: layer.activation_threshold for layer in self._layers}
        own = {name: each for name, each in model._own_thresholds.items() if each > stated[name]}
        return model.with_thresholds(own) if own else model

    def with_thresholds(self, thresholds: Mapping[str, float]) -> CompressedModel:
        """Return the same model with other activation thresholds.

        Parameters
        ----------
        thresholds : mapping of str to float
            Threshold by the name of the layer; other layers keep theirs.

        Raises
        ------
        InputError
            If there is no such layer, or a threshold is below the one that the graph itself has before all products of
            the layer (a Shrink), which is a part of the network.
        """
        names = [layer.name for layer in self._layers]
        for name, threshold in thresholds.items():
            if name not in names:
                raise InputError(f"activation_threshold must be that of a layer, {', '.join(names)}; found {name!r}")
            number(f"activation_threshold of {name!r}", threshold, 0)
            own = self._own_thresholds.get(name, 0.0)
            if np.float32(threshold) < np.float32(own):
                raise InputError(
                    f"activation_threshold={threshold:g} of {name!r} must be at least {own:g}, since the network's own "
                    f"graph has a Shrink of {own:g} before the products of the layer; give {own:g} or more, or take "
                    f"the Shrink out of the network"
                )
        layers = [
            replace(layer, activation_threshold=thresholds.get(layer.name, layer.activation_threshold))
            for layer in self._layers
        ]
        return self._changed(layers=layers)

    def without_graph(self) -> CompressedModel:
        """Return the same model without its graph."""
        return self._changed(graph=None)

    def compacted(self, inputs: Any = None) -> CompressedModel:
        """Return the same network without rows and columns that change no output.

        Weights that can change no output become zero: those of a row that only columns without weights need, and those
        of a column whose activations are zero for every input, as far as the graph tells. The graph is marked as
        compact: its products on an array leave out the columns without weights, whose activations are not broadcast,
        and the rows without weights and bias. A layer of several codebooks keeps its rows, whose number fits the PEs of
        each codebook. Shapes and names stay as they are.

        Parameters
        ----------
        inputs : array, tuple of arrays, or dict of arrays, optional
            Example inputs, if the graph leaves the length of an axis open.

        Returns
        -------
        CompressedModel
            The model. Its outputs are the same for inputs of any length for which the network's values are finite.

        Raises
        ------
        InputError
            If the model has no graph, or inputs are needed or do not fit.

        Notes
        -----
        See `traces.graph.liveness` for what follows from what. Recurrent layers, and all of a network with If, Loop or
        Scan, stay as they are.
        """
        from traces.graph.compaction import compact_graph
        from traces.graph.liveness import live_parameters

        network = self.network
        assert self.graph is not None
        feeds = None if inputs is None else network.part(network.bind(inputs), 0, 1)
        live = live_parameters(network, feeds)
        layers = []
        for layer, shape, names, bias_name, arrangement in zip(
            self._layers, self.shapes, self.weight_names, self.bias_names, self.arrangements, strict=True
        ):
            way = arrangement or Arrangement.identity(shape)
            masks = [way.matrix(live[name]) for name in names if name in live]
            kept = np.any(masks, axis=0) if len(masks) == len(names) else np.True_
            bias = layer.bias
            if bias is not None and bias_name in live:
                bias = np.where(live[bias_name].ravel(), bias, np.zeros((), dtype=bias.dtype))
            codes = np.where(kept, layer.codes, np.zeros((), dtype=layer.codes.dtype))
            layers.append(replace(layer, codes=codes, bias=bias, free_bias=None))
        whole_rows = [
            name
            for layer, names in zip(self._layers, self.weight_names, strict=True)
            for name in names
            if layer.num_codebooks > 1
        ]
        tensors = {
            name: np.where(live[name], values, np.zeros((), dtype=values.dtype)) if name in live else values
            for name, values in self._tensors.items()
        }
        coding = [replace(each, leaves_out_empty=True) for each in self.coding]
        graph = compact_graph(self.graph, whole_rows)
        return self._changed(layers=layers, tensors=tensors, coding=coding, graph=graph)

    def _changed(self, **changes: Any) -> CompressedModel:
        given = {name: getattr(self, name) for name in _BY_LAYER}
        return CompressedModel(
            **{"layers": self._layers, **given, "tensors": self._tensors, "buffers": sorted(self.buffers)}
            | {"graph": self.graph}
            | changes
        )

    def to_bytes(self) -> bytes:
        """Return the container as `save` writes it."""
        return self._encoded[0]

    @cached_property
    def _encoded(self) -> tuple[bytes, SizeReport]:
        sections = []
        sizes = []
        for parts in zip(self._layers, *(getattr(self, name) for name in _BY_LAYER), strict=True):
            content, size = encode_layer(LayerParts(*parts))
            sections.append(Section(LAYER, parts[0].name, content))
            sizes.append(size)
        version = 4 if any(needs_version_4(section.content) for section in sections) else self._version
        others = encode_tensors(self._tensors, self.buffers, version)
        graph = encode_graph(self.graph)
        sections += [Section(kind, "", content) for kind, content in ((TENSORS, others), (GRAPH, graph)) if content]
        header = encode_header(sections, version)
        whole = header + b"".join(section.content for section in sections)
        return whole, SizeReport(tuple(sizes), tensors=len(others), graph=len(graph), header=len(header))

    @property
    def _version(self) -> int:
        """The lowest version of the format that can hold the model, if no layer needs version 4."""
        fits = self.graph is None and not any(self.arrangements) and fit_version_2(self._tensors)
        return 2 if fits else 3

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

    def state(self) -> dict[str, Numbers]:
        """Return new arrays of all parameters and buffers by name, weights decoded in the network's shapes."""
        buffers = {name: values.copy() for name, values in self._tensors.items() if name in self.buffers}
        return self.decoded_parameters() | buffers

    def decoded_parameters(self) -> dict[str, Numbers]:
        """Return new arrays of all parameters by name, weights decoded in the network's shapes; no buffers."""
        decoded: dict[str, Numbers] = {}
        for layer, shape, weight_names, bias_name, arrangement in zip(
            self._layers, self.shapes, self.weight_names, self.bias_names, self.arrangements, strict=True
        ):
            weights: Numbers = layer.weights()
            weights = weights.reshape(shape) if arrangement is None else arrangement.parameter(weights, shape)
            decoded |= dict.fromkeys(weight_names, np.array(weights, order="C"))
            if layer.bias is not None:
                decoded[bias_name] = layer.bias_values()
        return decoded | {name: values.copy() for name, values in self._tensors.items() if name not in self.buffers}

    def load_into(self, module: torch.nn.Module) -> None:
        """Copy the decoded parameters and the buffers into those of the same names of a module.

        Parameters
        ----------
        module : torch.nn.Module
            The network that was compressed, also inside of DataParallel or torch.compile; changed in place.

        Raises
        ------
        InputError
            Before anything is changed, if a parameter is missing or of another shape, a buffer cannot hold its values,
            or the container has nothing for one of the module's parameters; or a weight with an activation threshold
            is not that of a plain linear or convolutional layer, or the container's graph, traced from a module,
            multiplies it outside of calls of its layer.

        Notes
        -----
        Activation thresholds become hooks of their layers, which set activations to zero; those of an earlier container
        are removed. A hook acts on calls of its layer only. Without a graph, or with that of an ONNX file, it is
        unknown whether the module uses the weight otherwise, as in `F.linear(x, layer.weight)`; there no threshold
        holds. `measure`, `watch` and plans refuse such a module when it runs.
        Integer buffers that the container lacks, and extra state of modules, are left as they are.
        """
        without_bias = {
            bias_name: layer.name
            for layer, bias_name in zip(self._layers, self.bias_names, strict=True)
            if layer.bias is None
        }
        places = threshold_places(module, self._thresholds, self.thresholds_elsewhere)
        copy_into(module, self.state(), without_bias)
        set_thresholds(module, places)

    @property
    def thresholds_elsewhere(self) -> frozenset[str]:
        """Weights with thresholds, by all their names, that the graph of a module multiplies not only in their layers.

        Without a graph, and in one that was read from a file, none are known.
        """
        thresholds = self._thresholds
        if not thresholds or self.graph is None:
            return frozenset()
        elsewhere = Network.from_bytes("container", self.graph, {}).multiplied_elsewhere
        tied = [names for names in self.weight_names if elsewhere & {*names}]
        return frozenset(name for names in tied for name in names if name in thresholds)

    @property
    def _thresholds(self) -> dict[str, float]:
        """Activation thresholds above 0, by weight."""
        return {
            name: layer.activation_threshold
            for layer, names in zip(self._layers, self.weight_names, strict=True)
            for name in names
            if layer.activation_threshold
        }

    def _parameter_names(self) -> list[str]:
        names = [name for of_layer in self.weight_names for name in of_layer]
        biases = zip(self.bias_names, self._layers, strict=True)
        return names + [name for name, layer in biases if layer.bias is not None]


def _read_model(reader: ContainerReader) -> CompressedModel:
    parts = reader.layer_parts()
    tensors, buffers = reader.tensors()
    graph = reader.graph()
    try:
        return CompressedModel(
            [each.layer for each in parts],
            [each.shape for each in parts],
            weight_names=[each.weight_names for each in parts],
            bias_names=[each.bias_name for each in parts],
            tensors=tensors,
            buffers=buffers,
            coding=[each.coding for each in parts],
            arrangements=[each.arrangement for each in parts],
            graph=graph,
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
    elif len(stored) > 1 or not _same_bits(layer.free_bias, tensors[stored[0]]):
        raise InputError(
            f"layer {layer.name!r}: its free bias must be the one that the tensors hold for it; they hold "
            f"{' and '.join(stored)}, of other values or signs of zeros; leave the one or the other out"
        )


def _same_bits(bias: Floats32, tensor: Numbers) -> bool:
    """Return True if a tensor is a free bias, also in the signs of zeros."""
    with np.errstate(over="ignore"):
        narrow = tensor.astype(np.float32)
    return np.array_equal(bias.view(np.uint32), narrow.view(np.uint32))


def _check_layer(layer: CompressedLayer, shape: Shape, arrangement: Arrangement | None) -> None:
    if len(layer.name.encode()) > MOST_NAME_BYTES or layer.codes.size > MOST_WEIGHTS:
        raise InputError(
            f"layer {layer.name[:40]!r}: a container takes names of up to {MOST_NAME_BYTES:,} bytes and layers of up "
            f"to {MOST_WEIGHTS:,} weights; found {len(layer.name.encode()):,} and {layer.codes.size:,}"
        )
    if not all(isinstance(length, int | np.integer) for length in shape):
        raise InputError(f"layer {layer.name!r}: the weights' shape must be whole numbers; found {shape}")
    if arrangement is None:
        unrolled = (shape[0], math.prod(shape[1:])) if len(shape) >= 2 and min(shape) > 0 else None
        if unrolled != layer.codes.shape or len(shape) > MOST_DIMENSIONS:
            raise InputError(
                f"layer {layer.name!r}: the weights' shape must have 2 to {MOST_DIMENSIONS} dimensions and "
                f"unroll to {list(layer.codes.shape)}; found {list(shape)}"
            )
        return
    if not isinstance(arrangement, Arrangement):
        raise InputError(f"layer {layer.name!r}: its arrangement must be an Arrangement; found {arrangement!r}")
    fits = len(shape) <= MOST_DIMENSIONS and math.prod(shape) == layer.codes.size and min(shape, default=1) > 0
    if not fits or (arrangement.rows, arrangement.columns) != layer.codes.shape:
        raise InputError(
            f"layer {layer.name!r}: its arrangement must make its matrix {list(layer.codes.shape)} of weights of up to "
            f"{MOST_DIMENSIONS} dimensions; found [{arrangement.rows}, {arrangement.columns}] of {list(shape)}"
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
