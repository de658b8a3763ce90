"""A Kubernetes API, through the official client: read, apply, delete and list any kind of object, with clear errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import ServerFailed
from modelport.run.refusal import Forbidden, explain

Object = dict[str, Any]

MANAGER = "modelport"
APPLY_TYPE = "application/apply-patch+yaml"  # JSON is YAML, and JSON is what is sent
REQUEST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Where the objects of one kind are.

    Attributes:
        root: ``/api/v1`` or ``/apis/<group>/<version>``.
        plural: ``deployments``.
        namespaced: Whether they live in a namespace.
    """

    root: str
    plural: str
    namespaced: bool


@dataclass(slots=True, kw_only=True)
class Cluster:
    """A connection to one cluster.

    Attributes:
        client: `kubernetes.dynamic.DynamicClient`; only its ``request`` is used.
        context: Name of the context, for messages.
        server: URL of the API, for messages.
        namespace: The context's own namespace.
    """

    client: Any
    context: str
    server: str
    namespace: str
    _resources: dict[str, dict[str, Resource]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Which cluster this is, for messages."""
        return f"the cluster of context {self.context!r} ({self.server})"

    def close(self) -> None:
        """Give the connections back."""
        self.client.client.close()

    def read(self, wanted: Object) -> Object | None:
        """Give the object of this kind and name as it is in the cluster, or None."""
        found: Object | None = self._request("GET", self.path(wanted), f"read {describe(wanted)}", absent=True)
        return found

    def apply(self, wanted: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Apply an object server-side, as `MANAGER`; give it as it then is.

        Args:
            wanted: The object, with name and namespace.
            force: Take fields that others own.
            dry_run: Only tell what would come of it.

        Raises:
            ServerFailed: The cluster refused it; the message says why and what mends it.
        """
        # Strict: a field that this cluster's version does not know is refused, not dropped.
        query = [("fieldManager", MANAGER), ("force", "true" if force else "false"), ("fieldValidation", "Strict")]
        query += [("dryRun", "All")] if dry_run else []
        doing = f"apply {describe(wanted)}"
        applied: Object = self._request("PATCH", self.path(wanted), doing, body=wanted, query=query, kind=APPLY_TYPE)
        return applied

    def delete(self, existing: Object) -> None:
        """Delete this very object, and what it owns; one of the same name that came later stays, as does none."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": existing["metadata"]["uid"]},
        }
        self._request("DELETE", self.path(existing), f"delete {describe(existing)}", body=body, absent=True)

    def find(self, api_version: str, kind: str, namespace: str, **selectors: str) -> list[Object]:
        """Give the objects of a kind in a namespace; ``labelSelector``, ``fieldSelector`` narrow them."""
        resource = self.resource(api_version, kind)
        path = f"{resource.root}/namespaces/{namespace}/{resource.plural}"
        found = self._request("GET", path, f"list {resource.plural}", query=list(selectors.items()))
        items: list[Object] = found["items"]
        return items

    def log(self, pod: Object, container: str, *, lines: int, previous: bool) -> str:
        """Give the last lines that a container wrote; those of its run before where ``previous``."""
        query = [("container", container), ("tailLines", str(lines)), ("previous", "true" if previous else "false")]
        path = f"{self.path({**pod, 'apiVersion': 'v1', 'kind': 'Pod'})}/log"
        text = self._request("GET", path, f"read the log of {pod['metadata']['name']}", query=query, text=True)
        return str(text)

    def check_namespace(self, name: str) -> None:
        """Raise where the namespace is not there; one that may not be looked at is taken to be.

        Raises:
            ServerFailed: With the command that makes it.
        """
        try:
            there = self._request("GET", f"/api/v1/namespaces/{name}", f"read the namespace {name}", absent=True)
        except Forbidden:
            return
        if there is None:
            raise ServerFailed(
                f"the cluster of context {self.context!r} has no namespace {name!r}; make it with: "
                f"kubectl create namespace {name}, or choose another with --namespace"
            )

    def resource(self, api_version: str, kind: str) -> Resource:
        """Find out where a kind's objects are.

        Raises:
            ServerFailed: The cluster does not know the kind.
        """
        if api_version not in self._resources:
            root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            found = self._request("GET", root, f"ask for the kinds of {api_version}", absent=True) or {"resources": []}
            self._resources[api_version] = {
                each["kind"]: Resource(root=root, plural=each["name"], namespaced=each["namespaced"])
                for each in found["resources"]
                if "/" not in each["name"]  # deployments/scale and the like
            }
        if kind not in self._resources[api_version]:
            raise ServerFailed(
                f"the cluster of context {self.context!r} knows no {kind} of {api_version}. Install the operator that "
                "brings it, or leave out of the spec what asks for it (deploy.monitoring for ServiceMonitor and "
                "PrometheusRule, deploy.ingress for HTTPRoute)"
            )
        return self._resources[api_version][kind]

    def path(self, wanted: Object) -> str:
        """Give an object's path in the API."""
        resource = self.resource(wanted["apiVersion"], wanted["kind"])
        place = f"/namespaces/{wanted['metadata']['namespace']}" if resource.namespaced else ""
        return f"{resource.root}{place}/{resource.plural}/{wanted['metadata']['name']}"

    def _request(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
        kind: str = "application/json",
        absent: bool = False,
        text: bool = False,
    ) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self.client.request(
                method,
                path,
                body=body,
                query_params=query or [],
                content_type=kind,
                serialize=False,
                _request_timeout=REQUEST_S,
            )
        except ApiException as error:
            if error.status == 404 and absent:
                return None
            raise explain(doing, self.where, error.status, error.body, error.reason) from error
        except HTTPError as error:
            raise explain(doing, self.where, None, "", error) from error
        data = response.data.decode("utf-8", "replace")
        return data if text else json.loads(data)


def describe(wanted: Mapping[str, Any]) -> str:
    """Name an object for people: ``Deployment digits``."""
    return f"{wanted['kind']} {wanted['metadata']['name']}"
