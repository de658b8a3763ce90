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
from modelport_runtime.checking import check_inputs

if TYPE_CHECKING:
    import onnx

    from modelport.model import Model

SKLEARN = ("skops", "joblib", "pickle")
NEEDS = {
    "torch_to_onnx": (("torch", "onnx", "onnxscript"), "modelport[pytorch,onnx]"),
    "sklearn_to_onnx": (("sklearn", "skl2onnx", "onnx"), "modelport[sklearn,onnx]"),
    "boosters_to_onnx": (("onnx", "onnxruntime"), "modelport[onnx]"),
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
        # An exporter gives its graph's ends the signature's names, in the order of the model's own arguments.
        input_names=[value.name for value in _inputs(graph)],
        output_names=[value.name for value in graph.graph.output],
    )
    # An empty folder would be no file of the plan.
    variables = folder / "variables"
    if variables.is_dir() and not any(variables.iterdir()):
        shutil.rmtree(variables)


def _read_onnx(model: Model) -> onnx.ModelProto:
    import onnx

    return onnx.load(model.source)


def _inputs(graph: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Give the graph's inputs; in old files the initializers stand among them."""
    initial = {value.name for value in graph.graph.initializer}
    return [value for value in graph.graph.input if value.name not in initial]


def _export_torch(model: Model) -> onnx.ModelProto:
    from modelport.convert.torch_to_onnx import export_torch
    from modelport.frameworks import load_model
    from modelport_runtime.engines.pytorch import TorchEngine

    engine = load_model(model)
    assert isinstance(engine, TorchEngine)  # noqa: S101  # the format says so
    inputs = {t.name: t for t in model.signature.inputs}
    return export_torch(
        model.source,
        format=model.format,
        load=lambda: engine.native,
        inputs=[inputs[name] for name in engine.order],
        sample=_example(model),
        output_names=[t.name for t in model.signature.outputs],
        call=engine.call,
        positional=engine.positional,
    )


def _example(model: Model) -> Mapping[str, Any] | None:
    """Give two real samples, which an exporter's made-up numbers cannot replace (ids in range, masks that mask)."""
    if model.samples is None:
        return None
    samples = load_samples(model.samples.path, model.served)
    return check_inputs(model.signature.inputs, samples.request(0, min(2, samples.count)))


def _export_sklearn(model: Model) -> onnx.ModelProto:
    from modelport.convert.sklearn_to_onnx import export_sklearn
    from modelport.frameworks import load_model
    from modelport_runtime.engines.sklearn import SklearnEngine

    engine = load_model(model)
    assert isinstance(engine, SklearnEngine)  # noqa: S101  # the format says so
    return export_sklearn(engine.estimator, inputs=model.signature.inputs, outputs=model.signature.outputs)


def _export_booster(model: Model) -> onnx.ModelProto:
    from modelport.convert.boosters_to_onnx import export_booster
    from modelport.frameworks import load_model
    from modelport_runtime.engines.boosters import BoosterEngine

    engine = load_model(model)
    assert isinstance(engine, BoosterEngine)  # noqa: S101  # the format says so
    return export_booster(engine, model.signature)


ONNX_MAKERS: Mapping[str, Callable[[Model], onnx.ModelProto]] = {
    "onnx_to_tf": _read_onnx,
    "torch_to_onnx": _export_torch,
    "sklearn_to_onnx": _export_sklearn,
    "boosters_to_onnx": _export_booster,
}
