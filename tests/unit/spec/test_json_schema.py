"""The committed JSON Schema, and what it says."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pydantic import BaseModel

from modelport.cli.schema import command
from modelport.spec.json_schema import render_schema


class Inner(BaseModel):
    size: int = 1


class Options(BaseModel):
    threads: int = 8
    inner: Inner = Inner()


def references(schema: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)))


def test_the_committed_schema_is_current() -> None:
    printed = CliRunner().invoke(command).output
    committed = files("modelport.spec").joinpath("schema.json").read_text(encoding="utf-8")
    assert committed == printed, "write it anew: modelport schema -o packaging/modelport/spec/schema.json"


def test_the_schema_is_written_to_a_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["-o", str(tmp_path / "s.json")])
    assert result.exit_code == 0
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["title"] == "ModelSpec"


def test_options_of_backends_are_part_of_it_and_every_reference_leads_somewhere() -> None:
    schema = render_schema({"mine": Options})
    assert schema["properties"]["backends"]["properties"] == {"mine": {"$ref": "#/$defs/mine.options"}}
    assert references(schema) == set(schema["$defs"]) - {"ModelSpec"}
    assert {"mine.options", "mine.Inner", "Variable"} <= references(schema)


def test_unknown_keys_are_refused_and_variables_admitted() -> None:
    schema = render_schema({})
    assert schema["required"] == ["modelport", "name", "version", "model"]
    assert schema["additionalProperties"] is False
    workers = schema["$defs"]["ServingSection"]["properties"]["workers"]
    assert workers["anyOf"] == [{"type": "integer", "minimum": 1, "maximum": 256}, {"$ref": "#/$defs/Variable"}]
    assert workers["default"] == 1
