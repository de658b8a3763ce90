"""Histogram gradient boosting, its categories, missing values and links included, all compared in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.booster_graph import with_memberships
from modelport.convert.booster_trees import Ensemble, Nodes, join_nodes
from modelport.convert.estimators.converter import Converter
from modelport.convert.estimators.subgraph import Subgraph

_LINKS = {"IdentityLink": "identity", "LogLink": "exp", "LogitLink": "sigmoid", "MultinomialLogit": "softmax"}


def converters() -> dict[type, Converter]:
    """Give the converters of this module."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return {
        HistGradientBoostingClassifier: Converter(write=_classify),
        HistGradientBoostingRegressor: Converter(write=_regress),
    }


def _regress(graph: Subgraph, estimator: Any) -> Sequence[str]:
    sums = _sums(graph, estimator)
    return [graph.add("Exp", sums) if _link(estimator) == "exp" else sums]


def _classify(graph: Subgraph, estimator: Any) -> Sequence[str]:
    sums = _sums(graph, estimator)
    if len(estimator.classes_) > 2:
        place, chances, pair = graph.add("ArgMax", sums, axis=1, keepdims=0), graph.add("Softmax", sums, axis=1), sums
    else:
        place, chances, pair = graph.two_classes(sums)
    return [graph.labels(place, estimator.classes_), pair if graph.raw_scores(estimator) else chances]


def _link(estimator: Any) -> str:
    kind = type(estimator._loss.link).__name__  # noqa: SLF001 - it is told nowhere else
    if kind not in _LINKS:
        raise NotImplementedError(f"its loss has a link {kind}, which is not known here")
    return _LINKS[kind]


def _sums(graph: Subgraph, estimator: Any) -> str:
    """Give the sums of the trees, [rows, trees an iteration]."""
    _link(estimator)
    ensemble = read_histogram(estimator)
    graph.dtype = "float64"  # whatever comes in
    matrix = _encoded(graph, estimator, graph.matrix("float64"))
    matrix, nodes = with_memberships(graph, matrix, ensemble)
    sums = graph.cast(_trees(graph, matrix, nodes, ensemble), "float64")
    return graph.add("Add", sums, graph.constant(ensemble.base, "float64"))


def read_histogram(estimator: Any) -> Ensemble:
    """Give a fitted histogram gradient boosting's trees; categories are numbered as its own encoder does."""
    parts: list[Nodes] = []
    subsets: list[np.ndarray[Any, Any]] = []
    roots: list[int] = []
    targets: list[int] = []
    for iteration in estimator._predictors:  # noqa: SLF001 - they are told nowhere else
        for target, tree in enumerate(iteration):
            first = roots[-1] + len(parts[-1].leaf) if parts else 0
            roots.append(first)
            targets.append(target)
            parts.append(_read_tree(tree, first, subsets))
    base = np.ravel(estimator._baseline_prediction).astype(np.float64)  # noqa: SLF001 - as above
    return Ensemble(
        nodes=join_nodes(parts),
        roots=np.array(roots, np.int64),
        targets=np.array(targets, np.int64),
        subsets=tuple(subsets),
        features=int(estimator.n_features_in_),
        dtype="float64",
        strict=False,
        floors=False,
        base=base,
        link=_link(estimator),
    )


def _read_tree(tree: Any, first: int, subsets: list[np.ndarray[Any, Any]]) -> Nodes:
    nodes = tree.nodes
    leaf = nodes["is_leaf"].astype(bool)
    subset = np.full(len(nodes), -1)
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf):
        subset[node] = len(subsets)
        words = tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        subsets.append(np.flatnonzero((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1))
    return Nodes(
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf | (subset >= 0), 0, nodes["num_threshold"]),
        yes=np.where(leaf, 0, nodes["left"]).astype(np.int64) + first,
        no=np.where(leaf, 0, nodes["right"]).astype(np.int64) + first,
        missing=nodes["missing_go_to_left"].astype(bool),
        leaf=leaf,
        value=np.where(leaf, nodes["value"], 0.0),
        subset=subset,
    )


def _encoded(graph: Subgraph, estimator: Any, matrix: str) -> str:
    """Number the categories as the estimator does, before the other columns; an unknown one is missing."""
    if estimator._preprocessor is None:  # noqa: SLF001 - it is told nowhere else
        return matrix
    chosen = np.asarray(estimator.is_categorical_, bool)
    encoder = estimator._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - as above
    parts = []
    for column, categories in zip(np.flatnonzero(chosen), encoder.categories_, strict=True):
        if np.asarray(categories).dtype.kind not in "iufb":
            raise NotImplementedError("its categories are text; number them before, by an OrdinalEncoder in a pipeline")
        known = np.asarray(categories, np.float64)
        known = known[~np.isnan(known)]
        same = graph.add("Equal", graph.columns(matrix, np.array([column])), graph.constant(known, "float64"))
        hits = graph.cast(same, "float64")
        place = graph.add("MatMul", hits, graph.constant(np.arange(len(known))[:, None], "float64"))
        met = graph.add("Greater", graph.total(hits, 1, keepdims=True), graph.constant(0, "float64"))
        parts.append(graph.add("Where", met, place, graph.constant(np.nan, "float64")))
    if not chosen.all():
        parts.append(graph.columns(matrix, np.flatnonzero(~chosen)))
    return graph.add("Concat", *parts, axis=1)


def _trees(graph: Subgraph, matrix: str, nodes: Nodes, ensemble: Ensemble) -> str:
    """Add the trees in the form of ``ai.onnx.ml`` 3, which skl2onnx's other nodes have; float32 come out."""
    count = len(nodes.leaf)
    tree = np.searchsorted(ensemble.roots, np.arange(count), side="right") - 1
    begin = ensemble.roots[tree]
    leaves = np.flatnonzero(nodes.leaf)
    numbers = np.arange(count) - begin
    inner = ~nodes.leaf
    return graph.add(
        "TreeEnsembleRegressor",
        matrix,
        domain="ai.onnx.ml",
        op_version=3,
        n_targets=len(ensemble.base),
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=numbers.tolist(),
        nodes_featureids=nodes.feature.tolist(),
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        nodes_values_as_tensor=_doubles("nodes_values_as_tensor", nodes.threshold),
        nodes_truenodeids=np.where(inner, nodes.yes - begin, 0).tolist(),
        nodes_falsenodeids=np.where(inner, nodes.no - begin, 0).tolist(),
        nodes_missing_value_tracks_true=(nodes.missing & inner).astype(int).tolist(),
        target_treeids=tree[leaves].tolist(),
        target_nodeids=numbers[leaves].tolist(),
        target_ids=ensemble.targets[tree[leaves]].tolist(),
        target_weights_as_tensor=_doubles("target_weights_as_tensor", nodes.value[leaves]),
    )


def _doubles(name: str, values: np.ndarray[Any, Any]) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.asarray(values, np.float64), name)
