"""``--cache-from`` and ``--cache-to``: a step that another machine has finished is taken from a registry."""

import hashlib
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from modelport.errors import BuildError
from modelport.plan import Generated, ImagePlan, PlannedFile
from modelport.run.building import BuildInputs
from modelport.run.engine import find_engine
from modelport.run.images import build_images

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

NAME = "localhost/modelport-tests/cached:1"


class Registry(BaseHTTPRequestHandler):
    """A registry that keeps everything in memory (OCI's distribution specification, as far as engines ask it)."""

    protocol_version = "HTTP/1.1"
    blobs: dict
    manifests: dict

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        kind, name = self.path.rsplit("/", 2)[-2:]
        if self.path == "/v2/":
            self.answer(200)
        elif kind == "blobs" and name in self.blobs:
            self.answer(200, self.blobs[name], Docker_Content_Digest=name)
        elif kind == "manifests" and name in self.manifests:
            media, body = self.manifests[name]
            self.answer(200, body, Content_Type=media, Docker_Content_Digest=digest(body))
        else:
            self.answer(404)

    do_HEAD = do_GET  # noqa: N815  # the names that the standard library looks for

    def do_POST(self):
        self.answer(202, Location=f"{self.path.rstrip('/')}/one")

    def do_PATCH(self):
        body = self.body()
        self.blobs[digest(body)] = body
        self.answer(202, Location=self.path)

    def do_PUT(self):
        body, parts = self.body(), urlsplit(self.path)
        if "/manifests/" in parts.path:
            kept = (self.headers["Content-Type"], body)
            self.manifests |= {parts.path.rpartition("/")[2]: kept, digest(body): kept}
            self.answer(201, Docker_Content_Digest=digest(body))
        else:
            wanted = parse_qs(parts.query)["digest"][0]
            self.blobs |= {digest(body): body} if body else {}
            self.answer(201 if wanted in self.blobs else 400, Docker_Content_Digest=wanted)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *arguments):
        pass


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    handler = type("Kept", (Registry,), {"blobs": {}, "manifests": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    host = f"localhost:{server.server_port}"
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    yield host
    server.shutdown()
    server.server_close()


def build(engine, mark, inputs):
    """Build an image with one step; give what the engine said, and remove everything from its store."""
    texts = {"Dockerfile": "FROM scratch\nCOPY mark /mark\n", "mark": mark}
    files = (PlannedFile(path=path, content=Generated(data=text.encode(), origin="")) for path, text in texts.items())
    plan = ImagePlan(backend="toy", reference=NAME, bases=("scratch",), files=tuple(files))
    lines = []
    build_images(engine, [plan], inputs, log=lines.append)
    said = "\n".join(lines)
    for reference in (NAME, *re.findall(r"^--> ([0-9a-f]{11,64})$", said, re.MULTILINE)):
        subprocess.run([engine.program, "rmi", reference], check=False, capture_output=True)
    return said


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_a_step_comes_from_the_registry(registry, tmp_path, name):
    engine, cache = find_engine(name), f"{registry}/team/cache"
    first = build(engine, tmp_path.name, BuildInputs(cache_from=(cache,), cache_to=(cache,)))
    assert "Pushing cache" in first
    assert "Cache pulled from remote" not in first
    second = build(engine, tmp_path.name, BuildInputs(cache_from=(cache,)))
    assert "Cache pulled from remote" in second


@pytest.mark.usefixtures("engine")
def test_a_cache_that_cannot_be_pushed(registry, tmp_path):
    nowhere = f"{registry.partition(':')[0]}:1/team/cache"
    with pytest.raises(BuildError, match="the cache cannot be pushed: check the name after --cache-to"):
        build(find_engine("podman"), tmp_path.name, BuildInputs(cache_to=(nowhere,)))
