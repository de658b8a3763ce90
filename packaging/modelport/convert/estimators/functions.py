"""numpy's functions of one argument, as ONNX ops, and the inverses of scalers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelport.convert.estimators.converter import Converter
from modelport.convert.estimators.subgraph import Subgraph

_ALIAS = "SklearnFunctionTransformer"
_PLAIN = {
    np.abs: "Abs", np.exp: "Exp", np.log: "Log", np.sqrt: "Sqrt", np.sign: "Sign", np.negative: "Neg",
    np.reciprocal: "Reciprocal", np.sin: "Sin", np.cos: "Cos", np.tan: "Tan", np.tanh: "Tanh", np.floor: "Floor",
    np.ceil: "Ceil",
}  # fmt: skip
_MADE: Mapping[Any, Callable[[Subgraph, str], str]] = {
    np.square: lambda graph, x: graph.add("Mul", x, x),
    np.log1p: lambda graph, x: graph.add("Log", graph.add("Add", x, graph.number(1))),
    np.expm1: lambda graph, x: graph.add("Sub", graph.add("Exp", x), graph.number(1)),
    np.log2: lambda graph, x: graph.add("Div", graph.add("Log", x), graph.number(np.log(2))),
    np.log10: lambda graph, x: graph.add("Div", graph.add("Log", x), graph.number(np.log(10))),
    np.exp2: lambda graph, x: graph.add("Pow", graph.number(2), x),
}


class Function(Converter):
    """Without a function columns pass as they are, text too; that skl2onnx itself does."""

    def run(self, scope: Any, operator: Any, container: Any) -> None:
        """Convert one operator."""
        from skl2onnx.common._registration import get_converter

        convert = super().run if operator.raw_operator.func is not None else get_converter(_ALIAS)
        convert(scope, operator, container)

    def infer_shapes(self, operator: Any) -> None:
        """Set the output's type and shape."""
        from skl2onnx.common._registration import get_shape_calculator

        infer = super().infer_shapes if operator.raw_operator.func is not None else get_shape_calculator(_ALIAS)
        infer(operator)


def converters() -> dict[type, Converter]:
    """Give the converters of this module."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import FunctionTransformer

    return {
        FunctionTransformer: Function(write=_transform, width=_width),
        TransformedTargetRegressor: Converter(write=_regress, width=_targets),
    }


def apply(graph: Subgraph, function: Any, value: str) -> str:
    """Add a function.

    Raises:
        NotImplementedError: It is none of numpy's that ONNX has.
    """
    if function is None:
        return value
    if function in _PLAIN:
        return graph.add(_PLAIN[function], value)
    if function in _MADE:
        return _MADE[function](graph, value)
    name = getattr(function, "__name__", type(function).__name__)
    known = ", ".join(sorted(f"numpy.{known.__name__}" for known in [*_PLAIN, *_MADE]))
    raise NotImplementedError(f"the function {name!r} is code, which no graph can hold; it can hold {known}")


def _transform(graph: Subgraph, estimator: Any) -> Sequence[str]:
    if estimator.kw_args:
        raise NotImplementedError("a function with kw_args is code, which no graph can hold")
    return [apply(graph, estimator.func, graph.matrix())]


def _width(estimator: Any) -> int:
    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        raise NotImplementedError("a FunctionTransformer that was not fitted does not tell its width; fit it")
    return int(width)


def _regress(graph: Subgraph, estimator: Any) -> Sequence[str]:
    (value,) = graph.inner(estimator.regressor_)
    tall = graph.add("Reshape", value, graph.constant([-1, _targets(estimator)], np.int64))
    return [_invert(graph, estimator.transformer_, graph.cast(tall, graph.dtype))]


def _targets(estimator: Any) -> int:
    known = getattr(estimator.transformer_, "n_features_in_", 1)
    return 1 if estimator._training_dim == 1 else int(known)  # noqa: SLF001 - it is told nowhere else


def _invert(graph: Subgraph, scaler: Any, value: str) -> str:
    kind = type(scaler).__name__
    if kind == "FunctionTransformer":
        if scaler.inv_kw_args:
            raise NotImplementedError("a function with inv_kw_args is code, which no graph can hold")
        return apply(graph, scaler.inverse_func, value)
    if kind == "MinMaxScaler":
        moved = graph.add("Sub", value, graph.number(scaler.min_))
        return graph.add("Div", moved, graph.number(scaler.scale_))
    centers = {"StandardScaler": "mean_", "RobustScaler": "center_", "MaxAbsScaler": None}
    if kind not in centers:
        raise NotImplementedError(
            f"the inverse of {kind} is not known here; the targets' scalers that are: "
            f"{', '.join(sorted([*centers, 'MinMaxScaler']))} and functions of numpy"
        )
    name = centers[kind]
    center = None if name is None else getattr(scaler, name)
    if scaler.scale_ is not None:
        value = graph.add("Mul", value, graph.number(scaler.scale_))
    return value if center is None else graph.add("Add", value, graph.number(center))
