"""The folder ``packaging/`` must not hide PyPI's ``packaging``, which nearly every dependency imports."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_packaging_comes_from_site_packages_in_the_repository_root():
    code = "import packaging, packaging.version; print(packaging.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).parent.parent.name == "site-packages"


def test_no_folder_called_packaging_is_a_package():
    assert not (ROOT / "packaging" / "__init__.py").exists()
    assert not (ROOT / "tests" / "packaging").exists()


def test_every_source_root_is_importable():
    code = (
        "import modelport, modelport_bento, modelport_bentoml, modelport_manifests, modelport_runtime, "
        "modelport_tfserving, modelport_torchserve"
    )
    subprocess.run([sys.executable, "-c", code], cwd="/", check=True)
