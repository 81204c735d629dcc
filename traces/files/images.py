"""Sets of labelled images: scikit-learn's handwritten digits, or a folder of IDX files (MNIST, CIFAR)."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from traces.arrays import Floats32, Integers64
from traces.errors import InputError
from traces.files.idx import read_idx
from traces.reading_limit import check_array_bytes

_DIGITS_TEST_IMAGES = 360  # of 1,797: one in five


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images for training and for testing.

    Attributes
    ----------
    name : str
        Name of the set.
    train_images, test_images : numpy.ndarray
        Pixels from 0 to 1, float32 [images, pixels].
    train_labels, test_labels : numpy.ndarray
        Classes, int64 [images].
    """

    name: str
    train_images: Floats32
    train_labels: Integers64
    test_images: Floats32
    test_labels: Integers64

    @property
    def digest(self) -> str:
        """Checksum of all images and labels, 8 hexadecimal digits."""
        checksum = 0
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
        return f"{checksum:08x}"

    @property
    def num_pixels(self) -> int:
        """Pixels of an image."""
        return int(self.train_images.shape[1])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1


def load_images(data: str | os.PathLike[str] | None = None) -> ImageSet:
    """Load the digits that ship with scikit-learn, or the IDX files in a folder.

    Parameters
    ----------
    data : str or os.PathLike, optional
        Folder of IDX files; None for the digits.

    Returns
    -------
    ImageSet
        Labelled images.
    """
    return load_digits() if data is None else load_idx_folder(data)


def load_digits() -> ImageSet:
    """Load 1,797 handwritten digits of 8 x 8 pixels (scikit-learn, from UCI), 360 of them for testing.

    Returns
    -------
    ImageSet
        Labelled images.
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    digits = sklearn_digits()
    images = (digits.data / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=_DIGITS_TEST_IMAGES, stratify=labels, random_state=0
    )
    return ImageSet("digits", train_images, train_labels, test_images, test_labels)


def load_idx_folder(folder: str | os.PathLike[str]) -> ImageSet:
    """Load training and test images with 8-bit pixels from IDX files, plain or gzip.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder, or parent of a folder `mnist`, with the files `train*-images-idx*`, `train*-labels-idx1*`,
        `t10k-images-idx*` and `t10k-labels-idx1*`.

    Returns
    -------
    ImageSet
        Labelled images.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the files do not match.
    """
    folder = Path(folder)
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: must be a folder that holds IDX files; it cannot be opened: {error.strerror or error}"
        ) from error
    if not any(folder.glob("train*-images-idx*")) and (folder / "mnist").is_dir():
        folder = folder / "mnist"

    pixel_bytes = np.dtype(np.float32).itemsize

    def load(part: str) -> tuple[Floats32, Integers64]:
        images_path, labels_path = (_one_file(folder, f"{part}-{kind}-idx*") for kind in ("images", "labels"))
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.dtype != np.uint8 or images.ndim < 2 or images.size == 0:
            raise InputError(
                f"{images_path}: images must be uint8 [images, height, width] or [images, channels, height, "
                f"width]; found {images.dtype} {list(images.shape)}"
            )
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise InputError(
                f"{labels_path}: labels must be uint8, one for each of the {len(images):,} images; "
                f"found {labels.dtype} {list(labels.shape)}"
            )
        check_array_bytes(images_path, images.shape, pixel_bytes, images_path.stat().st_size)
        pixels = images.reshape(len(images), -1).astype(np.float32)
        pixels /= np.float32(255)
        return pixels, labels.astype(np.int64)

    train_images, train_labels = load("train*")
    test_images, test_labels = load("t10k")
    if train_images.shape[1] != test_images.shape[1]:
        raise InputError(
            f"{folder}: training and test images must be of one size; found {train_images.shape[1]} and "
            f"{test_images.shape[1]} pixels"
        )
    return ImageSet(folder.resolve().name, train_images, train_labels, test_images, test_labels)


def _one_file(folder: Path, pattern: str) -> Path:
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise InputError(f"{folder}: must hold an IDX file named {pattern}; found none")
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise InputError(f"{folder}: must hold one IDX file named {pattern}; found {names}; keep one of them")
    return paths[0]
