"""What a container may do: users, capabilities, seccomp."""

from __future__ import annotations

from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error
from modelport_manifests.check.known import suggest, words
from modelport_manifests.check.objects import Pod, World
from modelport_manifests.check.reading import Row, Table, number, table, tables
from modelport_manifests.check.values import check_choice

CAPABILITIES = words(
    """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
    FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
    NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
    SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
    """
)
"""Those of Linux (capabilities(7)), without CAP_."""
ALL = "ALL"
SECCOMP = ("RuntimeDefault", "Localhost", "Unconfined")


def check_rights(world: World) -> Iterator[Finding]:
    """Check the security context of every container."""
    for pod in world.pods:
        yield from check_choice(table(pod.spec, "securityContext", "seccompProfile"), "type", SECCOMP)
        for container in pod.containers:
            yield from _check_user(pod, container)
        for container in (*pod.containers, *tables(pod.spec, "initContainers")):
            security = table(container, "securityContext")
            yield from check_choice(table(security, "seccompProfile"), "type", SECCOMP)
            for key, names in table(security, "capabilities").items():
                yield from _check_capabilities(key, names)


def _check_capabilities(key: str, names: object) -> Iterator[Finding]:
    for name, place in zip(names, names.items_at, strict=True) if isinstance(names, Row) else ():
        if not isinstance(name, str) or name == ALL or name in CAPABILITIES:
            continue
        meant = name.upper().removeprefix("CAP_")
        if meant == ALL or meant in CAPABILITIES:
            message = (
                f"{key}: {name} must be {meant}: capabilities are written in capitals and without CAP_ here. Pod "
                'Security compares them letter by letter, so a namespace that is "restricted" refuses the pod'
            )
        else:
            message = f"{key}: {name} is no capability: no container starts with it{suggest(meant, CAPABILITIES)}"
        yield error(place, "capability-unknown", message)


def _check_user(pod: Pod, container: Table) -> Iterator[Finding]:
    own, whole = table(container, "securityContext"), table(pod.spec, "securityContext")
    user = number(own, "runAsUser")
    where = whole if user is None else own
    user = number(whole, "runAsUser") if user is None else user
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is True and user == 0:
        message = "runs as user 0 where runAsNonRoot is true: the container is never started; name another user"
        yield error(where.at("runAsUser"), "root-refused", message)
    if own.get("privileged") is True and own.get("allowPrivilegeEscalation") is False:
        message = "privileged: true is refused beside allowPrivilegeEscalation: false; take it out"
        yield error(own.at("privileged"), "value-refused", message)
