"""A Kubernetes API in this process, for the official client to talk to over HTTP."""

import copy
import json
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

KINDS = {
    "v1": {
        "Pod": "pods",
        "Service": "services",
        "ConfigMap": "configmaps",
        "Secret": "secrets",
        "ServiceAccount": "serviceaccounts",
        "Event": "events",
        "Namespace": "namespaces",
    },
    "apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"},
}
WORKS, UNREADY = "works", "unready"


@dataclass
class FakeCluster:
    """Keeps objects, applies them as a server does, and plays the Deployments' controller.

    Attributes:
        objects: Live objects by path.
        refusals: Status objects to answer with, by method (or ``LIST``) and plural; a dry run gets them, too.
        late_refusals: The same, but only when it is meant.
        behaviour: What becomes of a Deployment, by its image: `WORKS`, `UNREADY`, or the state of its container.
        logs: Text by pod.
        requests: Method, path and query of everything that was asked.
    """

    objects: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)
    refusals: dict = field(default_factory=dict)
    late_refusals: dict = field(default_factory=dict)
    behaviour: dict = field(default_factory=dict)
    logs: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    on_request: object = None
    version: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def find(self, plural, name, namespace="ml"):
        return next(
            (each for path, each in self.objects.items() if path.endswith(f"/namespaces/{namespace}/{plural}/{name}")),
            None,
        )

    def names(self):
        return sorted(f"{each['kind']} {each['metadata']['name']}" for each in self.objects.values())

    def answer(self, method, path, query, body):
        with self.lock:
            self.requests.append((method, path, query))
            if self.on_request is not None:
                self.on_request(method, path, query)
            parts = path.strip("/").split("/")
            if parts[0] == "api" and len(parts) == 2:
                return 200, kinds("v1")
            if parts[0] == "apis" and len(parts) == 3:
                known = f"{parts[1]}/{parts[2]}" in KINDS
                return (200, kinds(f"{parts[1]}/{parts[2]}")) if known else status(404, "the server could not find it")
            return self.resource(method, path, parts, query, body)

    def resource(self, method, path, parts, query, body):
        plural = next(part for part in reversed(parts) if any(part in each.values() for each in KINDS.values()))
        refused = self.refusals.get((method, plural))
        if refused is None and "dryRun" not in query:
            refused = self.late_refusals.get((method, plural))
        if refused is not None:
            return refused
        if parts[-1] == "log":
            return 200, self.logs.get(parts[-2], "")
        if parts[-1] == plural:
            if ("LIST", plural) in self.refusals:
                return self.refusals["LIST", plural]
            items = [without_kind(each) for each in self.list(path, query)]
            return 200, {"kind": "List", "items": items}
        if method == "GET":
            found = self.objects.get(path)
            return (200, found) if found is not None else status(404, f'{plural} "{parts[-1]}" not found')
        if method == "DELETE":
            return self.delete(path, body)
        namespace = "/".join(path.split("/")[:5]) if "/api/v1/" in path else f"/api/v1/namespaces/{parts[4]}"
        if namespace not in self.objects:
            name = namespace.rpartition("/")[2]
            return status(404, f'namespaces "{name}" not found', details={"kind": "namespaces", "name": name})
        return self.apply(path, query, body)

    def list(self, path, query):
        found = [each for where, each in self.objects.items() if where.rpartition("/")[0] == path]
        for pair in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = pair.partition("=")
            found = [each for each in found if each["metadata"].get("labels", {}).get(key) == value]
        if query.get("fieldSelector") == "type=Warning":
            found = [each for each in found if each.get("type") == "Warning"]
        return found

    def delete(self, path, body):
        live = self.objects.get(path)
        if live is None:
            return status(404, "not found")
        if body["preconditions"]["uid"] != live["metadata"]["uid"]:
            return status(409, "the UID in the precondition does not match")
        del self.objects[path]
        self.owners.pop(path, None)
        if live["kind"] == "Deployment":
            self.remove_pods(path)
        return 200, {"kind": "Status", "status": "Success"}

    def apply(self, path, query, body):
        manager = query["fieldManager"]
        live = self.objects.get(path)
        owners = self.owners.get(path, {})
        wanted = leaves(body)
        taken = [
            (leaf, other)
            for leaf in wanted
            for other, fields in owners.items()
            if other != manager and leaf in fields and leaves(live)[leaf] != wanted[leaf]
        ]
        if taken and query.get("force") != "true":
            causes = [
                {"reason": "FieldManagerConflict", "message": f'conflict with "{other}"', "field": "." + ".".join(leaf)}
                for leaf, other in taken
            ]
            return status(409, "Apply failed with conflicts", details={"causes": causes})
        fields = {name: set(each) for name, each in owners.items()}
        for leaf, other in taken:
            fields[other].discard(leaf)
        gone = fields.get(manager, set()) - wanted.keys()
        fields[manager] = set(wanted)
        gone -= {leaf for each in fields.values() for leaf in each}
        new = copy.deepcopy(live) if live else {"metadata": {}}
        for leaf in gone:
            put(new, leaf, None)
        for leaf, value in wanted.items():
            put(new, leaf, value)
        return 200, self.store(path, live, new, fields, dry="dryRun" in query)

    def store(self, path, live, new, fields, *, dry):
        metadata = new["metadata"]
        if live is None:
            metadata |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        if live != new:
            self.version += 0 if dry else 1
            metadata["resourceVersion"] = str(self.version)
            if live is not None and live.get("spec") != new.get("spec"):
                metadata["generation"] += 1
        metadata["managedFields"] = [
            {"manager": name, "operation": "Apply", "fieldsV1": tree(fields[name])} for name in sorted(fields)
        ]
        if not dry:
            self.objects[path] = new
            self.owners[path] = fields
            if new["kind"] == "Deployment":
                self.control(path, new)
        return new

    def add(self, document, namespace="ml", manager="kubectl"):
        """Put an object there as somebody else."""
        plural = KINDS[document["apiVersion"]][document["kind"]]
        root = "/api/v1" if document["apiVersion"] == "v1" else f"/apis/{document['apiVersion']}"
        place = "" if document["kind"] == "Namespace" else f"/namespaces/{namespace}"
        path = f"{root}{place}/{plural}/{document['metadata']['name']}"
        document = copy.deepcopy(document)
        document["metadata"] |= {} if document["kind"] == "Namespace" else {"namespace": namespace}
        code, answer = self.apply(path, {"fieldManager": manager}, document)
        assert code == 200, answer

    def control(self, path, deployment):
        """Do what the controllers would: pods, events, status."""
        self.remove_pods(path)
        spec = deployment["spec"]
        count = spec.setdefault("replicas", 1)
        container = spec["template"]["spec"]["containers"][0]
        state = self.behaviour.get(container["image"], WORKS)
        ready = count if state == WORKS else 0
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": count,
            "updatedReplicas": count,
            "availableReplicas": ready,
            **(state.get("deployment", {}) if isinstance(state, dict) else {}),
        }
        pod = f"{deployment['metadata']['name']}-5d9c-x1"
        base = path.replace("/apis/apps/v1/", "/api/v1/").rpartition("/deployments/")[0]
        shown = {"state": {"running": {}}, "ready": state == WORKS, "restartCount": 0}
        shown |= state.get("container", {}) if isinstance(state, dict) else {}
        conditions = [{"type": "Ready", "status": "True" if state == WORKS else "False"}]
        conditions += state.get("conditions", []) if isinstance(state, dict) else []
        self.objects[f"{base}/pods/{pod}"] = {
            "kind": "Pod",
            "metadata": {
                "name": pod,
                "namespace": deployment["metadata"]["namespace"],
                "labels": spec["template"]["metadata"]["labels"],
                "uid": pod,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "status": {
                "conditions": conditions,
                "containerStatuses": [{"name": container["name"], **shown}],
            },
        }
        for number, (kind, reason, message) in enumerate(state.get("events", ()) if isinstance(state, dict) else ()):
            name = pod if kind == "Pod" else pod.rpartition("-")[0]
            self.objects[f"{base}/events/{pod}.{number}"] = {
                "kind": "Event",
                "type": "Warning",
                "metadata": {"name": f"{pod}.{number}"},
                "involvedObject": {"kind": kind, "name": name},
                "reason": reason,
                "message": message,
                "lastTimestamp": f"2026-01-01T00:00:0{number}Z",
            }

    def remove_pods(self, path):
        base = path.replace("/apis/apps/v1/", "/api/v1/").rpartition("/deployments/")[0]
        name = path.rpartition("/")[2]
        for where in list(self.objects):
            if where.startswith((f"{base}/pods/{name}-5d9c-", f"{base}/events/{name}-5d9c-")):
                del self.objects[where]


def kinds(version):
    resources = [
        {"name": plural, "kind": kind, "namespaced": kind != "Namespace"} for kind, plural in KINDS[version].items()
    ]
    scale = [{"name": "deployments/scale", "kind": "Scale", "namespaced": True}] if version == "apps/v1" else []
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources + scale}


def without_kind(document):
    """Items of a list do not say what they are."""
    return {key: value for key, value in document.items() if key not in {"apiVersion", "kind"}}


def status(code, message, **more):
    return code, {"kind": "Status", "status": "Failure", "message": message, "code": code, **more}


def leaves(value, path=()):
    """Fields with their values; a list is one field."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {leaf: entry for key, each in value.items() for leaf, entry in leaves(each, (*path, key)).items()}


def tree(fields):
    found = {}
    for leaf in fields:
        if leaf[0] not in {"apiVersion", "kind"} and leaf[-1] not in {"name", "namespace"}:
            place = found
            for key in leaf:
                place = place.setdefault(f"f:{key}", {})
    return found


def put(target, leaf, value):
    for key in leaf[:-1]:
        target = target.setdefault(key, {})
    if value is None:
        target.pop(leaf[-1], None)
    else:
        target[leaf[-1]] = copy.deepcopy(value)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster with the namespace ``ml``, and a kubeconfig that leads to it."""
    fake = FakeCluster()
    fake.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield fake
    server.shutdown()
    server.server_close()


def write_kubeconfig(path, url):
    named = {"cluster": "test", "user": "test", "namespace": "ml"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "staging",
        "contexts": [{"name": "staging", "context": named}],
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def handler(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one packet: two make the client wait for 40 ms

        def respond(self):
            length = int(self.headers.get("Content-Length", 0))
            raw = self.rfile.read(length)
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if self.command == "PATCH" and self.headers["Content-Type"] != "application/apply-patch+yaml":
                code, answer = status(415, f"unsupported: {self.headers['Content-Type']}")
            else:
                code, answer = fake.answer(self.command, parts.path, query, yaml.safe_load(raw) if raw else None)
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = do_POST = do_PUT = respond  # noqa: N815  # the base class's names

        def log_message(self, *args):
            pass

    return Handler
