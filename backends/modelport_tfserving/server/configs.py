"""The text-proto files that the flags name: models, batching, monitoring, TLS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from modelport_tfserving.server.messages import message_class
from modelport_tfserving.server.statuses import invalid_argument, not_found


class VersionPolicy(Enum):
    """Which of the version directories are to be served."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model to serve: `versions` counts for the policy SPECIFIC, `num_versions` for LATEST."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy.LATEST
    num_versions: int = 1
    versions: frozenset[int] = frozenset()
    labels: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """How requests are joined: sizes in rows, times in microseconds, with the real server's defaults.

    `max_execution_size` differs from `max_size` only where large requests are split; with `pad_inputs`, requests
    whose rows differ in shape share a batch, padded to the largest.
    """

    max_size: int = 1000
    timeout_micros: int = 0
    max_enqueued: int = 10
    threads: int = 1
    allowed_sizes: tuple[int, ...] = ()
    max_execution_size: int = 1000
    pad_inputs: bool = False


@dataclass(frozen=True, kw_only=True)
class TLSConfig:
    """Key, certificate and client authority of the gRPC port, as PEM text."""

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes
    client_verify: bool


def load_model_configs(path: Path) -> tuple[ModelConfig, ...] | None:
    """Read a ModelServerConfig text proto, as `plan_models` does."""
    from tensorflow_serving.config import model_server_config_pb2

    return plan_models(_read_text_proto(path, model_server_config_pb2.ModelServerConfig()))


def plan_models(message: Any) -> tuple[ModelConfig, ...] | None:
    """Return the models of a ModelServerConfig message; None when the message is empty.

    Raises INVALID_ARGUMENT for a repeated name, a relative base path, a missing or foreign platform, and for what
    this server cannot honour.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("custom_model_config is not supported: list the models in model_config_list")
    if message.WhichOneof("config") is None:
        return None
    models: dict[str, ModelConfig] = {}
    for config in message.model_config_list.config:
        if config.name in models:
            raise invalid_argument(f"Illegal to list model {config.name} multiple times in config list")
        models[config.name] = _plan_model(config)
    return tuple(models.values())


def _plan_model(config: Any) -> ModelConfig:
    if not config.name:
        raise invalid_argument("a model in model_config_list has no name")
    if not config.base_path.startswith("/"):
        raise invalid_argument(
            f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            + (" (this server reads local directories only)" if "://" in config.base_path else "")
        )
    _check_platform(config)
    if config.HasField("logging_config"):
        raise invalid_argument(f"model {config.name}: logging_config is not supported; leave it out")
    policy = VersionPolicy(config.model_version_policy.WhichOneof("policy_choice") or "latest")
    return ModelConfig(
        name=config.name,
        base_path=Path(config.base_path),
        policy=policy,
        num_versions=config.model_version_policy.latest.num_versions or 1,
        versions=frozenset(config.model_version_policy.specific.versions),
        labels=tuple(sorted(config.version_labels.items())),
    )


def _check_platform(config: Any) -> None:
    if config.model_type and config.model_platform:
        raise invalid_argument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if config.model_type not in {0, 1}:
        raise invalid_argument(f"ModelServerConfig::model_type choice {config.model_type} not supported.")
    if not config.model_type and not config.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f'ModelServerConfig::model_platform: write model_platform: "tensorflow" for model {config.name}'
        )
    if config.model_platform not in {"", "tensorflow"}:
        raise invalid_argument(f"Model {config.name} requests unsupported platform {config.model_platform}")


def load_batching(path: Path, cpus: int) -> BatchingParameters:
    """Read a BatchingParameters text proto; `cpus` is the default number of threads."""
    message = _read_text_proto(path, message_class("BatchingParameters")())

    def wrapped(field: str, default: int) -> int:
        return int(getattr(message, field).value) if message.HasField(field) else default

    max_size = wrapped("max_batch_size", 1000)
    execution_size = max_size
    if message.enable_large_batch_splitting.value:
        execution_size = wrapped("max_execution_batch_size", max_size)
    parameters = BatchingParameters(
        max_size=max_size,
        timeout_micros=wrapped("batch_timeout_micros", 0),
        max_enqueued=wrapped("max_enqueued_batches", 10),
        threads=wrapped("num_batch_threads", cpus),
        allowed_sizes=tuple(message.allowed_batch_sizes),
        max_execution_size=execution_size,
        pad_inputs=message.pad_variable_length_inputs,
    )
    _check_batching(parameters)
    return parameters


def _check_batching(parameters: BatchingParameters) -> None:
    least = min(parameters.max_size, parameters.max_enqueued, parameters.threads, parameters.max_execution_size)
    if least < 1 or parameters.timeout_micros < 0:
        raise invalid_argument(
            "max_batch_size, max_enqueued_batches, num_batch_threads and max_execution_batch_size must be at "
            "least 1, batch_timeout_micros at least 0"
        )
    if parameters.max_execution_size > parameters.max_size:
        raise invalid_argument("max_execution_batch_size must not be above max_batch_size")
    sizes = parameters.allowed_sizes
    if any(one >= other for one, other in pairwise(sizes)) or (sizes and sizes[0] < 1):
        raise invalid_argument("allowed_batch_sizes entries must be in increasing order")
    if sizes and sizes[-1] != parameters.max_execution_size:
        raise invalid_argument(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; "
            f"expected {parameters.max_execution_size}"
        )


def load_metrics_path(path: Path) -> str | None:
    """Read a MonitoringConfig text proto: the URL path of the metrics, None where they are off."""
    config = _read_text_proto(path, message_class("MonitoringConfig")()).prometheus_config
    return (config.path or "/monitoring/prometheus/metrics") if config.enable else None


def load_tls(path: Path) -> TLSConfig:
    """Read an SSLConfig text proto. Raises INVALID_ARGUMENT for one without what TLS needs."""
    config = _read_text_proto(path, message_class("SSLConfig")())
    if not (config.server_key and config.server_cert):
        raise invalid_argument(f"{path}: server_key and server_cert are needed, as PEM text")
    if config.client_verify and not config.custom_ca:
        raise invalid_argument(f"{path}: client_verify needs custom_ca, the PEM text of who signs for clients")
    return TLSConfig(
        server_key=config.server_key.encode(),
        server_cert=config.server_cert.encode(),
        custom_ca=config.custom_ca.encode(),
        client_verify=config.client_verify,
    )


def load_session_config(path: Path) -> Any:
    """Read a TensorFlow ConfigProto text proto."""
    from tensorflow.core.protobuf import config_pb2

    return _read_text_proto(path, config_pb2.ConfigProto())


def _read_text_proto(path: Path, message: Any) -> Any:
    from google.protobuf import text_format

    try:
        text_format.Parse(path.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise not_found(f"{path}; {error.strerror}") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        kind = message.DESCRIPTOR.full_name
        raise invalid_argument(f"Invalid protobuf file: '{path}': Error parsing text-format {kind}: {error}") from None
    return message
