"""Which format leads to which, and the shortest way from one to another. Plain data; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from modelport.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Edge:
    """One conversion.

    Attributes:
        source: Format that is read.
        target: Format that is made.
        name: Module of `modelport.convert` that does it.
    """

    source: str
    target: str
    name: str


EDGES = (
    Edge("torchscript", "onnx", "torch_to_onnx"),
    Edge("exported_program", "onnx", "torch_to_onnx"),
    Edge("state_dict", "onnx", "torch_to_onnx"),
    Edge("sklearn", "onnx", "sklearn_to_onnx"),
    Edge("xgboost_json", "onnx", "boosters_to_onnx"),
    Edge("xgboost_ubj", "onnx", "boosters_to_onnx"),
    Edge("lightgbm_text", "onnx", "boosters_to_onnx"),
    Edge("onnx", "saved_model", "onnx_to_tf"),
    Edge("keras", "saved_model", "keras_to_saved_model"),
    Edge("saved_model", "onnx", "tensorflow_to_onnx"),
)


class Route(tuple[Edge, ...]):
    """Edges in the order in which they are walked; empty when the source already is the target."""

    __slots__ = ()

    def describe(self) -> str:
        """Return the formats passed through, as in ``exported_program → onnx → saved_model``."""
        return " → ".join([self[0].source, *(edge.target for edge in self)]) if self else "as it is"


def find_route(source_format: str, target: str = "saved_model") -> Route:
    """Return the route with the fewest edges.

    Raises:
        ConversionError: No chain of edges leads from one format to the other.
    """
    routes = {source_format: Route()}
    waiting = [source_format]
    while waiting and target not in routes:
        here = waiting.pop(0)
        for edge in EDGES:
            if edge.source == here and edge.target not in routes:
                routes[edge.target] = Route((*routes[here], edge))
                waiting.append(edge.target)
    if target not in routes:
        known = ", ".join(sorted({edge.source for edge in EDGES}))
        raise ConversionError(
            f"no conversion leads from {source_format!r} to {target!r}; "
            f"formats that can be converted: {known}. Export the model to ONNX with its own framework and use that."
        )
    return routes[target]
