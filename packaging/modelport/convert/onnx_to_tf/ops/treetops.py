"""The first levels of all trees, answered at once by bit masks.

Each tree is cut below at most 64 exits. For a column and the place of a number among the thresholds that tree tops ask
of that column, a word a tree tells which exits can still be reached; the words of all columns together leave one bit.
That costs one lookup a column instead of two a level. The idea is that of QuickScorer (Lucchese et al., SIGIR 2015).
"""

from __future__ import annotations

import functools
import heapq
from dataclasses import dataclass

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.ops.forest import Forest
from modelport.convert.onnx_to_tf.value import Array, Tensor

#: Exits of a tree: the bits of a word.
_EXITS = 64
#: Trees whose words stand side by side. Their thresholds are ranked together, so that the table grows with its square.
_GROUP = 128
#: With more columns the lookups cost more than the levels that they replace.
_MOST_COLUMNS = 48
_MOST_TABLE_BYTES = 1 << 26
#: Columns that are looked up at a time: few are many small ops, many leave the processor's cache.
_BLOCK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Treetops:
    """The tops of all trees.

    Attributes:
        exits: The nodes at which the tops end, tree by tree.
        first: Where among them each tree's begin.
        columns: The input's columns that the tops look at.
        thresholds: Different thresholds of each column and group in rising order, filled up with infinity,
            [columns * groups, most].
        counts: How many of them there are, [columns * groups, 1].
        base: Where in `masks` each column and group begins, [columns * groups, 1].
        masks: A word for each tree of a group, [places, trees]: after the places among the thresholds one for NaN.
    """

    exits: Array
    first: Array
    columns: Array
    thresholds: Array
    counts: Array
    base: Array
    masks: Array


@dataclass(frozen=True, slots=True)
class _Split:
    """A node of a top: its bits are set where the exits below the child that is not gone to stand."""

    node: int
    lost_if_held: int
    lost_if_not: int


def cut_treetops(forest: Forest, thresholds: Array, heights: Array) -> Treetops | None:
    """Return the tops of trees whose nodes all ask for at most, or all for below; None where it would not pay.

    Args:
        forest: The trees.
        thresholds: Those of its nodes, in the type of the input.
        heights: Steps from each node to the deepest leaf under it.
    """
    exits: list[int] = []
    first: list[int] = []
    tops: list[list[_Split]] = []
    for root in forest.roots.tolist():
        inner = _tallest(forest, root, heights)
        mine: list[int] = []
        splits: list[_Split] = []
        _number(forest, root, inner, mine, splits)
        first.append(len(exits))
        exits += mine
        tops.append(splits)
    columns = np.unique(forest.features[[split.node for splits in tops for split in splits]])
    if not 0 < len(columns) <= _MOST_COLUMNS:
        return None
    table = _table(forest, thresholds, columns, tops)
    if table is None:
        return None
    known, base, masks = table
    filled: Array = np.full((len(known), max(map(len, known))), np.inf, thresholds.dtype)
    for row, values in zip(filled, known, strict=True):
        row[: len(values)] = values
    return Treetops(
        exits=np.array(exits, np.int64),
        first=np.array(first, np.int64),
        columns=columns,
        thresholds=filled,
        counts=np.array([[len(values)] for values in known], np.int32),
        base=base,
        masks=masks,
    )


def find_exits(x: Tensor, tops: Treetops, *, below: bool) -> Tensor:
    """Return which of the exits each row leaves each tree's top by, [batch, trees]."""
    groups = len(tops.counts) // len(tops.columns)
    values = tf.transpose(tf.gather(x, tops.columns, axis=1))
    values = tf.repeat(values, groups, axis=0) if groups > 1 else values
    search = tf.raw_ops.UpperBound if below else tf.raw_ops.LowerBound
    places = tf.minimum(search(sorted_inputs=tf.constant(tops.thresholds), values=values), tops.counts)
    places = tf.where(tf.math.is_nan(values), tops.counts + 1, places) + tops.base
    places = tf.reshape(places, [len(tops.columns), groups, tf.shape(x)[0]])
    masks, count = tf.constant(tops.masks), len(tops.columns)
    blocks = tf.split(places, [min(_BLOCK, count - start) for start in range(0, count, _BLOCK)])
    alive = functools.reduce(tf.bitwise.bitwise_and, [_common(tf.gather(masks, block)) for block in blocks])
    words = tf.reshape(tf.transpose(alive, [1, 0, 2]), [-1, groups * tops.masks.shape[1]])[:, : len(tops.first)]
    # One bit is left; below it stand as many ones as its place.
    bit = tf.raw_ops.PopulationCount(x=words - np.int64(1))
    return tf.cast(bit, tf.int64) + tops.first


def _common(words: Tensor) -> Tensor:
    """Return the bits that are set in all of the first axis: its halves are joined until one is left."""
    left = []
    while (count := words.shape[0]) > 1:
        first, second, *odd = tf.split(words, [count // 2, count // 2] + [1] * (count % 2))
        words = tf.bitwise.bitwise_and(first, second)
        left += odd
    return functools.reduce(tf.bitwise.bitwise_and, left, words)[0]


def _tallest(forest: Forest, root: int, heights: Array) -> set[int]:
    """Return a tree's inner nodes of its top: always the one with the longest way down is cut open next.

    All rows take as many steps below the tops as the deepest leaf is away: few steps are worth more than few rows.
    """
    heap = [(-int(heights[root]), root)]
    inner: set[int] = set()
    while len(heap) < _EXITS and heap[0][0] < 0:
        _, node = heapq.heappop(heap)
        inner.add(node)
        for child in forest.children[node].tolist():
            heapq.heappush(heap, (-int(heights[child]), child))
    return inner


def _number(forest: Forest, node: int, inner: set[int], exits: list[int], splits: list[_Split]) -> int:
    """Add what stands at and below a node to `exits` and `splits`; return the bits of its exits."""
    if node not in inner:
        exits.append(node)
        return 1 << (len(exits) - 1)
    no, yes = (_number(forest, child, inner, exits, splits) for child in forest.children[node].tolist())
    splits.append(_Split(node, lost_if_held=no, lost_if_not=yes))
    return no | yes


def _table(
    forest: Forest, thresholds: Array, columns: Array, tops: list[list[_Split]]
) -> tuple[list[Array], Array, Array] | None:
    """Return the known thresholds of each column and group, where each begins in the table, and the table.

    None where the table becomes too large.
    """
    groups = [tops[start : start + _GROUP] for start in range(0, len(tops), _GROUP)]
    whole = np.ones((len(groups), min(len(tops), _GROUP)), np.int64)  # the exits of each tree
    for number, group in enumerate(groups):
        for tree, splits in enumerate(group):
            whole[number, tree] = _signed((2 << len(splits)) - 1)
    known: list[Array] = []
    parts: list[Array] = []
    left = _MOST_TABLE_BYTES
    for column in columns:
        for number, group in enumerate(groups):
            asked = [(tree, split) for tree, splits in enumerate(group) for split in splits]
            asked = [(tree, split) for tree, split in asked if forest.features[split.node] == column]
            values = np.unique(thresholds[[split.node for _, split in asked]])
            left -= (len(values) + 2) * whole[number].nbytes
            if left < 0:
                return None
            words = np.tile(whole[number], (len(values) + 2, 1))
            for tree, split in asked:
                held, lost = np.int64(_signed(~split.lost_if_held)), np.int64(_signed(~split.lost_if_not))
                place = int(np.searchsorted(values, thresholds[split.node])) + 1
                words[:place, tree] &= held
                words[place:-1, tree] &= lost
                words[-1, tree] &= held if forest.missing[split.node] else lost
            known.append(values)
            parts.append(words)
    base = np.cumsum([0, *map(len, parts[:-1])]).astype(np.int32)[:, None]
    return known, base, np.concatenate(parts)


def _signed(bits: int) -> int:
    """Return the whole number of 64 bits that has these."""
    bits &= (1 << 64) - 1
    return bits - (1 << 64) if bits >> 63 else bits
