from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    compose,
    ensemble,
    impute,
    linear_model,
    naive_bayes,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from modelport.convert.sklearn_to_onnx import export_sklearn
from modelport.errors import ConversionError
from modelport_runtime.signature import TensorSpec

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((200, 5))
TARGETS = ROWS[:, 0] + ROWS[:, 1] ** 2
THREE = (TARGETS > 0.5).astype(int) + (ROWS[:, 2] > 1)

CLASSIFIERS = [
    pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    pipeline.make_pipeline(preprocessing.Normalizer(), svm.SVC(probability=True, random_state=0)),
    ensemble.RandomForestClassifier(7, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=5),
    neural_network.MLPClassifier((8,), max_iter=30, random_state=0),
]
REGRESSORS = [
    linear_model.Ridge(),
    svm.SVR(),
    ensemble.RandomForestRegressor(7, random_state=0),
    ensemble.HistGradientBoostingRegressor(max_iter=5),
]


def name_of(estimator: Any) -> str:
    return type(estimator[-1] if isinstance(estimator, pipeline.Pipeline) else estimator).__name__


def spec(name: str, dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=name_of)
def test_classifier(estimator: Any, dtype: str, classes: int, lower: Callable[..., Any]) -> None:
    estimator.fit(ROWS, np.minimum(THREE, classes - 1))
    outputs = [spec("probabilities", dtype, None, classes), spec("label", "int64", None)]
    call = lower(export_sklearn(estimator, inputs=[spec("a b", dtype, None, 5)], outputs=outputs))
    for batch in (1, 3, 32):
        rows = ROWS[:batch].astype(dtype)
        found = call({"a b": rows})
        assert found["label"].tolist() == estimator.predict(rows).tolist()
        assert found["probabilities"].dtype == dtype
        np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("estimator", REGRESSORS, ids=name_of)
def test_regressor(estimator: Any, dtype: str, lower: Callable[..., Any]) -> None:
    estimator.fit(ROWS, TARGETS)
    model = export_sklearn(estimator, inputs=[spec("x", dtype, None, 5)], outputs=[spec("prediction", dtype, None)])
    rows = ROWS[:32].astype(dtype)
    found = lower(model)({"x": rows})["prediction"]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, estimator.predict(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [tree.DecisionTreeRegressor, ensemble.HistGradientBoostingRegressor])
def test_rows_at_a_threshold_go_the_same_way(kind: Any, dtype: str, lower: Callable[..., Any]) -> None:
    """sklearn's trees compare float32 with float64 thresholds, histogram boosting float64: rounding parts rows."""
    estimator = kind().fit(ROWS, TARGETS)
    if kind is tree.DecisionTreeRegressor:
        splits = [(f, t) for f, t in zip(estimator.tree_.feature, estimator.tree_.threshold, strict=True) if f >= 0]
    else:
        nodes = estimator._predictors[0][0].nodes
        splits = [(node["feature_idx"], node["num_threshold"]) for node in nodes if not node["is_leaf"]]
    rows = []
    for feature, threshold in splits[:60]:
        near = np.float32(threshold)
        beside = [np.nextafter(near, np.float32(side)) for side in (-9, 9)]
        for value in (threshold, np.nextafter(threshold, -9), np.nextafter(threshold, 9), near, *beside):
            row = ROWS[len(rows) % len(ROWS)].copy()
            row[feature] = value
            rows.append(row)
    given = np.array(rows).astype(dtype)
    model = export_sklearn(estimator, inputs=[spec("x", dtype, None, 5)], outputs=[spec("y", dtype, None)])
    np.testing.assert_allclose(lower(model)({"x": given})["y"], estimator.predict(given), rtol=1e-5, atol=1e-6)


def test_transformer_under_a_name_of_its_own(lower: Callable[..., Any]) -> None:
    scaler = preprocessing.MinMaxScaler().fit(ROWS)
    model = export_sklearn(scaler, inputs=[spec("x", "float64", None, 5)], outputs=[spec("scaled", "float64", None, 5)])
    np.testing.assert_allclose(lower(model)({"x": ROWS})["scaled"], scaler.transform(ROWS), atol=1e-12)


def test_string_labels(lower: Callable[..., Any]) -> None:
    names = np.array(["no", "yes"])[(TARGETS > 0.5).astype(int)]
    estimator = linear_model.LogisticRegression().fit(ROWS, names)
    model = export_sklearn(estimator, inputs=[spec("x", "float32", None, 5)], outputs=[spec("label", "string", None)])
    found = lower(model)({"x": ROWS.astype(np.float32)})["label"]
    assert [label.decode() for label in found] == estimator.predict(ROWS.astype(np.float32)).tolist()


@pytest.mark.parametrize("learnt", [True, False], ids=["learnt", "unseen"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_takes_the_same_way_through_an_isolation_forest(
    lower: Callable[..., Any], dtype: str, *, learnt: bool
) -> None:
    holes = ROWS.copy()
    holes[GENERATOR.random(ROWS.shape) < 0.2] = np.nan
    model = ensemble.IsolationForest(n_estimators=7, random_state=0).fit(holes if learnt else ROWS)
    outputs = [spec("label", "int64", None), spec("score", dtype, None)]
    found = lower(export_sklearn(model, inputs=[spec("x", dtype, None, 5)], outputs=outputs))(
        {"x": holes.astype(dtype)}
    )
    np.testing.assert_allclose(found["score"], model.score_samples(holes.astype(dtype)), rtol=1e-5)
    assert found["label"].tolist() == model.predict(holes.astype(dtype)).tolist()


@pytest.mark.parametrize(
    "estimator",
    [
        tree.DecisionTreeRegressor(max_depth=6, random_state=0),
        ensemble.RandomForestRegressor(7, random_state=0),
        ensemble.ExtraTreesRegressor(n_estimators=7, random_state=0),
        ensemble.HistGradientBoostingRegressor(max_iter=5),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("learnt", [True, False], ids=["learnt", "unseen"])
def test_nan_takes_the_same_way_through_trees(estimator: Any, lower: Callable[..., Any], *, learnt: bool) -> None:
    holes = ROWS.copy()
    holes[GENERATOR.random(ROWS.shape) < 0.2] = np.nan
    model = estimator.fit(holes if learnt else ROWS, TARGETS)
    graph = export_sklearn(model, inputs=[spec("x", "float64", None, 5)], outputs=[spec("prediction", "float64", None)])
    np.testing.assert_allclose(lower(graph)({"x": holes})["prediction"], model.predict(holes), rtol=1e-6)


def test_columns_of_several_dtypes(lower: Callable[..., Any]) -> None:
    frame = pd.DataFrame({"age": np.arange(20), "b c": np.linspace(0, 1, 20), "city": ["x", "y", "zö", "x"] * 5})
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    parts = [("n", numbers, ["age", "b c"]), ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"])]
    model = pipeline.make_pipeline(compose.ColumnTransformer(parts), linear_model.LogisticRegression())
    model.fit(frame, frame["age"] > 7)
    columns = [spec("age", "int64", None), spec("b c", "float64", None), spec("city", "string", None)]
    call = lower(export_sklearn(model, inputs=columns, outputs=[spec("probabilities", "float64", None, 2)]))
    found = call({name: frame[name].to_numpy() for name in ("age", "b c", "city")})
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(frame), atol=1e-6)


def test_columns_are_joined_as_the_estimator_has_them(lower: Callable[..., Any]) -> None:
    frame = pd.DataFrame(ROWS[:, :3] * [1, 10, 100], columns=["z", "a", "m"])
    frame["k"] = np.arange(200)
    model = ensemble.RandomForestRegressor(5, random_state=0).fit(frame, TARGETS)
    columns = [spec(name, "int64" if name == "k" else "float64", None) for name in ("a", "k", "m", "z")]
    call = lower(export_sklearn(model, inputs=columns, outputs=[spec("prediction", "float64", None)]))
    found = call({name: frame[name].to_numpy() for name in ("a", "k", "m", "z")})
    np.testing.assert_allclose(found["prediction"], model.predict(frame), rtol=1e-6)


@pytest.mark.parametrize("estimator", [linear_model.LogisticRegression(), svm.LinearSVC()], ids=name_of)
def test_two_classes_have_one_decision(estimator: Any, lower: Callable[..., Any]) -> None:
    model = estimator.fit(ROWS, TARGETS > 0.5)
    graph = export_sklearn(model, inputs=[spec("x", "float64", None, 5)], outputs=[spec("decision", "float64", None)])
    np.testing.assert_allclose(lower(graph)({"x": ROWS})["decision"], model.decision_function(ROWS), atol=1e-6)


def test_decisions_beside_probabilities_are_refused() -> None:
    outputs = [spec("decision", "float64", None, 3), spec("probabilities", "float64", None, 3)]
    model = linear_model.LogisticRegression().fit(ROWS, THREE)
    with pytest.raises(ConversionError, match="'probabilities' and 'decision' are one output"):
        export_sklearn(model, inputs=[spec("x", "float64", None, 5)], outputs=outputs)


def test_a_vote_of_probabilities(lower: Callable[..., Any]) -> None:
    members = [("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]
    model = ensemble.VotingClassifier(members, voting="soft").fit(ROWS, THREE)
    outputs = [spec("label", "int64", None), spec("probabilities", "float64", None, 3)]
    found = lower(export_sklearn(model, inputs=[spec("x", "float64", None, 5)], outputs=outputs))({"x": ROWS})
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(ROWS), atol=1e-6)
    assert model.flatten_transform


def test_an_output_that_is_not_there_is_named() -> None:
    estimator = linear_model.Ridge().fit(ROWS, TARGETS)
    with pytest.raises(ConversionError, match="no output 'probabilities'"):
        export_sklearn(
            estimator, inputs=[spec("x", "float32", None, 5)], outputs=[spec("probabilities", "float32", None, 2)]
        )
