"""XGBoost and LightGBM as ONNX and as SavedModels: every row goes the way that it goes in the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.convert.booster_trees import read_lightgbm, read_xgboost
from modelport.convert.boosters_to_onnx import export_booster, telling_rows
from modelport.convert.sklearn_to_onnx import export_sklearn
from modelport.errors import ConversionError
from modelport.frameworks import detect_format, probe
from modelport_runtime.description import ModelDescription
from modelport_runtime.engines.boosters import BoosterEngine
from modelport_runtime.signature import Signature, TensorSpec

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
onnxruntime = pytest.importorskip("onnxruntime")

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((300, 4)).astype(np.float32)
ROWS[GENERATOR.random(ROWS.shape) < 0.1] = np.nan
ROWS[:, 3] = GENERATOR.integers(0, 40, len(ROWS))
TARGETS = np.nan_to_num(ROWS[:, 0]) + ROWS[:, 3] % 3
POSITIVE = np.abs(TARGETS) + 0.1
NOTHING_IS_ZERO = np.where(np.isnan(ROWS), 0, ROWS)


def classes(count: int) -> Any:
    return np.clip(TARGETS * count / 3, 0, count - 1).astype(int)


def boost(target: Any, rows: Any = ROWS, rounds: int = 5, *, categories: bool = True, **parameters: Any) -> Any:
    kinds = {"feature_types": ["float", "float", "float", "c"], "enable_categorical": True}
    data = xgboost.DMatrix(rows, label=target, **(kinds if categories else {}))
    return xgboost.train({"max_depth": 4, "nthread": 1, **parameters}, data, rounds)


def grow(target: Any, rows: Any = ROWS, rounds: int = 5, kinds: tuple[int, ...] = (3,), **parameters: Any) -> Any:
    options = {"verbose": -1, "num_threads": 1, "min_data_per_group": 5, "cat_smooth": 1, "min_data_in_leaf": 3}
    data = lightgbm.Dataset(rows, target, categorical_feature=list(kinds), free_raw_data=False)
    return lightgbm.train({**options, **parameters}, data, rounds)


def describe(signature: Signature, kind: str) -> ModelDescription:
    return ModelDescription(name="m", version="1", format=kind, source="m", signature=signature, served=signature)


@pytest.fixture
def engine(tmp_path: Path) -> Callable[..., tuple[BoosterEngine, Signature]]:
    """Save a booster, and load it as its file tells, or with another signature."""

    def load(model: Any, signature: Signature | None = None) -> tuple[BoosterEngine, Signature]:
        path = tmp_path / "model.ubj"
        model.save_model(path)
        kind = detect_format(path)
        told = signature or probe(kind, path).signature()
        assert told is not None
        return BoosterEngine.load(describe(told, kind), path), told

    return load


SERVED = {
    "binary": lambda: boost(classes(2), objective="binary:logistic"),
    "several": lambda: boost(classes(4), objective="multi:softmax", num_class=4),
    "regression": lambda: boost(TARGETS),
    "no set, one category a split": lambda: boost(classes(2), objective="binary:logistic", max_cat_to_onehot=100),
    "lightgbm binary": lambda: grow(classes(2), objective="binary"),
    "lightgbm several": lambda: grow(classes(4), objective="multiclass", num_class=4),
    "lightgbm regression": lambda: grow(TARGETS),
    "lightgbm without missing": lambda: grow(TARGETS, NOTHING_IS_ZERO),
    "lightgbm zero is missing": lambda: grow(TARGETS, zero_as_missing=True),
}


@pytest.mark.parametrize("make", SERVED.values(), ids=SERVED)
def test_equal_to_the_library_in_tensorflow(
    make: Callable[[], Any], engine: Callable[..., Any], lower: Callable[..., Any]
) -> None:
    """At thresholds, on both sides of them, at infinity, where values are missing, and at unknown categories."""
    loaded, signature = engine(make())
    model = export_booster(loaded, signature)
    call = lower(model)
    double = loaded.booster.dtype == "float64"
    rows = telling_rows(read_lightgbm(loaded.booster.forest) if double else read_xgboost(loaded.booster), 96)
    rows[0] = np.nan
    for part in (rows[:1], rows[1:4], *(rows[i : i + 32] for i in range(0, 96, 32))):
        found, right = call({"features": part}), loaded.run({"features": part})
        assert found.keys() == right.keys()
        for name, value in right.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_allclose(
                found[name], value, rtol=1e-12 if double else 1e-5, atol=1e-12 if double else 1e-6
            )


OBJECTIVES: dict[str, tuple[Any, dict[str, Any]]] = {
    "binary:logitraw": (classes(2), {}),
    "binary:hinge": (classes(2), {}),
    "reg:logistic": (classes(2), {}),
    "count:poisson": (classes(5), {}),
    "reg:gamma": (POSITIVE, {}),
    "reg:tweedie": (POSITIVE, {}),
    "survival:cox": (POSITIVE, {}),
    "reg:absoluteerror": (TARGETS, {}),
    "reg:squaredlogerror": (POSITIVE, {}),
    "reg:quantileerror": (TARGETS, {"quantile_alpha": [0.1, 0.5, 0.9]}),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_of_xgboost(objective: str, engine: Callable[..., Any]) -> None:
    target, more = OBJECTIVES[objective]
    agree(*engine(boost(target, objective=objective, **more)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"booster": "dart", "rate_drop": 0.3},
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"gamma": 1e9},
        {"gamma": 2, "max_depth": 7},
        {"base_score": 3.5},
    ],
    ids=str,
)
def test_every_kind_of_forest_of_xgboost(parameters: dict[str, Any], engine: Callable[..., Any]) -> None:
    agree(*engine(boost(TARGETS, rounds=12, **parameters)))


@pytest.mark.parametrize(
    ("objective", "target"),
    [
        *((name, TARGETS) for name in ("regression_l1", "huber", "fair", "quantile", "mape")),
        *((name, POSITIVE) for name in ("poisson", "gamma", "tweedie")),
        *((name, classes(2)) for name in ("cross_entropy", "cross_entropy_lambda")),
    ],
)
def test_every_objective_of_lightgbm(objective: str, target: Any, engine: Callable[..., Any]) -> None:
    agree(*engine(grow(target, objective=objective)))


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        (TARGETS, {"objective": "regression", "reg_sqrt": True}),
        (classes(2), {"objective": "binary", "sigmoid": 2.0}),
        (classes(4), {"objective": "multiclassova", "num_class": 4}),
        (classes(2), {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}),
        (TARGETS, {"boosting": "dart"}),
        (TARGETS, {"use_missing": False}),
        (TARGETS, {"min_data_in_leaf": 1000}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_every_kind_of_forest_of_lightgbm(target: Any, parameters: dict[str, Any], engine: Callable[..., Any]) -> None:
    agree(*engine(grow(target, **parameters)))


def agree(engine: BoosterEngine, signature: Signature) -> None:
    """The conversion holds its graph against the library itself; here real rows do."""
    found = answer(export_booster(engine, signature), {"features": ROWS.astype(engine.booster.dtype)})
    for name, right in engine.run({"features": ROWS.astype(engine.booster.dtype)}).items():
        np.testing.assert_allclose(found[name], right, rtol=1e-5, atol=1e-6)


def answer(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def test_columns_in_any_order_and_other_dtypes(engine: Callable[..., Any]) -> None:
    data = lightgbm.Dataset(ROWS, TARGETS, feature_name=["a", "b", "c", "kind"], categorical_feature=["kind"])
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 3)
    dtypes = {"kind": "int64", "c": "float64", "a": "float32", "b": "float64"}
    signature = Signature(
        inputs=tuple(
            TensorSpec(name=name, dtype=dtype, shape=(None, 1) if name == "c" else (None,))
            for name, dtype in dtypes.items()
        ),
        outputs=(TensorSpec(name="price", dtype="float32", shape=(None,)),),
    )
    loaded, _ = engine(model, signature)
    place = {"a": 0, "b": 1, "c": 2, "kind": 3}
    inputs = {t.name: ROWS[:, place[t.name]].astype(t.dtype) for t in signature.inputs}
    inputs["c"] = inputs["c"].reshape(-1, 1)
    right = model.predict(ROWS.astype(float))
    np.testing.assert_array_equal(loaded.run(inputs)["price"], right)
    np.testing.assert_allclose(answer(export_booster(loaded, signature), inputs)["price"], right, rtol=1e-6)


def test_early_stopping_answers_as_whoever_saved_it(engine: Callable[..., Any]) -> None:
    noise = GENERATOR.standard_normal(len(ROWS))
    model = xgboost.XGBRegressor(n_estimators=30, learning_rate=1.0, early_stopping_rounds=3, n_jobs=1)
    model.fit(ROWS[:150], (TARGETS + noise)[:150], eval_set=[(ROWS[150:], (TARGETS + noise)[150:])], verbose=False)
    booster = model.get_booster()
    assert model.best_iteration + 1 < booster.num_boosted_rounds()
    loaded, signature = engine(model)
    np.testing.assert_array_equal(loaded.run({"features": ROWS})["prediction"], model.predict(ROWS))
    agree(loaded, signature)
    booster.set_attr(scikit_learn=None)
    loaded, signature = engine(booster)
    everything = booster.predict(xgboost.DMatrix(ROWS))
    np.testing.assert_array_equal(loaded.run({"features": ROWS})["prediction"], everything)
    assert np.abs(everything - model.predict(ROWS)).max() > 0.1
    agree(loaded, signature)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: boost(TARGETS, NOTHING_IS_ZERO, categories=False, booster="gblinear"), "'gblinear' has no trees"),
        (
            lambda: boost(np.stack([TARGETS, POSITIVE], 1), categories=False, multi_strategy="multi_output_tree"),
            "multi_output_tree",
        ),
        (lambda: grow(TARGETS, linear_tree=True, kinds=()), "linear trees"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_the_way_out(
    make: Callable[[], Any], words: str, engine: Callable[..., Any]
) -> None:
    model = make()
    with pytest.raises(ConversionError, match=f"{words}.*--backend bentoml or torchserve"):
        export_booster(*engine(model))


def test_a_graph_that_would_answer_otherwise_is_refused(engine: Callable[..., Any]) -> None:
    """Trees read wrongly, whatever the reason, never reach a server."""
    loaded, signature = engine(grow(TARGETS))
    forest = loaded.booster.forest
    wrong = replace(forest.trees[0], left=forest.trees[0].right, right=forest.trees[0].left)
    loaded.booster.forest = replace(forest, trees=(wrong, *forest.trees[1:]))
    with pytest.raises(ConversionError, match="would answer otherwise than its own library"):
        export_booster(loaded, signature)


def test_pickled_wrappers_are_sent_to_their_own_format() -> None:
    fitted = xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(ROWS[:, :3], classes(2))
    signature = {side: [TensorSpec(name="x", dtype="float32", shape=(None, 3))] for side in ("inputs", "outputs")}
    with pytest.raises(ConversionError, match="own save_model and write framework: xgboost"):
        export_sklearn(fitted, **signature)


def test_a_table_of_categories_has_a_limit(engine: Callable[..., Any]) -> None:
    loaded, signature = engine(grow(TARGETS))
    from modelport.convert.booster_graph import build_graph

    ensemble = read_lightgbm(loaded.booster.forest)
    huge = replace(ensemble, subsets=tuple(np.append(subset, 2**29) for subset in ensemble.subsets))
    with pytest.raises(ConversionError, match="too many categories"):
        build_graph(huge, inputs=signature.inputs, columns=None, outputs=signature.outputs, meanings=loaded.outputs)
