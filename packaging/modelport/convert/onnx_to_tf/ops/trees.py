"""Tree ensembles: all trees walked at once, one level of depth at a time.

The nodes of all trees stand in flat arrays. A leaf's children are the leaf itself, so that every row takes the same
number of steps, and each level costs a few gathers for the whole batch and all trees.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.ops.forest import Forest
from modelport.convert.onnx_to_tf.ops.ranked import walk_ranked
from modelport.convert.onnx_to_tf.ops.scores import both_classes, labels, transform
from modelport.convert.onnx_to_tf.registry import ML, lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor

_MODES = (b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ")
_MEMBER = 6  # only the newer op has it


def _either(node: Node, name: str) -> Array:
    """Return an attribute that holds floats, or doubles under another name."""
    tensor = node.attr(f"{name}_as_tensor", None)
    if tensor is not None:
        return np.asarray(tensor).reshape(-1)
    return np.array(node.attr(name, None) or [], dtype=np.float32)


def _read_forest(node: Node) -> tuple[Forest, dict[tuple[int, int], int]]:
    """Return the forest and the flat place of each (tree, node)."""
    trees, ids = node.attr("nodes_treeids", []), node.attr("nodes_nodeids", [])
    place = {key: i for i, key in enumerate(zip(trees, ids, strict=True))}
    asked = node.attr("nodes_modes", [])
    if unknown := sorted(set(asked) - {b"LEAF", *_MODES}):
        raise node.fail(f"its nodes compare by {unknown[0].decode(errors='replace')!r}, which ONNX does not define")
    modes = np.array([_MODES.index(mode) if mode in _MODES else -1 for mode in asked], np.int32)
    inner = modes >= 0
    children = np.repeat(np.arange(len(place), dtype=np.int32)[:, None], 2, axis=1)
    no, yes = node.attr("nodes_falsenodeids", []), node.attr("nodes_truenodeids", [])
    try:
        for i in np.flatnonzero(inner):
            children[i] = place[trees[i], no[i]], place[trees[i], yes[i]]
    except (KeyError, IndexError):
        raise node.fail(f"node {ids[i]} of tree {trees[i]} has a child that is not there") from None
    targets = set(children[inner].reshape(-1).tolist())
    roots = np.array([i for i in range(len(place)) if i not in targets], np.int32)
    missing = np.array(node.attr("nodes_missing_value_tracks_true", None) or [0] * len(place), bool)
    forest = Forest(
        features=np.where(inner, np.array(node.attr("nodes_featureids", []), np.int32), 0).astype(np.int32),
        thresholds=_either(node, "nodes_values"),
        children=children,
        modes=modes,
        missing=missing,
        roots=roots,
    )
    return forest, place


def walk_forest(x: Tensor, forest: Forest, given: Array) -> Tensor:
    """Return what is `given` for the leaf that each row of `x`, [batch, columns], reaches in each tree.

    Args:
        x: Rows of floats.
        forest: The trees.
        given: One entry a node.

    Returns:
        [batch, trees].
    """
    ranked = walk_ranked(x, forest, given)
    if ranked is not None:
        return ranked
    at = tf.zeros_like(tf.gather(x, [0] * len(forest.roots), axis=1), dtype=tf.int32) + forest.roots
    features, thresholds = tf.constant(forest.features), tf.constant(forest.thresholds)
    children = tf.constant(forest.children.reshape(-1))
    for _ in range(forest.depth(forest.roots)):
        seen = tf.gather(x, tf.gather(features, at), batch_dims=1, axis=1)
        holds = _compare(forest, seen, tf.cast(tf.gather(thresholds, at), x.dtype), at)
        at = tf.gather(children, 2 * at + tf.cast(holds, tf.int32))
    return tf.gather(tf.constant(given), at)


def _compare(forest: Forest, seen: Tensor, threshold: Tensor, at: Tensor) -> Tensor:
    def is_member(x: Tensor, _: Tensor) -> Tensor:
        return tf.reduce_any(tf.equal(x[..., None], tf.cast(tf.gather(forest.members, at), x.dtype)), -1)

    comparisons = (tf.less_equal, tf.less, tf.greater_equal, tf.greater, tf.equal, tf.not_equal, is_member)
    used = sorted({int(mode) for mode in forest.modes if mode >= 0})
    holds = comparisons[used[0]](seen, threshold) if used else tf.zeros_like(seen, dtype=tf.bool)
    for mode in used[1:]:
        holds = tf.where(tf.equal(tf.gather(forest.modes, at), mode), comparisons[mode](seen, threshold), holds)
    if forest.missing.any():
        holds = tf.logical_or(holds, tf.logical_and(tf.math.is_nan(seen), tf.gather(forest.missing, at)))
    return holds


def _rows(node: Node) -> Tensor:
    """Return the input as floats: whole numbers are compared as float32, as ONNX Runtime does."""
    x = node.tensor(0)
    return x if x.dtype.is_floating else tf.cast(x, tf.float32)


def _aggregate(node: Node, leaves: Array, x: Tensor, forest: Forest) -> Tensor:
    """Combine what the leaves give, [nodes, targets], over the trees: [batch, targets] in float64."""
    how = node.attr("aggregate_function", b"SUM")
    _check(node, forest)
    # Many leaves give the same: a table of what is different stays in the processor's cache.
    different, which = np.unique(leaves, axis=0, return_inverse=True)
    given = tf.gather(tf.constant(different), walk_forest(x, forest, which.reshape(-1).astype(np.int32)))
    if how == b"MIN":
        return tf.reduce_min(given, 1)
    if how == b"MAX":
        return tf.reduce_max(given, 1)
    total = tf.reduce_sum(given, 1)
    return total / len(forest.roots) if how == b"AVERAGE" else total


def _check(node: Node, forest: Forest) -> None:
    count = len(forest.modes)
    for ids in (forest.roots, forest.children):
        if ids.size and not 0 <= ids.min() <= ids.max() < count:
            raise node.fail(f"it leads to a node that is not among its {count}")
    forest.depth(forest.roots)  # refuses circles


def _leaves(node: Node, place: dict[tuple[int, int], int], kind: str, count: int) -> Array:
    leaves = np.zeros((len(place), count))
    keys = zip(node.attr(f"{kind}_treeids", []), node.attr(f"{kind}_nodeids", []), strict=True)
    weights = _either(node, f"{kind}_weights")
    for key, target, weight in zip(keys, node.attr(f"{kind}_ids", []), weights, strict=True):
        leaves[place[key], target] += weight
    return leaves


@lowers("TreeEnsembleRegressor", domain=ML)
def _regressor(node: Node) -> Tensor:
    forest, place = _read_forest(node)
    count = int(node.attr("n_targets", 1))
    x = _rows(node)
    leaves = _leaves(node, place, "target", count)
    total = _aggregate(node, leaves, x, forest)
    base = _either(node, "base_values")
    if base.size:
        total = total + base.astype(np.float64)
    return tf.cast(transform(node, total), x.dtype)


@lowers("TreeEnsembleClassifier", domain=ML)
def _classifier(node: Node) -> Any:
    forest, place = _read_forest(node)
    names = labels(node)
    count = max(len(names), 1)
    x = _rows(node)
    leaves = _leaves(node, place, "class", count)
    scores = _aggregate(node, leaves, x, forest)
    base = _either(node, "base_values").astype(np.float64)
    given = sorted(set(node.attr("class_ids", [])))
    weights = _either(node, "class_weights")
    if count == 2 and len(given) == 1:
        # Only one class has weights: its score stands for the second class, whichever its id.
        score = scores[:, given[0] : given[0] + 1] + (base[-1] if base.size else 0.0)
        won, shown = both_classes(node, score, positive_only=bool((weights >= 0).all()))
    else:
        scores = scores + base if base.size else scores
        won, shown = tf.argmax(scores, 1), transform(node, scores)
    return tf.gather(names, won), tf.cast(shown, tf.float32)


def _members(node: Node, modes: Array) -> Array | None:
    """Return the sets of the nodes that test for membership, [nodes, most], filled up with NaN; None without such."""
    testing = np.flatnonzero(modes == _MEMBER)
    if not len(testing):
        return None
    flat = np.asarray(node.attr("membership_values", np.zeros(0))).reshape(-1)
    ends = np.flatnonzero(np.isnan(flat))
    if len(ends) != len(testing):
        raise node.fail(f"it has {len(testing)} nodes that test for membership in a set and {len(ends)} sets")
    sets = [part[~np.isnan(part)] for part in np.split(flat, ends)]
    members = np.full((len(modes), max(map(len, sets))), np.nan, flat.dtype)
    for place, given in zip(testing, sets, strict=False):  # what stands after the last end is no set
        members[place, : len(given)] = given
    return members


@lowers("TreeEnsemble", domain=ML, since=5)
def _ensemble(node: Node) -> Tensor:
    """The newer op: leaves and inner nodes are numbered apart, and modes are numbers."""
    roots = np.array(node.attr("tree_roots", []), np.int32)
    modes = np.asarray(node.attr("nodes_modes", np.zeros(0))).astype(np.int32).reshape(-1)
    inner = len(modes)
    leaf_targets = list(node.attr("leaf_targetids", []))
    nodes = inner + len(leaf_targets)
    children = np.repeat(np.arange(nodes, dtype=np.int32)[:, None], 2, axis=1)
    for column, name in ((0, "false"), (1, "true")):
        ids = np.array(node.attr(f"nodes_{name}nodeids", []), np.int32)
        children[:inner, column] = ids + inner * np.array(node.attr(f"nodes_{name}leafs", []), np.int32)
    splits = np.asarray(node.attr("nodes_splits", np.zeros(0))).reshape(-1)
    missing = np.array(node.attr("nodes_missing_value_tracks_true", None) or [0] * inner, bool)
    pad = [(0, nodes - inner)]
    members = _members(node, modes)
    forest = Forest(
        features=np.pad(np.array(node.attr("nodes_featureids", []), np.int32), pad),
        thresholds=np.pad(splits, pad),
        children=children,
        modes=np.pad(modes, pad, constant_values=-1),
        missing=np.pad(missing, pad),
        roots=roots,
        members=None if members is None else np.pad(members, [*pad, (0, 0)], constant_values=np.nan),
    )
    weights = np.asarray(node.attr("leaf_weights", np.zeros(0))).reshape(-1)
    leaves = np.zeros((nodes, int(node.attr("n_targets", 1))))
    leaves[inner + np.arange(len(leaf_targets)), leaf_targets] = weights
    how = (b"AVERAGE", b"SUM", b"MIN", b"MAX")[int(node.attr("aggregate_function", 1))]
    after = (b"NONE", b"SOFTMAX", b"LOGISTIC", b"SOFTMAX_ZERO", b"PROBIT")[int(node.attr("post_transform", 0))]
    node = node.having(aggregate_function=how, post_transform=after)
    total = _aggregate(node, leaves, node.tensor(0), forest)
    return tf.cast(transform(node, total), node.value(0).dtype)
