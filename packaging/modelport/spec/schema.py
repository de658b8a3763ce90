"""The model spec: every key, its type, its limits and its meaning.

`ModelSpec` is what the rest of modelport sees. Reading one from a file, with positions, is `modelport.spec.loading`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from modelport_runtime.signature import DTYPES, Signature, TensorSpec

T = TypeVar("T")
Items = Annotated[tuple[T, ...], Field(strict=False)]  # a list in YAML; its items stay strict

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*$"
SHA256 = r"^[0-9a-f]{64}$"
CODE = r"^[^:\x00-\x1f]+:[A-Za-z_][A-Za-z0-9_]*$"
PATH = r"^[^\x00-\x1f]+$"
IMAGE = r"^[a-z0-9]+([._:/-][a-z0-9]+|__[a-z0-9]+)*$"
PLATFORM = r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$"
DNS_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
HOST = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
PYTHON = r"^3\.\d{1,2}$"

PATTERN_WORDS = {
    NAME: "letters, digits, '-' and '_', with single dots between them, beginning with a letter or digit",
    VERSION: "letters, digits, '-', '_' and '+', with single dots between them, beginning with a letter or digit",
    SHA256: "64 digits of 0-9 and a-f, as `sha256sum FILE` prints them",
    CODE: "where the code is and the class's name with a colon between, such as transform.py:Transform",
    PATH: "a path, without control characters",
    QUANTITY: "a number with a unit of Kubernetes or none, such as 500m, 2, 512Mi or 1.5Gi",
    IMAGE: "the image's name without a tag, in lower case, such as registry.example.com/team/digits",
    PLATFORM: "an operating system and an architecture, such as linux/amd64 or linux/arm64",
    DNS_NAME: "at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    HOST: "a host name in lower case, such as digits.example.com",
    PYTHON: "a Python version of two numbers, such as 3.11",
}
"""What each pattern asks for, in words: for messages."""

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=63)]
Version = Annotated[str, StringConstraints(pattern=VERSION, max_length=63)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]
CodeReference = Annotated[str, StringConstraints(pattern=CODE)]
FilePath = Annotated[str, StringConstraints(min_length=1, pattern=PATH)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
DnsName = Annotated[str, StringConstraints(pattern=DNS_NAME)]


class MisplacedValue(ValueError):
    """A section whose keys do not fit together.

    Attributes:
        key: Path of the key to blame, from the section.
    """

    def __init__(self, message: str, *key: str | int) -> None:
        super().__init__(message)
        self.key = key


class Section(BaseModel):
    """Base of every mapping in a spec: frozen, unknown keys refused, no type guessed from another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        """Take a key without a value for one that is left out: a section whose keys are all comments, say."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


class TensorEntry(Section):
    """One input or output."""

    name: str = Field(min_length=1, max_length=200, description="The tensor's name, as the model has it.")
    dtype: Literal[DTYPES] = Field(description="Element type, in numpy's words; string for text.")  # type: ignore[valid-type]
    shape: Items[Annotated[int, Field(ge=-1)]] = Field(
        max_length=16, description="Sizes; -1 where any size is taken. [] is a scalar."
    )

    def tensor(self) -> TensorSpec:
        """Give the tensor in the form that the rest of modelport uses."""
        return TensorSpec.from_json({"name": self.name, "dtype": self.dtype, "shape": self.shape})


def _check_names(inputs: Iterable[TensorEntry] | None, outputs: Iterable[TensorEntry] | None) -> None:
    for side, tensors in (("inputs", inputs), ("outputs", outputs)):
        names: set[str] = set()
        for index, tensor in enumerate(tensors or ()):
            if tensor.name in names:
                raise MisplacedValue(f"the name {tensor.name!r} stands twice under {side}", side, index, "name")
            names.add(tensor.name)


class SignatureEntry(Section):
    """What a model takes and gives. A side that is left out is read from the model."""

    inputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="Inputs, in order.")
    outputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="Outputs, in order.")

    @model_validator(mode="after")
    def _names_differ(self) -> SignatureEntry:
        _check_names(self.inputs, self.outputs)
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
    inputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="What requests hold.")
    outputs: Items[TensorEntry] | None = Field(default=None, min_length=1, description="What answers hold.")

    @model_validator(mode="after")
    def _names_differ(self) -> TransformSection:
        _check_names(self.inputs, self.outputs)
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
        custom_error_message="must be file.py:Class, or a mapping with source, inputs and outputs",
    ),
]


class StepSection(Section):
    """Base of all steps."""

    tensor: str = Field(min_length=1, max_length=200, description="Name of the tensor that is read.")
    to: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Name of the result; left out, it takes the place of tensor.",
    )


class CastSection(StepSection):
    """Another dtype that holds every value, or a floating one."""

    dtype: Literal[DTYPES] = Field(description="The dtype to give.")  # type: ignore[valid-type]


class ScaleSection(StepSection):
    """x · factor + offset."""

    factor: float = Field(default=1.0, description="What each element is multiplied by.")
    offset: float = Field(default=0.0, description="What is added to the product.")


class NormalizeSection(StepSection):
    """(x - mean) / std."""

    mean: Items[float] = Field(min_length=1, max_length=4096, description="One number, or one for each channel.")
    std: Items[Annotated[float, Field(gt=0)]] = Field(
        min_length=1, max_length=4096, description="One number, or one for each channel."
    )
    axis: int = Field(default=-1, ge=-16, le=15, description="The axis of the channels.")


class ResizeSection(StepSection):
    """Images of another height and width."""

    size: Items[Annotated[int, Field(ge=1, le=16_384)]] = Field(
        min_length=2, max_length=2, description="Height and width to give."
    )
    method: Literal["bilinear", "nearest"] = Field(default="bilinear", description="How pixels are made.")
    layout: Literal["nhwc", "nchw"] = Field(default="nhwc", description="Order of the axes.")


class TransposeSection(StepSection):
    """The axes in another order."""

    order: Items[Annotated[int, Field(ge=0, le=15)]] = Field(
        min_length=1, max_length=16, description="For each axis of the result, the axis that it was."
    )


class SoftmaxSection(StepSection):
    """Scores that sum to 1 along an axis."""

    axis: int = Field(default=-1, ge=-16, le=15, description="The axis of the classes.")


class SigmoidSection(StepSection):
    """1 / (1 + exp(-x))."""


class ArgmaxSection(StepSection):
    """The place of the largest along an axis, as int64."""

    axis: int = Field(default=-1, ge=-16, le=15, description="The axis of the classes.")


class TopKSection(StepSection):
    """The k largest along the last axis, largest first."""

    k: int = Field(ge=1, le=1_000_000, description="How many.")
    indices: str | None = Field(
        default=None, min_length=1, max_length=200, description="Name of a second result: their places, as int64."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> TopKSection:
        if self.indices is not None and self.indices == (self.tensor if self.to is None else self.to):
            raise MisplacedValue("is the name of the values too; give the places another", "indices")
        return self


class ThresholdSection(StepSection):
    """Whether each number is at least a bound."""

    at: float = Field(default=0.5, description="The bound.")


class LabelsSection(StepSection):
    """The name of each class number or truth value."""

    names: Items[str] | None = Field(
        default=None, min_length=1, max_length=100_000, description="Names for 0 and up; left out, the spec's labels."
    )


class RenameSection(StepSection):
    """Another name."""

    to: str = Field(min_length=1, max_length=200, description="The new name.")


class StepEntry(Section):
    """One step: exactly one of these keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    cast: CastSection | None = Field(default=None, description="Another dtype.")
    scale: ScaleSection | None = Field(default=None, description="x · factor + offset.")
    normalize: NormalizeSection | None = Field(default=None, description="(x - mean) / std.")
    resize: ResizeSection | None = Field(default=None, description="Images of another height and width.")
    transpose: TransposeSection | None = Field(default=None, description="The axes in another order.")
    softmax: SoftmaxSection | None = Field(default=None, description="Scores that sum to 1.")
    sigmoid: SigmoidSection | None = Field(default=None, description="1 / (1 + exp(-x)).")
    argmax: ArgmaxSection | None = Field(default=None, description="The place of the largest.")
    top_k: TopKSection | None = Field(default=None, description="The k largest, and their places.")
    threshold: ThresholdSection | None = Field(default=None, description="Whether each is at least a bound.")
    labels: LabelsSection | None = Field(default=None, description="Names of class numbers.")
    rename: RenameSection | None = Field(default=None, description="Another name.")

    @model_validator(mode="after")
    def _one_step(self) -> StepEntry:
        given = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if not given:
            raise MisplacedValue(f"names no step; write one of {', '.join(type(self).model_fields)}")
        if len(given) > 1:
            raise MisplacedValue(f"stands beside {given[0]}; begin each step with a dash of its own", given[1])
        return self

    @property
    def chosen(self) -> tuple[str, StepSection]:
        """The step's key and its settings."""
        settings = ((key, getattr(self, key)) for key in type(self).model_fields)
        return next((key, section) for key, section in settings if section is not None)


class PreprocessSection(Section):
    """From what a request holds to what the model takes, on every server."""

    inputs: Items[TensorEntry] | None = Field(
        default=None, min_length=1, description="What requests hold; left out, what the model takes."
    )
    steps: Items[StepEntry] = Field(min_length=1, max_length=100, description="Steps, in order.")

    @model_validator(mode="after")
    def _names_differ(self) -> PreprocessSection:
        _check_names(self.inputs, None)
        return self


class PostprocessSection(Section):
    """From what the model gives to what an answer holds, on every server."""

    steps: Items[StepEntry] = Field(min_length=1, max_length=100, description="Steps, in order.")
    outputs: Items[str] | None = Field(
        default=None, min_length=1, description="Names that answers hold, in order; left out, all that there are then."
    )

    @field_validator("outputs")
    @classmethod
    def _outputs_differ(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for index, name in enumerate(value or ()):
            if name in (value or ())[:index]:
                raise MisplacedValue(f"{name!r} stands twice", index)
        return value


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
