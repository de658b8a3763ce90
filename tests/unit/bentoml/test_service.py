"""The parts of a Bento that need no server: schemas, bodies, archives, and the plan of the service."""

import asyncio
import json
import lzma
import os
import tarfile

import pytest

from modelport.artifact import Artifact
from modelport.backend import ServeSettings
from modelport.errors import SpecError
from modelport_bento.bodies import read_body
from modelport_bento.schemas import client_schema, object_schema, tensor_schema
from modelport_bento.service import Admission
from modelport_bentoml.backend import BentoMLBackend
from modelport_bentoml.bento import write_archive
from modelport_runtime.signature import DTYPES, TensorSpec


class FakeRequest:
    """What `read_body` asks of a request."""

    def __init__(self, chunks, headers=None):
        self.headers = headers or {}
        self.chunks = list(chunks)

    async def stream(self):
        while self.chunks:
            yield self.chunks.pop(0)


@pytest.mark.parametrize(
    ("chunks", "headers", "expected", "unread"),
    [
        ([b"ab", b"cd", b""], {}, b"abcd", 0),
        ([], {}, b"", 0),
        ([b"ab", b"cde", b"f"], {}, None, 1),
        ([b"abcde"], {"content-length": "5"}, None, 1),
        ([b"abcd"], {"content-length": "4"}, b"abcd", 0),
    ],
)
def test_bodies_are_read_up_to_the_limit_and_no_further(chunks, headers, expected, unread):
    request = FakeRequest(chunks, headers)
    assert asyncio.run(read_body(request, limit=4)) == expected
    assert len(request.chunks) == unread


def test_a_tensor_is_nested_lists_with_its_fixed_sizes():
    schema = tensor_schema(TensorSpec(name="x", dtype="float32", shape=(None, 2)))
    assert schema["type"] == "array"
    assert "minItems" not in schema
    assert schema["items"] == {
        "type": "array",
        "items": {"type": "number", "format": "float"},
        "minItems": 2,
        "maxItems": 2,
    }
    assert schema["description"] == "x: float32[?, 2]"


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_has_a_schema(dtype):
    scalar = tensor_schema(TensorSpec(name="x", dtype=dtype, shape=()))
    kinds = {"float": "number", "bool": "boolean", "string": "string", "int": "integer", "uint": "integer"}
    assert scalar["type"] == kinds[dtype.rstrip("0123456789")]
    if dtype == "uint64":
        assert (scalar["minimum"], scalar["maximum"]) == (0, 2**64 - 1)
    json.dumps(scalar)


def test_names_stand_as_they_are():
    tensors = [TensorSpec(name=name, dtype="bool", shape=(None,)) for name in ("a b", "x/y.z:0", "$ref")]
    schema = object_schema(tensors)
    assert list(schema["properties"]) == schema["required"] == ["a b", "x/y.z:0", "$ref"]
    assert schema["additionalProperties"] is False
    assert client_schema(tensors)["properties"]["a b"]["dtype"] == "bool_"


def test_an_unknown_signature_is_any_object():
    assert object_schema(None) == client_schema(None) == {"type": "object", "additionalProperties": True}


def test_admission_refuses_what_is_too_much_and_lets_others_pass():
    async def run():
        release, sent = asyncio.Event(), []

        async def app(scope, receive, send):
            if scope["path"] == "/predict":
                await release.wait()
            await send(scope["path"])

        async def send(message):
            sent.append(message if isinstance(message, str) else message.get("status", message.get("body")))

        admission = Admission(app, limit=1)

        async def call(path):
            await admission({"type": "http", "path": path}, None, send)

        first = asyncio.create_task(call("/predict"))
        await asyncio.sleep(0)
        await call("/predict")
        await call("/livez")
        release.set()
        await first
        await call("/predict")
        assert sent[0] == 503
        assert json.loads(sent[1])["error"].startswith("1 requests are in work")
        assert sent[2:] == ["/livez", "/predict", "/predict"]

    asyncio.run(run())


def test_an_archive_depends_on_contents_alone(tmp_path):
    archives = []
    for number, mode in enumerate((0o600, 0o644)):
        folder = tmp_path / str(number)
        for path in ("b/c.txt", "a.txt")[:: 1 - 2 * number]:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)
            file.chmod(mode)
            os.utime(file, (number, number))
        target = tmp_path / f"{number}.bento"
        write_archive(folder, target)
        archives.append(target.read_bytes())
    assert archives[0] == archives[1]
    with lzma.open(tmp_path / "0.bento") as stream, tarfile.open(fileobj=stream) as archive:
        members = {member.name: member for member in archive}
    assert list(members) == [".", "./a.txt", "./b", "./b/c.txt"]
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in members.values()} == {(0, 0, "", 315_532_800)}


def artifact(tmp_path):
    record = {"spec": {"name": "Digits", "version": "1.2.0"}}
    return Artifact(backend="bentoml", path=tmp_path, sha256="", record=record)


@pytest.mark.parametrize(
    ("host", "bound", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:3131"),
        ("localhost", "127.0.0.1", "http://127.0.0.1:3131"),
        ("0.0.0.0", "0.0.0.0", "http://127.0.0.1:3131"),
        ("::1", "::1", "http://[::1]:3131"),
        ("::", "::", "http://[::1]:3131"),
    ],
)
def test_the_service_binds_where_it_is_told_and_says_where_it_answers(tmp_path, host, bound, url):
    plan = BentoMLBackend().service(artifact(tmp_path), ServeSettings(host=host, ports={"rest": 3131}))
    assert plan.command[1:] == (
        "serve",
        str(tmp_path / "home/bentos/digits/1.2.0"),
        "--host",
        bound,
        "--port",
        "3131",
    )
    assert plan.endpoints == {"rest": url}
    assert plan.environment["BENTOML_HOME"] == "{state}/home"
    assert plan.environment["BENTOML_DO_NOT_TRACK"] == "True"


def test_a_host_name_is_refused(tmp_path):
    with pytest.raises(SpecError, match="IP addresses only"):
        BentoMLBackend().service(artifact(tmp_path), ServeSettings(host="example.org", ports={"rest": 1}))
