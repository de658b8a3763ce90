"""The piece of a graph that stands for one estimator, written into skl2onnx's container."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.examples import Array
from modelport.convert.graph_writer import GraphWriter, elem_type


class Subgraph(GraphWriter):
    """What one estimator becomes.

    Attributes:
        dtype: What its numbers are computed in: ``float64`` where one of its inputs is, else ``float32``.
    """

    def __init__(self, scope: Any, container: Any, operator: Any) -> None:
        super().__init__()
        self._scope = scope
        self._container = container
        self._inputs = operator.inputs
        self.dtype = common_dtype(operator.inputs)

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output and give that output's name."""
        name = str(self._scope.get_unique_variable_name(op.lower()))
        node = self._scope.get_unique_operator_name(op)
        self._container.add_node(op, list(inputs), [name], op_domain=domain, name=node, **attributes)
        return name

    def add_second(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of two outputs and give the second one's name."""
        names = [str(self._scope.get_unique_variable_name(op.lower())) for _ in range(2)]
        self._container.add_node(op, list(inputs), names, name=self._scope.get_unique_operator_name(op), **attributes)
        return names[1]

    def constant(self, value: Any, dtype: Any) -> str:
        """Add a constant and give its name; ``dtype`` may be ``string``."""
        name = str(self._scope.get_unique_variable_name("constant"))
        array = np.asarray(value, object if dtype == "string" else dtype)
        kind = elem_type(dtype if isinstance(dtype, str) else np.dtype(dtype).name)
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name

    def number(self, value: Any) -> str:
        """Add a constant of the estimator's own dtype."""
        return self.constant(value, self.dtype)

    def matrix(self, dtype: str | None = None) -> str:
        """Give the estimator's inputs as one matrix [rows, features], of its own dtype or of another."""
        parts = [self.cast(value.full_name, dtype or self.dtype) for value in self._inputs]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def text(self) -> str:
        """Give the estimator's only input, of text.

        Raises:
            NotImplementedError: There are several.
        """
        if len(self._inputs) != 1:
            raise NotImplementedError(f"it takes one column of text, and gets {len(self._inputs)}")
        return str(self._inputs[0].full_name)

    def columns(self, matrix: str, numbers: Sequence[int] | Array) -> str:
        """Give some of a matrix's columns."""
        return self.add("Gather", matrix, self.constant(numbers, np.int64), axis=1)

    def total(self, value: str, axis: int, *, keepdims: bool = False) -> str:
        """Sum along an axis."""
        return self.add("ReduceSum", value, self.constant([axis], np.int64), keepdims=int(keepdims))

    def labels(self, place: str, classes: Array) -> str:
        """Turn places [rows] into labels: whole numbers or text.

        Raises:
            NotImplementedError: The labels are fractions.
        """
        if classes.dtype.kind in "OUS":
            return self.add("Gather", self.constant(classes, "string"), place)
        if (classes.astype(np.int64) != classes).any():
            raise NotImplementedError("its labels are fractions, which ONNX has no classifier for")
        return self.add("Gather", self.constant(classes, np.int64), place)

    def two_classes(self, sums: str) -> tuple[str, str, str]:
        """Give the place of the label [rows], the probabilities and the decisions [rows, 2] of one sum a row."""
        kind = self.dtype
        flat = self.add("Reshape", sums, self.constant([-1], np.int64))
        place = self.cast(self.add("Greater", flat, self.constant(0, kind)), "int64")
        second = self.add("Sigmoid", sums)
        chances = self.add("Concat", self.add("Sub", self.constant(1, kind), second), second, axis=1)
        return place, chances, self.add("Concat", self.add("Neg", sums), sums, axis=1)

    def raw_scores(self, estimator: Any) -> bool:
        """Tell whether decisions are asked for in place of probabilities."""
        return bool(self._container.get_options(estimator, {"raw_scores": False})["raw_scores"])

    def answer(self, value: str, output: Any) -> None:
        """Give a value as one of the estimator's outputs, in the type that skl2onnx expects there."""
        from skl2onnx.common.data_types import StringTensorType, guess_proto_type

        if isinstance(output.type, StringTensorType):
            self._container.add_node("Identity", [value], [output.full_name])
        else:
            self._container.add_node("Cast", [value], [output.full_name], to=guess_proto_type(output.type))

    def inner(self, estimator: Any) -> list[str]:
        """Convert an estimator inside this one, on the same inputs.

        Returns:
            Its outputs: label and probabilities of a classifier.
        """
        from skl2onnx._parse import _parse_sklearn
        from sklearn.base import is_classifier

        if is_classifier(estimator):
            for options in (self._scope, self._container):
                options.add_options(id(estimator), {"zipmap": False})
        outputs = _parse_sklearn(self._scope, estimator, self._inputs, custom_parsers=None)
        return [str(output.full_name) for output in outputs]


def common_dtype(inputs: Sequence[Any]) -> str:
    """Give what numbers are computed in: ``float64`` where an input is, else ``float32`` as skl2onnx has it."""
    from skl2onnx.common.data_types import DoubleTensorType

    return "float64" if any(isinstance(value.type, DoubleTensorType) for value in inputs) else "float32"
