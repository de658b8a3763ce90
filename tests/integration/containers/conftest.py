"""A container engine, and base images made on the spot under the names that our Dockerfiles ask for.

Where no registry can be reached nothing can be pulled, so `python:3.11-slim` is made with debootstrap, and
`tensorflow/serving` is a stand-in: the same entry point, flags, paths and user, with the embedded server behind them.
An image of that name which somebody pulled is used as it is. What is made is kept under ``localhost/modelport-tests``
for the next run, by the digest of its recipe.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelport.errors import BuildError, MissingTool
from modelport.run.engine import Engine, find_engine
from modelport_tfserving.image import render_packages, requirements

ROOT = Path(__file__).parents[3]
RECIPE = "io.modelport.tests.recipe"
CACHE = "localhost/modelport-tests"
LOCK = Path(tempfile.gettempdir()) / f"modelport-tests-{os.getuid()}.lock"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PYTHON = "docker.io/library/python:3.11-slim"

DEBOOTSTRAP = (
    "debootstrap",
    "--variant=minbase",
    "--include=python3,python3-venv,python3-pip,ca-certificates",
    "bookworm",
)
TIDY = """
set -e
rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/var/log/*.log
rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED
ln -sf python3 "$1"/usr/bin/python
"""
SERVING = """
COPY modelport_tfserving /opt/stand-in/modelport_tfserving
COPY tensorflow_model_server tf_serving_entrypoint.sh /usr/bin/
EXPOSE 8500 8501
ENV MODEL_BASE_PATH=/models MODEL_NAME=model
ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]
"""
MODEL_SERVER = """#!/bin/bash
PYTHONPATH=/opt/stand-in exec /opt/venv/bin/python -m modelport_tfserving.server "$@"
"""
ENTRYPOINT = """#!/bin/bash
tensorflow_model_server --port=8500 --rest_api_port=8501 \\
  --model_name=${MODEL_NAME} --model_base_path=${MODEL_BASE_PATH}/${MODEL_NAME} "$@"
"""


def call(*command: str, **options) -> str:
    """Run a program that belongs to a fixture; what it said comes with its failure."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def engine(tmp_path_factory) -> Iterator[Engine]:
    """podman, so set up that what pip finds in folders of this machine it finds in builds, too."""
    with pytest.MonkeyPatch.context() as patch:
        file = tmp_path_factory.mktemp("engine") / "containers.conf"
        file.write_text(render_configuration(local_package_folders()), encoding="utf-8")
        patch.setenv("CONTAINERS_CONF", str(file))
        try:
            found = find_engine("podman")
        except MissingTool as error:
            pytest.skip(f"{error}. `.ci/install-tools` installs it")
        yield found


@pytest.fixture(scope="session")
def bases(engine) -> Iterator[Bases]:
    """Base images; what was given a public name for them loses it when the last run that needs it is over."""
    with LOCK.open("a") as shared:
        fcntl.flock(shared, fcntl.LOCK_SH)
        made = Bases(engine)
        yield made
        try:
            fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another run is in the middle of it
        made.forget()


@pytest.fixture(scope="session")
def python_base(bases) -> str:
    """The name of a slim Python image that is here."""
    return bases.python()


class Bases:
    """Makes base images where nobody pulled them, once for all runs with the same recipe."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._named: set[str] = set()

    def python(self) -> str:
        """``python:3.11-slim``: Debian's own Python, which finds packages as this machine does."""
        pip = pip_settings()
        bundle = Path(os.environ.get("SSL_CERT_FILE", CA_BUNDLE))
        certificates = bundle.read_bytes() if bundle.is_file() else b""
        recipe = digest_of(DEBOOTSTRAP, TIDY, pip, hashlib.sha256(certificates).hexdigest(), variables())

        def make(folder: Path, labels: list[str], reference: str) -> None:
            if os.geteuid() != 0 or shutil.which("debootstrap") is None:
                pytest.skip(f"{PYTHON} is not here, and making a stand-in takes debootstrap and root")
            rootfs = folder / "rootfs"
            call(*DEBOOTSTRAP, str(rootfs), env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
            call("sh", "-c", TIDY, "tidy", str(rootfs))
            if certificates:
                (rootfs / CA_BUNDLE.lstrip("/")).write_bytes(certificates)
            (rootfs / "etc/pip.conf").write_text(pip, encoding="utf-8")
            call("tar", "-C", str(rootfs), "-cf", str(folder / "rootfs.tar"), ".")
            changes = [*variables(), 'CMD ["python3"]', *(f"LABEL {label}" for label in labels)]
            arguments = [part for change in changes for part in ("--change", change)]
            call(self.engine.program, "import", *arguments, str(folder / "rootfs.tar"), reference)

        return self._ensure(PYTHON, "python", recipe, make)

    def tensorflow_serving(self, version: str) -> str:
        """``tensorflow/serving:VERSION``: Debian in place of Ubuntu, the embedded server in place of the binary."""
        reference = f"docker.io/tensorflow/serving:{version}"
        # The steps that install TensorFlow are those of the embedded server's image: the engine does them once.
        text = render_packages(self.python(), version) + SERVING
        server = ROOT / "backends" / "modelport_tfserving" / "server"
        sources = [path.read_text(encoding="utf-8") for path in sorted(server.glob("*.py"))]
        base = image_label(self.engine, PYTHON, RECIPE)
        recipe = digest_of(text, MODEL_SERVER, ENTRYPOINT, base, *sources)

        def make(folder: Path, labels: list[str], reference: str) -> None:
            shutil.copytree(
                server, folder / "modelport_tfserving" / "server", ignore=shutil.ignore_patterns("__pycache__")
            )
            (folder / "modelport_tfserving" / "__init__.py").touch()
            (folder / "Dockerfile").write_text(text, encoding="utf-8")
            needed = "".join(f"{line}\n" for line in requirements(version))
            (folder / "requirements.txt").write_text(needed, encoding="utf-8")
            for name, script in (("tensorflow_model_server", MODEL_SERVER), ("tf_serving_entrypoint.sh", ENTRYPOINT)):
                (folder / name).write_text(script, encoding="utf-8")
                (folder / name).chmod(0o755)
            marks = [part for label in labels for part in ("--label", label)]
            call(self.engine.program, "build", "--format", "docker", *marks, "--tag", reference, str(folder))

        return self._ensure(reference, f"serving-{version}", recipe, make)

    def forget(self) -> None:
        """Take the public names away again; the images stay under names of the tests'."""
        for reference in self._named:
            call(self.engine.program, "untag", reference, reference)

    def _ensure(self, reference: str, kind: str, recipe: str, make: Callable[[Path, list[str], str], None]) -> str:
        with exclusive(kind):
            known = image_label(self.engine, reference, RECIPE)
            theirs = known is None and exists(self.engine, reference)
            if not theirs and known != recipe:
                cached = f"{CACHE}/{kind}:{recipe[:16]}"
                if not exists(self.engine, cached):
                    self._remove_stale(kind)
                    with tempfile.TemporaryDirectory(prefix="modelport-base-") as folder:
                        make(Path(folder), [f"{RECIPE}={recipe}"], cached)
                call(self.engine.program, "tag", cached, reference)
                known = recipe
        if known is not None:
            self._named.add(reference)
        return reference

    def _remove_stale(self, kind: str) -> None:
        found = call(self.engine.program, "images", "--quiet", "--filter", f"reference={CACHE}/{kind}")
        for image in set(found.split()):
            subprocess.run([self.engine.program, "rmi", "--force", image], check=False, capture_output=True)


@contextmanager
def exclusive(kind: str) -> Iterator[None]:
    """Let one run at a time make an image."""
    with LOCK.with_suffix(f".{kind}").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def exists(engine: Engine, reference: str) -> bool:
    return subprocess.run([engine.program, "image", "exists", reference], check=False).returncode == 0


def image_label(engine: Engine, reference: str, name: str) -> str | None:
    """Give a label of an image; None where there is no such image or label."""
    try:
        facts = engine.ask_json("image", "inspect", reference, what="podman image inspect")
    except BuildError:
        return None
    return (facts[0].get("Labels") or {}).get(name)


def digest_of(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def pip_settings() -> str:
    """What pip is told here by files and variables, as the text of a file for the image."""
    found = call(sys.executable, "-m", "pip", "config", "list")
    settings = {}
    for line in found.splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'")
    if "cert" in settings:
        settings["cert"] = CA_BUNDLE
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in sorted(settings.items()))


def local_package_folders() -> list[Path]:
    """The folders of this machine that pip is told to look into."""
    words = [word for line in pip_settings().splitlines() for word in line.partition("=")[2].split()]
    links = [Path(word) for word in words if word.startswith("/") and Path(word).is_dir()]
    # An index refers to files beside it.
    indexes = [Path(word.removeprefix("file://")).parent for word in words if word.startswith("file:///")]
    return sorted({path for path in (*links, *indexes) if path.is_dir()})


def variables() -> list[str]:
    """What an image's environment says beside the path: certificates and folders of packages, where this one does."""
    wanted = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if name in os.environ:
            wanted[name] = CA_BUNDLE
    if "PIP_FIND_LINKS" in os.environ:
        wanted["UV_FIND_LINKS"] = os.environ["PIP_FIND_LINKS"]
    return [f"ENV {name}={value}" for name, value in sorted(wanted.items())]


def render_configuration(folders: list[Path]) -> str:
    """The engine's configuration as it is here, with folders that every build and container sees."""
    tables: dict[str, dict] = {}
    for file in (
        Path("/etc/containers/containers.conf"),
        Path.home() / ".config/containers/containers.conf",
        Path(os.environ.get("CONTAINERS_CONF", "/nowhere")),
    ):
        if file.is_file():
            for table, values in tomllib.loads(file.read_text(encoding="utf-8")).items():
                tables.setdefault(table, {}).update(values)
    containers = tables.setdefault("containers", {})
    containers["volumes"] = [*containers.get("volumes", []), *(f"{path}:{path}:ro" for path in folders)]
    # JSON's texts, numbers and lists are TOML's, too.
    return "".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for table, values in tables.items()
    )
