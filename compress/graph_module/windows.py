"""Places of the windows of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from traces import InputError

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Windows:
    """Windows of a convolution or pool over the spatial axes.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
        One for each spatial axis.
    before, after : tuple of int
        Padding of each spatial axis.
    outputs : tuple of int
        Number of windows along each spatial axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    outputs: tuple[int, ...]

    def needed(self, sizes: Sequence[int]) -> list[int]:
        """Return the pads by which exactly the windows fit, in the order of `torch.nn.functional.pad`."""
        pads: list[int] = []
        for axis in reversed(range(len(self.kernel))):
            extent = (self.outputs[axis] - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
            pads += [self.before[axis], extent - sizes[axis] - self.before[axis]]
        return pads


def windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    ceil_mode: int = 0,
) -> Windows:
    """Return the windows over spatial axes of these sizes, by the attributes of ONNX.

    With `ceil_mode`, a last window that is cut off at the end counts, unless it starts in the padding at the end.
    """
    rank = len(sizes)
    if not 1 <= rank <= 3 or len(kernel) != rank:
        raise InputError(
            f"windows must have 1 to 3 axes, as many as the input's spatial axes; found {len(kernel)} and {rank}; "
            f"give the input the axes batch, channel and spatial"
        )
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    before, after = (list(pads[:rank]), list(pads[rank:])) if pads else ([0] * rank, [0] * rank)
    outputs = []
    for axis, size in enumerate(sizes):
        extent, stride = (kernel[axis] - 1) * dilations[axis] + 1, strides[axis]
        if auto_pad.startswith("SAME"):
            count = -(-size // stride)
            total = max(0, (count - 1) * stride + extent - size)
            before[axis] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            after[axis] = total - before[axis]
        else:
            if auto_pad == "VALID":
                before[axis] = after[axis] = 0
            spare = size + before[axis] + after[axis] - extent
            count = (-(-spare // stride) if ceil_mode else spare // stride) + 1
            if ceil_mode and (count - 1) * stride >= size + before[axis]:
                count -= 1
        outputs.append(count)
    return Windows(tuple(kernel), tuple(strides), tuple(dilations), tuple(before), tuple(after), tuple(outputs))
