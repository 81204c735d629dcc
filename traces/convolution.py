"""Convolutions as matrix products: one vector for each output position."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from traces.errors import InputError

Images = npt.NDArray[np.float32]  # [inputs, channels, height, width]


@dataclass(frozen=True)
class Convolution:
    """How a convolution goes over an image; pairs are of height and width.

    Raises InputError if a value is not a whole number in its range.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    """zeros around the image"""
    groups: int = 1
    """parts of the channels that are convolved by themselves"""

    def __post_init__(self) -> None:
        for field in fields(self):
            lowest = 0 if field.name == "padding" else 1
            value = getattr(self, field.name)
            values = (value,) if field.name == "groups" else value
            good = isinstance(values, tuple) and len(values) == (1 if field.name == "groups" else 2)
            if not good or not all(isinstance(each, int | np.integer) and each >= lowest for each in values):
                what = "a whole number" if field.name == "groups" else "a pair of whole numbers (height, width)"
                raise InputError(f"{field.name} of a convolution must be {what}, {lowest} or more; found {value!r}")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output. Raises InputError if the kernel is larger than the padded image."""
        sizes = []
        for size, kernel, stride, padding in zip((height, width), self.kernel, self.stride, self.padding, strict=True):
            if size + 2 * padding < kernel:
                raise InputError(
                    f"a kernel of {self.kernel[0]} x {self.kernel[1]} must fit the padded image; found an image of "
                    f"{height} x {width} with padding {self.padding[0]}, {self.padding[1]}"
                )
            sizes.append((size + 2 * padding - kernel) // stride + 1)
        return sizes[0], sizes[1]

    def unroll(self, images: Images) -> npt.NDArray[np.float32]:
        """The vectors that the rows of the unrolled weights are multiplied with, padded with zeros.

        images   float32 [inputs, channels, height, width]

        Returns float32 [groups, inputs, positions, channels / groups * kernel height * kernel width], positions row by
        row, and columns in the order channel, height, width: that of a weight [out, in / groups, height, width].
        """
        inputs, channels, height, width = images.shape
        rows, columns = self.output_size(height, width)
        (top, left), groups = self.padding, self.groups
        padded = np.pad(images, ((0, 0), (0, 0), (top, top), (left, left)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(2, 3))
        windows = windows[:, :, :: self.stride[0], :: self.stride[1]]
        by_group = windows.reshape(inputs, groups, channels // groups, rows, columns, *self.kernel)
        vectors = by_group.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, inputs, rows * columns, -1)
        return np.ascontiguousarray(vectors)
