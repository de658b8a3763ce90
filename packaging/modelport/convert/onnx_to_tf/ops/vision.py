"""Ops of detectors and spatial transformers: GridSample, RoiAlign, NonMaxSuppression, Col2Im."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor

#: Up to how many pairs of image and class suppression is written out, without a loop.
_WRITTEN_OUT = 16


def _reflected(at: Tensor, low: float, high: Tensor) -> Tensor:
    """Reflect positions into [low, high], as often as it takes."""
    span = tf.maximum(high - low, 1e-12)
    offset = tf.math.floormod(tf.abs(at - low), 2 * span)
    return low + tf.minimum(offset, 2 * span - offset)


def picked(x: Tensor, at: list[Tensor], mode: bytes, *, corners: bool) -> Tensor:
    """Return the elements of `x`, [n, c, *spatial], at whole positions, each [n, points]: [n, c, points]."""
    inside: Any = True
    indices = []
    for axis, given in enumerate(at):
        position = given
        top = tf.cast(dims(x)[2 + axis], given.dtype) - 1
        if mode == b"reflection":
            position = _reflected(position, 0.0, top) if corners else _reflected(position, -0.5, top + 0.5)
        elif mode == b"zeros":
            inside = tf.logical_and(inside, tf.logical_and(position >= 0, position <= top))
        indices.append(tf.cast(tf.clip_by_value(tf.round(position), 0.0, top), tf.int32))
    channels_last = tf.transpose(x, [0, *range(2, x.shape.rank), 1])
    found = tf.gather_nd(channels_last, tf.stack(indices, -1), batch_dims=1)
    if mode == b"zeros":
        found = tf.where(inside[..., None], found, tf.zeros_like(found))
    return tf.transpose(found, [0, 2, 1])


def _cubic(distance: Tensor) -> Tensor:
    a, d = -0.75, tf.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return tf.where(d <= 1, near, tf.where(d < 2, far, tf.zeros_like(d)))


@lowers("GridSample")
def _grid_sample(node: Node) -> Tensor:
    x, grid = node.tensor(0), node.tensor(1)
    mode = {b"bilinear": b"linear", b"bicubic": b"cubic"}.get(
        node.attr("mode", b"linear"), node.attr("mode", b"linear")
    )
    padding = node.attr("padding_mode", b"zeros")
    corners = bool(node.attr("align_corners", 0))
    sizes, rank = dims(x), x.shape.rank - 2
    shape = dims(grid)
    points = tf.cast(tf.reshape(grid, as_shape([shape[0], -1, rank])), tf.float32)
    at = []
    for axis in range(rank):
        size = tf.cast(sizes[2 + axis], tf.float32)
        unit = points[..., rank - 1 - axis]
        place = (unit + 1) / 2 * (size - 1) if corners else ((unit + 1) * size - 1) / 2
        if mode == b"linear" and padding == b"border":
            place = tf.clip_by_value(place, 0.0, size - 1)
        elif mode == b"linear" and padding == b"reflection":
            place = _reflected(place, 0.0, size - 1) if corners else _reflected(place, -0.5, size - 0.5)
        at.append(place)
    if mode == b"nearest":
        result = picked(x, [tf.round(place) for place in at], padding, corners=corners)
    else:
        reach, weigh = (2, _cubic) if mode == b"cubic" else (1, lambda d: tf.maximum(1 - tf.abs(d), 0.0))
        base = [tf.floor(place) for place in at]
        parts = []
        for offsets in itertools.product(range(1 - reach, reach + 1), repeat=rank):
            corner = [b + float(o) for b, o in zip(base, offsets, strict=True)]
            weight = tf.ones_like(corner[0])
            for place, own in zip(at, corner, strict=True):
                weight = weight * weigh(place - own)
            parts.append(picked(x, corner, padding, corners=corners) * tf.cast(weight, x.dtype)[:, None])
        result = tf.add_n(parts)
    return tf.reshape(result, as_shape([sizes[0], sizes[1], *shape[1:-1]]))


@lowers("RoiAlign")
def _roi_align(node: Node) -> Tensor:
    x, rois, owner = node.tensor(0), node.tensor(1), node.tensor(2)
    high, wide = int(node.attr("output_height", 1)), int(node.attr("output_width", 1))
    ratio = int(node.attr("sampling_ratio", 0))
    if ratio < 1:
        raise node.fail("sampling_ratio 0 takes a number of samples that differs per region; export with a fixed one")
    half = node.version >= 16 and node.attr("coordinate_transformation_mode", b"half_pixel") == b"half_pixel"
    scaled = rois * float(node.attr("spatial_scale", 1.0)) - (0.5 if half else 0.0)
    lines = []
    for low, top, count, size in (
        (scaled[:, 1], scaled[:, 3], high, dims(x)[2]),
        (scaled[:, 0], scaled[:, 2], wide, dims(x)[3]),
    ):
        length = top - low if half else tf.maximum(top - low, 1.0)
        step = (np.arange(count * ratio, dtype=np.float32) + 0.5) / (count * ratio)
        lines.append((low[:, None] + length[:, None] * step, tf.cast(size, tf.float32)))
    maps = tf.gather(tf.transpose(x, [0, 2, 3, 1]), owner)
    corners = [_along_lines(maps, lines, (up, right)) for up in (False, True) for right in (False, True)]
    shape = as_shape([-1, high, ratio, wide, ratio, x.shape[1]])
    if node.attr("mode", b"avg") == b"max":
        best = tf.reduce_max(tf.stack(corners), 0)
        return tf.transpose(tf.reduce_max(tf.reshape(best, shape), [2, 4]), [0, 3, 1, 2])
    return tf.transpose(tf.reduce_mean(tf.reshape(tf.add_n(corners), shape), [2, 4]), [0, 3, 1, 2])


def _along_lines(maps: Tensor, lines: list[tuple[Tensor, Tensor]], ends: tuple[bool, bool]) -> Tensor:
    """Return one of the four neighbours of each sample, times its weight: [regions, rows, columns, channels]."""
    indices, weights = [], []
    for (at, size), upper in zip(lines, ends, strict=True):
        valid = tf.logical_and(at >= -1.0, at <= size)
        inside = tf.clip_by_value(at, 0.0, size - 1)
        low = tf.floor(inside)
        part = inside - low
        indices.append(tf.cast(tf.minimum(low + 1, size - 1) if upper else low, tf.int32))
        weights.append(tf.where(valid, part if upper else 1 - part, 0.0))
    rows = tf.gather(maps, indices[0], batch_dims=1, axis=1)
    picked = tf.gather(rows, tf.tile(indices[1][:, None], [1, tf.shape(rows)[1], 1]), batch_dims=2, axis=2)
    return picked * tf.cast(weights[0][:, :, None, None] * weights[1][:, None, :, None], picked.dtype)


@lowers("NonMaxSuppression")
def _non_max_suppression(node: Node) -> Tensor:
    boxes, scores = node.tensor(0), node.tensor(1)
    limit = node.optional(2)
    most = tf.cast(tf.reshape(limit, []), tf.int32) if limit is not None else tf.constant(0)
    overlap = tf.reshape(node.optional(3), []) if node.optional_value(3) is not None else tf.constant(0.0)
    least = tf.reshape(node.optional(4), []) if node.optional_value(4) is not None else tf.constant(-np.inf)
    if int(node.attr("center_point_box", 0)):
        x, y, w, h = tf.unstack(boxes, axis=-1)
        boxes = tf.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)

    def kept(b: Any, c: Any) -> Tensor:
        places = tf.cast(tf.image.non_max_suppression(boxes[b], scores[b, c], most, overlap, least), tf.int64)
        images, classes = (tf.fill(tf.shape(places), tf.cast(number, tf.int64)) for number in (b, c))
        return tf.stack([images, classes, places], 1)

    batch, classes = dims(scores)[:2]
    if isinstance(batch, int) and isinstance(classes, int) and 0 < batch * classes <= _WRITTEN_OUT:
        return tf.concat([kept(b, c) for b, c in itertools.product(range(batch), range(classes))], 0)
    count = tf.convert_to_tensor(batch * classes)
    start = (tf.constant(0), tf.zeros([0, 3], tf.int64))
    shapes = (tf.TensorShape([]), tf.TensorShape([None, 3]))
    return tf.while_loop(
        lambda i, _: i < count,
        lambda i, rows: (i + 1, tf.concat([rows, kept(i // classes, i % classes)], 0)),
        start,
        shape_invariants=shapes,
    )[1]


@lowers("Col2Im")
def _col2im(node: Node) -> Tensor:
    image = [int(size) for size in node.constant(1, "image_shape")]
    block = [int(size) for size in node.constant(2, "block_shape")]
    rank = len(image)
    dilations, strides = (node.ints(name, default=[1] * rank) or [] for name in ("dilations", "strides"))
    pads = node.ints("pads", default=[0] * (2 * rank)) or []
    padded = [size + pads[i] + pads[i + rank] for i, size in enumerate(image)]
    counts = [(p - d * (b - 1) - 1) // s + 1 for p, d, b, s in zip(padded, dilations, block, strides, strict=True)]
    grid = np.indices([*block, *counts])
    place = np.zeros(grid.shape[1:], np.int64)
    for i in range(rank):
        place = place * padded[i] + grid[i] * dilations[i] + grid[rank + i] * strides[i]
    x = node.tensor(0)
    batch, channels = dims(x)[0], (dims(x)[1]) // int(np.prod(block))
    columns = tf.reshape(x, as_shape([batch * channels, place.size]))
    summed = tf.math.unsorted_segment_sum(tf.transpose(columns), place.reshape(-1), int(np.prod(padded)))
    whole = tf.reshape(tf.transpose(summed), as_shape([batch, channels, *padded]))
    return tf.slice(whole, [0, 0, *pads[:rank]], as_shape([-1, -1, *image]))
