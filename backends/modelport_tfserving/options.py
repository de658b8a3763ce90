"""What stands under ``backends.tfserving`` in a spec."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelport.errors import SpecError
from modelport_tfserving.versions import LARGEST

Label = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]


class ClassifyOptions(BaseModel):
    """A signature for Classify, over tf.Example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scores: str | None = Field(
        default=None, description="Output [-1, classes] of scores; left out, the only one of floats that is so shaped."
    )
    classes: str | None = Field(
        default=None,
        description="Output of class names, shaped as the scores; left out, the only one, else the spec's labels.",
    )


class RegressOptions(BaseModel):
    """A signature for Regress, over tf.Example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: str | None = Field(
        default=None, description="Output [-1] or [-1, 1] of floats; left out, the only one that is so shaped."
    )


class SignaturesOptions(BaseModel):
    """Signatures beside serving_default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classify: ClassifyOptions | None = Field(default=None, description="For Classify, called classify.")
    regress: RegressOptions | None = Field(default=None, description="For Regress, called regress.")

    @model_validator(mode="before")
    @classmethod
    def _bare_keys_ask(cls, data: Any) -> Any:
        """Take ``classify:`` without a value for one with nothing but defaults."""
        return {key: {} if value is None else value for key, value in data.items()} if isinstance(data, dict) else data


ServerVersion = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Reference = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]


class ImageOptions(BaseModel):
    """What the image of a TensorFlow Serving artifact starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: Literal["official", "embedded"] = Field(
        default="official", description="tensorflow/serving, or modelport's embedded server on a slim Python."
    )
    version: ServerVersion | None = Field(
        default=None,
        description="The server's version; left out, that of the TensorFlow that wrote the model.",
    )
    base: Reference | None = Field(
        default=None,
        description="Image to start from: one with tensorflow_model_server and bash, or, embedded, with Python.",
    )


class TFServingOptions(BaseModel):
    """Options that TensorFlow Serving alone understands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int | None = Field(
        default=None, ge=1, le=LARGEST, description="Integer version, in place of the one that the spec's gives."
    )
    labels: dict[Label, int | str] = Field(
        default_factory=dict,
        description="Version labels; each names this build's version, as integer or as in the spec.",
    )
    base_path: str = Field(
        default="/models", pattern=r"^/", description="Folder of all models where the server runs; for models.config."
    )
    num_batch_threads: int | None = Field(default=None, ge=1, le=1024, description="Left out: serving.workers.")
    max_enqueued_batches: int = Field(default=100, ge=1, le=1_000_000, description="Above this: RESOURCE_EXHAUSTED.")
    signatures: SignaturesOptions = Field(
        default=SignaturesOptions(), description="Signatures for Classify and Regress, beside Predict's."
    )
    warmup_records: int = Field(default=10, ge=0, le=1000, description="How many samples are replayed at load time.")
    image: ImageOptions = Field(default=ImageOptions(), description="What the container image starts from.")


def check_labels(labels: dict[str, int | str], number: int, version: str) -> None:
    """Check that every label names the one version that the artifact holds.

    A label of an absent version stops the server at start-up.

    Raises:
        SpecError: With the label and what to write.
    """
    for label, target in labels.items():
        if target not in (number, version):
            raise SpecError(
                f"backends.tfserving.labels.{label}: names version {target!r}, but this artifact holds {number} "
                f"(version {version!r}) alone, and the server does not start with a label of an absent version. "
                f"Write {label}: {number}, or set backends.tfserving.version: {target}"
            )
