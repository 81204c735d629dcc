"""Structured pruning before a plan is made: neurons, channels and heads of little effect (PyTorch needed).

The effect of a unit is predicted from the analysis: the change of the outputs along each probe if the weights that take
the unit become zero. Units with the least effect per weight are removed first, while the sum of their predicted effects
stays within a share of the predicted change of a plan with all units. The graph tells which weights a unit has
(`traces.graph.units`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress.modules import ModuleLayer
from compress.planning.planner import Planner, folded
from traces import InputError, Network
from traces.arrays import Floats64, Integers64
from traces.graph.units import Unit, unit_groups

#: Shares of a plan's predicted change that the effects of removed units may take, in the order in which they are tried.
UNIT_SHARES = (0.01, 0.03, 0.06)


@dataclass(frozen=True, eq=False)
class RemovedUnits:
    """Units that are removed from a network.

    Attributes
    ----------
    number : int
        Number of units.
    places : Mapping[str, int64]
        Flat places of their weights, in rows and in columns, by parameter.
    """

    number: int
    places: Mapping[str, Integers64]

    def without(self, module: torch.nn.Module) -> torch.nn.Module:
        """Return a copy of a module, its normalisation folded, in which the weights of the units are zero."""
        smaller = folded(module)
        parameters = dict(smaller.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, places in self.places.items():
                parameters[name].view(-1)[torch.from_numpy(places)] = 0
        return smaller


def removable_units(network: Network | None) -> list[Unit]:
    """Return the units that can be removed. Raises InputError if there are none, or the graph is not known."""
    if network is None:
        raise InputError(
            "structured needs the network's graph, from which units follow; found a module that is not traced; leave "
            "graph=False out"
        )
    units = [unit for group in unit_groups(network) for unit in group.units]
    if not units:
        raise InputError(
            f"structured needs units that can be removed, neurons, channels or heads between two layers; found "
            f"none in {network.name!r}; leave structured out"
        )
    return units


class StructuredChoice:
    """Units of an analysed network in the order in which they are removed.

    Parameters
    ----------
    planner : Planner
        The analysed network.
    units : sequence of Unit
        Its units (`removable_units`). A unit cannot be removed if a layer that is left alone takes it.

    Attributes
    ----------
    units : list of Unit
        Units that can be removed, without biases.
    number : int
        Number of these units.
    effects : float64 [units]
        Expected squared change of the outputs if only this unit is removed.
    """

    def __init__(self, planner: Planner, units: Sequence[Unit]) -> None:
        by_name = {name: number for number, layer in enumerate(planner.layers) for name in layer.names}
        known = [_known(unit, by_name) for unit in units if all(name in by_name for name in unit.columns)]
        self.units = [unit for unit in known if unit.rows or unit.columns]
        self.number = len(self.units)
        self.effects = _effects(planner, self.units, by_name)
        weights = [sum(map(len, (*unit.rows.values(), *unit.columns.values()))) for unit in self.units]
        self._order = np.argsort(self.effects / weights, kind="stable")

    def within(self, change: float) -> RemovedUnits:
        """Return the first units, as many as the sum of their predicted effects stays within a squared change."""
        left, taken = change, 0
        places: dict[str, list[Integers64]] = {}
        gone: dict[str, set[int]] = {}
        for number in self._order.tolist():
            unit = self.units[number]
            roles = [*unit.rows.items(), *unit.columns.items()]
            if all(set(of_name.tolist()) <= gone.get(name, set()) for name, of_name in roles):
                continue  # a part of a removed head
            left -= float(self.effects[number])
            if left < 0:
                break
            taken += 1
            for name, of_name in roles:
                places.setdefault(name, []).append(of_name)
                gone.setdefault(name, set()).update(of_name.tolist())
        return RemovedUnits(taken, {name: np.unique(np.concatenate(parts)) for name, parts in places.items()})


def _known(unit: Unit, by_name: Mapping[str, int]) -> Unit:
    """Return a unit without biases, which have no effect once its columns are zero."""
    return Unit({name: places for name, places in unit.rows.items() if name in by_name}, unit.columns)


def _effects(planner: Planner, units: Sequence[Unit], by_name: Mapping[str, int]) -> Floats64:
    """Return the expected squared change of the outputs if only one unit is removed, for each, float64 [units]."""
    probes = len(planner.analysis.layers[0].probes)
    along = np.zeros((len(units), probes))
    for name, number in by_name.items():
        analysed, layer = planner.analysis.layers[number], planner.layers[number]
        owner, order = _owners(units, name, layer, analysed.weights.shape)
        owner, order = owner[:, analysed.rows], order[:, analysed.rows]
        factor = analysed.scales * (len(analysed.weights) / len(analysed.rows)) ** 0.5
        weights = analysed.weights[analysed.rows].ravel()
        for owners, numbers in zip(owner, order, strict=True):  # roles overlap in heads and their channels
            here = np.flatnonzero(owners.ravel())
            which = numbers.ravel()[here]
            for probe in range(probes):
                changes = weights[here] * analysed.probes[probe, here].astype(np.float64)
                along[:, probe] -= factor[probe] * np.bincount(which, changes, minlength=len(units))
    return np.asarray(np.square(along).mean(axis=1))


def _owners(
    units: Sequence[Unit], name: str, layer: ModuleLayer, shape: tuple[int, ...]
) -> tuple[Integers64, Integers64]:
    """Return which weights of a parameter's matrix units take, and the unit of each, [2, rows, columns]; see below.

    A weight can be taken by a channel and by the head that it belongs to: one is in the first plane, the other in the
    second one. A unit that nothing takes is known by its rows.
    """
    taken = np.zeros((2, int(np.prod(shape))), dtype=np.int64)
    number_of = np.zeros_like(taken)
    for number, unit in enumerate(units):
        places = (unit.columns or unit.rows).get(name)
        if places is not None:
            plane = int(taken[0, places].any())
            taken[plane, places], number_of[plane, places] = 1, number
    view = layer.arrangement.matrix
    of_shape = tuple(layer.weight.shape)
    found = [np.stack([view(each.reshape(of_shape)) for each in both]) for both in (taken, number_of)]
    return found[0], found[1]
