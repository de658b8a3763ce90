"""What PyTorch's files tell of themselves, read from their text: torch is not imported and nothing is unpickled."""

from __future__ import annotations

import ast
import json
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

from modelport.codefiles import collect_code
from modelport.errors import SpecError
from modelport.frameworks.checksums import check_archive
from modelport.frameworks.probing import DTYPE, NAME, SHAPE, Probe, ProbedTensor, Tensors
from modelport.frameworks.torch_checkpoint import read_keys, refuse_wrapped

# torch's ScalarType by number, as exported programs write it.
_SCALAR_TYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    12: "bool", 13: "float32",  # bfloat16 is answered as float32
    28: "uint16",
}  # fmt: skip
_BFLOAT16 = 13
_ANY_NAME = frozenset({NAME})
_UNKNOWN = frozenset({NAME, DTYPE, SHAPE})


def probe_torchscript(path: Path) -> Probe:
    """Read the names of ``forward``'s arguments, and how many outputs it gives, from the code in the archive."""
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        module, class_name = _read_class(archive.read(names["data.pkl"]))
        code = names.get(f"code/{module.replace('.', '/')}.py")
        text = archive.read(code).decode() if code else ""
    body = text.partition(f"class {class_name}(")[2]
    found = re.search(r"def forward\(\w+: [^,)]+(?:,\s*)?(.*?)\) -> (.+?):\n", body, re.DOTALL)
    if found is None:
        return Probe()
    inputs = []
    for argument in _split(found[1]):
        name, _, kind = argument.partition(":")
        type_, _, default = (part.strip() for part in kind.partition("="))
        if type_ not in ("Tensor", "Optional[Tensor]") and not default:
            raise SpecError(
                f"model.source: {path}: forward takes {name.strip()!r} as {type_}; only tensors can be sent: "
                "wrap the model in a module whose forward takes tensors"
            )
        inputs.append(ProbedTensor(name=name.strip(), free=_ANY_NAME, optional=bool(default)))
    return Probe(inputs=tuple(inputs), outputs=_count_outputs(found[2]))


def _read_class(data: bytes) -> tuple[str, str]:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            return module, name
    raise SpecError("no TorchScript module: its data.pkl names no class")


def _split(arguments: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth, current = [], 0, ""
    for letter in arguments:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [part.strip() for part in (*parts, current) if part.strip()]


def _count_outputs(annotation: str) -> Tensors | None:
    kind = annotation.strip()
    if kind == "Tensor":
        return _numbered(1)
    inner = re.fullmatch(r"Tuple\[(.*)\]", kind, re.DOTALL)
    if inner is not None and all(part == "Tensor" for part in _split(inner[1])):
        return _numbered(len(_split(inner[1])))
    return None  # a dict or a list: only an answer tells


def _numbered(count: int) -> Tensors:
    return tuple(ProbedTensor(name=f"output_{index}", free=_UNKNOWN) for index in range(count))


def probe_exported(path: Path) -> Probe:
    """Read names, dtypes and shapes from the program's JSON."""
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        entry = next(
            name
            for name in archive.namelist()
            if name.endswith(("models/model.json", "serialized_exported_program.json"))
        )
        module = json.loads(archive.read(entry))["graph_module"]
    values = module["graph"]["tensor_values"]
    graph_inputs = [
        _tensor_name(spec["user_input"]) for spec in module["signature"]["input_specs"] if "user_input" in spec
    ]
    graph_outputs = [
        _tensor_name(spec["user_output"]) for spec in module["signature"]["output_specs"] if "user_output" in spec
    ]
    call = module["module_call_graph"][0]["signature"] or {}
    keys = _output_keys(call.get("out_spec"), len(graph_outputs))
    _refuse_nested(path, call.get("in_spec"))
    arguments = call.get("forward_arg_names") or graph_inputs
    if len(arguments) != len(graph_inputs):
        arguments = graph_inputs
    inputs = [_exported_tensor(name, values[graph]) for name, graph in zip(arguments, graph_inputs, strict=True)]
    for name, graph in zip(arguments, graph_inputs, strict=True):
        if values[graph]["dtype"] == _BFLOAT16:
            raise SpecError(f"model.source: {path}: takes {name!r} as bfloat16, which numpy has not; take float32")
    return Probe(
        inputs=tuple(inputs),
        outputs=tuple(_exported_tensor(name, values[graph]) for name, graph in zip(keys, graph_outputs, strict=True)),
    )


def _refuse_nested(path: Path, in_spec: str | None) -> None:
    """Refuse programs whose arguments are lists or dicts of tensors: a signature names tensors."""
    if in_spec is None:
        return
    positional, keywords = json.loads(in_spec)[1]["children_spec"]
    if any(child["children_spec"] for child in (*positional["children_spec"], *keywords["children_spec"])):
        raise SpecError(
            f"model.source: {path}: takes lists or dicts of tensors; export it with one argument for each tensor"
        )


def _tensor_name(spec: dict[str, Any]) -> str:
    argument = spec["arg"]
    if "as_tensor" not in argument:
        raise SpecError(
            f"model.source: the exported program takes or gives {next(iter(argument))[3:]}, not only tensors"
        )
    return str(argument["as_tensor"]["name"])


def _output_keys(out_spec: str | None, count: int) -> list[str]:
    """Give the keys of a dict that the program returns; numbered names for everything else."""
    numbered = [f"output_{index}" for index in range(count)]
    if out_spec is None:
        return numbered
    tree = json.loads(out_spec)[1]
    if tree["type"] != "builtins.dict":
        return numbered
    keys = json.loads(tree["context"])
    return keys if len(keys) == count and all(isinstance(key, str) for key in keys) else numbered


def _exported_tensor(name: str, value: dict[str, Any]) -> ProbedTensor:
    dtype = _SCALAR_TYPES.get(value["dtype"])
    if dtype is None:
        raise SpecError(
            f"model.source: {name!r} has a dtype (torch ScalarType {value['dtype']}) that no server carries"
        )
    shape = tuple(size.get("as_int") for size in value["sizes"])
    return ProbedTensor(name=name, dtype=dtype, shape=shape, free=_ANY_NAME)


def probe_state_dict(path: Path, entrypoint: str | None, root: Path) -> Probe:
    """Check that the file holds tensors only, and read the names of ``forward``'s arguments from the code's text."""
    keys = _read_keys(path)
    if entrypoint is None:
        raise SpecError(
            f"model.source: {path}: a state dict holds weights only; name the class that they belong to "
            "(model.entrypoint: net:Net), or save the model with torch.export.save"
        )
    code = collect_code(entrypoint, root, "model.entrypoint")
    refuse_wrapped(keys, (file.read_text("utf-8", "replace") for file in code.files.values()), path)
    return Probe(inputs=_forward_arguments(ast.parse(code.main.read_bytes()), entrypoint.rpartition(":")[2]))


def _read_keys(path: Path) -> tuple[str, ...]:
    """Read the keys of a state dict; nothing of the format before 1.6, of which weights_only has the last word."""
    if not zipfile.is_zipfile(path):
        return ()
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        entry = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
        data = archive.read(entry)
    _refuse_module(path, data)
    return read_keys(data, path)


def _refuse_module(path: Path, data: bytes) -> None:
    """Refuse files that hold more than tensors: loading them would run their code."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name != "GLOBAL":
            continue
        module = str(argument).partition(" ")[0]
        if module.startswith("torch.nn.modules") or module.partition(".")[0] not in ("torch", "collections", "numpy"):
            raise SpecError(
                f"model.source: {path}: holds an object of {str(argument).replace(' ', '.')}, which runs code when it "
                "is loaded; save model.state_dict() and name the class (model.entrypoint), or use torch.export.save"
            )


def _forward_arguments(tree: ast.Module, class_name: str) -> Tensors | None:
    """Read the arguments of a class's ``forward``; None where this file does not tell them."""
    body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name), [])
    forward = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == "forward"), None)
    if forward is None or forward.args.vararg or forward.args.kwarg:
        return None
    arguments = [*forward.args.posonlyargs, *forward.args.args][1:]
    needed = len(arguments) - len(forward.args.defaults)
    return tuple(
        ProbedTensor(name=argument.arg, free=_ANY_NAME, optional=index >= needed)
        for index, argument in enumerate(arguments)
    )
