"""What a spec can say under ``backends.torchserve``."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from modelport.python_image import PythonImageSection
from modelport.spec.schema import Items, MisplacedValue, Section

PortNumber = Annotated[int, Field(ge=1, le=65535)]

OTHER_PROPERTIES = (
    "async_logging", "blacklist_env_vars", "cors_allowed_headers", "cors_allowed_methods", "cors_allowed_origin",
    "cpu_launcher_args", "cpu_launcher_enable", "grpc_inference_max_connection_age_grace_ms",
    "grpc_inference_max_connection_age_ms", "grpc_management_max_connection_age_grace_ms",
    "grpc_management_max_connection_age_ms", "ipex_enable", "metric_time_interval", "metrics_config",
    "model_metrics_auto_detect", "prefer_direct_buffer", "system_metrics_cmd", "token_expiration_min",
    "unregister_model_timeout",
)  # fmt: skip
"""Keys of ``config.properties`` that TorchServe 0.12 reads, that change no promise of an artifact, and that no option
below stands for."""


class Ports(Section):
    """The five ports that TorchServe binds."""

    rest: PortNumber = Field(default=8080, description="Inference over HTTP.")
    management: PortNumber = Field(default=8081, description="Models and workers, over HTTP.")
    metrics: PortNumber = Field(default=8082, description="Prometheus metrics, over HTTP.")
    grpc: PortNumber = Field(default=7070, description="Inference over gRPC.")
    grpc_management: PortNumber = Field(default=7071, description="Models and workers, over gRPC.")

    @model_validator(mode="after")
    def _numbers_differ(self) -> Ports:
        numbers = self.model_dump()
        for name, number in numbers.items():
            twin = next(other for other, value in numbers.items() if value == number)
            if twin != name:
                raise MisplacedValue(f"{twin} and {name} are both {number}; every port needs its own", name)
        return self


class TorchServeOptions(Section):
    """How the server is configured beyond what every server understands."""

    address: str = Field(
        default="127.0.0.1", description="IPv4 address or host name that all five ports bind to; 0.0.0.0 for all."
    )
    ports: Ports = Field(default=Ports(), description="The five ports that TorchServe binds.")
    token_authorization: bool | None = Field(
        default=None,
        description="Ask callers for TorchServe's tokens. Off on a loopback address; elsewhere it must be said.",
    )
    netty_threads: int | None = Field(default=None, ge=1, le=1024, description="HTTP threads; one a core if left out.")
    netty_client_threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads that talk to workers; one a core if left out."
    )
    job_queue_size: int = Field(default=100, ge=1, description="Requests that may wait; the next one gets a 503.")
    metrics_mode: Literal["prometheus", "log", "legacy"] = Field(
        default="prometheus", description="Where metrics go; /metrics stays empty with log."
    )
    system_metrics: bool = Field(default=True, description="Sample CPU, memory and disk once a minute.")
    model_control: bool = Field(default=False, description="Let callers register and unregister models.")
    allowed_urls: Items[str] = Field(
        default=(), description="Regular expressions of URLs that models may be registered from; none by default."
    )
    install_requirements: bool = Field(
        default=False, description="Let the server run pip on requirements.txt when it loads the model."
    )
    startup_timeout_s: int = Field(default=120, ge=1, le=3600, description="Longest time to load the model, in s.")
    gpus: int | None = Field(default=None, ge=1, le=64, description="GPUs to spread workers over; all if left out.")
    jvm: Items[str] = Field(default=(), description="Arguments of the Java frontend: -Xmx1g.")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads of one inference; the framework's choice if left out."
    )
    handler: str | None = Field(
        default=None,
        description="Your own handler, file.py or file.py:function, instead of modelport's. For readiness it must "
        "answer TorchServe's describe requests, as handlers built on BaseHandler do.",
    )
    extra_files: Items[str] = Field(
        default=(),
        description="Further files for the archive's root, beside the spec: what your own code reads or imports. Of a "
        "folder, what is in it, as torch-model-archiver --extra-files does.",
    )
    image: PythonImageSection = Field(default=PythonImageSection(), description="How the container image is made.")
    properties: dict[str, str | int | bool] = Field(
        default_factory=dict, description=f"Further lines of config.properties: {', '.join(OTHER_PROPERTIES)}."
    )

    @field_validator("address")
    @classmethod
    def _address_fits(cls, address: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", address):
            raise ValueError(
                f"must be an IPv4 address or a host name, got {address!r}; TorchServe's addresses take no port here "
                "(see ports) and no IPv6"
            )
        return address

    @field_validator("allowed_urls")
    @classmethod
    def _patterns_fit(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for index, pattern in enumerate(patterns):
            if not pattern or re.search(r"[,\n\r]|\$\$", pattern):
                raise MisplacedValue(f"{pattern!r}: TorchServe splits its list at commas and replaces $$NAME$$", index)
        return patterns

    @field_validator("jvm")
    @classmethod
    def _arguments_fit(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for index, argument in enumerate(arguments):
            if not re.fullmatch(r"-[!-\[\]-~]+", argument) or "$$" in argument:
                raise MisplacedValue(
                    f"{argument!r}: must be one argument of java, such as -Xmx1g, without spaces, backslashes and $$",
                    index,
                )
        return arguments

    @field_validator("handler")
    @classmethod
    def _handler_fits(cls, handler: str | None) -> str | None:
        if handler is not None and not re.fullmatch(r"[^:]+\.py(:[A-Za-z_]\w*)?", handler):
            raise ValueError(f"must be file.py or file.py:function, got {handler!r}")
        return handler

    @field_validator("properties")
    @classmethod
    def _properties_known(cls, given: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        for key, value in given.items():
            if key not in OTHER_PROPERTIES:
                near = get_close_matches(key, OTHER_PROPERTIES, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(OTHER_PROPERTIES)}"
                raise MisplacedValue(f"{key!r} cannot be set here; {hint}", key)
            if isinstance(value, str) and re.search(r"[\n\r]|\$\$", value):
                raise MisplacedValue("must be one line without $$, which TorchServe replaces", key)
        return given

    @model_validator(mode="after")
    def _options_agree(self) -> TorchServeOptions:
        if self.allowed_urls and not self.model_control:
            raise MisplacedValue("acts only on models that callers register; add model_control: true", "allowed_urls")
        if self.token_authorization is None and not is_loopback(self.address):
            raise MisplacedValue(
                f"others can reach {self.address}, so token_authorization must be said: true makes TorchServe write "
                "key_file.json and refuse calls without a token, false lets everybody in",
                "address",
            )
        return self


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach ``address``."""
    return address == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", address) is not None
