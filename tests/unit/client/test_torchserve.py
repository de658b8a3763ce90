"""How TorchServe is spoken to, call by call, with the words that its 0.12 has for errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modelport.client.arrays import write_body
from modelport.client.base import (
    ClientError,
    InvalidInput,
    ModelNotFound,
    NotReady,
    Overloaded,
    ServerError,
    Timeout,
)
from modelport.client.exchange import Lost, Reply
from modelport.client.message import read_map, read_message, write_field
from modelport.client.settings import Address, Settings
from modelport.errors import SpecError
from modelport_torchserve.client import TorchServeDialect

REST, GRPC = "http://h:8080/predictions/digits/1.2.0", "grpc://h:7070/digits/1.2.0"
HEALTHY = Reply(status=200, body=b'{\n  "status": "Healthy"\n}')
DESCRIPTION = {
    "modelport": 1,
    "name": "digits",
    "version": "1.2.0",
    "served": {"inputs": [], "outputs": [{"name": "y", "dtype": "int32", "shape": [-1]}]},
    "served_known": True,
}
NO_WORKER = (
    'Model "digits" Version 1.2.0 has no worker to serve inference request. '
    "Please use scale workers API to add workers."
)


def dialect(url=REST, **settings):
    return TorchServeDialect(Address.parse(url), Settings.parse({"retries": 0, **settings}))


def refusal(code, kind, message):
    return Reply(status=code, body=json.dumps({"code": code, "type": kind, "message": message}).encode())


def predicted(body):
    return Reply(status="OK", body=write_field(1, body))


def npz(**arrays):
    return write_body(arrays)[0]


def test_rest(talk):
    conversation = talk(dialect().predict({"x": [1]}), Reply(status=200, body=npz(y=np.ones(1, np.int8))))
    [call] = conversation.calls
    assert (call.method, call.target) == ("POST", "/predictions/digits/1.2.0")
    assert call.headers["accept"] == "application/x-npz"
    assert conversation.result["y"].dtype == np.int8


def test_grpc(talk):
    conversation = talk(dialect(GRPC).predict({"x": [1]}), predicted(npz(y=np.ones(1, np.int8))))
    [call] = conversation.calls
    assert call.target == "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
    fields = read_message(call.body)
    assert [bytes(fields[1][0]), bytes(fields[2][0])] == [b"digits", b"1.2.0"]
    assert bytes(read_map(fields[3])["body"][:2]) == b"PK"
    assert conversation.result["y"].dtype == np.int8


@pytest.mark.parametrize(
    ("url", "settings", "target"),
    [
        ("http://h/predictions/m", {}, "/predictions/m"),
        ("http://h/predictions/m", {"version": "3"}, "/predictions/m/3"),
        ("http://h/front/predictions/m", {}, "/front/predictions/m"),
        ("http://h", {"model": "m", "version": "1.0"}, "/predictions/m/1.0"),
    ],
)
def test_urls(talk, url, settings, target):
    answer = Reply(status=200, body=npz(y=np.ones(1)))
    assert talk(dialect(url, **settings).predict({"x": [1]}), answer).calls[0].target == target


@pytest.mark.parametrize("url", ["http://h:8080", "grpc://h:7070", "http://h/predictions/a/b/c", "grpc://h:1/a/b/c"])
def test_urls_that_cannot_be(url):
    with pytest.raises(SpecError, match=r"write .*pass model=|expected"):
        dialect(url)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal(404, "ModelNotFoundException", "Model not found: digits"), ModelNotFound),
        (refusal(404, "ModelVersionNotFoundException", "Model version: 9 does not exist"), ModelNotFound),
        (refusal(400, "BadRequestException", "Invalid HTTP message."), InvalidInput),
        (refusal(400, "InvalidKeyException", "Token Authentication failed. Token either incorrect"), ClientError),
        (refusal(400, "InvalidKeyException", "Token Authorization failed. Token either incorrect"), ClientError),
        (refusal(408, "RequestTimeoutException", "expired"), Timeout),
        (refusal(500, "InternalServerException", "Worker died."), ServerError),
        (refusal(503, "InternalServerException", "Prediction failed"), ServerError),
        (refusal(503, "ServiceUnavailableException", "busy"), Overloaded),
        (refusal(507, "InternalServerException", "Out of resources"), Overloaded),
        (Reply(status=400, body=b'{"error": "input \'x\' must be float32"}'), InvalidInput),
        (Reply(status=413), InvalidInput),
    ],
)
def test_errors_over_rest(talk, reply, error):
    with pytest.raises(error) as caught:
        talk(dialect().predict({"x": [1]}), reply)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        (refusal(400, "InvalidKeyException", "Token Authorization failed."), "pass token=… from its key_file.json"),
        (refusal(500, "InternalServerException", "Worker died."), r"time-out for an answer \(serving.timeout_s"),
    ],
)
def test_what_mends_an_error_is_told_with_torchserves_words(talk, reply, hint):
    with pytest.raises(ClientError, match=hint):
        talk(dialect().predict({"x": [1]}), reply)
    with pytest.raises(ClientError, match=hint):
        talk(dialect(GRPC).predict({"x": [1]}), Reply(status="INTERNAL", detail=json.loads(reply.body)["message"]))


SUFFIX = "\norg.pytorch.serve.http.InternalServerException"


@pytest.mark.parametrize(
    ("code", "detail", "error"),
    [
        ("INTERNAL", "Model not found: x\norg.pytorch.serve.archive.model.ModelNotFoundException", ModelNotFound),
        (
            "INTERNAL",
            "Model version: 9 does not exist\norg.pytorch.serve.archive.model.ModelVersionNotFoundException",
            ModelNotFound,
        ),
        ("INVALID_ARGUMENT", "input 'x' must be float32" + SUFFIX, InvalidInput),
        ("RESOURCE_EXHAUSTED", "the request has 9 bytes; this server takes at most 4" + SUFFIX, InvalidInput),
        ("UNAVAILABLE", "Prediction failed" + SUFFIX, ServerError),
        ("INTERNAL", "Worker died." + SUFFIX, ServerError),
        ("PERMISSION_DENIED", "Token Authorization failed. Token either incorrect, expired", ClientError),
    ],
)
def test_errors_over_grpc(talk, code, detail, error):
    with pytest.raises(error) as caught:
        talk(dialect(GRPC).predict({"x": [1]}), Reply(status=code, detail=detail))
    assert type(caught.value) is error
    assert caught.value.status == code
    assert str(caught.value).startswith(detail.splitlines()[0])
    assert "org.pytorch" not in str(caught.value)


def test_a_call_that_is_cut_off_over_grpc_was_too_long(talk):
    cancelled = Reply(status="CANCELLED", detail="Stream removed (RST_STREAM)")
    with pytest.raises(InvalidInput, match="longer than it takes"):
        talk(dialect(GRPC).predict({"x": np.zeros(2**18)}), cancelled)
    with pytest.raises(ServerError, match="Stream removed"):
        talk(dialect(GRPC).predict({"x": [1]}), cancelled)


@pytest.mark.parametrize(
    ("url", "reply", "unhealthy"),
    [
        (
            REST,
            refusal(503, "ServiceUnavailableException", NO_WORKER),
            Reply(status=200, body=b'{"status": "Unhealthy"}'),
        ),
        (
            GRPC,
            Reply(status="INTERNAL", detail=NO_WORKER + "\nInternalServerException.()"),
            Reply(status="OK", body=write_field(1, '{"status": "Unhealthy"}')),
        ),
    ],
)
def test_a_full_queue_is_told_from_no_worker_by_the_health(talk, url, reply, unhealthy):
    healthy = HEALTHY if url == REST else Reply(status="OK", body=write_field(1, '{"status": "Healthy"}'))
    with pytest.raises(Overloaded, match="has no worker"):
        talk(dialect(url).predict({"x": [1]}), reply, healthy)
    for answer in (unhealthy, Lost(why="refused", detail="")):
        with pytest.raises(NotReady, match="has no worker"):
            talk(dialect(url).predict({"x": [1]}), reply, answer)


@pytest.mark.parametrize(
    ("status", "error"), [("", InvalidInput), (', "status": 400', InvalidInput), (', "status": 500', ServerError)]
)
def test_a_refusal_within_a_grpc_batch(talk, status, error):
    with pytest.raises(error, match="wrong input names"):
        talk(dialect(GRPC).predict({"x": [1]}), predicted(b'{"error": "wrong input names"%s}' % status.encode()))


@pytest.mark.parametrize(
    "reply", [Reply(status="OK", body=b"\xff\xff"), predicted(b""), predicted(b"<html>"), Reply(status="OK")]
)
def test_garbage_over_grpc(talk, reply):
    with pytest.raises(ServerError):
        talk(dialect(GRPC).predict({"x": [1]}), reply)


def test_json_answers_get_the_dtypes_of_the_model(talk):
    answer = Reply(status=200, body=b'{"y": [1, 2]}')
    about = Reply(status=200, body=json.dumps(DESCRIPTION).encode())
    conversation = talk(dialect().predict({"t": ["a\0"]}), answer, about)
    assert conversation.calls[1].headers == {"describe": "True"}
    assert conversation.result["y"].dtype == np.int32


@pytest.mark.parametrize("url", [REST, GRPC])
def test_metadata_is_what_the_handler_says_of_itself(talk, url):
    body = json.dumps(DESCRIPTION).encode()
    metadata = talk(dialect(url).metadata(), Reply(status=200, body=body) if url == REST else predicted(body)).result
    assert (metadata.backend, metadata.name, metadata.version) == ("torchserve", "digits", "1.2.0")
    assert metadata.signature.outputs[0].dtype == "int32"


def test_metadata_of_a_handler_that_describes_nothing(talk):
    failed = refusal(503, "InternalServerException", "Prediction failed")
    metadata = talk(dialect().metadata(), failed, failed).result
    assert (metadata.name, metadata.version, metadata.signature) == ("digits", "1.2.0", None)
    with pytest.raises(NotReady, match="no worker"):
        talk(dialect().metadata(), refusal(500, "X", "Worker died."), refusal(500, "X", "Worker died."))


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (Reply(status=200, body=b"{}"), True),
        (refusal(503, "InternalServerException", "Prediction failed"), True),
        (refusal(503, "ServiceUnavailableException", NO_WORKER), False),
        (refusal(404, "ModelNotFoundException", "Model not found: digits"), False),
        (Lost(why="refused", detail=""), False),
        (Lost(why="late", detail=""), False),
    ],
)
def test_ready_asks_the_models_own_worker(talk, answer, ready):
    conversation = talk(dialect().ready(), answer)
    assert conversation.result is ready
    assert conversation.calls[0].target == "/predictions/digits/1.2.0"


@pytest.mark.parametrize(
    ("url", "claimed"),
    [
        (REST, True),
        (GRPC, True),
        ("grpc://h:1/m", True),
        ("grpc://h:1/m/versions/3", False),
        ("http://h", False),
        ("http://h/v1/models/m", False),
    ],
)
def test_claims(url, claimed):
    assert TorchServeDialect.claims(Address.parse(url)) is claimed


def test_it_is_recognized_by_its_health_or_its_errors(talk):
    rest, grpc, settings = Address.parse("http://h"), Address.parse("grpc://h:1/m"), Settings(retries=0)
    for own in (
        HEALTHY,
        refusal(400, "InvalidKeyException", "Token"),
        Reply(status=500, body=b'{"status": "Unhealthy"}'),
    ):
        assert talk(TorchServeDialect.recognize(rest, settings), own).result is True
    for stranger in (
        Reply(status=404, body=b'{"error": "x"}'),
        Reply(status=200, body=b"pong"),
        Reply(status=200, body=b"[]"),
    ):
        assert talk(TorchServeDialect.recognize(rest, settings), stranger).result is False
    assert talk(TorchServeDialect.recognize(grpc, settings), Reply(status="OK")).result is True
    assert talk(TorchServeDialect.recognize(grpc, settings), Reply(status="UNIMPLEMENTED")).result is False
