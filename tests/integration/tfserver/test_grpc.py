"""The gRPC services of a running server, through the public stubs."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

pytestmark = pytest.mark.server


def _values(response: Any) -> dict[str, Any]:
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def test_predict_answers_with_values_and_with_who_answered(server: Any) -> None:
    response = server.predict("half_plus_two", {"x": np.float32([1, 2, 5])})
    assert list(response.outputs["y"].float_val) == [3.5, 4.0, 5.5]
    assert response.outputs["y"].tensor_content == b""
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"


def test_a_version_can_be_chosen(server: Any) -> None:
    response = server.predict("half_plus_two", {"x": np.float32([1])}, version=1)
    assert list(response.outputs["y"].float_val) == [2.5]
    assert response.model_spec.version.value == 1


_INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_SAMPLES: dict[str, list[Any]] = {
    "float16": [1.5, -0.0, np.inf, np.nan, 65504],
    "bfloat16": [1.5, -2.0, np.inf, np.nan],
    "float32": [0.1, -np.inf, np.nan, 3.4e38],
    "float64": [0.1, np.inf, np.nan, 1e308],
    "complex64": [1 + 2j, -3.5j],
    "complex128": [1 + 2j, -3.5j],
    "bool": [True, False, True],
    **{name: [0, np.iinfo(name).min, np.iinfo(name).max] for name in _INTEGERS},
}


@pytest.mark.parametrize("name", list(_SAMPLES))
@pytest.mark.parametrize("shape", [(-1, 1), (-1,), (), (0, 3)], ids=["matrix", "vector", "scalar", "empty"])
def test_every_type_comes_back_as_it_went(server: Any, name: str, shape: tuple[int, ...]) -> None:
    dtype = tf.dtypes.as_dtype(name).as_numpy_dtype
    samples = np.array(_SAMPLES[name], dtype)
    array = samples[:0].reshape(shape) if 0 in shape else samples[: None if shape else 1].reshape(shape)
    content = tf.make_tensor_proto(array)
    typed = tf.compat.v1.make_tensor_proto(array) if array.size == 1 else _as_typed_field(array, content)
    for proto in (content, typed):
        back = _values(server.predict("typed", {"value": proto}, name))["value"]
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.tobytes() == array.tobytes()


def _as_typed_field(array: Any, content: Any) -> Any:
    """The same tensor with its values in the typed field, one by one."""
    proto = tensor_pb2.TensorProto(dtype=content.dtype, tensor_shape=content.tensor_shape)
    flat = array.ravel()
    match types_pb2.DataType.Name(content.dtype):
        case "DT_HALF" | "DT_BFLOAT16":
            proto.half_val.extend(flat.view(np.uint16).tolist())
        case "DT_COMPLEX64":
            proto.scomplex_val.extend(flat.view(np.float32).tolist())
        case "DT_COMPLEX128":
            proto.dcomplex_val.extend(flat.view(np.float64).tolist())
        case kind:
            fields = {
                "DT_FLOAT": "float_val",
                "DT_DOUBLE": "double_val",
                "DT_BOOL": "bool_val",
                "DT_INT64": "int64_val",
                "DT_UINT32": "uint32_val",
                "DT_UINT64": "uint64_val",
            }
            getattr(proto, fields.get(kind, "int_val")).extend(flat.tolist())
    return proto


def test_strings_are_bytes(server: Any) -> None:
    words = ["schön".encode(), b"\x00\xff", b""]
    outputs = _values(server.predict("typed", {"value": np.array(words, object)}, "string"))
    assert outputs["value"].tolist() == words


def test_the_last_value_repeats_and_none_means_zeros(server: Any) -> None:
    shape = tf.TensorShape([2, 2]).as_proto()
    short = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape, float_val=[1, 7])
    none = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape)
    assert _values(server.predict("typed", {"value": short}, "float32"))["value"].tolist() == [[1, 7], [7, 7]]
    assert _values(server.predict("typed", {"value": none}, "float32"))["value"].tolist() == [[0, 0], [0, 0]]


def test_odd_names_and_output_filter(server: Any) -> None:
    inputs = {"a b": np.float32([[1, 2]]), "input.1": np.float32([[3, 4.5]])}
    everything = _values(server.predict("odd names", inputs))
    assert {name: value.tolist() for name, value in everything.items()} == {
        "/fc/out:0": [[4, 6.5]],
        "input.1": [[-2, -2.5]],
        "1": [[3, 9]],
    }
    assert list(_values(server.predict("odd names", inputs, output_filter=["1"]))) == ["1"]


def test_a_tensorflow_2_model(server: Any) -> None:
    outputs = _values(server.predict("functions", {"x": np.float32([[1, 2, 3], [4, 5, 6]])}))
    assert outputs["scaled"].tolist() == [[3, 6, 9], [12, 15, 18]]
    assert outputs["total"].tolist() == [6, 15]


def _wrong_size() -> Any:
    proto = tf.make_tensor_proto(np.float32([1, 2]))
    proto.tensor_shape.dim[0].size = 3
    return proto


def _wrong_rank() -> Any:
    shape = tf.TensorShape([1] * 65).as_proto()
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape, float_val=[1])


_ONES = np.float32([1])
_WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "model": ({"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    "version": ({"version": 9}, "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 9)"),
    "label": ({"label": "beta"}, "INVALID_ARGUMENT", "Unrecognized servable version label: beta"),
    "no name": ({"model": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "signature": ({"signature": "s"}, "FAILED_PRECONDITION", 'Serving signature key "s" not found.'),
    "input name": (
        {"inputs": {"z": _ONES}},
        "INVALID_ARGUMENT",
        (
            "Signature input alias: x(feed name: plain:0) not found in request and no default value provided. Inputs "
            "expected to be in the request {z}, or default input alias set: "
        ),
    ),
    "input count": (
        {"inputs": {"x": _ONES, "z": _ONES}},
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.",
    ),
    "output name": (
        {"output_filter": ["z"]},
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    ),
    "output twice": ({"output_filter": ["y", "y"]}, "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    "dtype": ({"inputs": {"x": np.int64([1])}}, "INVALID_ARGUMENT", "Expects arg[0] to be float but int64 is provided"),
    "cut content": ({"inputs": {"x": _wrong_size()}}, "INVALID_ARGUMENT", "tensor parsing error: x"),
    "too many dimensions": (
        {"inputs": {"x": _wrong_rank()}},
        "INVALID_ARGUMENT",
        "tensor parsing error: x (maximum supported dimension for an ndarray is currently 64, found 65)",
    ),
    "no dtype": ({"inputs": {"x": tensor_pb2.TensorProto()}}, "INVALID_ARGUMENT", "tensor parsing error: x"),
}


@pytest.mark.parametrize("case", list(_WRONG))
def test_wrong_requests_get_the_real_servers_codes_and_texts(server: Any, case: str) -> None:
    changes, code, text = _WRONG[case]
    arguments = {"model": "half_plus_two", "inputs": {"x": _ONES}} | changes
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(**arguments)
    assert (caught.value.code().name, caught.value.details()) == (code, text)


def test_an_input_with_a_default_may_be_left_out(server: Any) -> None:
    x, by = np.float32([1, 2]), np.float32(2)
    assert _values(server.predict("scaled", {"x": x}))["y"].tolist() == [3, 6]
    assert _values(server.predict("scaled", {"x": x, "by": by}))["y"].tolist() == [2, 4]
    assert _values(server.predict("scaled", {}, "constant"))["y"].tolist() == [1, 2]
    for inputs, text in (
        ({"by": by}, "Signature input alias: x(feed name: Placeholder:0) not found in request and no default value"),
        ({"z": by}, "Signature input alias: x(feed name: Placeholder:0) not found in request and no default value"),
        ({"x": x, "z": by}, "Inputs contains invalid name. Used request inputs: x, request input: x,z"),
        ({"x": x, "by": by, "z": by}, "input size does not match signature: 3!=2 len({by,x,z}) != len({by,x})."),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            server.predict("scaled", inputs)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details().startswith(text)


@pytest.mark.parametrize(
    ("method", "request_class"),
    [
        ("Predict", predict_pb2.PredictRequest),
        ("Classify", classification_pb2.ClassificationRequest),
        ("Regress", regression_pb2.RegressionRequest),
        ("GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest),
        ("GetModelStatus", get_model_status_pb2.GetModelStatusRequest),
    ],
)
def test_a_request_must_name_a_model(server: Any, method: str, request_class: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.call(method, request_class())
    assert (caught.value.code().name, caught.value.details()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_a_faulty_run_is_answered_and_leaves_the_server_well(server: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("adder", {"left": np.int64([1, 2]), "right": np.int64([1, 2, 3])})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Incompatible shapes" in caught.value.details()
    assert _values(server.predict("adder", {"left": np.int64([1]), "right": np.int64([2])}))["sum"].tolist() == [3]


def test_what_only_xla_could_run_is_refused(server: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("functions", {"x": _ONES}, "compiled")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details().startswith("XLA compilation disabled")


def test_a_deadline_ends_a_long_run(server: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("slow", {"rounds": np.int32(10**7)}, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.predict("slow", {"rounds": np.int32(0)}, timeout=20).outputs["trace"].float_val


def _examples(*values: float) -> list[Any]:
    examples = []
    for value in values:
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.append(value)
        examples.append(example)
    return examples


def test_classify_regress_and_both_at_once(server: Any) -> None:
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name = "half_plus_two"
    regress.model_spec.signature_name = "regress_x_to_y"
    regress.input.example_list.examples.extend(_examples(1, 2))
    answer = server.call("Regress", regress)
    assert [entry.value for entry in answer.result.regressions] == [3.5, 4.0]
    assert answer.model_spec.version.value == 2

    classify = classification_pb2.ClassificationRequest(model_spec=regress.model_spec, input=regress.input)
    classify.model_spec.signature_name = "classify_x_to_y"
    classes = server.call("Classify", classify).result.classifications[1].classes
    assert [(entry.label, entry.score) for entry in classes] == [("low", 4.0), ("high", 8.0)]

    both = inference_pb2.MultiInferenceRequest(input=regress.input)
    both.tasks.add(model_spec=classify.model_spec, method_name="tensorflow/serving/classify")
    both.tasks.add(model_spec=regress.model_spec, method_name="tensorflow/serving/regress")
    results = server.call("MultiInference", both).results
    assert results[0].classification_result.classifications[0].classes[0].score == 3.5
    assert results[1].regression_result.regressions[1].value == 4.0


def test_a_context_fills_what_an_example_leaves_out(server: Any) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "regress_x_to_y"
    request.input.example_list_with_context.context.CopyFrom(_examples(10)[0])
    request.input.example_list_with_context.examples.extend([tf.train.Example(), *_examples(2)])
    assert [entry.value for entry in server.call("Regress", request).result.regressions] == [8.0, 4.0]


@pytest.mark.parametrize(
    ("signature", "examples", "text"),
    [
        ("nope", [1], "No signature was found with the name: nope"),
        ("regress_x_to_y", [], "Input is empty."),
        ("serving_default", [1], "No regression inputs found in SignatureDef"),
    ],
)
def test_wrong_regressions(server: Any, signature: str, examples: list[float], text: str) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend(_examples(*examples))
    with pytest.raises(grpc.RpcError) as caught:
        server.call("Regress", request)
    expected = "FAILED_PRECONDITION" if "SignatureDef" in text else "INVALID_ARGUMENT"
    assert caught.value.code().name == expected
    assert text in caught.value.details() or "Expected one output" in caught.value.details()


def test_metadata_is_the_signatures(server: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "odd names"
    response = server.call("GetModelMetadata", request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert sorted(signature.inputs) == ["a b", "input.1"]
    assert sorted(signature.outputs) == ["/fc/out:0", "1", "input.1"]
    assert response.model_spec.version.value == 1


@pytest.mark.parametrize("fields", [[], ["signature"], ["signature_def", "other"]])
def test_metadata_knows_one_field(server: Any, fields: list[str]) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "adder"
    with pytest.raises(grpc.RpcError) as caught:
        server.call("GetModelMetadata", request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_status_lists_versions_the_highest_first(server: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"
    entries = server.call("GetModelStatus", request).model_version_status
    assert [(entry.version, entry.state, entry.status.error_code) for entry in entries] == [(2, 30, 0), (1, 30, 0)]
    request.model_spec.version.value = 1
    assert len(server.call("GetModelStatus", request).model_version_status) == 1
    request.model_spec.version.value = 3
    with pytest.raises(grpc.RpcError) as caught:
        server.call("GetModelStatus", request)
    assert caught.value.details() == "Could not find version 3 of model half_plus_two"


def test_a_message_of_tens_of_megabytes_passes(server: Any) -> None:
    array = np.arange(8_000_000, dtype=np.float32)
    back = _values(server.predict("typed", {"value": array}, "float32"))["value"]
    assert np.array_equal(back, array)


def test_the_health_service_is_there_when_asked_for(server: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=20) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x01x", timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_garbage_is_no_crash(server: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError):
            predict(b"\xff" * 100, timeout=20)
    assert predict_pb2.PredictResponse.FromString(
        server.predict("half_plus_two", {"x": _ONES}).SerializeToString()
    ).outputs
