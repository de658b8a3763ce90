"""How many replicas there are, who decides it, and who may take one away."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.objects import Object, Pod, World, meets, pods_of
from modelport_manifests.check.reading import Table, dig, number, table, tables, text
from modelport_manifests.check.values import check_choice

METRICS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
"""Where a metric of each type is described."""
TARGETS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
"""Where the value of each type of target stands."""


def check_scaling(world: World) -> Iterator[Finding]:
    """Check autoscalers, disruption budgets, and ports of nodes."""
    autoscalers = list(world.of_kind("HorizontalPodAutoscaler"))
    for index, autoscaler in enumerate(autoscalers):
        yield from _check_autoscaler(world, autoscaler)
        yield from _check_alone(autoscaler, autoscalers[:index])
        for metric in tables(autoscaler.data, "spec", "metrics"):
            yield from _check_target(metric)
    budgets = list(world.of_kind("PodDisruptionBudget"))
    for index, budget in enumerate(budgets):
        yield from _check_budget(world, budget)
        yield from _check_covered(world, budget, budgets[:index])
    for pod in world.pods:
        yield from _check_host_ports(world, pod)


def _check_alone(autoscaler: Object, others: list[Object]) -> Iterator[Finding]:
    """Check that nobody else scales what an autoscaler scales."""
    target = table(autoscaler.data, "spec", "scaleTargetRef")
    wanted = (text(target, "kind"), text(target, "name"))
    for other in others:
        theirs = table(other.data, "spec", "scaleTargetRef")
        same = wanted == (text(theirs, "kind"), text(theirs, "name"))
        if same and _stand_together(autoscaler, other):
            message = (
                f"{autoscaler.title} and {other.title} both scale the {' '.join(wanted)}: each undoes the other's "
                "choice, or both stop; put the metrics into one"
            )
            yield error(target.at("name"), "hpa-twice", message)


def _stand_together(one: Object, other: Object) -> bool:
    """Tell whether two objects are applied to one namespace: in folders of their own they may be for two clusters."""
    folders = {posixpath.dirname(each.place.file) for each in (one, other)}
    return one.name != other.name and len(folders) == 1 and meets(one.namespace, other.namespace)


def _check_target(metric: Table) -> Iterator[Finding]:
    yield from check_choice(metric, "type", METRICS)
    key = METRICS.get(text(metric, "type"))
    if key is None:
        return
    if key not in metric:
        message = f"type: {metric['type']} without {key} is refused; describe the metric under {key}"
        yield error(metric.at("type"), "hpa-no-target", message)
        return
    target = table(metric, key, "target")
    yield from check_choice(target, "type", TARGETS)
    wanted = TARGETS.get(text(target, "type"))
    if wanted is not None and target.get(wanted) is None:
        given = [name for name in TARGETS.values() if name in target]
        message = (
            f"a target of type: {target['type']} takes its value from {wanted}, which is missing"
            f"{f', and {given[0]} stands there' if given else ''}: it is refused, or aims at something else"
        )
        yield error(target.at("type"), "hpa-no-target", message)
    share = number(target, "averageUtilization")
    if share is not None and share < 1:
        message = f"averageUtilization: {share} is refused; it is percent of the request, such as 70"
        yield error(target.at("averageUtilization"), "value-refused", message)


def _check_autoscaler(world: World, autoscaler: Object) -> Iterator[Finding]:
    spec = table(autoscaler.data, "spec")
    target = table(spec, "scaleTargetRef")
    least, most = number(spec, "minReplicas"), number(spec, "maxReplicas")
    if least is not None and most is not None and least > most:
        message = f"{autoscaler.title} wants at least {least} and at most {most} replicas; make minReplicas the smaller"
        yield error(spec.at("minReplicas"), "hpa-bounds", message)
    if least == 0:
        yield from _check_to_zero(autoscaler, spec)
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


def _check_to_zero(autoscaler: Object, spec: Table) -> Iterator[Finding]:
    where = spec.at("minReplicas")
    if any(text(metric, "type") in {"Object", "External"} for metric in tables(spec, "metrics")):
        message = f"{autoscaler.title}: minReplicas: 0 needs the cluster's feature HPAScaleToZero; without it, say 1"
        yield warning(where, "hpa-scale-to-zero", message)
        return
    message = (
        f"{autoscaler.title}: minReplicas: 0 is refused: without a pod there is no use to measure. Say 1, or scale by "
        "a metric of type Object or External, or by Knative"
    )
    yield error(where, "hpa-scale-to-zero", message)


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
    keys = [key for key in ("maxUnavailable", "minAvailable") if key in spec]
    if not keys:
        return
    if len(keys) > 1:
        message = "maxUnavailable and minAvailable together are refused; keep one"
        yield error(spec.at("minAvailable"), "value-refused", message)
    key = keys[0]
    fewest = _fewest(world, budget)
    value = str(spec[key])
    if key == "maxUnavailable":
        blocks = value in {"0", "0%"}
    else:
        least = _least(value, fewest)
        blocks = value == "100%" or (fewest is not None and least is not None and 0 < fewest <= least)
    if blocks:
        count = f" of {fewest} replicas" if fewest is not None else ""
        message = (
            f"{budget.title} lets no pod go: {key} is {value}{count}, so no node can ever be drained; say "
            "maxUnavailable: 1"
        )
        yield error(spec.at(key), "pdb-blocks-drain", message)


def _least(value: str, count: int | None) -> int | None:
    """Give how many pods of ``count`` a number or a share of them is; shares are rounded up."""
    if value.isdigit():
        return int(value)
    share = value.removesuffix("%")
    return math.ceil(count * int(share) / 100) if count is not None and share != value and share.isdigit() else None


def _check_covered(world: World, budget: Object, others: list[Object]) -> Iterator[Finding]:
    """Check that no pod is in two budgets, which nobody can evict."""
    wanted = table(budget.data, "spec", "selector", "matchLabels")
    covered = world.selected(wanted, budget.namespace) if wanted else []
    for other in others:
        theirs = table(other.data, "spec", "selector", "matchLabels")
        if not theirs or not _stand_together(budget, other):
            continue
        both = [pod for pod in world.selected(theirs, other.namespace) if pod in covered]
        if both:
            message = (
                f"{both[0].owner.title} is in {budget.title} and {other.title}: pods in two budgets are never evicted, "
                "so no node can be drained; keep one"
            )
            yield error(wanted.place, "pdb-blocks-drain", message)


def _check_host_ports(world: World, pod: Pod) -> Iterator[Finding]:
    """Check that pods that take a port of their node can stand beside each other while they are replaced."""
    owner = pod.owner
    count = most_replicas(world, owner)
    key = "containerPort" if pod.spec.get("hostNetwork") is True else "hostPort"
    taken = [port for container in pod.containers for port in tables(container, "ports") if number(port, key)]
    if not taken or count is None:
        return
    where, port = taken[0].at(key), taken[0][key]
    if count > 1:
        message = (
            f"{count} pods of {owner.title} want port {port} of their node, so no node has two of them, and those for "
            "which none is left never start; leave it to a Service, or make it a DaemonSet"
        )
        yield warning(where, "host-port", message)
    elif count == 1 and owner.kind == "Deployment" and _surges(owner):
        message = (
            f"a new pod of {owner.title} is started before the old one ends, and both want port {port} of the node: "
            "where there is one node, it never starts; say strategy: {type: Recreate}, or leave the port to a Service"
        )
        yield warning(where, "host-port", message)


def _surges(deployment: Object) -> bool:
    """Tell whether the one pod of a Deployment is kept until the new one is ready, as by default."""
    strategy = table(deployment.data, "spec", "strategy")
    gone = str(dig(strategy, "rollingUpdate", "maxUnavailable") or 0)
    return text(strategy, "type") != "Recreate" and gone in {"0", *(f"{share}%" for share in range(100))}


def most_replicas(world: World, owner: Object) -> int | None:
    """Give how many pods an object may have at once; None where that is not known."""
    for autoscaler in world.of_kind("HorizontalPodAutoscaler"):
        target = table(autoscaler.data, "spec", "scaleTargetRef")
        if (text(target, "kind"), text(target, "name")) == (owner.kind, owner.name):
            return number(autoscaler.data, "spec", "maxReplicas")
    return _replicas(world, owner)


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
