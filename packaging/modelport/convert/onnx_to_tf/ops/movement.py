"""Reshaping, moving, joining and cutting: ops that only carry elements from one place to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.dtypes import tf_dtype
from modelport.convert.onnx_to_tf.layout import common_rows, turned
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, any_size, as_shape, at_least_zero, dims, product
from modelport.convert.onnx_to_tf.ops.computed import is_computed, pads_at, slice_at, squeeze_at, unsqueeze_at
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value, last_order


@lowers("Constant")
def _constant(node: Node) -> Any:
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_int", np.int64)):
        if node.attr(name, None) is not None:
            return np.asarray(node.attr(name, None), dtype=dtype)
    for name, dtype in (("value_floats", np.float32), ("value_ints", np.int64)):
        if node.attr(name, None) is not None:
            return np.array(node.attr(name, None), dtype=dtype)
    if node.attr("value_string", None) is not None:
        return np.array(node.attr("value_string", b""), dtype=object)
    if node.attr("value_strings", None) is not None:
        return np.array(list(node.attr("value_strings", ())), dtype=object)
    raise node.fail("it is a sparse tensor; TensorFlow Serving takes dense ones")


@lowers("ConstantOfShape")
def _constant_of_shape(node: Node) -> Tensor:
    fill = node.attr("value", np.zeros(1, np.float32)).reshape(())
    return tf.fill(_target(node, 0), tf.constant(fill))


def _target(node: Node, index: int) -> Any:
    """Return a shape input as TensorFlow takes it, with what is known of it kept."""
    value = node.value(index)
    if value.constant is not None:
        return as_shape([int(size) for size in value.constant.reshape(-1)])
    if value.elements is not None:
        return as_shape(value.elements)
    return node.tensor(index)


@lowers("Reshape")
def _reshape(node: Node) -> Tensor:
    value = node.value(1)
    x = node.tensor(0)
    known = value.constant.reshape(-1).tolist() if value.constant is not None else value.elements
    allow_zero = bool(node.attr("allowzero", 0))
    if known is None:
        shape = tf.cast(node.tensor(1), tf.int32)
        if not allow_zero and x.shape.rank is not None:
            own = tf.pad(tf.shape(x), [[0, 8]])[: tf.shape(shape)[0]]
            shape = tf.where(tf.equal(shape, 0), own, shape)
        return tf.reshape(x, shape)
    own = dims(x) if x.shape.rank is not None else []
    sizes = [own[i] if _is(size, 0) and not allow_zero else size for i, size in enumerate(known)]
    return tf.reshape(x, as_shape(_without_minus_one(x, sizes)))


def _is(size: int | Tensor, number: int) -> bool:
    return isinstance(size, int) and size == number


def _without_minus_one(x: Tensor, sizes: list[Any]) -> list[Any]:
    """Replace -1 where the other sizes tell it: an empty batch would leave it open when the model runs."""
    given = x.shape.as_list() if x.shape.rank is not None else [None]
    others = [size for size in sizes if not _is(size, -1)]
    unknown = [size for size in others if not isinstance(size, int)]
    if len(others) == len(sizes) or 0 in others or 0 in given:
        return sizes
    if len(unknown) == 1 == given.count(None) and _copies_batch(x, unknown[0]):
        rest = int(np.prod([size for size in given if size is not None]))
        fixed = int(np.prod([size for size in others if isinstance(size, int)]))
        return [rest // fixed if _is(size, -1) else size for size in sizes]
    return sizes


def _copies_batch(x: Tensor, size: Tensor) -> bool:
    """Whether a size is the one unknown dimension of `x`, read from `x` or from the input of the same batch."""
    source = size
    while source.op.type in {"Cast", "Identity"}:
        source = source.op.inputs[0]
    if source.op.type != "StridedSlice" or source.op.inputs[0].op.type != "Shape":
        return False
    read = source.op.inputs[0].op.inputs[0]
    position = tf.get_static_value(source.op.inputs[1])
    return position is not None and read is x and x.shape.as_list()[int(position[0])] is None


@lowers("Flatten")
def _flatten(node: Node) -> Tensor:
    x = node.tensor(0)
    axis = node.axis(1)
    sizes = dims(x)
    return tf.reshape(x, as_shape([product(sizes[:axis]), product(sizes[axis:])]))


@lowers("Transpose")
def _transpose(node: Node) -> Value:
    rank = node.rank()
    order = [int(axis) for axis in node.attr("perm", range(rank)[::-1])]
    value = node.value(0)
    if value.is_last and rank > 2 and order == last_order(rank):
        return Value(value.real_rows(value.last()))
    return Value(tf.transpose(node.tensor(0), order))


@lowers("Squeeze")
def _squeeze(node: Node) -> Tensor:
    if is_computed(node, 1):
        return squeeze_at(node)
    axes = node.ints("axes", 1)
    x = node.tensor(0)
    if axes is None and (x.shape.rank is None or None in x.shape.as_list()):
        raise node.fail("it squeezes whatever dimension is one, and not all are known; name the axes")
    return tf.squeeze(x, axes)


@lowers("Unsqueeze")
def _unsqueeze(node: Node) -> Tensor:
    if is_computed(node, 1):
        return unsqueeze_at(node)
    axes = node.ints("axes", 1)
    if axes is None:
        raise node.fail("it has no axes")
    x = node.tensor(0)
    rank = node.rank() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = tf.expand_dims(x, axis)
    return x


@lowers("Concat")
def _concat(node: Node) -> Value:
    axis = node.axis(1)
    values = [value for value in node.inputs if value is not None]
    rank = node.rank()
    if axis > 0 and any(value.is_last for value in values) and all(value.constant is None for value in values):
        joined = tf.concat([turned(node, value, rank) for value in values], last_order(rank).index(axis))
        return Value(last=joined, rows=common_rows(values))
    return Value(tf.concat([node.walk.tensor(value) for value in values], axis))


@lowers("Split")
def _split(node: Node) -> Any:
    axis = node.axis(0)
    value = node.value(0)
    if value.is_last and axis > 0:
        place = last_order(node.rank()).index(axis)
        cut = _cut(node, value.last(), place)
        return tuple(Value(last=part, rows=value.rows) for part in cut)
    return tuple(_cut(node, node.tensor(0), axis))


def _cut(node: Node, x: Tensor, axis: int) -> list[Tensor]:
    """Return the parts of a tensor along a dimension that the node asks for: sizes, or as even as it goes."""
    count = len(node.outputs)
    if node.attr("split", None) is not None or node.optional_value(1) is not None:
        return tf.split(x, as_shape(node.attr("split", None) or _bounds(node, 1, count)), axis, num=count)  # type: ignore[no-any-return]
    if node.attr("num_outputs", None) is None:
        return tf.split(x, count, axis)  # type: ignore[no-any-return]
    size = dims(x)[axis]
    part = -(-size // count)
    if isinstance(size, int):
        return tf.split(x, [min(part, max(size - part * i, 0)) for i in range(count)], axis)  # type: ignore[no-any-return]
    return tf.split(x, tf.clip_by_value(size - part * tf.range(count), 0, part), axis, num=count)  # type: ignore[no-any-return]


@lowers("Slice", since=10)
def _slice(node: Node) -> Tensor:
    bounds = [node.value(index).shape for index in (1, 2)]
    if is_computed(node, 3) or is_computed(node, 4) or any(shape is None or None in shape for shape in bounds):
        return slice_at(node)
    x = node.tensor(0)
    starts, ends = _bounds(node, 1), _bounds(node, 2)
    count = len(starts)
    axes = node.ints("axes", 3, range(count)) or []
    steps = node.ints("steps", 4, [1] * count) or []
    return _strided(node, x, axes, (starts, ends, steps))


@lowers("Slice")
def _slice_by_attributes(node: Node) -> Tensor:
    starts, ends = node.ints("starts") or [], node.ints("ends") or []
    axes = node.ints("axes", default=range(len(starts))) or []
    return _strided(node, node.tensor(0), axes, (starts, ends, [1] * len(starts)))


def _bounds(node: Node, index: int, count: int | None = None) -> list[Any]:
    """Return the elements of a vector input, ints or scalar tensors; `count` is how many it must have."""
    value = node.value(index)
    if value.constant is not None:
        return [int(item) for item in value.constant.reshape(-1)]
    if value.elements is not None:
        return list(value.elements)
    return tf.unstack(node.tensor(index), count)  # type: ignore[no-any-return]


def _strided(node: Node, x: Tensor, axes: list[int], cuts: tuple[list[Any], list[Any], list[int]]) -> Tensor:
    rank = node.rank()
    begin: list[Any] = [0] * rank
    end: list[Any] = [0] * rank
    stride = [1] * rank
    untouched = (1 << rank) - 1
    for axis, start, stop, step in zip([a % rank for a in axes], *cuts, strict=True):
        begin[axis], end[axis], stride[axis] = _clamped(start), _clamped(stop), step
        untouched &= ~(1 << axis)
    return tf.strided_slice(
        x, _index_vector(begin), _index_vector(end), np.array(stride, np.int64),
        begin_mask=untouched, end_mask=untouched,
    )  # fmt: skip


def _clamped(bound: Any) -> Any:
    return max(-(2**62), min(bound, 2**62)) if isinstance(bound, int) else tf.cast(bound, tf.int64)


def _index_vector(bounds: list[Any]) -> Any:
    if all(isinstance(bound, int) for bound in bounds):
        return np.array(bounds, np.int64)
    return tf.stack([tf.cast(bound, tf.int64) for bound in bounds])


@lowers("Pad")
def _pad(node: Node) -> Value:
    rank = node.rank()
    if is_computed(node, 3):
        axes, given = list(range(rank)), pads_at(node)
    else:
        axes = [axis % rank for axis in node.ints("axes", 3, range(rank)) or []]
        given = node.attr("pads", None) or _bounds(node, 1, 2 * len(axes))
    pads: list[tuple[Any, Any]] = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pads[axis] = (_as_size(given[i]), _as_size(given[i + len(axes)]))
    fill = node.optional(2)
    if fill is None:
        fill = tf.constant(node.attr("value", 0.0)) if node.version < 11 else None
    value = node.value(0)
    turn = value.is_last and not any_size(pads[0])
    order = last_order(rank) if turn else list(range(rank))
    x = value.last() if turn else node.tensor(0)
    padded = _padded(node, x, [pads[i] for i in order], fill)
    return Value(last=padded, rows=value.rows) if turn else Value(padded)


def _as_size(given: Any) -> int | Tensor:
    return tf.cast(given, tf.int32) if tf.is_tensor(given) else int(given)


def _padded(node: Node, x: Tensor, pads: list[tuple[Any, Any]], fill: Tensor | None) -> Tensor:
    if any(not isinstance(size, int) or size < 0 for pair in pads for size in pair):
        cuts = [(at_least_zero(-low), at_least_zero(-high)) for low, high in pads]
        lengths = [size - low - high for size, (low, high) in zip(dims(x), cuts, strict=True)]
        x = tf.slice(x, as_shape([low for low, _ in cuts]), as_shape(lengths))
        pads = [(at_least_zero(low), at_least_zero(high)) for low, high in pads]
    mode = node.attr("mode", b"constant")
    if mode == b"constant":
        value = 0 if fill is None else tf.cast(tf.reshape(fill, []), x.dtype)
        if x.dtype == tf.bool:
            return tf.cast(tf.pad(tf.cast(x, tf.int8), pads, constant_values=tf.cast(value, tf.int8)), tf.bool)
        return tf.pad(x, pads, constant_values=value)
    for axis, (low, high) in enumerate(pads):
        if any_size((low, high)):
            size = dims(x)[axis]
            x = tf.gather(x, _PADDINGS[mode](tf.range(-low, size + high), size), axis=axis)
    return x


def _reflected(positions: Tensor, size: int | Tensor) -> Tensor:
    period = tf.maximum(2 * (size - 1), 1)
    within = tf.math.floormod(positions, period)
    return tf.minimum(within, 2 * (size - 1) - within)


def _wrapped(positions: Tensor, size: int | Tensor) -> Tensor:
    return tf.math.floormod(positions, size)


#: Where, by mode, the elements of a padded dimension come from; TensorFlow's own padding refuses empty batches.
_PADDINGS: dict[bytes, Callable[[Tensor, int | Tensor], Tensor]] = {
    b"reflect": _reflected,
    b"edge": lambda positions, size: tf.clip_by_value(positions, 0, size - 1),
    b"wrap": _wrapped,
}


@lowers("Expand")
def _expand(node: Node) -> Tensor:
    x = node.tensor(0)
    value = node.value(1)
    known = value.constant.reshape(-1).tolist() if value.constant is not None else value.elements
    if known is None or x.shape.rank is None:
        shape = tf.cast(node.tensor(1), tf.int32)
        return tf.broadcast_to(x, tf.broadcast_dynamic_shape(tf.shape(x), shape))
    own = dims(x)
    sizes = list(known)
    own = [1] * (len(sizes) - len(own)) + own
    sizes = [1] * (len(own) - len(sizes)) + sizes
    target = [_wider(mine, asked) for mine, asked in zip(own, sizes, strict=True)]
    return tf.broadcast_to(x, as_shape(target))


def _wider(mine: int | Tensor, asked: int | Tensor) -> int | Tensor:
    """Return what two dimensions become when one is broadcast against the other."""
    if _is(mine, 1):
        return asked
    if _is(asked, 1) or isinstance(mine, int):
        return mine
    if isinstance(asked, int):
        return asked
    mine, asked = tf.cast(mine, tf.int32), tf.cast(asked, tf.int32)
    return tf.where(tf.equal(mine, 1), asked, mine)


@lowers("Tile")
def _tile(node: Node) -> Tensor:
    x, counts = node.tensor(0), _target(node, 1)
    if x.dtype == tf.uint16:  # which the kernel is registered for, and refuses while it runs
        return tf.bitcast(tf.tile(tf.bitcast(x, tf.int16), counts), tf.uint16)
    return tf.tile(x, counts)


@lowers("DepthToSpace", "SpaceToDepth")
def _depth_and_space(node: Node) -> Tensor:
    block = int(node.attr("blocksize", 1))
    n, c, h, w = dims(node.tensor(0))
    if node.op == "SpaceToDepth":
        cells = tf.reshape(node.tensor(0), as_shape([n, c, h // block, block, w // block, block]))
        crd = node.attr("mode", b"DCR") == b"CRD"
        moved = tf.transpose(cells, [0, 1, 3, 5, 2, 4] if crd else [0, 3, 5, 1, 2, 4])
        return tf.reshape(moved, as_shape([n, c * block * block, h // block, w // block]))
    depth = c // (block * block)
    if node.attr("mode", b"DCR") == b"DCR":
        moved = tf.transpose(tf.reshape(node.tensor(0), as_shape([n, block, block, depth, h, w])), [0, 3, 4, 1, 5, 2])
    else:
        moved = tf.transpose(tf.reshape(node.tensor(0), as_shape([n, depth, block, block, h, w])), [0, 1, 4, 2, 5, 3])
    return tf.reshape(moved, as_shape([n, depth, h * block, w * block]))


@lowers("Size")
def _size(node: Node) -> Tensor:
    return tf.size(node.tensor(0), out_type=tf.int64)


@lowers("Shape")
def _shape(node: Node) -> Tensor:
    """Only a tensor of unknown rank arrives here; `elements` follows the others."""
    if node.attr("start", 0) or node.attr("end", None) is not None:
        start, end = int(node.attr("start", 0)), node.attr("end", None)
        return tf.shape(node.tensor(0), out_type=tf.int64)[start:end]
    return tf.shape(node.tensor(0), out_type=tf.int64)


@lowers("Range")
def _range(node: Node) -> Tensor:
    dtype = node.value(0).dtype
    wide = tf.int32 if dtype == tf.int16 else dtype
    start, limit, delta = (tf.cast(tf.reshape(node.tensor(i), []), wide) for i in range(3))
    beyond = tf.logical_or(tf.logical_and(delta > 0, limit < start), tf.logical_and(delta < 0, limit > start))
    return tf.cast(tf.range(start, tf.where(beyond, start, limit), delta), dtype)  # ONNX's is empty then


@lowers("EyeLike")
def _eye_like(node: Node) -> Tensor:
    x = node.tensor(0)
    rows, columns = dims(x)
    dtype = tf_dtype(int(node.attr("dtype", 0))) if node.attr("dtype", 0) else x.dtype
    offset = tf.range(columns)[None, :] - tf.range(rows)[:, None]
    return tf.cast(tf.equal(offset, int(node.attr("k", 0))), dtype)


@lowers("Trilu")
def _trilu(node: Node) -> Tensor:
    x = node.tensor(0)
    k = node.optional(1)
    rows, columns = dims(x)[-2:]
    offset = tf.cast(tf.range(columns)[None, :] - tf.range(rows)[:, None], tf.int64)
    bound = 0 if k is None else tf.reshape(k, [])
    kept = offset >= bound if int(node.attr("upper", 1)) else offset <= bound
    return tf.where(kept, x, tf.zeros_like(x))


@lowers("ReverseSequence")
def _reverse_sequence(node: Node) -> Tensor:
    batch, time = int(node.attr("batch_axis", 1)), int(node.attr("time_axis", 0))
    return tf.reverse_sequence(node.tensor(0), node.tensor(1), seq_axis=time, batch_axis=batch)
