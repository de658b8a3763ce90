"""What a fitted estimator is seen to give: its own answer to made-up rows tells, where it takes such rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn import (
    cluster,
    compose,
    ensemble,
    linear_model,
    multioutput,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)

from modelport.frameworks import probe

ROWS = np.random.default_rng(0).standard_normal((60, 3))
NUMBERS = np.stack([ROWS[:, 0], -ROWS[:, 1]], axis=1)
CLASSES = (ROWS > 0).astype(int)
FOUR = CLASSES[:, 0] + 2 * CLASSES[:, 1]


def asked(estimator: Any, folder: Path) -> Any:
    joblib.dump(estimator, folder / "m.joblib")
    return probe("joblib", folder / "m.joblib", trust=True)


def shapes(tensors: Any) -> dict[str, Any]:
    return {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}


@pytest.mark.parametrize(
    ("estimator", "target", "output"),
    [
        (neighbors.KNeighborsRegressor(), NUMBERS, ("prediction", "float64", (None, 2))),
        (multioutput.MultiOutputRegressor(svm.SVR()), NUMBERS, ("prediction", "float64", (None, 2))),
        (multioutput.RegressorChain(linear_model.Ridge()), NUMBERS, ("prediction", "float64", (None, 2))),
        (neural_network.MLPClassifier((3,), max_iter=2), CLASSES, ("label", "int64", (None, 3))),
        (multioutput.ClassifierChain(linear_model.LogisticRegression()), CLASSES, ("label", "float64", (None, 3))),
        (svm.SVC(decision_function_shape="ovo"), FOUR, ("decision", "float64", (None, 6))),
        (svm.SVC(), np.array(["a", "b"])[CLASSES[:, 0]], ("label", "string", (None,))),
        (cluster.KMeans(2, n_init=1), None, ("label", "int32", (None,))),
        (preprocessing.PolynomialFeatures(2), None, ("transformed", "float64", (None, 10))),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_outputs_are_what_the_estimator_answers(estimator: Any, target: Any, output: Any, tmp_path: Path) -> None:
    name, dtype, shape = output
    assert shapes(asked(estimator.fit(ROWS, target), tmp_path).choosable)[name] == (dtype, shape)


def test_probabilities_of_several_targets_cannot_be_chosen(tmp_path: Path) -> None:
    found = asked(ensemble.RandomForestClassifier(2).fit(ROWS, CLASSES), tmp_path)
    assert shapes(found.outputs) == {"label": ("int64", (None, 3))}
    assert "probabilities" not in shapes(found.choosable)


def test_where_no_made_up_row_goes_the_spec_may_say_otherwise(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"city": ["x", "y", "z"] * 20, "age": ROWS[:, 0]})
    encoder = compose.make_column_transformer((preprocessing.OneHotEncoder(), ["city"]), remainder="passthrough")
    model = pipeline.make_pipeline(encoder, neighbors.KNeighborsRegressor()).fit(frame, NUMBERS)
    (output,) = asked(model, tmp_path).outputs
    assert (output.name, output.shape) == ("prediction", (None,))
    assert "shape" in output.free
