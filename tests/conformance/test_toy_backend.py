"""Somebody else's backend passes the conformance suite, found through the entry-point group alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def installed(tmp_path):
    """A folder as pip would leave it: the module and the distribution's entry points."""
    shutil.copy(HERE / "toy" / "modelport_toy.py", tmp_path)
    info = tmp_path / "modelport_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: modelport-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modelport.backends]\ntoy = modelport_toy:ToyBackend\n")
    return tmp_path


@pytest.mark.server
def test_a_backend_from_outside_passes_the_conformance_suite(installed):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_backends.py"), "-k", "toy"],
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15


def test_commands_know_it_by_name(installed):
    done = subprocess.run(
        [sys.executable, "-c", "from modelport.backend import backend_names; print(backend_names())"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'toy'" in done.stdout
