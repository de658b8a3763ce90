"""How a Bento is spoken to, call by call."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modelport.client.arrays import write_body
from modelport.client.base import InvalidInput, ModelNotFound, Overloaded, ServerError
from modelport.client.exchange import Lost, Reply
from modelport.client.settings import Address, Settings
from modelport.errors import SpecError
from modelport_bentoml.client import BentoDialect

DESCRIPTION = {
    "modelport": 1,
    "name": "digits",
    "version": "1.2.0",
    "served": {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [-1]}],
    },
    "served_known": True,
    "a key of later": [],
}
ABOUT = Reply(status=200, body=json.dumps(DESCRIPTION).encode())


def dialect(url="http://h:3000", **settings):
    return BentoDialect(Address.parse(url), Settings.parse(settings))


def npz(**arrays):
    return Reply(status=200, body=write_body(arrays)[0])


def test_a_prediction_is_one_call_of_npz(talk):
    conversation = talk(dialect("http://h/base path").predict({"x": [[1, 2]]}), npz(y=np.ones(1, np.float16)))
    [call] = conversation.calls
    assert (call.method, call.target) == ("POST", "/base%20path/predict")
    assert call.headers == {"content-type": "application/x-npz", "accept": "application/x-npz"}
    assert call.body[:2] == b"PK"
    assert conversation.result["y"].dtype == np.float16


def test_answers_in_json_get_the_dtypes_of_the_model(talk):
    answer = Reply(status=200, body=b'{"y": [1, NaN, 0.1]}')
    conversation = talk(dialect().predict({"t": ["ends\0"]}), answer, ABOUT)
    assert [call.target for call in conversation.calls] == ["/predict", "/metadata"]
    assert conversation.calls[0].headers["accept"] == "application/json"
    assert conversation.result["y"].dtype == np.float32
    assert np.array_equal(conversation.result["y"], np.array([1, np.nan, 0.1], np.float32), equal_nan=True)


def test_json_with_other_dtypes_than_declared_is_the_servers_fault(talk):
    with pytest.raises(ServerError, match="must be float32, got text"):
        talk(dialect().predict({"x": [1]}), Reply(status=200, body=b'{"y": ["a"]}'), ABOUT)


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidInput), (413, InvalidInput), (503, Overloaded), (500, ServerError)]
)
def test_errors(talk, status, error):
    with pytest.raises(error, match="the sentence"):
        talk(dialect(retries=0).predict({"x": [1]}), Reply(status=status, body=b'{"error": "the sentence"}'))


def test_metadata(talk):
    metadata = talk(dialect().metadata(), ABOUT).result
    assert (metadata.backend, metadata.name, metadata.version) == ("bentoml", "digits", "1.2.0")
    assert metadata.signature.inputs[0].shape == (None, 2)


def test_what_nobody_declared_is_unknown(talk):
    answer = Reply(status=200, body=json.dumps({**DESCRIPTION, "served_known": False}).encode())
    assert talk(dialect().metadata(), answer).result.signature is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b"hello", json.dumps({**DESCRIPTION, "served": 3}).encode()])
def test_metadata_of_strangers(talk, body):
    with pytest.raises(ServerError):
        talk(dialect().metadata(), Reply(status=200, body=body))


def test_another_model_than_asked_for_is_refused_before_anything_is_sent(talk):
    with pytest.raises(ModelNotFound, match=r"serves digits 1\.2\.0, not letters"):
        talk(dialect(model="letters").predict({"x": [1]}), ABOUT)
    with pytest.raises(ModelNotFound, match=r"not digits 2"):
        talk(dialect(version="2").predict({"x": [1]}), ABOUT)
    right = talk(dialect(model="digits", version="1.2.0").predict({"x": [1]}), ABOUT, npz(y=np.ones(1)))
    assert right.calls[-1].target == "/predict"


def test_ready(talk):
    assert talk(dialect().ready(), Reply(status=200)).result is True
    with pytest.raises(Overloaded):
        talk(dialect().ready(), Reply(status=503))


def test_it_is_recognized_by_its_metadata(talk):
    address, settings = Address.parse("http://h"), Settings()
    assert talk(BentoDialect.recognize(address, settings), ABOUT).result is True
    for stranger in (Reply(status=404, body=b'{"error": "no"}'), Reply(status=200, body=b"<html>")):
        assert talk(BentoDialect.recognize(address, settings), stranger).result is False
    assert talk(BentoDialect.recognize(Address.parse("grpc://h:1"), settings)).result is False
    assert talk(BentoDialect.recognize(address, settings), Lost(why="closed", detail=""), ABOUT).result is True


def test_grpc_is_refused():
    with pytest.raises(SpecError, match="speaks no gRPC; write http://h:3000"):
        dialect("grpc://h:3000")
