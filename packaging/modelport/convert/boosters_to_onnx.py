"""XGBoost and LightGBM to ONNX, written from the trees themselves and held against the library before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.booster_graph import build_graph
from modelport.convert.booster_trees import WAY_OUT, Ensemble, read_lightgbm, read_xgboost
from modelport.convert.examples import Array, InputSpec
from modelport.convert.onnx_names import rename_ends
from modelport.errors import ConversionError
from modelport.frameworks.onnx_trial import import_runtime

if TYPE_CHECKING:
    import onnx

    from modelport_runtime.engines.boosters import BoosterEngine
    from modelport_runtime.signature import Signature

_ROWS = 256
_CLOSE = {"float32": {"rtol": 1e-4, "atol": 1e-5}, "float64": {"rtol": 1e-9, "atol": 1e-12}}


def export_booster(engine: BoosterEngine, signature: Signature) -> onnx.ModelProto:
    """Convert a loaded booster.

    Raises:
        ConversionError: Something in it has no counterpart in ONNX, or the graph would answer otherwise than the
            library does.
    """
    ensemble = _read(engine)
    model = build_graph(
        ensemble,
        inputs=signature.inputs,
        columns=engine.columns,
        outputs=signature.outputs,
        meanings=engine.outputs,
    )
    _check(model, engine, ensemble, signature)
    rename_ends(model.graph, [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs])
    return model


def _read(engine: BoosterEngine) -> Ensemble:
    booster: Any = engine.booster
    return read_lightgbm(booster.forest) if booster.dtype == "float64" else read_xgboost(booster)


def _check(model: onnx.ModelProto, engine: BoosterEngine, ensemble: Ensemble, signature: Signature) -> None:
    """Ask the graph and the library for rows at, just below and just above the trees' own thresholds."""
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = telling_rows(ensemble, _ROWS)
    order = [spec.name for spec in signature.inputs] if engine.columns is None else list(engine.columns)
    inputs = {}
    for spec in signature.inputs:
        part = rows if engine.columns is None else rows[:, order.index(spec.name)]
        inputs[spec.name] = _as_input(part, spec)
    found = session.run(None, {f"input_{i}": inputs[spec.name] for i, spec in enumerate(signature.inputs)})
    right = engine.run(inputs)
    for spec, value in zip(signature.outputs, found, strict=True):
        if engine.outputs[spec.name] == "label":
            continue  # of classes as good as equal, the last bit chooses; the probabilities are held against each other
        wanted = np.asarray(right[spec.name]).astype(spec.dtype)
        tolerance = _CLOSE["float64" if spec.dtype == ensemble.dtype == "float64" else "float32"]
        close = np.isclose(value, wanted, equal_nan=True, **tolerance)
        if not close.all():
            wrong = int(np.argwhere(~close)[0][0])
            raise ConversionError(
                f"as ONNX this model would answer otherwise than its own library: {spec.name!r} of the row "
                f"{rows[wrong].tolist()} would be {value[wrong]}, and is {wanted[wrong]}; {WAY_OUT}"
            )


def _as_input(values: Array, spec: InputSpec) -> Array:
    dtype = np.dtype(spec.dtype)
    shaped = values.reshape(-1, *(1 for _ in spec.shape[1:])) if values.ndim == 1 else values
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return shaped.astype(dtype)
    if dtype.kind == "b":
        return shaped > 0
    whole: Array = np.clip(np.nan_to_num(shaped), 0 if dtype.kind == "u" else -100, 100).astype(dtype)
    return whole


def telling_rows(ensemble: Ensemble, count: int) -> Array:
    """Make rows [count, features] that tell trees apart: thresholds, their neighbours, categories, NaN, infinity."""
    generator = np.random.default_rng(0)
    nodes = ensemble.nodes
    rows = np.empty((count, ensemble.features), ensemble.dtype)
    for column in range(ensemble.features):
        here = ~nodes.leaf & (nodes.feature == column)
        compared = np.unique(nodes.threshold[here & (nodes.subset < 0)]).astype(ensemble.dtype)
        chosen = [ensemble.subsets[number] for number in nodes.subset[here & (nodes.subset >= 0)]]
        members = np.unique(np.concatenate([np.zeros(1, np.int64), *chosen]))
        pool = [
            compared,
            np.nextafter(compared, compared.dtype.type(np.inf)),
            np.nextafter(compared, compared.dtype.type(-np.inf)),
            np.concatenate([members, members + 1, members + 0.5, [-1, -0.5]]) if chosen else members,
        ]
        values = np.concatenate(pool).astype(ensemble.dtype)
        special = generator.choice([np.nan, 0.0, np.inf, -np.inf, 1e10], count)
        rows[:, column] = np.where(generator.random(count) < 0.2, special, generator.choice(values, count))
    return rows
