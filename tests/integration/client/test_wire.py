"""Our messages against TensorFlow's own classes, in both directions."""

from __future__ import annotations

import numpy as np
import pytest

from modelport_tfserving import wire

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def theirs():
    reason = "needs the extra: pip install 'modelport[tfserving]'"
    tensorflow = pytest.importorskip("tensorflow", reason=reason)
    pytest.importorskip("tensorflow_serving.apis.predict_pb2", reason=reason)
    from tensorflow.core.framework import tensor_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    class Theirs:
        tf, tensor = tensorflow, tensor_pb2
        metadata, status, predict = get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    return Theirs


ARRAYS = {
    **{
        f"{dtype} {shape}": (np.arange(6).reshape(shape) - (0 if "u" in dtype or dtype == "bool" else 3)).astype(dtype)
        for dtype in wire.NUMBERS
        if dtype != "string"
        for shape in ((6,), (2, 3))
    },
    "float32 nan": np.array([np.nan, np.inf, -0.0], np.float32),
    "int64 ends": np.array([2**63 - 1, -(2**63)]),
    "uint64 end": np.array([2**64 - 1], np.uint64),
    "scalar": np.array(3, np.int32),
    "empty": np.zeros((0, 4), np.float32),
    "text": np.array([["a", "zwölf"], ["", "x"]], object),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_tensors(theirs, array):
    tf = theirs.tf
    given = tf.make_tensor_proto(array, dtype=tf.string if array.dtype == object else array.dtype)
    for proto in (given, theirs.tensor.TensorProto.FromString(wire.write_tensor(array))):
        made = tf.make_ndarray(proto)
        expected = np.char.encode(array.astype(str), "utf-8") if array.dtype == object else array
        assert made.shape == array.shape
        assert np.array_equal(made.astype(expected.dtype), expected, equal_nan=array.dtype.kind == "f")
        back = wire.read_tensor(proto.SerializeToString())
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.tolist() == array.tolist() or np.array_equal(back, array, equal_nan=True)


def test_requests(theirs):
    spec = wire.write_spec("m", 3, None, "serving_default")
    request = theirs.predict.PredictRequest.FromString(
        wire.write_predict_request(spec, {"a/b": np.ones((1, 2), np.float32)})
    )
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 3)
    assert request.model_spec.signature_name == "serving_default"
    assert theirs.tf.make_ndarray(request.inputs["a/b"]).tolist() == [[1, 1]]
    about = theirs.metadata.GetModelMetadataRequest.FromString(
        wire.write_metadata_request(wire.write_spec("m", label="stable"))
    )
    assert about.model_spec.version_label == "stable"
    assert list(about.metadata_field) == ["signature_def"]
    status = theirs.status.GetModelStatusRequest.FromString(wire.write_status_request("m"))
    assert status.model_spec.name == "m"
    assert status.model_spec.WhichOneof("version_choice") is None


def test_answers(theirs):
    response = theirs.predict.PredictResponse()
    response.outputs["y"].CopyFrom(theirs.tf.make_tensor_proto([1, 2], theirs.tf.int64))
    assert wire.read_predict_response(response.SerializeToString())["y"].tolist() == [1, 2]

    about = theirs.metadata.GetModelMetadataResponse()
    about.model_spec.version.value = 7
    signatures = theirs.metadata.SignatureDefMap()
    info = signatures.signature_def["serving_default"].inputs["x y"]
    info.dtype = theirs.tf.float16.as_datatype_enum
    for size in (-1, 4):
        info.tensor_shape.dim.add().size = size
    signatures.signature_def["serving_default"].outputs["any"].tensor_shape.unknown_rank = True
    about.metadata["signature_def"].Pack(signatures)
    version, read = wire.read_metadata_response(about.SerializeToString())
    assert version == "7"
    assert read["serving_default"]["inputs"] == {"x y": wire.TensorInfo(dtype="float16", shape=(None, 4))}
    assert read["serving_default"]["outputs"]["any"].shape is None

    states = theirs.status.GetModelStatusResponse()
    for version_number, state in ((1, "END"), (2, "AVAILABLE")):
        entry = states.model_version_status.add()
        entry.version, entry.state = version_number, theirs.status.ModelVersionStatus.State.Value(state)
    assert wire.read_states(states.SerializeToString()) == {1: 50, 2: 30}
