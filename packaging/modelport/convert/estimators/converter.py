"""What skl2onnx is given for an estimator: the types and shapes of its outputs, and what writes its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.convert.estimators.subgraph import Subgraph, common_dtype

Write = Callable[[Subgraph, Any], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """How an estimator is converted.

    Attributes:
        write: Adds its nodes, and gives its outputs in skl2onnx's order. It raises NotImplementedError, with the
            reason, where a setting has no counterpart.
        width: How many columns its answer has; None where skl2onnx itself knows the outputs of this estimator.
        labelled: Whether a label, [rows], comes before the matrix of ``width`` columns.
    """

    write: Write
    width: Callable[[Any], int] | None = None
    labelled: bool = False

    def run(self, scope: Any, operator: Any, container: Any) -> None:
        """Convert one operator, as skl2onnx calls its converters."""
        graph = Subgraph(scope, container, operator)
        for value, output in zip(self.write(graph, operator.raw_operator), operator.outputs, strict=True):
            graph.answer(value, output)

    @property
    def knows_shapes(self) -> bool:
        """Whether `infer_shapes` stands in place of skl2onnx's own."""
        return self.width is not None

    def infer_shapes(self, operator: Any) -> None:
        """Set the outputs' types and shapes, as skl2onnx calls its shape calculators."""
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

        assert self.width is not None  # noqa: S101  # only then it is given to skl2onnx
        kind = DoubleTensorType if common_dtype(operator.inputs) == "float64" else FloatTensorType
        types = [kind([None, self.width(operator.raw_operator)])]
        if self.labelled:
            classes = getattr(operator.raw_operator, "classes_", np.zeros(0))
            types.insert(0, (StringTensorType if classes.dtype.kind in "OUS" else Int64TensorType)([None]))
        for output, found in zip(operator.outputs, types, strict=True):
            output.type = found
