"""PyTorch models of many kinds, in each of its formats, through ONNX to a SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelport.convert.onnx_habits import spell_out_unbind
from modelport.convert.torch_to_onnx import export_torch
from modelport.errors import ConversionError
from modelport_runtime.signature import TensorSpec

KINDS = ("state_dict", "exported_program", "torchscript")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, its signature, and the forms in which it is converted."""

    name: str
    make: Callable[[], nn.Module]
    specs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    kinds: tuple[str, ...] = KINDS
    sampled: bool = False

    def inputs(self, batch: int) -> dict[str, Any]:
        """Return inputs by name; dynamic dimensions other than the batch are of size 9."""
        generator = np.random.default_rng(batch)
        made = {}
        for spec in self.specs:
            shape = [(batch if axis == 0 else 9) if size is None else size for axis, size in enumerate(spec.shape)]
            if spec.dtype == "bool":
                mask = generator.random(shape) < 0.8
                mask[:, 0] = True
                made[spec.name] = mask
            elif spec.dtype == "int64":
                made[spec.name] = generator.integers(0, 20, shape)
            else:
                made[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        return made


def spec(name: str, dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


class Convolutional(nn.Module):
    """Convolution, batch norm and pool on a flat image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.conv(x.view(-1, 1, 8, 8)))))
        return torch.softmax(self.head(x.flatten(1)), -1)


class Residual(nn.Module):
    """A residual block with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.one = nn.Conv2d(8, 16, 3, 2, 1)
        self.two = nn.Conv2d(16, 16, 3, 1, 1)
        self.side = nn.Conv2d(8, 16, 1, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.two(torch.relu(self.one(x))) + self.side(x))
        return self.head(torch.flatten(self.pool(x), 1))


class Recurrent(nn.Module):
    """Embedding and an LSTM or GRU over a sequence of any length."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.layer = layer
        self.head = nn.Linear(width, 3)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps, _ = self.layer(self.embed(ids))
        return self.head(steps[:, -1]), steps


class Encoder(nn.Module):
    """A transformer encoder with a padding mask; gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.encoder(self.embed(ids), src_key_padding_mask=~mask)
        return {"logits": self.head(hidden.mean(1)), "hidden": hidden}


class Several(nn.Module):
    """Two inputs, three outputs of different types."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return a + b, (a * b).sum(-1), a > b


class Mixture(nn.Module):
    """Depthwise, grouped and transposed convolutions, group norm, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.GroupNorm(2, 8), nn.SiLU(),
            nn.Conv2d(8, 16, 1, groups=2), nn.AvgPool2d(2, 2, 1), nn.ConvTranspose2d(16, 4, 3, 2, 1, 1),
            nn.LeakyReLU(), nn.Upsample(scale_factor=2, mode="bilinear"),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def perceptron(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(-1)).to(dtype)


def lstm() -> nn.Module:
    return Recurrent(nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True), 16)


IDS = spec("ids", "int64", None, None)
CASES = (
    Case(
        name="mlp",
        make=lambda: perceptron(torch.float32),
        specs=(spec("in put", "float32", None, 6),),
        outputs=("/fc/out:0",),
    ),
    Case(
        name="mlp64",
        make=lambda: perceptron(torch.float64),
        specs=(spec("input.1", "float64", None, 6),),
        outputs=("1",),
        kinds=("state_dict", "torchscript"),
    ),
    Case(
        name="mlp16",
        make=lambda: perceptron(torch.float16),
        specs=(spec("x", "float16", None, 6),),
        outputs=("y",),
        kinds=("state_dict",),
    ),
    Case(name="cnn", make=Convolutional, specs=(spec("pixels", "float32", None, 64),), outputs=("probabilities",)),
    Case(
        name="residual",
        make=Residual,
        specs=(spec("x", "float32", None, 3, 32, 32),),
        outputs=("y",),
        kinds=("state_dict", "torchscript"),
    ),
    Case(name="lstm", make=lstm, specs=(IDS,), outputs=("last", "steps"), kinds=("state_dict", "torchscript")),
    Case(
        name="gru",
        make=lambda: Recurrent(nn.GRU(6, 8, batch_first=True), 8),
        specs=(spec("ids", "int64", None, 7),),
        outputs=("last", "steps"),
        kinds=("exported_program", "torchscript"),
    ),
    Case(
        name="encoder",
        make=Encoder,
        specs=(IDS, spec("mask", "bool", None, None)),
        outputs=("hidden", "logits"),
        kinds=("state_dict", "exported_program"),
        sampled=True,
    ),
    Case(
        name="several",
        make=Several,
        specs=(spec("a", "float32", None, 4), spec("b", "float32", None, 4)),
        outputs=("sum", "dot", "greater"),
    ),
    Case(name="mixture", make=Mixture, specs=(spec("x", "float32", None, 3, 32, 32),), outputs=("y",)),
)


@dataclass(frozen=True)
class Loaded:
    """What a test loads instead of a file."""

    model: Any

    def __call__(self) -> Any:
        return self.model


def in_format(case: Case, kind: str) -> Any:
    """Return the module as it is, scripted, or as an exported program."""
    module = case.make().eval()
    if kind == "torchscript":
        return torch.jit.script(module)
    if kind == "exported_program":
        example = tuple(torch.from_numpy(array) for array in case.inputs(3).values())
        dynamic = tuple(
            {axis: torch.export.Dim.AUTO for axis, size in enumerate(spec.shape) if size is None} for spec in case.specs
        )
        return torch.export.export(module, example, dynamic_shapes=dynamic)
    return module


PAIRS = [(case, kind) for case in CASES for kind in case.kinds]


@pytest.mark.parametrize(("case", "kind"), PAIRS, ids=[f"{case.name}-{kind}" for case, kind in PAIRS])
def test_saved_model_answers_like_torch(
    case: Case, kind: str, lower: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    loaded = in_format(case, kind)
    capfd.readouterr()
    model = export_torch(
        Path("model"),
        format=kind,
        load=Loaded(loaded),
        inputs=case.specs,
        sample=case.inputs(3) if case.sampled else None,
        output_names=case.outputs,
    )
    assert capfd.readouterr() == ("", "")
    call = lower(model)
    module = loaded.module() if kind == "exported_program" else loaded
    for batch in (1, 3, 32):
        inputs = case.inputs(batch)
        if kind == "exported_program" and batch == 1:
            continue  # an exported program itself refuses a batch of one
        with torch.no_grad():
            results = module(*[torch.from_numpy(array) for array in inputs.values()])
        wanted = results if isinstance(results, dict) else dict(zip(case.outputs, _flat(results), strict=True))
        found = call(inputs)
        assert set(found) == set(case.outputs)
        for name, tensor in wanted.items():
            assert found[name].dtype == tensor.numpy().dtype
            tolerance = 2e-3 if found[name].dtype == np.float16 else 1e-5
            np.testing.assert_allclose(found[name], tensor.numpy(), rtol=tolerance, atol=tolerance)


def _flat(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple) else [results]


class FixedBatch(torch.nn.Module):
    """Its reshape holds only for the batch that it was traced with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(3, 4).sum(1)


def test_a_dimension_that_the_model_fixes_is_an_error() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 4))
    with pytest.raises(ConversionError, match=r"model\.pt"):
        export_torch(
            Path("model.pt"),
            format="state_dict",
            load=FixedBatch,
            inputs=[spec],
            sample={"x": np.zeros((3, 4), np.float32)},
            output_names=["y"],
        )


def test_a_program_of_fixed_batch_is_an_error() -> None:
    program = torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(3, 4),))
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 4))
    with pytest.raises(ConversionError, match=r"runs on 3 rows, but neither .* dynamic_shapes"):
        export_torch(
            Path("m.pt2"),
            format="exported_program",
            load=Loaded(program),
            inputs=[spec],
            sample=None,
            output_names=["y"],
        )


def test_a_trace_that_froze_the_batch_is_found() -> None:
    traced = torch.jit.trace(_SizeFreezing(), torch.zeros(3, 4), check_trace=False)
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 4))
    with pytest.raises(ConversionError, match=r"m\.pt"):
        export_torch(
            Path("m.pt"), format="torchscript", load=Loaded(traced), inputs=[spec], sample=None, output_names=["y"]
        )


class _SizeFreezing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(int(np.asarray(x.shape)[0]), 2, 2).sum(1)


class _FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(3, 2, 2)


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("asked", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return x + self.asked


class _Dividing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x[:, None, None], (1, 2), divisor_override=7)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (_FixedBatch(), r"runs on 3 rows, but neither on 1 nor on 5: .*Declare that size"),
        (_Counting(), r"gives two answers in output 'y'.*remembers what it was asked"),
        (_Dividing(), r"output 'y' differs .*--backend bentoml"),
    ],
)
def test_what_cannot_be_proven_is_refused_with_a_way_out(module: nn.Module, why: str) -> None:
    with pytest.raises(ConversionError, match=why):
        export_torch(
            Path("m.pt"),
            format="state_dict",
            load=Loaded(module),
            inputs=[spec("x", "float32", None, 4)],
            sample=None,
            output_names=["y"],
        )


def test_a_batch_that_the_model_itself_refuses_proves_nothing(lower: Callable[..., Any]) -> None:
    """Statistics of the batch, which PyTorch does not take of one row."""
    module = nn.BatchNorm1d(4, track_running_stats=False).eval()
    model = export_torch(
        Path("m"),
        format="state_dict",
        load=Loaded(module),
        inputs=[spec("x", "float32", None, 4)],
        sample=None,
        output_names=["y"],
    )
    x = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(lower(model)({"x": x})["y"], wanted, rtol=1e-4, atol=1e-5)


class _Sum(nn.Module):
    """Doubles and passes over an input; a constant that wants gradients comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 2))

    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2, self.token.expand(x.shape[0], -1)


@pytest.mark.parametrize("kind", ["state_dict", "torchscript"])
def test_unused_inputs_and_constant_outputs(lower: Callable[..., Any], kind: str) -> None:
    module = _Sum()
    model = export_torch(
        Path("m"),
        format=kind,
        load=Loaded(module if kind == "state_dict" else torch.jit.script(module)),
        inputs=[spec("x", "float32", None, 4), spec("unused", "float32", None, 2)],
        sample=None,
        output_names=["y", "token"],
    )
    x = np.ones((5, 4), np.float32)
    found = lower(model)({"x": x, "unused": np.zeros((5, 2), np.float32)})
    np.testing.assert_array_equal(found["y"], x * 2)
    np.testing.assert_array_equal(found["token"], np.ones((5, 2), np.float32))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types_for_which_onnx_runtime_has_no_kernel(lower: Callable[..., Any], dtype: torch.dtype) -> None:
    """They are proven by ONNX's own evaluator; bfloat16 comes as float32."""

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)).to(dtype)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.to(dtype))

    torch.manual_seed(0)
    module = Narrow().eval()
    model = export_torch(
        Path("m"),
        format="state_dict",
        load=Loaded(module),
        inputs=[spec("x", "float32", None, 8)],
        sample=None,
        output_names=["y"],
    )
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x))
    wanted = wanted.numpy() if dtype == torch.float64 else wanted.float().numpy()
    found = lower(model)({"x": x})["y"]
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, atol=1e-9 if dtype == torch.float64 else 2e-2)


def test_a_signature_that_says_what_the_model_does_not_give() -> None:
    for declared in (spec("y", "float64", None, 3), spec("y", "float32", None, 4), spec("y", "float32", None)):
        with pytest.raises(ConversionError, match=r"'y': the spec says .*an answer of the model is float32 \[3, 3\]"):
            export_torch(
                Path("m"),
                format="state_dict",
                load=Loaded(nn.Linear(4, 3)),
                inputs=[spec("x", "float32", None, 4)],
                sample=None,
                output_names=["y"],
                declared=[declared],
            )


class _Shrinking(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, size=(7, 9), mode="bilinear", antialias=True)


def test_torchscript_that_the_first_exporter_writes_wrongly_goes_by_the_next(lower: Callable[..., Any]) -> None:
    """The older exporter drops ``antialias`` without a word."""
    array = np.random.default_rng(0).standard_normal((3, 2, 16, 16)).astype(np.float32)
    model = export_torch(
        Path("m.pt"),
        format="torchscript",
        load=Loaded(torch.jit.trace(_Shrinking(), torch.zeros(3, 2, 16, 16))),
        inputs=[spec("x", "float32", None, 2, 16, 16)],
        sample={"x": array},
        output_names=["y"],
    )
    wanted = _Shrinking()(torch.from_numpy(array)).numpy()
    np.testing.assert_allclose(lower(model)({"x": array})["y"], wanted, rtol=1e-4, atol=1e-5)


def test_strings_are_refused() -> None:
    spec = TensorSpec(name="text", dtype="string", shape=(None,))
    with pytest.raises(ConversionError, match="'text' is of strings"):
        export_torch(
            Path("m.pt"),
            format="state_dict",
            load=lambda: torch.nn.Linear(1, 1),
            inputs=[spec],
            sample=None,
            output_names=["y"],
        )


def test_a_strided_depthwise_convolution_with_a_bias_runs(lower: Callable[..., Any]) -> None:
    """TensorFlow's optimizer once ended the process on it."""
    torch.manual_seed(0)
    module = nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4).eval()
    array = np.random.default_rng(0).standard_normal((3, 4, 9, 9)).astype(np.float32)
    model = export_torch(
        Path("m"),
        format="state_dict",
        load=Loaded(module),
        inputs=[spec("x", "float32", None, 4, 9, 9)],
        sample={"x": array},
        output_names=["y"],
    )
    with torch.no_grad():
        wanted = module(torch.from_numpy(array)).numpy()
    np.testing.assert_allclose(lower(model)({"x": array})["y"], wanted, rtol=1e-5, atol=1e-5)


@dataclass
class _Answer:
    first: torch.Tensor
    second: torch.Tensor
    loss: torch.Tensor | None = None


class _Optional(nn.Module):
    def forward(self, x: torch.Tensor, shift: torch.Tensor | None = None, scale: torch.Tensor | None = None) -> _Answer:
        moved = x if shift is None else x + shift
        scaled = moved if scale is None else moved * scale
        return _Answer(first=scaled, second=scaled - 1)


def test_arguments_and_outputs_bind_by_name_as_in_the_engine(lower: Callable[..., Any]) -> None:
    """An optional argument is left out before another, and the signature lists the outputs in another order."""
    module = _Optional()
    specs = [spec("x", "float32", None, 2), spec("scale", "float32", None, 2)]
    model = export_torch(
        Path("m"),
        format="state_dict",
        load=Loaded(module),
        inputs=specs,
        sample=None,
        output_names=["second", "first"],
        call=lambda x, scale: module(x=x, scale=scale),
        positional=False,
    )
    x, scale = np.float32([[1, 2], [3, 4]]), np.float32([[2, 2], [5, 5]])
    found = lower(model)({"x": x, "scale": scale})
    np.testing.assert_array_equal(found["first"], x * scale)
    np.testing.assert_array_equal(found["second"], x * scale - 1)


def test_torchscript_with_a_gap_in_its_arguments_is_refused() -> None:
    specs = [spec("x", "float32", None, 2), spec("scale", "float32", None, 2)]
    with pytest.raises(ConversionError, match="leaves out an optional argument"):
        export_torch(
            Path("m.pt"),
            format="torchscript",
            load=Loaded(torch.jit.trace(nn.Bilinear(2, 2, 2), (torch.zeros(1, 2), torch.zeros(1, 2)))),
            inputs=specs,
            sample=None,
            output_names=["y"],
            positional=False,
        )


def test_nan_in_a_sample_is_no_reason_to_refuse() -> None:
    """ONNX Runtime's pool passes over NaN, PyTorch's does not; what is served is checked elsewhere."""
    model = export_torch(
        Path("m"),
        format="state_dict",
        load=Loaded(nn.MaxPool2d(2)),
        inputs=[spec("x", "float32", None, 1, 2, 2)],
        sample={"x": np.float32([[[[np.nan, 1], [2, 3]]]])},
        output_names=["y"],
    )
    assert [value.name for value in model.graph.output] == ["y"]


class _Decaying(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x[:, 0])
        for step in x.unbind(1):
            total = total * 0.5 + step
        return total


def test_scripted_unbind_drops_its_axis(lower: Callable[..., Any]) -> None:
    """PyTorch's older exporter relies on what ONNX Runtime alone does; the loop is an inner graph."""
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    model = export_torch(
        Path("m.pt"),
        format="torchscript",
        load=Loaded(torch.jit.script(_Decaying())),
        inputs=[spec("x", "float32", None, 6)],
        sample=None,
        output_names=["y"],
    )
    spell_out_unbind(model.graph)
    np.testing.assert_allclose(lower(model)({"x": x})["y"], _Decaying()(torch.from_numpy(x)).numpy(), rtol=1e-5)
