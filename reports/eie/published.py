"""Published numbers of EIE: Han et al., "EIE: efficient inference engine on compressed deep neural network".

Values by layer are in the order of LAYERS. Table II is in `sim.cost.energy` and `sim.cost.area`; Table III and EIE's
own times of Table IV are in `traces.eie_benchmark`.
"""

from __future__ import annotations

from traces.eie_benchmark import EIE_BENCHMARK

LAYERS = tuple(EIE_BENCHMARK)
# Table III
FLOP_PERCENT = (3, 3, 10, 1, 2, 9, 10, 11, 11)
# Table IV, us: platform, batch, matrix
PLATFORM_TIMES_US = {
    ("CPU", 1, "dense"): (7516.2, 6187.1, 1134.9, 35022.8, 5372.8, 774.2, 605.0, 1361.4, 470.5),
    ("CPU", 1, "sparse"): (3066.5, 1282.1, 890.5, 3774.3, 545.1, 777.3, 261.2, 437.4, 260.0),
    ("CPU", 64, "dense"): (318.4, 188.9, 45.8, 1056.0, 188.3, 45.7, 28.7, 69.0, 28.8),
    ("CPU", 64, "sparse"): (1417.6, 682.1, 407.7, 1780.3, 274.9, 363.1, 117.7, 176.4, 107.4),
    ("GPU", 1, "dense"): (541.5, 243.0, 80.5, 1467.8, 243.0, 80.5, 65.0, 90.1, 51.9),
    ("GPU", 1, "sparse"): (134.8, 65.8, 54.6, 167.0, 39.8, 48.0, 17.7, 41.1, 18.5),
    ("GPU", 64, "dense"): (19.8, 8.9, 5.9, 53.6, 8.9, 5.9, 3.2, 2.3, 2.5),
    ("GPU", 64, "sparse"): (94.6, 51.5, 23.2, 121.5, 24.4, 22.0, 10.9, 11.0, 9.0),
    ("mobile GPU", 1, "dense"): (12437.2, 5765.0, 2252.1, 35427.0, 5544.3, 2243.1, 1316.0, 2565.5, 956.9),
    ("mobile GPU", 1, "sparse"): (2879.3, 1256.5, 837.0, 4377.2, 626.3, 745.1, 240.6, 570.6, 315.0),
    ("mobile GPU", 64, "dense"): (1663.6, 2056.8, 298.0, 2001.4, 2050.7, 483.9, 87.8, 956.3, 95.2),
    ("mobile GPU", 64, "sparse"): (4003.9, 1372.8, 576.7, 8024.8, 660.2, 544.1, 236.3, 187.7, 186.5),
}
# Fig 6: speedup over the CPU, dense; and the means over all three platforms in the text
SPEEDUPS = (248, 507, 115, 1018, 618, 92, 63, 98, 60)
SPEEDUP_MEANS = {"CPU": 189, "GPU": 13, "mobile GPU": 307}
# Fig 7: energy efficiency over the CPU, dense; its geometric mean in the text
ENERGY_GAINS = (34_522, 61_533, 14_826, 119_797, 76_784, 11_828, 9_485, 10_904, 8_053)
ENERGY_GAIN_MEAN = 24_207
FIG_7_WATT = 0.600  # abstract; Tables II and V have 0.59
# Table V: clock MHz, area mm2, power W, frames/s on Alex-7
PLATFORMS = {
    "Core i7-5930K": (3500, 356, 73, 162),
    "GeForce Titan X": (1075, 601, 159, 4_115),
    "Tegra K1": (852, None, 5.1, 173),
    "A-Eye": (150, None, 9.63, 33),
    "DaDianNao": (606, 67.7, 15.97, 147_938),
    "TrueNorth": (None, 430, 0.18, 1_989),
    "EIE, 64 PEs, 45 nm": (800, 40.8, 0.59, 81_967),
    "EIE, 256 PEs, 28 nm": (1200, 63.8, 2.36, 426_230),
}
MAX_PARAMETERS = {64: 84e6, 256: 336e6}
SCALING_256_OVER_64 = 3.25  # section VIII, throughput
ALEXNET_FRAMES_PER_S = 1.88e4  # abstract, all three layers one after the other
# Table II, by component: memory of a PE, um2
MEMORY_UM2 = 594_786
# Table I
FLOAT_MULTIPLY_PJ = 3.7
# Fig 10
ACCURACIES = {"float": 0.803, "fixed-16": 0.798, "fixed-8": 0.53}
MULTIPLIER_SAVINGS = {"32-bit fixed": 5.0, "32-bit float": 6.2}  # energy of these over that of 16-bit fixed point
STEADY_STATE_ENTRIES = 8  # entries per line, section VI
