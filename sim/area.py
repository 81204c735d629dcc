"""Area of the array at 45 nm, from the modules of EIE's Table II."""

from __future__ import annotations

from sim.config import ArrayConfig
from sim.energy import num_lnzd_units

# Han et al., "EIE", ISCA 2016, Table II: one PE with a queue of 8 slots, and one LNZD unit.
PE_UM2 = 638_024
QUEUE_UM2 = 758
QUEUE_SLOTS = 8
LNZD_UNIT_UM2 = 189


def area_mm2(config: ArrayConfig) -> float:
    """Area of the array: PEs with the paper's SRAMs, queues in proportion to their slots, and the scan tree.

    The line width does not count: the paper gives the area of its SRAMs at 64 bits alone.
    """
    pe_um2 = PE_UM2 + QUEUE_UM2 * (config.queue_slots / QUEUE_SLOTS - 1)
    return (config.num_pes * pe_um2 + num_lnzd_units(config.num_pes) * LNZD_UNIT_UM2) / 1e6
