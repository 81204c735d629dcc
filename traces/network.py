"""What runs, as a whole: the layers of a feed-forward network and what lies between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from traces.convolution import Convolution, Images
from traces.errors import InputError
from traces.layer import CompressedLayer, FloatVector

Shape = tuple[int, ...]  # of one input: [features], or [channels, height, width]
Floats = npt.NDArray[Any]
INPUT = "input"  # the name of what enters the network


@dataclass(frozen=True, eq=False)
class LayerStep:
    """A matrix product: a fully connected layer, which flattens what enters it, or a convolution.

    layer        its rows are outputs, or output channels; its columns as `Convolution.unroll` orders them
    source       the step whose output enters
    convolution  None for a fully connected layer
    bias         float32 [rows], added to the outputs off the array; besides the layer's own, `layer.bias_values()`
    rectified    whether negative outputs become zero (ReLU)
    """

    layer: CompressedLayer
    source: str = INPUT
    convolution: Convolution | None = None
    bias: FloatVector | None = None
    rectified: bool = False

    @property
    def name(self) -> str:
        """That of the layer."""
        return self.layer.name

    @property
    def sources(self) -> tuple[str, ...]:
        """The step whose output enters."""
        return (self.source,)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output. Raises InputError if the layer does not take what enters."""
        convolution, layer = self.convolution, self.layer
        if self.bias is not None and self.bias.shape != (layer.rows,):
            raise InputError(f"bias must be [{layer.rows}], one value a row; found {list(self.bias.shape)}")
        if convolution is None:
            if math.prod(shape) != layer.columns:
                raise InputError(
                    f"{layer.columns:,} columns do not take {math.prod(shape):,} activations of shape {list(shape)}"
                )
            return (layer.rows,)
        if len(shape) != 3:
            raise InputError(f"a convolution takes [channels, height, width]; found {list(shape)}")
        groups = convolution.groups
        if shape[0] % groups or layer.rows % groups:
            raise InputError(f"{groups} groups must divide {shape[0]} channels and {layer.rows} rows")
        columns = shape[0] // groups * math.prod(convolution.kernel)
        if columns != layer.columns:
            raise InputError(
                f"{layer.columns:,} columns do not take {columns:,} activations a position: {shape[0]} channels in "
                f"{groups} group(s), kernel {convolution.kernel[0]} x {convolution.kernel[1]}"
            )
        return (layer.rows, *convolution.output_size(*shape[1:]))

    def vectors(self, images: Floats) -> npt.NDArray[np.float32]:
        """What is multiplied: float32 [groups, inputs, positions, columns]."""
        if self.convolution is not None:
            return self.convolution.unroll(images)
        return images.reshape(1, len(images), 1, -1)

    def group_layers(self) -> list[CompressedLayer]:
        """The matrix of each group, all of its rows."""
        layer, groups = self.layer, 1 if self.convolution is None else self.convolution.groups
        if groups == 1:
            return [layer]
        parts = np.array_split(np.arange(layer.rows), groups)
        return [layer.part(rows) for rows in parts]

    def finish(self, products: Floats, shape: Shape) -> npt.NDArray[np.float32]:
        """From products [groups, inputs, positions, rows / groups] to outputs float32 [inputs, *shape]."""
        outputs = products.transpose(1, 0, 3, 2).reshape(products.shape[1], self.layer.rows, -1)
        if self.bias is not None:
            outputs = outputs + self.bias[:, np.newaxis]
        outputs = np.maximum(outputs, 0) if self.rectified else outputs
        found: npt.NDArray[np.float32] = outputs.reshape(-1, *shape).astype(np.float32)
        return found


@dataclass(frozen=True)
class PoolStep:
    """The maximum or the mean of windows, as Caffe has it: windows are clipped at the border, sizes rounded up.

    kernel   None for one window over the whole image
    """

    name: str
    source: str
    kind: Literal["max", "mean"]
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def sources(self) -> tuple[str, ...]:
        """The step whose output enters."""
        return (self.source,)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output. Raises InputError if what enters is no image, or smaller than the kernel."""
        if len(shape) != 3:
            raise InputError(f"pooling takes [channels, height, width]; found {list(shape)}")
        if self.kernel is None:
            return (shape[0], 1, 1)
        sizes = []
        for size, kernel, stride, padding in zip(shape[1:], self.kernel, self.stride, self.padding, strict=True):
            if size + 2 * padding < kernel or padding >= kernel:
                raise InputError(f"a window of {kernel} with padding {padding} does not fit an image of {size}")
            windows = -(-(size + 2 * padding - kernel) // stride) + 1
            # a window that begins in the padding after the image is left out
            sizes.append(windows - 1 if padding and (windows - 1) * stride >= size + padding else windows)
        return (shape[0], *sizes)

    def apply(self, images: Images) -> Images:
        """Pool float32 [inputs, channels, height, width]."""
        if self.kernel is None:
            reduced = images.max(axis=(2, 3)) if self.kind == "max" else images.mean(axis=(2, 3), dtype=np.float64)
            whole: Images = reduced[:, :, np.newaxis, np.newaxis].astype(np.float32)
            return whole
        _, rows, columns = self.output_shape(images.shape[1:])
        (top, left), (down, across) = self.padding, self.stride
        bottom = max(0, (rows - 1) * down + self.kernel[0] - images.shape[2] - top)
        right = max(0, (columns - 1) * across + self.kernel[1] - images.shape[3] - left)
        around = ((0, 0), (0, 0), (top, bottom), (left, right))

        def windows(padded: Floats) -> list[Floats]:
            """For each place in the kernel, what lies there in every window."""
            return [
                padded[:, :, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * across + 1 : across]
                for i in range(self.kernel[0] if self.kernel else 0)
                for j in range(self.kernel[1] if self.kernel else 0)
            ]

        if self.kind == "max":
            largest: Images = np.maximum.reduce(windows(np.pad(images, around, constant_values=-np.inf)))
            return largest
        # the mean is over the window as far as the padded image goes, but not over what rounding up adds to it
        inside = np.pad(np.ones((1, 1, images.shape[2] + 2 * top, images.shape[3] + 2 * left)), around)
        inside = inside[:, :, top:, left:][:, :, : images.shape[2] + top + bottom, : images.shape[3] + left + right]
        sums = np.add.reduce(windows(np.pad(images.astype(np.float64), around)))
        mean: Images = (sums / np.add.reduce(windows(inside))).astype(np.float32)
        return mean


@dataclass(frozen=True)
class ConcatenateStep:
    """The channels of several steps, one after the other."""

    name: str
    sources: tuple[str, ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        """Shape of the output. Raises InputError if the images are not of one size."""
        if len({shape[1:] for shape in shapes}) != 1:
            raise InputError(f"images of one size are needed; found {', '.join(str(list(shape)) for shape in shapes)}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def apply(self, *images: Images) -> Images:
        """Concatenate float32 [inputs, channels, ...]."""
        return np.concatenate(images, axis=1)


Step = LayerStep | PoolStep | ConcatenateStep


@dataclass(frozen=True, eq=False)
class Network:
    """Steps in an order in which each comes after its sources; the last one's output is the network's.

    Raises InputError if a name is there twice, a source is no earlier step, or a step does not take what enters it.
    """

    name: str
    input_shape: Shape
    steps: tuple[Step, ...]
    output_shapes: dict[str, Shape] = field(init=False)
    """of one input, by step"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_shapes", self._output_shapes())

    @classmethod
    def of_layers(cls, name: str, layers: Sequence[CompressedLayer]) -> Network:
        """Fully connected layers one after the other, each but the last one rectified."""
        if not layers:
            raise InputError(f"network {name!r} must have at least one layer")
        sources = [INPUT, *(layer.name for layer in layers[:-1])]
        steps = tuple(
            LayerStep(layer, source, rectified=number < len(layers) - 1)
            for number, (layer, source) in enumerate(zip(layers, sources, strict=True))
        )
        return cls(name, (layers[0].columns,), steps)

    @property
    def layers(self) -> list[CompressedLayer]:
        """The layers, in order."""
        return [step.layer for step in self.steps if isinstance(step, LayerStep)]

    def _output_shapes(self) -> dict[str, Shape]:
        shapes = {INPUT: tuple(self.input_shape)}
        if not self.steps:
            raise InputError(f"network {self.name!r} must have at least one step")
        for step in self.steps:
            if step.name in shapes:
                raise InputError(
                    f"network {self.name!r}: every step needs a name of its own; {step.name!r} is there twice"
                )
            unknown = [source for source in step.sources if source not in shapes]
            if unknown or not step.sources:
                raise InputError(
                    f"network {self.name!r}, step {step.name!r}: sources must be {INPUT!r} or earlier steps; "
                    f"found {', '.join(unknown) or 'none'}"
                )
            try:
                shapes[step.name] = step.output_shape(*(shapes[source] for source in step.sources))
            except InputError as error:
                raise InputError(f"network {self.name!r}, step {step.name!r}: {error}") from None
        return shapes
