"""The model spec: every key, its type, its limits and its meaning.

`ModelSpec` is what the rest of modelport sees. Reading one from a file, with positions, is `modelport.spec.loading`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from modelport_runtime.signature import DTYPES, Signature, TensorSpec

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$", max_length=63)]
Version = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*$", max_length=63)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
CodeReference = Annotated[str, StringConstraints(pattern=r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]


class Section(BaseModel):
    """Base of every mapping in a spec: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


class TensorEntry(Section):
    """One input or output."""

    name: str = Field(min_length=1, max_length=200, description="The tensor's name, as the model has it.")
    dtype: Literal[DTYPES] = Field(description="Element type, in numpy's words; string for text.")  # type: ignore[valid-type]
    shape: tuple[Annotated[int, Field(ge=-1)], ...] = Field(
        max_length=16, description="Sizes; -1 where any size is taken. [] is a scalar."
    )

    def tensor(self) -> TensorSpec:
        """Give the tensor in the form that the rest of modelport uses."""
        return TensorSpec.from_json({"name": self.name, "dtype": self.dtype, "shape": self.shape})


class SignatureEntry(Section):
    """What a model takes and gives. A side that is left out is read from the model."""

    inputs: tuple[TensorEntry, ...] | None = Field(default=None, min_length=1, description="Inputs, in order.")
    outputs: tuple[TensorEntry, ...] | None = Field(default=None, min_length=1, description="Outputs, in order.")

    @model_validator(mode="after")
    def _names_differ(self) -> SignatureEntry:
        for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [t.name for t in tensors or ()]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{side}: the name {twice[0]!r} stands twice")
        return self

    def signature(self) -> Signature:
        """Give both sides; a side that is left out is empty."""
        return Signature(
            inputs=tuple(t.tensor() for t in self.inputs or ()),
            outputs=tuple(t.tensor() for t in self.outputs or ()),
        )


class ModelSection(Section):
    """Where the model is and how to load it."""

    framework: Literal["pytorch", "onnx", "tensorflow", "sklearn"] = Field(description="Who made the model.")
    source: str = Field(min_length=1, description="File or folder, relative to the spec.")
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
    inputs: tuple[TensorEntry, ...] | None = Field(default=None, min_length=1, description="What requests hold.")
    outputs: tuple[TensorEntry, ...] | None = Field(default=None, min_length=1, description="What answers hold.")


class EnvironmentSection(Section):
    """What must be installed where the model runs."""

    python: Annotated[str, StringConstraints(pattern=r"^3\.\d{1,2}$")] = Field(
        default="3.11", description="Python version of the artifact's environment."
    )
    requirements: tuple[str, ...] | None = Field(
        default=None, description="pip requirements; left out, they follow from the framework as installed here."
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where the model computes.")


class BatchingSection(Section):
    """Adaptive batching: requests are joined along the first axis."""

    max_size: int = Field(
        default=32, ge=1, le=4096, description="Most rows in a batch (most requests, on TorchServe)."
    )
    max_delay_ms: int = Field(default=5, ge=0, le=60_000, description="How long a request waits for others, in ms.")


class ServingSection(Section):
    """How the server runs, whichever it is."""

    batching: BatchingSection | None = Field(default=None, description="Left out: requests are not joined.")
    workers: int = Field(default=1, ge=1, le=256, description="Processes (sessions' worth of threads on TF Serving).")
    timeout_s: int = Field(default=30, ge=1, le=3600, description="Longest time for one request, in seconds.")
    max_request_mb: int = Field(default=16, ge=1, le=1024, description="Longest request body, in MiB.")


class ResourcesSection(Section):
    """What one replica may use, in Kubernetes' quantities."""

    cpu: Quantity | None = Field(default=None, description="Cores.")
    memory: Quantity | None = Field(default=None, description="Bytes.")


class AutoscaleSection(Section):
    """When to add replicas."""

    min: int = Field(default=1, ge=0)
    max: int = Field(ge=1)
    cpu_percent: int = Field(default=70, ge=1, le=100)


class CanarySection(Section):
    """A roll-out by growing shares of the traffic."""

    steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(min_length=1)
    error_rate: float = Field(default=0.01, ge=0, le=1)
    p95_ratio: float = Field(default=1.2, gt=0)


class StrategySection(Section):
    """How a new version takes over."""

    canary: CanarySection | None = None


class DeploySection(Section):
    """How many replicas, and how they change."""

    replicas: int = Field(default=1, ge=0, le=10_000)
    autoscale: AutoscaleSection | None = None
    strategy: StrategySection | None = None


class VerifySection(Section):
    """How closely every backend must agree with the framework."""

    atol: float = Field(default=1e-5, ge=0, description="Largest absolute difference.")
    rtol: float = Field(default=1e-4, ge=0, description="Largest difference relative to the framework's answer.")


class ModelSpec(Section):
    """One model, from its file to its deployment."""

    modelport: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="Letters, digits, dot, dash and underscore.")
    version: Version = Field(description="Version of the model, in quotes: a bare 1.10 would be read as 1.1.")
    description: str = Field(default="", max_length=10_000)
    model: ModelSection
    signature: SignatureEntry | None = Field(default=None, description="Left out where the model itself tells.")
    labels: tuple[str, ...] = Field(default=(), description="Names of the classes, in order.")
    transform: CodeReference | TransformSection | None = None
    samples: str | None = Field(default=None, description="Inputs (and expected outputs): .npz, .json or .parquet.")
    environment: EnvironmentSection = EnvironmentSection()
    serving: ServingSection = ServingSection()
    resources: ResourcesSection = ResourcesSection()
    deploy: DeploySection | None = None
    verify: VerifySection = VerifySection()
    backends: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options that one backend alone understands, by the backend's name."
    )
