"""Options and fixtures of all tests."""

import os
import shutil
import signal
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
TOOLS = Path(__file__).parents[1] / ".tools" / "bin"


# A runner in the background is started with SIGINT ignored, and hands that on to every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def golden(request):
    """Compare text with a committed file; write the file with --update-golden."""

    def check(name, text):
        file = GOLDEN / name
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{file} differs; look, then run with --update-golden"

    return check


@pytest.fixture(scope="session")
def tool():
    """Give the path of a linter or the like; skip the test, with its name, where it is not installed."""

    def find(name):
        found = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")
        if found is None:
            pytest.skip(f"{name} is not installed here; .ci/install-tools installs it")
        return found

    return find
