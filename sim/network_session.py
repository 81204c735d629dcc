"""Sessions: a network that runs step after step on an array, each step with the state that the step before left."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sim.config import ArrayConfig
from sim.cost.timing import warn_of_clock
from sim.network import NetworkResult, _Run, warn_of_shortfalls, wide_enough
from sim.network_source import compressed_network
from sim.number_formats import NumberFormats
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError
from traces.arrays import Numbers
from traces.plain_values import whole_number

if TYPE_CHECKING:
    from compress import CompressedModel
    from traces.graph.compressed import CompressedNetwork


class NetworkSession:
    """Network whose layers are packed once, and which then runs one step after the other.

    It is `simulate_network` with `state` where the inputs of a step follow from the outputs of the step before, as in a
    language model that reads the tokens that it writes.

    Parameters
    ----------
    network : CompressedModel, CompressedNetwork or path
        The network, as `simulate_network` takes it.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point, with codes as wide as the network's.
    state : mapping of str to str
        For each input of the network that is its own earlier output, the name of that output.
    first : mapping of str to array, optional
        Values of the state that enter the first step. By default zeros, where a length that is not known is 0.
    host_lanes : int, optional
        As of `simulate_network`.
    number_formats : mapping of str to FixedPoint, optional
        Format of each layer by name, from `fit_formats`; an array in fixed point needs them.

    Attributes
    ----------
    config : ArrayConfig
        The array.
    state : dict of str to array
        Values of the state that enter the next step, by the names of their inputs.

    Raises
    ------
    InputError
        If there is no state, it names no input or output, a first value does not fit, or an array in fixed point has no
        formats.

    Warns
    -----
    DoesNotFitWarning, ClockWarning
        As `simulate_network` warns; of what does not fit once.

    Notes
    -----
    A state is kept in DRAM. Each step reads all of it once, and writes what it appends or changes. These transfers
    cost energy (`NetworkResult.state_costs`) and no cycles, as everything that is computed off the array. In
    `memory_mode` "passes" and "streamed", layers that do not stay in the SRAMs are loaded again in each step.
    """

    def __init__(
        self,
        network: CompressedModel | CompressedNetwork | str | os.PathLike[str] | Sequence[CompressedLayer | PackedLayer],
        config: ArrayConfig | None = None,
        *,
        state: Mapping[str, str],
        first: Mapping[str, Any] | None = None,
        host_lanes: int | None = None,
        number_formats: NumberFormats | None = None,
    ) -> None:
        from traces.graph.inputs import state_before

        if not state:
            raise InputError("a session feeds a state on; name it in state, or run the inputs with simulate_network")
        compressed, packed = compressed_network(network)
        config = config or wide_enough(ArrayConfig(), compressed)
        if config.precision != "float" and number_formats is None:
            raise InputError(
                f"a session with precision={config.precision!r} needs number_formats, since its inputs are not known "
                f"beforehand; fit them with sim.fit_formats on calibration inputs"
            )
        warn_of_clock(config, stacklevel=3)
        self.config, self._names, self._host_lanes = config, dict(state), host_lanes
        self._network = compressed.network
        self._run = _Run(self._network, compressed.stored_layers, packed, config, number_formats)
        self.state: dict[str, Numbers] = state_before(self._network, state, first or {})
        self._first = self._counted = (self.state, 0)
        self._inputs = tuple(entry for entry in self._network.inputs if entry.name not in state)
        self._warned = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that are no state, in order."""
        return tuple(name for name in self._network.outputs if name not in self._names.values())

    @property
    def position(self) -> int | None:
        """Number of tokens that led to the state: 0 for the first state; None if it is unknown.

        `Decoding` counts them. Set it after own calls of `step`, or if `state` is replaced by another than the first.
        """
        return next((tokens for state, tokens in (self._counted, self._first) if state is self.state), None)

    @position.setter
    def position(self, tokens: int) -> None:
        self._counted = (self.state, whole_number("position", tokens, 0))

    def step(self, inputs: Any) -> NetworkResult:
        """Run one step; its state enters the next one.

        Parameters
        ----------
        inputs : array, tuple of arrays, or dict of arrays
            Inputs beside the state, in order or by name.

        Returns
        -------
        NetworkResult
            Counts and outputs of this step.

        Raises
        ------
        InputError
            If the inputs do not fit the network, hold several sequences, or the state that they lead to does not fit.
            The session is then as before the step.
        """
        from traces.graph.inputs import bound, count_inputs

        feeds = bound(self._network.name, self._inputs, inputs)
        count = count_inputs(self._inputs, feeds)
        if count != 1:
            raise InputError(
                f"{self._network.name}: a session runs one sequence; found inputs of {count:,}; run each in a session"
            )
        try:
            outputs, following = self._run.step({**feeds, **self.state}, self._names)
            named = {name: outputs[name] for name in self._network.outputs}
            result = self._run.result(next(iter(named.values())) if len(named) == 1 else named, self._host_lanes)
        except BaseException:
            self._run.clear()
            raise
        self.state = following
        if not self._warned:
            warn_of_shortfalls(self._network.name, result.shortfalls, stacklevel=3)
            self._warned = bool(result.shortfalls)
        return result
