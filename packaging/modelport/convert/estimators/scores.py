"""Estimators whose answer is made of another's: a threshold over probabilities, a distance from the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.estimators.converter import Converter
from modelport.convert.estimators.subgraph import Subgraph


def converters() -> dict[type, Converter]:
    """Give the converters of this module."""
    from sklearn.covariance import EllipticEnvelope
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

    return {
        FixedThresholdClassifier: Converter(write=_fixed, width=lambda _: 2, labelled=True),
        TunedThresholdClassifierCV: Converter(write=_tuned, width=lambda _: 2, labelled=True),
        LinearDiscriminantAnalysis: Converter(write=_discriminate),
        EllipticEnvelope: Converter(write=_envelop, width=lambda _: 1, labelled=True),
    }


def _fixed(graph: Subgraph, estimator: Any) -> Sequence[str]:
    threshold = 0.5 if estimator.threshold == "auto" else estimator.threshold
    return _parted(graph, estimator, threshold, estimator.pos_label)


def _tuned(graph: Subgraph, estimator: Any) -> Sequence[str]:
    return _parted(graph, estimator, estimator.best_threshold_, estimator._curve_scorer._get_pos_label())  # noqa: SLF001


def _parted(graph: Subgraph, estimator: Any, threshold: float, positive: Any) -> Sequence[str]:
    fitted = estimator.estimator_
    if estimator.response_method == "decision_function" or not hasattr(fitted, "predict_proba"):
        raise NotImplementedError("its threshold is over decisions; set response_method to predict_proba")
    classes = np.asarray(estimator.classes_)
    _, chances = graph.inner(fitted)
    chosen = 1 if positive is None else int(np.flatnonzero(classes == positive)[0])
    score = graph.add("Gather", chances, graph.constant(chosen, np.int64), axis=1)
    reached = graph.add("GreaterOrEqual", graph.cast(score, "float64"), graph.constant(threshold, "float64"))
    places = classes[[1 - chosen, chosen]]
    return [graph.labels(graph.cast(reached, "int64"), places), chances]


def _discriminate(graph: Subgraph, estimator: Any) -> Sequence[str]:
    sums = graph.add("MatMul", graph.matrix(), graph.number(estimator.coef_.T))
    sums = graph.add("Add", sums, graph.number(estimator.intercept_))
    if len(estimator.classes_) > 2:
        place, chances, pair = graph.add("ArgMax", sums, axis=1, keepdims=0), graph.add("Softmax", sums, axis=1), sums
    else:
        place, chances, pair = graph.two_classes(sums)
    return [graph.labels(place, estimator.classes_), pair if graph.raw_scores(estimator) else chances]


def _envelop(graph: Subgraph, estimator: Any) -> Sequence[str]:
    gap = graph.add("Sub", graph.matrix(), graph.number(estimator.location_))
    spread = graph.add("Mul", graph.add("MatMul", gap, graph.number(estimator.get_precision())), gap)
    far = graph.total(spread, 1, keepdims=True)
    decision = graph.add("Sub", graph.add("Neg", far), graph.number(estimator.offset_))
    inside = graph.cast(graph.add("GreaterOrEqual", decision, graph.number(0)), "int64")
    flat = graph.add("Reshape", inside, graph.constant([-1], np.int64))
    return [graph.add("Gather", graph.constant([-1, 1], np.int64), flat), decision]
