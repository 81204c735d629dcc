"""Scaling of mapped blocks to 45 nm, for comparison with the cost model; each factor with its source.

Area: blocks count in NAND gates of two inputs, and a gate has the area of the NanGate 45 nm Open Cell Library's. The
factor from sky130 is 0.213. Stillmaker and Baas give 0.16 for 130 nm, and the square of the nodes is 0.12: a library's
density counts as much as its node. Delay: a path counts in delays of an inverter that drives four like it. Energy:
capacitance in proportion to the node, times the square of the voltage.

Areas are uncertain by about 30 %, delays and energies by about 40 %.
"""

from __future__ import annotations

NODE_NM = 45.0
VOLTAGE_V = 0.9  # of Horowitz, ISSCC 2014, whose energies the cost model has
# NAND2_X1 of the NanGate 45 nm Open Cell Library (PDKv1_3_v2010_12), 0.57 um x 1.4 um
NAND2_UM2 = 0.798
# 0.36 ns per um of gate length: Ho, Mai, Horowitz, "The future of wires", Proc. IEEE 89(4), 2001. The fit of Stillmaker
# and Baas for high-performance 45 nm at 0.9 V gives 0.0126 ns.
FANOUT_OF_4_NS = 0.36 * 0.045
# Stillmaker, Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm to 7 nm",
# Integration 58, 2017: area at 45 nm over that at 7 nm.
AREA_FROM_7_NM = 17.0


def area_um2(nand2_equivalents: float) -> float:
    """Return the area in um2 of a block at 45 nm from its area in NAND gates of two inputs."""
    return nand2_equivalents * NAND2_UM2


def path_ns(path: float, fanout_of_4: float) -> float:
    """Return a path at 45 nm in ns, from the path and the delay of a fan-out of 4 in the library, in one unit."""
    return path / fanout_of_4 * FANOUT_OF_4_NS


def energy_factor(node_nm: float, voltage_v: float) -> float:
    """Return the energy at 45 nm and 0.9 V as a share of the energy at a node in nm and a voltage in V."""
    return NODE_NM / node_nm * (VOLTAGE_V / voltage_v) ** 2
