"""REST over real sockets: what networks and servers do to a call, in a thread and in an event loop."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from modelport.client.arrays import write_body
from modelport.client.base import InvalidInput, NotReady, Overloaded, ServerError, Timeout
from modelport.client.session import open_async_client, open_client
from modelport.errors import SpecError
from modelport_bentoml.client import BentoDialect

X = {"x": np.ones((1, 2), np.float32)}
ANSWER = write_body({"y": np.arange(3, dtype=np.int16)})[0]


def predict(url, **settings):
    with open_client(BentoDialect, url, settings) as client:
        return client.predict(X)


def predict_async(url, **settings):
    async def run():
        async with open_async_client(BentoDialect, url, settings) as client:
            return await client.predict(X)

    return asyncio.run(run())


both = pytest.mark.parametrize("call", [predict, predict_async], ids=["sync", "async"])


@both
def test_an_answer(http, call):
    server = http(lambda request: http.answer(200, ANSWER))
    outputs = call(server.url, token="t", headers={"X-Team": "a"})
    assert outputs["y"].dtype == np.int16
    [request] = server.requests
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["x-team"] == "a"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"


@both
def test_nobody_listens(free_port, call):
    with pytest.raises(NotReady, match="no connection to the server"):
        call(f"http://127.0.0.1:{free_port}")


@both
def test_an_unknown_host(call):
    with pytest.raises(NotReady):
        call("http://no-such-host.invalid:1", retries=0)


@both
def test_no_answer_in_time_and_no_second_try(http, call):
    done = threading.Event()
    server = http(lambda request: done.wait(60) and None)
    with pytest.raises(Timeout, match=r"1 s were not enough"):
        call(server.url, timeout_s=1, retries=5)
    assert not done.is_set()
    done.set()
    assert len(server.requests) == 1


@both
def test_an_answer_that_drips_does_not_outlast_the_time(http, call):
    def drip(request):
        return b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 10

    server = http(drip)
    start = time.monotonic()
    with pytest.raises(Timeout):
        call(server.url, timeout_s=0.3)
    assert time.monotonic() - start < 30


@both
def test_a_busy_server_is_asked_again(http, call):
    def respond(request):
        return http.answer(503, b'{"error": "later"}') if len(server.requests) < 3 else http.answer(200, ANSWER)

    server = http(respond)
    assert "y" in call(server.url, retries=2)
    assert len(server.requests) == 3


@both
def test_retry_after_beyond_the_time_fails_at_once(http, call):
    server = http(lambda request: http.answer(429, b'{"error": "too much"}', retry_after="60"))
    start = time.monotonic()
    with pytest.raises(Overloaded, match="too much"):
        call(server.url, timeout_s=50)
    assert time.monotonic() - start < 30
    assert len(server.requests) == 1


@both
def test_retry_after_is_waited_for(http, call):
    def respond(request):
        first = len(server.requests) == 1
        return http.answer(503, b"", retry_after="0.4") if first else http.answer(200, ANSWER)

    server = http(respond)
    start = time.monotonic()
    call(server.url)
    assert time.monotonic() - start >= 0.4


@both
def test_a_connection_that_ends_before_the_answer_is_tried_again(http, call):
    server = http(lambda request: None if len(server.requests) < 2 else http.answer(200, ANSWER))
    assert "y" in call(server.url)
    with pytest.raises(ServerError, match="closed the connection without an answer"):
        call(http(lambda request: None).url)


@both
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 X\r\ncontent-length: 500\r\n\r\nPK",
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\n\r\nnot gzip at all",
    ],
)
def test_broken_answers(http, call, data):
    server = http(lambda request: data)
    server.close_after = True
    with pytest.raises(ServerError, match=r"broken|without an answer"):
        call(server.url, timeout_s=60)


@both
@pytest.mark.parametrize("body", [b"", b"<html>", ANSWER[:-40], b'{"y": [1'])
def test_answers_that_are_no_tensors(http, call, body):
    server = http(lambda request: http.answer(200, body))
    with pytest.raises(ServerError, match="no such server answers"):
        call(server.url)


@both
def test_a_redirect_is_no_answer(http, call):
    server = http(lambda request: http.answer(302, b"", location="http://elsewhere/"))
    with pytest.raises(ServerError, match="HTTP 302"):
        call(server.url)


def test_connections_are_kept_and_a_lost_one_is_replaced(http):
    server = http(lambda request: http.answer(200, ANSWER))
    with open_client(BentoDialect, server.url, {}) as client:
        for _ in range(5):
            client.predict(X)
        assert {request.connection for request in server.requests} == {1}
        server.reset()
        client.predict(X)
        assert server.requests[-1].connection == 2


def test_many_threads_share_a_client(http):
    def respond(request):
        from modelport.client.arrays import read_body
        from modelport.client.exchange import Reply

        return http.answer(200, write_body(read_body(Reply(status=200, body=request.body)))[0])

    server = http(respond)
    wrong = []
    with open_client(BentoDialect, server.url, {}) as client:

        def work(number):
            answers = [client.predict({"x": np.full(5, number)})["x"].tolist() for _ in range(10)]
            wrong.extend(answer for answer in answers if answer != [number] * 5)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not wrong
    assert len(server.requests) == 80


def test_many_calls_at_once_in_an_event_loop(http):
    all_there = threading.Barrier(10, timeout=60)

    def respond(request):
        if request.method == "POST":
            all_there.wait()
        return http.answer(200, ANSWER)

    server = http(respond)

    async def run():
        async with open_async_client(BentoDialect, server.url, {"timeout_s": 60}) as client:
            await asyncio.gather(*(client.predict(X) for _ in range(10)))
            return await client.ready(), client.backend, client.url

    assert asyncio.run(run()) == (True, "bentoml", server.url)


def test_a_cancelled_call_leaves_the_client_usable(http):
    asked, cancelled = threading.Event(), threading.Event()

    def respond(request):
        if not asked.is_set():
            asked.set()
            cancelled.wait(60)
        return http.answer(200, ANSWER)

    server = http(respond)

    async def run():
        async with open_async_client(BentoDialect, server.url, {"timeout_s": 60}) as client:
            task = asyncio.create_task(client.predict(X))
            assert await asyncio.to_thread(asked.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            cancelled.set()
            return await client.predict(X)

    assert "y" in asyncio.run(run())


def test_ready_never_raises(http, free_port):
    for url in (f"http://127.0.0.1:{free_port}", http(lambda request: None).url, http(lambda r: http.answer(503)).url):
        with open_client(BentoDialect, url, {}) as client:
            assert client.ready() is False
    with open_client(BentoDialect, http(lambda request: http.answer(200)).url, {}) as client:
        assert client.ready() is True


def test_a_closed_client_says_so(http):
    client = open_client(BentoDialect, http(lambda request: http.answer(200, ANSWER)).url, {})
    client.close()
    client.close()
    with pytest.raises(SpecError, match="is closed"):
        client.predict(X)


def test_the_time_of_one_call(http):
    server = http(lambda request: time.sleep(0.5) or http.answer(200, ANSWER))
    with open_client(BentoDialect, server.url, {}) as client:
        with pytest.raises(Timeout):
            client.predict(X, timeout_s=0.1)
        assert "y" in client.predict(X, timeout_s=60)
        with pytest.raises(SpecError, match="above 0"):
            client.predict(X, timeout_s=-1)


@both
def test_a_server_that_refuses_before_it_has_read_everything(http, call):
    """A request of 40 MB meets a server that answers 413 and closes: the answer is read all the same."""
    server = http(lambda request: None)

    def refuse(connection, number):
        with connection:
            connection.recv(65536)
            connection.sendall(http.answer(413, b'{"error": "at most 16 MB"}'))
            connection.settimeout(60)
            try:
                while connection.recv(2**20):
                    pass
            except OSError:
                pass

    server._serve = refuse
    with open_client(BentoDialect, server.url, {}) as client, pytest.raises(InvalidInput, match="at most 16 MB"):
        client.predict({"x": np.zeros(5_000_000)})
