"""TensorFlow Serving's image, built and run: it answers, is ready when it says so, ends when told, needs no rights.

``tensorflow/serving`` is a stand-in here (see conftest.py): the Dockerfile, the flags and the first process are real.
"""

import re
import socket
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from container_service import ContainerSettings, running_container

from modelport import connect
from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.errors import BuildError, ServerFailed
from modelport.image import settings_for
from modelport.run.building import BuildInputs, build_arguments, write_context
from modelport.run.images import build_images, remove_image
from modelport.run.ports import choose_ports
from modelport.verify.session import Row, Tolerance, examine, prepare

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

EXAMPLE = Path(__file__).parents[3] / "examples" / "tabular" / "modelport.yaml"
NAMES = {"official": "localhost/modelport-tests/tabular:official", "embedded": "localhost/modelport-tests/tabular:own"}
BACKEND = load_backend("tfserving")


@pytest.fixture(scope="module")
def model():
    return resolve(EXAMPLE)


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return build_artifact(BACKEND, plan_for(BACKEND, model), tmp_path_factory.mktemp("artifact"))


def with_options(artifact, **image):
    """The artifact, as if the spec had asked for another image."""
    spec = {**artifact.record["spec"], "backends": {"tfserving": {"image": image}}}
    return replace(artifact, record={**artifact.record, "spec": spec})


@pytest.fixture(scope="module")
def images(engine, bases, artifact):
    """Both images, with the artifact that each was planned for."""
    bases.tensorflow_serving(artifact.record["tools"]["tensorflow"])
    built = {server: with_options(artifact, server=server) for server in NAMES}
    plans = [BACKEND.image(built[server], settings_for(built[server], tag=tag)) for server, tag in NAMES.items()]
    build_images(engine, plans)
    yield built
    for tag in NAMES.values():
        remove_image(engine, tag)


@contextmanager
def serving(engine, artifact, reference, **settings):
    plan = BACKEND.container(artifact, reference)
    ports = choose_ports({port.name: 0 for port in plan.ports}, "127.0.0.1")
    given = ContainerSettings(ports=ports, user="12345", memory=2 * 2**30, **settings)
    with running_container(engine, plan, given) as container:
        with closing(connect(container.endpoints["rest"])) as client:
            container.wait_ready(client.ready)
        yield container


@pytest.fixture(scope="module", params=list(NAMES))
def container(request, engine, images):
    """A server of each kind, under a foreign user, without capabilities, on a root that cannot be written."""
    with serving(engine, images[request.param], NAMES[request.param]) as running:
        yield running


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_it_answers_as_the_framework(container, model, protocol):
    exam = prepare(model, Tolerance(atol=1e-5, rtol=1e-4))
    with closing(connect(container.endpoints[protocol])) as client:
        row = examine(client, exam, Row(backend="tfserving", protocol=protocol))
    assert row.faults == ()
    assert row.samples == exam.samples.count


def test_its_health_check_agrees_and_it_has_no_rights(container, engine):
    assert container.healthy()
    status = engine.ask("exec", container.name, "cat", "/proc/self/status", what="exec")
    assert re.search(r"^Uid:\s+12345\b", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    with pytest.raises(BuildError, match="Read-only"):
        engine.ask("exec", container.name, "touch", "/opt/x", what="exec")


def test_its_metrics_have_the_names_that_are_asked_for(container):
    page = httpx.get(container.endpoints["metrics"]).text
    metrics = container.plan.metrics
    for query in (metrics.requests, metrics.errors, metrics.latency_s, metrics.saturation):
        (name,) = re.findall(r"\((:[a-z_:]+)\{", query)
        assert f"\n{name}{{" in f"\n{page}", name


def test_it_is_unhealthy_while_its_model_is_not_there(container, engine):
    """The probe's own command, with a version that nobody loaded."""
    absent = [part.replace("versions/1000000", "versions/7") for part in container.plan.probe]
    assert absent != list(container.plan.probe)
    with pytest.raises(BuildError):
        engine.ask("exec", container.name, *absent, what="exec")


def test_it_ends_on_sigterm_in_time(container):
    """The last test: nothing runs afterwards."""
    began = time.monotonic()
    state = container.stop()
    assert time.monotonic() - began < container.plan.grace_s
    assert not state.running
    assert state.exit_code in (0, 143)  # its own end, or the shell's word for SIGTERM; 137 would be force


def test_the_embedded_server_comes_without_cuda_compilers_and_caches(engine, images):
    look = "ls /opt/venv/lib/python3*/site-packages /opt/venv/bin; command -v gcc cc; find / -xdev -name .cache"
    run = ("run", "--rm", "--network=none", "--entrypoint", "/bin/sh")
    said = engine.ask(*run, NAMES["embedded"], "-c", f"{look}; true", what="run").split()
    assert any(name.startswith("tensorflow_cpu-") for name in said)
    for absent in ("nvidia", "pip", "/usr/bin/gcc", "/usr/bin/cc", "/tmp/.cache", "/root/.cache"):
        assert absent not in said


def test_a_broken_model_ends_the_server_and_says_why(engine, images, tmp_path):
    plan = BACKEND.container(images["official"], NAMES["official"])
    ports = choose_ports({port.name: 0 for port in plan.ports}, "127.0.0.1")
    broken = replace(plan, files=plan.files[1:])  # mounted over /etc/modelport: no models.config
    with (
        running_container(engine, broken, ContainerSettings(ports=ports)) as container,
        pytest.raises(ServerFailed, match=r"ended with code[\s\S]*models\.config"),
    ):
        container.wait_ready(lambda: False)


def test_a_taken_port_is_said_before_anything_starts(engine, images):
    plan = BACKEND.container(images["official"], NAMES["official"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"rest": taken.getsockname()[1], "grpc": 0}
        with (
            pytest.raises(ServerFailed, match="Address already in use"),
            running_container(engine, plan, ContainerSettings(ports=ports)),
        ):
            pytest.fail("it started")


def test_weights_are_a_layer_that_new_configurations_leave_alone(engine, images, tmp_path):
    """Built anew elsewhere, without the cache and with other flags, the layer of the weights is the same."""

    def layers(reference):
        return engine.ask_json("image", "inspect", reference, what="inspect")[0]["RootFS"]["Layers"]

    changed = with_options(images["official"], server="official")
    changed.record["spec"]["serving"] = {**changed.record["spec"]["serving"], "timeout_s": 7}
    plan = BACKEND.image(changed, settings_for(changed, tag=f"{NAMES['official']}-changed"))
    write_context(plan, tmp_path)
    command, *rest = build_arguments(engine, plan, BuildInputs(), tmp_path, plan.reference)
    engine.work((command, "--no-cache", *rest), what="build", timeout_s=300)
    try:
        before, after, base = layers(NAMES["official"]), layers(plan.reference), len(layers(plan.bases[0]))
    finally:
        remove_image(engine, plan.reference)
    assert before != after
    assert before[: base + 1] == after[: base + 1]
