"""ONNX, Keras and scikit-learn models with odd names, dtypes and columns, on the real servers."""

import json
import urllib.request
from contextlib import ExitStack, closing, contextmanager

import numpy as np
import pytest

from modelport.backend import ServeSettings, load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport.samples import load_samples
from modelport.verify.session import Tolerance, examine_artifact, prepare

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

HOST = "127.0.0.1"
GENERATOR = np.random.default_rng(0)


def write_spec(folder, framework, source, more=""):
    path = folder / "modelport.yaml"
    model = f"{{framework: {framework}, source: {source}, trust: {'true' if framework == 'sklearn' else 'false'}}}"
    path.write_text(f'modelport: 1\nname: Odd.{framework}\nversion: "2024.11"\nmodel: {model}\n{more}')
    return resolve(path)


@pytest.fixture(scope="module")
def onnx_model(tmp_path_factory):
    """Names that are no identifiers, a dtype that TensorFlow Serving's REST API lacks, texts that are joined."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("onnx")
    types, helper = onnx.TensorProto, onnx.helper
    dtypes = {
        "input.1": types.FLOAT, "a b": types.FLOAT16, "/t:0": types.STRING, "1": types.BOOL, "n": types.INT64,
        "u": types.UINT8,
    }  # fmt: skip
    ops = {"input.1": "Neg", "a b": "Abs", "1": "Not", "n": "Identity", "u": "Identity"}
    nodes = [helper.make_node(op, [name], [f"{name}/out:0"]) for name, op in ops.items()]
    nodes.append(helper.make_node("StringConcat", ["/t:0", "mark"], ["/t:0/out:0"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, ["N", 2]) for name, kind in dtypes.items()],
        [helper.make_tensor_value_info(f"{name}/out:0", kind, ["N", 2]) for name, kind in dtypes.items()],
        [helper.make_tensor("mark", types.STRING, [1], [b"!"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, folder / "m.onnx")
    arrays = {
        "input.1": np.array([[0, np.nan], [np.inf, -np.inf], [1e-42, 3.4e38], [1, 2]], np.float32),
        "a b": np.array([[-1, 2], [np.nan, 65504], [-6e-8, 0], [1, 2]], np.float16),
        "/t:0": np.array([["", "zö"], ["日本", " "], ["x" * 99, '"'], ["\\", "\n"]]),
        "1": np.array([[True, False]] * 4),
        "n": np.array([[2**63 - 1, -(2**63)]] * 4),
        "u": np.array([[0, 255]] * 4, np.uint8),
    }
    np.savez(folder / "s.npz", **arrays)
    return write_spec(folder, "onnx", "m.onnx", "samples: s.npz\n")


@pytest.fixture(scope="module")
def columns_model(tmp_path_factory):
    """A pipeline over a data frame's columns, numbers of two dtypes and texts, some cells empty."""
    pd = pytest.importorskip("pandas")
    joblib = pytest.importorskip("joblib")
    from sklearn import compose, impute, linear_model, pipeline, preprocessing

    folder = tmp_path_factory.mktemp("columns")
    frame = pd.DataFrame(
        {"age": np.arange(60), "net income": GENERATOR.normal(3, 1, 60), "city": ["Köln", "Bonn", "X"] * 20}
    )
    frame.loc[::7, "net income"] = np.nan
    truth = np.where(frame["age"] > 25, "yes", "no")
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    texts = preprocessing.OneHotEncoder(handle_unknown="ignore")
    parts = compose.ColumnTransformer([("n", numbers, ["age", "net income"]), ("t", texts, ["city"])])
    fitted = pipeline.make_pipeline(parts, linear_model.LogisticRegression()).fit(frame, truth)
    joblib.dump(fitted, folder / "m.joblib")
    frame.assign(target=truth).to_parquet(folder / "s.parquet")
    inputs = (
        "signature:\n  inputs:\n"
        "  - {name: city, dtype: string, shape: [-1]}\n"
        "  - {name: age, dtype: int64, shape: [-1]}\n"
        "  - {name: net income, dtype: float64, shape: [-1]}\n"
    )
    return write_spec(folder, "sklearn", "m.joblib", f"{inputs}samples: s.parquet\n")


@pytest.fixture(scope="module")
def keras_model(tmp_path_factory):
    """Two inputs, one of them looked up in a vocabulary; two heads."""
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("keras")
    keras.utils.set_random_seed(0)
    number, word = keras.Input((3,), name="num a"), keras.Input((1,), name="word", dtype="string")
    scale = keras.layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6])
    look = keras.layers.StringLookup(vocabulary=["x", "zö"], output_mode="one_hot")
    joined = keras.layers.Concatenate()([scale(number), look(word)])
    heads = [keras.layers.Dense(2, name="first")(joined), keras.layers.Dense(1, name="second")(joined)]
    keras.Model([number, word], heads).save(folder / "m.keras")
    words = np.array([["x"], ["zö"], ["?"], [""]])
    np.savez(folder / "s.npz", **{"num a": GENERATOR.normal(size=(4, 3)).astype(np.float32), "word": words})
    batching = "serving: {batching: {max_size: 8, max_delay_ms: 1}}\n"
    return write_spec(folder, "tensorflow", "m.keras", f"samples: s.npz\n{batching}")


def build(model, name, folder):
    backend = load_backend(name)
    return backend, build_artifact(backend, plan_for(backend, model), folder / "dist")


def verify(model, name, folder):
    """Serve and ask everything over every protocol; give the rows by protocol."""
    exam = prepare(model, Tolerance(atol=1e-5, rtol=1e-5))
    backend, artifact = build(model, name, folder)
    rows = examine_artifact(backend, artifact, exam, note=lambda _: None, log=None)
    assert [row.faults for row in rows] == [()] * len(rows)
    return {row.protocol: row for row in rows}


@contextmanager
def serve(model, name, folder):
    """Serve an artifact; give its endpoints."""
    backend, artifact = build(model, name, folder)
    settings = ServeSettings(host=HOST, ports=choose_ports(dict.fromkeys(backend.default_ports, 0), HOST))
    plan = backend.service(artifact, settings)
    with running(plan, HOST) as service, ExitStack() as stack:
        client = stack.enter_context(closing(backend.client(plan.endpoints["rest"])))
        service.wait_ready(client.ready)
        yield plan.endpoints


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


@pytest.mark.parametrize("name", ["bentoml", "torchserve"])
def test_odd_names_and_dtypes(onnx_model, name, tmp_path):
    assert {row.samples for row in verify(onnx_model, name, tmp_path).values()} == {4}


def test_what_rest_cannot_carry_is_said_and_asked_over_grpc(onnx_model, tmp_path):
    rows = verify(onnx_model, "tfserving", tmp_path)
    assert "cannot carry 'a b' of float16, 'a b/out:0' of float16; call this model over gRPC" in rows["rest"].skipped
    assert (rows["grpc"].samples, rows["grpc"].skipped) == (4, "")


def test_columns_on_tensorflow_serving(columns_model, tmp_path):
    rows = verify(columns_model, "tfserving", tmp_path)
    assert {(row.samples, row.argmax, row.skipped) for row in rows.values()} == {(60, 1.0, "")}
    assert {row.accuracy for row in rows.values()} == {prepare(columns_model, Tolerance(atol=0, rtol=0)).accuracy}


def test_columns_sent_by_hand(columns_model, tmp_path):
    body = {"age": [70, 18], "net income": [2.5, 3], "city": ["Köln", "nowhere"]}
    with serve(columns_model, "torchserve", tmp_path) as endpoints:
        answer = post(endpoints["rest"], body)
    assert answer["label"] == ["yes", "no"]
    assert np.allclose(np.sum(answer["probabilities"], axis=1), 1)


def test_words_looked_up_on_tensorflow_serving(keras_model, tmp_path):
    samples = load_samples(keras_model.samples.path, keras_model.served).request(0, 2)
    with serve(keras_model, "tfserving", tmp_path) as endpoints:
        columns = post(f"{endpoints['rest']}:predict", {"inputs": {n: a.tolist() for n, a in samples.items()}})
        rows = [{name: array[i].tolist() for name, array in samples.items()} for i in range(2)]
        by_row = post(f"{endpoints['rest']}:predict", {"signature_name": "serving_default", "instances": rows})
    right = prepare(keras_model, Tolerance(atol=0, rtol=0)).right
    for name in ("first", "second"):
        expected = np.concatenate([right[0][name], right[1][name]])
        np.testing.assert_allclose(columns["outputs"][name], expected, atol=1e-5)
        np.testing.assert_allclose([row[name] for row in by_row["predictions"]], expected, atol=1e-5)
