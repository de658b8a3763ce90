"""An ONNX file tried in a process of its own: some graphs end the process in which ONNX Runtime loads or runs them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from modelport.errors import BuildError, MissingTool, SpecError
from modelport.run.tool import run_tool

NEEDED = "trying an ONNX model needs onnxruntime; pip install 'modelport[onnx]'"
#: Seconds for loading and one run; the run itself is given up earlier.
LONGEST_S = 1800.0


def try_apart(path: Path) -> None:
    """Load a graph and run it once, as `modelport.frameworks.onnx_trial.try_graph` does.

    Args:
        path: The file.

    Raises:
        SpecError: ONNX Runtime does not load it, an output is not as it is declared, or the process was ended.
        MissingTool: onnxruntime is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingTool(NEEDED)
    command = (sys.executable, "-m", __name__, str(path.absolute()))
    try:
        said = run_tool(command, cwd=Path.cwd(), timeout_s=LONGEST_S, what="ONNX Runtime", only_stdout=True)
    except BuildError as error:
        raise SpecError(
            f"model.source: {path}: ONNX Runtime did not come to an end with it, as it would not on a server: {error}\n"
            "Export the model anew, by another exporter or opset, and look at it with onnx.checker.check_model"
        ) from error
    fault = json.loads(said.splitlines()[-1])
    if fault is not None:
        raise SpecError(fault)


def main() -> None:
    """Print what is wrong with the file that is named, or null, as JSON."""
    from modelport.frameworks.onnx import declared_ends, load_graph
    from modelport.frameworks.onnx_trial import try_graph

    path = Path(sys.argv[1])
    fault = None
    try:
        try_graph(path, *declared_ends(load_graph(path)))
    except SpecError as error:
        fault = str(error)
    sys.stdout.write(f"{json.dumps(fault)}\n")


if __name__ == "__main__":
    main()
