"""Which engine takes finished steps from where, and what it is told."""

from pathlib import Path

import pytest

from modelport.errors import SpecError
from modelport.plan import ImagePlan
from modelport.run.building import BuildInputs, build_arguments, check_caches
from modelport.run.engine import Engine

CACHE = "registry.example.com:5000/team/cache"
BOTH = BuildInputs(cache_from=(CACHE,), cache_to=(CACHE,))
FROM = BuildInputs(cache_from=(f"{CACHE}:main",))


def engine(name, version, **environment):
    return Engine(name=name, program="/bin/false", version=version, environment=environment)


def plan(**more):
    return ImagePlan(backend="toy", reference="toy:1", bases=("scratch",), files=(), **more)


@pytest.mark.parametrize(
    ("chosen", "inputs", "told"),
    [
        (engine("podman", "4.3.1"), BOTH, f"--cache-from {CACHE} --cache-to {CACHE} --file"),
        (engine("buildah", "1.28.2"), BOTH, f"--cache-from {CACHE} --cache-to {CACHE} --layers --file"),
        (engine("docker", "27.0"), FROM, f"--cache-from {CACHE}:main --build-arg BUILDKIT_INLINE_CACHE=1 --file"),
        (engine("buildah", "1.24"), BuildInputs(), "build --format docker --file"),
    ],
)
def test_what_an_engine_is_told(chosen, inputs, told):
    check_caches(chosen, plan(), inputs)
    assert told in " ".join(build_arguments(chosen, plan(), inputs, Path("context"), "x:1"))


@pytest.mark.parametrize(
    ("chosen", "inputs", "planned", "words"),
    [
        (engine("podman", "4.1.0"), BOTH, plan(), "--cache-from: podman 4.1.0 reads past it; 4.2 or later"),
        (engine("buildah", "1.26"), BOTH, plan(), "--cache-from: buildah 1.26 reads past it; 1.27 or later"),
        (engine("podman", "5.0"), FROM, plan(), "a tag of its own; give the repository without tag"),
        (engine("podman", "5.0"), BuildInputs(cache_to=("Team/cache",)), plan(), "--cache-to Team/cache: 'Team'"),
        (engine("docker", "27.0"), BOTH, plan(), "--cache-from registry.example.com:5000/team/cache: the tag"),
        (engine("docker", "27.0"), BuildInputs(cache_to=(CACHE,)), plan(), "docker keeps steps in the image itself"),
        (engine("docker", "4.3", DOCKER_BUILDKIT="0"), FROM, plan(), "use --engine podman"),
        (engine("podman", "5.0"), BOTH, plan(tool=("bentoml",)), "toy's own builder takes none"),
        (engine("podman", "5.0"), BOTH, plan(platforms=("linux/amd64", "linux/arm64")), "one platform at a time"),
    ],
)
def test_what_would_do_nothing_is_refused(chosen, inputs, planned, words):
    with pytest.raises(SpecError, match=words):
        check_caches(chosen, planned, inputs)
