"""If, Loop and Scan, and the sequences that loops collect into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value

#: A loop whose length is known and no greater than this is written out, which keeps every static shape.
_UNROLLED = 64


@lowers("If")
def _if(node: Node) -> Any:
    then_graph, scope = node.attr("then_branch", None)
    else_graph, _ = node.attr("else_branch", None)
    condition = node.value(0).constant
    if condition is not None:
        return tuple(node.walk.lower_graph(then_graph if condition.reshape(-1)[0] else else_graph, dict(scope)))

    def branch(graph: Any) -> Any:
        return lambda: [node.walk.tensor(value) for value in node.walk.lower_graph(graph, dict(scope))]

    results = tf.cond(tf.reshape(node.tensor(0), []), branch(then_graph), branch(else_graph))
    return tuple(results) if isinstance(results, list | tuple) else (results,)


@lowers("Loop")
def _loop(node: Node) -> Any:
    limit, condition = node.optional_value(0), node.optional_value(1)
    known = condition is None or condition.constant is not None
    if known and limit is not None and limit.constant is not None and int(limit.constant.reshape(-1)[0]) <= _UNROLLED:
        going = condition is None or bool(condition.constant.reshape(-1)[0])  # type: ignore[union-attr]
        results = _unrolled(node, int(limit.constant.reshape(-1)[0]) if going else 0)
        if results is not None:
            return results
    return _while(node)


def _body(node: Node, given: list[Value]) -> list[Value]:
    graph, scope = node.attr("body", None)
    inner = {**scope, **{value.name: held for value, held in zip(graph.input, given, strict=True)}}
    return node.walk.lower_graph(graph, inner)


def _unrolled(node: Node, count: int) -> tuple[Value, ...] | None:
    """Return the results of a loop written out, or None where its end is known only when the model runs."""
    carried = [value for value in node.inputs[2:] if value is not None]
    collected: list[list[Value]] = []
    for step in range(count):
        results = _body(node, [Value(np.array(step, np.int64)), Value(np.array(True)), *carried])
        going = results[0].constant
        if going is None:
            return None
        carried = results[1 : len(carried) + 1]
        collected.append(results[len(carried) + 1 :])
        if not going.reshape(-1)[0]:
            break
    if not collected and len(node.outputs) > len(carried):
        return None
    gathered = [Value(tf.stack([node.walk.tensor(value) for value in row])) for row in zip(*collected, strict=True)]
    return (*carried, *gathered)


def _while(node: Node) -> tuple[Tensor, ...]:
    """Return the results of a loop that runs as long as its condition holds."""
    carried = [node.walk.tensor(value) for value in node.inputs[2:] if value is not None]
    graph, _ = node.attr("body", None)
    outputs = graph.output[len(carried) + 1 :]
    first = [Value(tf.constant(0, tf.int64)), Value(tf.constant(True)), *map(Value, carried)]
    shown = _first_shown(node, len(outputs), lambda: _body(node, first))
    arrays = _arrays(shown)
    limit = node.optional(0)
    most = tf.constant(2**31 - 1) if limit is None else tf.cast(tf.minimum(tf.reshape(limit, []), 2**31 - 1), tf.int32)
    start = node.optional(1)
    going = tf.constant(True) if start is None else tf.reshape(start, [])

    def body(step: Tensor, _: Tensor, written: list[Any], state: list[Tensor]) -> Any:
        given = [Value(tf.cast(step, tf.int64)), Value(tf.constant(True)), *map(Value, state)]
        results = [node.walk.tensor(value) for value in _body(node, given)]
        after = results[1 : len(carried) + 1]
        kept = [array.write(step, value) for array, value in zip(written, results[len(carried) + 1 :], strict=True)]
        return step + 1, tf.reshape(results[0], []), kept, after

    def run(shapes: list[Any]) -> Any:
        return tf.while_loop(
            lambda step, on, *_: tf.logical_and(on, step < most),
            body,
            (tf.constant(0), going, arrays, carried),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([]), [tf.TensorShape(None)] * len(arrays), shapes),
        )

    results = _with_shapes(run, carried)
    return (*results[3], *map(_stacked, results[2], shown))


def _with_shapes(run: Callable[[list[Any]], Any], carried: list[Tensor]) -> Any:
    """Run a loop whose state keeps its shapes, or else one in which any size may change from turn to turn."""
    try:
        return run([tensor.shape for tensor in carried])
    except ValueError:
        ranks = [tensor.shape.rank for tensor in carried]
        return run([tf.TensorShape(None if rank is None else [None] * rank) for rank in ranks])


def _first_shown(node: Node, count: int, turn: Callable[[], list[Value]]) -> list[Tensor]:
    """Return the last results of a first turn, which never runs: they tell types and shapes of what is collected."""
    return [node.walk.tensor(value) for value in turn()[-count:]] if count else []


def _arrays(shown: list[Tensor]) -> list[Any]:
    """Return what each turn's outputs are written to."""
    return [tf.TensorArray(tensor.dtype, size=0, dynamic_size=True, clear_after_read=False) for tensor in shown]


def _stacked(array: Any, shown: Tensor) -> Tensor:
    """Return what a loop has collected; after no turn nothing, in the shape of one turn's output where it is known."""
    if shown.shape.rank is None:
        return array.stack()
    empty = [0, *(size or 0 for size in shown.shape.as_list())]
    return tf.cond(array.size() > 0, array.stack, lambda: tf.zeros(empty, shown.dtype))


@lowers("Scan", since=9)
def _scan(node: Node) -> Any:
    count = int(node.attr("num_scan_inputs", 1))
    states, scanned = node.inputs[:-count], node.inputs[-count:]
    axes = list(node.attr("scan_input_axes", [0] * count))
    backwards = list(node.attr("scan_input_directions", [0] * count))
    sequences = []
    for value, axis, back in zip(scanned, axes, backwards, strict=True):
        if value is None:
            raise node.fail("one of what it scans is missing")
        moved = _moved(node.walk.tensor(value), int(axis), 0)
        sequences.append(tf.reverse(moved, [0]) if back else moved)
    carried = [node.walk.tensor(value) for value in states if value is not None]
    graph, _ = node.attr("body", None)
    first = [*map(Value, carried), *(Value(sequence[0]) for sequence in sequences)]
    shown = _first_shown(node, len(graph.output) - len(carried), lambda: _body(node, first))
    arrays = _arrays(shown)
    steps = tf.shape(sequences[0])[0]

    def body(step: Tensor, written: list[Any], state: list[Tensor]) -> Any:
        given = [*map(Value, state), *(Value(sequence[step]) for sequence in sequences)]
        results = [node.walk.tensor(value) for value in _body(node, given)]
        kept = [array.write(step, value) for array, value in zip(written, results[len(carried) :], strict=True)]
        return step + 1, kept, results[: len(carried)]

    def run(shapes: list[Any]) -> Any:
        return tf.while_loop(
            lambda step, *_: step < steps,
            body,
            (tf.constant(0), arrays, carried),
            shape_invariants=(tf.TensorShape([]), [tf.TensorShape(None)] * len(arrays), shapes),
        )

    results = _with_shapes(run, carried)
    collected = [_stacked(array, one) for array, one in zip(results[1], shown, strict=True)]
    reverse = list(node.attr("scan_output_directions", [0] * len(collected)))
    places = list(node.attr("scan_output_axes", [0] * len(collected)))
    turned = [tf.reverse(c, [0]) if back else c for c, back in zip(collected, reverse, strict=True)]
    return (*results[2], *(_moved(c, 0, int(axis)) for c, axis in zip(turned, places, strict=True)))


def _moved(x: Tensor, source: int, target: int) -> Tensor:
    rank = x.shape.rank
    source, target = source % rank, target % rank
    if source == target:
        return x
    order = [axis for axis in range(rank) if axis != source]
    order.insert(target, source)
    return tf.transpose(x, order)


@lowers("SequenceConstruct")
def _sequence(node: Node) -> Value:
    return Value.of_items([value for value in node.inputs if value is not None])


@lowers("SequenceEmpty")
def _sequence_empty(node: Node) -> Value:
    del node
    return Value.of_items([])


def _items(node: Node) -> tuple[Value, ...]:
    items = node.value(0).items
    if items is None:
        raise node.fail("it handles a sequence whose length is known only while the model runs")
    return items


@lowers("SequenceAt")
def _sequence_at(node: Node) -> Value:
    return _items(node)[int(node.constant(1, "position").reshape(-1)[0])]


@lowers("SequenceLength")
def _sequence_length(node: Node) -> Any:
    return np.array(len(_items(node)), np.int64)


@lowers("SequenceInsert")
def _sequence_insert(node: Node) -> Value:
    items = list(_items(node))
    place = node.optional_constant(2, "position")
    items.insert(len(items) if place is None else int(place.reshape(-1)[0]), node.value(1))
    return Value.of_items(items)


@lowers("SequenceErase")
def _sequence_erase(node: Node) -> Value:
    items = list(_items(node))
    place = node.optional_constant(1, "position")
    del items[-1 if place is None else int(place.reshape(-1)[0])]
    return Value.of_items(items)


@lowers("ConcatFromSequence")
def _concat_from_sequence(node: Node) -> Tensor:
    join = tf.stack if int(node.attr("new_axis", 0)) else tf.concat
    return join([node.walk.tensor(item) for item in _items(node)], int(node.attr("axis", 0)))


@lowers("SplitToSequence")
def _split_to_sequence(node: Node) -> Value:
    axis = int(node.attr("axis", 0))
    split = node.optional_constant(1, "split")
    size = (node.value(0).shape or ())[axis]
    if size is None:
        raise node.fail(f"the size of dimension {axis}, which it splits, is not known")
    x = node.tensor(0)
    if split is None:
        parts = tf.split(x, [1] * size, axis)
        kept = parts if int(node.attr("keepdims", 1)) else [tf.squeeze(part, axis) for part in parts]
    elif split.ndim == 0:
        each = int(split)
        kept = tf.split(x, [each] * (size // each) + ([size % each] if size % each else []), axis)
    else:
        kept = tf.split(x, [int(part) for part in split], axis)
    return Value.of_items([Value(part) for part in kept])


@lowers("SequenceMap")
def _sequence_map(node: Node) -> tuple[Value, ...]:
    rows = [
        _body(node, [value if value.items is None else value.items[i] for value in node.inputs if value is not None])
        for i in range(len(_items(node)))
    ]
    return tuple(Value.of_items([row[column] for row in rows]) for column in range(len(node.outputs)))


@lowers("Optional", "OptionalGetElement")
def _optional(node: Node) -> Value:
    return node.value(0)


@lowers("OptionalHasElement")
def _optional_has_element(node: Node) -> Any:
    return np.array(node.optional_value(0) is not None)
