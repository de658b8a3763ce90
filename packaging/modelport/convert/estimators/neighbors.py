"""Neighbours weighted by distance, and those of the metrics that skl2onnx has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelport.convert.estimators.converter import Converter
from modelport.convert.estimators.subgraph import Subgraph

#: Metrics that skl2onnx has.
_THEIRS = ("euclidean", "minkowski", "manhattan", "cosine")


def converters() -> dict[type, Converter]:
    """Give the converters of this module."""
    from sklearn.neighbors import (
        KNeighborsClassifier,
        KNeighborsRegressor,
        RadiusNeighborsClassifier,
        RadiusNeighborsRegressor,
    )

    return {
        KNeighborsClassifier: Nearest(write=_classify),
        KNeighborsRegressor: Nearest(write=_regress),
        RadiusNeighborsClassifier: Converter(write=_refuse),
        RadiusNeighborsRegressor: Converter(write=_regress_within),
    }


class Nearest(Converter):
    """skl2onnx's own where all neighbours count alike: it goes row by row, and needs less memory."""

    def run(self, scope: Any, operator: Any, container: Any) -> None:
        """Convert one operator."""
        from skl2onnx.common._registration import get_converter

        estimator = operator.raw_operator
        if estimator.weights in (None, "uniform") and estimator.effective_metric_ in _THEIRS:
            get_converter(f"Sklearn{type(estimator).__name__}")(scope, operator, container)
        else:
            super().run(scope, operator, container)


def _distances(graph: Subgraph, estimator: Any) -> str:
    """Give the distance of each row to each that was learnt, [rows, learnt]."""
    learnt = estimator._fit_X  # noqa: SLF001 - they are told nowhere else
    if hasattr(learnt, "toarray"):
        raise NotImplementedError("it was fitted on a sparse matrix; fit it on a dense one")
    metric, options = estimator.effective_metric_, estimator.effective_metric_params_ or {}
    if metric == "cosine":
        return _cosine(graph, learnt)
    if metric not in _GAPS or options.get("w") is not None:
        raise NotImplementedError(f"its metric is {metric!r}{' with weights' if metric in _GAPS else ''}")
    rows = graph.add("Unsqueeze", graph.matrix(), graph.constant([1], np.int64))
    return _GAPS[metric](graph, rows, graph.number(learnt), float(options.get("p", 2)))


def _manhattan(graph: Subgraph, rows: str, learnt: str, _: float) -> str:
    return graph.total(_gap(graph, rows, learnt), 2)


def _euclidean(graph: Subgraph, rows: str, learnt: str, _: float) -> str:
    gap = graph.add("Sub", rows, learnt)
    return graph.add("Sqrt", graph.total(graph.add("Mul", gap, gap), 2))


def _chebyshev(graph: Subgraph, rows: str, learnt: str, _: float) -> str:
    return graph.add("ReduceMax", _gap(graph, rows, learnt), graph.constant([2], np.int64), keepdims=0)


def _minkowski(graph: Subgraph, rows: str, learnt: str, power: float) -> str:
    gap = graph.add("Pow", _gap(graph, rows, learnt), graph.number(power))
    return graph.add("Pow", graph.total(gap, 2), graph.number(1 / power))


def _canberra(graph: Subgraph, rows: str, learnt: str, _: float) -> str:
    whole = graph.add("Add", graph.add("Abs", rows), graph.add("Abs", learnt))
    safe = graph.add("Where", graph.add("Equal", whole, graph.number(0)), graph.number(1), whole)
    return graph.total(graph.add("Div", _gap(graph, rows, learnt), safe), 2)


def _gap(graph: Subgraph, rows: str, learnt: str) -> str:
    return graph.add("Abs", graph.add("Sub", rows, learnt))


_GAPS: Mapping[str, Callable[[Subgraph, str, str, float], str]] = {
    "euclidean": _euclidean,
    "l2": _euclidean,
    "manhattan": _manhattan,
    "cityblock": _manhattan,
    "l1": _manhattan,
    "chebyshev": _chebyshev,
    "minkowski": _minkowski,
    "canberra": _canberra,
}


def _cosine(graph: Subgraph, learnt: Any) -> str:
    matrix = graph.matrix()
    length = graph.add("Sqrt", graph.total(graph.add("Mul", matrix, matrix), 1, keepdims=True))
    safe = graph.add("Where", graph.add("Equal", length, graph.number(0)), graph.number(1), length)
    norms = np.linalg.norm(learnt, axis=1, keepdims=True)
    others = learnt / np.where(norms == 0, 1, norms)
    likeness = graph.add("MatMul", graph.add("Div", matrix, safe), graph.number(others.T))
    return graph.add("Max", graph.add("Sub", graph.number(1), likeness), graph.number(0))


def _weights(graph: Subgraph, distances: str, kind: Any) -> str:
    """Give each neighbour's weight; where some are at no distance, they alone count."""
    if kind not in (None, "uniform", "distance"):
        raise NotImplementedError("its weights are a function, which is code, and no graph can hold it")
    if kind != "distance":
        return graph.add("Add", graph.add("Mul", distances, graph.number(0)), graph.number(1))
    here = graph.cast(graph.add("Equal", distances, graph.number(0)), graph.dtype)
    met = graph.add("Greater", graph.add("ReduceMax", here, graph.constant([1], np.int64), keepdims=1), graph.number(0))
    return graph.add("Where", met, here, graph.add("Reciprocal", distances))


def _nearest(graph: Subgraph, estimator: Any) -> tuple[str, str]:
    """Give the weights and the numbers of the nearest, both [rows, neighbours]."""
    distances = _distances(graph, estimator)
    # Their numbers come from TopK's second output, which the nearest distances are looked up by.
    count = graph.constant([estimator.n_neighbors], np.int64)
    place = graph.add_second("TopK", distances, count, axis=1, largest=0, sorted=1)
    return _weights(graph, graph.add("GatherElements", distances, place, axis=1), estimator.weights), place


def _regress(graph: Subgraph, estimator: Any) -> Sequence[str]:
    weights, place = _nearest(graph, estimator)
    targets = estimator._y.reshape(len(estimator._y), -1)  # noqa: SLF001 - as above
    values = graph.add("Gather", graph.number(targets), place, axis=0)
    return [_mean(graph, weights, values)]


def _mean(graph: Subgraph, weights: str, values: str) -> str:
    tall = graph.add("Unsqueeze", weights, graph.constant([2], np.int64))
    return graph.add("Div", graph.total(graph.add("Mul", tall, values), 1), graph.total(weights, 1, keepdims=True))


def _classify(graph: Subgraph, estimator: Any) -> Sequence[str]:
    if estimator.outputs_2d_:
        raise NotImplementedError("it has several targets; declare a model for each")
    weights, place = _nearest(graph, estimator)
    shares = np.eye(len(estimator.classes_))[estimator._y.reshape(-1)]  # noqa: SLF001 - as above
    chances = _mean(graph, weights, graph.add("Gather", graph.number(shares), place, axis=0))
    return [graph.labels(graph.add("ArgMax", chances, axis=1, keepdims=0), estimator.classes_), chances]


def _regress_within(graph: Subgraph, estimator: Any) -> Sequence[str]:
    distances = _distances(graph, estimator)
    near = graph.cast(graph.add("LessOrEqual", distances, graph.number(estimator.radius)), graph.dtype)
    if estimator.weights == "distance":  # at no distance only those count; a row of such weights is all near
        weights = graph.add("Where", graph.cast(near, "bool"), _weights(graph, distances, "distance"), graph.number(0))
    else:
        weights = graph.add("Mul", near, _weights(graph, distances, estimator.weights))
    targets = estimator._y.reshape(len(estimator._y), -1)  # noqa: SLF001 - as above
    sums = graph.add("MatMul", weights, graph.number(targets))
    return [graph.add("Div", sums, graph.total(weights, 1, keepdims=True))]


def _refuse(graph: Subgraph, estimator: Any) -> Sequence[str]:
    del graph, estimator
    raise NotImplementedError("it refuses rows without neighbours, which no graph can")
