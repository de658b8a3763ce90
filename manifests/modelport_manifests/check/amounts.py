"""How much a container asks for: what the API refuses, and units that say something else than was meant."""

from __future__ import annotations

from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error
from modelport_manifests.check.quantity import read_quantity
from modelport_manifests.check.reading import Table, table

LEAST_BYTES = 2**20
MOST_CORES = 1000


def check_amounts(container: Table) -> Iterator[Finding]:
    """Check what a container requests, and its limits."""
    for section in ("requests", "limits"):
        amounts = table(container, "resources", section)
        for resource in amounts:
            yield from check_quantity(amounts, resource)
            yield from _check_unit(amounts, resource)
    yield from _check_devices(table(container, "resources"))


def check_quantity(where: Table, key: str) -> Iterator[Finding]:
    """Check that a value is a quantity, as Kubernetes writes them."""
    value = where.get(key)
    if value is not None and not isinstance(value, bool) and read_quantity(value) is None:
        message = f"{key}: {value} is no quantity, and is refused; write it such as 500m, 2, 512Mi or 1.5Gi"
        yield error(where.at(key), "value-refused", message)


def _check_unit(amounts: Table, resource: str) -> Iterator[Finding]:
    """Check for units that are taken, and mean a thousandth or a thousand times of what was meant."""
    given = amounts[resource]
    amount = read_quantity(given)
    if amount is None:
        return
    if resource in {"memory", "ephemeral-storage"} and amount < LEAST_BYTES:
        near = (
            f"; m is a thousandth, so write {given[:-1]}Mi" if str(given).endswith("m") else "; write it such as 512Mi"
        )
        message = f"{resource}: {given} is {amount:g} bytes, with which nothing starts{near}"
        yield error(amounts.at(resource), "unit-mistaken", message)
    if resource == "cpu" and amount >= MOST_CORES:
        message = f"cpu: {given} is {amount:g} cores, which no node has; a thousandth of a core is m, as in 500m"
        yield error(amounts.at(resource), "unit-mistaken", message)


def _check_devices(resources: Table) -> Iterator[Finding]:
    """Check what is given out whole, such as GPUs: a limit in whole numbers, and no other request."""
    requests, limits = table(resources, "requests"), table(resources, "limits")
    for name in (*limits, *(name for name in requests if name not in limits)):
        if "/" not in name:
            continue
        where = limits if name in limits else requests
        most = read_quantity(limits.get(name))
        if name not in limits:
            message = f"{name} is requested without a limit, which is refused; give the limit alone"
        elif most is not None and most != int(most):
            message = f"{name}: {limits[name]} is refused: it is given out whole"
        elif name in requests and read_quantity(requests[name]) != most:
            message = (
                f"{name}: {requests[name]} is requested and {limits[name]} the limit, which is refused; make both equal"
            )
        else:
            continue
        yield error(where.at(name), "value-refused", message)
