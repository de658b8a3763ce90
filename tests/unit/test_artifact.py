"""Artifacts: whole or not at all, and the same bytes for the same inputs."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest

from modelport.artifact import (
    changed_files,
    copied,
    exchange,
    read_artifact,
    source_date_epoch,
    staging,
    write_artifact,
    write_content,
    write_files,
)
from modelport.errors import BuildError, SpecError
from modelport.plan import Archived, Generated, PlannedFile

RECORD = {"backend": "toy", "spec": {"name": "m", "version": "1"}}


def text(path, content):
    return PlannedFile(path=path, content=Generated(data=content.encode(), origin="test"))


def write(destination, content, check=lambda _: None):
    files = (text("a.txt", content), text("deep/b.txt", "b"))
    return write_artifact(destination, RECORD, lambda folder: write_files(files, folder), check=check)


def archive_bytes(members):
    stream = io.BytesIO()
    write_content(Archived(members=tuple(members)), stream)
    return stream.getvalue()


def test_an_artifact_is_read_back_as_it_was_written(tmp_path):
    built = write(tmp_path / "m", "one")
    assert read_artifact(tmp_path / "m") == built
    assert (tmp_path / "m" / "deep" / "b.txt").read_text() == "b"
    assert changed_files(built) == []


def test_every_changed_added_and_missing_file_is_named(tmp_path):
    built = write(tmp_path / "m", "one")
    (tmp_path / "m" / "a.txt").write_text("two")
    (tmp_path / "m" / "deep" / "b.txt").unlink()
    (tmp_path / "m" / "new.txt").write_text("")
    assert changed_files(built) == ["a.txt", "deep/b.txt", "new.txt"]


def test_a_new_build_replaces_the_old_one_whole(tmp_path):
    write(tmp_path / "m", "one")
    (tmp_path / "m" / "left-over").write_text("")
    write(tmp_path / "m", "two")
    assert (tmp_path / "m" / "a.txt").read_text() == "two"
    assert not (tmp_path / "m" / "left-over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_build_that_fails_its_check_leaves_the_old_one(tmp_path):
    def refuse(folder):
        raise BuildError("not whole")

    write(tmp_path / "m", "one")
    with pytest.raises(BuildError, match="not whole"):
        write(tmp_path / "m", "two", refuse)
    assert (tmp_path / "m" / "a.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_killed_build_leaves_the_old_one_and_the_next_build_cleans_up(tmp_path):
    write(tmp_path / "m", "one")
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from modelport.artifact import write_artifact
        def fill(folder):
            (folder / "a.txt").write_text("half")
            print("filling", flush=True)
            time.sleep(60)
        write_artifact(Path(sys.argv[1]), {"backend": "toy"}, fill, check=lambda folder: None)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "m")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"filling\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "m" / "a.txt").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 2
    write(tmp_path / "m", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_that_is_no_artifact_is_never_replaced(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "precious").write_text("mine")
    with pytest.raises(BuildError, match="no artifact of modelport"):
        write(tmp_path / "m", "one")
    assert (tmp_path / "m" / "precious").read_text() == "mine"


def test_a_file_where_the_folder_should_be_is_a_clear_error(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(BuildError, match="cannot be written"):
        write(tmp_path / "out" / "m", "one")


def test_reading_what_is_no_artifact_is_a_clear_error(tmp_path):
    with pytest.raises(SpecError, match="no artifact"):
        read_artifact(tmp_path)
    (tmp_path / "artifact.json").write_text("[]")
    with pytest.raises(SpecError, match="no artifact"):
        read_artifact(tmp_path)


def test_exchange_swaps_two_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()


def test_staging_is_gone_after_an_error(tmp_path):
    def fail(folder):
        (folder / "x").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError), staging(tmp_path / "m") as aside:
        fail(aside)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_depends_on_its_members_alone():
    one, two = text("z.txt", "z"), text("a/b.txt", "b")
    assert archive_bytes([one, two]) == archive_bytes([two, one])
    with zipfile.ZipFile(io.BytesIO(archive_bytes([one, two]))) as archive:
        assert archive.namelist() == ["a/b.txt", "z.txt"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


BUILD_ELSEWHERE = """
import os, sys
os.umask(int(sys.argv[2], 8))
from pathlib import Path
from modelport.artifact import write_artifact, write_files
from modelport.plan import Archived, Generated, PlannedFile
member = PlannedFile(path="m.txt", content=Generated(data=b"m", origin="test"))
files = (PlannedFile(path="x.mar", content=Archived(members=(member,))), member)
def fill(folder):
    write_files(files, folder)
made = write_artifact(Path(sys.argv[1]), {"backend": "toy"}, fill, check=lambda folder: None)
modes = sorted(oct(path.stat().st_mode) for path in Path(sys.argv[1]).rglob("*"))
print(made.sha256, modes)
"""


def test_umask_time_zone_and_folder_do_not_show(tmp_path):
    seen = set()
    for number, (umask, zone) in enumerate([("022", "UTC"), ("077", "Pacific/Auckland"), ("000", "America/Lima")]):
        folder = tmp_path / str(number)
        done = subprocess.run(
            [sys.executable, "-c", BUILD_ELSEWHERE, str(folder / "m"), umask],
            env={**os.environ, "TZ": zone, "SOURCE_DATE_EPOCH": "1700000000"},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add((done.stdout, (folder / "m" / "x.mar").read_bytes()))
    assert len(seen) == 1


@pytest.mark.parametrize("value", ["yesterday", "-1", "99999999999", "1.5", "²"])
def test_a_wrong_source_date_epoch_is_refused(value, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(SpecError, match="SOURCE_DATE_EPOCH"):
        source_date_epoch()


def test_a_date_before_zip_archives_is_lifted_to_their_first(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert source_date_epoch() == 315_532_800


def test_a_source_that_changes_between_plan_and_build_is_an_error(tmp_path):
    source = tmp_path / "weights"
    source.write_bytes(b"one")
    files = (PlannedFile(path="weights", content=copied(source)),)
    source.write_bytes(b"two")
    with pytest.raises(BuildError, match="changed between plan and build"):
        write_files(files, tmp_path / "out")
    source.unlink()
    with pytest.raises(BuildError, match="vanished"):
        write_files(files, tmp_path / "out")
