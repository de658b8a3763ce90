"""What the images of servers written in Python share: a virtual environment from a stage of its own, and its user.

The texts are parts of Dockerfiles, each ending with a line break. They leave no compiler, cache or secret behind.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Annotated

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import Field, StringConstraints

from modelport.spec.schema import Items, Section

VENV = "/opt/venv"
PYTHON = f"{VENV}/bin/python"
USER = "10001:0"
"""Any other id may run the images, too: nothing belongs to this one. The group is the one that OpenShift gives."""
INIT = "dumb-init==1.2.5.post1"
"""From the package index, so that it works on every base; the program is ``/opt/venv/bin/dumb-init``."""
INIT_COMMAND = (f"{VENV}/bin/dumb-init", "--single-child", "--")
"""SIGTERM goes to the server alone: sent to its workers as well, it would end them in the middle of a request."""
SECRET = "--mount=type=secret,id=pip"  # noqa: S105  # the name under which one is mounted
"""What a step that installs is run with: a file of pip's with the addresses of private indexes, in no layer."""
SCRATCH = "/tmp"  # noqa: S108  # a path in the container, whose only writable folder it is

ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]
DebianPackage = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
IndexUrl = Annotated[str, StringConstraints(pattern=r"^(https?|file)://[!#%-&(-\[\]-~]+$")]

_TORCH = {"torch", "torchvision", "torchaudio"}
_PIP = f"python -m pip --python {PYTHON} install"


class PythonImageSection(Section):
    """How the image of a server written in Python is made."""

    base: ImageName | None = Field(
        default=None, description="Image to start from, with python and pip in it; Python's own slim one if left out."
    )
    system_packages: Items[DebianPackage] = Field(default=(), description="Debian packages that the image gets.")
    build_packages: Items[DebianPackage] = Field(
        default=(), description="Debian packages that only installing the requirements takes, such as compilers."
    )
    pytorch_index: IndexUrl = Field(
        default="https://download.pytorch.org/whl/cpu",
        description="Package index with builds of PyTorch that hold no CUDA; for environment.device: cpu.",
    )


def base_image(section: PythonImageSection, python: str) -> str:
    """Give the image to start from, for Python ``3.11``."""
    return section.base or f"docker.io/library/python:{python}-slim"


def render_start(section: PythonImageSection, base: str, stage: str = "") -> str:
    """Write the start of a stage; a base of the user's own may run as anybody, and files are installed by root."""
    name = f" AS {stage}" if stage else ""
    # A stage that nothing runs from may end as root.
    root = [*(["# hadolint ignore=DL3002"] if stage else []), "USER 0:0"]
    return _text([f"FROM {base}{name}", *(root if section.base else [])])


def render_environment(
    section: PythonImageSection,
    *,
    base: str,
    requirements: Sequence[str],
    file: str,
    tools: Iterable[str] = (),
    cpu: bool,
) -> str:
    """Write the stage ``environment``, which makes `VENV`.

    Private package indexes are named in a file of pip's that is mounted while the stage is built, and is in no layer:
    ``--secret id=pip,src=pip.conf``.

    Args:
        section: The options.
        base: What to start from.
        requirements: As pip reads them.
        file: The file of the build context that has them.
        tools: Further requirements that depend on nothing.
        cpu: Whether to leave CUDA out.
    """
    torch = [line for line in requirements if canonicalize_name(Requirement(line).name) in _TORCH] if cpu else []
    lines = [
        *_packages(section.build_packages),
        "ENV PIP_CONFIG_FILE=/run/secrets/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1",
        f"RUN python -m venv --without-pip {VENV}",
    ]
    if torch:
        lines += [
            "# The package index's own PyTorch brings CUDA, that of PyTorch's index does not. What it needs is next.",
            f"ARG PYTORCH_INDEX={section.pytorch_index}",
            f'RUN {SECRET} {_PIP} --no-deps --index-url "$PYTORCH_INDEX" {_words(torch)}',
        ]
    lines += [f"COPY {exec_form((file, '/requirements.txt'))}", f"RUN {SECRET} {_install(tools, cpu=cpu)}"]
    return render_start(section, base, "environment") + _text(lines)


def _install(tools: Iterable[str], *, cpu: bool) -> str:
    steps = [f"{_PIP} --requirement /requirements.txt"]
    if extra := _words(tools):
        steps.append(f"{_PIP} --no-deps {extra}")
    if cpu:
        # XGBoost's wheel asks for NVIDIA's libraries, and does without them on a CPU. nvidia-ml-py is none of them.
        steps.append(
            f"find {VENV}/lib -maxdepth 3 \\( -name nvidia -o -name 'nvidia_*.dist-info' \\) "
            "! -name 'nvidia_ml_py-*' -exec rm -rf {} +"
        )
    return " \\\n && ".join(steps)


def render_system_packages(section: PythonImageSection, lacking: Iterable[str] = ()) -> str:
    """Write the step that installs Debian packages; empty where there are none.

    Args:
        section: The options.
        lacking: What the server or the model needs beside them.
    """
    return _text(_packages(dict.fromkeys((*lacking, *section.system_packages))))


def render_user(environment: dict[str, str]) -> str:
    """Write who runs the server, and variables that let it run as anybody, on a root that is read-only."""
    values = {
        "PATH": f"{VENV}/bin:$PATH",
        "HOME": SCRATCH,
        "LOGNAME": "modelport",  # Python asks who runs it, and fails where no account has the id
        "TMPDIR": SCRATCH,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    pairs = " \\\n    ".join(f"{key}={value}" for key, value in values.items())
    return _text([f"ENV {pairs}", f"USER {USER}"])


def render_end(
    *,
    ports: Iterable[int],
    probe: Sequence[str],
    start_s: float,
    entrypoint: Sequence[str],
    command: Sequence[str] = (),
) -> str:
    """Write the end of a Dockerfile: ports, health check, how it ends, what runs.

    Args:
        ports: TCP ports that others may call.
        probe: Command that ends with 0 when a request would be answered.
        start_s: How long a start may take, in seconds.
        entrypoint: What always runs.
        command: Its arguments, which a caller may replace.
    """
    return _text(
        [
            f"EXPOSE {' '.join(map(str, ports))}",
            "STOPSIGNAL SIGTERM",
            f"HEALTHCHECK --interval=10s --timeout=5s --start-period={start_s:.0f}s --retries=3 CMD {exec_form(probe)}",
            f"ENTRYPOINT {exec_form(entrypoint)}",
            *([f"CMD {exec_form(command)}"] if command else []),
        ]
    )


def probe_http(port: int, path: str) -> tuple[str, ...]:
    """Give a command that ends with 0 when ``path`` on this container's own ``port`` answers 200."""
    code = (
        "import http.client as h,sys;"
        f"c=h.HTTPConnection('127.0.0.1',{port},timeout=4);"
        f"c.request('GET',{path!r});"
        "sys.exit(c.getresponse().status!=200)"
    )
    return (PYTHON, "-IS", "-c", code)


def exec_form(words: Sequence[str]) -> str:
    """Write words as Dockerfiles take them without a shell: a JSON array."""
    return json.dumps(list(words), ensure_ascii=False)


def _packages(names: Iterable[str]) -> list[str]:
    if not (wanted := " ".join(names)):
        return []
    return [
        "# Versions are those of the base's Debian: one that is written here is gone with the next security fix.",
        "# hadolint ignore=DL3008",
        f"RUN apt-get update && apt-get install --yes --no-install-recommends {wanted} \\",
        " && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*",
    ]


def _words(parts: Iterable[str]) -> str:
    return " ".join(shlex.quote(part) for part in parts)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
