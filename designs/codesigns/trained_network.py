"""Trained networks for co-design, with the inputs that they are compressed and judged on (PyTorch needed)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from compress.class_scores import check_labels
from compress.networks import PlannedNetwork, is_module
from compress.planning.choices import DENSITIES, WEIGHT_BITS, cut_shares
from compress.planning.losses import labels_of
from compress.planning.outputs import run_outputs
from compress.weight_files.network_parameters import Products
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Integers64, Numbers


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """Trained network with the inputs that it is compressed and judged on.

    Attributes
    ----------
    name : str
        Name of the network in results.
    network : torch.nn.Module, Network, path or str
        The network: a module, an opened network, an ONNX file, or package.module:function, which gives a module. It is
        not changed.
    pool : array [inputs, ...], tuple or mapping of arrays, path, or Inputs
        Inputs to compress it on: the first 256 are analysed, all are measured.
    labels : array of int [inputs] or [inputs, positions], optional
        Index of the right output for each input of the pool, or for each of its positions. Without labels, the loss is
        the share of answers that change, or the change of the outputs (`compress.planning.losses`).
    evaluation, evaluation_labels : inputs, array, optional
        Inputs and labels that the front is verified on; by default the pool.
    test, test_labels : inputs, array, optional
        Inputs and labels for a reported accuracy; no choice depends on them.
    densities : sequence of float
        Densities to try for each layer.
    weight_bits : sequence of int
        Bits of a code to try for each layer.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them. They run off the array.
    thresholds : bool or sequence of float
        True to also try activation thresholds for each layer; or the shares of the activations that they may cut, as
        `make_planner` takes them.

    Raises
    ------
    InputError
        If the network or the inputs cannot be read, labels are not whole numbers, one per input, an array lacks its
        counterpart, or the thresholds are no bool and no shares above 0 and below 1.
    """

    name: str
    network: torch.nn.Module | Network | str | os.PathLike[str]
    pool: AnyInputs
    labels: Numbers | None = None
    evaluation: AnyInputs | None = None
    evaluation_labels: Numbers | None = None
    test: AnyInputs | None = None
    test_labels: Numbers | None = None
    densities: Sequence[float] = DENSITIES
    weight_bits: Sequence[int] = WEIGHT_BITS
    leave: Sequence[str] = ()
    thresholds: bool | Sequence[float] = False

    def __post_init__(self) -> None:
        cut_shares(self.thresholds)
        for what, inputs, labels in self._labelled():
            if labels is not None and inputs is None:
                raise InputError(f"{what}: there must be inputs for the labels; found none for {len(labels):,} labels")
            if labels is not None and inputs is not None and is_module(self.network):
                check_labels(what, labels, len(Inputs.of(inputs)), positions=None)
        if self.test is not None and self.test_labels is None:
            raise InputError("accuracy on the test images needs their labels; give test_labels")
        if self.evaluation is not None and self.labels is not None and self.evaluation_labels is None:
            raise InputError("the pool has labels, so the evaluation needs its own; give evaluation_labels")

    @property
    def judged_on(self) -> tuple[Inputs, Numbers | None]:
        """Inputs that designs are verified on, and their labels."""
        if self.evaluation is None:
            return self.inputs(self.pool), self.labels
        return self.inputs(self.evaluation), self.evaluation_labels

    @cached_property
    def planned(self) -> PlannedNetwork:
        """The network as plans are made of it."""
        planned = PlannedNetwork.of(self.network, self.pool)
        self._graph_of(planned).name = self.name
        return planned

    @property
    def module(self) -> torch.nn.Module:
        """Module that is analysed and compressed."""
        return self.planned.module

    @cached_property
    def digest(self) -> str:
        """Digits that stand for weights, inputs and labels."""
        digest = hashlib.sha256()
        for name, values in self.module.state_dict().items():
            digest.update(f"{name}\0".encode() + values.numpy().tobytes())
        for inputs in (self.pool, self.evaluation, self.test):
            for values in () if inputs is None else self.inputs(inputs).arrays.values():
                digest.update(values.tobytes())
        for labels in (self.labels, self.evaluation_labels, self.test_labels):
            digest.update(b"none" if labels is None else labels.tobytes())
        return digest.hexdigest()[:16]

    @property
    def products(self) -> Products | None:
        """Parameters that are multiplied with activations or looked up, with their kind and arrangement."""
        return self.planned.products

    @property
    def graph(self) -> Network:
        """Graph of the network; of a module, with its normalisation folded as its plans have it."""
        return self._graph_of(self.planned)

    def inputs(self, values: AnyInputs) -> Inputs:
        """Return inputs as the module takes them: the first axis of each array holds the inputs."""
        return self.planned.inputs(values)

    def graph_inputs(self, values: AnyInputs, places: Sequence[int] | Integers64) -> dict[str, Numbers]:
        """Return the inputs at these places as the graph takes them, by name; places beyond the last are left out."""
        return self.planned.graph_inputs(values, places)

    def checked_labels(self) -> list[Integers64 | None]:
        """Return the labels of pool, evaluation and test; raise InputError if one is no place of an output."""
        checked: list[Integers64 | None] = []
        outputs = None
        for what, inputs, labels in self._labelled():
            if labels is None or inputs is None:
                checked.append(None)
                continue
            outputs = outputs or run_outputs(self.module, self.inputs(self.pool)[:2])
            try:
                checked.append(labels_of(labels, len(self.inputs(inputs)), outputs))
            except InputError as error:
                raise InputError(f"{what}: {error}") from None
        return checked

    def _labelled(self) -> list[tuple[str, AnyInputs | None, Numbers | None]]:
        return [
            ("pool", self.pool, self.labels),
            ("evaluation", self.evaluation, self.evaluation_labels),
            ("test", self.test, self.test_labels),
        ]

    @staticmethod
    def _graph_of(planned: PlannedNetwork) -> Network:
        assert planned.network is not None  # only untraced modules have none
        return planned.network
