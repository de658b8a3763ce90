"""Operations that PyTorch's exporter to ONNX lacks or writes wrongly, in terms of others that it writes well.

Each function takes and gives what the operation of its table entry does, so that ``ExportedProgram.run_decompositions``
can put it in that place. It is PyTorch's own rule for which numbers count where several would do (the last of equal
maxima, the smallest of equally frequent values); where PyTorch itself leaves the place open, as for the median's
index, the first is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelport.convert import torch_linalg
from modelport.convert.torch_bags import embed_bags, embed_padded_bags, embed_plain_bags
from modelport.convert.torch_recurrence import run_lstm

Tensor = Any  # a torch.Tensor; torch's types are not read
Decomposition = Callable[..., Any]

#: Steps in which a running product reaches any length that a dynamic dimension may have.
_ANY_LENGTH = 31


def decompose(program: Any) -> Any:
    """Give an exported program without the operations that the exporter lacks; itself where it has none of them."""
    import torch

    graphs = [module.graph for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]
    held = {node.target for graph in graphs for node in graph.nodes}
    mine = {op: function for op, function in decompositions().items() if op in held}
    return program.run_decompositions(mine) if mine else program


def decompositions() -> Mapping[Any, Decomposition]:
    """Give a function for each operation that needs one."""
    import torch

    aten = torch.ops.aten
    return {
        aten.searchsorted.Tensor: _searchsorted,
        aten.searchsorted.Scalar: _searchsorted_scalar,
        aten.median.default: _median_of_all,
        aten.median.dim: _median,
        aten.nanmedian.default: _nanmedian_of_all,
        aten.nanmedian.dim: _nanmedian,
        aten.kthvalue.default: _kthvalue,
        aten.mode.default: _mode,
        aten.cumprod.default: _cumprod,
        aten.cummax.default: _cummax,
        aten.cummin.default: _cummin,
        aten.sort.stable: _sort,
        aten.rrelu.default: _rrelu,
        aten.isin.Tensor_Tensor: _isin,
        aten.hstack.default: _hstack,
        aten.atleast_1d.default: _atleast_1d,
        aten.masked_select.default: _masked_select,
        aten.scatter_reduce.two: _scatter_reduce,
        aten.cdist.default: _cdist,
        aten._cdist_forward.default: _cdist,  # noqa: SLF001 - its name in torch
        aten.pdist.default: _pdist,
        aten._pdist_forward.default: _pdist,  # noqa: SLF001 - its name in torch
        aten.hypot.default: _hypot,
        aten.signbit.default: _signbit,
        aten.copysign.Tensor: _copysign,
        aten.copysign.Scalar: _copysign_scalar,
        aten.embedding_bag.default: embed_plain_bags,
        aten.embedding_bag.padding_idx: embed_padded_bags,
        aten._embedding_bag.default: embed_bags,  # noqa: SLF001 - its name in torch
        aten._embedding_bag_forward_only.default: embed_bags,  # noqa: SLF001 - its name in torch
        aten.lstm.input: run_lstm,
        aten.linalg_inv.default: torch_linalg.invert,
        aten.linalg_inv_ex.default: torch_linalg.invert_ex,
        aten.inverse.default: torch_linalg.invert,
        aten.linalg_solve.default: torch_linalg.solve,
        aten.linalg_solve_ex.default: torch_linalg.solve_ex,
        aten._linalg_solve_ex.default: torch_linalg.solve_ex_with_factors,  # noqa: SLF001 - its name in torch
        aten.linalg_slogdet.default: torch_linalg.slogdet,
        aten.slogdet.default: torch_linalg.slogdet,
        aten.linalg_cholesky.default: torch_linalg.cholesky,
        aten.cholesky.default: torch_linalg.cholesky,
        aten.linalg_cholesky_ex.default: torch_linalg.cholesky_ex,
        aten.linalg_solve_triangular.default: torch_linalg.solve_triangular,
        aten.cholesky_solve.default: torch_linalg.cholesky_solve,
    }


def _searchsorted(
    edges: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Count the edges below each value: as many comparisons as there are pairs. NaN stands above all, as in PyTorch."""
    import torch

    if sorter is not None:
        edges = edges.gather(-1, sorter)
    one = edges.dim() == 1
    edges = edges if one else edges.unsqueeze(-2)
    values = values.unsqueeze(-1)
    above = edges > values if right or side == "right" else edges >= values
    return torch.logical_not(above).sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _searchsorted_scalar(edges: Tensor, value: float, **settings: Any) -> Tensor:
    import torch

    dtype = torch.promote_types(edges.dtype, torch.float32) if isinstance(value, float) else edges.dtype
    return _searchsorted(edges, torch.full((), value, dtype=dtype), **settings)


def _median_of_all(x: Tensor) -> Tensor:
    return _median(x.reshape(-1), 0)[0]


def _nanmedian_of_all(x: Tensor) -> Tensor:
    return _nanmedian(x.reshape(-1), 0)[0]


def _median(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    import torch

    values, places = torch.sort(x, dim=dim)
    middle = (x.shape[dim] - 1) // 2
    value, place = values.narrow(dim, middle, 1), places.narrow(dim, middle, 1)
    if x.is_floating_point():
        unknown = torch.isnan(x)
        first = unknown.to(torch.int32).argmax(dim, keepdim=True)
        some = unknown.any(dim, keepdim=True)
        value, place = torch.where(some, float("nan"), value), torch.where(some, first, place)
    return _squeezed(value, dim, keepdim), _squeezed(place, dim, keepdim)


def _nanmedian(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    import torch

    if not x.is_floating_point():
        return _median(x, dim, keepdim)
    known = torch.logical_not(torch.isnan(x))
    values, places = torch.sort(torch.where(known, x, float("inf")), dim=dim)
    count = known.sum(dim, keepdim=True)
    middle = torch.div(count - 1, 2, rounding_mode="floor").clamp(min=0)
    value = torch.where(count == 0, float("nan"), values.gather(dim, middle))
    return _squeezed(value, dim, keepdim), _squeezed(places.gather(dim, middle), dim, keepdim)


def _kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    import torch

    values, places = torch.sort(x, dim=dim)
    return _squeezed(values.narrow(dim, k - 1, 1), dim, keepdim), _squeezed(places.narrow(dim, k - 1, 1), dim, keepdim)


def _mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Give the smallest of the most frequent values, and where it stands last; compares all pairs."""
    import torch

    moved = x.movedim(dim, -1)
    counts = (moved.unsqueeze(-1) == moved.unsqueeze(-2)).sum(-1)
    values, places = torch.sort(moved, dim=-1)
    first = counts.gather(-1, places).argmax(-1, keepdim=True)
    value = values.gather(-1, first)
    order = torch.arange(moved.shape[-1])
    place = torch.where(moved == value, order, -1).amax(-1, keepdim=True)
    return _squeezed(value.movedim(-1, dim), dim, keepdim), _squeezed(place.movedim(-1, dim), dim, keepdim)


def _sort(x: Tensor, *, dim: int = -1, descending: bool = False, **_: Any) -> Any:
    """Sort; ONNX's TopK keeps the order of equals in any case."""
    import torch

    return torch.sort(x, dim=dim, descending=descending)


def _rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any) -> Tensor:
    """Where nothing is trained, the slope is no longer drawn."""
    import torch

    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def _isin(x: Tensor, among: Tensor, *, assume_unique: bool = False, invert: bool = False) -> Tensor:  # noqa: ARG001 - for speed alone
    import torch

    found = (x.unsqueeze(-1) == among.reshape(-1)).any(-1)
    return torch.logical_not(found) if invert else found


def _hstack(parts: Sequence[Tensor]) -> Tensor:
    import torch

    parts = [_atleast_1d(part) for part in parts]
    return torch.cat(parts, 0 if parts[0].dim() == 1 else 1)


def _atleast_1d(x: Tensor) -> Tensor:
    return x if x.dim() else x.reshape(1)


def _squeezed(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x if keepdim else x.squeeze(dim)


def _accumulated(parts: tuple[Tensor, ...], dim: int, combine: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Combine each place with all before it: with its neighbour, the two before that, the four before those, and on.

    Args:
        parts: Tensors of the same shape, which belong together place by place.
        dim: Along which.
        combine: Takes the parts of the earlier places, then of the later ones; associative.
    """
    import torch

    size = parts[0].shape[dim]
    steps = (size - 1).bit_length() if isinstance(size, int) and size else _ANY_LENGTH
    order = torch.arange(size)
    shape = [-1 if axis == dim % parts[0].dim() else 1 for axis in range(parts[0].dim())]
    for step in range(steps):
        before = order - (1 << step)
        earlier = [part.index_select(dim, before.clamp(min=0)) for part in parts]
        combined = combine(*earlier, *parts)
        inside = (before >= 0).reshape(shape)
        parts = tuple(torch.where(inside, new, old) for new, old in zip(combined, parts, strict=True))
    return parts


def _cumprod(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    import torch

    whole = not x.is_floating_point()
    x = x.to(dtype or (torch.int64 if whole else x.dtype))
    return _accumulated((x,), dim, lambda earlier, later: (earlier * later,))[0] if x.dim() else x


def _cummax(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _extremes(x, dim, lambda later, earlier: later >= earlier)


def _cummin(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _extremes(x, dim, lambda later, earlier: later <= earlier)


def _extremes(x: Tensor, dim: int, beats: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Give the running extreme and its place: the last of equal ones; NaN beats everything."""
    import torch

    if not x.dim():
        return x, torch.zeros((), dtype=torch.int64)
    shape = [-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())]
    places = torch.arange(x.shape[dim]).reshape(shape).expand(x.shape)

    def combine(earlier: Tensor, there: Tensor, later: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        won = beats(later, earlier)
        if x.is_floating_point():
            won = (won & torch.logical_not(torch.isnan(earlier))) | torch.isnan(later)
        return torch.where(won, later, earlier), torch.where(won, here, there)

    value, place = _accumulated((x, places), dim, combine)
    return value, place


def _masked_select(x: Tensor, mask: Tensor) -> Tensor:
    import torch

    x, mask = torch.broadcast_tensors(x, mask)
    return x.reshape(-1).index_select(0, mask.reshape(-1).nonzero().squeeze(1))


_IDENTITIES = {"sum": 0.0, "mean": 0.0, "prod": 1.0}


def _scatter_reduce(
    x: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Without what stood there before, a place begins at the reduction's neutral number."""
    import torch

    if include_self and reduce != "mean":
        return NotImplemented
    start = x if include_self else x.scatter(dim, index, _neutral(reduce, x.dtype))
    if reduce != "mean":
        return torch.scatter_reduce(start, dim, index, source, reduce)
    total = start.scatter_add(dim, index, source)
    ones = torch.ones_like(x) if include_self else torch.ones_like(x).scatter(dim, index, 0)
    count = ones.scatter_add(dim, index, torch.ones_like(source)).clamp(min=1)
    return total / count if x.is_floating_point() else torch.div(total, count, rounding_mode="floor")


def _neutral(reduce: str, dtype: Any) -> float:
    import torch

    if reduce in _IDENTITIES:
        return _IDENTITIES[reduce]
    least = reduce == "amax"
    if dtype.is_floating_point:
        return float("-inf") if least else float("inf")
    limits = torch.iinfo(dtype)
    number: int = limits.min if least else limits.max
    return number


def _cdist(x: Tensor, y: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Tensor:  # noqa: ARG001 - how torch computes it
    """Give distances of all pairs of rows, each summed on its own: no product of matrices that loses digits."""
    return _length(x.unsqueeze(-2) - y.unsqueeze(-3), p)


def _pdist(x: Tensor, p: float = 2.0) -> Tensor:
    import torch

    order = torch.arange(x.shape[0])
    return _masked_select(_cdist(x, x, p), order.unsqueeze(1) < order)


def _length(x: Tensor, p: float) -> Tensor:
    import torch

    return torch.linalg.vector_norm(x, p, dim=-1)


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    import torch

    large, small = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    ratio = torch.where((large == 0) | torch.isinf(large), 0.0, small / large)
    return large * torch.sqrt(1 + ratio * ratio)


def _signbit(x: Tensor) -> Tensor:
    import torch

    below = x < 0
    return below | ((x == 0) & (torch.reciprocal(x) < 0)) if x.is_floating_point() else below


def _copysign(x: Tensor, y: Tensor) -> Tensor:
    import torch

    size = x.abs() if x.is_floating_point() else x.abs().to(torch.float32)
    return torch.where(_signbit(y), -size, size)


def _copysign_scalar(x: Tensor, y: float) -> Tensor:
    import math

    size = abs(x)
    return -size if math.copysign(1.0, y) < 0 else size
