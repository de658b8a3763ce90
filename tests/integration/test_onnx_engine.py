"""``serving.engine: onnx``: what artifacts then hold answers as the framework does, and needs no framework."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from modelport.backend import load_backend
from modelport.build import plan_for, resolve
from modelport.converted import model_to_run
from modelport.errors import ConversionError
from modelport.frameworks import reference
from modelport.samples import load_samples

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
GENERATOR = np.random.default_rng(0)
ONNX_ALONE = {"numpy", "onnxruntime"}


def write_spec(folder, model, more=""):
    text = f'modelport: 1\nname: m\nversion: "1"\nmodel: {model}\nserving: {{engine: onnx}}\nsamples: s.npz\n{more}'
    (folder / "modelport.yaml").write_text(text, encoding="utf-8")
    return resolve(folder / "modelport.yaml")


def agree(model, tolerance=1e-5):
    """Ask the model and what would run in its place; give the latter's distributions."""
    run = model_to_run(model)
    assert (run.format, [*run.files], run.original) == ("onnx", ["model.onnx"], model)
    samples = load_samples(model.samples.path, model.served)
    inputs = samples.request(0, samples.count)
    wanted, found = reference(model)(inputs), reference(run)(inputs)
    assert list(wanted) == list(found)
    for name, array in wanted.items():
        assert (array.dtype, array.shape) == (found[name].dtype, found[name].shape)
        if array.dtype.kind in "OU":
            assert array.tolist() == found[name].tolist()
        else:
            np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance)
    return {line.partition("=")[0] for line in run.requirements}


def test_saved_model_keeps_its_names_and_an_input_that_nothing_reads(tmp_path):
    tf = pytest.importorskip("tensorflow").compat.v1
    with tf.Graph().as_default(), tf.Session() as session:
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.int64, [None])
        unread = tf.placeholder(tf.float32, [None, 2])
        ends = {"input.1": x, "a b": y, "/not read": unread}, {"/fc/out:0": tf.nn.softmax(x), "1": tf.identity(y + 1)}
        infos = [{k: tf.saved_model.build_tensor_info(t) for k, t in side.items()} for side in ends]
        builder = tf.saved_model.builder.SavedModelBuilder(str(tmp_path / "sm"))
        signature = tf.saved_model.build_signature_def(*infos, "tensorflow/serving/predict")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    values = {"input.1": (4, 3), "/not read": (4, 2)}
    arrays = {name: GENERATOR.normal(size=shape).astype(np.float32) for name, shape in values.items()}
    np.savez(tmp_path / "s.npz", **arrays, **{"a b": np.arange(4)})
    assert agree(write_spec(tmp_path, "{framework: tensorflow, source: sm}")) == ONNX_ALONE


def test_keras_model(tmp_path):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"), layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(4, activation="softmax"),
        ]
    ).save(tmp_path / "m.keras")  # fmt: skip
    np.savez(tmp_path / "s.npz", image=GENERATOR.random((5, 16, 16, 3), dtype=np.float32))
    assert agree(write_spec(tmp_path, "{framework: tensorflow, source: m.keras}")) == ONNX_ALONE


def test_booster(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    x = GENERATOR.normal(size=(80, 4)).astype(np.float32)
    x[::5, 1] = np.nan
    xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(x, x[:, 0] > 0).get_booster().save_model(tmp_path / "m.json")
    signature = "signature: {inputs: [{name: x, dtype: float32, shape: [-1, 4]}]}\n"
    np.savez(tmp_path / "s.npz", x=x[:9])
    assert agree(write_spec(tmp_path, "{framework: xgboost, source: m.json}", signature)) == ONNX_ALONE


def test_scikit_learn_model(tmp_path):
    shutil.copytree(ROOT / "examples" / "tabular", tmp_path / "t")
    spec = tmp_path / "t" / "modelport.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("\nserving:\n", "\nserving:\n  engine: onnx\n"))
    assert agree(resolve(spec)) == ONNX_ALONE


def test_torch_model_with_a_transform_brings_the_transform_s_code_data_and_needs_alone(tmp_path):
    shutil.copytree(ROOT / "examples" / "digits", tmp_path / "d")
    spec = tmp_path / "d" / "modelport.yaml"
    text = spec.read_text(encoding="utf-8").replace("\nserving:\n", "\nserving:\n  engine: onnx\n")
    inputs = "[{name: pixels, dtype: float32, shape: [-1, 64]}]"
    outputs = "[{name: probabilities, dtype: float32, shape: [-1, 10]}]"
    text += f"\ntransform: {{source: 'halve.py:Halve', files: [data], inputs: {inputs}, outputs: {outputs}}}\n"
    spec.write_text(text, encoding="utf-8")
    (tmp_path / "d" / "data").mkdir()
    (tmp_path / "d" / "data" / "by.txt").write_text("2")
    (tmp_path / "d" / "halving.py").write_text(
        "from pathlib import Path\n\nimport scipy.special\n\nBY = Path(__file__).parent / 'data' / 'by.txt'\n\n\n"
        "def halve(x):\n    return x / int(BY.read_text())\n"
    )
    (tmp_path / "d" / "halve.py").write_text(
        "from halving import halve\n\n\nclass Halve:\n    def preprocess(self, inputs):\n"
        "        return {name: halve(array) for name, array in inputs.items()}\n"
    )
    model = resolve(spec)
    assert agree(model) == {*ONNX_ALONE, "scipy"}
    assert [*model_to_run(model).code] == ["data/by.txt", "halving.py"]


def test_plans_hold_the_graph_in_place_of_the_model(tmp_path):
    shutil.copytree(ROOT / "examples" / "digits", tmp_path / "d")
    spec = tmp_path / "d" / "modelport.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("\nserving:\n", "\nserving:\n  engine: onnx\n"))
    model = resolve(spec)
    for name in ("bentoml", "torchserve"):
        plan = plan_for(load_backend(name), model)
        assert plan.facts["engine"] == "ONNX Runtime, on state_dict converted to ONNX"
        assert "torch" not in " ".join(plan.model.requirements)


def test_what_tf2onnx_cannot_convert_is_refused_with_the_way_out(tmp_path):
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    module.answer = tf.function(
        lambda x: {"y": tf.linalg.svd(x, compute_uv=False)}, input_signature=[tf.TensorSpec([None, 3, 3], name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "sm"), signatures=module.answer)
    np.savez(tmp_path / "s.npz", x=np.ones((2, 3, 3), np.float32))
    with pytest.raises(ConversionError, match=r"Svd.*Leave serving\.engine out"):
        model_to_run(write_spec(tmp_path, "{framework: tensorflow, source: sm}"))


def test_gelu_of_keras_which_tf2onnx_does_not_know_is_spelt_out(tmp_path):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(8, "gelu")]).save(tmp_path / "m.keras")
    np.savez(tmp_path / "s.npz", x=GENERATOR.normal(size=(5, 6)).astype(np.float32) * 4)
    assert agree(write_spec(tmp_path, "{framework: tensorflow, source: m.keras}")) == ONNX_ALONE


def test_what_skl2onnx_leaves_out_answers_all_the_same(tmp_path):
    """Distances as weights, and an imputer of float64, for which ONNX Runtime has no kernel."""
    onnxruntime = pytest.importorskip("onnxruntime")
    neighbors, impute = pytest.importorskip("sklearn.neighbors"), pytest.importorskip("sklearn.impute")
    joblib = pytest.importorskip("joblib")
    x = GENERATOR.normal(size=(80, 4))
    knn = neighbors.KNeighborsRegressor(3, weights="distance").fit(x, x[:, 0] * 2)
    imputer = impute.SimpleImputer().fit(x)
    np.savez(tmp_path / "s.npz", features=x[:9] + 0.1)
    for estimator, wanted in ((knn, knn.predict(x[:9] + 0.1)), (imputer, imputer.transform(x[:9] + 0.1))):
        joblib.dump(estimator, tmp_path / "m.joblib")
        run = model_to_run(write_spec(tmp_path, "{framework: sklearn, source: m.joblib, trust: true}"))
        session = onnxruntime.InferenceSession(run.source, providers=["CPUExecutionProvider"])
        found = session.run(None, {run.signature.inputs[0].name: x[:9] + 0.1})[0]
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
