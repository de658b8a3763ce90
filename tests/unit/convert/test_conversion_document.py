"""docs/conversion.md names the ops that are lowered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelport.convert.onnx_to_tf.registry import lowered_ops

if TYPE_CHECKING:
    import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "conversion.md"
START, END = "<!-- ops:", "<!-- end of ops -->"


def listed() -> str:
    """Return the ops of each domain as a list in Markdown."""
    return "\n".join(
        f"- `{domain or 'ai.onnx'}` ({len(ops)}): {', '.join(ops)}" for domain, ops in lowered_ops().items()
    )


def test_every_lowered_op_is_in_the_document(request: pytest.FixtureRequest) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(START)
    note, old = rest.split("-->", 1)
    wanted = f"{head}{START}{note}-->\n\n{listed()}\n\n{END}{old.split(END)[1]}"
    if request.config.getoption("--update-golden"):
        DOCUMENT.write_text(wanted, encoding="utf-8")
        text = wanted
    assert text == wanted
