"""LSTM and GRU layers on the array: it computes two matrix products a step, and the gates are computed off the array.

The weights are those of PyTorch's `LSTM` and `GRU`: `weight_ih` [gates * hidden, columns] and `weight_hh`
[gates * hidden, hidden], each with its bias, in the codebook or free. The order of the gates is i, f, g, o and r, z, n.
Gates are evaluated in float64 and cost nothing here; the paper's NT-LSTM counts the matrix products alone, too. Source
of the equations: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with the forget gate of Gers et al., 2000;
Cho et al., 2014, with the reset gate after the product, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from sim.array import packed_for
from sim.batch import BatchResult, checked_inputs, simulate_batch
from sim.config import ArrayConfig
from sim.entropy_limits import ByteLimit, EnergyLimit, sum_of_byte_limits, sum_of_energy_limits
from sim.fixed_point import FixedPoint, Ranges, format_of_ranges
from sim.limits import Limit, sum_of_limits
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError
from traces.arrays import Floats, Floats32, Floats64, Integers64

Layer = CompressedLayer | PackedLayer
Step = Callable[[Floats, Floats, Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class RecurrentResult:
    """Costs and states of a recurrent layer.

    Attributes
    ----------
    hidden : numpy.ndarray
        Hidden state after each step, float32 [sequences, steps, hidden].
    cell : numpy.ndarray
        Cell state of an LSTM after the last step, float32 [sequences, hidden]; zeros for a GRU.
    cycles : numpy.ndarray
        Cycles of both products, int64 [sequences, steps].
    energy_pj : numpy.ndarray
        Energy of both products with the preset `eie`, float64 [sequences, steps].
    input_products : BatchResult
        Products of `weight_ih` with all inputs, sequence by sequence.
    hidden_products : list of BatchResult
        Products of `weight_hh` with the hidden states of all sequences, one for each step.
    """

    hidden: Floats32
    cell: Floats32
    cycles: Integers64
    energy_pj: Floats64
    input_products: BatchResult
    hidden_products: list[BatchResult]

    @property
    def limit(self) -> Limit:
        """Least cycles of all products together, what sets them, and where the measured ones go."""
        return sum_of_limits([product.limit for product in (self.input_products, *self.hidden_products)])

    @property
    def energy_limit(self) -> EnergyLimit:
        """Least energy of all products together with the preset `eie`, and where the rest goes."""
        return sum_of_energy_limits([product.energy_limit for product in (self.input_products, *self.hidden_products)])

    @property
    def byte_limit(self) -> ByteLimit:
        """Least bytes of both matrices in the SRAMs, and where the rest goes."""
        return sum_of_byte_limits([product.byte_limit for product in (self.input_products, *self.hidden_products[:1])])

    @property
    def energy_nj(self) -> Floats64:
        """`energy_pj` in nJ, as reports show it."""
        return self.energy_pj / 1e3


def simulate_lstm(
    weight_ih: Layer,
    weight_hh: Layer,
    inputs: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_formats: tuple[FixedPoint, FixedPoint] | None = None,
) -> RecurrentResult:
    """Run sequences through an LSTM layer, from a state of zeros.

    Parameters
    ----------
    weight_ih, weight_hh : CompressedLayer or PackedLayer
        Weights that the inputs and the hidden state are multiplied with.
    inputs : array_like
        Sequences, float32 [sequences, steps, columns].
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.
    number_formats : (FixedPoint, FixedPoint), optional
        Formats of the products with `weight_ih` and with `weight_hh`, of an array in fixed point. By default they are
        fitted to all steps of these sequences, which run in floating point for it.

    Returns
    -------
    RecurrentResult
        Costs and states.

    Raises
    ------
    InputError
        If the shapes do not match, or as `simulate_batch` does.

    Notes
    -----
    Inputs and hidden states are signed; all that are not zero are broadcast. In fixed point, each of the two products
    has one format in all steps.
    """

    def step(from_input: Floats, from_hidden: Floats, _: Floats, cell: Floats) -> tuple[Floats, Floats]:
        i, f, g, o = np.split(from_input + from_hidden, 4, axis=1)
        cell = expit(f) * cell + expit(i) * np.tanh(g)
        return expit(o) * np.tanh(cell), cell

    return _run(weight_ih, weight_hh, inputs, config, number_formats, 4, step)


def simulate_gru(
    weight_ih: Layer,
    weight_hh: Layer,
    inputs: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_formats: tuple[FixedPoint, FixedPoint] | None = None,
) -> RecurrentResult:
    """Run sequences through a GRU layer, from a state of zeros.

    Parameters
    ----------
    weight_ih, weight_hh : CompressedLayer or PackedLayer
        Weights that the inputs and the hidden state are multiplied with.
    inputs : array_like
        Sequences, float32 [sequences, steps, columns].
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.
    number_formats : (FixedPoint, FixedPoint), optional
        Formats of the products with `weight_ih` and with `weight_hh`, of an array in fixed point. By default they are
        fitted to all steps of these sequences, which run in floating point for it.

    Returns
    -------
    RecurrentResult
        Costs and states.

    Raises
    ------
    InputError
        If the shapes do not match, or as `simulate_batch` does.
    """

    def step(from_input: Floats, from_hidden: Floats, hidden: Floats, cell: Floats) -> tuple[Floats, Floats]:
        (r, z, n), (hidden_r, hidden_z, hidden_n) = (np.split(part, 3, axis=1) for part in (from_input, from_hidden))
        n = np.tanh(n + expit(r + hidden_r) * hidden_n)
        z = expit(z + hidden_z)
        return (1 - z) * n + z * hidden, cell

    return _run(weight_ih, weight_hh, inputs, config, number_formats, 3, step)


def _run(
    weight_ih: Layer,
    weight_hh: Layer,
    inputs: npt.ArrayLike,
    config: ArrayConfig | None,
    number_formats: tuple[FixedPoint, FixedPoint] | None,
    gates: int,
    step: Step,
) -> RecurrentResult:
    """Run a layer whose gates `step` computes."""
    config = config or ArrayConfig()
    packed_ih, packed_hh = packed_for(weight_ih, config), packed_for(weight_hh, config)
    for packed in (packed_ih, packed_hh):
        if packed.layer.activation_threshold:
            raise InputError(
                f"layer {packed.layer.name!r}: activation_threshold must be 0 for a matrix of a recurrent layer; found "
                f"{packed.layer.activation_threshold:g}; set it to 0"
            )
    hidden_size = packed_hh.layer.columns
    for packed in (packed_ih, packed_hh):
        if packed.layer.rows != gates * hidden_size:
            raise InputError(
                f"layer {packed.layer.name!r} must have {gates} gates of {hidden_size:,} rows, since weight_hh has "
                f"{hidden_size:,} columns, the hidden state; found {packed.layer.rows:,} rows"
            )
    array = np.asarray(inputs)
    if array.ndim != 3 or 0 in array.shape or array.shape[2] != packed_ih.layer.columns:
        raise InputError(
            f"inputs must be [sequences, steps, {packed_ih.layer.columns}], at least one of each; "
            f"found {list(array.shape)}"
        )
    vectors = checked_inputs(packed_ih.layer, array.reshape(-1, array.shape[2])).reshape(array.shape)
    if number_formats is None and config.precision != "float":
        exact = _steps(packed_ih, packed_hh, vectors, replace(config, precision="float"), (None, None), step)
        entering = exact.hidden[:, :-1]  # no state enters the first step
        outputs = np.concatenate([product.output for product in exact.hidden_products])
        of_input, of_hidden = Ranges.of(vectors, exact.input_products.output), Ranges.of(entering, outputs)
        number_formats = (
            format_of_ranges([packed_ih.layer], of_input, config.activation_bits),
            format_of_ranges([packed_hh.layer], of_hidden, config.activation_bits),
        )
    return _steps(packed_ih, packed_hh, vectors, config, number_formats or (None, None), step)


def _steps(
    packed_ih: PackedLayer,
    packed_hh: PackedLayer,
    vectors: Floats32,
    config: ArrayConfig,
    number_formats: tuple[FixedPoint | None, FixedPoint | None],
    step: Step,
) -> RecurrentResult:
    """Run sequences [sequences, steps, columns], step by step."""
    sequences, steps, columns = vectors.shape
    of_input, of_hidden = number_formats
    input_products = simulate_batch(packed_ih, vectors.reshape(-1, columns), config, of_input)
    from_input = input_products.output.reshape(sequences, steps, -1).astype(np.float64)
    hidden, cell = np.zeros((2, sequences, packed_hh.layer.columns))
    hidden_products, states = [], []
    for number in range(steps):
        product = simulate_batch(packed_hh, hidden.astype(np.float32), config, of_hidden)
        hidden, cell = step(from_input[:, number], product.output.astype(np.float64), hidden, cell)
        hidden_products.append(product)
        states.append(hidden.astype(np.float32))
    hidden_cycles = np.stack([product.cycles for product in hidden_products], axis=1)
    hidden_pj = np.stack([product.energy_pj for product in hidden_products], axis=1)
    return RecurrentResult(
        hidden=np.stack(states, axis=1),
        cell=cell.astype(np.float32),
        cycles=input_products.cycles.reshape(sequences, steps) + hidden_cycles,
        energy_pj=input_products.energy_pj.reshape(sequences, steps) + hidden_pj,
        input_products=input_products,
        hidden_products=hidden_products,
    )
