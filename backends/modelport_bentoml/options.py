"""What a spec may say under ``backends.bentoml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from modelport.python_image import PythonImageSection
from modelport.spec.schema import Section

LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]


class BentoMLOptions(Section):
    """Settings that BentoML alone understands."""

    max_concurrency: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Most predictions that one worker holds at a time; more are answered 503. Left out: no limit.",
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads of one inference. Left out: the framework's own choice."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of the Bento, as `bentoml list` shows them."
    )
    image: PythonImageSection = Field(
        default=PythonImageSection(), description="How `bentoml containerize` makes the container image."
    )
