"""Any model as an ONNX graph whose ends bear the signature's names, by the maker that its format has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.estimators.text import known_words
from modelport.convert.onnx_habits import spell_out_unbind
from modelport.convert.route import Route, find_route
from modelport.errors import ConversionError, MissingTool
from modelport.samples import load_samples
from modelport_runtime.checking import check_inputs
from modelport_runtime.steps import Pipeline

if TYPE_CHECKING:
    import onnx

    from modelport.model import Model
    from modelport_runtime.engines.sklearn import SklearnEngine

Array = np.ndarray[Any, Any]
_PROVEN = 64  # rows on which a conversion is compared
_WORDS = 5  # known terms in a text that is made up
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
    graph = _MAKERS[kind](model)
    spell_out_unbind(graph.graph)
    return graph


def _read_onnx(model: Model) -> onnx.ModelProto:
    import onnx

    try:
        onnx.checker.check_model(str(model.source))  # by its path: a model above 2 GB cannot be checked in memory
    except onnx.checker.ValidationError as error:
        what, _, where = " ".join(str(error).split()).partition(" ==> Context: ")
        detail = f" ({where.rstrip('.')})" if where else ""
        raise ConversionError(
            f"{model.source}: no valid ONNX model: {what.rstrip('.')}{detail}; export it anew, "
            "and look at it with onnx.checker.check_model"
        ) from error
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
        declared=model.signature.outputs,
    )


def _example(model: Model, most: int = 2) -> Mapping[str, Any] | None:
    """Give real samples, which an exporter's made-up numbers cannot replace (ids in range, masks that mask)."""
    if model.samples is None:
        return None
    samples = load_samples(model.samples.path, model.served)
    prepare = Pipeline(steps=model.preprocess, names=tuple(tensor.name for tensor in model.signature.inputs))
    return check_inputs(model.signature.inputs, prepare(samples.request(0, min(most, samples.count))))


def _export_sklearn(model: Model) -> onnx.ModelProto:
    from modelport.convert.sklearn_to_onnx import export_sklearn
    from modelport.frameworks import load_model
    from modelport_runtime.engines.sklearn import SklearnEngine

    engine = load_model(model)
    assert isinstance(engine, SklearnEngine)  # noqa: S101  # the format says so
    graph = export_sklearn(engine.estimator, inputs=model.signature.inputs, outputs=model.signature.outputs)
    _prove(model, engine, graph)
    return graph


def _prove(model: Model, engine: SklearnEngine, graph: onnx.ModelProto) -> None:
    """Compare ONNX Runtime with the estimator: skl2onnx leaves some settings of estimators out without a word.

    ONNX Runtime lacks kernels that TensorFlow has; what it cannot run is left to ``verify``.
    """
    from modelport.frameworks.onnx_trial import import_runtime

    inputs = _some_rows(model, engine)
    if inputs is None:
        return
    try:
        wanted = {name: np.asarray(value) for name, value in engine.run(inputs).items()}
    except Exception:  # noqa: BLE001 - made-up rows need not be to the estimator's taste
        return
    names = [tensor.name for tensor in model.signature.outputs]
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = {name: array.astype(object) if array.dtype.kind in "SU" else array for name, array in inputs.items()}
        found = session.run(names, given)
    except Exception:  # noqa: BLE001 - it lacks kernels, and says so in many ways
        return
    for name, array in zip(names, found, strict=True):
        if not _alike(array, wanted[name]):
            raise ConversionError(
                f"{model.source}: converted by skl2onnx, output {name!r} differs from scikit-learn's: skl2onnx does "
                "not heed all settings of this estimator. Choose another estimator or setting, or serve the model by "
                "scikit-learn itself (--backend bentoml or torchserve, without serving.engine: onnx)"
            )


def _some_rows(model: Model, engine: SklearnEngine) -> Mapping[str, Array] | None:
    """Give some of the samples, or numbers and texts made up; None where neither goes."""
    if model.samples is not None:
        return _example(model, _PROVEN)
    generator = np.random.default_rng(0)
    words = known_words(engine.estimator)
    if not words and any(tensor.dtype == "string" for tensor in model.signature.inputs):
        return None
    rows: dict[str, Array] = {}
    for tensor in model.signature.inputs:
        shape = [size or _PROVEN for size in tensor.shape]
        if tensor.dtype == "string":
            texts = [" ".join(generator.choice(words, _WORDS)) for _ in range(int(np.prod(shape)))]
            rows[tensor.name] = np.array(texts, object).reshape(shape)
        else:
            rows[tensor.name] = (generator.standard_normal(shape) * 2).astype(tensor.dtype)
    return rows


def _alike(mine: Array, theirs: Array) -> bool:
    """Compare loosely; how far the answers are apart is what ``verify`` tells."""
    if mine.shape != theirs.shape:
        return False
    if theirs.dtype.kind not in "fiub":
        return [str(value) for value in mine.flat] == [str(value) for value in theirs.flat]
    return bool(np.allclose(mine, theirs, rtol=1e-2, atol=1e-3, equal_nan=True))


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
