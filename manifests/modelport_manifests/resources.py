"""What one replica may use: limits that its model fits in, and the space that its server writes to."""

from __future__ import annotations

from dataclasses import dataclass

from modelport.errors import SpecError
from modelport.image import describe_size, parse_quantity
from modelport.plan import ServicePlan
from modelport.spec.schema import ModelSpec

MIB = 2**20
SCRATCH = 64 * MIB  # logs, sockets, PID files
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


def check_resources(spec: ModelSpec, service: ServicePlan) -> None:
    """Refuse limits under which the server could never answer.

    Raises:
        SpecError: The memory does not hold the model, or GPUs and device do not fit together.
    """
    limit = memory_limit(spec)
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
