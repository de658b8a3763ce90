"""Statuses and codes to errors, with the server's own sentence."""

from __future__ import annotations

import pytest

from modelport.client.base import (
    ClientError,
    InvalidInput,
    ModelNotFound,
    NotReady,
    Overloaded,
    ServerError,
    Timeout,
)
from modelport.client.exchange import Reply
from modelport.client.judging import judge


@pytest.mark.parametrize(
    ("status", "error", "retry"),
    [
        (400, InvalidInput, False),
        (401, ClientError, False),
        (403, ClientError, False),
        (404, ModelNotFound, False),
        (405, ServerError, False),
        (408, Timeout, False),
        (413, InvalidInput, False),
        (429, Overloaded, True),
        (500, ServerError, False),
        (502, ServerError, False),
        (503, Overloaded, True),
        (504, Timeout, False),
        (507, Overloaded, False),
        (302, ServerError, False),
    ],
)
def test_http_statuses(status, error, retry):
    failure = judge(Reply(status=status, body=b'{"error": "the reason"}'))
    assert type(failure.error) is error
    assert failure.retry == retry
    assert failure.error.status == status
    assert str(failure.error).startswith("the reason")


@pytest.mark.parametrize(
    ("code", "detail", "error", "retry"),
    [
        ("INVALID_ARGUMENT", "wrong dtype", InvalidInput, False),
        ("FAILED_PRECONDITION", "wrong state", InvalidInput, False),
        ("UNAUTHENTICATED", "no token", ClientError, False),
        ("NOT_FOUND", "Servable not found for request: Latest(x)", ModelNotFound, False),
        ("RESOURCE_EXHAUSTED", "rate limit", Overloaded, True),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)", InvalidInput, False),
        ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full", Overloaded, True),
        ("UNAVAILABLE", "shutting down", NotReady, True),
        ("DEADLINE_EXCEEDED", "server gave up", Timeout, False),
        ("INTERNAL", "", ServerError, False),
        ("UNKNOWN", "Exception", ServerError, False),
        ("UNIMPLEMENTED", "Method not found", ServerError, False),
    ],
)
def test_grpc_codes(code, detail, error, retry):
    failure = judge(Reply(status=code, detail=detail))
    assert type(failure.error) is error
    assert failure.retry == retry
    assert failure.error.status == code
    assert detail in str(failure.error)


@pytest.mark.parametrize("status", [200, "OK"])
def test_an_answer_is_no_failure(status):
    assert judge(Reply(status=status)) is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: x"}',
            "Model not found: x (HTTP",
        ),
        (b'{"detail": "gone"}', "gone (HTTP"),
        (b"Not Found", "Not Found (HTTP"),
        (b"<html><body>nginx</body></html>", "the server gives no reason; its answer: it begins '<html>"),
        (b"", "the server gives no reason; its answer: it is empty"),
        (b"\xff\xfe\x00", "the server gives no reason"),
        (b"[" * 100_000, "the server gives no reason"),
        (b'{"error": {"deep": 1}}', '{"error": {"deep": 1}} (HTTP'),
    ],
)
def test_the_servers_own_sentence_stands_in_the_message(body, sentence):
    assert str(judge(Reply(status=500, body=body)).error).startswith(sentence)


def test_a_long_error_page_is_cut():
    assert len(str(judge(Reply(status=502, body=b"<p>" + b"x" * 10**6)).error)) < 400


def test_an_answer_of_413_without_a_word():
    assert str(judge(Reply(status=413)).error) == "the request is larger than the server takes (HTTP 413)"
