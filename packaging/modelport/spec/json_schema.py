"""The spec as JSON Schema, for editors and other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelport.spec.schema import ModelSpec

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VARIABLE = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "A value with ${NAME} or ${NAME:-default} in it, taken from the environment.",
}
NARROW = ("pattern", "enum", "const", "minLength", "maxLength")


def render_schema(options: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Give the JSON Schema of the spec.

    Args:
        options: The type of each backend's options, by the backend's name. Other names are allowed beside them,
            for backends that are installed elsewhere.
    """
    schema = ModelSpec.model_json_schema()
    definitions = schema["$defs"]
    backends: dict[str, Any] = {}
    for name, kind in sorted(options.items()):
        own = kind.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
        definitions |= {f"{name}.{key}": value for key, value in own.pop("$defs", {}).items()}
        definitions[f"{name}.options"] = own
        backends[name] = {"$ref": f"#/$defs/{name}.options"}
    schema["properties"]["backends"]["properties"] = backends
    admitted: dict[str, Any] = _admit_variables(schema)
    admitted["$defs"] = dict(sorted(admitted["$defs"].items())) | {"Variable": VARIABLE}
    return {"$schema": DIALECT} | admitted


def render_schema_text(options: Mapping[str, type[BaseModel]]) -> str:
    """Give the JSON Schema as text: the same bytes for the same schema."""
    return json.dumps(render_schema(options), indent=2, ensure_ascii=False) + "\n"


def _admit_variables(schema: Any) -> Any:
    """Let a variable stand wherever a scalar is limited: it has neither a number's type nor a name's pattern."""
    if isinstance(schema, list):
        return [_admit_variables(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    admitted = {key: _admit_entry(key, value) for key, value in schema.items()}
    if not _is_narrow_scalar(schema):
        return admitted
    about = {key: admitted.pop(key) for key in ("title", "description", "default") if key in admitted}
    return about | {"anyOf": [admitted, {"$ref": "#/$defs/Variable"}]}


def _admit_entry(key: str, value: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: _admit_variables(entry) for name, entry in value.items()}
    return value if key in ("default", "enum", "const", "propertyNames", "discriminator") else _admit_variables(value)


def _is_narrow_scalar(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind in ("integer", "number", "boolean") or (kind == "string" and any(key in schema for key in NARROW))
