"""Converters of our own: each answers as the estimator, at one row and at many, in stock TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import (
    base,
    cluster,
    compose,
    covariance,
    discriminant_analysis,
    ensemble,
    gaussian_process,
    impute,
    linear_model,
    model_selection,
    multioutput,
    naive_bayes,
    neighbors,
    pipeline,
    preprocessing,
    svm,
)

from modelport.convert.sklearn_to_onnx import export_sklearn
from modelport.errors import ConversionError
from modelport_runtime.engines.sklearn import METHODS
from modelport_runtime.signature import TensorSpec

GENERATOR = np.random.default_rng(1)
ROWS = GENERATOR.standard_normal((120, 4))
HOLES = ROWS.copy()
HOLES[GENERATOR.random(ROWS.shape) < 0.2] = np.nan
NUMBERED = ROWS.copy()  # two columns of categories
NUMBERED[:, 1], NUMBERED[:, 3] = GENERATOR.integers(0, 12, 120) * 2, GENERATOR.integers(0, 3, 120)
UNKNOWN = NUMBERED.copy()
UNKNOWN[:40, 1], UNKNOWN[20:60, 3] = np.resize([1, -3, 99, np.nan, 2.5], 40), np.nan
TWO = (ROWS[:, 0] + ROWS[:, 1] ** 2 > 0.6).astype(int)
THREE = TWO + (ROWS[:, 2] > 0.8)
NUMBER = ROWS[:, 0] * 3 + NUMBERED[:, 1] % 3
PAIR = np.stack([NUMBER, -ROWS[:, 1]], axis=1)
POSITIVE = np.exp(ROWS[:, 0])


def logistic() -> Any:
    return linear_model.LogisticRegression()


#: Name -> estimator, rows, targets, outputs, rows to ask; fitted when it is used.
CASES: dict[str, tuple[Any, Any, Any, tuple[str, ...], Any]] = {
    "fill and tell": (pipeline.make_pipeline(impute.SimpleImputer(add_indicator=True), linear_model.Ridge()), HOLES,
                      NUMBER, ("prediction",), HOLES),
    "fill a number": (impute.SimpleImputer(missing_values=0, strategy="median"), np.round(ROWS), None,
                      ("transformed",), np.round(ROWS)),
    "tell": (impute.MissingIndicator(), HOLES, None, ("transformed",), HOLES),
    "bins": (preprocessing.KBinsDiscretizer(4), ROWS, None, ("transformed",), ROWS),
    "bins in order": (preprocessing.KBinsDiscretizer(4, encode="ordinal"), ROWS, None, ("transformed",), ROWS),
    "function": (preprocessing.FunctionTransformer(np.log1p), ROWS**2, None, ("transformed",), ROWS**2),
    "logarithm of the target": (compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p,
                                inverse_func=np.expm1), ROWS, POSITIVE, ("prediction",), ROWS),
    "scaled targets": (compose.TransformedTargetRegressor(linear_model.Ridge(),
                       transformer=preprocessing.StandardScaler()), ROWS, PAIR, ("prediction",), ROWS),
    "by distance": (neighbors.KNeighborsClassifier(4, weights="distance"), ROWS, THREE, ("label", "probabilities"),
                    np.concatenate([ROWS[:20], ROWS[20:60] + 0.1])),
    "by distance, two targets": (neighbors.KNeighborsRegressor(4, weights="distance", metric="manhattan"), ROWS, PAIR,
                                 ("prediction",), ROWS[:40] + 0.1),
    "chebyshev": (neighbors.KNeighborsRegressor(4, metric="chebyshev"), ROWS, NUMBER, ("prediction",), ROWS + 0.1),
    "canberra": (neighbors.KNeighborsRegressor(4, metric="canberra"), ROWS, NUMBER, ("prediction",), ROWS + 0.1),
    "cosine": (neighbors.KNeighborsRegressor(4, metric="cosine", weights="distance"), ROWS, NUMBER, ("prediction",),
               ROWS + 0.1),
    "cubes": (neighbors.KNeighborsRegressor(4, p=3, weights="distance"), ROWS, NUMBER, ("prediction",), ROWS + 0.1),
    "within": (neighbors.RadiusNeighborsRegressor(1.5, weights="distance"), ROWS, NUMBER, ("prediction",),
               np.concatenate([ROWS[:40] + 0.1, [[90, 90, 90, 90]]])),
    "poisson": (ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=5), ROWS, POSITIVE, ("prediction",),
                HOLES),
    "categories": (ensemble.HistGradientBoostingRegressor(max_iter=8, categorical_features=[1, 3]), NUMBERED, NUMBER,
                   ("prediction",), UNKNOWN),
    "categories of three": (ensemble.HistGradientBoostingClassifier(max_iter=4, categorical_features=[1, 3]), NUMBERED,
                            THREE, ("label", "probabilities"), UNKNOWN),
    "threshold": (model_selection.FixedThresholdClassifier(logistic(), threshold=0.3, pos_label="ja"), ROWS,
                  np.array(["nö", "ja"])[TWO], ("label", "probabilities"), ROWS),
    "tuned threshold": (model_selection.TunedThresholdClassifierCV(logistic(), cv=2), ROWS, TWO, ("label",), ROWS),
    "two discriminants": (discriminant_analysis.LinearDiscriminantAnalysis(), ROWS, TWO, ("label", "probabilities"),
                          ROWS),
    "envelope": (covariance.EllipticEnvelope(random_state=0), ROWS, None, ("label", "decision", "score"), ROWS),
    "one class": (svm.OneClassSVM(nu=0.2), ROWS, None, ("label", "score"), ROWS),
    "two classes, by vectors": (svm.SVC(), ROWS, TWO, ("label", "decision"), ROWS),
    "distances to centres": (cluster.KMeans(3, n_init=1, random_state=0), ROWS, None, ("prediction", "transformed"),
                             ROWS),
    "found": (pipeline.make_pipeline(preprocessing.StandardScaler(), model_selection.RandomizedSearchCV(logistic(),
              {"C": [0.1, 1]}, n_iter=2, cv=2)), ROWS, THREE, ("label", "probabilities"), ROWS),
    "listed weights": (ensemble.VotingClassifier([("a", logistic()), ("b", naive_bayes.GaussianNB())], voting="soft",
                       weights=[1, 3]), ROWS, THREE, ("label", "probabilities"), ROWS),
    "small classes": (ensemble.AdaBoostClassifier(n_estimators=3, random_state=0), ROWS, THREE.astype(np.uint8),
                      ("label",), ROWS),
    "forest of several targets": (ensemble.RandomForestClassifier(5, random_state=0), HOLES,
                                  np.stack([TWO, ROWS[:, 2] > 0], axis=1), ("label",), HOLES),
    "targets apart": (multioutput.MultiOutputRegressor(svm.SVR()), ROWS, PAIR, ("prediction",), ROWS),
}  # fmt: skip


def outputs_of(estimator: Any, names: tuple[str, ...], rows: Any) -> tuple[list[TensorSpec], dict[str, Any]]:
    """Give a signature's outputs, and what the estimator answers."""
    answers = {name: getattr(estimator, METHODS[name])(rows) for name in names}
    right = {n: value.toarray() if hasattr(value, "toarray") else np.asarray(value) for n, value in answers.items()}
    kinds = {name: "string" if value.dtype.kind in "OU" else str(value.dtype) for name, value in right.items()}
    return [TensorSpec(name=n, dtype=kinds[n], shape=(None, *right[n].shape[1:])) for n in names], right


@pytest.mark.parametrize("name", CASES)
def test_converters_answer_as_the_estimator(name: str, lower: Callable[..., Any]) -> None:
    made, learnt, targets, names, asked = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows without neighbours are NaN, and scikit-learn says so
        estimator = base.clone(made).fit(learnt, targets)
        outputs, right = outputs_of(estimator, names, asked)
    inputs = [TensorSpec(name="x", dtype="float64", shape=(None, asked.shape[1]))]
    call = lower(export_sklearn(estimator, inputs=inputs, outputs=outputs))
    for rows in (slice(0, 1), slice(0, len(asked))):
        found = call({"x": asked[rows]})
        for spec in outputs:
            wanted = right[spec.name][rows]
            assert found[spec.name].shape == wanted.shape
            if spec.dtype == "string":
                assert [text.decode() for text in found[spec.name]] == wanted.tolist()
            else:
                np.testing.assert_allclose(found[spec.name].astype(float), wanted.astype(float), rtol=1e-5, atol=1e-6)


def test_several_columns_are_filled_without_rounding(lower: Callable[..., Any]) -> None:
    import pandas as pd

    frame = pd.DataFrame(HOLES * 1e9 + 1 / 3, columns=list("abcd"))
    filler = impute.SimpleImputer().set_output(transform="default").fit(frame)
    columns = [TensorSpec(name=name, dtype="float64", shape=(None,)) for name in "abcd"]
    model = compose.ColumnTransformer([("fill", filler, list("abcd"))]).fit(frame)
    outputs = [TensorSpec(name="transformed", dtype="float64", shape=(None, 4))]
    found = lower(export_sklearn(model, inputs=columns, outputs=outputs))({n: frame[n].to_numpy() for n in "abcd"})
    np.testing.assert_allclose(found["transformed"], model.transform(frame), rtol=1e-14)


def test_text_passes_where_there_is_no_function(lower: Callable[..., Any]) -> None:
    words = np.array([["x", "é"], ["y", ""]] * 10, dtype=object)
    steps = (preprocessing.FunctionTransformer(), preprocessing.OneHotEncoder(sparse_output=False))
    model = pipeline.make_pipeline(*steps).fit(words)
    outputs = [TensorSpec(name="transformed", dtype="float64", shape=(None, 4))]
    inputs = [TensorSpec(name="x", dtype="string", shape=(None, 2))]
    found = lower(export_sklearn(model, inputs=inputs, outputs=outputs))({"x": words})
    np.testing.assert_array_equal(found["transformed"], model.transform(words))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "bool", "float16"])
def test_narrow_inputs_are_widened(dtype: str, lower: Callable[..., Any]) -> None:
    rows = (ROWS > 0) if dtype == "bool" else np.round(np.abs(ROWS) * 5).astype(dtype)
    estimator = ensemble.HistGradientBoostingClassifier(max_iter=3).fit(rows, TWO)
    outputs, right = outputs_of(estimator, ("probabilities",), rows)
    call = lower(
        export_sklearn(estimator, inputs=[TensorSpec(name="x", dtype=dtype, shape=(None, 4))], outputs=outputs)
    )
    np.testing.assert_allclose(call({"x": rows})["probabilities"], right["probabilities"], atol=1e-6)


def test_a_gaussian_process_is_computed_in_float64(lower: Callable[..., Any]) -> None:
    kernel = gaussian_process.kernels.RBF() + gaussian_process.kernels.WhiteKernel()
    estimator = gaussian_process.GaussianProcessRegressor(kernel, alpha=1e-6, optimizer=None).fit(ROWS, NUMBER)
    rows = ROWS.astype(np.float32)
    spec = [TensorSpec(name="x", dtype="float32", shape=(None, 4))]
    outputs, right = outputs_of(estimator, ("prediction",), rows)
    found = lower(export_sklearn(estimator, inputs=spec, outputs=outputs))({"x": rows})
    np.testing.assert_allclose(found["prediction"], right["prediction"], rtol=1e-6)


def test_rows_that_rounding_moves_onto_a_threshold(lower: Callable[..., Any]) -> None:
    """scikit-learn's trees round rows to float32 first, and thresholds of extra trees may be such numbers."""
    estimator = ensemble.ExtraTreesRegressor(3, random_state=0).fit(np.round(ROWS, 1), NUMBER)
    rows = []
    for tree in (member.tree_ for member in estimator.estimators_):
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            near = float(np.float32(threshold))
            for value in (near, near * (1 + 2e-8), near * (1 - 2e-8)) if feature >= 0 and near else ():
                rows.append(ROWS[len(rows) % 120].copy())
                rows[-1][feature] = value
    outputs, right = outputs_of(estimator, ("prediction",), np.array(rows))
    inputs = [TensorSpec(name="x", dtype="float64", shape=(None, 4))]
    found = lower(export_sklearn(estimator, inputs=inputs, outputs=outputs))({"x": np.array(rows)})
    np.testing.assert_allclose(found["prediction"], right["prediction"], rtol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (neighbors.RadiusNeighborsClassifier(9.0), "refuses rows without neighbours"),
        (neighbors.KNeighborsClassifier(weights=np.sqrt), "weights are a function"),
        (neighbors.KNeighborsClassifier(metric="braycurtis"), "metric is 'braycurtis'"),
        (cluster.Birch(), "skl2onnx has no converter for Birch"),
        (pipeline.make_pipeline(preprocessing.FunctionTransformer(np.cbrt), logistic()), "'cbrt' is code"),
        (compose.TransformedTargetRegressor(transformer=preprocessing.PowerTransformer()), "inverse of PowerTransform"),
        (model_selection.FixedThresholdClassifier(svm.LinearSVC()), "set response_method to predict_proba"),
    ],
    ids=str,
)
def test_what_no_graph_can_hold_is_refused_with_the_reason_and_the_way_out(estimator: Any, words: str) -> None:
    estimator = base.clone(estimator).fit(ROWS, TWO)
    inputs = [TensorSpec(name="x", dtype="float64", shape=(None, 4))]
    outputs, _ = outputs_of(estimator, ("label" if base.is_classifier(estimator) else "prediction",), ROWS)
    with pytest.raises(ConversionError, match=words) as caught:
        export_sklearn(estimator, inputs=inputs, outputs=outputs)
    assert "--backend bentoml or torchserve" in str(caught.value)
