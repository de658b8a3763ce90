"""How TensorFlow Serving is spoken to, call by call."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modelport.client.base import InvalidInput, ModelNotFound, NotReady, Overloaded, ServerError
from modelport.client.exchange import Reply
from modelport.client.message import read_map, read_message, write_field, write_map
from modelport.client.settings import Address, Settings
from modelport.errors import SpecError
from modelport_tfserving.client import MAX_AGE_S, TFServingDialect
from modelport_tfserving.columns import read_column
from modelport_tfserving.wire import NUMBERS, TensorInfo, read_tensor, write_tensor

REST, GRPC = "http://h:8501/v1/models/digits", "grpc://h:8500/digits"
NAMES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
ONE = ({"x": ("float32", [-1, 2])}, {"y": ("float32", [-1])})
TWO = ({"a": ("int64", [-1]), "b/c": ("string", [-1])}, {"p": ("int64", [-1]), "q_bytes": ("string", [-1])})


def dialect(url=REST, **settings):
    return TFServingDialect(Address.parse(url), Settings.parse({"retries": 0, **settings}))


def rest_metadata(inputs, outputs, version="7"):
    def infos(tensors):
        return {
            name: {
                "dtype": NAMES.get(dtype, f"DT_{dtype.upper()}"),
                "tensor_shape": {"unknown_rank": shape is None, "dim": [{"size": str(s)} for s in shape or ()]},
            }
            for name, (dtype, shape) in tensors.items()
        }

    signature = {"inputs": infos(inputs), "outputs": infos(outputs), "method_name": "tensorflow/serving/predict"}
    raw = {
        "model_spec": {"name": "digits", "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
    return Reply(status=200, body=json.dumps(raw).encode())


def grpc_metadata(inputs, outputs):
    def infos(number, tensors):
        entries = []
        for name, (dtype, shape) in tensors.items():
            sizes = b"".join(write_field(2, write_field(1, size)) for size in shape)
            entries.append((name, write_field(2, NUMBERS[dtype]) + write_field(3, sizes)))
        return write_map(number, entries)

    signatures = write_map(1, [("serving_default", infos(1, inputs) + infos(2, outputs))])
    spec = write_field(1, "digits") + write_field(2, write_field(1, 7))
    return Reply(status="OK", body=write_field(1, spec) + write_map(2, [("signature_def", write_field(2, signatures))]))


def columns(outputs):
    return Reply(status=200, body=json.dumps({"outputs": outputs}).encode())


def states(**by_version):
    raw = [{"version": version[1:], "state": state} for version, state in by_version.items()]
    return Reply(status=200, body=json.dumps({"model_version_status": raw}).encode())


def missing():
    return Reply(status=404, body=b'{"error": "Servable not found for request: Latest(digits)"}')


def test_rest_sends_columns_and_reads_the_dtypes_of_the_signature(talk):
    client = dialect()
    conversation = talk(client.predict({"x": [[1, 2]]}), rest_metadata(*ONE), columns([0.1, 5]))
    assert [call.target for call in conversation.calls] == [
        "/v1/models/digits/metadata",
        "/v1/models/digits:predict",
    ]
    assert json.loads(conversation.calls[1].body) == {
        "signature_name": "serving_default",
        "inputs": {"x": [[1.0, 2.0]]},
    }
    assert conversation.result["y"].dtype == np.float32
    assert conversation.result["y"].tolist() == np.array([0.1, 5], np.float32).tolist()
    again = talk(client.predict({"x": [[1, 2]]}), columns([1]))
    assert len(again.calls) == 1, "the signature is asked for once"


def test_grpc_sends_tensors_of_the_signatures_dtypes(talk):
    answer = Reply(status="OK", body=write_map(1, [("y", write_tensor(np.ones(1, np.float32)))]))
    conversation = talk(dialect(GRPC + "/versions/3").predict({"x": [[1, 2]]}), grpc_metadata(*ONE), answer)
    assert [call.target for call in conversation.calls] == [
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        "/tensorflow.serving.PredictionService/Predict",
    ]
    fields = read_message(conversation.calls[1].body)
    sent = read_tensor(read_map(fields[2])["x"])
    assert sent.dtype == np.float32
    assert bytes(read_message(fields[1][0])[2][0]) == write_field(1, 3)
    assert conversation.result["y"].dtype == np.float32


@pytest.mark.parametrize(
    ("url", "settings", "path"),
    [
        (REST, {}, "/v1/models/digits"),
        (REST + "/versions/3", {}, "/v1/models/digits/versions/3"),
        (REST + "/labels/stable one", {}, "/v1/models/digits/labels/stable%20one"),
        (REST, {"version": "3"}, "/v1/models/digits/versions/3"),
        (REST, {"version": "1.2.0"}, "/v1/models/digits/versions/1002000"),
        ("http://h", {"model": "digits"}, "/v1/models/digits"),
        ("http://h/front/v1/models/digits", {}, "/front/v1/models/digits"),
    ],
)
def test_urls(talk, url, settings, path):
    conversation = talk(dialect(url, **settings).metadata(), rest_metadata(*ONE))
    assert conversation.calls[0].target == path + "/metadata"


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("http://h:8501", {}),
        ("grpc://h:8500", {}),
        (REST + "/versions/x", {}),
        (REST + "/versions", {}),
        (REST + ":predict/a/b", {}),
        (REST, {"model": "other"}),
        (REST + "/versions/3", {"version": "4"}),
        (REST + "/labels/stable", {"version": "4"}),
        (REST, {"version": "newest"}),
    ],
)
def test_urls_that_cannot_be(url, settings):
    with pytest.raises(SpecError):
        dialect(url, **settings)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"z": [[1, 2]]}, "wrong input names"),
        ({"x": [[1, 2, 3]]}, "must have shape"),
        ({"x": [["a", "b"]]}, "must be float32, got text"),
        ({"x": np.zeros((0, 2))}, "empty batch"),
        ({"x": [[1e300, 0]]}, "does not fit"),
    ],
)
def test_wrong_inputs_are_refused_as_by_the_other_servers(talk, inputs, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        talk(dialect().predict(inputs), rest_metadata(*ONE))


def test_a_replaced_model_is_asked_again_before_an_input_is_refused(talk):
    client = dialect()
    talk(client.metadata(), rest_metadata(*ONE))
    newer = rest_metadata({"x": ("float32", [-1, 3])}, ONE[1], version="8")
    conversation = talk(client.predict({"x": [[1, 2, 3]]}), newer, columns([1]))
    assert [call.target.rpartition("/")[2] for call in conversation.calls] == ["metadata", "digits:predict"]


def test_the_signature_is_asked_for_again_after_a_while(talk):
    client = dialect()
    talk(client.metadata(), rest_metadata(*ONE))
    assert client._remembered() is not None
    object.__setattr__(client._known, "asked", client._known.asked - MAX_AGE_S)
    assert client._remembered() is None


def test_several_outputs_text_and_long_integers(talk):
    answer = columns({"p": [2**63 - 1, -5], "q_bytes": [{"b64": "/wA="}, "plain"]})
    conversation = talk(dialect().predict({"a": [2**62], "b/c": [b"\xff"]}), rest_metadata(*TWO), answer)
    sent = json.loads(conversation.calls[1].body)["inputs"]
    assert sent == {"a": [2**62], "b/c": [{"b64": "/w=="}]}
    assert conversation.result["p"].tolist() == [2**63 - 1, -5]
    assert conversation.result["q_bytes"].tolist() == [b"\xff\x00", "plain"]


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "expected"),
    [
        (3, "int32", (), 3),
        ([[1, 2.5]], "float16", (None, 2), [[1, 2.5]]),
        ([float("nan"), float("-inf")], "float32", (None,), None),
        ([2**64 - 1, 1], "uint64", (None,), [2**64 - 1, 1]),
        ([True, False], "bool", (None,), [True, False]),
        ([], "float32", (None, 10), []),
        ([], "string", (None,), []),
        ([[], []], "int8", (None, None), [[], []]),
        ("text", "string", (), "text"),
        ([[[1]]], "float64", None, [[[1]]]),
    ],
)
def test_columns_become_arrays_of_the_signature(value, dtype, shape, expected):
    array = read_column("y", value, TensorInfo(dtype=dtype, shape=shape))
    assert array.dtype == (object if dtype == "string" else dtype)
    assert shape is None or array.ndim == len(shape)
    if expected is None:
        assert np.array_equal(array, np.array(value, dtype), equal_nan=True)
    else:
        assert array.tolist() == expected


def test_every_float32_reads_back_exactly():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    array = array[np.isfinite(array)]
    shortest = "[" + ",".join(str(value) for value in array) + "]"
    back = read_column("y", json.loads(shortest), TensorInfo(dtype="float32", shape=(None,)))
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "answer",
    [
        columns([1.5]),
        columns({"p": [1]}),
        columns({"p": [0.5], "q_bytes": ["a"]}),
        columns({"p": [1], "q_bytes": [3]}),
        columns({"p": [[1], [2, 3]], "q_bytes": ["a"]}),
        columns({"p": [1], "q_bytes": [{"b64": "?"}]}),
        columns({"p": [1], "q_bytes": ["a"], "extra": [1]}),
        columns({"p": [2**64], "q_bytes": ["a"]}),
        columns({"p": None, "q_bytes": ["a"]}),
        Reply(status=200, body=b'{"predictions": [1]}'),
        Reply(status=200, body=b"[" * 100_000),
        Reply(status=200, body=b'{"outputs"'),
        Reply(status=200, body=b"[]"),
    ],
)
def test_answers_that_are_not_what_the_signature_says(talk, answer):
    with pytest.raises(ServerError):
        talk(dialect().predict({"a": [1], "b/c": ["x"]}), rest_metadata(*TWO), answer)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(status=200, body=b"{}"),
        Reply(status=200, body=b"no"),
        Reply(status=200, body=b'{"model_spec": 1, "metadata": 2}'),
    ],
)
def test_metadata_that_cannot_be_read(talk, answer):
    with pytest.raises(ServerError, match="metadata cannot be read"):
        talk(dialect().metadata(), answer)
    with pytest.raises(ServerError, match="metadata cannot be read"):
        talk(dialect(GRPC).metadata(), Reply(status="OK", body=b"\xff"))


def test_a_model_without_the_signature(talk):
    body = json.loads(rest_metadata(*ONE).body)
    signatures = body["metadata"]["signature_def"]["signature_def"]
    signatures["train"] = signatures.pop("serving_default")
    with pytest.raises(ServerError, match="no signature 'serving_default', only train"):
        talk(dialect().metadata(), Reply(status=200, body=json.dumps(body).encode()))


def test_a_loading_model_is_not_ready_and_an_unknown_one_not_found(talk):
    with pytest.raises(NotReady, match="version 3 of 'digits' is still loading"):
        talk(dialect().predict({"x": [[1, 2]]}), missing(), states(v2="END", v3="LOADING"))
    with pytest.raises(ModelNotFound, match="Servable not found"):
        talk(dialect().predict({"x": [[1, 2]]}), missing(), states(v2="END"))
    with pytest.raises(ModelNotFound, match="Servable not found"):
        talk(dialect().predict({"x": [[1, 2]]}), missing(), missing())
    with pytest.raises(ModelNotFound):
        talk(dialect(version="2").predict({"x": [[1, 2]]}), missing(), states(v3="LOADING"))


def test_errors_keep_the_servers_sentence(talk):
    for reply, error in (
        (Reply(status=400, body=b'{"error": "bad graph"}'), InvalidInput),
        (Reply(status=503, body=b'{"error": "bad graph"}'), Overloaded),
        (Reply(status=500, body=b'{"error": "bad graph"}'), ServerError),
    ):
        with pytest.raises(error, match="bad graph"):
            talk(dialect().predict({"x": [[1, 2]]}), rest_metadata(*ONE), reply)


@pytest.mark.parametrize(
    ("url", "states_now", "ready"),
    [
        (REST, states(v1="END", v2="AVAILABLE"), True),
        (REST, states(v1="LOADING"), False),
        (REST, states(), False),
        (REST + "/versions/2", states(v1="AVAILABLE", v2="LOADING"), False),
        (REST + "/versions/1", states(v1="AVAILABLE", v2="LOADING"), True),
        (REST + "/labels/stable", rest_metadata(*ONE), True),
        (GRPC, Reply(status="OK", body=write_field(1, write_field(1, 1) + write_field(2, 30))), True),
        (GRPC, Reply(status="OK", body=write_field(1, write_field(1, 1) + write_field(2, 20))), False),
    ],
)
def test_ready_when_the_version_is_available(talk, url, states_now, ready):
    assert talk(dialect(url).ready(), states_now).result is ready


def test_metadata(talk):
    metadata = talk(dialect().metadata(), rest_metadata(*TWO)).result
    assert (metadata.backend, metadata.name, metadata.version) == ("tfserving", "digits", "7")
    assert [str(tensor) for tensor in metadata.signature.inputs] == ["a: int64[?]", "b/c: string[?]"]
    assert talk(dialect(GRPC).metadata(), grpc_metadata(*TWO)).result == metadata


def test_tensors_of_any_rank_are_sent_but_not_declared(talk):
    about = rest_metadata({"x": ("float32", None)}, {"y": ("float32", None)})
    assert talk(dialect().metadata(), about).result.signature is None
    assert talk(dialect().predict({"x": [[1]]}), about, columns([[2]])).result["y"].tolist() == [[2]]


@pytest.mark.parametrize("dtype", ["float16", "uint16"])
def test_dtypes_that_rest_cannot_carry_are_refused_with_the_way_out(talk, dtype):
    about = rest_metadata({"x": (dtype, [-1])}, ONE[1])
    with pytest.raises(InvalidInput, match=f"cannot carry 'x' of {dtype}; call this model over gRPC"):
        talk(dialect().predict({"x": np.ones(1, dtype)}), about)


def test_dtypes_that_nobody_can_send(talk):
    with pytest.raises(InvalidInput, match="DT_COMPLEX64, which this client cannot send"):
        talk(dialect().predict({"x": [1]}), *[rest_metadata({"x": ("complex64", [-1])}, ONE[1])])


@pytest.mark.parametrize(
    ("url", "claimed"),
    [
        (REST, True),
        (GRPC, True),
        ("http://h/front/v1/models/m", True),
        ("grpc://h:1/m/versions/3", True),
        ("grpc://h:1/m/labels/x", True),
        ("grpc://h:1/m/3", False),
        ("http://h", False),
        ("http://h/predictions/m", False),
    ],
)
def test_claims(url, claimed):
    assert TFServingDialect.claims(Address.parse(url)) is claimed


def test_it_is_recognized_by_a_models_state_or_its_errors(talk):
    rest, grpc, settings = Address.parse("http://h"), Address.parse("grpc://h:1/m"), Settings(retries=0)
    malformed = Reply(status=400, body=b'{"error": "Malformed request: GET /v1/models"}')
    for own in (states(v1="AVAILABLE"), missing(), malformed):
        assert talk(TFServingDialect.recognize(rest, settings), own).result is True
    torchserve = Reply(status=404, body=b'{"code": 404, "type": "X", "message": "no"}')
    for stranger in (torchserve, Reply(status=404, body=b"Not Found"), Reply(status=200, body=b'{"name": "x"}')):
        assert talk(TFServingDialect.recognize(rest, settings), stranger).result is False
    assert talk(TFServingDialect.recognize(grpc, settings), Reply(status="NOT_FOUND")).result is True
    assert talk(TFServingDialect.recognize(grpc, settings), Reply(status="UNIMPLEMENTED")).result is False
