"""Steps in a SavedModel answer as steps in numpy do; a SavedModel keeps what it had."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")

from modelport.convert.graph_ends import Ends, ExampleSignature, add_ends  # noqa: E402  # what skips comes first
from modelport.errors import ConversionError  # noqa: E402
from modelport_runtime.signature import Signature, TensorSpec  # noqa: E402
from modelport_runtime.steps import Pipeline  # noqa: E402

NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(0)


def spec_of(name, array):
    dtype = "string" if array.dtype.kind == "O" else array.dtype.name
    return TensorSpec(name=name, dtype=dtype, shape=(None, *array.shape[1:]))


def write_identity(folder, tensors):
    """Write a model that gives its inputs, with everything about their shapes forgotten inside."""
    from modelport.convert.onnx_to_tf.saved_model import write_graph
    from modelport.convert.onnx_to_tf.weights import Weights

    graph = tf.Graph()
    with graph.as_default():
        inputs = {t.name: tf.compat.v1.placeholder(t.dtype, None, "x") for t in tensors}
        outputs = {name: tf.identity(tensor, "y") for name, tensor in inputs.items()}
        write_graph(graph, folder, inputs=inputs, outputs=outputs, weights=Weights(graph, 0))
    return folder


def load(folder, signature="serving_default"):
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures[signature]

    def call(**inputs):
        assert loaded is not None  # it owns the variables
        return {name: t.numpy() for name, t in function(**{n: tf.constant(a) for n, a in inputs.items()}).items()}

    return call


@pytest.fixture
def in_graph(tmp_path, plan_steps):
    """Put steps behind a model; give the SavedModel as a function, and the steps by numpy."""

    def build(raw, tensors):
        steps, outputs = plan_steps(raw, tensors)
        model = Signature(inputs=tuple(tensors), outputs=tuple(tensors))
        served = Signature(inputs=tuple(tensors), outputs=outputs)
        ends = Ends(preprocess=(), postprocess=steps, model=model, served=served, examples=())
        add_ends(write_identity(tmp_path / "bare", tensors), tmp_path / "done", ends)
        return load(tmp_path / "done"), Pipeline(steps=steps, names=tuple(t.name for t in outputs))

    return build


@pytest.fixture
def both(in_graph):
    """Run steps in a SavedModel and by numpy; give both answers."""

    def run(raw, arrays, tensors=None):
        call, pipeline = in_graph(raw, tensors or [spec_of(name, array) for name, array in arrays.items()])
        return call(**arrays), pipeline(arrays)

    return run


def compare(found, right, rtol=0.0):
    assert found.keys() == right.keys()
    for name, array in right.items():
        got = found[name]
        if array.dtype == object:
            assert [text.decode() for text in got.ravel()] == array.ravel().tolist(), name
            assert got.shape == array.shape
            continue
        assert got.dtype == array.dtype, name
        np.testing.assert_allclose(got, array, rtol=rtol, atol=0, err_msg=name)


SPECIAL = [0.0, -0.0, 1.0, 1.0, -1.0, 3.0, 3.0, NAN, INF, -INF, 65504.0, 6e-8]
DTYPES = ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores(both, dtype):
    rows = np.stack([RNG.permutation(SPECIAL) for _ in range(40)] + [RNG.normal(0, 3, 12) for _ in range(40)])
    rows[0], rows[1], rows[2] = 2, NAN, -INF
    raw = [
        {"argmax": {"tensor": "x", "to": "best"}},
        {"top_k": {"tensor": "x", "to": "values", "k": 5, "indices": "places"}},
        {"threshold": {"tensor": "x", "to": "over", "at": 0.1}},
        {"labels": {"tensor": "over", "names": ["no", "ja ✓"]}},
        {"softmax": {"tensor": "x", "to": "shares"}},
        {"sigmoid": {"tensor": "x", "to": "each"}},
    ]
    found, right = both(raw, {"x": rows.astype(dtype)})
    compare(found, right, rtol={"float16": 2e-3, "float32": 2e-6, "float64": 1e-12}[dtype])
    for name in ("best", "places"):
        np.testing.assert_array_equal(found[name], right[name])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_are_ordered_and_cast(both, dtype):
    limits = np.iinfo(dtype)
    x = np.array([[limits.min, limits.max, 1, 1, limits.max, 0], [3, 2, 1, 0, 1, 2]], dtype)
    raw = [
        {"argmax": {"tensor": "x", "to": "best"}},
        {"top_k": {"tensor": "x", "to": "values", "k": 6, "indices": "places"}},
        {"argmax": {"tensor": "x", "to": "column", "axis": 1}},
        *({"cast": {"tensor": "x", "to": kind, "dtype": kind}} for kind in DTYPES),
    ]
    compare(*both(raw, {"x": x}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers(both, dtype):
    x = RNG.normal(0, 3, (5, 3, 4, 2)).astype(dtype)
    x.flat[:4] = NAN, INF, -INF, -0.0
    raw = [
        {"scale": {"tensor": "x", "to": "scaled", "factor": 0.1, "offset": 0.3}},
        {"normalize": {"tensor": "x", "to": "normal", "mean": [0.1, 2], "std": [0.3, 4]}},
        {"normalize": {"tensor": "x", "to": "middle", "mean": [0.1, 2, 3], "std": [0.3], "axis": 1}},
        {"transpose": {"tensor": "x", "to": "turned", "order": [0, 3, 1, 2]}},
        {"softmax": {"tensor": "x", "to": "inner", "axis": 2}},
        {"argmax": {"tensor": "x", "to": "best", "axis": 2}},
        *({"cast": {"tensor": "x", "to": kind, "dtype": kind}} for kind in DTYPES),
    ]
    compare(*both(raw, {"x": x}), rtol={"float16": 2e-3, "float32": 1e-6, "float64": 1e-12}[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_images(both, dtype):
    x = RNG.normal(0, 3, (2, 6, 9, 3)).astype(dtype)
    raw = [
        {"resize": {"tensor": "x", "to": f"{method}{size}", "size": size, "method": method}}
        for method in ("bilinear", "nearest")
        for size in ([5, 7], [1, 1], [13, 2], [6, 9])
    ]
    raw.append({"resize": {"tensor": "x", "to": "first", "size": [4, 8], "layout": "nchw"}})
    compare(*both(raw, {"x": x}), rtol={"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}[dtype])


def test_images_of_any_size(both):
    tensors = [TensorSpec(name="x", dtype="uint8", shape=(None, None, None, 1))]
    raw = [
        {"resize": {"tensor": "x", "to": "near", "size": [3, 4], "method": "nearest"}},
        {"cast": {"tensor": "x", "dtype": "float32"}},
        {"resize": {"tensor": "x", "size": [3, 4]}},
    ]
    found, right = both(raw, {"x": RNG.integers(0, 256, (2, 5, 11, 1), np.uint8)}, tensors)
    compare(found, right, rtol=1e-6)


def test_an_empty_batch(both):
    raw = [
        {"softmax": {"tensor": "x"}},
        {"top_k": {"tensor": "x", "k": 2, "indices": "places"}},
        {"labels": {"tensor": "places"}},
    ]
    compare(*both(raw, {"x": np.zeros((0, 3), np.float32)}))


def test_odd_names_and_text(both):
    arrays = {"a b/c:0": RNG.normal(0, 1, (2, 3)).astype("float32"), "1": np.array([["x", "zö"], ["", "\n"]], object)}
    raw = [{"argmax": {"tensor": "a b/c:0"}}, {"labels": {"tensor": "a b/c:0"}}, {"rename": {"tensor": "1", "to": "/"}}]
    compare(*both(raw, arrays))


@pytest.mark.parametrize("number", [-1, 3])
def test_a_class_without_a_name_is_an_error(in_graph, number):
    call, _ = in_graph([{"labels": {"tensor": "n"}}], [TensorSpec(name="n", dtype="int32", shape=(None,))])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{number} is not in"):
        call(n=np.array([0, number], np.int32))


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_an_image_without_pixels_is_an_error(in_graph, method):
    tensor = TensorSpec(name="x", dtype="float32", shape=(None, None, 2, 1))
    call, _ = in_graph([{"resize": {"tensor": "x", "size": [3, 4], "method": method}}], [tensor])
    assert call(x=np.ones((1, 1, 2, 1), np.float32))["x"].shape == (1, 3, 4, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not in"):
        call(x=np.ones((1, 0, 2, 1), np.float32))


@pytest.fixture
def saved_by_tensorflow(tmp_path):
    """A model as TensorFlow 2 saves it: variables, functions, a second signature."""

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(RNG.normal(0, 1, (4, 3)).astype("float32"))
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0, 1, 2], [5.0, 6.0, 7.0]), -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def __call__(self, x):
            y = x @ self.w
            return {"logits": y, "extra": self.table.lookup(tf.argmax(y, -1, tf.int32))}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def twice(self, x):
            return {"double": 2 * x}

    model = Model()
    signatures = {"serving_default": model.__call__, "twice": model.twice}
    tf.saved_model.save(model, str(tmp_path / "source"), signatures=signatures)
    (tmp_path / "source" / "assets.extra").mkdir(exist_ok=True)
    return model, tmp_path / "source"


MODEL = Signature(
    inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 4)),),
    outputs=(
        TensorSpec(name="logits", dtype="float32", shape=(None, 3)),
        TensorSpec(name="extra", dtype="float32", shape=(None,)),
    ),
)


def test_a_model_of_tensorflow_keeps_its_variables_tables_and_signatures(saved_by_tensorflow, tmp_path, plan_steps):
    model, source = saved_by_tensorflow
    x = RNG.integers(0, 256, (5, 4)).astype(np.uint8)
    before, _ = plan_steps(
        [
            {"cast": {"tensor": "pixels", "dtype": "float32"}},
            {"scale": {"tensor": "pixels", "factor": 0.01, "to": "x"}},
        ],
        [TensorSpec(name="pixels", dtype="uint8", shape=(None, 4))],
    )
    behind, outputs = plan_steps(
        [{"softmax": {"tensor": "logits", "to": "shares"}}, {"top_k": {"tensor": "logits", "k": 3, "indices": "i"}},
         {"labels": {"tensor": "i"}}],
        MODEL.outputs,
        outputs=["i", "shares", "extra"],
    )  # fmt: skip
    served = Signature(inputs=(TensorSpec(name="pixels", dtype="uint8", shape=(None, 4)),), outputs=outputs)
    signatures = (
        ExampleSignature(method="classify", outputs={"classes": "i", "scores": "shares"}),
        ExampleSignature(method="regress", outputs={"outputs": "extra"}),
    )
    ends = Ends(preprocess=before, postprocess=behind, model=MODEL, served=served, examples=signatures)
    add_ends(source, tmp_path / "done", ends)
    right = model(x.astype("float32") * np.float32(0.01))
    found = load(tmp_path / "done")(pixels=x)
    np.testing.assert_allclose(found["shares"], tf.nn.softmax(right["logits"]), rtol=1e-5)
    np.testing.assert_allclose(found["extra"], right["extra"])
    order = np.argsort(-right["logits"].numpy(), axis=-1)
    names = np.array([b"cat", b"dog", b"bird"], object)[order]
    np.testing.assert_array_equal(found["i"], names)
    np.testing.assert_allclose(load(tmp_path / "done", "twice")(x=np.ones((1, 4), np.float32))["double"], 2)
    examples = np.array([example(pixels=row.tolist()) for row in x], object)
    classified = load(tmp_path / "done", "classify")(inputs=examples)
    np.testing.assert_array_equal(classified["classes"], names)
    np.testing.assert_allclose(classified["scores"], found["shares"])
    np.testing.assert_allclose(load(tmp_path / "done", "regress")(inputs=examples)["outputs"], found["extra"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="pixels: holds integers that do not fit into uint8"):
        load(tmp_path / "done", "classify")(inputs=np.array([example(pixels=[0, 1, 2, 256])], object))


def example(**features):
    """Serialize a tf.Example of integers or floats."""
    made = tf.train.Example()
    for name, values in features.items():
        feature = made.features.feature[name]
        target = feature.int64_list if isinstance(values[0], int) else feature.float_list
        target.value.extend(values)
    return made.SerializeToString()


def test_the_same_steps_give_the_same_bytes(saved_by_tensorflow, tmp_path, plan_steps):
    _, source = saved_by_tensorflow
    steps, outputs = plan_steps([{"softmax": {"tensor": "logits"}}], MODEL.outputs)
    served = Signature(inputs=MODEL.inputs, outputs=outputs)
    classify = (ExampleSignature(method="classify", outputs={"scores": "logits"}, labels=("a", "b", "c")),)
    ends = Ends(preprocess=(), postprocess=steps, model=MODEL, served=served, examples=classify)
    for name in ("one", "two"):
        add_ends(source, tmp_path / name, ends)
    one, two = ((tmp_path / name / "saved_model.pb").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_signature_that_is_there_is_not_replaced(saved_by_tensorflow, tmp_path):
    _, source = saved_by_tensorflow
    examples = (ExampleSignature(method="classify", outputs={"scores": "logits"}),)
    ends = Ends(preprocess=(), postprocess=(), model=MODEL, served=MODEL, examples=examples)
    add_ends(source, tmp_path / "one", ends)
    with pytest.raises(ConversionError, match="already has a signature 'classify'"):
        add_ends(tmp_path / "one", tmp_path / "two", ends)
    examples = (ExampleSignature(method="regress", outputs={"outputs": "extra"}),)
    with pytest.raises(ConversionError, match="no placeholder but in the middle of its graph"):
        add_ends(tmp_path / "one", tmp_path / "three", replace(ends, examples=examples))
