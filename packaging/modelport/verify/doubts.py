"""What makes a comparison worth nothing, seen from the framework's answers alone: asked before any server is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelport.errors import CheckFailed
from modelport.samples import Samples
from modelport.verify.compare import Tensors, compare, compare_joined, join

Answer = Callable[[Mapping[str, Any]], Tensors]

EXACT = {"atol": 0.0, "rtol": 0.0}
NEIGHBOURS = 8  # rows that are asked alone and joined: one that looks at its neighbours shows in few


def refuse_unsteady(answer: Answer, request: Mapping[str, Any], right: Tensors, *, atol: float, rtol: float) -> None:
    """Ask the framework the first question once more.

    Args:
        answer: Asks the framework.
        request: The first question.
        right: What it answered before, with all other questions in between.
        atol: Largest absolute difference.
        rtol: Largest relative one.

    Raises:
        CheckFailed: It answers otherwise: no server can be held to that.
    """
    for fault in compare(answer(request), right, atol=atol, rtol=rtol).faults:
        raise CheckFailed(
            f"the framework answers the first sample otherwise when it is asked again: {fault}. A model that draws "
            "random numbers or keeps a state cannot be verified; save it as it infers (eval(), training=False), "
            "with what is random taken out or seeded"
        )


def refuse_neighbourly(answer: Answer, samples: Samples, most: int, *, atol: float, rtol: float) -> None:
    """Ask the framework some rows alone and joined, as a server with batching joins them.

    Args:
        answer: Asks the framework.
        samples: Rows.
        most: The most rows of a batch.
        atol: Largest absolute difference.
        rtol: Largest relative one.

    Raises:
        CheckFailed: A row's answer depends on the rows beside it.
    """
    count = min(samples.count, most, NEIGHBOURS)
    together = answer(samples.request(0, count))
    for row in range(count):
        end = row + 1 if row + 1 < count else None  # the last one is held to everything that is left
        beside = {name: value[row:end] for name, value in together.items()}
        alone = answer(samples.request(row, row + 1))
        for fault in compare_joined(beside, alone, atol=atol, rtol=rtol).faults:
            raise CheckFailed(
                f"serving.batching: the framework answers row {row} otherwise when others stand beside it: {fault}. "
                "Callers would get answers that depend on who else asks; leave batching out, or save a model whose "
                "rows are independent"
            )


def refuse_numberless(right: Sequence[Tensors]) -> None:
    """Look for outputs without a number.

    Raises:
        CheckFailed: An output is NaN or infinite throughout, so that any server with the same fault would agree.
    """
    for name, parts in _floats(right).items():
        if any(part.size for part in parts) and not any(np.isfinite(part).any() for part in parts):
            raise CheckFailed(
                f"{name}: the framework's own answers hold no finite number, NaN or infinity alone; the model, or "
                "the samples, must be mended before servers can be compared"
            )


def find_weaknesses(right: Sequence[Tensors], atol: float) -> tuple[str, ...]:
    """Name the outputs whose values are all so small that the absolute tolerance lets any small answer pass."""
    found = []
    for name, parts in _floats(right).items():
        largest = max((float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in parts), default=0.0)
        if 0 < largest <= atol:
            found.append(
                f"{name}: no value is larger than {largest:.1e}, so that with atol {atol:g} an answer of zeros would "
                "agree too; write a smaller verify.atol"
            )
    return tuple(found)


def find_sameness(right: Sequence[Tensors], count: int) -> tuple[str, ...]:
    """Name the outputs that are the same for every sample, so that a server which mixes rows up would agree.

    A class or a text that repeats is told only where no other output tells the samples apart.

    Args:
        right: The framework's answers.
        count: How many samples there are; an output of another length holds no row for each.
    """
    rows = {name: value for name, value in join(right).items() if count > 1 and value.shape[:1] == (count,)}
    same = [
        name for name, value in rows.items() if not compare({name: value}, {name: _repeated(value)}, **EXACT).faults
    ]
    told = same if len(same) == len(rows) else [name for name in same if rows[name].dtype.kind == "f"]
    return tuple(
        f"{name}: the same for all {count} samples, so a server that ignores its inputs or mixes rows up would agree "
        "too; add samples that the model answers otherwise"
        for name in told
    )


def _repeated(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.repeat(value[:1], len(value), axis=0)


def _floats(right: Sequence[Tensors]) -> dict[str, list[np.ndarray[Any, Any]]]:
    names = [name for name, value in right[0].items() if value.dtype.kind == "f"]
    return {name: [np.asarray(part[name], dtype=np.float64) for part in right] for name in names}
