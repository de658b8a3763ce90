"""What all sections of a spec are made of: their base, the forms of their texts, and the tensors in several of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelport_runtime.signature import DTYPES, TensorSpec

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


def check_names(inputs: Iterable[TensorEntry] | None, outputs: Iterable[TensorEntry] | None) -> None:
    """Refuse a name that stands twice on one side.

    Raises:
        MisplacedValue: With the key of the second one.
    """
    for side, tensors in (("inputs", inputs), ("outputs", outputs)):
        names: set[str] = set()
        for index, tensor in enumerate(tensors or ()):
            if tensor.name in names:
                raise MisplacedValue(f"the name {tensor.name!r} stands twice under {side}", side, index, "name")
            names.add(tensor.name)
