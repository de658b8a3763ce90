"""What stands under ``backends.tfserving`` in a spec."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from modelport.errors import SpecError
from modelport_tfserving.versions import LARGEST

Label = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]


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
    warmup_records: int = Field(default=10, ge=0, le=1000, description="How many samples are replayed at load time.")


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
