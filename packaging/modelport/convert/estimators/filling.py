"""Missing values filled in, with a column that tells which were; and numbers put into bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.estimators.converter import Converter
from modelport.convert.estimators.subgraph import Subgraph, common_dtype
from modelport.convert.examples import Array


def converters() -> dict[type, Converter]:
    """Give the converters of this module."""
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.preprocessing import KBinsDiscretizer

    return {
        SimpleImputer: Imputer(write=_fill, width=_filled_width),
        MissingIndicator: Converter(write=_indicate, width=lambda estimator: len(estimator.features_)),
        KBinsDiscretizer: Converter(write=_bin, width=_bins),
    }


class Imputer(Converter):
    """A filler keeps whole numbers whole, and text text."""

    def run(self, scope: Any, operator: Any, container: Any) -> None:
        """Convert one operator; skl2onnx's own converter does text whose missing values are text."""
        from skl2onnx.common._registration import get_converter
        from skl2onnx.common.data_types import Int64TensorType, StringTensorType

        estimator, kind = operator.raw_operator, type(operator.inputs[0].type)
        graph = Subgraph(scope, container, operator)
        if kind is StringTensorType:
            if estimator.add_indicator:
                raise NotImplementedError("add_indicator on text puts text and numbers into one table")
            if isinstance(estimator.missing_values, str):
                get_converter("SklearnSimpleImputer")(scope, operator, container)
                return
            graph.answer(graph.matrix("string"), operator.outputs[0])  # text is never NaN or None in a request
            return
        whole = kind is Int64TensorType
        graph.answer(_filled(graph, estimator, "int64" if whole else graph.dtype), operator.outputs[0])

    def infer_shapes(self, operator: Any) -> None:
        """Keep the type of the columns."""
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

        kind = type(operator.inputs[0].type)
        if kind not in (Int64TensorType, StringTensorType):
            kind = DoubleTensorType if common_dtype(operator.inputs) == "float64" else FloatTensorType
        operator.outputs[0].type = kind([None, _filled_width(operator.raw_operator)])


def _filled_width(estimator: Any) -> int:
    told = len(estimator.indicator_.features_) if estimator.add_indicator else 0
    return len(_kept(estimator)) + told


def _fill(graph: Subgraph, estimator: Any) -> Sequence[str]:
    return [_filled(graph, estimator, graph.dtype)]


def _filled(graph: Subgraph, estimator: Any, dtype: str) -> str:
    values, kept = estimator.statistics_, _kept(estimator)
    matrix = graph.matrix(dtype)
    missing = _missing(graph, matrix, estimator.missing_values, dtype)
    fills = np.array([values[i] for i in kept], np.float64)
    if dtype == "int64" and (fills != np.round(fills)).any():
        raise NotImplementedError("whole numbers are filled with fractions; declare the inputs as float64")
    inner, holes = graph.columns(matrix, kept), graph.columns(missing, kept)
    parts = [graph.add("Where", holes, graph.constant(fills, dtype), inner)]
    if estimator.add_indicator and len(estimator.indicator_.features_):
        parts.append(graph.cast(graph.columns(missing, estimator.indicator_.features_), dtype))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _kept(estimator: Any) -> Array:
    """Give the columns that stay: those that held nothing in training go."""
    every = estimator.strategy == "constant" or estimator.keep_empty_features
    held = [value is not None and (isinstance(value, str) or not np.isnan(value)) for value in estimator.statistics_]
    return np.flatnonzero(every | np.array(held))


def _missing(graph: Subgraph, matrix: str, value: Any, dtype: str) -> str:
    """Tell which values are missing; None and pandas' NA are NaN in a matrix of numbers."""
    if isinstance(value, str):
        raise NotImplementedError(f"its missing_values are {value!r}, and its inputs are numbers")
    if isinstance(value, int | float | np.number) and not np.isnan(value):
        return graph.add("Equal", matrix, graph.constant(value, dtype))
    return graph.add("Not", graph.add("Equal", matrix, matrix))


def _indicate(graph: Subgraph, estimator: Any) -> Sequence[str]:
    missing = _missing(graph, graph.matrix(), estimator.missing_values, graph.dtype)
    return [graph.columns(missing, estimator.features_)]


def _bin(graph: Subgraph, estimator: Any) -> Sequence[str]:
    """Count the inner edges that are not above the value; they are float64, whatever comes in."""
    inner = [edges[1:-1] for edges in estimator.bin_edges_]
    table = np.full((len(inner), max(1, *map(len, inner))), np.nan)
    for row, edges in zip(table, inner, strict=True):
        row[: len(edges)] = edges
    tall = graph.add("Unsqueeze", graph.matrix("float64"), graph.constant([2], np.int64))
    above = graph.add("GreaterOrEqual", tall, graph.constant(table, "float64"))
    place = graph.total(graph.cast(above, "int64"), 2)
    if estimator.encode == "ordinal":
        return [place]
    counts = estimator.n_bins_
    codes = np.concatenate([np.arange(count) for count in counts])
    spread = graph.columns(place, np.repeat(np.arange(len(counts)), counts))
    return [graph.add("Equal", spread, graph.constant(codes, np.int64))]


def _bins(estimator: Any) -> int:
    return len(estimator.n_bins_) if estimator.encode == "ordinal" else int(np.sum(estimator.n_bins_))
