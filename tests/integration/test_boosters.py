"""XGBoost and LightGBM models, values missing and categories unknown, on the real servers."""

import numpy as np
import pytest

from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.verify.session import Tolerance, examine_artifact, prepare

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

GENERATOR = np.random.default_rng(0)
COLUMNS = ["a", "b.c", "size", "kind"]


def make_rows():
    rows = GENERATOR.standard_normal((120, 4)).astype(np.float32)
    rows[GENERATOR.random(rows.shape) < 0.1] = np.nan
    rows[:, 3] = GENERATOR.integers(0, 9, len(rows))
    return rows, np.nan_to_num(rows[:, 0]) + rows[:, 3] % 3


def write_spec(folder, framework, source, more=""):
    path = folder / "modelport.yaml"
    path.write_text(
        f'modelport: 1\nname: boosted\nversion: "1.2.3"\nmodel: {{framework: {framework}, source: {source}}}\n'
        f"samples: s.npz\n{more}"
    )
    return resolve(path)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Three classes, a matrix with gaps, one column of categories."""
    xgboost = pytest.importorskip("xgboost")
    folder = tmp_path_factory.mktemp("xgboost")
    rows, target = make_rows()
    truth = np.clip(target, 0, 2).astype(int)
    kinds = {"feature_types": ["float", "float", "float", "c"], "enable_categorical": True}
    xgboost.XGBClassifier(n_estimators=6, n_jobs=1, **kinds).fit(rows, truth).save_model(folder / "m.ubj")
    asked = rows[:40].copy()
    asked[:6, 3] = [-1, 9, 1000, 2.5, np.nan, -0.5]
    np.savez(folder / "s.npz", features=asked, labels=truth[:40])
    return write_spec(folder, "xgboost", "m.ubj")


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    """One number, from columns that come as inputs of their own."""
    lightgbm = pytest.importorskip("lightgbm")
    folder = tmp_path_factory.mktemp("lightgbm")
    rows, target = make_rows()
    data = lightgbm.Dataset(rows, target, feature_name=COLUMNS, categorical_feature=["kind"])
    options = {"verbose": -1, "num_threads": 1, "min_data_per_group": 5}
    lightgbm.train(options, data, 6).save_model(folder / "m.txt")
    np.savez(folder / "s.npz", **{name: rows[:40, i].astype(float) for i, name in enumerate(COLUMNS)})
    inputs = "".join(f"  - {{name: {name}, dtype: float64, shape: [-1]}}\n" for name in COLUMNS)
    return write_spec(folder, "lightgbm", "m.txt", f"signature:\n  inputs:\n{inputs}")


@pytest.mark.parametrize(
    ("fixture", "name"),
    [("classifier", "torchserve"), ("classifier", "tfserving"), ("regressor", "bentoml"), ("regressor", "tfserving")],
)
def test_servers_answer_as_the_library(fixture, name, request, tmp_path):
    model = request.getfixturevalue(fixture)
    exam = prepare(model, Tolerance(atol=1e-6, rtol=1e-5))
    backend = load_backend(name)
    artifact = build_artifact(backend, plan_for(backend, model), tmp_path)
    rows = examine_artifact(backend, artifact, exam, note=lambda _: None, log=None)
    assert [(row.samples, row.skipped, row.faults) for row in rows] == [(40, "", ())] * len(rows)
    if exam.accuracy is not None:
        assert {row.accuracy for row in rows} == {exam.accuracy}
