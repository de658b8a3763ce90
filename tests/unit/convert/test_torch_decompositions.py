"""What PyTorch's exporter lacks: each replacement against PyTorch's own operation, and whole models through to a
SavedModel in every form."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from modelport.convert.onnx_habits import spell_out_unbind
from modelport.convert.torch_decompositions import decompositions
from modelport.convert.torch_to_onnx import export_torch
from modelport.errors import ConversionError
from modelport_runtime.signature import TensorSpec

aten = torch.ops.aten
Arrays = dict[str, np.ndarray]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*is deprecated:DeprecationWarning",
    "ignore::torch.jit.TracerWarning",
    "ignore:LSTM with projections is not supported with oneDNN",
    "ignore:The tensor attributes .*_flat_weights",
)


def same(mine: Any, theirs: Any) -> None:
    """Compare tensors, or the tuples of them."""
    for one, other in zip(*[x if isinstance(x, tuple) else (x,) for x in (mine, theirs)], strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)


def numbers(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Give few different numbers, so that some are equal; with NaN and infinities where the type has them."""
    generator = np.random.default_rng(seed)
    x = torch.tensor(generator.integers(-3, 4, shape)).to(dtype)
    if dtype.is_floating_point:
        x[torch.tensor(generator.random(shape) < 0.1)] = float("nan")
        x[torch.tensor(generator.random(shape) < 0.1)] = float("-inf")
    return x


SHAPES = [((7,), 0), ((4, 5), -1), ((4, 5), 0), ((2, 3, 6), 1), ((3, 1), 1)]
BY_DIMENSION = [
    (aten.cummax.default, {}),
    (aten.cummin.default, {}),
    (aten.cumprod.default, {}),
    (aten.median.dim, {"keepdim": True}),
    (aten.nanmedian.dim, {}),
    (aten.mode.default, {}),
]


@pytest.mark.parametrize(("op", "settings"), BY_DIMENSION, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_along_a_dimension(op: Any, settings: dict[str, Any], dtype: torch.dtype) -> None:
    for seed, (shape, dim) in enumerate(SHAPES):
        x = numbers(shape, dtype, seed)
        x = torch.nan_to_num(x, nan=2.0) if op is aten.mode.default and dtype.is_floating_point else x
        mine, theirs = decompositions()[op](x, dim, **settings), op(x, dim, **settings)
        # Which of equal numbers PyTorch names is its own affair, but for running extremes.
        if op not in (aten.cummax.default, aten.cummin.default, aten.cumprod.default):
            mine, theirs = mine[0], theirs[0]
        same(mine, theirs)


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted_puts_nan_last(right: bool) -> None:
    function = decompositions()[aten.searchsorted.Tensor]
    edges, values = torch.tensor([-2.0, 0.0, 0.0, 3.0]), numbers((3, 4), torch.float32, 0)
    same(function(edges, values, right=right), torch.searchsorted(edges, values, right=right))
    rows = torch.rand(3, 6)
    order = rows.argsort(-1)
    settings = {"right": right, "out_int32": True, "sorter": order}
    same(function(rows, values, **settings), torch.searchsorted(rows, values, **settings))


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_scatter_without_what_stood_there(reduce: str, dtype: torch.dtype) -> None:
    x, source = torch.arange(12).reshape(3, 4).to(dtype), torch.tensor(np.arange(-6, 6).reshape(3, 4)).to(dtype)
    index = torch.tensor([[0, 0, 2, 2], [1, 1, 1, 1], [3, 0, 0, 3]])
    mine = decompositions()[aten.scatter_reduce.two](x, 1, index, source, reduce, include_self=False)
    same(mine, x.scatter_reduce(1, index, source, reduce, include_self=False))


def test_lengths_and_signs() -> None:
    special = torch.tensor([0.0, -0.0, 3e30, float("inf"), float("-inf"), -2.0])
    pairs = torch.tensor(list(itertools.product(special.tolist(), repeat=2))).T
    table = decompositions()
    same(table[aten.hypot.default](*pairs), torch.hypot(*pairs))
    same(table[aten.copysign.Tensor](*pairs), torch.copysign(*pairs))
    same(table[aten.signbit.default](special), torch.signbit(special))


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("left_out", [-1, 3])
def test_bags_may_be_empty_and_leave_a_row_out(mode: int, left_out: int) -> None:
    torch.manual_seed(0)
    weight, indices = torch.randn(6, 2), torch.tensor([3, 1, 3, 3, 5, 0, 0])
    for offsets, last in (([0, 2, 2, 4], False), ([0, 4, 7], True), ([0, 0, 7], False)):
        weights = torch.randn(7) if mode == 0 else None
        arguments = (weight, indices, torch.tensor(offsets), False, mode, False, weights, last, left_out)
        mine = decompositions()[aten._embedding_bag.default](*arguments)
        same(mine[0], aten._embedding_bag(*arguments)[0])


@pytest.mark.parametrize("batch", [(), (3,), (2, 0)])
def test_linear_algebra(batch: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    table = decompositions()
    for size in (1, 2, 7):
        matrix, right = torch.randn(*batch, size, size).double(), torch.randn(*batch, size, 2).double()
        definite = matrix @ matrix.mT + torch.eye(size)
        same(table[aten.linalg_inv.default](definite), torch.linalg.inv(definite))
        same(table[aten.linalg_solve.default](definite, right), torch.linalg.solve(definite, right))
        same(
            table[aten.linalg_solve.default](definite, right.mT, left=False),
            torch.linalg.solve(definite, right.mT, left=False),
        )
        same(table[aten.linalg_slogdet.default](matrix), tuple(torch.linalg.slogdet(matrix)))
        for upper in (False, True):
            factor = torch.linalg.cholesky(definite, upper=upper)
            same(table[aten.linalg_cholesky.default](definite, upper), factor)
            same(table[aten.cholesky_solve.default](right, factor, upper), torch.cholesky_solve(right, factor, upper))
            same(
                table[aten.linalg_solve_triangular.default](factor, right, upper=upper),
                torch.linalg.solve_triangular(factor, right, upper=upper),
            )


def test_a_matrix_needs_no_order_of_its_pivots() -> None:
    matrix = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    same(decompositions()[aten.linalg_inv.default](matrix), torch.linalg.inv(matrix))


class Applied(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Bags(nn.Module):
    """The text classifier of PyTorch's tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(20, 4, padding_idx=2)
        self.head = nn.Linear(4, 3)

    def forward(self, text: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(text, offsets))


class Short(nn.Module):
    """An embedding that shortens its rows when they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4, max_norm=0.5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.embedding(ids).sum(1)


class Packed(nn.Module):
    """Sequences of different lengths through a recurrent layer, and back."""

    def __init__(self, layer: nn.Module, *, total: bool = False, ordered: bool = False) -> None:
        super().__init__()
        self.layer, self.total, self.ordered = layer, total, ordered

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = self.layer.batch_first
        packed = pack_padded_sequence(
            x if first else x.transpose(0, 1), lengths, batch_first=first, enforce_sorted=self.ordered
        )
        steps, last = self.layer(packed)
        total = x.shape[1] if self.total else None
        padded, found = pad_packed_sequence(steps, batch_first=first, padding_value=-1.0, total_length=total)
        return padded, found, last[0] if isinstance(last, tuple) else last


class Encoded(nn.Module):
    """A recurrent encoder over any length, and a decoder of fixed steps that follows its own answers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 4)
        self.encode = nn.GRU(4, 6, batch_first=True)
        self.decode = nn.GRUCell(4, 6)
        self.head = nn.Linear(6, 20)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        state = self.encode(self.embed(ids))[1][0]
        token, scores = torch.zeros_like(ids[:, 0]), []
        for _ in range(3):
            state = self.decode(self.embed(token), state)
            scores.append(self.head(state))
            token = scores[-1].argmax(-1)
        return torch.stack(scores, 1)


def floats(*shape: int) -> Callable[[int], Arrays]:
    return lambda batch: {"x": np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)}


def ids(batch: int) -> Arrays:
    return {"ids": np.random.default_rng(batch).integers(0, 3 if batch == 3 else 20, (batch, 5 + batch % 2))}


def text(batch: int) -> Arrays:
    return {"text": np.random.default_rng(batch).integers(0, 20, 4 * batch), "offsets": np.array([0, 2, 2])}


def sequences(batch: int) -> Arrays:
    generator = np.random.default_rng(batch)
    lengths = np.sort(generator.integers(1, 6, batch))[::-1].copy()
    return {**floats(7, 4)(batch), "lengths": lengths}


def shuffled(batch: int) -> Arrays:
    made = sequences(batch)
    return {**made, "lengths": made["lengths"][::-1].copy()}


def statistics(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Several of what the exporter lacks, in one graph."""
    return (
        x.median(-1).values,
        *x.cummax(1),
        (1 - torch.sigmoid(x)).cumprod(1),
        x.kthvalue(2, -1).values,
        torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), x),
        torch.cdist(x, x.flip(1), p=1),
        functional.rrelu(x),
        torch.hstack([x, x]),
    )


def solved(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The last is Mahalanobis' distance, whose order of products must not follow the example's batch."""
    definite = x @ x.mT + torch.eye(3)
    inverse = torch.linalg.inv(definite)
    return inverse, torch.linalg.solve(definite, x), torch.einsum("bi,bij,bj->b", x[:, 0], inverse, x[:, 0])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, its inputs for a batch, which axes are dynamic where it is not the first alone, and its forms."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Arrays]
    free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("state_dict",)


CASES = {
    "statistics": Case(make=lambda: Applied(statistics), inputs=floats(5, 6)),
    "linear algebra": Case(make=lambda: Applied(solved), inputs=floats(3, 3)),
    "bags": Case(make=Bags, inputs=text, free={"offsets": ()}, kinds=("torchscript", "exported_program")),
    "short rows": Case(make=Short, inputs=ids, free={"ids": (0, 1)}, kinds=("state_dict", "torchscript")),
    "encoded": Case(make=Encoded, inputs=ids, free={"ids": (0, 1)}),
    "projected": Case(
        make=lambda: Applied(nn.LSTM(4, 6, batch_first=True, proj_size=3)),
        inputs=floats(7, 4),
        kinds=("exported_program",),
    ),
    "packed LSTM": Case(
        make=lambda: Packed(nn.LSTM(4, 5, bidirectional=True, batch_first=True, proj_size=2)),
        inputs=shuffled,
        free={"x": (0, 1)},
    ),
    "packed GRU": Case(make=lambda: Packed(nn.GRU(4, 3, 2), total=True), inputs=shuffled),
    "packed RNN": Case(make=lambda: Packed(nn.RNN(4, 3, nonlinearity="relu"), ordered=True), inputs=sequences),
}
PAIRS = [(name, kind) for name, case in CASES.items() for kind in case.kinds]


def flat(results: Any) -> list[torch.Tensor]:
    return list(torch.utils._pytree.tree_leaves(results))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_models_answer_like_torch(name: str, kind: str, lower: Callable[..., Any]) -> None:
    case = CASES[name]
    make, inputs = case.make, case.inputs
    torch.manual_seed(0)
    module = make().eval()
    sample = inputs(3)
    arguments = tuple(torch.from_numpy(array) for array in sample.values())
    axes = [case.free.get(key, (0,)) for key in sample]
    specs = [
        TensorSpec(
            name=key,
            dtype=array.dtype.name,
            shape=tuple(None if axis in dynamic else size for axis, size in enumerate(array.shape)),
        )
        for dynamic, (key, array) in zip(axes, sample.items(), strict=True)
    ]
    loaded: Any = module
    if kind == "torchscript":
        loaded = torch.jit.trace(make().eval(), arguments)
        loaded.load_state_dict(module.state_dict())
    elif kind == "exported_program":
        dynamic_shapes = tuple(dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC) for dynamic in axes)
        loaded = torch.export.export(module, arguments, dynamic_shapes=dynamic_shapes)

    class Tuple(nn.Module):
        """What the signature binds: a flat tuple."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(flat(self.inner(*tensors)))

    call = loaded.module() if kind == "exported_program" else loaded
    with torch.no_grad():
        outputs = [f"output_{index}" for index in range(len(flat(module(*arguments))))]
    model = export_torch(
        Path("model"),
        format=kind,
        load=lambda: Tuple() if kind == "state_dict" else loaded,
        inputs=specs,
        sample=sample,
        output_names=outputs,
        call=None if kind == "state_dict" else lambda *tensors: tuple(flat(call(*tensors))),
    )
    spell_out_unbind(model.graph)
    answer = lower(model)
    for batch in (1, 3, 8):
        given = inputs(batch)
        with torch.no_grad():
            wanted = flat(module(*[torch.from_numpy(array) for array in given.values()]))
        found = answer(given)
        for output, tensor in zip(outputs, wanted, strict=True):
            assert found[output].dtype == tensor.numpy().dtype
            np.testing.assert_allclose(found[output], tensor.numpy(), rtol=1e-4, atol=1e-4)


def test_large_systems_of_equations_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"a matrix of 65 columns.*at most 64"):
        export_torch(
            Path("m"),
            format="state_dict",
            load=lambda: Applied(torch.linalg.inv),
            inputs=[TensorSpec(name="x", dtype="float32", shape=(None, 65, 65))],
            sample=None,
            output_names=["y"],
        )
