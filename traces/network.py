"""Feed-forward networks: matrix products, and the steps between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from traces.arrays import Floats, Floats32
from traces.convolution import Convolution, Images
from traces.errors import InputError
from traces.layer import CompressedLayer

Shape = tuple[int, ...]  # of one input: [features], or [channels, height, width]
INPUT = "input"  # name of the network's input among the sources


@dataclass(frozen=True, eq=False)
class LayerStep:
    """Matrix product: a convolution, or a fully connected layer. A fully connected layer flattens its input.

    Attributes
    ----------
    layer : CompressedLayer
        Weights. The rows are outputs, or output channels; the columns are in the order of `Convolution.unroll`.
    source : str
        Name of the step whose output enters.
    convolution : Convolution, optional
        Geometry; None for a fully connected layer.
    bias : numpy.ndarray, optional
        float32 [rows], added to the outputs outside the array, in addition to the layer's `bias_values()`.
    rectified : bool
        True if negative outputs become zero (ReLU).
    """

    layer: CompressedLayer
    source: str = INPUT
    convolution: Convolution | None = None
    bias: Floats32 | None = None
    rectified: bool = False

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def sources(self) -> tuple[str, ...]:
        """Name of the step whose output enters, as a tuple."""
        return (self.source,)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output; raise InputError if the input does not fit the layer."""
        convolution, layer = self.convolution, self.layer
        if self.bias is not None and self.bias.shape != (layer.rows,):
            raise InputError(f"bias must be [{layer.rows}], one value per row; found {list(self.bias.shape)}")
        if convolution is None:
            if math.prod(shape) != layer.columns:
                raise InputError(
                    f"an input of shape {list(shape)} needs {math.prod(shape):,} columns; found {layer.columns:,}"
                )
            return (layer.rows,)
        if len(shape) != 3:
            raise InputError(f"the input of a convolution must be [channels, height, width]; found {list(shape)}")
        groups = convolution.groups
        if shape[0] % groups or layer.rows % groups:
            raise InputError(
                f"groups must divide channels and rows; found {groups} groups, {shape[0]} channels, {layer.rows} rows"
            )
        columns = shape[0] // groups * math.prod(convolution.kernel)
        if columns != layer.columns:
            raise InputError(
                f"{shape[0]} channels in {groups} group(s) and a kernel of {convolution.kernel[0]} x "
                f"{convolution.kernel[1]} need {columns:,} columns; found {layer.columns:,}"
            )
        return (layer.rows, *convolution.output_size(*shape[1:]))

    def vectors(self, images: Floats) -> Floats32:
        """Return the vectors that are multiplied, float32 [groups, inputs, positions, columns]."""
        if self.convolution is not None:
            return self.convolution.unroll(images)
        return images.reshape(1, len(images), 1, -1)

    def group_layers(self) -> list[CompressedLayer]:
        """Return the matrix of each group, with all of its rows."""
        layer, groups = self.layer, 1 if self.convolution is None else self.convolution.groups
        if groups == 1:
            return [layer]
        parts = np.array_split(np.arange(layer.rows), groups)
        return [layer.part(rows) for rows in parts]

    def finish(self, products: Floats, shape: Shape) -> Floats32:
        """Turn products [groups, inputs, positions, rows / groups] into outputs, float32 [inputs, *shape]."""
        outputs = products.transpose(1, 0, 3, 2).reshape(products.shape[1], self.layer.rows, -1)
        if self.bias is not None:
            outputs = outputs + self.bias[:, np.newaxis]
        outputs = np.maximum(outputs, 0) if self.rectified else outputs
        shaped: Floats32 = outputs.reshape(-1, *shape).astype(np.float32)
        return shaped


@dataclass(frozen=True)
class PoolStep:
    """Maximum or mean over windows, as in Caffe: windows are clipped at the border, and sizes are rounded up.

    Attributes
    ----------
    name : str
        Name of the step.
    source : str
        Name of the step whose output enters.
    kind : {"max", "mean"}
        How a window becomes one value.
    kernel : (int, int), optional
        Height and width of a window; None for one window over the whole image.
    stride : (int, int)
        Distance between neighbouring windows.
    padding : (int, int)
        Border around the image.
    """

    name: str
    source: str
    kind: Literal["max", "mean"]
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def sources(self) -> tuple[str, ...]:
        """Name of the step whose output enters, as a tuple."""
        return (self.source,)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output; raise InputError if the input is not an image or is too small."""
        if len(shape) != 3:
            raise InputError(f"the input of a pooling must be [channels, height, width]; found {list(shape)}")
        if self.kernel is None:
            return (shape[0], 1, 1)
        sizes = []
        for size, kernel, stride, padding in zip(shape[1:], self.kernel, self.stride, self.padding, strict=True):
            if size + 2 * padding < kernel or padding >= kernel:
                raise InputError(f"a window of {kernel} with padding {padding} does not fit an image of {size}")
            windows = -(-(size + 2 * padding - kernel) // stride) + 1
            # no window begins in the padding after the image
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
            """Return, for each place in the kernel, the values of all windows at that place."""
            return [
                padded[:, :, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * across + 1 : across]
                for i in range(self.kernel[0] if self.kernel else 0)
                for j in range(self.kernel[1] if self.kernel else 0)
            ]

        if self.kind == "max":
            largest: Images = np.maximum.reduce(windows(np.pad(images, around, constant_values=-np.inf)))
            return largest
        # a mean is over the part of its window that lies in the padded image; rounding up adds no zeros to it
        inside = np.pad(np.ones((1, 1, images.shape[2] + 2 * top, images.shape[3] + 2 * left)), around)
        inside = inside[:, :, top:, left:][:, :, : images.shape[2] + top + bottom, : images.shape[3] + left + right]
        sums = np.add.reduce(windows(np.pad(images.astype(np.float64), around)))
        mean: Images = (sums / np.add.reduce(windows(inside))).astype(np.float32)
        return mean


@dataclass(frozen=True)
class ConcatenateStep:
    """Concatenation of the channels of several steps.

    Attributes
    ----------
    name : str
        Name of the step.
    sources : tuple of str
        Names of the steps whose outputs enter, in order.
    """

    name: str
    sources: tuple[str, ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the output; raise InputError if the images differ in size."""
        if len({shape[1:] for shape in shapes}) != 1:
            raise InputError(f"the images must have one size; found {', '.join(str(list(shape)) for shape in shapes)}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def apply(self, *images: Images) -> Images:
        """Concatenate float32 [inputs, channels, ...]."""
        return np.concatenate(images, axis=1)


Step = LayerStep | PoolStep | ConcatenateStep


@dataclass(frozen=True, eq=False)
class Network:
    """Feed-forward network of steps. Each step comes after its sources; the last step gives the network's output.

    Attributes
    ----------
    name : str
        Name of the network.
    input_shape : tuple of int
        Shape of one input: [features], or [channels, height, width].
    steps : tuple of LayerStep, PoolStep or ConcatenateStep
        The steps in order.
    output_shapes : dict
        Shape of each step's output for one input, by the name of the step; computed from the other attributes.

    Raises
    ------
    InputError
        If two steps have the same name, a source is not an earlier step, or an input does not fit its step.
    """

    name: str
    input_shape: Shape
    steps: tuple[Step, ...]
    output_shapes: dict[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_shapes", self._output_shapes())

    @classmethod
    def of_layers(cls, name: str, layers: Sequence[CompressedLayer]) -> Network:
        """Make a network of fully connected layers, with a ReLU after each layer but the last."""
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
        """The layers in order."""
        return [step.layer for step in self.steps if isinstance(step, LayerStep)]

    def _output_shapes(self) -> dict[str, Shape]:
        shapes = {INPUT: tuple(self.input_shape)}
        if not self.steps:
            raise InputError(f"network {self.name!r} must have at least one step")
        for step in self.steps:
            if step.name in shapes:
                raise InputError(
                    f"network {self.name!r}: every step needs a name of its own; found {step.name!r} twice"
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
