"""Which backend a URL belongs to, and in which order servers are asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from modelport.client.base import NotReady, ServerError
from modelport.client.discovery import claimants, identify
from modelport.client.exchange import Lost, Reply
from modelport.client.settings import Address, Settings
from modelport_bentoml.client import BentoDialect
from modelport_tfserving.client import TFServingDialect
from modelport_torchserve.client import TorchServeDialect

ALL = {"bentoml": BentoDialect, "tfserving": TFServingDialect, "torchserve": TorchServeDialect}


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("http://h:3000", []),
        ("https://h/some/path", []),
        ("http://h/predictions/m", ["torchserve"]),
        ("http://h/v1/models/m", ["tfserving"]),
        ("grpc://h:1", ["tfserving", "torchserve"]),
        ("grpc://h:1/m", ["tfserving", "torchserve"]),
        ("grpc://h:1/m/1.2.0", ["torchserve"]),
        ("grpc://h:1/m/versions/3", ["tfserving"]),
        ("grpc://h:1/m/labels/stable", ["tfserving"]),
    ],
)
def test_the_form_of_a_url_narrows_the_choice(url, names):
    assert claimants(ALL, Address.parse(url)) == names


def bento(call):
    if call.target == "/metadata":
        return Reply(status=200, body=json.dumps({"modelport": 1, "served": {}}).encode())
    return Reply(status=404, body=b"Not Found")


def tfserving(call):
    if call.target.startswith("/tensorflow.serving"):
        return Reply(status="NOT_FOUND")
    if call.target.startswith("/org.pytorch"):
        return Reply(status="UNIMPLEMENTED")
    return Reply(status=404, body=b'{"error": "Malformed request: GET %s"}' % call.target.encode())


def torchserve(call):
    if call.target.startswith("/tensorflow.serving"):
        return Reply(status="UNIMPLEMENTED")
    if call.target.startswith("/org.pytorch"):
        return Reply(status="OK")
    if call.target == "/ping":
        return Reply(status=200, body=b'{"status": "Healthy"}')
    return Reply(status=404, body=b'{"code": 404, "type": "ResourceNotFoundException", "message": "not found"}')


@pytest.mark.parametrize(
    ("url", "server", "name"),
    [
        ("http://h", bento, "bentoml"),
        ("http://h", tfserving, "tfserving"),
        ("http://h", torchserve, "torchserve"),
        ("grpc://h:1/m", tfserving, "tfserving"),
        ("grpc://h:1/m", torchserve, "torchserve"),
    ],
)
def test_servers_are_told_apart(talk, url, server, name):
    address = Address.parse(url)
    for order in (ALL, dict(reversed(ALL.items()))):
        steps = identify(order, claimants(order, address), address, Settings())
        assert talk(steps, *[server] * 3).result == name


def test_a_stranger_is_none_of_them(talk):
    address = Address.parse("http://h")
    with pytest.raises(ServerError, match=r"none of bentoml, tfserving, torchserve.*backend="):
        talk(identify(ALL, [], address, Settings()), *[Reply(status=200, body=b"<html>")] * 3)


def test_nobody_there(talk):
    refused = Lost(why="refused", detail="Connection refused")
    with pytest.raises(NotReady, match="Connection refused"):
        talk(identify(ALL, [], Address.parse("http://h"), Settings(retries=0)), refused)


def test_importing_modelport_imports_next_to_nothing():
    script = (
        "import sys\nbefore = set(sys.modules)\nimport modelport\n"
        "new = sorted(name for name in set(sys.modules) - before if not name.startswith(('modelport', '__future__')))\n"
        "print(modelport.__version__, dir(modelport))\nsys.exit(', '.join(new) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"], check=False
    )
    assert done.returncode == 0


def test_what_modelport_offers():
    import modelport
    from modelport.client import discovery

    assert modelport.connect is discovery.connect
    assert modelport.connect_async is discovery.connect_async
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        _ = modelport.conect
