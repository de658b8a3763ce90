from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing, svm, tree

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


def test_an_output_that_is_not_there_is_named() -> None:
    estimator = linear_model.Ridge().fit(ROWS, TARGETS)
    with pytest.raises(ConversionError, match="no output 'probabilities'"):
        export_sklearn(
            estimator, inputs=[spec("x", "float32", None, 5)], outputs=[spec("probabilities", "float32", None, 2)]
        )
