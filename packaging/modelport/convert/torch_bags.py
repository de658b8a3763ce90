"""Sums, means and maxima over bags of embeddings, without a loop over the bags: PyTorch's exporter writes one."""

from __future__ import annotations

from typing import Any

Tensor = Any  # a torch.Tensor; torch's types are not read
_SUM, _MEAN, _MAX = range(3)


def embed_plain_bags(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do ``aten.embedding_bag``."""
    return embed_bags(
        weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset
    )


def embed_padded_bags(  # noqa: PLR0913, PLR0917 - the arguments of torch's own operation
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do ``aten.embedding_bag.padding_idx``, which may count the row that is left out from the end."""
    left_out = -1 if padding_idx is None else padding_idx % weight.shape[0]
    return embed_bags(
        weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, left_out
    )


def embed_bags(  # noqa: PLR0913, PLR0917 - the arguments of torch's own operation
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,  # noqa: ARG001 - of training alone
    mode: int = _SUM,
    sparse: bool = False,  # noqa: ARG001 - of training alone
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do ``aten._embedding_bag``; only the first of its results is what a model gives, so that the others are empty.

    Args:
        weight: ``[rows, width]``.
        indices: ``[n]``.
        offsets: Where each bag begins, ascending; ``[bags]``, or one more with ``include_last_offset``.
        mode: 0 for the sum, 1 for the mean, 2 for the largest.
        scale_grad_by_freq: Of training alone.
        sparse: Of training alone.
        per_sample_weights: ``[n]``, for the sum.
        include_last_offset: Whether the last offset only says where the last bag ends.
        padding_idx: A row that is left out; -1 for none.
    """
    import torch

    offsets = (offsets[:-1] if include_last_offset else offsets).to(torch.int64)
    width, bags = weight.shape[1], offsets.shape[0]
    # One more than n: a bag that begins behind the last index is empty.
    marks = torch.zeros(indices.shape[0] + 1, dtype=torch.int64)
    # From 1 on; 0 is what stands before the first bag.
    bag = marks.scatter_add(0, offsets, torch.ones_like(offsets)).cumsum(0)[:-1]
    rows = weight.index_select(0, indices.to(torch.int64))
    kept = indices != padding_idx
    place = bag.unsqueeze(1).expand(-1, width)
    count = torch.zeros(bags + 1, dtype=torch.int64).scatter_add(0, bag, kept.to(torch.int64))[1:].unsqueeze(1)
    if mode == _MAX:
        lowest = torch.full((bags + 1, width), float("-inf"), dtype=rows.dtype)
        rows = torch.where(kept.unsqueeze(1), rows, float("-inf"))
        result = torch.where(count == 0, 0.0, torch.scatter_reduce(lowest, 0, place, rows, "amax")[1:])
    else:
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.unsqueeze(1)
        rows = torch.where(kept.unsqueeze(1), rows, 0.0)
        result = torch.zeros((bags + 1, width), dtype=rows.dtype).scatter_add(0, place, rows)[1:]
        if mode == _MEAN:
            result = result / count.clamp(min=1).to(result.dtype)
    nothing = torch.zeros(0, dtype=torch.int64)
    return result, nothing, nothing, nothing
