"""Any model as an ONNX graph whose ends bear the signature's names, by the maker that its format has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.convert.route import Route, find_route
from modelport.errors import MissingTool
from modelport.samples import load_samples
from modelport_runtime.checking import check_inputs
from modelport_runtime.steps import Pipeline

if TYPE_CHECKING:
    import onnx

    from modelport.model import Model

SKLEARN = ("skops", "joblib", "pickle")
NEEDS = {
    "torch_to_onnx": (("torch", "onnx", "onnxscript"), "modelport[pytorch,onnx]"),
    "sklearn_to_onnx": (("sklearn", "skl2onnx", "onnx"), "modelport[sklearn,onnx]"),
    "boosters_to_onnx": (("onnx", "onnxruntime"), "modelport[onnx]"),
    "tensorflow_to_onnx": (("tensorflow", "tf2onnx"), "modelport[tfserving,tf2onnx]"),
    "onnx_to_tf": (("tensorflow", "onnx"), "modelport[tfserving]"),
    "keras_to_saved_model": (("tensorflow",), "modelport[tfserving]"),
}
"""What each edge of `modelport.convert.route` imports, and the extras that bring it."""


def route_to(model: Model, target: str) -> Route:
    """Give the conversions that lead from the model's format to another.

    Raises:
        ConversionError: There is no way.
        MissingTool: What a conversion needs is not installed.
    """
    route = find_route("sklearn" if model.format in SKLEARN else model.format, target)
    for edge in route:
        modules, extra = NEEDS[edge.name]
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            raise MissingTool(
                f"{edge.source} → {edge.target} needs {', '.join(missing)}, not installed here; "
                f"install it with: pip install '{extra}'"
            )
    return route


def onnx_graph(model: Model) -> onnx.ModelProto:
    """Give the model as ONNX.

    Raises:
        ConversionError: Its exporter cannot write it; the message says why and the way out.
    """
    kind = "sklearn" if model.format in SKLEARN else model.format
    return _MAKERS[kind](model)


def _read_onnx(model: Model) -> onnx.ModelProto:
    import onnx

    return onnx.load(model.source)


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
    prepare = Pipeline(steps=model.preprocess, names=tuple(tensor.name for tensor in model.signature.inputs))
    return check_inputs(model.signature.inputs, prepare(samples.request(0, min(2, samples.count))))


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


def _export_saved_model(model: Model) -> onnx.ModelProto:
    from modelport.convert.tensorflow_to_onnx import export_saved_model

    return export_saved_model(model.source, model.signature)


def _export_keras(model: Model) -> onnx.ModelProto:
    from modelport.convert.keras_to_saved_model import export_keras
    from modelport.convert.products import product
    from modelport.convert.tensorflow_to_onnx import export_saved_model

    def make(folder: Path) -> None:
        export_keras(model.source, folder, signature=model.signature)

    return export_saved_model(product(model, "saved_model", make), model.signature)


_MAKERS: Mapping[str, Callable[[Model], onnx.ModelProto]] = {
    "onnx": _read_onnx,
    "torchscript": _export_torch,
    "exported_program": _export_torch,
    "state_dict": _export_torch,
    "sklearn": _export_sklearn,
    "xgboost_json": _export_booster,
    "xgboost_ubj": _export_booster,
    "lightgbm_text": _export_booster,
    "saved_model": _export_saved_model,
    "keras": _export_keras,
}
