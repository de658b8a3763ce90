"""Every framework and format on every backend over every protocol: how far the answers are from the framework's.

Usage: python benchmarks/matrix.py [-o docs/matrix.md] [WORD ...]

Makes small models, builds each for each backend, serves it on the real server, sends all samples over every protocol
and compares. Where there is no way, the reason stands in place of the number. With WORDs, only models whose framework,
format or name holds one of them. Ends with 1 where an answer was not the framework's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matrix_models import CASES, Case, write_case

from modelport.backend import backend_names, load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.errors import ModelportError
from modelport.verify.session import Exam, Row, Tolerance, examine_artifact, prepare

TOLERANCE = Tolerance(atol=1e-5, rtol=1e-4)
MEASURED = (
    "modelport", "bentoml", "torchserve", "tensorflow", "torch", "onnx", "onnxruntime", "keras", "scikit-learn",
    "skl2onnx", "skops", "xgboost", "xgboost-cpu", "lightgbm", "numpy",
)  # fmt: skip
HEAD = """# The matrix

Every framework and format on every backend, over every protocol: the largest absolute difference from the framework's
own answer. Where there is no way, the number in brackets leads to the reason below the table; it is what `plan` says.
Written by `python benchmarks/matrix.py` from a run on the real servers. The models are small, and each is asked 64
rows: half of them one by one, the others together. Boosters were trained and asked with values missing (NaN) and with
one column of categories. *By ONNX Runtime* stands for `serving.engine: onnx`: the model's own framework is not in the
artifact, but its answers are still the measure. *Between steps* stands for
[declared steps](steps.md): numbers are cast and normalised before the model, and the two best classes are named behind
it; names must be the same, the differences are those of the scores.
"""


@dataclass
class Notes:
    """Reasons, each told once."""

    texts: list[str] = field(default_factory=list)

    def refer(self, text: str) -> str:
        """Give the mark that leads to a reason."""
        text = " ".join(text.split())
        if text not in self.texts:
            self.texts.append(text)
        return f"[{self.texts.index(text) + 1}]"


@dataclass
class Table:
    """What was measured so far.

    Attributes:
        columns: Backend and protocol of each column.
        lines: A line a model.
        servers: Which program answered, by backend.
        failed: How many cells do not hold.
    """

    columns: list[tuple[str, str]]
    lines: list[list[str]] = field(default_factory=list)
    servers: dict[str, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    failed: int = 0


def measure(case: Case, folder: Path, table: Table) -> None:
    """Build, serve and ask one model on every backend; add its line."""
    model = resolve(write_case(case, folder))
    exam = prepare(model, TOLERANCE)
    cells: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(name for name, _ in table.columns):
        for protocol, cell in _ask(name, model, exam, folder, table):
            cells[name, protocol] = cell
    line = [f"`{case.framework}`", case.format, case.what, *(cells[column] for column in table.columns)]
    table.lines.append(line)
    print(" | ".join(line), file=sys.stderr, flush=True)


def _ask(name: str, model: object, exam: Exam, folder: Path, table: Table) -> Iterator[tuple[str, str]]:
    backend = load_backend(name)
    try:
        artifact = build_artifact(backend, plan_for(backend, model), folder / "dist")
    except ModelportError as error:
        mark = table.notes.refer(str(error).replace(f"{folder}/", ""))
        yield from ((protocol, f"refused {mark}") for protocol in backend.protocols)
        return
    for row in examine_artifact(backend, artifact, exam, note=lambda _: None, log=None):
        table.servers[name] = row.server
        yield row.protocol, _cell(row, table)


def _cell(row: Row, table: Table) -> str:
    if row.faults:
        table.failed += 1
        return f"**fails** {table.notes.refer(row.faults[0])}"
    if row.skipped:
        return f"not carried {table.notes.refer(row.skipped)}"
    return "0" if row.max_abs == 0 else f"{row.max_abs:.1e}"


def render(table: Table) -> str:
    """Give the page."""
    heads = ["framework", "format", "model", *(f"{name} {protocol}" for name, protocol in table.columns)]
    lines = [heads, ["---"] * 3 + ["---:"] * len(table.columns), *table.lines]
    notes = [f"{number}. {text}" for number, text in enumerate(table.notes.texts, start=1)]
    servers = [f"- {name}: {server}" for name, server in sorted(table.servers.items())]
    parts = [
        HEAD,
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
        "\n".join(notes),
        (
            f"Agreement means at most {TOLERANCE.atol:g} + {TOLERANCE.rtol:g} · |right value|. Measured on "
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}, with {', '.join(_versions())}."
        ),
        "\n".join(servers),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _versions() -> Iterator[str]:
    for name in MEASURED:
        try:
            yield f"{name} {importlib.metadata.version(name).partition('+')[0]}"
        except importlib.metadata.PackageNotFoundError:
            continue


def choose(words: Sequence[str]) -> list[Case]:
    """Give the cases that hold one of the words; all without words."""
    return [c for c in CASES if not words or any(word in f"{c.framework} {c.format} {c.what}" for word in words)]


def main() -> int:
    """Measure and write; end with 1 where a cell fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/matrix.md"))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    table = Table(columns=[(name, protocol) for name in backend_names() for protocol in load_backend(name).protocols])
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(choose(options.words)):
            measure(case, Path(folder) / str(number), table)
    options.output.write_text(render(table), encoding="utf-8")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
