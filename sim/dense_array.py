"""A dense array of multiply-accumulate units (MACs) as closed forms, to compare an array of PEs with.

The array multiplies weights [outputs, inputs] by vectors, zeros included. A grid of MACs holds one operand still:

* weight-stationary: MAC (r, c) keeps the weight of input r and output c while all vectors pass. Partial sums leave the
  grid after each block of `rows` inputs, and come back with the next one;
* output-stationary: MAC (r, c) keeps the sum of vector r and output c while all inputs pass.

A product is cut into folds that the grid takes whole. `systolic_cycles` is the runtime of SCALE-Sim (Samajdar et al.,
ISPASS 2020, eq. 3 and 4): each fold fills and drains the grid. `cycles_of` lets these overlap with the folds before and
after, which is to the dense array's advantage. The SRAMs and MACs have the figures of `sim.cost`, as those of PEs have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Literal, get_args

from sim.config import ArrayConfig
from sim.cost.area import CONTROL_GATES, MULTIPLIER_GROWTH
from sim.cost.blocks import PAPER_BITS, tree_mm
from sim.cost.constants import NODES, NOMINAL, Constants
from sim.cost.energy import ADD_PJ, MULTIPLY_PJ
from sim.cost.sram import Sram, sram
from sim.memory import transfer_cycles
from traces import InputError, NetworkLayer
from traces.plain_values import number, one_of, whole_number

Dataflow = Literal["weight-stationary", "output-stationary"]
DATAFLOWS: tuple[Dataflow, ...] = get_args(Dataflow)
WEIGHT_BITS = (8, 16)
SUM_BITS = 32
_ADDER_GATES_PER_BIT = 6  # of two inputs, a full adder with its share of the carry chain
_MACS_PER_LEAF = 64  # of the clock tree
_MOST_MACS = 2**24
_LARGEST_SIDE = 2**14  # of a grid that is tried
_MOST_BANKS, _LEAST_PORT_BITS = 2**16, 8


@dataclass(frozen=True)
class ProductShape:
    """Weights [rows, columns] of each group times vectors.

    Attributes
    ----------
    rows, columns : int
        Outputs and inputs of a group.
    vectors : int
        Vectors of each group in a run: inputs of a batch times output positions of a convolution.
    groups : int
        Groups, which the array takes one after the other.
    window_reuse : float
        Windows of a convolution that an activation is in. It is read from SRAM once for all of them.
    runs : float
        Times that the product is run, one after the other, with as many vectors each: steps of a recurrent layer. The
        mean of many batches may be a fraction.

    Raises
    ------
    InputError
        If a number is less than 1, or there is no run.
    """

    rows: int
    columns: int
    vectors: int = 1
    groups: int = 1
    window_reuse: float = 1.0
    runs: float = 1

    @classmethod
    def of_calls(
        cls, rows: int, columns: int, vectors: float, calls: int = 1, groups: int = 1, window_reuse: float = 1.0
    ) -> ProductShape:
        """Return the shape of a product that a network calls several times.

        Parameters
        ----------
        rows, columns, groups, window_reuse
            As the attributes.
        vectors : float
            Vectors of each group in all calls, above 0. The mean of many inputs may be a fraction.
        calls : int
            Calls, each of which is a run of as many vectors; rounded up, with `runs` so that all vectors are `vectors`.
        """
        of_call = max(1, math.ceil(round(vectors / calls, 9)))
        runs = vectors / of_call
        return cls(rows, columns, of_call, groups, window_reuse, int(runs) if runs == int(runs) else runs)

    @classmethod
    def of_layer(cls, layer: NetworkLayer, vectors: float, calls: int) -> ProductShape:
        """Return the shape of a layer of a network for one input, with what a compact network leaves out.

        Parameters
        ----------
        layer : NetworkLayer
            The layer. An activation is in no more windows than a call has vectors.
        vectors : float
            Vectors of each group for one input in all calls, mean; above 0.
        calls : int
            Calls for the first input; a layer that others alone call is called once.
        """
        rows, columns = layer.left_out
        calls = max(1, calls)
        return cls.of_calls(
            -(-(layer.rows + rows) // layer.groups),
            layer.columns + columns,
            vectors,
            calls,
            layer.groups,
            min(layer.window_reuse, max(1.0, vectors / calls)),
        )

    def of_batch(self, inputs: int) -> ProductShape:
        """Return the shape for so many inputs at once: each run takes the vectors of all of them."""
        vectors = self.vectors * self.runs * inputs
        calls = math.ceil(self.runs)
        return self.of_calls(self.rows, self.columns, vectors, calls, self.groups, self.window_reuse)

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "vectors", "groups"):
            whole_number(name, getattr(self, name), 1, 2**40)
        if not 1 <= number("window_reuse", self.window_reuse) <= self.columns:
            raise InputError(f"window_reuse must be 1 to the {self.columns} columns; found {self.window_reuse}")
        number("runs", self.runs, above=0)

    @property
    def weights(self) -> int:
        """Weights of all groups."""
        return self.groups * self.rows * self.columns

    @property
    def macs(self) -> float:
        """Multiplications of all groups, vectors and runs."""
        return self.weights * self.vectors * self.runs


@dataclass(frozen=True)
class DenseArray:
    """Parameters of a dense array.

    Attributes
    ----------
    rows, columns : int
        MACs along the two axes of the grid.
    dataflow : {"weight-stationary", "output-stationary"}
        Operand that stays in a MAC.
    bits : int
        Bits of a weight and of an activation, 8 or 16; sums have 32.
    weight_bytes, activation_bytes : int
        SRAM for weights, and for activations and partial sums, in banks whose ports feed the grid in each cycle.
    clock_mhz, node_nm, dram_gb_per_s
        As those of `ArrayConfig`.

    Raises
    ------
    InputError
        If a value is out of its range, or a bank is outside the SRAM tables.
    """

    rows: int
    columns: int
    dataflow: Dataflow = "output-stationary"
    bits: int = 8
    weight_bytes: int = 8 * 2**20
    activation_bytes: int = 128 * 2**10
    clock_mhz: float = 800.0
    node_nm: int = 45
    dram_gb_per_s: float = 12.8

    def __post_init__(self) -> None:
        whole_number("rows", self.rows, 1, _MOST_MACS)
        whole_number("columns", self.columns, 1, _MOST_MACS)
        one_of("dataflow", self.dataflow, DATAFLOWS)
        _check_bits(self.bits)
        for name in ("clock_mhz", "dram_gb_per_s"):
            if not 1e-3 <= number(name, getattr(self, name)) <= 1e6:
                raise InputError(f"{name} must be 0.001 to 1,000,000; found {getattr(self, name)}")
        if self.node_nm not in NODES:
            raise InputError(f"node_nm must be one of {', '.join(map(str, NODES))}; found {self.node_nm}")
        for _ in (self.weight_banks, self.activation_banks):  # refuses banks outside the tables
            pass

    @property
    def macs(self) -> int:
        """MACs of the grid."""
        return self.rows * self.columns

    @cached_property
    def weight_banks(self) -> Banks:
        """SRAM whose ports give the grid `columns` weights per cycle."""
        return Banks.of(self.weight_bytes, self.columns * self.bits, self.node_nm)

    @cached_property
    def activation_banks(self) -> Banks:
        """SRAM whose ports give `rows` activations per cycle, and take what leaves `columns`: sums, or outputs.

        Partial sums of a weight-stationary array come back by as many ports.
        """
        leaving = 2 * SUM_BITS if self.dataflow == "weight-stationary" else self.bits
        return Banks.of(self.activation_bytes, self.rows * self.bits + self.columns * leaving, self.node_nm)

    @property
    def register_bits(self) -> tuple[int, int]:
        """Flip-flops of a MAC that are clocked with each multiplication, and that only keep a value."""
        if self.dataflow == "weight-stationary":
            return self.bits + SUM_BITS, 2 * self.bits  # activation and sum; weight, and that of the next fold
        return 2 * self.bits + SUM_BITS, 0


def _check_bits(bits: int) -> None:
    if bits not in WEIGHT_BITS:
        raise InputError(f"bits must be {' or '.join(map(str, WEIGHT_BITS))}; found {bits}")


@dataclass(frozen=True)
class Banks:
    """Equal SRAMs side by side.

    Attributes
    ----------
    number : int
        SRAMs.
    port_bits : int
        Width of the port of each.
    sram : Sram
        Figures of each.
    """

    number: int
    port_bits: int
    sram: Sram

    @classmethod
    def of(cls, num_bytes: int, port_bits: int, node_nm: int) -> Banks:
        """Return the banks of least area for a capacity and the width of all ports together, a power of two of them.

        Raises InputError if no bank of the SRAM tables is small and wide enough.
        """
        found = list(_banks(num_bytes, port_bits, node_nm))
        if not found:
            raise InputError(
                f"{num_bytes:,} bytes of SRAM with ports of {port_bits:,} bits together are in no number of banks "
                f"within the SRAM tables; use fewer rows or columns, or more bytes"
            )
        return min(found, key=lambda banks: banks.area_mm2)

    @property
    def area_mm2(self) -> float:
        """Area of all banks in mm2."""
        return self.number * float(self.sram.area_mm2)

    @property
    def read_pj_per_bit(self) -> float:
        """Energy of a bit that is read, in pJ."""
        return float(self.sram.read_pj) / self.port_bits

    @property
    def write_pj_per_bit(self) -> float:
        """Energy of a bit that is written, in pJ."""
        return float(self.sram.write_pj) / self.port_bits


@cache
def _banks(num_bytes: int, port_bits: int, node_nm: int) -> tuple[Banks, ...]:
    """Return the banks within the SRAM tables, by each power of two."""
    found = []
    for banks in (1 << power for power in range(_MOST_BANKS.bit_length())):
        width = max(_LEAST_PORT_BITS, -(-port_bits // banks))
        try:
            found.append(Banks(banks, width, sram(-(-num_bytes // banks), width, node_nm)))
        except InputError:  # a bank is too large, too wide, or too small for its port
            continue
    return tuple(found)


@dataclass(frozen=True)
class DenseRun:
    """Costs of products on a dense array.

    Attributes
    ----------
    cycles : float
        Cycles, those that wait for DRAM included.
    macs : float
        Multiplications.
    latency_us : float
        Time in us.
    dram_bytes : float
        Bytes of weights from DRAM.
    arithmetic_pj, weight_pj, activation_pj, clock_pj, wire_pj, leakage_pj, dram_pj : float
        Energy: multiplications and additions; reads of weights, and their writes when they are loaded; activations,
        partial sums and outputs; clock of all flip-flops and its tree; wires between SRAMs and grid; leakage of SRAMs;
        DRAM with its standby if it is used.
    """

    cycles: float
    macs: float
    latency_us: float
    dram_bytes: float
    arithmetic_pj: float
    weight_pj: float
    activation_pj: float
    clock_pj: float
    wire_pj: float
    leakage_pj: float
    dram_pj: float

    @property
    def energy_nj(self) -> float:
        """Energy of all parts in nJ."""
        parts = [field.name for field in fields(self) if field.name.endswith("_pj")]
        return float(sum(getattr(self, name) for name in parts)) / 1e3


def folds_of(product: ProductShape, array: DenseArray) -> tuple[int, int, int]:
    """Return the folds of one group along the rows and along the columns of the grid, and the steps of a fold."""
    along_rows, steps = (
        (product.columns, product.vectors)
        if array.dataflow == "weight-stationary"
        else (product.vectors, product.columns)
    )
    return -(-along_rows // array.rows), -(-product.rows // array.columns), steps


def systolic_cycles(product: ProductShape, array: DenseArray) -> int:
    """Return the runtime of a run by SCALE-Sim's closed form: each fold takes 2 rows + columns + steps - 2 cycles.

    Source: Samajdar et al., "A systematic methodology for characterizing scalability of DNN accelerators using
    SCALE-Sim", ISPASS 2020, eq. 3 and 4.
    """
    down, across, steps = folds_of(product, array)
    return product.groups * down * across * (2 * array.rows + array.columns + steps - 2)


def cycles_of(product: ProductShape, array: DenseArray) -> int:
    """Return the cycles of a run if its folds follow without a gap; only the first fills and the last drains the grid.

    A fold takes as many cycles as its steps, but at least `rows`: the weights of the next fold take that long to enter,
    and so do the sums of the last one to leave.
    """
    down, across, steps = folds_of(product, array)
    return product.groups * down * across * max(steps, array.rows) + 2 * array.rows + array.columns - 2


def dense_area_mm2(array: DenseArray, constants: Constants = NOMINAL) -> float:
    """Return the area of a dense array, with the cells, SRAM tables and filler of `sim.cost.area`.

    Parameters
    ----------
    array : DenseArray
        The array.
    constants : Constants, optional
        Constants of the model.

    Returns
    -------
    float
        Area in mm2.
    """
    logic = NODES[array.node_nm].area
    growth = (array.bits / PAPER_BITS) ** MULTIPLIER_GROWTH
    wider_adder = (SUM_BITS - array.bits) * _ADDER_GATES_PER_BIT * constants.gate_um2
    registers = sum(array.register_bits) * constants.register_file_um2_per_bit
    mac_um2 = constants.multiply_add_um2 * growth + wider_adder + registers
    srams = sum(
        banks.number * banks.sram.with_constants(constants).area_mm2
        for banks in (array.weight_banks, array.activation_banks)
    )
    um2 = logic * array.macs * mac_um2 + 1e6 * srams
    return float(um2 / (1 - constants.filler_share) + logic * CONTROL_GATES * constants.gate_um2) / 1e6


def run_dense(
    products: Sequence[ProductShape], array: DenseArray, constants: Constants = NOMINAL, alone: bool = False
) -> DenseRun:
    """Return the costs of products that a dense array runs one after the other.

    If the weights do not all fit into `weight_bytes`, the largest layers that do stay there. The others are loaded from
    DRAM while the array computes: a layer that fits alone once for all vectors and runs, a larger one for each run.

    Parameters
    ----------
    products : sequence of ProductShape
        Layers of a network, or one.
    array : DenseArray
        The array.
    constants : Constants, optional
        Constants of the model.
    alone : bool
        True if each layer has the array to itself, so that its weights stay if they fit alone.

    Returns
    -------
    DenseRun
        Cycles and energy.

    Notes
    -----
    A run begins when the one before has ended, since a step of a recurrent layer takes what the last one gave: the grid
    fills and drains in each run, and reads the weights of all folds. If the weights are one fold of a weight-stationary
    grid, they stay in the MACs, and later runs take the steps and the way through the grid alone.
    """
    bits, logic = array.bits, NODES[array.node_nm].energy
    loads = [_loads([each], array)[0] for each in products] if alone else _loads(products, array)
    cycles = dram_bytes = weight_bits = activation_bits = sum_bits = output_bits = 0.0
    for product, times in zip(products, loads, strict=True):
        down, across, _ = folds_of(product, array)
        num_bytes = _bytes_of(product, array)
        cycles += max(_cycles_of_runs(product, array), times * transfer_cycles(num_bytes, array))
        dram_bytes += times * num_bytes
        vectors = product.groups * product.vectors * product.runs
        sums, entering = product.rows * vectors, product.columns * vectors / product.window_reuse
        weight_stationary = array.dataflow == "weight-stationary"
        reads = min(product.runs, 1) if _stays_in_grid(product, array) else product.runs
        weight_bits += product.weights * reads * (1 if weight_stationary else down) * bits
        activation_bits += entering * across * bits
        sum_bits += sums * (down - 1) * SUM_BITS if weight_stationary else 0  # leave the grid and come back
        output_bits += sums * bits
    macs = sum(product.macs for product in products)
    latency_us = cycles / array.clock_mhz
    mac_pj = constants.multiply_pj * MULTIPLY_PJ[bits] / MULTIPLY_PJ[PAPER_BITS]
    mac_pj += constants.add_pj * ADD_PJ[SUM_BITS] / ADD_PJ[PAPER_BITS]
    weights, activations = array.weight_banks, array.activation_banks
    clocked, kept = array.register_bits
    idle = array.macs * cycles - macs
    flip_flop_pj = logic * constants.flip_flop_clock_fj / 1e3
    gated = constants.gated_share * ((clocked + kept) * idle + kept * macs)
    side_mm = math.sqrt(dense_area_mm2(array, constants))
    wire = NODES[array.node_nm].wire_energy
    leaves = -(-array.macs // _MACS_PER_LEAF)
    tree = constants.clock_wire_pj_per_mm * wire * float(tree_mm(leaves, side_mm**2 / leaves))
    moved_bits = weight_bits + activation_bits + 2 * sum_bits + output_bits
    leakage_mw = weights.number * weights.sram.leakage_mw + activations.number * activations.sram.leakage_mw
    ns = latency_us * 1e3
    return DenseRun(
        cycles=cycles,
        macs=macs,
        latency_us=latency_us,
        dram_bytes=dram_bytes,
        arithmetic_pj=logic * mac_pj * macs,
        weight_pj=constants.sram_energy
        * (weights.read_pj_per_bit * weight_bits + weights.write_pj_per_bit * 8 * dram_bytes),
        activation_pj=constants.sram_energy
        * (
            activations.read_pj_per_bit * (activation_bits + sum_bits)
            + activations.write_pj_per_bit * (sum_bits + output_bits)
        ),
        clock_pj=flip_flop_pj * (clocked * macs + gated) + tree * cycles,
        wire_pj=constants.wire_pj_per_bit_mm * wire * side_mm / 2 * moved_bits,
        leakage_pj=constants.sram_leakage * leakage_mw * ns,
        dram_pj=dram_bytes * constants.dram_pj_per_byte + (constants.dram_standby_mw * ns if dram_bytes else 0.0),
    )


def _stays_in_grid(product: ProductShape, array: DenseArray) -> bool:
    """Return True if all weights stay in the MACs from run to run."""
    down, across, _ = folds_of(product, array)
    return array.dataflow == "weight-stationary" and product.groups * down * across == 1


def _cycles_of_runs(product: ProductShape, array: DenseArray) -> float:
    """Return the cycles of all runs, one after the other."""
    runs, whole = product.runs, cycles_of(product, array)
    if runs <= 1 or not _stays_in_grid(product, array):
        return runs * whole
    return whole + (runs - 1) * (product.vectors + array.rows + array.columns - 2)


def _bytes_of(product: ProductShape, array: DenseArray) -> int:
    return -(-product.weights * array.bits // 8)


def _loads(products: Sequence[ProductShape], array: DenseArray) -> list[float]:
    """Return how often each layer is loaded: 0 if it stays. Layers stay by size, while there is room.

    A layer that fits alone serves all of its runs once it is loaded, as on the array of PEs (`sim.network_schedule`).
    """
    sizes = [_bytes_of(product, array) for product in products]
    room, loads = array.weight_bytes, [0.0] * len(sizes)
    for place in sorted(range(len(sizes)), key=lambda each: -sizes[each]):
        if sizes[place] <= room:
            room -= sizes[place]
        else:
            runs = products[place].runs
            loads[place] = runs if sizes[place] > array.weight_bytes else min(runs, 1)
    return loads


def same_silicon(array: ArrayConfig, area_mm2: float, dataflow: Dataflow, bits: int) -> tuple[DenseArray, ...]:
    """Return the dense arrays with at most the area of an array of PEs, and its node, clock, DRAM and bits of SRAM.

    Parameters
    ----------
    array : ArrayConfig
        The array of PEs; all bits of its SRAMs hold weights or activations here.
    area_mm2 : float
        Its area.
    dataflow : {"weight-stationary", "output-stationary"}
        Operand that stays in a MAC.
    bits : int
        Bits of a weight.

    Returns
    -------
    tuple of DenseArray
        For each power of two of `rows`, the array with the most columns that the area and the SRAM tables allow, and
        those with each power of two of columns below; none if the SRAMs alone take more area.

    Raises
    ------
    InputError
        If dataflow or bits are none of those.
    """
    one_of("dataflow", dataflow, DATAFLOWS)
    _check_bits(bits)
    return tuple(_shapes(array, area_mm2, dataflow, bits))


def _shapes(array: ArrayConfig, area_mm2: float, dataflow: Dataflow, bits: int) -> Iterator[DenseArray]:
    activation_bytes = array.num_pes * array.activation_bytes
    weight_bytes = array.num_pes * (array.sparse_matrix_bytes + array.pointer_bytes)

    def shaped(rows: int, columns: int) -> DenseArray | None:
        try:
            found = DenseArray(
                rows,
                columns,
                dataflow,
                bits,
                weight_bytes,
                activation_bytes,
                array.clock_mhz,
                array.node_nm,
                array.dram_gb_per_s,
            )
        except InputError:  # its banks are outside the SRAM tables
            return None
        return found if dense_area_mm2(found) <= area_mm2 else None

    for rows in (1 << power for power in range(_LARGEST_SIDE.bit_length())):
        fitting = [
            found
            for columns in (1 << power for power in range(_LARGEST_SIDE.bit_length()))
            if (found := shaped(rows, columns)) is not None
        ]
        if not fitting:
            continue
        largest = fitting[-1]
        below, above = largest.columns, 2 * largest.columns
        while above - below > 1:
            middle = (below + above) // 2
            found = shaped(rows, middle)
            if found is None:
                above = middle
            else:
                below, largest = middle, found
        yield from fitting if largest is fitting[-1] else (*fitting, largest)
