"""Sweep of arrays for one layer, and the choice of three arrays within a limit on area.

    python examples/sweep_arrays.py

PyTorch is not needed. With `folder=`, the sweep stores finished points and continues after an interruption.
"""

from __future__ import annotations

import numpy as np

from designs import Constraints, Range, Sampling, Space, Workload, front_of, network_totals, sweep
from traces import draw_layer

MAX_AREA_MM2 = 10.0


def main() -> None:
    layer, first = draw_layer("mine", rows=500, columns=800, weight_density=0.1, activation_density=0.4, seed=0)
    draw = np.random.default_rng(0)
    inputs = np.stack([first, *(draw.random((3, 800), dtype=np.float32) * (draw.random((3, 800)) < 0.4))])
    workload = Workload.of_layers("mine", [layer], {"mine": inputs.astype(np.float32)})
    space = Space(
        {
            "num_pes": (4, 8, 16, 32),
            "queue_slots": Range(2, 64, factor=2),
            "line_bits": (32, 64, 128, 256),
            "index_bits": (3, 4, 5),
            "sparse_matrix_bytes": (4096, 8192, 16384, 32768),
            "pointer_bytes": (4096,),
            "activation_bytes": (1024,),
            "row_assignment": ("interleaved", "entries"),
        },
        constraints=Constraints(max_area_mm2=MAX_AREA_MM2, must_fit=True),
    )
    table = sweep(workload, space, Sampling("sobol", points=400, seed=1))
    points = [point for point in network_totals(table) if point.runs]
    print(f"{len(points)} arrays of at most {MAX_AREA_MM2:g} mm2 hold and run the layer")
    front = front_of(points, ("latency_us", "energy_nj", "area_mm2"))
    print(f"{len(front)} of them are Pareto-optimal in latency, energy and area; the best")
    for objective, best in (
        ("in latency", min(front, key=lambda point: point.latency_us)),
        ("in energy x delay", min(points, key=lambda point: point.energy_delay_nj_us)),
        ("in area", min(front, key=lambda point: point.area_mm2)),
    ):
        array = best.design.array
        print(
            f"  {objective:<18}{array.num_pes:>3} PEs, {array.queue_slots:>2} slots, {array.line_bits:>3}-bit lines, "
            f"gaps of {array.index_bits} bits, rows {best.design.row_assignment}: "
            f"{best.latency_us:.2f} us, {best.energy_nj:.1f} nJ, {best.area_mm2:.2f} mm2"
        )


if __name__ == "__main__":
    main()
