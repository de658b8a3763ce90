"""Which engine is found, by programs that answer as docker, podman and buildah do."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from modelport.errors import BuildError, MissingTool, SpecError
from modelport.plan import Generated, ImagePlan, PlannedFile
from modelport.run.building import (
    BuildInputs,
    build_arguments,
    check_inputs,
    check_platforms,
    explain_failure,
    write_context,
)
from modelport.run.contributors import largest_folders
from modelport.run.engine import Engine, find_engine
from modelport.run.images import build_images

PODMAN = json.dumps({"version": {"Version": "4.3.1"}})
DOCKER = json.dumps({"Version": "28.2.2", "ApiVersion": "1.50", "Components": [{"Name": "Engine"}]})


@pytest.fixture
def programs(tmp_path):
    """Write programs into a folder, and give the folder as a search path."""

    def write(**scripts):
        for name, script in scripts.items():
            file = tmp_path / name
            file.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}\n")
            file.chmod(0o755)
        return str(tmp_path)

    return write


def says(text, code=0):
    return f"cat <<'END'\n{text}\nEND\nexit {code}"


def test_no_engine_says_what_to_install(tmp_path):
    with pytest.raises(MissingTool, match=r"docker is not installed[\s\S]*apt-get install podman[\s\S]*buildah"):
        find_engine("auto", search_path=str(tmp_path))
    with pytest.raises(MissingTool, match="podman is not installed here: apt-get install podman"):
        find_engine("podman", search_path=str(tmp_path))


def test_auto_takes_docker_only_where_its_daemon_answers(programs):
    dead = "echo Cannot connect to the Docker daemon >&2; exit 1"
    path = programs(docker=dead, podman=says(PODMAN))
    found = find_engine("auto", search_path=path)
    assert (found.name, found.version) == ("podman", "4.3.1")
    with pytest.raises(MissingTool, match=r"its daemon does not answer[\s\S]*Cannot connect to the Docker daemon"):
        find_engine("docker", search_path=path)
    path = programs(docker=says(DOCKER))
    assert find_engine("auto", search_path=path).name == "docker"


def test_another_engine_behind_dockers_client_builds_without_buildkit(programs):
    server = json.dumps({"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]})
    found = find_engine("docker", search_path=programs(docker=says(server)))
    assert found.environment == {"DOCKER_BUILDKIT": "0"}
    with pytest.raises(SpecError, match="--secret"):
        check_inputs(found, plan_of(), BuildInputs(secrets=("id=pip,src=/etc/hosts",)))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (says(PODMAN.replace("4.3.1", "3.4.4")), "version 3.4.4 is too old; 4.0 or later"),
        (says("{}"), "podman is installed .* but does not work"),
        (says("not JSON"), "podman is installed .* but does not work"),
        ("exit 125", "failed with exit code 125"),
    ],
)
def test_an_engine_that_does_not_work_is_not_taken(programs, script, words):
    with pytest.raises(MissingTool, match=words):
        find_engine("podman", search_path=programs(podman=script))


def test_warnings_of_the_engine_do_not_spoil_its_answers(programs):
    path = programs(podman=f"echo 'level=warning msg=\"cgroups\"' >&2\n{says(PODMAN)}")
    assert find_engine("podman", search_path=path).version == "4.3.1"


def test_buildah_builds_and_runs_nothing(programs):
    found = find_engine("buildah", search_path=programs(buildah=says('{"version": "1.28.2"}')))
    assert not found.runs_containers


def plan_of(dockerfile="FROM base\nCOPY x /x\n", **more):
    files = {"Dockerfile": dockerfile, "model/x": "1"}
    return ImagePlan(
        backend="toy",
        bases=("docker.io/library/base:1",),
        files=tuple(
            PlannedFile(path=path, content=Generated(data=text.encode(), origin="test")) for path, text in files.items()
        ),
        **{"reference": "toy:1", **more},
    )


def engine_of(name="podman", program="/bin/false"):
    return Engine(name=name, program=program, version="1")


def test_foreign_platforms_need_emulation_only_for_steps():
    check_platforms(engine_of(), plan_of(platforms=("linux/s390x",)))
    with pytest.raises(MissingTool, match=r"linux/s390x[^;]*emulates[^;]*; install it with: apt-get install qemu"):
        check_platforms(engine_of(), plan_of("FROM base\nRUN true\n", platforms=("linux/s390x",)))
    several = plan_of(platforms=("linux/amd64", "linux/arm64"))
    with pytest.raises(SpecError, match="one platform under a name"):
        check_platforms(engine_of("docker"), several)


def test_health_checks_survive_the_build(tmp_path):
    plan = plan_of(labels={"a": "b c"}, platforms=("linux/amd64",))
    inputs = BuildInputs(arguments=("A=1",))
    arguments = build_arguments(engine_of(), plan, inputs, tmp_path, "x:1")
    assert arguments[:3] == ("build", "--format", "docker")
    assert "--format" not in build_arguments(engine_of("docker"), plan, inputs, tmp_path, "x:1")
    joined = " ".join(arguments)
    for part in ("--label a=b c", "--platform linux/amd64", "--build-arg A=1", "--tag x:1"):
        assert part in joined


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (BuildInputs(secrets=("pip.conf",)), "must be id=ID,src=FILE"),
        (BuildInputs(secrets=("id=pip,src=/nowhere",)), "/nowhere is no file"),
        (BuildInputs(arguments=("A",)), "must be NAME=VALUE"),
    ],
)
def test_wrong_inputs_are_said_before_the_build(inputs, words):
    with pytest.raises(SpecError, match=words):
        check_inputs(engine_of(), plan_of(), inputs)


def test_a_context_has_the_same_modes_and_times_everywhere(tmp_path):
    before = os.umask(0o077)
    try:
        write_context(plan_of(), tmp_path)
    finally:
        os.umask(before)
    status = (tmp_path / "model" / "x").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o644, 315_532_800)
    folder = (tmp_path / "model").stat()
    assert (folder.st_mode & 0o777, folder.st_mtime) == (0o755, 315_532_800)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error: initializing source docker://docker.io/library/base:1: pinging", "docker.io/library/base:1 cannot be"),
        ("Error: short-name resolution enforced but cannot prompt", "docker.io/library/base:1 cannot be pulled"),
        ("ERROR: failed to resolve source metadata for docker.io/library/base:1", "cannot be pulled"),
        ('Error: building at STEP "RUN false": while running runtime: exit status 1', "step `RUN false` failed"),
        ("The command '/bin/sh -c false' returned a non-zero code: 1", "step `/bin/sh -c false` failed"),
        ('process "/bin/sh -c false" did not complete successfully: exit code: 1', "step `/bin/sh -c false` failed"),
        ("write /var/x: no space left on device", "`podman system prune`"),
    ],
)
def test_failures_are_told_in_a_sentence(said, words):
    assert words in str(explain_failure(engine_of(), plan_of(), said))


def test_a_failure_of_another_kind_speaks_for_itself():
    assert explain_failure(engine_of(), plan_of(), "something else") is None


def test_folders_that_do_not_contain_each_other():
    site = "opt/venv/lib/python3.11/site-packages"
    files = {f"{site}/torch/lib/a.so": 700, f"{site}/torch/b.py": 100, f"{site}/numpy/c.so": 50, "model/w.bin": 300}
    found = largest_folders({**files, "empty": 0}, 10)
    assert [(one.what, one.size) for one in found] == [
        (f"/{site}/torch/", 800),
        ("/model/w.bin", 300),
        (f"/{site}/numpy/", 50),
    ]


# An engine whose build does its work in a session of its own, and tidies up when that is ended.
BUILDER = """
import os, subprocess, sys, time
log = open(os.environ["ENGINE_LOG"], "a")
print(*sys.argv[1:], file=log, flush=True)
if sys.argv[1] == "build":
    step = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    print("step", flush=True)
    code = step.wait()
    time.sleep(0.3)
    print("tidied", code, file=log, flush=True)
    sys.exit(1)
"""
INTERRUPTED = """
import sys
from modelport.cli.group import raise_terminated
import signal
signal.signal(signal.SIGTERM, raise_terminated)
from modelport.plan import ImagePlan
from modelport.run.engine import Engine
from modelport.run.images import build_images
engine = Engine(name="podman", program=sys.argv[1], version="4")
build_images(engine, [ImagePlan(backend="toy", reference="toy:1", bases=(), files=())], log=print)
"""


def test_an_interrupted_build_lets_the_engine_tidy_up(tmp_path):
    program = tmp_path / "engine"
    program.write_text(f"#!{sys.executable}\n{BUILDER}")
    program.chmod(0o755)
    log = tmp_path / "log"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTED, str(program)],
        env={**os.environ, "ENGINE_LOG": str(log), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline().strip() == "step"
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    said = log.read_text()
    assert "tidied -9" in said
    assert "rmi localhost/modelport-building:" in said  # no name is left
    assert "tag " not in said.replace("--tag ", "")
    assert list(temporary.iterdir()) == []


def test_a_failed_build_gives_no_name(programs, tmp_path):
    log = tmp_path / "log"
    script = f'echo "$@" >>{log}\n[ "$1" != build ] || {{ echo "Error: no such step"; exit 1; }}'
    engine = engine_of(program=f"{programs(engine=script)}/engine")
    with pytest.raises(BuildError, match=r"toy:1: podman build: failed with exit code 1[\s\S]*no such step"):
        build_images(engine, [plan_of()])
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["build", "rmi"]
