"""URLs and settings."""

from __future__ import annotations

import pytest

from modelport.client.session import open_transport
from modelport.client.settings import Address, Settings, agree
from modelport.errors import SpecError


@pytest.mark.parametrize(
    ("url", "scheme", "authority", "segments"),
    [
        ("http://localhost:3000", "http", "localhost:3000", ()),
        ("localhost:3000/", "http", "localhost:3000", ()),
        ("HTTPS://models.example/a//b/", "https", "models.example:443", ("a", "b")),
        ("http://h/predictions/my%2Fmodel", "http", "h:80", ("predictions", "my/model")),
        ("grpc://[::1]:7070/digits/1.2.0", "grpc", "[::1]:7070", ("digits", "1.2.0")),
        ("grpcs://h:8500/m/versions/3", "grpcs", "h:8500", ("m", "versions", "3")),
    ],
)
def test_urls(url, scheme, authority, segments):
    address = Address.parse(url)
    assert (address.scheme, address.authority, address.segments) == (scheme, authority, segments)
    assert address.grpc == scheme.startswith("grpc")
    assert address.secure == scheme.endswith("s")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "no URL"),
        ("ftp://h/x", "no URL of a service"),
        ("http://", "no URL of a service"),
        ("http://h:99999", "no URL"),
        ("http://h:port", "no URL"),
        ("http://me:secret@h", "pass token="),
        ("http://h/p?x=1", "no query"),
        ("grpc://h/model", "names no port"),
        ("http://[::1", "no URL"),
        ("http://two words/", "no URL of a service"),
    ],
)
def test_what_is_no_url(url, sentence):
    with pytest.raises(SpecError, match=sentence) as caught:
        Address.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False), ("h", False)]
)
def test_loopback_is_never_reached_through_a_proxy(host, loopback):
    assert Address.parse(f"http://{host}:1").loopback == loopback


def test_none_stands_for_the_default():
    assert Settings.parse({"timeout_s": None, "headers": None, "model": None}) == Settings()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"tiemout_s": 1}, "takes no 'tiemout_s'"),
        ({"timeout_s": 0}, "above 0"),
        ({"timeout_s": float("nan")}, "above 0"),
        ({"timeout_s": "5"}, "above 0"),
        ({"retries": -1}, "from 0 on"),
        ({"retries": 1.5}, "from 0 on"),
        ({"token": "secret\n"}, "'authorization' holds a line break"),
        ({"headers": {"X-Name": "Zoë"}}, "'x-name' holds"),
    ],
)
def test_settings_that_cannot_be(raw, sentence):
    with pytest.raises(SpecError, match=sentence) as caught:
        Settings.parse(raw)
    assert "secret" not in str(caught.value)


def test_headers_and_token_are_sent():
    settings = Settings.parse({"headers": {"X-Team": "a"}, "token": "t"})
    assert settings.sent_headers == {"x-team": "a", "authorization": "Bearer t"}


def test_the_url_and_the_caller_must_agree():
    assert agree("model", "a", None) == agree("model", None, "a") == agree("model", "a", "a") == "a"
    assert agree("model", None, None) is None
    with pytest.raises(SpecError, match="the URL names the model 'a', model= says 'b'"):
        agree("model", "a", "b")


@pytest.mark.parametrize(
    ("url", "verify", "sentence"),
    [
        ("https://h", "/no/such/file.pem", "verify_tls"),
        ("grpcs://h:1", "/no/such/file.pem", "verify_tls"),
        ("grpcs://h:1", False, "gRPC cannot skip the check"),
    ],
)
def test_certificates_that_cannot_be_checked(url, verify, sentence):
    pytest.importorskip("grpc", reason="pip install 'modelport[grpc]'")
    with pytest.raises(SpecError, match=sentence):
        open_transport(Address.parse(url), Settings(verify_tls=verify))


def test_a_host_that_no_url_can_have():
    with pytest.raises(SpecError, match="no URL"):
        open_transport(Address.parse("http://-.ü\u2028x/"), Settings())
