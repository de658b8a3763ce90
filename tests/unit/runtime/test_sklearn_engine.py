"""scikit-learn estimators: what they are asked, and in which words."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput
from modelport_runtime.description import ModelDescription
from modelport_runtime.engines.binding import ModelError
from modelport_runtime.runtime import Runtime
from modelport_runtime.signature import Signature, TensorSpec

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from sklearn import cluster, compose, ensemble, linear_model, pipeline, preprocessing, svm, tree  # the same
from skops import io as skops_io  # skipped where it is missing

X = np.random.default_rng(0).random((40, 3))
Y = (X[:, 0] > 0.5).astype(np.int64)
WORDS = np.array(["no", "yes"])[Y]


def load(
    folder: Path,
    estimator: Any,
    outputs: dict[str, tuple[str, tuple[int | None, ...]]],
    *,
    trust: bool = False,
    **inputs: Any,
) -> Runtime:
    skops_io.dump(estimator, folder / "m.skops")
    tensors = inputs or {"features": ("float64", (None, 3))}
    signature = Signature(
        inputs=tuple(TensorSpec(name=n, dtype=d, shape=s) for n, (d, s) in tensors.items()),
        outputs=tuple(TensorSpec(name=n, dtype=d, shape=s) for n, (d, s) in outputs.items()),
    )
    description = ModelDescription(
        name="m", version="1", format="skops", source="m.skops", signature=signature, served=signature, trust=trust
    )
    (folder / "modelport.json").write_text(description.to_text())
    return Runtime.load(folder)


LABEL, WIDE = ("int64", (None,)), ("float64", (None, 2))


@pytest.mark.parametrize(
    ("estimator", "outputs", "method"),
    [
        (linear_model.LogisticRegression(), {"label": LABEL}, "predict"),
        (linear_model.LogisticRegression(), {"probabilities": WIDE}, "predict_proba"),
        (svm.LinearSVC(), {"decision": ("float64", (None,))}, "decision_function"),
        (linear_model.LinearRegression(), {"prediction": ("float64", (None,))}, "predict"),
        (linear_model.LinearRegression(), {"anything/else": ("float64", (None,))}, "predict"),
        (cluster.KMeans(2, n_init=1), {"label": ("int32", (None,))}, "predict"),
        (preprocessing.StandardScaler(), {"transformed": ("float64", (None, 3))}, "transform"),
    ],
)
def test_outputs_have_their_methods(tmp_path: Path, estimator: Any, outputs: Any, method: str) -> None:
    fitted = estimator.fit(X, Y)
    answer = load(tmp_path, fitted, outputs).predict({"features": X[:5]})
    assert list(answer) == list(outputs)
    np.testing.assert_allclose(next(iter(answer.values())), getattr(fitted, method)(X[:5]))


def test_labels_and_probabilities_in_one_answer(tmp_path: Path) -> None:
    fitted = linear_model.LogisticRegression().fit(X, WORDS)
    outputs = {"probabilities": ("float32", (None, 2)), "label": ("string", (None,))}
    answer = load(tmp_path, fitted, outputs).predict({"features": X[:3]})
    assert answer["label"].tolist() == fitted.predict(X[:3]).tolist()
    assert answer["probabilities"].dtype == np.float32


def test_outlier_detectors_give_label_and_score(tmp_path: Path) -> None:
    fitted = ensemble.IsolationForest(n_estimators=3, random_state=0).fit(X)
    outputs = {"label": LABEL, "score": ("float64", (None,))}
    with pytest.raises(ModelError, match=r"does not know to be safe: sklearn.tree._tree.Tree.*model.trust: true"):
        load(tmp_path, fitted, outputs)
    answer = load(tmp_path, fitted, outputs, trust=True).predict({"features": X[:3]})
    np.testing.assert_allclose(answer["score"], fitted.score_samples(X[:3]))


def test_what_an_estimator_cannot_give_is_told(tmp_path: Path) -> None:
    fitted = svm.LinearSVC().fit(X, Y)
    with pytest.raises(
        ModelError, match=r"'probabilities': a LinearSVC does not give that; it gives label, prediction"
    ):
        load(tmp_path, fitted, {"probabilities": WIDE})


def test_one_input_a_column(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a b", "c/d", "e.f"])
    fitted = linear_model.LogisticRegression().fit(frame, Y)
    column = ("float64", (None,))
    runtime = load(tmp_path, fitted, {"probabilities": WIDE}, **{"e.f": column, "a b": column, "c/d": column})
    answer = runtime.predict({name: frame[name].to_numpy()[:4] for name in frame})
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(frame[:4]))
    with pytest.raises(InvalidInput, match=r"equally long"):
        runtime.predict({"a b": [1.0], "c/d": [1.0, 2.0], "e.f": [1.0]})
    matrix = load(tmp_path, fitted, {"probabilities": WIDE})
    np.testing.assert_allclose(matrix.predict({"features": X[:4]})["probabilities"], answer["probabilities"])
    with pytest.raises(ModelError, match=r"was fitted on the columns a b, c/d, e.f"):
        load(tmp_path, fitted, {"probabilities": WIDE}, **{"a b": column, "x": column})


def test_only_types_that_could_do_harm_need_trust(tmp_path: Path) -> None:
    table = compose.ColumnTransformer([("numbers", preprocessing.StandardScaler(), [0, 1])], remainder="passthrough")
    plain = pipeline.make_pipeline(table, linear_model.LogisticRegression()).fit(X, Y)
    answer = load(tmp_path, plain, {"label": LABEL}).predict({"features": X[:5]})["label"]
    assert answer.tolist() == plain.predict(X[:5]).tolist()
    with pytest.raises(ModelError, match=r"not know to be safe: sklearn\.tree\._tree\.Tree\."):
        load(tmp_path, tree.DecisionTreeClassifier().fit(X, Y), {"label": LABEL})


def test_pickles_and_broken_files(tmp_path: Path) -> None:
    from modelport_runtime.engines.sklearn import load_estimator

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(linear_model.LinearRegression().fit(X, Y)))
    assert load_estimator("pickle", tmp_path / "m.pkl", trust=True).n_features_in_ == 3
    for kind in ("pickle", "joblib", "skops"):
        (tmp_path / "broken").write_bytes(b"\x80\x05broken")
        with pytest.raises(ModelError, match=f"broken cannot be loaded as {kind}"):
            load_estimator(kind, tmp_path / "broken", trust=True)


def test_a_single_row_keeps_its_axis(tmp_path: Path) -> None:
    from sklearn.decomposition import SparsePCA

    fitted = SparsePCA(2, random_state=0).fit(X)
    runtime = load(tmp_path, fitted, {"transformed": WIDE}, trust=True)
    assert fitted.transform(X[:1]).shape == (2,)  # scikit-learn's own slip
    answer = runtime.predict({"features": X[:1]})["transformed"]
    np.testing.assert_allclose(answer, fitted.transform(X[:2])[:1])


def test_what_only_scores_gives_scores(tmp_path: Path) -> None:
    from sklearn.neighbors import KernelDensity

    fitted = KernelDensity().fit(X)
    runtime = load(tmp_path, fitted, {"score": ("float64", (None,))}, trust=True)
    np.testing.assert_allclose(runtime.predict({"features": X[:4]})["score"], fitted.score_samples(X[:4]))


def test_another_version_of_scikit_learn_is_told_in_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    from sklearn import __version__ as here

    from modelport_runtime.engines.sklearn import load_estimator

    pipe = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LinearRegression()).fit(X, Y)
    data = pickle.dumps(pipe)
    old = "1.0.0"[: len(here)].ljust(len(here), "0")  # as long, since pickles count their letters
    (tmp_path / "old.pkl").write_bytes(data.replace(here.encode(), old.encode()))
    for _ in range(2):
        load_estimator("pickle", tmp_path / "old.pkl", trust=True)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"old.pkl was fitted with scikit-learn {old}, and {here} is installed here")
    assert f"scikit-learn=={old}" in said
    assert not recwarn.list
