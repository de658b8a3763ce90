"""What `import modelport` gives, and what it costs."""

import subprocess
import sys

import pytest

import modelport
from modelport.client import base


def test_every_public_name_is_there():
    for name in modelport.__all__:
        assert getattr(modelport, name) is not None
    assert modelport.InvalidInput is base.InvalidInput
    assert set(modelport.__all__) <= set(dir(modelport))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = modelport.no_such_name


def test_importing_it_loads_nothing_heavy():
    code = "import sys, modelport; print(*sorted({'numpy', 'httpx', 'typing', 'pydantic', 'click'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
