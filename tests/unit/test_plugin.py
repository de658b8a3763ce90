"""What is said of a registered class that is no plug-in."""

import pytest

from modelport.backend import load_backend
from modelport.errors import SpecError
from modelport.target import load_target


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Register a class as ``odd`` in both groups, in a distribution as pip would leave it."""

    def write(entry):
        info = tmp_path / "odd-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
        groups = ("modelport.backends", "modelport.targets")
        (info / "entry_points.txt").write_text("".join(f"[{group}]\nodd = {entry}\n" for group in groups))
        monkeypatch.syspath_prepend(tmp_path)

    return write


@pytest.mark.parametrize(("load", "what"), [(load_backend, "backend"), (load_target, "target")])
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("builtins:dict", "is no {}$"),
        ("builtins:Missing", "does not load: .*Missing"),
        ("no_such_module:Odd", "does not load: No module named 'no_such_module'"),
        ("modelport.backend:Backend", "does not load: Protocols cannot be instantiated"),
    ],
)
def test_a_registered_class_that_is_no_plugin_is_named(register, load, what, entry, said):
    register(entry)
    with pytest.raises(SpecError, match=rf"^the entry point '{entry}' in modelport\.{what}s {said.format(what)}"):
        load("odd")
