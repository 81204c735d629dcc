"""Files that the tables and figures of the papers are made from: real data, containers, results of an experiment."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from traces import InputError
from traces.eie_benchmark import REAL_LAYERS

MASKS = ("random", "uneven")
QUEUE_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # labels of EIE's Fig 8
LENETS = ("lenet_300_100", "lenet_5")
CONTAINERS = (*LENETS, "resnet_20")
PRUNED_LENET_5 = Path("lenet_5") / "paper" / "pruned.npz"  # in the results of the experiment "deep-compression"
RESNET = Path("models") / "resnet20_cifar10.npz"
CIFAR = "cifar10"
SQUEEZENET = Path("squeezenet_deep_compression") / "compressed_SqueezeNet.net"


@dataclass(frozen=True)
class PaperSources:
    """Folders of the papers' material; each file in them may be absent.

    Attributes
    ----------
    data : Path, optional
        Folder of real data: alex8/, mnist/, cifar10/, models/, squeezenet_deep_compression/.
    containers : Path
        Folder of the project's own compressed networks.
    deep_compression : Path
        Folder of the results of the experiment "deep-compression".

    Raises
    ------
    InputError
        If the folder of data does not exist.
    """

    data: Path | None
    containers: Path
    deep_compression: Path

    def __post_init__(self) -> None:
        if self.data is not None and not self.data.is_dir():
            raise InputError(
                f"{self.data}: there is no such folder of data; give one that holds alex8/, mnist/ and so on"
            )

    def real(self, *parts: str | Path) -> Path | None:
        """Return the path of a file or folder of the data, None if it is absent."""
        path = None if self.data is None else self.data.joinpath(*parts)
        return path if path is not None and path.exists() else None

    @property
    def mnist(self) -> Path | None:
        """Folder of MNIST's images, the data folder itself or mnist/ in it; None if there is none."""
        has_images = self.data is not None and any(self.data.glob("train*-images-idx*"))
        return self.data if has_images else self.real("mnist")

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Checksums of the source files by path."""
        files = [self.real(path) for path in (*REAL_LAYERS.values(), RESNET)]
        files += [self.containers / f"{name}.dc" for name in LENETS] + [self.deep_compression / PRUNED_LENET_5]
        return {
            str(path): f"{zlib.crc32(path.read_bytes()):08x}" for path in files if path is not None and path.exists()
        }
