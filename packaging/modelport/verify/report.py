"""The result of a verification, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelport.verify.session import Exam, Row

if TYPE_CHECKING:
    from rich.table import Table


def report_as_data(rows: Sequence[Row], exam: Exam) -> dict[str, Any]:
    """Give the result as plain JSON values."""
    return {
        "passed": all(row.passed for row in rows),
        "tolerance": asdict(exam.tolerance),
        "samples": exam.samples.count,
        "reference_accuracy": exam.accuracy,
        "warnings": list(exam.warnings),
        "rows": [{**asdict(row), "passed": row.passed} for row in rows],
    }


def report_as_table(rows: Sequence[Row], title: str) -> Table:
    """Give the parity table."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("backend", no_wrap=True)
    table.add_column("over", no_wrap=True)
    for heading in ("samples", "max abs", "max rel", "arg-max", "accuracy", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(
            row.backend,
            row.protocol,
            str(row.samples),
            _small(row.max_abs),
            _small(row.max_rel),
            _share(row.argmax),
            _share(row.accuracy),
            "-" if row.median_ms is None else f"{row.median_ms:.1f}",
            _verdict(row),
        )
    return table


def _verdict(row: Row) -> str:
    if not row.passed:
        return "[bold red]FAILS[/bold red]"
    return "[yellow]skipped[/yellow]" if row.skipped else "[green]agrees[/green]"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}%"
