"""A table of rows as requests bring it: one matrix, or one input a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelport_runtime.checking import Array

from .binding import ModelError


def choose_columns(inputs: Sequence[str], fitted: Sequence[str] | None, width: object) -> tuple[str, ...] | None:
    """Tell whether the signature's inputs are columns.

    Args:
        inputs: The signature's inputs.
        fitted: Names of the columns that the model was fitted on, in that order; None where it knows none.
        width: How many columns the model takes, for the message.

    Returns:
        The names of the columns in the model's order; None where the only input is the whole matrix.

    Raises:
        ModelError: The inputs are neither one matrix nor the columns.
    """
    if len(inputs) == 1 and (fitted is None or inputs[0] not in fitted):
        return None
    if fitted is None:
        raise ModelError(
            f"the estimator was fitted on a matrix without column names; declare one input, "
            f"not {len(inputs)}, of shape [-1, {width}]"
        )
    if set(fitted) != set(inputs):
        raise ModelError(
            f"the estimator was fitted on the columns {', '.join(fitted)}; "
            f"the signature's inputs are {', '.join(inputs)}"
        )
    return tuple(fitted)


def take_columns(inputs: Mapping[str, Array], columns: Sequence[str]) -> dict[str, Array]:
    """Give the columns as vectors [rows], in the model's order; they come as such, or as [rows, 1]."""
    return {name: inputs[name].reshape(len(inputs[name])) for name in columns}
