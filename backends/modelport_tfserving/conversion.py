"""Any model to a SavedModel, by the route that `modelport.convert` finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.convert.products import product
from modelport.convert.route import Route, find_route
from modelport.errors import ConversionError, MissingTool
from modelport.samples import load_samples

if TYPE_CHECKING:
    import onnx

    from modelport.model import Model

SKLEARN = ("skops", "joblib", "pickle")
NEEDS = {
    "torch_to_onnx": (("torch", "onnx", "onnxscript"), "modelport[pytorch,onnx]"),
    "sklearn_to_onnx": (("sklearn", "skl2onnx", "onnx"), "modelport[sklearn,onnx]"),
    "onnx_to_tf": (("tensorflow", "onnx"), "modelport[tfserving]"),
    "keras_to_saved_model": (("tensorflow",), "modelport[tfserving]"),
}


def route_for(model: Model) -> Route:
    """Give the conversions that lead from the model's format to a SavedModel.

    Raises:
        ConversionError: There is no way.
        MissingTool: What a conversion needs is not installed.
    """
    route = find_route("sklearn" if model.format in SKLEARN else model.format)
    for edge in route:
        modules, extra = NEEDS[edge.name]
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            raise MissingTool(
                f"{edge.source} → {edge.target} needs {', '.join(missing)}, not installed here; "
                f"install it with: pip install '{extra}'"
            )
    return route


def saved_model(model: Model) -> Path:
    """Give the folder of the model as a SavedModel; converted once, then kept by digest.

    Raises:
        ConversionError: An op, a node or a shape stands in the way; the message names it and the way out.
    """
    route = route_for(model)
    if not route:
        return model.source
    return product(model, "saved_model", lambda folder: _convert(model, route, folder))


def _convert(model: Model, route: Route, folder: Path) -> None:
    """Walk the route; the last step writes ``folder``."""
    if route[-1].name == "keras_to_saved_model":
        from modelport.convert.keras_to_saved_model import export_keras

        export_keras(model.source, folder, signature=model.signature)
        return
    graph = ONNX_MAKERS[route[0].name](model)
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
        input_names=[t.name for t in model.signature.inputs],
        output_names=[t.name for t in model.signature.outputs],
    )
    # An empty folder would be no file of the plan.
    variables = folder / "variables"
    if variables.is_dir() and not any(variables.iterdir()):
        shutil.rmtree(variables)


def _read_onnx(model: Model) -> onnx.ModelProto:
    import onnx

    graph = onnx.load(model.source)
    names = [value.name for value in graph.graph.input]
    initial = {value.name for value in graph.graph.initializer}
    wanted = [t.name for t in model.signature.inputs]
    if [name for name in names if name not in initial] != wanted:
        raise ConversionError(f"{model.source.name}: the graph's inputs are {names}, the signature's {wanted}")
    return graph


def _export_torch(model: Model) -> onnx.ModelProto:
    from modelport.convert.torch_to_onnx import export_torch
    from modelport.frameworks import load_native

    samples = None if model.samples is None else load_samples(model.samples.path, model.served)
    example: Mapping[str, Any] | None = None if samples is None else samples.request(0, min(2, samples.count))
    return export_torch(
        model.source,
        format=model.format,
        load=lambda: load_native(model),
        inputs=model.signature.inputs,
        sample=example,
        output_names=[t.name for t in model.signature.outputs],
    )


def _export_sklearn(model: Model) -> onnx.ModelProto:
    from modelport.convert.sklearn_to_onnx import export_sklearn
    from modelport.frameworks import load_native

    return export_sklearn(load_native(model), inputs=model.signature.inputs, outputs=model.signature.outputs)


ONNX_MAKERS: Mapping[str, Callable[[Model], onnx.ModelProto]] = {
    "onnx_to_tf": _read_onnx,
    "torch_to_onnx": _export_torch,
    "sklearn_to_onnx": _export_sklearn,
}
