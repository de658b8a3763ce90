"""What one replica may use: limits that its model fits in, and the space that its server writes to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from modelport.errors import SpecError
from modelport.image import describe_size, parse_quantity
from modelport.plan import ServicePlan
from modelport.spec.schema import ModelSpec

MIB = 2**20
SCRATCH = 64 * MIB  # logs, sockets, PID files
LEAST_CORES = Fraction(1, 100)
LEAST_MEMORY = 128 * MIB  # none of the servers starts with less, beside what it writes to memory
IN_MEMORY = 256 * MIB  # the largest model whose unpacked copy is kept in memory rather than on the node's disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Room for what a server writes.

    Attributes:
        size: In bytes; the server may unpack its model there.
        in_memory: Whether it is kept in memory; it counts against the memory limit then.
    """

    size: int
    in_memory: bool


def plan_scratch(service: ServicePlan) -> Scratch:
    """Say how much room each writable folder gets, in whole MiB, and where."""
    copy = -(-service.model_bytes // MIB) * MIB
    return Scratch(size=SCRATCH + copy, in_memory=service.model_bytes <= IN_MEMORY)


def memory_limit(spec: ModelSpec) -> int | None:
    """Give ``resources.memory`` in bytes; None where the spec has none."""
    return None if spec.resources.memory is None else parse_quantity(spec.resources.memory)


def _check_cpu(cpu: str) -> None:
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", cpu).groups()  # type: ignore[union-attr]  # the schema's pattern
    if unit not in {"", "m"}:
        raise SpecError(f"resources.cpu: {cpu} is a quantity of memory; cores are written such as 2, 0.5 or 500m")
    cores = Fraction(number) / (1000 if unit else 1)
    if cores < LEAST_CORES:
        raise SpecError(
            f"resources.cpu: {cpu} is next to nothing, and as a limit even stands for none; give at least 10m, or "
            "leave it out for no limit"
        )


def check_resources(spec: ModelSpec, service: ServicePlan) -> None:
    """Refuse limits under which the server could never answer.

    Raises:
        SpecError: There is hardly any CPU, the memory holds no server or not the model, or GPUs and device do not fit
            together.
    """
    if spec.resources.cpu is not None:
        _check_cpu(spec.resources.cpu)
    limit = memory_limit(spec)
    if limit is not None and limit < LEAST_MEMORY:
        raise SpecError(
            f"resources.memory: {spec.resources.memory} holds no server; {service.server} alone takes more than "
            f"{LEAST_MEMORY // MIB}Mi, and would be killed while it starts. See docs/manifests.md for what each takes"
        )
    if limit is not None and limit <= service.model_bytes:
        raise SpecError(
            f"resources.memory: {spec.resources.memory} is not enough: the model's files alone have "
            f"{describe_size(service.model_bytes)} on {service.backend}, and the server is to load them. Give at least "
            f"{-(-2 * service.model_bytes // MIB) + 512}Mi"
        )
    device, gpu = spec.environment.device, spec.resources.gpu
    if device == "cuda" and gpu == 0:
        raise SpecError("resources.gpu: is 0 while environment.device is cuda; the server would find no GPU. Give it 1")
    if device == "cpu" and gpu > 0:
        raise SpecError(
            f"resources.gpu: is {gpu} while environment.device is cpu; nothing would use it. Take it out, or set "
            "environment.device: cuda"
        )
