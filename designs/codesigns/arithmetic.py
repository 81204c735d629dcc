"""Outputs of a compressed network in the arithmetic of an array, overflow included (PyTorch needed).

Number formats are fitted to the inputs of the pool that were analysed (`sim.fit_formats`). Losses are measured on
others, in the simulator's fixed point; floating point is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from compress import CompressedModel
from compress.planning.preparation import MOST_ANALYSED
from designs.codesigns.trained_network import TrainedNetwork
from designs.network_outputs import named_outputs
from designs.space import Space
from sim import ArrayConfig, FixedPoint, compute_network, fit_formats
from sim.config import Precision
from sim.network import NetworkOutputs, wide_enough
from traces import CompressedNetwork
from traces.arrays import Floats, Integers64, Numbers

CALIBRATION_INPUTS = MOST_ANALYSED
"""Most inputs of the pool that formats are fitted to: those that were analysed."""


def fixed_precisions(space: Space) -> tuple[Precision, ...]:
    """Return the precisions of a space that are not floating point."""
    values = space.hardware_parameters()["precision"].values or ()
    return tuple(value for value in values if value != "float")


@dataclass(frozen=True, eq=False)
class NetworkArithmetic:
    """Arithmetic of arrays, for compressions of one network.

    Attributes
    ----------
    network : TrainedNetwork
        The original network.
    places : int64 [inputs]
        Places in the pool of the inputs that formats are fitted to.
    original : Mapping[str, array [inputs, ...]]
        Outputs of the original network on some inputs, by the names that losses know.
    """

    network: TrainedNetwork
    places: Integers64
    original: Mapping[str, Floats]

    @cached_property
    def _calibration(self) -> dict[str, Numbers]:
        return self.network.graph_inputs(self.network.pool, self.places)

    def formats(self, model: CompressedModel, precision: Precision) -> dict[str, FixedPoint]:
        """Return the formats of a compressed network by layer; none for floating point."""
        if precision == "float":
            return {}
        return fit_formats(model, self._calibration, ArrayConfig(precision=precision))

    def run(
        self,
        model: CompressedModel,
        inputs: Mapping[str, Numbers],
        precision: Precision,
        formats: Mapping[str, FixedPoint],
    ) -> tuple[dict[str, Floats], NetworkOutputs]:
        """Run inputs in fixed point.

        Parameters
        ----------
        model : CompressedModel
            The compressed network, with its graph.
        inputs : mapping of str to array
            Inputs as the graph takes them (`TrainedNetwork.graph_inputs`).
        precision : str
            Precision of the array.
        formats : mapping of str to FixedPoint
            Formats by layer.

        Returns
        -------
        dict of str to array [inputs, ...]
            Outputs by the names that losses know, with the inputs on the first axis.
        NetworkOutputs
            The outputs as the graph has them, with overflows and saturated activations.
        """
        array = wide_enough(ArrayConfig(precision=precision), CompressedNetwork(model.network, model.stored_layers))
        found = compute_network(model, dict(inputs), array, number_formats=formats)
        return named_outputs(model.network, found.output, len(found.overflows), self.original), found
