"""Small models of every framework and format, each trained or initialised here, with samples and a spec."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((64, 6)).astype(np.float32)
TRUTH = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 0.5)
HOLED = np.where(GENERATOR.random(ROWS.shape) < 0.1, np.float32(np.nan), ROWS)
HOLED[:, 5] = GENERATOR.integers(0, 9, len(ROWS))
KINDS = ["float"] * 5 + ["c"]
SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 6]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 3]}],
}
NET = '''"""A multi-layer perceptron."""

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(x), dim=1)
'''
TRANSFORM = '''"""Halves what comes in."""


class Halve:
    def preprocess(self, inputs):
        return {"x": inputs["x"] / 2}
'''


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        framework: As a spec names it.
        format: How it is stored, for people.
        what: What it is, for people.
        make: Writes model and samples into a folder; gives the spec's further keys, ``model`` among them.
    """

    framework: str
    format: str
    what: str
    make: Callable[[Path], dict[str, Any]]


def write_case(case: Case, folder: Path) -> Path:
    """Write a case's files and its spec; give the spec's path."""
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keys = case.make(folder)
    model = {"framework": case.framework, **keys.pop("model")}
    spec = {"modelport": 1, "name": "small", "version": "1.0.0", "model": model, "samples": "samples.npz", **keys}
    path = folder / "modelport.yaml"
    path.write_text(json.dumps(spec, indent=2))  # JSON is YAML
    return path


def _save(folder: Path, **arrays: Any) -> None:
    np.savez(folder / "samples.npz", **arrays)


def _net(folder: Path) -> Any:
    import torch

    torch.manual_seed(0)
    (folder / "net.py").write_text(NET)
    _save(folder, x=ROWS)
    space: dict[str, Any] = {"__name__": "net"}
    exec(compile(NET, "net.py", "exec"), space)
    return space["Net"]().eval()


def _state_dict(folder: Path) -> dict[str, Any]:
    import torch

    torch.save(_net(folder).state_dict(), folder / "m.pt")
    return {"model": {"source": "m.pt", "entrypoint": "net:Net"}, "signature": SIGNATURE}


def _exported(folder: Path) -> dict[str, Any]:
    import torch

    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(_net(folder), (torch.zeros(2, 6),), dynamic_shapes={"x": {0: rows}})
    torch.export.save(program, folder / "m.pt2")
    return {"model": {"source": "m.pt2"}}


def _torchscript(folder: Path) -> dict[str, Any]:
    import torch

    torch.jit.trace(_net(folder), torch.zeros(2, 6)).save(folder / "m.pt")
    return {"model": {"source": "m.pt"}, "signature": SIGNATURE}


def _transformed(folder: Path) -> dict[str, Any]:
    (folder / "transform.py").write_text(TRANSFORM)
    return {**_torchscript(folder), "transform": "transform.py:Halve"}


def _onnx(folder: Path) -> dict[str, Any]:
    import onnx

    keys = _torchscript(folder)
    weights = [GENERATOR.standard_normal(shape).astype(np.float32) for shape in ((6, 16), (16, 3))]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w0"], ["a"]),
        onnx.helper.make_node("Gelu", ["a"], ["b"]),
        onnx.helper.make_node("MatMul", ["b", "w1"], ["c"]),
        onnx.helper.make_node("Softmax", ["c"], ["y"]),
    ]
    sides = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])]
        for name, size in zip("xy", (6, 3), strict=True)
    ]
    constants = [onnx.numpy_helper.from_array(array, f"w{i}") for i, array in enumerate(weights)]
    graph = onnx.helper.make_graph(nodes, "g", *sides, constants)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9),
        folder / "m.onnx",
    )
    return {**keys, "model": {"source": "m.onnx"}}


def _keras_model() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "gelu"), keras.layers.Dense(3, "softmax", name="y")]
    return keras.Sequential([keras.Input((6,), name="x"), *layers])


def _keras(folder: Path) -> dict[str, Any]:
    _keras_model().save(folder / "m.keras")
    _save(folder, x=ROWS)
    return {"model": {"source": "m.keras"}}


def _saved_model(folder: Path) -> dict[str, Any]:
    _keras_model().export(folder / "m", format="tf_saved_model", verbose=False)
    from modelport.frameworks import probe

    probed = probe("saved_model", folder / "m")
    assert probed.inputs is not None
    _save(folder, **{probed.inputs[0].name: ROWS})
    return {"model": {"source": "m"}}


def _estimator(folder: Path, kind: str) -> dict[str, Any]:
    import joblib
    import skops.io
    from sklearn import ensemble, impute, pipeline

    fitted = pipeline.make_pipeline(impute.SimpleImputer(), ensemble.RandomForestClassifier(10, random_state=0))
    fitted.fit(HOLED, TRUTH)
    _save(folder, features=HOLED.astype(float), labels=TRUTH)
    source = f"m.{kind}"
    if kind == "skops":
        skops.io.dump(fitted, folder / source)
    elif kind == "joblib":
        joblib.dump(fitted, folder / source)
    else:
        (folder / source).write_bytes(pickle.dumps(fitted))
    return {"model": {"source": source, "trust": True}}


def _no_counterpart(folder: Path) -> dict[str, Any]:
    import skops.io
    from sklearn import semi_supervised

    fitted = semi_supervised.LabelSpreading().fit(ROWS, TRUTH)
    skops.io.dump(fitted, folder / "m.skops")
    _save(folder, features=ROWS.astype(float))
    return {"model": {"source": "m.skops", "trust": True}}


def _xgboost(folder: Path, kind: str, objective: str) -> dict[str, Any]:
    import xgboost

    several = {"num_class": 3} if objective.startswith("multi") else {}
    target = TRUTH if several else TRUTH > 0
    data = xgboost.DMatrix(HOLED, label=target, feature_types=KINDS, enable_categorical=True)
    xgboost.train({"objective": objective, "nthread": 1, **several}, data, 10).save_model(folder / f"m.{kind}")
    _save(folder, features=HOLED)
    return {"model": {"source": f"m.{kind}"}}


def _xgboost_linear(folder: Path) -> dict[str, Any]:
    import xgboost

    xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(ROWS, label=TRUTH), 5).save_model(folder / "m.json")
    _save(folder, features=ROWS)
    return {"model": {"source": "m.json"}}


def _lightgbm(folder: Path, **parameters: Any) -> dict[str, Any]:
    import lightgbm

    several = "num_class" in parameters or parameters["objective"] == "regression"
    kinds = [] if "linear_tree" in parameters else [5]
    data = lightgbm.Dataset(HOLED, TRUTH if several else TRUTH > 0, categorical_feature=kinds, free_raw_data=False)
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "min_data_per_group": 3}
    lightgbm.train({**options, **parameters}, data, 10).save_model(folder / "m.txt")
    _save(folder, features=HOLED.astype(float))
    return {"model": {"source": "m.txt"}}


def _by_onnx(make: Callable[[Path], dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Have a model run by ONNX Runtime in place of its own framework."""
    return {**make(folder), "serving": {"engine": "onnx"}}


def _with_steps(make: Callable[[Path], dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Declare what is done before and behind a model: the two best classes by name, and their scores."""
    keys = make(folder)
    _save(folder, raw=ROWS.astype(float) * 3)
    return {
        **keys,
        "labels": ["low", "middle", "high"],
        "preprocess": {
            "inputs": [{"name": "raw", "dtype": "float64", "shape": [-1, 6]}],
            "steps": [
                {"cast": {"tensor": "raw", "dtype": "float32"}},
                {"normalize": {"tensor": "raw", "mean": [0.1] * 6, "std": [1.5] * 6, "to": "x"}},
            ],
        },
        "postprocess": {
            "steps": [
                {"top_k": {"tensor": "y", "k": 2, "indices": "names", "to": "scores"}},
                {"labels": {"tensor": "names"}},
            ],
            "outputs": ["names", "scores"],
        },
    }


CASES = (
    Case("pytorch", "TorchScript", "MLP", _torchscript),
    Case("pytorch", "TorchScript", "MLP behind a transform", _transformed),
    Case("pytorch", "exported program", "MLP", _exported),
    Case("pytorch", "state dict", "MLP", _state_dict),
    Case("pytorch", "state dict", "MLP, by ONNX Runtime", lambda folder: _by_onnx(_state_dict, folder)),
    Case("pytorch", "TorchScript", "MLP between steps", lambda folder: _with_steps(_torchscript, folder)),
    Case("onnx", "onnx", "MLP", _onnx),
    Case("onnx", "onnx", "MLP between steps", lambda folder: _with_steps(_onnx, folder)),
    Case("tensorflow", "SavedModel", "MLP", _saved_model),
    Case("tensorflow", "SavedModel", "MLP, by ONNX Runtime", lambda folder: _by_onnx(_saved_model, folder)),
    Case("tensorflow", "keras", "MLP", _keras),
    Case("tensorflow", "keras", "MLP, by ONNX Runtime", lambda folder: _by_onnx(_keras, folder)),
    Case("tensorflow", "keras", "MLP between steps", lambda folder: _with_steps(_keras, folder)),
    *(
        Case("sklearn", kind, "imputer and forest", lambda folder, kind=kind: _estimator(folder, kind))
        for kind in ("skops", "joblib", "pkl")
    ),
    Case(
        "sklearn",
        "skops",
        "imputer and forest, by ONNX Runtime",
        lambda folder: _by_onnx(lambda inner: _estimator(inner, "skops"), folder),
    ),
    Case("sklearn", "skops", "label spreading", _no_counterpart),
    Case("xgboost", "json", "two classes", lambda folder: _xgboost(folder, "json", "binary:logistic")),
    Case("xgboost", "ubj", "three classes", lambda folder: _xgboost(folder, "ubj", "multi:softprob")),
    Case(
        "xgboost",
        "ubj",
        "three classes, by ONNX Runtime",
        lambda folder: _by_onnx(lambda inner: _xgboost(inner, "ubj", "multi:softprob"), folder),
    ),
    Case("xgboost", "json", "regression", lambda folder: _xgboost(folder, "json", "reg:squarederror")),
    Case("xgboost", "json", "linear booster", _xgboost_linear),
    Case("lightgbm", "text", "two classes", lambda folder: _lightgbm(folder, objective="binary")),
    Case("lightgbm", "text", "three classes", lambda folder: _lightgbm(folder, objective="multiclass", num_class=3)),
    Case(
        "lightgbm",
        "text",
        "three classes, by ONNX Runtime",
        lambda folder: _by_onnx(lambda inner: _lightgbm(inner, objective="multiclass", num_class=3), folder),
    ),
    Case("lightgbm", "text", "regression", lambda folder: _lightgbm(folder, objective="regression")),
    Case(
        "lightgbm", "text", "linear trees", lambda folder: _lightgbm(folder, objective="regression", linear_tree=True)
    ),
)
"""All models of the matrix; boosters are trained and asked with values missing, and one column of categories."""
