"""A backend of somebody else: a small HTTP server that does one thing, found through the entry-point group alone."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from modelport.artifact import write_files
from modelport.client.base import InvalidInput, ModelMetadata, NotReady
from modelport.plan import Copied, Generated, PlannedFile, Port, Readiness, ServicePlan

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
root, port = Path(sys.argv[1]), int(sys.argv[2])
sys.path.insert(0, str(root))
from modelport_runtime.checking import InvalidInput
from modelport_runtime.codec import JSON, NPZ, decode, encode
from modelport_runtime.runtime import Runtime
runtime = Runtime.load(root)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body, kind=JSON):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"{}")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            inputs = decode(body, NPZ, runtime.description.served.inputs, limit=2**24)
            self.answer(200, encode(runtime.predict(inputs), NPZ), NPZ)
        except InvalidInput as error:
            self.answer(400, json.dumps({"error": str(error)}).encode())
    def log_message(self, *args):
        pass
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class ToyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ToyClient:
    backend = "toy"

    def __init__(self, url):
        self.url = url

    def predict(self, inputs, *, timeout_s=10.0):
        from modelport_runtime.codec import NPZ, decode, encode

        body = encode({name: np.asarray(value) for name, value in inputs.items()}, NPZ)
        try:
            with urllib.request.urlopen(self.url, body, timeout=timeout_s) as answer:
                return decode(answer.read(), NPZ, None, limit=2**24)
        except urllib.error.HTTPError as error:
            raise InvalidInput(json.load(error)["error"], status=error.code) from error
        except OSError as error:
            raise NotReady(f"{self.url}: {error}") from error

    def ready(self):
        try:
            with urllib.request.urlopen(self.url, timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def metadata(self):
        return ModelMetadata(backend="toy", name="?", version=None, signature=None)

    def close(self):
        pass


class ToyBackend:
    name = "toy"
    protocols = ("rest",)
    default_ports: Mapping[str, int] = {"rest": 9000}

    def parse_options(self, raw):
        return ToyOptions.model_validate(raw)

    def plan(self, model, options):
        from modelport.plan import BuildPlan
        from modelport_runtime.description import FILE_NAME, ModelDescription

        description = ModelDescription(
            name=model.spec.name,
            version=model.spec.version,
            format=model.format,
            source=next(iter(model.files)),
            signature=model.signature,
            served=model.served,
            entrypoint=model.spec.model.entrypoint,
            max_batch_size=model.spec.serving.batching and model.spec.serving.batching.max_size,
        )
        import modelport_runtime

        runtime = Path(modelport_runtime.__file__).parent
        own = {
            f"modelport_runtime/{p.relative_to(runtime).as_posix()}": p.read_bytes()
            for p in sorted(runtime.rglob("*.py"))
        }
        texts = {FILE_NAME: description.to_text().encode(), "server.py": SERVER.encode(), **own}
        copies: dict[str, Copied] = {**model.files, **model.code}
        return BuildPlan(
            backend=self.name,
            model=model,
            files=(
                *(PlannedFile(path=p, content=Generated(data=d, origin="toy")) for p, d in texts.items()),
                *(PlannedFile(path=p, content=c) for p, c in copies.items()),
            ),
        )

    def build(self, plan, destination):
        write_files(plan.files, destination)

    def service(self, artifact, settings):
        port = settings.ports["rest"]
        return ServicePlan(
            backend=self.name,
            server="toy",
            command=(sys.executable, "-B", "-P", str(artifact.path / "server.py"), str(artifact.path), str(port)),
            ports=(Port(name="rest", number=port),),
            readiness=Readiness(port="rest", path="/"),
            endpoints={"rest": f"http://{settings.host}:{port}"},
            grace_s=3.0,
        )

    def client(self, url, **settings):
        return ToyClient(url)
