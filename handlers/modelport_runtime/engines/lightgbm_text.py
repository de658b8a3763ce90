"""LightGBM's model text as arrays, checked: every index leads somewhere, and every tree ends."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from modelport_runtime.checking import Array

END = "end of trees"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree; inner nodes are numbered from 0, and a child below 0 is the leaf ``~child``.

    Attributes:
        feature: Column that each inner node looks at.
        threshold: What it compares with; for a categorical split, the number of its set.
        decision: Bit 0: categorical; bit 1: missing values go left; bits 2 and 3: what is missing (0 nothing,
            1 zero, 2 NaN).
        left: Child of each inner node where the comparison holds.
        right: Child where it does not.
        leaves: Value of each leaf.
        sets: Each categorical split's categories, in 32-bit words.
        linear: Whether the leaves hold linear models.
    """

    feature: Array
    threshold: Array
    decision: Array
    left: Array
    right: Array
    leaves: Array
    sets: tuple[Array, ...]
    linear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """A whole model.

    Attributes:
        features: How many columns it takes.
        names: Their names.
        objective: Its objective's words, such as ``("binary", "sigmoid:1")``; ``("",)`` for a custom one.
        targets: How many numbers it gives a row; tree ``i`` belongs to number ``i % targets``.
        average: Whether the trees' sum is divided by the number of rounds.
        trees: All trees.
    """

    features: int
    names: tuple[str, ...]
    objective: tuple[str, ...]
    targets: int
    average: bool
    trees: tuple[Tree, ...]


def read_forest(text: str) -> Forest:
    """Read a model.

    Raises:
        ValueError: It is cut off, or contradicts itself.
        KeyError: Something is missing.
    """
    lines = text.splitlines()
    if END not in lines:
        raise ValueError(f"{END!r} is missing, so it is cut off")
    blocks: list[list[str]] = [[]]
    for line in lines[: lines.index(END)]:
        if line.startswith("Tree="):
            blocks.append([])
        blocks[-1].append(line)
    head = _pairs(blocks[0])
    names = tuple(head["feature_names"].split())
    features = int(head["max_feature_idx"]) + 1
    targets = int(head["num_tree_per_iteration"])
    trees = tuple(_read_tree(_pairs(block), features) for block in blocks[1:])
    if len(names) != features or targets < 1 or len(trees) % targets:
        raise ValueError(f"{len(names)} names of {features} features, {len(trees)} trees for {targets} outputs")
    if len(head["tree_sizes"].split()) != len(trees):
        raise ValueError(f"{len(trees)} trees, and sizes of {len(head['tree_sizes'].split())}")
    return Forest(
        features=features,
        names=names,
        objective=tuple(head.get("objective", "").split()) or ("",),
        targets=targets,
        average="average_output" in blocks[0],
        trees=trees,
    )


def _pairs(block: list[str]) -> dict[str, str]:
    return {key: value for key, equals, value in (line.partition("=") for line in block) if equals}


def _read_tree(pairs: dict[str, str], features: int) -> Tree:
    def numbers(key: str, dtype: type = np.int64) -> Array:
        return np.array([float(word) if dtype is float else int(word) for word in pairs.get(key, "").split()], dtype)

    bounds, words = numbers("cat_boundaries"), numbers("cat_threshold")
    tree = Tree(
        feature=numbers("split_feature"),
        threshold=numbers("threshold", float),
        decision=numbers("decision_type"),
        left=numbers("left_child"),
        right=numbers("right_child"),
        leaves=numbers("leaf_value", float),
        sets=tuple(words[start:stop] for start, stop in pairwise(bounds.tolist())),
        linear=pairs.get("is_linear", "0") != "0",
    )
    if not _whole(tree, int(pairs["num_leaves"]), features):
        raise ValueError(f"tree {pairs['Tree']} contradicts itself")
    return tree


def _whole(tree: Tree, leaves: int, features: int) -> bool:
    inner = leaves - 1
    parts = (tree.feature, tree.threshold, tree.decision, tree.left, tree.right)
    if len(tree.leaves) != leaves or leaves < 1 or any(len(part) != inner for part in parts):
        return False
    own = np.arange(inner)
    children = np.stack([tree.left, tree.right])
    # A child is made after its parent, so that a larger number is a way down, never a circle.
    down = (children < 0) | ((children > own) & (children < inner))
    known = (tree.feature >= 0) & (tree.feature < features)
    chosen = tree.threshold[(tree.decision & 1) == 1]
    in_sets = (chosen >= 0) & (chosen < len(tree.sets))
    return bool(down.all() and (children >= -leaves).all() and known.all() and in_sets.all())
