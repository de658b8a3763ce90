"""Steps of a spec on all three real servers, and Classify and Regress on TensorFlow Serving's."""

import json
import urllib.error
import urllib.request
from contextlib import ExitStack, closing, contextmanager

import numpy as np
import pytest

from modelport.backend import ServeSettings, load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.errors import SpecError
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport.samples import load_samples
from modelport.verify.session import Tolerance, examine_artifact, prepare

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

HOST = "127.0.0.1"
RNG = np.random.default_rng(0)

IMAGES = """
modelport: 1
name: Scene.steps
version: "1.2"
model: {framework: onnx, source: m.onnx}
labels: [cat, dög, bird, "fish / whale"]
samples: s.npz
serving: {batching: {max_size: 8, max_delay_ms: 1}}
preprocess:
  inputs:
  - {name: photo, dtype: uint8, shape: [-1, 6, 10, 3]}
  steps:
  - cast: {tensor: photo, dtype: float32}
  - resize: {tensor: photo, size: [4, 4]}
  - scale: {tensor: photo, factor: 0.00392156862745098}
  - normalize: {tensor: photo, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  - transpose: {tensor: photo, order: [0, 3, 1, 2], to: image}
postprocess:
  steps:
  - softmax: {tensor: logits, to: probabilities}
  - top_k: {tensor: probabilities, k: 2, to: scores, indices: names}
  - labels: {tensor: names}
  - argmax: {tensor: probabilities, to: class}
  - sigmoid: {tensor: danger}
  - threshold: {tensor: danger, to: warn}
  outputs: [names, scores, class, danger, warn]
backends:
  tfserving:
    signatures: {classify: {scores: scores}, regress: }
"""


def write_images_model(folder):
    """Write an ONNX model of small images, and samples of larger ones."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = {"w": RNG.normal(0, 0.3, (48, 4)), "b": RNG.normal(0, 0.1, 4), "v": RNG.normal(0, 0.2, (48, 1))}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("MatMul", ["flat", "v"], ["danger"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", kind, ["N", 3, 4, 4])],
        [
            helper.make_tensor_value_info("logits", kind, ["N", 4]),
            helper.make_tensor_value_info("danger", kind, ["N", 1]),
        ],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, folder / "m.onnx")
    np.savez(folder / "s.npz", photo=RNG.integers(0, 256, (20, 6, 10, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images_model(folder)
    (folder / "modelport.yaml").write_text(IMAGES)
    return resolve(folder / "modelport.yaml")


@pytest.fixture(scope="module")
def exam(images):
    return prepare(images, Tolerance(atol=1e-5, rtol=1e-5))


def build(model, name, folder):
    backend = load_backend(name)
    return backend, build_artifact(backend, plan_for(backend, model), folder / "dist")


@pytest.mark.parametrize("name", ["bentoml", "torchserve", "tfserving"])
def test_every_server_answers_as_the_framework_with_the_steps(images, exam, name, tmp_path):
    backend, artifact = build(images, name, tmp_path)
    rows = examine_artifact(backend, artifact, exam, note=lambda _: None, log=None)
    assert [(row.faults, row.skipped, row.samples) for row in rows] == [((), "", 20)] * len(backend.protocols)


def test_the_framework_answers_what_the_steps_say(images, exam):
    import onnxruntime

    photos = load_samples(images.samples.path, images.served).request(0, 20)["photo"]
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(photos.astype(np.float32).transpose(0, 3, 1, 2))
    small = torch.nn.functional.interpolate(tensor, size=(4, 4), mode="bilinear", align_corners=False) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    logits, danger = onnxruntime.InferenceSession(images.source).run(None, {"image": ((small - mean) / std).numpy()})
    shares, order = torch.softmax(torch.from_numpy(logits), -1).topk(2)
    right = {name: np.concatenate([answer[name] for answer in exam.right]) for name in exam.right[0]}
    assert list(right) == ["names", "scores", "class", "danger", "warn"]
    np.testing.assert_array_equal(right["names"], np.array(images.spec.labels, object)[order.numpy()])
    np.testing.assert_allclose(right["scores"], shares.numpy(), rtol=1e-4)
    np.testing.assert_array_equal(right["class"], order.numpy()[:, 0])
    np.testing.assert_allclose(right["danger"], 1 / (1 + np.exp(-danger)), rtol=1e-4)
    np.testing.assert_array_equal(right["warn"], right["danger"] >= 0.5)


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
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return json.load(error)


@pytest.fixture(scope="module")
def endpoints(images, tmp_path_factory):
    with serve(images, "tfserving", tmp_path_factory.mktemp("served")) as found:
        yield found


def test_classify_and_regress_over_rest(images, exam, endpoints):
    photos = load_samples(images.samples.path, images.served).request(0, 8)["photo"]  # the largest batch
    examples = [{"photo": photo.ravel().tolist()} for photo in photos]
    right = {name: np.concatenate([answer[name] for answer in exam.right])[:8] for name in exam.right[0]}
    answer = post(f"{endpoints['rest']}:classify", {"signature_name": "classify", "examples": examples})["results"]
    assert [[name for name, _ in row] for row in answer] == right["names"].tolist()
    np.testing.assert_allclose([[score for _, score in row] for row in answer], right["scores"], rtol=1e-5)
    answer = post(f"{endpoints['rest']}:regress", {"signature_name": "regress", "examples": examples})["results"]
    np.testing.assert_allclose(answer, right["danger"][:, 0], rtol=1e-5)


def test_an_example_that_does_not_fit_is_refused(endpoints):
    ask = f"{endpoints['rest']}:classify"
    for values in ([0] * 179, [0] * 179 + [256], [0.5] * 180):
        answer = post(ask, {"signature_name": "classify", "examples": [{"photo": values}]})
        assert "photo" in answer["error"], answer


def test_classify_regress_and_both_at_once_over_grpc(images, exam, endpoints):
    grpc = pytest.importorskip("grpc")
    from tensorflow_serving.apis import (
        classification_pb2,
        inference_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    photos = load_samples(images.samples.path, images.served).request(0, 4)["photo"]
    right = {name: np.concatenate([answer[name] for answer in exam.right])[:4] for name in exam.right[0]}
    classify, regress = classification_pb2.ClassificationRequest(), regression_pb2.RegressionRequest()
    for request, method in ((classify, "classify"), (regress, "regress")):
        request.model_spec.name, request.model_spec.signature_name = images.spec.name, method
        for photo in photos:
            example = request.input.example_list.examples.add()
            example.features.feature["photo"].int64_list.value.extend(photo.ravel().tolist())
    both = inference_pb2.MultiInferenceRequest(input=classify.input)
    for request, method in ((classify, "classify"), (regress, "regress")):
        both.tasks.add(model_spec=request.model_spec, method_name=f"tensorflow/serving/{method}")
    target = endpoints["grpc"].removeprefix("grpc://").partition("/")[0]
    with grpc.insecure_channel(target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        classes = stub.Classify(classify, timeout=30).result.classifications
        values = stub.Regress(regress, timeout=30).result.regressions
        together = stub.MultiInference(both, timeout=30).results
    assert [[entry.label for entry in row.classes] for row in classes] == right["names"].tolist()
    np.testing.assert_allclose([[e.score for e in row.classes] for row in classes], right["scores"], rtol=1e-5)
    np.testing.assert_allclose([entry.value for entry in values], right["danger"][:, 0], rtol=1e-5)
    assert together[0].classification_result.classifications[0] == classes[0]
    assert together[1].regression_result.regressions[0] == values[0]


TABLE = """
modelport: 1
name: table
version: "1"
model: {{framework: sklearn, source: m.joblib, trust: true}}
signature:
  inputs:
  - {{name: age, dtype: int32, shape: [-1]}}
  - {{name: net income, dtype: float64, shape: [-1]}}
  - {{name: city, dtype: string, shape: [-1]}}
samples: s.parquet
labels: {labels}
backends: {{tfserving: {{signatures: {{classify: {{}}}}}}}}
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A pipeline over columns of three dtypes, whose classes are the spec's labels."""
    pd = pytest.importorskip("pandas")
    joblib = pytest.importorskip("joblib")
    from sklearn import compose, linear_model, pipeline, preprocessing

    folder = tmp_path_factory.mktemp("table")
    frame = pd.DataFrame(
        {"age": np.arange(40, dtype=np.int32), "net income": RNG.normal(3, 1, 40), "city": ["Köln", "Bonn"] * 20}
    )
    parts = compose.ColumnTransformer(
        [("n", preprocessing.StandardScaler(), ["age", "net income"]), ("t", preprocessing.OneHotEncoder(), ["city"])]
    )
    truth = (frame["age"] > 20).astype(int) + (frame["age"] > 30)
    joblib.dump(pipeline.make_pipeline(parts, linear_model.LogisticRegression()).fit(frame, truth), folder / "m.joblib")
    frame.to_parquet(folder / "s.parquet")
    (folder / "modelport.yaml").write_text(TABLE.format(labels="[young, middle, old]"))
    (folder / "short.yaml").write_text(TABLE.format(labels="[young, old]"))
    return folder


def test_a_table_is_classified_without_steps(table, tmp_path):
    model = resolve(table / "modelport.yaml")
    right = prepare(model, Tolerance(atol=0, rtol=0)).right[0]
    samples = load_samples(model.samples.path, model.served).request(0, 1)
    example = {name: array.tolist() for name, array in samples.items()}
    with serve(model, "tfserving", tmp_path) as endpoints:
        answer = post(f"{endpoints['rest']}:classify", {"signature_name": "classify", "examples": [example]})["results"]
        predicted = post(f"{endpoints['rest']}:predict", {"inputs": example})["outputs"]
    assert [name for name, _ in answer[0]] == ["young", "middle", "old"]
    np.testing.assert_allclose([score for _, score in answer[0]], right["probabilities"][0], rtol=1e-5)
    np.testing.assert_allclose(predicted["probabilities"][0], right["probabilities"][0], rtol=1e-5)


def test_too_few_labels_are_refused_before_anything_is_built(table):
    with pytest.raises(SpecError, match=r"there are 2 labels, and probabilities: .* has 3 scores; give one"):
        plan_for(load_backend("tfserving"), resolve(table / "short.yaml"))
