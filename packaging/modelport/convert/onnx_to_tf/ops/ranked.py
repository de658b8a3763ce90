"""A faster walk through forests whose nodes all ask whether a column is at most, or below, a threshold.

Each number of the input is first ranked among its column's thresholds. A node is then one whole number: the place of
the child to go to where its condition holds, its threshold's rank and its column. A rank and a column taken from it
leave the child's place, or borrow one from it and leave the place of the other child, which stands before the first.
So one step down costs two gathers and four element-wise ops. Rows that have reached their leaf are put aside every few
steps. Where it pays, the first levels are answered by `treetops`, and the walk begins below them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.ops.forest import Forest
from modelport.convert.onnx_to_tf.ops.treetops import Treetops, cut_treetops, find_exits
from modelport.convert.onnx_to_tf.value import Array, Tensor

#: Bits of a node for its column and for its rank; the child's place stands above both.
_COLUMN_BITS, _RANK_BITS = 13, 24
_PLACE_SHIFT = _COLUMN_BITS + _RANK_BITS
_MOST_NODES = 1 << (63 - _PLACE_SHIFT)
_HIGHEST_RANK = (1 << _RANK_BITS) - 1
#: Levels between two times at which rows at leaves are put aside, from the roots and from below the treetops.
_FROM_ROOTS, _FROM_EXITS = (8, 4), (7, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A forest as whole numbers.

    Attributes:
        tops: The first levels of all trees; None where the walk begins at the roots.
        nodes: Child, rank and column of each node, packed; a leaf has the highest rank and is its own child. The
            nodes at which the walk begins are the first.
        order: Where each node stood in the forest that it was made from.
        depth: Steps from where the walk begins to the deepest leaf.
        columns: The input's columns that are looked at.
        thresholds: Each column's different thresholds in rising order, filled up with infinity, [columns, most].
        below: Whether nodes ask for less, rather than for at most.
    """

    tops: Treetops | None
    nodes: Array
    order: Array
    depth: int
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
    rows = tf.shape(x, out_type=tf.int64)[0]
    if ranked.tops is None:
        start = tf.tile(tf.range(trees, dtype=tf.int64), [rows])
    else:
        start = find_exits(x, ranked.tops, below=ranked.below)
    at = tf.reshape(start, [-1, 1])
    if ranked.depth:
        keys, width = _keys(tf.gather(x, ranked.columns, axis=1), ranked), 2 * len(ranked.columns)
        base = tf.reshape(tf.range(rows)[:, None] * width + tf.zeros([1, trees], tf.int64), [-1, 1])
        at = _descend(ranked, keys, base, at, 0)
    return tf.reshape(tf.gather_nd(tf.constant(given[ranked.order]), at), [-1, trees])


def _descend(ranked: Ranked, keys: Tensor, base: Tensor, at: Tensor, level: int) -> Tensor:
    """Take the steps from a level to the deepest; rows that stand at leaves go no further than the next cut.

    All are columns, [places, 1], as GatherND takes them: it assigns numbers where Gather copies slices.
    """
    first, later = _FROM_ROOTS if ranked.tops is None else _FROM_EXITS
    cut = level + (later if level else first)
    nodes, column = tf.constant(ranked.nodes[:, None]), tf.constant((1 << _COLUMN_BITS) - 1, tf.int64)
    place = tf.constant(_PLACE_SHIFT, tf.int64)
    for _ in range(level, min(cut, ranked.depth)):
        node = tf.gather_nd(nodes, at)
        key = tf.gather_nd(keys, tf.bitwise.bitwise_and(node, column) + base)
        at = tf.bitwise.right_shift(node - key, place)
    if cut >= ranked.depth:
        return at
    leaf = np.int64(_HIGHEST_RANK << _COLUMN_BITS)
    going = tf.where(tf.not_equal(tf.bitwise.bitwise_and(tf.gather_nd(nodes, at), leaf), leaf))[:, :1]
    reached = _descend(ranked, keys, tf.gather_nd(base, going), tf.gather_nd(at, going), cut)
    return tf.tensor_scatter_nd_update(at, going, reached)


def _keys(x: Tensor, ranked: Ranked) -> Tensor:
    """Return what is taken from nodes, [batch * columns * 2, 1]: a column for nodes where NaN holds and where not.

    A key's rank is at most a node's if and only if the node's condition holds.
    """
    search = tf.raw_ops.UpperBound if ranked.below else tf.raw_ops.LowerBound
    places = search(sorted_inputs=tf.constant(ranked.thresholds), values=tf.transpose(x), out_type=tf.int64)
    rank = tf.transpose(places) + 1
    absent = tf.math.is_nan(x)
    both = tf.stack(
        [tf.where(absent, np.int64(0), rank), tf.where(absent, np.int64(_HIGHEST_RANK), rank)], -1
    )  # [batch, columns, 2]
    shifted = tf.bitwise.left_shift(both, np.int64(_COLUMN_BITS))
    return tf.reshape(shifted + np.arange(2 * len(ranked.columns)).reshape(-1, 2), [-1, 1])


def _rank(forest: Forest, dtype: type) -> Ranked | None:
    inner = forest.modes >= 0
    modes = np.unique(forest.modes[inner])
    thresholds: Array = forest.thresholds.astype(dtype)
    fits = len(modes) == 1 and modes[0] in {0, 1} and len(forest.roots) > 0 and len(inner) < _MOST_NODES
    heights = forest.heights() if fits and not np.isnan(thresholds[inner]).any() else None
    if heights is None:
        return None
    columns, column = np.unique(forest.features[inner], return_inverse=True)
    values = [np.unique(thresholds[inner][column == i]) for i in range(len(columns))]
    most = max(map(len, values))
    if most + 2 >= _HIGHEST_RANK or 2 * len(columns) > 1 << _COLUMN_BITS or _wasteful(values):
        return None
    table: Array = np.full((len(columns), most), np.inf, dtype)
    ranks = np.full(len(inner), _HIGHEST_RANK, np.int64)
    places = np.zeros(len(inner), np.int64)
    for i, known in enumerate(values):
        table[i, : len(known)] = known
        mine = np.flatnonzero(inner)[column == i]
        ranks[mine] = np.searchsorted(known, thresholds[mine]) + 1
        places[mine] = 2 * i + ~forest.missing[mine]
    tops = cut_treetops(forest, thresholds, heights)
    starts = forest.roots if tops is None else tops.exits
    order, child = _adjacent(forest, starts)
    return Ranked(
        tops=tops,
        nodes=child << _PLACE_SHIFT | ranks[order] << _COLUMN_BITS | places[order],
        order=order,
        depth=int(heights[starts].max()),
        columns=columns,
        thresholds=table,
        below=bool(modes[0] == 1),
    )


def _wasteful(values: list[Array]) -> bool:
    """Return whether a table of all columns' thresholds would be filled up more than it holds."""
    return len(values) * max(map(len, values)) > 4 * sum(map(len, values)) + (1 << 16)


def _adjacent(forest: Forest, starts: Array) -> tuple[Array, Array]:
    """Return the nodes in an order in which siblings stand side by side, and the second child's place in it."""
    order = starts.tolist()
    child: list[int] = []
    for node in order:  # grows while it is read
        if forest.modes[node] < 0:
            child.append(len(child))
            continue
        order += forest.children[node].tolist()
        child.append(len(order) - 1)
    return np.array(order, np.int32), np.array(child, np.int64)
