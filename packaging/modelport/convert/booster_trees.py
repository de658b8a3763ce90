"""The trees of XGBoost and LightGBM in one form that says which way every value goes, a missing one too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.examples import Array
from modelport.errors import ConversionError

if TYPE_CHECKING:
    from modelport_runtime.engines.lightgbm_text import Forest, Tree
    from modelport_runtime.engines.xgboost import XGBoostBooster

#: What XGBoost makes of the sum, by objective; an objective that is not here is refused.
_XGBOOST_LINKS = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), "sigmoid"),
    **dict.fromkeys(("multi:softmax", "multi:softprob"), "softmax"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), "exp"),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
            "reg:quantileerror", "reg:linear", "rank:pairwise", "rank:ndcg", "rank:map", "binary:logitraw",
        ),
        "identity",
    ),
    "binary:hinge": "step",
}  # fmt: skip
#: The same for LightGBM; the empty name is that of an objective of one's own.
_LIGHTGBM_LINKS = {
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), "sigmoid"),
    "multiclass": "softmax",
    "cross_entropy_lambda": "softplus",
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **dict.fromkeys(
        (
            "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom",
            "",
        ),
        "identity",
    ),
}  # fmt: skip
WAY_OUT = "serve the model with --backend bentoml or torchserve, where its own library answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Nodes as flat arrays, one entry a node; children count from the first node of all trees.

    Attributes:
        feature: Column that is looked at; any at leaves.
        threshold: What it is compared with.
        yes: Where to go if the comparison holds, or the category is in the set.
        no: Where to go otherwise.
        missing: Whether NaN counts as holding.
        leaf: Whether the node is a leaf.
        value: What a leaf adds.
        subset: Number of the set of categories that the value must be in, or -1 where it is compared.
    """

    feature: Array
    threshold: Array
    yes: Array
    no: Array
    missing: Array
    leaf: Array
    value: Array
    subset: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A booster, whoever made it.

    Attributes:
        nodes: The nodes of all trees.
        roots: Each tree's first node.
        targets: Which number each tree adds to.
        subsets: Sets of categories, each sorted.
        features: How many columns it takes.
        dtype: What it compares with: ``float32`` or ``float64``.
        strict: Whether a value must be less than the threshold, or may equal it.
        floors: Whether -0.5 is below all categories, or is category 0.
        base: What each sum begins with, one a target.
        nothing: How far from zero a value may be and still be no value; None where zero is a value like others.
        nothing_counts_as: What such a value counts as, one a column: zero, or NaN.
        divisor: What the sums are divided by.
        link: What becomes of the sums: ``identity sigmoid softmax softplus exp step square``.
        scale: What the sums are multiplied with before a ``sigmoid``.
    """

    nodes: Nodes
    roots: Array
    targets: Array
    subsets: tuple[Array, ...]
    features: int
    dtype: str
    strict: bool
    floors: bool
    base: Array
    nothing: float | None = None
    nothing_counts_as: Array | None = None
    divisor: float = 1.0
    link: str
    scale: float = 1.0


def read_xgboost(booster: XGBoostBooster) -> Ensemble:
    """Give a loaded XGBoost model's trees.

    Raises:
        ConversionError: It has no trees, or trees of a kind that has no counterpart in ONNX.
    """
    native = booster.native[: booster.rounds] if booster.rounds else booster.native
    learner = json.loads(native.save_raw("json"))["learner"]
    gradient = learner["gradient_booster"]
    if booster.objective not in _XGBOOST_LINKS:
        raise ConversionError(f"XGBoost's objective {booster.objective!r} is not known here; {WAY_OUT}")
    if gradient["name"] not in ("gbtree", "dart"):
        raise ConversionError(f"XGBoost's booster {gradient['name']!r} has no trees to convert; {WAY_OUT}")
    drops = gradient.get("weight_drop")
    model = gradient["gbtree"]["model"] if gradient["name"] == "dart" else gradient["model"]
    trees = model["trees"]
    if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
        raise ConversionError(f"XGBoost's multi_strategy 'multi_output_tree' has no counterpart in ONNX; {WAY_OUT}")
    parts: list[Nodes] = []
    subsets: list[Array] = []
    roots: list[int] = []
    for number, tree in enumerate(trees):
        first = roots[-1] + len(parts[-1].leaf) if parts else 0
        roots.append(first)
        parts.append(_xgboost_nodes(tree, first, 1.0 if drops is None else float(drops[number]), subsets))
    link = _XGBOOST_LINKS[booster.objective]
    return Ensemble(
        nodes=join_nodes(parts),
        roots=np.array(roots, np.int64),
        targets=np.array(model["tree_info"], np.int64),
        subsets=tuple(subsets),
        features=booster.features,
        dtype="float32",
        strict=True,
        floors=True,
        base=_xgboost_base(learner["learner_model_param"]["base_score"], link, booster.targets),
        link=link,
    )


def _xgboost_base(text: str, link: str, targets: int) -> Array:
    """Give what the sums begin with: the file holds it as an answer, not as a sum."""
    score = np.atleast_1d(np.array(json.loads(text), np.float64)).reshape(-1)
    if link == "sigmoid":
        score = -np.log(1 / score - 1)
    elif link == "exp":
        score = np.log(score)
    return np.broadcast_to(score, (targets,)).copy()


def _xgboost_nodes(tree: dict[str, Any], first: int, weight: float, subsets: list[Array]) -> Nodes:
    left, right = (np.array(tree[f"{side}_children"], np.int64) for side in ("left", "right"))
    leaf = left < 0
    conditions = np.array(tree["split_conditions"], np.float32)
    goes_left = np.array(tree["default_left"], bool)
    subset = np.full(len(leaf), -1)
    for node, start, size in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        subset[node] = len(subsets)
        subsets.append(np.unique(np.array(tree["categories"][start : start + size], np.int64)))
    chosen = subset >= 0  # of a set's members, XGBoost goes right
    return Nodes(
        feature=np.array(tree["split_indices"], np.int64),
        threshold=conditions,
        yes=np.where(leaf, 0, np.where(chosen, right, left)) + first,
        no=np.where(leaf, 0, np.where(chosen, left, right)) + first,
        missing=goes_left ^ chosen,
        leaf=leaf,
        value=np.where(leaf, conditions * np.float32(weight), np.float32(0)),
        subset=subset,
    )


def read_lightgbm(forest: Forest) -> Ensemble:
    """Give a LightGBM model's trees.

    Raises:
        ConversionError: They are of a kind that has no counterpart in ONNX.
    """
    name, *rest = forest.objective
    words = dict(word.partition(":")[::2] for word in rest)
    if name not in _LIGHTGBM_LINKS:
        raise ConversionError(f"LightGBM's objective {name!r} is not known here; {WAY_OUT}")
    if any(tree.linear for tree in forest.trees):
        raise ConversionError(f"LightGBM's linear trees have no counterpart in ONNX; {WAY_OUT}")
    parts: list[Nodes] = []
    subsets: list[Array] = []
    roots: list[int] = []
    for tree in forest.trees:
        first = roots[-1] + len(parts[-1].leaf) if parts else 0
        roots.append(first)
        parts.append(_lightgbm_nodes(tree, first, subsets))
    return Ensemble(
        nodes=join_nodes(parts),
        roots=np.array(roots, np.int64),
        targets=np.arange(len(roots), dtype=np.int64) % forest.targets,
        subsets=tuple(subsets),
        features=forest.features,
        dtype="float64",
        strict=False,
        floors=False,
        base=np.zeros(forest.targets),
        nothing=float(np.float32(1e-35)),  # LightGBM leaves such values out when it packs a row
        nothing_counts_as=np.where(_columns_without_zero(forest), np.nan, 0.0),
        divisor=len(roots) / forest.targets if forest.average and roots else 1.0,
        link="square" if "sqrt" in words else _LIGHTGBM_LINKS[name],
        scale=float(words.get("sigmoid", "1")),
    )


def _lightgbm_nodes(tree: Tree, first: int, subsets: list[Array]) -> Nodes:
    inner, leaves = len(tree.feature), len(tree.leaves)
    categorical = (tree.decision & 1).astype(bool)
    kind = tree.decision >> 2
    # What is missing has a way of its own only where it was so in training; elsewhere NaN counts as zero.
    missing = np.where(kind > 0, (tree.decision & 2).astype(bool), tree.threshold >= 0)
    subset = np.full(inner, -1)
    for node in np.flatnonzero(categorical):
        subset[node] = len(subsets)
        subsets.append(_members(tree.sets[int(tree.threshold[node])]))

    def child(number: Array) -> Array:
        return np.where(number < 0, inner + ~number, number) + first

    pad = (0, leaves)
    return Nodes(
        feature=np.pad(tree.feature, pad),
        threshold=np.pad(tree.threshold, pad),
        yes=np.pad(child(tree.left), pad),
        no=np.pad(child(tree.right), pad),
        missing=np.pad(missing & ~categorical, pad),  # a missing category is in no set
        leaf=np.arange(inner + leaves) >= inner,
        value=np.concatenate([np.zeros(inner), tree.leaves]),
        subset=np.pad(subset, pad, constant_values=-1),
    )


def _columns_without_zero(forest: Forest) -> Array:
    """Tell in which columns zero means that the value is missing."""
    told = [np.array([], np.int64)]
    told += [tree.feature[(tree.decision & 1 == 0) & (tree.decision >> 2 == 1)] for tree in forest.trees]
    return np.isin(np.arange(forest.features), np.concatenate(told))


def _members(words: Array) -> Array:
    """Give the numbers of the bits that are set in 32-bit words."""
    bits = (words[:, None] >> np.arange(32)) & 1
    return np.flatnonzero(bits.reshape(-1))


def join_nodes(parts: Sequence[Nodes]) -> Nodes:
    """Put the nodes of trees, whose children are numbered on through all of them, one after another.

    Raises:
        ConversionError: There is no tree.
    """
    if not parts:
        raise ConversionError(f"the model has no trees, so it gives the same answer to everything; {WAY_OUT}")
    return Nodes(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Nodes.__slots__})
