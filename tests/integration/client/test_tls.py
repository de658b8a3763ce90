"""Servers that speak TLS, with a certificate that this machine's authorities have not signed."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest

import modelport
from modelport.client.base import ClientError
from modelport.client.message import write_field
from modelport_runtime.codec import NPZ, encode

ANSWER = encode({"y": np.ones(2)}, NPZ)


@pytest.fixture(scope="module")
def certificate(self_signed, tmp_path_factory):
    """Give the files of a key and of its own certificate, for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    for name, content in zip(("key.pem", "certificate.pem"), self_signed, strict=True):
        (folder / name).write_bytes(content)
    return folder / "key.pem", folder / "certificate.pem"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", NPZ)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *args):
        pass


class AnsweringRpc(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: bytes(write_field(1, ANSWER)))


@pytest.fixture(scope="module")
def rest_url(certificate):
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/predictions/digits"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def grpc_url(certificate):
    key, chain = certificate
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((AnsweringRpc(),))
        secret = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
        # Not localhost: that is two addresses, and a port that is free on the first may be somebody's on the second.
        port = server.add_secure_port("127.0.0.1:0", secret)
        server.start()
        yield f"grpcs://127.0.0.1:{port}/digits"
        server.stop(None).wait(10)


@pytest.fixture(params=["rest_url", "grpc_url"])
def url(request):
    return request.getfixturevalue(request.param)


def ask(url, **settings):
    with modelport.connect(url, backend="torchserve", timeout_s=60, **settings) as client:
        return client.predict({"x": [1]})["y"].tolist()


async def ask_awaited(url, **settings):
    async with await modelport.connect_async(url, backend="torchserve", timeout_s=60, **settings) as client:
        return (await client.predict({"x": [1]}))["y"].tolist()


def test_a_certificate_that_is_named_is_trusted(url, certificate):
    assert ask(url, verify_tls=str(certificate[1])) == [1.0, 1.0]
    assert asyncio.run(ask_awaited(url, verify_tls=str(certificate[1]))) == [1.0, 1.0]


def test_a_certificate_that_nobody_signed_is_refused_with_the_way_out(url):
    said = r"certificate is not trusted: .*verify_tls=… names a file of certificates to check it with"
    with pytest.raises(ClientError, match=said) as caught:
        ask(url)
    assert type(caught.value) is ClientError
    with pytest.raises(ClientError, match=said):
        asyncio.run(ask_awaited(url))


def test_the_check_can_be_left_out_over_rest(rest_url):
    assert ask(rest_url, verify_tls=False) == [1.0, 1.0]
