"""Convolutions as matrix products, with one vector for each output position."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from traces.arrays import Floats32
from traces.errors import InputError

Images = Floats32  # [inputs, channels, height, width]


@dataclass(frozen=True)
class Convolution:
    """Geometry of a convolution; the pairs are height and width.

    Attributes
    ----------
    kernel : (int, int)
        Size of the kernel.
    stride : (int, int)
        Distance of the output positions.
    padding : (int, int)
        Zeros at each side of the image.
    groups : int
        Parts of the channels that are convolved separately.

    Raises
    ------
    InputError
        If a value is not a whole number in its range.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            lowest = 0 if field.name == "padding" else 1
            value = getattr(self, field.name)
            values = (value,) if field.name == "groups" else value
            valid = isinstance(values, tuple) and len(values) == (1 if field.name == "groups" else 2)
            if not valid or not all(isinstance(number, int | np.integer) and number >= lowest for number in values):
                kind = "a whole number" if field.name == "groups" else "a pair of whole numbers (height, width)"
                raise InputError(f"{field.name} of a convolution must be {kind}, {lowest} or more; found {value!r}")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the output; raise InputError if the kernel exceeds the padded image."""
        sizes = []
        for size, kernel, stride, padding in zip((height, width), self.kernel, self.stride, self.padding, strict=True):
            if size + 2 * padding < kernel:
                raise InputError(
                    f"a kernel of {self.kernel[0]} x {self.kernel[1]} must fit the padded image; found an image of "
                    f"{height} x {width} with padding {self.padding[0]}, {self.padding[1]}"
                )
            sizes.append((size + 2 * padding - kernel) // stride + 1)
        return sizes[0], sizes[1]

    def unroll(self, images: Images) -> Floats32:
        """Return the vectors that the rows of the unrolled weights are multiplied with, padded with zeros.

        Parameters
        ----------
        images : numpy.ndarray
            float32 [inputs, channels, height, width].

        Returns
        -------
        numpy.ndarray
            float32 [groups, inputs, positions, channels / groups * kernel height * kernel width]. The positions are row
            by row. The columns are in the order channel, height, width, as in a weight [out, in / groups, height,
            width].
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
