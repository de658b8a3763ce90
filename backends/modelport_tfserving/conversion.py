"""Any model to a SavedModel, by the route that `modelport.convert` finds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.convert.graph_ends import Ends, ExampleSignature, add_ends
from modelport.convert.products import product
from modelport.convert.route import Route
from modelport.convert.to_onnx import onnx_graph, route_to
from modelport.errors import ConversionError

if TYPE_CHECKING:
    import onnx

    from modelport.model import Model


def saved_model(model: Model, examples: tuple[ExampleSignature, ...] = ()) -> Path:
    """Give the folder of the model as a SavedModel, its steps in the graph; made once, then kept by digest.

    Args:
        model: The model.
        examples: Signatures to have beside Predict's.

    Raises:
        ConversionError: An op, a node or a shape stands in the way; the message names it and the way out.
    """
    route = route_to(model, "saved_model")
    bare = product(model, "saved_model", lambda folder: _convert(model, route, folder)) if route else model.source
    if not (model.preprocess or model.postprocess or examples):
        return bare
    ends = Ends(
        preprocess=model.preprocess,
        postprocess=model.postprocess,
        model=model.signature,
        served=model.served,
        examples=examples,
    )
    return product(model, f"saved_model with {ends}", lambda folder: add_ends(bare, folder, ends))


def _convert(model: Model, route: Route, folder: Path) -> None:
    """Walk the route; the last step writes ``folder``."""
    if route[-1].name == "keras_to_saved_model":
        from modelport.convert.keras_to_saved_model import export_keras

        export_keras(model.source, folder, signature=model.signature)
        return
    graph = onnx_graph(model)
    from modelport.convert.onnx_to_tf import unsupported_ops, write_saved_model

    found = unsupported_ops(graph)
    if found:
        raise ConversionError(
            "this model cannot run on TensorFlow Serving: "
            + "; ".join(f"op {op.op} of node {op.node!r} ({op.reason})" for op in found[:5])
            + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
            + ". Write that part with other ops, or serve the model with --backend bentoml or torchserve"
        )
    write_saved_model(
        graph,
        folder,
        # An exporter gives its graph's ends the signature's names, in the order of the model's own arguments.
        input_names=[value.name for value in _inputs(graph)],
        output_names=[value.name for value in graph.graph.output],
    )
    # An empty folder would be no file of the plan.
    variables = folder / "variables"
    if variables.is_dir() and not any(variables.iterdir()):
        shutil.rmtree(variables)


def _inputs(graph: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Give the graph's inputs; in old files the initializers stand among them."""
    initial = {value.name for value in graph.graph.initializer}
    return [value for value in graph.graph.input if value.name not in initial]
