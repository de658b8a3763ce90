"""From a spec to a `Rollout`: the artifact, its service in a container, the target's files, and who takes them in."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from modelport.artifact import Artifact
from modelport.backend import Backend, Selective, load_backend
from modelport.build import build_artifact, plan_for, require_spec, resolve
from modelport.console import print_warning, stderr
from modelport.errors import ServerFailed, SpecError
from modelport.model import Model
from modelport.plan import Generated, PlannedFile, ServicePlan
from modelport.release import Warned, plan_release, read_images, require_containers
from modelport.run.image_labels import VERSION, Expected
from modelport.run.ports import choose_ports
from modelport.run.rollout import Rollout
from modelport.target import load_target

if TYPE_CHECKING:
    from modelport.client.base import Client

Object = dict[str, Any]
Tensors = Mapping[str, Any]  # arrays by name

HOST = "127.0.0.1"
ANSWER_S = 30.0
CONNECT_S = 2.0
POLL_S = 0.5
BESIDE = re.compile(r"canary(-\d+)?|blue-green")  # overlays under which the version before goes on answering


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What shall be deployed, and where.

    Attributes:
        spec: Path of the spec.
        backend: Name of the backend.
        target: ``compose``, ``podman`` or ``kubernetes``.
        output: Folder for artifacts.
        images: Image to run, as `read_images` reads it.
        namespace: In place of the spec's and the context's.
        context: Context of the kubeconfig; its current one if None.
        overlay: Overlay over the manifests' base; the base if None.
        force: Take fields that others own.
        port: Port of this machine for the first protocol; 0 takes free ones for all.
        grpc_port: The same for gRPC.
    """

    spec: Path
    backend: str
    target: str
    output: Path
    images: tuple[str, ...] = ()
    namespace: str | None = None
    context: str | None = None
    overlay: str | None = None
    force: bool = False
    port: int | None = None
    grpc_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What shall run, and who knows how to talk to it.

    Attributes:
        model: The model.
        backend: Its backend.
        artifact: What was built.
        plan: The service in its container.
        files: What the target made of it.
        shared: Whether another version may answer at the same URLs, so that an answer says little about this one.
    """

    model: Model
    backend: Backend
    artifact: Artifact
    plan: ServicePlan
    files: tuple[PlannedFile, ...]
    shared: bool = False

    @property
    def protocols(self) -> tuple[str, ...]:
        """Protocols that can carry this model."""
        unable = self.backend.unable(self.artifact) if isinstance(self.backend, Selective) else {}
        return tuple(name for name in self.backend.protocols if name not in unable and name in self.plan.endpoints)


@contextmanager
def open_rollout(wish: Wish) -> Iterator[tuple[Service, Rollout]]:
    """Prepare a deployment; touch nothing where it goes. Its connections end with the block.

    Raises:
        SpecError: The spec, or what was asked for, cannot be.
        MissingTool: The engine or the client is not there.
        ServerFailed: The place cannot be reached.
    """
    openers = {"kubernetes": _open_cluster, "podman": _open_pod, "compose": _open_compose}
    with ExitStack() as ending:
        yield openers[wish.target](wish, ending)


def ask_sample(service: Service, urls: Mapping[str, str], *, wait_s: float = ANSWER_S) -> str:
    """Send the first sample over every protocol, compare with what it should give where the samples say; tell.

    Args:
        service: What runs.
        urls: URLs by protocol; none where it cannot be reached from here.
        wait_s: How long what stands before the ready service may take to lead to it, in seconds.

    Raises:
        ModelportError: No answer came, or another than expected.
    """
    if not urls:
        return (
            "rolled out; no sample was sent, since the service cannot be reached from here. Try it with "
            "kubectl port-forward and modelport predict"
        )
    sample = _first_sample(service.model)
    for url in urls.values():
        with closing(service.backend.client(url)) as client:
            _wait_for(client, url, wait_s)
            if sample is not None:
                inputs, expected = sample
                answer = client.predict(inputs)
                if not service.shared:
                    _check_answer(service.model, answer, expected, url)
    over = " and ".join(urls)
    if sample is None:
        return f"it says that it is ready, over {over}; the spec has no samples that could be sent"
    as_expected = " as expected" if sample[1] and not service.shared else ""
    return f"a sample was answered{as_expected} over {over}"


def _open_cluster(wish: Wish, ending: ExitStack) -> tuple[Service, Rollout]:
    from modelport.run.cluster_rollout import ClusterRollout
    from modelport.run.kubeconfig import connect_cluster
    from modelport.run.overlay import resolve_objects

    cluster = ending.enter_context(closing(connect_cluster(wish.context)))
    model = resolve(require_spec(wish.spec))
    deploy = model.spec.deploy
    namespace = wish.namespace or (deploy.namespace if deploy else None) or cluster.namespace
    cluster.check_namespace(namespace)
    service = _plan_service(wish, model, namespace)
    objects = resolve_objects(_contents(service.files), wish.overlay)
    service = replace(service, shared=bool(BESIDE.fullmatch(wish.overlay or "")))
    for each in objects:
        if each["kind"] == "Deployment" and each["spec"].get("replicas") == 0:
            print_warning(
                f"{each['metadata']['name']}: no replicas are asked for (deploy.replicas), so nothing will run"
            )
    return service, ClusterRollout(
        cluster=cluster,
        namespace=namespace,
        objects=objects,
        reachable=_reachable_urls(service, objects, namespace),
        force=wish.force,
    )


def _open_pod(wish: Wish, ending: ExitStack) -> tuple[Service, Rollout]:
    from modelport.run.engine import find_engine
    from modelport.run.overlay import resolve_objects
    from modelport.run.pod_manifest import plan_pod
    from modelport.run.pods import PodRollout

    engine = find_engine("podman")
    service = _plan_service(wish, resolve(require_spec(wish.spec)), None)
    ports = host_ports(service, wish)
    urls = local_urls(service, ports)
    manifest = plan_pod(resolve_objects(_contents(service.files), None), ports)
    for sentence in manifest.left_out:
        print_warning(f"podman: {sentence}")
    return service, PodRollout(
        engine=engine,
        manifest=manifest,
        service=service.plan,
        urls=urls,
        host_ports=tuple(ports.values()),
        answers=partial(_all_ready, _clients(service, urls, ending)),
        image_hint=_image_hint(wish, service),
        expected=_expected(service),
    )


def _open_compose(wish: Wish, ending: ExitStack) -> tuple[Service, Rollout]:
    from modelport.run.compose import ComposeRollout, find_compose, plan_project

    compose = find_compose()
    service = _plan_service(wish, resolve(require_spec(wish.spec)), None)
    ports = host_ports(service, wish)
    urls = local_urls(service, ports)
    return service, ComposeRollout(
        compose=compose,
        project=plan_project(service.files, ports, wish.output / service.model.spec.name),
        service=service.plan,
        urls=urls,
        answers=partial(_all_ready, _clients(service, urls, ending)),
        image_hint=_image_hint(wish, service),
        expected=_expected(service),
    )


def _plan_service(wish: Wish, model: Model, namespace: str | None) -> Service:
    backend = load_backend(wish.backend)
    require_containers((backend,))
    images = read_images(wish.images, (backend,))
    plan = plan_for(backend, model)
    for warning in plan.warnings:
        print_warning(f"{backend.name}: {warning}")
    with stderr().status(f"building {backend.name} …"):
        artifact = build_artifact(backend, plan, wish.output)
    release = plan_release(model.spec, wish.spec, [(backend, artifact)], images, namespace=namespace)
    target = load_target("kubernetes" if wish.target == "podman" else wish.target)
    if isinstance(target, Warned) and wish.target != "podman":  # what a cluster must have is nothing to a pod here
        for warning in target.warnings(release):
            print_warning(f"{wish.target}: {warning}")
    return Service(
        model=model, backend=backend, artifact=artifact, plan=release.services[0], files=target.render(release)
    )


def _contents(files: Sequence[PlannedFile]) -> dict[str, bytes]:
    contents = {}
    for file in files:
        if not isinstance(file.content, Generated):
            raise SpecError(f"{file.path}: is not made by the target itself, and cannot be deployed")
        contents[file.path] = file.content.data
    return contents


def host_ports(service: Service, wish: Wish) -> dict[int, int]:
    """Give the ports of this machine by those of the container: of the protocols, and that of the metrics.

    Raises:
        SpecError: A port for gRPC is asked for, and the server has none.
    """
    reached = {*service.backend.protocols, service.plan.metrics.port if service.plan.metrics else ""}
    numbers = {port.name: port.number for port in service.plan.ports if port.name in reached}
    wanted = dict(numbers)
    if wish.grpc_port is not None and "grpc" not in wanted:
        raise SpecError(f"--grpc-port: {service.backend.name} speaks no gRPC")
    if wish.port == 0:
        wanted = dict.fromkeys(wanted, 0)
    elif wish.port is not None:
        wanted[service.backend.protocols[0]] = wish.port
    if wish.grpc_port is not None:
        wanted["grpc"] = wish.grpc_port
    free = choose_ports({name: 0 for name, number in wanted.items() if number == 0}, HOST)
    return {numbers[name]: number or free[name] for name, number in wanted.items()}


def local_urls(service: Service, ports: Mapping[int, int]) -> dict[str, str]:
    """Give the URLs for clients on this machine, by protocol; ``ports`` are those of `host_ports`."""
    found = {}
    for protocol in service.protocols:
        parts = urlsplit(service.plan.endpoints[protocol])
        number = next(port.number for port in service.plan.ports if port.name == protocol)
        found[protocol] = urlunsplit(parts._replace(netloc=f"{HOST}:{ports[number]}"))
    return found


def _clients(service: Service, urls: Mapping[str, str], ending: ExitStack) -> list[Client]:
    return [ending.enter_context(closing(service.backend.client(url))) for url in urls.values()]


def _all_ready(clients: Sequence[Client]) -> bool:
    return all(client.ready() for client in clients)


def _expected(service: Service) -> Expected:
    """Give what the image is to hold; a label that the spec itself gives tells no version of ours."""
    spec = service.model.spec
    return Expected(artifact=service.artifact.sha256, version="" if VERSION in spec.image.labels else spec.version)


def _image_hint(wish: Wish, service: Service) -> str:
    return f"Build it with: modelport containerize {wish.spec} -b {wish.backend} --tag {service.plan.image}"


def _reachable_urls(service: Service, objects: Sequence[Object], namespace: str) -> dict[str, str]:
    """Give the URLs of the cluster's entrance, or of its Service, that lead somewhere from here."""
    ingress = service.model.spec.deploy.ingress if service.model.spec.deploy else None
    hosts = [f"{each['metadata']['name']}.{namespace}.svc" for each in objects if each["kind"] == "Service"][:1]
    found = {}
    for protocol in service.protocols:
        parts = urlsplit(service.plan.endpoints[protocol])
        candidates = [urlunsplit(parts._replace(netloc=f"{host}:{parts.port}")) for host in hosts]
        if ingress is not None and parts.scheme == "http":
            scheme = "http" if ingress.tls_secret is None else "https"
            candidates.insert(0, urlunsplit(parts._replace(scheme=scheme, netloc=ingress.host)))
        reachable = next(filter(_connects, candidates), None)
        if reachable is not None:
            found[protocol] = reachable
    return found


def _connects(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), CONNECT_S).close()
    except OSError:
        return False
    return True


def _wait_for(client: Client, url: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not client.ready():
        if time.monotonic() > deadline:
            raise ServerFailed(f"{url}: does not answer, though what is behind it is ready")
        time.sleep(POLL_S)


def _first_sample(model: Model) -> tuple[Tensors, Tensors] | None:
    """Give the inputs of the first sample, and the outputs that it should give, as far as the samples have them."""
    from modelport.samples import load_samples

    if model.samples is None:
        return None
    samples = load_samples(model.samples.path, model.served)
    return samples.request(0, 1), {
        name: value[:1] if samples.rows else value for name, value in samples.expected.items()
    }


def _check_answer(model: Model, answer: Tensors, expected: Tensors, url: str) -> None:
    """Compare as `modelport verify` does: an image of another model answers, too."""
    from modelport.verify.compare import compare

    given = {name: answer[name] for name in expected if name in answer}
    tolerance = model.spec.verify
    faults = compare(given, expected, atol=tolerance.atol, rtol=tolerance.rtol).faults
    lacking = [tensor.name for tensor in model.served.outputs if tensor.name not in {*answer, *expected}]
    faults = (*faults, *(f"{name}: missing in the answer" for name in lacking))
    if faults:
        raise ServerFailed(
            f"{url}: answers the first sample otherwise than expected: {'; '.join(faults)}. Is the image one of this "
            "model? `modelport verify --url` compares all samples"
        )
