"""The nine layers of the EIE benchmark by name (Han et al., ISCA 2016, Tables III and IV)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from traces.arrays import Floats32
from traces.errors import InputError
from traces.layer import CompressedLayer
from traces.synthetic import draw_layer, draw_uneven_layer
from traces.unevenness import measured_unevenness


@dataclass(frozen=True)
class BenchmarkLayer:
    """Shape, densities and published times of one benchmark layer.

    Attributes
    ----------
    name : str
        Name in the paper.
    columns, rows : int
        Shape of the weights.
    weight_density, activation_density : float
        Shares of non-zeros.
    paper_theoretical_us, paper_actual_us : float
        Times in Table IV, with perfect load balance and as simulated.
    seed : int
        Seed of the random layer.
    """

    name: str
    columns: int
    rows: int
    weight_density: float
    activation_density: float
    paper_theoretical_us: float
    paper_actual_us: float
    seed: int

    def draw(self) -> tuple[CompressedLayer, Floats32]:
        """Draw a layer and an input at the published densities, the same at every call."""
        return draw_layer(self.name, self.rows, self.columns, self.weight_density, self.activation_density, self.seed)

    def draw_uneven(self, draw: int = 0) -> tuple[CompressedLayer, Floats32]:
        """Draw a layer with a mask as uneven as those of pruned layers, and an input; `draw` numbers the draws."""
        return draw_uneven_layer(
            *(self.name, self.rows, self.columns, self.weight_density, self.activation_density),
            *(self.seed + 1000 * (draw + 1), measured_unevenness()),
        )


EIE_BENCHMARK: dict[str, BenchmarkLayer] = {
    layer.name: layer
    for layer in (
        BenchmarkLayer("Alex-6", 9216, 4096, 0.09, 0.351, 28.1, 30.3, 100),
        BenchmarkLayer("Alex-7", 4096, 4096, 0.09, 0.353, 11.7, 12.2, 101),
        BenchmarkLayer("Alex-8", 4096, 1000, 0.25, 0.375, 8.9, 9.9, 102),
        BenchmarkLayer("VGG-6", 25088, 4096, 0.04, 0.183, 28.1, 34.4, 103),
        BenchmarkLayer("VGG-7", 4096, 4096, 0.04, 0.375, 7.9, 8.7, 104),
        BenchmarkLayer("VGG-8", 4096, 1000, 0.23, 0.411, 7.3, 8.4, 105),
        BenchmarkLayer("NT-We", 4096, 600, 0.10, 1.0, 5.2, 8.0, 106),
        BenchmarkLayer("NT-Wd", 600, 8791, 0.11, 1.0, 13.0, 13.9, 107),
        BenchmarkLayer("NT-LSTM", 1201, 2400, 0.10, 1.0, 6.5, 7.5, 108),
    )
}


def benchmark_layer(name: str) -> BenchmarkLayer:
    """Return a benchmark layer by its name in the paper.

    Parameters
    ----------
    name : str
        One of the names in EIE_BENCHMARK.

    Returns
    -------
    BenchmarkLayer
        Shape, densities and published times.

    Raises
    ------
    InputError
        If there is no layer of that name.
    """
    try:
        return EIE_BENCHMARK[name]
    except KeyError:
        raise InputError(f"there is no EIE benchmark layer {name!r}; the nine are {', '.join(EIE_BENCHMARK)}") from None


REAL_LAYERS = {"Alex-8": Path("alex8") / "alex8.npz"}  # paths in the data folder
