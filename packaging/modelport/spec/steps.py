"""Declared pre- and postprocessing: a section for each step, and the two lists that steps stand in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from modelport.spec.section import Items, MisplacedValue, Section, TensorEntry, check_names
from modelport_runtime.signature import DTYPES


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
        check_names(self.inputs, None)
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
