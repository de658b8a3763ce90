"""The model spec: every key, its type, its limits and its meaning.

`ModelSpec` is what the rest of modelport sees. Reading one from a file, with positions, is `modelport.spec.loading`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from modelport.spec.section import (
    CODE,
    DNS_NAME,
    HOST,
    IMAGE,
    NAME,
    PATH,
    PATTERN_WORDS,
    PLATFORM,
    PYTHON,
    QUANTITY,
    SHA256,
    VERSION,
    Items,
    MisplacedValue,
    Section,
    TensorEntry,
    check_names,
)
from modelport.spec.steps import PostprocessSection, PreprocessSection, StepEntry
from modelport_runtime.signature import Signature

# The one door to the spec's types: what stands in `section` and `steps` is imported from here outside of this package.
__all__ = [
    "DNS_NAME",
    "NAME",
    "PATTERN_WORDS",
    "VERSION",
    "Items",
    "MisplacedValue",
    "ModelSpec",
    "PostprocessSection",
    "PreprocessSection",
    "Section",
    "StepEntry",
    "TensorEntry",
]

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=63)]
Version = Annotated[str, StringConstraints(pattern=VERSION, max_length=63)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]
CodeReference = Annotated[str, StringConstraints(pattern=CODE)]
FilePath = Annotated[str, StringConstraints(min_length=1, pattern=PATH)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
DnsName = Annotated[str, StringConstraints(pattern=DNS_NAME)]


class SignatureEntry(Section):
    """What a model takes and gives. A side that is left out is read from the model."""

    inputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="Inputs, in order.")
    outputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="Outputs, in order.")

    @model_validator(mode="after")
    def _names_differ(self) -> SignatureEntry:
        check_names(self.inputs, self.outputs)
        return self

    def signature(self) -> Signature:
        """Give both sides; a side that is left out is empty."""
        return Signature(
            inputs=tuple(t.tensor() for t in self.inputs or ()),
            outputs=tuple(t.tensor() for t in self.outputs or ()),
        )


class ModelSection(Section):
    """Where the model is and how to load it."""

    framework: Literal["pytorch", "onnx", "tensorflow", "sklearn", "xgboost", "lightgbm"] = Field(
        description="Who made the model."
    )
    source: FilePath = Field(description="File or folder, relative to the spec.")
    sha256: Sha256 | None = Field(default=None, description="Digest that the file must have; checked.")
    entrypoint: CodeReference | None = Field(
        default=None, description="module:Class that a state dict is loaded into, relative to the spec."
    )
    trust: bool = Field(
        default=False, description="Allow joblib and pickle files, which run code when they are loaded."
    )


class TransformSection(Section):
    """Pre- and postprocessing in Python, with the signature that it shows to callers."""

    source: CodeReference = Field(description="file.py:Class with preprocess and postprocess.")
    files: Items[FilePath] | None = Field(
        default=None, description="Data files and folders that the class reads, beside its own file."
    )
    inputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="What requests hold.")
    outputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="What answers hold.")

    @model_validator(mode="after")
    def _names_differ(self) -> TransformSection:
        check_names(self.inputs, self.outputs)
        return self


def _transform_form(value: Any) -> str | None:
    """Tell the two forms of a transform apart by what stands there, so that a fault is told of one form only."""
    if isinstance(value, str):
        return "text"
    return "mapping" if isinstance(value, dict | TransformSection) else None


Transform = Annotated[
    Annotated[CodeReference, Tag("text")] | Annotated[TransformSection, Tag("mapping")],
    Discriminator(
        _transform_form,
        custom_error_type="transform_form",
        custom_error_message="must be file.py:Class, or a mapping with source, files, inputs and outputs",
    ),
]


class EnvironmentSection(Section):
    """What must be installed where the model runs."""

    python: Annotated[str, StringConstraints(pattern=PYTHON)] = Field(
        default="3.11", description="Python version of the artifact's environment."
    )
    requirements: Items[str] | None = Field(
        default=None, description="pip requirements; left out, they follow from the framework as installed here."
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where the model computes.")

    @field_validator("requirements")
    @classmethod
    def _requirements_read(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        from packaging.requirements import InvalidRequirement, Requirement

        for index, text in enumerate(value or ()):
            try:
                Requirement(text)
            except InvalidRequirement:
                raise MisplacedValue(
                    f"must be a requirement as pip reads it, such as numpy>=1.26, got {text!r}", index
                ) from None
        return value


class BatchingSection(Section):
    """Adaptive batching: requests are joined along the first axis."""

    max_size: int = Field(default=32, ge=1, le=4096, description="Most rows in a batch (most requests, on TorchServe).")
    max_delay_ms: int = Field(default=5, ge=0, le=60_000, description="How long a request waits for others, in ms.")


class ServingSection(Section):
    """How the server runs, whichever it is."""

    batching: BatchingSection | None = Field(default=None, description="Left out: requests are not joined.")
    engine: Literal["native", "onnx"] = Field(
        default="native",
        description="Who computes in Bentos and TorchServe archives: the model's framework, or ONNX Runtime on the "
        "converted model, without the framework in the environment.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that run the model; on TensorFlow Serving, threads that run batches.",
    )
    timeout_s: int = Field(default=30, ge=1, le=3600, description="Longest time for one request, in seconds.")
    max_request_mb: int = Field(default=16, ge=1, le=1024, description="Longest request body, in MiB.")


class ResourcesSection(Section):
    """What one replica may use, in Kubernetes' quantities."""

    cpu: Quantity | None = Field(default=None, description="Cores.")
    memory: Quantity | None = Field(default=None, description="Bytes.")
    gpu: int = Field(default=0, ge=0, le=64, description="NVIDIA GPUs; for environment.device: cuda.")


class ImageSection(Section):
    """The container image, whichever the server in it. Bases are options of the backends."""

    repository: Annotated[str, StringConstraints(pattern=IMAGE, max_length=200)] | None = Field(
        default=None, description="Name of the image without a tag; left out, the model's name in lower case."
    )
    platforms: Items[Annotated[str, StringConstraints(pattern=PLATFORM)]] = Field(
        default=(), description="Platforms to build for; left out, the building machine's own."
    )
    max_size: Quantity | None = Field(default=None, description="The build fails when the image is larger.")
    require_digest: bool = Field(default=False, description="Refuse base images that are named without a digest.")
    labels: dict[Annotated[str, StringConstraints(min_length=1, max_length=200)], str] = Field(
        default_factory=dict, description="OCI labels beside version, revision and the spec's digest."
    )


class AutoscaleSection(Section):
    """When to add replicas."""

    min: int = Field(default=1, ge=0, description="Fewest replicas.")
    max: int = Field(ge=1, description="Most replicas; at least min.")
    cpu_percent: int = Field(default=70, ge=1, le=100, description="Use of the requested CPU to aim at, in percent.")

    @field_validator("max")
    @classmethod
    def _max_is_most(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min", value)
        if value < least:
            raise ValueError(f"must be at least min, which is {least}, got {value}")
        return value


class CanarySection(Section):
    """A roll-out by growing shares of the traffic."""

    steps: Items[Annotated[int, Field(ge=1, le=100)]] = Field(
        min_length=1, description="Shares of the traffic in percent, growing."
    )
    error_rate: float = Field(
        default=0.01, ge=0, le=1, description="Largest share of failed requests that is let go on."
    )
    p95_ratio: float = Field(default=1.2, gt=0, description="Largest 95th percentile of latency, relative to the old.")

    @field_validator("steps")
    @classmethod
    def _steps_grow(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for index, (before, after) in enumerate(pairwise(value), start=1):
            if after <= before:
                raise MisplacedValue(f"must be more than the step before it, {before}, got {after}", index)
        return value


class BlueGreenSection(Section):
    """The new version runs beside the old one; then all traffic changes over at once."""

    keep_s: int = Field(default=300, ge=0, le=86_400, description="How long the old one is kept after that, in s.")


class StrategySection(Section):
    """How a new version takes over."""

    canary: CanarySection | None = Field(default=None, description="By growing shares of the traffic.")
    blue_green: BlueGreenSection | None = Field(default=None, description="All at once, from a second deployment.")

    @model_validator(mode="after")
    def _one_strategy(self) -> StrategySection:
        if self.canary is not None and self.blue_green is not None:
            raise MisplacedValue("stands beside canary; a roll-out follows one strategy", "blue_green")
        return self


class IngressSection(Section):
    """How callers outside the cluster reach the service."""

    host: Annotated[str, StringConstraints(pattern=HOST, max_length=253)] = Field(description="Host name.")
    kind: Literal["ingress", "gateway"] = Field(
        default="ingress", description="An Ingress, or an HTTPRoute of the Gateway API."
    )
    class_name: DnsName | None = Field(default=None, description="Ingress class; the cluster's default if left out.")
    gateway: DnsName | None = Field(default=None, description="Name of the Gateway; for kind: gateway.")
    tls_secret: DnsName | None = Field(default=None, description="Secret with the certificate; for kind: ingress.")

    @model_validator(mode="after")
    def _keys_fit(self) -> IngressSection:
        if self.kind == "gateway" and self.gateway is None:
            raise MisplacedValue("must be named for kind: gateway", "gateway")
        foreign = ("gateway",) if self.kind == "ingress" else ("class_name", "tls_secret")
        for key in foreign:
            if getattr(self, key) is not None:
                raise MisplacedValue(f"means nothing for kind: {self.kind}", key)
        return self


class KServeSection(Section):
    """How KServe runs the service."""

    mode: Literal["knative", "standard"] = Field(
        default="standard", description="KServe's deployment mode: Knative, or plain Deployments."
    )


class DeploySection(Section):
    """How many replicas, and how they change."""

    namespace: DnsName | None = Field(default=None, description="Kubernetes namespace; the caller's if left out.")
    replicas: int = Field(default=1, ge=0, le=10_000, description="How many run, without autoscaling.")
    autoscale: AutoscaleSection | None = Field(default=None, description="Left out: their number is fixed.")
    strategy: StrategySection | None = Field(default=None, description="Left out: a rolling update.")
    ingress: IngressSection | None = Field(default=None, description="Left out: reached within the cluster only.")
    monitoring: bool = Field(default=False, description="Write ServiceMonitor and PrometheusRule (their operator's).")
    pull_secret: DnsName | None = Field(default=None, description="Secret that the image is pulled with.")
    weights: Literal["image", "init_container", "volume"] = Field(
        default="image", description="Where the model's files come from: the server's image, or an image of their own."
    )
    kserve: KServeSection = Field(default=KServeSection(), description="How KServe runs the service.")


class VerifySection(Section):
    """How closely every backend must agree with the framework."""

    atol: float = Field(default=1e-5, ge=0, description="Largest absolute difference.")
    rtol: float = Field(default=1e-4, ge=0, description="Largest difference relative to the framework's answer.")


class ModelSpec(Section):
    """One model, from its file to its deployment."""

    modelport: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="The model's name: letters, digits, dot, dash and underscore.")
    version: Version = Field(description="Version of the model, in quotes: a bare 1.10 would be read as 1.1.")
    description: str = Field(default="", max_length=10_000, description="What the model does, for people.")
    model: ModelSection = Field(description="Where the model is and how to load it: framework and source.")
    signature: SignatureEntry | None = Field(default=None, description="Left out where the model itself tells.")
    labels: Items[str] = Field(default=(), description="Names of the classes, in order.")
    transform: Transform | None = Field(
        default=None, description="Pre- and postprocessing in Python: file.py:Class, or a mapping with its signature."
    )
    preprocess: PreprocessSection | None = Field(
        default=None, description="Steps from the request to the model, on every server."
    )
    postprocess: PostprocessSection | None = Field(
        default=None, description="Steps from the model to the answer, on every server."
    )
    samples: FilePath | None = Field(
        default=None, description="Inputs (and expected outputs): .npz, .json or .parquet."
    )
    environment: EnvironmentSection = Field(
        default=EnvironmentSection(), description="What must be installed where the model runs."
    )
    serving: ServingSection = Field(default=ServingSection(), description="How the server runs, whichever it is.")
    resources: ResourcesSection = Field(default=ResourcesSection(), description="What one replica may use.")
    image: ImageSection = Field(default=ImageSection(), description="The container image.")
    deploy: DeploySection | None = Field(default=None, description="How many replicas, and how they change.")
    verify: VerifySection = Field(
        default=VerifySection(), description="How closely every backend must agree with the framework."
    )
    backends: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options that one backend alone understands, by the backend's name."
    )

    @model_validator(mode="after")
    def _one_way_to_process(self) -> ModelSpec:
        """Steps are declared or are Python: of both, nobody could tell the order."""
        for key in ("preprocess", "postprocess"):
            if self.transform is not None and getattr(self, key) is not None:
                raise MisplacedValue("stands beside transform; write all of it as steps, or all of it in Python", key)
        return self
