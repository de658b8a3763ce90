"""Arithmetic of sliding windows that convolutions and pools share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.value import Tensor

Pads = tuple[tuple[int, int], ...]


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
    def is_same(self) -> bool:
        """Whether the padding is what TensorFlow calls SAME, for any input size."""
        return all(s == 1 for s in self.strides) and all(
            (low, high) == ((r - 1) // 2, r // 2) for (low, high), r in zip(self.pads, self.reach, strict=True)
        )


def read_window(node: Node, kernel: tuple[int, ...], spatial: tuple[int | None, ...]) -> Window:
    """Return the window that a node's attributes describe, ``auto_pad`` and ``ceil_mode`` resolved."""
    rank = len(kernel)
    strides = tuple(node.ints("strides", default=[1] * rank) or ())
    dilations = tuple(node.ints("dilations", default=[1] * rank) or ())
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto = node.attr("auto_pad", b"NOTSET")
    if auto in {b"SAME_UPPER", b"SAME_LOWER"}:
        pads = tuple(
            _same(node, size, r, s, upper=auto == b"SAME_UPPER")
            for size, r, s in zip(spatial, reach, strides, strict=True)
        )
    else:
        flat = [0] * (2 * rank) if auto == b"VALID" else node.ints("pads", default=[0] * (2 * rank)) or []
        pads = tuple(zip(flat[:rank], flat[rank:], strict=True))
    return Window(kernel, strides, dilations, pads)


def _same(node: Node, size: int | None, reach: int, stride: int, *, upper: bool) -> tuple[int, int]:
    if size is None and stride != 1:
        raise node.fail("auto_pad with a stride needs the size of every spatial dimension; declare the input's shape")
    total = reach - 1 if size is None else max((-(-size // stride) - 1) * stride + reach - size, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def spatial_pads(pads: Pads) -> list[tuple[int, int]]:
    """Return pads for a channels-last tensor, as tf.pad takes them."""
    return [(0, 0), *pads, (0, 0)]


def ceil_pads(node: Node, window: Window, spatial: tuple[Any, ...]) -> Pads:
    """Return the pads with what ``ceil_mode`` adds after each dimension so that the last window is whole."""
    if not int(node.attr("ceil_mode", 0)):
        return window.pads
    pads = []
    for size, reach, stride, (low, high) in zip(spatial, window.reach, window.strides, window.pads, strict=True):
        if size is None:
            raise node.fail("ceil_mode needs the size of every spatial dimension; declare the input's shape")
        count = -(-(size + low + high - reach) // stride) + 1
        if (count - 1) * stride >= size + low:
            count -= 1  # a window may not begin in the padding after the input
        pads.append((low, max((count - 1) * stride + reach - size - low, high)))
    return tuple(pads)


def has_size(tensor: Tensor) -> bool:
    """Whether all dimensions but the batch are known."""
    return None not in tensor.shape.as_list()[1:]
