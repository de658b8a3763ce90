"""Which cluster is meant: the kubeconfig's context, or the pod's own account."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from modelport.errors import SpecError
from modelport.run.cluster import Cluster


def connect_cluster(context: str | None) -> Cluster:
    """Connect as kubectl would: by ``$KUBECONFIG``, ``~/.kube/config``, or the account of the pod that this runs in.

    Args:
        context: Name of a context of the kubeconfig; its current one where None.

    Raises:
        SpecError: There is no such context, or no kubeconfig at all.
    """
    from kubernetes import client, config, dynamic
    from kubernetes.config.config_exception import ConfigException
    from yaml import YAMLError

    configuration = client.Configuration()
    configuration.retries = False
    files = _files()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and not files:
            config.load_incluster_config(client_configuration=configuration)
            chosen, namespace = "the pod's own", _own_namespace()
        else:
            chosen, namespace = _choose_context(context, files)
            config.load_kube_config(config_file=files, context=chosen, client_configuration=configuration)
    except (ConfigException, YAMLError, OSError) as error:
        raise SpecError(f"the kubeconfig cannot be used: {error}; check $KUBECONFIG or ~/.kube/config") from error
    # Kinds are asked for one group at a time, in `Cluster.resource`: nothing is left in the temporary folder.
    connection = dynamic.DynamicClient(client.ApiClient(configuration), discoverer=lambda *_: None)
    return Cluster(client=connection, context=chosen, server=configuration.host, namespace=namespace)


def _files() -> str:
    """Give the kubeconfig's files that are there, as $KUBECONFIG would list them."""
    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    places = named or [str(Path.home() / ".kube" / "config")]
    return os.pathsep.join(place for place in places if Path(place).is_file())


def _choose_context(wanted: str | None, files: str) -> tuple[str, str]:
    """Give the context's name and its namespace."""
    from kubernetes import config

    if not files:
        raise SpecError(
            "there is no kubeconfig: neither $KUBECONFIG nor ~/.kube/config names a file that is there. Get one from "
            "whoever runs the cluster, or deploy to this machine with --target podman or --target compose"
        )
    contexts, active = config.list_kube_config_contexts(config_file=files)
    named = {each["name"]: each for each in contexts}
    name = wanted or (active or {}).get("name", "")
    if name not in named:
        near = get_close_matches(name, named, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"--context {name}: the kubeconfig has {', '.join(sorted(named)) or 'no context'}.{hint}")
    return name, named[name]["context"].get("namespace", "default")


def _own_namespace() -> str:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text(encoding="utf-8").strip()
