"""What a Kubernetes API says when it does not do what it was asked, in words that help."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from modelport.errors import ServerFailed

Object = dict[str, Any]


class Unreachable(ServerFailed):
    """The cluster did not answer, or not now: the same request may go through later."""


class Forbidden(ServerFailed):
    """The cluster knows who asks, and does not allow it."""


def explain(doing: str, where: str, status: int | None, body: Any, reason: object) -> ServerFailed:
    """Give the error to raise.

    Args:
        doing: What was tried: ``apply Deployment digits``.
        where: Which cluster.
        status: HTTP status; None where no answer came.
        body: The answer's body, a Status object if the API itself answered.
        reason: What to say where the body says nothing.
    """
    answer = _status(body)
    said = str(answer.get("message") or reason)
    if not status:
        return Unreachable(
            f"cannot {doing}: {where} cannot be reached: {said}. Check the network, and the server's address in the "
            "kubeconfig"
        )
    if status >= 500 or status == 429:
        return Unreachable(f"cannot {doing}: {where} answered {status}: {said}; try again later")
    for fits, build in EXPLANATIONS:
        if fits(status, said):
            return build(f"cannot {doing}", said, answer)
    return ServerFailed(f"cannot {doing}: {where} answered {status}: {said}")


def _unauthorized(what: str, said: str, answer: Object) -> ServerFailed:
    del answer
    return ServerFailed(f"{what}: the cluster does not accept these credentials ({said}); log in again")


def _over_quota(what: str, said: str, answer: Object) -> ServerFailed:
    del answer
    return ServerFailed(
        f"{what}: a quota of the namespace is exceeded: {said}. Ask for less (resources, deploy.replicas), free what "
        "is not needed, or have the quota raised"
    )


def _forbidden(what: str, said: str, answer: Object) -> ServerFailed:
    del answer
    return Forbidden(f"{what}: not allowed: {said}. Have a Role with this verb bound to you, or take another --context")


def _conflict(what: str, said: str, answer: Object) -> ServerFailed:
    causes = [each for each in answer.get("details", {}).get("causes", ()) if each.get("field")]
    if not causes:
        return ServerFailed(f"{what}: {said}")
    fields = "".join(f"\n    {each['field']}: {each.get('message', 'owned by another')}" for each in causes)
    return ServerFailed(
        f"{what}: others own fields that it sets:{fields}\nLet them go there, or take the fields with --force"
    )


def _invalid(what: str, said: str, answer: Object) -> ServerFailed:
    causes = answer.get("details", {}).get("causes", ())
    fields = "".join(f"\n    {each.get('field', '')}: {each.get('message', '')}" for each in causes)
    return ServerFailed(f"{what}: the cluster finds it invalid: {fields or said}")


def _not_found(what: str, said: str, answer: Object) -> ServerFailed:
    if answer.get("details", {}).get("kind") == "namespaces":
        name = answer["details"].get("name", "")
        return ServerFailed(f"{what}: there is no namespace {name!r}; make it with: kubectl create namespace {name}")
    return ServerFailed(f"{what}: {said}")


Build = Callable[[str, str, Object], ServerFailed]
EXPLANATIONS: tuple[tuple[Callable[[int, str], bool], Build], ...] = (
    (lambda status, _: status == 401, _unauthorized),
    (lambda status, said: status == 403 and "exceeded quota" in said, _over_quota),
    (lambda status, _: status == 403, _forbidden),
    (lambda status, _: status == 404, _not_found),
    (lambda status, _: status == 409, _conflict),
    (lambda status, _: status == 422, _invalid),
)


def _status(body: Any) -> Object:
    """Read the Status object that an API answers with; a proxy on the way may answer anything."""
    try:
        answer = json.loads(body or "{}")
    except ValueError:
        return {"message": str(body)[:500]}
    return answer if isinstance(answer, dict) else {}
