"""``modelport predict``: send inputs to a running service, show what it answers."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelport.cli.shared import json_option, token_option
from modelport.client.files import output_kind, read_inputs, write_outputs
from modelport.console import print_json, stderr, stdout
from modelport.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    Outputs = Mapping[str, np.ndarray[Any, Any]]

MOST_ROWS = 20
MOST_VALUES = 12


@click.command("predict")
@click.argument("url")
@click.option("-i", "--input", "source", required=True, metavar="FILE", help=".json, .npy, .npz, .csv, .parquet, or -.")
@click.option("--name", help="The input that a .npy file is for, where the model takes several.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a .npz or .json file.")
@click.option("--model", help="The model's name, where the URL does not hold it.")
@click.option("--model-version", help="The model's version, where the URL does not hold it.")
@click.option("--backend", help="The server's kind, where it shall not be found out.")
@click.option("--timeout", "timeout_s", type=float, default=30.0, show_default=True, metavar="SECONDS")
@token_option
@json_option
def command(  # noqa: PLR0913, PLR0917  # one parameter an option
    url: str,
    source: str,
    name: str | None,
    output: Path | None,
    model: str | None,
    model_version: str | None,
    backend: str | None,
    timeout_s: float,
    token: str | None,
    *,
    as_json: bool,
) -> None:
    """Send inputs to the service at URL and print its outputs.

    Examples of a URL: http://127.0.0.1:3000 (a Bento), http://127.0.0.1:8080/predictions/digits or
    grpc://127.0.0.1:7070/digits (TorchServe), http://127.0.0.1:8501/v1/models/digits or
    grpc://127.0.0.1:8500/digits (TensorFlow Serving).

    JSON is {"input": values}. The header of a CSV file names the inputs, or the columns of the only one; an empty
    field among floats is NaN. Expected outputs and labels beside the inputs are left out, so that a spec's samples can
    be sent as they are. With --json NaN and infinity are null; a file of --output holds them as they are.
    """
    from modelport import connect

    if output is not None:
        output_kind(output)
    path = None if source == "-" else Path(source)
    data = read_bytes(path)
    client = connect(url, backend=backend, model=model, version=model_version, timeout_s=timeout_s, token=token)
    with closing(client):
        inputs = read_inputs(path, data, client.metadata().signature, name)
        outputs = client.predict(inputs)
    if output is not None:
        write_outputs(output, outputs)
        stderr().print(f"{output}: {', '.join(outputs)}", markup=False)
    if as_json:
        print_json(outputs_as_data(outputs))
    elif output is None:
        stdout().print(outputs_as_table(outputs))


def read_bytes(path: Path | None) -> bytes:
    """Read a file, or standard input where there is none.

    Raises:
        SpecError: It cannot be read, or is empty.
    """
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
    if not data:
        raise SpecError(f"{path or 'standard input'}: is empty; it must hold the inputs")
    return data


def outputs_as_data(outputs: Outputs) -> dict[str, Any]:
    """Give outputs as JSON values: nested lists by name, bytes as ``{"b64": …}``."""
    return {name: _plain(array.tolist()) for name, array in outputs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value


def outputs_as_table(outputs: Outputs) -> Table:
    """Give a table: a row for each of the batch where all outputs have one, else a row for each output."""
    from rich.table import Table
    from rich.text import Text

    heads = [Text(f"{name}: {array.dtype}{list(array.shape)}") for name, array in outputs.items()]
    counts = {array.shape[0] if array.ndim else None for array in outputs.values()}
    count = counts.pop() if len(counts) == 1 else None
    table = Table()
    if count is None:
        for title in ("output", "values"):
            table.add_column(title)
        for head, array in zip(heads, outputs.values(), strict=True):
            table.add_row(head, Text(show_values(array)))
        return table
    table.add_column("row", justify="right")
    for head in heads:
        table.add_column(head)
    for row in range(min(count, MOST_ROWS)):
        table.add_row(str(row), *(Text(show_values(array[row])) for array in outputs.values()))
    if count > MOST_ROWS:
        table.caption = f"{count - MOST_ROWS} more rows; --json or --output gives all"
    return table


def show_values(values: Any) -> str:
    """Give an array, or one value, on one line, shortened in the middle."""
    import numpy as np

    array = np.asarray(values)
    if array.dtype == object:
        texts = [str(entry) for entry in array.reshape(-1)[:MOST_VALUES]]
        return " ".join(texts) + (" …" if array.size > MOST_VALUES else "")
    text = np.array2string(
        array, threshold=MOST_VALUES, edgeitems=4, separator=" ", formatter={"float_kind": lambda v: f"{v:.4g}"}
    )
    return " ".join(text.split())
