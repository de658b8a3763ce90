"""Linear algebra that ONNX has no ops for, by elimination written out step by step: matrices of a fixed, small size.

What PyTorch raises for a singular matrix comes out as infinities and NaN.
"""

from __future__ import annotations

from typing import Any

from modelport.errors import ConversionError

Tensor = Any  # a torch.Tensor; torch's types are not read

#: Steps are nodes of the graph; larger matrices would make a very large one.
_LARGEST = 64


def invert(matrix: Tensor) -> Tensor:
    """Do ``linalg.inv``."""
    return invert_ex(matrix)[0]


def invert_ex(matrix: Tensor, *, check_errors: bool = False) -> tuple[Tensor, Tensor]:  # noqa: ARG001 - as in torch
    """Do ``linalg.inv_ex``."""
    import torch

    size = _size(matrix)
    identity = torch.eye(size, dtype=matrix.dtype).expand(matrix.shape)
    return _eliminate(matrix, identity)[0], _no_error(matrix)


def solve(matrix: Tensor, right: Tensor, *, left: bool = True) -> Tensor:
    """Do ``linalg.solve``."""
    return solve_ex(matrix, right, left=left)[0]


def solve_ex(
    matrix: Tensor,
    right: Tensor,
    *,
    left: bool = True,
    check_errors: bool = False,  # noqa: ARG001 - as in torch
) -> tuple[Tensor, Tensor]:
    """Do ``linalg.solve_ex``."""
    vector = right.dim() == 1 or (right.dim() == matrix.dim() - 1 and right.shape == matrix.shape[:-1])
    if vector:
        return _solve(matrix, right.unsqueeze(-1)).squeeze(-1), _no_error(matrix)
    return (_solve(matrix, right) if left else _solve(matrix.mT, right.mT).mT), _no_error(matrix)


def solve_ex_with_factors(
    matrix: Tensor, right: Tensor, *, left: bool = True, check_errors: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do ``_linalg_solve_ex``; its factors serve gradients alone and are left empty."""
    found, error = solve_ex(matrix, right, left=left, check_errors=check_errors)
    return found, matrix, error, error


def slogdet(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Do ``linalg.slogdet``: from the pivots, so that nothing overflows."""
    import torch

    _, pivots, sign = _eliminate(matrix, matrix[..., :0])
    found = torch.stack(pivots, -1)
    return sign * found.sign().prod(-1), found.abs().log().sum(-1)


def cholesky(matrix: Tensor, upper: bool = False) -> Tensor:
    """Do ``linalg.cholesky``."""
    return cholesky_ex(matrix, upper=upper)[0]


def cholesky_ex(
    matrix: Tensor,
    *,
    upper: bool = False,
    check_errors: bool = False,  # noqa: ARG001 - as in torch
) -> tuple[Tensor, Tensor]:
    """Do ``linalg.cholesky_ex``, column by column."""
    import torch

    rest = matrix.mT if upper else matrix
    order = torch.arange(_size(matrix))
    columns = []
    for step in range(_size(matrix)):
        column = rest[..., :, step] / rest[..., step : step + 1, step].sqrt()
        column = torch.where(order >= step, column, 0.0)
        columns.append(column)
        rest = rest - column.unsqueeze(-1) * column.unsqueeze(-2)
    lower = torch.stack(columns, -1)
    return (lower.mT if upper else lower), _no_error(matrix)


def solve_triangular(
    matrix: Tensor, right: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Do ``linalg.solve_triangular``, which reads one half of the matrix alone."""
    import torch

    half = matrix.triu() if upper else matrix.tril()
    if unitriangular:
        one = torch.eye(_size(matrix), dtype=matrix.dtype)
        half = torch.where(one == 1, one, half)
    return _solve(half, right) if left else _solve(half.mT, right.mT).mT


def cholesky_solve(right: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """Do ``cholesky_solve``."""
    lower = factor.triu().mT if upper else factor.tril()
    return _solve(lower.mT, _solve(lower, right))


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    import torch

    shape = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    return _eliminate(matrix.expand(*shape, *matrix.shape[-2:]), right.expand(*shape, *right.shape[-2:]))[0]


def _eliminate(matrix: Tensor, right: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Solve by Gauss and Jordan, with the largest number of a column as its pivot.

    Args:
        matrix: ``[..., n, n]``.
        right: ``[..., n, k]``.

    Returns:
        The solution ``[..., n, k]``; the n pivots ``[...]``; and 1 or -1 ``[...]`` by the number of swaps.
    """
    import torch

    size = _size(matrix)
    both = torch.cat([matrix, right], -1)
    order = torch.arange(size).unsqueeze(-1)
    pivots, sign = [], torch.ones_like(matrix[..., 0, 0])
    for step in range(size):
        column = both[..., step : step + 1]
        chosen = torch.where(order >= step, column.abs(), -1.0).argmax(-2, keepdim=True)
        here, there = order == step, order == chosen
        row = both[..., step : step + 1, :]
        best = torch.where(there, both, 0.0).sum(-2, keepdim=True)
        pivot = best[..., step : step + 1]
        pivots.append(pivot[..., 0, 0])
        sign = torch.where(chosen[..., 0, 0] == step, sign, -sign)
        swapped = torch.where(there, row, both)
        best = best / pivot
        both = torch.where(here, best, swapped - swapped[..., step : step + 1] * best)
    return both[..., size:], pivots, sign


def _size(matrix: Tensor) -> int:
    size = matrix.shape[-1]
    if not isinstance(size, int) or size > _LARGEST:
        raise ConversionError(
            f"it solves linear equations with a matrix of {size} columns; ONNX has no op for that, and elimination is "
            f"written out only for sizes that are fixed and at most {_LARGEST}. Do that outside of the model, or serve "
            "the model by its own framework (--backend bentoml or torchserve)"
        )
    return size


def _no_error(matrix: Tensor) -> Tensor:
    import torch

    return torch.zeros(matrix.shape[:-2], dtype=torch.int32)
