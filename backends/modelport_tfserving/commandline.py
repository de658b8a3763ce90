"""The flags of ``tensorflow_model_server`` for one artifact, on this machine and in a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelport.artifact import Artifact
from modelport_tfserving.options import TFServingOptions


def options_of(artifact: Artifact) -> TFServingOptions:
    """Give ``backends.tfserving`` of an artifact's spec."""
    return TFServingOptions.model_validate(artifact.record["spec"].get("backends", {}).get("tfserving", {}))


def version_directory(artifact: Artifact) -> int:
    """Give the integer that the artifact's only version folder is called by."""
    return next(
        int(folder.name) for folder in (artifact.path / "models" / artifact.name).iterdir() if folder.name.isdigit()
    )


def server_flags(artifact: Artifact, *, rest: int, grpc: int, models: str, folder: str) -> tuple[str, ...]:
    """Give the server's flags for an artifact; see `render_flags`."""
    serving = artifact.record["spec"]["serving"]
    labels = bool(options_of(artifact).labels)
    return render_flags(serving, labels=labels, rest=rest, grpc=grpc, models=models, folder=folder)


def render_flags(
    serving: Mapping[str, Any], *, labels: bool, rest: int, grpc: int, models: str, folder: str
) -> tuple[str, ...]:
    """Give the server's flags.

    Args:
        serving: The spec's ``serving``, as data.
        labels: Whether ``models.config`` has version labels.
        rest: TCP port of REST.
        grpc: TCP port of gRPC.
        models: Path of ``models.config``.
        folder: Folder of ``monitoring.config`` and ``batching.config``.
    """
    flags = [
        f"--port={grpc}",
        f"--rest_api_port={rest}",
        f"--rest_api_timeout_in_ms={serving['timeout_s'] * 1000}",
        f"--model_config_file={models}",
        f"--monitoring_config_file={folder}/monitoring.config",
        f"--grpc_channel_arguments=grpc.max_receive_message_length={serving['max_request_mb'] * 2**20}",
        # A model that does not load at once will not load later: say so now, not after five minutes.
        "--max_num_load_retries=0",
    ]
    if labels:
        # Without it the server ends at its start: labels are assigned before the version they name has loaded.
        flags.append("--allow_version_labels_for_unavailable_models=true")
    if "batching" in serving:
        flags += ["--enable_batching=true", f"--batching_parameters_file={folder}/batching.config"]
    return tuple(flags)


def ready_path(artifact: Artifact) -> str:
    """Give the REST path that answers 200 only once the model can answer.

    Metadata is answered by a loaded version only; the status page answers 200 while it still loads.
    """
    return f"/v1/models/{artifact.name}/versions/{version_directory(artifact)}/metadata"
