"""The documentation says what the code does."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "packaging" / "modelport" / "spec" / "schema.json"
START, END = "<!-- keys:", "<!-- end of keys -->"


def keys(schema):
    """Give every key of the spec with its default and description, in the schema's order."""

    def resolve(node):
        options = [node, *node.get("anyOf", []), *node.get("oneOf", [])]
        for option in options:
            if "$ref" in option and not option["$ref"].endswith("/Variable"):
                return schema["$defs"][option["$ref"].removeprefix("#/$defs/")]
        return node

    def walk(node, prefix):
        required = node.get("required", [])
        for name, value in node.get("properties", {}).items():
            target = resolve(value)
            inner = target.get("properties")
            default = value.get("default")
            shown = "required" if name in required else "" if inner or default in (None, [], {}, "") else default
            yield f"{prefix}{name}", shown, value.get("description") or target.get("description", "")
            if inner:
                yield from walk(target, f"{prefix}{name}.")

    return walk(schema, "")


def table():
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for key, default, meaning in keys(json.loads(SCHEMA.read_text())):
        shown = default if default in ("", "required") else f"`{json.dumps(default)}`"
        rows.append(f"| `{key}` | {shown} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def test_every_key_of_the_spec_is_documented(request):
    file = ROOT / "docs" / "spec.md"
    text = file.read_text(encoding="utf-8")
    head, rest = text.split(START)
    note, _ = rest.split("-->", 1)
    wanted = f"{head}{START}{note}-->\n\n{table()}\n\n{END}\n"
    if request.config.getoption("--update-golden"):
        file.write_text(wanted, encoding="utf-8")
        text = wanted
    assert text == wanted


def test_links_between_the_documents_lead_somewhere():
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_every_command_is_in_the_readme():
    from modelport.cli.group import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"modelport {name}" not in text] == []
