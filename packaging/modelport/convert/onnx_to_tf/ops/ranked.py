"""A faster walk through forests whose nodes all ask whether a column is at most, or below, a threshold.

Each number of the input is first ranked among its column's thresholds. A node is then one whole number: its column,
its threshold's rank and the place of its first child, beside which the second one stands. One step down costs two
gathers and five element-wise ops, and rows that have reached their leaf are put aside every few steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.value import Array, Tensor

if TYPE_CHECKING:
    from modelport.convert.onnx_to_tf.ops.trees import Forest

#: Bits of a node for its first child and for its rank; the column stands above both.
_CHILD_BITS, _RANK_BITS = 26, 22
_COLUMN_SHIFT = _CHILD_BITS + _RANK_BITS
_HIGHEST_RANK = (1 << _RANK_BITS) - 1
#: After how many levels rows at leaves are first put aside, and how many levels lie between.
_FIRST_CUT, _NEXT_CUT = 8, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A forest as whole numbers.

    Attributes:
        nodes: Column, rank and first child of each node, packed; a leaf has rank 0 and is its own child.
        order: Where each node stood in the forest that it was made from.
        columns: The input's columns that are looked at.
        thresholds: Each column's different thresholds in rising order, filled up with infinity, [columns, most].
        below: Whether nodes ask for less, rather than for at most.
    """

    nodes: Array
    order: Array
    columns: Array
    thresholds: Array
    below: bool


def walk_ranked(x: Tensor, forest: Forest, given: Array) -> Tensor | None:
    """Return what is `given` for the leaf that each row reaches in each tree, [batch, trees].

    None where the forest does not fit.
    """
    ranked = _rank(forest, x.dtype.as_numpy_dtype) if x.dtype in {tf.float32, tf.float64} else None
    if ranked is None:
        return None
    trees = len(forest.roots)
    keys, width = _keys(tf.gather(x, ranked.columns, axis=1), ranked), 2 * len(ranked.columns)
    rows = tf.shape(x, out_type=tf.int64)[0]
    base = tf.reshape(tf.range(rows)[:, None] * width + tf.zeros([1, trees], tf.int64), [-1])
    start = tf.tile(tf.range(trees, dtype=tf.int64), [rows])
    nodes = tf.constant(ranked.nodes)
    found = _descend(nodes, keys, base, start, (0, forest.depth))
    return tf.reshape(tf.gather(tf.constant(given[ranked.order]), found), [-1, trees])


def _descend(nodes: Tensor, keys: Tensor, base: Tensor, at: Tensor, levels: tuple[int, int]) -> Tensor:
    """Take the steps from one level to another; rows that stand at leaves go no further than the next cut."""
    level, depth = levels
    cut = _FIRST_CUT if level == 0 else level + _NEXT_CUT
    for _ in range(level, min(cut, depth)):
        node = tf.gather(nodes, at)
        key = tf.gather(keys, tf.bitwise.right_shift(node, np.int64(_COLUMN_SHIFT)) + base)
        first = tf.bitwise.bitwise_and(node, np.int64((1 << _CHILD_BITS) - 1))
        at = first + tf.cast(key <= node, tf.int64)
    if cut >= depth:
        return at
    rank = tf.bitwise.bitwise_and(tf.gather(nodes, at), np.int64(_HIGHEST_RANK << _CHILD_BITS))
    going = tf.where(tf.not_equal(rank, 0))
    some = going[:, 0]
    reached = _descend(nodes, keys, tf.gather(base, some), tf.gather(at, some), (cut, depth))
    return tf.tensor_scatter_nd_update(at, going, reached)


def _keys(x: Tensor, ranked: Ranked) -> Tensor:
    """Return what nodes are compared with, [batch * columns * 2]: each column for nodes where NaN holds and where not.

    A key is at most a node, as numbers, if and only if the node's condition holds.
    """
    search = tf.raw_ops.UpperBound if ranked.below else tf.raw_ops.LowerBound
    places = search(sorted_inputs=tf.constant(ranked.thresholds), values=tf.transpose(x), out_type=tf.int64)
    rank = tf.transpose(places) + 1
    absent = tf.math.is_nan(x)
    both = tf.stack(
        [tf.where(absent, np.int64(0), rank), tf.where(absent, np.int64(_HIGHEST_RANK), rank)], -1
    )  # [batch, columns, 2]
    shifted = tf.bitwise.left_shift(both, np.int64(_CHILD_BITS))
    columns = np.arange(2 * len(ranked.columns), dtype=np.int64).reshape(-1, 2) << _COLUMN_SHIFT
    return tf.reshape(shifted + columns, [-1])


def _rank(forest: Forest, dtype: type) -> Ranked | None:
    inner = forest.modes >= 0
    modes = np.unique(forest.modes[inner])
    thresholds: Array = forest.thresholds.astype(dtype)
    fits = len(modes) == 1 and modes[0] in {0, 1} and len(forest.roots) > 0 and len(inner) < 1 << _CHILD_BITS
    if not fits or np.isnan(thresholds[inner]).any():
        return None
    columns, column = np.unique(forest.features[inner], return_inverse=True)
    values = [np.unique(thresholds[inner][column == i]) for i in range(len(columns))]
    most = max(map(len, values))
    if most + 2 >= _HIGHEST_RANK or len(columns) >= 1 << 13 or len(columns) * most > 4 * len(inner) + (1 << 16):
        return None
    table: Array = np.full((len(columns), most), np.inf, dtype)
    ranks = np.zeros(len(inner), np.int64)
    places = np.ones(len(inner), np.int64)  # leaves ask a column in which NaN does not hold
    for i, known in enumerate(values):
        table[i, : len(known)] = known
        mine = np.flatnonzero(inner)[column == i]
        ranks[mine] = np.searchsorted(known, thresholds[mine]) + 1
        places[mine] = 2 * i + ~forest.missing[mine]
    order, first = _adjacent(forest)
    packed = places[order] << _COLUMN_SHIFT | ranks[order] << _CHILD_BITS | first
    return Ranked(nodes=packed, order=order, columns=columns, thresholds=table, below=bool(modes[0] == 1))


def _adjacent(forest: Forest) -> tuple[Array, Array]:
    """Return the nodes in an order in which siblings stand side by side, and the first child's place in it."""
    order = forest.roots.tolist()
    first: list[int] = []
    for node in order:  # grows while it is read
        if forest.modes[node] < 0:
            first.append(len(first))
            continue
        first.append(len(order))
        order += forest.children[node].tolist()
    return np.array(order, np.int32), np.array(first, np.int64)
