"""Resize, Upsample, GridSample and their kin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.layout import standing
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor, Value, last_order

#: The nearest mode before opset 11, which ONNX does not define; ONNX Runtime's rounds up where it shrinks.
_UNSAID = b""


@dataclass(frozen=True, slots=True)
class Axis:
    """How one dimension is resized.

    Attributes:
        size: Elements before, an int or a scalar tensor.
        target: Elements after.
        scale: Their ratio as ONNX counts it; a tensor where a size is known only while the model runs.
        roi: Start and end of the region of interest, for ``tf_crop_and_resize``.
    """

    size: Any
    target: Any
    scale: Any
    roi: tuple[float, float]


def _floats(value: Any) -> Tensor:
    return tf.cast(value, tf.float32)


def _sources(node: Node, axis: Axis) -> Tensor:
    """Return where each element of the result lies in the input, [target]."""
    mode = node.attr("coordinate_transformation_mode", b"half_pixel").decode()
    if mode not in _TRANSFORMS:
        raise node.fail(f"its coordinate_transformation_mode {mode!r} is not known")
    return _TRANSFORMS[mode](tf.range(_floats(axis.target)), axis)


def _half_pixel(at: Tensor, axis: Axis) -> Tensor:
    return (at + 0.5) / axis.scale - 0.5


def _align_corners(at: Tensor, axis: Axis) -> Tensor:
    # By the length that the result has, as PyTorch and ONNX Runtime; ONNX's reference does not cut it to whole pixels.
    return tf.math.divide_no_nan(at * (_floats(axis.size) - 1), _floats(axis.target) - 1)


def _symmetric(at: Tensor, axis: Axis) -> Tensor:
    size = _floats(axis.size)
    return size / 2 * (1 - _floats(axis.target) / (size * axis.scale)) + _half_pixel(at, axis)


def _cropped(at: Tensor, axis: Axis) -> Tensor:
    start, end = axis.roi
    last = _floats(axis.size) - 1
    spread = tf.math.divide_no_nan(at * (end - start) * last, _floats(axis.target) - 1)
    return _where_one(axis.target, at * 0 + 0.5 * (start + end) * last, start * last + spread)


_TRANSFORMS: dict[str, Callable[[Tensor, Axis], Tensor]] = {
    "half_pixel": _half_pixel,
    "asymmetric": lambda at, axis: at / axis.scale,
    "align_corners": _align_corners,
    "pytorch_half_pixel": lambda at, axis: _where_one(axis.target, at * 0, _half_pixel(at, axis)),
    "tf_half_pixel_for_nn": lambda at, axis: (at + 0.5) / axis.scale,
    "half_pixel_symmetric": _symmetric,
    "tf_crop_and_resize": _cropped,
}


def _where_one(target: Any, alone: Tensor, others: Tensor) -> Tensor:
    """Return `alone` where the result has one element, else `others`."""
    return tf.where(tf.equal(target, 1), alone, others)


def _nearest(node: Node, axis: Axis) -> Tensor:
    """Return which element of the input each of the result is, [target]; it may lie outside."""
    mode = node.attr("nearest_mode", b"round_prefer_floor")
    choose: dict[bytes, Callable[[Tensor], Tensor]] = {
        _UNSAID: lambda x: tf.math.ceil(x) if axis.scale < 1 else tf.floor(x),
        b"round_prefer_floor": lambda x: tf.math.ceil(x - 0.5),
        b"round_prefer_ceil": lambda x: tf.floor(x + 0.5),
        b"floor": tf.floor,
        b"ceil": tf.math.ceil,
    }
    return choose[mode](_sources(node, axis))


def _cubic(x: Tensor, a: float) -> Tensor:
    x = tf.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return tf.where(x <= 1, near, tf.where(x < 2, far, tf.zeros_like(x)))


def _kernel(node: Node) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return the interpolation kernel and how far it reaches to each side."""
    if node.attr("mode", b"nearest") == b"cubic":
        a = float(node.attr("cubic_coeff_a", -0.75))
        return (lambda x: _cubic(x, a)), 2
    return (lambda x: tf.maximum(1 - tf.abs(x), 0.0)), 1


def _taps(node: Node, axis: Axis) -> list[tuple[Tensor, Tensor]]:
    """Return, for each element that a result is mixed from, its positions and its weights, each [target]."""
    kernel, reach = _kernel(node)
    sources = _sources(node, axis)
    shrink = min(axis.scale, 1.0) if int(node.attr("antialias", 0)) else 1.0
    span = int(np.ceil(reach / shrink))
    base = tf.floor(sources)
    top = _floats(axis.size) - 1
    positions = [base + float(offset) for offset in range(1 - span, span + 1)]
    weights = [kernel((position - sources) * shrink) for position in positions]
    inside = [tf.logical_and(position >= 0, position <= top) for position in positions]
    excluding = bool(int(node.attr("exclude_outside", 0)))
    if excluding:
        weights = [tf.where(ok, weight, 0.0) for ok, weight in zip(inside, weights, strict=True)]
    if excluding or shrink < 1:
        total = tf.add_n(weights)
        weights = [weight / total for weight in weights]
    return [
        (tf.cast(tf.clip_by_value(position, 0.0, top), tf.int32), weight)
        for position, weight in zip(positions, weights, strict=True)
    ]


def _along(vector: Tensor, axis: int, rank: int) -> Tensor:
    return tf.reshape(vector, [-1 if i == axis else 1 for i in range(rank)])


def _resized(node: Node, x: Tensor, place: int, axis: Axis) -> Tensor:
    """Return the tensor with one dimension resized."""
    if node.attr("mode", b"nearest") == b"nearest":
        found = tf.clip_by_value(_nearest(node, axis), 0.0, _floats(axis.size) - 1)
        result = tf.gather(x, tf.cast(found, tf.int32), axis=place)
    else:
        taps = _taps(node, axis)
        rank = x.shape.rank
        result = tf.add_n(
            [tf.gather(x, at, axis=place) * _along(tf.cast(weight, x.dtype), place, rank) for at, weight in taps]
        )
    if node.attr("coordinate_transformation_mode", b"") == b"tf_crop_and_resize":
        sources = _sources(node, axis)
        outside = tf.logical_or(sources < 0, sources > _floats(axis.size) - 1)
        fill = tf.cast(float(node.attr("extrapolation_value", 0.0)), x.dtype)
        result = tf.where(_along(outside, place, x.shape.rank), fill, result)
    return result


def _standing(node: Node, value: Value) -> tuple[Tensor, Callable[[Tensor], Value]]:
    """Return a value as it stands, whole numbers that are to be mixed as real ones, and what makes a result of it."""
    x, wrap = standing(node, value)
    dtype = x.dtype
    if dtype.is_floating or node.attr("mode", b"nearest") == b"nearest":
        return x, wrap
    return tf.cast(x, tf.float32 if dtype.size < 4 else tf.float64), lambda mixed: wrap(tf.saturate_cast(mixed, dtype))


@lowers("Resize", since=11)
def _resize(node: Node) -> Value:
    sizes = node.optional_value(3)
    if sizes is not None and sizes.constant is None and None not in (sizes.shape or (None,)):
        return _resize_to(node, sizes.elements or tuple(tf.unstack(node.tensor(3))))
    if sizes is not None and sizes.constant is not None and None in (node.value(0).shape or ())[1:]:
        return _resize_to(node, tuple(int(size) for size in sizes.constant))
    return _resize_by(node, node.optional_constant(2, "scales"), node.optional_constant(3, "sizes"), 1)


@lowers("Resize", "Upsample")
def _upsample(node: Node) -> Value:
    scales = node.attr("scales", None)
    node = _asymmetric(node)
    return _resize_by(node, node.constant(1, "scales") if scales is None else np.array(scales), None, None)


def _asymmetric(node: Node) -> Node:
    """Return the node with what older opsets meant without saying it."""
    return node.having(coordinate_transformation_mode=b"asymmetric", nearest_mode=_UNSAID)


def _resize_by(node: Node, scales: Array | None, sizes: Array | None, roi_index: int | None) -> Value:
    value, rank = node.value(0), node.rank()
    axes = [axis % rank for axis in node.attr("axes", range(rank))]
    shape = value.shape or ()
    roi = None if roi_index is None else node.optional_constant(roi_index, "roi")
    x, wrap = _standing(node, value)
    order = last_order(rank) if value.is_last else list(range(rank))
    if sizes is not None and sizes.size:
        scales, sizes = _scales_of(node, sizes, [shape[axis] for axis in axes])
    if scales is None or not scales.size:
        raise node.fail("it has neither scales nor sizes")
    crops = node.attr("coordinate_transformation_mode", b"") == b"tf_crop_and_resize"
    for i, axis in enumerate(axes):
        size: Any = shape[axis]
        scale = float(scales[i])
        if scale == 1.0 and (sizes is None or sizes[i] == size) and not crops:
            continue
        place = order.index(axis)
        if size is None:
            size = tf.shape(x)[place]
            target: Any = tf.cast(tf.floor(tf.cast(size, tf.float32) * scale), tf.int32)
        else:
            target = int(sizes[i]) if sizes is not None and sizes.size else int(np.floor(size * scale))
        region = (0.0, 1.0) if roi is None or not roi.size else (float(roi[i]), float(roi[i + len(axes)]))
        x = _resized(node, x, place, Axis(size, target, scale, region))
    return wrap(x)


def _resize_to(node: Node, sizes: tuple[Any, ...]) -> Value:
    """Resize to sizes of which some are known only while the model runs; batch and channels must keep theirs."""
    value, rank = node.value(0), node.rank()
    axes = [axis % rank for axis in node.attr("axes", range(rank))]
    if node.attr("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise node.fail(
            "it keeps the aspect ratio, and what it resizes, or to what (input 3), is known only while the model runs"
        )
    x, wrap = _standing(node, value)
    order = last_order(rank) if value.is_last else list(range(rank))
    for axis, target in zip(axes, sizes, strict=True):
        size, place = (value.shape or ())[axis], order.index(axis)
        if isinstance(target, int) and (target == size or (axis == 0 and target == 1)):
            continue  # exporters write a batch of one where they mean any
        if isinstance(target, int) and size is not None:
            x = _resized(node, x, place, Axis(size, target, target / size, (0.0, 1.0)))
        elif axis < 2:
            own = value.rows if axis == 0 and value.is_last and value.rows is not None else tf.shape(x)[place]
            same = tf.equal(tf.cast(own, tf.int64), tf.cast(target, tf.int64))
            with tf.control_dependencies([tf.debugging.Assert(same, ["a Resize changes the batch or the channels"])]):
                x = tf.identity(x)
        else:
            x = _resized(node, x, place, _running_axis(node, tf.shape(x)[place], target))
    return wrap(x)


def _running_axis(node: Node, size: Any, target: Any) -> Axis:
    """Return how a dimension is resized of which the old or the new size is known only while the model runs."""
    mode = node.attr("coordinate_transformation_mode", b"half_pixel")
    known = {b"half_pixel", b"pytorch_half_pixel", b"align_corners", b"asymmetric", b"tf_half_pixel_for_nn"}
    if mode not in known or int(node.attr("antialias", 0)):
        raise node.fail(
            "what it resizes, or to what (input 3), is known only while the model runs, and its mode is "
            f"{mode.decode()!r}"
            f"{', with antialias' if int(node.attr('antialias', 0)) else ''}; declare the shape and give constant sizes"
        )
    return Axis(size, tf.cast(target, tf.int32), _floats(target) / _floats(size), (0.0, 1.0))


def _scales_of(node: Node, sizes: Array, shape: list[int | None]) -> tuple[Array, Array]:
    """Return scales and sizes, the aspect ratio kept where the node asks for that."""
    if any(size is None and int(target) != 1 for size, target in zip(shape, sizes, strict=True)):
        known = [int(t) if s is None else s for s, t in zip(shape, sizes, strict=True)]
        if shape[0] is not None or None in shape[1:]:
            raise node.fail("it resizes to fixed sizes a dimension whose size is not known")
    else:
        known = [1 if size is None else size for size in shape]
    scales = np.array([target / size for target, size in zip(sizes, known, strict=True)])
    policy = node.attr("keep_aspect_ratio_policy", b"stretch")
    if policy != b"stretch":
        chosen = scales.min() if policy == b"not_larger" else scales.max()
        scales = np.full(len(known), chosen)
        sizes = np.array([int(np.floor(chosen * size + 0.5)) for size in known])
    return scales, sizes
