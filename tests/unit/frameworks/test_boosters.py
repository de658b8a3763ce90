"""XGBoost's and LightGBM's own files: told by their content, asked for their signature, run, refused when broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.environment import plan_requirements
from modelport.errors import SpecError
from modelport.frameworks import detect_format, probe, reference
from modelport.model import Model

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((200, 3)).astype(np.float32)
ROWS[::9, 1] = np.nan
THREE = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 2] > 0.5)

Resolve = Callable[..., Model]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boosters")
    two = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(ROWS, THREE > 0)
    two.save_model(folder / "two.json")
    two.save_model(folder / "two.ubj")
    xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(ROWS, THREE).save_model(folder / "three.ubj")
    named = xgboost.DMatrix(ROWS, label=THREE, feature_names=["a b", "b.c", "d"])
    xgboost.train({"nthread": 1}, named, 3).save_model(folder / "number.json")
    options = {"verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(ROWS, THREE > 0, free_raw_data=False)
    lightgbm.train({**options, "objective": "binary"}, data, 3).save_model(folder / "two.txt")
    data = lightgbm.Dataset(ROWS, THREE, feature_name=["a", "b", "d"])
    lightgbm.train({**options, "objective": "multiclass", "num_class": 3}, data, 3).save_model(folder / "three.txt")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"), [("two.json", "xgboost_json"), ("two.ubj", "xgboost_ubj"), ("two.txt", "lightgbm_text")]
)
def test_formats_are_told_by_their_content(files: Path, tmp_path: Path, name: str, kind: str) -> None:
    copy = tmp_path / "model"
    shutil.copy(files / name, copy)
    assert detect_format(copy) == kind
    assert detect_format(copy, kind.partition("_")[0]) == kind
    with pytest.raises(SpecError, match=f"write model.framework: {kind.partition('_')[0]}"):
        detect_format(copy, "onnx")


@pytest.mark.parametrize(
    ("name", "dtype", "outputs"),
    [
        ("two.json", "float32", [("label", "int64", (None,)), ("probabilities", "float32", (None, 2))]),
        ("three.ubj", "float32", [("label", "int64", (None,)), ("probabilities", "float32", (None, 3))]),
        ("number.json", "float32", [("prediction", "float32", (None,))]),
        ("three.txt", "float64", [("label", "int64", (None,)), ("probabilities", "float64", (None, 3))]),
    ],
)
def test_boosters_tell_their_signature(files: Path, name: str, dtype: str, outputs: list[Any]) -> None:
    signature = probe(detect_format(files / name), files / name).signature()
    assert signature is not None
    assert [(t.name, t.dtype, t.shape) for t in signature.inputs] == [("features", dtype, (None, 3))]
    assert [(t.name, t.dtype, t.shape) for t in signature.outputs] == outputs


def test_answers_are_the_library_s(files: Path, resolve: Resolve) -> None:
    two = xgboost.XGBClassifier()
    two.load_model(files / "two.json")
    rows = ROWS[:20]
    for name in ("two.json", "two.ubj"):
        found = reference(resolve(name, framework="xgboost", root=files))({"features": rows})
        np.testing.assert_array_equal(found["probabilities"], two.predict_proba(rows))
        np.testing.assert_array_equal(found["label"], two.predict(rows))
    native = lightgbm.Booster(model_file=files / "three.txt")
    found = reference(resolve("three.txt", framework="lightgbm", root=files))({"features": rows.astype(float)})
    np.testing.assert_array_equal(found["probabilities"], native.predict(rows))
    np.testing.assert_array_equal(found["label"], native.predict(rows).argmax(axis=1))


def test_columns_and_outputs_by_other_names(files: Path, resolve: Resolve) -> None:
    inputs = [{"name": name, "dtype": "float64", "shape": [-1]} for name in ("d", "a b", "b.c")]
    outputs = [{"name": "price", "dtype": "float64", "shape": [-1]}]
    model = resolve("number.json", framework="xgboost", root=files, signature={"inputs": inputs, "outputs": outputs})
    assert not any(requirement.startswith("pandas") for requirement in model.requirements)
    columns = {"a b": ROWS[:, 0], "b.c": ROWS[:, 1], "d": ROWS[:, 2]}
    found = reference(model)({name: column.astype(float) for name, column in columns.items()})["price"]
    native = xgboost.Booster(model_file=files / "number.json")
    np.testing.assert_array_equal(found, native.inplace_predict(ROWS))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}]}, r"but the model has \[\?, 3\]"),
        ({"inputs": [{"name": "d", "dtype": "float32", "shape": [-1]}]}, "fitted on the columns a b, b.c, d"),
        ({"outputs": [{"name": "label", "dtype": "int64", "shape": [-1, 2]}]}, "but the model has"),
    ],
)
def test_contradictions_are_refused(files: Path, resolve: Resolve, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolve("number.json", framework="xgboost", root=files, signature=keys)


def test_text_needs_a_transform(files: Path, resolve: Resolve) -> None:
    text = [{"name": "features", "dtype": "string", "shape": [-1, 3]}]
    model = resolve("number.json", framework="xgboost", root=files, signature={"inputs": text})
    with pytest.raises(SpecError, match="is text, and the model takes numbers"):
        reference(model)


@pytest.mark.parametrize("name", ["two.json", "two.ubj", "two.txt"])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_files_that_were_cut_off_are_refused(files: Path, tmp_path: Path, name: str, share: float) -> None:
    whole = (files / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        SpecError, match=f"model.source: {name}: (XGBoost .* cannot load it|not a whole LightGBM model)"
    ):
        probe(detect_format(tmp_path / name), tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new"),
    [("left_child=", "left_child=0 "), ("split_feature=", "split_feature=99 "), ("num_leaves=", "num_leaves=9")],
)
def test_trees_that_lead_nowhere_are_refused(files: Path, tmp_path: Path, old: str, new: str) -> None:
    text = (files / "two.txt").read_text()
    (tmp_path / "m.txt").write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError, match="tree 0 contradicts itself"):
        probe("lightgbm_text", tmp_path / "m.txt")


def test_what_people_read_is_no_model(files: Path, tmp_path: Path) -> None:
    xgboost.Booster(model_file=files / "two.json").dump_model(tmp_path / "dump.json", dump_format="json")
    with pytest.raises(SpecError, match="xgboost reads what save_model"):
        detect_format(tmp_path / "dump.json", "xgboost")


@pytest.mark.parametrize(("name", "library"), [("two.ubj", "xgboost"), ("two.txt", "lightgbm")])
def test_a_library_that_is_missing_is_named_with_its_extra(files: Path, name: str, library: str) -> None:
    code = (
        f"import sys; sys.modules['{library}'] = None\n"  # how Python itself marks what cannot be imported
        "from pathlib import Path; from modelport.frameworks import detect_format, probe\n"
        f"path = Path('{name}'); probe(detect_format(path), path)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True, check=False)
    assert f"MissingTool: loading {name} needs {library}; pip install 'modelport[{library}]'" in ended.stderr


def test_what_an_estimator_is_pickled_with_is_required(tmp_path: Path, resolve: Resolve) -> None:
    joblib = pytest.importorskip("joblib")
    from sklearn import pipeline, preprocessing

    fitted = pipeline.make_pipeline(preprocessing.StandardScaler(), lightgbm.LGBMClassifier(n_estimators=2, verbose=-1))
    joblib.dump(fitted.fit(ROWS, THREE), tmp_path / "m.joblib")
    model = resolve("m.joblib", framework="sklearn", root=tmp_path, model={"trust": True})
    assert [text.partition("==")[0] for text in model.requirements] == ["joblib", "lightgbm", "numpy", "scikit-learn"]


def test_requirements_name_the_package_that_is_installed() -> None:
    from importlib.metadata import packages_distributions

    name = packages_distributions()["xgboost"][0]
    assert any(text.startswith(f"{name}==") for text in plan_requirements("xgboost_ubj", None))
    given = plan_requirements("xgboost_ubj", ["xgboost-cpu==3.1.0"])
    assert [text for text in given if text.startswith("xgboost")] == ["xgboost-cpu==3.1.0"]
