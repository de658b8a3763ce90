"""How many replicas there are, who decides it, and who may take one away."""

from __future__ import annotations

from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.objects import Object, World, pods_of
from modelport_manifests.check.reading import Table, dig, number, table, tables, text


def check_scaling(world: World) -> Iterator[Finding]:
    """Check autoscalers and disruption budgets."""
    for autoscaler in world.of_kind("HorizontalPodAutoscaler"):
        yield from _check_autoscaler(world, autoscaler)
    for budget in world.of_kind("PodDisruptionBudget"):
        yield from _check_budget(world, budget)


def _check_autoscaler(world: World, autoscaler: Object) -> Iterator[Finding]:
    spec = table(autoscaler.data, "spec")
    target = table(spec, "scaleTargetRef")
    least, most = number(spec, "minReplicas"), number(spec, "maxReplicas")
    if least is not None and most is not None and least > most:
        message = f"{autoscaler.title} wants at least {least} and at most {most} replicas; make minReplicas the smaller"
        yield error(spec.at("minReplicas"), "hpa-bounds", message)
    scaled = world.find(text(target, "kind"), text(target, "name"), autoscaler.namespace)
    if scaled is None:
        if world.whole and target:
            wanted = f"the {text(target, 'kind')} {text(target, 'name')!r}"
            message = f"{autoscaler.title} scales {wanted}, which is not here: nothing is ever scaled"
            yield error(target.at("name"), "target-missing", message)
        return
    inner = table(scaled.data, "spec")
    if "replicas" in inner:
        message = (
            f"{scaled.title} fixes replicas: {inner['replicas']} while {autoscaler.title} scales it: each apply throws "
            "the autoscaler's choice away; remove replicas"
        )
        yield warning(inner.at("replicas"), "hpa-and-replicas", message)
    yield from _check_metrics(autoscaler, spec, scaled)


def _check_metrics(autoscaler: Object, spec: Table, scaled: Object) -> Iterator[Finding]:
    for metric in tables(spec, "metrics"):
        resource = table(metric, "resource")
        name = text(resource, "name")
        if text(resource, "target", "type") != "Utilization":
            continue
        for pod in pods_of(scaled):
            for container in pod.containers:
                given = table(container, "resources")
                if name not in {*table(given, "requests"), *table(given, "limits")}:
                    message = (
                        f"{autoscaler.title} aims at a share of the requested {name}, and the container "
                        f"{text(container, 'name')} of {scaled.title} requests none: it never scales"
                    )
                    yield error(resource.at("name"), "hpa-no-request", message)


def _check_budget(world: World, budget: Object) -> Iterator[Finding]:
    spec = table(budget.data, "spec")
    key = next((k for k in ("maxUnavailable", "minAvailable") if k in spec), "")
    if not key:
        return
    fewest = _fewest(world, budget)
    value = str(spec[key])
    if key == "maxUnavailable":
        blocks = value in {"0", "0%"}
    else:
        blocks = value == "100%" or (fewest is not None and value.isdigit() and 0 < fewest <= int(value))
    if blocks:
        count = f" of {fewest} replicas" if fewest is not None else ""
        message = (
            f"{budget.title} lets no pod go: {key} is {value}{count}, so no node can ever be drained; say "
            "maxUnavailable: 1"
        )
        yield error(spec.at(key), "pdb-blocks-drain", message)


def _fewest(world: World, budget: Object) -> int | None:
    """Give how many pods a budget covers at least, where that is known."""
    wanted = table(budget.data, "spec", "selector", "matchLabels")
    owners = {pod.owner for pod in world.selected(wanted, budget.namespace)} if wanted else set()
    counts = [_replicas(world, owner) for owner in owners]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _replicas(world: World, owner: Object) -> int | None:
    for autoscaler in world.of_kind("HorizontalPodAutoscaler"):
        target = table(autoscaler.data, "spec", "scaleTargetRef")
        if (text(target, "kind"), text(target, "name")) == (owner.kind, owner.name):
            return number(autoscaler.data, "spec", "minReplicas") or 1
    if owner.kind not in {"Deployment", "StatefulSet", "ReplicaSet"}:
        return None
    return 1 if dig(owner.data, "spec", "replicas") is None else number(owner.data, "spec", "replicas")
