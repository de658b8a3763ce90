"""Arithmetic of sliding windows that convolutions and pools share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, any_size, at_least_zero
from modelport.convert.onnx_to_tf.value import Tensor

#: Before and after each dimension; a scalar int32 tensor where the size of the dimension is not known.
Pads = tuple[tuple[int | Tensor, int | Tensor], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel slides over the spatial dimensions.

    Attributes:
        kernel: Size per spatial dimension.
        strides: Step per spatial dimension.
        dilations: Distance between the elements of the kernel.
        pads: What is added before and after each spatial dimension.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads

    @property
    def reach(self) -> tuple[int, ...]:
        """How many elements the dilated kernel spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_padded(self) -> bool:
        """Whether anything is, or may be, added."""
        return any(any_size(pair) for pair in self.pads)

    @property
    def is_fixed(self) -> bool:
        """Whether all of the padding is known."""
        return all(isinstance(size, int) for pair in self.pads for size in pair)

    @property
    def is_same(self) -> bool:
        """Whether the padding is what TensorFlow calls SAME, for any input size."""
        return (
            self.is_fixed
            and all(s == 1 for s in self.strides)
            and all((low, high) == ((r - 1) // 2, r // 2) for (low, high), r in zip(self.pads, self.reach, strict=True))
        )

    def without_pads(self) -> Window:
        """Return the window for an input that is padded already."""
        return Window(self.kernel, self.strides, self.dilations, ((0, 0),) * len(self.kernel))


def read_window(node: Node, kernel: tuple[int, ...], spatial: Sequence[int | Tensor]) -> Window:
    """Return the window that a node's attributes describe, ``auto_pad`` resolved; ``spatial`` is the input's size."""
    rank = len(kernel)
    strides = tuple(node.ints("strides", default=[1] * rank) or ())
    dilations = tuple(node.ints("dilations", default=[1] * rank) or ())
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto = node.attr("auto_pad", b"NOTSET")
    if auto in {b"SAME_UPPER", b"SAME_LOWER"}:
        pads = tuple(
            _same(size, r, s, upper=auto == b"SAME_UPPER") for size, r, s in zip(spatial, reach, strides, strict=True)
        )
    else:
        flat = [0] * (2 * rank) if auto == b"VALID" else node.ints("pads", default=[0] * (2 * rank)) or []
        pads = tuple(zip(flat[:rank], flat[rank:], strict=True))
    return Window(kernel, strides, dilations, pads)


def _same(size: int | Tensor, reach: int, stride: int, *, upper: bool) -> tuple[int | Tensor, int | Tensor]:
    total = reach - 1 if stride == 1 else at_least_zero((-(-size // stride) - 1) * stride + reach - size)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def spatial_pads(pads: Pads) -> list[tuple[int | Tensor, int | Tensor]]:
    """Return pads for a channels-last tensor, as tf.pad takes them."""
    return [(0, 0), *pads, (0, 0)]


def ceil_pads(node: Node, window: Window, spatial: Sequence[int | Tensor]) -> Pads:
    """Return the pads with what ``ceil_mode`` adds after each dimension so that the last window is whole."""
    if not int(node.attr("ceil_mode", 0)):
        return window.pads
    pads = []
    for size, reach, stride, (low, high) in zip(spatial, window.reach, window.strides, window.pads, strict=True):
        count = -(-(size + low + high - reach) // stride) + 1
        late = (count - 1) * stride >= size + low  # a window may not begin in the padding after the input
        count -= late if isinstance(late, bool) else tf.cast(late, tf.int32)
        pads.append((low, high + at_least_zero((count - 1) * stride + reach - size - low - high)))
    return tuple(pads)
