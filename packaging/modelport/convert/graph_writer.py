"""An ONNX graph that grows node by node."""

from __future__ import annotations

from typing import Any

import numpy as np


class GraphWriter:
    """Nodes and constants of a graph; values are known by their names.

    Attributes:
        nodes: The nodes, in order.
        constants: The initializers.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output and give that output's name."""
        import onnx

        name = f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, value: Any, dtype: Any) -> str:
        """Add a constant and give its name."""
        import onnx

        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def cast(self, value: str, dtype: str) -> str:
        """Add a cast to a dtype, by numpy's name or ``string``."""
        return self.add("Cast", value, to=elem_type(dtype))


def elem_type(dtype: str) -> int:
    """Give ONNX's number of a dtype, by numpy's name or ``string``."""
    import onnx

    if dtype == "string":
        return int(onnx.TensorProto.STRING)
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
