"""What every backend must do. It runs over all that are registered, so that a new one gets its tests for free.

The model is the digits example: real weights, real samples, real servers.
"""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from pydantic import ValidationError

import modelport
from modelport.artifact import changed_files
from modelport.backend import Backend, ServeSettings, backend_names, load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.client.base import ClientError, InvalidInput
from modelport.client.discovery import Conversant
from modelport.frameworks import reference
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport.samples import load_samples

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "examples" / "digits" / "modelport.yaml"
HOST = "127.0.0.1"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="session")
def model():
    return resolve(SPEC)


@pytest.fixture(scope="session")
def samples(model):
    return load_samples(model.samples.path, model.served)


@pytest.fixture(scope="session", params=backend_names())
def backend(request):
    return load_backend(request.param)


@pytest.fixture(scope="session")
def plan(backend, model):
    return plan_for(backend, model)


@pytest.fixture(scope="session")
def artifact(backend, plan, tmp_path_factory):
    return build_artifact(backend, plan, tmp_path_factory.mktemp(f"dist-{backend.name}"))


def settings_for(backend):
    return ServeSettings(host=HOST, ports=choose_ports(dict.fromkeys(backend.default_ports, 0), HOST))


@pytest.fixture(scope="session")
def served(backend, artifact):
    """A running server and a client for each protocol."""
    service = backend.service(artifact, settings_for(backend))
    with running(service, HOST) as process, ExitStack() as stack:
        clients = {
            protocol: stack.enter_context(closing(backend.client(service.endpoints[protocol])))
            for protocol in backend.protocols
        }
        process.wait_ready(lambda: all(client.ready() for client in clients.values()))
        yield clients


def listing(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if "__pycache__" not in path.parts}


def test_it_is_a_backend(backend):
    assert isinstance(backend, Backend)
    assert set(backend.protocols) <= {"rest", "grpc"}
    assert set(backend.protocols) <= set(backend.default_ports)


def test_unknown_options_are_refused(backend):
    backend.parse_options({})
    with pytest.raises(ValidationError):
        backend.parse_options({"no_such_option": 1})


def test_planning_touches_nothing_and_gives_the_same_plan_twice(backend, model, plan):
    before = listing(ROOT / "examples")
    assert plan_for(backend, model) == plan
    assert listing(ROOT / "examples") == before


def test_planned_paths_stay_in_the_artifact(plan):
    paths = [PurePosixPath(file.path) for file in plan.files]
    assert len(set(paths)) == len(paths) > 0
    for path in paths:
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert "\\" not in str(path)


def test_the_build_writes_the_planned_files_and_no_others(plan, artifact):
    written = {p.relative_to(artifact.path).as_posix() for p in artifact.path.rglob("*") if p.is_file()}
    assert written - {"artifact.json"} == {file.path for file in plan.files}
    assert changed_files(artifact) == []


BUILD = """
import os, sys
os.umask(int(sys.argv[4], 8))
from pathlib import Path
from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for, resolve
backend = load_backend(sys.argv[1])
print(build_artifact(backend, plan_for(backend, resolve(Path(sys.argv[2]))), Path(sys.argv[3])).sha256)
"""


def test_another_umask_time_zone_folder_and_home_give_the_same_bytes(backend, artifact, tmp_path):
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, backend.name, str(SPEC), "out", "077"],
        cwd=tmp_path,
        env={**os.environ, "TZ": "Pacific/Auckland", "HOME": str(tmp_path / "home"), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    other = tmp_path / "out" / artifact.name / artifact.version / backend.name
    different = [
        path.relative_to(artifact.path).as_posix()
        for path in sorted(artifact.path.rglob("*"))
        if path.is_file() and path.read_bytes() != (other / path.relative_to(artifact.path)).read_bytes()
    ]
    assert different == []
    assert done.stdout.strip().splitlines()[-1] == artifact.sha256


def test_no_folder_of_this_machine_stands_in_the_artifact(artifact):
    traces = [str(ROOT).encode(), str(artifact.path).encode(), str(Path(sys.prefix)).encode()]
    for path in artifact.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [trace for trace in traces if trace in content], path


def test_the_service_is_described_without_starting_it(backend, artifact):
    settings = settings_for(backend)
    service = backend.service(artifact, settings)
    assert service == backend.service(artifact, settings)
    assert {port.number for port in service.ports} <= set(settings.ports.values())
    assert set(backend.protocols) <= set(service.endpoints)
    assert service.readiness.port in {port.name for port in service.ports}


@pytest.mark.server
def test_answers_are_the_frameworks_own(served, model, samples):
    request = samples.request(0, 16)
    right = reference(model)(request)
    for protocol, client in served.items():
        answer = client.predict(request)
        assert list(answer) == list(right), protocol
        for name, value in right.items():
            assert answer[name].dtype == value.dtype, protocol
            np.testing.assert_allclose(answer[name], value, atol=1e-5, rtol=0, err_msg=protocol)


@pytest.mark.server
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_pass_as_they_are(served, model, samples, value):
    request = {name: array.copy() for name, array in samples.request(0, 2).items()}
    request["pixels"][0, :] = value
    right = reference(model)(request)["probabilities"]
    for protocol, client in served.items():
        np.testing.assert_allclose(
            client.predict(request)["probabilities"], right, atol=1e-5, rtol=0, equal_nan=True, err_msg=protocol
        )


ROW = np.zeros((1, 64), np.float32)
WRONG_REQUESTS = {
    "unknown name": {"pixel": ROW},
    "one too many": {"pixels": ROW, "extra": ROW},
    "nothing": {},
    "wrong width": {"pixels": ROW[:, :63]},
    "wrong rank": {"pixels": ROW[0]},
    "text for numbers": {"pixels": np.full((1, 64), "x", dtype=object)},
    "more rows than a batch": {"pixels": np.repeat(ROW, 33, axis=0)},
}


@pytest.mark.server
@pytest.mark.parametrize("request_", WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_wrong_input_is_invalid_input_and_the_server_lives(served, samples, request_):
    for protocol, client in served.items():
        with pytest.raises(InvalidInput):
            client.predict(request_)
        assert client.predict(samples.request(0, 1)), protocol


@pytest.mark.server
def test_an_empty_batch_gives_an_empty_answer_or_a_clear_refusal(served):
    for client in served.values():
        try:
            answer = client.predict({"pixels": np.zeros((0, 64), np.float32)})
        except InvalidInput:
            continue
        assert answer["probabilities"].shape == (0, 10)


@pytest.mark.server
def test_many_at_once_get_their_own_answers(served, model, samples):
    from concurrent.futures import ThreadPoolExecutor

    requests = [samples.request(i, i + 1 + i % 3) for i in range(48)]
    right = [reference(model)(request)["probabilities"] for request in requests]
    for protocol, client in served.items():
        with ThreadPoolExecutor(8) as pool:
            for answer, wanted in zip(pool.map(client.predict, requests), right, strict=True):
                np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-5, rtol=0, err_msg=protocol)


@pytest.mark.server
def test_connect_finds_out_who_answers(backend, served, model, samples):
    if not isinstance(backend, Conversant):
        pytest.skip(f"{backend.name} has no dialect; its clients are made by name")
    request = samples.request(0, 2)
    right = reference(model)(request)["probabilities"]
    for client in served.values():
        with modelport.connect(client.url) as found:
            assert found.backend == backend.name
            assert found.ready()
            np.testing.assert_allclose(found.predict(request)["probabilities"], right, atol=1e-5)
        base = "/".join(client.url.split("/")[:3])
        with modelport.connect(base, model=model.spec.name) as asked:
            assert asked.backend == backend.name
            np.testing.assert_allclose(asked.predict(request)["probabilities"], right, atol=1e-5)
        assert asyncio.run(ask_twice(client.url, request)) == [backend.name, True]


async def ask_twice(url, request):
    client = await modelport.connect_async(url)
    try:
        one, two = await asyncio.gather(client.predict(request), client.predict(request))
        return [client.backend, np.array_equal(one["probabilities"], two["probabilities"])]
    finally:
        await client.close()


@pytest.mark.server
def test_two_run_side_by_side_and_leave_nothing(backend, artifact, samples, served):
    service = backend.service(artifact, settings_for(backend))
    before = changed_files(artifact)
    with running(service, HOST) as process:
        family = process.family
        with closing(backend.client(service.endpoints["rest"])) as second:
            process.wait_ready(second.ready)
            first = next(iter(served.values()))
            one, two = (client.predict(samples.request(0, 1))["probabilities"] for client in (first, second))
            np.testing.assert_allclose(one, two, atol=1e-6)
    assert family.processes() == []
    assert changed_files(artifact) == before == []
    for port in service.ports:
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, port.number)) != 0


@pytest.mark.server
def test_a_client_of_a_server_that_is_not_there_says_so(backend, artifact, samples):
    service = backend.service(artifact, settings_for(backend))
    for protocol in backend.protocols:
        with closing(backend.client(service.endpoints[protocol])) as client:
            assert client.ready() is False
            with pytest.raises(ClientError):
                client.predict(samples.request(0, 1), timeout_s=5)
