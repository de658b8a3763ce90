"""Generated files among a user's own: all or none, and never over somebody's change."""

import json

import pytest

from modelport.errors import BuildError, SpecError
from modelport.plan import Generated, PlannedFile
from modelport.written import RECORD, write_set


def planned(**files):
    return [
        PlannedFile(path=path.replace("__", "/"), content=Generated(data=text.encode(), origin="a test"))
        for path, text in files.items()
    ]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_a_set_is_written_and_written_again(tmp_path):
    folder = tmp_path / "deep" / "out"
    first = write_set(planned(a="1", b__c="2"), folder, "compose")
    assert (first.written, first.unchanged, first.removed) == (("a", "b/c"), (), ())
    again = write_set(planned(a="1", b__c="3"), folder, "compose")
    assert (again.written, again.unchanged, again.removed) == (("b/c",), ("a",), ())
    assert tree(folder) == {"a": "1", "b/c": "3"}
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, "a", "b"]


def test_files_of_an_earlier_set_go_with_their_folders(tmp_path):
    write_set(planned(a="1", b__c__d="2"), tmp_path, "compose")
    changes = write_set(planned(a="1"), tmp_path, "compose")
    assert changes.removed == ("b/c/d",)
    assert not (tmp_path / "b").exists()


def test_sets_for_two_targets_share_a_folder(tmp_path):
    write_set(planned(a="1"), tmp_path, "compose")
    assert write_set(planned(b="2"), tmp_path, "kubernetes").removed == ()
    assert tree(tmp_path) == {"a": "1", "b": "2"}


def test_a_file_that_was_changed_is_kept(tmp_path):
    write_set(planned(a="1", b="1"), tmp_path, "compose")
    (tmp_path / "a").write_text("mine")
    with pytest.raises(SpecError, match=r"a: changed since modelport wrote it; nothing was written.*--force"):
        write_set(planned(a="2", b="2"), tmp_path, "compose")
    assert tree(tmp_path) == {"a": "mine", "b": "1"}
    write_set(planned(a="2", b="2"), tmp_path, "compose", force=True)
    assert tree(tmp_path) == {"a": "2", "b": "2"}


def test_a_changed_file_that_is_no_longer_wanted_is_kept(tmp_path):
    write_set(planned(a="1", b="1"), tmp_path, "compose")
    (tmp_path / "b").write_text("mine")
    with pytest.raises(SpecError, match="b: changed since"):
        write_set(planned(a="1"), tmp_path, "compose")
    assert tree(tmp_path) == {"a": "1", "b": "mine"}


def test_a_file_that_was_changed_to_what_is_written_is_no_conflict(tmp_path):
    write_set(planned(a="1"), tmp_path, "compose")
    (tmp_path / "a").write_text("2")
    assert write_set(planned(a="2"), tmp_path, "compose").unchanged == ("a",)


def test_somebody_elses_file_is_kept(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(SpecError, match="a: not written by modelport"):
        write_set(planned(a="1"), tmp_path, "compose")
    assert tree(tmp_path) == {"a": "mine"}


def test_a_file_that_was_deleted_comes_back(tmp_path):
    write_set(planned(a="1"), tmp_path, "compose")
    (tmp_path / "a").unlink()
    assert write_set(planned(a="1"), tmp_path, "compose").written == ("a",)


def test_a_link_is_a_change(tmp_path):
    write_set(planned(a="1"), tmp_path, "compose")
    (tmp_path / "elsewhere").write_text("1")
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpecError, match="a: changed since"):
        write_set(planned(a="2"), tmp_path, "compose")
    write_set(planned(a="2"), tmp_path, "compose", force=True)
    assert (tmp_path / "elsewhere").read_text() == "1"


def test_a_folder_in_the_way_is_never_removed(tmp_path):
    (tmp_path / "a" / "mine").mkdir(parents=True)
    with pytest.raises(SpecError, match="is a folder, and a file of this name"):
        write_set(planned(a="1"), tmp_path, "compose", force=True)


def test_nothing_stays_of_a_set_that_could_not_be_moved(tmp_path):
    write_set(planned(a="1"), tmp_path, "compose")
    (tmp_path / "b").write_text("a file where a folder is needed")
    with pytest.raises(BuildError, match="before still does"):
        write_set(planned(a="2", b__c="2"), tmp_path, "compose")
    assert tree(tmp_path) == {"a": "1", "b": "a file where a folder is needed"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(f".{RECORD}")]


def test_a_folder_that_could_not_be_filled_is_not_left(tmp_path):
    from modelport.plan import Copied

    gone = PlannedFile(path="a", content=Copied(path=tmp_path / "gone", size=1, sha256="0" * 64))
    with pytest.raises(BuildError, match="vanished"):
        write_set([gone], tmp_path / "out", "compose")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd"])
def test_a_record_cannot_name_what_lies_outside(tmp_path, path):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "outside").write_text("keep")
    entry = {"for": "compose", "sha256": "0" * 64}
    (folder / RECORD).write_text(json.dumps({"files": {path: entry}}))
    with pytest.raises(SpecError, match="lies outside"):
        write_set(planned(a="1"), folder, "compose", force=True)
    assert (tmp_path / "outside").exists()


def test_a_broken_record_is_said(tmp_path):
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(SpecError, match="is no record of generated files"):
        write_set(planned(a="1"), tmp_path, "compose")


def test_files_are_readable_by_all(tmp_path):
    write_set(planned(a="1"), tmp_path, "compose")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_another_owner_s_files_are_neither_removed_nor_overwritten(tmp_path):
    write_set(planned(a="1", b="1"), tmp_path, "compose, digits")
    assert write_set(planned(c="1"), tmp_path, "compose, letters").removed == ()
    with pytest.raises(SpecError, match="a: was written for compose, digits"):
        write_set(planned(a="2"), tmp_path, "compose, letters")
    assert write_set(planned(a="1"), tmp_path, "compose, letters").unchanged == ("a",)
    assert write_set(planned(a="3"), tmp_path, "compose, digits", force=True).written == ("a",)
